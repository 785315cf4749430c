//! C16: a long run at 70 % of what the store takes, over many hours of a fast clock; what it holds stays flat (storage.md 18).
//!
//! `LONG_MINUTES` says how long (30 without). Sixty hours pass meanwhile, and six are kept. The clock is a manual one, so
//! this test takes the steps of the store's thread, with the monotonic time that belongs to it. Two tenths of the run to
//! get there, then the middle is compared with the end.

use std::sync::Arc;
use std::time::Instant;

use arrow::array::TimestampNanosecondArray;

use super::oracle::upkeep;
use super::*;
use crate::store::upkeep::Upkeep;

const HOURS: u32 = 60;
const KEPT: Duration = Duration::from_secs(6 * 3600);
const ROWS: usize = 100;
const SENDERS: u64 = 4;
/// How often the clock goes on.
const TICK: Duration = Duration::from_millis(500);

/// What there is at a moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    resident_mib: f64,
    open_files: usize,
    files: usize,
    p99_ms: f64,
}

fn resident_mib() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: f64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * rustix::param::page_size() as f64 / f64::from(1 << 20)
}

fn files_below(dir: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(dir) else { return 0 };
    entries.flatten().map(|entry| if entry.path().is_dir() { files_below(&entry.path()) } else { 1 }).sum()
}

/// Requests that differ in all but their times, which come when they are sent.
fn requests() -> Vec<SpanBatch> {
    let starts = vec![samples::NOW_NS; ROWS];
    (0..50)
        .map(|seed| {
            let varied = samples::varied(seed, &starts, samples::NOW_NS / 1000);
            let columns = crate::span::schema::incoming().fields().iter();
            let columns: Vec<usize> = columns.map(|f| varied.schema_ref().index_of(f.name()).unwrap()).collect();
            SpanBatch::try_new(varied.project(&columns).unwrap()).unwrap()
        })
        .collect()
}

struct Load {
    store: Store,
    clock: Clock,
    requests: Vec<SpanBatch>,
    sent: AtomicU64,
    latencies: Mutex<Vec<Duration>>,
}

impl Load {
    /// Sends the next request, until it is taken.
    async fn send(&self) {
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let batch = &self.requests[number as usize % self.requests.len()];
        let start = self.clock.now_ns() - 1_000_000;
        let starts = (0..ROWS as i64).map(|row| start + row).collect::<Vec<_>>();
        let batch =
            batch.with_column(3, Arc::new(TimestampNanosecondArray::from(starts).with_timezone("UTC"))).unwrap();
        let delivery = Delivery { batches: vec![batch], body: None, identity: 0, origin: Origin::Received };
        let began = Instant::now();
        while let Err(error) = self.store.append(delivery.clone()).await {
            assert!(error.class().is_retryable(), "{error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.latencies.lock().unwrap().push(began.elapsed());
    }

    /// Sends `a_second` requests a second (as many as it can without) for so long.
    async fn go_on(self: &Arc<Self>, a_second: Option<f64>, so_long: Duration) {
        let began = Instant::now();
        let senders = (0..SENDERS).map(|sender| {
            let load = self.clone();
            tokio::spawn(async move {
                let mut turn = sender;
                while began.elapsed() < so_long {
                    if let Some(a_second) = a_second {
                        let due = Duration::from_secs_f64(turn as f64 / a_second);
                        tokio::time::sleep(due.saturating_sub(began.elapsed())).await;
                    }
                    load.send().await;
                    turn += SENDERS;
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.unwrap();
        }
    }

    fn sample(&self, dir: &Path) -> Sample {
        let mut latencies = std::mem::take(&mut *self.latencies.lock().unwrap());
        latencies.sort_unstable();
        let p99 = latencies.get(latencies.len() * 99 / 100).copied().unwrap_or_default();
        Sample {
            resident_mib: resident_mib(),
            open_files: std::fs::read_dir("/proc/self/fd").unwrap().count(),
            files: files_below(dir),
            p99_ms: p99.as_secs_f64() * 1e3,
        }
    }
}

/// What the store's own thread does, at the time of its clock.
async fn steps(upkeep: &Upkeep, began_ns: i64) {
    let now_ns = upkeep.shelf.clock().now_ns();
    upkeep.retain_at(now_ns, Duration::from_nanos((now_ns - began_ns).unsigned_abs())).await.unwrap();
    upkeep.sweep_removed(now_ns).await.unwrap();
    upkeep.shelf.checkpoint_if_due().await.unwrap();
    upkeep.catalog.keep().await.unwrap();
    compact::step(upkeep).await.unwrap();
}

fn mean(of: &[Sample], what: impl Fn(&Sample) -> f64) -> f64 {
    of.iter().map(what).sum::<f64>() / of.len() as f64
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "C16: LONG_MINUTES, 30 without"]
async fn over_many_hours_memory_files_and_latency_stay_flat() {
    let whole = Duration::from_secs(60 * knob("LONG_MINUTES", 30));
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let config =
        Config { by_hand: true, max_age: Some(KEPT), flush_after: Duration::from_secs(5), ..config(dir.path()) };
    let store = try_open(config.clone(), Disk::Os, clock.clone()).await.unwrap();
    ready(&store).await;
    let upkeep = upkeep(&store);
    let load = Load {
        store: store.clone(),
        clock: clock.clone(),
        requests: requests(),
        sent: AtomicU64::new(0),
        latencies: Mutex::default(),
    };
    let load = Arc::new(load);
    // What it takes with flush and compaction of all of it.
    let began = Instant::now();
    load.go_on(None, (whole / 60).min(Duration::from_secs(20))).await;
    store.freeze_and_flush().await.unwrap();
    clock.advance(Duration::from_secs(2 * 3600));
    let began_ns = clock.now_ns();
    steps(&upkeep, began_ns).await;
    let a_second = load.sent.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64() * 0.7;
    println!("{a_second:.0} requests of {ROWS} spans a second for {whole:?}");

    let began = Instant::now();
    let sender = tokio::spawn({
        let load = load.clone();
        async move { load.go_on(Some(a_second), whole).await }
    });
    let mut samples = Vec::new();
    load.latencies.lock().unwrap().clear();
    while !sender.is_finished() {
        tokio::time::sleep(TICK).await;
        let passed = began.elapsed().min(whole);
        let simulated = Duration::from_secs_f64(f64::from(HOURS) * 3600.0 * passed.as_secs_f64() / whole.as_secs_f64());
        let until_ns = began_ns + i64::try_from(simulated.as_nanos()).unwrap();
        clock.advance(Duration::from_nanos((until_ns - clock.now_ns()).max(0).unsigned_abs()));
        steps(&upkeep, began_ns).await;
        if passed >= whole * (samples.len() as u32 + 1) / 10 {
            samples.push(load.sample(dir.path()));
            println!("{passed:?}: {:?}", samples.last().unwrap());
        }
    }
    sender.await.unwrap();
    assert!(store.health().reasons.is_empty(), "{:?}", store.health());
    let (middle, end) = (&samples[2..5], &samples[samples.len() - 3..]);
    let flat = |what: &str, of: fn(&Sample) -> f64, factor: f64, more: f64| {
        let (middle, end) = (mean(middle, of), mean(end, of));
        assert!(end <= middle * factor + more, "{what}: {middle:.1} in the middle, {end:.1} at the end: {samples:?}");
    };
    flat("resident MiB", |sample| sample.resident_mib, 1.15, 16.0);
    flat("open files", |sample| sample.open_files as f64, 1.1, 4.0);
    flat("files", |sample| sample.files as f64, 1.25, 16.0);
    flat("p99 ms", |sample| sample.p99_ms, 1.5, 10.0);
    drop(upkeep);
    let oldest = store.reader().view().parts.parts.iter().map(|part| part.entry.start[0]).min().unwrap();
    let age = Duration::from_nanos((clock.now_ns() - oldest).unsigned_abs());
    // A step comes some seconds late, which are hours in a short run.
    let late = Duration::from_secs(10) * (HOURS * 3600) / u32::try_from(whole.as_secs()).unwrap();
    assert!(age <= KEPT + Duration::from_secs(2 * 3600) + late, "{age:?}");
    drop(load);
    store.close().await.unwrap();
    let report = verify::verify(&config, &Disk::Os, &clock, verify::Depth::Quick).await.unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
}
