//! Unit tests of gates as they are written (gates.md 15).
//!
//! Duty: the types that a file of tests becomes. Guarantee: a [`Suite`] was read without a problem, times are nanoseconds
//! since 1970 and ticks are whole. Left to others: reading (`read`), running (`cli`).

mod read;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::journal::Status;
use super::state::Level;
use super::verdict::Outcome;

pub use read::read;

/// A file of tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Suite {
    /// Gate files, globs and `builtin:NAME`, relative to the folder of the file already.
    pub gate_files: Vec<String>,
    /// `registry`: a folder, or `builtin:NAME`.
    pub registry: Option<String>,
    /// In the order of the file.
    pub tests: Vec<Test>,
}

/// One test.
#[derive(Clone, Debug, PartialEq)]
pub struct Test {
    /// What it claims.
    pub name: String,
    /// Line of the file, from 1.
    pub line: u32,
    /// The instant from which its times count.
    pub start_ns: i64,
    /// Generators of spans.
    pub spans: Vec<Spans>,
    /// A file of spans beside them.
    pub input: Option<PathBuf>,
    /// How arrivals are mixed.
    pub order: Option<Order>,
    /// Versions of pipelines, for gates that read `pipeline_definitions`.
    pub definitions: Vec<Deployed>,
    /// What happens, in the order of the file.
    pub events: Vec<Event>,
    /// What must hold at ticks.
    pub expect: Vec<Expect>,
    /// If given, all transitions.
    pub transitions: Option<Vec<Change>>,
    /// If given, all messages.
    pub notifications: Option<Vec<Message>>,
    /// If given, all starts of pipelines.
    pub pipelines: Option<Vec<Start>>,
}

/// Spans that are alike: `count` of them start at each of the instants `from`, `from + every`, … below `to`.
#[derive(Clone, Debug, PartialEq)]
pub struct Spans {
    /// Start times, ns since 1970.
    pub instants: Vec<i64>,
    /// Spans at each.
    pub count: u64,
    /// `service.name`
    pub service: String,
    /// Name of the operation.
    pub name: String,
    /// As OTLP numbers it.
    pub kind: u32,
    /// Span type (OTLP field 17).
    pub of_type: Option<String>,
    /// Length.
    pub duration_ns: i64,
    /// As OTLP numbers it.
    pub status: u32,
    /// Attributes, without those that `missing` names.
    pub attributes: BTreeMap<String, Value>,
    /// Attributes of the resource beside `service.name`.
    pub resource: BTreeMap<String, Value>,
    /// Name of the instrumentation scope.
    pub scope: Option<String>,
    /// Name of the trace: the k-th span of every rule with this name is in the k-th such trace; `None` = one of its own.
    pub trace: Option<String>,
    /// Name inside the trace.
    pub id: Option<String>,
    /// Name of the parent inside the trace.
    pub parent: Option<String>,
    /// From its end to its arrival.
    pub delay_ns: i64,
}

/// `order`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    /// Seed.
    pub shuffle: u64,
    /// Most that an arrival is put off.
    pub within_ns: i64,
    /// Requests in which all spans come, at least.
    pub batches: usize,
}

/// A version of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployed {
    /// BPMN process id.
    pub process: String,
    /// From 1.
    pub version: u64,
    /// `new`, `executable` or `layout`.
    pub change: String,
    /// From when on, ns since 1970.
    pub at_ns: i64,
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Line of the file.
    pub line: u32,
    /// When, ns since 1970.
    pub at_ns: i64,
    /// What.
    pub what: What,
}

/// What happens.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The process dies and is up again at an instant; spans that arrive meanwhile arrive then.
    Kill {
        /// ns since 1970.
        up_at_ns: i64,
    },
    /// Other gate files are in force.
    Reload(Vec<String>),
    /// The query of a gate fails at this tick.
    FailQuery(String),
    /// An operator closes an episode.
    Close {
        /// Name of the gate.
        gate: String,
        /// Its key.
        key: String,
        /// Why.
        reason: String,
    },
}

/// What must hold for a key at a tick; what is `None` is not compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Expect {
    /// Line of the file.
    pub line: u32,
    /// The tick, ns since 1970.
    pub at_ns: i64,
    /// Name of the gate.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// Row of table 4.1.
    pub outcome: Option<Outcome>,
    /// Phase.
    pub state: Option<String>,
    /// Level of the episode.
    pub level: Option<Level>,
    /// Value and how far from it is still right.
    pub value: Option<(f64, f64)>,
    /// Samples.
    pub n: Option<u64>,
    /// Number of the open or last episode.
    pub episode: Option<u64>,
}

/// A transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The tick, ns since 1970.
    pub at_ns: i64,
    /// Name of the gate.
    pub gate: String,
    /// Alert key.
    pub key: String,
    /// Phase after it.
    pub to: String,
    /// Level after it.
    pub level: Option<Level>,
    /// Number of the episode.
    pub episode: Option<u64>,
    /// Why.
    pub cause: Option<String>,
}

/// A message to a receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Name of the receiver.
    pub receiver: String,
    /// `EPISODE/NUMBER`, the end of its id.
    pub id_suffix: Option<String>,
    /// Firing or resolved.
    pub status: Option<Status>,
    /// Name of the gate, or what a health alert is about.
    pub gate: Option<String>,
}

/// A start of a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// Process id.
    pub pipeline: String,
    /// Number of the episode.
    pub episode: Option<u64>,
    /// Alert key.
    pub key: Option<String>,
}
