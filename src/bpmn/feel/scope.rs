//! Where names are found.
//!
//! Duty: scopes as a list on the stack, innermost first, all by reference. Guarantee: looking up copies nothing. Left to
//! others: which scopes there are (`eval`).

use super::value::{Context, Value};

/// One scope and what is around it.
#[derive(Clone, Copy)]
pub(super) struct Scope<'a> {
    pub(super) bind: Bind<'a>,
    pub(super) outer: Option<&'a Scope<'a>>,
}

/// What a scope holds.
#[derive(Clone, Copy)]
pub(super) enum Bind<'a> {
    /// A context: of the evaluation, or the keys above an entry of a context.
    Names(&'a Context),
    /// A loop variable or parameter.
    Name(&'a str, &'a Value),
    /// The element of a filter: `item`, and the keys of a context.
    Item(&'a Value),
    /// What stands left of `in`.
    Input(&'a Value),
}

impl<'a> Scope<'a> {
    pub(super) fn inner(&'a self, bind: Bind<'a>) -> Scope<'a> {
        Scope { bind, outer: Some(self) }
    }

    pub(super) fn find(&self, name: &str) -> Option<&'a Value> {
        let mut scope = Some(self);
        while let Some(Scope { bind, outer }) = scope {
            let found = match *bind {
                Bind::Names(names) => names.get(name),
                Bind::Name(bound, value) => (bound == name).then_some(value),
                Bind::Item(item) => item.get(name).or((name == "item").then_some(item)),
                Bind::Input(_) => None,
            };
            if found.is_some() {
                return found;
            }
            scope = *outer;
        }
        None
    }

    pub(super) fn input(&self) -> Option<&'a Value> {
        let mut scope = Some(self);
        while let Some(Scope { bind, outer }) = scope {
            if let Bind::Input(value) = *bind {
                return Some(value);
            }
            scope = *outer;
        }
        None
    }
}
