//! `weavergen_engine_*` of `/metrics` (bpmn.md 12, S16).
//!
//! Duty: count what events say that somebody should know. Guarantee: a registry that already has the names is an error at
//! start, not a panic. Left to others: which events there are (the caller hands over each one once), starts that gates
//! ask for (`gate`).

use bpmn::core::{Body, Event};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

/// Cheap to clone; all clones count together.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Incidents raised, by kind.
    pub incidents: IntCounterVec,
    /// Runs that ended: completed, failed, cancelled.
    pub runs: IntCounterVec,
    /// Messages that nothing waited for.
    pub dropped_messages: IntCounter,
}

impl Metrics {
    /// Registers all of them.
    ///
    /// Errors: a name is taken.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let opts = |name: &str, help: &str| Opts::new(format!("weavergen_engine_{name}"), help);
        let metrics = Self {
            incidents: IntCounterVec::new(opts("incidents_total", "Incidents of pipeline runs, by kind."), &["kind"])?,
            runs: IntCounterVec::new(opts("runs_total", "Pipeline runs that ended, by result."), &["result"])?,
            dropped_messages: IntCounter::with_opts(opts(
                "messages_dropped_total",
                "Messages that no pipeline waited for.",
            ))?,
        };
        registry.register(Box::new(metrics.incidents.clone()))?;
        registry.register(Box::new(metrics.runs.clone()))?;
        registry.register(Box::new(metrics.dropped_messages.clone()))?;
        Ok(metrics)
    }

    /// Counts what `event` says.
    pub fn count(&self, event: &Event) {
        let ended = |result: &str| self.runs.with_label_values(&[result]).inc();
        match &event.body {
            Body::IncidentRaised { kind, .. } => self.incidents.with_label_values(&[kind.as_str()]).inc(),
            Body::InstanceCompleted { .. } => ended("completed"),
            Body::InstanceFailed { .. } => ended("failed"),
            Body::InstanceCancelled { .. } => ended("cancelled"),
            Body::MessageDropped { .. } => self.dropped_messages.inc(),
            _ => {}
        }
    }
}
