//! What becomes of parts: retention, deletion, damage, and a manifest that cannot be read.

use futures::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::{ObjectStore as _, ObjectStoreExt as _};

use super::oracle::{DATA, open_on};
use super::takeover::Pausing;
use super::*;
use crate::disk::sim::Sim;
use crate::store::manifest::DELETE_GRACE_NS;
use crate::store::place::Place;
use crate::store::upkeep::Upkeep;

const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// The steps of `store`'s thread, which sees another monotonic clock.
fn upkeep(store: &Store) -> Upkeep {
    Upkeep { chores: Arc::default(), ..store.inner.upkeep.clone() }
}

fn mono(ns: i64) -> Duration {
    Duration::from_nanos(ns.unsigned_abs())
}

async fn flushed(store: &Store, seed: u64, rows: usize) -> String {
    store.append(request(seed, rows)).await.unwrap();
    store.freeze_and_flush().await.unwrap();
    store.reader().view().parts.parts.last().unwrap().entry.path.clone()
}

fn is_there(dir: &Path, part: &str) -> [bool; 2] {
    [part.to_owned(), part::sum_path(part)].map(|path| dir.join(path).exists())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_part_leaves_readers_at_once_and_the_disk_when_grace_and_statements_have_ended() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_age: Some(Duration::from_secs(86_400)), ..config(dir.path()) };
    let store = try_open(config, Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    let part = flushed(&store, 1, 4).await;
    let upkeep = upkeep(&store);
    upkeep.retain_at(samples::NOW_NS, mono(0)).await.unwrap();
    upkeep.retain_at(samples::NOW_NS + 24 * HOUR_NS, mono(24 * HOUR_NS)).await.unwrap();
    assert_eq!(store.reader().view().parts.parts.len(), 1, "its hour has not ended a day ago");
    let reading = store.reader().view().objects;
    let gone_ns = samples::NOW_NS + 26 * HOUR_NS;
    upkeep.retain_at(gone_ns, mono(26 * HOUR_NS)).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[]));
    assert_eq!(store.inner.metrics.expired.get(), 4);
    store.ledger().flush();
    let dropped = store.ledger().batches().unwrap();
    let reasons = dropped[0].column_by_name("reason").unwrap();
    assert_eq!(arrow::array::AsArray::as_string::<i32>(reasons).value(0), "expired");
    upkeep.sweep_removed(gone_ns + DELETE_GRACE_NS).await.unwrap();
    assert_eq!(is_there(dir.path(), &part), [true; 2], "a statement may still read it");
    reading.get(&part.as_str().into()).await.unwrap().bytes().await.unwrap();
    drop(reading);
    upkeep.sweep_removed(gone_ns + DELETE_GRACE_NS - 1).await.unwrap();
    assert_eq!(is_there(dir.path(), &part), [true; 2], "its grace has not passed");
    upkeep.sweep_removed(gone_ns + DELETE_GRACE_NS).await.unwrap();
    assert_eq!(is_there(dir.path(), &part), [false; 2]);
    assert!(!upkeep.shelf.part_store().names().contains(&part));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removal_that_a_crash_left_open_is_ended_by_the_next_process() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let (part, kept) = (flushed(&store, 1, 4).await, flushed(&store, 2, 4).await);
    let later_ns = samples::NOW_NS + HOUR_NS / 2;
    let removal = manifest::Removal { path: part.clone(), reason: manifest::Reason::Expired, delete_after: later_ns };
    let delta = manifest::Delta { remove: vec![removal], ..Default::default() };
    let first = upkeep(&store);
    first.shelf.commit(delta, |shown| first.publish(shown)).await.unwrap();
    drop((first, store));
    let store = open_at(dir.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(2, 4)]));
    assert_eq!(is_there(dir.path(), &part), [true; 2]);
    upkeep(&store).sweep_removed(later_ns).await.unwrap();
    assert_eq!((is_there(dir.path(), &part), is_there(dir.path(), &kept)), ([false; 2], [true; 2]));
    let report = verify::verify(&config(dir.path()), &Disk::Os, &clock(), verify::Depth::Deep).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sweep_takes_what_no_version_names_once_it_is_an_hour_old_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let part = flushed(&store, 1, 4).await;
    let hour = Path::new(&part).parent().unwrap().to_owned();
    let named = |ms: i64| {
        let ulid = ulid::Ulid::from_parts(ms.unsigned_abs(), 7);
        format!("{}/{ulid}.parquet", hour.display())
    };
    let now_ms = samples::NOW_NS / 1_000_000;
    let (old, young, in_hand) = (named(now_ms - 3_600_001), named(now_ms - 3_600_000), named(now_ms - 7_200_000));
    let strange = format!("{}/notes.txt", hour.display());
    let upkeep = upkeep(&store);
    let mut entry = store.reader().view().parts.parts[0].entry.clone();
    entry.path.clone_from(&in_hand);
    upkeep.shelf.part_store().register(&entry);
    for path in [&old, &young, &in_hand, &strange, &part::sum_path(&old)] {
        std::fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        std::fs::write(dir.path().join(path), b"x").unwrap();
    }
    upkeep.sweep_orphans(samples::NOW_NS).await.unwrap();
    let left = [&old, &part::sum_path(&old), &young, &in_hand, &strange].map(|path| dir.path().join(path).exists());
    assert_eq!(left, [false, false, true, true, true]);
    assert_eq!((is_there(dir.path(), &part), store.inner.metrics.orphans_deleted.get()), ([true; 2], 2));
    // Long after: the part itself is as old, and named.
    upkeep.sweep_orphans(samples::NOW_NS + 1_000 * HOUR_NS).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_a_flush_is_in_hand_before_its_file_is_there_and_no_longer_once_it_failed() {
    let place = Arc::new(InMemory::new());
    let pausing = Pausing::new(&place);
    let by_hand = |dir: &Path| Config { by_hand: true, ..config(dir) };
    let paused = Config { place: Place::Given(pausing.clone()), ..by_hand(Path::new(DATA)) };
    let store = open_on(&Sim::new(1), &paused, &clock()).await;
    store.append(request(1, 4)).await.unwrap();
    pausing.pause_after(1);
    let flush = tokio::spawn({
        let store = store.clone();
        async move { store.freeze_and_flush().await }
    });
    pausing.wait_until_paused().await;
    let listed: Vec<object_store::ObjectMeta> = place.list(Some(&"spans".into())).try_collect().await.unwrap();
    let files: Vec<String> = listed.into_iter().map(|meta| meta.location.to_string()).collect();
    assert_eq!((files.len(), upkeep(&store).shelf.part_store().names()), (1, files));
    pausing.go_on();
    flush.await.unwrap().unwrap();
    store.close().await.unwrap();

    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let store = try_open(by_hand(dir.path()), Disk::Faulty(faults.clone()), clock()).await.unwrap();
    ready(&store).await;
    store.append(request(1, 4)).await.unwrap();
    // The part itself, then its checksums.
    faults.arm(Op::Link, 1, 1, EIO);
    store.freeze_and_flush().await.unwrap_err();
    while !store.reader().view().memory.is_empty() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let live = store.reader().view().parts.parts[0].entry.path.clone();
    assert_eq!(upkeep(&store).shelf.part_store().names(), [live]);
}

fn overwrite(dir: &Path, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(dir.join(path)).unwrap();
    change(&mut bytes);
    std::fs::write(dir.join(path), bytes).unwrap();
}

/// In line 2 of a delta.
fn flip_near_the_end(bytes: &mut [u8]) {
    let at = bytes.len() - 30;
    bytes[at] ^= 1;
}

async fn read(store: &Store, part: &str) -> Result<usize, String> {
    let objects = store.reader().view().objects;
    let got = async { objects.get(&part.into()).await?.bytes().await };
    got.await.map(|bytes| bytes.len()).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_a_reader_found_damaged_goes_to_quarantine_and_the_rest_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let (part, _) = (flushed(&store, 1, 4).await, flushed(&store, 2, 4).await);
    let upkeep = upkeep(&store);
    overwrite(dir.path(), &part, |bytes| bytes[100] ^= 1);
    let told = read(&store, &part).await.unwrap_err();
    assert!(told.contains(&part), "{told}");
    upkeep.quarantine_suspects().await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[(2, 4)]));
    let reasons = store.health().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains(&part) && reasons[0].contains("4 spans"), "{reasons:?}");
    assert_eq!(store.inner.metrics.degraded.with_label_values(&["part_corrupt"]).get(), 1);
    upkeep.sweep_removed(samples::NOW_NS).await.unwrap();
    assert_eq!(is_there(dir.path(), &part), [false; 2]);
    let name = Path::new(&part).file_name().unwrap();
    assert!(dir.path().join("quarantine").join(name).exists());
    assert_eq!(store.inner.metrics.quarantined_files.get(), 2);
    store.close().await.unwrap();
    let store = open_at(dir.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(2, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_is_whole_at_its_source_stays_and_a_lost_checksum_file_is_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let part = flushed(&store, 1, 4).await;
    let upkeep = upkeep(&store);
    upkeep.shelf.part_store().suspect(&part);
    upkeep.quarantine_suspects().await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]));
    for change in [(|bytes: &mut Vec<u8>| bytes[3] ^= 1) as fn(&mut Vec<u8>), |bytes| bytes.clear()] {
        upkeep.shelf.part_store().renew(&store.reader().view().parts.parts[0].entry);
        overwrite(dir.path(), &part::sum_path(&part), change);
        read(&store, &part).await.unwrap_err();
        upkeep.quarantine_suspects().await.unwrap();
        assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]));
    }
    assert!(store.health().reasons.is_empty(), "{:?}", store.health());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_full_disk_the_oldest_hours_leave_without_grace_and_the_current_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let part = flushed(&store, 1, 4).await;
    store.close().await.unwrap();
    for (delete_oldest, left) in [(false, 1), (true, 0)] {
        let full = Config { delete_oldest, min_free_bytes: Some(u64::MAX / 4), ..config(dir.path()) };
        let store = try_open(full, Disk::Os, clock()).await.unwrap();
        ready(&store).await;
        let upkeep = upkeep(&store);
        upkeep.retain_at(samples::NOW_NS, mono(0)).await.unwrap();
        assert_eq!(store.reader().view().parts.parts.len(), 1, "it is of the current hour");
        assert!(store.inner.status.short_of_room.load(Ordering::Relaxed));
        let later_ns = samples::NOW_NS + 2 * HOUR_NS;
        upkeep.retain_at(later_ns, mono(2 * HOUR_NS)).await.unwrap();
        assert_eq!(store.reader().view().parts.parts.len(), left, "delete_oldest: {delete_oldest}");
        upkeep.sweep_removed(later_ns).await.unwrap();
        assert_eq!(is_there(dir.path(), &part), [left == 1; 2]);
        drop((upkeep, store));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_leaves_a_bucket_because_the_disk_of_the_data_folder_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let bucket = Arc::new(InMemory::new());
    let at = |min_free_bytes| Config {
        place: Place::Given(bucket.clone()),
        delete_oldest: true,
        min_free_bytes: Some(min_free_bytes),
        ..config(dir.path())
    };
    let store = try_open(at(0), Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    flushed(&store, 1, 4).await;
    store.close().await.unwrap();
    let store = try_open(at(u64::MAX / 4), Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    let upkeep = upkeep(&store);
    upkeep.retain_at(samples::NOW_NS, mono(0)).await.unwrap();
    upkeep.retain_at(samples::NOW_NS + 2 * HOUR_NS, mono(2 * HOUR_NS)).await.unwrap();
    assert!(store.inner.status.short_of_room.load(Ordering::Relaxed), "it is told all the same");
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn late_spans_from_before_the_horizon_are_kept_as_long_as_others() {
    let dir = tempfile::tempdir().unwrap();
    let late = Config { max_age: Some(Duration::from_secs(3600)), ..config(dir.path()) };
    let clock = Clock::manual(samples::NOW_NS + 50 * HOUR_NS, 77);
    let store = try_open(late, Disk::Os, clock).await.unwrap();
    ready(&store).await;
    flushed(&store, 1, 4).await;
    let upkeep = upkeep(&store);
    upkeep.retain_at(samples::NOW_NS + 50 * HOUR_NS, mono(0)).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]));
    upkeep.retain_at(samples::NOW_NS + 53 * HOUR_NS, mono(3 * HOUR_NS)).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_read_is_told_and_mended_and_loses_no_row() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=3 {
        flushed(&store, seed, 4).await;
    }
    store.append(request(4, 4)).await.unwrap();
    let all = once(&[(1, 4), (2, 4), (3, 4), (4, 4)]);
    for version in 1..=4 {
        let crashed = tempfile::tempdir().unwrap();
        copy(dir.path(), crashed.path());
        let file = format!("manifest/{version:020}.json");
        overwrite(crashed.path(), &file, |bytes| flip_near_the_end(bytes));
        let reader = offline::open_with(&config(crashed.path()), Disk::Os, clock(), decode()).await.unwrap();
        assert_eq!(ids(&reader).await, all, "version {version}: read only");
        assert!(crashed.path().join(&file).exists());
        let report = verify::verify(&config(crashed.path()), &Disk::Os, &clock(), verify::Depth::Quick).await.unwrap();
        assert_eq!(report.findings[0].file, file, "{:?}", report.findings);
        let store = open_at(crashed.path()).await;
        assert_eq!(ids(&store.reader()).await, all, "version {version}");
        assert!(store.health().reasons.iter().any(|reason| reason.contains(&file)), "{:?}", store.health());
        upkeep(&store).shelf.checkpoint_if_due().await.unwrap();
        assert!(!crashed.path().join(&file).exists());
        store.close().await.unwrap();
        let store = open_at(crashed.path()).await;
        assert_eq!(ids(&store.reader()).await, all, "version {version}: after a further start");
        assert!(store.health().reasons.is_empty(), "{:?}", store.health());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_names_parts_anew_puts_damage_aside_and_finds_nothing_the_second_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    let (first, _) = (flushed(&store, 1, 4).await, flushed(&store, 2, 4).await);
    let sum_of_third = part::sum_path(&flushed(&store, 3, 4).await);
    let locked = repair::repair(&config(dir.path()), &Disk::Os, &clock()).await.unwrap_err();
    assert!(matches!(locked, Error::Locked { .. }), "{locked}");
    store.close().await.unwrap();
    overwrite(dir.path(), "manifest/00000000000000000003.json", |bytes| flip_near_the_end(bytes));
    overwrite(dir.path(), &first, |bytes| bytes[100] ^= 1);
    overwrite(dir.path(), &sum_of_third, |bytes| bytes.clear());
    let repaired = repair::repair(&config(dir.path()), &Disk::Os, &clock()).await.unwrap();
    let told: Vec<_> = repaired.iter().map(|row| (row.file.as_str(), row.lost_spans)).collect();
    let delta = "manifest/00000000000000000003.json";
    assert_eq!(told, [(delta, 0), ("manifest/", 0), (first.as_str(), 4), (sum_of_third.as_str(), 0)]);
    assert_eq!(repair::repair(&config(dir.path()), &Disk::Os, &clock()).await.unwrap(), []);
    let store = open_at(dir.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(2, 4), (3, 4)]));
    let aside = Disk::Os.list(&dir.path().join("quarantine")).unwrap();
    let name = Path::new(&first).file_name().unwrap();
    assert!(aside.iter().any(|path| path.file_name() == Some(name)), "{aside:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_damaged_part_the_row_groups_that_are_whole_stay() {
    const ROWS: usize = 130_000;
    let dir = tempfile::tempdir().unwrap();
    let at = |dir: &Path| Config { row_group_rows: 16_384, ..config(dir) };
    let store = try_open(at(dir.path()), Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    let part = flushed(&store, 1, ROWS).await;
    let bytes = store.reader().view().parts.parts[0].entry.bytes;
    assert!(bytes > 4 * (256 << 10), "{bytes} bytes are too few blocks for this test");
    // Within the first row group, of 16,384 rows; its block holds parts of others as well.
    overwrite(dir.path(), &part, |bytes| bytes[100] ^= 1);
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());

    read(&store, &part).await.unwrap_err();
    upkeep(&store).quarantine_suspects().await.unwrap();
    let left = ids(&store.reader()).await;
    let lost = ROWS - left.len();
    assert!((16_384..ROWS / 2).contains(&lost), "{lost} rows are lost");
    assert!(left.values().all(|times| *times == 1));
    let all = once(&[(1, ROWS)]);
    assert!(left.keys().all(|id| all.contains_key(id)));
    let reasons = store.health().reasons;
    assert!(reasons[0].contains(&format!("{lost} of them cannot be read")), "{reasons:?}");
    store.close().await.unwrap();

    let repaired = repair::repair(&at(crashed.path()), &Disk::Os, &clock()).await.unwrap();
    assert_eq!(repaired.iter().map(|row| row.lost_spans).collect::<Vec<_>>(), [lost as u64]);
    assert_eq!(repair::repair(&at(crashed.path()), &Disk::Os, &clock()).await.unwrap(), []);
    for dir in [dir.path(), crashed.path()] {
        let store = try_open(at(dir), Disk::Os, clock()).await.unwrap();
        ready(&store).await;
        assert_eq!(ids(&store.reader()).await, left, "after a restart");
    }
}
