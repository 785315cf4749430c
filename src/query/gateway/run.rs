//! One statement on the query threads.
//!
//! Duty: guard, view, plan, limit, stream. Guarantee: it ends when nobody takes its rows any more, and while its reader
//! takes none, its slot is lent to others. Left to others: time (`gateway` stops waiting and drops it).

use std::sync::Arc;
use std::time::Duration;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::DataFusionError;
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionContext;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::broadcast::cut_for_long_rows;
use super::cut::Cut;
use super::log::{Entry, Log};
use super::recursion::bounded as bounded_recursion;
use super::slots::Slot;
use super::stats::Stats;
use super::yielding::yielding;
use crate::query::config::Config;
use crate::query::error::Error;
use crate::query::guard::Writer;
use crate::query::names::Names;
use crate::query::params::Params;
use crate::query::pg::catalogue::Caller;
use crate::query::prepared::{Bare, Plan, Prepared, What, bare};
use crate::query::sources::Sources;
use crate::query::translate::{translate, translate_reading, unknown_table};
use crate::query::within::{Instants, Within};
use crate::query::{guard, lazy, memory, relations, session};
use crate::store::View;

/// The statements of the gateway, as a table.
const QUERIES: &str = "system.queries";

/// What a statement needs to run.
pub(super) struct Job {
    pub sql: String,
    pub params: Params,
    /// Who sent it, if that is a client of PostgreSQL.
    pub postgres: Option<Arc<Caller>>,
    pub as_of_us: Option<i64>,
    pub within: Option<Within>,
    /// Where the plan of its text is kept, and the session for such plans.
    pub prepared: Option<(Prepared, Bare)>,
    pub rows: u64,
    pub bytes: u64,
    pub view: View,
    pub config: Config,
    pub engine: Arc<RuntimeEnv>,
    pub extra: Vec<(String, Arc<dyn TableProvider>)>,
    pub log: Log,
    /// Its own place in `log`, where it runs and is not planned alone.
    pub entry: Option<Arc<Entry>>,
    pub now_ns: i64,
}

impl Job {
    pub(super) fn writer(&self) -> Writer {
        if self.postgres.is_some() { Writer::Postgres } else { Writer::Own }
    }

    pub(super) fn sources(&self) -> Sources<'_> {
        Sources::with(&self.extra).and_catalogue(self.postgres.is_some())
    }
}

/// What it tells, in this order; `Failed` may come at any time and ends it.
#[derive(Debug)]
pub(super) enum Event {
    Planned { schema: SchemaRef, snapshot_us: i64, notices: Vec<String> },
    Rows(RecordBatch),
    End { stats: Stats, truncated: bool, incomplete: bool, notices: Vec<String> },
    Failed(Box<Error>),
}

/// How long a reader may take nothing before the slot is lent: a page of a portal, a pause of the network.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs `job` in `slot`; a closed channel ends it early.
pub(super) async fn run(job: Job, slot: Slot, events: mpsc::Sender<Event>) {
    let mut reader = Reader { events, slot: Some(slot) };
    if let Err(error) = steps(job, &mut reader).await {
        reader.slot = None;
        reader.tell(Event::Failed(Box::new(error))).await;
    }
}

/// Who takes what a statement gives.
struct Reader {
    events: mpsc::Sender<Event>,
    /// None once nothing is left to do.
    slot: Option<Slot>,
}

impl Reader {
    /// Hands `event` over; false = nobody listens any more.
    async fn tell(&mut self, event: Event) -> bool {
        match tokio::time::timeout(PATIENCE, self.events.reserve()).await {
            Ok(Ok(place)) => {
                place.send(event);
                return true;
            }
            Ok(Err(_)) => return false,
            Err(_) => {}
        }
        // Nothing is done until the reader goes on: a channel that is full stops the plan below.
        let lent = match self.slot.take().map(Slot::lend) {
            Some(Ok(lent)) => Some(lent),
            Some(Err(kept)) => {
                self.slot = Some(kept);
                None
            }
            None => None,
        };
        let told = self.events.send(event).await.is_ok();
        if let Some(lent) = lent.filter(|_| told) {
            self.slot = Some(lent.take_back().await);
        }
        told
    }
}

/// A plan that can run, in its session.
struct Ready {
    context: SessionContext,
    task: Arc<TaskContext>,
    physical: Arc<dyn ExecutionPlan>,
    schema: SchemaRef,
    /// What the statement calls its columns.
    names: Names,
    /// Of the tables that it reads.
    notices: Vec<String>,
}

async fn steps(mut job: Job, reader: &mut Reader) -> Result<(), Error> {
    let view = std::mem::replace(&mut job.view, View::empty());
    let view = match job.as_of_us {
        Some(as_of_us) => view.until(as_of_us),
        None => view,
    };
    let (snapshot_us, parts) = (view.visible_us, view.parts.parts.len());
    let (complete, skipped, judged) = (view.complete, view.skipped.clone(), view.judged.clone());
    let again = match (&job.prepared, &job.within) {
        (Some((prepared, session)), Some(within)) => again(&job, within, prepared, session, &view).await,
        _ => None,
    };
    let Ready { context, task, physical, schema, names, notices } = match again {
        Some(ready) => ready,
        None => once(&job, &view).await?,
    };
    drop(view);
    if let Some(entry) = &job.entry {
        entry.planned(&physical, task.memory_pool());
    }
    let failed = |e| translate_reading(&e, &job.sql, Some(&context), judged.as_ref());
    let mut stream = execute_stream(physical.clone(), task).map_err(failed)?;
    let schema = if stream.schema().fields().len() == schema.fields().len() { stream.schema() } else { schema };
    let schema = names.applied(schema);
    if !reader.tell(Event::Planned { schema: schema.clone(), snapshot_us, notices }).await {
        return Ok(());
    }
    let mut cut = Cut::new(job.rows, job.bytes);
    while let Some(batch) = stream.next().await {
        let batch = batch.and_then(|batch| names.renamed(batch, &schema));
        let batch = batch.map_err(failed)?;
        if let Some(batch) = cut.take(batch)
            && !reader.tell(Event::Rows(batch)).await
        {
            return Ok(());
        }
        if cut.truncated {
            break;
        }
    }
    drop(stream);
    let skipped = skipped.map(|skipped| skipped.paths()).unwrap_or_default();
    let mut notices: Vec<String> =
        skipped.iter().map(|path| format!("the part `{path}` is damaged; the rest of it was left out")).collect();
    if !complete {
        notices.push("the log is still being replayed; rows of it are missing".to_owned());
    }
    let (stats, truncated, incomplete) = (Stats::of(&physical, parts), cut.truncated, !notices.is_empty());
    let end = Event::End { stats, truncated, incomplete, notices };
    // Nothing is left to do, whenever the reader takes it.
    reader.slot = None;
    reader.tell(end).await;
    Ok(())
}

/// Plans the statement for this run.
async fn once(job: &Job, view: &View) -> Result<Ready, Error> {
    let Logical { context, plan, limitable, names, notices } = logical(job, view).await?;
    let failed = |e| translate(&e, &job.sql, Some(&context));
    let plan = match limitable {
        true => limited(plan, job.rows).map_err(failed)?,
        false => plan,
    };
    let physical: Arc<dyn ExecutionPlan> = Box::pin(context.state().create_physical_plan(&plan))
        .await
        .and_then(cut_for_long_rows)
        .and_then(yielding)
        .and_then(bounded_recursion)
        .map_err(failed)?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    Ok(Ready { task: context.task_ctx(), context, physical, schema, names, notices })
}

/// A plan that was checked and says what it is, in its session.
pub(super) struct Logical {
    pub context: SessionContext,
    pub plan: LogicalPlan,
    /// Whether a LIMIT may be put above it.
    pub limitable: bool,
    /// What the statement calls its columns.
    pub names: Names,
    /// Of the tables that it reads.
    pub notices: Vec<String>,
}

/// The guard's steps up to the checked plan.
pub(super) async fn logical(job: &Job, view: &View) -> Result<Logical, Error> {
    let checked = guard::check_of(job.writer(), &job.sql, &job.params)?;
    let (context, _) = opened(job, view, Instants::Given).await?;
    if let Some(table) = checked.must_exist.filter(|table| !context.table_exist(table.as_str()).unwrap_or(false)) {
        return Err(unknown_table(&table, &job.sql, Some(&context)));
    }
    let failed = |e| translate(&e, &job.sql, Some(&context));
    let state = context.state();
    let names = Names::of(&checked.statement);
    let planned: Result<LogicalPlan, _> = Box::pin(state.statement_to_plan(checked.statement)).await;
    let plan = planned.map_err(failed)?;
    guard::check_plan(&plan, job.sources())?;
    let notices = lazy::notices(&plan).map_err(failed)?;
    Ok(Logical { context, plan, limitable: checked.limitable, names, notices })
}

/// A session over `view`, with the tables of other modules and what `within` leaves; also the view that stands for
/// `spans`, if there is one.
pub(super) async fn opened(
    job: &Job,
    view: &View,
    instants: Instants,
) -> Result<(SessionContext, Option<Arc<dyn TableProvider>>), Error> {
    let failed = |e| translate(&e, "", None);
    let context = session::open(view, &job.config, job.now_ns, &job.engine).map_err(failed)?;
    for (name, table) in &job.extra {
        context.register_table(name.as_str(), table.clone()).map_err(failed)?;
    }
    if !relations::is_offline(&context) {
        context.register_table(QUERIES, job.log.table()).map_err(failed)?;
    }
    if let Some(caller) = &job.postgres {
        Box::pin(caller.catalogue.extend(&context, caller)).await.map_err(failed)?;
    }
    let spans = match &job.within {
        Some(within) => Some(Box::pin(within.narrow(&context, &job.config, instants)).await.map_err(failed)?),
        None => None,
    };
    Ok((context, spans))
}

/// The kept plan with the instants and rows of this run. `None` if it has to be planned anew, which also tells why.
async fn again(job: &Job, within: &Within, prepared: &Prepared, bare_session: &Bare, view: &View) -> Option<Ready> {
    let what = What::of(&job.sql, &job.params, within, &job.config);
    let plan = match prepared.get(&what) {
        Some(plan) => plan?,
        None => {
            let plan = Box::pin(keepable(job, &what, view)).await.unwrap_or_else(|error| {
                tracing::debug!(error = %error.message, "a plan cannot be kept; the statement is planned for each run");
                None
            });
            prepared.keep(what, plan.clone());
            plan?
        }
    };
    let open = || session::open(&bare(view), &job.config, job.now_ns, &job.engine);
    let ready = async {
        let context = bare_session.get(&job.config, open)?;
        let state = context.state();
        let plan = plan.bind(&job.params, within, view, &job.config, &state)?;
        let physical = Box::pin(state.query_planner().create_physical_plan(&plan, &state)).await?;
        let schema = Arc::new(plan.schema().as_arrow().clone());
        // The session is that of all runs; the memory is that of this one.
        let task = TaskContext::from(&state).with_runtime(memory::of_statement(&job.engine));
        let physical = bounded_recursion(yielding(cut_for_long_rows(physical)?)?)?;
        let notices = lazy::notices(&plan)?;
        let names = Names::default();
        Ok::<_, DataFusionError>(Ready { context, task: Arc::new(task), physical, schema, names, notices })
    };
    match ready.await {
        Ok(ready) => Some(ready),
        Err(error) => {
            tracing::debug!(%error, "a kept plan does not fit; the statement is planned anew");
            None
        }
    }
}

/// Plans the statement for all runs, over no rows.
async fn keepable(job: &Job, what: &What, view: &View) -> Result<Option<Arc<Plan>>, Error> {
    let checked = guard::check(&job.sql, what.params())?;
    if checked.must_exist.is_some() || !checked.limitable {
        return Ok(None);
    }
    let (context, spans) = opened(job, &bare(view), Instants::Later).await?;
    let failed = |e| translate(&e, &job.sql, Some(&context));
    let state = context.state();
    let planned: Result<LogicalPlan, _> = Box::pin(state.statement_to_plan(checked.statement)).await;
    let plan = planned.map_err(failed)?;
    guard::check_plan(&plan, Sources::with(&job.extra))?;
    let plan = limited(plan, job.rows).and_then(|plan| state.optimize(&plan)).map_err(failed)?;
    let extra: Vec<&str> = job.extra.iter().map(|(name, _)| name.as_str()).collect();
    let Some(spans) = spans else { return Ok(None) };
    Ok(Plan::new(plan, &spans, &extra).map_err(failed)?.map(Arc::new))
}

/// One row more than allowed, to know whether there are more.
fn limited(plan: LogicalPlan, rows: u64) -> datafusion::common::Result<LogicalPlan> {
    let fetch = usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(1);
    LogicalPlanBuilder::from(plan).limit(0, Some(fetch))?.build()
}
