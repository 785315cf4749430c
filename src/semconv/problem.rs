//! What is wrong with a registry, collected.
//!
//! Duty: [`Code`], [`Problem`], the list that readers add to, and [`Error`]. Guarantee: a list is given out in file
//! order; a problem names its place, what is wrong and, where it is known, the next move. Left to others: finding
//! problems (`definition`, `resolve`).

use std::cell::RefCell;
use std::fmt;

use crate::error::Class;
use crate::yaml::{self, Mark};

/// The codes of semconv.md 1.6; those from [`Code::LegacyVersion`] on are warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Code {
    /// A folder or file cannot be read, or nothing has this name.
    Source = 1,
    /// The text is not YAML, or a key stands twice.
    Yaml = 2,
    /// A key that does not exist.
    UnknownKey = 3,
    /// A value of another type.
    WrongType = 4,
    /// A value that is not allowed.
    Value = 5,
    /// A key that must be there.
    Missing = 6,
    /// A file of another format.
    FileFormat = 7,
    /// Specified, not built.
    NotBuilt = 8,
    /// A span-name template with wrong braces.
    NameTemplate = 9,
    /// Beyond the bounds of semconv.md 7.
    TooLarge = 10,
    /// One attribute key, two definitions.
    DefinedTwice = 20,
    /// A reference that leads nowhere.
    UnknownReference = 21,
    /// One key brought twice into a list of attributes.
    KeyTwice = 22,
    /// One span type, two definitions.
    SpanTypeTwice = 23,
    /// Groups that include each other.
    GroupCycle = 24,
    /// A use that raises the stability of its attribute.
    StabilityRaised = 25,
    /// A span-name template that names an attribute the span has not.
    NameTemplateKey = 26,
    /// The manifest.
    Manifest = 40,
    /// `version: "2"` in place of `file_format`.
    LegacyVersion = 1001,
    /// `stability: deprecated`.
    StabilityDeprecated = 1002,
    /// A deprecation as plain text.
    PlainDeprecation = 1003,
    /// A signal without a requirement level.
    NoRequirementLevel = 1004,
    /// A group id twice: the first counts.
    GroupTwice = 1020,
    /// No manifest, so no schema URL.
    NoManifest = 1040,
}

/// Codes from here on are warnings.
const FIRST_WARNING: u16 = 1000;

impl Code {
    /// Whether the registry cannot be used.
    pub const fn is_error(self) -> bool {
        (self as u16) < FIRST_WARNING
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self as u16 {
            number if self.is_error() => write!(f, "WG-SEM-{number:03}"),
            number => write!(f, "WG-SEM-W{:03}", number - FIRST_WARNING),
        }
    }
}

/// One thing that is wrong, or odd.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which kind.
    pub code: Code,
    /// Path of the key, joined by `::`; empty for a whole file.
    pub path: String,
    /// What is wrong, without the path.
    pub text: String,
    /// Where.
    pub mark: Mark,
    /// The next move, if it is known.
    pub help: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.code, self.mark)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.text)?;
        match &self.help {
            Some(help) => write!(f, "; {help}"),
            None => Ok(()),
        }
    }
}

/// What readers found, in any order.
#[derive(Debug, Default)]
pub(super) struct Problems {
    /// What the typed readers of `yaml` add to.
    pub(super) yaml: yaml::Problems,
    own: RefCell<Vec<Problem>>,
}

impl Problems {
    /// Adds one about the value at `mark`.
    pub(super) fn add(&self, code: Code, mark: &Mark, path: &str, text: impl Into<String>, help: Option<String>) {
        let problem = Problem { code, path: path.to_owned(), text: text.into(), mark: mark.clone(), help };
        self.own.borrow_mut().push(problem);
    }

    /// All of them in file order, each once.
    pub(super) fn into_sorted(self) -> Vec<Problem> {
        let mut found = self.own.into_inner();
        found.extend(self.yaml.into_sorted().into_iter().map(of_yaml));
        found.sort_by(|a, b| a.mark.cmp(&b.mark).then(a.code.cmp(&b.code)));
        found.dedup();
        found
    }
}

/// A problem of the typed readers under our codes.
pub(super) fn of_yaml(problem: yaml::Problem) -> Problem {
    let code = match problem.code {
        yaml::Code::Parse | yaml::Code::Empty => Code::Yaml,
        yaml::Code::UnknownKey => Code::UnknownKey,
        yaml::Code::WrongType => Code::WrongType,
        _ => Code::Value,
    };
    Problem { code, path: problem.path, text: problem.text, mark: problem.mark, help: problem.help }
}

/// Why there is no registry.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// It is not there, or cannot be read.
    #[error("cannot read the registry `{registry}`: {why}; {help}")]
    Unreadable {
        /// As configured.
        registry: String,
        /// What kept us.
        why: String,
        /// The next move.
        help: String,
    },
    /// Its files are wrong: errors and warnings of all of them, in file order.
    #[error("the registry `{registry}` is invalid:\n{}", lines(.problems))]
    Invalid {
        /// As configured.
        registry: String,
        /// At least one of them is an error.
        problems: Vec<Problem>,
    },
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unreadable { .. } => Class::NotFound,
            Self::Invalid { .. } => Class::Invalid,
        }
    }
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
