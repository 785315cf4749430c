//! The one door to the engine (sql.md 7, 8).
//!
//! Duty: guard, plan and run a statement over one view, on threads of its own, and hand out its rows as they come.
//! Guarantee: an answer ends within its time, its rows and its bytes and says when it was cut; dropping it stops the
//! work. Left to others: bytes of a format (`render`), identities (`access`), who may raise a limit.

mod broadcast;
mod cut;
mod describe;
mod floor;
mod granted;
mod held;
mod log;
mod planning;
mod recursion;
mod run;
mod slots;
mod statement;
mod stats;
mod typed;
mod watchdog;
mod yielding;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::execution::runtime_env::RuntimeEnv;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

pub use describe::{Described, Estimates, Parameter, Table, columns_of};
pub(in crate::query) use floor::Floor;
pub use statement::{Limits, Shape, Statement};
pub use stats::Stats;
pub use typed::{Typed, Wanted};
pub use watchdog::Watchdog;

use super::config::Config;
use super::error::{Code, Error};
use super::prepared::{Bare, Prepared};
use super::session;
use super::within::Within;
use crate::clock::Clock;
use crate::span::pinned::ScalarType;
use crate::store::{Reader, View};
use granted::Granted;
use held::{Abort, Running};
use log::{Entered, Entry, Log, Who, Work};
use run::{Event, Job};
use slots::{Slot, Slots};

/// How long a statement waits for a slot.
const WAIT: Duration = Duration::from_secs(5);
/// Rows and bytes of an answer in Arrow.
const ARROW_ROWS: u64 = 10_000_000;
const ARROW_BYTES: u64 = 1 << 30;
/// Rows of an answer on PostgreSQL's wire; its bytes are those of Arrow.
pub const POSTGRES_ROWS: u64 = 1_000_000;
/// A planner recurses over trees as deep as the guard lets through.
const STACK_BYTES: usize = 64 << 20;

/// Memory and disk that statements share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Bytes that operators may hold over all statements (sql.md 8: 35 % of `memory.limit`).
    pub memory_bytes: usize,
    /// Folder and bytes for what does not fit; `None` = it fails instead.
    pub spill: Option<(std::path::PathBuf, u64)>,
}

impl Default for Resources {
    fn default() -> Self {
        Self { memory_bytes: 256 << 20, spill: None }
    }
}

/// Runs statements; cheap to clone.
#[derive(Clone, Debug)]
pub struct Gateway {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    reader: Reader,
    config: Config,
    /// `config.attribute_types` over those of the registry in force.
    attribute_types: ArcSwap<BTreeMap<String, ScalarType>>,
    clock: Clock,
    engine: Arc<RuntimeEnv>,
    threads: Threads,
    slots: Slots,
    extra: Vec<(String, Arc<dyn TableProvider>)>,
    bare: Bare,
    log: Log,
    statements: IntCounterVec,
    running: IntGauge,
}

/// The query runtime; dropped without waiting, since the last handle may go within another runtime.
#[derive(Debug)]
struct Threads(Option<tokio::runtime::Runtime>);

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Gateway {
    /// A gateway over `reader` with the default [`Resources`].
    ///
    /// Errors: `sql.internal` if threads cannot be started or the metrics' names are taken.
    pub fn new(reader: Reader, config: Config, clock: Clock, registry: &Registry) -> Result<Self, Error> {
        Self::with(reader, config, Resources::default(), Vec::new(), clock, registry)
    }

    /// A gateway over `reader` and the tables of other modules.
    ///
    /// Errors: `sql.internal` if threads cannot be started, the spill folder cannot be used, or the metrics' names are
    /// taken.
    pub fn with(
        reader: Reader,
        config: Config,
        resources: Resources,
        extra: Vec<(String, Arc<dyn TableProvider>)>,
        clock: Clock,
        registry: &Registry,
    ) -> Result<Self, Error> {
        let fails = |what: &str, why: String| Error::new(Code::Internal, format!("{what}: {why}"));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|e| fails("cannot start the query threads", e.to_string()))?;
        let engine = session::runtime(resources.memory_bytes, resources.spill)
            .map_err(|e| fails("cannot use `query.spill_dir`", e.to_string()))?;
        let statements = IntCounterVec::new(
            Opts::new("weavergen_query_statements", "Statements that ended, by outcome: ok or the error's code."),
            &["outcome"],
        );
        let running = IntGauge::new("weavergen_query_running", "Statements that run at the moment.");
        let taken = |e: prometheus::Error| fails("cannot register metrics", e.to_string());
        let (statements, running) = (statements.map_err(taken)?, running.map_err(taken)?);
        registry.register(Box::new(statements.clone())).map_err(taken)?;
        registry.register(Box::new(running.clone())).map_err(taken)?;
        let slots = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).max(2);
        Ok(Self {
            inner: Arc::new(Inner {
                reader,
                attribute_types: ArcSwap::new(config.attribute_types.clone()),
                config,
                clock,
                engine,
                threads: Threads(Some(runtime)),
                slots: Slots::new(slots),
                extra,
                bare: Bare::default(),
                log: Log::default(),
                statements,
                running,
            }),
        })
    }

    /// Takes the types of a registry's attributes: statements from now on read keys in them where the configuration gives
    /// none (sql.md 3.2).
    pub fn set_registry_types(&self, types: BTreeMap<String, ScalarType>) {
        self.inner.attribute_types.store(self.inner.config.over(types));
    }

    /// The types that a statement which begins now reads keys in, where they are not pinned ones; another `Arc` after
    /// each change.
    pub fn attribute_types(&self) -> Arc<BTreeMap<String, ScalarType>> {
        self.inner.attribute_types.load_full()
    }

    /// Runs `statement` as far as its first rows.
    ///
    /// Errors: every code of sql.md 10 but those of access; they carry the statement's id.
    pub async fn run(&self, statement: Statement) -> Result<Answer, Error> {
        self.enter(statement, None, None).await
    }

    /// Runs `statement` as far as its first rows; it sees only the rows that `within` leaves.
    ///
    /// Errors: as [`Gateway::run`].
    pub async fn run_within(&self, statement: Statement, within: Within) -> Result<Answer, Error> {
        self.enter(statement, Some(within), None).await
    }

    /// As [`Gateway::run_within`], by the plan in `prepared`; the first run makes it.
    pub async fn run_prepared(
        &self,
        statement: Statement,
        within: Within,
        prepared: &Prepared,
    ) -> Result<Answer, Error> {
        self.enter(statement, Some(within), Some(prepared.clone())).await
    }

    /// The rows of this moment, as a statement that begins now sees them.
    pub fn view(&self) -> View {
        self.inner.reader.view()
    }

    async fn enter(
        &self,
        statement: Statement,
        within: Option<Within>,
        prepared: Option<Prepared>,
    ) -> Result<Answer, Error> {
        let query_id = self.id_of(&statement);
        let span = match statement.is_untraced {
            true => Span::none(),
            false => tracing::info_span!(
                target: "weavergen::own", "query/statement", query_id = query_id.as_str(), rows = Empty, error = Empty,
            ),
        };
        let mut entered = self.inner.log.enter(self.who(&statement, query_id.clone()));
        let outcome = self.start(&mut entered, statement, within, prepared).await.map_err(|error| error.of(&query_id));
        match outcome {
            Ok(answer) => Ok(Answer { span, entered: Some(entered), ..answer }),
            Err(error) => {
                span.record("error", error.code.as_str());
                self.count(error.code.as_str());
                entered.ended(Err(error.code));
                Err(error)
            }
        }
    }

    fn id_of(&self, statement: &Statement) -> String {
        statement.query_id.clone().unwrap_or_else(|| self.inner.clock.ulid().to_string())
    }

    fn who(&self, statement: &Statement, query_id: String) -> Who {
        Who {
            query_id,
            identity: statement.identity.clone(),
            surface: statement.surface,
            tag: statement.tag.clone(),
            sql: statement.sql.clone(),
            started_us: self.inner.clock.now_us(),
        }
    }

    /// What `statement` needs to run within `limits`.
    fn job(&self, statement: Statement, limits: &Granted) -> Job {
        let inner = &self.inner;
        let (attribute_types, hints) = (inner.attribute_types.load_full(), statement.hints);
        Job {
            sql: statement.sql,
            params: statement.params,
            postgres: statement.postgres,
            as_of_us: statement.as_of_us,
            within: None,
            prepared: None,
            rows: limits.rows,
            bytes: match statement.shape {
                Shape::Arrow | Shape::Postgres => limits.bytes,
                // Text is cut where it is written: its size is not known before.
                Shape::Text => u64::MAX,
            },
            view: inner.reader.view(),
            config: Config { attribute_types, hints, ..inner.config.clone() },
            engine: inner.engine.clone(),
            extra: inner.extra.clone(),
            log: inner.log.clone(),
            entry: None,
            now_ns: inner.clock.now_ns(),
        }
    }

    async fn start(
        &self,
        entered: &mut Entered,
        statement: Statement,
        within: Option<Within>,
        prepared: Option<Prepared>,
    ) -> Result<Answer, Error> {
        let inner = &self.inner;
        let mut notices = Vec::new();
        let limits = Granted::of(&statement, &inner.config, &mut notices);
        let started = Instant::now();
        let deadline = started + limits.time;
        let entry = entered.entry.clone();
        let slot = match entry.stop.run_until_cancelled(self.slot(&statement.identity, deadline)).await {
            Some(slot) => slot?,
            None => return Err(entry.stopped()),
        };
        entry.has_slot();
        let planned_by = deadline.min(Instant::now() + inner.config.planning_timeout);

        // The guard runs on the query threads too: their stack is deep enough for what it lets through.
        let (events, received) = mpsc::channel(2);
        let job = Job {
            within,
            prepared: prepared.map(|prepared| (prepared, inner.bare.clone())),
            entry: Some(entry.clone()),
            ..self.job(statement, &limits)
        };
        let running = Running::new(&inner.running);
        let (stop, work) = (entry.stop.clone(), Work(entry.clone()));
        let task = self.spawn(async move {
            let (_running, _work) = (running, work);
            // A caller that takes no more rows does not keep it beyond the deadline.
            stop.run_until_cancelled(tokio::time::timeout_at(deadline, run::run(job, slot, events))).await;
        });
        let mut answer = Answer {
            query_id: entered.entry.query_id().to_owned(),
            snapshot_us: 0,
            schema: Arc::new(arrow::datatypes::Schema::empty()),
            notices,
            max_bytes: limits.bytes,
            truncated: false,
            incomplete: false,
            stats: Stats::default(),
            pending: None,
            events: received,
            task: Abort(task.abort_handle()),
            entry,
            deadline,
            time: limits.time,
            started,
            ended: false,
            span: Span::none(),
            entered: None,
            gateway: self.clone(),
        };
        let head = match tokio::time::timeout_at(planned_by, answer.events.recv()).await {
            Ok(event) => event,
            Err(_) if planned_by < deadline => return Err(self.planned_late()),
            Err(_) => return Err(answer.late()),
        };
        match head {
            Some(Event::Planned { schema, snapshot_us, notices }) => {
                answer.notices.extend(notices);
                answer.schema = schema;
                answer.snapshot_us = snapshot_us;
            }
            Some(Event::Failed(error)) => return Err(*error),
            Some(_) => return Err(internal()),
            None => return Err(answer.broken_off()),
        }
        // An error before the first row still gets a status of its own.
        answer.pending = answer.receive().await?;
        Ok(answer)
    }

    /// Runs `work` on the query threads, to its end whoever waits for it; their stack is deep enough for any statement.
    pub fn spawn<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        self.inner.threads.0.as_ref().expect("it is taken only by drop").spawn(work)
    }

    /// Wall time that a statement may take.
    pub fn longest(&self) -> Duration {
        self.inner.config.timeout
    }

    fn planned_late(&self) -> Error {
        timeout(self.inner.config.planning_timeout, "planning the statement took longer than")
            .hint("simplify it: fewer joins, nested queries or constant expressions")
    }

    async fn slot(&self, identity: &str, deadline: Instant) -> Result<Slot, Error> {
        let until = deadline.min(Instant::now() + WAIT);
        match tokio::time::timeout_at(until, self.inner.slots.take(identity)).await {
            Ok(Ok(slot)) => Ok(slot),
            _ => Err(Error::new(Code::Busy, "too many statements run at the moment")
                .hint("send it again in a second; `query.max_running` is the number of cores")),
        }
    }

    /// Statements that run, or wait for their readers.
    #[cfg(test)]
    pub(crate) fn slots_taken(&self) -> usize {
        usize::try_from(self.inner.running.get()).unwrap_or_default()
    }

    /// Statements that ended well.
    #[cfg(test)]
    pub(crate) fn statements_ended(&self) -> u64 {
        self.inner.statements.with_label_values(&["ok"]).get()
    }

    fn count(&self, outcome: &str) {
        self.inner.statements.with_label_values(&[outcome]).inc();
    }
}

/// The rows of a statement, as they come. Dropping it stops the statement.
#[derive(Debug)]
pub struct Answer {
    /// A ULID.
    pub query_id: String,
    /// Store position of the newest row that the statement saw, µs since 1970.
    pub snapshot_us: i64,
    /// Columns.
    pub schema: SchemaRef,
    /// What the caller should know, one sentence each.
    pub notices: Vec<String>,
    /// Bytes that the answer may have once written.
    pub max_bytes: u64,
    /// Whether rows were left out; final once all rows are taken.
    pub truncated: bool,
    /// Whether rows could not be read: of a damaged part with `on_corrupt_part: skip`, or of a log that is still being
    /// replayed (storage.md 4.5, 12.3); final once all rows are taken.
    pub incomplete: bool,
    stats: Stats,
    pending: Option<RecordBatch>,
    events: mpsc::Receiver<Event>,
    task: Abort,
    entry: Arc<Entry>,
    deadline: Instant,
    time: Duration,
    started: Instant,
    ended: bool,
    /// Ends with the answer: an own span covers what the caller takes.
    span: Span,
    entered: Option<Entered>,
    gateway: Gateway,
}

impl Answer {
    /// The next rows; `None` once there are no more.
    ///
    /// Errors: what the statement ends in; nothing comes after it.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>, Error> {
        let batch = match self.pending.take() {
            Some(batch) => Some(batch),
            None => self.receive().await.map_err(|error| {
                self.gateway.count(error.code.as_str());
                self.span.record("error", error.code.as_str());
                if let Some(entered) = &mut self.entered {
                    entered.ended(Err(error.code));
                }
                error.of(&self.query_id)
            })?,
        };
        if let Some(batch) = &batch {
            self.stats.rows += batch.num_rows() as u64;
        }
        if let Some(entered) = &mut self.entered {
            entered.entry.took(self.stats.rows);
            if batch.is_none() {
                entered.ended(Ok(()));
            }
        }
        Ok(batch)
    }

    /// Does `work` on rows of it on the query threads: those of connections take data in as well.
    ///
    /// Errors: `sql.internal` if it panics.
    pub fn apart<T, W>(&self, work: W) -> impl Future<Output = Result<T, Error>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> T + Send + 'static,
    {
        let task = self.gateway.spawn(async move { work() });
        async move { task.await.map_err(|_| internal()) }
    }

    /// Says that the caller has what it wants, though rows may be left.
    pub fn enough(&mut self) {
        if let Some(entered) = &mut self.entered {
            entered.ended(Ok(()));
        }
    }

    /// What it took so far; complete once [`Answer::next`] gave `None`.
    pub fn stats(&self) -> Stats {
        let elapsed = if self.ended { self.stats.elapsed_ms } else { self.elapsed_ms() };
        Stats { elapsed_ms: elapsed, ..self.stats }
    }

    /// When it ends in `sql.timeout`.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// All rows.
    pub async fn collect(&mut self) -> Result<Vec<RecordBatch>, Error> {
        let mut batches = Vec::new();
        while let Some(batch) = self.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }

    async fn receive(&mut self) -> Result<Option<RecordBatch>, Error> {
        if self.ended {
            return Ok(None);
        }
        match tokio::time::timeout_at(self.deadline, self.events.recv()).await {
            Ok(Some(Event::Rows(batch))) => Ok(Some(batch)),
            Ok(Some(Event::End { stats, truncated, incomplete, notices })) => {
                self.ended = true;
                self.truncated = truncated;
                self.incomplete = incomplete;
                self.notices.extend(notices);
                self.stats = Stats { rows: self.stats.rows, elapsed_ms: self.elapsed_ms(), ..stats };
                self.span.record("rows", self.stats.rows);
                self.gateway.count("ok");
                Ok(None)
            }
            Ok(Some(Event::Failed(error))) => {
                self.ended = true;
                Err(*error)
            }
            Ok(Some(Event::Planned { .. })) => {
                self.ended = true;
                Err(internal())
            }
            Ok(None) => {
                self.ended = true;
                Err(self.broken_off())
            }
            Err(_) => {
                self.ended = true;
                self.task.0.abort();
                Err(self.late())
            }
        }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Why nothing comes any more, though no end was told.
    fn broken_off(&self) -> Error {
        match self.entry.stop.is_cancelled() {
            true => self.entry.stopped(),
            false if Instant::now() >= self.deadline => self.late(),
            false => internal(),
        }
    }

    fn late(&self) -> Error {
        let rows = self.stats.rows;
        let error = timeout(self.time, "the statement took longer than");
        Error { message: format!("{}; {rows} rows were out", error.message), ..error }
            .hint("narrow the time range, add a LIMIT, or raise `query.timeout`")
    }
}

fn cancelled() -> Error {
    Error::new(Code::Cancelled, "the statement was cancelled").hint("send it again to run it anew")
}

fn internal() -> Error {
    Error::new(Code::Internal, "internal error").hint("report it with the query id")
}

fn timeout(limit: Duration, what: &str) -> Error {
    Error::new(Code::Timeout, format!("{what} {} s", limit.as_secs_f64()))
}

#[cfg(test)]
mod tests;
