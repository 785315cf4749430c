//! JSON in and out.
//!
//! Duty: values from and to `serde_json` and JSON text. Guarantee: text keeps all 34 digits in both directions; through
//! `serde_json`, whole numbers of 64 bits stay whole, and other numbers pass as the nearest double, whose shortest text
//! is read back. Left to others: what is done with what is no JSON.

use std::fmt::Write;

use bigdecimal::ToPrimitive;
use serde_json::Number;

use super::number;
use super::value::Value;

impl Value {
    /// The value of a JSON value; a number in its shortest text, rounded to 34 digits.
    pub fn from_json(json: &serde_json::Value) -> Value {
        match json {
            serde_json::Value::Null => Value::Null,
            serde_json::Value::Bool(value) => Value::Bool(*value),
            serde_json::Value::Number(value) => number::parse(&value.to_string()).map_or(Value::Null, Value::Number),
            serde_json::Value::String(text) => Value::String(text.clone()),
            serde_json::Value::Array(items) => Value::List(items.iter().map(Value::from_json).collect()),
            serde_json::Value::Object(entries) => {
                Value::Context(entries.iter().map(|(key, value)| (key.clone(), Value::from_json(value))).collect())
            }
        }
    }

    /// As a JSON value. Whole numbers that fit in 64 bits are JSON integers; others are the nearest double, and those
    /// beyond doubles their text. [`Value::to_json_text`] keeps every digit.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => serde_json::Value::Bool(*value),
            Value::Number(value) => {
                let text = number::text(value);
                let whole = number::whole_i128(value);
                if let Some(whole) = whole.and_then(|n| n.to_i64()) {
                    return serde_json::Value::Number(whole.into());
                }
                if let Some(whole) = whole.and_then(|n| n.to_u64()) {
                    return serde_json::Value::Number(whole.into());
                }
                match text.parse::<f64>().ok().filter(|f| *f != 0.0).and_then(Number::from_f64) {
                    Some(number) => serde_json::Value::Number(number),
                    None => serde_json::Value::String(text),
                }
            }
            Value::String(text) => serde_json::Value::String(text.clone()),
            Value::List(items) => serde_json::Value::Array(items.iter().map(Value::to_json).collect()),
            Value::Context(entries) => {
                serde_json::Value::Object(entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect())
            }
        }
    }

    /// As compact JSON text, every number with all its digits.
    pub fn to_json_text(&self) -> String {
        let mut text = String::new();
        write_json(&mut text, self);
        text
    }
}

fn write_json(to: &mut String, value: &Value) {
    match value {
        Value::Null => to.push_str("null"),
        Value::Bool(value) => to.push_str(if *value { "true" } else { "false" }),
        Value::Number(value) => to.push_str(&number::text(value)),
        Value::String(text) => write_string(to, text),
        Value::List(items) => {
            to.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    to.push(',');
                }
                write_json(to, item);
            }
            to.push(']');
        }
        Value::Context(entries) => {
            to.push('{');
            for (i, (key, value)) in entries.iter().enumerate() {
                if i > 0 {
                    to.push(',');
                }
                write_string(to, key);
                to.push(':');
                write_json(to, value);
            }
            to.push('}');
        }
    }
}

fn write_string(to: &mut String, text: &str) {
    to.push('"');
    for c in text.chars() {
        match c {
            '"' => to.push_str("\\\""),
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '\r' => to.push_str("\\r"),
            '\t' => to.push_str("\\t"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(to, "\\u{:04x}", u32::from(c));
            }
            c => to.push(c),
        }
    }
    to.push('"');
}
