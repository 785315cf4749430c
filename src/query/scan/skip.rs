//! Reading on without a damaged part (storage.md 12.3, `on_corrupt_part: skip`).
//!
//! Duty: [`SkipExec`], above a scan that has each part as a partition of its own. Guarantee: a part that the store finds
//! damaged ends there, is noted with the view, and the others are read; any other error ends the statement; rows that
//! came before the damage stay. Left to others: telling the caller (`gateway`), putting the part aside (`store`).

use std::fmt;
use std::future::ready;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::filter_pushdown::{
    ChildPushdownResult, FilterDescription, FilterPushdownPhase, FilterPushdownPropagation,
};
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    ChildrenPropertiesMode, DisplayAs, DisplayFormatType, ExecutionPlan, ExecutionPlanProperties as _, Partitioning,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt as _, stream};

use crate::query::translate::damage;
use crate::store::Skipped;

/// See above.
#[derive(Debug)]
pub struct SkipExec {
    input: Arc<dyn ExecutionPlan>,
    /// Partitions of `input`, each of which reads one part.
    parts: usize,
    partitions: usize,
    skipped: Arc<Skipped>,
    properties: Arc<PlanProperties>,
}

impl SkipExec {
    /// The rows of `input`, which has `parts` partitions, in at most `partitions` partitions; what is left out is noted in
    /// `skipped`.
    pub fn try_new(
        input: Arc<dyn ExecutionPlan>,
        parts: usize,
        partitions: usize,
        skipped: Arc<Skipped>,
    ) -> Result<Self> {
        if input.output_partitioning().partition_count() != parts {
            return internal_err!("each part must be a partition of its own");
        }
        let partitions = partitions.clamp(1, parts.max(1));
        let properties = PlanProperties::new(
            EquivalenceProperties::new(input.schema()),
            Partitioning::UnknownPartitioning(partitions),
            input.pipeline_behavior(),
            input.boundedness(),
        )
        .with_scheduling_type(input.properties().scheduling_type);
        Ok(Self { input, parts, partitions, skipped, properties: Arc::new(properties) })
    }
}

impl DisplayAs for SkipExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SkipExec: parts={}, partitions={}", self.parts, self.partitions)
    }
}

impl ExecutionPlan for SkipExec {
    fn name(&self) -> &'static str {
        "SkipExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn benefits_from_input_partitioning(&self) -> Vec<bool> {
        // A part must stay one partition.
        vec![false]
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        mut children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match (children.pop(), children.is_empty()) {
            (Some(input), true) => {
                let same = Self::try_new(input, self.parts, self.partitions, self.skipped.clone())?;
                Ok(Arc::new(same))
            }
            _ => internal_err!("SkipExec has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let (input, skipped) = (self.input.clone(), self.skipped.clone());
        // Dealt out in turn: the order of the parts is kept within a partition.
        let own = (partition..self.parts).step_by(self.partitions);
        let rows = stream::iter(own).flat_map(move |at| {
            let skipped = skipped.clone();
            let rows = match input.execute(at, context.clone()) {
                Ok(rows) => rows,
                Err(error) => Box::pin(RecordBatchStreamAdapter::new(input.schema(), stream::once(ready(Err(error))))),
            };
            rows.scan((), move |(), row| {
                // The engine may have put the parts into another order: the error names its part.
                ready(match row.as_ref().err().and_then(|error| damage(error)) {
                    Some((path, _)) => {
                        tracing::warn!(path, "a statement goes on without a damaged part");
                        skipped.note(&path);
                        None
                    }
                    None => Some(row),
                })
            })
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        match partition {
            None => vec![ChildStats::At(None)],
            Some(_) => vec![ChildStats::Skip],
        }
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(match args.partition() {
            None => inputs[0].clone(),
            Some(_) => Arc::new(Statistics::new_unknown(&self.schema())),
        })
    }

    fn gather_filters_for_pushdown(
        &self,
        _: FilterPushdownPhase,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        _: &ConfigOptions,
    ) -> Result<FilterDescription> {
        FilterDescription::from_children(filters, &self.children())
    }

    fn handle_child_pushdown_result(
        &self,
        _: FilterPushdownPhase,
        child: ChildPushdownResult,
        _: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn ExecutionPlan>>> {
        Ok(FilterPushdownPropagation::if_all(child))
    }
}
