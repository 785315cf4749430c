//! Why `weavergen sql` failed.
//!
//! Duty: a text for people, and the exit code of sql.md 9.1. Guarantee: a place in the statement is shown under its
//! line. Left to others: ending the process (`main`).

use std::fmt;
use std::io;
use std::path::Path;

use crate::cli::exit::{self, Exit};
use crate::config;
use crate::error::Class;
use crate::query::library;
use crate::query::{self, Code, Position};
use crate::store;

/// Why it failed.
#[derive(Clone, Debug, PartialEq)]
pub enum Failure {
    /// The command line is wrong.
    Usage(String),
    /// The statement failed.
    Statement {
        /// Why.
        error: Box<query::Error>,
        /// Its text.
        sql: String,
    },
    /// A file of queries does not hold.
    Query(String),
    /// The daemon cannot be reached, or does not let us in.
    Daemon(String),
    /// The data folder cannot be read.
    Data(String),
    /// The configuration does not hold, or does not fit the data folder.
    Config(String),
    /// The answer broke off.
    Broken(String),
    /// Nobody reads what is written.
    Pipe,
    /// Writing failed.
    Write(String),
}

impl Failure {
    /// Exit code: 1 query, 2 usage, 3 limit or timeout, 69 daemon, 74 data or output,
    /// 78 configuration.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Statement { error, .. } => match (error.code, error.class()) {
                (Code::Unauthenticated | Code::Denied, _) => Exit::Unavailable,
                (_, Class::TooLarge | Class::Timeout | Class::Busy) => Exit::NotJudged,
                _ => Exit::Bad,
            },
            Self::Daemon(_) => Exit::Unavailable,
            Self::Data(_) | Self::Write(_) => Exit::Io,
            Self::Config(_) => Exit::Config,
            Self::Query(_) | Self::Broken(_) => Exit::Bad,
            Self::Pipe => Exit::Good,
        }
    }

    /// Of reading the data folder `dir`.
    pub fn of_folder(dir: &Path, error: &store::Error) -> Self {
        let text = format!("{}: {error}", dir.display());
        match error {
            store::Error::Unreachable { .. } => Self::Daemon(text),
            store::Error::Place { .. } => Self::Config(text),
            _ => Self::Data(text),
        }
    }

    /// With the text of the statement, to show the place in it.
    #[must_use]
    pub(super) fn of(self, text: &str) -> Self {
        match self {
            Self::Statement { error, sql } if sql.is_empty() => Self::Statement { error, sql: text.to_owned() },
            other => other,
        }
    }
}

impl From<query::Error> for Failure {
    fn from(error: query::Error) -> Self {
        Self::Statement { error: Box::new(error), sql: String::new() }
    }
}

impl From<config::Error> for Failure {
    fn from(error: config::Error) -> Self {
        match error.class() {
            Class::NotFound => Self::Data(error.to_string()),
            _ => Self::Config(error.to_string()),
        }
    }
}

impl From<library::Error> for Failure {
    fn from(error: library::Error) -> Self {
        let text = error.to_string();
        match error {
            library::Error::Unknown { .. } | library::Error::Call(_) => Self::Usage(text),
            library::Error::Unreadable(_) => Self::Data(text),
            library::Error::Invalid(_) => Self::Query(text),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Pipe,
            _ => Self::Write(format!("cannot write the rows: {error}")),
        }
    }
}

impl std::error::Error for Failure {}

impl From<Failure> for exit::Failure {
    fn from(failure: Failure) -> Self {
        Self::new(failure.exit(), failure.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text)
            | Self::Query(text)
            | Self::Daemon(text)
            | Self::Data(text)
            | Self::Config(text)
            | Self::Broken(text)
            | Self::Write(text) => f.write_str(text),
            Self::Pipe => f.write_str("the output was closed"),
            Self::Statement { error, sql } => {
                write!(f, "{}: {}", error.code.as_str(), error.message)?;
                if let Some(position) = error.position {
                    place(f, position, sql)?;
                }
                if let Some(hint) = &error.hint {
                    write!(f, "\nhint: {hint}")?;
                }
                if let (Code::Internal, Some(id)) = (error.code, &error.query_id) {
                    write!(f, "\nquery id: {id}")?;
                }
                Ok(())
            }
        }
    }
}

/// The line of the place, cut around it, with a mark below.
fn place(f: &mut fmt::Formatter<'_>, at: Position, sql: &str) -> fmt::Result {
    const AROUND: usize = 70;
    write!(f, "\n --> line {}, column {}", at.line, at.column)?;
    let index = usize::try_from(at.line.saturating_sub(1)).unwrap_or(usize::MAX);
    let Some(line) = sql.split('\n').nth(index) else { return Ok(()) };
    let column = usize::try_from(at.column.saturating_sub(1)).unwrap_or(0);
    let start = column.saturating_sub(AROUND);
    let shown: String =
        line.chars().skip(start).take(2 * AROUND).map(|c| if c.is_control() { ' ' } else { c }).collect();
    write!(f, "\n  | {shown}\n  | {}^", " ".repeat(column - start))
}
