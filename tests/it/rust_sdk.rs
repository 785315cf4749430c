//! The OpenTelemetry SDK of Rust over gRPC, and what no SDK lets one say, built by hand.
//!
//! Every value type, event, link, status, flag and resource value must be found exactly as sent: in memory, after a kill
//! and from parts.

use std::time::{Duration, SystemTime};

use opentelemetry::trace::{Event, Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value as Attribute};
use opentelemetry_otlp::WithExportConfig as _;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use prost::Message as _;
use serde_json::{Value, json};

use crate::clients::found_exactly_as_sent;
use crate::daemon::{Daemon, block_on};
use crate::proto::plain::opentelemetry::proto as otlp;
use otlp::collector::trace::v1::ExportTraceServiceRequest;
use otlp::common::v1::any_value::Value as Any;
use otlp::common::v1::{AnyValue, ArrayValue, InstrumentationScope as Scope, KeyValueList};
use otlp::resource::v1::Resource as OtlpResource;
use otlp::trace::v1::{ResourceSpans, ScopeSpans, Span, span};

const START_NS: u64 = 1_790_000_000_123_456_789;

fn time(ns: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)
}

fn attributes(n: u64) -> Vec<(KeyValue, Value)> {
    let pair = |key: &'static str, value: Attribute, shown: Value| (KeyValue::new(key, value), shown);
    let texts = || vec![StringValue::from("a"), StringValue::from(""), StringValue::from("ü\u{1F980}")];
    vec![
        pair("text", "caf\u{e9} \"quoted\"\n".into(), json!("caf\u{e9} \"quoted\"\n")),
        pair("text.empty", "".into(), json!("")),
        pair("int", Attribute::I64(-7 - i64::try_from(n).unwrap()), json!(-7 - i64::try_from(n).unwrap())),
        pair("int.max", Attribute::I64(i64::MAX), json!(i64::MAX)),
        pair("int.min", Attribute::I64(i64::MIN), json!(i64::MIN)),
        pair("double", Attribute::F64(0.1), json!(0.1)),
        pair("double.small", Attribute::F64(-1.5e-300), json!(-1.5e-300)),
        pair("bool", Attribute::Bool(n.is_multiple_of(2)), json!(n.is_multiple_of(2))),
        pair("texts", Attribute::Array(Array::String(texts())), json!(["a", "", "ü\u{1F980}"])),
        pair("ints", Attribute::Array(Array::I64(vec![1, -2, i64::MAX])), json!([1, -2, i64::MAX])),
        pair("doubles", Attribute::Array(Array::F64(vec![0.25, -1e99])), json!([0.25, -1e99])),
        pair("bools", Attribute::Array(Array::Bool(vec![true, false])), json!([true, false])),
        pair("ints.none", Attribute::Array(Array::I64(vec![])), json!([])),
    ]
}

fn shown(pairs: &[(KeyValue, Value)]) -> Value {
    pairs.iter().map(|(pair, value)| (pair.key.as_str().to_owned(), value.clone())).collect()
}

fn context(trace: u128, span: u64) -> SpanContext {
    let (trace, span) = (TraceId::from_bytes(trace.to_be_bytes()), SpanId::from_bytes(span.to_be_bytes()));
    SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default())
}

/// Span `n` of the SDK and what SQL must show of it.
fn sdk_span(n: u64) -> (SpanData, Value) {
    let trace = (0xabcd_u128 << 64) + u128::from(n) + 1;
    let kinds = [
        (SpanKind::Internal, "internal"),
        (SpanKind::Server, "server"),
        (SpanKind::Client, "client"),
        (SpanKind::Producer, "producer"),
        (SpanKind::Consumer, "consumer"),
    ];
    let statuses = [
        (Status::Unset, "unset", Value::Null),
        (Status::Ok, "ok", Value::Null),
        (Status::error("it \"broke\""), "error", json!("it \"broke\"")),
    ];
    let (kind, kind_text) = kinds[n as usize % kinds.len()].clone();
    let (status, status_text, message) = statuses[n as usize % statuses.len()].clone();
    let own = attributes(n);
    let of_event = attributes(n + 100);
    let plain = |pairs: &[(KeyValue, Value)]| pairs.iter().map(|(pair, _)| pair.clone()).collect::<Vec<_>>();
    let (start, end) = (START_NS + n * 1000, START_NS + n * 1000 + 777 * n);
    let (mut events, mut links) = (SpanEvents::default(), SpanLinks::default());
    events.events.push(Event::new("said", time(start + 3), plain(&of_event), 0));
    links.links.push(Link::new(context(trace + 500, n + 9), plain(&own), 0));
    let data = SpanData {
        span_context: context(trace, n + 1),
        parent_span_id: if n == 0 { SpanId::INVALID } else { SpanId::from_bytes(n.to_be_bytes()) },
        parent_span_is_remote: false,
        span_kind: kind,
        name: format!("work {n}").into(),
        start_time: time(start),
        end_time: time(end),
        attributes: plain(&own),
        dropped_attributes_count: 0,
        events,
        links,
        status,
        instrumentation_scope: InstrumentationScope::builder("rust.scope").with_version("1.2.3").build(),
    };
    let expected = json!({
        "trace_id": format!("{trace:032x}"), "span_id": format!("{:016x}", n + 1),
        "parent_span_id": if n == 0 { Value::Null } else { json!(format!("{n:016x}")) },
        "name": format!("work {n}"), "kind": kind_text, "status": status_text,
        "status_message": message, "scope": "rust.scope", "attributes": shown(&own),
        "resource": {"service.name": "rust-sdk", "host.ids": [1, 2]},
        "events": [{"name": "said", "attributes": shown(&of_event), "time": (start + 3).to_string()}],
        "links": [{"trace_id": format!("{:032x}", trace + 500), "span_id": format!("{:016x}", n + 9),
            "attributes": shown(&own)}],
        "start": start.to_string(), "end": end.to_string(),
    });
    (data, expected)
}

#[test]
fn the_rust_sdk_over_grpc() {
    found_exactly_as_sent(|daemon| {
        let (spans, expected): (Vec<_>, Vec<_>) = (0..12).map(sdk_span).unzip();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let mut exporter =
                opentelemetry_otlp::SpanExporter::builder().with_tonic().with_endpoint(daemon.grpc()).build().unwrap();
            let host = KeyValue::new("host.ids", Attribute::Array(Array::I64(vec![1, 2])));
            let resource = Resource::builder_empty().with_service_name("rust-sdk").with_attribute(host).build();
            exporter.set_resource(&resource);
            exporter.export(spans).await.unwrap();
        });
        expected
    });
}

fn any(value: Any) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn pair(key: &str, value: Option<Any>) -> otlp::common::v1::KeyValue {
    let value = value.map(any);
    otlp::common::v1::KeyValue { key: key.to_owned(), value, ..Default::default() }
}

fn list(values: Vec<AnyValue>) -> Any {
    Any::ArrayValue(ArrayValue { values })
}

fn map(pairs: Vec<(&str, Any)>) -> Any {
    Any::KvlistValue(KeyValueList { values: pairs.into_iter().map(|(k, v)| pair(k, Some(v))).collect() })
}

/// What the protocol can say and no SDK does: bytes, lists in lists, maps, nothing, mixed lists, the span's type, all
/// flags, counts of what was dropped.
fn by_hand() -> ExportTraceServiceRequest {
    let text = |text: &str| any(Any::StringValue(text.to_owned()));
    let deep = map(vec![(
        "outer",
        list(vec![
            any(list(vec![any(Any::IntValue(1)), any(list(vec![text("deep")]))])),
            any(map(vec![("inner", Any::BytesValue(vec![0, 255, 16]))])),
            AnyValue { value: None },
        ]),
    )]);
    let attributes = vec![
        pair("bytes", Some(Any::BytesValue(vec![0, 1, 254, 255]))),
        pair("bytes.none", Some(Any::BytesValue(vec![]))),
        pair("mixed", Some(list(vec![text("a"), any(Any::IntValue(2)), any(Any::BoolValue(true))]))),
        pair("map", Some(deep)),
        pair("nothing", None),
    ];
    let event = span::Event {
        time_unix_nano: START_NS + 1,
        name: "e".to_owned(),
        attributes: attributes.clone(),
        dropped_attributes_count: 3,
    };
    let link = span::Link {
        trace_id: vec![7; 16],
        span_id: vec![8; 8],
        trace_state: "vendor=1".to_owned(),
        attributes: attributes.clone(),
        dropped_attributes_count: 4,
        flags: 0x301,
    };
    let spans = vec![Span {
        trace_id: vec![5; 16],
        span_id: vec![6; 8],
        parent_span_id: vec![9; 8],
        trace_state: "a=1,b=2".to_owned(),
        flags: 0x301,
        name: "by hand".to_owned(),
        kind: 3,
        start_time_unix_nano: START_NS,
        end_time_unix_nano: START_NS + 10,
        attributes: attributes.clone(),
        dropped_attributes_count: 5,
        events: vec![event],
        dropped_events_count: 6,
        links: vec![link],
        dropped_links_count: 7,
        ..Span::default()
    }];
    let scope = Some(Scope {
        name: "hand".to_owned(),
        version: "0".to_owned(),
        attributes: vec![pair("scope.bytes", Some(Any::BytesValue(vec![3])))],
        dropped_attributes_count: 8,
    });
    let scope_spans = vec![ScopeSpans { scope, spans, schema_url: "https://example.com/scope/1".to_owned() }];
    let resource = Some(OtlpResource {
        attributes: vec![pair("service.name", Some(Any::StringValue("hand".to_owned()))), attributes[3].clone()],
        dropped_attributes_count: 9,
        ..OtlpResource::default()
    });
    let schema_url = "https://example.com/resource/1".to_owned();
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans, schema_url }] }
}

fn check_by_hand(daemon: &Daemon, when: &str) {
    let map = json!({"outer": [[1, ["deep"]], {"inner": "AP8Q"}, null]});
    let attributes =
        json!({"bytes": "AAH+/w==", "bytes.none": "", "mixed": ["a", 2, true], "map": map, "nothing": null});
    let rows = daemon.rows(
        "SELECT attributes, events, links, resource, scope, trace_state, flags, dropped_attributes_count, \
         dropped_events_count, dropped_links_count, kind \
         FROM spans WHERE name = 'by hand'",
    );
    assert_eq!(rows.len(), 1, "{when}");
    let row = &rows[0];
    assert_eq!(row[0], attributes, "{when}");
    assert_eq!(row[1][0]["attributes"], attributes, "{when}");
    assert_eq!(row[1][0]["dropped_attributes_count"], 3, "{when}: {row}");
    assert_eq!(row[2][0]["attributes"], attributes, "{when}");
    assert_eq!(row[2][0]["trace_state"], "vendor=1", "{when}");
    assert_eq!(row[2][0]["flags"], 0x301, "{when}");
    assert_eq!(row[3], json!({"service.name": "hand", "map": map}), "{when}");
    assert_eq!(row[4], json!({"scope.bytes": "Aw=="}), "{when}");
    assert_eq!(row[5], "a=1,b=2", "{when}");
    let numbers: Vec<_> = (6..10).map(|at| row[at].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0x301, 5, 6, 7], "{when}");
    assert_eq!(row[10], "client", "{when}");
}

#[test]
fn what_no_sdk_says_is_found_as_sent() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data);
    daemon.wait_ready();
    let url = format!("{}/v1/traces", daemon.http());
    let status = block_on(async {
        let client = reqwest::Client::new();
        let request = client.post(url).header("content-type", "application/x-protobuf");
        request.body(by_hand().encode_to_vec()).send().await.unwrap().status()
    });
    assert_eq!(status, 200);
    check_by_hand(&daemon, "in memory");
    let daemon = Daemon::start(&daemon.kill());
    daemon.wait_ready();
    check_by_hand(&daemon, "after kill -9");
    assert_eq!(daemon.stop(), 0);
    let daemon = Daemon::start(&data);
    daemon.wait_ready();
    check_by_hand(&daemon, "from parts");
}
