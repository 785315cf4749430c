//! `weavergen_notify_*` of `/metrics` (gates.md 10).
//!
//! Duty: the counters and gauges of delivery. Left to others: the endpoint (`telemetry`).

use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry};

#[derive(Clone, Debug)]
pub(super) struct Metrics {
    pub(super) outbox: IntGaugeVec,
    pub(super) oldest_seconds: GaugeVec,
    pub(super) sent: IntCounterVec,
    pub(super) dead_letters: IntCounter,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(format!("weavergen_notify_{name}"), help);
        let metrics = Self {
            outbox: IntGaugeVec::new(opts("outbox", "Messages that wait, by receiver."), &["receiver"])?,
            oldest_seconds: GaugeVec::new(opts("oldest_seconds", "Age of the oldest of them."), &["receiver"])?,
            sent: IntCounterVec::new(
                opts("sent_total", "Tries by receiver and code: an HTTP status, timeout or network."),
                &["receiver", "code"],
            )?,
            dead_letters: IntCounter::with_opts(opts("dead_letters_total", "Messages given up."))?,
        };
        registry.register(Box::new(metrics.outbox.clone()))?;
        registry.register(Box::new(metrics.oldest_seconds.clone()))?;
        registry.register(Box::new(metrics.sent.clone()))?;
        registry.register(Box::new(metrics.dead_letters.clone()))?;
        Ok(metrics)
    }
}
