//! The query library over a daemon: spans with planted troubles, every query's example, and the answers that matter.
//!
//! `tests/data/queries/spans.json` holds the spans; `at` is in ms after a minute ago.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Map, Value, json};
use weavergen::query::library::Library;

use crate::daemon::{BINARY, Daemon, block_on};

/// The registry's shop knows which attributes a charge must have.
const FLAGS: [&str; 2] = ["--set=semconv::registry=builtin:shop", "--set=service::telemetry::traces::level=none"];

/// The file's spans as OTLP/JSON, after `base_ns`.
fn request(base_ns: i64) -> Value {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/queries/spans.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
    json!({ "resourceSpans": rows.iter().map(|row| resource_spans(row, base_ns)).collect::<Vec<_>>() })
}

fn number(row: &Value, key: &str) -> i64 {
    row.get(key).map_or(0, |value| value.as_i64().unwrap())
}

fn attributes(of: Option<&Value>) -> Vec<Value> {
    let members = of.and_then(Value::as_object).cloned().unwrap_or_default();
    let value = |value: Value| match value {
        Value::String(text) => json!({ "stringValue": text }),
        number => json!({ "intValue": number.to_string() }),
    };
    members.into_iter().map(|(key, of)| json!({"key": key, "value": value(of)})).collect()
}

fn resource_spans(row: &Value, base_ns: i64) -> Value {
    let at = |ms: i64| (base_ns + ms * 1_000_000).to_string();
    let (repeat, traces) = (number(row, "repeat").max(1), number(row, "traces").max(1));
    let spans = (0..repeat * traces).map(|i| {
        let (trace, id) = match traces > 1 {
            true => (number(row, "trace") + i, number(row, "id")),
            false => (number(row, "trace"), number(row, "id") + i),
        };
        let start = number(row, "at") + i * number(row, "every");
        let events = row["events"].as_array().cloned().unwrap_or_default();
        let event = |of: &Value| {
            json!({"timeUnixNano": at(number(of, "at")), "name": of["name"], "attributes": attributes(of.get("attributes"))})
        };
        json!({
            "traceId": format!("{trace:032x}"),
            "spanId": format!("{id:016x}"),
            "parentSpanId": row.get("parent").map_or(String::new(), |of| format!("{:016x}", of.as_i64().unwrap())),
            "name": row["name"],
            "kind": row["kind"],
            "startTimeUnixNano": at(start),
            "endTimeUnixNano": at(start + number(row, "ms")),
            "attributes": attributes(row.get("attributes")),
            "status": {"code": number(row, "status"), "message": row["message"].as_str().unwrap_or("")},
            "droppedAttributesCount": number(row, "dropped"),
            "events": events.iter().map(event).collect::<Vec<_>>(),
        })
    });
    let mut resource = row["resource"].as_object().cloned().unwrap_or_default();
    resource.insert("service.name".to_owned(), row["service"].clone());
    let scope =
        json!({"name": row["scope"][0].as_str().unwrap_or(""), "version": row["scope"][1].as_str().unwrap_or("")});
    json!({
        "resource": {"attributes": attributes(Some(&Value::Object(resource)))},
        "scopeSpans": [{"scope": scope, "spans": spans.collect::<Vec<_>>()}],
    })
}

fn planted(daemon: &Daemon) {
    let now_ns = weavergen::clock::Clock::os().now_ns();
    let (url, body) = (format!("{}/v1/traces", daemon.http()), request(now_ns - 60_000_000_000).to_string());
    let answer = block_on(async {
        let request = reqwest::Client::new().post(url).header("content-type", "application/json").body(body);
        request.send().await.unwrap().text().await.unwrap()
    });
    assert!(!answer.contains("rejected"), "{answer}");
}

/// Columns, and rows as objects, of a named query.
fn ran(daemon: &Daemon, name: &str, given: &[(String, String)]) -> (Vec<String>, Vec<Map<String, Value>>) {
    let mut command = Command::new(BINARY);
    command.args(["sql", "--url", &daemon.url("api", ""), "-o", "json", "--named", name]);
    for (name, value) in given {
        command.args(["-p", &format!("{name}={value}")]);
    }
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {told}");
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let columns: Vec<String> = answer["columns"]
        .as_array()
        .unwrap()
        .iter()
        .map(|column| column["name"].as_str().unwrap().to_owned())
        .collect();
    let row = |row: &Value| columns.iter().cloned().zip(row.as_array().unwrap().clone()).collect();
    let rows = answer["rows"].as_array().unwrap().iter().map(row).collect();
    (columns, rows)
}

#[test]
fn every_query_answers_its_example_with_rows_of_its_columns_and_finds_what_was_planted() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start_with(&dir.path().join("data"), &FLAGS);
    planted(&daemon);
    let library = Library::shipped(None);
    let mut found: BTreeMap<String, Vec<Map<String, Value>>> = BTreeMap::new();
    for name in library.names() {
        let query = library.query(&name).unwrap();
        let example = query.head.examples.first().cloned().unwrap_or_default();
        let (columns, rows) = ran(&daemon, &name, &example);
        let distinct: BTreeSet<&String> = columns.iter().collect();
        assert_eq!(distinct.len(), columns.len(), "{name}: {columns:?}");
        for column in &columns {
            assert!(
                column.chars().all(|c| c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()),
                "{name}: {column}"
            );
        }
        for (column, _) in &query.head.units {
            assert!(columns.contains(column), "{name} gives a unit to `{column}`, which it does not have: {columns:?}");
        }
        // What packs of gates ask is not planted: `gates test` runs these over spans of their own.
        let packs = ["delivery/", "founding/", "instrumentation/", "semconv/"];
        let by_gates = packs.iter().any(|pack| name.starts_with(pack)) && name != "founding/span_completeness";
        assert!(by_gates || !rows.is_empty(), "{name} finds nothing");
        found.insert(name, rows);
    }
    right(&found);
    assert_eq!(daemon.stop(), 0);
}

/// The row of `query` in which `column` is `value`, and nothing but one.
fn row<'a>(
    found: &'a BTreeMap<String, Vec<Map<String, Value>>>,
    query: &str,
    column: &str,
    value: &str,
) -> &'a Map<String, Value> {
    let rows = &found[query];
    let mut fits = rows.iter().filter(|row| row[column] == value);
    match (fits.next(), fits.next()) {
        (Some(row), None) => row,
        other => panic!("{query}: {column} = {value}: {other:?} of {rows:?}"),
    }
}

fn right(found: &BTreeMap<String, Vec<Map<String, Value>>>) {
    let one = |query: &str, column: &str, value: &str, want: Value| {
        let row = row(found, query, column, value);
        for (column, want) in want.as_object().unwrap() {
            let is_near = match (row[column].as_f64(), want.as_f64()) {
                // Quantiles are within 1.1 %.
                (Some(got), Some(want)) => (got - want).abs() <= want.abs() * 0.011,
                _ => row[column] == *want,
            };
            assert!(is_near, "{query}: `{column}` of {row:?} is not {want}");
        }
    };
    let trace = |id: u8| format!("{id:032x}");
    one(
        "n_plus_one",
        "repeated",
        "SELECT items",
        json!({
            "service_name": "shop", "operation": "list orders", "times_seen": 1, "most_calls": 12, "total_ms": 240, "example": trace(1),
        }),
    );
    assert_eq!(found["n_plus_one"].len(), 1, "one loop was planted");
    one(
        "retries",
        "name",
        "POST pay.example.com",
        json!({"retried": 1, "most_tries": 3, "saved": 0, "example": trace(2)}),
    );
    assert_eq!(found["retries"].len(), 1);
    one("orphan_spans", "name", "reserve", json!({"service_name": "shop", "orphans": 1, "example": trace(3)}));
    assert_eq!(found["orphan_spans"].len(), 1);
    // It starts 50 ms before its caller and ends 70 ms before it.
    one(
        "clock_skew",
        "callee",
        "stock",
        json!({"caller": "web", "outside": 1, "callee_ahead_ms": -60, "earliest_start_ms": -50}),
    );
    assert_eq!(found["clock_skew"].len(), 1);
    one("cold_starts", "service_name", "resize", json!({"instance": "resize-7", "first_ms": 900, "usual_ms": 10}));
    assert_eq!(found["cold_starts"].len(), 1);
    // Its error is the one of the calls below it.
    one(
        "error_hotspots",
        "name",
        "POST pay.example.com",
        json!({"errors": 3, "share": 0.2, "status_message": "timed out"}),
    );
    one("error_messages", "type", "TimeoutError", json!({"message": "no answer in 600 ms", "n": 1}));
    one("service_map", "callee", "shop", json!({"caller": "web", "calls": 1, "p50_ms": 380}));
    assert_eq!(found["service_map"].len(), 3);
    one("external_calls", "target", "pay.example.com", json!({"calls": 3, "error_rate": 1, "total_ms": 1800}));
    assert_eq!(found["external_calls"].len(), 3, "stock and shop send spans themselves");
    one(
        "slow_database",
        "statement",
        "SELECT * FROM items WHERE order_id = $1",
        json!({"calls": 12, "total_ms": 240, "system": "postgresql"}),
    );
    // 380 ms less twelve of 20 ms and one of 20 ms, which do not overlap.
    one("self_time", "name", "list orders", json!({"self_ms": 120, "total_ms": 380}));
    // The call of 100 ms is covered by its callee from its begin to 30 ms.
    one("self_time", "name", "GET stock", json!({"self_ms": 70}));
    one("fan_out", "name", "list orders", json!({"most_children": 13}));
    one("queue_delay", "consumer", "mail", json!({"producer": "shop", "destination": "orders", "max_ms": 250}));
    one("late_spans", "service_name", "batch", json!({"late": 1}));
    one("silent_services", "service_name", "batch", json!({"spans": 1}));
    assert_eq!(found["silent_services"].len(), 1);
    one("dropped", "name", "orders process", json!({"attributes": 3, "events": 0}));
    one("status_codes", "route", "/pay", json!({"status": 500, "method": "GET", "calls": 1}));
    assert_eq!(found["status_codes"].len(), 2, "from 400 on");
    one("versions", "version", "2.0.0", json!({"calls": 1}));
    one("top_values", "value", "initech", json!({"spans": 4, "error_rate": 1}));
    one("attribute_cardinality", "key", "http.route", json!({"distinct_values": 5, "spans": 5, "services": 3}));
    one(
        "slower",
        "name",
        "GET /orders",
        json!({"calls_then": 1, "calls_now": 1, "p95_then_ms": 100, "p95_now_ms": 400, "factor": 4}),
    );
    assert!(!found["new_operations"].iter().any(|row| row["name"] == "GET /orders"), "it is a day old");
    one("new_operations", "name", "GET /pay", json!({"errors": 1}));
    one("red", "name", "resize image", json!({"calls": 11, "errors": 0, "p50_ms": 10}));
    one("instrumentation", "scope_name", "jobs", json!({"scope_version": "0.9.0", "service_name": "batch"}));
    one(
        "patterns/error_hotspot",
        "value",
        "eu",
        json!({"service_name": "pricing", "key": "app.region", "support": 12, "n": 12}),
    );
    one("patterns/new_operation", "operation", "resize image", json!({"service_name": "resize", "support": 11}));
    one(
        "repair/missing_attributes",
        "attribute",
        "app.order.id",
        json!({"semconv_type": "shop.payment.charge", "spans": 1}),
    );
    let variants: Vec<&Value> = found["learn/choose_variant"].iter().map(|row| &row["variant"]).collect();
    assert_eq!(variants, ["stable", "complete"]);
    assert_eq!(found["trace_spans"].len(), 16);
    let offsets: Vec<f64> = found["trace_spans"].iter().map(|row| row["offset_ms"].as_f64().unwrap()).collect();
    assert!(offsets.is_sorted() && offsets[0] == 0.0 && offsets[15] == 315.0, "{offsets:?}");
    assert_eq!(found["trace"][0]["span_count"], 4);
    assert_eq!(found["slowest_traces"][0]["trace_id"], trace(2));
    assert_eq!(found["big_traces"][0]["span_count"], 16);
    let of = |row: &Map<String, Value>| (row["from_ms"].as_f64().unwrap(), row["spans"].as_i64().unwrap());
    let steps: Vec<(f64, i64)> = found["latency_histogram"].iter().map(of).collect();
    assert_eq!(steps, [(8.0, 10), (512.0, 1)]);
}
