//! Functions that take lists apart and put them together.
//!
//! Duty: elements by position and by equality. Guarantee: positions count from 1, negative ones from the end; equality is
//! that of `=`. Left to others: aggregates, `sort` and `list replace` (`aggregate`, `order`).

use super::super::eval::Machine;
use super::super::path::position;
use super::super::value::{Type, Value};
use super::{Arguments, Builtin, Failure, Given, Run};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("list contains", &["list", "element"], 2, Run::Plain(contains)).gives(Type::Boolean),
    Builtin::new("sublist", &["list", "start position", "length"], 2, Run::Plain(sublist)).gives(Type::List),
    Builtin::new("append", &["list", "item"], 1, Run::Plain(append)).rest().gives(Type::List),
    Builtin::new("concatenate", &["list"], 1, Run::Plain(concatenate)).rest().gives(Type::List),
    Builtin::new("insert before", &["list", "position", "newItem"], 3, Run::Plain(insert)).gives(Type::List),
    Builtin::new("remove", &["list", "position"], 2, Run::Plain(remove)).gives(Type::List),
    Builtin::new("reverse", &["list"], 1, Run::Plain(reverse)).gives(Type::List),
    Builtin::new("index of", &["list", "match"], 2, Run::Plain(index_of)).gives(Type::List),
    Builtin::new("union", &["list"], 1, Run::Plain(union)).rest().gives(Type::List),
    Builtin::new("distinct values", &["list"], 1, Run::Plain(distinct)).gives(Type::List),
    Builtin::new("duplicate values", &["list"], 1, Run::Plain(duplicates)).gives(Type::List),
    Builtin::new("flatten", &["list"], 1, Run::Plain(flatten)).gives(Type::List),
    Builtin::new("partition", &["list", "size"], 2, Run::Plain(partition)).gives(Type::List),
    Builtin::new("is empty", &["list"], 1, Run::Plain(is_empty)).gives(Type::Boolean),
];

fn contains(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    for item in arguments.list(0)? {
        if machine.same(item, arguments.value(1))? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

pub(super) fn outside(position: i64, length: usize) -> Failure {
    Failure::Null(format!("position {position} lies outside a list of {length}"))
}

fn sublist(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let (list, start) = (arguments.list(0)?, arguments.whole(1)?);
    let first = position(Some(start), list.len()).ok_or_else(|| outside(start, list.len()))?;
    let rest = &list[first..];
    if arguments.absent(2) {
        return machine.copies(rest);
    }
    let length = arguments.whole(2)?;
    let length = usize::try_from(length).map_err(|_| Failure::Null(format!("the length {length} is negative")))?;
    machine.copies(&rest[..length.min(rest.len())])
}

fn append(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    machine.copies(arguments.list(0)?.iter().chain(arguments.rest(1)))
}

/// The elements of all arguments, one after another.
fn joined<'a>(arguments: &'a Arguments<'_>) -> Result<Vec<&'a Value>, Failure> {
    let mut items = Vec::new();
    for index in 0..arguments.0.len() {
        items.extend(arguments.list(index)?);
    }
    Ok(items)
}

fn concatenate(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    machine.copies(joined(arguments)?)
}

fn insert(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let (list, at) = (arguments.list(0)?, arguments.whole(1)?);
    let behind_last = i64::try_from(list.len()).is_ok_and(|length| at == length + 1);
    let index = if behind_last { Some(list.len()) } else { position(Some(at), list.len()) };
    let (before, after) = list.split_at(index.ok_or_else(|| outside(at, list.len()))?);
    machine.copies(before.iter().chain([arguments.value(2)]).chain(after))
}

fn remove(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let (list, at) = (arguments.list(0)?, arguments.whole(1)?);
    let index = position(Some(at), list.len()).ok_or_else(|| outside(at, list.len()))?;
    machine.copies(list[..index].iter().chain(&list[index + 1..]))
}

fn reverse(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    machine.copies(arguments.list(0)?.iter().rev())
}

fn index_of(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let mut positions = Vec::new();
    for (item, position) in arguments.list(0)?.iter().zip(1i64..) {
        if machine.same(item, arguments.value(1))? {
            machine.spend(16)?;
            positions.push(Value::from(position));
        }
    }
    Ok(Value::List(positions))
}

/// The elements in order, each once; and those that come again, each once.
fn sifted<'a>(machine: &mut Machine, items: Vec<&'a Value>) -> Result<(Vec<&'a Value>, Vec<&'a Value>), Failure> {
    let mut distinct: Vec<&Value> = Vec::new();
    let mut again: Vec<&Value> = Vec::new();
    for item in items {
        let known = if among(machine, &distinct, item)? { &mut again } else { &mut distinct };
        if !among(machine, known, item)? {
            known.push(item);
        }
    }
    Ok((distinct, again))
}

fn among(machine: &mut Machine, items: &[&Value], wanted: &Value) -> Result<bool, Failure> {
    for item in items {
        if machine.same(item, wanted)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn union(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let (distinct, _) = sifted(machine, joined(arguments)?)?;
    machine.copies(distinct)
}

fn distinct(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let (distinct, _) = sifted(machine, arguments.list(0)?.iter().collect())?;
    machine.copies(distinct)
}

fn duplicates(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let (_, again) = sifted(machine, arguments.list(0)?.iter().collect())?;
    machine.copies(again)
}

fn flatten(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let mut flat = Vec::new();
    // the rest of every list that is open, innermost last
    let mut open = vec![arguments.list(0)?.iter()];
    while let Some(items) = open.last_mut() {
        machine.work(1)?;
        match items.next() {
            Some(Value::List(inner)) => open.push(inner.iter()),
            Some(item) => flat.push(item),
            None => drop(open.pop()),
        }
    }
    machine.copies(flat)
}

fn partition(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let (list, size) = (arguments.list(0)?, arguments.whole(1)?);
    let size = usize::try_from(size).ok().filter(|size| *size > 0);
    let size = size.ok_or_else(|| Failure::Null("the size is at least 1".to_owned()))?;
    let mut parts = Vec::new();
    for part in list.chunks(size) {
        parts.push(machine.copies(part)?);
    }
    Ok(Value::List(parts))
}

fn is_empty(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(Value::Bool(arguments.list(0)?.is_empty()))
}
