//! Assertions of Tracetest as conditions on a span.
//!
//! Duty: `attr:KEY OP LITERAL` to SQL, and counts of selected spans to a comparison. Guarantee: what a span does not have keeps to
//! nothing, as there; an expression beyond that form is refused at the character where it goes beyond. Left to others: whether
//! the condition fits (`plan`).

use super::select::{Key, Refusal, of_key};
use crate::gate::assertion::predicate::text as sql_text;

/// The longer ones first; `None`: it has no counterpart.
const OPS: [(&str, Option<Op>); 10] = [
    ("not-json-contains", None),
    ("json-contains", None),
    ("not-contains", Some(Op::Lacks)),
    ("contains", Some(Op::Contains)),
    ("!=", Some(Op::Sign("<>"))),
    ("<=", Some(Op::Sign("<="))),
    (">=", Some(Op::Sign(">="))),
    ("=", Some(Op::Sign("="))),
    ("<", Some(Op::Sign("<"))),
    (">", Some(Op::Sign(">"))),
];
const UNITS: [(&str, f64); 6] = [("ns", 1.0), ("us", 1e3), ("ms", 1e6), ("s", 1e9), ("m", 60e9), ("h", 3600e9)];
const EXAMPLE: &str =
    "write `attr:KEY OP LITERAL`, e.g. `attr:http.status_code = 200` or `attr:tracetest.span.duration < 200ms`";
/// How many spans the selector finds.
const COUNT: &str = "tracetest.selected_spans.count";

#[derive(Clone, Copy)]
enum Op {
    Sign(&'static str),
    Contains,
    Lacks,
}

/// What is asserted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asserted {
    /// A condition on each selected span.
    That(String),
    /// A comparison of their number.
    Count(String),
}

enum Literal {
    Text(String),
    Number(String),
    /// Nanoseconds.
    Duration(i64),
}

/// Reads one assertion.
pub(super) fn read(given: &str) -> Result<Asserted, Refusal> {
    let column = |rest: &str| given[..given.len() - rest.len()].chars().count() + 1;
    let refused = |rest: &str, what: String| Err((column(rest), what, EXAMPLE.to_owned()));
    let rest = given.trim_start();
    let Some(behind) = rest.strip_prefix("attr:") else {
        return refused(rest, "it does not begin with `attr:`".to_owned());
    };
    let end = behind.find(|c: char| c.is_whitespace() || matches!(c, '=' | '!' | '<' | '>' | '|' | '+' | '*' | ','));
    let (key, rest) = behind.split_at(end.unwrap_or(behind.len()));
    if key.is_empty() {
        return refused(behind, "no key follows `attr:`".to_owned());
    }
    let rest = rest.trim_start();
    let Some((sign, op)) = OPS.into_iter().find(|(sign, _)| rest.starts_with(sign)) else {
        let what = match rest.chars().next() {
            None => "it ends here, an operator is expected".to_owned(),
            Some('|') => "a filter has no counterpart".to_owned(),
            Some(found) => format!("`{found}` stands here, an operator is expected"),
        };
        return refused(rest, what);
    };
    let Some(op) = op else { return refused(rest, format!("`{sign}` has no counterpart")) };
    let behind = rest[sign.len()..].trim_start();
    let (literal, rest) = match literal(behind) {
        Ok(read) => read,
        Err(what) => return refused(behind, what),
    };
    if !rest.trim().is_empty() {
        let rest = rest.trim_start();
        return refused(rest, format!("`{}` goes beyond one comparison", rest.chars().take(40).collect::<String>()));
    }
    if key == COUNT {
        let Literal::Number(number) = &literal else { return refused(behind, "a number is expected".to_owned()) };
        let Op::Sign(sign) = op else { return refused(behind, format!("a count is not compared by `{sign}`")) };
        let sign = match sign {
            "=" => "==",
            "<>" => "!=",
            other => other,
        };
        return Ok(Asserted::Count(format!("{sign} {number}")));
    }
    match condition(key, op, &literal) {
        Ok(sql) => Ok(Asserted::That(sql)),
        Err(what) => refused(given.trim_start(), what),
    }
}

fn condition(key: &str, op: Op, literal: &Literal) -> Result<String, String> {
    let name = sql_text(key);
    // Tracetest shows what the resource has as attributes of each span.
    let of = |function: &str| format!("coalesce({function}(attributes, {name}), {function}(resource, {name}))");
    let is_order = matches!(op, Op::Sign("<" | "<=" | ">" | ">="));
    let (value, literal) = match (of_key(key), literal) {
        (Key::Foreign, _) => {
            return Err(format!(
                "`{key}` is made by Tracetest, no span has it: name an attribute that the service sends"
            ));
        }
        (Key::Column("duration"), Literal::Duration(ns)) => ("duration_ns".to_owned(), ns.to_string()),
        // Without a unit they are nanoseconds there too.
        (Key::Column("duration"), Literal::Number(number)) => ("duration_ns".to_owned(), number.clone()),
        (Key::Column("duration"), Literal::Text(_)) => return Err("a duration is compared with text".to_owned()),
        (Key::Column(column), Literal::Text(text)) => {
            let column = if column == "service" { "service_name" } else { column };
            (format!("CAST({column} AS TEXT)"), sql_text(text))
        }
        (Key::Column(column), _) => return Err(format!("`{column}` is text, put the literal in quotes")),
        (Key::Resource | Key::Attribute, Literal::Text(text)) => (of("attr_text"), sql_text(text)),
        (Key::Resource | Key::Attribute, Literal::Number(number)) => (of("attr_float"), number.clone()),
        (Key::Resource | Key::Attribute, Literal::Duration(_)) => {
            return Err(
                "only `tracetest.span.duration` is compared with a duration; attributes have no unit".to_owned()
            );
        }
    };
    let is_text = literal.starts_with('\'');
    match op {
        Op::Sign(_) if is_order && is_text => Err("text has no order here; remove the quotes of the number".to_owned()),
        Op::Sign(sign) => Ok(format!("{value} {sign} {literal}")),
        Op::Contains | Op::Lacks if !is_text => Err("`contains` looks for text; put it in quotes".to_owned()),
        Op::Contains => Ok(format!("contains({value}, {literal})")),
        Op::Lacks => Ok(format!("NOT contains({value}, {literal})")),
    }
}

/// A literal and what stands behind it.
fn literal(text: &str) -> Result<(Literal, &str), String> {
    let Some(first) = text.chars().next() else { return Err("it ends here, a literal is expected".to_owned()) };
    if matches!(first, '"' | '\'' | '`') {
        let mut value = String::new();
        let mut letters = text[1..].char_indices();
        while let Some((at, c)) = letters.next() {
            match c {
                '\\' => value.extend(letters.next().map(|(_, c)| c)),
                c if c == first && value.contains("${") => return Err("a variable has no counterpart".to_owned()),
                c if c == first => return Ok((Literal::Text(value), &text[1 + at + 1..])),
                c => value.push(c),
            }
        }
        return Err("the quote is not closed".to_owned());
    }
    if !(first.is_ascii_digit() || first == '-') {
        let word: String = text.chars().take_while(|c| !c.is_whitespace()).take(40).collect();
        return Err(format!("`{word}` is no literal: text in quotes, a number or a duration is"));
    }
    let end = text[1..].find(|c: char| !(c.is_ascii_digit() || c == '.')).map_or(text.len(), |at| at + 1);
    let (number, rest) = text.split_at(end);
    let value: f64 = number.parse().map_err(|_| format!("`{number}` is no number"))?;
    let end = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (unit, rest) = rest.split_at(end);
    if unit.is_empty() {
        return Ok((Literal::Number(number.to_owned()), rest));
    }
    let Some((_, factor)) = UNITS.into_iter().find(|(known, _)| *known == unit) else {
        return Err(format!("there is no unit `{unit}`"));
    };
    let ns = (value * factor).round();
    #[allow(clippy::cast_possible_truncation, reason = "the range is checked")]
    match (0.0..=9.0e15).contains(&ns) {
        true => Ok((Literal::Duration(ns as i64), rest)),
        false => Err("the duration is negative or longer than 104 days".to_owned()),
    }
}
