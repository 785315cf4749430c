//! Reports as CI servers and people read them: `tests/data/gates/reports`.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::gate::definition::Test;
use crate::gate::definition::tests::{comparison, gate};

/// Compares with the file of that name; what is there instead lies beside other temporary files, which is told.
fn differs(name: &str, text: &str) -> Option<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gates/reports").join(name);
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    (want != text).then(|| {
        let other = std::env::temp_dir().join(format!("weavergen-{name}"));
        std::fs::write(&other, text).unwrap();
        format!("{} differs from {}:\n{text}", path.display(), other.display())
    })
}

fn row(gate: &str, key: &str, worth: Worth, outcome: Outcome, value: Option<f64>) -> Line {
    let labels: BTreeMap<String, String> =
        key.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().collect();
    Line {
        gate: gate.to_owned(),
        about: (gate == "errors").then(|| "Share of requests without an error".to_owned()),
        group: if gate == "latency" { "slow & <old>".to_owned() } else { "checkout".to_owned() },
        file: "gates/check out.yaml".to_owned(),
        line: 7,
        key: key.to_owned(),
        alert: AlertId::new(TENANT, gate, &labels).to_string(),
        labels,
        worth,
        outcome,
        why: None,
        meaning: None,
        value,
        n: Some(240),
        unit: if gate == "latency" { Unit::Milliseconds } else { Unit::None },
        pass: "> 95%".to_owned(),
        warn: Some("> 90%".to_owned()),
        min_samples: 200,
        window: (1_767_225_600_000_000_000, 1_767_225_900_000_000_000),
        evidence: Map::new(),
        traces: Vec::new(),
        episodes: 0,
    }
}

fn sample(fail_on: FailOn) -> Report {
    let nasty = "service=a\u{1}b,c:d%<&\"\n::error::x";
    let mut failed = row("errors", nasty, Worth::Failed, Outcome::Fail, Some(0.833_333));
    failed.evidence = json!({"match_rate": 1.0, "worst": "GET /a]]>", "p95": 12_345.678_9, "rest": null})
        .as_object()
        .unwrap()
        .clone();
    failed.traces = vec!["0123456789abcdef0123456789abcdef".to_owned()];
    let mut broken = row("latency", "", Worth::Error, Outcome::Error, None);
    broken.n = None;
    broken.evidence = json!({"error": "the query failed: no memory"}).as_object().unwrap().clone();
    let mut few = row("errors", "service=few", Worth::Skipped, Outcome::Insufficient, Some(1.0));
    (few.n, few.why) = (Some(3), Some("insufficient is allowed by `--allow-no-data`".to_owned()));
    let lines = vec![
        failed,
        broken,
        row("errors", "service=warm", Worth::Warned, Outcome::Warn, Some(0.92)),
        few,
        row("errors", "service=good", Worth::Passed, Outcome::Pass, Some(1.0)),
    ];
    let input = Input {
        source: "spans.jsonl".to_owned(),
        spans: 720,
        traces: 80,
        services: 4,
        rejected: 2,
        left_out: 1,
        first_ns: Some(1_767_225_600_000_000_000),
        last_ns: Some(1_767_225_899_999_999_999),
    };
    let totals = Totals { passed: 1, warned: 1, failed: 1, skipped: 1, not_judged: 1 };
    let overflows =
        BTreeMap::from([("latency".to_owned(), "3 keys above the limit of 1000 were not judged".to_owned())]);
    Report { judge: Judge::Once, fail_on, input, reason: None, lines, overflows, totals, exit: Exit::Bad }
}

#[test]
fn every_format_shows_every_line_as_its_readers_expect_it() {
    let report = sample(FailOn::Fail);
    let files = [
        ("text.txt", Format::Text),
        ("report.json", Format::Json),
        ("junit.xml", Format::Junit),
        ("sarif.json", Format::Sarif),
        ("github.txt", Format::Github),
    ];
    let told: Vec<String> = files.iter().filter_map(|(name, format)| differs(name, &report.render(*format))).collect();
    assert!(told.is_empty(), "{}", told.join("\n"));
}

#[test]
fn a_warning_is_a_failure_of_junit_only_if_warnings_count() {
    let of = |fail_on| sample(fail_on).render(Format::Junit);
    assert!(!of(FailOn::Fail).contains("type=\"warn\""));
    assert!(of(FailOn::Fail).contains("<system-out>warning: 0.92"));
    assert!(of(FailOn::Warn).contains("type=\"warn\">"));
    assert!(of(FailOn::Warn).contains("failures=\"2\""));
}

#[test]
fn without_a_span_every_format_says_that_nothing_was_judged() {
    let allowed = Allowed { no_data: &[glob::Pattern::new("*").unwrap()], fail_on: FailOn::Fail };
    let report = Report::new(Judge::Once, Input::default(), Vec::new(), &allowed);
    assert_eq!(report.exit, Exit::NotJudged);
    let text = report.render(Format::Text);
    assert_eq!(text, "NOT JUDGED: no span was received, so nothing was judged (exit 3)\n");
    assert!(report.render(Format::Junit).contains("errors=\"1\""));
    assert!(report.render(Format::Github).starts_with("::error title=weavergen gates::NOT JUDGED"));
    let sarif: Value = serde_json::from_str(&report.render(Format::Sarif)).unwrap();
    assert_eq!(sarif["runs"][0]["invocations"][0]["toolExecutionNotifications"][0]["level"], "error");
}

#[test]
fn github_and_sarif_show_the_worst_and_tell_what_they_cut() {
    let mut report = sample(FailOn::Fail);
    report.lines = (0..30).map(|n| row("errors", &format!("k={n}"), Worth::Failed, Outcome::Fail, Some(0.1))).collect();
    let github = report.render(Format::Github);
    assert_eq!(github.lines().filter(|line| line.starts_with("::error ")).count(), 10);
    assert_eq!(github.lines().filter(|line| line.starts_with("::notice ")).count(), 1);
    let sarif: Value = serde_json::from_str(&sarif::render_at_most(&report, 20)).unwrap();
    let run = &sarif["runs"][0];
    assert_eq!(run["results"].as_array().unwrap().len(), 20);
    let note = run["invocations"][0]["toolExecutionNotifications"][0]["message"]["text"].as_str().unwrap();
    assert_eq!(note, "10 results are not shown: 20 of 30 are, worst first");
}

#[test]
fn numbers_keep_four_digits_and_no_noise() {
    let of = [0.0, 1.0, 0.833_333, 12_345.678_9, 0.000_123_456, -2.5, 1e300, 1e-9].map(rounded);
    assert_eq!(of, ["0", "1", "0.8333", "12346", "0.0001235", "-2.5", "1.000e300", "1.000e-9"]);
}

#[test]
fn an_out_goes_to_the_format_before_it() {
    #[derive(Debug, clap::Parser)]
    struct Cli {
        #[command(flatten)]
        outputs: Outputs,
    }
    let read = |args: &[&str]| {
        <Cli as clap::Parser>::try_parse_from([&["x"], args].concat())
            .map(|cli| cli.outputs.0)
            .map_err(|e| e.to_string())
    };
    let file = |name: &str| Some(PathBuf::from(name));
    assert_eq!(read(&[]).unwrap(), [(Format::Text, None)]);
    assert_eq!(read(&["--out", "a"]).unwrap(), [(Format::Text, file("a"))]);
    let both = [(Format::Text, None), (Format::Junit, file("a.xml"))];
    assert_eq!(read(&["--format", "text", "--format", "junit", "--out", "a.xml"]).unwrap(), both);
    let turned = [(Format::Junit, file("a.xml")), (Format::Text, None)];
    assert_eq!(read(&["--format", "junit", "--out", "a.xml", "--format", "text"]).unwrap(), turned);
    assert!(read(&["--format", "text", "--format", "json"]).unwrap_err().contains("mixed on stdout"));
    assert_eq!(read(&["--format", "text", "--format", "github"]).unwrap().len(), 2, "both are lines for the log");
    for whole in ["json", "junit", "sarif"] {
        let mixed = read(&["--format", whole, "--format", "github"]).unwrap_err();
        assert!(mixed.contains("mixed on stdout"), "what reads {whole} does not read lines behind it");
    }
    assert!(read(&["--format", "json", "--out", "a", "--format", "github"]).is_ok());
    assert!(read(&["--format", "junit", "--out", "a", "--out", "b"]).unwrap_err().contains("two `--out`"));
}

/// A key of `gate` without an episode, shown by a verdict with this outcome and evidence.
pub(in super::super) fn found(gate: Gate, outcome: Outcome, evidence: &Value) -> Found {
    let run = OutcomeRun {
        gate: gate.name.clone(),
        generation: 1,
        group: "g".to_owned(),
        key: String::new(),
        outcome,
        first_tick_ns: 0,
        last_tick_ns: 0,
        evaluations: 1,
        value: Some(2.0),
        values: (2.0, 1),
        n: Some(500),
        window: crate::gate::result::Window { start_ns: 0, end_ns: 0 },
        cut_us: 0,
        evidence: evidence.to_string(),
        trace_ids: Vec::new(),
        dry_run: false,
        cost_ns: 0,
        baseline: None,
        ticks: Vec::new(),
    };
    let now = crate::gate::KeyNow {
        gate: std::sync::Arc::new(gate),
        group: "g".to_owned(),
        file: "g.yaml".to_owned(),
        key: String::new(),
        labels: BTreeMap::new(),
        phase: crate::gate::state::Phase::Inactive,
        episode: 0,
        run,
        tick_ns: 0,
    };
    Found { now, bad: None, brief: false, ends_bad: None, episodes: 0, overflow: None }
}

fn sentence(gate: Gate, judge: Judge, outcome: Outcome, evidence: &Value) -> String {
    let allowed = Allowed { no_data: &[], fail_on: FailOn::Fail };
    line(found(gate, outcome, evidence), judge, &allowed).sentence()
}

#[test]
fn a_gate_with_a_baseline_says_that_there_is_none_and_not_that_its_guard_is_not_met() {
    let baseline = crate::gate::baseline::Baseline {
        window: std::time::Duration::from_secs(3_600),
        offset: std::time::Duration::ZERO,
        aggregate: crate::gate::baseline::Aggregate::Average,
        max_drop: Some(0.1),
        max_rise: None,
        only_pass: true,
        min_samples: 3,
        given: None,
    };
    let guard = Some(("match_rate".to_owned(), comparison(Test::AtLeast(0.8))));
    let plain = Gate { conclusive_when: guard, ..gate("g", Test::Above(0.0)) };
    let of = |gate: &Gate, judge, rate: f64| {
        sentence(gate.clone(), judge, Outcome::Inconclusive, &json!({ "match_rate": rate }))
    };
    let held = Gate { baseline: Some(baseline), ..plain.clone() };
    let none = "there is no baseline: too few values of the past in these spans; ";
    assert_eq!(of(&held, Judge::Once, 0.9), format!("{none}use --judge timeline"));
    assert_eq!(of(&held, Judge::Timeline, 0.9), format!("{none}give spans of a longer time"));
    let unmet = "inconclusive: `conclusive_when` is not met";
    assert_eq!((of(&held, Judge::Once, 0.1), of(&plain, Judge::Once, 0.1)), (unmet.to_owned(), unmet.to_owned()));
}

#[test]
fn an_objective_with_too_few_samples_names_those_of_the_pair_that_burns() {
    let decimal = |number| crate::gate::slo::Decimal::of(number).unwrap();
    let seconds = std::time::Duration::from_secs;
    let pair = crate::gate::slo::Pair {
        level: crate::gate::state::Level::Fail,
        budget_percent: decimal(2.0),
        short: seconds(300),
        long: seconds(3_600),
    };
    let slo = crate::gate::slo::Slo {
        objective: decimal(99.9),
        period: seconds(30 * 86_400),
        total: "true".to_owned(),
        good: "true".to_owned(),
        pairs: vec![pair],
    };
    let gate = Gate { slo: Some(slo), min_samples: 100, ..gate("g", Test::Above(0.0)) };
    let told = sentence(gate, Judge::Once, Outcome::Insufficient, &json!({ "pair_1": 3.5, "total_1h": 9 }));
    assert_eq!(told, "9 samples in the 1h of a pair that burns too fast, at least 100 are wanted");
}
