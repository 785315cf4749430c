//! Conversions and tests: `string`, `number`, `context`, `from json`, `to json`, `not`, `is defined`, `get or else`.
//!
//! Duty: from one type to another. Guarantee: as `mod.rs`; numbers keep their 34 digits through text and JSON. Left to
//! others: dates (not built).

use super::super::eval::Machine;
use super::super::number;
use super::super::value::{Context, Type, Value};
use super::{Arguments, Builtin, Failure, Given, Run, single, wrong};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("not", &["negand"], 1, Run::Plain(not)).gives(Type::Boolean),
    Builtin::new("is defined", &["value"], 1, Run::Plain(is_defined)).gives(Type::Boolean).quiet(),
    Builtin::new("get or else", &["value", "default"], 2, Run::Plain(get_or_else)).quiet(),
    Builtin::new("string", &["from"], 1, Run::Plain(string)).gives(Type::String),
    Builtin::new("number", &["from", "grouping separator", "decimal separator"], 1, Run::Plain(to_number))
        .gives(Type::Number),
    Builtin::new("context", &["entries"], 1, Run::Plain(context)).gives(Type::Context),
    Builtin::new("from json", &["value"], 1, Run::Plain(from_json)),
    Builtin::new("to json", &["value"], 1, Run::Plain(to_json)).gives(Type::String),
];

fn not(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(Value::Bool(!arguments.boolean(0)?))
}

fn is_defined(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(Value::Bool(!arguments.absent(0)))
}

fn get_or_else(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let chosen = if arguments.absent(0) { 1 } else { 0 };
    Ok(machine.copy(arguments.value(chosen))?)
}

fn string(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    match arguments.value(0) {
        Value::Null => Ok(Value::Null),
        Value::String(text) => machine.string(text.clone()),
        other => {
            machine.spend(other.size())?;
            machine.string(other.to_string())
        }
    }
}

fn to_number(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    if let Value::Number(value) = single(arguments.value(0)) {
        return Ok(Value::Number(value.clone()));
    }
    let from = arguments.text(0)?;
    let grouping = arguments.optional_text(1)?;
    let point = arguments.optional_text(2)?.unwrap_or(".");
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
    let foreign = point == "," && plain.contains('.');
    let plain = plain.replace(point, ".");
    number::parse(plain.trim()).filter(|_| !foreign).map(Value::Number).ok_or_else(|| {
        let shown: String = from.chars().take(40).collect();
        Failure::Null(format!("`{shown}` is not a number"))
    })
}

fn context(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    machine.spend(16)?;
    let mut made = Context::new();
    for entry in arguments.list(0)? {
        let (Some(Value::String(key)), Some(value)) = (entry.get("key"), entry.get("value")) else {
            return Err(wrong(entry, "context with `key`, a string, and `value`"));
        };
        machine.spend(16 + key.len() as u64)?;
        let value = machine.copy(value)?;
        if made.insert(key.clone(), value).is_some() {
            return Err(Failure::Null(format!("the key `{key}` stands twice")));
        }
    }
    Ok(Value::Context(made))
}

fn from_json(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let text = arguments.text(0)?;
    machine.work(text.len() / 16)?;
    // a value takes at least two bytes of text, and counts at most 32 with its key
    machine.spend(16 * text.len() as u64)?;
    Value::from_json_text(text).map_err(|error| Failure::Null(error.to_string()))
}

fn to_json(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    machine.spend(arguments.value(0).size())?;
    machine.string(arguments.value(0).to_json_text())
}
