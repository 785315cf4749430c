//! Joins that give one row to many.
//!
//! Duty: cut the batches that a join without keys pairs with each row of its build side to as many rows as a long row may
//! be copied for. Guarantee: what such a join makes of one row and one batch is not larger than a batch may be (sql.md 7,
//! growth), as far as rows of both sides are; no row is lost, and none changes its place. Left to others: joins by keys.
//!
//! DataFusion 55.2 copies a build row by `ScalarValue::to_array_of_size`: bytes of texts that are views, and of
//! dictionaries, are shared (`try_append_value_n`), those of other texts and of arrays are made again for each row. Both
//! joins read their build side to its end before they ask the other one for its first batch.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use arrow::array::{Array as _, ArrayRef, RecordBatch};
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_plan::execution_plan::ChildrenPropertiesMode;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan, PlanProperties, ReplaceChildrenOptions};
use futures::{TryStreamExt as _, stream};

use crate::query::functions::capped::{BATCH_BYTES, SHORT, is_copied};
use crate::query::size::bytes_of;

/// `plan` with the sides of each join without keys measured and cut.
pub(super) fn cut_for_long_rows(plan: Arc<dyn ExecutionPlan>) -> Result<Arc<dyn ExecutionPlan>> {
    let cut = |node: Arc<dyn ExecutionPlan>| {
        if !matches!(node.name(), "CrossJoinExec" | "NestedLoopJoinExec") {
            return Ok(Transformed::no(node));
        }
        let children: Vec<_> = node.children().into_iter().cloned().collect();
        let [build, probe] = children.as_slice() else { return internal_err!("a join has two inputs") };
        let longest = Arc::new(AtomicU64::new(0));
        let side = |input: &Arc<dyn ExecutionPlan>, of| -> Arc<dyn ExecutionPlan> {
            Arc::new(Side { input: input.clone(), of, longest: longest.clone() })
        };
        let sides = vec![side(build, Of::Build), side(probe, Of::Probe)];
        let options = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
        Ok(Transformed::yes(node.clone().replace_children(sides, options)?))
    };
    plan.transform_up(cut).data()
}

#[derive(Clone, Copy, Debug)]
enum Of {
    Build,
    Probe,
}

/// An input of a join.
#[derive(Clone, Debug)]
struct Side {
    input: Arc<dyn ExecutionPlan>,
    of: Of,
    /// Bytes of the longest row of the build side so far.
    longest: Arc<AtomicU64>,
}

impl DisplayAs for Side {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Side: {:?}", self.of)
    }
}

impl ExecutionPlan for Side {
    fn name(&self) -> &'static str {
        "Side"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        self.input.properties()
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![&self.input]
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
        let Some(input) = children.pop() else { return internal_err!("a side of a join has one input") };
        Ok(Arc::new(Self { input, of: self.of, longest: self.longest.clone() }))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let rows = self.input.execute(partition, context)?;
        let (schema, longest) = (rows.schema(), self.longest.clone());
        let cut: SendableRecordBatchStream = match self.of {
            Of::Build => {
                let measured = rows.inspect_ok(move |batch| {
                    longest.fetch_max(longest_row(batch), Relaxed);
                });
                Box::pin(RecordBatchStreamAdapter::new(schema, measured))
            }
            Of::Probe => {
                let pieces = rows.map_ok(move |batch| {
                    let pieces = pieces(&batch, longest.load(Relaxed));
                    stream::iter(pieces.into_iter().map(Ok::<_, DataFusionError>))
                });
                Box::pin(RecordBatchStreamAdapter::new(schema, pieces.try_flatten()))
            }
        };
        Ok(cut)
    }
}

/// `batch` in pieces of as many rows as a row of `longest` bytes may be copied for.
fn pieces(batch: &RecordBatch, longest: u64) -> Vec<RecordBatch> {
    let most = usize::try_from(BATCH_BYTES / longest.max(1)).unwrap_or(usize::MAX).max(1);
    let piece = |from: usize| batch.slice(from, most.min(batch.num_rows() - from));
    (0..batch.num_rows()).step_by(most).map(piece).collect()
}

/// Bytes of the longest row of `batch` that would be copied, or of all rows where they are few.
fn longest_row(batch: &RecordBatch) -> u64 {
    let copied: Vec<&ArrayRef> = batch.columns().iter().filter(|column| is_copied(column.data_type())).collect();
    let all: u64 = copied.iter().map(|column| bytes_of(column)).sum();
    if all <= SHORT {
        return all;
    }
    let row = |at: usize| -> u64 { copied.iter().map(|column| bytes_of(&column.slice(at, 1))).sum() };
    (0..batch.num_rows()).map(row).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, ListArray, StringArray, StringViewArray};
    use arrow::datatypes::Int64Type;

    use super::*;

    #[test]
    fn a_batch_is_cut_to_what_the_longest_row_may_be_copied_for() {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        for (longest, expected) in
            [(0, vec![10]), (8192, vec![10]), (BATCH_BYTES / 4, vec![4, 4, 2]), (BATCH_BYTES * 2, vec![1; 10])]
        {
            let pieces = pieces(&batch, longest);
            assert_eq!(pieces.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), expected, "{longest}");
            assert_eq!(arrow::compute::concat_batches(&batch.schema(), &pieces).unwrap(), batch);
        }
    }

    #[test]
    fn only_bytes_that_are_made_again_make_a_row_long() {
        let long = "x".repeat(20_000);
        let one = |column: ArrayRef| longest_row(&RecordBatch::try_from_iter([("c", column)]).unwrap());
        let texts = vec!["a", long.as_str(), "b"];
        assert_eq!(one(Arc::new(StringViewArray::from(texts.clone()))), 0);
        assert!((20_000..20_100).contains(&one(Arc::new(StringArray::from(texts)))));
        let lists = [1, 30_000, 1].map(|numbers| Some((0..numbers).map(Some)));
        let longest = one(Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(lists)));
        assert!((240_000..240_100).contains(&longest), "{longest}");
        assert_eq!(one(Arc::new(Int64Array::from_iter_values(0..10_000))), 0);
    }
}
