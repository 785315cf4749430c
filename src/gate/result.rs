//! One run of a gate's SQL: what is asked and what comes back (gates.md 2).
//!
//! Duty: the types between those who judge and those who run SQL. Guarantee: an [`Ask`] holds all that the answer
//! depends on, so asking twice gives the same rows. Left to others: running it (`query` behind `plan`), judging the rows
//! (`verdict`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use serde_json::{Map, Value};

use super::definition::Gate;
use super::identity::alert_key;
use crate::error::Class;
use crate::span::TraceId;

/// Rows of one result above which it is an error (gates.md 4.1).
pub const MAX_ROWS: usize = 100_000;

/// Half-open event time `[start, end)`, nanoseconds since 1970 UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Window {
    /// First nanosecond in it.
    pub start_ns: i64,
    /// First nanosecond behind it.
    pub end_ns: i64,
}

impl Window {
    /// Whether it shares a moment with `[start_ns, end_ns)`.
    pub fn overlaps(self, start_ns: i64, end_ns: i64) -> bool {
        self.start_ns.max(start_ns) < self.end_ns.min(end_ns)
    }
}

/// Which spans the query sees beside the bounds of time (gates.md 2, row "pipelines, own spans").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// As the gate says: without those of pipelines and of this daemon, unless it includes them.
    #[default]
    OfGate,
    /// Exactly the spans with resource `weavergen.run` = this run (a span-gate job with `only: run`).
    OfRun(String),
}

/// One run of a gate's query.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Whose query.
    pub gate: Arc<Gate>,
    /// The spans' event time; `$window_start` and `$window_end`.
    pub window: Window,
    /// Only spans that the store took up to here: its position in µs.
    pub cut_us: i64,
    /// Which of them.
    pub spans: Selection,
}

/// A look ahead of the ticks of a gate.
#[derive(Clone, Debug)]
pub struct AskAhead {
    /// Whose query.
    pub gate: Arc<Gate>,
    /// Those of the ticks.
    pub windows: Vec<Window>,
    /// Only spans that the store took up to here, its position in µs; later ones where they are known already.
    pub cut_us: i64,
}

/// One row of the result, of one key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResultRow {
    /// The values of the `by` columns by name, as text.
    pub key: BTreeMap<String, String>,
    /// The number judged as the query gave it, so it may be NaN or infinite; `None` = NULL.
    pub value: Option<f64>,
    /// Samples; `None` = the result has no such column. NULL and negative are 0.
    pub n: Option<u64>,
    /// The first five of the column `trace_ids`, without NULLs and repeats.
    pub trace_ids: Vec<TraceId>,
    /// Every other column.
    pub evidence: Map<String, Value>,
}

/// Why there are no rows: outcome error of the whole gate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The query does not plan; it did when it was loaded.
    #[error("the query cannot be planned: {0}")]
    Plan(String),
    /// It failed while it ran.
    #[error("the query failed: {0}")]
    Run(String),
    /// It needs more memory than `gates.rerun_memory`.
    #[error("the query needs more memory than it may use: {0}")]
    Memory(String),
    /// It took longer than `timeout`.
    #[error("the query took longer than `timeout`")]
    Timeout,
    /// Two rows have one key.
    #[error("two rows have the key `{0}`; group the query by every column of `by`")]
    DuplicateKey(String),
    /// More than [`MAX_ROWS`].
    #[error("the result has more than 100000 rows; group the query by fewer values")]
    TooManyRows,
    /// The states of its keys, with those that it shares them with, are more than are kept.
    #[error(
        "state_cap: the states of its keys do not fit into 2000000 entries and `gates.bucket_bytes` of all gates; group \
         the query by fewer values, shorten `window`, or raise `gates.bucket_bytes`"
    )]
    StateCap,
    /// A result column that cannot be read.
    #[error("the column `{column}` cannot be read: {why}")]
    Column {
        /// Its name.
        column: String,
        /// What is wrong with it.
        why: String,
    },
}

impl RunError {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Plan(_) | Self::DuplicateKey(_) | Self::Column { .. } => Class::Invalid,
            Self::Run(_) => Class::Unavailable,
            Self::Memory(_) => Class::Busy,
            Self::Timeout => Class::Timeout,
            Self::TooManyRows | Self::StateCap => Class::TooLarge,
        }
    }
}

/// `rows`, if there is one a key, and not too many.
///
/// Errors: [`RunError::TooManyRows`], [`RunError::DuplicateKey`].
pub(super) fn well_formed(rows: Vec<ResultRow>) -> Result<Vec<ResultRow>, RunError> {
    if rows.len() > MAX_ROWS {
        return Err(RunError::TooManyRows);
    }
    let mut keys = BTreeSet::new();
    match rows.iter().find(|row| !keys.insert(&row.key)) {
        Some(twice) => Err(RunError::DuplicateKey(alert_key(&twice.key))),
        None => Ok(rows),
    }
}

/// The rows to come.
pub type Rows = BoxFuture<'static, Result<Vec<ResultRow>, RunError>>;

/// The rows to come; `None` = they have to be asked for by SQL.
pub type SharedRows = BoxFuture<'static, Option<Result<Vec<ResultRow>, RunError>>>;

/// The rows over each window that can be told of.
pub type Ahead = Vec<(Window, Result<Vec<ResultRow>, RunError>)>;

/// The same, to come.
pub type AheadRows = BoxFuture<'static, Ahead>;

/// Answers gates; cheap to clone.
#[derive(Clone)]
pub struct Runner {
    by_sql: Arc<dyn Fn(Ask) -> Rows + Send + Sync>,
    shared: Option<Arc<dyn Fn(Ask) -> SharedRows + Send + Sync>>,
    ahead: Option<Arc<dyn Fn(AskAhead) -> AheadRows + Send + Sync>>,
    between: Option<Arc<dyn Fn(Ask) -> Rows + Send + Sync>>,
}

impl Runner {
    /// A runner that answers by `run`. Dropping its future stops the query.
    pub fn new(run: impl Fn(Ask) -> Rows + Send + Sync + 'static) -> Self {
        Self { by_sql: Arc::new(run), shared: None, ahead: None, between: None }
    }

    /// The same, where `between` answers what is asked between ticks.
    #[must_use]
    pub fn looking(self, between: impl Fn(Ask) -> Rows + Send + Sync + 'static) -> Self {
        Self { between: Some(Arc::new(between)), ..self }
    }

    /// The same, where `shared` answers without asking for each gate by itself.
    #[must_use]
    pub fn sharing(self, shared: impl Fn(Ask) -> SharedRows + Send + Sync + 'static) -> Self {
        Self { shared: Some(Arc::new(shared)), ..self }
    }

    /// The same, where `ahead` looks ahead of ticks. Dropping its future stops the look.
    #[must_use]
    pub fn looking_ahead(self, ahead: impl Fn(AskAhead) -> AheadRows + Send + Sync + 'static) -> Self {
        Self { ahead: Some(Arc::new(ahead)), ..self }
    }

    /// The rows of `ask` out of what gates share; `None` = it has to be run.
    ///
    /// Errors: see [`RunError`].
    pub async fn shared(&self, ask: Ask) -> Option<Result<Vec<ResultRow>, RunError>> {
        match &self.shared {
            Some(shared) => shared(ask).await,
            None => None,
        }
    }

    /// The rows over those windows of `ask` that can be told of without its SQL. No tick is answered otherwise for it.
    pub async fn ahead(&self, ask: AskAhead) -> Ahead {
        match &self.ahead {
            Some(ahead) => ahead(ask).await,
            None => Vec::new(),
        }
    }

    /// The rows of `ask` by its SQL, in any order, one a key.
    ///
    /// Errors: see [`RunError`]; [`RunError::Timeout`] is the caller's to make.
    pub fn run(&self, ask: Ask) -> Rows {
        (self.by_sql)(ask)
    }

    /// As [`Runner::run`], asked because spans came and not because a tick closes.
    ///
    /// Errors: as [`Runner::run`].
    pub fn look(&self, ask: Ask) -> Rows {
        match &self.between {
            Some(between) => between(ask),
            None => self.run(ask),
        }
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Runner")
    }
}
