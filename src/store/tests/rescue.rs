//! Damaged parts whose rows are elsewhere, and commits whose outcome stays unknown for a while.

use super::oracle::upkeep;
use super::*;
use crate::disk::faults::Faults;
use crate::store::manifest::{Delta, Reason, Removal};
use crate::store::rescue::{Ground, rescue};
use crate::store::settle::Open;

const HOUR_NS: i64 = 3600 * 1_000_000_000;

fn files(dir: &Path, extension: &str) -> Vec<std::path::PathBuf> {
    let (mut found, mut todo) = (Vec::new(), vec![dir.join("spans")]);
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false => found.extend(path.extension().is_some_and(|found| found == extension).then_some(path)),
            }
        }
    }
    found.sort();
    found
}

fn flip(dir: &Path, part: &str) {
    let mut bytes = std::fs::read(dir.join(part)).unwrap();
    bytes[100] ^= 1;
    std::fs::write(dir.join(part), bytes).unwrap();
}

fn live(store: &Store) -> Vec<part::Part> {
    store.reader().view().parts.parts.iter().map(|part| part::Part::new(part.entry.clone())).collect()
}

fn spans_in_ledger(store: &Store) -> Vec<u64> {
    store.ledger().flush();
    let batches = store.ledger().batches().unwrap();
    let spans = batches.iter().flat_map(|batch| {
        let column = batch.column_by_name("spans").unwrap();
        arrow::array::AsArray::as_primitive::<arrow::datatypes::UInt64Type>(column).values().to_vec()
    });
    spans.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_quarantine_whose_commit_failed_is_told_once_and_leaves_no_second_part() {
    const ROWS: usize = 80_000;
    let dir = tempfile::tempdir().unwrap();
    let faults = Faults::default();
    let config = Config { row_group_rows: 16_384, ..config(dir.path()) };
    let store = try_open(config, Disk::Faulty(faults.clone()), clock()).await.unwrap();
    ready(&store).await;
    store.append(request(1, ROWS)).await.unwrap();
    store.freeze_and_flush().await.unwrap();
    let part = live(&store).remove(0).entry;
    flip(dir.path(), &part.path);
    let steps = upkeep(&store);
    steps.shelf.part_store().suspect(&part.path);
    // The new part, its checksums, its trace index, the manifest.
    faults.arm(Op::Link, 3, 1, EIO);
    steps.quarantine_suspects().await.unwrap_err();
    assert_eq!((live(&store).len(), files(dir.path(), "parquet").len()), (1, 2));
    assert!(store.health().reasons.is_empty(), "{:?}", store.health());
    steps.quarantine_suspects().await.unwrap();
    let kept = ids(&store.reader()).await.len();
    assert!((1..ROWS).contains(&kept), "{kept} rows are kept");
    assert_eq!(spans_in_ledger(&store), [(ROWS - kept) as u64]);
    assert_eq!(store.health().reasons.len(), 1, "{:?}", store.health());
    // Who counts parts in the background may hold the old one for a moment.
    for _ in 0..100 {
        steps.sweep_removed(samples::NOW_NS).await.unwrap();
        if files(dir.path(), "parquet").len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    let live = live(&store).remove(0).entry.path;
    assert_eq!(files(dir.path(), "parquet"), [dir.path().join(&live)]);
    assert_eq!(steps.shelf.part_store().names(), [live]);
}

/// Some requests in several parts of an hour that is over, compacted into one part or more.
async fn compacted(store: &Store, clock: &Clock) -> Vec<part::Part> {
    for seed in 1..=3_u64 {
        let rows: Vec<i64> = (0..6).map(|row| samples::NOW_NS - (row * 400 + seed as i64) * 1_000_000_000).collect();
        let batch = samples::varied(seed, &rows, samples::NOW_NS / 1000);
        let columns = crate::span::schema::incoming();
        let columns: Vec<usize> =
            columns.fields().iter().map(|field| batch.schema_ref().index_of(field.name()).unwrap()).collect();
        let batches = vec![SpanBatch::try_new(batch.project(&columns).unwrap()).unwrap()];
        let origin = crate::span::Origin::Received;
        store.append(Delivery { batches, body: None, identity: 0, origin }).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    clock.advance(Duration::from_secs(7200));
    store.compact(None).await.unwrap();
    live(store)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_output_is_replaced_by_the_inputs_that_wait_for_their_deletion() {
    // One output an hour, then several: all of them leave, for all the rows are in the inputs.
    for compaction_target_bytes in [256 << 20, 1] {
        let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
        let at = |dir: &Path| Config { compaction_target_bytes, ..config(dir) };
        let store = try_open(at(dir.path()), Disk::Os, clock.clone()).await.unwrap();
        ready(&store).await;
        let outputs = compacted(&store, &clock).await;
        assert!(outputs.iter().all(|part| part.entry.level == 1));
        assert_eq!(outputs.len() > 2, compaction_target_bytes == 1, "{} outputs", outputs.len());
        let all = ids(&store.reader()).await;
        let damaged = &outputs[0].entry.path;
        flip(dir.path(), damaged);
        let crashed = tempfile::tempdir().unwrap();
        copy(dir.path(), crashed.path());

        let steps = upkeep(&store);
        steps.shelf.part_store().suspect(damaged);
        steps.quarantine_suspects().await.unwrap();
        assert_eq!(ids(&store.reader()).await, all, "in the daemon");
        let reasons = store.health().reasons;
        assert!(reasons.len() == 1 && reasons[0].contains("all of them are in new parts"), "{reasons:?}");
        assert_eq!(spans_in_ledger(&store), [0; 0], "nothing was dropped");
        drop(steps);
        store.close().await.unwrap();

        let repaired = repair::repair(&at(crashed.path()), &Disk::Os, &clock).await.unwrap();
        assert_eq!(repaired.iter().map(|row| row.lost_spans).collect::<Vec<_>>(), [0], "{repaired:?}");
        assert_eq!(repair::repair(&at(crashed.path()), &Disk::Os, &clock).await.unwrap(), []);
        for dir in [dir.path(), crashed.path()] {
            let store = try_open(at(dir), Disk::Os, clock.clone()).await.unwrap();
            ready(&store).await;
            assert_eq!(ids(&store.reader()).await, all, "after a restart");
            assert!(live(&store).iter().all(|part| part.entry.path != *damaged));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_claim_has_recovered_is_not_taken_for_one_compaction() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = try_open(config(dir.path()), Disk::Os, clock.clone()).await.unwrap();
    ready(&store).await;
    let outputs = compacted(&store, &clock).await;
    let steps = upkeep(&store);
    let entry = outputs.iter().map(|part| &part.entry).find(|entry| entry.level == 1).unwrap();
    let (shelf, removed) = (&steps.shelf, steps.shelf.removed().await);
    let live: Vec<_> = outputs.iter().map(|part| part.entry.clone()).collect();
    let (objects, config, clock) = (shelf.objects(), shelf.config(), shelf.clock());
    let ground = Ground { objects, config, clock, live: &live, removed: &removed };
    let mut origin = shelf.origin(&entry.path).await.unwrap().unwrap();
    assert!(rescue(&ground, entry, Some(&origin)).await.unwrap().from_inputs);
    // Inputs of another lost compaction may be missing in it: their rows would go.
    origin.flushed.insert("01HZ".to_owned(), 7);
    assert!(!rescue(&ground, entry, Some(&origin)).await.unwrap().from_inputs);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_all_inputs_only_the_row_groups_of_the_damaged_output_are_used() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let store = try_open(config(dir.path()), Disk::Os, clock.clone()).await.unwrap();
    ready(&store).await;
    let outputs = compacted(&store, &clock).await;
    let steps = upkeep(&store);
    let input = steps.shelf.removed().await.remove(0);
    assert_eq!(input.reason, Reason::Compacted);
    let hour: Vec<_> = outputs.iter().map(|part| &part.entry).collect();
    let origins = futures::future::join_all(hour.iter().map(|entry| steps.shelf.origin(&entry.path))).await;
    let of_input = |delta: &Delta| delta.remove.iter().any(|removal| removal.path == input.path);
    let at = origins.iter().position(|delta| delta.as_ref().unwrap().as_ref().is_some_and(of_input)).unwrap();
    let damaged = hour[at].clone();
    std::fs::remove_file(dir.path().join(&input.path)).unwrap();
    let before = ids(&store.reader()).await.len();
    flip(dir.path(), &damaged.path);
    steps.shelf.part_store().suspect(&damaged.path);
    steps.quarantine_suspects().await.unwrap();
    assert_eq!(ids(&store.reader()).await.len(), before - damaged.rows as usize);
    assert_eq!(spans_in_ledger(&store), [damaged.rows]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_unknown_outcome_is_told_once_it_is_known_and_given_up_if_it_cannot_be() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=3 {
        store.append(request(seed, 1)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    let steps = upkeep(&store);
    let told = Arc::new(Mutex::new(Vec::new()));
    let paths: Vec<_> = live(&store).into_iter().map(|part| part.entry.path).collect();
    let removing = |path: &str, delete_after| {
        let removal = Removal { path: path.to_owned(), reason: Reason::Dropped, delete_after };
        Delta { remove: vec![removal], ..Delta::default() }
    };
    let open = |delta, name: &'static str| {
        let told = told.clone();
        let open = Open::new(delta, move |_| told.lock().unwrap().push(name));
        steps.chores.lock().unwrap().open.push(open);
    };
    // It came through and was not published; it did not come through; another delta took what it was to remove.
    steps.shelf.commit(removing(&paths[0], i64::MAX), |_| {}).await.unwrap();
    steps.shelf.commit(removing(&paths[2], i64::MAX), |_| {}).await.unwrap();
    assert_eq!(ids(&store.reader()).await.len(), 3);
    open(removing(&paths[0], i64::MAX), "committed");
    open(removing(&paths[1], i64::MAX), "open");
    let mut entry = live(&store)[2].entry.clone();
    entry.path = entry.path.replace(".parquet", "0.parquet");
    steps.shelf.part_store().register(&entry);
    open(Delta { add: vec![entry.clone()], ..removing(&paths[2], samples::NOW_NS + HOUR_NS) }, "void");
    steps.settle_open().await.unwrap();
    assert_eq!(*told.lock().unwrap(), ["committed", "open"]);
    assert_eq!(ids(&store.reader()).await.len(), 0);
    assert!(!steps.shelf.part_store().names().contains(&entry.path), "nobody has it in hand any more");
    steps.settle_open().await.unwrap();
    assert_eq!(told.lock().unwrap().len(), 2, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn decay_that_nobody_reads_is_found_by_the_scrub_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=3 {
        store.append(request(seed, 4)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    let parts = live(&store);
    store.close().await.unwrap();
    flip(dir.path(), &parts[1].entry.path);
    let store = open_at(dir.path()).await;
    let steps = upkeep(&store);
    for _ in 0..4 {
        steps.scrub_one().await.unwrap();
    }
    let whole: u64 = [0, 2].map(|at: usize| parts[at].entry.bytes).iter().sum();
    assert_eq!(store.inner.metrics.scrubbed_bytes.get(), whole, "each once, and nothing is due any more");
    steps.quarantine_suspects().await.unwrap();
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4), (3, 4)]));
    assert!(store.health().reasons[0].contains(&parts[1].entry.path), "{:?}", store.health());
}
