//! A full disk, a sick disk, a flush that fails: refusals that are told, and going on by itself.

use super::*;

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
async fn a_burst_that_the_flush_cannot_follow_waits_for_it_and_is_not_sent_away() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { max_frozen: 0, flush_bytes: 1, ..config(dir.path()) };
    let store = try_open(config, Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    // Each freezes a generation, and no further one may begin before it is flushed.
    let seeds: Vec<_> = (1..=12).map(|seed| (seed, 1)).collect();
    for &(seed, rows) in &seeds {
        store.append(request(seed, rows)).await.unwrap();
    }
    assert_eq!(ids(&store.reader()).await, once(&seeds));
    // Without identity the room is asked for before any work.
    for seed in 13..=16 {
        store.append(samples::delivery(seed, 1)).await.unwrap();
    }
    assert_eq!(store.inner.metrics.refused.with_label_values(&["queue"]).get(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_flush_is_behind_age_alone_freezes_nothing_that_would_refuse_appends() {
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let config = Config { max_frozen: 2, flush_after: Duration::from_millis(1), ..config(dir.path()) };
    let store = try_open(config, Disk::Faulty(faults.clone()), clock()).await.unwrap();
    ready(&store).await;
    faults.arm(Op::Link, 0, 1_000, ENOSPC);
    let mut acked = Vec::new();
    for seed in 1..=20 {
        store.append(request(seed, 1)).await.unwrap();
        acked.push((seed, 1));
        // Longer than it takes a generation to become old.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(store.inner.memtable.frozen() <= 2);
    assert_eq!(ids(&store.reader()).await, once(&acked));
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
async fn a_writer_that_was_superseded_stops_flushing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    store.append(request(1, 3)).await.unwrap();
    let folder = folder::Folder::read(&Disk::Os, dir.path()).unwrap();
    let other = shelf::Shelf::open(&folder, &Disk::Os, &clock(), &config(dir.path())).await.unwrap();
    other.claim().await.unwrap();
    let error = store.freeze_and_flush().await.unwrap_err();
    assert!(matches!(error, Error::Superseded { .. }) && error.to_string().contains("epoch 2"), "{error}");
    let health = store.health();
    assert_eq!((health.ready, health.reasons), (false, vec![error.to_string()]));
    // Longer than the first pause between two tries.
    tokio::time::sleep(Duration::from_millis(800)).await;
    assert_eq!(store.inner.metrics.flush_failures.get(), 1, "it is not tried again");
    let refused = store.append(request(2, 1)).await.unwrap_err();
    assert!(matches!(refused, Error::Superseded { .. }), "{refused}");
    assert!(refused.class().is_retryable(), "the sender keeps its spans");
    assert_eq!(ids(&store.reader()).await, once(&[(1, 3)]), "what was acknowledged can still be read");
    let closed = tokio::time::timeout(Duration::from_secs(10), store.close()).await.expect("closing does not wait");
    assert!(matches!(closed, Err(Error::Superseded { .. })));
}
