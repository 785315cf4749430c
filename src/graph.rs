//! `service::pipelines` to running parts.
//!
//! Duty: one [`Next`] for each receiver, through the processors of its pipelines to their exporters. Guarantee: pipelines
//! of one receiver, and exporters of one pipeline, run concurrently on shared columns (N2); the request fails if any
//! branch fails, and for good only if every failing branch failed for good (N3, otlp.md A1). Left to others: listeners
//! (`receive`), the checks of the configuration (`config`).

use std::collections::BTreeMap;

use futures::future::join_all;

use crate::span::{Delivery, Next, Refusal};
use crate::{export, process};

/// The traces pipelines that run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Exporters that a pipeline uses, one instance each (N1).
    pub exporters: Vec<export::Config>,
    /// Pipelines in the order of the file.
    pub pipelines: Vec<Pipeline>,
}

/// One traces pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its id, e.g. `traces/edge`.
    pub id: String,
    /// Ids of its receivers.
    pub receivers: Vec<String>,
    /// Its processors in order; one instance a pipeline (N1).
    pub processors: Vec<process::Config>,
    /// Ids of its exporters.
    pub exporters: Vec<String>,
}

/// The running graph: where each receiver hands its spans.
#[derive(Clone, Debug)]
pub struct Graph {
    entries: BTreeMap<String, Next>,
}

impl Graph {
    /// Builds from the exporters up; `store` is the way into the span store.
    pub fn build(config: &Config, store: &Next) -> Self {
        let exporters: BTreeMap<&str, (&export::Config, Next)> =
            config.exporters.iter().map(|exporter| (exporter.id.as_str(), (exporter, exporter.start(store)))).collect();
        let mut branches: BTreeMap<String, Vec<Next>> = BTreeMap::new();
        for pipeline in &config.pipelines {
            let started = pipeline.exporters.iter().filter_map(|id| exporters.get(id.as_str()));
            let takers = started.map(|(exporter, next)| exporter.of_pipeline(&pipeline.id, next.clone())).collect();
            let entry =
                pipeline.processors.iter().rev().fold(fan_out(takers), |next, processor| processor.before(next));
            for receiver in &pipeline.receivers {
                branches.entry(receiver.clone()).or_default().push(entry.clone());
            }
        }
        Self { entries: branches.into_iter().map(|(id, takers)| (id, fan_out(takers))).collect() }
    }

    /// Where the receiver `id` hands its spans; `None` if no pipeline that runs uses it.
    pub fn entry(&self, id: &str) -> Option<Next> {
        self.entries.get(id).cloned()
    }
}

/// Delivers to all `takers` at once and joins their answers.
pub fn fan_out(mut takers: Vec<Next>) -> Next {
    if takers.len() == 1 {
        return takers.swap_remove(0);
    }
    Next::new(move |delivery: Delivery| {
        // Arrow columns are shared: a clone copies pointers.
        let answers = join_all(takers.iter().map(|taker| taker.deliver(delivery.clone())));
        Box::pin(async move { join(answers.await.into_iter().filter_map(Result::err).collect()) })
    })
}

/// N3: any failing branch fails the request; a retryable one makes the whole retryable, since only then can a repeat
/// bring the spans to that branch.
fn join(refusals: Vec<Refusal>) -> Result<(), Refusal> {
    let leading = refusals.iter().find(|refusal| refusal.class.is_retryable()).or(refusals.first());
    let Some(leading) = leading else { return Ok(()) };
    let mut reasons: Vec<&str> = Vec::new();
    for refusal in &refusals {
        if !reasons.contains(&refusal.reason.as_str()) {
            reasons.push(&refusal.reason);
        }
    }
    Err(Refusal {
        class: leading.class,
        reason: reasons.join("; "),
        label: leading.label,
        retry_after: refusals.iter().filter_map(|refusal| refusal.retry_after).max(),
    })
}

#[cfg(test)]
mod tests;
