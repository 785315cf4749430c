//! What was sent and what became of it, against what a store shows (storage.md 18).

use std::collections::HashMap;

use super::*;
use crate::disk::sim::Sim;
use crate::span::schema;
use crate::store::part::{Opened, Promotion};
use crate::store::upkeep::Upkeep;

/// Where the simulated machine has the data folder; its parent is new, too.
pub(super) const DATA: &str = "/var/data";
/// What the store adds or fills in later.
const ADDED: &[&str] = &["ingest_time", "parent_service"];

/// What must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// All its rows, once.
    Acknowledged,
    /// All its rows, once, or none: refused or unanswered when the machine stopped, or leaving with a part.
    Open,
    /// None of its rows.
    Gone,
}

/// Requests by number.
#[derive(Clone, Debug, Default)]
pub(super) struct Oracle(Arc<Mutex<BTreeMap<u64, Fate>>>);

/// The delivery `id`: every third as it came over the wire, the others as columns in which everything varies.
pub(super) fn sent(id: u64, start_ns: i64) -> Delivery {
    let rows = 1 + (id % 4) as usize;
    let identity = u128::from(id);
    if id.is_multiple_of(3) {
        return with_identity(identity, request(id, rows));
    }
    let starts: Vec<i64> = (0..rows as i64).map(|row| start_ns + row * 1_000_000).collect();
    let mut batch = samples::varied(id, &starts, samples::NOW_NS / 1000);
    let columns: Vec<usize> =
        schema::incoming().fields().iter().map(|f| batch.schema_ref().index_of(f.name()).unwrap()).collect();
    batch = batch.project(&columns).unwrap();
    Delivery {
        batches: vec![SpanBatch::try_new(batch).unwrap()],
        body: None,
        identity,
        origin: crate::span::Origin::Received,
    }
}

fn rows_of(delivery: &Delivery) -> Vec<String> {
    let batches: Vec<_> = delivery.batches.iter().map(|batch| batch.with_ingest_time(0)).collect();
    samples::texts(&batches, ADDED)
}

/// All rows that a reader sees, with all their values, and how often each is there.
async fn seen(reader: &Reader) -> HashMap<String, usize> {
    let view = reader.view();
    let mut batches: Vec<_> = view.memory.iter().map(|rows| rows.to_record_batch()).collect();
    let plain = Promotion::of_parts(std::iter::empty(), 0, &Config::at("unused"));
    for part in &view.parts.parts {
        let opened = Opened::open(view.objects.clone(), &part.entry).await.unwrap();
        let mut rows = opened.rows((0..part.entry.row_groups.len()).collect(), None, 8192).unwrap();
        while let Some(batch) = rows.next().await.unwrap() {
            batches.push(opened.reshape(&batch, &plain, &plain.schema()).unwrap());
        }
    }
    let mut counts = HashMap::new();
    for text in samples::texts(&batches, ADDED) {
        *counts.entry(text).or_default() += 1;
    }
    counts
}

impl Oracle {
    pub(super) fn note(&self, id: u64, fate: Fate) {
        self.0.lock().unwrap().insert(id, fate);
    }

    pub(super) fn open(&self) -> Vec<u64> {
        self.0.lock().unwrap().iter().filter(|(_, fate)| **fate == Fate::Open).map(|(id, _)| *id).collect()
    }

    pub(super) fn acknowledged(&self) -> usize {
        self.0.lock().unwrap().values().filter(|fate| **fate == Fate::Acknowledged).count()
    }

    /// Sends `id` and notes what the store said of it.
    pub(super) async fn send(&self, store: &Store, id: u64, start_ns: i64) -> Result<Appended, Error> {
        self.note(id, Fate::Open);
        let answer = store.append(sent(id, start_ns)).await;
        match &answer {
            Ok(_) => self.note(id, Fate::Acknowledged),
            Err(error) => assert!(error.class().is_retryable(), "{id}: {error}"),
        }
        answer
    }

    /// Every row is as often there as it must be, and as it was sent. `start_ns` of a request is as it was when sent.
    pub(super) async fn check(&self, reader: &Reader, start_ns: impl Fn(u64) -> i64, at: &str) {
        let mut seen = seen(reader).await;
        let fates = self.0.lock().unwrap().clone();
        for (id, fate) in fates {
            let rows = rows_of(&sent(id, start_ns(id)));
            let counts: Vec<usize> = rows.iter().map(|text| seen.remove(text).unwrap_or(0)).collect();
            let (whole, none) = (counts.iter().all(|n| *n == 1), counts.iter().all(|n| *n == 0));
            let is_right = match fate {
                Fate::Acknowledged => whole,
                Fate::Open => whole || none,
                Fate::Gone => none,
            };
            assert!(is_right, "{at}: request {id}, {fate:?}, has rows as often as {counts:?}");
        }
        assert!(seen.is_empty(), "{at}: rows that nobody sent: {:?}", seen.keys().next());
    }
}

/// Runs `run` for all `cases`, `at_once` at a time, each with a runtime of its own, so that none waits for another's
/// threads. A case that takes five minutes is stuck; on a machine without other work it takes a second.
pub(super) fn all<C, T>(
    cases: impl IntoIterator<Item = C, IntoIter: Send>,
    at_once: usize,
    run: impl AsyncFn(C) -> T + Sync,
) -> Vec<T>
where
    C: Copy + std::fmt::Debug + Send,
    T: Send,
{
    struct Failing<'a>(&'a AtomicBool);
    impl Drop for Failing<'_> {
        fn drop(&mut self) {
            self.0.fetch_or(std::thread::panicking(), Ordering::Relaxed);
        }
    }
    let (queue, has_failed) = (Mutex::new(cases.into_iter()), AtomicBool::new(false));
    let work = || {
        let _failing = Failing(&has_failed);
        let mut done = Vec::new();
        while !has_failed.load(Ordering::Relaxed) {
            let next = queue.lock().unwrap().next();
            let Some(case) = next else { break };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let ended = runtime.block_on(async { tokio::time::timeout(Duration::from_secs(300), run(case)).await });
            done.push(ended.unwrap_or_else(|_| panic!("{case:?} is stuck")));
        }
        done
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
        let ended: Vec<_> = threads.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        ended.into_iter().flat_map(|done| done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Keeps what is on the disk of a failing test.
pub(super) struct Kept(pub(super) Sim, pub(super) u64);

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let to = std::env::temp_dir().join(format!("weavergen-sim-{}-{}", std::process::id(), self.1));
            let saved = self.0.save(&to);
            eprintln!("seed {}: the disk of the failure is in {} ({saved:?})", self.1, to.display());
        }
    }
}

/// The store on `sim`, ready.
pub(super) async fn open_on(sim: &Sim, config: &Config, clock: &Clock) -> Store {
    let store = try_open(config.clone(), Disk::Sim(sim.clone()), clock.clone()).await.unwrap();
    ready(&store).await;
    store
}

/// The steps of `store`'s thread, to be taken when a test wants.
pub(super) fn upkeep(store: &Store) -> Upkeep {
    Upkeep { chores: Arc::default(), ..store.inner.upkeep.clone() }
}
