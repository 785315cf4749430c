//! The section `query` (sql.md 8.1).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::hints::{Hints, Pushdown};
use crate::span::pinned::ScalarType;
use crate::yaml::Section;

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
    /// Types of attribute keys, over those of the registry and the pinned ones.
    pub attribute_types: Arc<BTreeMap<String, ScalarType>>,
    /// By how much `traces` widens a time filter for the spans it reads.
    pub trace_window: Duration,
    /// Whether decoders of Parquet files filter.
    pub pushdown: Pushdown,
    /// `flight.enabled`: whether Flight SQL is spoken on the API's port.
    pub flight_enabled: bool,
    /// What the statement at hand says, over what is configured.
    pub hints: Hints,
    /// `host:port` of the listener for clients of PostgreSQL, where there is one.
    pub pg: Option<String>,
}

const PUSHDOWN: [(&str, Pushdown); 3] = [("auto", Pushdown::Auto), ("on", Pushdown::On), ("off", Pushdown::Off)];

impl Default for Config {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            threads: cores.saturating_sub(1).max(1),
            timeout: Duration::from_secs(30),
            planning_timeout: Duration::from_secs(5),
            max_rows: 10_000,
            max_bytes: 64 << 20,
            attribute_types: Arc::default(),
            trace_window: Duration::from_secs(3600),
            pushdown: Pushdown::default(),
            flight_enabled: true,
            hints: Hints::default(),
            pg: None,
        }
    }
}

impl Config {
    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let threads = section.number("threads", 1..=1024).and_then(|threads| usize::try_from(threads).ok());
        let timeout = positive(section, "timeout").unwrap_or(default.timeout);
        let planning_timeout = positive(section, "planning_timeout");
        if planning_timeout.is_some_and(|planning| planning > timeout) {
            section.check("planning_timeout", "must not be longer than timeout: planning is a part of it");
        }
        section.not_yet(&[
            "memory_per_query",
            "spill_bytes",
            "spill_dir",
            "max_running",
            "max_waiting",
            "wait",
            "max_scan_bytes",
        ]);
        Self {
            threads: threads.unwrap_or(default.threads),
            timeout,
            planning_timeout: planning_timeout.unwrap_or(default.planning_timeout.min(timeout)),
            max_rows: section.number("max_rows", 1..=u64::MAX).unwrap_or(default.max_rows),
            max_bytes: section.size("max_bytes").unwrap_or(default.max_bytes),
            attribute_types: Arc::new(attribute_types(section)),
            trace_window: section.duration("trace_window").unwrap_or(default.trace_window),
            pushdown: section.choice("pushdown", &PUSHDOWN).unwrap_or_default(),
            flight_enabled: section.block("flight").boolean("enabled").unwrap_or(default.flight_enabled),
            hints: default.hints,
            pg: pg(&section.block("pg")),
        }
    }
}

impl Config {
    /// With the types that a registry gives to keys under those that are configured (sql.md 3.2).
    pub fn with_registry_types(self, registry: BTreeMap<String, ScalarType>) -> Self {
        Self { attribute_types: self.over(registry), ..self }
    }

    /// The configured types over those of a registry.
    pub(super) fn over(&self, mut registry: BTreeMap<String, ScalarType>) -> Arc<BTreeMap<String, ScalarType>> {
        registry.extend(self.attribute_types.iter().map(|(key, of)| (key.clone(), *of)));
        Arc::new(registry)
    }
}

fn pg(section: &Section<'_>) -> Option<String> {
    let endpoint = section.endpoint("endpoint").unwrap_or_else(|| "localhost:5433".to_owned());
    section.boolean("enabled").unwrap_or(false).then_some(endpoint)
}

fn positive(section: &Section<'_>, key: &'static str) -> Option<Duration> {
    let value = section.duration(key)?;
    if value.is_zero() {
        section.check(key, "must be above 0");
    }
    Some(value)
}

fn attribute_types(section: &Section<'_>) -> BTreeMap<String, ScalarType> {
    let types = [
        ("text", ScalarType::Text),
        ("string", ScalarType::Text),
        ("bigint", ScalarType::Int),
        ("int", ScalarType::Int),
        ("double", ScalarType::Double),
        ("boolean", ScalarType::Bool),
        ("bool", ScalarType::Bool),
    ];
    let block = section.block("attribute_types");
    let typed = |(key, word)| Some((key, block.pick_of(word, &types)?));
    block.named_texts().into_iter().map(|(key, word)| (key.to_owned(), word)).filter_map(typed).collect()
}
