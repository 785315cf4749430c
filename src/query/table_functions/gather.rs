//! The node that needs all rows of its input before it gives the first of its own.
//!
//! Duty: [`GatherExec`] collects what is below it and hands it to a pure function. Guarantee: what it holds is counted
//! in the pool of the statement; more rows than it may take are `sql.limit.rows`; its rows come batch by batch. Left to
//! others: the function (`forest`), and which rows there are (the plan below).

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, internal_err};
use datafusion::execution::memory_pool::MemoryConsumer;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::execution_plan::{Boundedness, ChildrenPropertiesMode, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, Distribution, ExecutionPlan, ExecutionPlanProperties as _, Partitioning,
    PlanProperties, ReplaceChildrenOptions,
};
use futures::{StreamExt as _, TryStreamExt as _, stream};

use crate::query::error::{Code, Error};
use crate::query::forest::MAX_SPANS;

/// Memory that the functions need for a row beside its columns, about.
const ROW_BYTES: usize = 250;

/// What comes out, batch by batch.
pub type Batches = Box<dyn Iterator<Item = Result<RecordBatch>> + Send>;

/// From all rows of the input to those of the node.
#[derive(Clone)]
pub struct Step(pub Arc<dyn Fn(RecordBatch) -> Result<Batches> + Send + Sync>);

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Step")
    }
}

/// See above.
#[derive(Debug)]
pub struct GatherExec {
    function: &'static str,
    input: Arc<dyn ExecutionPlan>,
    step: Step,
    /// Of the columns of `step`, those that are given.
    projection: Vec<usize>,
    properties: Arc<PlanProperties>,
}

impl GatherExec {
    /// The columns `projection` of what `step`, whose rows have `schema`, makes of all rows of `input`.
    ///
    /// Errors: a projection that names other columns.
    pub fn try_new(
        function: &'static str,
        input: Arc<dyn ExecutionPlan>,
        step: Step,
        schema: &SchemaRef,
        projection: Option<&Vec<usize>>,
    ) -> Result<Self> {
        let projection = projection.cloned().unwrap_or_else(|| (0..schema.fields().len()).collect());
        let given = Arc::new(schema.project(&projection)?);
        Ok(Self::over(function, input, step, given, projection))
    }

    fn over(
        function: &'static str,
        input: Arc<dyn ExecutionPlan>,
        step: Step,
        given: SchemaRef,
        projection: Vec<usize>,
    ) -> Self {
        let equivalence = EquivalenceProperties::new(given);
        let one = Partitioning::UnknownPartitioning(1);
        let properties = PlanProperties::new(equivalence, one, EmissionType::Final, Boundedness::Bounded);
        Self { function, input, step, projection, properties: Arc::new(properties) }
    }
}

impl DisplayAs for GatherExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GatherExec: function={}, rows<={MAX_SPANS}", self.function)
    }
}

impl ExecutionPlan for GatherExec {
    fn name(&self) -> &'static str {
        "GatherExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn required_input_distribution(&self) -> Vec<Distribution> {
        vec![Distribution::SinglePartition]
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
        let Some(input) = children.pop() else { return internal_err!("GatherExec has one input") };
        let projection = self.projection.clone();
        Ok(Arc::new(Self::over(self.function, input, self.step.clone(), self.schema(), projection)))
    }

    fn with_new_children(self: Arc<Self>, children: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        self.replace_children(children, ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute))
    }

    fn execute(&self, _: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let input: Arc<dyn ExecutionPlan> = match self.input.output_partitioning().partition_count() {
            1 => self.input.clone(),
            _ => Arc::new(CoalescePartitionsExec::new(self.input.clone())),
        };
        let schema = input.schema();
        let mut rows = input.execute(0, context.clone())?;
        let (function, step, projection) = (self.function, self.step.clone(), self.projection.clone());
        let reservation = MemoryConsumer::new(function).register(context.memory_pool());
        let made = async move {
            let (mut batches, mut count) = (Vec::new(), 0);
            while let Some(batch) = rows.next().await.transpose()? {
                count += batch.num_rows();
                if count > MAX_SPANS {
                    return Err(too_many(function));
                }
                // Its columns are copied once more into one batch.
                reservation.try_grow(2 * batch.get_array_memory_size() + batch.num_rows() * ROW_BYTES)?;
                batches.push(batch);
            }
            let all = concat_batches(&schema, &batches)?;
            drop(batches);
            let made = (step.0)(all)?.map(move |batch| -> Result<RecordBatch> {
                // What the function holds counts until its last row is out.
                let _held = &reservation;
                Ok(batch?.project(&projection)?)
            });
            Ok::<_, DataFusionError>(stream::iter(made))
        };
        let rows = stream::once(made).try_flatten();
        Ok(Box::pin(RecordBatchStreamAdapter::new(self.schema(), rows)))
    }
}

fn too_many(function: &str) -> DataFusionError {
    let message = format!("`{function}` would have to read more than {MAX_SPANS} spans");
    let error =
        Error::new(Code::LimitRows, message).hint("ask for fewer spans: another trace, fewer traces, less time");
    DataFusionError::External(Box::new(error))
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_plan::collect;

    use super::*;
    use crate::query::table_functions::Computed;
    use crate::query::{Config, session};
    use crate::store::View;

    /// Rows that a function gets, in a session with `bytes` for a statement.
    async fn gathered(rows: usize, bytes: usize) -> Result<usize> {
        let runtime = session::runtime(4 * bytes, None)?;
        let context = session::open(&View::empty(), &Config { threads: 2, ..Config::default() }, 0, &runtime)?;
        let schema = Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, true)]));
        let step = Step(Arc::new(|all| Ok(Box::new(std::iter::once(Ok(all))))));
        let more = rows - MAX_SPANS.min(rows);
        let sql = format!(
            "SELECT value FROM generate_series(1, {}) UNION ALL SELECT value FROM generate_series(1, {more})",
            rows - more
        );
        let table = Computed::gathered("test", schema, sql, Vec::new(), step);
        let plan = table.scan(&context.state(), None, &[], None).await?;
        Ok(collect(plan, context.task_ctx()).await?.iter().map(RecordBatch::num_rows).sum())
    }

    #[tokio::test]
    async fn more_rows_than_a_function_may_take_are_refused_and_so_is_more_memory() {
        assert_eq!(gathered(0, 64 << 20).await.unwrap(), 0);
        assert_eq!(gathered(MAX_SPANS, 512 << 20).await.unwrap(), MAX_SPANS);
        let error = gathered(MAX_SPANS + 1, 512 << 20).await.unwrap_err();
        assert!(error.find_root().to_string().contains("more than 1000000 spans"), "{error}");
        let error = gathered(MAX_SPANS, 64 << 20).await.unwrap_err();
        assert!(matches!(error.find_root(), DataFusionError::ResourcesExhausted(_)), "{error}");
    }
}
