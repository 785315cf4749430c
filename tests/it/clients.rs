//! Exporters that others wrote: the OpenTelemetry SDKs of Python and Node, over every transport they have.
//!
//! Each sends known traces and prints what it sent; SQL must find it exactly, in memory, after a kill and after a flush.
//! `tests/run.sh` installs the SDKs and says where in the environment.

use std::process::Command;

use serde_json::{Value, json};

use crate::daemon::Daemon;
use crate::given::installed;

fn sent_by(command: &mut Command) -> Vec<Value> {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Text of a number as JSON readers of other languages may write it.
fn plain(value: &Value) -> Value {
    match value {
        Value::Number(n) if n.as_f64().is_some_and(|d| d.fract() == 0.0 && d.abs() < 9e15) => {
            json!(n.as_f64().unwrap() as i64)
        }
        Value::Array(values) => values.iter().map(plain).collect(),
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), plain(v))).collect(),
        other => other.clone(),
    }
}

/// Integers beyond 2^53 are text in our JSON.
fn as_shown(value: &Value) -> Value {
    match value {
        Value::Number(n) if n.as_i64().is_some_and(|i| i.unsigned_abs() > 1 << 53) => json!(n.to_string()),
        Value::Array(values) => values.iter().map(as_shown).collect(),
        Value::Object(members) => members.iter().map(|(k, v)| (k.clone(), as_shown(v))).collect(),
        other => plain(other),
    }
}

fn check(daemon: &Daemon, sent: &[Value], when: &str) {
    for span in sent {
        let (trace, id) = (span["trace_id"].as_str().unwrap(), span["span_id"].as_str().unwrap());
        let rows = daemon.rows(&format!(
            "SELECT hex(parent_span_id), name, kind, status_code, status_message, attributes, resource, scope_name, \
             events, links, start_time, duration_ns, flags FROM spans \
             WHERE trace_id = trace_id('{trace}') AND span_id = span_id('{id}')"
        ));
        assert_eq!(rows.len(), 1, "{when}: {span}");
        let row = &rows[0];
        let expected = [
            (0, &span["parent_span_id"]),
            (1, &span["name"]),
            (2, &span["kind"]),
            (3, &span["status"]),
            (4, &span["status_message"]),
            (7, &span["scope"]),
        ];
        for (column, value) in expected {
            assert_eq!(&row[column], value, "{when}: column {column} of {span}");
        }
        assert_eq!(plain(&row[5]), as_shown(&span["attributes"]), "{when}: {span}");
        assert_eq!(plain(&row[6]), as_shown(&span["resource"]), "{when}: {span}");
        let events: Vec<Value> = row[8].as_array().unwrap().clone();
        let sent_events = span["events"].as_array().unwrap();
        assert_eq!(events.len(), sent_events.len(), "{when}: {span}");
        for (event, sent) in events.iter().zip(sent_events) {
            assert_eq!(event["name"], sent["name"]);
            assert_eq!(plain(&event["attributes"]), as_shown(&sent["attributes"]), "{when}");
            assert_eq!(nanos(event["time"].as_str().unwrap()).to_string(), sent["time"].as_str().unwrap());
        }
        let links = row[9].as_array().unwrap();
        let sent_links = span["links"].as_array().unwrap();
        assert_eq!(links.len(), sent_links.len(), "{when}: {span}");
        for (link, sent) in links.iter().zip(sent_links) {
            assert_eq!((&link["trace_id"], &link["span_id"]), (&sent["trace_id"], &sent["span_id"]));
            assert_eq!(plain(&link["attributes"]), as_shown(&sent["attributes"]));
        }
        let start = nanos(row[10].as_str().unwrap());
        assert_eq!(start.to_string(), span["start"].as_str().unwrap(), "{when}: {span}");
        let end = start + i128::from(row[11].as_i64().unwrap());
        assert_eq!(end.to_string(), span["end"].as_str().unwrap(), "{when}: {span}");
        // Python sends this bit alone, Node the trace flags with it.
        assert!(row[12].as_u64().unwrap() & 0x100 != 0, "{when}: the has-is-remote flag of {span}");
    }
}

fn nanos(rfc3339: &str) -> i128 {
    rfc3339.parse::<jiff::Timestamp>().unwrap().as_nanosecond()
}

pub fn found_exactly_as_sent(run: impl Fn(&Daemon) -> Vec<Value>) {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data);
    let sent = run(&daemon);
    assert!(sent.len() >= 10);
    check(&daemon, &sent, "in memory");
    daemon.kill();
    let daemon = Daemon::start(&data);
    daemon.wait_ready();
    check(&daemon, &sent, "after kill -9");
    assert_eq!(daemon.stop(), 0);
    let daemon = Daemon::start(&data);
    assert!(std::fs::read_dir(data.join("spans")).unwrap().next().is_some(), "a stop flushes to parts");
    daemon.wait_ready();
    check(&daemon, &sent, "from parts");
}

#[test]
fn python_over_grpc() {
    let Some(python) = installed("clients::python", "WEAVERGEN_TEST_PYTHON") else { return };
    found_exactly_as_sent(|daemon| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/send.py");
        sent_by(Command::new(&python).args([script, "grpc", &daemon.grpc(), "5"]))
    });
}

#[test]
fn python_over_http_protobuf() {
    let Some(python) = installed("clients::python", "WEAVERGEN_TEST_PYTHON") else { return };
    found_exactly_as_sent(|daemon| {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/send.py");
        sent_by(Command::new(&python).args([script, "http", &daemon.http(), "5"]))
    });
}

fn node(encoding: &str) {
    let Some(modules) = installed("clients::node", "WEAVERGEN_TEST_NODE_MODULES") else { return };
    found_exactly_as_sent(|daemon| {
        // Node looks for modules beside the script, so it runs from where they are installed.
        let script = std::path::Path::new(&modules).with_file_name(format!("send-{encoding}.mjs"));
        std::fs::copy(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/send.mjs"), &script).unwrap();
        sent_by(Command::new("node").arg(script).args([encoding, &daemon.http(), "5"]))
    });
}

#[test]
fn node_over_http_json() {
    node("json");
}

#[test]
fn node_over_http_protobuf() {
    node("protobuf");
}
