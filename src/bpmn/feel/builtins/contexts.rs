//! Functions of contexts.
//!
//! Duty: keys and entries whose names are data. Guarantee: as `mod.rs`. Left to others: paths (`path`), `context`
//! (`convert`).

use super::super::eval::Machine;
use super::super::value::{Context, Type, Value};
use super::{Arguments, Builtin, Failure, Given, Run, wrong};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("get value", &["context", "key"], 2, Run::Plain(get_value)),
    Builtin::new("get entries", &["context"], 1, Run::Plain(get_entries)).gives(Type::List),
    Builtin::new("context put", &["context", "key", "value"], 3, Run::Plain(put)).gives(Type::Context),
    Builtin::new("context merge", &["contexts"], 1, Run::Plain(merge)).rest().gives(Type::Context),
];

/// The keys there: one, or a list of those to follow.
fn keys<'a>(arguments: &'a Arguments<'_>, index: usize) -> Result<Vec<&'a str>, Failure> {
    let keys = arguments.list(index)?.iter().map(|key| match key {
        Value::String(key) => Ok(key.as_str()),
        other => Err(wrong(other, "string or a list of strings")),
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(Failure::Null("a key is missing".to_owned())) } else { Ok(keys) }
}

fn get_value(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let mut entries = Some(arguments.context(0)?);
    let mut found = None;
    for key in keys(arguments, 1)? {
        machine.work(1)?;
        found = entries.and_then(|entries| entries.get(key));
        entries = match found {
            Some(Value::Context(inner)) => Some(inner),
            _ => None,
        };
    }
    Ok(machine.copy(found.unwrap_or(&Value::Null))?)
}

fn get_entries(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let mut list = Vec::new();
    for (key, value) in arguments.context(0)? {
        machine.work(1)?;
        machine.spend(64)?;
        let key = machine.string(key.clone())?;
        let value = machine.copy(value)?;
        list.push(Value::Context(Context::from([("key".to_owned(), key), ("value".to_owned(), value)])));
    }
    Ok(Value::List(list))
}

fn put(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let keys = keys(arguments, 1)?;
    machine.spend(keys.iter().map(|key| 32 + key.len() as u64).sum())?;
    let mut whole = Value::Context(arguments.context(0)?.clone());
    machine.spend(whole.size())?;
    let new = machine.copy(arguments.value(2))?;
    let mut place = &mut whole;
    for key in keys {
        machine.work(1)?;
        if *place == Value::Null {
            *place = Value::Context(Context::new());
        }
        place = match place {
            Value::Context(entries) => entries.entry(key.to_owned()).or_default(),
            other => return Err(wrong(other, "context on the way of the keys")),
        };
    }
    *place = new;
    Ok(whole)
}

/// Later ones win.
fn merge(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let mut merged = Context::new();
    for item in arguments.all()? {
        let Value::Context(entries) = item else {
            return Err(wrong(item, "list of contexts"));
        };
        machine.spend(item.size())?;
        machine.work(entries.len())?;
        merged.extend(entries.iter().map(|(key, value)| (key.clone(), value.clone())));
    }
    Ok(Value::Context(merged))
}
