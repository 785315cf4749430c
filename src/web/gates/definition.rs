//! A gate's definition as JSON.
//!
//! Duty: what a gate file says, with defaults filled in, under the file's own words (gates.md 1.2). Guarantee: every key that
//! decides something is there. Left to others: what it means (`gate`).

use serde_json::{Value, json};

use crate::clock::cron::Cron;
use crate::gate::assertion::Assertion;
use crate::gate::baseline::{Aggregate, Baseline};
use crate::gate::definition::{EventTime, OnFail, Policy, StaleAfter};
use crate::gate::scalar::{duration_text, word_of};
use crate::gate::slo::{Pair, Slo};
use crate::gate::{Gate, Group};

pub(super) fn definition(group: &Group, gate: &Gate) -> Value {
    let mut shown = json!({
        "line": gate.line,
        "interval": duration_text(group.interval),
        "query_offset": duration_text(group.query_offset),
        "group_labels": group.labels,
        "sql": gate.source.sql,
        "slo": gate.slo.as_ref().map(slo),
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
        "baseline": gate.baseline.as_ref().map(baseline),
        "for": duration_text(gate.hold_for),
        "fire_after": gate.fire_after.map(|after| format!("{} of {}", after.n, after.m)),
        "keep_firing_for": duration_text(gate.keep_firing_for),
        "step_down_after": gate.step_down_after.map(duration_text),
        "no_data": policy(gate.no_data, "ok"),
        "stale_after": stale_after(gate.stale_after),
        "on_error": if gate.error_limit.is_some() { "alert" } else { "hold" },
        "error_limit": gate.error_limit,
        "timeout": duration_text(gate.timeout),
        "severity": {"warn": gate.severity.warn, "fail": gate.severity.fail},
        "labels": gate.labels,
        "annotations": gate.annotations,
        "exemplars": gate.exemplars,
        "limit": gate.limit,
        "include_pipeline_spans": gate.include_pipeline_spans,
        "include_own_spans": gate.include_own_spans,
        "on_fail": gate.on_fail.as_ref().map(on_fail),
        "on_resolve": gate.on_resolve.as_ref().map(on_fail),
        "notify": gate.notify,
    });
    // One more in the macro would be deeper than it goes.
    shown["cron"] = gate.cron.as_ref().map(Cron::text).into();
    shown["timezone"] = gate.cron.as_ref().map(Cron::zone).into();
    for (name, text) in &gate.about {
        shown[name] = text.as_str().into();
    }
    shown
}

fn slo(slo: &Slo) -> Value {
    let pair = |pair: &Pair| {
        json!({
            "level": pair.level.as_str(),
            "budget_percent": pair.budget_percent.number(),
            "short": duration_text(pair.short),
            "long": duration_text(pair.long),
        })
    };
    json!({
        "objective": slo.objective.number(),
        "period": duration_text(slo.period),
        "total": slo.total,
        "good": slo.good,
        // Those of a table one by one: they are what decides.
        "windows": slo.pairs.iter().map(pair).collect::<Vec<_>>(),
    })
}

fn baseline(baseline: &Baseline) -> Value {
    // A share that was read as a percentage is written as the same one.
    let percent = |share: f64| format!("{}%", (share * 1e11).round() / 1e9);
    json!({
        "window": duration_text(baseline.window),
        "offset": duration_text(baseline.offset),
        "agg": match baseline.aggregate {
            Aggregate::Average => "avg",
            Aggregate::Median => "median",
        },
        "max_drop": baseline.max_drop.map(percent),
        "max_rise": baseline.max_rise.map(percent),
        "only": if baseline.only_pass { "pass" } else { "any" },
        "min_samples": baseline.min_samples,
    })
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::{by_service, group};
    use super::*;
    use crate::gate::definition::FireAfter;
    use crate::gate::slo::Decimal;
    use crate::gate::state::Level;

    #[test]
    fn every_key_that_decides_is_there_and_null_where_it_is_not_given() {
        let seconds = Duration::from_secs;
        let on_resolve = OnFail {
            pipeline: "thank".into(),
            input: [("of".to_owned(), "{{ value }}".to_owned())].into(),
            on_warn: true,
            cooldown: seconds(60),
            max_runs: 2,
            max_runs_in: seconds(3_600),
        };
        let baseline = Baseline {
            window: seconds(7 * 86_400),
            offset: seconds(3_600),
            aggregate: Aggregate::Median,
            max_drop: Some(7.0 / 100.0),
            max_rise: None,
            only_pass: false,
            min_samples: 5,
            given: None,
        };
        let decimal = |number| Decimal::of(number).unwrap();
        let pair = Pair { level: Level::Fail, budget_percent: decimal(2.5), short: seconds(300), long: seconds(3_600) };
        let slo = Slo {
            objective: decimal(99.9),
            period: seconds(30 * 86_400),
            total: "kind = 'server'".into(),
            good: "status_code <> 'error'".into(),
            pairs: vec![pair],
        };
        let gate = Gate {
            fire_after: Some(FireAfter { n: 3, m: 5 }),
            step_down_after: Some(seconds(600)),
            baseline: Some(baseline),
            exemplars: Some("status_code = 'error'".into()),
            on_resolve: Some(on_resolve),
            slo: Some(slo),
            ..by_service("b")
        };
        let shown = definition(&group("g", Vec::new()), &gate);
        assert_eq!((&shown["fire_after"], &shown["step_down_after"]), (&json!("3 of 5"), &json!("10m")));
        let expected = json!({
            "window": "7d", "offset": "1h", "agg": "median", "max_drop": "7%", "max_rise": null, "only": "any",
            "min_samples": 5,
        });
        assert_eq!(shown["baseline"], expected);
        assert_eq!(shown["exemplars"], "status_code = 'error'");
        let expected = json!({
            "pipeline": "thank", "input": {"of": "{{ value }}"}, "only": "warn", "cooldown": "1m", "max_runs": "2/1h",
        });
        assert_eq!(shown["on_resolve"], expected);
        let expected = json!({
            "objective": 99.9, "period": "30d", "total": "kind = 'server'", "good": "status_code <> 'error'",
            "windows": [{"level": "fail", "budget_percent": 2.5, "short": "5m", "long": "1h"}],
        });
        assert_eq!(shown["slo"], expected);
        let plain = definition(&group("g", Vec::new()), &by_service("b"));
        for key in ["fire_after", "step_down_after", "baseline", "exemplars", "on_resolve", "slo"] {
            assert_eq!(plain.get(key), Some(&Value::Null), "{key}");
        }
    }
}
