//! The report as one JSON object: `{version, judge, input, reason, results[], overflow, totals, exit}`.
//!
//! Duty: everything that was found, for programs. Guarantee: names stay; a new one comes beside them and `version` rises if
//! one changes its meaning. Left to others: the lines (`report`).

use serde_json::{Value, json};

use super::{Line, Report, Totals, rfc3339};

/// Version of the shape.
const VERSION: u32 = 1;

/// Renders it.
pub(super) fn render(report: &Report) -> String {
    let Totals { passed, warned, failed, skipped, not_judged } = report.totals;
    let input = &report.input;
    let whole = json!({
        "version": VERSION,
        "judge": report.judge.as_str(),
        "input": {
            "source": input.source,
            "spans": input.spans,
            "traces": input.traces,
            "services": input.services,
            "rejected": input.rejected,
            "left_out": input.left_out,
            "first": input.first_ns.map(rfc3339),
            "last": input.last_ns.map(rfc3339),
        },
        "results": report.lines.iter().map(result).collect::<Vec<_>>(),
        "overflow": report.overflows,
        "reason": report.reason,
        "totals": {
            "keys": report.lines.len(),
            "passed": passed,
            "warned": warned,
            "failed": failed,
            "skipped": skipped,
            "not_judged": not_judged,
        },
        "exit": report.exit as u8,
    });
    let mut text = serde_json::to_string_pretty(&whole).expect("a value of JSON is written as JSON");
    text.push('\n');
    text
}

fn result(line: &Line) -> Value {
    json!({
        "gate": line.gate,
        "group": line.group,
        "file": line.file,
        "line": line.line,
        "key": line.key,
        "labels": line.labels,
        "alert_id": line.alert,
        "verdict": line.worth.as_str(),
        "outcome": line.outcome.as_str(),
        "reason": line.why,
        "value": line.value,
        "n": line.n,
        "pass": line.pass,
        "warn": line.warn,
        "min_samples": line.min_samples,
        "window": { "start": rfc3339(line.window.0), "end": rfc3339(line.window.1) },
        "evidence": line.evidence,
        "trace_ids": line.traces,
        "episodes": line.episodes,
    })
}
