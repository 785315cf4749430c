//! What states tell of ticks that are not closed (gates.md 3, provisional).
//!
//! Duty: a copy of the states with the spans that came since, and the values of windows of it. Guarantee: the states stay at
//! the cut of the last tick, so that a tick whose cut was taken before the look still meets them; only buckets that changed
//! since are computed, and no span is read that they hold. Left to others: which windows, and how often (the parent).

use arrow::array::RecordBatch;

use super::{AHEAD_NS, SourceNow};
use crate::gate::result::Window;
use crate::query::Gateway;

impl SourceNow {
    /// Keys and values of the aggregation `at` over those of `windows` that its states tell of, with the spans up to `cut_us`, or
    /// up to the last tick's cut if that is later. States that are not there are left to the next tick: it reads whole windows.
    pub(in crate::gate::buckets) async fn ahead(
        &self,
        gateway: &Gateway,
        at: usize,
        windows: &[Window],
        cut_us: i64,
    ) -> Vec<(Window, RecordBatch)> {
        let (mut states, known_us, known_ns) = {
            let now = self.now.lock().await;
            (now.states.clone(), now.cut_us, now.t_ns)
        };
        let until_us = cut_us.max(known_us);
        let t_ns = windows.iter().map(|window| window.end_ns).fold(known_ns, i64::max);
        let bucket = |at_ns: i64| self.widths.bucket(at_ns);
        let limit_ns = t_ns.max(until_us.saturating_mul(1_000)).saturating_add(AHEAD_NS);
        states[at].bound(bucket(limit_ns), bucket(t_ns));
        if !states[at].is_loaded() {
            return Vec::new();
        }
        if known_us < until_us
            && let Err(error) = self.take(gateway, &mut states, &[at], (t_ns, known_us, until_us)).await
        {
            tracing::debug!(error = %error.message, "spans that came cannot be read; ticks to come are not told of");
            return Vec::new();
        }
        let aggregation = &self.source.aggregations[at];
        let mut found = Vec::with_capacity(windows.len());
        for window in windows {
            let Some(of_it) = states[at].of(bucket(window.start_ns), bucket(window.end_ns)) else { continue };
            match aggregation.merged(of_it, self.source.task()).await {
                Ok(values) => found.push((*window, values)),
                Err(error) => tracing::debug!(%error, "shared states cannot be merged"),
            }
        }
        found
    }
}
