//! `weavergen gates test`, and the tests of the gates that ship.

use std::path::Path;
use std::process::{Command, Output};

use crate::daemon::BINARY;

/// Tests of the shipped gates, below the folder of the package.
const SHIPPED: [&str; 2] = ["tests/data/gates/founding/*.yaml", "tests/data/gates/packs/*.yaml"];
/// Tests of single keys of gates, by gates of their own.
const KEYS: &str = "tests/data/gates/keys/*.yaml";
/// What `coverage.yaml` needs beside them.
const EXPECTED: &str = "semconv.expected={cart: [GET /cart, POST /cart]}";
/// Whom `outbox.yaml` tells.
const RECEIVERS: &str = "notify.receivers={hook: {webhook: {url: http://127.0.0.1:9}}}";

fn run(folder: &Path, args: &[&str]) -> Output {
    Command::new(BINARY).args(["gates", "test"]).args(args).current_dir(folder).env("HOME", folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn every_shipped_gate_passes_fails_and_has_no_data_as_its_tests_say() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["gates", "test", SHIPPED[0], SHIPPED[1], KEYS, "--set", EXPECTED, "--set", RECEIVERS]);
    command.env("HOME", home.path());
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let told = text(&output.stdout);
    assert!(output.status.success(), "{told}{}", text(&output.stderr));
    assert!(told.lines().count() > 30 && told.ends_with(", 0 failed\n"), "{told}");
}

const GATES: &str = r#"
groups:
  - name: g
    interval: 10s
    query_offset: 10s
    gates:
      - gate: good
        sql: SELECT service_name, avg(CAST(status_code <> 'error' AS INT)) AS value, count(*) AS n FROM spans GROUP BY 1
        by: [service_name]
        window: 30s
        pass: ">= 1"
        for: 20s
        notify: [hook]
"#;

#[test]
fn kills_reloads_failing_queries_and_closures_happen_when_they_are_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    write("gates.yaml", GATES);
    write("strict.yaml", &GATES.replace("pass: \">= 1\"", "pass: \">= 2\"").replace("for: 20s", "for: 0s"));
    write("config.yaml", "notify: {receivers: {hook: {webhook: {url: http://127.0.0.1:9}}}}\n");
    let tests = r#"
gate_files: [gates.yaml]
x-bad: &bad { to: 2m, every: 5s, service: a, status: error }
tests:
  - name: "a breach fires after `for`, whatever the order of arrival"
    spans: [ *bad ]
    order: { shuffle: 3, within: 9s, batches: 20 }
    expect:
      - { at: 10s, gate: good, key: { service_name: a }, outcome: fail, state: pending, episode: 0 }
      - { at: 30s, gate: good, key: { service_name: a }, state: firing, level: fail, episode: 1, value: 0 }
    notifications:
      - { receiver: hook, gate: good, id_suffix: 1/0, status: firing }
  - name: "downtime adds nothing to `for`, and no episode begins anew after it"
    spans: [ *bad ]
    events: [ { at: 25s, kill: true, up_at: 1m5s } ]
    expect: [ { at: 2m, gate: good, key: { service_name: a }, state: firing, episode: 1 } ]
    notifications: [ { receiver: hook, status: firing } ]
  - name: "a query that fails holds"
    spans: [ *bad ]
    events: [ { at: 20s, fail_query: good } ]
    expect:
      - { at: 20s, gate: good, outcome: error }
      - { at: 30s, gate: good, key: { service_name: a }, state: pending }
      - { at: 40s, gate: good, key: { service_name: a }, state: firing, episode: 1 }
  - name: "a closed episode is over, and what stays bad is a new one"
    spans: [ *bad ]
    events: [ { at: 45s, close: { gate: good, key: { service_name: a }, reason: known } } ]
    expect: [ { at: 2m, gate: good, key: { service_name: a }, state: firing, episode: 2 } ]
  - name: "a new threshold counts from the next tick"
    spans: [ { to: 2m, every: 5s, service: a } ]
    events: [ { at: 1m5s, reload: [strict.yaml] } ]
    transitions: [ { at: 1m, gate: good, key: { service_name: a }, to: firing, level: fail, episode: 1 } ]
"#;
    write("tests.yaml", tests);
    let output = run(folder.path(), &["tests.yaml", "--config", "config.yaml"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
    assert!(text(&output.stdout).ends_with("5 passed, 0 failed\n"));

    // What does not hold is told with its place and its timeline.
    write("tests.yaml", &tests.replace("state: pending, episode: 0", "state: firing, episode: 0"));
    let output = run(folder.path(), &["tests.yaml", "--config", "config.yaml"]);
    let told = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("tests.yaml:9: at 10s good {service_name=a}: state is pending, firing is expected"),
        "{told}"
    );
    let tick = |line: &str| line.contains("30s") && line.contains("fail") && line.contains("firing (fail)  episode 1");
    assert!(told.lines().any(tick), "{told}");

    write("tests.yaml", &tests.replace("kill: true", "kil: true"));
    let output = run(folder.path(), &["tests.yaml"]);
    assert_eq!(output.status.code(), Some(78));
    assert!(text(&output.stderr).contains("did you mean `kill`?"), "{}", text(&output.stderr));
    assert_eq!(run(folder.path(), &["absent.yaml"]).status.code(), Some(74));
    assert_eq!(run(folder.path(), &[]).status.code(), Some(2));
}

/// Writes `GATES` and the tests, and runs them.
fn tested(folder: &Path, tests: &str) -> (Option<i32>, String, String) {
    std::fs::write(folder.join("gates.yaml"), GATES.replace("        notify: [hook]\n", "")).unwrap();
    std::fs::write(folder.join("tests.yaml"), format!("gate_files: [gates.yaml]\ntests:\n{tests}")).unwrap();
    let output = run(folder, &["tests.yaml"]);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_list_that_is_empty_holds_only_if_the_gates_saw_the_spans() {
    let folder = tempfile::tempdir().unwrap();
    // All spans end before the first tick, which makes the breach pending.
    let (code, told, _) = tested(
        folder.path(),
        "  - name: n\n    spans: [ { to: 9s, every: 1s, service: a, status: error } ]\n    transitions: []\n",
    );
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("0 transitions are expected, there are 1:"), "{told}");
    assert!(told.contains("at 10s good {service_name=a} to pending"), "{told}");
    let (code, told, _) = tested(
        folder.path(),
        "  - name: n\n    spans: [ { to: 9s, every: 1s, service: a } ]\n    transitions: []\n    notifications: []\n",
    );
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn an_event_that_changes_nothing_fails_its_test() {
    let folder = tempfile::tempdir().unwrap();
    let tests = r#"
  - name: n
    spans: [ { to: 1m, every: 5s, service: a } ]
    events:
      - { at: 25s, close: { gate: good, key: { service_name: a }, reason: r } }
      - { at: 15s, fail_query: good }
      - { at: 20s, fail_query: other }
      - { at: 30s, fail_query: good }
    expect: [ { at: 30s, gate: good, outcome: error } ]
"#;
    let (code, told, _) = tested(folder.path(), tests);
    assert_eq!(code, Some(1), "{told}");
    let idle: Vec<&str> = told.lines().filter(|line| line.contains("the event has no effect")).collect();
    assert_eq!(idle.len(), 3, "{told}");
    assert!(idle[0].contains("tests.yaml:7: ") && idle[0].contains("no open episode"), "{told}");
    assert!(idle[1].contains("tests.yaml:8: ") && idle[1].contains("not asked at that time"), "{told}");
    assert!(idle[2].contains("tests.yaml:9: "), "{told}");
}

#[test]
fn ticks_behind_a_kill_see_all_spans_that_arrived_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let tests = r#"
  - name: n
    spans: [ { to: 2m, every: 1s, service: a, delay: 5s } ]
    events: [ { at: 35s, kill: true, up_at: 1m5s } ]
    expect:
      - { at: 30s, gate: good, key: { service_name: a }, n: 30 }
      - { at: 40s, gate: good, key: { service_name: a }, n: 30 }
      - { at: 50s, gate: good, key: { service_name: a }, n: 30 }
      - { at: 1m, gate: good, key: { service_name: a }, n: 30 }
"#;
    // At 1m5s three ticks are due at once, and all spans that were sent until then have come.
    let (code, told, _) = tested(folder.path(), tests);
    assert_eq!(code, Some(0), "{told}");
}

#[test]
fn spans_of_an_input_that_are_set_aside_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let span = |trace: &str| {
        format!(
            r#"{{"traceId": "{trace}", "spanId": "0123456789abcdef", "name": "a", "startTimeUnixNano": "1767225601000000000",
             "endTimeUnixNano": "1767225601000000001"}}"#
        )
    };
    let (good, bad) = (span("0123456789abcdef0123456789abcdef"), span("00000000000000000000000000000000"));
    let all = format!(r#"{{"resourceSpans": [{{"scopeSpans": [{{"spans": [{good}, {bad}]}}]}}]}}"#);
    std::fs::write(folder.path().join("in.json"), all).unwrap();
    let (code, told, err) = tested(
        folder.path(),
        "  - name: n\n    input: in.json\n    expect: [ { at: 10s, gate: good, key: { service_name: unknown_service }, n: 1 } ]\n",
    );
    assert_eq!(code, Some(0), "{told}{err}");
    assert!(err.contains("tests.yaml:3: 1 spans of in.json were set aside: "), "{err}");
}

#[test]
fn more_ticks_than_anybody_waits_for_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (code, _, err) =
        tested(folder.path(), "  - name: n\n    expect: [ { at: 200d, gate: good, outcome: no_data } ]\n");
    assert_eq!(code, Some(78), "{err}");
    assert!(err.contains("tests.yaml:3: test n: there are 1728"), "{err}");
}

#[test]
fn a_reader_that_goes_away_changes_no_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (code, ..) = tested(folder.path(), "  - name: n\n    expect: [ { at: 10s, gate: good, outcome: pass } ]\n");
    assert_eq!(code, Some(1));
    let mut command = Command::new(BINARY);
    command.args(["gates", "test", "tests.yaml"]).current_dir(folder.path()).env("HOME", folder.path());
    let piped = std::process::Stdio::piped;
    let mut child = command.stdout(piped()).stderr(piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(!text(&output.stderr).contains("panicked"), "{}", text(&output.stderr));
}

#[test]
fn what_an_assertion_becomes_is_shown_with_when_it_judges() {
    let home = tempfile::tempdir().unwrap();
    let mut command = Command::new(BINARY);
    command.args(["gates", "show", "checkout", "--sql", "--file", "tests/data/gates/keys/gates/assert.yaml"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).env("HOME", home.path()).output().unwrap();
    let told = text(&output.stdout);
    let when = "-- a trace is judged once its root and a payment.charge ended and no span did for 2s, at the latest 20s after its \
                first span\nWITH seen AS (";
    assert!(told.starts_with(when), "{told}{}", text(&output.stderr));
    assert!(told.ends_with("WHERE n > 0\n") && output.status.success(), "{told}");
}
