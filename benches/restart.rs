//! A start over a long log.
//!
//! Duty: the row `restart` (storage.md 19): a folder as a `kill -9` leaves it, with a log of 1 GiB whose rows are in no
//! part, is opened; the time until appends are taken, the time until statements see everything, and beside it that of
//! one pass of the decoder over the same requests on all cores. Guarantee: the rows found are those that were
//! acknowledged. Left to others: what a process needs before it opens the store.

use std::path::Path;
use std::time::{Duration, Instant};

use prometheus::Registry;
use weavergen::budget::Budget;
use weavergen::clock::Clock;
use weavergen::disk::Disk;
use weavergen::otlp::{Limits, SpanBuilder, decode};
use weavergen::span::Delivery;
use weavergen::store::{Config, Store};

use super::{Bench, load, store};

/// Length of the log.
const LOG_BYTES: usize = 1 << 30;
/// Spans of a request.
const REQUEST_SPANS: usize = 1_000;
/// Attributes of a span.
const ATTRIBUTES: usize = 10;
const LIMIT_BYTES: u64 = 16 << 30;

/// Prints the row.
pub fn run(bench: &Bench) {
    if bench.wants("restart/1GiB") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
        runtime.block_on(row());
    }
}

async fn row() {
    let (live, parts, dir) = store::open().await;
    let data = parts.parent().expect("parts lie in the data folder").to_owned();
    let one = load::body(0, REQUEST_SPANS, ATTRIBUTES).len();
    let requests = LOG_BYTES.div_ceil(one);
    // A request at a time: all of them in columns would fill the memory.
    for at in 0..requests {
        let body = load::body(at as u64, REQUEST_SPANS, ATTRIBUTES);
        for delivery in store::deliveries_from([body].into_iter()) {
            let delivery = Delivery { identity: at as u128 + 1, ..delivery };
            live.append(delivery).await.expect("the store takes it");
        }
    }
    let killed = dir.path().join("killed");
    copy(&data, &killed);
    live.close().await.expect("the store closes");
    drop(std::fs::remove_dir_all(&data));

    let mut config = Config::at(killed);
    config.flush_after = Duration::from_secs(3600);
    let budget = Budget::try_new(LIMIT_BYTES).expect("the limit is one that works");
    let began = Instant::now();
    let found = Store::open(config, Disk::Os, Clock::os(), &budget, &Registry::new()).await.expect("a good folder");
    let accepting = began.elapsed();
    while !found.is_ready() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let complete = began.elapsed();
    let view = found.reader().view();
    let in_parts: u64 = view.parts.parts.iter().map(|part| part.entry.rows).sum();
    let in_memory: usize = view.memory.iter().map(|rows| rows.batch.rows()).sum();
    drop(view);
    assert_eq!(in_parts + in_memory as u64, (requests * REQUEST_SPANS) as u64, "what was acknowledged is found once");
    found.close().await.expect("the store closes");

    let pass = decode_all(requests);
    let ratio = complete.as_secs_f64() / pass.as_secs_f64();
    println!(
        "{:<24} accepting {:.3} s  complete {:.2} s  one decode pass on {} cores {:.2} s: {ratio:.2} x",
        "restart/1GiB",
        accepting.as_secs_f64(),
        complete.as_secs_f64(),
        cores(),
        pass.as_secs_f64(),
    );
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Wall time of decoding all requests on all cores; making them is not counted.
fn decode_all(requests: usize) -> Duration {
    let cores = cores();
    let share = |core: usize| {
        let (mut builder, limits) = (SpanBuilder::new(), Limits::default());
        let mut time = Duration::ZERO;
        for at in (core..requests).step_by(cores) {
            let body = load::body(at as u64, REQUEST_SPANS, ATTRIBUTES);
            let began = Instant::now();
            std::hint::black_box(decode(&body, &limits, &mut builder).expect("a good request"));
            time += began.elapsed();
        }
        time
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|core| scope.spawn(move || share(core))).collect();
        threads.into_iter().map(|thread| thread.join().expect("it only reads")).max().unwrap_or_default()
    })
}

/// Copies the folder, but for the lock.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("the target folder is writable");
    for entry in std::fs::read_dir(from).expect("it is a folder").flatten() {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else if entry.file_name() != "LOCK" {
            std::fs::copy(entry.path(), to).expect("there is room for two logs");
        }
    }
}
