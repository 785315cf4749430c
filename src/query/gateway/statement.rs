//! What callers give the gateway.
//!
//! Duty: a statement with its values, limits and origin. Guarantee: none of it is trusted: the guard reads the text, the
//! configuration cuts the limits. Left to others: running it (`gateway`), where parts of it come from (`web`, `pg`).

use std::sync::Arc;
use std::time::Duration;

use crate::query::hints::Hints;
use crate::query::params::Params;
use crate::query::pg::catalogue::Caller;

/// What the format of an answer allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    /// JSON, NDJSON, CSV.
    #[default]
    Text,
    /// Arrow.
    Arrow,
    /// Rows on PostgreSQL's wire.
    Postgres,
}

/// Limits a caller asks for; what is higher than the configuration's is cut to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Rows out.
    pub rows: Option<u64>,
    /// Bytes out.
    pub bytes: Option<u64>,
    /// Wall time.
    pub time: Option<Duration>,
}

/// What to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statement {
    /// One statement.
    pub sql: String,
    /// Values of its placeholders.
    pub params: Params,
    /// Limits below the usual.
    pub limits: Limits,
    /// Only rows that the store took up to here: µs since 1970.
    pub as_of_us: Option<i64>,
    /// What the answer will be written as.
    pub shape: Shape,
    /// How to run it; the rows are the same.
    pub hints: Hints,
    /// Who asks: the name of an identity; empty = the daemon itself.
    pub identity: String,
    /// By which way it came, a word: `http`, `flight`, …
    pub surface: &'static str,
    /// What the caller calls it, for `system.queries`.
    pub tag: Option<String>,
    /// Its id, a ULID, where the caller was told one before it runs.
    pub query_id: Option<String>,
    /// It has no span of its own: it is run because spans came, and would be followed by itself.
    pub is_untraced: bool,
    /// Who sent it, if that is a client of PostgreSQL: its text is taken as one, and it sees `pg_catalog`.
    pub postgres: Option<Arc<Caller>>,
}

impl Statement {
    /// A statement without parameters, under the usual limits.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), ..Self::default() }
    }
}
