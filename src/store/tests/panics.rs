//! A panic of a thread of the store: told by health, nothing acknowledged is lost, nobody waits for ever.

use super::super::place::Place;
use super::super::place::sick::Sick;
use super::oracle::{DATA, Oracle, open_on, upkeep};
use super::*;
use crate::disk::sim::{Fate, Sim};

const PATIENCE: Duration = Duration::from_secs(20);

fn start_ns(_: u64) -> i64 {
    samples::NOW_NS
}

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("nobody waits for ever")
}

async fn until(mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "it never holds");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn quiet(sim: &Sim) {
    let mut before = 0;
    while std::mem::replace(&mut before, sim.ops()) != sim.ops() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn tells(store: &Store, of: &str) -> bool {
    store.health().reasons.iter().any(|reason| reason.contains(of) && reason.contains("panicked"))
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_log_panics_everyone_is_told_and_a_restart_finds_what_was_acknowledged() {
    let (sim, clock, oracle) = (Sim::new(1), clock(), Oracle::default());
    let config = config(Path::new(DATA));
    let store = open_on(&sim, &config, &clock).await;
    oracle.send(&store, 1, start_ns(1)).await.unwrap();
    quiet(&sim).await;
    sim.plan(sim.ops() + 1, Fate::Panics);
    // The second waits for the record of the first, whose identity it has.
    let twice = futures::future::join(oracle.send(&store, 2, start_ns(2)), oracle.send(&store, 2, start_ns(2)));
    let (first, second) = in_time(twice).await;
    for answer in [first, second] {
        let error = answer.unwrap_err();
        assert!(matches!(error, Error::Died { .. }) && error.class().is_retryable(), "{error}");
    }
    assert!(tells(&store, "the log") && !store.health().ready, "{:?}", store.health());
    let error = in_time(oracle.send(&store, 3, start_ns(3))).await.unwrap_err();
    assert!(matches!(error, Error::Died { .. }), "{error}");
    oracle.check(&store.reader(), start_ns, "what was acknowledged can be read").await;
    in_time(store.freeze_and_flush()).await.unwrap_err();
    in_time(store.close()).await.unwrap_err();
    for left in [sim.killed(), sim.crash(1)] {
        let store = open_on(&left, &config, &clock).await;
        oracle.check(&store.reader(), start_ns, "after a restart").await;
        assert!(store.health().reasons.is_empty(), "{:?}", store.health());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_of_callers_who_left_are_counted_also_when_the_log_panics() {
    let (sim, clock) = (Sim::new(1), clock());
    let config = Config { by_hand: true, ..config(Path::new(DATA)) };
    let store = open_on(&sim, &config, &clock).await;
    let metrics = &store.inner.metrics;
    let of = |family: &prometheus::IntCounterVec| family.with_label_values(&["received"]).get();
    let counts = || (of(&metrics.offered), of(&metrics.acked), of(&metrics.failed));
    store.append(request(1, 1)).await.unwrap();
    quiet(&sim).await;
    let send = |seed, rows| {
        let store = store.clone();
        tokio::spawn(async move { store.append(request(seed, rows)).await })
    };
    let (before, is_queued) = (sim.ops(), || !store.inner.door.lock().pending.is_empty());
    sim.slow_syncs(Duration::from_secs(5));
    let written = send(2, 4);
    until(|| sim.ops() > before).await;
    // The log waits for the sync. This one loses its answer and has nobody to ask why: the log has not ended.
    let unanswered = send(3, 8);
    until(is_queued).await;
    drop(store.inner.door.lock().take());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(counts(), (1, 1, 0), "it asks");
    unanswered.abort();
    assert!(unanswered.await.unwrap_err().is_cancelled());
    assert_eq!(counts(), (9, 1, 8));
    let (queued, waiting) = (send(4, 16), send(5, 32));
    until(|| store.inner.door.lock().pending.len() == 2).await;
    for left in [written, queued] {
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
    }
    assert_eq!(counts(), (9, 1, 8), "nobody knows yet");
    sim.plan(sim.ops() + 1, Fate::Panics);
    let error = in_time(waiting).await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Died { .. }), "{error}");
    assert_eq!(counts(), (1 + 4 + 8 + 16 + 32, 1, 4 + 8 + 16 + 32));
}

/// Fail points `memtable` and `ack` of storage.md 18: what the log did is durable, and nobody was told.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_memtable_panics_behind_a_sync_nobody_is_told_success_and_a_restart_finds_the_rows() {
    let (sim, clock, oracle) = (Sim::new(1), clock(), Oracle::default());
    let config = Config { by_hand: true, ..config(Path::new(DATA)) };
    let store = open_on(&sim, &config, &clock).await;
    oracle.send(&store, 1, start_ns(1)).await.unwrap();
    let before = syncs(&store);
    // Whoever takes the lock of these rows next panics.
    let active = store.reader().snapshot().active.clone();
    let poisoned = std::thread::spawn(move || active.push(std::iter::from_fn(|| panic!("planned panic")))).join();
    assert!(poisoned.is_err());
    let error = in_time(oracle.send(&store, 2, start_ns(2))).await.unwrap_err();
    assert!(matches!(error, Error::Died { .. }) && error.class().is_retryable(), "{error}");
    assert_eq!(syncs(&store), before + 1, "it was durable then");
    assert!(tells(&store, "the log") && !store.health().ready, "{:?}", store.health());
    let error = in_time(oracle.send(&store, 3, start_ns(3))).await.unwrap_err();
    assert!(matches!(error, Error::Died { .. }), "{error}");
    in_time(store.close()).await.unwrap_err();
    for left in [sim.killed(), sim.crash(1)] {
        let store = open_on(&left, &config, &clock).await;
        oracle.check(&store.reader(), start_ns, "after a restart").await;
        assert!(store.health().reasons.is_empty(), "{:?}", store.health());
        // Sent again it is known by its identity.
        let again = oracle.send(&store, 2, start_ns(2)).await.unwrap();
        assert!(again.duplicate);
        oracle.check(&store.reader(), start_ns, "after it was sent again").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_panics_is_told_keeps_the_rows_and_is_tried_again() {
    let (sim, sick, clock) = (Sim::new(1), Sick::new(1, 0), clock());
    let config = Config { place: Place::Given(Arc::new(sick.clone())), ..config(Path::new(DATA)) };
    let store = open_on(&sim, &config, &clock).await;
    store.append(request(1, 3)).await.unwrap();
    // The thread that keeps the parts in order asks the place as well, at its first step only.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    sick.panic_once();
    let error = in_time(store.freeze_and_flush()).await.unwrap_err();
    assert!(error.to_string().contains("panicked"), "{error}");
    assert!(tells(&store, "flush"), "{:?}", store.health());
    assert_eq!(ids(&store.reader()).await, once(&[(1, 3)]));
    until(|| store.reader().view().memory.is_empty()).await;
    until(|| store.health().reasons.is_empty()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_of_the_upkeep_that_panics_is_told_until_it_succeeds_and_keeps_none_of_the_others() {
    let (sim, sick, clock) = (Sim::new(1), Sick::new(1, 0), clock());
    let config = Config { place: Place::Given(Arc::new(sick.clone())), ..config(Path::new(DATA)) };
    let store = open_on(&sim, &config, &clock).await;
    let steps = upkeep(&store);
    let mut told = false;
    // The store's own thread may be the one that panics, and then well again before anyone looks.
    for _ in 0..20 {
        sick.panic_once();
        let stepped = steps.step().await;
        told |= tells(&store, "the sweep") && stepped.is_err();
        if told {
            break;
        }
        steps.chores.lock().unwrap().orphans_due = std::time::Instant::now();
    }
    assert!(told);
    assert_eq!(store.inner.metrics.degraded.with_label_values(&["panic"]).get(), 1);
    until(|| store.health().reasons.is_empty()).await;
    assert_eq!(store.inner.metrics.degraded.with_label_values(&["panic"]).get(), 0);
    assert!(store.health().ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compaction_that_panics_answers_who_asked_and_is_told() {
    let (sim, sick, clock) = (Sim::new(1), Sick::new(1, 0), clock());
    let place = Place::Given(Arc::new(sick.clone()));
    let config = Config { place, by_hand: true, ..config(Path::new(DATA)) };
    let store = open_on(&sim, &config, &clock).await;
    let steps = upkeep(&store);
    for seed in 1..=2 {
        store.append(request(seed, 3)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    // Its first step asks the place for more than compaction does.
    steps.step().await.unwrap();
    let asked = async || in_time(futures::future::join(store.compact(None), steps.step())).await.0;
    sick.panic_once();
    let error = asked().await.unwrap_err();
    assert!(error.to_string().contains("compaction panicked"), "{error}");
    assert!(tells(&store, "compaction"), "{:?}", store.health());
    asked().await.unwrap();
    assert!(store.health().reasons.is_empty(), "{:?}", store.health());
    assert_eq!(ids(&store.reader()).await, once(&[(1, 3), (2, 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_panics_is_told_and_nobody_waits_for_its_end() {
    let (sim, clock) = (Sim::new(1), clock());
    let config = config(Path::new(DATA));
    let store = open_on(&sim, &config, &clock).await;
    store.append(request(1, 3)).await.unwrap();
    let left = sim.killed();
    drop(store);
    let budget = Budget::try_new(1 << 30).unwrap();
    let check = Check::new(|| panic!("no check"));
    let disk = Disk::Sim(left.clone());
    let opened =
        open::open(config.clone(), disk, clock.clone(), &budget, &Registry::new(), decode(), check).await.unwrap();
    until(|| tells(&opened, "replay")).await;
    assert!(!opened.health().ready && !opened.reader().view().complete);
    let error = in_time(opened.freeze_and_flush()).await.unwrap_err();
    assert!(error.to_string().contains("no check"), "{error}");
    drop(in_time(opened.close()).await);
    let store = open_on(&left, &config, &clock).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_the_next_segment_is_made_refuses_appends_until_it_is_there() {
    let sim = Sim::new(1);
    Disk::Sim(sim.clone()).create_dir_all(Path::new(DATA)).unwrap();
    sim.plan(sim.ops() + 1, Fate::Panics);
    let metrics = metrics::Metrics::register(&Registry::new()).unwrap();
    let (next, thread) = Next::start(Disk::Sim(sim), DATA.into(), 4096, Some(0), metrics).unwrap();
    let of_log = next.clone();
    let error = in_time(tokio::task::spawn_blocking(move || of_log.take())).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("panicked") && error.class().is_retryable(), "{error}");
    until(|| next.refusal().is_none()).await;
    next.take().unwrap();
    next.stop();
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_whose_writer_panics_says_so_and_writes_the_rows_later() {
    let sim = Sim::new(1);
    let ledger = Ledger::open(Path::new(DATA).join("ledger"), Disk::Sim(sim.clone()), clock()).unwrap();
    sim.plan(sim.ops() + 1, Fate::Panics);
    ledger.record(ledger::Drop { reason: "x".to_owned(), spans: 7, ..ledger::Drop::default() });
    let of_thread = ledger.clone();
    in_time(tokio::task::spawn_blocking(move || of_thread.flush())).await.unwrap();
    until(|| {
        ledger.flush();
        ledger.problem().is_none()
    })
    .await;
    let batches = ledger.batches().unwrap();
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_flushed_rows_are_counted_stops_no_flush_and_all_is_counted_again() {
    let (dir, config_of) = (tempfile::tempdir().unwrap(), |dir: &Path| Config { by_hand: true, ..config(dir) });
    let store = try_open(config_of(dir.path()), Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    let catalog = store.reader().view().catalog.unwrap();
    for seed in 1..=6 {
        store.append(request(seed, 3)).await.unwrap();
        if seed % 2 == 0 {
            catalog.panic_once();
        }
        in_time(store.freeze_and_flush()).await.unwrap();
        assert!(store.reader().view().memory.is_empty());
        super::catalog::check(&store.reader(), "after a panic").await;
    }
    assert!(!catalog.is_behind());
    catalog.panic_once();
    store.append(request(7, 3)).await.unwrap();
    in_time(store.freeze_and_flush()).await.unwrap();
    // Nobody asks: the thread counts, and the file of the last flush is good again.
    until(|| !catalog.is_behind()).await;
    in_time(store.close()).await.unwrap();
    let reader = offline::open_with(&config_of(dir.path()), Disk::Os, clock(), decode()).await.unwrap();
    assert!(!reader.view().catalog.unwrap().is_behind());
    super::catalog::check(&reader, "after a stop").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_while_parts_are_counted_is_told_until_they_are() {
    let (sim, sick, clock) = (Sim::new(1), Sick::new(1, 0), clock());
    let place = Place::Given(Arc::new(sick.clone()));
    let config = Config { place, by_hand: true, ..config(Path::new(DATA)) };
    let store = open_on(&sim, &config, &clock).await;
    let catalog = store.reader().view().catalog.unwrap();
    let mut told = false;
    for seed in 1..=20 {
        store.append(request(seed, 3)).await.unwrap();
        catalog.panic_once();
        // One that was meant for the count may meet the flush.
        while in_time(store.freeze_and_flush()).await.is_err() {}
        // Only who counts the parts asks the place now, if it has not already.
        sick.panic_once();
        until(|| {
            told |= tells(&store, "a count of the catalogue");
            !catalog.is_behind()
        })
        .await;
        assert!(store.health().reasons.is_empty(), "{:?}", store.health());
        if told {
            break;
        }
    }
    assert!(told);
    super::catalog::check(&store.reader(), "after a panic").await;
}
