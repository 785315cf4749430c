//! The stop of a real daemon.

use std::time::Duration;

use prost::Message as _;

use crate::daemon::{Daemon, block_on};
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

#[test]
fn an_answer_that_is_read_is_whole_although_the_daemon_is_told_to_stop() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    // Far more than the system keeps between the two.
    let sql = "SELECT value, repeat('x', 4000) AS padding FROM generate_series(1, 9000)";
    let url = daemon.url("api", "/api/v1/sql?format=ndjson");
    let (text, code) = block_on(async move {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut response = client.post(url).body(sql).send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut bytes = response.chunk().await.unwrap().unwrap().to_vec();
        let stopping = std::thread::spawn(move || daemon.stop());
        // A daemon that nothing keeps drops its answers long before: what is left of the second goes into reading.
        tokio::time::sleep(Duration::from_millis(400)).await;
        while let Some(piece) = response.chunk().await.unwrap() {
            bytes.extend_from_slice(&piece);
        }
        (String::from_utf8(bytes).unwrap(), stopping.join().unwrap())
    });
    assert_eq!((text.matches("xxx\"").count(), code), (9_000, 0));
}

#[test]
fn without_a_log_a_stop_writes_what_was_acknowledged_however_little_time_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let flags = ["--set=storage::durability=memory", "--set=service::weavergen::shutdown_timeout=1ms"];
    let daemon = Daemon::start_with(&data, &flags);
    daemon.wait_ready();
    let start_ns = 1_790_000_000_000_000_000;
    let span = |n: u8| Span {
        trace_id: vec![1; 16],
        span_id: vec![n; 8],
        name: "kept".to_owned(),
        start_time_unix_nano: start_ns,
        end_time_unix_nano: start_ns + 1,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: (1..=100).map(span).collect(), ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let url = format!("{}/v1/traces", daemon.http());
    let status = block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(url).header("content-type", "application/x-protobuf").body(request.encode_to_vec());
        request.send().await.unwrap().status()
    });
    assert_eq!(status, 200);
    assert_eq!(daemon.stop(), 0);
    let daemon = Daemon::start(&data);
    daemon.wait_ready();
    let rows = daemon.rows("SELECT count(*) FROM spans WHERE name = 'kept'");
    assert_eq!(rows, [serde_json::json!([100])]);
}
