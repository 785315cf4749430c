//! The grammar of selectors: `path { "," path }`, `step { (" " | ">" | "~") step }`, `span[test, test]:pseudo`.
//!
//! Duty: characters to paths, and which operators and literals fit a field. Guarantee: the first fault with its column; each
//! loop takes a character or ends. Left to others: the types (the parent).

use super::{
    About, Column, Fault, Field, Literal, MOST_BYTES, MOST_NOTS, MOST_PATHS, MOST_STAGES, MOST_TESTS, Narrowed, Op,
    Relation, Step, Test,
};
use crate::yaml::nearest;

type Read<T> = Result<T, Fault>;

/// Largest program that a regular expression may become, in bytes: as SQL has it (sql.md 7).
const COMPILED_BYTES: usize = 1 << 20;

const COLUMNS: [(&str, Column); 6] = [
    ("name", Column::Name),
    ("kind", Column::Kind),
    ("status", Column::Status),
    ("service", Column::Service),
    ("type", Column::Type),
    ("duration", Column::Duration),
];
const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
const STATUS: [&str; 3] = ["unset", "ok", "error"];
/// The longer ones first.
const OPS: [(&str, Op); 11] = [
    ("!=", Op::IsNot),
    ("^=", Op::StartsWith),
    ("$=", Op::EndsWith),
    ("*=", Op::Contains),
    ("~=", Op::Matches),
    (">=", Op::AtLeast),
    ("<=", Op::AtMost),
    ("contains", Op::Contains),
    ("=", Op::Is),
    (">", Op::Above),
    ("<", Op::Below),
];
const UNITS: [(&str, f64); 6] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
/// Above 2^53 ns, 104 days, a double holds no single nanoseconds.
const LONGEST_NS: f64 = 9.0e15;
const PSEUDO: [&str; 7] = ["root", "leaf", "error", "first", "last", "nth", "nth_child"];

/// The paths of `text`.
pub(super) fn paths(text: &str) -> Read<Vec<Vec<Step>>> {
    if text.len() > MOST_BYTES {
        let what = format!("the selector has {} bytes, at most {MOST_BYTES} are read", text.len());
        return fault_at(0, what, "split it into several checks");
    }
    let mut reader = Reader { chars: text.chars().collect(), at: 0 };
    let mut paths = vec![reader.path()?];
    while reader.take(',') {
        if paths.len() == MOST_PATHS {
            return reader.fault(format!("there are more than {MOST_PATHS} paths"), "split it into several checks");
        }
        paths.push(reader.path()?);
    }
    match reader.peek() {
        None => Ok(paths),
        Some(_) => reader.unexpected("`,` or the end is expected", "separate steps with a blank, `>` or `~`"),
    }
}

fn fault_at<T>(at: usize, what: impl Into<String>, next: impl Into<String>) -> Read<T> {
    Err(Fault { column: at + 1, what: what.into(), next: next.into() })
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn fault<T>(&self, what: impl Into<String>, next: impl Into<String>) -> Read<T> {
        fault_at(self.at, what, next)
    }

    /// A fault here, which names what stands here.
    fn unexpected<T>(&self, expected: &str, next: impl Into<String>) -> Read<T> {
        let found = match self.peek() {
            None => "it ends here".to_owned(),
            Some(found) => format!("`{found}` stands here"),
        };
        self.fault(format!("{found}, {expected}"), next)
    }

    /// Whether `sign` stands here; then it is behind.
    fn take(&mut self, sign: char) -> bool {
        let is_here = self.peek() == Some(sign);
        self.at += usize::from(is_here);
        is_here
    }

    fn expect(&mut self, sign: char, next: &str) -> Read<()> {
        match self.take(sign) {
            true => Ok(()),
            false => self.unexpected(&format!("`{sign}` is expected"), next),
        }
    }

    /// Whether there were blanks.
    fn blanks(&mut self) -> bool {
        !self.run(char::is_whitespace).is_empty()
    }

    /// The characters from here for which `fits` holds.
    fn run(&mut self, fits: fn(char) -> bool) -> String {
        let from = self.at;
        while self.peek().is_some_and(fits) {
            self.at += 1;
        }
        self.chars[from..self.at].iter().collect()
    }

    fn starts_with(&self, text: &str) -> bool {
        let mut here = self.chars[self.at..].iter().copied();
        text.chars().all(|c| here.next() == Some(c))
    }

    fn path(&mut self) -> Read<Vec<Step>> {
        self.blanks();
        let mut steps = Vec::new();
        let (mut relation, mut stages) = (Relation::Anywhere, 0);
        loop {
            let from = self.at;
            let step = self.step(relation)?;
            stages += 1 + step.narrowed.iter().filter(|narrowed| narrowed.is_rank()).count();
            if stages > MOST_STAGES {
                let what = format!("the path has more than {MOST_STAGES} steps and ranks");
                return fault_at(from, what, "shorten it: a blank reaches spans at any depth");
            }
            steps.push(step);
            let is_apart = self.blanks();
            relation = match self.peek() {
                Some('>') => Relation::Child,
                Some('~') => Relation::LaterSibling,
                None | Some(',') => return Ok(steps),
                Some(_) if is_apart => Relation::Descendant,
                Some(_) => {
                    let expected = "`:`, `,`, a blank or the end is expected";
                    return self.unexpected(expected, "a step is e.g. `span[name=\"charge\"]:first`");
                }
            };
            if relation != Relation::Descendant {
                self.at += 1;
                self.blanks();
            }
        }
    }

    fn step(&mut self, relation: Relation) -> Read<Step> {
        let from = self.at;
        let word = self.run(is_of_word);
        if word != "span" {
            self.at = from;
            let next = "a step is `span`, with tests `span[name=\"charge\"]`";
            return match word.as_str() {
                "" => self.unexpected("`span` is expected", next),
                _ => self.fault(format!("`{}` stands here, `span` is expected", short(&word)), next),
            };
        }
        let tests = if self.take('[') { self.tests()? } else { Vec::new() };
        let mut narrowed = Vec::new();
        while self.take(':') {
            if narrowed.len() == MOST_TESTS {
                return self.fault(format!("there are more than {MOST_TESTS} pseudo-classes"), "remove some");
            }
            narrowed.push(self.pseudo()?);
        }
        Ok(Step { relation, tests, narrowed })
    }

    /// Behind `[`, up to and with `]`.
    fn tests(&mut self) -> Read<Vec<Test>> {
        let mut tests = Vec::new();
        self.blanks();
        if self.take(']') {
            return Ok(tests);
        }
        loop {
            if tests.len() == MOST_TESTS {
                return self.fault(format!("the step has more than {MOST_TESTS} tests"), "remove some");
            }
            tests.push(self.test()?);
            let is_apart = self.blanks();
            if self.take(']') {
                return Ok(tests);
            }
            if self.take(',') {
                self.blanks();
            } else if !is_apart || self.peek().is_none() {
                return self.unexpected("`]`, `,` or a blank is expected", "end the tests with `]`");
            }
        }
    }

    fn test(&mut self) -> Read<Test> {
        let mut nots = 0;
        while self.call("not") {
            nots += 1;
            if nots > MOST_NOTS {
                return self.fault(format!("there are more than {MOST_NOTS} `not(`"), "two of them cancel each other");
            }
            self.blanks();
        }
        let about = if self.call("exists") {
            self.blanks();
            let field = self.field()?;
            self.blanks();
            self.expect(')', "write e.g. `exists(attr.\"http.route\")`")?;
            About::Exists(field)
        } else {
            self.compared()?
        };
        for _ in 0..nots {
            self.blanks();
            self.expect(')', "close the `not(`")?;
        }
        Ok(Test { is_negated: nots % 2 == 1, about })
    }

    /// Whether `word(` stands here; then it is behind.
    fn call(&mut self, word: &str) -> bool {
        let from = self.at;
        if self.run(is_of_key) == word {
            self.blanks();
            if self.take('(') {
                return true;
            }
        }
        self.at = from;
        false
    }

    fn compared(&mut self) -> Read<About> {
        let field = self.field()?;
        self.blanks();
        let op_at = self.at;
        let op = self.op()?;
        self.blanks();
        let literal_at = self.at;
        let literal = self.literal()?;
        fits(&field, (op, op_at), (&literal, literal_at))?;
        Ok(About::Compared(field, op, literal))
    }

    fn field(&mut self) -> Read<Field> {
        let from = self.at;
        let word = self.run(is_of_key);
        let is_quoted = matches!(self.peek(), Some('"' | '\''));
        match word.as_str() {
            "attr." if is_quoted => return Ok(Field::Attribute(self.key()?)),
            "resource." if is_quoted => return Ok(Field::Resource(self.key()?)),
            _ => {}
        }
        let behind = std::mem::replace(&mut self.at, from);
        for prefix in ["attr", "resource"] {
            // As a bare key it would be an attribute of that whole name, which nobody means.
            let Some(rest) = word.strip_prefix(prefix) else { continue };
            if rest.is_empty() || rest.starts_with('.') {
                let key = rest.strip_prefix('.').filter(|key| !key.is_empty()).unwrap_or("service.version");
                let next = format!("write `{prefix}.\"{}\"`", short(key));
                return self.fault(format!("`{prefix}.` is followed by a key in quotes"), next);
            }
        }
        if let Some((_, column)) = COLUMNS.into_iter().find(|(name, _)| *name == word) {
            self.at = behind;
            return Ok(Field::Column(column));
        }
        let begins = word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if begins && word.contains('.') && word.split('.').all(|part| !part.is_empty()) {
            self.at = behind;
            return Ok(Field::Attribute(word));
        }
        if word.is_empty() {
            return self.unexpected("a test is expected", "a test is e.g. `name=\"charge\"`");
        }
        let next = match nearest(&word, COLUMNS.into_iter().map(|(name, _)| name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "fields are name, kind, status, service, type, duration, `attr.\"k\"`, `resource.\"k\"` and keys with a dot"
                .to_owned(),
        };
        self.fault(format!("there is no field `{}`", short(&word)), next)
    }

    /// A key in quotes.
    fn key(&mut self) -> Read<String> {
        let from = self.at;
        let key = self.quoted()?;
        match key.is_empty() {
            true => fault_at(from, "the key is empty", "name an attribute"),
            false => Ok(key),
        }
    }

    fn op(&mut self) -> Read<Op> {
        if self.starts_with("==") {
            return self.fault("`==` is no operator", "equality is `=`");
        }
        let Some((sign, op)) = OPS.into_iter().find(|(sign, _)| self.starts_with(sign)) else {
            return self.unexpected("an operator is expected", "there are = != ^= $= *= contains ~= > >= < <=");
        };
        self.at += sign.len();
        Ok(op)
    }

    fn literal(&mut self) -> Read<Literal> {
        match self.peek() {
            Some('"' | '\'') => return self.quoted().map(Literal::Text),
            Some(c) if c.is_ascii_digit() || c == '-' => return self.number(),
            _ => {}
        }
        let from = self.at;
        let word = self.run(is_of_key);
        match word.as_str() {
            "true" => return Ok(Literal::Bool(true)),
            "false" => return Ok(Literal::Bool(false)),
            _ => self.at = from,
        }
        let next = "write text in quotes, a number, a duration as 200ms, true or false";
        match word.as_str() {
            "" => self.unexpected("a literal is expected", next),
            _ => self.fault(format!("`{}` is no literal", short(&word)), next),
        }
    }

    /// Text between two quotes of one kind; `\` takes the next character as it is.
    fn quoted(&mut self) -> Read<String> {
        let from = self.at;
        let sign = self.peek();
        self.at += 1;
        let mut text = String::new();
        loop {
            let is_escaped = self.take('\\');
            match self.peek() {
                None => return fault_at(from, "the quote is not closed", "end it with the sign it begins with"),
                Some('\0') => return self.fault("a NUL stands here", "remove it"),
                found if found == sign && !is_escaped => break,
                Some(found) => text.push(found),
            }
            self.at += 1;
        }
        self.at += 1;
        Ok(text)
    }

    /// A number, or a duration where a unit follows.
    fn number(&mut self) -> Read<Literal> {
        let from = self.at;
        let sign = if self.take('-') { "-" } else { "" };
        let whole = self.run(|c| c.is_ascii_digit());
        let mut text = format!("{sign}{whole}");
        if self.peek() == Some('.') && self.chars.get(self.at + 1).is_some_and(char::is_ascii_digit) {
            self.at += 1;
            text = format!("{text}.{}", self.run(|c| c.is_ascii_digit()));
        }
        if self.peek() == Some('e') && self.chars.get(self.at + 1).is_some_and(|c| c.is_ascii_digit() || *c == '-') {
            self.at += 1;
            let minus = if self.take('-') { "-" } else { "" };
            text = format!("{text}e{minus}{}", self.run(|c| c.is_ascii_digit()));
        }
        let unit_at = self.at;
        let unit = self.run(is_of_key);
        let value = text.parse::<f64>().unwrap_or(f64::NAN);
        if whole.is_empty() || !value.is_finite() {
            return fault_at(from, format!("`{}` is no number", short(&text)), "write e.g. 200, 0.5 or 200ms");
        }
        if unit.is_empty() {
            return Ok(Literal::Number(text));
        }
        let Some((_, ns)) = UNITS.into_iter().find(|(known, _)| *known == unit) else {
            return fault_at(unit_at, format!("there is no unit `{}`", short(&unit)), "units are ns us ms s m h");
        };
        let total = (value * ns).round();
        #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
        match (0.0..=LONGEST_NS).contains(&total) {
            true => Ok(Literal::Duration(total as i64)),
            false => fault_at(from, "the duration is negative or longer than 104 days", "change it"),
        }
    }

    /// Behind `:`.
    fn pseudo(&mut self) -> Read<Narrowed> {
        let from = self.at;
        let word = self.run(is_of_word);
        Ok(match word.as_str() {
            "root" => Narrowed::Root,
            "leaf" => Narrowed::Leaf,
            "error" => Narrowed::Error,
            "first" => Narrowed::Nth(1),
            "last" => Narrowed::Last,
            "nth" | "nth_child" => Narrowed::Nth(self.rank()?),
            _ => {
                self.at = from;
                let next = match nearest(&word, PSEUDO) {
                    Some(near) => format!("did you mean `:{near}`?"),
                    None => "there are :root :leaf :error :first :last :nth(N)".to_owned(),
                };
                return match word.as_str() {
                    "" => self.unexpected("a pseudo-class is expected", next),
                    _ => self.fault(format!("there is no pseudo-class `:{}`", short(&word)), next),
                };
            }
        })
    }

    /// `(N)`
    fn rank(&mut self) -> Read<u32> {
        self.expect('(', "write e.g. `:nth(2)`")?;
        self.blanks();
        let from = self.at;
        let digits = self.run(|c| c.is_ascii_digit());
        if digits.is_empty() {
            return self.unexpected("a number is expected", "ranks count from 1");
        }
        let Some(rank) = digits.parse().ok().filter(|rank| *rank > 0) else {
            return fault_at(from, format!("`{}` is no rank", short(&digits)), "ranks count from 1");
        };
        self.blanks();
        self.expect(')', "write e.g. `:nth(2)`")?;
        Ok(rank)
    }
}

const fn is_of_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

const fn is_of_key(c: char) -> bool {
    is_of_word(c) || matches!(c, '.' | '-')
}

/// What was written, short enough for a message.
fn short(text: &str) -> String {
    text.chars().take(60).collect()
}

/// Whether `op` and `literal` mean something for `field`.
fn fits(field: &Field, (op, op_at): (Op, usize), (literal, literal_at): (&Literal, usize)) -> Read<()> {
    let no_op = |takes: &str| {
        fault_at(op_at, format!("`{}` does not fit here", op.as_str()), format!("it is compared by {takes}"))
    };
    let no_literal = |what: &str, next: &str| fault_at(literal_at, what, next);
    match (field, literal) {
        (Field::Column(Column::Duration), Literal::Duration(_)) => match op.is_order() || op.is_equality() {
            true => Ok(()),
            false => no_op("= != > >= < <="),
        },
        (Field::Column(Column::Duration), _) => no_literal("a duration is expected", "write it with a unit, as 200ms"),
        (Field::Column(Column::Kind), Literal::Text(text)) if op.is_equality() => word(text, &KINDS, literal_at),
        (Field::Column(Column::Status), Literal::Text(text)) if op.is_equality() => word(text, &STATUS, literal_at),
        (Field::Column(Column::Kind | Column::Status), Literal::Text(_)) => no_op("= !="),
        (Field::Column(_), Literal::Text(_)) if op.is_order() => no_op("= != ^= $= *= ~="),
        (Field::Column(_), Literal::Text(text)) => pattern(op, text, literal_at),
        (Field::Column(_), _) => no_literal("text is expected", "put it in quotes"),
        (_, Literal::Text(_)) if op.is_order() => no_literal("a number is expected", "remove the quotes"),
        (_, Literal::Text(text)) => pattern(op, text, literal_at),
        (_, Literal::Number(_)) => match op.is_order() || op.is_equality() {
            true => Ok(()),
            false => no_literal("text is expected", "put it in quotes"),
        },
        (_, Literal::Bool(_)) => match op.is_equality() {
            true => Ok(()),
            false => no_op("= !="),
        },
        (_, Literal::Duration(_)) => {
            no_literal("an attribute has no unit", "write a number in the unit of the attribute")
        }
    }
}

/// Whether `text` is one of `words`.
fn word(text: &str, words: &[&'static str], at: usize) -> Read<()> {
    if words.contains(&text) {
        return Ok(());
    }
    let next = match nearest(text, words.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "choose one of them".to_owned(),
    };
    fault_at(at, format!("`{}` is none of {}", short(text), words.join(", ")), next)
}

/// Whether a regular expression is one.
fn pattern(op: Op, text: &str, at: usize) -> Read<()> {
    if op != Op::Matches {
        return Ok(());
    }
    match regex::RegexBuilder::new(text).size_limit(COMPILED_BYTES).build() {
        Ok(_) => Ok(()),
        Err(error) => {
            // Its last line says what; those before draw where.
            let said = error.to_string();
            let why = said.lines().last().unwrap_or_default().trim().trim_start_matches("error: ");
            fault_at(at, format!("the pattern is no regular expression: {why}"), "write one as SQL takes it")
        }
    }
}
