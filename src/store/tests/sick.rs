//! C8: a disk that fails and goes on (storage.md 4.6, 18): errors of syncs, reads, links and renames, short writes, slow
//! syncs. What was acknowledged is there, what was refused is not, no file is synced after its sync has failed, and no
//! restart is needed.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Instant;

use super::oracle::{DATA, Fate, Kept, Oracle, all, open_on, sent, upkeep};
use super::*;
use crate::disk::sim::Sim;

/// Seeds of the test that always runs.
const SEEDS: u64 = 24;
const AT_ONCE: usize = 8;
const OPS: [Op; 9] =
    [Op::Write, Op::Sync, Op::Sync, Op::Rename, Op::SyncDir, Op::Allocate, Op::Link, Op::Create, Op::Read];

fn start_ns(id: u64) -> i64 {
    samples::NOW_NS - (id % 2) as i64 * 7200 * 1_000_000_000
}

fn small() -> Config {
    Config { min_free_bytes: Some(0), segment_bytes: 16 << 10, flush_bytes: 30 << 10, ..Config::at(DATA) }
}

async fn disk_goes_on(seed: u64) -> u64 {
    let mut chance = ChaCha12Rng::seed_from_u64(seed);
    let (sim, clock, oracle) = (Sim::new(seed), Clock::manual(samples::NOW_NS, seed), Oracle::default());
    let _kept = Kept(sim.clone(), seed);
    let durability = if seed.is_multiple_of(4) { config::Durability::Os } else { config::Durability::Fsync };
    let config = Config { durability, ..small() };
    let store = open_on(&sim, &config, &clock).await;
    let (faults, steps, mut refused) = (sim.faults(), upkeep(&store), 0);
    for id in 1..=60 {
        let mut draw = |of: u64| chance.next_u64() % of;
        if draw(6) == 0 {
            let errno = if draw(2) == 0 { EIO } else { ENOSPC };
            faults.arm(OPS[draw(9) as usize], draw(3) as usize, 1 + draw(2) as usize, errno);
        }
        if draw(20) == 0 {
            sim.slow_syncs(Duration::from_millis(draw(2) * 20));
        }
        match draw(20) {
            0 => drop(store.freeze_and_flush().await),
            1 => drop(compact::step(&steps).await),
            _ => {}
        }
        if oracle.send(&store, id, start_ns(id)).await.is_err() {
            // Refused, and the machine goes on: it must never be seen.
            oracle.note(id, Fate::Gone);
            refused += 1;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    faults.disarm();
    sim.slow_syncs(Duration::ZERO);
    let began = Instant::now();
    while let Err(error) = oracle.send(&store, 1000, start_ns(1000)).await {
        assert!(began.elapsed() < Duration::from_secs(20), "seed {seed}: it does not recover: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    oracle.check(&store.reader(), start_ns, &format!("seed {seed}, {refused} refused")).await;
    while let Err(error) = store.freeze_and_flush().await {
        assert!(began.elapsed() < Duration::from_secs(20), "seed {seed}: it is not flushed: {error}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    oracle.check(&store.reader(), start_ns, &format!("seed {seed}: from parts")).await;
    assert!(sim.distrusted().is_empty(), "seed {seed}: synced again: {:?}", sim.distrusted());
    drop((store, steps));
    // All of it is in parts, so that the power may go off whatever the durability.
    for left in [sim.killed(), sim.crash(seed)] {
        let store = open_on(&left, &config, &clock).await;
        oracle.check(&store.reader(), start_ns, &format!("seed {seed}: after a restart")).await;
        assert!(store.health().reasons.is_empty(), "seed {seed}: {:?}", store.health());
    }
    refused
}

fn sick_disks(seeds: Range<u64>) {
    let (began, count) = (Instant::now(), seeds.end - seeds.start);
    let refused: u64 = all(seeds, AT_ONCE, disk_goes_on).into_iter().sum();
    println!("{count} seeds, {refused} requests refused, {:?}", began.elapsed());
    assert!(refused > count, "the disks were not sick");
}

#[test]
fn on_a_simulated_sick_disk_what_was_acked_is_there_once_and_what_was_refused_is_not() {
    sick_disks(0..SEEDS);
}

#[test]
#[ignore = "C8: SICK_SEEDS, 500 without"]
fn on_a_simulated_sick_disk_what_was_acked_is_there_once_and_what_was_refused_is_not_over_many_seeds() {
    sick_disks(0..knob("SICK_SEEDS", 500));
}

/// The tries to prove a fresh segment fail one after the other, each at another step.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_nothing_is_acknowledged_until_a_fresh_segment_is_durable() {
    let (sim, clock, oracle) = (Sim::new(1), Clock::manual(samples::NOW_NS, 1), Oracle::default());
    let config = Config { segment_bytes: 1 << 20, flush_bytes: 64 << 20, ..small() };
    let store = open_on(&sim, &config, &clock).await;
    oracle.send(&store, 1, start_ns(1)).await.unwrap();
    // So that the only operations to come are those of the log.
    store.freeze_and_flush().await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let steps = [Op::Create, Op::Allocate, Op::Write, Op::Sync, Op::Read, Op::Rename, Op::SyncDir];
    for op in steps {
        sim.faults().arm(op, usize::from(op == Op::Write), if op == Op::Sync { 2 } else { 1 }, EIO);
    }
    let mut failed = BTreeSet::new();
    for id in 2.. {
        match oracle.send(&store, id, start_ns(id)).await {
            Ok(_) => break,
            Err(error) => assert_eq!(error.label(), "sync"),
        }
        oracle.note(id, Fate::Gone);
        failed.insert(store.inner.progress.failed_recoveries.load(Ordering::Relaxed));
        assert!(failed.len() < 100, "no end");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(failed.len() > 3, "refused between the tries: {failed:?}");
    assert!(sim.distrusted().is_empty(), "synced again: {:?}", sim.distrusted());
    oracle.check(&store.reader(), start_ns, "after the recovery").await;
    drop(store);
    for seed in 0..16 {
        let store = open_on(&sim.crash(seed), &config, &clock).await;
        oracle.check(&store.reader(), start_ns, &format!("crash {seed} after the first answer")).await;
        assert!(store.health().reasons.is_empty(), "{:?}", store.health());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sync_that_takes_a_second_delays_the_answer_and_nothing_is_seen_before_it() {
    let (sim, clock) = (Sim::new(1), Clock::manual(samples::NOW_NS, 1));
    let config = Config { segment_bytes: 1 << 20, flush_bytes: 64 << 20, ..small() };
    let store = open_on(&sim, &config, &clock).await;
    store.append(sent(1, 0)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let before = syncs(&store);
    sim.slow_syncs(Duration::from_secs(1));
    let began = Instant::now();
    let sends: Vec<_> = (2..=40)
        .map(|id| {
            tokio::spawn({
                let store = store.clone();
                async move { store.append(sent(id, 0)).await }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(store.reader().view().memory.len(), 1, "what is not durable is not visible");
    for send in sends {
        send.await.unwrap().unwrap();
    }
    assert!(began.elapsed() >= Duration::from_secs(1), "{:?}", began.elapsed());
    assert!(syncs(&store) - before <= 3, "{} syncs: one group waits for the sync of another", syncs(&store) - before);
    sim.slow_syncs(Duration::ZERO);
    assert_eq!(store.reader().view().memory.len(), 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_os_a_file_whose_background_sync_failed_is_not_synced_or_written_again() {
    let (sim, clock, oracle) = (Sim::new(1), Clock::manual(samples::NOW_NS, 1), Oracle::default());
    let config =
        Config { durability: config::Durability::Os, segment_bytes: 1 << 20, flush_bytes: 64 << 20, ..small() };
    let store = open_on(&sim, &config, &clock).await;
    oracle.send(&store, 3, start_ns(3)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    sim.faults().arm(Op::Sync, 0, 1, EIO);
    let (began, mut refused) = (Instant::now(), 0);
    // The background sync comes within a second; the log goes on meanwhile.
    for id in (6..).step_by(3) {
        if oracle.send(&store, id, start_ns(id)).await.is_err() {
            oracle.note(id, Fate::Gone);
            refused += 1;
        }
        if began.elapsed() > Duration::from_millis(1500) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(store.inner.metrics.wal_sync_errors.get() == 1 && refused > 0, "{refused} refused");
    assert!(sim.distrusted().is_empty(), "used again: {:?}", sim.distrusted());
    oracle.check(&store.reader(), start_ns, "after it").await;
}
