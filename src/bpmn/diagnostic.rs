//! What is wrong with a file, where, and what to do.
//!
//! Duty: the one shape of a finding. Guarantee: rule ids are public API; findings sort by file, line, column, rule.
//! Left to others: which rules there are (`lint`), how findings are shown.

use serde::Serialize;

/// How bad it is. Errors refuse a deploy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Refuses a deploy.
    Error,
    /// Runs, but probably not as meant.
    Warning,
    /// Worth knowing.
    Info,
}

/// A place in a file: bytes from its start, and line and column from 1 in Unicode scalar values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct At {
    /// First byte.
    pub offset: usize,
    /// Bytes.
    pub length: usize,
    /// From 1; 0 = no place.
    pub line: u32,
    /// From 1.
    pub column: u32,
}

/// Another place that belongs to a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Related {
    /// Where.
    #[serde(flatten)]
    pub at: At,
    /// What is there.
    pub message: String,
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Id of bpmn.md 16, e.g. `dangling-ref` or `unsupported:userTask`.
    pub rule: String,
    /// As the catalogue or the configuration says.
    pub severity: Severity,
    /// Name of the file; filled by the caller who knows it.
    pub file: String,
    /// Where.
    #[serde(flatten)]
    pub at: At,
    /// Id of the element, if there is one.
    pub element: Option<String>,
    /// What is wrong.
    pub message: String,
    /// The next move, one sentence naming the element.
    pub fix: String,
    /// Other places, e.g. the first of two equal ids.
    pub related: Vec<Related>,
}
