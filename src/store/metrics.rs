//! The store's counters (storage.md 17).
//!
//! Duty: names, labels and help of the metrics `weavergen_store_…`, registered once. Guarantee: at every scrape
//! `offered = acked + failed` once no append is under way, in spans. Left to others: serving them (`web`).

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, core::Collector,
};

use super::{Error, PartSet};
use crate::span::Origin;

/// All metrics of a store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Spans of all appends, by `source`.
    pub offered: IntCounterVec,
    /// Spans answered with success, by `source`.
    pub acked: IntCounterVec,
    /// Spans refused or failed, by `source`.
    pub failed: IntCounterVec,
    /// Appends refused, by `reason`.
    pub refused: IntCounterVec,
    /// Spans not stored again, by `kind`.
    pub duplicates: IntCounterVec,
    /// Bytes written to the log.
    pub wal_bytes: IntCounter,
    /// Failed writes and syncs of the log.
    pub wal_sync_errors: IntCounter,
    /// Bytes of torn or void tails found at start.
    pub wal_torn_bytes: IntCounter,
    /// Log records lost to corruption.
    pub wal_corrupt_records: IntCounter,
    /// Duration of one sync of the log.
    pub wal_sync_seconds: Histogram,
    /// Log that is not in parts yet.
    pub wal_unflushed_bytes: IntGauge,
    /// Rows in memory.
    pub memtable_bytes: IntGauge,
    /// By `state`: `active`, `frozen`.
    pub generations: IntGaugeVec,
    /// From an append's arrival in the log to its visibility.
    pub visible_lag_seconds: Histogram,
    /// Duration of one flush.
    pub flush_seconds: Histogram,
    /// Flushes that failed and are tried again.
    pub flush_failures: IntCounter,
    /// Duration of one compaction.
    pub compaction_seconds: Histogram,
    /// Compactions that failed.
    pub compaction_failures: IntCounter,
    /// Hours that have ended and are not compacted.
    pub compaction_backlog_hours: IntGauge,
    /// Live parts, by `level`.
    pub parts: IntGaugeVec,
    /// Their size, by `level`.
    pub part_bytes: IntGaugeVec,
    /// Fences of trace indexes in memory.
    pub trace_index_bytes: IntGauge,
    /// Files deleted because no version of the manifest names them.
    pub orphans_deleted: IntCounter,
    /// Spans of parts that retention took.
    pub expired: IntCounter,
    /// Bytes of parts that the scrub has read.
    pub scrubbed_bytes: IntCounter,
    /// Files in `quarantine/`.
    pub quarantined_files: IntGauge,
    /// Free bytes of the data folder's file system.
    pub free_bytes: IntGauge,
    /// 1 while the store is degraded, by `reason`.
    pub degraded: IntGaugeVec,
    /// 1 for the configured `mode`.
    pub durability: IntGaugeVec,
}

impl Metrics {
    /// Registers all of them; fails if the registry has one of the names already.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let counter = |name, help| register(registry, IntCounter::new(full(name), help));
        let counters =
            |name, help, label: &str| register(registry, IntCounterVec::new(Opts::new(full(name), help), &[label]));
        let gauge = |name, help| register(registry, IntGauge::new(full(name), help));
        let gauges =
            |name, help, label: &str| register(registry, IntGaugeVec::new(Opts::new(full(name), help), &[label]));
        let seconds = |name, help, first| {
            let buckets = prometheus::exponential_buckets(first, 2.0, 16)?;
            register(registry, Histogram::with_opts(HistogramOpts::new(full(name), help).buckets(buckets)))
        };
        let metrics = Self {
            offered: counters("offered_spans_total", "Spans handed to the store", "source")?,
            acked: counters("acked_spans_total", "Spans answered as stored", "source")?,
            failed: counters("failed_spans_total", "Spans answered as not stored", "source")?,
            refused: counters("refused_requests_total", "Appends refused", "reason")?,
            duplicates: counters("duplicates_total", "Spans recognised as stored before", "kind")?,
            wal_bytes: counter("wal_bytes_total", "Bytes written to the log")?,
            wal_sync_errors: counter("wal_sync_errors_total", "Writes or syncs of the log that failed")?,
            wal_torn_bytes: counter("wal_torn_bytes_total", "Bytes of torn log tails left out at start")?,
            wal_corrupt_records: counter("wal_corrupt_records_total", "Log records lost to corruption")?,
            wal_sync_seconds: seconds("wal_sync_seconds", "Duration of a log sync", 0.000_1)?,
            wal_unflushed_bytes: gauge("wal_unflushed_bytes", "Log bytes that are not in parts yet")?,
            memtable_bytes: gauge("memtable_bytes", "Bytes of rows in memory")?,
            generations: gauges("generations", "Generations in memory", "state")?,
            visible_lag_seconds: seconds("visible_lag_seconds", "From the log's door to visible", 0.000_1)?,
            flush_seconds: seconds("flush_seconds", "Duration of a flush", 0.005)?,
            flush_failures: counter("flush_failures_total", "Flushes that failed and are tried again")?,
            compaction_seconds: seconds("compaction_seconds", "Duration of a compaction", 0.01)?,
            compaction_failures: counter("compaction_failures_total", "Compactions that failed")?,
            compaction_backlog_hours: gauge("compaction_backlog_hours", "Ended hours that are not compacted")?,
            parts: gauges("parts", "Live parts", "level")?,
            part_bytes: gauges("part_bytes", "Bytes of live parts", "level")?,
            trace_index_bytes: gauge("trace_index_bytes", "Bytes of fences of trace indexes in memory")?,
            orphans_deleted: counter("orphans_deleted_total", "Files deleted that no manifest version names")?,
            expired: counter("expired_spans_total", "Spans of parts that retention took")?,
            scrubbed_bytes: counter("scrubbed_bytes_total", "Bytes of parts read only to find decay")?,
            quarantined_files: gauge("quarantined_files", "Files in quarantine")?,
            free_bytes: gauge("free_bytes", "Free bytes of the data folder's file system")?,
            degraded: gauges("degraded", "1 while the store is degraded", "reason")?,
            durability: gauges("durability", "1 for the configured durability", "mode")?,
        };
        // A rate needs the zero before the first event.
        for source in ["received", "own"] {
            for family in [&metrics.offered, &metrics.acked, &metrics.failed] {
                family.with_label_values(&[source]);
            }
        }
        for kind in ["request", "row"] {
            metrics.duplicates.with_label_values(&[kind]);
        }
        Ok(metrics)
    }

    /// Counts `spans` of `source` that are stored, now or before.
    pub fn stored(&self, source: &str, spans: u64) {
        self.offered.with_label_values(&[source]).inc_by(spans);
        self.acked.with_label_values(&[source]).inc_by(spans);
    }

    /// Counts `spans` of an append that failed with `error`.
    pub fn not_stored(&self, source: &str, spans: u64, error: &Error) {
        self.given_up(source, spans);
        self.refused.with_label_values(&[error.label()]).inc();
    }

    /// Counts `spans` whose sender went away before they were queued.
    pub fn given_up(&self, source: &str, spans: u64) {
        self.offered.with_label_values(&[source]).inc_by(spans);
        self.failed.with_label_values(&[source]).inc_by(spans);
    }

    /// Counts of the live parts.
    pub fn measure(&self, parts: &PartSet) {
        for level in [0_u8, 1] {
            let of_level = || parts.parts.iter().filter(|p| p.entry.level == level);
            let bytes: u64 = of_level().map(|p| p.entry.bytes).sum();
            let label = level.to_string();
            let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.parts.with_label_values(&[label.as_str()]).set(gauge(of_level().count() as u64));
            self.part_bytes.with_label_values(&[label.as_str()]).set(gauge(bytes));
        }
    }
}

/// The label value of spans that are our `own`, or of others.
pub const fn source_of(own: bool) -> &'static str {
    if own { "own" } else { "received" }
}

/// The label value of `source`.
pub const fn source(origin: Origin) -> &'static str {
    source_of(matches!(origin, Origin::Own))
}

fn full(name: &str) -> String {
    format!("weavergen_store_{name}")
}

fn register<M: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> prometheus::Result<M> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn span_counters_are_there_before_the_first_span() {
        let registry = Registry::new();
        Metrics::register(&registry).unwrap();
        let names: Vec<_> = registry.gather().iter().map(|f| f.name().to_owned()).collect();
        for name in ["offered_spans_total", "acked_spans_total", "failed_spans_total", "wal_sync_seconds"] {
            assert!(names.contains(&format!("weavergen_store_{name}")), "{names:?}");
        }
        assert!(Metrics::register(&registry).is_err(), "a second store needs a registry of its own");
    }
}
