//! The section `query` (sql.md 8.1).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::span::pinned::ScalarType;

/// Settings of the query module.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Threads of the query runtime.
    pub threads: usize,
    /// Wall time of a statement.
    pub timeout: Duration,
    /// Part of it that planning may take.
    pub planning_timeout: Duration,
    /// Rows out in text formats.
    pub max_rows: u64,
    /// Bytes out in text formats.
    pub max_bytes: u64,
    /// Types of attribute keys, over the pinned ones.
    pub attribute_types: BTreeMap<String, ScalarType>,
    /// By how much `traces` widens a time filter for the spans it reads.
    pub trace_window: Duration,
}

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            threads: cores.saturating_sub(1).max(1),
            timeout: Duration::from_secs(30),
            planning_timeout: Duration::from_secs(5),
            max_rows: 10_000,
            max_bytes: 64 << 20,
            attribute_types: BTreeMap::new(),
            trace_window: Duration::from_secs(3600),
        }
    }
}
