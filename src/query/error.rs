//! Why a statement was not answered (sql.md 10).
//!
//! Duty: the closed set of codes, and the error that carries code, place, cause and next move. Guarantee: a text never
//! holds paths or settings of the engine. Left to others: statuses (`web`), exit codes (`cli`), the engine's own errors
//! (`translate`).

use std::time::Duration;

use crate::error::Class;

/// What went wrong, as a word that programs can match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the words say it; sql.md 10 lists them")]
pub enum Code {
    Syntax,
    UnknownTable,
    UnknownColumn,
    UnknownFunction,
    Type,
    Argument,
    NotAllowed,
    TooComplex,
    LimitRows,
    LimitMemory,
    LimitSpill,
    LimitScan,
    Timeout,
    Cancelled,
    Busy,
    PartCorrupt,
    Unauthenticated,
    Denied,
    Internal,
}

impl Code {
    /// Every code.
    pub const ALL: [Self; 19] = [
        Self::Syntax,
        Self::UnknownTable,
        Self::UnknownColumn,
        Self::UnknownFunction,
        Self::Type,
        Self::Argument,
        Self::NotAllowed,
        Self::TooComplex,
        Self::LimitRows,
        Self::LimitMemory,
        Self::LimitSpill,
        Self::LimitScan,
        Self::Timeout,
        Self::Cancelled,
        Self::Busy,
        Self::PartCorrupt,
        Self::Unauthenticated,
        Self::Denied,
        Self::Internal,
    ];

    /// The word on every wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Syntax => "sql.syntax",
            Self::UnknownTable => "sql.unknown_table",
            Self::UnknownColumn => "sql.unknown_column",
            Self::UnknownFunction => "sql.unknown_function",
            Self::Type => "sql.type",
            Self::Argument => "sql.argument",
            Self::NotAllowed => "sql.not_allowed",
            Self::TooComplex => "sql.too_complex",
            Self::LimitRows => "sql.limit.rows",
            Self::LimitMemory => "sql.limit.memory",
            Self::LimitSpill => "sql.limit.spill",
            Self::LimitScan => "sql.limit.scan",
            Self::Timeout => "sql.timeout",
            Self::Cancelled => "sql.cancelled",
            Self::Busy => "sql.busy",
            Self::PartCorrupt => "sql.part_corrupt",
            Self::Unauthenticated => "sql.unauthenticated",
            Self::Denied => "sql.denied",
            Self::Internal => "sql.internal",
        }
    }

    /// What the caller can do about it.
    pub const fn class(self) -> Class {
        match self {
            Self::Syntax | Self::Type | Self::Argument | Self::TooComplex => Class::Invalid,
            Self::UnknownTable | Self::UnknownColumn | Self::UnknownFunction => Class::NotFound,
            Self::NotAllowed | Self::Unauthenticated | Self::Denied => Class::Denied,
            Self::LimitRows | Self::LimitMemory | Self::LimitSpill | Self::LimitScan => Class::TooLarge,
            Self::Timeout | Self::Cancelled => Class::Timeout,
            Self::Busy => Class::Busy,
            Self::PartCorrupt | Self::Internal => Class::Internal,
        }
    }
}

/// A place in the text of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: u64,
    /// In characters, from 1.
    pub column: u64,
    /// In bytes from the start of the text, from 0.
    pub offset: u64,
}

impl Position {
    /// The place at `line` and `column` of `sql`; `None` where it has no such place.
    pub fn at(sql: &str, line: u64, column: u64) -> Option<Self> {
        if line == 0 || column == 0 {
            return None;
        }
        let mut start = 0;
        for _ in 1..line {
            start += sql[start..].find('\n')? + 1;
        }
        let text = sql[start..].split('\n').next().unwrap_or_default();
        let within = usize::try_from(column - 1).ok()?;
        let bytes = match text.char_indices().nth(within) {
            Some((bytes, _)) => bytes,
            // Just behind the last character: the end of the text was not expected.
            None if text.chars().count() == within => text.len(),
            None => return None,
        };
        Some(Self { line, column, offset: (start + bytes) as u64 })
    }
}

/// Why a statement was not answered.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What went wrong, for programs.
    pub code: Code,
    /// What went wrong, for people.
    pub message: String,
    /// Where, if the text of the statement is to blame.
    pub position: Option<Position>,
    /// The next move.
    pub hint: Option<String>,
    /// The statement, once it has an id.
    pub query_id: Option<String>,
}

impl Error {
    /// An error without place and hint.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), position: None, hint: None, query_id: None }
    }

    /// With the next move.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the place; one that is already known stays.
    #[must_use]
    pub fn at(mut self, position: Option<Position>) -> Self {
        self.position = self.position.or(position);
        self
    }

    /// With the statement's id.
    #[must_use]
    pub fn of(mut self, query_id: &str) -> Self {
        self.query_id.get_or_insert_with(|| query_id.to_owned());
        self
    }

    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        self.code.class()
    }

    /// How long to wait before sending the same again.
    pub fn retry_after(&self) -> Option<Duration> {
        (self.code == Code::Busy).then_some(Duration::from_secs(1))
    }

    /// `{"code","class","message","position","hint","query_id"}`; what is not known is null.
    pub fn to_json(&self) -> serde_json::Value {
        let position =
            self.position.map(|at| serde_json::json!({"line": at.line, "column": at.column, "offset": at.offset}));
        serde_json::json!({
            "code": self.code.as_str(),
            "class": self.class().as_str(),
            "message": self.message,
            "position": position,
            "hint": self.hint,
            "query_id": self.query_id,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_counts_bytes_and_a_column_characters() {
        let sql = "SELECT 'é',\n  nme\nFROM spans";
        assert_eq!(Position::at(sql, 2, 3), Some(Position { line: 2, column: 3, offset: 15 }));
        assert_eq!(Position::at(sql, 1, 11).map(|at| at.offset), Some(11));
        assert_eq!(Position::at(sql, 3, 11).map(|at| at.offset), Some(sql.len() as u64));
        assert_eq!(Position::at(sql, 9, 1), None);
        assert_eq!(Position::at(sql, 0, 0), None);
    }

    #[test]
    fn codes_are_distinct_words() {
        let words: std::collections::BTreeSet<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        assert_eq!(words.len(), Code::ALL.len());
    }
}
