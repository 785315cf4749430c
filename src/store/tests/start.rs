//! What a start believes: its clock, a manifest that is older than the parts, a folder of which there is a copy.

use super::*;
use crate::store::place::Place;

const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// The upkeep does nothing on its own: what it would do is what is asked for here.
fn by_hand(dir: &Path) -> Config {
    Config { by_hand: true, ..config(dir) }
}

async fn started(config: &Config, clock: Clock) -> Store {
    let store = try_open(config.clone(), Disk::Os, clock).await.unwrap();
    ready(&store).await;
    store
}

async fn flushed(store: &Store, seed: u64, rows: usize) -> String {
    store.append(request(seed, rows)).await.unwrap();
    store.freeze_and_flush().await.unwrap();
    store.reader().view().parts.parts.last().unwrap().entry.path.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_whose_clock_is_a_month_ahead_expires_nothing_until_the_clock_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(&by_hand(dir.path()), clock()).await;
    flushed(&store, 1, 4).await;
    store.close().await.unwrap();
    let ahead_ns = samples::NOW_NS + 30 * 24 * HOUR_NS;
    let store = started(&by_hand(dir.path()), Clock::manual(ahead_ns, 4001)).await;
    let upkeep = store.inner.upkeep.clone();
    upkeep.retain_at(ahead_ns, Duration::ZERO).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]), "the clock is not confirmed");
    upkeep.retain_at(ahead_ns + HOUR_NS / 6, Duration::from_secs(600)).await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[]), "it is confirmed, and the hour is too old");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_when_spans_came_is_told_until_it_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let ahead_ns = samples::NOW_NS + 30 * 24 * HOUR_NS;
    let store = started(&by_hand(dir.path()), Clock::manual(ahead_ns, 4007)).await;
    store.append(request(1, 4)).await.unwrap();
    assert!(store.health().reasons.is_empty(), "{:?}", store.health());
    store.close().await.unwrap();
    let clock = Clock::manual(samples::NOW_NS, 4008);
    let store = started(&by_hand(dir.path()), clock.clone()).await;
    let health = store.health();
    assert!(health.ready && health.reasons.len() == 1, "{health:?}");
    assert!(health.reasons[0].contains("720 hours ahead of the clock"), "{health:?}");
    clock.advance_to(ahead_ns);
    assert!(store.health().reasons.is_empty(), "{:?}", store.health());
}

/// A folder with four flushed requests whose log begins behind the second one.
async fn of_four(dir: &Path) {
    let store = started(&by_hand(dir), clock()).await;
    flushed(&store, 1, 4).await;
    flushed(&store, 2, 4).await;
    store.close().await.unwrap();
    let store = started(&by_hand(dir), clock()).await;
    flushed(&store, 3, 4).await;
    // The log goes one flush late.
    flushed(&store, 4, 4).await;
    store.close().await.unwrap();
    let left: Vec<_> = segments(dir).iter().filter_map(|path| segment::lsn_of(path)).collect();
    assert!(left[0] > 2, "{left:?}");
}

fn put_back(manifest: &Path, of: &Path) {
    std::fs::remove_dir_all(of.join("manifest")).unwrap();
    copy(manifest, &of.join("manifest"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_from_an_older_copy_takes_over_the_parts_it_does_not_name() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(&by_hand(dir.path()), clock()).await;
    store.close().await.unwrap();
    let older = tempfile::tempdir().unwrap();
    copy(&dir.path().join("manifest"), older.path());
    of_four(dir.path()).await;
    put_back(older.path(), dir.path());
    let repaired = tempfile::tempdir().unwrap();
    copy(dir.path(), repaired.path());

    // Long after, so that the files would be swept.
    let later_ns = samples::NOW_NS + 3 * HOUR_NS;
    let store = started(&by_hand(dir.path()), Clock::manual(later_ns, 4002)).await;
    let all = once(&[(1, 4), (2, 4), (3, 4), (4, 4)]);
    assert_eq!(ids(&store.reader()).await, all);
    let reasons = store.health().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains("older than the parts"), "{reasons:?}");
    store.inner.upkeep.step().await.unwrap();
    assert_eq!(ids(&store.reader()).await, all, "nothing was swept");
    store.close().await.unwrap();
    let store = started(&by_hand(dir.path()), Clock::manual(later_ns, 4003)).await;
    assert_eq!((ids(&store.reader()).await, store.health().reasons), (all.clone(), Vec::new()));

    let told = repair::repair(&config(repaired.path()), &Disk::Os, &Clock::manual(later_ns, 4004)).await.unwrap();
    assert!(told.len() == 1 && told[0].problem.contains("older than the parts"), "{told:?}");
    let store = started(&by_hand(repaired.path()), Clock::manual(later_ns, 4005)).await;
    assert_eq!((ids(&store.reader()).await, store.health().reasons), (all, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_without_any_manifest_are_not_swept_but_refused_and_repaired() {
    let (dir, new) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    of_four(dir.path()).await;
    for folder in ["spans", "index"] {
        copy(&dir.path().join(folder), &new.path().join(folder));
    }
    let open = async || try_open(by_hand(new.path()), Disk::Os, clock()).await;
    let error = open().await.unwrap_err().to_string();
    assert!(error.contains("`spans/` holds parts") && error.contains("store repair"), "{error}");
    let told = repair::repair(&config(new.path()), &Disk::Os, &clock()).await.unwrap();
    assert_eq!(told.iter().map(|row| row.file.as_str()).collect::<Vec<_>>(), ["manifest/"]);
    let store = open().await.unwrap();
    ready(&store).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4), (2, 4), (3, 4), (4, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_recovery_cannot_place_goes_to_quarantine_and_is_not_swept() {
    let dir = tempfile::tempdir().unwrap();
    let store = started(&by_hand(dir.path()), clock()).await;
    let part = flushed(&store, 1, 4).await;
    store.close().await.unwrap();
    // The delta of the flush; and its part once more, written before: of two with the same rows the later counts.
    let delta = dir.path().join(format!("manifest/{:020}.json", 2));
    let mut bytes = std::fs::read(&delta).unwrap();
    let at = bytes.len() - 30;
    bytes[at] ^= 1;
    std::fs::write(&delta, bytes).unwrap();
    let name = format!("{}.parquet", ulid::Ulid::from_parts(1, 1));
    let strange = dir.path().join(&part).with_file_name(&name);
    std::fs::copy(dir.path().join(&part), &strange).unwrap();
    let later_ns = samples::NOW_NS + 3 * HOUR_NS;
    let store = started(&by_hand(dir.path()), Clock::manual(later_ns, 4006)).await;
    store.inner.upkeep.sweep_orphans(later_ns).await.unwrap();
    assert!(strange.exists(), "it is for the checkpoint to move");
    store.inner.upkeep.step().await.unwrap();
    assert!(dir.path().join("quarantine").join(&name).exists() && !strange.exists());
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_works_where_the_parts_are_and_refuses_another_place() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = Config { place: Place::File(elsewhere.path().to_owned()), ..by_hand(dir.path()) };
    let store = started(&at, clock()).await;
    let part = flushed(&store, 1, 4).await;
    flushed(&store, 2, 4).await;
    store.close().await.unwrap();
    let half = elsewhere.path().join("tmp/01HZ.put");
    std::fs::write(&half, b"x").unwrap();
    let file = elsewhere.path().join(&part);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let error = repair::repair(&config(dir.path()), &Disk::Os, &clock()).await.unwrap_err();
    assert!(matches!(error, Error::Place { .. }), "{error}");
    let told = repair::repair(&at, &Disk::Os, &clock()).await.unwrap();
    assert_eq!(told.iter().map(|row| (row.file.as_str(), row.lost_spans)).collect::<Vec<_>>(), [(part.as_str(), 4)]);
    assert!(!file.exists());
    let store = started(&at, clock()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(2, 4)]));
    assert!(!half.exists(), "the writer empties the scratch folder of its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_refused_after_a_copy_of_it_has_claimed_the_bucket() {
    let (dir, copied) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let bucket = Arc::new(object_store::memory::InMemory::new());
    let at = |dir: &Path| Config { place: Place::Given(bucket.clone()), ..by_hand(dir) };
    for seed in 1..=2 {
        let store = started(&at(dir.path()), clock()).await;
        flushed(&store, seed, 4).await;
        store.close().await.unwrap();
    }
    copy(dir.path(), copied.path());
    let store = started(&at(copied.path()), clock()).await;
    flushed(&store, 3, 4).await;
    store.close().await.unwrap();
    let error = try_open(at(dir.path()), Disk::Os, clock()).await.unwrap_err();
    assert!(matches!(&error, Error::Folder { detail, .. } if detail.contains("a copy of it")), "{error}");
    let all = once(&[(1, 4), (2, 4), (3, 4)]);
    for folder in [copied.path(), dir.path()] {
        if folder == dir.path() {
            // At the word of the operator.
            std::fs::remove_file(folder.join("epoch")).unwrap();
        }
        let store = started(&at(folder), clock()).await;
        assert_eq!(ids(&store.reader()).await, all);
        store.close().await.unwrap();
    }
}
