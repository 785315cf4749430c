//! Functions that take a function: `sort`, `list replace`.
//!
//! Duty: order by a given or the natural precedence; replacement by position or condition. Guarantee: sorting is stable
//! and ends whatever the given function answers. Left to others: the function's body (`eval`).

use super::super::compare::order;
use super::super::eval::Machine;
use super::super::path::position;
use super::super::scope::{Bind, Scope};
use super::super::value::{Type, Value};
use super::lists::outside;
use super::{Arguments, Builtin, Closure, Failure, Given, Run};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("sort", &["list", "precedes"], 1, Run::WithFunction(sort)).function(1).gives(Type::List),
    Builtin::new("list replace", &["list", "position", "newItem"], 3, Run::WithFunction(replace))
        .function(1)
        .gives(Type::List),
];

impl Machine {
    /// Whether `closure(a, b)` is true.
    fn holds(&mut self, closure: Closure<'_>, a: &Value, b: &Value) -> Result<bool, Failure> {
        let [first, second] = closure.parameters else {
            return Err(Failure::Null("the function takes two parameters".to_owned()));
        };
        self.work(1)?;
        let outer = Scope { bind: Bind::Name(first, a), outer: Some(closure.scope) };
        let inner = Scope { bind: Bind::Name(second, b), outer: Some(&outer) };
        let value = self.eval(closure.body, &inner)?;
        Ok(self.truth(&value) == Some(true))
    }
}

fn sort(machine: &mut Machine, arguments: &Arguments<'_>, precedes: Option<Closure<'_>>) -> Given {
    if precedes.is_none() && !arguments.absent(1) {
        return Err(Failure::Null("the second argument is `function(a, b) …`".to_owned()));
    }
    let items: Vec<&Value> = arguments.list(0)?.iter().collect();
    let sorted = merge_sort(items, &mut |a, b| match precedes {
        Some(closure) => machine.holds(closure, a, b),
        None => {
            machine.work(1)?;
            let order = order(a, b);
            let why = || format!("a {} and a {} have no order; give a function", a.kind(), b.kind());
            order.map(|order| order.is_lt()).ok_or_else(|| Failure::Null(why()))
        }
    })?;
    machine.copies(sorted)
}

/// Not the sort of the standard library: that may panic when `precedes` contradicts itself.
fn merge_sort<'v>(
    items: Vec<&'v Value>,
    precedes: &mut impl FnMut(&Value, &Value) -> Result<bool, Failure>,
) -> Result<Vec<&'v Value>, Failure> {
    let (mut runs, mut width) = (items, 1);
    while width < runs.len() {
        let mut merged = Vec::with_capacity(runs.len());
        for pair in runs.chunks(2 * width) {
            let (mut left, mut right) = pair.split_at(width.min(pair.len()));
            while let ([first, left_rest @ ..], [second, right_rest @ ..]) = (left, right) {
                // only what truly precedes overtakes, so equals keep their order
                if precedes(second, first)? {
                    merged.push(*second);
                    right = right_rest;
                } else {
                    merged.push(*first);
                    left = left_rest;
                }
            }
            merged.extend_from_slice(left);
            merged.extend_from_slice(right);
        }
        (runs, width) = (merged, 2 * width);
    }
    Ok(runs)
}

fn replace(machine: &mut Machine, arguments: &Arguments<'_>, matches: Option<Closure<'_>>) -> Given {
    let (list, new) = (arguments.list(0)?, arguments.value(2));
    let mut items: Vec<&Value> = list.iter().collect();
    match matches {
        Some(closure) => {
            for item in &mut items {
                if machine.holds(closure, item, new)? {
                    *item = new;
                }
            }
        }
        None => {
            let at = arguments.whole(1)?;
            let index = position(Some(at), list.len()).ok_or_else(|| outside(at, list.len()))?;
            items[index] = new;
        }
    }
    machine.copies(items)
}
