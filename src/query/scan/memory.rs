//! The rows in memory as a leaf of the physical plan.
//!
//! Duty: hand out the projected columns of the view's batches, and brackets on them. Guarantee: each row once, in at most
//! `batch_size` rows a batch; interned resources and scopes are expanded, and hidden keys taken out, only where the column
//! is projected: of a bracket on one only the values are. Left to others: filters (above), which batches there are
//! (`scan::plan` leaves out those outside the time range, and those without the traces of a lookup).

use std::fmt;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{Int32Type, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{DataFusionError, Result, Statistics, internal_err};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr, ScalarFunctionExpr};
use datafusion::physical_plan::coop::cooperative;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType, SchedulingType};
use datafusion::physical_plan::metrics::{BaselineMetrics, ExecutionPlanMetricsSet, MetricsSet, RecordOutput};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::statistics::StatisticsArgs;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};

use super::columns;
use crate::query::attributes::attr::Attr;
use crate::query::attributes::visible;
use crate::span::schema;
use crate::store::{Rows, Run};

/// Leaf over batches in memory.
#[derive(Debug)]
pub struct MemoryExec {
    partitions: Vec<Vec<Arc<Run>>>,
    outputs: Vec<Output>,
    schema: SchemaRef,
    properties: Arc<PlanProperties>,
    metrics: ExecutionPlanMetricsSet,
}

/// A column that it hands out.
#[derive(Clone, Debug)]
enum Output {
    /// One of [`super::table_schema`].
    Column(usize),
    /// The value of a key in one of them.
    Bracket(usize, Attr),
}

impl MemoryExec {
    /// A leaf over `rows`, dealt out to at most `partitions` partitions; `projection` indexes [`super::table_schema`].
    pub fn try_new(rows: &[Arc<Rows>], projection: Vec<usize>, partitions: usize) -> Result<Self> {
        let schema = Arc::new(super::table_schema().project(&projection)?);
        let outputs = projection.into_iter().map(Output::Column).collect();
        let runs = Run::of(rows);
        let count = partitions.clamp(1, runs.len().max(1));
        let mut dealt = vec![Vec::new(); count];
        let mut filled = vec![0_usize; count];
        for run in runs {
            let least = (0..count).min_by_key(|&i| filled[i]).expect("count is at least 1");
            filled[least] += run.batch.rows();
            dealt[least].push(Arc::new(run));
        }
        Ok(Self::of(dealt, outputs, schema))
    }

    fn of(partitions: Vec<Vec<Arc<Run>>>, outputs: Vec<Output>, schema: SchemaRef) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        )
        .with_scheduling_type(SchedulingType::Cooperative);
        let metrics = ExecutionPlanMetricsSet::new();
        Self { partitions, outputs, schema, properties: Arc::new(properties), metrics }
    }

    /// What `expr` over the columns of this leaf is, if the leaf can hand it out.
    fn output(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Output> {
        if let Some(column) = expr.downcast_ref::<Column>() {
            return self.outputs.get(column.index()).cloned();
        }
        let call = ScalarFunctionExpr::try_downcast_func::<Attr>(expr.as_ref())?;
        let container = call.args().first()?.downcast_ref::<Column>()?;
        match self.outputs.get(container.index())? {
            Output::Column(at) => Some(Output::Bracket(*at, Attr::of(call.fun())?.clone())),
            Output::Bracket(..) => None,
        }
    }

    fn rows(&self, partition: Option<usize>) -> usize {
        let count = |batches: &Vec<Arc<Run>>| batches.iter().map(|b| b.batch.rows()).sum::<usize>();
        match partition {
            Some(one) => self.partitions.get(one).map_or(0, count),
            None => self.partitions.iter().map(count).sum(),
        }
    }
}

impl DisplayAs for MemoryExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let batches: usize = self.partitions.iter().map(Vec::len).sum();
        write!(f, "MemoryExec: partitions={}, batches={batches}, rows={}", self.partitions.len(), self.rows(None))?;
        match self.outputs.iter().filter(|output| matches!(output, Output::Bracket(..))).count() {
            0 => Ok(()),
            brackets => write!(f, ", brackets={brackets}"),
        }
    }
}

impl ExecutionPlan for MemoryExec {
    fn name(&self) -> &'static str {
        "MemoryExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, context: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(batches) = self.partitions.get(partition).cloned() else {
            return internal_err!("MemoryExec has no partition {partition}");
        };
        let metrics = BaselineMetrics::new(&self.metrics, partition);
        let (outputs, schema) = (self.outputs.clone(), self.schema.clone());
        let batch_size = context.session_config().batch_size().max(1);
        let slices = batches.into_iter().flat_map(move |run| {
            let total = run.batch.rows();
            (0..total).step_by(batch_size).map(move |from| (run.clone(), from, batch_size.min(total - from)))
        });
        let stream = slices.map(move |(run, from, len)| {
            let _timer = metrics.elapsed_compute().timer();
            project(&run, from, len, &outputs, &schema).record_output(&metrics)
        });
        let stream = RecordBatchStreamAdapter::new(self.schema.clone(), futures::stream::iter(stream));
        Ok(Box::pin(cooperative(stream)))
    }

    fn try_swapping_with_projection(&self, above: &ProjectionExec) -> Result<Option<Arc<dyn ExecutionPlan>>> {
        let outputs: Option<Vec<_>> = above.expr().iter().map(|of| self.output(&of.expr)).collect();
        let swapped = outputs.map(|outputs| Self::of(self.partitions.clone(), outputs, above.schema()));
        Ok(swapped.map(|leaf| Arc::new(leaf) as Arc<dyn ExecutionPlan>))
    }

    fn metrics(&self) -> Option<MetricsSet> {
        Some(self.metrics.clone_inner())
    }

    fn statistics_from_inputs(&self, _: &[Arc<Statistics>], args: &StatisticsArgs) -> Result<Arc<Statistics>> {
        let mut statistics = Statistics::new_unknown(&self.schema);
        statistics.num_rows = Precision::Exact(self.rows(args.partition()));
        Ok(Arc::new(statistics))
    }
}

/// Rows `from .. from + len` as the columns of `schema`.
fn project(run: &Run, from: usize, len: usize, outputs: &[Output], schema: &SchemaRef) -> Result<RecordBatch> {
    let batch = run.batch.as_record_batch().slice(from, len);
    let beside = Beside { run, from, len };
    let arrays = outputs.iter().map(|output| match output {
        Output::Column(at) => column(&batch, beside, *at),
        Output::Bracket(at, attr) => bracket(&batch, beside, *at, attr),
    });
    let arrays = arrays.collect::<Result<Vec<_>>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(len));
    RecordBatch::try_new_with_options(schema.clone(), arrays, &options).map_err(DataFusionError::from)
}

/// The columns that rows of a run have beside those they came with.
#[derive(Clone, Copy)]
struct Beside<'a> {
    run: &'a Run,
    from: usize,
    len: usize,
}

impl Beside<'_> {
    fn ingest_times(self) -> ArrayRef {
        Arc::new(self.run.ingest_times(self.from, self.len).with_timezone("UTC"))
    }

    /// Those of the check, by their place among [`schema::semconv_fields`].
    fn checked(self, at: usize) -> Option<ArrayRef> {
        Some(self.run.batch.semconv()?.get(at)?.slice(self.from, self.len))
    }
}

/// The value of a key in column `at`: once a distinct container where they are interned.
fn bracket(batch: &RecordBatch, beside: Beside<'_>, at: usize, attr: &Attr) -> Result<ArrayRef> {
    let source = if at > schema::INGEST_TIME_INDEX { at - 1 } else { at };
    match batch.columns().get(source).and_then(|array| array.as_dictionary_opt::<Int32Type>()) {
        Some(interned) => {
            let values = attr.values(&visible::attributes(interned.values())?)?;
            Ok(take(&values, interned.keys(), None)?)
        }
        None => attr.values(&column(batch, beside, at)?),
    }
}

/// Column `at` of the table over `batch`, which has the columns of [`schema::incoming`].
fn column(batch: &RecordBatch, beside: Beside<'_>, at: usize) -> Result<ArrayRef> {
    let incoming = schema::incoming().fields().len();
    let field = super::table_schema().field(at).clone();
    if at == schema::INGEST_TIME_INDEX {
        return Ok(beside.ingest_times());
    }
    match field.name().as_str() {
        columns::END_TIME => return columns::end_time(batch.column(3), batch.column(4)),
        columns::DURATION_MS => return columns::duration_ms(batch.column(4)),
        _ => {}
    }
    let source = if at > schema::INGEST_TIME_INDEX { at - 1 } else { at };
    if source >= incoming {
        let absent = || new_null_array(field.data_type(), batch.num_rows());
        return Ok(beside.checked(source - incoming).unwrap_or_else(absent));
    }
    let array = batch.column(source);
    match field.name().as_str() {
        "attributes" => visible::attributes(array),
        "resource" | "scope" => {
            let interned = array.as_dictionary::<Int32Type>();
            Ok(take(&visible::attributes(interned.values())?, interned.keys(), None)?)
        }
        "events" | "links" => visible::nested(array),
        _ => Ok(array.clone()),
    }
}
