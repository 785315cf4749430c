//! From the acknowledgement until SQL sees the span.
//!
//! Duty: the rows `freshness` (storage.md 19): a marked span is appended, then a statement that counts it runs every
//! millisecond until it finds it; the time from the acknowledgement to that answer, at rest and beside a load. Guarantee:
//! real files with `fsync`; the statement goes through the gateway, as a user's does. Left to others: the wire.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use prometheus::Registry;
use weavergen::clock::Clock;
use weavergen::query::{Config, Gateway, Statement};
use weavergen::span::{Delivery, hex};
use weavergen::store::Store;

use super::{Bench, load, store};

/// Marked spans of a row.
const MARKED: usize = 1_000;
/// Spans of each request of the load, one every [`PAUSE`].
const LOAD_SPANS: usize = 500;
const PAUSE: Duration = Duration::from_millis(10);

/// Prints a row at rest and one beside a load.
pub fn run(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    for (name, is_loaded) in [("freshness/idle", false), ("freshness/load", true)] {
        if bench.wants(name) {
            runtime.block_on(row(name, is_loaded));
        }
    }
}

async fn row(name: &str, is_loaded: bool) {
    let (store, _, _dir) = store::open().await;
    let gateway = Gateway::new(store.reader(), Config::default(), Clock::os(), &Registry::new()).expect("threads");
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let sender = is_loaded.then(|| tokio::spawn(beside(store.clone(), stop.clone(), sent.clone())));
    let began = Instant::now();
    let mut times = Vec::with_capacity(MARKED);
    for at in 0..MARKED {
        let (body, traces) = load::traces(u64::MAX - at as u64, 2, 10, 2);
        for delivery in store::deliveries_from([body].into_iter()) {
            // Two deliveries with one identity would be one.
            let delivery = Delivery { identity: u128::MAX - at as u128, ..delivery };
            store.append(delivery).await.expect("the store takes it");
        }
        let acknowledged = Instant::now();
        let sql = format!(
            "SELECT count(*) AS n FROM spans WHERE trace_id = trace_id('{}') HAVING count(*) > 0",
            hex(&traces[0])
        );
        while rows(&gateway, &sql).await == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push(acknowledged.elapsed());
    }
    let took = began.elapsed();
    stop.store(true, Ordering::Relaxed);
    if let Some(sender) = sender {
        sender.await.expect("a sender does not panic");
    }
    times.sort_unstable();
    let ms = |percent: usize| times[times.len() * percent / 100].as_secs_f64() * 1e3;
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
    let rate = sent.load(Ordering::Relaxed) as f64 / took.as_secs_f64();
    println!("{name:<24} p50 {:>8.3} ms  p99 {:>8.3} ms  beside {rate:.0} spans/s", ms(50), ms(99));
    drop(gateway);
    store.close().await.expect("the store closes");
}

async fn rows(gateway: &Gateway, sql: &str) -> usize {
    let mut answer = gateway.run(Statement::new(sql.to_owned())).await.expect("a good statement");
    answer.collect().await.expect("an answer").iter().map(|batch| batch.num_rows()).sum()
}

async fn beside(store: Store, stop: Arc<AtomicBool>, sent: Arc<AtomicU64>) {
    let bodies = (0..).map(|at| load::body(at, LOAD_SPANS, 10));
    for (at, body) in bodies.enumerate() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        for delivery in store::deliveries_from([body].into_iter()) {
            let delivery = Delivery { identity: at as u128 + 1, ..delivery };
            store.append(delivery).await.expect("the store takes it");
        }
        sent.fetch_add(LOAD_SPANS as u64, Ordering::Relaxed);
        tokio::time::sleep(PAUSE).await;
    }
}
