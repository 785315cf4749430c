//! The report as SARIF 2.1.0: one run, a rule a gate (gates.md 12).
//!
//! Duty: results where code scanning shows them, at the line of the gate. Guarantee: at most 25,000 results, worst first, and
//! a cut is told; a result keeps its alert id as fingerprint. Left to others: the lines (`report`).

use serde_json::{Value, json};

use super::{Line, Report};
use crate::cli::gates::worth::Worth;

/// What readers of SARIF take.
const MOST: usize = 25_000;

/// Renders it.
pub(super) fn render(report: &Report) -> String {
    render_at_most(report, MOST)
}

pub(super) fn render_at_most(report: &Report, most: usize) -> String {
    let mut gates: Vec<&Line> = report.lines.iter().collect();
    gates.sort_by_key(|line| &line.gate);
    gates.dedup_by_key(|line| &line.gate);
    let rules: Vec<Value> = gates.iter().map(|line| rule(line)).collect();
    let shown: Vec<&Line> = report.lines.iter().filter(|line| line.worth != Worth::Passed).collect();
    let at = |line: &Line| gates.binary_search_by_key(&&line.gate, |other| &other.gate).unwrap_or(0);
    let results: Vec<Value> = shown.iter().take(most).map(|line| result(line, at(line))).collect();
    let mut notes: Vec<Value> = Vec::new();
    let mut note = |level: &str, text: String| notes.push(json!({ "level": level, "message": { "text": text } }));
    if shown.len() > most {
        note(
            "warning",
            format!("{} results are not shown: {most} of {} are, worst first", shown.len() - most, shown.len()),
        );
    }
    for (gate, why) in &report.overflows {
        note("error", format!("gate {gate}: {why}"));
    }
    if report.lines.is_empty() {
        note("error", report.sum());
    }
    let whole = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": "weavergen", "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "invocations": [{
                // It ran; what it found is in the results.
                "executionSuccessful": true,
                "exitCode": report.exit as u8,
                "toolExecutionNotifications": notes,
            }],
            "results": results,
        }],
    });
    let mut text = serde_json::to_string_pretty(&whole).expect("a value of JSON is written as JSON");
    text.push('\n');
    text
}

fn rule(line: &Line) -> Value {
    let about = line.about.clone().unwrap_or_else(|| format!("{} must be {}", line.gate, line.pass));
    json!({
        "id": format!("gate/{}", line.gate),
        "name": line.gate,
        "shortDescription": { "text": about },
    })
}

fn result(line: &Line, rule: usize) -> Value {
    let level = match line.worth {
        Worth::Failed | Worth::Error => "error",
        Worth::Warned => "warning",
        Worth::Skipped | Worth::Passed => "note",
    };
    let evidence = line.evidence_shown();
    let gap = if evidence.is_empty() { "" } else { "; " };
    json!({
        "ruleId": format!("gate/{}", line.gate),
        "ruleIndex": rule,
        "level": level,
        "message": { "text": format!("{} {}: {}{gap}{evidence}", line.gate, line.key_shown(), line.sentence()) },
        "locations": [{
            "physicalLocation": {
                "artifactLocation": { "uri": uri(&line.file) },
                "region": { "startLine": line.line.max(1) },
            },
        }],
        "partialFingerprints": { "alertId": line.alert },
    })
}

/// A path as a reference of RFC 3986.
fn uri(path: &str) -> String {
    let mut out = String::new();
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        let is_plain = byte.is_ascii_alphanumeric() || b"-._~/:@!$&'()*+,;=".contains(&byte);
        if is_plain {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    if path.starts_with('/') { format!("file://{out}") } else { out }
}
