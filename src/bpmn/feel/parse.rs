//! Text to tree.
//!
//! Duty: the grammar of bpmn.md 9, by precedence climbing. Guarantee: never panics; nests at most [`NESTING`] deep, so
//! neither reading nor evaluating can exhaust the stack; no part of a text is read twice. Left to others: names and
//! literals (`lex`), calls (`parse_call`), what a tree gives (`eval`).

use super::ast::{Iteration, Node, Operator, Relation, Step};
use super::lex::{Lexer, normal_name, starts_name};
use super::parse_test::Bracket;
use super::value::Value;
use super::{Error, ErrorKind, Names};

/// How deep brackets, signs and the parts of `if`, `for`, `some`, `every` may stand in each other.
pub(super) const NESTING: usize = 128;
/// How many right sides of operators may be open at one place: one in every bracket of the deepest nesting.
const OPERANDS: usize = NESTING;

/// The parser. `names` collects what the expression reads.
pub(super) struct Parser<'n> {
    pub(super) lex: Lexer,
    known: &'n Names,
    pub(super) depth: usize,
    operands: usize,
    /// Loop variables, parameters and keys of enclosing contexts.
    pub(super) locals: Vec<String>,
    /// Filters around this place: a name in one may be a key of the element.
    pub(super) filters: usize,
    /// Tests around this place, each with whether `?` stands in it.
    pub(super) inputs: Vec<bool>,
    /// In the upper end of a range, where `[` may close it.
    pub(super) range_end: bool,
    /// Names that may be read from the context.
    pub(super) reads: Names,
    /// Names that are read from the context for sure.
    pub(super) needs: Names,
}

impl<'n> Parser<'n> {
    pub(super) fn new(text: &str, known: &'n Names) -> Parser<'n> {
        Parser {
            lex: Lexer::new(text, known),
            known,
            depth: 0,
            operands: 0,
            locals: Vec::new(),
            filters: 0,
            inputs: Vec::new(),
            range_end: false,
            reads: Names::new(),
            needs: Names::new(),
        }
    }

    /// The whole text as one expression.
    pub(super) fn whole(&mut self) -> Result<Node, Error> {
        let node = self.expr()?;
        self.lex.skip();
        if self.lex.peek().is_some() {
            return Err(self.surplus());
        }
        Ok(node)
    }

    /// Something follows a complete expression.
    fn surplus(&mut self) -> Error {
        for (foreign, feel) in [("==", "="), ("&&", "and"), ("||", "or")] {
            if self.lex.sees(foreign) {
                return self
                    .lex
                    .error_at(self.lex.at, format!("expected an operator, found `{foreign}`; write `{feel}`"));
            }
        }
        let hint = if self.lex.peek().is_some_and(starts_name) {
            "; a name with blanks must be known here or stand in backquotes"
        } else {
            ""
        };
        let message = format!("expected an operator or the end, found {}{hint}", self.lex.found());
        self.lex.error_at(self.lex.at, message)
    }

    pub(super) fn enter(&mut self) -> Result<(), Error> {
        self.depth += 1;
        if self.depth > NESTING { Err(self.too_deep()) } else { Ok(()) }
    }

    fn too_deep(&self) -> Error {
        let message = format!("nested deeper than {NESTING}; give parts names in a context or an earlier mapping");
        self.lex.error_of(ErrorKind::Limit, self.lex.at, message)
    }

    pub(super) fn expr(&mut self) -> Result<Node, Error> {
        self.enter()?;
        let range_end = std::mem::replace(&mut self.range_end, false);
        self.lex.skip();
        let node = match self.lex.word().as_deref() {
            Some("if") => self.if_then_else()?,
            Some("for") => self.for_return()?,
            Some("some") => self.quantified("some")?,
            Some("every") => self.quantified("every")?,
            _ => {
                let left = self.unary()?;
                self.binary_from(left, 0)?
            }
        };
        self.range_end = range_end;
        self.depth -= 1;
        Ok(node)
    }

    pub(super) fn expect(&mut self, symbol: &str) -> Result<(), Error> {
        if self.lex.eat(symbol) { Ok(()) } else { Err(self.lex.expected(&format!("`{symbol}`"))) }
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<(), Error> {
        if self.lex.eat_word(word) { Ok(()) } else { Err(self.lex.expected(&format!("`{word}`"))) }
    }

    fn if_then_else(&mut self) -> Result<Node, Error> {
        self.expect_word("if")?;
        let condition = self.expr()?;
        self.expect_word("then")?;
        let then = self.expr()?;
        self.expect_word("else")?;
        Ok(Node::If(Box::new([condition, then, self.expr()?])))
    }

    fn for_return(&mut self) -> Result<Node, Error> {
        self.expect_word("for")?;
        let (locals, scoped) = (self.locals.len(), self.lex.scoped.len());
        let iterations = self.iterations()?;
        self.locals.push("partial".to_owned());
        self.expect_word("return")?;
        let body = self.expr()?;
        self.locals.truncate(locals);
        self.lex.scoped.truncate(scoped);
        Ok(Node::For(iterations, Box::new(body)))
    }

    fn quantified(&mut self, word: &str) -> Result<Node, Error> {
        self.expect_word(word)?;
        let (locals, scoped) = (self.locals.len(), self.lex.scoped.len());
        let iterations = self.iterations()?;
        self.expect_word("satisfies")?;
        let body = Box::new(self.expr()?);
        self.locals.truncate(locals);
        self.lex.scoped.truncate(scoped);
        Ok(if word == "some" { Node::Some(iterations, body) } else { Node::Every(iterations, body) })
    }

    fn iterations(&mut self) -> Result<Vec<Iteration>, Error> {
        let mut iterations = Vec::new();
        loop {
            let name = self.iteration_name()?;
            let (from, to) = self.domain()?;
            self.lex.declare(&name);
            self.locals.push(name.clone());
            iterations.push(Iteration { name, from, to });
            if !self.lex.eat(",") {
                return Ok(iterations);
            }
        }
    }

    /// Words up to `in`, or a name in backquotes.
    fn iteration_name(&mut self) -> Result<String, Error> {
        self.lex.skip();
        if self.lex.peek() == Some('`') {
            let name = self.lex.name(false)?.ok_or_else(|| self.lex.expected("a name"))?;
            self.expect_word("in")?;
            return Ok(name);
        }
        let mut words: Vec<String> = Vec::new();
        loop {
            self.lex.skip();
            match self.lex.word() {
                Some(word) if word == "in" && !words.is_empty() => {
                    self.expect_word("in")?;
                    return Ok(words.join(" "));
                }
                Some(word) => {
                    self.lex.at += word.chars().count();
                    words.push(word);
                }
                None if words.is_empty() => return Err(self.lex.expected("a name")),
                None => return Err(self.lex.expected("`in`")),
            }
        }
    }

    /// The right side of an operator: operators of precedence `least` and more.
    pub(super) fn binary(&mut self, least: u8) -> Result<Node, Error> {
        self.operands += 1;
        if self.operands > OPERANDS {
            return Err(self.too_deep());
        }
        let left = self.unary()?;
        let node = self.binary_from(left, least)?;
        self.operands -= 1;
        Ok(node)
    }

    pub(super) fn binary_from(&mut self, left: Node, least: u8) -> Result<Node, Error> {
        let mut left = left;
        let mut compared = false;
        loop {
            self.lex.skip();
            let word = self.lex.word();
            let word = word.as_deref().unwrap_or("");
            if let Some(operator) = self.operator() {
                if operator.precedence() < least {
                    return Ok(left);
                }
                left = self.arithmetic(left, operator.precedence())?;
                continue;
            }
            let relation = self.relation();
            if relation.is_some() || matches!(word, "between" | "in" | "instance") {
                if least > 3 {
                    return Ok(left);
                }
                if std::mem::replace(&mut compared, true) {
                    let message = "comparisons do not chain; join them by `and`";
                    return Err(self.lex.error_at(self.lex.at, message));
                }
                left = match relation {
                    Some(relation) => {
                        self.lex.at += relation.text().len();
                        Node::Compare(relation, Box::new([left, self.binary(4)?]))
                    }
                    None => self.comparison(left, word)?,
                };
                continue;
            }
            left = match word {
                "and" if least <= 2 => {
                    let mut all = vec![left];
                    while self.lex.eat_word("and") {
                        all.push(self.binary(3)?);
                    }
                    compared = false;
                    Node::And(all)
                }
                "or" if least <= 1 => {
                    let mut any = vec![left];
                    while self.lex.eat_word("or") {
                        any.push(self.binary(2)?);
                    }
                    Node::Or(any)
                }
                _ => return Ok(left),
            };
        }
    }

    /// The arithmetic operator that stands here.
    fn operator(&self) -> Option<Operator> {
        match (self.lex.peek()?, self.lex.peek_at(1)) {
            ('+', _) => Some(Operator::Add),
            ('-', _) => Some(Operator::Subtract),
            ('*', Some('*')) => Some(Operator::Power),
            ('*', _) => Some(Operator::Multiply),
            ('/', _) => Some(Operator::Divide),
            _ => None,
        }
    }

    /// The comparison that stands here; `==` is none.
    pub(super) fn relation(&self) -> Option<Relation> {
        match (self.lex.peek()?, self.lex.peek_at(1)) {
            ('=', Some('=')) => None,
            ('=', _) => Some(Relation::Equal),
            ('!', Some('=')) => Some(Relation::Unequal),
            ('<', Some('=')) => Some(Relation::AtMost),
            ('<', _) => Some(Relation::Less),
            ('>', Some('=')) => Some(Relation::AtLeast),
            ('>', _) => Some(Relation::Greater),
            _ => None,
        }
    }

    pub(super) fn arithmetic(&mut self, left: Node, precedence: u8) -> Result<Node, Error> {
        let mut rest = Vec::new();
        loop {
            self.lex.skip();
            match self.operator().filter(|o| o.precedence() == precedence) {
                Some(operator) => {
                    self.lex.at += operator.text().len();
                    rest.push((operator, self.binary(precedence + 1)?));
                }
                None => return Ok(Node::Arithmetic(Box::new(left), rest)),
            }
        }
    }

    pub(super) fn unary(&mut self) -> Result<Node, Error> {
        self.lex.skip();
        if self.lex.peek() == Some('-') {
            self.enter()?;
            self.lex.at += 1;
            let inner = self.unary()?;
            self.depth -= 1;
            return Ok(Node::Negate(Box::new(inner)));
        }
        let primary = self.primary()?;
        self.steps(primary)
    }

    /// `.name` and `[filter]` after a value.
    pub(super) fn steps(&mut self, base: Node) -> Result<Node, Error> {
        let mut steps = Vec::new();
        loop {
            self.lex.skip();
            match self.lex.peek() {
                Some('.') if self.lex.peek_at(1) != Some('.') => {
                    self.lex.at += 1;
                    self.lex.skip();
                    match self.lex.name(true)? {
                        Some(name) => steps.push(Step::Key(name)),
                        None => return Err(self.lex.expected("a name after `.`")),
                    }
                }
                Some('[') if !(self.range_end && (steps.is_empty() && is_scalar(&base) || self.ends_after(1))) => {
                    self.lex.at += 1;
                    self.filters += 1;
                    let filter = self.expr()?;
                    self.filters -= 1;
                    self.expect("]")?;
                    steps.push(Step::Filter(filter));
                }
                Some('(') => {
                    let message = "only a function is called, by its name: expected an operator, found `(`";
                    return Err(self.lex.error_of(ErrorKind::UnknownFunction, self.lex.at, message));
                }
                _ => break,
            }
        }
        Ok(match (base, steps) {
            (base, steps) if steps.is_empty() => base,
            // brackets around the beginning of a path change nothing
            (Node::Path(base, mut all), steps) => {
                all.extend(steps);
                Node::Path(base, all)
            }
            (base, steps) => Node::Path(Box::new(base), steps),
        })
    }

    fn primary(&mut self) -> Result<Node, Error> {
        self.lex.skip();
        let at = self.lex.at;
        match self.lex.peek() {
            Some('"') => Ok(Node::Literal(Value::String(self.lex.string()?))),
            Some('[' | ']') => match self.list_or_range()? {
                Bracket::Node(node) => Ok(node),
                Bracket::Range(_) => Err(self.stray_range(at)),
            },
            Some('(') => match self.group_or_range()? {
                Bracket::Node(node) => Ok(node),
                Bracket::Range(_) => Err(self.stray_range(at)),
            },
            Some('{') => self.context(),
            Some('@') => {
                let message = "date and time literals (`@\"…\"`) are not built yet";
                Err(self.lex.error_of(ErrorKind::NotBuilt, at, message))
            }
            Some('?') => match self.inputs.last_mut() {
                Some(input) => {
                    *input = true;
                    self.lex.at += 1;
                    Ok(Node::Input)
                }
                None => Err(self.lex.error_at(at, "`?` stands only in a test after `in`")),
            },
            Some(_) if self.lex.sees_number() => Ok(Node::Literal(self.lex.number())),
            _ => self.named(),
        }
    }

    /// A word that is a literal, a call or a name.
    fn named(&mut self) -> Result<Node, Error> {
        let at = self.lex.at;
        if let Some(call) = self.call()? {
            return Ok(call);
        }
        let quoted = self.lex.peek() == Some('`');
        if let Some(name) = self.lex.name(false)? {
            if !quoted && name == "function" {
                return Err(self.lex.error_of(ErrorKind::NotBuilt, at, "`function` as a value is not built yet"));
            }
            self.read(&name);
            return Ok(Node::Name(name));
        }
        let literal = match self.lex.word().as_deref() {
            Some("true") => Value::Bool(true),
            Some("false") => Value::Bool(false),
            Some("null") => Value::Null,
            Some("function") => {
                let message = "a function as a value is not built yet; it stands as an argument of a built-in";
                return Err(self.lex.error_of(ErrorKind::NotBuilt, at, message));
            }
            Some(word @ ("if" | "for" | "some" | "every")) => {
                let message = format!("`{word}` after an operator stands in brackets: `({word} …)`");
                return Err(self.lex.error_at(at, message));
            }
            _ if self.lex.sees("!") => {
                return Err(self.lex.error_at(at, "expected a value, found `!`; write `not(…)`"));
            }
            _ if self.lex.sees("'") => {
                return Err(self.lex.error_at(at, "expected a value, found `'`; strings stand in `\"`"));
            }
            _ => return Err(self.lex.expected("a value")),
        };
        self.lex.eat_word(&literal.to_string());
        Ok(Node::Literal(literal))
    }

    fn read(&mut self, name: &str) {
        if self.locals.iter().any(|local| local == name) {
            return;
        }
        if self.filters == 0 || self.known.contains(name) {
            self.needs.insert(name.to_owned());
        }
        self.reads.insert(name.to_owned());
    }

    pub(super) fn context(&mut self) -> Result<Node, Error> {
        self.expect("{")?;
        let (locals, scoped) = (self.locals.len(), self.lex.scoped.len());
        let mut entries: Vec<(String, Node)> = Vec::new();
        let mut more = !self.lex.eat("}");
        while more {
            self.lex.skip();
            let at = self.lex.at;
            let key = self.key()?;
            if entries.iter().any(|(other, _)| *other == key) {
                return Err(self.lex.error_at(at, format!("the key `{key}` stands twice in one context")));
            }
            self.expect(":")?;
            let value = self.expr()?;
            self.lex.declare(&key);
            self.locals.push(key.clone());
            entries.push((key, value));
            more = self.lex.eat(",");
            if !more && !self.lex.eat("}") {
                return Err(self.lex.expected("`,` or `}`"));
            }
        }
        self.locals.truncate(locals);
        self.lex.scoped.truncate(scoped);
        Ok(Node::Context(entries))
    }

    /// A string, a name in backquotes, or everything up to `:` that a name may hold.
    pub(super) fn key(&mut self) -> Result<String, Error> {
        match self.lex.peek() {
            Some('"') => return self.lex.string(),
            Some('`') => return self.lex.name(false)?.ok_or_else(|| self.lex.expected("a key")),
            Some(c) if starts_name(c) => {}
            _ => return Err(self.lex.expected("a key: a name or a string")),
        }
        let start = self.lex.at;
        let inner = |c: char| super::lex::continues_name(c) || c.is_whitespace() || "+-*/.'".contains(c);
        while self.lex.peek().is_some_and(inner) {
            self.lex.at += 1;
        }
        Ok(normal_name(&self.lex.since(start)))
    }
}

fn is_scalar(node: &Node) -> bool {
    matches!(node, Node::Literal(_))
}
