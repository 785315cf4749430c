//! Pattern files: what spans have in common (learn.md 3).
//!
//! Duty: read and check the files, run them, and turn their rows into what `learned_patterns` shows. Guarantee: a
//! [`Pattern`] passed every check of learn.md 3.6. Left to others: when they run (`task`), keeping rows (`journal`).

pub mod builtin;
pub mod fold;
pub mod header;
pub mod load;
pub mod plan;
pub mod problem;
pub mod rows;
pub mod run;

#[cfg(test)]
mod tests;

use std::time::Duration;

use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;
use sha2::{Digest as _, Sha256};

pub use load::{Loaded, Request, load};
pub use plan::Planner;
pub use problem::{Code, Problem};

use crate::gate::window::nanos;
use fold::Thresholds;

/// One pattern file.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern {
    /// File stem.
    pub name: String,
    /// The file as shown to people.
    pub path: String,
    /// Its text, which is one statement with comments above.
    pub sql: String,
    /// One sentence.
    pub about: String,
    /// Result columns that form the key.
    pub by: Vec<String>,
    /// Distance of its ticks.
    pub every: Duration,
    /// Length of its window.
    pub window: Duration,
    /// Which rows stay.
    pub thresholds: Thresholds,
    /// Event time without being seen after which a row goes.
    pub expire: Duration,
    /// Also spans made by pipelines.
    pub include_pipeline_spans: bool,
    /// The statement names `$window_start` or `$window_end` and bounds itself.
    pub is_explicit: bool,
}

impl Pattern {
    /// Hash of the question: another statement (spaces and comments do not matter), `by` or `window` is a new generation.
    pub fn question(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |text: &str| {
            hash.update(u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part("weavergen.pattern.v1");
        // A loaded file parses; what did not would be compared as text.
        part(&match Parser::parse_sql(&PostgreSqlDialect {}, &self.sql) {
            Ok(statements) => statements.iter().map(ToString::to_string).collect::<Vec<_>>().join(";"),
            Err(_) => self.sql.clone(),
        });
        let mut by: Vec<&str> = self.by.iter().map(String::as_str).collect();
        by.sort_unstable();
        by.into_iter().for_each(&mut part);
        // An empty name is no column, so it ends the list.
        part("");
        hash.update(nanos(self.window).to_le_bytes());
        hash.finalize().into()
    }
}
