//! One statement on the query threads.
//!
//! Duty: guard, view, plan, limit, stream. Guarantee: it ends when nobody takes its rows any more. Left to others: time
//! (`gateway` stops waiting and drops it).

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use futures::StreamExt;
use tokio::sync::mpsc;

use super::cut::Cut;
use super::recursion::bounded as bounded_recursion;
use super::stats::Stats;
use super::yielding::yielding;
use crate::query::config::Config;
use crate::query::error::{Code, Error};
use crate::query::params::Params;
use crate::query::translate::{translate, unknown_table};
use crate::query::within::Within;
use crate::query::{guard, session};
use crate::store::View;

/// What a statement needs to run.
pub(super) struct Job {
    pub sql: String,
    pub params: Params,
    pub as_of_us: Option<i64>,
    pub within: Option<Within>,
    pub rows: u64,
    pub bytes: u64,
    pub view: View,
    pub config: Config,
    pub engine: Arc<RuntimeEnv>,
    pub extra: Vec<(String, Arc<dyn TableProvider>)>,
    pub now_ns: i64,
}

/// What it tells, in this order; `Failed` may come at any time and ends it.
#[derive(Debug)]
pub(super) enum Event {
    Planned { schema: SchemaRef, snapshot_us: i64 },
    Rows(RecordBatch),
    End { stats: Stats, truncated: bool },
    Failed(Box<Error>),
}

/// Runs `job`; a closed channel ends it early.
pub(super) async fn run(job: Job, events: mpsc::Sender<Event>) {
    if let Err(error) = steps(job, &events).await {
        // Nobody listens any more: then the error has no reader either.
        let _ = events.send(Event::Failed(Box::new(error))).await;
    }
}

async fn steps(job: Job, events: &mpsc::Sender<Event>) -> Result<(), Error> {
    let checked = guard::check(&job.sql, &job.params)?;
    let view = bounded(job.view, job.as_of_us)?;
    let (snapshot_us, parts) = (view.visible_us, view.parts.parts.len());
    let context = session::open(&view, &job.config, job.now_ns, &job.engine).map_err(|e| translate(&e, "", None))?;
    drop(view);
    for (name, table) in job.extra {
        context.register_table(name.as_str(), table).map_err(|e| translate(&e, "", None))?;
    }
    if let Some(within) = &job.within {
        Box::pin(within.narrow(&context, &job.config)).await.map_err(|e| translate(&e, "", None))?;
    }
    if let Some(table) = checked.must_exist.filter(|table| !context.table_exist(table.as_str()).unwrap_or(false)) {
        return Err(unknown_table(&table, &job.sql, Some(&context)));
    }
    let failed = |e| translate(&e, &job.sql, Some(&context));
    let state = context.state();
    let planned: Result<LogicalPlan, _> = Box::pin(state.statement_to_plan(checked.statement)).await;
    let plan = planned.map_err(failed)?;
    guard::check_plan(&plan)?;
    let plan = match checked.limitable {
        true => limited(plan, job.rows).map_err(failed)?,
        false => plan,
    };
    let physical: Arc<dyn ExecutionPlan> = Box::pin(state.create_physical_plan(&plan))
        .await
        .and_then(yielding)
        .and_then(bounded_recursion)
        .map_err(failed)?;
    let schema = Arc::new(plan.schema().as_arrow().clone());
    let mut stream = execute_stream(physical.clone(), context.task_ctx()).map_err(failed)?;
    let schema = if stream.schema().fields().len() == schema.fields().len() { stream.schema() } else { schema };
    if events.send(Event::Planned { schema, snapshot_us }).await.is_err() {
        return Ok(());
    }
    let mut cut = Cut::new(job.rows, job.bytes);
    while let Some(batch) = stream.next().await {
        let batch = batch.map_err(|e| translate(&e, &job.sql, Some(&context)))?;
        if let Some(batch) = cut.take(batch)
            && events.send(Event::Rows(batch)).await.is_err()
        {
            return Ok(());
        }
        if cut.truncated {
            break;
        }
    }
    drop(stream);
    let end = Event::End { stats: Stats::of(&physical, parts), truncated: cut.truncated };
    // A reader that has gone needs no end.
    let _ = events.send(end).await;
    Ok(())
}

/// One row more than allowed, to know whether there are more.
fn limited(plan: LogicalPlan, rows: u64) -> datafusion::common::Result<LogicalPlan> {
    let fetch = usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(1);
    LogicalPlanBuilder::from(plan).limit(0, Some(fetch))?.build()
}

/// `view` without what the store took after `as_of_us`.
fn bounded(mut view: View, as_of_us: Option<i64>) -> Result<View, Error> {
    let Some(as_of_us) = as_of_us else { return Ok(view) };
    view.memory.retain(|rows| rows.ingest_us <= as_of_us);
    let parts = &view.parts.parts;
    if parts.iter().any(|part| part.entry.ingest[0] <= as_of_us && part.entry.ingest[1] > as_of_us) {
        return Err(Error::new(
            Code::Argument,
            "`as_of` lies within a part: its rows before and after are in one file",
        )
        .hint("add `WHERE ingest_time <= TIMESTAMP '…'` to the statement instead"));
    }
    if parts.iter().any(|part| part.entry.ingest[0] > as_of_us) {
        let kept = parts.iter().filter(|part| part.entry.ingest[1] <= as_of_us).cloned().collect();
        view.parts = Arc::new(crate::store::PartSet { parts: kept });
    }
    let in_parts = view.parts.parts.iter().map(|part| part.entry.ingest[1]).max().unwrap_or(0);
    view.visible_us = in_parts.max(view.memory.last().map_or(0, |rows| rows.ingest_us));
    Ok(view)
}
