//! The daemon observes itself: what it does is spans of its own store, and observing makes no more of them.

use std::time::Duration;

use prost::Message as _;
use serde_json::json;

use crate::daemon::{Daemon, block_on};
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

fn send(daemon: &Daemon, body: Vec<u8>) -> u16 {
    let url = format!("{}/v1/traces", daemon.http());
    block_on(async {
        let client = reqwest::Client::new();
        let request = client.post(url).header("content-type", "application/x-protobuf").body(body);
        request.send().await.unwrap().status().as_u16()
    })
}

fn own(daemon: &Daemon, which: &str) -> Vec<serde_json::Value> {
    daemon.rows(&format!(
        "SELECT name, kind, status_code, attributes FROM spans WHERE resource['weavergen.origin'] = 'self' AND {which}"
    ))
}

fn wait_for(daemon: &Daemon, which: &str) -> Vec<serde_json::Value> {
    for _ in 0..100 {
        let rows = own(daemon, which);
        if !rows.is_empty() {
            return rows;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no own span with {which} within 10 s");
}

#[test]
fn requests_statements_and_flushes_are_spans_and_own_spans_make_none() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data);
    daemon.wait_ready();
    let span = Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..Span::default() };
    let bad = Span { trace_id: vec![1; 15], ..span.clone() };
    let scope_spans = vec![ScopeSpans { spans: vec![span, bad], ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    assert_eq!(send(&daemon, request.encode_to_vec()), 200);
    assert_eq!(send(&daemon, vec![0x0a, 0x7f]), 400);
    assert_eq!(daemon.ask("SELECT nothing FROM spans").0, 400);

    let received = wait_for(&daemon, "name = 'receiver/otlp/TraceDataReceived' AND status_code <> 'error'");
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0][1], "server");
    let attributes = &received[0][3];
    assert_eq!(attributes["accepted_spans"], 1, "{attributes}");
    assert_eq!(attributes["rejected_spans"], 1, "{attributes}");
    assert_eq!((&attributes["receiver"], &attributes["transport"]), (&json!("otlp"), &json!("http")));
    assert_eq!(wait_for(&daemon, "name = 'receiver/otlp/TraceDataReceived' AND status_code = 'error'").len(), 1);
    wait_for(&daemon, "name = 'query/statement' AND status_code = 'error'");
    wait_for(&daemon, "name = 'query/statement' AND attributes['rows'] = 1");

    // Two own requests were received; storing own spans for seconds adds none.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(own(&daemon, "name = 'receiver/otlp/TraceDataReceived'").len(), 2);
    assert_eq!(daemon.stop(), 0);
    let daemon = Daemon::start(&data);
    daemon.wait_ready();
    assert_eq!(own(&daemon, "name = 'receiver/otlp/TraceDataReceived'").len(), 2);
}

#[test]
fn an_evaluation_of_a_gate_is_a_span() {
    let dir = tempfile::tempdir().unwrap();
    let intervals = [
        "--set=gates.interval=1s",
        "--set=gates.query_offset=1s",
        "--set=gates.idle_source_after=1s",
        "--set=learn.enabled=false",
    ];
    let daemon = Daemon::start_with(&dir.path().join("data"), &intervals);
    daemon.wait_ready();
    let evaluated = wait_for(&daemon, "name = 'gate/evaluate' AND attributes['gate'] = 'span_completeness'");
    let attributes = &evaluated[0][3];
    assert_eq!((&attributes["gate"], &attributes["rows"]), (&json!("span_completeness"), &json!(0)));
    assert!(attributes["tick_ns"].as_i64() < attributes["cut_us"].as_i64().map(|us| us * 1_000), "{attributes}");
    assert!(attributes.as_object().unwrap().keys().all(|key| !key.starts_with("own.")), "{attributes}");
    let ids = "SELECT count(*) AS n, count(DISTINCT trace_id) AS traces FROM spans WHERE name = 'gate/evaluate'";
    let counted = &daemon.rows(ids)[0];
    assert_eq!(counted[0], counted[1], "each has a trace of its own");
}

#[test]
fn traces_level_none_switches_own_spans_off() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(&dir.path().join("data"), &["--set=service::telemetry::traces::level=none"]);
    daemon.wait_ready();
    assert_eq!(send(&daemon, vec![0x0a, 0x7f]), 400);
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(own(&daemon, "true"), Vec::<serde_json::Value>::new());
}
