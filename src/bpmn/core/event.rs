//! Facts: the only way state changes.
//!
//! Duty: everything that happened, with enough in each fact to make state, history and spans from facts alone.
//! Guarantee: numbers are dense and increasing. Left to others: what follows from a fact (`machine`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::row::{Change, HeaderValue, Held, IncidentKind, Input, OnUnknown};
use super::value::{Value, Variables};

/// One fact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// From 1, without gaps.
    pub seq: u64,
    /// ms since 1970; never less than that of the event before.
    pub at_ms: i64,
    /// Who asked, when a person or a gate did.
    pub actor: Option<String>,
    /// What happened.
    pub body: Body,
}

/// What a gate knows about the run that it starts (S33).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trigger {
    /// Its name.
    pub gate: String,
    /// Its alert key.
    pub key: String,
    /// The episode.
    pub episode: u64,
    /// (trace id, span id) of the gate evaluation and the exemplar spans: links of the run's first span.
    pub links: Vec<(String, String)>,
}

/// What closed an activation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// An interrupting boundary event of this id; `timer` tells a timeout.
    Boundary {
        /// Its element id.
        id: String,
        /// Whether a timer set it off.
        timer: bool,
    },
    /// An error end that nothing caught.
    Error,
    /// An operator.
    Cancel,
}

/// Why a job is queued again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Requeue {
    /// Its attempt failed.
    Failed,
    /// Nobody knows what became of its attempt.
    Unknown,
    /// It asked to be asked again; no attempt is used.
    Later,
    /// An operator's resolve or retry.
    Operator,
}

/// A started process version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeployedVersion {
    /// Process id.
    pub process: String,
    /// Its number.
    pub version: u32,
    /// Of the file's bytes and its bindings'.
    pub hash: String,
    /// Of what is executed.
    pub exec_hash: String,
    /// `zeebe:versionTag`.
    pub tag: Option<String>,
    /// Against the version before.
    pub change: Change,
    /// (message name, start event id).
    pub starts: Vec<(String, String)>,
    /// An earlier version that is in force again; its number and time stay.
    pub again: bool,
}

/// What happened. `instance`, `element`, `job`, `timer`, `incident` are keys; `node` is an index into the program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields are those of the rows, which say what they mean")]
pub enum Body {
    Booted {
        boot_epoch: u64,
        engine_id: [u8; 16],
    },
    Deployed(DeployedVersion),
    InstanceCreated {
        instance: u64,
        process: String,
        version: u32,
        hash: String,
        /// Id of the start event; none when the process has no start event.
        start: Option<String>,
        message_key: Option<String>,
        trigger: Option<Trigger>,
        /// How many runs led to each other up to what started this one; 0 = none did. It stands last: an event that
        /// was stored without it reads as 0.
        depth: u32,
    },
    InstanceCompleted {
        instance: u64,
    },
    InstanceFailed {
        instance: u64,
        code: Option<String>,
        message: String,
    },
    InstanceCancelled {
        instance: u64,
        reason: Option<String>,
    },
    ElementActivated {
        instance: u64,
        element: u64,
        scope: u64,
        node: u32,
        /// Element id and local name, so that history needs no model.
        id: String,
        name: Option<String>,
        kind: String,
        /// The flow that brought the token.
        flow: Option<String>,
    },
    ElementCompleted {
        instance: u64,
        element: u64,
        scope: u64,
    },
    ElementTerminated {
        instance: u64,
        element: u64,
        scope: u64,
        cause: Cause,
    },
    FlowTaken {
        instance: u64,
        element: u64,
        flow: String,
    },
    VariableSet {
        instance: u64,
        scope: u64,
        name: String,
        value: Value,
    },
    JobCreated {
        job: u64,
        instance: u64,
        element: u64,
        r#type: String,
        retries: u32,
        due_ms: i64,
        input: Input,
    },
    JobActivated {
        job: u64,
        instance: u64,
        element: u64,
        attempt: u32,
        boot_epoch: u64,
        worker: String,
        /// Headers with their templates rendered, when this is the first attempt with its input.
        headers: Option<BTreeMap<String, HeaderValue>>,
        on_unknown: OnUnknown,
    },
    JobCompleted {
        job: u64,
        instance: u64,
        element: u64,
        attempt: u32,
        r#type: String,
        result: Variables,
    },
    JobFailed {
        job: u64,
        instance: u64,
        element: u64,
        attempt: u32,
        message: String,
        retryable: bool,
    },
    JobUnknown {
        job: u64,
        instance: u64,
        element: u64,
        attempt: u32,
        message: String,
    },
    JobRetryScheduled {
        job: u64,
        instance: u64,
        element: u64,
        due_ms: i64,
        retries_left: u32,
        why: Requeue,
        /// Changed by an operator's retry: a new attempt group.
        input: Option<Input>,
    },
    JobCancelled {
        job: u64,
        instance: u64,
        element: u64,
        attempt: u32,
        was_active: bool,
    },
    ErrorThrown {
        instance: u64,
        element: u64,
        /// (key, attempt) of the job that threw it.
        job: Option<(u64, u32)>,
        code: Option<String>,
        message: String,
    },
    ErrorCaught {
        instance: u64,
        element: u64,
        node: u32,
        code: Option<String>,
    },
    TimerScheduled {
        timer: u64,
        instance: u64,
        element: u64,
        node: u32,
        due_ms: i64,
        source: String,
    },
    TimerFired {
        timer: u64,
        instance: u64,
        element: u64,
        due_ms: i64,
        lateness_ms: i64,
    },
    TimerCancelled {
        timer: u64,
        instance: u64,
        element: u64,
        due_ms: i64,
    },
    MessagePublished {
        name: String,
        key: String,
        id: Option<String>,
        forget_ms: i64,
    },
    MessageCorrelated {
        name: String,
        key: String,
        process: String,
        instance: u64,
    },
    /// Nothing waited for it and it is not kept.
    MessageDropped {
        name: String,
        key: String,
    },
    /// Its id is forgotten.
    MessageExpired {
        name: String,
        key: String,
        id: String,
        forget_ms: i64,
    },
    IncidentRaised {
        incident: u64,
        instance: u64,
        element: u64,
        kind: IncidentKind,
        message: String,
        expression: Option<String>,
        reads: Variables,
        since_ms: i64,
        count: u32,
        held: Held,
    },
    IncidentCleared {
        incident: u64,
        instance: u64,
        element: u64,
    },
}

impl Body {
    /// The instance it is about.
    pub fn instance(&self) -> Option<u64> {
        match self {
            Self::Booted { .. }
            | Self::Deployed(_)
            | Self::MessagePublished { .. }
            | Self::MessageDropped { .. }
            | Self::MessageExpired { .. } => None,
            Self::InstanceCreated { instance, .. }
            | Self::InstanceCompleted { instance }
            | Self::InstanceFailed { instance, .. }
            | Self::InstanceCancelled { instance, .. }
            | Self::ElementActivated { instance, .. }
            | Self::ElementCompleted { instance, .. }
            | Self::ElementTerminated { instance, .. }
            | Self::FlowTaken { instance, .. }
            | Self::VariableSet { instance, .. }
            | Self::JobCreated { instance, .. }
            | Self::JobActivated { instance, .. }
            | Self::JobCompleted { instance, .. }
            | Self::JobFailed { instance, .. }
            | Self::JobUnknown { instance, .. }
            | Self::JobRetryScheduled { instance, .. }
            | Self::JobCancelled { instance, .. }
            | Self::ErrorThrown { instance, .. }
            | Self::ErrorCaught { instance, .. }
            | Self::TimerScheduled { instance, .. }
            | Self::TimerFired { instance, .. }
            | Self::TimerCancelled { instance, .. }
            | Self::MessageCorrelated { instance, .. }
            | Self::IncidentRaised { instance, .. }
            | Self::IncidentCleared { instance, .. } => Some(*instance),
        }
    }
}
