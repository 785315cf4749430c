//! What the store costs: until the answer, and until the part.
//!
//! Duty: the rows `append` (a delivery until it is durable and visible), `flush` (rows in memory until they are in
//! durable parts) and `compact` (parts of level 0 until one sorted set is in their place). Guarantee: CPU time of all
//! threads of the process, so work handed to another thread counts; real files with `fsync`. Left to others: decoding
//! (`decode`), the wire, which `loadgen` measures against a daemon.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::Registry;
use rustix::time::{ClockId, clock_gettime};
use weavergen::budget::Budget;
use weavergen::clock::Clock;
use weavergen::disk::Disk;
use weavergen::otlp::{Limits, SpanBuilder, decode};
use weavergen::span::{Coding, Delivery, Origin, RequestBody};
use weavergen::store::{Config, Store};

use super::{Bench, load, resident};

/// Spans of one run.
const SPANS: usize = 200_000;
/// Attributes of a span.
const ATTRIBUTES: usize = 10;
/// Appends under way at once, as from so many connections.
const CONNECTIONS: usize = 8;
/// Runs of which the median is printed.
const RUNS: usize = 5;

/// Prints a row a size of request for `append`, one for `flush` and one for `compact`.
pub fn run(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    for spans in [100usize, 512, 8192] {
        let name = format!("append/{spans}x{ATTRIBUTES}");
        if bench.wants(&name) {
            let deliveries = deliveries(spans);
            let (mut runs, mut walls): (Vec<f64>, Vec<f64>) =
                (0..RUNS).map(|_| runtime.block_on(append(deliveries.clone()))).unzip();
            println!("{name:<18} {}", rates(&mut runs, &mut walls));
        }
    }
    let name = format!("flush/{SPANS}x{ATTRIBUTES}");
    if bench.wants(&name) {
        let deliveries = deliveries(8192);
        let mut bytes = 0;
        let (mut runs, mut walls): (Vec<f64>, Vec<f64>) = (0..RUNS)
            .map(|_| {
                let (cpu, wall, on_disk) = runtime.block_on(flush(deliveries.clone()));
                bytes = on_disk;
                (cpu, wall)
            })
            .unzip();
        let spans = count(&deliveries);
        println!("{name:<18} {}  {} B/span in parts", rates(&mut runs, &mut walls), bytes / spans as u64);
    }
    let name = format!("compact/{SPANS}x{ATTRIBUTES}");
    if bench.wants(&name) {
        let deliveries = deliveries(8192);
        let mut memory = String::new();
        let (mut runs, mut walls): (Vec<f64>, Vec<f64>) = (0..RUNS)
            .map(|_| {
                let (cpu, wall, told) = runtime.block_on(compact(deliveries.clone()));
                memory = told;
                (cpu, wall)
            })
            .unzip();
        println!("{name:<18} {}  {memory}", rates(&mut runs, &mut walls));
    }
}

/// Parts that `compact` merges.
const FLUSHES: usize = 8;
/// Memory limit for `compact`, of which it has a tenth.
const COMPACT_LIMIT_BYTES: u64 = 256 << 20;

/// CPU time a span of compaction, the growth of the process at its peak, and bytes a span before and after.
async fn compact(deliveries: Vec<Delivery>) -> (f64, f64, String) {
    let spans = count(&deliveries);
    let (store, parts, _dir) = open_with(COMPACT_LIMIT_BYTES, |_| {}).await;
    for share in deliveries.chunks(deliveries.len().div_ceil(FLUSHES)) {
        fill(&store, share.to_vec()).await;
        store.freeze_and_flush().await.expect("the disk takes it");
    }
    let before = bytes_below(&parts);
    let (resident, watch) = (resident::bytes(), resident::Watch::begin());
    let (cpu, wall) = (process_time(), Instant::now());
    store.compact(None).await.expect("the disk takes it");
    let (cpu, wall) = (process_time() - cpu, wall.elapsed());
    let peak = watch.end().saturating_sub(resident);
    let live: u64 = store.reader().view().parts.parts.iter().map(|part| part.entry.bytes).sum();
    store.close().await.expect("the store closes");
    let spans_u64 = spans as u64;
    let memory = format!("+{} MiB at peak  {} to {} B/span", peak >> 20, before / spans_u64, live / spans_u64);
    (rate(spans, cpu), rate(spans, wall), memory)
}

/// Median CPU and wall rates, with the spread of the CPU rates.
fn rates(cpu: &mut [f64], wall: &mut [f64]) -> String {
    cpu.sort_by(f64::total_cmp);
    wall.sort_by(f64::total_cmp);
    format!(
        "{:>10.0} spans/CPU-s  ({:.0} to {:.0})  wall {:.0} spans/s",
        cpu[RUNS / 2],
        cpu[0],
        cpu[RUNS - 1],
        wall[RUNS / 2]
    )
}

fn count(deliveries: &[Delivery]) -> usize {
    deliveries.iter().map(Delivery::spans).sum()
}

/// [`SPANS`] spans as receivers hand them over: columns, and the body for the log.
fn deliveries(spans: usize) -> Vec<Delivery> {
    deliveries_of(SPANS, spans)
}

fn deliveries_of(total: usize, spans: usize) -> Vec<Delivery> {
    deliveries_from((0..total.div_ceil(spans)).map(|at| load::body(at as u64, spans, ATTRIBUTES)))
}

/// `bodies` as receivers hand them over.
pub fn deliveries_from(bodies: impl Iterator<Item = Vec<u8>>) -> Vec<Delivery> {
    let (mut builder, limits) = (SpanBuilder::new(), Limits::default());
    bodies
        .enumerate()
        .map(|(at, body)| {
            let batches = decode(&body, &limits, &mut builder).expect("a good request").batches;
            let decoded_len = u32::try_from(body.len()).expect("a request of some MiB");
            let body = RequestBody { bytes: Bytes::from(body), coding: Coding::Identity, decoded_len };
            Delivery { batches, body: Some(body), identity: at as u128 + 1, origin: Origin::Received }
        })
        .collect()
}

/// A folder of its own. Not in /tmp, which may be memory.
pub fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable")
}

/// A store in a folder of its own, whose memory takes all rows without a flush of its own.
pub async fn open() -> (Store, PathBuf, tempfile::TempDir) {
    open_with(16 << 30, |_| {}).await
}

/// The same, with this memory limit, at which generations freeze, and the configuration that `change` leaves.
pub async fn open_with(limit_bytes: u64, change: impl FnOnce(&mut Config)) -> (Store, PathBuf, tempfile::TempDir) {
    let dir = folder();
    let mut config = Config::at(dir.path().join("data"));
    config.flush_bytes = 8 << 30;
    config.flush_after = Duration::from_secs(3600);
    change(&mut config);
    let spans = config.path.join("spans");
    let budget = Budget::try_new(limit_bytes).expect("the limit is one that works");
    let store = Store::open(config, Disk::Os, Clock::os(), &budget, &Registry::new()).await.expect("an empty folder");
    while !store.is_ready() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    (store, spans, dir)
}

/// A store that holds at least `spans` spans in memory.
pub async fn filled(spans: usize) -> (Store, tempfile::TempDir) {
    let (store, _, dir) = open().await;
    fill(&store, deliveries_of(spans, 8192)).await;
    (store, dir)
}

/// Spans per CPU-second and per second until all are acknowledged.
async fn append(deliveries: Vec<Delivery>) -> (f64, f64) {
    let spans = count(&deliveries);
    let (store, _, _dir) = open().await;
    let (cpu, wall) = (process_time(), Instant::now());
    fill(&store, deliveries).await;
    let (cpu, wall) = (process_time() - cpu, wall.elapsed());
    store.close().await.expect("the store closes");
    (rate(spans, cpu), rate(spans, wall))
}

/// Spans per CPU-second and per second from memory to durable parts, and the bytes of the parts.
async fn flush(deliveries: Vec<Delivery>) -> (f64, f64, u64) {
    let spans = count(&deliveries);
    let (store, parts, _dir) = open().await;
    fill(&store, deliveries).await;
    let (cpu, wall) = (process_time(), Instant::now());
    store.freeze_and_flush().await.expect("the disk takes it");
    let (cpu, wall) = (process_time() - cpu, wall.elapsed());
    store.close().await.expect("the store closes");
    (rate(spans, cpu), rate(spans, wall), bytes_below(&parts))
}

/// Appends all of `deliveries`, several at a time.
pub async fn fill(store: &Store, deliveries: Vec<Delivery>) {
    let mut senders = tokio::task::JoinSet::new();
    let mut shares: Vec<Vec<Delivery>> = vec![Vec::new(); CONNECTIONS];
    for (at, delivery) in deliveries.into_iter().enumerate() {
        shares[at % CONNECTIONS].push(delivery);
    }
    for share in shares {
        let store = store.clone();
        senders.spawn(async move {
            for delivery in share {
                store.append(delivery).await.expect("the store takes it");
            }
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.expect("a sender does not panic");
    }
}

#[allow(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
fn rate(spans: usize, time: Duration) -> f64 {
    spans as f64 / time.as_secs_f64()
}

fn bytes_below(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(data) if data.is_dir() => bytes_below(&entry.path()),
            Ok(data) if entry.path().extension().is_some_and(|e| e == "parquet") => data.len(),
            _ => 0,
        })
        .sum()
}

/// CPU time of all threads of this process.
pub fn process_time() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.cast_unsigned(), u32::try_from(now.tv_nsec).expect("nanoseconds are below a second"))
}
