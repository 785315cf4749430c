//! The journals that facts come from, as handles.
//!
//! Duty: what `learn` asks of engine, gates and store; `app` says how it is answered. Guarantee: an event is handed on only
//! once it is committed. Left to others: what follows from a fact (`feedback`).

use std::fmt;
use std::sync::Arc;

use arrow::array::RecordBatch;
use futures::future::BoxFuture;

use super::feedback::{EpisodeFacts, RunEnd};

/// One committed event of the engine.
#[derive(Clone, Debug, PartialEq)]
pub struct EngineEvent {
    /// Its number in the engine's journal; rises strictly.
    pub sequence: u64,
    /// ns since 1970.
    pub at_ns: i64,
    /// What it says.
    pub fact: EngineFact,
}

/// What an event of the engine says to `learn`.
#[derive(Clone, Debug, PartialEq)]
pub enum EngineFact {
    /// An instance was started by a gate (S33).
    RunStarted {
        /// Key of the root instance.
        run: i64,
        /// Name of the gate.
        gate: String,
        /// Alert key.
        key: String,
        /// Number of the episode.
        episode: u64,
        /// Process id.
        pipeline: String,
    },
    /// A `codegen` job with a resolved header `variant` was activated, for the first time or again.
    Generated {
        /// Key of the root instance.
        run: i64,
        /// Equal for every attempt with the same input.
        effect_key: String,
        /// Header `target`.
        target: String,
        /// Header `variant`.
        variant: String,
        /// Header `mode`.
        mode: CodegenMode,
    },
    /// A `span-gate` job completed.
    Judged {
        /// Key of the root instance.
        run: i64,
        /// Its `value`.
        value: Option<f64>,
    },
    /// A root instance ended.
    RunEnded {
        /// Its key.
        run: i64,
        /// How.
        how: RunEnd,
    },
    /// Anything else: only its number counts.
    Other,
}

/// Header `mode` of a `codegen` job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodegenMode {
    /// Writes into a staging folder.
    Stage,
    /// Installs.
    Apply,
    /// Restores.
    Revert,
}

/// Where the engine is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineHead {
    /// Made by chance with its file: numbers of events and keys of runs mean something only together with it.
    pub id: [u8; 16],
    /// The last committed event; 0 = there is none yet.
    pub sequence: u64,
    /// When that was, ns since 1970.
    pub at_ns: i64,
}

/// Events from a sequence on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// In order; at most as many as were asked for.
    pub events: Vec<EngineEvent>,
    /// The oldest event that is still kept; 0 = none was ever removed.
    pub first_kept: u64,
}

/// The engine's journal; cheap to clone.
#[derive(Clone)]
pub struct EngineEvents {
    head: Arc<dyn Fn() -> Result<EngineHead, String> + Send + Sync>,
    from: Arc<dyn Fn(u64, usize) -> Result<Page, String> + Send + Sync>,
}

impl EngineEvents {
    /// `head` says where it is; `from` gives at most so many events from a sequence on, that one included. Both may block on
    /// the disk's cache.
    pub fn new(
        head: impl Fn() -> Result<EngineHead, String> + Send + Sync + 'static,
        from: impl Fn(u64, usize) -> Result<Page, String> + Send + Sync + 'static,
    ) -> Self {
        Self { head: Arc::new(head), from: Arc::new(from) }
    }

    /// Of an engine that does not run.
    pub fn none() -> Self {
        Self::new(|| Ok(EngineHead::default()), |_, _| Ok(Page::default()))
    }

    /// Where the engine is.
    ///
    /// Errors: the engine's, as text.
    pub fn head(&self) -> Result<EngineHead, String> {
        (self.head)()
    }

    /// At most `limit` events from `sequence` on.
    ///
    /// Errors: the engine's, as text.
    pub fn from(&self, sequence: u64, limit: usize) -> Result<Page, String> {
        (self.from)(sequence, limit)
    }
}

/// An episode whose facts are wanted.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wanted {
    /// Name of the gate.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// Number of the episode.
    pub episode: u64,
    /// When the run ended: the verdict wanted is the first of a window that began then or later. `None` = none is wanted.
    pub run_ended_ns: Option<i64>,
}

type Head = dyn Fn() -> Result<u64, String> + Send + Sync;
type Look = dyn Fn(&[Wanted]) -> Result<Vec<EpisodeFacts>, String> + Send + Sync;
type Run = dyn Fn(Ask) -> BoxFuture<'static, Result<Vec<RecordBatch>, String>> + Send + Sync;

/// The gates' journal; cheap to clone.
#[derive(Clone)]
pub struct GateFacts {
    head: Arc<Head>,
    look: Arc<Look>,
}

impl GateFacts {
    /// `head` gives the last committed sequence of the journal; `look` one answer for each that is wanted, all of one
    /// commit. Both may block on the disk's cache.
    pub fn new(
        head: impl Fn() -> Result<u64, String> + Send + Sync + 'static,
        look: impl Fn(&[Wanted]) -> Result<Vec<EpisodeFacts>, String> + Send + Sync + 'static,
    ) -> Self {
        Self { head: Arc::new(head), look: Arc::new(look) }
    }

    /// Of gates that do not run.
    pub fn none() -> Self {
        Self::new(|| Ok(0), |wanted| Ok(vec![EpisodeFacts::default(); wanted.len()]))
    }

    /// The last committed sequence.
    ///
    /// Errors: the gates', as text.
    pub fn head(&self) -> Result<u64, String> {
        (self.head)()
    }

    /// The facts of each episode in `wanted`, in that order.
    ///
    /// Errors: the gates', as text.
    pub fn look(&self, wanted: &[Wanted]) -> Result<Vec<EpisodeFacts>, String> {
        (self.look)(wanted)
    }
}

/// One run of a pattern file's statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The statement.
    pub sql: String,
    /// Event time `[start, end)`, ns since 1970; `$window_start` and `$window_end`.
    pub window_ns: (i64, i64),
    /// The statement bounds itself by the parameters.
    pub is_explicit: bool,
    /// Also spans made by pipelines.
    pub include_pipeline_spans: bool,
    /// Only spans that the store took up to here, µs.
    pub cut_us: i64,
}

/// Runs the statements of pattern files; cheap to clone.
#[derive(Clone)]
pub struct Asker(Arc<Run>);

impl Asker {
    /// An asker that answers by `run`; dropping its future stops the statement.
    pub fn new(
        run: impl Fn(Ask) -> BoxFuture<'static, Result<Vec<RecordBatch>, String>> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(run))
    }

    /// The rows of `ask`.
    ///
    /// Errors: why there are none, as a sentence.
    pub fn ask(&self, ask: Ask) -> BoxFuture<'static, Result<Vec<RecordBatch>, String>> {
        (self.0)(ask)
    }
}

/// Where the store is and how far the gates are; cheap to clone.
#[derive(Clone)]
pub struct Progress {
    cut_us: Arc<dyn Fn() -> Option<i64> + Send + Sync>,
    gates_closed: Arc<dyn Fn(i64) -> bool + Send + Sync>,
}

impl Progress {
    /// `cut_us` gives the store's visible position, `None` while it replays its log; `gates_closed` says whether every gate
    /// has closed its ticks up to a time (ns since 1970).
    pub fn new(
        cut_us: impl Fn() -> Option<i64> + Send + Sync + 'static,
        gates_closed: impl Fn(i64) -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { cut_us: Arc::new(cut_us), gates_closed: Arc::new(gates_closed) }
    }

    /// The store's visible position, µs.
    pub fn cut_us(&self) -> Option<i64> {
        (self.cut_us)()
    }

    /// Whether no gate has a tick at or before `t_ns` still to close.
    pub fn gates_closed(&self, t_ns: i64) -> bool {
        (self.gates_closed)(t_ns)
    }
}

macro_rules! opaque {
    ($($name:ident),*) => {
        $(impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($name))
            }
        })*
    };
}

opaque!(EngineEvents, GateFacts, Asker, Progress);
