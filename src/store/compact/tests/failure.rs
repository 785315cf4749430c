//! What is left when a job fails, or the process ends in its midst.

use super::*;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

async fn three(bed: &mut Bed) -> Vec<String> {
    for flush in 0..3 {
        let rows = samples::varied(flush, &within_hour(flush, HOUR_START_NS, 100), NOW_NS / 1000 + flush as i64);
        bed.flush(vec![rows], hour_number(), false).await;
    }
    bed.hour_ends();
    texts(&bed.view()).await
}

/// What a start after kill -9 finds.
async fn after_restart(bed: &Bed) -> View {
    let shelf = Shelf::open(&bed.folder, &Disk::Os, &bed.clock, &Config::at(&bed.folder.root)).await.unwrap();
    let metrics = Metrics::register(&Registry::new()).unwrap();
    let memtable = Memtable::new(1, shelf.shown().parts.clone(), 1, metrics);
    Reader::new(memtable.snapshot().clone(), shelf.reads()).view()
}

#[tokio::test]
async fn a_failed_put_keeps_the_inputs_and_leaves_no_file() {
    let mut bed = Bed::new().await;
    let rows = three(&mut bed).await;
    for op in [Op::Create, Op::Sync, Op::Link] {
        bed.faults.arm(op, 0, 1, EIO);
        bed.step().await;
        bed.faults.disarm();
        assert_eq!((bed.levels(), bed.files()), (vec![0; 3], 3), "{op:?}");
        assert_eq!(texts(&bed.view()).await, rows);
        bed.clock.advance(Duration::from_secs(700));
    }
    assert_eq!(bed.upkeep.metrics.compaction_failures.get(), 3);
    let reasons = bed.upkeep.compaction.state.reasons();
    assert!(reasons.len() == 1 && reasons[0].contains(HOUR), "{reasons:?}");
    bed.step().await;
    assert_eq!(bed.levels(), [0; 3], "after three failures the hour is skipped");
    assert_eq!(bed.upkeep.metrics.degraded.with_label_values(&["compaction"]).get(), 1);
    let answered = bed.upkeep.compaction.state.ask(Some(HOUR)).unwrap();
    bed.step().await;
    answered.await.unwrap().unwrap();
    assert_eq!((bed.levels(), texts(&bed.view()).await), (vec![1], rows));
    assert_eq!(bed.upkeep.metrics.degraded.with_label_values(&["compaction"]).get(), 0);
}

#[tokio::test]
async fn a_failure_waits_before_it_is_tried_again() {
    let mut bed = Bed::new().await;
    three(&mut bed).await;
    bed.faults.arm(Op::Link, 0, 1, EIO);
    bed.step().await;
    bed.step().await;
    assert_eq!(bed.levels(), [0; 3]);
    bed.clock.advance(Duration::from_secs(61));
    bed.step().await;
    assert_eq!(bed.levels(), [1]);
    assert!(bed.upkeep.compaction.state.reasons().is_empty());
}

#[tokio::test]
async fn a_disk_that_was_full_for_a_while_has_no_hour_skipped() {
    let mut bed = Bed::new().await;
    three(&mut bed).await;
    for op in [Op::Create, Op::Write, Op::Sync, Op::Link] {
        bed.faults.arm(op, 0, 1, ENOSPC);
        bed.step().await;
        bed.faults.disarm();
        assert_eq!((bed.levels(), bed.files()), (vec![0; 3], 3), "{op:?}");
        bed.clock.advance(Duration::from_secs(700));
    }
    assert_eq!(bed.upkeep.metrics.compaction_failures.get(), 4);
    assert_eq!(bed.upkeep.compaction.state.reasons(), [""; 0]);
    bed.step().await;
    assert_eq!(bed.levels(), [1]);
}

#[tokio::test]
async fn between_put_and_commit_only_orphans_are_left_and_the_commit_is_tried_again() {
    let mut bed = Bed::new().await;
    let rows = three(&mut bed).await;
    // Part, checksums, index, manifest.
    bed.faults.arm(Op::Link, 3, 1, EIO);
    bed.step().await;
    assert_eq!((bed.levels(), bed.files()), (vec![0; 3], 4), "the output is there, nothing names it");
    let crashed = after_restart(&bed).await;
    assert_eq!(crashed.parts.parts.len(), 3);
    assert_eq!(texts(&crashed).await, rows);
    bed.step().await;
    assert_eq!((bed.levels(), bed.files()), (vec![1], 4));
    assert_eq!(texts(&bed.view()).await, rows);
    let restarted = after_restart(&bed).await;
    assert_eq!((restarted.parts.parts.len(), texts(&restarted).await), (1, rows));
}

#[tokio::test]
async fn a_commit_that_succeeded_after_all_is_recognised() {
    let mut bed = Bed::new().await;
    let rows = three(&mut bed).await;
    // The directory of the manifest cannot be synced: the file is there, and its put has failed.
    bed.faults.arm(Op::SyncDir, 2, 2, EIO);
    for _ in 0..4 {
        bed.step().await;
    }
    bed.clock.advance(Duration::from_secs(61));
    bed.step().await;
    assert_eq!((bed.levels(), texts(&bed.view()).await), (vec![1], rows.clone()));
    let restarted = after_restart(&bed).await;
    assert_eq!((restarted.parts.parts.len(), texts(&restarted).await), (1, rows));
}

#[tokio::test]
async fn a_damaged_input_is_named_and_everything_is_kept() {
    let mut bed = Bed::new().await;
    three(&mut bed).await;
    let before = bed.parts();
    let damaged = bed.folder.root.join(&before[1].path);
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&damaged, &bytes).unwrap();
    let answered = bed.upkeep.compaction.state.ask(None).unwrap();
    bed.step().await;
    let error = answered.await.unwrap().unwrap_err().to_string();
    assert!(error.contains(&before[1].path) && error.contains("damaged"), "{error}");
    assert_eq!(bed.parts(), before);
    assert_eq!(bed.files(), 3);
    let suspects = bed.upkeep.shelf.part_store().take_suspects();
    assert_eq!(suspects.into_iter().collect::<Vec<_>>(), [before[1].path.clone()], "readers do not go on with it");
}

#[tokio::test]
async fn an_hour_without_room_waits_alone_and_says_so() {
    let mut bed = Bed::new().await;
    let large: Vec<_> =
        (0..3).map(|n| samples::varied(n, &within_hour(n, HOUR_START_NS - HOUR_NS, 2_000), NOW_NS / 1000)).collect();
    for rows in large {
        bed.flush(vec![rows], hour_number() - 1, false).await;
    }
    three(&mut bed).await;
    let bytes = |hour: &str| bed.parts().iter().filter(|p| p.hour == hour).map(|p| p.bytes).sum::<u64>();
    let (of_large, of_small) = (bytes("2023-11-14T21"), bytes(HOUR));
    assert!(of_large > 2 * of_small, "{of_large}, {of_small}");
    bed.faults.leave_free(of_large - 1);
    let answered = bed.upkeep.compaction.state.ask(None).unwrap();
    bed.step().await;
    let error = answered.await.unwrap().unwrap_err();
    assert!(matches!(&error, Error::DiskFull { detail } if detail.contains("2023-11-14T21")), "{error}");
    let levels = |hour: &str| bed.parts().iter().filter(|p| p.hour == hour).map(|p| p.level).collect::<Vec<_>>();
    assert_eq!((levels("2023-11-14T21"), levels(HOUR)), (vec![0; 3], vec![1]));
    let degraded = || bed.upkeep.metrics.degraded.with_label_values(&["compaction"]).get();
    let reasons = bed.upkeep.compaction.state.reasons();
    assert!(degraded() == 1 && reasons.len() == 1 && reasons[0].contains("free bytes"), "{reasons:?}");
    bed.faults.leave_free(of_large);
    bed.clock.advance(Duration::from_secs(11));
    bed.step().await;
    assert_eq!((levels("2023-11-14T21"), degraded()), (vec![1], 0));
    assert!(bed.upkeep.compaction.state.reasons().is_empty());
}
