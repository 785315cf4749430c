//! `weavergen_learn_*` of `/metrics` (learn.md 6.2), and what health says.
//!
//! Duty: counters and gauges of learning, and notes on what is degraded. Guarantee: a registry that already has the names is
//! an error at start, not a panic. Left to others: the endpoints (`telemetry`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use prometheus::{
    GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Runs of pattern files by result: done, error, missed.
    pub runs: IntCounterVec,
    /// Time of one run.
    pub run_seconds: HistogramVec,
    /// Rows of `learned_patterns` by pattern.
    pub rows: IntGaugeVec,
    /// Rows left out by pattern and reason: below, over_limit, evicted, expired.
    pub left_out: IntCounterVec,
    /// How far learning lies behind: engine and gates in time since it was last level, patterns behind the newest due tick.
    pub lag_seconds: GaugeVec,
    /// Events of the engine that were removed before they were taken in.
    pub lost_events: IntCounter,
    /// Size of `learn.redb`.
    pub file_bytes: IntGauge,
    /// 1 for each part that is degraded.
    degraded: IntGaugeVec,
    notes: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// Errors: a name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(format!("weavergen_learn_{name}"), help);
        let seconds = HistogramOpts::from(opts("run_seconds", "Time of one run of a pattern file."));
        let metrics = Self {
            runs: IntCounterVec::new(opts("runs_total", "Runs of pattern files by result."), &["pattern", "result"])?,
            run_seconds: HistogramVec::new(seconds, &["pattern"])?,
            rows: IntGaugeVec::new(opts("rows", "Rows of learned_patterns."), &["pattern"])?,
            left_out: IntCounterVec::new(
                opts("left_out_total", "Rows of results that are not shown, by reason."),
                &["pattern", "reason"],
            )?,
            lag_seconds: GaugeVec::new(opts("lag_seconds", "How far learning lies behind its sources."), &["source"])?,
            lost_events: IntCounter::with_opts(opts(
                "lost_events_total",
                "Events of the engine that were removed before they were taken in.",
            ))?,
            file_bytes: IntGauge::with_opts(opts("file_bytes", "Size of learn.redb."))?,
            degraded: IntGaugeVec::new(opts("degraded", "1 for each part of learning that is degraded."), &["part"])?,
            notes: Arc::default(),
        };
        registry.register(Box::new(metrics.runs.clone()))?;
        registry.register(Box::new(metrics.run_seconds.clone()))?;
        registry.register(Box::new(metrics.rows.clone()))?;
        registry.register(Box::new(metrics.left_out.clone()))?;
        registry.register(Box::new(metrics.lag_seconds.clone()))?;
        registry.register(Box::new(metrics.lost_events.clone()))?;
        registry.register(Box::new(metrics.file_bytes.clone()))?;
        registry.register(Box::new(metrics.degraded.clone()))?;
        Ok(metrics)
    }

    /// What is degraded, one sentence each; empty = all is well.
    pub fn degraded(&self) -> Vec<String> {
        self.notes.lock().expect("no holder of this lock panics").values().cloned().collect()
    }

    /// Says that `what` is degraded, and why.
    pub(super) fn note(&self, what: impl Into<String>, why: impl Into<String>) {
        let (what, why) = (what.into(), why.into());
        self.degraded.with_label_values(&[what.as_str()]).set(1);
        let before = self.notes.lock().expect("no holder of this lock panics").insert(what.clone(), why.clone());
        if before.as_deref() != Some(why.as_str()) {
            tracing::warn!(part = what, why, "learning is degraded");
        }
    }

    /// Says that `what` is well again.
    pub(super) fn clear(&self, what: &str) {
        if self.notes.lock().expect("no holder of this lock panics").remove(what).is_some() {
            self.degraded.with_label_values(&[what]).set(0);
            tracing::info!(part = what, "learning is well again");
        }
    }
}
