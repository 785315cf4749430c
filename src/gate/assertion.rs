//! Trace assertions (gates.md 13).
//!
//! Duty: what `assert` says. Guarantee: a selector that could not be read is no part of an [`Assertion`]. Left to others:
//! reading the key (`keys`, `selector`), the SQL that it becomes (`statement`, `predicate`), planning it (`plan`), all rules
//! of a verdict (`verdict`).
//!
//! A trace is judged in the windows that hold the instant at which it *settled*, by the spans that ended before: the first
//! instant at which a span without a parent and one of every `wait_for` type had ended and no span had for `quiet`; at the
//! latest `give_up` after its first span ended, and then it is incomplete. All of that is event time, so that a closed tick
//! is a function of definition, window and cut; windows that lie side by side judge every trace once. A trace that ends more
//! spans after `give_up` of silence begins anew: by that, no window has to look farther back than twice `give_up`.

pub(super) mod keys;
pub(super) mod predicate;
pub mod selector;
mod statement;

use std::time::Duration;

use self::selector::Selector;
use super::definition::Test;
use super::scalar::duration_text;

/// `assert`: what every trace must keep to.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    /// What of its root tells traces apart.
    pub by: Option<By>,
    /// Span types without which a trace does not settle before `give_up`.
    pub wait_for: Vec<String>,
    /// A trace fails by an orphan, by another number of roots than one, and by `give_up`.
    pub is_complete: bool,
    /// Event time without the end of a span after which a trace settles.
    pub quiet: Duration,
    /// Event time after the end of its first span at which a trace settles anyway.
    pub give_up: Duration,
    /// All must hold.
    pub checks: Vec<Check>,
}

/// Keys of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// Name of the root.
    RootName,
    /// Service of the root.
    RootService,
}

impl By {
    /// The word, which is also the column.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RootName => "root_name",
            Self::RootService => "root_service",
        }
    }
}

/// What must hold of a trace.
#[derive(Clone, Debug, PartialEq)]
pub enum Check {
    /// `select`, `that`, `expect`
    Spans {
        /// Which spans.
        select: Selector,
        /// Row predicates, all of which are meant.
        that: Vec<String>,
        /// How many of the spans keep to them.
        expect: Expect,
    },
    /// `before`
    Before {
        /// These end …
        first: Selector,
        /// … before these start.
        then: Selector,
    },
}

/// How many of the selected spans keep to the predicates.
#[derive(Clone, Debug, PartialEq)]
pub enum Expect {
    /// Each, and there is one.
    All,
    /// At least one.
    Any,
    /// None.
    None,
    /// So many; as written, and what it asks.
    Count(String, Test),
}

impl Expect {
    fn text(&self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Any => "any".to_owned(),
            Self::None => "none".to_owned(),
            Self::Count(text, _) => format!("count {text}"),
        }
    }
}

impl Assertion {
    /// When a trace is judged, as people read it.
    pub fn told(&self) -> String {
        let waits = self.wait_for.iter().map(|of| format!(" and a {of}"));
        format!(
            "a trace is judged once its root{} ended and no span did for {}, at the latest {} after its first span",
            waits.collect::<String>(),
            duration_text(self.quiet),
            duration_text(self.give_up)
        )
    }

    /// As JSON, under the words of gate files.
    pub fn shown(&self) -> serde_json::Value {
        let check = |check: &Check| match check {
            Check::Spans { select, that, expect } => {
                serde_json::json!({ "select": select.text, "that": that, "expect": expect.text() })
            }
            Check::Before { first, then } => {
                serde_json::json!({ "before": { "first": first.text, "then": then.text } })
            }
        };
        serde_json::json!({
            "by": self.by.map(By::as_str),
            "wait_for": self.wait_for,
            "complete": self.is_complete,
            "quiet": duration_text(self.quiet),
            "give_up": duration_text(self.give_up),
            "checks": self.checks.iter().map(check).collect::<Vec<_>>(),
        })
    }
}
