//! Values: what expressions read and give.
//!
//! Duty: the closed set of values, their equality, FEEL text and stored form. Guarantee: equal values have equal text
//! and equal stored bytes; numbers made by [`Value::number`] are canonical. Left to others: operators (`compare`,
//! `eval`), JSON (`json`).

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter, Write};

use bigdecimal::BigDecimal;
use serde::{Deserialize, Serialize};

use super::number;

/// A value. Equal values have equal text.
///
/// Stored by serde as an enum of its variants in this order, a number as its canonical text: the form is the same for
/// every format, self-describing or not. `Display` gives FEEL text that evaluates to the value.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub enum Value {
    /// `null`.
    #[default]
    Null,
    /// `true`, `false`.
    Bool(bool),
    /// 34 significant digits; made by [`Value::number`].
    Number(#[serde(with = "number_text")] BigDecimal),
    /// Text.
    String(String),
    /// A list.
    List(Vec<Value>),
    /// A context.
    Context(Context),
}

/// Names and values, in name order.
pub type Context = BTreeMap<String, Value>;

impl Value {
    /// A number in canonical form: 34 digits, half to even, no trailing zeros; null beyond exponents of ±6144.
    pub fn number(number: BigDecimal) -> Value {
        number::canonical(&number).map_or(Value::Null, Value::Number)
    }

    /// The value under `name`, if this is a context that has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Context(entries) => entries.get(name),
            _ => None,
        }
    }

    /// Its type.
    pub fn kind(&self) -> Type {
        match self {
            Value::Null => Type::Null,
            Value::Bool(_) => Type::Boolean,
            Value::Number(_) => Type::Number,
            Value::String(_) => Type::String,
            Value::List(_) => Type::List,
            Value::Context(_) => Type::Context,
        }
    }

    /// What it counts against the budget of 10 MiB: 16 bytes a value, and its text.
    pub(super) fn size(&self) -> u64 {
        match self {
            Value::Null | Value::Bool(_) | Value::Number(_) => 16,
            Value::String(text) => 16 + text.len() as u64,
            Value::List(items) => 16 + items.iter().map(Value::size).sum::<u64>(),
            Value::Context(entries) => {
                16 + entries.iter().map(|(key, value)| 16 + key.len() as u64 + value.size()).sum::<u64>()
            }
        }
    }

    /// Whether lists and contexts nest deeper than `limit`; it looks no deeper than that.
    pub(super) fn deeper_than(&self, limit: usize) -> bool {
        let inner = |value: &Value| match limit.checked_sub(1) {
            Some(rest) => value.deeper_than(rest),
            None => true,
        };
        match self {
            Value::List(items) => limit == 0 || items.iter().any(inner),
            Value::Context(entries) => limit == 0 || entries.values().any(inner),
            _ => false,
        }
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::Number(a), Value::Number(b)) => number::compare(a, b).is_eq(),
            (Value::String(a), Value::String(b)) => a == b,
            (Value::List(a), Value::List(b)) => a == b,
            (Value::Context(a), Value::Context(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Value {}

impl From<bool> for Value {
    fn from(value: bool) -> Value {
        Value::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Value {
        Value::number(BigDecimal::from(value))
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Value {
        Value::String(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Value {
        Value::String(value)
    }
}

/// The types of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Type {
    /// Only `null`.
    Null,
    /// `true`, `false`.
    Boolean,
    /// Decimal numbers.
    Number,
    /// Text.
    String,
    /// Lists.
    List,
    /// Contexts.
    Context,
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Type::Null => "null",
            Type::Boolean => "boolean",
            Type::Number => "number",
            Type::String => "string",
            Type::List => "list",
            Type::Context => "context",
        })
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Bool(value) => write!(f, "{value}"),
            Value::Number(value) => f.write_str(&number::text(value)),
            Value::String(text) => quoted(f, text),
            Value::List(items) => {
                f.write_char('[')?;
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    item.fmt(f)?;
                }
                f.write_char(']')
            }
            Value::Context(entries) => {
                f.write_char('{')?;
                for (i, (key, value)) in entries.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    super::print::key(f, key)?;
                    f.write_str(": ")?;
                    value.fmt(f)?;
                }
                f.write_char('}')
            }
        }
    }
}

/// A FEEL string literal.
pub(super) fn quoted(f: &mut impl Write, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' => f.write_str("\\\"")?,
            '\\' => f.write_str("\\\\")?,
            '\n' => f.write_str("\\n")?,
            '\t' => f.write_str("\\t")?,
            '\r' => f.write_str("\\r")?,
            c if c.is_control() => write!(f, "\\U{:06X}", u32::from(c))?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

mod number_text {
    use bigdecimal::BigDecimal;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    use super::super::number;

    pub(super) fn serialize<S: Serializer>(number: &BigDecimal, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&number::text(number))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BigDecimal, D::Error> {
        let text = String::deserialize(from)?;
        number::parse(&text).ok_or_else(|| D::Error::custom(format!("`{text}` is not a number of 34 digits")))
    }
}
