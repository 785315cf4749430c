//! Random spans are the same in memory, after a replay of the log, and in parts.
//!
//! The decoder is compared with prost elsewhere (`decoder`); this holds that log, memory, the Parquet writer (promotion,
//! dictionaries, nested lists) and the reader change nothing of what was decoded.

use prost::Message as _;
use serde_json::Value;

use crate::daemon::{Daemon, block_on};
use crate::decoder::chance::Chance;
use crate::decoder::generate;

/// Requests of random content, of which some spans are set aside.
const REQUESTS: u64 = 400;

fn send(daemon: &Daemon) {
    let url = format!("{}/v1/traces", daemon.http());
    block_on(async {
        let client = reqwest::Client::new();
        for seed in 0..REQUESTS {
            let body = generate::request(&mut Chance::of(seed)).encode_to_vec();
            let request = client.post(&url).header("content-type", "application/x-protobuf").body(body);
            let status = request.send().await.unwrap().status();
            assert_eq!(status, 200, "seed {seed}");
        }
    });
}

/// Every row with all its columns but `parent_service`, which parts know and memory does not (storage.md 10.3), as text,
/// sorted.
fn rows(daemon: &Daemon) -> Vec<String> {
    daemon.wait_ready();
    let own = "coalesce(resource['weavergen.origin'], '') <> 'self'";
    let count = daemon.rows(&format!("SELECT count(*) FROM spans WHERE {own}"))[0][0].as_u64().unwrap();
    let mut rows: Vec<Value> = Vec::new();
    // Pages by span id: an answer holds at most 10,000 rows.
    for half in ["<", ">="] {
        let (status, answer) =
            daemon.ask(&format!("SELECT * FROM spans WHERE {own} AND span_id {half} span_id('8000000000000000')"));
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["truncated"], false);
        let columns = answer["columns"].as_array().unwrap();
        let derived = columns.iter().position(|column| column["name"] == "parent_service").unwrap();
        rows.extend(answer["rows"].as_array().unwrap().iter().map(|row| {
            let mut row = row.as_array().unwrap().clone();
            row.remove(derived);
            Value::Array(row)
        }));
    }
    assert_eq!(rows.len() as u64, count);
    let mut rows: Vec<String> = rows.iter().map(Value::to_string).collect();
    rows.sort_unstable();
    rows
}

fn assert_same(a: &[String], b: &[String], when: &str) {
    assert_eq!(a.len(), b.len(), "{when}");
    for (a, b) in a.iter().zip(b) {
        assert_eq!(a, b, "{when}");
    }
}

#[test]
fn random_spans_are_the_same_in_memory_after_a_replay_and_in_parts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data);
    send(&daemon);
    let in_memory = rows(&daemon);
    assert!(in_memory.len() > 500, "{} rows show nothing", in_memory.len());
    let daemon = Daemon::start(&daemon.kill());
    assert_same(&in_memory, &rows(&daemon), "after a replay");
    assert_eq!(daemon.stop(), 0);
    let daemon = Daemon::start(&data);
    assert_same(&in_memory, &rows(&daemon), "in parts");
    check_parents(&daemon);
}

/// What parts say of a parent's service is the service of a span with its ids; self-parents are among them, so some say it.
fn check_parents(daemon: &Daemon) {
    let told = "SELECT count(*) FROM spans c WHERE c.parent_service IS NOT NULL";
    let wrong = "NOT EXISTS (SELECT 1 FROM spans p WHERE p.trace_id = c.trace_id AND p.span_id = c.parent_span_id AND \
        p.service_name = c.parent_service)";
    let count = |sql: &str| daemon.rows(sql)[0][0].as_u64().unwrap();
    assert!(count(told) > 0);
    assert_eq!(count(&format!("{told} AND {wrong}")), 0);
}
