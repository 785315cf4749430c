//! What is wrong with pattern files (learn.md 3.6).
//!
//! Duty: the closed set of codes, a problem with its place, and their order. Guarantee: every problem names file, line,
//! column, what is wrong and the next move. Left to others: finding them (`header`, `plan`, `load`).

use std::cell::RefCell;
use std::fmt;

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
        let number = *self as u16;
        match self.is_error() {
            true => write!(f, "WG-LRN-{number:03}"),
            false => write!(f, "WG-LRN-W{:02}", number - 100),
        }
    }
}

/// One thing that is wrong, or odd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem {
    /// Which kind.
    pub code: Code,
    /// The file as shown to people.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// Name of the pattern.
    pub pattern: String,
    /// What is wrong.
    pub what: String,
    /// The next move.
    pub next: String,
}

impl fmt::Display for Problem {
    /// `CODE path:line:col: pattern NAME: what; next move`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, column, pattern, what, next } = self;
        write!(f, "{code} {file}:{line}:{column}: pattern {}: {what}; {next}", one_line(pattern))
    }
}

/// One problem is one line, whatever names and texts are in it.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// A place: line and column, both from 1.
pub type At = (u32, u32);

/// Problems as they are found, in any order.
#[derive(Debug, Default)]
pub struct Problems {
    found: RefCell<Vec<Problem>>,
}

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
    pub fn tell(&self, code: Code, (line, column): At, what: impl Into<String>, next: impl Into<String>) {
        let (what, next) = (one_line(&what.into()), one_line(&next.into()));
        let (file, pattern) = (self.file.to_owned(), self.pattern.to_owned());
        self.problems.found.borrow_mut().push(Problem { code, file, line, column, pattern, what, next });
    }
}

impl Problems {
    /// All of them, sorted by file, line and column, each once.
    pub fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.found.into_inner();
        found.sort_by(|a, b| {
            (&a.file, a.line, a.column, a.code, &a.what).cmp(&(&b.file, b.line, b.column, b.code, &b.what))
        });
        found.dedup();
        found
    }
}
