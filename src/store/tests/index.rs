//! Trace indexes of parts: there after a flush, made again after a loss.

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
