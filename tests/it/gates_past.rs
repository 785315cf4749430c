//! The past that a `baseline` looks back at, given to `gates run` and filled in by `gates backfill`.

use std::process::Command;
use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};

use crate::daemon::{BINARY, Daemon, block_on};
use crate::gates_run::{Ci, GATES, MIXED, err, line, now, request, verdicts};

#[test]
fn what_spans_of_before_gave_is_what_values_are_held_to() {
    let ci = Ci::new();
    let held = GATES.replace(
        "pass: \"> 95%\"\n        warn: \"> 90%\"",
        "pass: \"> 50%\"\n        baseline: { window: 1d, max_drop: 5% }",
    );
    assert_ne!(held, GATES);
    ci.write("gates.yaml", held);
    ci.write("before.jsonl", line(&request(&[("a", 50, 0), ("b", 50, 10)])));
    ci.write("now.jsonl", line(&request(&[("a", 50, 5), ("b", 50, 10), ("c", 50, 0)])));
    let (code, report) = ci.judge(&["--input", "now.jsonl"]);
    assert_eq!(code, 3, "nobody has a past: {report}");
    let (code, report) = ci.judge(&["--input", "now.jsonl", "--baseline", "before.jsonl"]);
    let of = |report: &Value| -> Vec<(String, Value)> {
        verdicts(report).into_iter().map(|(key, verdict, value, _)| (format!("{key} {verdict}"), value)).collect()
    };
    // The worst first.
    let expected = [("a", "failed", 0.9), ("c", "not judged", 1.0), ("b", "passed", 0.8)];
    let expected: Vec<_> =
        expected.map(|(service, worth, value)| (format!("service_name={service} {worth}"), json!(value))).into();
    assert_eq!((code, of(&report)), (1, expected), "c was not there before");
    let (code, _) = ci.judge(&["--input", "now.jsonl", "--baseline", "now.jsonl"]);
    assert_eq!(code, 0, "as before");

    ci.write("empty.jsonl", "");
    let none = ci.run(&["gates.yaml", "--input", "now.jsonl", "--baseline", "empty.jsonl"]);
    assert_eq!(
        (none.status.code(), err(&none).contains("empty.jsonl holds no span")),
        (Some(3), true),
        "{}",
        err(&none)
    );
    ci.write("plain.yaml", GATES);
    let plain = ci.run(&["plain.yaml", "--input", "now.jsonl", "--baseline", "before.jsonl"]);
    assert_eq!((plain.status.code(), err(&plain).contains("no gate has a `baseline`")), (Some(78), true));
}

const HELD: &str = r#"
groups:
  - name: held
    interval: 10s
    query_offset: 1s
    gates:
      - gate: many
        sql: SELECT count(*) AS value FROM spans
        window: 1d
        pass: ">= 0"
        baseline: { window: 1h, max_drop: 50%, min_samples: 60 }
"#;

#[test]
fn a_past_that_is_filled_in_is_looked_back_at_as_soon_as_the_daemon_runs() {
    let ci = Ci::new();
    let data = ci.folder.path().join("data");
    let daemon = Daemon::start_in(ci.folder.path(), &data, &[]);
    let url = format!("{}/v1/traces", daemon.http());
    let post = reqwest::Client::new().post(url).body(now(request(&MIXED)).encode_to_vec());
    let post = post.header("content-type", "application/x-protobuf");
    assert!(block_on(async { post.send().await.unwrap().status().is_success() }));
    ci.write("held.yaml", HELD);
    let fill = |file: &str| {
        Command::new(BINARY)
            .args(["gates", "backfill", file, "--data", data.to_str().unwrap()])
            .current_dir(ci.folder.path())
            .env("HOME", ci.folder.path())
            .output()
            .unwrap()
    };
    let held = fill("held.yaml");
    assert_eq!(held.status.code(), Some(69), "the daemon runs: {}", err(&held));
    assert_eq!(daemon.stop(), 0);
    assert_eq!(fill("gates.yaml").status.code(), Some(78), "no gate looks back");

    let filled = fill("held.yaml");
    let told = String::from_utf8_lossy(&filled.stdout).into_owned();
    assert_eq!(filled.status.code(), Some(0), "{told}{}", err(&filled));
    assert!(told.starts_with("many: 36") && told.ends_with(" values of 1 keys\n"), "an hour of ticks: {told}");
    let again = fill("held.yaml");
    assert_eq!(String::from_utf8_lossy(&again.stdout), "many: nothing lacks\n", "{}", err(&again));
    // Another question has another past.
    ci.write("held.yaml", HELD.replace("count(*) AS value", "2 * count(*) AS value"));
    let other = String::from_utf8_lossy(&fill("held.yaml").stdout).into_owned();
    assert!(other.starts_with("many: 36"), "{other}");

    let set = ["--set=gates::files=[held.yaml]", "--set=gates::idle_source_after=1s"];
    let daemon = Daemon::start_in(ci.folder.path(), &data, &set);
    let sql = "SELECT outcome, baseline FROM gate_results WHERE gate = 'many' ORDER BY last_tick DESC LIMIT 1";
    let live = "SELECT count(*) FROM gate_results WHERE gate = 'many' AND baseline IS NOT NULL AND outcome = 'pass' \
                AND last_tick > now() - INTERVAL '20 seconds'";
    let mut found = Vec::new();
    for _ in 0..60 {
        std::thread::sleep(Duration::from_millis(500));
        found = daemon.rows(live);
        if found[0][0].as_i64() > Some(0) {
            break;
        }
    }
    assert!(found[0][0].as_i64() > Some(0), "{:?}", daemon.rows(sql));
    assert_eq!(daemon.stop(), 0);
}
