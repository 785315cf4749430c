//! The one door through which statements reach the engine.
//!
//! Duty: guard, plan, cap and run a statement on the query runtime, and hand out its batches. Guarantee: one view a
//! statement; planning and running end at the deadline; a dropped [`Answer`] stops its work; ingest's threads are never
//! used. Left to others: shapes on the wire (`render`), who may ask (`access`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::execution::context::SQLOptions;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::physical_plan::{ExecutionPlan, execute_stream};
use datafusion::prelude::SessionContext;
use futures::StreamExt as _;
use tokio::sync::{Semaphore, mpsc};
use ulid::Ulid;

use super::error::{Code, Error, Names, internal};
use super::guard;
use super::params::Params;
use super::{Config, session};
use crate::clock::Clock;
use crate::store::Reader;

const MAX_WAITING: usize = 32;
const MAX_WAIT: Duration = Duration::from_secs(5);
/// Batches that may lie between the engine and a slow reader.
const AHEAD: usize = 4;

/// A statement and its limits.
#[derive(Clone, Debug, Default)]
pub struct Statement {
    /// The text.
    pub sql: String,
    /// Values for `$1` and `$name`.
    pub params: Params,
    /// Rows out at most; `None` = the configured cap.
    pub max_rows: Option<u64>,
    /// Wall time at most; `None` = the configured one.
    pub timeout: Option<Duration>,
}

/// What a statement gives: its columns at once, its batches as they come.
#[derive(Debug)]
pub struct Answer {
    /// Names the statement in logs and errors.
    pub query_id: Ulid,
    /// Store position of the view, µs since 1970.
    pub snapshot_us: i64,
    /// Columns of the result.
    pub schema: SchemaRef,
    batches: mpsc::Receiver<Result<RecordBatch, Error>>,
    max_rows: u64,
    began: Instant,
    plan: Arc<dyn ExecutionPlan>,
    parts: usize,
    stats: Stats,
    task: tokio::task::AbortHandle,
}

/// What a statement cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stats {
    /// Rows handed out.
    pub rows: u64,
    /// The row cap cut the result.
    pub truncated: bool,
    /// Wall time.
    pub elapsed: Duration,
    /// Time of all operators.
    pub cpu: Duration,
    /// Bytes read from parts.
    pub bytes_scanned: u64,
    /// Live parts in the view.
    pub parts: usize,
}

/// Runs statements; cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    reader: Reader,
    config: Config,
    clock: Clock,
    engine: Arc<RuntimeEnv>,
    /// `None` only while it is dropped.
    threads: Option<tokio::runtime::Runtime>,
    running: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A runtime may not be dropped from another one's threads, but it may be left to end by itself.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl Gateway {
    /// A gateway over `reader`, with a pool of `memory_bytes` for all statements. Errors: no threads, no memory pool.
    pub fn try_new(reader: Reader, config: Config, clock: Clock, memory_bytes: u64) -> std::io::Result<Self> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("query")
            .enable_all()
            .build()?;
        let memory = usize::try_from(memory_bytes).unwrap_or(usize::MAX);
        let engine = session::runtime(memory, None).map_err(std::io::Error::other)?;
        let running = Arc::new(Semaphore::new(config.threads.max(2)));
        let threads = Some(threads);
        Ok(Self(Arc::new(Inner { reader, config, clock, engine, threads, running, waiting: AtomicUsize::new(0) })))
    }

    /// Settings in force.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// Plans `statement` and starts it. Errors are told before the first batch where they can be.
    pub async fn run(&self, statement: Statement) -> Result<Answer, (Ulid, Error)> {
        let inner = &self.0;
        let query_id = inner.clock.ulid();
        let began = Instant::now();
        let allowed = statement.timeout.unwrap_or(inner.config.timeout).min(Duration::from_secs(600));
        let deadline = began + allowed;
        let permit = self.slot().await.map_err(|error| (query_id, error))?;
        let this = self.clone();
        let max_rows = statement.max_rows.unwrap_or(inner.config.max_rows).min(10_000_000);
        let view = inner.reader.view();
        let (parts, snapshot_us) = (view.parts.parts.len(), view.visible_us);
        let planning = deadline.min(began + inner.config.planning_timeout);
        let planned = self.threads().spawn(async move { this.plan(&statement, &view, max_rows).await });
        let abort = AbortOnDrop(planned.abort_handle());
        let (context, plan, sql) = match tokio::time::timeout_at(planning.into(), planned).await {
            Err(_) => return Err((query_id, timed_out(began.elapsed(), "planning"))),
            Ok(Err(error)) => return Err((query_id, panicked(query_id, &error))),
            Ok(Ok(planned)) => planned.map_err(|error| (query_id, error))?,
        };
        drop(abort);
        let (sender, batches) = mpsc::channel(AHEAD);
        let running = plan.clone();
        let task = self.threads().spawn(async move {
            let _permit = permit;
            let ran = tokio::time::timeout_at(deadline.into(), stream(&context, running, &sql, &sender)).await;
            let error = match ran {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error,
                Err(_) => timed_out(began.elapsed(), "running"),
            };
            // A reader that is gone does not want to know.
            let _ = sender.send(Err(error)).await;
        });
        Ok(Answer {
            query_id,
            snapshot_us,
            schema: plan.schema(),
            batches,
            max_rows,
            began,
            plan,
            parts,
            stats: Stats { parts, ..Stats::default() },
            task: task.abort_handle(),
        })
    }

    fn threads(&self) -> &tokio::runtime::Runtime {
        self.0.threads.as_ref().expect("only drop takes the runtime")
    }

    async fn slot(&self) -> Result<tokio::sync::OwnedSemaphorePermit, Error> {
        let inner = &self.0;
        if let Ok(permit) = inner.running.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let busy = || Error::new(Code::Busy, "too many statements are running", "try again in a moment");
        if inner.waiting.fetch_add(1, Ordering::Relaxed) >= MAX_WAITING {
            inner.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(busy());
        }
        let waited = tokio::time::timeout(MAX_WAIT, inner.running.clone().acquire_owned()).await;
        inner.waiting.fetch_sub(1, Ordering::Relaxed);
        waited.map_err(|_| busy())?.map_err(|_| busy())
    }

    async fn plan(
        &self,
        statement: &Statement,
        view: &crate::store::View,
        max_rows: u64,
    ) -> Result<(SessionContext, Arc<dyn ExecutionPlan>, String), Error> {
        let inner = &self.0;
        let checked = guard::check(&statement.sql, &statement.params)?;
        let sql = statement.sql.clone();
        let context = session::open(view, &inner.config, inner.clock.now_ns(), &inner.engine)
            .map_err(|error| Error::from_engine(&sql, &error, &Names::default()))?;
        let explain = |error| Error::from_engine(&sql, &error, &names(&context));
        let mut plan = context.state().statement_to_plan(checked.statement).await.map_err(&explain)?;
        let reads_only = SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false);
        if let Err(error) = reads_only.verify_plan(&plan) {
            tracing::debug!(%error, "statement refused");
            return Err(Error::new(Code::NotAllowed, "the statement does more than read", "use SELECT"));
        }
        if checked.is_query {
            let cap = usize::try_from(max_rows).unwrap_or(usize::MAX).saturating_add(1);
            plan = LogicalPlanBuilder::from(plan)
                .limit(0, Some(cap))
                .and_then(LogicalPlanBuilder::build)
                .map_err(&explain)?;
        }
        let physical = context.state().create_physical_plan(&plan).await.map_err(&explain)?;
        Ok((context, physical, sql))
    }
}

fn names(context: &SessionContext) -> Names {
    let state = context.state();
    let mut functions: Vec<String> = state.scalar_functions().keys().cloned().collect();
    functions.extend(state.aggregate_functions().keys().cloned());
    functions.extend(state.window_functions().keys().cloned());
    functions.sort();
    let catalog = context.catalog(session::CATALOG).and_then(|catalog| catalog.schema(session::SCHEMA));
    let mut tables = catalog.map(|schema| schema.table_names()).unwrap_or_default();
    tables.sort();
    Names { tables, functions }
}

async fn stream(
    context: &SessionContext,
    plan: Arc<dyn ExecutionPlan>,
    sql: &str,
    out: &mpsc::Sender<Result<RecordBatch, Error>>,
) -> Result<(), Error> {
    let explain = |error| Error::from_engine(sql, &error, &names(context));
    let mut batches = execute_stream(plan, context.task_ctx()).map_err(explain)?;
    while let Some(batch) = batches.next().await {
        if out.send(Ok(batch.map_err(explain)?)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn timed_out(after: Duration, while_doing: &str) -> Error {
    let message = format!("the time limit passed while {while_doing}, after {:.1} s", after.as_secs_f64());
    Error::new(Code::Timeout, message, "narrow the time range, add LIMIT, or raise `limits.time_ms` (--timeout)")
}

fn panicked(query_id: Ulid, error: &tokio::task::JoinError) -> Error {
    tracing::error!(%query_id, %error, "statement failed");
    internal()
}

struct AbortOnDrop(tokio::task::AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Answer {
    /// The next rows; `None` at the end. Rows beyond the cap are cut, which [`Stats::truncated`] tells.
    pub async fn next(&mut self) -> Option<Result<RecordBatch, Error>> {
        if self.stats.truncated {
            return None;
        }
        let batch = match self.batches.recv().await? {
            Ok(batch) => batch,
            Err(error) => return Some(Err(error)),
        };
        let left = self.max_rows - self.stats.rows;
        if batch.num_rows() as u64 <= left {
            self.stats.rows += batch.num_rows() as u64;
            return Some(Ok(batch));
        }
        self.stats.truncated = true;
        self.stats.rows = self.max_rows;
        Some(Ok(batch.slice(0, usize::try_from(left).expect("fewer than the batch has"))))
    }

    /// All rows.
    pub async fn collect(&mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await {
            batches.push(batch?);
        }
        Ok(batches)
    }

    /// What it cost so far.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats { elapsed: self.began.elapsed(), parts: self.parts, ..self.stats };
        add_metrics(self.plan.as_ref(), &mut stats);
        stats
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn add_metrics(plan: &dyn ExecutionPlan, stats: &mut Stats) {
    if let Some(metrics) = plan.metrics() {
        let nanos = metrics.elapsed_compute().unwrap_or(0);
        stats.cpu += Duration::from_nanos(nanos as u64);
        stats.bytes_scanned += metrics.sum_by_name("bytes_scanned").map_or(0, |value| value.as_usize() as u64);
    }
    for child in plan.children() {
        add_metrics(child.as_ref(), stats);
    }
}
