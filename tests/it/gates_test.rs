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
    command.args(["gates", "test", SHIPPED[0], SHIPPED[1], KEYS, "--set", EXPECTED]).env("HOME", home.path());
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
