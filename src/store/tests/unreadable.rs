//! Files that the disk has and cannot give: bad sectors.

use object_store::ObjectStore;

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
