//! Files that the disk has and cannot give: bad sectors.

use object_store::{ObjectStore, ObjectStoreExt as _};

use super::oracle::{DATA, open_on, upkeep};
use super::*;
use crate::disk::sim::Sim;
use crate::store::local::SyncedLocal;
use crate::store::manifest::Manifest;

/// Three parts, in the order of their names.
async fn three_parts(sim: &Sim, clock: &Clock) -> (Store, Vec<String>) {
    let by_hand = Config { by_hand: true, ..config(Path::new(DATA)) };
    let store = open_on(sim, &by_hand, clock).await;
    for seed in 1..=3 {
        store.append(request(seed, 4)).await.unwrap();
        store.freeze_and_flush().await.unwrap();
        clock.advance(Duration::from_secs(1));
    }
    let mut paths: Vec<String> = store.reader().view().parts.parts.iter().map(|part| part.entry.path.clone()).collect();
    paths.sort();
    (store, paths)
}

fn file(path: &str) -> std::path::PathBuf {
    Path::new(DATA).join(path)
}

#[tokio::test(flavor = "multi_thread")]
async fn repair_takes_a_part_on_a_bad_sector_for_damaged_and_goes_on_with_the_next() {
    let (sim, clock) = (Sim::new(1), clock());
    let (store, paths) = three_parts(&sim, &clock).await;
    store.close().await.unwrap();
    sim.faults().break_reads(&file(&paths[0]));
    sim.flip(&file(&paths[1]), |_| 100);
    let disk = Disk::Sim(sim.clone());
    let repaired = repair::repair(&config(Path::new(DATA)), &disk, &clock).await.unwrap();
    let told: Vec<_> = repaired.iter().map(|row| (row.file.clone(), row.lost_spans)).collect();
    assert_eq!(told, [(paths[0].clone(), 4), (paths[1].clone(), 4)]);
    assert_eq!(repair::repair(&config(Path::new(DATA)), &disk, &clock).await.unwrap(), []);
    let kept = disk.list(&Path::new(DATA).join("quarantine")).unwrap();
    assert_eq!(kept.len(), 4, "parts and checksum files: {kept:?}");
    let store = open_on(&sim, &config(Path::new(DATA)), &clock).await;
    assert_eq!(ids(&store.reader()).await, once(&[(3, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_suspect_on_a_bad_sector_keeps_no_other_from_its_judgement() {
    let (sim, clock) = (Sim::new(1), clock());
    let (store, paths) = three_parts(&sim, &clock).await;
    sim.faults().break_reads(&file(&paths[0]));
    sim.flip(&file(&paths[1]), |_| 100);
    let steps = upkeep(&store);
    paths[..2].iter().for_each(|path| steps.shelf.part_store().suspect(path));
    steps.quarantine_suspects().await.unwrap_err();
    let live: Vec<String> = store.reader().view().parts.parts.iter().map(|part| part.entry.path.clone()).collect();
    assert_eq!(live, [paths[0].clone(), paths[2].clone()]);
    assert_eq!(steps.shelf.part_store().take_suspects().into_iter().collect::<Vec<_>>(), [paths[0].clone()]);
}

async fn first_bytes(store: &Store, path: &str) -> Result<(), String> {
    let read = store.reader().view().objects.get_range(&path.into(), 0..10).await;
    read.map(drop).map_err(|error| error.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_stays_on_a_bad_sector_is_told_then_leaves_and_the_rest_is_read() {
    let (sim, clock) = (Sim::new(1), clock());
    let (store, paths) = three_parts(&sim, &clock).await;
    sim.faults().break_reads(&file(&paths[0]));
    let told = first_bytes(&store, &paths[0]).await.unwrap_err();
    assert!(told.contains(&format!("part `{}` is damaged", paths[0])), "{told}");
    first_bytes(&store, &paths[1]).await.unwrap();
    let (steps, live) = (upkeep(&store), || store.reader().view().parts.parts.len());
    for at in [0, 30, 59] {
        steps.quarantine_suspects_at(Duration::from_secs(at)).await.unwrap_err();
        let reasons = store.health().reasons;
        assert!(reasons.len() == 1 && reasons[0].contains(&paths[0]), "{reasons:?}");
        assert_eq!(live(), 3, "it may be the cable");
        // A wall clock that is set right says nothing of the disk.
        clock.advance(Duration::from_secs(3600));
    }
    steps.quarantine_suspects_at(Duration::from_secs(60)).await.unwrap();
    assert_eq!((live(), ids(&store.reader()).await), (2, once(&[(2, 4), (3, 4)])));
    let reasons = store.health().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains("4 of them cannot be read any more"), "{reasons:?}");
    assert_eq!(store.inner.metrics.degraded.with_label_values(&["part_corrupt"]).get(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_the_disk_gives_again_stays() {
    let (sim, clock) = (Sim::new(1), clock());
    let (store, paths) = three_parts(&sim, &clock).await;
    let steps = upkeep(&store);
    for round in 0..4 {
        // A statement's read, and the judgement's first.
        sim.faults().arm(Op::Read, 0, 2, EIO);
        first_bytes(&store, &paths[0]).await.unwrap_err();
        steps.quarantine_suspects_at(Duration::from_secs(120 * round)).await.unwrap_err();
        assert_eq!(store.health().reasons.len(), 1, "round {round}: {:?}", store.health());
        steps.quarantine_suspects_at(Duration::from_secs(120 * round + 60)).await.unwrap();
        assert_eq!(store.health().reasons, Vec::<String>::new(), "round {round}");
    }
    assert_eq!(ids(&store.reader()).await, once(&[(1, 4), (2, 4), (3, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_the_disk_gives_again_after_a_failed_commit_stays() {
    let (sim, clock) = (Sim::new(1), clock());
    let (store, paths) = three_parts(&sim, &clock).await;
    let (steps, live) = (upkeep(&store), || store.reader().view().parts.parts.len());
    sim.faults().break_reads(&file(&paths[0]));
    steps.shelf.part_store().suspect(&paths[0]);
    for at in [0, 30] {
        steps.quarantine_suspects_at(Duration::from_secs(at)).await.unwrap_err();
    }
    // The same disk, which gives nothing, takes nothing either.
    sim.faults().arm(Op::Sync, 0, 1, EIO);
    steps.quarantine_suspects_at(Duration::from_secs(60)).await.unwrap_err();
    assert_eq!((steps.chores.lock().unwrap().open.len(), live()), (1, 3));
    sim.faults().disarm();
    sim.faults().mend_reads();
    steps.quarantine_suspects_at(Duration::from_secs(61)).await.unwrap();
    assert_eq!((steps.chores.lock().unwrap().open.len(), live()), (0, 3));
    assert_eq!((ids(&store.reader()).await, store.health().reasons), (once(&[(1, 4), (2, 4), (3, 4)]), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_stays_on_a_bad_sector_leaves_after_a_failed_commit_all_the_same() {
    let (sim, clock) = (Sim::new(1), clock());
    let (store, paths) = three_parts(&sim, &clock).await;
    let steps = upkeep(&store);
    sim.faults().break_reads(&file(&paths[0]));
    steps.shelf.part_store().suspect(&paths[0]);
    for at in [0, 30] {
        steps.quarantine_suspects_at(Duration::from_secs(at)).await.unwrap_err();
    }
    sim.faults().arm(Op::Sync, 0, 1, EIO);
    steps.quarantine_suspects_at(Duration::from_secs(60)).await.unwrap_err();
    steps.quarantine_suspects_at(Duration::from_secs(61)).await.unwrap();
    let reasons = store.health().reasons;
    assert!(reasons.len() == 1 && reasons[0].contains("4 of them cannot be read any more"), "{reasons:?}");
    assert_eq!(ids(&store.reader()).await, once(&[(2, 4), (3, 4)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums_on_a_bad_sector_are_written_anew_beside_their_part() {
    let (sim, clock) = (Sim::new(1), clock());
    let (store, paths) = three_parts(&sim, &clock).await;
    // Nothing of the part is known yet in another process.
    let left = sim.killed();
    drop(store);
    left.faults().break_reads(&file(&part::sum_path(&paths[0])));
    let by_hand = Config { by_hand: true, ..config(Path::new(DATA)) };
    let store = open_on(&left, &by_hand, &clock).await;
    first_bytes(&store, &paths[0]).await.unwrap_err();
    upkeep(&store).quarantine_suspects().await.unwrap();
    assert_eq!((store.reader().view().parts.parts.len(), store.health().reasons), (3, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpoint_on_a_bad_sector_is_passed_over_for_the_one_before() {
    let (sim, clock) = (Sim::new(1), clock());
    let objects: Arc<dyn ObjectStore> = Arc::new(SyncedLocal::new(DATA, Disk::Sim(sim.clone()), clock.clone()));
    let mut manifest = Manifest::load(objects.clone()).await.unwrap();
    for _ in 0..2 {
        manifest.claim(clock.ulid(), &clock).await.unwrap();
        manifest.checkpoint(&clock).await.unwrap();
    }
    sim.faults().break_reads(&file(&format!("manifest/ckpt-{:020}.json.zst", 2)));
    let found = Manifest::load(objects).await.unwrap();
    assert_eq!((found.version(), found.unreadable().len()), (2, 1));
    assert!(found.checkpoint_is_due());
}
