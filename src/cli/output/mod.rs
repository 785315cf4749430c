//! What rows look like on a terminal or in a pipe.
//!
//! Duty: the formats of `-o`, and the box for people. Guarantee: stdout gets rows only. Left to others: the formats of
//! the wire (`query::render`).

pub mod boxes;

use crate::query::render::Format;

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// A table for people; the first 40 rows
    Box,
    /// One JSON object
    Json,
    /// One JSON object a row
    Ndjson,
    /// RFC 4180 with a header
    Csv,
    /// An Arrow IPC stream
    Arrow,
}

impl Output {
    /// The format of the wire, if it is one.
    pub fn format(self) -> Option<Format> {
        match self {
            Self::Box => None,
            Self::Json => Some(Format::Json),
            Self::Ndjson => Some(Format::Ndjson),
            Self::Csv => Some(Format::Csv),
            Self::Arrow => Some(Format::Arrow),
        }
    }
}
