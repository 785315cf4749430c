//! Semantic conventions in a daemon: columns in memory, after kill -9 and in parts; reload; refusals (semconv.md 2, 3, 5).

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use prost::Message as _;
use serde_json::json;

use crate::daemon::{BINARY, Daemon, block_on, free_ports};
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::plain::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// The rows stay in memory until the daemon stops.
const LATE_FLUSH: &str = "--set=storage::memtable::flush_after=1h";

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn int(key: &str, value: i64) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::IntValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// A page of `size` under the registry of [`registry`].
fn page(number: u8, name: &str, field: &str, size: i64) -> Span {
    Span { attributes: vec![int("app.size", size)], ..span(number, name, field, &[]) }
}

/// A span with a name, a type in field 17, and text attributes.
fn span(number: u8, name: &str, field: &str, attributes: &[(&str, &str)]) -> Span {
    Span {
        trace_id: vec![number; 16],
        span_id: vec![number; 8],
        name: name.to_owned(),
        kind: 2,
        start_time_unix_nano: 1_790_000_000_000_000_000,
        end_time_unix_nano: 1_790_000_000_000_000_500,
        r#type: field.to_owned(),
        attributes: attributes.iter().map(|(key, value)| text(key, value)).collect(),
        ..Span::default()
    }
}

/// Sends `spans` over OTLP, under the scope's schema URL `url`.
fn send(daemon: &Daemon, url: &str, spans: Vec<Span>) {
    use weavergen::cli::loadgen::{Compression, Outcome, Protocol, Target};
    let scope_spans = vec![ScopeSpans { spans, schema_url: url.to_owned(), ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let target = Target::try_new(&daemon.grpc(), Protocol::Grpc, Compression::None).unwrap();
    let body = target.body(&request.encode_to_vec()).unwrap();
    block_on(async {
        match target.connect().await.unwrap().send(body).await {
            Outcome::Acknowledged { rejected: 0 } => {}
            other => panic!("{other:?}"),
        }
    });
}

const COLUMNS: &str = "SELECT name, semconv_type, semconv_match, required_total, required_present, \
                       recommended_total, recommended_present, finding_level, \
                       CAST(coalesce(array_length(semconv_findings), 0) AS INT), findings_dropped, semconv_matcher, \
                       semconv_registry FROM spans WHERE service_name <> 'weavergen' ORDER BY name";
const MISSING: &str = "SELECT name, f['id'] AS id, f['level'] AS level, f['key'] AS key, f['sample_type'] AS of FROM \
                       (SELECT name, unnest(semconv_findings) AS f FROM spans WHERE service_name <> 'weavergen') \
                       ORDER BY name, key";

/// What must be seen, wherever the rows are.
fn see(daemon: &Daemon, place: &str) {
    let charge = "shop.payment.charge";
    let run = "weavergen.workflow.run";
    // name, type, match, required and recommended (total, present), level, findings, dropped, matcher
    let want = [
        json!(["a charge", charge, "span_type", 6, 6, 3, 1, null, 0, 0, null]),
        json!(["b charge", charge, "attribute", 6, 3, 3, 0, "violation", 3, 0, null]),
        json!(["c run", run, "span_type", 3, 3, 4, 0, null, 0, 0, null]),
        json!(["d stranger", null, null, null, null, null, null, null, 0, 0, null]),
        json!(["e silent", null, null, null, null, null, null, null, 0, 0, null]),
    ];
    let mut got = daemon.rows(COLUMNS);
    let registry = "https://weavergen.local/schemas/shop/1.0.0#";
    for row in &mut got {
        let label = row.as_array_mut().unwrap().pop().unwrap();
        let hash = label.as_str().and_then(|label| label.strip_prefix(registry));
        assert!(hash.is_some_and(|hash| hash.len() == 12), "{place}: {label}");
    }
    assert_eq!(got, want, "{place}");
    let missing = |key: &str| json!(["b charge", "required_attribute_not_present", "violation", key, "span"]);
    let want = [missing("app.order.id"), missing("app.payment.amount"), missing("app.payment.currency")];
    assert_eq!(daemon.rows(MISSING), want, "{place}");
    let sums = "SELECT sum(required_present), sum(required_total), count(semconv_type), count(*) FROM spans \
                WHERE service_name <> 'weavergen'";
    assert_eq!(daemon.rows(sums), [json!([12, 15, 3, 5])], "{place}");
}

#[test]
fn columns_are_seen_in_memory_after_kill_9_and_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let flags = ["--set=semconv::registry=builtin:shop", LATE_FLUSH];
    let daemon = Daemon::start_with(&data, &flags);
    let whole = [
        ("rpc.system", "grpc"),
        ("rpc.method", "payment.Payment/Charge"),
        ("app.order.id", "order-1"),
        ("app.payment.amount", "12.5"),
        ("app.payment.card", "visa"),
        ("app.payment.currency", "EUR"),
        ("server.address", "payment"),
    ];
    let torn = [
        ("rpc.system", "grpc"),
        ("rpc.method", "payment.Payment/Charge"),
        ("app.payment.card", "visa"),
        ("otel.span.type", "SHOP.payment.charge"),
    ];
    let run = [
        ("weavergen.workflow.name", "repair"),
        ("weavergen.workflow.run.id", "1"),
        ("weavergen.workflow.outcome", "completed"),
    ];
    send(
        &daemon,
        "",
        vec![
            span(1, "a charge", "shop.payment.charge", &whole),
            span(2, "b charge", "", &torn),
            span(3, "c run", "weavergen.workflow.run", &run),
            span(5, "e silent", "", &[("http.route", "/")]),
        ],
    );
    // The type is the shop's, but the scope says that the spans follow the registry of weavergen.
    let stranger = span(4, "d stranger", "shop.payment.charge", &whole);
    send(&daemon, "https://weavergen.local/schemas/weavergen/0.9.0", vec![stranger]);
    see(&daemon, "memory");

    daemon.kill();
    let daemon = Daemon::start_with(&data, &flags);
    daemon.wait_ready();
    see(&daemon, "replayed after kill -9");

    assert_eq!(daemon.stop(), 0);
    assert!(holds_parquet(&data.join("spans")), "a stop flushes");
    let daemon = Daemon::start_with(&data, &flags);
    daemon.wait_ready();
    see(&daemon, "parts");
}

fn holds_parquet(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    entries.flatten().any(|entry| match entry.path() {
        path if path.is_dir() => holds_parquet(&path),
        path => path.extension().is_some_and(|extension| extension == "parquet"),
    })
}

fn registry(dir: &Path, of: &str, span_type: &str) {
    let text = format!(
        "file_format: definition/2\nattributes:\n  - {{key: app.size, type: {of}, brief: Size., stability: stable}}\n\
         spans:\n  - type: {span_type}\n    kind: server\n    name: {{note: free}}\n    brief: A page.\n    \
         stability: stable\n    requirement_level: recommended\n    attributes:\n      \
         - {{ref: app.size, requirement_level: required}}\n"
    );
    std::fs::create_dir_all(dir).unwrap();
    // As an editor saves: the daemon never sees half a file.
    std::fs::write(dir.join("new"), text).unwrap();
    std::fs::rename(dir.join("new"), dir.join("pages.yaml")).unwrap();
}

/// Waits for the polling to have seen a change: `is_seen` answers from the metrics' text.
fn wait(daemon: &Daemon, is_seen: impl Fn(&str) -> bool) {
    let url = daemon.url("metrics", "/metrics");
    let began = Instant::now();
    loop {
        let metrics = block_on(async { reqwest::get(&url).await.unwrap().text().await.unwrap() });
        if is_seen(&metrics) {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "not seen:\n{metrics}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_changed_registry_is_in_force_within_seconds_and_a_broken_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("registry");
    registry(&folder, "string", "page.one");
    let set = format!("--set=semconv::registry={}", folder.display());
    let daemon = Daemon::start_with(&dir.path().join("data"), &[&set, LATE_FLUSH]);
    send(&daemon, "", vec![page(1, "first", "page.one", 9)]);
    let sizes = "SELECT attributes['app.size'] AS size FROM spans WHERE service_name <> 'weavergen' ORDER BY 1";

    assert_eq!(daemon.rows(sizes), [json!(["9"])], "text, as the registry says");

    registry(&folder, "int", "page.other");
    wait(&daemon, |metrics| metrics.contains("weavergen_semconv_reloads_total{result=\"ok\"} 1"));
    send(&daemon, "", vec![page(2, "second", "page.other", 10)]);
    assert_eq!(daemon.rows(sizes), [json!([9]), json!([10])], "numbers, as the registry says now");

    std::fs::write(folder.join("broken.yaml"), "file_format: definition/2\nspams: []\n").unwrap();
    wait(&daemon, |metrics| metrics.contains("weavergen_semconv_reloads_total{result=\"failed\"} 1"));
    send(&daemon, "", vec![span(3, "third", "page.other", &[])]);
    let types =
        "SELECT name, semconv_type, required_present FROM spans WHERE service_name <> 'weavergen' ORDER BY name";
    let want = [json!(["first", "page.one", 1]), json!(["second", "page.other", 1]), json!(["third", "page.other", 0])];
    assert_eq!(daemon.rows(types), want);
    let log = std::fs::read_to_string(dir.path().join("data.log")).unwrap();
    assert!(log.contains("broken.yaml:2:1: has invalid keys: spams; did you mean"), "{log}");
}

#[test]
fn a_broken_registry_keeps_the_daemon_from_starting_with_78() {
    let dir = tempfile::tempdir().unwrap();
    registry(dir.path(), "integer", "page.one");
    for (registry, code, says) in [
        (dir.path().display().to_string(), 78, "pages.yaml:3:27: attributes::0::type: unknown type \"integer\""),
        ("builtin:shap".to_owned(), 78, "no registry `shap` is shipped; there are `builtin:weavergen`, `builtin:shop`"),
        (dir.path().join("none").display().to_string(), 74, "No such file or directory"),
    ] {
        let output = Command::new(BINARY)
            .arg("run")
            .args(free_ports())
            .args([format!("--set=semconv::registry={registry}"), "--data".to_owned()])
            .arg(dir.path().join("data"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        assert!(told.contains(says), "{told}");
    }
}

#[test]
fn resolve_prints_the_same_registry_in_both_forms_and_validate_reads_it_too() {
    let dir = tempfile::tempdir().unwrap();
    registry(dir.path(), "int", "page.one");
    let run = |args: &[&str]| Command::new(BINARY).args(args).stdin(Stdio::null()).output().unwrap();
    let folder = dir.path().to_str().unwrap();
    let json = run(&["semconv", "resolve", "--registry", folder, "--format", "json"]);
    assert!(json.status.success(), "{json:?}");
    let view: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(view["file_format"], "resolved/2.0");
    assert_eq!(view["registry"]["spans"][0]["attributes"], json!([{"base": 0, "requirement_level": "required"}]));
    assert!(String::from_utf8_lossy(&json.stderr).contains("WG-SEM-W040"), "{json:?}");
    let out = dir.path().join("out.txt");
    let yaml = run(&["semconv", "resolve", "--registry", folder, "--v2", "--out", out.to_str().unwrap()]);
    assert!(yaml.status.success() && yaml.stdout.is_empty(), "{yaml:?}");
    assert!(std::fs::read_to_string(&out).unwrap().contains("  spans:\n    - attributes:\n        - base: 0\n"));

    let validate = |set: &str| run(&["validate", &format!("--set=semconv::registry={set}")]);
    assert_eq!(validate(folder).status.code(), Some(0));
    registry(dir.path(), "integer", "page.one");
    let invalid = validate(folder);
    assert_eq!(invalid.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&invalid.stderr).contains("WG-SEM-005"), "{invalid:?}");
    assert_eq!(run(&["semconv", "resolve", "--registry", folder]).status.code(), Some(78));
    assert_eq!(run(&["semconv", "resolve", "--registry", "builtin:none"]).status.code(), Some(78));
}
