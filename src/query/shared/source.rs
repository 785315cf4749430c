//! Spans of one selection, read once for all aggregations over them.
//!
//! Duty: the plan that reads what aggregations need of the spans that came between two positions of the store. Guarantee:
//! every span of the selection is read once; what could not be read ends the reading. Left to others: which positions (`gate`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Column, DFSchema, DataFusionError, Result as EngineResult};
use datafusion::execution::TaskContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, cast};
use datafusion::physical_plan::{SendableRecordBatchStream, execute_stream};
use futures::StreamExt as _;

use super::aggregation::{Aggregation, TIME};
use super::analysed;
use super::decompose::SPANS;
use crate::query::error::{Code, Error};
use crate::query::gateway::Floor;
use crate::query::memory;
use crate::query::params::{Param, Params};
use crate::query::prepared::Plan;
use crate::query::translate::{translate, translate_reading};
use crate::query::within::{Instants, Spans, Within};
use crate::store::part::PartStore;
use crate::store::{Skipped, View};

/// Rows that are aggregated at a time.
const CHUNK_ROWS: usize = 65_536;

/// How the spans of a source are read.
pub(super) struct Scan {
    plan: Plan,
    /// The event time and the columns that were asked for.
    pub schema: Arc<DFSchema>,
}

impl Scan {
    /// Of the `spans` of a selection, what `columns` are of them.
    pub async fn new(floor: &Floor, spans: &Spans, by_start: bool, columns: &[Expr]) -> EngineResult<Self> {
        let time = if by_start { "start_time" } else { "end_time" };
        let instant = |name: &str| format!("CAST(${name} AS TIMESTAMP WITH TIME ZONE)");
        let mut conditions = vec![
            format!("{time} >= {}", instant("shared_from")),
            format!("ingest_time > {}", instant("shared_after")),
            format!("ingest_time <= {}", instant("shared_until")),
        ];
        let selection = Within { spans: spans.clone(), ..Within::default() };
        conditions.extend(selection.conditions(Instants::Later));
        let sql = format!("SELECT * FROM {SPANS} WHERE {}", conditions.join(" AND "));
        let state = &floor.state;
        let selected = analysed(state, Box::pin(state.create_logical_plan(&sql)).await?)?;
        let at = Expr::Column(Column::new(Some(SPANS), time));
        let mut exprs = vec![cast(at, DataType::Int64).alias(TIME)];
        exprs.extend(columns.iter().enumerate().map(|(at, column)| column.clone().alias(format!("s{at}"))));
        let plan = LogicalPlanBuilder::from(selected).project(exprs)?.build()?;
        let plan = state.optimizer().optimize(plan, state.as_ref(), |_, _| {})?;
        let open = |field: &Arc<Field>| field.as_ref().clone().with_nullable(true);
        let fields: Fields = plan.schema().fields().iter().map(open).collect();
        let schema = Arc::new(DFSchema::from_unqualified_fields(fields, HashMap::new())?);
        let table = floor.context.table_provider(SPANS).await?;
        let plan = Plan::new(plan, &table, &[])?;
        let plan = plan.ok_or_else(|| DataFusionError::Internal("the scan reads more than spans".to_owned()))?;
        Ok(Self { plan, schema })
    }
}

/// Spans of one selection, and the aggregations over them.
pub struct Source {
    scan: Scan,
    /// What they are read for.
    pub aggregations: Vec<Arc<Aggregation>>,
    floor: Floor,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("aggregations", &self.aggregations.len()).finish_non_exhaustive()
    }
}

/// Which spans are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Event time from which on, ns since 1970.
    pub from_ns: i64,
    /// They came after this position of the store, µs.
    pub after_us: i64,
    /// The last position.
    pub until_us: i64,
}

impl Source {
    pub(super) fn new(scan: Scan, aggregations: Vec<Arc<Aggregation>>, floor: Floor) -> Self {
        Self { scan, aggregations, floor }
    }

    /// The memory of one piece of work.
    pub fn task(&self) -> Arc<TaskContext> {
        let state: &SessionState = &self.floor.state;
        Arc::new(TaskContext::from(state).with_runtime(memory::of_statement(&self.floor.engine)))
    }

    /// Reads the spans of `part` that `view` holds.
    ///
    /// Errors: the engine.
    pub async fn open(&self, view: View, part: Part) -> Result<Reading, Error> {
        let ns = |us: i64| us.saturating_mul(1_000);
        let instants =
            [("shared_from", part.from_ns), ("shared_after", ns(part.after_us)), ("shared_until", ns(part.until_us))];
        let params: BTreeMap<String, Param> =
            instants.into_iter().map(|(name, at)| (name.to_owned(), Param::Instant(at))).collect();
        let (complete, skipped, judged) = (view.complete, view.skipped.clone(), view.judged.clone());
        let opened = async {
            let Floor { state, config, .. } = &self.floor;
            let plan = self.scan.plan.bind(&Params::Map(params), &Within::default(), &view, config, state)?;
            drop(view);
            let physical = Box::pin(state.query_planner().create_physical_plan(&plan, state.as_ref())).await?;
            execute_stream(physical, self.task())
        };
        let rows = opened.await.map_err(|error| translate(&error, "", None))?;
        Ok(Reading { rows, complete, skipped, judged })
    }
}

/// Rows as they are read.
pub struct Reading {
    rows: SendableRecordBatchStream,
    complete: bool,
    skipped: Option<Arc<Skipped>>,
    judged: Option<PartStore>,
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("complete", &self.complete).finish_non_exhaustive()
    }
}

impl Reading {
    /// The next rows, many at a time; `None` once all are read.
    ///
    /// Errors: the engine, and at the end what could not be read.
    pub async fn next(&mut self) -> Result<Option<Vec<RecordBatch>>, Error> {
        let (mut found, mut count) = (Vec::new(), 0);
        while count < CHUNK_ROWS
            && let Some(batch) = self.rows.next().await
        {
            let batch = batch.map_err(|error| translate_reading(&error, "", None, self.judged.as_ref()))?;
            count += batch.num_rows();
            found.push(batch);
        }
        if count > 0 {
            return Ok(Some(found));
        }
        let damaged = self.skipped.as_ref().map(|skipped| skipped.paths()).unwrap_or_default();
        match damaged.first() {
            Some(path) => Err(Error::new(Code::Internal, format!("the part `{path}` is damaged"))),
            None if !self.complete => Err(Error::new(Code::Internal, "the log is still being replayed")),
            None => Ok(None),
        }
    }
}
