//! Tests after `in`, types after `instance of`, lists and ranges.
//!
//! Duty: the part of the grammar where brackets have several meanings. Guarantee: as `parse`: a bracket is read once, and
//! what follows in it decides whether it is a list, a group or a range. Left to others: expressions (`parse`).

use super::ast::{Kind, Node, Range, Test};
use super::parse::Parser;
use super::value::Type;
use super::{Error, ErrorKind};

/// What a bracket was.
pub(super) enum Bracket {
    Node(Node),
    Range(Range),
}

impl Parser<'_> {
    pub(super) fn comparison(&mut self, left: Node, word: &str) -> Result<Node, Error> {
        self.expect_word(word)?;
        match word {
            "between" => {
                let from = self.binary(4)?;
                self.expect_word("and")?;
                Ok(Node::Between(Box::new([left, from, self.binary(4)?])))
            }
            "instance" => {
                self.expect_word("of")?;
                Ok(Node::InstanceOf(Box::new(left), self.kind()?))
            }
            _ => Ok(Node::In(Box::new(left), self.tests()?)),
        }
    }

    pub(super) fn kind(&mut self) -> Result<Kind, Error> {
        self.enter()?;
        self.lex.skip();
        let at = self.lex.at;
        let word = self.lex.word().unwrap_or_default();
        self.lex.at += word.chars().count();
        let kind = match word.as_str() {
            "Any" => Kind::Any,
            "boolean" => Kind::Of(Type::Boolean),
            "number" => Kind::Of(Type::Number),
            "string" => Kind::Of(Type::String),
            "context" => Kind::Of(Type::Context),
            "list" if self.lex.eat("<") => {
                let inner = self.kind()?;
                self.expect(">")?;
                Kind::ListOf(Box::new(inner))
            }
            "list" => Kind::Of(Type::List),
            "date" | "time" | "days" | "years" | "range" | "function" => {
                return Err(self.lex.error_of(ErrorKind::NotBuilt, at, format!("the type `{word}` is not built yet")));
            }
            _ => {
                let message = "expected one of `Any` `boolean` `number` `string` `list` `list<…>` `context`";
                return Err(self.lex.error_at(at, message));
            }
        };
        self.depth -= 1;
        Ok(kind)
    }

    /// What follows `in`: one test, or several in brackets.
    fn tests(&mut self) -> Result<Vec<Test>, Error> {
        if !self.lex.eat("(") {
            return Ok(vec![self.test(4)?]);
        }
        self.enter()?;
        let first = self.test(0)?;
        let tests = match first {
            Test::Value(from, _) if self.lex.eat("..") => vec![Test::Range(self.range(from, false)?)],
            first => {
                let mut tests = vec![first];
                while self.lex.eat(",") {
                    tests.push(self.test(0)?);
                }
                self.expect(")")?;
                tests
            }
        };
        self.depth -= 1;
        // one value in brackets may only be the beginning of a longer one
        match <[Test; 1]>::try_from(tests) {
            Ok([Test::Value(node, input)]) => {
                let node = self.steps(node)?;
                Ok(vec![Test::Value(self.binary_from(node, 4)?, input)])
            }
            Ok([test]) => Ok(vec![test]),
            Err(tests) => Ok(tests),
        }
    }

    pub(super) fn test(&mut self, least: u8) -> Result<Test, Error> {
        self.enter()?;
        self.lex.skip();
        let test = if let Some(relation) = self.relation() {
            self.lex.at += relation.text().len();
            Test::Relation(relation, self.binary(4)?)
        } else if self.lex.peek() == Some('-') && self.ends_after(1) {
            self.lex.at += 1;
            Test::Any
        } else if self.lex.matches(&['n', 'o', 't']).is_some_and(|n| self.opens_after(n)) {
            self.expect_word("not")?;
            self.expect("(")?;
            let mut tests = vec![self.test(0)?];
            while self.lex.eat(",") {
                tests.push(self.test(0)?);
            }
            self.expect(")")?;
            Test::Not(tests)
        } else {
            self.inputs.push(false);
            let bracket = match self.lex.peek() {
                Some('[' | ']') => self.list_or_range()?,
                Some('(') => self.group_or_range()?,
                _ if least == 0 => Bracket::Node(self.expr()?),
                _ => Bracket::Node(self.unary()?),
            };
            let test = match bracket {
                Bracket::Range(range) => Test::Range(range),
                Bracket::Node(node) => {
                    let node = self.steps(node)?;
                    let node = self.binary_from(node, least)?;
                    Test::Value(node, self.inputs.last() == Some(&true))
                }
            };
            self.inputs.pop();
            test
        };
        self.depth -= 1;
        Ok(test)
    }

    /// Whether a test ends `ahead` characters from here.
    pub(super) fn ends_after(&mut self, ahead: usize) -> bool {
        let at = self.lex.at;
        self.lex.at += ahead;
        self.lex.skip();
        let ends = matches!(self.lex.peek(), None | Some(')' | ',' | ']' | '}'))
            || matches!(self.lex.word().as_deref(), Some("and" | "or" | "then" | "else" | "return" | "satisfies"));
        self.lex.at = at;
        ends
    }

    /// Whether `(` stands `ahead` characters from here.
    pub(super) fn opens_after(&mut self, ahead: usize) -> bool {
        let at = self.lex.at;
        self.lex.at += ahead;
        self.lex.skip();
        let opens = self.lex.peek() == Some('(');
        self.lex.at = at;
        opens
    }

    pub(super) fn domain(&mut self) -> Result<(Node, Option<Node>), Error> {
        self.lex.skip();
        if self.lex.peek() == Some('[') {
            self.enter()?;
            let at = self.lex.at;
            let bracket = self.list_or_range()?;
            self.depth -= 1;
            return match bracket {
                Bracket::Range(Range { from, from_included: true, to, to_included: true }) => Ok((from, Some(to))),
                Bracket::Range(_) => Err(self.lex.error_at(at, "a range to go through includes both ends: `a..b`")),
                Bracket::Node(list) => {
                    let list = self.steps(list)?;
                    Ok((self.binary_from(list, 0)?, None))
                }
            };
        }
        let from = self.expr()?;
        let to = if self.lex.eat("..") { Some(self.expr()?) } else { None };
        Ok((from, to))
    }

    /// The rest of a range, after `..`.
    fn range(&mut self, from: Node, from_included: bool) -> Result<Range, Error> {
        let outer = std::mem::replace(&mut self.range_end, true);
        let to = self.binary(4)?;
        self.range_end = outer;
        let to_included = match () {
            () if self.lex.eat("]") => true,
            () if self.lex.eat(")") || self.lex.eat("[") => false,
            () => return Err(self.lex.expected("`]`, `)` or `[` after the end of a range")),
        };
        Ok(Range { from, from_included, to, to_included })
    }

    /// `[…]`, `[a..b]` or `]a..b]`.
    pub(super) fn list_or_range(&mut self) -> Result<Bracket, Error> {
        if self.lex.eat("]") {
            let from = self.expr()?;
            self.expect("..")?;
            return Ok(Bracket::Range(self.range(from, false)?));
        }
        self.expect("[")?;
        let mut items = Vec::new();
        if self.lex.eat("]") {
            return Ok(Bracket::Node(Node::List(items)));
        }
        loop {
            let item = self.expr()?;
            if items.is_empty() && self.lex.eat("..") {
                return Ok(Bracket::Range(self.range(item, true)?));
            }
            items.push(item);
            if !self.lex.eat(",") {
                break;
            }
        }
        if !self.lex.eat("]") {
            return Err(self.lex.expected("`,` or `]`"));
        }
        Ok(Bracket::Node(Node::List(items)))
    }

    /// `(…)` or `(a..b]`.
    pub(super) fn group_or_range(&mut self) -> Result<Bracket, Error> {
        self.expect("(")?;
        let inner = self.expr()?;
        if self.lex.eat("..") {
            return Ok(Bracket::Range(self.range(inner, false)?));
        }
        self.expect(")")?;
        Ok(Bracket::Node(inner))
    }

    pub(super) fn stray_range(&self, at: usize) -> Error {
        let message = "a range as a value is not built yet; it stands after `in`, and as `a..b` in `for`";
        self.lex.error_of(ErrorKind::NotBuilt, at, message)
    }
}
