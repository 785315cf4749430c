//! What is wrong with pattern files (learn.md 3.6).
//!
//! Duty: the closed set of codes, and telling one of a pattern. Guarantee: every problem names file, line, column, what is
//! wrong and the next move. Left to others: finding them (`header`, `plan`, `load`), their order (`gate::problem`).

use std::fmt;

use crate::gate::problem::{self, Who, write_code};

/// The codes of learn.md 3.6; from `ShortWindow` on they stop nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the table in learn.md 3.6 says what each is")]
pub enum Code {
    Unreadable = 1,
    Name = 2,
    Header = 3,
    Missing = 4,
    KeyColumn = 5,
    CountColumn = 6,
    Plan = 7,
    Parameter = 8,
    Unbounded = 9,
    Range = 10,
    NoSuchFile = 11,
    ShortWindow = 101,
    LongWindow = 102,
}

impl Code {
    /// Whether it stops the load.
    pub const fn is_error(self) -> bool {
        (self as u16) < 100
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_code(f, "LRN", *self as u16)
    }
}

/// One thing that is wrong with a pattern, or odd.
pub type Problem = problem::Problem<Code>;
/// Problems as they are found, in any order.
pub type Problems = problem::Problems<Code>;

/// A place: line and column, both from 1.
pub type At = (u32, u32);

/// Where the problems of one file are told.
#[derive(Clone, Copy, Debug)]
pub struct Teller<'a> {
    /// The file as shown to people.
    pub file: &'a str,
    /// Name of the pattern.
    pub pattern: &'a str,
    /// All problems.
    pub problems: &'a Problems,
}

impl Teller<'_> {
    /// Tells one.
    pub fn tell(&self, code: Code, at: At, what: impl Into<String>, next: impl Into<String>) {
        let who = Who::Other("pattern", self.pattern.to_owned());
        self.problems.add_at(code, self.file, at, &who, what, next);
    }
}
