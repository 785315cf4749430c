//! Recursive queries that end.
//!
//! Duty: count the rounds and rows of a recursive term (sql.md 7, growth). Guarantee: a statement ends in an error after
//! 1000 rounds or a million rows of one recursive table. Left to others: its memory, which the engine counts in the pool.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::StreamExt as _;

use crate::query::error::{Code, Error};

const ROUNDS: u64 = 1000;
const ROWS: u64 = 1_000_000;

/// `plan` with each recursive term counted.
pub(super) fn bounded(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let count = |node: Arc<dyn ExecutionPlan>| {
        if node.name() != "RecursiveQueryExec" {
            return Ok(Transformed::no(node));
        }
        let children: Vec<_> = node.children().into_iter().cloned().collect();
        let [base, term] = children.as_slice() else { return internal_err!("a recursive query has two terms") };
        let term: Arc<dyn ExecutionPlan> = Arc::new(Counted { term: term.clone(), count: Arc::default() });
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(node.clone().replace_children(vec![base.clone(), term], options)?))
    };
    plan.transform_up(count).data()
}

#[derive(Debug, Default)]
struct Count {
    rounds: AtomicU64,
    rows: AtomicU64,
}

/// A recursive term: the engine executes it once a round.
#[derive(Clone, Debug)]
struct Counted {
    term: Arc<dyn ExecutionPlan>,
    count: Arc<Count>,
}

impl DisplayAs for Counted {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Counted: rounds={ROUNDS}, rows={ROWS}")
    }
}

impl ExecutionPlan for Counted {
    fn name(&self) -> &'static str {
        "Counted"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.term.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.term]
    }

    fn maintains_input_order(&self) -> Vec<bool> {
        vec![true]
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
        let Some(term) = children.pop() else { return internal_err!("a counted term has one input") };
        Ok(Arc::new(Self { term, count: self.count.clone() }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        if self.count.rounds.fetch_add(1, Relaxed) >= ROUNDS {
            return Err(ended(Code::TooComplex, format!("a recursive query has not ended after {ROUNDS} rounds")));
        }
        let count = self.count.clone();
        let rows = self.term.execute(partition, context)?;
        let schema = rows.schema();
        let counted = rows.map(move |batch| {
            let batch = batch?;
            let more = batch.num_rows() as u64;
            match count.rows.fetch_add(more, Relaxed) + more > ROWS {
                true => Err(ended(Code::LimitRows, format!("a recursive query made more than {ROWS} rows"))),
                false => Ok(batch),
            }
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(schema, counted)))
    }
}

fn ended(code: Code, message: String) -> DataFusionError {
    let hint = "bound it: `WHERE depth < 100` in its recursive term";
    DataFusionError::External(Box::new(Error::new(code, message).hint(hint)))
}
