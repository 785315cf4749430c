//! The shell of `weavergen sql`, typed at in a terminal of its own.

use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::daemon::{BINARY, Daemon};
use crate::given::installed;

/// What came of each step: text to type, what to wait for, seconds.
fn typed(python: &str, home: &std::path::Path, args: &[&str], steps: &Value) -> Value {
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/shell.py"))
        .arg(BINARY)
        .args(args)
        .env("XDG_STATE_HOME", home)
        .env("XDG_DATA_HOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(steps.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn people_type_statements_of_many_lines_stop_them_and_find_them_again() {
    let test = "people_type_statements_of_many_lines_stop_them_and_find_them_again";
    let Some(python) = installed(test, "WEAVERGEN_TEST_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    let sent = Command::new(BINARY).args(["loadgen", "--traces", "20", "--endpoint", &daemon.grpc()]).output().unwrap();
    assert!(sent.status.success());
    let endless = (0..12).map(|n| format!("CROSS JOIN spans s{n} ")).collect::<String>();
    let endless = format!("SELECT count(*) FROM spans a {endless} WHERE a.duration_ns + s9.duration_ns <> 7;\r");
    let (prompt, wait) = ("weavergen> ", 30);
    let steps = json!([
        ["", prompt, wait],
        ["SELECT count(*) > 0 AS\r", "AS", wait],
        ["  many FROM spans;\r", "1 row", wait],
        ["SELECT 'half typed\u{3}", prompt, wait],
        ["SELECT nme FROM spans;\r", "did you mean `name`", wait],
        [endless, "Ctrl-C stops it", wait],
        ["\u{3}", "stopped", wait],
        ["\\x\r", "rows are shown as lines", wait],
        ["SELECT 1 AS one, 2 AS two;\r", "two │ 2", wait],
        // Typed while the one before it runs.
        ["SELECT 3 AS three;\rSELECT 4 AS four;\r", "four │ 4", wait],
        ["\\d spans\r", "40 shown", wait],
        [".limit 3\r", prompt, wait],
        ["SELECT span_id FROM spans;\r", "3+ rows", wait],
        ["SELECT attributes['http.rou\t", "'http.route']", wait],
        ["\u{3}", prompt, wait],
        // What was typed last, cleared lines left out.
        ["\u{1b}[A\r", "3+ rows", wait],
        [".outptu\r", "did you mean `.output`", wait],
        ["\\q\r", null, 2],
    ]);
    let came = typed(&python, dir.path(), &["sql", "--url", &daemon.url("api", "")], &steps);
    let said = |step: usize| came["answers"][step]["said"].as_str().unwrap();
    for (step, typed) in steps.as_array().unwrap().iter().enumerate() {
        if let Some(want) = typed[1].as_str() {
            assert!(said(step).contains(want), "step {step}, {typed}: {came:#}");
        }
    }
    assert!(said(2).contains("│ true "), "{came:#}");
    let stopped = came["answers"][6]["seconds"].as_f64().unwrap();
    assert!(stopped < 5.0, "it took {stopped} s to stop");
    assert_eq!(came["code"], 0, "{came:#}");
    let history = std::fs::read_to_string(dir.path().join("weavergen/sql_history")).unwrap();
    assert!(history.contains("many FROM spans;") && history.contains("\\d spans"), "{history}");
    assert_eq!(daemon.stop(), 0);
}
