//! The node above the scan of the parts that a trace index answered for.
//!
//! Duty: [`TraceLookupExec`], which tells `EXPLAIN` what the index left, and keeps the engine's filters out of the scan
//! below. Guarantee: rows pass as they are. Left to others: the scan, whose decoder looks for the ids and nothing else:
//! so all filters, also those that a decoder drops in silence (sql.md 3.5), stay above.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::statistics::{ChildStats, StatisticsArgs};
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};

/// What the indexes left to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    /// Traces asked for.
    pub traces: usize,
    /// Parts whose index answered.
    pub asked: usize,
    /// Of those, parts that may hold one of the traces.
    pub parts: usize,
    /// Row groups of these parts that may.
    pub row_groups: usize,
    /// Rows of the zones that may.
    pub rows: usize,
}

/// See above.
#[derive(Debug)]
pub struct TraceLookupExec {
    input: Arc<dyn ExecutionPlan>,
    left: Left,
}

impl TraceLookupExec {
    /// The node above `input`, which reads what is `left`.
    pub fn new(input: Arc<dyn ExecutionPlan>, left: Left) -> Self {
        Self { input, left }
    }
}

impl DisplayAs for TraceLookupExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Left { traces, asked, parts, row_groups, rows } = self.left;
        write!(f, "TraceLookupExec: traces={traces}, parts={parts} of {asked}, row_groups={row_groups}, rows={rows}")
    }
}

impl ExecutionPlan for TraceLookupExec {
    fn name(&self) -> &'static str {
        "TraceLookupExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
            (Some(input), true) => Ok(Arc::new(Self { input, left: self.left })),
            _ => internal_err!("TraceLookupExec has one input"),
        }
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        use datafusion::physical_plan::ChildrenPropertiesMode;
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        self.input.execute(partition, context)
    }

    fn child_stats_requests(&self, partition: Option<usize>) -> Vec<ChildStats> {
        vec![ChildStats::At(partition)]
    }

    fn statistics_from_inputs(&self, inputs: &[Arc<Statistics>], _: &StatisticsArgs) -> Result<Arc<Statistics>> {
        Ok(inputs[0].clone())
    }
}
