//! C4: the machine stops, or one operation fails, at every operation that changes the disk (storage.md 18).
//!
//! One scenario walks through log, switch of segment, flush, compaction, retention, sweep, trace index, catalogue, quarantine, a
//! damaged manifest, checkpoint and repair. Instead of named points in the code (the crate `fail`), the simulated disk
//! counts: a run for each operation and each of {power off before it, after it, it fails, its thread panics}. So no step
//! can be forgotten, and the code of the store carries no points.
//!
//! | of the specification | here |
//! |---|---|
//! | before, after, error, panic | [`FATES`] of an operation that changes the disk |
//! | log: preallocation, write, sync, rename, directory sync | scenario; behind a failed sync: `points/start.rs` |
//! | flush, manifest, compaction, retention, sweep, repair | scenario |
//! | catalogue; index of a part, of a day | scenario |
//! | recovery | after every run; a start over a log, whole or damaged, with rows in no part: `points/start.rs` |
//! | memtable, ack, snapshot swap | before and after are the operations on both sides: these change memory alone |
//!
//! An error the last three do not have. Panics behind the sync, and before the swap of a flush, are in `panics.rs`, as
//! are those of flush and compaction where parts are not on a disk. Operations that only read are not counted: their
//! errors are C8 (`sick.rs`).

use std::ops::Range;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use object_store::ObjectStoreExt as _;

use super::oracle::{DATA, Fate, Kept, Oracle, all, open_on, upkeep};
use super::*;
use crate::disk::sim::{self, Sim};
use crate::store::index::{self, Key};

mod start;

const HOUR_NS: i64 = 3600 * 1_000_000_000;
/// Of so many operations the test that always runs takes one.
const STRIDE: usize = 17;
/// Machines that run at once.
const AT_ONCE: usize = 6;
const FATES: [sim::Fate; 4] = [sim::Fate::OffBefore, sim::Fate::OffAfter, sim::Fate::Fails, sim::Fate::Panics];
/// The day of most requests.
const TODAY: &str = "2023-11-14";
/// Requests of the hour that is over by far, and leaves.
const LEAVING: Range<u64> = 31..33;

fn start_ns(id: u64) -> i64 {
    match id {
        20..30 => samples::NOW_NS - 5 * HOUR_NS,
        30.. => samples::NOW_NS - 60 * HOUR_NS,
        _ => samples::NOW_NS - HOUR_NS / 10,
    }
}

fn of_today(parts: &[Arc<part::Part>]) -> Vec<Arc<part::Part>> {
    parts.iter().filter(|part| index::date_of(&part.entry.path) == Some(TODAY)).cloned().collect()
}

/// Less than two requests have.
const SEGMENT_BYTES: u64 = 16 << 10;

fn config() -> Config {
    Config {
        min_free_bytes: Some(0),
        segment_bytes: SEGMENT_BYTES,
        group_commit_delay: Duration::ZERO,
        max_age: Some(Duration::from_secs(100 * 3600)),
        by_hand: true,
        ..Config::at(DATA)
    }
}

/// The machine went off.
struct Off;

struct Run {
    sim: Sim,
    clock: Clock,
    oracle: Oracle,
    /// A part was damaged, or the manifest: health may tell of it.
    damaged: AtomicBool,
    segment_bytes: u64,
}

impl Run {
    fn new() -> Self {
        let clock = Clock::manual(samples::NOW_NS, 4);
        let damaged = AtomicBool::new(false);
        Self { sim: Sim::new(4), clock, oracle: Oracle::default(), damaged, segment_bytes: SEGMENT_BYTES }
    }

    fn disk(&self) -> Disk {
        Disk::Sim(self.sim.clone())
    }

    /// Tries until it succeeds; what fails once must not fail for ever.
    async fn until<T>(&self, what: &str, step: impl AsyncFn() -> Result<T, Error>) -> Result<T, Off> {
        let mut last = String::new();
        for _ in 0..200 {
            match AssertUnwindSafe(step()).catch_unwind().await {
                _ if self.sim.is_off() => return Err(Off),
                Ok(Ok(done)) => {
                    self.quiet().await;
                    return Ok(done);
                }
                // The log has panicked: only a restart helps.
                Ok(Err(Error::Died { .. })) => return Err(Off),
                Ok(Err(error)) => last = error.to_string(),
                // This thread is the one that was chosen.
                Err(panic) if panic.downcast_ref::<String>().is_some_and(|text| text.starts_with(sim::PANIC)) => {
                    last = "panicked".to_owned();
                }
                Err(panic) => std::panic::resume_unwind(panic),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
            self.clock.advance(Duration::from_secs(60));
        }
        panic!("{what} still fails: {last}");
    }

    /// Waits for the helpers of the log, so that every run counts the same.
    async fn quiet(&self) {
        let mut before = 0;
        while std::mem::replace(&mut before, self.sim.ops()) != self.sim.ops() {
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
    }

    async fn open(&self) -> Result<Store, Off> {
        let config = || Config { segment_bytes: self.segment_bytes, ..config() };
        let open = async || try_open(config(), self.disk(), self.clock.clone()).await;
        let store = self.until("opening", open).await?;
        while !store.is_ready() {
            // The replay has panicked: only a restart helps.
            let has_ended = store.health().reasons.iter().any(|reason| reason.contains("restart, and report it"));
            if self.sim.is_off() || has_ended {
                return Err(Off);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(store)
    }

    async fn send(&self, store: &Store, ids: Range<u64>) -> Result<(), Off> {
        for id in ids {
            self.until("an append", async || self.oracle.send(store, id, start_ns(id)).await).await?;
        }
        Ok(())
    }

    fn flip(&self, path: &str, at: impl Fn(usize) -> usize) {
        self.damaged.store(true, Ordering::Relaxed);
        self.sim.flip(&Path::new(DATA).join(path), at);
    }

    async fn scenario(&self) -> Result<(), Off> {
        let store = self.open().await?;
        let steps = upkeep(&store);
        let now = || self.clock.now_ns();
        // Several hours, several segments, several parts an hour.
        for round in 0..3 {
            self.send(&store, 1 + round * 2..3 + round * 2).await?;
            self.send(&store, 20 + round * 2..22 + round * 2).await?;
            if round == 0 {
                self.send(&store, LEAVING).await?;
            }
            self.until("a flush", async || store.freeze_and_flush().await).await?;
        }
        let is_merged = || {
            let parts = store.reader().view().parts;
            parts.parts.iter().filter(|part| part.entry.lsn[0] > 0 && part.entry.level == 1).count() >= 2
        };
        self.until("a compaction", async || {
            compact::step(&steps).await?;
            if is_merged() { Ok(()) } else { Err(Error::Internal { detail: "not merged yet".into() }) }
        })
        .await?;
        self.until("a file of the catalogue", async || steps.catalog.write().await).await?;
        // An index that was lost is made again.
        let parts = store.reader().view().parts;
        let index = parts.parts[0].entry.index.clone().unwrap();
        self.until("a lost index", async || {
            match steps.shelf.objects().delete(&index.as_str().into()).await {
                // The try before has failed after that.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(Error::Parts { detail: error.to_string() }),
            }
        })
        .await?;
        steps.indexes.forget(&parts.parts[0].entry.path);
        self.until("an index", async || {
            drop(steps.indexes.find(&parts.parts[0].entry, &[Key::of(&1_u128.to_be_bytes())]).await);
            steps.indexes.rebuild_wanted(&steps.shelf.reads(), || false).await;
            match self.disk().metadata(&Path::new(DATA).join(&index)) {
                Ok(_) => Ok(()),
                Err(error) => Err(Error::io("find", Path::new(&index), &error)),
            }
        })
        .await?;
        let merged = async || {
            let done = steps.indexes.merge_day(TODAY, &of_today(&parts.parts), 1 << 20).await;
            done.map(drop).map_err(|error| Error::Parts { detail: error.to_string() })
        };
        self.until("the index of a day", merged).await?;
        drop(parts);
        // The oldest hour leaves: with its parts, its requests.
        LEAVING.for_each(|id| self.oracle.note(id, Fate::Open));
        let gone_ns = now() + 50 * HOUR_NS;
        let mono = |ns: i64| Duration::from_nanos(ns.unsigned_abs());
        self.until("retention", async || {
            steps.retain_at(now(), mono(0)).await?;
            steps.retain_at(gone_ns, mono(gone_ns - now())).await
        })
        .await?;
        LEAVING.for_each(|id| self.oracle.note(id, Fate::Gone));
        self.clock.advance(Duration::from_secs(7200));
        self.until("a sweep", async || steps.sweep_removed(gone_ns + HOUR_NS).await).await?;
        self.until("a sweep of orphans", async || steps.sweep_orphans(now()).await).await?;
        // A damaged part leaves with its rows; the newest one holds those of a request alone.
        self.send(&store, 9..10).await?;
        self.until("a flush", async || store.freeze_and_flush().await).await?;
        let part = store.reader().view().parts.parts.last().unwrap().entry.path.clone();
        self.oracle.note(9, Fate::Open);
        self.flip(&part, |_| 100);
        steps.shelf.part_store().suspect(&part);
        self.until("quarantine", async || steps.quarantine_suspects().await).await?;
        self.oracle.note(9, Fate::Gone);
        self.until("a sweep", async || steps.sweep_removed(now()).await).await?;
        self.send(&store, 10..12).await?;
        drop(steps);
        let closed = store.clone().close().await;
        drop(store);
        if self.sim.is_off() {
            return Err(Off);
        }
        drop(closed);
        // A version of the manifest that cannot be read: found again in the parts, then in a checkpoint.
        self.flip(&format!("manifest/{:020}.json", 4), |len| len - 30);
        let store = self.open().await?;
        let steps = upkeep(&store);
        self.until("a checkpoint", async || steps.shelf.checkpoint_if_due().await).await?;
        self.send(&store, 13..14).await?;
        self.until("a flush", async || store.freeze_and_flush().await).await?;
        let part = store.reader().view().parts.parts.last().unwrap().entry.path.clone();
        drop((steps, store));
        if self.sim.is_off() {
            return Err(Off);
        }
        self.oracle.note(13, Fate::Open);
        self.flip(&part, |_| 100);
        self.until("repair", async || repair::repair(&config(), &self.disk(), &self.clock).await).await?;
        self.oracle.note(13, Fate::Gone);
        let store = self.open().await?;
        self.oracle.check(&store.reader(), start_ns, "at the end").await;
        drop(store.close().await);
        Ok(())
    }

    /// What the next start finds on `left`.
    async fn check(&self, left: &Sim, at: &str) {
        // While the machine stood still, so that what was left is old, and what this start makes is not.
        self.clock.advance(Duration::from_secs(2 * 3600));
        let began_ms = u64::try_from(self.clock.now_ns() / 1_000_000).unwrap();
        let store = open_on(left, &config(), &self.clock).await;
        let steps = upkeep(&store);
        if self.damaged.load(Ordering::Relaxed) {
            // As if every part had been read.
            let parts = store.reader().view().parts;
            parts.parts.iter().for_each(|part| steps.shelf.part_store().suspect(&part.entry.path));
            steps.quarantine_suspects().await.unwrap();
        } else {
            assert!(store.health().reasons.is_empty(), "{at}: {:?}", store.health());
        }
        self.oracle.check(&store.reader(), start_ns, at).await;
        steps.shelf.checkpoint_if_due().await.unwrap();
        steps.sweep_removed(self.clock.now_ns() + 60 * HOUR_NS).await.unwrap();
        steps.sweep_orphans(self.clock.now_ns()).await.unwrap();
        let parts = store.reader().view().parts;
        let stem =
            |path: &str| path.rsplit('/').next().and_then(|name| name.split('.').next()).unwrap_or("").to_owned();
        let live: Vec<String> = parts.parts.iter().map(|part| stem(&part.entry.path)).collect();
        let of_day = of_today(&parts.parts);
        let key = Key::of(&1_u128.to_be_bytes());
        for (path, found) in steps.indexes.find_in_day(TODAY, &of_day, &[key]).await {
            let part = of_day.iter().find(|part| part.entry.path == path).unwrap();
            // A part may have lost its own since.
            let own = steps.indexes.find(&part.entry, &[key]).await;
            assert!(own.is_none_or(|own| own == found), "{at}: {path}");
        }
        for path in left.image().into_keys() {
            let path = path.strip_prefix(DATA).unwrap().to_str().unwrap().to_owned();
            let is_of_part = path.starts_with("spans/") || path.starts_with("index/") && !index::is_day(&path);
            // What the store's own thread is making just now has no name yet.
            let is_old = || ulid::Ulid::from_string(&stem(&path)).unwrap().timestamp_ms() < began_ms;
            assert!(!is_of_part || live.contains(&stem(&path)) || !is_old(), "{at}: nobody names {path}");
        }
        if !self.damaged.load(Ordering::Relaxed) {
            super::catalog::check(&store.reader(), at).await;
        }
        drop((steps, parts));
        drop(store.close().await);
        let report =
            verify::verify(&config(), &Disk::Sim(left.clone()), &self.clock, verify::Depth::Quick).await.unwrap();
        assert!(report.is_whole() || self.damaged.load(Ordering::Relaxed), "{at}: {:?}", report.findings);
    }
}

impl Run {
    /// What holds after `ended`, whatever was planned for operation `op` of `what`.
    async fn end(&self, ended: Result<(), Off>, (op, fate): (u64, sim::Fate), what: &str) {
        let at = format!("{fate:?} at operation {op} {what}");
        assert!(ended.is_ok() || self.sim.is_off() || fate == sim::Fate::Panics, "{at}");
        assert!(self.sim.distrusted().is_empty(), "{at}: synced again: {:?}", self.sim.distrusted());
        let (killed, crashed) = (self.sim.killed(), self.sim.crash(op));
        self.check(&killed, &format!("{at}, killed")).await;
        self.check(&crashed, &format!("{at}, power lost")).await;
    }
}

/// Operations of the undisturbed scenario.
async fn operations() -> u64 {
    let run = Run::new();
    let _kept = Kept(run.sim.clone(), 0);
    assert!(run.scenario().await.is_ok());
    run.sim.ops()
}

async fn one((op, fate): (u64, sim::Fate)) {
    let run = Run::new();
    let _kept = Kept(run.sim.clone(), op);
    run.sim.plan(op, fate);
    let ended = run.scenario().await;
    run.end(ended, (op, fate), "of the scenario").await;
}

/// Operation and fate of each run: all of both, or an operation in `stride` with the fates in turn.
fn points(operations: u64, stride: usize) -> Vec<(u64, sim::Fate)> {
    let ops = (1..=operations).step_by(stride);
    match stride {
        1 => {
            let ops = ops.filter(|op| (knob("POINT_FROM", 1)..=knob("POINT_TO", u64::MAX)).contains(op));
            let mut all: Vec<_> = ops.flat_map(|op| FATES.map(|fate| (op, fate))).collect();
            // Scattered, so that a run that is stopped has been everywhere.
            all.sort_by_key(|point| twox_hash::XxHash3_64::oneshot(format!("{point:?}").as_bytes()));
            all
        }
        _ => ops.enumerate().map(|(at, op)| (op, FATES[at % FATES.len()])).collect(),
    }
}

fn every_point(stride: usize) {
    let began = std::time::Instant::now();
    let operations = all([()], 1, async |()| operations().await)[0];
    println!("{operations} operations, {:?}", began.elapsed());
    let runs = all(points(operations, stride), AT_ONCE, one).len();
    println!("{runs} runs, {:?}", began.elapsed());
}

#[test]
fn a_stop_or_an_error_at_an_operation_of_the_disk_loses_nothing_and_leaves_nothing_behind() {
    every_point(STRIDE);
}

#[test]
#[ignore = "C4: each of some 700 operations with each of the 4 fates (POINT_STRIDE, _FROM, _TO); half a CPU-second a run"]
fn a_stop_or_an_error_at_every_operation_of_the_disk_loses_nothing_and_leaves_nothing_behind() {
    every_point(usize::try_from(knob("POINT_STRIDE", 1).max(1)).unwrap());
}
