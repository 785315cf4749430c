//! The rule catalogue (bpmn.md 16).
//!
//! Duty: find what would go wrong before it runs. Guarantee: a model without an error here can be run by `core`. Left to
//! others: which job types exist ([`Registry`] is data from the caller).

mod event;
mod expression;
mod graph;
mod job;
mod mapping;
mod spelling;
mod split;
#[cfg(test)]
mod tests;
mod timer;
mod unsupported;
mod variables;

use std::cell::OnceCell;
use std::collections::BTreeMap;

use crate::diagnostic::{self, At, Diagnostic, Severity};
use crate::model::{Definitions, Locator, Process, Text};

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

/// All findings, sorted by line, column, rule. What reading the file noticed is among them.
///
/// A drawing (`isExecutable="false"`) is checked by the rules marked D only, which `model::parse` has done.
pub fn check(definitions: &Definitions, registry: &Registry) -> Vec<Diagnostic> {
    let mut findings = definitions.findings.clone();
    let locator = OnceCell::new();
    for process in &definitions.processes {
        let mut check = Check { definitions, registry, process, findings: Vec::new(), locator: &locator };
        check.process();
        findings.extend(check.findings);
    }
    diagnostic::sort(&mut findings);
    findings
}

/// One process on its way through the rules.
struct Check<'a> {
    definitions: &'a Definitions,
    registry: &'a Registry,
    process: &'a Process,
    findings: Vec<Diagnostic>,
    locator: &'a OnceCell<Locator<'a>>,
}

impl<'a> Check<'a> {
    fn process(&mut self) {
        let (id, at) = (&self.process.id, self.process.at);
        match self.process.executable {
            Some(true) => {}
            None => self.info(
                "executable-unset",
                at,
                id,
                format!("the process `{id}` does not say whether it runs, so it does"),
                format!("set `isExecutable` of `{id}`"),
            ),
            Some(false) => {
                let message = format!("the process `{id}` is a drawing: it is shown and never runs");
                self.info(
                    "not-executable",
                    at,
                    id,
                    message,
                    format!("set `isExecutable=\"true\"` on `{id}` if it is to run"),
                );
                return;
            }
        }
        unsupported::check(self);
        graph::check(self);
        split::check(self);
        event::check(self);
        timer::check(self);
        job::check(self);
        mapping::check(self);
        let written = variables::Written::of(self);
        expression::check(self, &written);
    }

    fn error(&mut self, rule: &str, at: At, element: &str, message: String, fix: String) {
        self.findings.push(Diagnostic::new(rule, Severity::Error, at, message, fix).on(element));
    }

    fn warning(&mut self, rule: &str, at: At, element: &str, message: String, fix: String) {
        self.findings.push(Diagnostic::new(rule, Severity::Warning, at, message, fix).on(element));
    }

    fn info(&mut self, rule: &str, at: At, element: &str, message: String, fix: String) {
        self.findings.push(Diagnostic::new(rule, Severity::Info, at, message, fix).on(element));
    }

    /// The place of the `column`th character of `text`.
    fn place(&self, text: &Text, column: u32) -> At {
        let definitions = self.definitions;
        self.locator.get_or_init(|| Locator::new(definitions)).place(text, column)
    }
}
