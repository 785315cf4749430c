//! `weavergen gates run` as CI runs it.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use prost::Message as _;
use serde_json::{Value, json};

use crate::daemon::{BINARY, Daemon, block_on};
use crate::given;
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::plain::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use crate::proto::plain::opentelemetry::proto::resource::v1::Resource;
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// A multiple of a minute.
const BEGIN_S: u64 = 1_767_225_600;

/// A service without errors is good, with 8 % a warning, with more a failure.
pub(super) const GATES: &str = r#"
groups:
  - name: errors
    interval: 10s
    gates:
      - gate: without_errors
        sql: >
          SELECT service_name, avg(CAST(status_code <> 'error' AS INT)) AS value, count(*) AS n, max(duration_ns) AS slowest
          FROM spans GROUP BY service_name
        by: [service_name]
        window: 1m
        min_samples: 10
        pass: "> 95%"
        warn: "> 90%"
"#;

/// `count` spans of `service`, one a second; those below `bad` are errors.
fn spans(service: &str, count: u64, bad: u64) -> ResourceSpans {
    let value = |text: &str| Some(AnyValue { value: Some(any_value::Value::StringValue(text.to_owned())) });
    let name = KeyValue { key: "service.name".to_owned(), value: value(service), ..KeyValue::default() };
    let of_service = service.bytes().map(u64::from).sum::<u64>() << 32;
    let span = |n: u64| Span {
        trace_id: [of_service.to_be_bytes(), (n / 2 + 1).to_be_bytes()].concat(),
        span_id: (of_service + n + 1).to_be_bytes().to_vec(),
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: (BEGIN_S + n) * 1_000_000_000,
        end_time_unix_nano: (BEGIN_S + n) * 1_000_000_000 + 20_000_000,
        status: Some(Status { code: if n < bad { 2 } else { 0 }, ..Status::default() }),
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: (0..count).map(span).collect(), ..ScopeSpans::default() }];
    let resource = Resource { attributes: vec![name], ..Resource::default() };
    ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }
}

pub(super) fn request(all: &[(&str, u64, u64)]) -> ExportTraceServiceRequest {
    let resource_spans = all.iter().map(|(service, count, bad)| spans(service, *count, *bad)).collect();
    ExportTraceServiceRequest { resource_spans }
}

/// The same in JSON, on one line.
pub(super) fn line(request: &ExportTraceServiceRequest) -> String {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let of_span = |span: &Span| {
        json!({
            "traceId": hex(&span.trace_id), "spanId": hex(&span.span_id), "name": span.name, "kind": span.kind,
            "startTimeUnixNano": span.start_time_unix_nano.to_string(),
            "endTimeUnixNano": span.end_time_unix_nano.to_string(),
            "status": {"code": span.status.as_ref().map_or(0, |status| status.code)},
        })
    };
    let of_resource = |of: &ResourceSpans| {
        let value = of.resource.as_ref().unwrap().attributes[0].value.clone().unwrap().value.unwrap();
        let any_value::Value::StringValue(service) = value else { panic!("text") };
        json!({
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeSpans": [{"spans": of.scope_spans[0].spans.iter().map(of_span).collect::<Vec<_>>()}],
        })
    };
    json!({"resourceSpans": request.resource_spans.iter().map(of_resource).collect::<Vec<_>>()}).to_string()
}

pub(super) struct Ci {
    pub(super) folder: tempfile::TempDir,
}

impl Ci {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("gates.yaml"), GATES).unwrap();
        Self { folder }
    }

    pub(super) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["gates", "run"]).args(args).current_dir(self.folder.path()).env("HOME", self.folder.path());
        command
    }

    pub(super) fn run(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().unwrap()
    }

    /// Exit code, and what `--format json` says.
    pub(super) fn judge(&self, args: &[&str]) -> (i32, Value) {
        let output = self.run(&[&["gates.yaml", "--format", "json"], args].concat());
        let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {}", err(&output)));
        (output.status.code().unwrap(), report)
    }
}

pub(super) fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Key to verdict, value and n.
pub(super) fn verdicts(report: &Value) -> Vec<(String, String, Value, Value)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of =
        |result: &Value| (text(&result["key"]), text(&result["verdict"]), result["value"].clone(), result["n"].clone());
    report["results"].as_array().unwrap().iter().map(of).collect()
}

pub(super) const MIXED: [(&str, u64, u64); 4] = [("bad", 50, 20), ("warm", 50, 4), ("good", 50, 0), ("few", 5, 0)];

#[test]
fn the_exit_code_is_the_worst_that_was_found_in_the_order_of_the_table() {
    let ci = Ci::new();
    for (name, all) in
        [("good", &MIXED[2..3]), ("warm", &MIXED[1..3]), ("few", &MIXED[1..]), ("bad", &MIXED[..]), ("none", &[])]
    {
        ci.write(&format!("{name}.jsonl"), line(&request(all)));
    }
    ci.write("empty.jsonl", "");
    let code = |args: &[&str]| ci.run(&[&["gates.yaml"], args].concat()).status.code().unwrap();
    assert_eq!(code(&["--input", "good.jsonl"]), 0);
    assert_eq!(code(&["--input", "good.jsonl", "--fail-on", "warn"]), 0);
    assert_eq!([code(&["--input", "warm.jsonl"]), code(&["--input", "warm.jsonl", "--fail-on", "warn"])], [0, 4]);
    assert_eq!(code(&["--input", "few.jsonl", "--fail-on", "warn"]), 3, "too few samples are not judged");
    assert_eq!(code(&["--input", "few.jsonl", "--fail-on", "warn", "--allow-no-data", "without_*"]), 4);
    assert_eq!(code(&["--input", "few.jsonl", "--allow-no-data", "other"]), 3);
    assert_eq!(code(&["--input", "bad.jsonl", "--fail-on", "warn"]), 1);
    for nothing in ["none.jsonl", "empty.jsonl"] {
        assert_eq!(code(&["--input", nothing, "--allow-no-data", "*"]), 3, "{nothing}: no span is never a pass");
    }

    assert_eq!(code(&[]), 2, "nothing to judge");
    assert_eq!(code(&["--input", "good.jsonl", "--data", "."]), 2);
    assert_eq!(code(&["--input", "absent.jsonl"]), 74);
    assert_eq!(code(&["--data", "."]), 74, "no data folder");
    assert_eq!(ci.run(&["--input", "good.jsonl"]).status.code(), Some(78), "nobody named a gate");
    ci.write("wrong.yaml", "groups: [{name: g, gates: [{gate: a, sql: SELECT 1 AS value, windw: 1m, pass: \"> 1\"}]}]");
    let wrong = ci.run(&["wrong.yaml", "--input", "good.jsonl"]);
    assert_eq!((wrong.status.code(), err(&wrong).contains("did you mean `window`?")), (Some(78), true));
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    assert_eq!(code(&["--otlp", &taken.local_addr().unwrap().to_string()]), 69);
}

#[test]
fn wrong_uses_say_what_is_right() {
    let ci = Ci::new();
    ci.write("good.jsonl", line(&request(&MIXED[2..3])));
    ci.write("cut.jsonl", &line(&request(&MIXED[2..3]))[..500]);
    ci.write("spans.json.gz", [0x1F, 0x8B, 8, 0]);
    let said = |args: &[&str]| err(&ci.run(args));
    let gate = said(&["--input", "good.jsonl", "gates.yaml"]);
    assert!(gate.contains("gate files go before `--input`") || gate.contains("no gate is named"), "{gate}");
    let cut = said(&["gates.yaml", "--input", "cut.jsonl"]);
    assert!(cut.contains("cut.jsonl:1: the JSON document that begins here does not end"), "{cut}");
    assert!(said(&["gates.yaml", "--input", "spans.json.gz"]).contains("gunzip -c spans.json.gz |"));
    assert!(said(&["gates.yaml", "--input", "."]).contains("cut.jsonl:1"), "a folder is read in whole");
    assert!(said(&["gates.yaml", "--otlp", "127.0.0.1:0", "--until", "idle"]).contains("idle=5s"));
}

#[test]
fn every_kind_of_input_and_every_order_gives_the_same_verdicts() {
    let ci = Ci::new();
    let whole = request(&MIXED);
    let parts: Vec<ExportTraceServiceRequest> = MIXED.iter().map(|one| request(&[*one])).collect();
    ci.write("spans.jsonl", line(&whole));
    let (code, want) = ci.judge(&["--input", "spans.jsonl"]);
    let numbers = |value: f64, n: u64| (json!(value), json!(n));
    let shown: Vec<_> =
        verdicts(&want).into_iter().map(|(key, verdict, value, n)| (key, verdict, (value, n))).collect();
    let key = |service: &str, verdict: &str, of| (format!("service_name={service}"), verdict.to_owned(), of);
    assert_eq!(
        shown,
        [
            key("bad", "failed", numbers(0.6, 50)),
            key("few", "not judged", numbers(1.0, 5)),
            key("warm", "warned", numbers(0.92, 50)),
            key("good", "passed", numbers(1.0, 50)),
        ]
    );
    assert_eq!(
        (code, &want["exit"], &want["input"]["spans"], &want["input"]["services"]),
        (1, &json!(1), &json!(155), &json!(4))
    );
    assert_eq!(want["results"][0]["evidence"]["slowest"], json!(20_000_000));

    let lines: Vec<String> = parts.iter().map(line).collect();
    let turned: Vec<&str> = lines.iter().rev().map(String::as_str).collect();
    let pretty = |text: &str| serde_json::to_string_pretty(&serde_json::from_str::<Value>(text).unwrap()).unwrap();
    let messages: Vec<Vec<u8>> = parts.iter().map(|part| part.encode_to_vec()).collect();
    let delimited: Vec<u8> = parts.iter().flat_map(|part| part.encode_length_delimited_to_vec()).collect();
    let word = |bytes: &Vec<u8>| [&u32::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat();
    let words: Vec<u8> = messages.iter().flat_map(word).collect();
    ci.write("turned.jsonl", turned.join("\n"));
    ci.write("pretty.json", pretty(&line(&whole)));
    ci.write("one.pb", whole.encode_to_vec());
    ci.write("delimited.bin", delimited);
    ci.write("collector.bin", words);
    for (at, text) in lines.iter().enumerate() {
        ci.write(&format!("folder/{}/{at}.json", at % 2), text);
    }
    for name in ["turned.jsonl", "pretty.json", "one.pb", "delimited.bin", "collector.bin", "folder"] {
        let (code, got) = ci.judge(&["--input", name]);
        assert_eq!((code, &got["results"], &got["totals"]), (1, &want["results"], &want["totals"]), "{name}");
    }
    let several = ci.judge(&["--input", "folder/0", "folder/1"]);
    assert_eq!(several.1["results"], want["results"]);
    let mut stdin = ci.command(&["gates.yaml", "--format", "json", "--input", "-"]);
    let mut child = stdin.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), line(&whole).as_bytes()).unwrap();
    let got: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(got["results"], want["results"]);
}

#[test]
fn a_timeline_is_as_bad_as_the_worst_episode_and_for_counts() {
    let ci = Ci::new();
    // Errors in the first 20 of 300 s: bad for some windows, good over all.
    ci.write("spans.jsonl", line(&request(&[("a", 300, 14)])));
    assert_eq!(ci.judge(&["--input", "spans.jsonl"]).0, 0);
    let (code, report) = ci.judge(&["--input", "spans.jsonl", "--judge", "timeline"]);
    assert_eq!((code, &report["results"][0]["episodes"]), (1, &json!(1)));
    ci.write("gates.yaml", GATES.replace("min_samples", "for: 10m\n        min_samples"));
    let (code, report) = ci.judge(&["--input", "spans.jsonl", "--judge", "timeline"]);
    let reason = "there was a breach shorter than `for`";
    assert_eq!((code, report["results"][0]["reason"].as_str()), (0, Some(reason)));

    // Errors from the first to the last span, which nobody knows to be shorter than ten minutes.
    ci.write("all.jsonl", line(&request(&[("a", 300, 300)])));
    let args = ["--input", "all.jsonl", "--judge", "timeline", "--allow-no-data", "*"];
    let (code, report) = ci.judge(&args);
    assert_eq!((code, &report["results"][0]["verdict"]), (3, &json!("not judged")));
    let reason = report["results"][0]["reason"].as_str().unwrap();
    assert!(reason.starts_with("the spans end in a breach that had not lasted `for` 10m, so nobody knows"), "{reason}");
    let junit = ci.run(&[&["gates.yaml", "--format", "junit"][..], &args].concat());
    assert!(String::from_utf8_lossy(&junit.stdout).contains(" type=\"pending\">"));
    ci.write("gates.yaml", GATES.replace("min_samples", "for: 2m\n        min_samples"));
    assert_eq!(ci.judge(&args).0, 1, "it lasted two");
}

#[test]
fn episodes_are_counted_and_an_error_is_not_hidden_by_a_warning() {
    let ci = Ci::new();
    // Bad for 20 s of every 100.
    let mut whole = request(&[("a", 300, 0)]);
    for (n, span) in whole.resource_spans[0].scope_spans[0].spans.iter_mut().enumerate() {
        span.status = Some(Status { code: if n % 100 < 14 { 2 } else { 0 }, ..Status::default() });
    }
    ci.write("three.jsonl", line(&whole));
    let gates = GATES.replace("window: 1m", "window: 20s").replace("min_samples: 10", "min_samples: 1");
    ci.write("gates.yaml", &gates);
    let (code, report) = ci.judge(&["--input", "three.jsonl", "--judge", "timeline"]);
    assert_eq!((code, &report["results"][0]["episodes"]), (1, &json!(3)));

    // Without `by`: a warning in the second minute, and a query that fails in the last.
    let mut warm = request(&[("a", 300, 0)]);
    let spans = &mut warm.resource_spans[0].scope_spans[0].spans;
    spans[100..104].iter_mut().for_each(|span| span.status = Some(Status { code: 2, ..Status::default() }));
    spans[290].kind = 3;
    ci.write("warm.jsonl", line(&warm));
    let alone = GATES
        .replace("SELECT service_name, avg", "SELECT avg")
        .replace("max(duration_ns) AS slowest", "10 / min(CASE WHEN kind = 'client' THEN 0 ELSE 1 END) AS odd")
        .replace(" GROUP BY service_name", "")
        .replace("        by: [service_name]\n", "");
    ci.write("gates.yaml", &alone);
    let (code, report) = ci.judge(&["--input", "warm.jsonl", "--judge", "timeline"]);
    let result = &report["results"][0];
    assert_eq!((code, &result["outcome"], &result["verdict"]), (3, &json!("error"), &json!("not judged")), "{report}");
    assert_eq!(result["reason"], "beside it there was a warning");
}

#[test]
fn a_folder_is_read_once_and_what_is_left_out_is_named() {
    let ci = Ci::new();
    ci.write("all/spans.jsonl", line(&request(&MIXED[2..3])));
    ci.write("all/spans", line(&request(&[("other", 50, 0)])));
    ci.write("all/README.md", "spans of a night");
    #[cfg(unix)]
    std::os::unix::fs::symlink(".", ci.folder.path().join("all/loop")).unwrap();
    let output = ci.run(&["gates.yaml", "--format", "json", "--input", "all", "all/spans.jsonl"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&report["input"]["spans"], &report["input"]["left_out"]), (&json!(100), &json!(1)), "{}", err(&output));
    assert!(err(&output).contains("all: left out, for neither ending nor first bytes tell spans: all/README.md;"));
    ci.write("all/spans.jsonl.gz", [0x1F, 0x8B, 8, 0]);
    let output = ci.run(&["gates.yaml", "--input", "all"]);
    assert_eq!(output.status.code(), Some(74));
    assert!(err(&output).contains("gunzip -c all/spans.jsonl.gz |"), "{}", err(&output));
}

#[test]
fn spans_at_the_end_of_time_are_told_and_no_timeline_runs_to_them() {
    let ci = Ci::new();
    let mut late = request(&MIXED[2..3]);
    late.resource_spans[0].scope_spans[0].spans[7].end_time_unix_nano = i64::MAX.unsigned_abs();
    ci.write("late.jsonl", line(&late));
    let args =
        ["gates.yaml", "--input", "late.jsonl", "--judge", "timeline", "--format", "json", "--out", "report.json"];
    let output = ci.run(&args);
    assert_eq!(output.status.code(), Some(3));
    assert!(err(&output).contains("use `--judge once`"), "{}", err(&output));
    let report: Value = serde_json::from_str(&ci.read("report.json")).unwrap();
    assert_eq!((&report["exit"], &report["input"]["spans"]), (&json!(3), &json!(50)));
    assert!(report["reason"].as_str().unwrap().contains("use `--judge once`"), "{report}");
    // Whoever reads reports has the last one, and nothing else, after a run that comes to no end.
    let output = ci.run(&["gates.yaml", "--input", "absent.jsonl", "--format", "json", "--out", "report.json"]);
    assert_eq!(output.status.code(), Some(74));
    assert_eq!(serde_json::from_str::<Value>(&ci.read("report.json")).unwrap(), report);
    let names = std::fs::read_dir(ci.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(!names.into_iter().any(|name| name.to_string_lossy().contains(".new")));
    let output = ci.run(&["gates.yaml", "--input", "late.jsonl"]);
    assert_eq!((output.status.code(), err(&output).contains("end of what clocks can say")), (Some(0), true));
}

#[test]
fn a_gate_over_deployed_pipelines_is_not_judged_by_spans_alone() {
    let ci = Ci::new();
    ci.write("good.jsonl", line(&request(&MIXED[2..3])));
    let gates = "groups: [{name: g, gates: [{gate: few, sql: SELECT count(*) AS value FROM pipeline_definitions, window: 1d, \
                 pass: \"< 1\"}]}]";
    ci.write("gates.yaml", gates);
    let (code, report) = ci.judge(&["--input", "good.jsonl"]);
    assert_eq!((code, &report["results"][0]["outcome"]), (3, &json!("error")));
    let why = report["results"][0]["evidence"]["error"].as_str().unwrap();
    assert!(why.contains("judge the daemon's folder with `--data DIR`"), "{why}");
}

#[test]
fn keys_over_the_limit_are_told_and_their_gate_is_not_good() {
    let ci = Ci::new();
    ci.write("gates.yaml", GATES.replace("min_samples", "limit: 1\n        min_samples"));
    ci.write("good.jsonl", line(&request(&[("good", 50, 0), ("fine", 50, 0)])));
    let (code, report) = ci.judge(&["--input", "good.jsonl"]);
    assert_eq!((code, report["results"].as_array().unwrap().len()), (3, 1), "{report}");
    assert_eq!(report["overflow"]["without_errors"], "1 keys above the limit of 1 were not judged");
    ci.write("bad.jsonl", line(&request(&MIXED)));
    let (code, report) = ci.judge(&["--input", "bad.jsonl"]);
    assert_eq!((code, verdicts(&report)[0].0.as_str()), (1, "service_name=bad"), "the worst is judged");
}

#[test]
fn what_a_listener_takes_is_judged_like_a_file() {
    let ci = Ci::new();
    ci.write("spans.jsonl", line(&request(&MIXED)));
    let want = ci.judge(&["--input", "spans.jsonl"]).1["results"].clone();
    let until = "spans=155,time=60s";
    let mut command = ci.command(&["gates.yaml", "--format", "json", "--otlp", "127.0.0.1:0", "--until", until]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stderr.take().unwrap()));
    let http = lines.find_map(|line| line.unwrap().split_once("over HTTP on ").map(|(_, url)| url.to_owned())).unwrap();
    for part in MIXED {
        let post = reqwest::Client::new().post(format!("{http}/v1/traces")).body(request(&[part]).encode_to_vec());
        let post = post.header("content-type", "application/x-protobuf");
        assert!(block_on(async { post.send().await.unwrap().status().is_success() }));
    }
    let output = child.wait_with_output().unwrap();
    let got: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &got["results"]), (Some(1), &want));

    let mut idle = ci.command(&["gates.yaml", "--otlp", "127.0.0.1:0", "--until", "time=1s"]);
    assert_eq!(idle.output().unwrap().status.code(), Some(3), "nothing came");
}

/// Shifts the spans so that they end about now.
pub(super) fn now(mut request: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    #[allow(clippy::disallowed_methods, reason = "the daemon has the clock of the machine")]
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for span in request.resource_spans.iter_mut().flat_map(|r| &mut r.scope_spans[0].spans) {
        let n = span.start_time_unix_nano / 1_000_000_000 - BEGIN_S;
        span.start_time_unix_nano = (now_s - 100 + n) * 1_000_000_000;
        span.end_time_unix_nano = span.start_time_unix_nano + 20_000_000;
    }
    request
}

#[test]
fn over_the_daemons_folder_it_finds_what_the_daemon_found_and_a_replay_repeats_it() {
    let ci = Ci::new();
    let data = ci.folder.path().join("data");
    let gates =
        GATES.replace("interval: 10s", "interval: 1s\n    query_offset: 1s").replace("window: 1m", "window: 30d");
    ci.write("gates.yaml", gates);
    // The same name as on the command line below, for it is part of a group's identity.
    let set = ["--set=gates::files=[gates.yaml]", "--set=gates::idle_source_after=1s"];
    let daemon = Daemon::start_in(ci.folder.path(), &data, &set);
    let url = format!("{}/v1/traces", daemon.http());
    let post = reqwest::Client::new().post(url).body(now(request(&MIXED)).encode_to_vec());
    let post = post.header("content-type", "application/x-protobuf");
    assert!(block_on(async { post.send().await.unwrap().status().is_success() }));
    let sql = "SELECT key, outcome, value, n FROM gate_results WHERE gate = 'without_errors' AND n IS NOT NULL \
               ORDER BY key, last_tick DESC";
    let mut rows = Vec::new();
    for _ in 0..120 {
        std::thread::sleep(Duration::from_millis(500));
        rows = daemon.rows(sql);
        if rows.len() >= 4 {
            break;
        }
    }
    let of = |row: &Value| (row["key"].clone(), row["outcome"].clone(), row["value"].clone(), row["n"].clone());
    let of_row = |row: &Value| (row[0].clone(), row[1].clone(), row[2].clone(), row[3].clone());
    let mut want: Vec<_> = rows.iter().map(of_row).collect();
    want.dedup_by_key(|row| row.0.clone());
    assert_eq!(want.len(), 4, "{rows:?}");
    let columns = ["gate", "key", "from_phase", "to_phase", "cause", "level", "episode", "transition"];
    let shown = |row: &Value| columns.map(|column| row[column].clone()).to_vec();
    let history =
        format!("SELECT {} FROM gate_transitions WHERE gate = 'without_errors' ORDER BY tick, key", columns.join(", "));
    let live: Vec<_> = daemon.rows(&history).iter().map(|row| row.as_array().unwrap().clone()).collect();
    assert_eq!(live.len(), 2, "one fires, one warns");
    assert_eq!(daemon.stop(), 0);
    let (code, report) = ci.judge(&["--data", data.to_str().unwrap()]);
    let mut got: Vec<_> = report["results"].as_array().unwrap().iter().map(of).collect();
    got.sort_by_key(|row| row.0.as_str().unwrap().to_owned());
    assert_eq!((code, got), (1, want));

    for format in ["parquet", "arrow"] {
        let file = format!("spans.{format}");
        let select = ["sql", "--data", data.to_str().unwrap(), "-o", format, "--out", &file, "SELECT * FROM spans"];
        let mut written = Command::new(BINARY);
        written.args(select).current_dir(ci.folder.path()).env("HOME", ci.folder.path());
        let written = written.output().unwrap();
        assert!(written.status.success(), "{}", err(&written));
        let (code, columns) = ci.judge(&["--input", &file]);
        assert_eq!(
            (code, &columns["results"], &columns["totals"]),
            (1, &report["results"], &report["totals"]),
            "{format}"
        );
    }

    #[allow(clippy::disallowed_methods, reason = "the daemon had the clock of the machine")]
    let now = jiff::Timestamp::now();
    let hour = jiff::SignedDuration::from_mins(10);
    let (from, to) = ((now - hour).to_string(), now.to_string());
    let replay = Command::new(BINARY)
        .args(["gates", "replay", "gates.yaml", "--data", data.to_str().unwrap(), "--from", &from, "--to", &to])
        .current_dir(ci.folder.path())
        .env("HOME", ci.folder.path())
        .output()
        .unwrap();
    let lines = String::from_utf8_lossy(&replay.stdout).into_owned();
    let mut played: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    played.sort_by_key(|row| (row["tick"].to_string(), row["key"].to_string()));
    assert_eq!(played.iter().map(shown).collect::<Vec<_>>(), live, "{lines}{}", err(&replay));

    // By another path it is the same group, and what was deployed is in the folder.
    let other = ci.folder.path().join("other");
    std::fs::create_dir(&other).unwrap();
    let same = Command::new(BINARY)
        .args(["gates", "replay", "../gates.yaml", "--data", data.to_str().unwrap(), "--from", &from, "--to", &to])
        .current_dir(&other)
        .env("HOME", ci.folder.path())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&same.stdout), lines, "{}", err(&same));
    // They came behind the last span, so the implicit window of the spans would leave them out.
    ci.write(
        "gates.yaml",
        "groups: [{name: d, gates: [{gate: few, sql: SELECT count(*) AS value FROM pipeline_definitions WHERE deployed_at >= $window_start, window: 1d, \
         pass: \"< 1\"}]}]",
    );
    let deployed = ci.run(&["gates.yaml", "--format", "json", "--data", data.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&deployed.stdout).unwrap();
    assert!(report["results"][0]["value"].as_f64().unwrap() > 0.0, "the built-in pipelines: {report}");
}

#[test]
fn reports_are_read_by_their_parsers() {
    let ci = Ci::new();
    ci.write("spans.jsonl", line(&request(&MIXED)));
    let output = ci.run(&[
        "gates.yaml",
        "--input",
        "spans.jsonl",
        "--format",
        "text",
        "--format",
        "junit",
        "--out",
        "junit.xml",
        "--format",
        "sarif",
        "--out",
        "report.sarif",
        "--format",
        "github",
        "--format",
        "json",
        "--out",
        "report.json",
    ]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("\nFAILED: 4 keys: 1 failed, 1 not judged, 1 warned, 1 passed, 0 skipped;"), "{text}");
    assert!(
        text.contains("\n::error file=gates.yaml,line=6,title=without_errors service_name=bad::0.6 over 50"),
        "{text}"
    );
    let sarif: Value = serde_json::from_str(&ci.read("report.sarif")).unwrap();
    let result = &sarif["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "gate/without_errors");
    let report: Value = serde_json::from_str(&ci.read("report.json")).unwrap();
    assert_eq!(result["partialFingerprints"]["alertId"], report["results"][0]["alert_id"]);
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!((&place["artifactLocation"]["uri"], &place["region"]["startLine"]), (&json!("gates.yaml"), &json!(6)));

    let Some(python) = given::installed("reports_are_read_by_their_parsers", "WEAVERGEN_TEST_PYTHON") else { return };
    for file in [
        ci.folder.path().join("junit.xml"),
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gates/reports/junit.xml"),
    ] {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/gates/reports/junit.py");
        let checked = Command::new(&python).arg(script).arg(&file).output().unwrap();
        assert!(checked.status.success(), "{}: {}", file.display(), err(&checked));
    }
}
