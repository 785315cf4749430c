//! A gate's definition as JSON.
//!
//! Duty: what a gate file says, with defaults filled in, under the file's own words (gates.md 1.2). Guarantee: every key that
//! decides something is there. Left to others: what it means (`gate`).

use serde_json::{Value, json};

use crate::gate::assertion::Assertion;
use crate::gate::definition::{EventTime, OnFail, Policy, StaleAfter};
use crate::gate::scalar::{duration_text, word_of};
use crate::gate::{Gate, Group};

pub(super) fn definition(group: &Group, gate: &Gate) -> Value {
    let mut shown = json!({
        "line": gate.line,
        "interval": duration_text(group.interval),
        "query_offset": duration_text(group.query_offset),
        "group_labels": group.labels,
        "sql": gate.source.sql,
        "sql_file": gate.source.path,
        "assert": gate.assertion.as_ref().map(Assertion::shown),
        "by": gate.by,
        "value_column": gate.value_column,
        "n_column": gate.n_column,
        "unit": word_of(gate.unit),
        "window": duration_text(gate.window),
        "time": if gate.time == EventTime::End { "end" } else { "start" },
        "pass": gate.pass.text,
        "warn": gate.warn.as_ref().map(|warn| &warn.text),
        "clear": gate.clear.text,
        "min_samples": gate.min_samples,
        "insufficient": policy(gate.insufficient, "pass"),
        "conclusive_when": gate.conclusive_when.as_ref().map(|(column, test)| format!("{column} {}", test.text)),
        "inconclusive": policy(gate.inconclusive, "pass"),
        "for": duration_text(gate.hold_for),
        "keep_firing_for": duration_text(gate.keep_firing_for),
        "no_data": policy(gate.no_data, "ok"),
        "stale_after": stale_after(gate.stale_after),
        "on_error": if gate.error_limit.is_some() { "alert" } else { "hold" },
        "error_limit": gate.error_limit,
        "timeout": duration_text(gate.timeout),
        "severity": {"warn": gate.severity.warn, "fail": gate.severity.fail},
        "labels": gate.labels,
        "annotations": gate.annotations,
        "limit": gate.limit,
        "include_pipeline_spans": gate.include_pipeline_spans,
        "include_own_spans": gate.include_own_spans,
        "on_fail": gate.on_fail.as_ref().map(on_fail),
        "notify": gate.notify,
    });
    for (name, text) in &gate.about {
        shown[name] = text.as_str().into();
    }
    shown
}

fn on_fail(on_fail: &OnFail) -> Value {
    json!({
        "pipeline": on_fail.pipeline,
        "input": on_fail.input,
        "only": if on_fail.on_warn { "warn" } else { "fail" },
        "cooldown": duration_text(on_fail.cooldown),
        "max_runs": format!("{}/{}", on_fail.max_runs, duration_text(on_fail.max_runs_in)),
    })
}

/// `passes` is the word of this key for what counts as a pass.
const fn policy(policy: Policy, passes: &'static str) -> &'static str {
    match policy {
        Policy::Hold => "hold",
        Policy::Pass => passes,
        Policy::Alert => "alert",
        Policy::Fail => "fail",
    }
}

fn stale_after(after: StaleAfter) -> String {
    match after {
        StaleAfter::Never => "never".to_owned(),
        StaleAfter::Evaluations(n) => format!("{n} evaluations"),
        StaleAfter::Time(after) => duration_text(after),
    }
}
