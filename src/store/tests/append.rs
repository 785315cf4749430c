//! What an append promises: durable and visible when it returns, once, in groups that share syncs.

use super::oracle::{DATA, open_on};
use super::*;
use crate::disk::sim::Sim;

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

#[tokio::test(flavor = "multi_thread")]
async fn what_a_caller_left_behind_counts_as_what_became_of_it() {
    let sim = Sim::new(1);
    let store = open_on(&sim, &config(Path::new(DATA)), &clock()).await;
    store.append(request(1, 1)).await.unwrap();
    let metrics = &store.inner.metrics;
    let of = |family: &prometheus::IntCounterVec| family.with_label_values(&["received"]).get();
    let counts = || (of(&metrics.offered), of(&metrics.acked), of(&metrics.failed));
    for (seed, fails) in [(2, false), (3, true)] {
        let before = counts();
        sim.slow_syncs(Duration::from_millis(500));
        if fails {
            sim.faults().arm(Op::Sync, 0, 1, EIO);
        }
        let left = {
            let store = store.clone();
            tokio::spawn(async move { store.append(request(seed, 4)).await })
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
        assert_eq!(counts(), before, "nobody knows yet");
        sim.slow_syncs(Duration::ZERO);
        let counted = async {
            while counts() == before {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), counted).await.expect("it is counted");
        let (stored, failed) = if fails { (0, 4) } else { (4, 0) };
        assert_eq!(counts(), (before.0 + 4, before.1 + stored, before.2 + failed), "it fails: {fails}");
    }
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1), (2, 4)]));
}
