//! What is wrong with gate files (gates.md 1.5), and with other files that are checked as they are.
//!
//! Duty: the closed set of codes, a problem with its place, and their order. Guarantee: every problem names file, line,
//! column, what is wrong and the next move. Left to others: finding them (`file`, `plan`), printing (`cli`), codes of other
//! files (`learn`).

use std::cell::RefCell;
use std::fmt;

use crate::yaml::{Fault, FaultKind, Mark};

/// The codes of gates.md 1.5 that can occur; from `Unshared` on they stop nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the table in gates.md 1.5 says what each is")]
pub enum Code {
    Unreadable = 1,
    NotYaml = 2,
    KeyTwice = 3,
    UnknownKey = 4,
    WrongType = 5,
    Missing = 6,
    GroupName = 7,
    GateName = 8,
    NameUsed = 9,
    Duration = 10,
    Comparison = 11,
    Strength = 12,
    Unit = 13,
    Source = 14,
    SqlFile = 15,
    Plan = 16,
    NotReadOnly = 17,
    Clock = 18,
    Parameter = 19,
    Column = 20,
    ColumnType = 21,
    Unbounded = 22,
    Label = 23,
    Template = 24,
    FireAfter = 25,
    Baseline = 26,
    On = 27,
    Cron = 28,
    Receiver = 29,
    OnFail = 30,
    Slo = 31,
    Assertion = 32,
    Finding = 33,
    Limit = 34,
    Unshared = 101,
    ShortWindow = 102,
    StartTime = 103,
    NoSampleFloor = 104,
    DryRunOnFail = 105,
    OffGrid = 106,
}

impl Code {
    /// Whether it stops the load.
    pub const fn is_error(self) -> bool {
        (self as u16) < 100
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_code(f, "GATE", *self as u16)
    }
}

/// A code as people see it: `WG-` and its family, errors with three digits, warnings (from 101) with a W and two.
pub fn write_code(f: &mut fmt::Formatter<'_>, family: &str, number: u16) -> fmt::Result {
    match number {
        ..100 => write!(f, "WG-{family}-{number:03}"),
        100.. => write!(f, "WG-{family}-W{:02}", number - 100),
    }
}

/// Whom a problem is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// The file as a whole.
    File,
    /// The group of that name.
    Group(String),
    /// The gate of that name.
    Gate(String),
    /// Something else of that kind and name.
    Other(&'static str, String),
}

/// One thing that is wrong, or odd.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Problem<C = Code> {
    /// Which kind.
    pub code: C,
    /// The file as shown to people.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// In characters, from 1.
    pub column: u32,
    /// Whom it is about.
    pub who: Who,
    /// What is wrong.
    pub what: String,
    /// The next move.
    pub next: String,
}

impl<C: fmt::Display> fmt::Display for Problem<C> {
    /// `CODE path:line:col: gate NAME: what; next move`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, file, line, column, who, what, next } = self;
        write!(f, "{code} {file}:{line}:{column}: ")?;
        match who {
            Who::File => {}
            Who::Group(name) => write!(f, "group {}: ", one_line(name))?,
            Who::Gate(name) => write!(f, "gate {}: ", one_line(name))?,
            Who::Other(kind, name) => write!(f, "{kind} {}: ", one_line(name))?,
        }
        write!(f, "{what}; {next}")
    }
}

/// One problem is one line, whatever names and texts are in it.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

/// Problems as they are found, in any order.
#[derive(Debug)]
pub struct Problems<C = Code> {
    found: RefCell<Vec<Problem<C>>>,
}

impl<C> Default for Problems<C> {
    fn default() -> Self {
        Self { found: RefCell::default() }
    }
}

impl Problems {
    /// Adds what is wrong with the YAML of a file; `syntax` says what to do where it is none.
    pub fn add_faults(&self, faults: Vec<Fault>, syntax: impl Fn(&Mark) -> &'static str) {
        for fault in faults {
            let (code, next) = match fault.kind {
                FaultKind::Syntax => (Code::NotYaml, syntax(&fault.mark)),
                FaultKind::TooLarge => (Code::Unreadable, "split the file"),
                FaultKind::MergeKey => (Code::NotYaml, "write the keys out, or share a whole value with an alias"),
                FaultKind::DuplicateKey => (Code::KeyTwice, "remove one of them"),
            };
            self.add(code, &fault.mark, &Who::File, fault.text, next);
        }
    }
}

impl<C: Copy + Ord> Problems<C> {
    /// Adds one that stands at `mark`.
    pub fn add(&self, code: C, mark: &Mark, who: &Who, what: impl Into<String>, next: impl Into<String>) {
        let at = mark.position().unwrap_or((1, 1));
        self.add_at(code, mark.source(), at, who, what, next);
    }

    /// Adds one at a line and column of `file`, both from 1.
    pub fn add_at(
        &self,
        code: C,
        file: &str,
        (line, column): (u32, u32),
        who: &Who,
        what: impl Into<String>,
        next: impl Into<String>,
    ) {
        let (what, next) = (one_line(&what.into()), one_line(&next.into()));
        let (file, who) = (file.to_owned(), who.clone());
        self.found.borrow_mut().push(Problem { code, file, line, column, who, what, next });
    }

    /// All of them, sorted by file, line and column, each once.
    pub fn into_sorted(self) -> Vec<Problem<C>> {
        let mut found = self.found.into_inner();
        found.sort_by(|a, b| {
            (&a.file, a.line, a.column, a.code, &a.what).cmp(&(&b.file, b.line, b.column, b.code, &b.what))
        });
        found.dedup();
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_come_by_file_line_and_column_and_stay_on_one_line() {
        let problems = Problems::default();
        let at = |file: &str, line, column| Mark::of_source(0, file).at(line, column);
        let gate = Who::Gate("a\nb".to_owned());
        problems.add(Code::ShortWindow, &at("b.yaml", 1, 1), &gate, "w", "n");
        problems.add(Code::Missing, &at("a.yaml", 10, 2), &Who::File, "x\ty", "n");
        problems.add(Code::Missing, &at("a.yaml", 9, 3), &Who::Group("g".to_owned()), "z", "n");
        let texts: Vec<_> = problems.into_sorted().iter().map(ToString::to_string).collect();
        assert_eq!(texts[0], "WG-GATE-006 a.yaml:9:3: group g: z; n");
        assert_eq!(texts[1], "WG-GATE-006 a.yaml:10:2: x y; n");
        assert_eq!(texts[2], "WG-GATE-W02 b.yaml:1:1: gate a b: w; n");
    }
}
