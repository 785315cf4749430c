//! The section `gates` (gates.md 1).
//!
//! Duty: its keys and defaults. Left to others: gate files (`file`). `idle_source_after`, `max_future_skew` and
//! `max_watermark_lag` act once sources are built, `bucket` and `bucket_bytes` with the decomposable class.

use std::time::Duration;

use crate::yaml::Section;

/// Settings of the gate module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Globs and `builtin:NAME`; `None` = `gates/*.yaml` of `queries.dir`.
    pub files: Option<Vec<String>>,
    /// Grid of a group that names none.
    pub interval: Duration,
    /// How far the watermark must be past a tick, for a group that does not say.
    pub query_offset: Duration,
    /// A source that is silent for so long holds nobody back.
    pub idle_source_after: Duration,
    /// An end time may lie so far ahead of its arrival.
    pub max_future_skew: Duration,
    /// A source that lags so far holds nobody back.
    pub max_watermark_lag: Duration,
    /// Width of a bucket.
    pub bucket: Duration,
    /// Memory of all buckets.
    pub bucket_bytes: u64,
    /// Memory of one evaluation of class re-run.
    pub rerun_memory: u64,
    /// Whether `/metrics` shows values.
    pub value_metrics: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            files: None,
            interval: Duration::from_secs(30),
            query_offset: Duration::from_secs(20),
            idle_source_after: Duration::from_secs(30),
            max_future_skew: Duration::from_secs(10),
            max_watermark_lag: Duration::from_secs(300),
            bucket: Duration::from_secs(10),
            bucket_bytes: 512 << 20,
            rerun_memory: 256 << 20,
            value_metrics: true,
        }
    }
}

/// Least and most of a group's interval.
pub const INTERVAL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(86_400));
/// Least and most of a group's offset.
pub const QUERY_OFFSET: (Duration, Duration) = (Duration::ZERO, Duration::from_secs(3600));
/// Least memory that a statement can work with.
const LEAST_MEMORY: u64 = 16 << 20;

impl Config {
    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Self {
        let default = Self::default();
        let between = |key: &'static str, (least, most): (Duration, Duration), usual: Duration| {
            let value = section.duration(key).unwrap_or(usual);
            if value < least || value > most {
                let text = super::scalar::duration_text;
                section.check(key, format!("must be from {} to {}", text(least), text(most)));
            }
            value
        };
        let day = Duration::from_secs(86_400);
        let memory = |key: &'static str, usual: u64| {
            let value = section.size(key).unwrap_or(usual);
            if value < LEAST_MEMORY {
                section.check(key, "must be at least 16MiB");
            }
            value
        };
        Self {
            files: section.texts("files"),
            interval: between("interval", INTERVAL, default.interval),
            query_offset: between("query_offset", QUERY_OFFSET, default.query_offset),
            idle_source_after: between("idle_source_after", (Duration::from_secs(1), day), default.idle_source_after),
            max_future_skew: between("max_future_skew", (Duration::ZERO, day), default.max_future_skew),
            max_watermark_lag: between("max_watermark_lag", (Duration::from_secs(1), day), default.max_watermark_lag),
            bucket: between("bucket", (Duration::from_secs(1), Duration::from_secs(60)), default.bucket),
            bucket_bytes: memory("bucket_bytes", default.bucket_bytes),
            rerun_memory: memory("rerun_memory", default.rerun_memory),
            value_metrics: section.boolean("value_metrics").unwrap_or(default.value_metrics),
        }
    }
}
