//! One aggregation of spans that several statements share: partial states, and what they come to.
//!
//! Duty: from rows of spans to states by bucket of time and key, from states to fewer of them, from states to values.
//! Guarantee: states of any division of the spans, merged in any order, give what one run over all of them gives, but for the
//! order in which floats are added. Left to others: which spans and which buckets (`gate`), what each statement makes of the
//! values (`answer`).

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::{concat_batches, take_record_batch};
use arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::common::{DFSchema, DataFusionError, Result};
use datafusion::datasource::memory::MemorySourceConfig;
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams};
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, cast};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::aggregate::{AggregateFunctionExpr, LoweredAggregateBuilder};
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::physical_plan::aggregates::{AggregateExec, AggregateMode, PhysicalGroupBy};
use datafusion::physical_plan::filter::batch_filter;
use datafusion::physical_plan::{ExecutionPlan as _, collect};

use super::decompose::{placed, value_type};
use super::place_of;

/// Makes expressions of plans ready to run on batches of one schema.
pub(super) struct Maker<'a> {
    pub state: &'a SessionState,
    pub schema: Arc<DFSchema>,
}

impl Maker<'_> {
    /// `expr` as the engine's optimiser would leave it: some functions exist only until then.
    pub fn simplified(&self, expr: Expr) -> Result<Expr> {
        let config = self.state.config_options().clone();
        let context = SimplifyContext::builder().with_schema(self.schema.clone()).with_config_options(config).build();
        ExprSimplifier::new(context).simplify(expr)
    }

    pub fn physical(&self, expr: &Expr) -> Result<Arc<dyn PhysicalExpr>> {
        let props = self.state.execution_props();
        create_physical_expr(expr, &self.schema, props, &PhysicalPlanningContext::default())
    }

    fn ready(&self, expr: Expr) -> Result<Arc<dyn PhysicalExpr>> {
        self.physical(&self.simplified(expr)?)
    }
}

/// What a batch holds for each of `exprs`.
pub(super) fn evaluated(exprs: &[Arc<dyn PhysicalExpr>], batch: &RecordBatch) -> Result<Vec<ArrayRef>> {
    exprs.iter().map(|expr| expr.evaluate(batch)?.into_array(batch.num_rows())).collect()
}

/// Columns of the rows that were read: the event time in ns, then what the aggregations of a source need.
pub(super) const TIME: &str = "t";

/// The aggregation.
#[derive(Debug)]
pub struct Aggregation {
    /// WHERE.
    filter: Option<Arc<dyn PhysicalExpr>>,
    /// Keys, then arguments and conditions of the aggregates, each once.
    exprs: Vec<Arc<dyn PhysicalExpr>>,
    /// The bucket, and `exprs`.
    input: SchemaRef,
    by_bucket: Arc<PhysicalGroupBy>,
    by_key: Arc<PhysicalGroupBy>,
    aggregates: Vec<Arc<AggregateFunctionExpr>>,
    /// Conditions of the aggregates.
    filters: Vec<Option<Arc<dyn PhysicalExpr>>>,
    /// Keys and states.
    states: SchemaRef,
    /// Keys `k0` … and values `v0` …
    values: SchemaRef,
    /// The row of values without any span, for a statement without keys.
    nothing: RecordBatch,
}

impl Aggregation {
    /// Over rows of `rows`, in whose columns all expressions are.
    pub(super) fn new(filter: &[Expr], keys: &[Expr], aggregates: &[Expr], rows: &Maker<'_>) -> Result<Self> {
        let filter = conjunction(filter.to_vec()).map(|holds| rows.ready(holds)).transpose()?;
        let mut distinct: Vec<Expr> = Vec::new();
        for key in keys {
            let of = key_type(key, &rows.schema)?;
            // Two keys are two places, whatever they are.
            distinct.push(rows.simplified(cast(key.clone(), of))?);
        }
        let aggregates = aggregates.iter().map(|call| over_places(call, &mut distinct, rows));
        let aggregates = aggregates.collect::<Result<Vec<_>>>()?;
        let exprs = distinct.iter().map(|expr| rows.physical(expr)).collect::<Result<Vec<_>>>()?;
        let mut fields = vec![Field::new("bucket", DataType::Int64, false)];
        for (at, expr) in exprs.iter().enumerate() {
            fields.push(Field::new(format!("e{at}"), expr.data_type(rows.schema.as_arrow())?, true));
        }
        let input: SchemaRef = Arc::new(Schema::new(fields));
        let input_schema = Arc::new(DFSchema::try_from(input.as_ref().clone())?);
        let mut lowered = Vec::with_capacity(aggregates.len());
        for (at, call) in aggregates.iter().enumerate() {
            let (props, context) = (rows.state.execution_props(), PhysicalPlanningContext::default());
            let builder = LoweredAggregateBuilder::new(call, &input_schema, &input, props, &context);
            lowered.push(builder.with_name(format!("v{at}")).build()?);
        }
        let (aggregates, filters): (Vec<_>, Vec<_>) =
            lowered.into_iter().map(|one| (one.aggregate, one.filter)).unzip();

        let column = |name: String, at: usize| (Arc::new(Column::new(&name, at)) as Arc<dyn PhysicalExpr>, name);
        let own = (0..keys.len()).map(|at| (column(format!("e{at}"), at + 1).0, format!("k{at}")));
        let by_bucket = std::iter::once(column("bucket".to_owned(), 0)).chain(own).collect();
        let by_key = (0..keys.len()).map(|at| column(format!("k{at}"), at)).collect();
        let mut made = Self {
            filter,
            exprs,
            by_bucket: Arc::new(PhysicalGroupBy::new_single(by_bucket)),
            by_key: Arc::new(PhysicalGroupBy::new_single(by_key)),
            aggregates,
            filters,
            states: input.clone(),
            values: input.clone(),
            nothing: RecordBatch::new_empty(input.clone()),
            input,
        };
        let with_bucket = made.exec(AggregateMode::Partial, Vec::new())?.schema();
        made.states = Arc::new(with_bucket.project(&(1..with_bucket.fields().len()).collect::<Vec<_>>())?);
        made.values = nullable(&made.exec(AggregateMode::Final, Vec::new())?.schema(), keys.len());
        made.nothing = made.of_nothing(keys.len())?;
        Ok(made)
    }

    /// Keys and values, as columns `k0` … and `v0` ….
    pub(super) fn values(&self) -> &SchemaRef {
        &self.values
    }

    /// The row of values without any span.
    pub(super) fn nothing(&self) -> &RecordBatch {
        &self.nothing
    }

    fn of_nothing(&self, keys: usize) -> Result<RecordBatch> {
        let fields = self.values.fields();
        let mut columns: Vec<ArrayRef> =
            fields[..keys].iter().map(|field| arrow::array::new_null_array(field.data_type(), 1)).collect();
        for aggregate in &self.aggregates {
            columns.push(aggregate.create_accumulator()?.evaluate()?.to_array()?);
        }
        batch(&self.values, columns, 1)
    }

    /// States of the spans in `rows`, by bucket of `width_ns`.
    pub async fn states(
        &self,
        rows: &[RecordBatch],
        width_ns: i64,
        task: Arc<TaskContext>,
    ) -> Result<Vec<(i64, RecordBatch)>> {
        let mut inputs = Vec::with_capacity(rows.len());
        for rows in rows {
            let kept = match &self.filter {
                Some(filter) => batch_filter(rows, filter)?,
                None => rows.clone(),
            };
            let times = kept.column(0).as_primitive::<Int64Type>();
            let buckets: Int64Array = times.values().iter().map(|at| Some(at.div_euclid(width_ns))).collect();
            let mut columns: Vec<ArrayRef> = vec![Arc::new(buckets)];
            columns.extend(evaluated(&self.exprs, &kept)?);
            inputs.push(batch(&self.input, columns, kept.num_rows())?);
        }
        let found = collect(Arc::new(self.exec(AggregateMode::Partial, inputs)?), task).await?;
        let mut by_bucket = Vec::new();
        for found in found.iter().filter(|found| found.num_rows() > 0) {
            by_bucket.extend(split(found, &self.states)?);
        }
        Ok(by_bucket)
    }

    /// The same states in one batch, those of one key as one.
    pub async fn reduced(&self, states: Vec<RecordBatch>, task: Arc<TaskContext>) -> Result<RecordBatch> {
        if self.by_key.expr().is_empty() {
            return self.as_one(&concat_batches(&self.states, &states)?);
        }
        let found = collect(Arc::new(self.exec(AggregateMode::PartialReduce, states)?), task).await?;
        let columns = concat_batches(&found.first().map_or_else(|| self.states.clone(), RecordBatch::schema), &found)?;
        batch(&self.states, compact(columns.columns()), columns.num_rows())
    }

    /// `states` as one row, where there are no keys; the engine reduces groups only.
    fn as_one(&self, states: &RecordBatch) -> Result<RecordBatch> {
        let mut columns = Vec::with_capacity(states.num_columns());
        for aggregate in &self.aggregates {
            let of_it = columns.len()..columns.len() + aggregate.state_fields()?.len();
            let mut state = aggregate.create_accumulator()?;
            state.merge_batch(&states.columns()[of_it])?;
            for value in state.state()? {
                columns.push(value.to_array()?);
            }
        }
        batch(&self.states, columns, 1)
    }

    /// What `states` come to, a row a key.
    pub async fn merged(&self, states: Vec<RecordBatch>, task: Arc<TaskContext>) -> Result<RecordBatch> {
        // Many small ones cost more than their rows.
        let exec = self.exec(AggregateMode::Final, vec![concat_batches(&self.states, &states)?])?;
        let schema = exec.schema();
        let values = concat_batches(&schema, &collect(Arc::new(exec), task).await?)?;
        batch(&self.values, values.columns().to_vec(), values.num_rows())
    }

    fn exec(&self, mode: AggregateMode, batches: Vec<RecordBatch>) -> Result<AggregateExec> {
        let (schema, by) = match mode {
            AggregateMode::Partial => (&self.input, &self.by_bucket),
            _ => (&self.states, &self.by_key),
        };
        let filters = match mode {
            AggregateMode::Partial => self.filters.clone(),
            // They were met when the states were made.
            _ => vec![None; self.filters.len()],
        };
        let input = MemorySourceConfig::try_new_exec(&[batches], schema.clone(), None)?;
        AggregateExec::try_new(mode, by.clone(), self.aggregates.clone(), filters, input, self.input.clone())
    }
}

/// Dictionaries are unfolded: those of two batches are not the same.
fn key_type(key: &Expr, schema: &DFSchema) -> Result<DataType> {
    use datafusion::logical_expr::ExprSchemable as _;
    let of = key.get_type(schema)?;
    Ok(value_type(&of).cloned().unwrap_or(of))
}

/// `call` with its arguments and its conditions as places of `distinct`. Constants stay where they are: the engine asks for
/// them before any row.
fn over_places(call: &Expr, distinct: &mut Vec<Expr>, rows: &Maker<'_>) -> Result<Expr> {
    let Expr::AggregateFunction(AggregateFunction { func, params }) = call else {
        return Err(DataFusionError::Internal("an aggregate is none".to_owned()));
    };
    let mut place = |expr: Expr| {
        let expr = rows.simplified(expr)?;
        Ok::<_, DataFusionError>(if matches!(expr, Expr::Literal(..)) {
            expr
        } else {
            placed('e', place_of(distinct, expr))
        })
    };
    let mut params: AggregateFunctionParams = params.clone();
    params.args = params.args.into_iter().map(&mut place).collect::<Result<_>>()?;
    params.filter = params.filter.map(|filter| place(*filter).map(Box::new)).transpose()?;
    for sort in &mut params.order_by {
        sort.expr = place(sort.expr.clone())?;
    }
    Ok(Expr::AggregateFunction(AggregateFunction { func: func.clone(), params }))
}

/// `schema` with the names of values, and NULL allowed everywhere.
fn nullable(schema: &Schema, keys: usize) -> SchemaRef {
    let name = |at: usize| if at < keys { format!("k{at}") } else { format!("v{}", at - keys) };
    let fields = schema.fields().iter().enumerate();
    Arc::new(Schema::new(
        fields.map(|(at, field)| Field::new(name(at), field.data_type().clone(), true)).collect::<Vec<_>>(),
    ))
}

/// Also where there is no column.
pub(super) fn batch(schema: &SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

/// The rows of each bucket, without it.
fn split(found: &RecordBatch, states: &SchemaRef) -> Result<Vec<(i64, RecordBatch)>> {
    let mut rows: BTreeMap<i64, Vec<u32>> = BTreeMap::new();
    for (row, bucket) in (0_u32..).zip(found.column(0).as_primitive::<Int64Type>().values()) {
        rows.entry(*bucket).or_default().push(row);
    }
    let without = found.project(&(1..found.num_columns()).collect::<Vec<_>>())?;
    let mut by_bucket = Vec::with_capacity(rows.len());
    for (bucket, rows) in rows {
        let taken = take_record_batch(&without, &UInt32Array::from(rows))?;
        by_bucket.push((bucket, batch(states, compact(taken.columns()), taken.num_rows())?));
    }
    Ok(by_bucket)
}

/// Without bytes of rows that are not among them.
fn compact(columns: &[ArrayRef]) -> Vec<ArrayRef> {
    let one = |column: &ArrayRef| -> ArrayRef {
        match column.data_type() {
            DataType::Utf8View => Arc::new(column.as_string_view().gc()),
            DataType::BinaryView => Arc::new(column.as_binary_view().gc()),
            _ => column.clone(),
        }
    };
    columns.iter().map(one).collect()
}
