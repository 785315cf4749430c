//! Conversions and tests: `string`, `number`, `not`, `is defined`, `get or else`.
//!
//! Duty: from one type to another. Guarantee: as `mod.rs`. Left to others: the other groups.

use bigdecimal::BigDecimal;

use super::super::eval::Machine;
use super::super::number;
use super::super::value::{Type, Value};
use super::{Builtin, Failure, Given, Run, argument, boolean, optional_text, single, text};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("not", &["negand"], 1, Run::Plain(not)).gives(Type::Boolean),
    Builtin::new("is defined", &["value"], 1, Run::Plain(is_defined)).gives(Type::Boolean).quiet(),
    Builtin::new("get or else", &["value", "default"], 2, Run::Plain(get_or_else)).quiet(),
    Builtin::new("string", &["from"], 1, Run::Plain(string)).gives(Type::String),
    Builtin::new("number", &["from", "grouping separator", "decimal separator"], 1, Run::Plain(to_number))
        .gives(Type::Number),
];

fn not(_: &mut Machine, arguments: Vec<Value>) -> Given {
    Ok(Value::Bool(!boolean(&arguments, 0)?))
}

fn is_defined(_: &mut Machine, arguments: Vec<Value>) -> Given {
    Ok(Value::Bool(*argument(&arguments, 0) != Value::Null))
}

fn get_or_else(_: &mut Machine, arguments: Vec<Value>) -> Given {
    let mut arguments = arguments.into_iter();
    let value = arguments.next().unwrap_or_default();
    let default = arguments.next().unwrap_or_default();
    Ok(if value == Value::Null { default } else { value })
}

fn string(machine: &mut Machine, arguments: Vec<Value>) -> Given {
    let text = match argument(&arguments, 0) {
        Value::Null => return Ok(Value::Null),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    machine.spend(16 + text.len() as u64)?;
    Ok(Value::String(text))
}

fn to_number(_: &mut Machine, arguments: Vec<Value>) -> Given {
    if let Value::Number(value) = single(argument(&arguments, 0)) {
        return Ok(Value::Number(value.clone()));
    }
    let from = text(&arguments, 0)?;
    let grouping = optional_text(&arguments, 1)?;
    let point = optional_text(&arguments, 2)?.unwrap_or(".");
    if !matches!(point, "." | ",") {
        return Err(Failure::Null("the decimal separator is `.` or `,`".to_owned()));
    }
    if !matches!(grouping, None | Some("." | "," | " ")) || grouping == Some(point) {
        return Err(Failure::Null("the grouping separator is ` `, `.` or `,`, and not the decimal one".to_owned()));
    }
    let plain = match grouping {
        Some(grouping) => from.replace(grouping, ""),
        None => from.to_owned(),
    };
    let plain = if point == "," {
        if plain.contains('.') {
            return Err(not_a_number(from));
        }
        plain.replace(',', ".")
    } else {
        plain
    };
    let number: Option<BigDecimal> = number::parse(plain.trim());
    number.map(Value::Number).ok_or_else(|| not_a_number(from))
}

fn not_a_number(text: &str) -> Failure {
    let shown: String = text.chars().take(40).collect();
    Failure::Null(format!("`{shown}` is not a number"))
}
