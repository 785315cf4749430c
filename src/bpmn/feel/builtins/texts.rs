//! Functions of text without patterns.
//!
//! Duty: parts, case and joining of strings. Guarantee: positions and lengths count Unicode scalar values. Left to
//! others: regular expressions (`patterns`).

use super::super::eval::Machine;
use super::super::value::{Type, Value};
use super::{Arguments, Builtin, Failure, Given, Run, single, wrong};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("string length", &["string"], 1, Run::Plain(length)).gives(Type::Number),
    Builtin::new("substring", &["string", "start position", "length"], 2, Run::Plain(substring)).gives(Type::String),
    Builtin::new("substring before", &["string", "match"], 2, Run::Plain(before)).gives(Type::String),
    Builtin::new("substring after", &["string", "match"], 2, Run::Plain(after)).gives(Type::String),
    Builtin::new("upper case", &["string"], 1, Run::Plain(upper)).gives(Type::String),
    Builtin::new("lower case", &["string"], 1, Run::Plain(lower)).gives(Type::String),
    Builtin::new("trim", &["string"], 1, Run::Plain(trim)).gives(Type::String),
    Builtin::new("contains", &["string", "match"], 2, Run::Plain(contains)).gives(Type::Boolean),
    Builtin::new("starts with", &["string", "match"], 2, Run::Plain(starts_with)).gives(Type::Boolean),
    Builtin::new("ends with", &["string", "match"], 2, Run::Plain(ends_with)).gives(Type::Boolean),
    Builtin::new("string join", &["list", "delimiter", "prefix", "suffix"], 1, Run::Plain(join)).gives(Type::String),
];

/// Counts the walk over the text there.
fn walked<'a>(machine: &mut Machine, arguments: &'a Arguments<'_>, index: usize) -> Result<&'a str, Failure> {
    let text = arguments.text(index)?;
    machine.work(text.len() / 64)?;
    Ok(text)
}

fn length(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let count = walked(machine, arguments, 0)?.chars().count();
    Ok(Value::from(i64::try_from(count).unwrap_or(i64::MAX)))
}

fn substring(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let text = walked(machine, arguments, 0)?;
    let count = text.chars().count();
    let start = arguments.whole(1)?;
    let skip = match start {
        0 => return Err(Failure::Null("positions begin at 1".to_owned())),
        1.. => usize::try_from(start - 1).unwrap_or(usize::MAX),
        _ => count.saturating_sub(usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX)),
    };
    let take = if arguments.absent(2) { count } else { not_negative(arguments.whole(2)?)? };
    machine.string(text.chars().skip(skip).take(take).collect())
}

fn not_negative(length: i64) -> Result<usize, Failure> {
    usize::try_from(length).map_err(|_| Failure::Null(format!("the length {length} is negative")))
}

fn before(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let found = walked(machine, arguments, 0)?.split_once(arguments.text(1)?);
    machine.string(found.map_or("", |(before, _)| before).to_owned())
}

fn after(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let found = walked(machine, arguments, 0)?.split_once(arguments.text(1)?);
    machine.string(found.map_or("", |(_, after)| after).to_owned())
}

fn upper(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let text = walked(machine, arguments, 0)?.to_uppercase();
    machine.string(text)
}

fn lower(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let text = walked(machine, arguments, 0)?.to_lowercase();
    machine.string(text)
}

fn trim(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let text = walked(machine, arguments, 0)?.trim().to_owned();
    machine.string(text)
}

fn contains(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(Value::Bool(walked(machine, arguments, 0)?.contains(arguments.text(1)?)))
}

fn starts_with(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(Value::Bool(walked(machine, arguments, 0)?.starts_with(arguments.text(1)?)))
}

fn ends_with(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(Value::Bool(walked(machine, arguments, 0)?.ends_with(arguments.text(1)?)))
}

/// Null elements are left out.
fn join(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let delimiter = arguments.optional_text(1)?.unwrap_or("");
    let mut parts = Vec::new();
    for item in arguments.list(0)? {
        machine.work(1)?;
        machine.spend(delimiter.len() as u64)?;
        match single(item) {
            Value::String(text) => parts.push(text.as_str()),
            Value::Null => {}
            other => return Err(wrong(other, "list of strings")),
        }
    }
    machine.spend(parts.iter().map(|part| part.len() as u64).sum())?;
    let (prefix, suffix) = (arguments.optional_text(2)?.unwrap_or(""), arguments.optional_text(3)?.unwrap_or(""));
    machine.string([prefix, parts.join(delimiter).as_str(), suffix].concat())
}
