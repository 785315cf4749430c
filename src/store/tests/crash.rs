//! What is there after the process ended, however it ended.

use super::oracle::{DATA, open_on};
use super::*;
use crate::disk::sim::Sim;

#[tokio::test(flavor = "multi_thread")]
async fn after_close_there_is_nothing_to_replay_and_old_segments_go_one_flush_late() {
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=4_u64 {
        let store = open_at(dir.path()).await;
        assert!(store.reader().view().memory.is_empty(), "round {round}");
        store.append(request(round, 5)).await.unwrap();
        store.close().await.unwrap();
        assert!(segments(dir.path()).len() <= 3, "{:?}", segments(dir.path()));
    }
    let store = open_at(dir.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 5), (2, 5), (3, 5), (4, 5)]));
    assert!(store.health().reasons.is_empty(), "{:?}", store.health());
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_go_on_where_the_clock_stands_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    store.append(request(1, 1)).await.unwrap();
    let before = store.reader().view().visible_us;
    store.close().await.unwrap();
    let behind = Clock::manual(samples::NOW_NS - 86_400_000_000_000, 9);
    let store = try_open(config(dir.path()), Disk::Os, behind).await.unwrap();
    ready(&store).await;
    store.append(request(2, 1)).await.unwrap();
    store.append(request(3, 1)).await.unwrap();
    let memory = store.reader().view().memory;
    assert_eq!(memory.iter().map(|r| r.ingest_us).collect::<Vec<_>>(), [before + 2, before + 3], "the mark took one");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_weaker_modes_keep_what_they_promise() {
    for durability in [config::Durability::Os, config::Durability::Memory] {
        let dir = tempfile::tempdir().unwrap();
        let store = try_open(Config { durability, ..config(dir.path()) }, Disk::Os, clock()).await.unwrap();
        store.append(request(1, 2)).await.unwrap();
        store.append(samples::delivery(2, 2)).await.unwrap();
        assert_eq!(ids(&store.reader()).await, once(&[(1, 2), (2, 2)]), "{durability:?}");
        let killed = tempfile::tempdir().unwrap();
        copy(dir.path(), killed.path());
        let kept = if durability == config::Durability::Os { once(&[(1, 2), (2, 2)]) } else { once(&[]) };
        assert_eq!(ids(&open_at(killed.path()).await.reader()).await, kept, "{durability:?}");
        store.close().await.unwrap();
        assert_eq!(ids(&open_at(dir.path()).await.reader()).await, once(&[(1, 2), (2, 2)]), "{durability:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_beside_the_daemon_sees_parts_and_log_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    store.append(request(1, 2)).await.unwrap();
    store.freeze_and_flush().await.unwrap();
    store.append(request(2, 2)).await.unwrap();
    let reader = offline::open_with(&config(dir.path()), Disk::Os, clock(), decode()).await.unwrap();
    assert_eq!(ids(&reader).await, once(&[(1, 2), (2, 2)]));
    assert!(dir.path().join("wal/next.tmp").exists());
    // A copy without the folders that only a writer needs.
    let copied = tempfile::tempdir().unwrap();
    copy(dir.path(), copied.path());
    std::fs::remove_dir_all(copied.path().join("tmp")).unwrap();
    let reader = offline::open_with(&config(copied.path()), Disk::Os, clock(), decode()).await.unwrap();
    assert_eq!(ids(&reader).await, once(&[(1, 2), (2, 2)]));
    assert!(!copied.path().join("tmp").exists(), "a reader made a folder");
    store.append(request(3, 2)).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[(1, 2), (2, 2), (3, 2)]));
}

/// Crash points by copying the folder at random moments under load: what was acknowledged before the copy began is there,
/// once, and nothing that was not sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_acknowledged_span_is_lost_whenever_the_process_dies() {
    for seed in 0..6_u64 {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        // Small limits: switches and flushes happen all the time.
        let config = Config { segment_bytes: 16 << 10, flush_bytes: 200 << 10, ..config(dir.path()) };
        let store = try_open(config.clone(), Disk::Os, clock()).await.unwrap();
        let acked = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let senders: Vec<_> = (0..4_u64)
            .map(|sender| {
                let (store, acked, stop) = (store.clone(), acked.clone(), stop.clone());
                tokio::spawn(async move {
                    for i in 0_u64.. {
                        if stop.load(Ordering::Relaxed) {
                            return i;
                        }
                        let id = sender * 10_000 + i + 1;
                        let rows = 1 + (i % 3) as usize;
                        let delivery = if i % 5 == 0 { samples::delivery(id, rows) } else { request(id, rows) };
                        if store.append(delivery).await.is_ok() {
                            acked.lock().unwrap().push((id, rows));
                        }
                    }
                    0
                })
            })
            .collect();
        let mut crashes = Vec::new();
        for _ in 0..4 {
            tokio::time::sleep(Duration::from_millis(20 + rng.next_u64() % 120)).await;
            let before = acked.lock().unwrap().clone();
            let crashed = tempfile::tempdir().unwrap();
            // A copy takes time, a crash does not: files are copied in the order in which their loss would be found out,
            // the manifest last, so that what the copy misses of the log is in the parts.
            for part in ["wal", "spans", "index", "manifest", "VERSION", "node.id"] {
                let (from, to) = (dir.path().join(part), crashed.path().join(part));
                if from.is_dir() { copy(&from, &to) } else { drop(std::fs::copy(from, to)) }
            }
            copy(&dir.path().join("spans"), &crashed.path().join("spans"));
            copy(&dir.path().join("index"), &crashed.path().join("index"));
            crashes.push((before, crashed));
        }
        stop.store(true, Ordering::Relaxed);
        let sent = futures::future::try_join_all(senders).await.unwrap();
        for (before, crashed) in crashes {
            let store = try_open(Config { path: crashed.path().to_owned(), ..config.clone() }, Disk::Os, clock()).await;
            let store = store.unwrap();
            ready(&store).await;
            let found = ids(&store.reader()).await;
            let missing: Vec<_> = once(&before).into_keys().filter(|id| found.get(id) != Some(&1)).collect();
            assert!(missing.is_empty(), "seed {seed}: {} acknowledged, missing or doubled: {missing:?}", before.len());
            for (id, count) in &found {
                let (sender, i) = ((id / 1_000_000 - 1) / 10_000, (id / 1_000_000 - 1) % 10_000);
                assert!(*count == 1 && i < sent[sender as usize], "seed {seed}: {id} is there {count} times");
            }
        }
        store.close().await.unwrap();
        let all = acked.lock().unwrap().clone();
        assert_eq!(ids(&open_at(dir.path()).await.reader()).await, once(&all), "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_close_during_replay_ends_and_the_next_start_replays_all() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=50 {
        store.append(request(seed, 2)).await.unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let slow: Decode = Arc::new(|| {
        let mut decoder = decode()();
        Box::new(move |body, coding, len| {
            std::thread::sleep(Duration::from_millis(20));
            decoder(body, coding, len)
        })
    });
    let budget = Budget::try_new(1 << 30).unwrap();
    let replaying =
        open::open(config(crashed.path()), Disk::Os, clock(), &budget, &Registry::new(), slow, Check::none())
            .await
            .unwrap();
    assert!(!replaying.is_ready() && !replaying.health().ready && !replaying.reader().view().complete);
    replaying.append(request(51, 2)).await.unwrap();
    replaying.close().await.unwrap();
    let store = open_at(crashed.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&(1..=51).map(|seed| (seed, 2)).collect::<Vec<_>>()));
}

/// The generations that freeze meanwhile wait behind the one that replay fills: it must not wait for them.
#[tokio::test(flavor = "multi_thread")]
async fn a_replay_ends_although_the_log_freezes_generations_meanwhile() {
    let (sim, clock) = (Sim::new(1), clock());
    let on_sim = Config { segment_bytes: 8 << 10, flush_bytes: 64 << 20, ..config(Path::new(DATA)) };
    let store = open_on(&sim, &on_sim, &clock).await;
    for seed in 1..=30 {
        store.append(samples::delivery(seed, 20)).await.unwrap();
    }
    let left = sim.killed();
    drop(store);
    // Every segment gives a generation of its own.
    let on_sim = Config { flush_bytes: 1, ..on_sim };
    let store = try_open(on_sim, Disk::Sim(left), clock).await.unwrap();
    for seed in 31..=34 {
        while let Err(error) = store.append(samples::delivery(seed, 20)).await {
            assert!(matches!(error, Error::FlushBehind { .. }), "{error}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        store.inner.door.freeze().unwrap().await.unwrap();
    }
    tokio::time::timeout(Duration::from_secs(20), ready(&store)).await.expect("the replay is stuck");
    assert_eq!(ids(&store.reader()).await, once(&(1..=34).map(|seed| (seed, 20)).collect::<Vec<_>>()));
}
