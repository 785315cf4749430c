//! The rows of the state.
//!
//! Duty: what is kept of each live thing. Guarantee: all of it can be made from events alone. Left to others: history,
//! which is made from the same events (`engine`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::value::{Value, Variables};

/// Counters of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// Entropy, made once with the file; part of every id that leaves the machine.
    pub engine_id: [u8; 16],
    /// Raised by every boot.
    pub boot_epoch: u64,
    /// The highest key given out.
    pub last_key: u64,
    /// Events so far; the next one has this number + 1.
    pub last_seq: u64,
    /// Time of the newest event, ms since 1970.
    pub last_now: i64,
}

/// A run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Process id.
    pub process: String,
    /// Its version.
    pub version: u32,
    /// Its content hash, pinned for life.
    pub hash: String,
    /// ms since 1970.
    pub started_ms: i64,
    /// The key of the message that started it, if that had one.
    pub message_key: Option<String>,
}

/// One activation of a flow node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Element {
    /// Instance key.
    pub instance: u64,
    /// Key of the enclosing scope: an instance or an element.
    pub scope: u64,
    /// Index of the node in its program.
    pub node: u32,
    /// The job it waits for.
    pub job: Option<u64>,
    /// Attempt groups used so far: the next job has this one.
    pub next_group: u32,
    /// Its incident, and where it stopped.
    pub held: Option<(u64, Held)>,
}

/// Where a token stopped: what [`Resolve`](super::Action::Resolve) does again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Held {
    /// Before its input mappings.
    Inputs,
    /// Before its boundary timers were armed.
    Timers,
    /// Before its job was made.
    Job,
    /// With a job that will not run again by itself.
    JobEnded,
    /// With a result that is not yet written.
    Result(Variables),
    /// Done, before its outgoing flow was chosen.
    Leaving,
    /// Not entered: the step had run too long.
    Runaway,
}

/// A header as stored with a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HeaderValue {
    /// Ready.
    Value(Value),
    /// Text with `{{ }}`, to be rendered with the job's variables before the first attempt.
    Template(String),
}

/// What a job is given: never changed under one effect key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Attempt group; another input has another group.
    pub group: u32,
    /// 26 characters, made of engine, instance, element and group.
    pub effect_key: String,
    /// All headers, also those that the engine reads.
    pub headers: BTreeMap<String, HeaderValue>,
    /// Variables visible to the task when the job was made.
    pub variables: Variables,
}

/// A job that is not done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Instance key.
    pub instance: u64,
    /// Element key.
    pub element: u64,
    /// Its type.
    pub r#type: String,
    /// What it is given.
    pub input: Input,
    /// Attempts in all, restored by a resolve.
    pub retries: u32,
    /// Attempts that may still fail.
    pub retries_left: u32,
    /// Attempts that were started.
    pub attempt: u32,
    /// First activation over all attempts, ms since 1970.
    pub first_activated_ms: Option<i64>,
    /// What to do when nobody knows its outcome; from its headers or its type, known once activated.
    pub on_unknown: OnUnknown,
    /// Where it stands.
    pub status: JobStatus,
}

impl Job {
    /// A header that is ready.
    pub fn header(&self, name: &str) -> Option<&Value> {
        match self.input.headers.get(name) {
            Some(HeaderValue::Value(value)) if *value != Value::Null => Some(value),
            _ => None,
        }
    }

    /// Header `concurrencyKey`.
    pub fn concurrency_key(&self) -> Option<String> {
        self.header("concurrencyKey").and_then(Value::as_key).filter(|key| !key.is_empty())
    }
}

/// Where a job stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobStatus {
    /// Waits for a worker from `due_ms` on.
    Queued {
        /// ms since 1970.
        due_ms: i64,
        /// Whether its next activation goes on with the attempt it had (outcome `later`).
        same_attempt: bool,
    },
    /// A worker has it.
    Active {
        /// Epoch of the boot that gave it out.
        boot_epoch: u64,
    },
    /// Its last attempt ended badly; an incident keeps the token.
    Ended,
}

/// What happens when the outcome of an attempt is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnUnknown {
    /// Another attempt under the same effect key.
    Retry,
    /// Incident `job-unknown-outcome`.
    #[default]
    Incident,
    /// A BPMN error of this code.
    Error(String),
}

impl OnUnknown {
    /// Reads header `onUnknown`: `retry`, `incident` or `error:CODE`.
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "retry" => Some(Self::Retry),
            "incident" => Some(Self::Incident),
            other => {
                other.strip_prefix("error:").filter(|code| !code.is_empty()).map(|code| Self::Error(code.to_owned()))
            }
        }
    }
}

/// An armed timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Instance key.
    pub instance: u64,
    /// Key of the activity it is armed on.
    pub element: u64,
    /// Index of the boundary event.
    pub node: u32,
    /// Source text.
    pub source: String,
}

/// What keeps a token where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Instance key.
    pub instance: u64,
    /// Element key.
    pub element: u64,
    /// Its kind.
    pub kind: IncidentKind,
    /// One sentence.
    pub message: String,
    /// The expression that failed.
    pub expression: Option<String>,
    /// The values it read.
    pub reads: Variables,
    /// First raised, ms since 1970.
    pub since_ms: i64,
    /// Times raised.
    pub count: u32,
}

/// Kinds of bpmn.md 12 that the elements built so far can raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum IncidentKind {
    /// Retries used up, or not retryable.
    JobFailed,
    /// Nobody knows whether the effect happened.
    JobUnknownOutcome,
    /// A job's BPMN error that nothing catches.
    UncaughtError,
    /// No condition was true and there is no default.
    NoFlowTaken,
    /// A condition gave something else.
    ConditionNotBoolean,
    /// An expression gave something that cannot be used there.
    ExpressionError,
    /// An expression took too long or grew too large.
    ExpressionBudget,
    /// A mapping or result cannot be written.
    MappingError,
    /// A timer's text is no date or duration.
    TimerInvalid,
    /// A step ran over 10,000 arrivals.
    RunawayLoop,
    /// A contradiction inside the machine.
    Internal,
}

impl IncidentKind {
    /// The name of bpmn.md 12.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::JobFailed => "job-failed",
            Self::JobUnknownOutcome => "job-unknown-outcome",
            Self::UncaughtError => "uncaught-error",
            Self::NoFlowTaken => "no-flow-taken",
            Self::ConditionNotBoolean => "condition-not-boolean",
            Self::ExpressionError => "expression-error",
            Self::ExpressionBudget => "expression-budget",
            Self::MappingError => "mapping-error",
            Self::TimerInvalid => "timer-invalid",
            Self::RunawayLoop => "runaway-loop",
            Self::Internal => "internal",
        }
    }
}

/// What is in force of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The version that starts.
    pub version: u32,
    /// The highest version number given out.
    pub last_version: u32,
    /// (message name, start event id) of the version in force.
    pub starts: Vec<(String, String)>,
}

/// One version of a process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of the file's bytes and its bindings'.
    pub hash: String,
    /// Of what is executed.
    pub exec_hash: String,
    /// `zeebe:versionTag`.
    pub tag: Option<String>,
    /// Against the version before.
    pub change: Change,
    /// ms since 1970.
    pub deployed_ms: i64,
}

/// What a new version changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The first version.
    New,
    /// What is executed.
    Executable,
    /// Names, documentation or the drawing only.
    Layout,
}

impl Change {
    /// Its name in `pipeline_definitions`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Executable => "executable",
            Self::Layout => "layout",
        }
    }
}
