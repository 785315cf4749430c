//! Rows of `learn.redb` (learn.md 5).
//!
//! Duty: their types and their bytes: postcard behind a version byte. Guarantee: bytes of another version are an error,
//! never misread. Left to others: tables and transactions (the parent).

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::learn::feedback::{Decision, RunEnd, TryFacts, Verdict};

/// First byte of every row.
const VERSION: u8 = 1;

pub(super) fn encode<T: Serialize>(row: &T) -> Vec<u8> {
    postcard::to_extend(row, vec![VERSION]).expect("rows hold nothing that postcard cannot write")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        Some((&VERSION, row)) => postcard::from_bytes(row).map_err(|e| Error::Damaged(e.to_string())),
        Some((version, _)) => Err(Error::Damaged(format!("a row has version {version}"))),
        None => Err(Error::Damaged("an empty row".to_owned())),
    }
}

/// Table `clock`: where a pattern stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockRow {
    /// Counts questions, from 1; its rows are of this one.
    pub generation: u64,
    /// Hash of the question.
    pub statement: [u8; 32],
    /// The last committed tick, ns since 1970.
    pub last_tick_ns: i64,
}

/// What became of a tick of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Its rows were taken in.
    Done,
    /// Nothing was written.
    Error,
    /// It was not run.
    Missed,
}

impl RunState {
    /// The word in the table.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Error => "error",
            Self::Missed => "missed",
        }
    }
}

/// Table `runs`, by pattern and tick. A row with state missed stands for all ticks from `missed_from_ns` to its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Store position up to which spans counted, µs; `None` = it was not run.
    pub cut_us: Option<i64>,
    /// Its window, ns since 1970.
    pub window_ns: (i64, i64),
    /// What became of it.
    pub state: RunState,
    /// First tick that a missed row stands for.
    pub missed_from_ns: Option<i64>,
    /// Rows taken in.
    pub rows: u64,
    /// Rows below `min_support` or `min_effect`.
    pub below: u64,
    /// Rows behind `limit`.
    pub over_limit: u64,
    /// Rows that went because there were too many.
    pub evicted: u64,
    /// Time that the statement took.
    pub elapsed_ns: u64,
    /// Why, at most 1 KiB.
    pub error: Option<String>,
}

/// Table `tries`, by effect key: facts and row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TryRow {
    /// Name of the gate.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// Number of the episode.
    pub episode: u64,
    /// Process id.
    pub pipeline: String,
    /// Key of the root instance; below 0 if that is a run of an engine that was replaced.
    pub run: i64,
    /// Template folder.
    pub target: String,
    /// Folder inside it.
    pub variant: String,
    /// What the engine says.
    pub facts: TryFacts,
    /// Value at the firing; the outer `None` = not known yet.
    pub value_before: Option<Option<f64>>,
    /// What follows; once there is an outcome it stays.
    pub decision: Decision,
}

/// Table `run`, by key of the root instance: a run of a gate whose tries are not all decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GateRun {
    /// Name of the gate.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// Number of the episode.
    pub episode: u64,
    /// Process id.
    pub pipeline: String,
    /// When and how it ended.
    pub ended: Option<(i64, RunEnd)>,
    /// The first verdict after; once seen it stays, for `gate_results` keeps only the last value of equal outcomes.
    pub verdict: Option<Verdict>,
    /// Effect key of its newest try.
    pub newest: Option<String>,
}
