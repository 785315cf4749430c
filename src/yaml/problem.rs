//! Problems, collected.
//!
//! Duty: [`Code`], [`Problem`] and the list that readers add to. Guarantee: a list is given out in file order. Left to
//! others: printing (`config::report`).

use std::cell::RefCell;
use std::collections::HashSet;

use super::Mark;

/// The codes of collector_config.md 4; from 0101 on they are warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the table in collector_config.md 4 says what each is")]
pub enum Code {
    Parse = 1,
    Empty = 2,
    UnknownKey = 3,
    WrongType = 4,
    BadId = 5,
    DuplicateId = 6,
    UnknownType = 7,
    NotSupported = 8,
    NoReceivers = 9,
    NoExporters = 10,
    NoPipelines = 11,
    PipelineLacks = 12,
    Dangling = 13,
    ProcessorTwice = 14,
    BadPipelineId = 19,
    Check = 20,
    Expansion = 22,
    Unit = 23,
    DeprecatedAlias = 101,
    UnsetVariable = 102,
    BareDuration = 103,
    ExtensionNotListed = 104,
    NotUsed = 105,
    KeyIgnored = 106,
    NoEffect = 107,
    PlainText = 108,
    SignalNotRun = 109,
    Skipped = 110,
}

impl Code {
    /// Whether it stops the start.
    pub const fn is_error(self) -> bool {
        (self as u16) < 100
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WG-CFG-{:04}", *self as u16)
    }
}

/// One thing that is wrong, or odd.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which kind.
    pub code: Code,
    /// Path of the key, joined by `::`; empty for the whole source.
    pub path: String,
    /// What is wrong, without the path.
    pub text: String,
    /// Where.
    pub mark: Mark,
    /// The next move, if it is known.
    pub help: Option<String>,
}

/// What readers found, in any order.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<Problem>>,
}

impl Problems {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn add(&self, problem: Problem) {
        self.found.borrow_mut().push(problem);
    }

    /// Whether one of them stops the start.
    pub fn has_errors(&self) -> bool {
        self.found.borrow().iter().any(|problem| problem.code.is_error())
    }

    /// All of them in file order, those of one place in the order found, each once: a section may be opened by several
    /// readers.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        let mut told = HashSet::new();
        found.retain(|p| told.insert((p.code, p.path.clone(), p.text.clone(), p.mark.clone())));
        found.sort_by(|a, b| a.mark.cmp(&b.mark));
        found
    }
}
