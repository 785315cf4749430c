//! Puts, renames and deletions on disks that fail and lose what was not synced.

use super::*;
use crate::disk::sim::{Fate, Sim};
use crate::disk::{Op, faults::Faults};

fn store(dir: &FsPath, disk: Disk) -> SyncedLocal {
    SyncedLocal::new(dir, disk, Clock::manual(1, 1))
}

#[tokio::test]
async fn a_create_only_put_never_replaces_and_leaves_no_temporary_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), Disk::Os);
    let at = Path::from("spans/date=2026-01-01/hour=05/a.parquet");
    store.put_opts(&at, "one".into(), PutMode::Create.into()).await.unwrap();
    let again = store.put_opts(&at, "two".into(), PutMode::Create.into()).await.unwrap_err();
    assert!(matches!(again, Error::AlreadyExists { .. }), "{again}");
    assert_eq!(store.get(&at).await.unwrap().bytes().await.unwrap(), "one");
    store.put(&at, "three".into()).await.unwrap();
    assert_eq!(store.get_range(&at, 1..4).await.unwrap(), "hre");
    assert_eq!(std::fs::read_dir(dir.path().join(TMP)).unwrap().count(), 0);
    let listed: Vec<_> = store.list(None).try_collect().await.unwrap();
    assert_eq!((listed.len(), &listed[0].location, listed[0].size), (1, &at, 5));
    store.delete(&at).await.unwrap();
    assert!(matches!(store.head(&at).await, Err(Error::NotFound { .. })));
}

#[tokio::test]
async fn a_put_that_fails_at_any_step_leaves_no_name() {
    for op in [Op::Create, Op::Write, Op::Sync, Op::Link, Op::SyncDir] {
        let dir = tempfile::tempdir().unwrap();
        let faults = Faults::default();
        let store = store(dir.path(), Disk::Faulty(faults.clone()));
        let at = Path::from("a");
        faults.arm(op, 0, 1, 28);
        let error = store.put_opts(&at, "one".into(), PutMode::Create.into()).await.unwrap_err();
        assert!(error.to_string().contains("os error 28"), "{op:?}: {error}");
        assert!(matches!(store.head(&at).await, Err(Error::NotFound { .. })), "{op:?}");
        store.put_opts(&at, "two".into(), PutMode::Create.into()).await.unwrap();
    }
}

#[tokio::test]
async fn a_put_that_panics_at_any_step_leaves_no_name_that_was_not_synced() {
    let at = |name: &str| Path::from(format!("manifest/{name}"));
    let put = async |store: &SyncedLocal, name: &str| {
        store.put_opts(&at(name), "one".into(), PutMode::Create.into()).await.map(drop)
    };
    // Create, write, sync, link, removal of the temporary name, sync of the directory.
    for step in 1..=6 {
        let sim = Sim::new(step);
        let store = store(FsPath::new("/var/objects"), Disk::Sim(sim.clone()));
        put(&store, "first").await.unwrap();
        sim.plan(sim.ops() + step, Fate::Panics);
        assert!(matches!(put(&store, "second").await, Err(Error::JoinError { .. })), "step {step}");
        assert!(matches!(store.head(&at("second")).await, Err(Error::NotFound { .. })), "step {step}");
        put(&store, "second").await.unwrap();
        for seed in 0..16 {
            let left = sim.crash(seed).image();
            assert!(left.contains_key(FsPath::new("/var/objects/manifest/second")), "step {step}, crash {seed}");
        }
    }
}

#[tokio::test]
async fn a_put_that_succeeded_survives_a_power_loss_whatever_became_of_the_puts_before_it() {
    for failing in 0..6 {
        let sim = Sim::new(failing);
        let disk = Disk::Sim(sim.clone());
        let store = store(FsPath::new("/var/objects"), disk);
        sim.faults().arm(Op::SyncDir, usize::try_from(failing).unwrap(), 1, 5);
        let at = Path::from("spans/date=2026-01-01/hour=05/a.parquet");
        while store.put_opts(&at, "one".into(), PutMode::Create.into()).await.is_err() {}
        for seed in 0..32 {
            let left = sim.crash(seed).image();
            let found = left.get(&FsPath::new("/var/objects").join(at.as_ref()));
            assert_eq!(found.map(Vec::as_slice), Some(b"one".as_slice()), "sync {failing} failed, crash {seed}");
        }
    }
}

#[tokio::test]
async fn a_file_is_renamed_without_being_read_and_one_that_is_not_there_is_not_found() {
    let sim = Sim::new(1);
    let store = store(FsPath::new("/var/objects"), Disk::Sim(sim.clone()));
    let (from, to) = (Path::from("spans/date=2026-01-01/hour=05/a.parquet"), Path::from("quarantine/a.parquet"));
    store.put_opts(&from, "one".into(), PutMode::Create.into()).await.unwrap();
    sim.faults().arm(Op::Read, 0, usize::MAX, 5);
    store.rename(&from, &to).await.unwrap();
    sim.faults().disarm();
    assert!(matches!(store.rename(&from, &to).await, Err(Error::NotFound { .. })));
    for seed in 0..8 {
        let left = sim.crash(seed).image();
        let bytes_at = |at: &Path| left.get(&FsPath::new("/var/objects").join(at.as_ref())).cloned();
        assert_eq!((bytes_at(&from), bytes_at(&to)), (None, Some(b"one".to_vec())), "crash {seed}");
    }
}

#[tokio::test]
async fn a_folder_goes_with_its_last_file_and_a_put_makes_it_again_durably() {
    let sim = Sim::new(1);
    let root = FsPath::new("/var/objects");
    let disk = Disk::Sim(sim.clone());
    let store = store(root, disk.clone());
    let at = |hour: &str, name: &str| Path::from(format!("spans/date=2026-01-01/hour={hour}/{name}.parquet"));
    for (hour, name) in [("05", "a"), ("05", "b"), ("06", "c")] {
        store.put_opts(&at(hour, name), "one".into(), PutMode::Create.into()).await.unwrap();
    }
    let is_there = |dir: &str| disk.metadata(&root.join(dir)).is_ok();
    store.delete(&at("05", "a")).await.unwrap();
    assert!(is_there("spans/date=2026-01-01/hour=05"), "it has another file");
    store.delete(&at("05", "b")).await.unwrap();
    assert!(!is_there("spans/date=2026-01-01/hour=05") && is_there("spans/date=2026-01-01/hour=06"));
    store.rename(&at("06", "c"), &Path::from("quarantine/c.parquet")).await.unwrap();
    assert!(!is_there("spans/date=2026-01-01") && is_there("spans") && is_there("quarantine"));
    store.put_opts(&at("05", "d"), "two".into(), PutMode::Create.into()).await.unwrap();
    for seed in 0..16 {
        let left = sim.crash(seed).image();
        let found = left.get(&root.join(at("05", "d").as_ref()));
        assert_eq!(found.map(Vec::as_slice), Some(b"two".as_slice()), "crash {seed}");
    }
}
