//! `for`, `some`, `every`.
//!
//! Duty: loops over lists and ranges of whole numbers. Guarantee: each turn is counted, so a loop ends within the
//! budget; results of turns are not nested too deep. Left to others: the bodies (`eval`).

use std::borrow::Cow;

use super::Budget;
use super::ast::{Iteration, Node};
use super::eval::{Eval, Machine, single, three};
use super::number;
use super::scope::{Bind, Scope};
use super::value::Value;

/// What a loop does with each turn; `false` ends it.
type Turn<'t> = dyn FnMut(&mut Machine, &Scope<'_>) -> Result<bool, Budget> + 't;

impl Machine {
    pub(super) fn collect<'s>(
        &mut self,
        iterations: &'s [Iteration],
        body: &'s Node,
        scope: &'s Scope<'s>,
    ) -> Eval<'s> {
        self.spend(16)?;
        let mut partial = Value::List(Vec::new());
        let whole = self.turns(iterations, scope, &mut |machine, scope| {
            let value = {
                let inner = Scope { bind: Bind::Name("partial", &partial), outer: Some(scope) };
                let value = machine.eval(body, &inner)?;
                machine.settle(value)?
            };
            if let Value::List(items) = &mut partial {
                items.push(value);
            }
            Ok(true)
        })?;
        Ok(Cow::Owned(if whole { partial } else { Value::Null }))
    }

    /// `some` if `wanted`, else `every`.
    pub(super) fn quantify<'s>(
        &mut self,
        iterations: &'s [Iteration],
        body: &'s Node,
        scope: &'s Scope<'s>,
        wanted: bool,
    ) -> Eval<'s> {
        let mut result = Some(!wanted);
        let whole = self.turns(iterations, scope, &mut |machine, scope| {
            let value = machine.eval(body, scope)?;
            match machine.truth(&value) {
                Some(value) if value == wanted => result = Some(wanted),
                Some(_) => {}
                None => result = None,
            }
            Ok(result != Some(wanted))
        })?;
        Ok(Cow::Owned(if whole { three(result) } else { Value::Null }))
    }

    /// Takes every combination, the last variable fastest. `false`: a domain is no list.
    fn turns(&mut self, iterations: &[Iteration], scope: &Scope<'_>, turn: &mut Turn<'_>) -> Result<bool, Budget> {
        let mut no_list = false;
        self.level(iterations, scope, &mut no_list, turn)?;
        Ok(!no_list)
    }

    fn level(
        &mut self,
        iterations: &[Iteration],
        scope: &Scope<'_>,
        no_list: &mut bool,
        turn: &mut Turn<'_>,
    ) -> Result<bool, Budget> {
        let Some((first, rest)) = iterations.split_first() else {
            return turn(self, scope);
        };
        let from = self.eval(&first.from, scope)?;
        if let Some(to) = &first.to {
            let to = self.eval(to, scope)?;
            let (Some((from, to)), name) = (bounds(&from, &to), &first.name) else {
                self.warn(|| "`..` in a loop needs two whole numbers".to_owned());
                *no_list = true;
                return Ok(false);
            };
            let step = if from <= to { 1 } else { -1 };
            let mut at = from;
            loop {
                self.work(1)?;
                let value = Value::from(at);
                if !self.level(rest, &Scope { bind: Bind::Name(name, &value), outer: Some(scope) }, no_list, turn)? {
                    return Ok(false);
                }
                if at == to {
                    return Ok(true);
                }
                at += step;
            }
        }
        let items = match from.as_ref() {
            Value::List(items) => items.as_slice(),
            Value::Null => {
                self.warn(|| "a loop over null is null".to_owned());
                *no_list = true;
                return Ok(false);
            }
            single => std::slice::from_ref(single),
        };
        for item in items {
            self.work(1)?;
            let inner = Scope { bind: Bind::Name(&first.name, item), outer: Some(scope) };
            if !self.level(rest, &inner, no_list, turn)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn bounds(from: &Value, to: &Value) -> Option<(i64, i64)> {
    match (single(from), single(to)) {
        (Value::Number(from), Value::Number(to)) => Some((number::whole(from)?, number::whole(to)?)),
        _ => None,
    }
}
