//! What a service task asks of the outside (bpmn.md 10).
//!
//! Duty: the shape of a job and of its outcome; one file a job type below. Guarantee: an effect key is never used with
//! different input. Left to others: when a job runs and what its outcome does (`engine`, `bpmn::core`).

pub mod codegen;
pub mod command;
pub mod config;
mod process;
mod roots;
pub mod schema;
pub mod span_gate;
mod spawn;
pub mod sql;
pub mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

pub use config::Config;
pub use template::resolve_template;

/// One attempt, with everything resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Job type, e.g. `command`.
    pub r#type: String,
    /// Key of the job.
    pub key: u64,
    /// Key of the root instance: `run.key`.
    pub run: u64,
    /// Process id.
    pub process: String,
    /// Id of the service task.
    pub element: String,
    /// Key of its activation.
    pub element_key: u64,
    /// From 1.
    pub attempt: u32,
    /// 26 characters; equal for every attempt with the same input.
    pub effect_key: String,
    /// W3C `traceparent` of the attempt's span.
    pub traceparent: String,
    /// Depth of the run, from 1: baggage `weavergen.depth` of what the job starts.
    pub depth: u32,
    /// Headers with FEEL and templates already evaluated, without those that the engine itself reads.
    pub headers: BTreeMap<String, Value>,
    /// Variables visible to the task.
    pub variables: Map<String, Value>,
    /// ms since 1970: when the run's newest codegen job completed, else the instance's start (`span-gate`'s `since`).
    pub since_ms: i64,
    /// ms since 1970: the first activation of the job, over all tries.
    pub first_activated_ms: i64,
    /// Header `timeout`: of this attempt; for `span-gate` over all tries.
    pub timeout: Duration,
}

/// What became of an attempt.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The effect happened; these are its result.
    Completed(Map<String, Value>),
    /// It did not happen, or not well.
    Failed {
        /// One sentence.
        message: String,
        /// Whether another attempt can help.
        retryable: bool,
        /// When, if the other side said so.
        backoff: Option<Duration>,
    },
    /// A BPMN error.
    Error {
        /// Its code.
        code: String,
        /// One sentence.
        message: String,
        /// Thrown with it.
        variables: Map<String, Value>,
    },
    /// Ask again at this time, ms since 1970: no attempt is used.
    Later(i64),
    /// Nobody knows whether the effect happened.
    Unknown {
        /// One sentence.
        message: String,
    },
}
