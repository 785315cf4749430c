//! Runs and steps, live and ended, made from events.
//!
//! Duty: the rows behind `pipeline_runs` and `pipeline_steps`. Guarantee: written in the transaction of the events they
//! are made of; ended ones stay. Left to others: columns (`tables`).

use std::collections::BTreeSet;

use bpmn::core::{Body, Event, Trigger};
use serde::{Deserialize, Serialize};

use super::error::Error;
use super::store::{Batch, Store};

/// Job type whose newest completion in a run is where a `span-gate` begins to look (bpmn.md 10).
const GENERATES: &str = "codegen";

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunState {
    /// Live.
    Running,
    /// Its last token ended.
    Completed,
    /// An error end that nothing caught.
    Failed,
    /// By an operator.
    Cancelled,
}

impl RunState {
    /// Its name in `pipeline_runs`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A run. Times in ms since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRow {
    /// Process id.
    pub process: String,
    /// Its version.
    pub version: u32,
    /// Its content hash.
    pub hash: String,
    /// Where it stands.
    pub state: RunState,
    /// Of a failed run.
    pub error_code: Option<String>,
    /// When it began.
    pub started_ms: i64,
    /// When it ended.
    pub ended_ms: Option<i64>,
    /// The key of the message that started it.
    pub message_key: Option<String>,
    /// The gate that started it.
    pub trigger: Option<Trigger>,
    /// Keys of its open incidents.
    pub incidents: BTreeSet<u64>,
    /// When its newest `codegen` job completed.
    pub generated_ms: Option<i64>,
    /// How many runs led to each other up to what started it. It stands last: a row that was stored without it reads
    /// as 0.
    pub depth: u32,
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepState {
    /// A token rests in it.
    Active,
    /// Left by its token.
    Completed,
    /// Closed from outside.
    Terminated,
}

impl StepState {
    /// Its name in `pipeline_steps`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Completed => "completed",
            Self::Terminated => "terminated",
        }
    }
}

/// One activation. Times in ms since 1970.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRow {
    /// Element id.
    pub element_id: String,
    /// Local name of the element.
    pub element_type: String,
    /// Its name.
    pub name: Option<String>,
    /// Key of the enclosing scope.
    pub scope: u64,
    /// Where it stands.
    pub state: StepState,
    /// Attempts of its jobs that were started.
    pub attempts: u32,
    /// When its token came.
    pub started_ms: i64,
    /// When its token left.
    pub ended_ms: Option<i64>,
}

/// Folds the events of a batch into its history rows; rows not in the batch are read from the store.
pub(super) fn fold(store: &Store, batch: &mut Batch) -> Result<(), Error> {
    let events = std::mem::take(&mut batch.events);
    for event in &events {
        fold_one(store, batch, event)?;
    }
    batch.events = events;
    Ok(())
}

fn fold_one(store: &Store, batch: &mut Batch, event: &Event) -> Result<(), Error> {
    let at = event.at_ms;
    match &event.body {
        Body::InstanceCreated { instance, process, version, hash, message_key, trigger, depth, .. } => {
            let row = RunRow {
                process: process.clone(),
                version: *version,
                hash: hash.clone(),
                state: RunState::Running,
                error_code: None,
                started_ms: at,
                ended_ms: None,
                message_key: message_key.clone(),
                trigger: trigger.clone(),
                incidents: BTreeSet::new(),
                generated_ms: None,
                depth: *depth,
            };
            batch.runs.insert(*instance, row);
        }
        Body::InstanceCompleted { instance } => end(store, batch, *instance, at, RunState::Completed, None)?,
        Body::InstanceFailed { instance, code, .. } => {
            end(store, batch, *instance, at, RunState::Failed, code.clone())?;
        }
        Body::InstanceCancelled { instance, .. } => end(store, batch, *instance, at, RunState::Cancelled, None)?,
        Body::IncidentRaised { instance, incident, .. } => {
            run(store, batch, *instance, |row| {
                row.incidents.insert(*incident);
            })?;
        }
        Body::IncidentCleared { instance, incident, .. } => {
            run(store, batch, *instance, |row| {
                row.incidents.remove(incident);
            })?;
        }
        Body::JobCompleted { instance, r#type, .. } if r#type == GENERATES => {
            run(store, batch, *instance, |row| row.generated_ms = Some(at))?;
        }
        Body::ElementActivated { instance, element, scope, id, name, kind, .. } => {
            let row = StepRow {
                element_id: id.clone(),
                element_type: kind.clone(),
                name: name.clone(),
                scope: *scope,
                state: StepState::Active,
                attempts: 0,
                started_ms: at,
                ended_ms: None,
            };
            batch.steps.insert((*instance, *element), row);
        }
        Body::JobActivated { instance, element, attempt, .. } => {
            step(store, batch, (*instance, *element), |row| row.attempts = row.attempts.max(*attempt))?;
        }
        Body::ElementCompleted { instance, element, .. } => {
            step(store, batch, (*instance, *element), |row| {
                row.state = StepState::Completed;
                row.ended_ms = Some(at);
            })?;
        }
        Body::ElementTerminated { instance, element, .. } => {
            step(store, batch, (*instance, *element), |row| {
                row.state = StepState::Terminated;
                row.ended_ms = Some(at);
            })?;
        }
        _ => {}
    }
    Ok(())
}

fn end(
    store: &Store,
    batch: &mut Batch,
    instance: u64,
    at_ms: i64,
    state: RunState,
    error_code: Option<String>,
) -> Result<(), Error> {
    run(store, batch, instance, |row| {
        row.state = state;
        row.ended_ms = Some(at_ms);
        row.error_code = error_code;
    })
}

fn run(store: &Store, batch: &mut Batch, key: u64, change: impl FnOnce(&mut RunRow)) -> Result<(), Error> {
    let known = match batch.runs.remove(&key) {
        Some(row) => Some(row),
        None => store.run(key)?,
    };
    if let Some(mut row) = known {
        change(&mut row);
        batch.runs.insert(key, row);
    }
    Ok(())
}

fn step(store: &Store, batch: &mut Batch, key: (u64, u64), change: impl FnOnce(&mut StepRow)) -> Result<(), Error> {
    let known = match batch.steps.remove(&key) {
        Some(row) => Some(row),
        None => store.step(key.0, key.1)?,
    };
    if let Some(mut row) = known {
        change(&mut row);
        batch.steps.insert(key, row);
    }
    Ok(())
}
