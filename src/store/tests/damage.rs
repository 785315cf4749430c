//! A damaged log: named, put aside, never a reason not to start.

use super::oracle::{DATA, open_on};
use super::*;
use crate::disk::sim::Sim;

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_panics_or_lies_goes_to_quarantine_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    store.append(request(1, 1)).await.unwrap();
    store.append(body(2, 1, "panic".to_owned())).await.unwrap();
    store.append(body(3, 1, "3 9".to_owned())).await.unwrap();
    store.append(request(4, 1)).await.unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let store = open_at(crashed.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1), (4, 1)]));
    let health = store.health();
    assert!(health.ready && health.reasons.len() == 2, "{health:?}");
    assert!(health.reasons[1].contains("decodes to 9 spans"), "{health:?}");
    let kept = Disk::Os.list(&crashed.path().join("quarantine")).unwrap();
    assert_eq!(kept.len(), 2, "{kept:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn corruption_is_named_and_kept_or_refused_as_configured() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=5 {
        store.append(request(seed, 1)).await.unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let path = segments(crashed.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    // The third record: each has 72 + 8 bytes.
    bytes[4096 + 2 * 80 + 30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let refusing = Config { on_corruption: config::OnCorruption::Refuse, ..config(crashed.path()) };
    let error = try_open(refusing, Disk::Os, clock()).await.unwrap_err();
    assert!(matches!(&error, Error::Corrupt { detail } if detail.contains("records 3 to 3")), "{error}");
    let report = verify::verify(&config(crashed.path()), &Disk::Os, &clock(), verify::Depth::Quick).await.unwrap();
    let told: Vec<_> = report.findings.iter().map(|f| (f.file.as_str(), f.place.as_deref().unwrap_or("-"))).collect();
    let segment = "wal/00000000000000000001.wal";
    assert_eq!(told, [(segment, "records 3 to 3"), (segment, "bytes 4256 to 4336")]);
    assert!(!report.is_whole());
    assert_eq!(Disk::Os.list(&crashed.path().join("quarantine")).unwrap().len(), 0, "so far it was only looked at");
    let store = open_at(crashed.path()).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1), (2, 1), (4, 1), (5, 1)]));
    assert!(store.health().reasons[0].contains("records 3 to 3 are lost"), "{:?}", store.health());
    assert_eq!(Disk::Os.list(&crashed.path().join("quarantine")).unwrap().len(), 1);
    assert_eq!(store.append(request(6, 1)).await.unwrap().lsn, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_segment_without_a_good_header_is_moved_aside_and_its_lsns_are_not_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=3 {
        store.append(request(seed, 1)).await.unwrap();
    }
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let path = segments(crashed.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[20] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let store = open_at(crashed.path()).await;
    assert!(store.health().reasons[0].contains("records 1 to 3 are lost"), "{:?}", store.health());
    assert!(!path.exists() && crashed.path().join("quarantine").join(path.file_name().unwrap()).exists());
    assert_eq!(store.append(request(4, 1)).await.unwrap().lsn, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_at_work_is_not_taken_for_damage() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config { segment_bytes: 64 << 10, ..config(dir.path()) };
    let store = try_open(config, Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    let stop = Arc::new(AtomicBool::new(false));
    let work = tokio::spawn({
        let (store, stop) = (store.clone(), stop.clone());
        async move {
            let mut seed = 1;
            while !stop.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    store.append(request(seed, 2)).await.unwrap();
                    store.append(samples::delivery(seed + 1, 50)).await.unwrap();
                    seed += 2;
                }
                store.freeze_and_flush().await.unwrap();
            }
        }
    });
    let (mut parts, mut rounds) = (0, 0);
    let began = std::time::Instant::now();
    while (parts < 5 || rounds < 40) && began.elapsed() < Duration::from_secs(60) {
        let report = verify::verify(&Config::at(dir.path()), &Disk::Os, &clock(), verify::Depth::Quick).await.unwrap();
        let damage = report.findings.iter().filter(|found| found.severity == verify::Severity::Damage);
        assert_eq!(damage.collect::<Vec<_>>(), Vec::<&verify::Finding>::new());
        parts = report.parts;
        rounds += 1;
    }
    stop.store(true, Ordering::Relaxed);
    work.await.unwrap();
    assert!(parts >= 5, "{rounds} rounds saw {parts} parts: too little happened meanwhile");
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_of_records_that_are_in_parts_is_only_noted() {
    let dir = tempfile::tempdir().unwrap();
    let store = open_at(dir.path()).await;
    for seed in 1..=5 {
        store.append(request(seed, 1)).await.unwrap();
    }
    store.freeze_and_flush().await.unwrap();
    let crashed = tempfile::tempdir().unwrap();
    copy(dir.path(), crashed.path());
    let path = segments(crashed.path()).remove(0);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096 + 80 + 30] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let report = verify::verify(&config(crashed.path()), &Disk::Os, &clock(), verify::Depth::Deep).await.unwrap();
    assert!(report.is_whole(), "{:?}", report.findings);
    assert!(!report.findings.is_empty(), "it is told all the same");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_region_is_kept_whole_although_the_first_try_to_keep_it_failed() {
    let (sim, clock) = (Sim::new(1), clock());
    let on_sim = config(Path::new(DATA));
    let store = open_on(&sim, &on_sim, &clock).await;
    for seed in 1..=5 {
        store.append(request(seed, 1)).await.unwrap();
    }
    let left = sim.killed();
    drop(store);
    left.flip(&segment::path(&Path::new(DATA).join("wal"), 1), |_| 4096 + 2 * 80 + 30);
    // The first write is that of `LOCK`.
    left.faults().arm(Op::Write, 1, 1, ENOSPC);
    let error = try_open(on_sim.clone(), Disk::Sim(left.clone()), clock.clone()).await.unwrap_err();
    assert!(error.to_string().contains("quarantine"), "{error}");
    let store = open_on(&left, &on_sim, &clock).await;
    assert_eq!(ids(&store.reader()).await, once(&[(1, 1), (2, 1), (4, 1), (5, 1)]));
    let image = left.image();
    let kept: Vec<_> = image.iter().filter(|(path, _)| path.starts_with("/var/data/quarantine")).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!(kept[0].1.len(), 80, "the region is not whole");
}
