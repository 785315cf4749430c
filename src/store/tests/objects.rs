//! A sick object store, seeded (storage.md 18: C9, C10): delays, refusals, lost and late answers, conflicts, stale lists.
//!
//! The ignored tests are the same over more seeds; `tests/interop.sh` runs them.

use std::ops::Range;

use super::super::manifest::{self, Delta, Manifest, PartEntry};
use super::super::place::Place;
use super::super::place::sick::Sick;
use super::oracle::{DATA, all};
use super::*;
use crate::disk::sim::Sim;

/// Seeds of the test that always runs a whole store.
const SEEDS: u64 = 20;

fn adding(path: &str) -> Delta {
    let entry: PartEntry = serde_json::from_value(serde_json::json!({
        "path": path, "level": 0, "hour": "2026-01-01T00", "rows": 1, "bytes": 1, "footer_bytes": 1,
        "start": [1, 1], "end": [1, 1], "ingest": [1, 1], "row_groups": [], "services": [], "lsn": [1, 1],
        "schema": 1, "file_xxh3": "0", "sum_xxh3": "0",
    }))
    .unwrap();
    Delta { add: vec![entry], ..Delta::default() }
}

/// A start that does not give up; it does what [`super::open`] does.
async fn claimed(sick: &Sick, clock: &Clock) -> Manifest {
    loop {
        let loaded = Manifest::load(Arc::new(sick.clone())).await;
        if let Ok(mut manifest) = loaded.inspect_err(|e| assert!(matches!(e, manifest::Error::Objects { .. }), "{e}"))
            && manifest.claim(clock.ulid(), clock).await.is_ok()
        {
            return manifest;
        }
    }
}

fn live(manifest: &Manifest) -> Vec<String> {
    manifest.parts().iter().map(|part| part.path.clone()).collect()
}

async fn commits_are_made_once(seeds: Range<u64>) {
    let mut failed = 0;
    for seed in seeds {
        let (sick, clock) = (Sick::new(seed, 25), Clock::manual(samples::NOW_NS, seed));
        let mut manifest = claimed(&sick, &clock).await;
        let mut made = Vec::new();
        for n in 0..12 {
            let path = format!("spans/{n}");
            while let Err(error) = manifest.commit(adding(&path), &clock).await {
                assert!(matches!(error, manifest::Error::Objects { .. }), "seed {seed}: {error}");
            }
            made.push(path);
            if (seed + n) % 5 == 0 {
                manifest = claimed(&sick, &clock).await;
            }
            assert_eq!(live(&manifest), made, "seed {seed}");
        }
        sick.heal();
        let manifest = Manifest::load(Arc::new(sick.clone())).await.unwrap();
        assert_eq!(live(&manifest), made, "seed {seed}");
        failed += sick.failed();
    }
    assert!(failed > 0);
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_recognised_by_its_nonce_and_made_once() {
    commits_are_made_once(0..60).await;
}

#[tokio::test]
#[ignore = "C9: OBJECT_SEEDS, 500 without, of twelve commits"]
async fn a_commit_whose_answer_is_lost_is_recognised_by_its_nonce_and_made_once_over_many_seeds() {
    commits_are_made_once(0..knob("OBJECT_SEEDS", 500)).await;
}

async fn two_writers(seeds: Range<u64>) {
    for seed in seeds {
        let (sick, clock) = (Sick::new(seed, 25), Clock::manual(samples::NOW_NS, seed));
        let mut old = claimed(&sick, &clock).await;
        let (mut acked, mut open) = (Vec::new(), Vec::new());
        for n in 0..seed % 7 {
            let path = format!("spans/old-{n}");
            open.push(path.clone());
            if old.commit(adding(&path), &clock).await.is_ok() {
                acked.push(path);
            }
        }
        let mut new = claimed(&sick, &clock).await;
        let before = live(&new);
        assert!(acked.iter().all(|path| before.contains(path)), "seed {seed}: {acked:?} in {before:?}");
        let mut superseded = false;
        for n in 0..8 {
            let path = format!("spans/late-{n}");
            match old.commit(adding(&path), &clock).await {
                Ok(version) => panic!("seed {seed}: the old epoch committed version {version}"),
                Err(error) => superseded |= matches!(error, manifest::Error::Superseded { .. }),
            }
            let path = format!("spans/new-{n}");
            while let Err(error) = new.commit(adding(&path), &clock).await {
                assert!(matches!(error, manifest::Error::Objects { .. }), "seed {seed}: {error}");
            }
        }
        sick.heal();
        let error = old.commit(adding("spans/late"), &clock).await.unwrap_err();
        assert!(matches!(error, manifest::Error::Superseded { .. }), "seed {seed}: {error}, before: {superseded}");
        let found = live(&Manifest::load(Arc::new(sick.clone())).await.unwrap());
        assert!(found.iter().all(|path| !path.contains("late")), "seed {seed}: {found:?}");
        let news: Vec<String> = (0..8).map(|n| format!("spans/new-{n}")).collect();
        assert_eq!(found, [before, news].concat(), "seed {seed}");
    }
}

#[tokio::test]
async fn of_two_writers_the_older_one_commits_nothing_after_the_newer_one_has_started() {
    two_writers(0..60).await;
}

#[tokio::test]
#[ignore = "C10: OBJECT_SEEDS, 500 without, of two writers"]
async fn of_two_writers_the_older_one_commits_nothing_after_the_newer_one_has_started_over_many_seeds() {
    two_writers(0..knob("OBJECT_SEEDS", 500)).await;
}

fn in_bucket(dir: &Path, sick: &Sick) -> Config {
    Config { place: Place::Given(Arc::new(sick.clone())), flush_bytes: 50 << 10, ..config(dir) }
}

/// A supervisor that starts the store again until it runs.
async fn started(config: &Config) -> Store {
    started_on(&Disk::Os, config).await
}

async fn started_on(disk: &Disk, config: &Config) -> Store {
    loop {
        match try_open(config.clone(), disk.clone(), clock()).await {
            Ok(store) => return store,
            Err(error) => assert!(matches!(error, Error::Parts { .. } | Error::Superseded { .. }), "{error}"),
        }
    }
}

async fn flushed(store: &Store) {
    let began = std::time::Instant::now();
    while let Err(error) = store.freeze_and_flush().await {
        assert!(!matches!(error, Error::Superseded { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60), "{error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Requests, kills and stops while the object store is sick.
async fn sick_round(seed: u64) -> u64 {
    let disk = Disk::Sim(Sim::new(seed));
    let sick = Sick::new(seed, 10);
    let config = in_bucket(Path::new(DATA), &sick);
    let mut chance = ChaCha12Rng::seed_from_u64(seed);
    let mut store = started_on(&disk, &config).await;
    let mut acked = Vec::new();
    for id in 1..=40_u64 {
        let rows = 1 + (id % 4) as usize;
        match store.append(with_identity(u128::from(id), request(id, rows))).await {
            Ok(appended) => {
                assert!(!appended.duplicate, "seed {seed}: {id} was never stored");
                acked.push((id, rows));
            }
            Err(error) => {
                assert!(error.class().is_retryable(), "seed {seed}: {error}");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        match chance.next_u64() % 16 {
            0 => {
                drop(store);
                store = started_on(&disk, &config).await;
            }
            1 => {
                drop(store.close().await);
                store = started_on(&disk, &config).await;
            }
            _ => {}
        }
    }
    sick.heal();
    ready(&store).await;
    assert_eq!(ids(&store.reader()).await, once(&acked), "seed {seed}");
    flushed(&store).await;
    assert_eq!(ids(&store.reader()).await, once(&acked), "seed {seed}: from parts");
    drop(store);
    let store = started_on(&disk, &config).await;
    ready(&store).await;
    assert_eq!(ids(&store.reader()).await, once(&acked), "seed {seed}: after a restart");
    let report = verify::verify(&config, &disk, &clock(), verify::Depth::Quick).await.unwrap();
    assert!(report.is_whole(), "seed {seed}: {report:?}");
    sick.failed()
}

/// The pauses between two tries pass for many seeds at once.
fn sick_rounds(seeds: Range<u64>) {
    let (began, count) = (std::time::Instant::now(), seeds.end - seeds.start);
    let failed: u64 = all(seeds, 10, sick_round).into_iter().sum();
    println!("{count} seeds, {failed} requests failed, {:?}", began.elapsed());
    // A single seed may have none.
    assert!(failed > count, "the object store was not sick");
}

#[test]
fn with_a_sick_object_store_what_was_acked_is_there_once() {
    sick_rounds(0..SEEDS);
}

#[test]
#[ignore = "C9: OBJECT_SEEDS, 500 without, of a whole store"]
fn with_a_sick_object_store_what_was_acked_is_there_once_over_many_seeds() {
    sick_rounds(0..knob("OBJECT_SEEDS", 500));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_keeps_the_rows_refuses_at_max_frozen_and_ends_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let sick = Sick::new(1, 0);
    let store = started(&Config { max_frozen: 2, flush_bytes: 1, ..in_bucket(dir.path(), &sick) }).await;
    ready(&store).await;
    store.append(request(1, 1)).await.unwrap();
    flushed(&store).await;
    sick.die();
    let mut acked = vec![(1, 1)];
    let refused = loop {
        let seed = acked.len() as u64 + 1;
        match store.append(request(seed, 1)).await {
            Ok(_) => acked.push((seed, 1)),
            Err(error) => break error,
        }
        assert!(acked.len() < 1000, "never refused");
    };
    assert_eq!((refused.class(), refused.label()), (crate::error::Class::Busy, "queue"));
    while store.health().reasons.iter().all(|reason| !reason.contains("503 SlowDown")) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let parts = store.reader().view();
    let path = parts.parts.parts[0].entry.path.as_str().into();
    let error = object_store::ObjectStoreExt::get(&*parts.objects, &path).await.unwrap_err().to_string();
    assert!(error.contains(path.as_ref()) && error.contains("InternalError"), "{error}");
    sick.heal();
    let seed = acked.len() as u64 + 1;
    while store.append(request(seed, 1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    acked.push((seed, 1));
    assert_eq!(ids(&store.reader()).await, once(&acked));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_data_folder_takes_the_parts_over_and_the_older_daemon_stops_writing() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let sick = Sick::new(1, 0);
    let in_bucket = |dir| Config { flush_bytes: 64 << 20, ..in_bucket(dir, &sick) };
    let older = started(&in_bucket(a.path())).await;
    older.append(request(1, 3)).await.unwrap();
    flushed(&older).await;
    older.append(request(2, 3)).await.unwrap();
    let newer = started(&in_bucket(b.path())).await;
    assert_eq!(ids(&newer.reader()).await, once(&[(1, 3)]), "what is in parts");
    newer.append(request(3, 3)).await.unwrap();
    flushed(&newer).await;
    let error = older.freeze_and_flush().await.unwrap_err();
    assert!(matches!(error, Error::Superseded { .. }), "{error}");
    drop((older, newer));
    // Its log has kept what it could not flush, and it may take over in its turn.
    let older = started(&in_bucket(a.path())).await;
    ready(&older).await;
    assert_eq!(ids(&older.reader()).await, once(&[(1, 3), (2, 3), (3, 3)]));
}
