//! Flight SQL as a real client speaks it, and the hostile corpus over the wires of a daemon.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::daemon::{BINARY, Daemon, block_on};
use crate::given::installed;

fn said(python: &str, args: &[&str]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/flight.py");
    let output = Command::new(python).arg(script).args(args).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn with_spans(data: &Path, more: &[&str]) -> Daemon {
    let daemon = Daemon::start_with(data, more);
    let sent = Command::new(BINARY).args(["loadgen", "--traces", "20", "--endpoint", &daemon.grpc()]).output().unwrap();
    assert!(sent.status.success());
    daemon
}

fn api(daemon: &Daemon) -> String {
    daemon.url("api", "").trim_start_matches("http://").to_owned()
}

/// Class of the error, and that its text has all of `needles`.
fn refused(of: &Value, class: &str, needles: &[&str]) {
    let (name, text) = (of[0].as_str().unwrap_or_default(), of[1].as_str().unwrap_or_default());
    assert_eq!(name, class, "{of}");
    for needle in needles {
        assert!(text.contains(needle), "{needle}: {text}");
    }
}

#[test]
fn an_adbc_client_reads_prepares_lists_cancels_and_is_told_what_it_may_not() {
    let test = "an_adbc_client_reads_prepares_lists_cancels_and_is_told_what_it_may_not";
    let Some(python) = installed(test, "WEAVERGEN_TEST_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    // Own spans would change the rows between two questions.
    let daemon = with_spans(&dir.path().join("data"), &["--set=service::telemetry::traces::level=none"]);
    let said = said(&python, &[&api(&daemon)]);
    for same in said["same"].as_array().unwrap() {
        assert_eq!(same[1], true, "{same}");
    }
    assert!(said["same"][0][2].as_u64().unwrap() >= 20, "{}", said["same"]);
    assert_eq!(said["parameters"][0], said["parameters"][1]);
    assert_eq!(said["hostile_values"], json!(["it's; DROP TABLE spans --", 1.5, null, true]));
    assert_eq!(said["parameter_types"], json!(["int64", "string"]));
    assert_eq!(said["execute_schema"], json!(["name", "duration_ns"]));
    assert_eq!(said["catalogs"], json!(["weavergen"]));
    assert_eq!(said["schemas"], json!(["information_schema", "public", "system"]));
    assert_eq!(said["columns"], json!(["trace_id", "span_id", "parent_span_id", "start_time"]));
    assert_eq!((&said["table_schema"], &said["table_type"]), (&said["columns"], &json!("BASE TABLE")));
    assert_eq!(said["table_types"], json!(["BASE TABLE", "VIEW"]));
    assert_eq!(said["vendor"], "weavergen");
    refused(&said["ingest"], "NotSupportedError", &["ingestion: spans come in by OTLP"]);
    refused(
        &said["wrong_column"],
        "ProgrammingError",
        &["sql.unknown_column", "line 1, column 8", "did you mean `name`?"],
    );
    refused(&said["wrong_syntax"], "ProgrammingError", &["sql.syntax"]);
    refused(&said["write"], "ProgrammingError", &["sql.not_allowed"]);
    refused(&said["two_rows"], "ProgrammingError", &["2 rows of values were sent; a query takes one"]);
    assert!(said["transaction"].is_array(), "{}", said["transaction"]);
    assert!(said["leaving"].as_array().unwrap().iter().all(|of| of == true), "{}", said["leaving"]);
    let cancelled = said["cancelled"].as_array().unwrap();
    assert!(cancelled[0].is_string(), "{cancelled:?}");
    assert_eq!(cancelled[1..], [json!(true), json!(true)], "{cancelled:?}");
    assert_eq!(said["logged"], true);
}

#[test]
fn an_adbc_client_shows_a_token_or_a_password_that_is_one() {
    let test = "an_adbc_client_shows_a_token_or_a_password_that_is_one";
    let Some(python) = installed(test, "WEAVERGEN_TEST_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    let (tokens, token) = (dir.path().join("tokens"), "0123456789abcdef0123456789abcdef");
    std::fs::write(&tokens, format!("{token} viewer\n")).unwrap();
    let set = format!("--set=access::tokens_file={}", tokens.display());
    let daemon = Daemon::start_with(&dir.path().join("data"), &[&set, "--set=access::anonymous=none"]);
    let said = said(&python, &[&api(&daemon), token]);
    assert_eq!((&said["bearer"], &said["password"]), (&Value::Null, &Value::Null), "{said}");
    for name in ["nobody", "guess", "wrong_password"] {
        let text = said[name][1].as_str().unwrap_or_default().to_ascii_lowercase();
        assert!(text.contains("unauthenticated"), "{name}: {said}");
    }
}

#[test]
fn flight_can_be_turned_off() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(&dir.path().join("data"), &["--set=query.flight.enabled=false"]);
    let url = daemon.url("api", "/arrow.flight.protocol.FlightService/GetFlightInfo");
    let status = block_on(async { reqwest::Client::new().post(url).send().await.unwrap().status().as_u16() });
    assert_eq!(status, 404);
    let rows = daemon.rows("SELECT value, source FROM system.settings WHERE name = 'query.flight.enabled'");
    assert_eq!(rows, [json!(["false", "--set query.flight.enabled"])]);
}

/// Statements that must be refused everywhere.
fn hostile() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/query/gateway/hostile.txt");
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with("## "));
    lines.map(|line| line.replace("\\n", "\n")).collect()
}

#[test]
fn hostile_statements_are_refused_over_http_and_over_a_folder_without_its_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = with_spans(&data, &["--set=service::telemetry::traces::level=none"]);
    let statements = hostile();
    assert!(statements.len() >= 150, "{}", statements.len());
    for sql in &statements {
        let (status, answer) = daemon.ask(sql);
        assert!((400..500).contains(&status) || status == 504, "{sql}: {status} {answer}");
    }
    assert_eq!(daemon.stop(), 0);
    let (next, wrong) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while let Some(sql) = statements.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let output = Command::new(BINARY).args(["sql", "--data"]).arg(&data).args(["-c", sql]).output();
                    let output = output.unwrap();
                    // 1 = a query error, 3 = a limit.
                    if !matches!(output.status.code(), Some(1 | 3)) {
                        wrong.lock().unwrap().push(format!("{sql}: {output:?}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(!Path::new("/tmp/weavergen-escape").exists());
}
