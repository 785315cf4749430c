//! What is asked of the machine, and what it asks and answers.
//!
//! Duty: commands, effects, answers, rejections. Guarantee: a rejected command changes nothing. Left to others: who may
//! ask (`access`), keeping answers for repeated requests (`engine`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::event::Trigger;
use super::row::{HeaderValue, OnUnknown};
use super::value::Variables;

/// One thing asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// The caller's clock, ms since 1970.
    pub now_ms: i64,
    /// Who asks, as recorded in the events.
    pub actor: Option<String>,
    /// What.
    pub action: Action,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A new life of the engine: attempts of the one before are unknown.
    Boot {
        /// Entropy; kept from the first boot on, ignored later.
        engine_id: [u8; 16],
    },
    /// Puts versions in force; the programs are in `Models` already.
    Deploy {
        /// (process id, content hash), all or nothing.
        processes: Vec<(String, String)>,
    },
    /// Starts a run.
    Start {
        /// Process id.
        process: String,
        /// A version or the one in force.
        version: Option<u32>,
        /// A start event, when there are several.
        start: Option<String>,
        /// Root variables; for a message start, the payload.
        variables: Variables,
    },
    /// A message (S16, ttl 0).
    PublishMessage {
        /// Its name.
        name: String,
        /// Correlation key, may be empty.
        key: String,
        /// Not accepted twice within 24 h.
        message_id: Option<String>,
        /// Payload.
        variables: Variables,
        /// Only this process; a run of the key that is active then answers `busy` (S33).
        only: Option<String>,
        /// The gate that publishes it.
        trigger: Option<Trigger>,
        /// Depth of what asks: how many runs led to each other up to it.
        depth: u32,
    },
    /// Fires what is due.
    Tick,
    /// Gives jobs to a worker. Jobs that are not due any more, or locked, are left out of the answer.
    ActivateJobs {
        /// Its name.
        worker: String,
        /// Which, with what the engine adds.
        jobs: Vec<JobStart>,
    },
    /// The attempt did it.
    JobCompleted {
        /// Job key.
        job: u64,
        /// Its attempt.
        attempt: u32,
        /// Its result.
        result: Variables,
    },
    /// The attempt did not do it.
    JobFailed {
        /// Job key.
        job: u64,
        /// Its attempt.
        attempt: u32,
        /// One sentence.
        message: String,
        /// Whether another attempt can help.
        retryable: bool,
        /// When, instead of header `retryBackoff`.
        backoff_ms: Option<i64>,
    },
    /// A job that waits and that nobody works.
    RefuseJob {
        /// Job key.
        job: u64,
        /// One sentence.
        message: String,
    },
    /// The attempt throws a BPMN error.
    JobError {
        /// Job key.
        job: u64,
        /// Its attempt.
        attempt: u32,
        /// Its code.
        code: String,
        /// One sentence.
        message: String,
        /// Thrown with it.
        variables: Variables,
    },
    /// Nobody knows.
    JobUnknown {
        /// Job key.
        job: u64,
        /// Its attempt.
        attempt: u32,
        /// One sentence.
        message: String,
    },
    /// The attempt goes on later.
    JobLater {
        /// Job key.
        job: u64,
        /// Its attempt.
        attempt: u32,
        /// ms since 1970.
        at_ms: i64,
    },
    /// Does again what an incident stopped.
    Resolve {
        /// Incident key.
        incident: u64,
    },
    /// A new attempt of a job that waits, or that an incident keeps.
    Retry {
        /// Job key.
        job: u64,
        /// Attempts it may still fail; absent = as at its start.
        retries: Option<u32>,
        /// Set first, as seen from the task.
        variables: Variables,
    },
    /// Ends a run.
    Cancel {
        /// Instance key.
        instance: u64,
        /// Why.
        reason: Option<String>,
    },
}

/// One job to activate.
#[derive(Clone, Debug, PartialEq)]
pub struct JobStart {
    /// Job key.
    pub job: u64,
    /// Headers with templates rendered, for a job that still has some; or why that failed.
    pub rendered: Result<BTreeMap<String, HeaderValue>, String>,
    /// The type's own answer to an unknown outcome; header `onUnknown` wins.
    pub on_unknown: OnUnknown,
}

/// Asked of the outside, after the commit.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Run this attempt.
    DispatchJob {
        /// Job key; its row says the rest.
        job: u64,
        /// Its attempt.
        attempt: u32,
    },
    /// Stop it: its result is not wanted any more.
    CancelJob {
        /// Job key.
        job: u64,
        /// Its attempt.
        attempt: u32,
    },
    /// Something is due then, ms since 1970.
    WakeAt(i64),
    /// The answer to the command.
    Reply(Answer),
}

/// What a command gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing to say.
    Done,
    /// Per process, in the order given.
    Deployed(Vec<Deployed>),
    /// The run.
    Started {
        /// Instance key.
        instance: u64,
    },
    /// Runs it started; none = nothing waited for it.
    Published {
        /// Instance keys.
        started: Vec<u64>,
    },
    /// Jobs that were given out.
    Activated {
        /// Job keys.
        jobs: Vec<u64>,
    },
    /// Timers fired, and whether more are due.
    Ticked {
        /// How many.
        fired: u32,
        /// Whether to tick again at once.
        more: bool,
    },
}

/// What a deploy did with one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployed {
    /// Process id.
    pub process: String,
    /// The version in force now.
    pub version: u32,
    /// Its content hash.
    pub hash: String,
    /// `new`, `same` or `layout-only`.
    pub outcome: DeployOutcome,
}

/// What a deploy did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeployOutcome {
    /// A new version, or an earlier one in force again.
    New,
    /// It was in force already.
    Same,
    /// A new version that executes the same.
    LayoutOnly,
}

impl DeployOutcome {
    /// The word that `deploy` prints.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Same => "same",
            Self::LayoutOnly => "layout-only",
        }
    }
}

/// Why a command is not valid now. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    /// No such thing.
    #[error("{what} `{id}` does not exist or has ended")]
    NotFound {
        /// Kind of thing.
        what: String,
        /// As given.
        id: String,
    },
    /// No plain start, or several, and none named.
    #[error("process `{process}` has no single plain start: name one of {starts:?}")]
    AmbiguousStart {
        /// Process id.
        process: String,
        /// Their ids.
        starts: Vec<String>,
    },
    /// No such start.
    #[error("process `{process}` has no start `{start}`")]
    NoSuchStart {
        /// Process id.
        process: String,
        /// As asked for.
        start: String,
    },
    /// S33.
    #[error("run {instance} of process `{process}` with key `{key}` is active: try again when it has ended")]
    Busy {
        /// Process id.
        process: String,
        /// Message key.
        key: String,
        /// The active run.
        instance: u64,
    },
    /// S16 a.
    #[error("message `{name}` with key `{key}` and id `{id}` was accepted before: each id counts once within 24 hours")]
    DuplicateMessage {
        /// Its name.
        name: String,
        /// Its key.
        key: String,
        /// Its id.
        id: String,
    },
    /// A result for another attempt or a closed job.
    #[error("job {job} does not wait for attempt {attempt} any more: its result is dropped")]
    LateCompletion {
        /// Job key.
        job: u64,
        /// The attempt named.
        attempt: u32,
    },
    /// A name that the engine owns.
    #[error("variable `{name}` belongs to the engine: choose another name")]
    InvalidVariables {
        /// The name.
        name: String,
    },
    /// What is asked does not fit what is there.
    #[error("{message}")]
    Conflict {
        /// What and what to do.
        message: String,
    },
}

impl Rejection {
    /// Its code, part of the API.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not-found",
            Self::AmbiguousStart { .. } => "ambiguous-start",
            Self::NoSuchStart { .. } => "no-such-start",
            Self::Busy { .. } => "busy",
            Self::DuplicateMessage { .. } => "duplicate-message",
            Self::LateCompletion { .. } => "late-completion",
            Self::InvalidVariables { .. } => "invalid-variables",
            Self::Conflict { .. } => "conflict",
        }
    }
}
