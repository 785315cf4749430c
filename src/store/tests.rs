//! The store's promises, with the real disk, real parts, injected faults and copies of the folder at random moments.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::wal::payload::Decode;
use super::wal::segment;
use super::*;
use crate::disk::Op;
use crate::disk::faults::Faults;
use crate::span::{Coding, RequestBody};

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn config(dir: &Path) -> Config {
    Config { min_free_bytes: Some(0), segment_bytes: 1 << 20, ..Config::at(dir) }
}

/// Each process draws other chance.
fn clock() -> Clock {
    static SEED: AtomicU64 = AtomicU64::new(1);
    Clock::manual(samples::NOW_NS, SEED.fetch_add(1, Ordering::Relaxed))
}

/// Bodies are `{seed} {rows}` in text; `panic` and `wrong` are what they say.
fn decode() -> Decode {
    Arc::new(|| {
        Box::new(|body: &[u8], coding, _| {
            assert_eq!(coding, Coding::Identity);
            let text = std::str::from_utf8(body).unwrap().trim_end_matches(' ');
            assert_ne!(text, "panic");
            let (seed, rows) = text.split_once(' ').ok_or("no space")?;
            Ok(vec![samples::batch(seed.parse().unwrap(), rows.parse().unwrap())])
        })
    })
}

async fn try_open(config: Config, disk: Disk, clock: Clock) -> Result<Store, Error> {
    let budget = Budget::try_new(1 << 30).unwrap();
    open::open(config, disk, clock, &budget, &Registry::new(), decode()).await
}

async fn open_at(dir: &Path) -> Store {
    let store = try_open(config(dir), Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    store
}

async fn ready(store: &Store) {
    while !store.is_ready() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A delivery that is logged as its body.
fn request(seed: u64, rows: usize) -> Delivery {
    body(seed, rows, format!("{seed} {rows}"))
}

fn body(seed: u64, rows: usize, text: String) -> Delivery {
    let body = RequestBody {
        decoded_len: u32::try_from(text.len()).unwrap(),
        bytes: Bytes::from(text),
        coding: Coding::Identity,
    };
    Delivery { body: Some(body), ..samples::delivery(seed, rows) }
}

fn with_identity(identity: u128, delivery: Delivery) -> Delivery {
    Delivery { identity, ..delivery }
}

/// Every span id in the view with the number of times it is there.
async fn ids(reader: &Reader) -> BTreeMap<u64, usize> {
    let view = reader.view();
    let mut counts = BTreeMap::new();
    for rows in &view.memory {
        for id in samples::span_ids(rows.batch.as_record_batch()) {
            *counts.entry(id).or_default() += 1;
        }
    }
    for part in &view.parts.parts {
        use object_store::ObjectStoreExt;
        let file = view.objects.get(&part.entry.path.as_str().into()).await.unwrap().bytes().await.unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for batch in reader.build().unwrap() {
            for id in samples::span_ids(&batch.unwrap()) {
                *counts.entry(id).or_default() += 1;
            }
        }
    }
    counts
}

/// The ids of these (seed, rows), once each.
fn once(deliveries: &[(u64, usize)]) -> BTreeMap<u64, usize> {
    deliveries.iter().flat_map(|(seed, rows)| (0..*rows).map(|row| (samples::id(*seed, row), 1))).collect()
}

fn syncs(store: &Store) -> u64 {
    store.inner.metrics.wal_sync_seconds.get_sample_count()
}

/// What kill -9 leaves: the files as they are at this moment.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(entries) = std::fs::read_dir(from) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            // A file may be renamed or deleted between listing and copying, as between two writes of a crash.
            let _ = std::fs::copy(&path, &target);
        }
    }
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    Disk::Os.list(&dir.join("wal")).unwrap().into_iter().filter(|p| segment::lsn_of(p).is_some()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_is_visible_when_it_returns_and_there_again_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let first = store.append(request(1, 3)).await.unwrap();
    let second = store.append(samples::delivery(2, 2)).await.unwrap();
    assert_eq!((first, second), (stored(1), stored(2)));
    assert_eq!(ids(&store.reader()).await, once(&[(1, 3), (2, 2)]));
    let positions: Vec<_> = store.reader().view().memory.iter().map(|r| (r.lsn, r.ingest_us)).collect();
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let again = open_at(crashed.path()).await;
    assert_eq!(ids(&again.reader()).await, once(&[(1, 3), (2, 2)]));
    let health = again.health();
    assert!(health.ready && health.reasons.is_empty(), "{health:?}");
    let replayed: Vec<_> = again.reader().view().memory.iter().map(|r| (r.lsn, r.ingest_us)).collect();
    assert!(replayed.is_empty() || replayed == positions, "replay keeps lsn and position: {replayed:?}");
    assert_eq!(again.append(request(3, 1)).await.unwrap().lsn, 3);
    assert!(again.reader().view().visible_us > positions[1].1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_delivery_is_answered_and_not_logged() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    assert_eq!(store.append(Delivery { batches: Vec::new(), ..request(1, 1) }).await.unwrap().lsn, 0);
    assert_eq!((segments(dir.path()).len(), syncs(&store)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_arrive_together_share_syncs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let tasks: Vec<_> = (1..=200_u64)
        .map(|seed| {
            let store = store.clone();
            tokio::spawn(async move { store.append(request(seed, 1)).await.unwrap().lsn })
        })
        .collect();
    let mut lsns = futures::future::try_join_all(tasks).await.unwrap();
    lsns.sort_unstable();
    assert_eq!(lsns, (1..=200).collect::<Vec<_>>());
    assert!(syncs(&store) < 100, "{} syncs for 200 requests", syncs(&store));
    let memory = store.reader().view().memory;
    assert!(memory.is_sorted_by(|a, b| a.lsn < b.lsn && a.ingest_us < b.ingest_us));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resent_request_is_stored_once_also_across_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    store.append(with_identity(42, request(1, 2))).await.unwrap();
    let again = store.append(with_identity(42, request(1, 2))).await.unwrap();
    assert!(again.duplicate);
    let both = futures::future::join_all((0..10).map(|_| store.append(with_identity(43, request(2, 2))))).await;
    assert_eq!(both.iter().filter(|r| !r.as_ref().unwrap().duplicate).count(), 1);
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let store = open_at(crashed.path()).await;
    assert!(store.append(with_identity(42, request(1, 2))).await.unwrap().duplicate);
    assert_eq!(ids(&store.reader()).await, once(&[(1, 2), (2, 2)]));
    assert_eq!(store.inner.metrics.duplicates.with_label_values(&["request"]).get(), 2);
}

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
async fn a_closed_store_refuses_and_a_second_one_needs_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let error = try_open(config(dir.path()), Disk::Os, clock()).await.unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    let clone = store.clone();
    store.close().await.unwrap();
    assert!(matches!(clone.append(request(1, 1)).await, Err(Error::Draining)));
    assert!(matches!(clone.freeze_and_flush().await, Err(Error::Draining)));
    assert!(matches!(clone.close().await, Err(Error::Draining)), "a second close ends, too");
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
async fn a_failed_sync_refuses_its_group_once_and_a_fresh_segment_takes_the_resend() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let store = try_open(config(dir.path()), Disk::Faulty(faults.clone()), clock()).await.unwrap();
    store.append(request(1, 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    faults.arm(Op::Sync, 0, 1, EIO);
    let error = store.append(with_identity(5, request(2, 1))).await.unwrap_err();
    assert_eq!((error.class(), error.label()), (crate::error::Class::Unavailable, "sync"));
    assert_eq!(error.retry_after(), Some(Duration::from_secs(5)));
    let resent = loop {
        match store.append(with_identity(5, request(2, 1))).await {
            Ok(appended) => break appended,
            Err(error) => assert_eq!(error.label(), "sync"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(!resent.duplicate);
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1), (2, 1)]));
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let store = open_at(crashed.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1), (2, 1)]), "the failed group is void");
    assert!(store.health().reasons.is_empty(), "{:?}", store.health());
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_goes_after_the_third_failed_recovery_while_queries_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let store = try_open(config(dir.path()), Disk::Faulty(faults.clone()), clock()).await.unwrap();
    store.append(request(1, 1)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    faults.arm(Op::Write, 0, usize::MAX, EIO);
    assert_eq!(store.append(request(2, 1)).await.unwrap_err().label(), "sync");
    assert!(store.health().ready);
    while store.health().ready {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(store.inner.progress.failed_recoveries.load(Ordering::Relaxed), 3);
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1)]));
    faults.disarm();
    while store.append(request(3, 1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(store.health().ready);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_step_of_a_switch_may_fail_and_nothing_is_acknowledged_before_it_is_proven() {
    for op in [Op::Write, Op::Sync, Op::Rename, Op::SyncDir] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let store = try_open(config(dir.path()), Disk::Faulty(faults.clone()), clock()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
        faults.arm(op, 0, 1, EIO);
        let error = store.append(request(1, 1)).await.unwrap_err();
        assert_eq!(error.label(), "sync", "{op:?}");
        while store.append(request(2, 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(ids(&store.reader()).await, once(&[(2, 1)]), "{op:?}");
        let crashed = tempfile::tempdir().unwrap();
        copy(dir.path(), crashed.path());
        let store = open_at(crashed.path()).await;
        assert_eq!(ids(&store.reader()).await, once(&[(2, 1)]), "{op:?}: the failed group is void");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_busy_and_its_end_is_noticed_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    faults.arm(Op::Allocate, 0, 2, ENOSPC);
    let store = try_open(config(dir.path()), Disk::Faulty(faults.clone()), clock()).await.unwrap();
    let began = std::time::Instant::now();
    let error = store.append(request(1, 1)).await.unwrap_err();
    assert_eq!((error.class(), error.retry_after()), (crate::error::Class::Busy, Some(Duration::from_secs(5))));
    assert!(!store.health().reasons.is_empty());
    while store.append(request(1, 1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_flush_keeps_the_rows_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let store = try_open(config(dir.path()), Disk::Faulty(faults.clone()), clock()).await.unwrap();
    store.append(request(1, 4)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    faults.arm(Op::Link, 0, 2, ENOSPC);
    assert!(store.freeze_and_flush().await.is_err());
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]));
    while !store.reader().view().memory.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]));
    assert_eq!(store.inner.metrics.flush_failures.get(), 2);
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    assert_eq!(ids(&open_at(crashed.path()).await.reader()).await, once(&[(1, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_frozen_generations_refuse_until_the_flush_has_caught_up() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let config = Config { max_frozen: 1, flush_bytes: 1, ..config(dir.path()) };
    let store = try_open(config, Disk::Faulty(faults.clone()), clock()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    faults.arm(Op::Link, 0, 3, ENOSPC);
    let mut acked = Vec::new();
    let error = loop {
        let seed = acked.len() as u64 + 1;
        match store.append(request(seed, 1)).await {
            Ok(_) => acked.push((seed, 1)),
            Err(error) => break error,
        }
        assert!(acked.len() < 10_000, "never refused");
    };
    assert_eq!((error.class(), error.label()), (crate::error::Class::Busy, "queue"));
    let seed = acked.len() as u64 + 1;
    while store.append(request(seed, 1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    acked.push((seed, 1));
    assert_eq!(ids(&store.reader()).await, once(&acked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_panics_or_lies_goes_to_quarantine_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    store.append(request(1, 1)).await.unwrap();
    store.append(body(2, 1, "panic".to_owned())).await.unwrap();
    store.append(body(3, 1, "3 9".to_owned())).await.unwrap();
    store.append(request(4, 1)).await.unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let store = open_at(crashed.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1), (4, 1)]));
    let health = store.health();
    assert!(health.ready && health.reasons.len() == 2, "{health:?}");
    assert!(health.reasons[1].contains("decodes to 9 spans"), "{health:?}");
    let kept = Disk::Os.list(&crashed.path().join("quarantine")).unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn corruption_is_named_and_kept_or_refused_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=5 {
        store.append(request(seed, 1)).await.unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let path = segments(crashed.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    // The third record: each has 72 + 8 bytes.
    bytes[4096 + 2 * 80 + 30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refusing = Config { on_corruption: config::OnCorruption::Refuse, ..config(crashed.path()) };
    let error = try_open(refusing, Disk::Os, clock()).await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { detail } if detail.contains("records 3 to 3")), "{error}");
    let told = offline::damaged_log(crashed.path(), Disk::Os, clock()).await.unwrap();
    assert!(told[0].contains("records 3 to 3"), "{told:?}");
    assert_eq!(Disk::Os.list(&crashed.path().join("quarantine")).unwrap().len(), 0, "so far it was only looked at");
    let store = open_at(crashed.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1), (2, 1), (4, 1), (5, 1)]));
    assert!(store.health().reasons[0].contains("records 3 to 3 are lost"), "{:?}", store.health());
    assert_eq!(Disk::Os.list(&crashed.path().join("quarantine")).unwrap().len(), 1);
    assert_eq!(store.append(request(6, 1)).await.unwrap().lsn, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_without_a_good_header_is_moved_aside_and_its_lsns_are_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=3 {
        store.append(request(seed, 1)).await.unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let path = segments(crashed.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let store = open_at(crashed.path()).await;
    assert!(store.health().reasons[0].contains("records 1 to 3 are lost"), "{:?}", store.health());
    assert!(!path.exists() && crashed.path().join("quarantine").join(path.file_name().unwrap()).exists());
    assert_eq!(store.append(request(4, 1)).await.unwrap().lsn, 4);
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
    let reader = offline::open_with(dir.path(), Disk::Os, clock(), decode()).await.unwrap();
    assert_eq!(ids(&reader).await, once(&[(1, 2), (2, 2)]));
    assert!(dir.path().join("wal/next.tmp").exists());
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

/// C8, seeded: errors at random steps of log, flush and manifest while requests are sent and resent.
#[tokio::test(flavor = "multi_thread")]
async fn on_a_sick_disk_what_was_acked_is_there_once_and_what_was_refused_is_not() {
    let ops = [Op::Write, Op::Sync, Op::Rename, Op::SyncDir, Op::Allocate, Op::Link, Op::Create];
    for seed in 0..8_u64 {
        let mut rng = ChaCha12Rng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let config = Config { segment_bytes: 8 << 10, flush_bytes: 50 << 10, ..config(dir.path()) };
        let store = try_open(config.clone(), Disk::Faulty(faults.clone()), clock()).await.unwrap();
        let (mut acked, mut refused) = (Vec::new(), 0);
        for id in 1..=150_u64 {
            if rng.next_u64() % 10 == 0 {
                let errno = if rng.next_u64() % 2 == 0 { EIO } else { ENOSPC };
                faults.arm(ops[(rng.next_u64() % ops.len() as u64) as usize], (rng.next_u64() % 3) as usize, 1, errno);
            }
            let rows = 1 + (id % 4) as usize;
            match store.append(with_identity(u128::from(id), request(id, rows))).await {
                Ok(appended) => {
                    assert!(!appended.duplicate, "seed {seed}: {id} was never stored");
                    acked.push((id, rows));
                }
                Err(error) => {
                    assert!(error.class().is_retryable(), "seed {seed}: {error}");
                    refused += 1;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        }
        faults.disarm();
        while store.append(request(1_000, 1)).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        acked.push((1_000, 1));
        assert_eq!(ids(&store.reader()).await, once(&acked), "seed {seed}: {refused} refused");
        drop(store);
        let store = try_open(config, Disk::Os, clock()).await.unwrap();
        ready(&store).await;
        assert_eq!(ids(&store.reader()).await, once(&acked), "seed {seed}: after a restart");
        assert!(store.health().reasons.is_empty(), "seed {seed}: {:?}", store.health());
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
        open::open(config(crashed.path()), Disk::Os, clock(), &budget, &Registry::new(), slow).await.unwrap();
    assert!(!replaying.is_ready() && !replaying.health().ready && !replaying.reader().view().complete);
    replaying.append(request(51, 2)).await.unwrap();
    replaying.close().await.unwrap();
    let store = open_at(crashed.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&(1..=51).map(|seed| (seed, 2)).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread")]
async fn offered_spans_are_acked_or_failed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    store.append(request(1, 3)).await.unwrap();
    let clone = store.clone();
    store.close().await.unwrap();
    assert!(clone.append(request(2, 4)).await.is_err());
    let of = |family: &prometheus::IntCounterVec| family.with_label_values(&["received"]).get();
    let metrics = &clone.inner.metrics;
    assert_eq!((of(&metrics.offered), of(&metrics.acked), of(&metrics.failed)), (7, 3, 4));
    assert_eq!(metrics.refused.with_label_values(&["draining"]).get(), 1);
}
