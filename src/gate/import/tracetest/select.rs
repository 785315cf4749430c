//! Selectors of Tracetest in our words.
//!
//! Duty: a selector to one of gates.md 13 that selects the same spans. Guarantee: a key that Tracetest makes itself becomes the
//! column that holds it, or is refused with what to write in its stead; it never stays a key that no span has. Left to others:
//! the grammar (`assertion::selector`).

use crate::gate::assertion::selector::{About, Column, Field, Literal, Narrowed, Op, Relation, Selector, Step, Test};

/// Keys that the conventions define on resources alone: Tracetest shows them as attributes of each span.
const RESOURCE: [&str; 12] = [
    "cloud.",
    "container.",
    "deployment.",
    "device.",
    "host.",
    "k8s.",
    "os.",
    "process.",
    "service.",
    "telemetry.sdk.",
    "telemetry.distro.",
    "webengine.",
];

/// What a `tracetest.span.type` is made of there.
const TYPES: [(&str, &str); 6] = [
    ("http", "exists(attr.\"http.request.method\")"),
    ("database", "exists(attr.\"db.system.name\")"),
    ("rpc", "exists(attr.\"rpc.system\")"),
    ("messaging", "exists(attr.\"messaging.system\")"),
    ("faas", "exists(attr.\"faas.trigger\")"),
    ("exception", "exists(attr.\"exception.type\")"),
];

/// Why it cannot be said: a column of the text from 1, what, and the next move.
pub(super) type Refusal = (usize, String, String);

/// `given` in our words.
pub(super) fn read(given: &str) -> Result<String, Refusal> {
    if given.trim().is_empty() {
        // There it is every span.
        return Ok("span".to_owned());
    }
    let (ours, columns) = in_our_words(given);
    let column = |at: usize| columns.get(at.saturating_sub(1)).copied().unwrap_or(given.chars().count() + 1);
    let selector = Selector::parse(&ours).map_err(|fault| (column(fault.column), fault.what, fault.next))?;
    let mut paths = Vec::new();
    for steps in &selector.paths {
        let mut written = String::new();
        for step in steps {
            written.push_str(match step.relation {
                Relation::Anywhere => "",
                Relation::Descendant => " ",
                Relation::Child => " > ",
                Relation::LaterSibling => " ~ ",
            });
            written.push_str(&of_step(step, given)?);
        }
        paths.push(written);
    }
    Ok(paths.join(", "))
}

/// `given` with the keys that are columns here under our words, and the column in `given` of each of its characters. What is
/// an attribute there and a column here is named as an attribute.
fn in_our_words(given: &str) -> (String, Vec<usize>) {
    let chars: Vec<char> = given.chars().collect();
    let (mut ours, mut columns) = (String::new(), Vec::new());
    let mut put = |text: &str, column: usize| {
        ours.push_str(text);
        columns.extend(text.chars().map(|_| column));
    };
    let is_of_key = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut at = 0;
    while let Some(c) = chars.get(at).copied() {
        let from = at;
        if matches!(c, '"' | '\'') {
            // Up to the sign that it begins with.
            at += 1;
            while let Some(inner) = chars.get(at).copied().filter(|inner| *inner != c) {
                at += if inner == '\\' { 2 } else { 1 };
            }
            at = (at + 1).min(chars.len());
            chars[from..at].iter().enumerate().for_each(|(i, c)| put(c.to_string().as_str(), from + i + 1));
            continue;
        }
        while chars.get(at).copied().is_some_and(is_of_key) {
            at += 1;
        }
        at = at.max(from + 1);
        let word: String = chars[from..at].iter().collect();
        match (word.as_str(), of_key(&word)) {
            (_, Key::Column(column)) => put(column, from + 1),
            ("status" | "service" | "type" | "duration", _) => put(&format!("attr.\"{word}\""), from + 1),
            _ => chars[from..at].iter().enumerate().for_each(|(i, c)| put(c.to_string().as_str(), from + i + 1)),
        }
    }
    (ours, columns)
}

fn of_step(step: &Step, given: &str) -> Result<String, Refusal> {
    let tests: Vec<String> = step.tests.iter().map(|test| of_test(test, given)).collect::<Result<_, _>>()?;
    let mut written = match tests.is_empty() {
        true => "span".to_owned(),
        false => format!("span[{}]", tests.join(" ")),
    };
    for narrowed in &step.narrowed {
        written.push_str(&match narrowed {
            Narrowed::Root => ":root".to_owned(),
            Narrowed::Leaf => ":leaf".to_owned(),
            Narrowed::Error => ":error".to_owned(),
            Narrowed::Nth(1) => ":first".to_owned(),
            Narrowed::Nth(rank) => format!(":nth({rank})"),
            Narrowed::Last => ":last".to_owned(),
        });
    }
    Ok(written)
}

fn of_test(test: &Test, given: &str) -> Result<String, Refusal> {
    let inner = match &test.about {
        About::Exists(field) => format!("exists({})", of_field(field, None, given)?),
        About::Compared(field, op, literal) => {
            let field = of_field(field, Some(literal), given)?;
            let op = if *op == Op::Contains { " contains " } else { op.as_str() };
            format!("{field}{op}{}", of_literal(literal))
        }
    };
    Ok(if test.is_negated { format!("not({inner})") } else { inner })
}

fn of_field(field: &Field, literal: Option<&Literal>, given: &str) -> Result<String, Refusal> {
    match field {
        Field::Column(column) => Ok(match column {
            Column::Name => "name",
            Column::Kind => "kind",
            Column::Status => "status",
            Column::Service => "service",
            Column::Type => "type",
            Column::Duration => "duration",
        }
        .to_owned()),
        Field::Resource(key) => Ok(format!("resource.{}", quoted(key))),
        Field::Attribute(key) => match of_key(key) {
            Key::Column(_) | Key::Attribute => Ok(format!("attr.{}", quoted(key))),
            Key::Resource => Ok(format!("resource.{}", quoted(key))),
            Key::Foreign => {
                let column = given.find(key.as_str()).map_or(1, |at| given[..at].chars().count() + 1);
                Err((column, format!("`{key}` is made by Tracetest, no span has it"), instead(key, literal)))
            }
        },
    }
}

/// What to write instead of a key that Tracetest makes.
fn instead(key: &str, literal: Option<&Literal>) -> String {
    if key != "tracetest.span.type" {
        return "name an attribute that the service sends".to_owned();
    }
    let known = match literal {
        Some(Literal::Text(value)) => TYPES.into_iter().find(|(name, _)| name == value),
        _ => None,
    };
    match known {
        Some((_, test)) => format!("write what tells such a span, as your services send it, e.g. `{test}`"),
        None => "write what tells such a span, e.g. `kind=\"server\"`".to_owned(),
    }
}

/// What a key of Tracetest is here.
pub(super) enum Key {
    /// A word of selectors.
    Column(&'static str),
    /// A key of the resource.
    Resource,
    /// A key of the span.
    Attribute,
    /// Nothing.
    Foreign,
}

pub(super) fn of_key(key: &str) -> Key {
    match key {
        "name" | "tracetest.span.name" => Key::Column("name"),
        "kind" | "tracetest.span.kind" => Key::Column("kind"),
        "tracetest.span.duration" => Key::Column("duration"),
        "service.name" => Key::Column("service"),
        _ if key.starts_with("tracetest.") => Key::Foreign,
        _ if RESOURCE.iter().any(|prefix| key.starts_with(prefix)) => Key::Resource,
        _ => Key::Attribute,
    }
}

fn of_literal(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => quoted(text),
        Literal::Number(number) => number.clone(),
        Literal::Duration(ns) => format!("{ns}ns"),
        Literal::Bool(value) => value.to_string(),
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
