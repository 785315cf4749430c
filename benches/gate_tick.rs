//! What a tick of many gates costs that share states (gates.md 17).
//!
//! Duty: the row `gate_tick`: 1,000 decomposable gates in 20 aggregations over a million spans in five minutes, of 20 services
//! and 100 types, ticks of 10 s, in which the spans of the last 10 s are heard and read, every gate is judged and the tick is
//! written. Guarantee: as `gate_house` says. Left to others: gates by SQL (`gates`), what they cost ingest (`gate_ingest`).

use super::gate_house::{BUCKET, INTERVAL_S, SERVICES, SPANS, Spans, WINDOW_S, rank_ms};
use super::{Bench, load};

const AGGREGATIONS: usize = 20;
const GATES_OF_EACH: usize = 50;
/// All gates.
pub const GATES: usize = AGGREGATIONS * GATES_OF_EACH;
/// Types of spans of a service.
pub const TYPES: usize = 100;
/// Ticks that are measured.
const TICKS: usize = 40;

/// Prints the row.
pub fn run(bench: &Bench) {
    if bench.wants("gate_tick") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
        runtime.block_on(row());
    }
}

async fn row() {
    let mut house = Spans::of_window(TYPES).await.judged(&gates(0), BUCKET);
    let first = house.tick().await;
    let mut ticks = Vec::with_capacity(TICKS);
    for _ in 0..TICKS {
        ticks.push(house.next_tick().await);
    }
    let metrics = &house.gates.metrics;
    println!(
        "gate_tick/{GATES}x{SPANS} p50 {:>7.1} ms  p99 {:>7.1} ms of {TICKS} ticks, the first {:.2} s, {} states in {} MiB",
        rank_ms(&ticks, 50),
        rank_ms(&ticks, 99),
        first.as_secs_f64(),
        metrics.bucket_entries.get(),
        metrics.bucket_bytes.get() >> 20,
    );
    assert!(metrics.bucket_entries.get() > 0, "the gates share");
    house.close().await;
}

/// Of each aggregation, gates of a service and a type each, and three questions in turn.
pub fn gates(query_offset_s: u64) -> String {
    let mut text =
        format!("groups:\n- name: g\n  interval: {INTERVAL_S}s\n  query_offset: {query_offset_s}s\n  gates:\n");
    for aggregation in 0..AGGREGATIONS {
        for at in 0..GATES_OF_EACH {
            let value = [
                "avg(duration_ns) / 1e6 AS value, max(duration_ns) AS longest, stddev(duration_ns) AS deviation",
                "count(*) FILTER (WHERE status_code = 'error') / CAST(count(*) AS DOUBLE) AS value",
                "sum(duration_ns) AS value, min(start_time) AS first, bool_and(status_code <> 'error') AS good",
            ][at % 3];
            let (service, name) = (at % SERVICES, load::span_type((at * 7 + aggregation) % TYPES));
            text.push_str(&format!(
                "  - gate: g{aggregation}_{at}\n    window: {WINDOW_S}s\n    pass: '>= 0'\n    sql: |\n      SELECT {value}, \
                 count(*) AS n FROM spans WHERE duration_ns >= {aggregation} AND service_name = 'service-{service}' AND name \
                 = '{name}'\n"
            ));
        }
    }
    text
}
