//! What it takes to find a trace by its id, with no time given.
//!
//! Duty: the rows `trace_lookup` (storage.md 19): wall time of `SELECT * FROM spans WHERE trace_id = …` through the
//! gateway, for random ids over few and over many parts. Guarantee: real files; every answer is checked to be the whole
//! trace; the first pass over the ids warms files and footers and is printed as cold. Left to others: larger data sets,
//! which a script measures against a daemon.

use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Registry;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use weavergen::clock::Clock;
use weavergen::otlp::{Limits, SpanBuilder, decode};
use weavergen::query::{Config, Gateway, Statement};
use weavergen::span::{Coding, Delivery, Origin, RequestBody, hex};
use weavergen::store::Store;

use super::{Bench, load, store};

/// Spans of a part.
const PART_SPANS: usize = 20_000;
/// Spans of a request.
const REQUEST_SPANS: usize = 1_000;
/// Spans of a trace.
const TRACE_SPANS: usize = 10;
/// Lookups of a run.
const LOOKUPS: usize = 1_000;

/// Prints a row a number of parts.
pub fn run(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    for parts in [5, 50] {
        let name = format!("trace_lookup/{parts}x{PART_SPANS}");
        if bench.wants(&name) {
            runtime.block_on(row(&name, parts));
        }
    }
}

async fn row(name: &str, parts: usize) {
    let (store, _, _dir) = store::open().await;
    let mut ids = Vec::new();
    for part in 0..parts {
        ids.extend(fill(&store, part).await);
        store.freeze_and_flush().await.expect("the disk takes it");
    }
    let gateway = Gateway::new(store.reader(), Config::default(), Clock::os(), &Registry::new()).expect("threads");
    let mut chance = ChaCha8Rng::seed_from_u64(1);
    let sought: Vec<&Vec<u8>> =
        (0..LOOKUPS).map(|_| &ids[usize::try_from(chance.next_u64()).unwrap_or(0) % ids.len()]).collect();
    let [cold, warm] = [lookups(&gateway, &sought).await, lookups(&gateway, &sought).await];
    println!(
        "{name:<24} p50 {:>8.3} ms  p99 {:>8.3} ms  cold p50 {:>8.3} ms",
        ms(&warm, 50),
        ms(&warm, 99),
        ms(&cold, 50)
    );
    drop(gateway);
    store.close().await.expect("the store closes");
}

/// Appends the spans of part number `part`; the ids of its traces.
async fn fill(store: &Store, part: usize) -> Vec<Vec<u8>> {
    let (mut builder, limits, mut ids) = (SpanBuilder::new(), Limits::default(), Vec::new());
    for at in 0..PART_SPANS / REQUEST_SPANS {
        let seed = part * PART_SPANS + at;
        let (body, traces) = load::traces(seed as u64, REQUEST_SPANS, 10, TRACE_SPANS);
        ids.extend(traces);
        let batches = decode(&body, &limits, &mut builder).expect("a good request").batches;
        let decoded_len = u32::try_from(body.len()).expect("a request of some MiB");
        let body = RequestBody { bytes: Bytes::from(body), coding: Coding::Identity, decoded_len };
        let delivery = Delivery { batches, body: Some(body), identity: seed as u128 + 1, origin: Origin::Received };
        store.append(delivery).await.expect("the store takes it");
    }
    ids
}

/// Wall time of each lookup, sorted.
async fn lookups(gateway: &Gateway, ids: &[&Vec<u8>]) -> Vec<Duration> {
    let mut times = Vec::with_capacity(ids.len());
    for id in ids {
        let statement = Statement::new(format!("SELECT * FROM spans WHERE trace_id = trace_id('{}')", hex(id)));
        let began = Instant::now();
        let mut answer = gateway.run(statement).await.expect("a good statement");
        let rows: usize = answer.collect().await.expect("an answer").iter().map(|batch| batch.num_rows()).sum();
        times.push(began.elapsed());
        assert_eq!(rows, TRACE_SPANS, "the whole trace");
    }
    times.sort_unstable();
    times
}

fn ms(sorted: &[Duration], percent: usize) -> f64 {
    sorted[sorted.len() * percent / 100].as_secs_f64() * 1e3
}
