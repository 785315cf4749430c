//! Equality and order.
//!
//! Duty: the three-valued comparisons. Guarantee: `None` stands for null; different types are never equal nor unequal.
//! Left to others: numbers (`number`), the warnings and budget (`eval`).

use std::cmp::Ordering;

use super::ast::Relation;
use super::number;
use super::value::Value;

/// `and` over three values.
pub(super) fn all(values: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    let mut result = Some(true);
    for value in values {
        match value {
            Some(false) => return Some(false),
            Some(true) => {}
            None => result = None,
        }
    }
    result
}

/// `or` over three values.
pub(super) fn any(values: impl IntoIterator<Item = Option<bool>>) -> Option<bool> {
    all(values.into_iter().map(|v| v.map(|b| !b))).map(|b| !b)
}

/// `a = b`.
pub(super) fn equal(a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Value::Null, Value::Null) => Some(true),
        (Value::Null, _) | (_, Value::Null) => Some(false),
        (Value::Bool(a), Value::Bool(b)) => Some(a == b),
        (Value::Number(a), Value::Number(b)) => Some(number::compare(a, b).is_eq()),
        (Value::String(a), Value::String(b)) => Some(a == b),
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Some(false);
            }
            all(a.iter().zip(b).map(|(a, b)| equal(a, b)))
        }
        (Value::Context(a), Value::Context(b)) => {
            if !a.keys().eq(b.keys()) {
                return Some(false);
            }
            all(a.values().zip(b.values()).map(|(a, b)| equal(a, b)))
        }
        _ => None,
    }
}

/// The order of two numbers or two strings (by Unicode scalar values).
pub(super) fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => Some(number::compare(a, b)),
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        _ => None,
    }
}

/// `a relation b`.
pub(super) fn relate(relation: Relation, a: &Value, b: &Value) -> Option<bool> {
    match relation {
        Relation::Equal => equal(a, b),
        Relation::Unequal => equal(a, b).map(|equal| !equal),
        Relation::Less => order(a, b).map(Ordering::is_lt),
        Relation::AtMost => order(a, b).map(Ordering::is_le),
        Relation::Greater => order(a, b).map(Ordering::is_gt),
        Relation::AtLeast => order(a, b).map(Ordering::is_ge),
    }
}
