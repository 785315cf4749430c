//! Limits of one statement (sql.md 8).
//!
//! Duty: what a statement may take: what it asks for, cut to what the configuration and the format of its answer allow.
//! Guarantee: a cut is told in a notice. Left to others: holding it to that (`run`, `cut`).

use std::time::Duration;

use super::{ARROW_BYTES, ARROW_ROWS, POSTGRES_ROWS, Shape, Statement};
use crate::query::config::Config;

/// Limits after the configuration had its say.
pub(super) struct Granted {
    pub rows: u64,
    pub bytes: u64,
    pub time: Duration,
}

impl Granted {
    pub(super) fn of(statement: &Statement, config: &Config, notices: &mut Vec<String>) -> Self {
        let (rows, bytes) = match statement.shape {
            Shape::Text => (config.max_rows, config.max_bytes),
            Shape::Arrow => (ARROW_ROWS, ARROW_BYTES),
            Shape::Postgres => (POSTGRES_ROWS, ARROW_BYTES),
        };
        let mut cut = |name: &str, asked: Option<u64>, ceiling: u64| match asked {
            Some(asked) if asked > ceiling => {
                notices.push(format!("`limits.{name}` was cut from {asked} to {ceiling}"));
                ceiling
            }
            Some(asked) => asked,
            None => ceiling,
        };
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            rows: cut("rows", statement.limits.rows, rows),
            bytes: cut("bytes", statement.limits.bytes, bytes),
            time: Duration::from_millis(cut("time_ms", statement.limits.time.map(millis), millis(config.timeout))),
        }
    }
}
