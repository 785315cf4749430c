//! The steps of the upkeep among each other: none keeps another from its turn, and who waits for one is answered.

use super::oracle::sent;
use super::*;
use crate::store::upkeep::Upkeep;

const HOUR_NS: i64 = 3600 * 1_000_000_000;

async fn by_hand(dir: &Path, disk: Disk) -> Store {
    let by_hand = Config { by_hand: true, min_free_bytes: Some(1000), ..config(dir) };
    let store = try_open(by_hand, disk, clock()).await.unwrap();
    ready(&store).await;
    store
}

fn levels(store: &Store) -> Vec<u8> {
    let mut levels: Vec<u8> = store.reader().view().parts.parts.iter().map(|part| part.entry.level).collect();
    levels.sort_unstable();
    levels
}

/// A part in each of two hours that are over.
async fn two_hours(store: &Store) {
    for (id, hours) in [(1, 5), (2, 7)] {
        store.append(sent(id, samples::NOW_NS - hours * HOUR_NS)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    assert_eq!(levels(store), [0, 0]);
}

async fn round(upkeep: &Upkeep) -> bool {
    let (merged, done) = upkeep.round().await;
    done.unwrap();
    merged
}

#[tokio::test(flavor = "multi_thread")]
async fn each_hour_of_a_backlog_is_a_round_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = by_hand(dir.path(), Disk::Os).await;
    two_hours(&store).await;
    let upkeep = &store.inner.upkeep;
    assert_eq!((round(upkeep).await, levels(&store)), (true, vec![0, 1]));
    assert_eq!((round(upkeep).await, levels(&store)), (true, vec![1, 1]));
    assert_eq!((round(upkeep).await, levels(&store)), (false, vec![1, 1]));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_a_compaction_while_room_is_short_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    faults.leave_free(1 << 40);
    let store = by_hand(dir.path(), Disk::Faulty(faults.clone())).await;
    two_hours(&store).await;
    // Enough for appends, too little for compaction.
    faults.leave_free(600);
    let asked = futures::future::join(store.compact(None), store.inner.upkeep.step());
    let (answer, stepped) = tokio::time::timeout(Duration::from_secs(120), asked).await.expect("it is answered");
    stepped.unwrap();
    assert!(matches!(answer, Err(Error::DiskFull { .. })), "{answer:?}");
    assert_eq!(levels(&store), [0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_deleted_is_told_and_keeps_no_other_one() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    faults.leave_free(1 << 40);
    let store = by_hand(dir.path(), Disk::Faulty(faults.clone())).await;
    two_hours(&store).await;
    let paths: Vec<String> = store.reader().view().parts.parts.iter().map(|part| part.entry.path.clone()).collect();
    let left = || paths.iter().filter(|path| dir.path().join(path).exists()).count();
    let removal = |path: &String| manifest::Removal {
        path: path.clone(),
        reason: manifest::Reason::Expired,
        delete_after: samples::NOW_NS,
    };
    let delta = manifest::Delta { remove: paths.iter().map(removal).collect(), ..manifest::Delta::default() };
    let upkeep = &store.inner.upkeep;
    upkeep.commit(delta, |_| {}).await.unwrap();
    faults.arm(Op::Remove, 0, 1, EIO);
    let (_, done) = upkeep.round().await;
    done.unwrap_err();
    assert_eq!(left(), 1);
    let reasons = store.health().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains("cannot be deleted"), "{reasons:?}");
    assert_eq!(store.inner.metrics.degraded.with_label_values(&["sweep"]).get(), 1);
    upkeep.step().await.unwrap();
    assert_eq!((left(), store.health().reasons), (0, Vec::new()));
}
