//! What is wrong with a file, where, and what to do.
//!
//! Duty: the one shape of a finding. Guarantee: rule ids are public API; findings sort by file, line, column, rule.
//! Left to others: which rules there are (`lint`), how findings are shown.

use std::fmt;

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

impl Diagnostic {
    /// A finding of `rule` at `at` in a file that the caller names later.
    pub fn new(
        rule: impl Into<String>,
        severity: Severity,
        at: At,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self {
            rule: rule.into(),
            severity,
            file: String::new(),
            at,
            element: None,
            message: message.into(),
            fix: fix.into(),
            related: Vec::new(),
        }
    }

    /// The same, on the element called `id`.
    pub fn on(mut self, id: impl Into<String>) -> Self {
        self.element = Some(id.into());
        self
    }

    /// The same, with one more place.
    pub fn with(mut self, at: At, message: impl Into<String>) -> Self {
        self.related.push(Related { at, message: message.into() });
        self
    }
}

/// Puts findings in the order in which they are shown: file, line, column, rule.
pub fn sort(findings: &mut [Diagnostic]) {
    findings.sort_by(|a, b| {
        let key = |d: &Diagnostic| (d.at.line, d.at.column);
        (&a.file, key(a), &a.rule, &a.message).cmp(&(&b.file, key(b), &b.rule, &b.message))
    });
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Info => "info",
        })
    }
}

/// One line: `file:line:col: severity rule [element]: message; fix`. Line breaks of a message become blanks.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = format!("{}:{}:{}: {} {}", self.file, self.at.line, self.at.column, self.severity, self.rule);
        if let Some(element) = &self.element {
            line.push_str(&format!(" [{element}]"));
        }
        line.push_str(&format!(": {}", self.message));
        if !self.fix.is_empty() {
            line.push_str(&format!("; {}", self.fix));
        }
        f.write_str(&line.replace(['\n', '\r'], " "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(line: u32, column: u32, rule: &str) -> Diagnostic {
        let at = At { offset: 0, length: 0, line, column };
        Diagnostic::new(rule, Severity::Error, at, "flow `f` leads to `x`,\nwhich is not there", "create `x`")
    }

    #[test]
    fn a_finding_is_one_line_that_names_place_rule_and_next_move() {
        let mut it = finding(3, 7, "dangling-ref").on("f");
        it.file = "a.bpmn".into();
        let line = "a.bpmn:3:7: error dangling-ref [f]: flow `f` leads to `x`, which is not there; create `x`";
        assert_eq!(it.to_string(), line);
    }

    #[test]
    fn a_finding_without_an_element_names_none() {
        let line = ":1:1: error xml-doctype: flow `f` leads to `x`, which is not there; create `x`";
        assert_eq!(finding(1, 1, "xml-doctype").to_string(), line);
    }

    #[test]
    fn findings_sort_by_line_then_column_then_rule() {
        let mut all = [finding(2, 1, "b"), finding(2, 1, "a"), finding(1, 9, "z"), finding(10, 1, "a")];
        sort(&mut all);
        let order: Vec<_> = all.iter().map(|d| (d.at.line, d.rule.as_str())).collect();
        assert_eq!(order, [(1, "z"), (2, "a"), (2, "b"), (10, "a")]);
    }
}
