//! Trace indexes of parts: there after a flush, made again after a loss, merged when their day is over.

use super::oracle::upkeep;
use super::*;
use crate::store::index::{Found, Indexes, Key};
use crate::store::part::Part;

/// The trace of the span `id` of the samples.
fn key_of(id: u64) -> Key {
    Key::of(&u128::from(id / 10 + 1).to_be_bytes())
}

async fn found(store: &Store, id: u64) -> Vec<Option<Found>> {
    let view = store.reader().view();
    let indexes = view.indexes.as_ref().expect("a store has indexes");
    let keys = [key_of(id)];
    futures::future::join_all(view.parts.parts.iter().map(|part| indexes.find(&part.entry, &keys))).await
}

fn index_file(dir: &Path, part: &Part) -> std::path::PathBuf {
    dir.join(part.entry.index.as_deref().expect("a flush writes an index"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flushed_part_has_an_index_that_tells_it_from_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=3 {
        store.append(request(seed, 40)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    for seed in 1..=3 {
        let groups: Vec<usize> =
            found(&store, samples::id(seed, 7)).await.into_iter().map(|f| f.unwrap().groups.len()).collect();
        assert_eq!(groups, (1..=3).map(|part| usize::from(part == seed)).collect::<Vec<_>>());
    }
    assert!(store.inner.metrics.trace_index_bytes.get() > 0);
    let report = verify::verify(&config(dir.path()), &Disk::Os, &clock(), verify::Depth::Quick).await.unwrap();
    assert!(report.findings.is_empty(), "{:?}", report.findings);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_or_damaged_index_is_told_of_and_made_again_after_the_first_lookup() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=2 {
        store.append(request(seed, 300)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    let before = found(&store, samples::id(1, 7)).await;
    let parts = store.reader().view().parts;
    let files: Vec<_> = parts.parts.iter().map(|part| index_file(dir.path(), part)).collect();
    let written: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    std::fs::remove_file(&files[0]).unwrap();
    let mut damaged = written[1].clone();
    damaged[20] ^= 4;
    std::fs::write(&files[1], damaged).unwrap();
    let report = verify::verify(&config(dir.path()), &Disk::Os, &clock(), verify::Depth::Quick).await.unwrap();
    let told: Vec<_> = report.findings.iter().map(|f| f.problem.as_str()).collect();
    assert_eq!(told, ["the file is missing", "a block does not have its checksum"]);
    assert!(report.is_whole(), "no row is lost with an index");
    assert_eq!(found(&store, samples::id(1, 7)).await, [None, None]);
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while found(&store, samples::id(1, 7)).await != before {
        assert!(std::time::Instant::now() < deadline, "it is not made again");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let again: Vec<_> = files.iter().map(|file| std::fs::read(file).unwrap()).collect();
    assert!(again == written, "the index that is made again is the one that was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_was_written_without_an_index_gets_one() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    store.append(request(1, 40)).await.unwrap();
    store.freeze_and_flush().await.unwrap();
    let view = store.reader().view();
    let mut old = view.parts.parts[0].entry.clone();
    std::fs::remove_file(index_file(dir.path(), &view.parts.parts[0])).unwrap();
    old.index = None;
    let text = serde_json::to_string(&old).unwrap();
    assert!(!text.contains("index"), "{text}");
    let old = serde_json::from_str(&text).unwrap();
    let objects: Arc<dyn object_store::ObjectStore> = Arc::new(local::SyncedLocal::new(dir.path(), Disk::Os, clock()));
    let indexes = Indexes::new(objects, 1 << 20, prometheus::IntGauge::new("a", "b").unwrap());
    assert_eq!(indexes.find(&old, &[key_of(samples::id(1, 7))]).await, None);
    indexes.rebuild_wanted(&view.objects, || false).await;
    assert_eq!(indexes.find(&old, &[key_of(samples::id(1, 7))]).await.unwrap().groups.len(), 1);
    assert_eq!(indexes.find(&old, &[key_of(samples::id(2, 7))]).await.unwrap().groups.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_indexes_of_a_day_that_is_over_are_one_file_that_is_made_again_when_it_is_damaged() {
    let (dir, clock) = (tempfile::tempdir().unwrap(), clock());
    let config = Config { by_hand: true, ..config(dir.path()) };
    let store = try_open(config.clone(), Disk::Os, clock.clone()).await.unwrap();
    ready(&store).await;
    let steps = upkeep(&store);
    for hours in [4, 5, 6] {
        let batches = vec![samples::batch_at(&[samples::NOW_NS - hours * 3_600_000_000_000; 5])];
        store.append(Delivery { batches, ..samples::delivery(1, 1) }).await.unwrap();
        store.freeze_and_flush().await.unwrap();
    }
    for _ in 0..100 {
        if store.reader().view().parts.parts.iter().all(|part| part.entry.level == 1) {
            break;
        }
        compact::step(&steps).await.unwrap();
        clock.advance(Duration::from_secs(60));
    }
    let file = dir.path().join("index/trace/day-2023-11-14.tix");
    steps.merge_days_at(clock.now_ns()).await.unwrap();
    assert!(!file.exists(), "the day is not over");
    clock.advance(Duration::from_secs(5 * 3600));
    steps.merge_days_at(clock.now_ns()).await.unwrap();
    let written = std::fs::read(&file).unwrap();

    let (view, key) = (store.reader().view(), key_of(samples::id(1, 0)));
    let (indexes, parts) = (view.indexes.clone().unwrap(), view.parts.parts.clone());
    let of_day = async || indexes.find_in_day("2023-11-14", &parts, &[key]).await;
    let own: Vec<_> = found(&store, samples::id(1, 0)).await.into_iter().map(Option::unwrap).collect();
    assert!(own.len() == 3 && own.iter().all(|found| found.groups.len() == 1), "{own:?}");
    assert_eq!(of_day().await.into_iter().map(|(_, found)| found).collect::<Vec<_>>(), own);
    let findings = async || {
        let report = verify::verify(&config, &Disk::Os, &clock, verify::Depth::Quick).await.unwrap();
        assert!(report.is_whole(), "{:?}", report.findings);
        report.findings.into_iter().map(|finding| finding.problem).collect::<Vec<_>>()
    };
    assert!(findings().await.is_empty());

    let mut damaged = written.clone();
    damaged[0] ^= 4;
    std::fs::write(&file, damaged).unwrap();
    assert_eq!(findings().await, ["a block does not have its checksum"]);
    assert!(of_day().await.is_empty());
    steps.merge_days_at(clock.now_ns()).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), written);
    assert_eq!(of_day().await.len(), 3);
    // It is there for whoever opens the folder, and leaves with the parts.
    let reader = offline::open_with(&config, Disk::Os, clock.clone(), decode()).await.unwrap();
    assert_eq!(reader.view().indexes.unwrap().days().await.into_iter().collect::<Vec<_>>(), ["2023-11-14"]);
    steps.indexes.keep_days(&std::collections::BTreeSet::new()).await.unwrap();
    assert!(!file.exists());
}
