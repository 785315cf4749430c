//! Aggregates of lists, or of their arguments.
//!
//! Duty: `count` to `any`. Guarantee: sums and products round after every step, to 34 digits; an empty list has no
//! minimum, sum or mean (null). Left to others: the rest of lists (`lists`).

use bigdecimal::BigDecimal;

use super::super::compare::{all, any, order};
use super::super::eval::{Machine, single, three};
use super::super::number;
use super::super::transcendental::square_root;
use super::super::value::{Type, Value};
use super::{Arguments, Builtin, Failure, Given, Run, numeric, wrong};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("count", &["list"], 1, Run::Plain(count)).rest().gives(Type::Number),
    Builtin::new("min", &["list"], 1, Run::Plain(min)).rest(),
    Builtin::new("max", &["list"], 1, Run::Plain(max)).rest(),
    Builtin::new("sum", &["list"], 1, Run::Plain(sum)).rest().gives(Type::Number),
    Builtin::new("product", &["list"], 1, Run::Plain(product)).rest().gives(Type::Number),
    Builtin::new("mean", &["list"], 1, Run::Plain(mean)).rest().gives(Type::Number),
    Builtin::new("median", &["list"], 1, Run::Plain(median)).rest().gives(Type::Number),
    Builtin::new("mode", &["list"], 1, Run::Plain(mode)).rest().gives(Type::List),
    Builtin::new("stddev", &["list"], 1, Run::Plain(stddev)).rest().gives(Type::Number),
    Builtin::new("all", &["list"], 1, Run::Plain(conjunction)).rest().gives(Type::Boolean),
    Builtin::new("any", &["list"], 1, Run::Plain(disjunction)).rest().gives(Type::Boolean),
];

const BEYOND: &str = "the result lies beyond the exponents";

fn count(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(Value::from(i64::try_from(arguments.all()?.len()).unwrap_or(i64::MAX)))
}

fn empty() -> Failure {
    Failure::Null("the list is empty".to_owned())
}

fn min(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    extreme(machine, arguments, |order| order.is_lt())
}

fn max(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    extreme(machine, arguments, |order| order.is_gt())
}

fn extreme(machine: &mut Machine, arguments: &Arguments<'_>, better: fn(std::cmp::Ordering) -> bool) -> Given {
    let mut items = arguments.all()?.into_iter();
    let mut best = items.next().ok_or_else(empty)?;
    // alone it must have an order, too
    order(best, best).ok_or_else(|| wrong(best, "list of numbers or of strings"))?;
    for item in items {
        machine.work(1)?;
        let order = order(item, best).ok_or_else(|| wrong(item, "list of numbers or of strings"))?;
        if better(order) {
            best = item;
        }
    }
    Ok(machine.copy(best)?)
}

/// The numbers, at least one.
fn numbers<'a>(machine: &mut Machine, arguments: &'a Arguments<'_>) -> Result<Vec<&'a BigDecimal>, Failure> {
    let mut numbers = Vec::new();
    for item in arguments.all()? {
        machine.work(1)?;
        match single(item) {
            Value::Number(number) => numbers.push(number),
            other => return Err(wrong(other, "list of numbers")),
        }
    }
    if numbers.is_empty() { Err(empty()) } else { Ok(numbers) }
}

fn total(numbers: &[&BigDecimal]) -> Option<BigDecimal> {
    numbers.iter().try_fold(BigDecimal::from(0), |sum, number| number::add(&sum, number))
}

fn average(numbers: &[&BigDecimal]) -> Option<BigDecimal> {
    number::divide(&total(numbers)?, &BigDecimal::from(numbers.len() as u64))
}

fn sum(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    numeric(total(&numbers(machine, arguments)?), BEYOND)
}

fn product(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let numbers = numbers(machine, arguments)?;
    numeric(numbers.iter().try_fold(BigDecimal::from(1), |product, number| number::multiply(&product, number)), BEYOND)
}

fn mean(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    numeric(average(&numbers(machine, arguments)?), BEYOND)
}

fn sorted<'a>(machine: &mut Machine, arguments: &'a Arguments<'_>) -> Result<Vec<&'a BigDecimal>, Failure> {
    let mut numbers = numbers(machine, arguments)?;
    machine.work(numbers.len().saturating_mul(4))?;
    numbers.sort_by(|a, b| number::compare(a, b));
    Ok(numbers)
}

fn median(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let sorted = sorted(machine, arguments)?;
    let middle = sorted.len() / 2;
    let between = if sorted.len() % 2 == 1 { &sorted[middle..=middle] } else { &sorted[middle - 1..=middle] };
    numeric(average(between), BEYOND)
}

/// The numbers that come most often, in order.
fn mode(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    if arguments.all()?.is_empty() {
        return Ok(Value::List(Vec::new()));
    }
    let sorted = sorted(machine, arguments)?;
    let runs: Vec<_> = sorted.chunk_by(|a, b| number::compare(a, b).is_eq()).collect();
    let most = runs.iter().map(|run| run.len()).max().unwrap_or(0);
    let modes: Vec<Value> = runs
        .iter()
        .filter(|run| run.len() == most)
        .filter_map(|run| run.first().map(|number| Value::number((*number).clone())))
        .collect();
    machine.spend(16 * (1 + modes.len() as u64))?;
    Ok(Value::List(modes))
}

/// Of a sample: over one less than its size.
fn stddev(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let numbers = numbers(machine, arguments)?;
    if numbers.len() < 2 {
        return Err(Failure::Null("a sample has at least two numbers".to_owned()));
    }
    let deviation = || {
        let mean = average(&numbers)?;
        let squares = numbers.iter().try_fold(BigDecimal::from(0), |sum, number| {
            let off = number::subtract(number, &mean)?;
            number::add(&sum, &number::multiply(&off, &off)?)
        })?;
        square_root(&number::divide(&squares, &BigDecimal::from(numbers.len() as u64 - 1))?)
    };
    numeric(deviation(), BEYOND)
}

fn truths(machine: &mut Machine, arguments: &Arguments<'_>) -> Result<Vec<Option<bool>>, Failure> {
    let items = arguments.all()?;
    machine.work(items.len())?;
    Ok(items.into_iter().map(|item| machine.truth(item)).collect())
}

fn conjunction(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(three(all(truths(machine, arguments)?)))
}

fn disjunction(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    Ok(three(any(truths(machine, arguments)?)))
}
