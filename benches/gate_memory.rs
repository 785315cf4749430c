//! What states and keys of gates hold in memory (gates.md 17).
//!
//! Duty: the rows `gate_memory` (states of 2,000 keys, 30 buckets and 8 aggregates) and `gate_keys` (100,000 keys, which is the
//! most that a gate may have, judged at each tick, out of shared states and by SQL). Guarantee: each in a process of its own,
//! which holds the spans before it is measured; what those take that come meanwhile is told apart. Left to others: time of
//! ticks of few keys (`gate_tick`).

use std::time::Duration;

use super::gate_house::{BUCKET, INTERVAL_S, SERVICES, SPANS, Spans, WINDOW_S, rank_ms};
use super::{Bench, resident};

/// Operations of a service: `SERVICES` times as many keys.
const FEW: usize = 100;
const MANY: usize = 5_000;
/// Ticks that are measured, beside the first.
const TICKS: u64 = 40;
/// What is kept of spans beside their number, in two variants: numbers alone, and with a sketch for a percentile.
const AGGREGATES: [(&str, &str); 2] = [
    ("numbers", "max(duration_ns) AS longest"),
    ("sketch", "approx_percentile_cont(0.95) WITHIN GROUP (ORDER BY duration_ns) AS p95"),
];

/// Prints a row a variant.
pub fn run(bench: &Bench) {
    let runtime = || tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    for (variant, eighth) in AGGREGATES {
        let name = format!("gate_memory/{variant}");
        bench.alone(&name, || runtime().block_on(states(&name, eighth)));
    }
    for (variant, bucket) in [("shared", BUCKET), ("sql", Duration::ZERO)] {
        let name = format!("gate_keys/{variant}");
        bench.alone(&name, || runtime().block_on(keys(&name, bucket)));
    }
}

/// A gate of all keys, which asks `values`.
fn gate(values: &str) -> String {
    format!(
        "groups:\n- name: g\n  interval: {INTERVAL_S}s\n  query_offset: 0s\n  limit: {}\n  gates:\n  - gate: all\n    window: \
         {WINDOW_S}s\n    pass: '>= 0'\n    by: [service_name, name]\n    sql: |\n      SELECT service_name, name, {values} \
         FROM spans GROUP BY service_name, name\n",
        SERVICES * MANY
    )
}

async fn states(name: &str, eighth: &str) {
    let text = gate(&format!(
        "avg(duration_ns) / 1e6 AS value, count(*) AS n, sum(duration_ns) AS total, min(duration_ns) AS shortest, \
         stddev(duration_ns) AS deviation, count(*) FILTER (WHERE status_code = 'error') AS bad, bool_and(status_code <> \
         'error') AS good, {eighth}"
    ));
    let spans = Spans::of_window(FEW).await;
    let (before, watch) = (resident::bytes(), resident::Watch::begin());
    let mut house = spans.judged(&text, BUCKET);
    let first = house.tick().await;
    let metrics = &house.gates.metrics;
    let (entries, bytes) = (metrics.bucket_entries.get(), metrics.bucket_bytes.get());
    let (after, peak) = (resident::bytes().saturating_sub(before), watch.end().saturating_sub(before));
    println!(
        "{name:<22} {entries} states of {} keys and 8 aggregates in {:.1} MiB; resident +{} MiB, +{} at the peak of the tick \
         that read {SPANS} spans in {:.2} s",
        SERVICES * FEW,
        mib(u64::try_from(bytes).unwrap_or(0)),
        after >> 20,
        peak >> 20,
        first.as_secs_f64(),
    );
    assert!(entries >= i64::try_from(SERVICES * FEW).unwrap_or(i64::MAX) * 30, "each key is in each bucket");
    house.close().await;
}

async fn keys(name: &str, bucket: Duration) {
    let text = gate("avg(duration_ns) / 1e6 AS value, count(*) AS n");
    let spans = Spans::of_window(MANY).await;
    let of_spans = spans.interval_bytes * TICKS;
    let (before, watch) = (resident::bytes(), resident::Watch::begin());
    let mut house = spans.judged(&text, bucket);
    let first = house.tick().await;
    let mut ticks = Vec::new();
    for _ in 0..TICKS {
        ticks.push(house.next_tick().await);
    }
    let peak = watch.end().saturating_sub(before);
    let judged = house.gates.evaluator.keys();
    println!(
        "{name:<22} {} keys: p50 {:.0} ms  p99 {:.0} ms of {TICKS} ticks, the first {:.2} s; resident +{} MiB at the peak \
         without the +{} MiB of spans that came, {} states in {} MiB",
        judged.len(),
        rank_ms(&ticks, 50),
        rank_ms(&ticks, 99),
        first.as_secs_f64(),
        peak.saturating_sub(of_spans) >> 20,
        of_spans >> 20,
        house.gates.metrics.bucket_entries.get(),
        house.gates.metrics.bucket_bytes.get() >> 20,
    );
    let is_new = judged.iter().all(|key| key.run.last_tick_ns == key.tick_ns);
    assert!(judged.len() == SERVICES * MANY && is_new, "every key is judged at every tick");
    house.close().await;
}

#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
