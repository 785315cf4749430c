//! Paths and filters.
//!
//! Duty: `.key` and `[filter]`. Guarantee: a path through variables copies only what it ends at. Left to others: the
//! filter's expression (`eval`).

use std::borrow::Cow;

use super::Budget;
use super::ast::{Node, Step};
use super::eval::{Eval, Machine};
use super::number;
use super::scope::{Bind, Scope};
use super::value::Value;

impl Machine {
    pub(super) fn path<'s>(&mut self, base: &'s Node, steps: &'s [Step], scope: &'s Scope<'s>) -> Eval<'s> {
        let mut value = self.eval(base, scope)?;
        for step in steps {
            self.work(1)?;
            value = match step {
                Step::Key(key) => self.key(value, key)?,
                Step::Filter(filter) => self.filter(value, filter, scope)?,
            };
        }
        Ok(value)
    }

    fn key<'s>(&mut self, value: Cow<'s, Value>, key: &str) -> Eval<'s> {
        let found = match value {
            Cow::Borrowed(Value::Context(entries)) => entries.get(key).map(Cow::Borrowed),
            Cow::Owned(Value::Context(mut entries)) => entries.remove(key).map(Cow::Owned),
            Cow::Borrowed(Value::List(items)) => return self.map_key(items.iter().map(Cow::Borrowed), key),
            Cow::Owned(Value::List(items)) => return self.map_key(items.into_iter().map(Cow::Owned), key),
            other => {
                let kind = other.kind();
                return self.null(|| format!("`.{key}` of a {kind} is null"));
            }
        };
        match found {
            Some(value) => Ok(value),
            None => self.null(|| format!("no key `{key}`")),
        }
    }

    fn map_key<'s>(&mut self, items: impl Iterator<Item = Cow<'s, Value>>, key: &str) -> Eval<'s> {
        self.spend(16)?;
        let mut values = Vec::new();
        for item in items {
            self.work(1)?;
            let value = self.key(item, key)?;
            values.push(self.own(value)?);
        }
        Ok(Cow::Owned(Value::List(values)))
    }

    fn filter<'s>(&mut self, value: Cow<'s, Value>, filter: &'s Node, scope: &'s Scope<'s>) -> Eval<'s> {
        match value {
            Cow::Borrowed(Value::Null) | Cow::Owned(Value::Null) => Ok(Cow::Owned(Value::Null)),
            Cow::Borrowed(Value::List(items)) => match self.select(items, filter, scope)? {
                Selected::One(Some(i)) => Ok(Cow::Borrowed(&items[i])),
                Selected::One(None) => Ok(Cow::Owned(Value::Null)),
                Selected::Some(kept) => {
                    self.spend(16)?;
                    let mut values = Vec::with_capacity(kept.len());
                    for i in kept {
                        values.push(self.own(Cow::Borrowed(&items[i]))?);
                    }
                    Ok(Cow::Owned(Value::List(values)))
                }
            },
            other => {
                let mut items = match other.into_owned() {
                    Value::List(items) => items,
                    single => vec![single],
                };
                match self.select(&items, filter, scope)? {
                    Selected::One(Some(i)) => Ok(Cow::Owned(items.swap_remove(i))),
                    Selected::One(None) => Ok(Cow::Owned(Value::Null)),
                    Selected::Some(kept) => {
                        let mut kept = kept.into_iter().peekable();
                        let mut i = 0;
                        items.retain(|_| {
                            i += 1;
                            kept.next_if_eq(&(i - 1)).is_some()
                        });
                        Ok(Cow::Owned(Value::List(items)))
                    }
                }
            }
        }
    }

    /// Which of `items` the filter selects. Whether it is a position shows at the first element, or without one.
    fn select<'s>(&mut self, items: &[Value], filter: &'s Node, scope: &'s Scope<'s>) -> Result<Selected, Budget> {
        let mut kept = Vec::new();
        if items.is_empty() {
            let inner = scope.inner(Bind::Item(&Value::Null));
            return Ok(match self.eval(filter, &inner)?.as_ref() {
                Value::Number(_) => Selected::One(None),
                _ => Selected::Some(kept),
            });
        }
        for (i, item) in items.iter().enumerate() {
            self.work(1)?;
            let inner = scope.inner(Bind::Item(item));
            let value = self.eval(filter, &inner)?;
            match value.as_ref() {
                Value::Number(n) if i == 0 => return Ok(Selected::One(position(number::whole(n), items.len()))),
                Value::Bool(true) => kept.push(i),
                Value::Bool(false) | Value::Null => {}
                other => {
                    let kind = other.kind();
                    self.warn(|| format!("a filter gives a boolean or a number, found a {kind}"));
                }
            }
        }
        Ok(Selected::Some(kept))
    }
}

enum Selected {
    One(Option<usize>),
    Some(Vec<usize>),
}

/// The index of a position: from 1, negative from the end; `None` for 0 and outside.
pub(super) fn position(position: Option<i64>, length: usize) -> Option<usize> {
    let position = position?;
    let index = match position {
        0 => return None,
        1.. => position - 1,
        _ => i64::try_from(length).ok()?.checked_add(position)?,
    };
    usize::try_from(index).ok().filter(|index| *index < length)
}
