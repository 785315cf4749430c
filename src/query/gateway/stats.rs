//! What a statement took.
//!
//! Duty: sums over the metrics of a physical plan. Guarantee: reading them does not run anything. Left to others: wall
//! time (`gateway`).

use std::sync::Arc;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::MetricValue;

/// What a statement took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Rows out.
    pub rows: u64,
    /// Wall time, in ms.
    pub elapsed_ms: u64,
    /// Time of operators, over all threads, in ms.
    pub cpu_ms: u64,
    /// Bytes read from parts.
    pub bytes_scanned: u64,
    /// Parts in the statement's view.
    pub parts: u64,
    /// Row groups read.
    pub row_groups: u64,
    /// Parts opened.
    pub files_opened: u64,
}

impl Stats {
    /// `{"rows","elapsed_ms","cpu_ms","bytes_scanned","parts","row_groups"}`.
    pub fn to_json(self) -> serde_json::Value {
        serde_json::json!({
            "rows": self.rows,
            "elapsed_ms": self.elapsed_ms,
            "cpu_ms": self.cpu_ms,
            "bytes_scanned": self.bytes_scanned,
            "parts": self.parts,
            "row_groups": self.row_groups,
        })
    }

    /// From the metrics of `plan` and all below it.
    pub(super) fn of(plan: &Arc<dyn ExecutionPlan>, parts: usize) -> Self {
        let mut stats = Self { parts: parts as u64, ..Self::default() };
        let mut cpu_ns = 0_u64;
        let mut open = vec![plan.clone()];
        while let Some(node) = open.pop() {
            for metric in node.metrics().iter().flat_map(|set| set.iter()) {
                match metric.value() {
                    MetricValue::ElapsedCompute(time) => cpu_ns += time.value() as u64,
                    MetricValue::Count { name, count } if name == "bytes_scanned" => {
                        stats.bytes_scanned += count.value() as u64;
                    }
                    MetricValue::Count { name, count } if name == "files_opened" => {
                        stats.files_opened += count.value() as u64;
                    }
                    MetricValue::PruningMetrics { name, pruning_metrics }
                        if name == "row_groups_pruned_bloom_filter" =>
                    {
                        stats.row_groups += pruning_metrics.matched() as u64;
                    }
                    _ => {}
                }
            }
            open.extend(node.children().into_iter().cloned());
        }
        stats.cpu_ms = cpu_ns / 1_000_000;
        stats
    }
}
