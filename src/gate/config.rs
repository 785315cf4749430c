//! The section `gates` (gates.md 1).
//!
//! Duty: its keys and defaults. Left to others: gate files (`file`).

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
    /// Width of a bucket of states that gates share; zero = they share nothing.
    pub bucket: Duration,
    /// Memory of the states in all buckets; what would need more is given up.
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
/// Least and most width of a bucket, where there are buckets.
const BUCKET: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));
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
        let bucket = section.duration("bucket").unwrap_or(default.bucket);
        if !bucket.is_zero() && (bucket < BUCKET.0 || bucket > BUCKET.1) {
            let [least, most] = [BUCKET.0, BUCKET.1].map(super::scalar::duration_text);
            section.check("bucket", format!("must be 0s (gates share nothing), or from {least} to {most}"));
        }
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
            bucket,
            bucket_bytes: memory("bucket_bytes", default.bucket_bytes),
            rerun_memory: memory("rerun_memory", default.rerun_memory),
            value_metrics: section.boolean("value_metrics").unwrap_or(default.value_metrics),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml::{Mark, Problems, parse};

    fn read(text: &str) -> (Config, Vec<String>) {
        let tree = parse(text, &Mark::of_source(0, "c.yaml")).unwrap();
        let problems = Problems::new();
        let config = Config::read(&Section::root(&tree, &problems).with_days());
        let told = problems.into_sorted().into_iter().map(|p| format!("{}:{} {}", p.mark, p.path, p.text));
        (config, told.collect())
    }

    #[test]
    fn the_section_has_defaults_and_every_key_is_read() {
        assert_eq!(read("{}"), (Config::default(), Vec::new()));
        let (config, told) = read(
            "{files: ['builtin:founding', 'g/*.yaml'], interval: 1m, query_offset: 5s, idle_source_after: 1m, \
             max_future_skew: 1s, max_watermark_lag: 1h, bucket: 30s, bucket_bytes: 64MiB, rerun_memory: 1GiB, \
             value_metrics: false}",
        );
        let want = Config {
            files: Some(vec!["builtin:founding".to_owned(), "g/*.yaml".to_owned()]),
            interval: Duration::from_secs(60),
            query_offset: Duration::from_secs(5),
            idle_source_after: Duration::from_secs(60),
            max_future_skew: Duration::from_secs(1),
            max_watermark_lag: Duration::from_secs(3600),
            bucket: Duration::from_secs(30),
            bucket_bytes: 64 << 20,
            rerun_memory: 1 << 30,
            value_metrics: false,
        };
        assert_eq!((config, told), (want, Vec::new()));
    }

    #[test]
    fn values_outside_their_range_are_told_with_their_place() {
        let (_, told) = read("bucket: 2m\ninterval: 0s\nrerun_memory: 1MiB\nbuckets: 1\n");
        assert_eq!(
            told,
            [
                "c.yaml:1:9:bucket must be 0s (gates share nothing), or from 1s to 1m",
                "c.yaml:2:11:interval must be from 1s to 1d",
                "c.yaml:3:15:rerun_memory must be at least 16MiB",
                "c.yaml:4:1: has invalid keys: buckets",
            ]
        );
        let bucket = |text: &str| (read(text).0.bucket, read(text).1.len());
        assert_eq!(bucket("bucket: 0s"), (Duration::ZERO, 0));
        assert_eq!((bucket("{}"), bucket("bucket: 1s")), ((Duration::from_secs(10), 0), (Duration::from_secs(1), 0)));
        assert_eq!(bucket("bucket: 500ms").1, 1);
    }
}
