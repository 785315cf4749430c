//! Files of tests: what is read, and what is refused with its place.

use super::*;

fn told(text: &str) -> Vec<String> {
    let problems = read(std::path::Path::new("dir/t.yaml"), text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_test_is_read_with_times_from_its_start() {
    let text = r#"
x-attributes: &attributes { url.path: /cart, http.status: 200 }
gate_files: [../gates/a.yaml, 'builtin:founding']
tests:
  - name: half
    start: 2026-01-01T00:01:00Z
    spans:
      - { from: 10s, to: 30s, every: 10s, count: 2, service: cart, kind: server, status: error, duration: 20ms, attributes: *attributes, missing: [url.path] }
    order: { shuffle: 7, within: 20s, batches: 50 }
    events: [ { at: 6m, kill: true, up_at: 7m } ]
    expect: [ { at: 4m, gate: g, key: { service_name: "a,b" }, outcome: fail, value: 0.5 ± 0.01 } ]
    transitions: []
    definitions: [ { process: deploy, at: 1m }, { process: deploy, version: 2, at: 2m } ]
"#;
    let suite = read(std::path::Path::new("dir/t.yaml"), text).unwrap();
    assert_eq!(suite.gate_files, ["dir/../gates/a.yaml", "builtin:founding"]);
    let test = &suite.tests[0];
    let at = |seconds: i64| (1_767_225_660 + seconds) * 1_000_000_000;
    assert_eq!((test.line, test.spans[0].instants.clone()), (5, vec![at(10), at(20)]));
    assert_eq!(test.spans[0].attributes.keys().collect::<Vec<_>>(), ["http.status"]);
    assert_eq!(test.events, [Event { line: 10, at_ns: at(360), what: What::Kill { up_at_ns: at(420) } }]);
    let deployed = |version, change: &str, at_ns| Deployed {
        process: "deploy".to_owned(),
        version,
        change: change.to_owned(),
        at_ns,
    };
    assert_eq!(test.definitions, [deployed(1, "new", at(60)), deployed(2, "executable", at(120))]);
    assert_eq!((test.expect[0].key.as_str(), test.expect[0].value), ("service_name=a\\,b", Some((0.5, 0.01))));
    assert_eq!((test.transitions.as_ref().map(Vec::len), &test.notifications), (Some(0), &None));
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_the_next_move() {
    let text = "gate_files: [a.yaml]\ntests:\n  - name: n\n    spnas: []\n    events: [{at: 1s, receiver: {hook: 500}}]\n  - \
                name: m\n    spans: [{from: 1s, to: 5s}]\n    expect: [{at: 30, gate: g, outcome: bad}, {at: 1s, gate: g}]\n";
    assert_eq!(
        told(text),
        [
            "WG-GATE-006 dir/t.yaml:3:5: test n: the test expects nothing, so it cannot fail; add `expect`, \
             `transitions`, `notifications` or `pipelines`",
            "WG-GATE-004 dir/t.yaml:4:5: test n: unknown key `spnas`; did you mean `spans`?",
            "WG-GATE-004 dir/t.yaml:5:23: test n: `receiver` is coming: this version does not have it; remove the key",
            "WG-GATE-006 dir/t.yaml:7:13: test m: one of `to` and `every` is missing; write both, e.g. `from: 0s, to: \
             5m, every: 10s`, or neither for one instant",
            "WG-GATE-010 dir/t.yaml:8:19: test m: `at` is 30 without a unit; write e.g. `30s`, with units y w d h m s ms",
            "WG-GATE-005 dir/t.yaml:8:41: test m: `outcome` is `bad`, one of pass, warn, fail, no_data, insufficient, \
             inconclusive, error is expected; choose one of them",
            "WG-GATE-006 dir/t.yaml:8:47: test m: the expectation expects nothing; give it `outcome`, `state`, `level`, \
             `value`, `n` or `episode`",
        ]
    );
    assert!(told("tests: []")[0].contains("`gate_files` is missing"));
}

#[test]
fn what_would_have_no_effect_or_another_one_is_told() {
    let text = r#"
gate_files: []
tests:
  - name: n
    start: 2400-01-01T00:00:00Z
    expect: [{at: 1s, gate: g, n: 1}]
    events:
      - { at: 6m, kill: false, up_at: 7m }
      - { at: 6m, close: { gate: g, reason: r }, up_at: 7m }
      - { at: 1m, kill: true, up_at: 3m }
      - { at: 2m, reload: [a.yaml] }
      - { at: 2m, fail_query: g }
      - { at: 3m, reload: [] }
"#;
    assert_eq!(
        told(text),
        [
            "WG-GATE-006 dir/t.yaml:2:13: `gate_files` names no file; name gate files",
            "WG-GATE-005 dir/t.yaml:5:12: test n: `start`: 2400-01-01T00:00:00Z is not from 1970 to 2200; write e.g. \
             2026-01-01T00:00:00Z",
            "WG-GATE-005 dir/t.yaml:8:25: test n: `kill` is false; remove the event, or write `kill: true`",
            "WG-GATE-005 dir/t.yaml:9:57: test n: `up_at` belongs to `kill`; remove it, or add `kill: true`",
            "WG-GATE-005 dir/t.yaml:11:9: test n: the daemon is down then: line 10 kills it; put it before `kill` or \
             behind `up_at`",
            "WG-GATE-006 dir/t.yaml:13:27: test n: `reload` names no file; name gate files",
        ]
    );
}
