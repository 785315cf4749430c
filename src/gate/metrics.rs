//! `weavergen_gate_*` of `/metrics` (gates.md 10).
//!
//! Duty: the counters and gauges of evaluation. Guarantee: a registry that already has the names is an error at start, not
//! a panic. Left to others: `weavergen_notify_*` (`notify`), the endpoint (`telemetry`).

use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Verdicts by gate and outcome.
    pub evaluations: IntCounterVec,
    /// Time of one run of a gate's query.
    pub evaluation_seconds: HistogramVec,
    /// Ticks that a gate was not judged at, by gate and reason.
    pub missed_ticks: IntCounterVec,
    /// Spans that came after a window that they belong to had closed, by group; each once.
    pub late_dropped_spans: IntCounterVec,
    /// How far the last closed tick of a group lies behind the newest that is due.
    pub lag_seconds: GaugeVec,
    /// Keys by gate and phase.
    pub keys: IntGaugeVec,
    /// Last value by gate and alert key, up to the gate's `limit` series; none with `gates.value_metrics: false`.
    pub value: GaugeVec,
    /// Starts by gate and result: due, started, busy, refused, held.
    pub pipeline_starts: IntCounterVec,
    /// Event time up to which ticks may close, in seconds since 1970.
    pub watermark_seconds: Gauge,
    /// Spans that ended later than `gates.max_future_skew` behind their arrival.
    pub future_spans: IntCounter,
    /// Sources whose spans come later than `gates.max_watermark_lag` behind their end: no tick waits for them.
    pub lagging_sources: IntGauge,
    /// States that gates of class decomposable share: one for each bucket of time and key.
    pub bucket_entries: IntGauge,
    /// Memory of them.
    pub bucket_bytes: IntGauge,
    /// 1 while the last reload of gate files was refused; 0 while what runs is what the files say or said at the start.
    pub reload_failed: IntGauge,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// Errors: a name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(format!("weavergen_gate_{name}"), help);
        let seconds = HistogramOpts::from(opts("evaluation_seconds", "Time of one run of a gate's query."));
        let metrics = Self {
            evaluations: IntCounterVec::new(
                opts("evaluations_total", "Verdicts by gate and outcome."),
                &["gate", "outcome"],
            )?,
            evaluation_seconds: HistogramVec::new(seconds, &["gate"])?,
            missed_ticks: IntCounterVec::new(
                opts("missed_ticks_total", "Ticks that a gate was not judged at, by reason."),
                &["gate", "reason"],
            )?,
            late_dropped_spans: IntCounterVec::new(
                opts("late_dropped_spans_total", "Spans that came after a window of theirs had closed, by group."),
                &["group"],
            )?,
            lag_seconds: GaugeVec::new(
                opts("lag_seconds", "How far the last closed tick lies behind the newest that is due."),
                &["group"],
            )?,
            keys: IntGaugeVec::new(opts("keys", "Keys by gate and phase."), &["gate", "state"])?,
            value: GaugeVec::new(opts("value", "Value of the last verdict."), &["gate", "key"])?,
            pipeline_starts: IntCounterVec::new(
                opts("pipeline_starts_total", "Starts of pipelines by gate and result."),
                &["gate", "result"],
            )?,
            watermark_seconds: Gauge::with_opts(opts(
                "watermark_seconds",
                "Event time up to which ticks may close, in seconds since 1970.",
            ))?,
            future_spans: IntCounter::with_opts(opts(
                "future_spans_total",
                "Spans that end in the future, farther than max_future_skew.",
            ))?,
            lagging_sources: IntGauge::with_opts(opts(
                "lagging_sources",
                "Services whose spans come so late that no tick waits for them.",
            ))?,
            bucket_entries: IntGauge::with_opts(opts("bucket_entries", "Shared states, by bucket of time and key."))?,
            bucket_bytes: IntGauge::with_opts(opts("bucket_bytes", "Memory of shared states."))?,
            reload_failed: IntGauge::with_opts(opts(
                "reload_failed",
                "1 while the last reload of gate files was refused.",
            ))?,
        };
        registry.register(Box::new(metrics.evaluations.clone()))?;
        registry.register(Box::new(metrics.evaluation_seconds.clone()))?;
        registry.register(Box::new(metrics.missed_ticks.clone()))?;
        registry.register(Box::new(metrics.late_dropped_spans.clone()))?;
        registry.register(Box::new(metrics.lag_seconds.clone()))?;
        registry.register(Box::new(metrics.keys.clone()))?;
        registry.register(Box::new(metrics.value.clone()))?;
        registry.register(Box::new(metrics.pipeline_starts.clone()))?;
        registry.register(Box::new(metrics.watermark_seconds.clone()))?;
        registry.register(Box::new(metrics.future_spans.clone()))?;
        registry.register(Box::new(metrics.lagging_sources.clone()))?;
        registry.register(Box::new(metrics.bucket_entries.clone()))?;
        registry.register(Box::new(metrics.bucket_bytes.clone()))?;
        registry.register(Box::new(metrics.reload_failed.clone()))?;
        Ok(metrics)
    }
}
