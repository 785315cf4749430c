//! C4 where the scenario does not come: a start that finds rows in the log alone, and a log whose sync has failed.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::*;
use crate::store::wal::record;

/// Operations behind a failed sync that are met: those of a fresh segment, and of the flush beside it.
const AFTER_SYNC: u64 = 24;

/// A log of several segments.
struct Log {
    run: Run,
    /// Requests of its newest segment.
    newest: Vec<u64>,
}

impl Run {
    fn newest_segment(&self) -> PathBuf {
        let wal = Path::new(DATA).join("wal");
        let segments = self.sim.image().into_keys().filter(|path| segment::lsn_of(path).is_some());
        segments.filter(|path| path.starts_with(&wal)).max().expect("something was sent")
    }

    /// Opens and sends until the log has several segments beside what is flushed; gives back the requests of the newest.
    async fn fill(&self) -> Result<(Store, Vec<u64>), Off> {
        let store = self.open().await?;
        self.send(&store, 1..3).await?;
        self.send(&store, 20..22).await?;
        self.until("a flush", async || store.freeze_and_flush().await).await?;
        let (mut newest, mut segments) = (Vec::new(), BTreeSet::new());
        for id in 40..100 {
            self.send(&store, id..id + 1).await?;
            if segments.insert(self.newest_segment()) {
                newest.clear();
            }
            newest.push(id);
            if segments.len() > 2 && newest.len() > 1 {
                return Ok((store, newest));
            }
        }
        panic!("no segment has two requests");
    }

    /// Opens, sends, flushes and closes.
    async fn start(&self) -> Result<(), Off> {
        let store = self.open().await?;
        self.send(&store, 101..102).await?;
        self.until("a flush", async || store.freeze_and_flush().await).await?;
        drop(store.close().await);
        if self.sim.is_off() { Err(Off) } else { Ok(()) }
    }

    /// Sends; the sync of the first request fails.
    async fn recovery(&self, store: Store) -> Result<(), Off> {
        self.send(&store, 103..106).await?;
        self.until("a flush", async || store.freeze_and_flush().await).await?;
        drop(store.close().await);
        if self.sim.is_off() { Err(Off) } else { Ok(()) }
    }
}

/// A machine whose store was killed after a flush and further requests.
async fn killed() -> Log {
    let run = Run { segment_bytes: 4 * SEGMENT_BYTES, ..Run::new() };
    let Ok((store, newest)) = run.fill().await else { panic!("nothing was planned") };
    let sim = run.sim.killed();
    drop(store);
    Log { run: Run { sim, ..run }, newest }
}

/// The same; of the first record of the newest segment, behind which there is another one, a byte was damaged.
async fn damaged() -> Log {
    let log = killed().await;
    let newest = log.run.newest_segment();
    let payload = segment::HEADER_BYTES + record::HEADER_BYTES;
    log.run.flip(newest.strip_prefix(DATA).unwrap().to_str().unwrap(), |_| payload);
    log.run.oracle.note(log.newest[0], Fate::Open);
    log
}

async fn log_of(is_damaged: bool) -> Run {
    let log = if is_damaged { damaged().await } else { killed().await };
    log.run
}

async fn one_start((is_damaged, op, fate): (bool, u64, sim::Fate)) {
    let run = log_of(is_damaged).await;
    let _kept = Kept(run.sim.clone(), op);
    run.sim.plan(op, fate);
    let ended = run.start().await;
    let what = if is_damaged { "of a start over a damaged log" } else { "of a start" };
    run.end(ended, (op, fate), what).await;
}

async fn one_recovery((op, fate): (u64, sim::Fate)) {
    let run = Run::new();
    let Ok(store) = run.open().await else { panic!("nothing was planned") };
    assert!(run.send(&store, 1..3).await.is_ok());
    run.quiet().await;
    let sync = run.sim.ops() + 2;
    let _kept = Kept(run.sim.clone(), op);
    run.sim.plan(sync, sim::Fate::Fails);
    run.sim.plan(sync + op, fate);
    let ended = run.recovery(store).await;
    run.end(ended, (op, fate), "behind a failed sync").await;
}

fn starts(stride: usize) {
    for is_damaged in [false, true] {
        let operations = all([()], 1, async |()| {
            let run = log_of(is_damaged).await;
            let _kept = Kept(run.sim.clone(), 0);
            assert!(run.start().await.is_ok());
            run.oracle
                .check(&open_on(&run.sim.killed(), &config(), &run.clock).await.reader(), start_ns, "whole")
                .await;
            run.sim.ops()
        })[0];
        let points = points(operations, stride).into_iter().map(|(op, fate)| (is_damaged, op, fate));
        let runs = all(points.collect::<Vec<_>>(), AT_ONCE, one_start).len();
        println!("{operations} operations of a start, damaged: {is_damaged}, {runs} runs");
    }
}

fn recoveries(stride: usize) {
    println!("{} runs behind a failed sync", all(points(AFTER_SYNC, stride), AT_ONCE, one_recovery).len());
}

#[test]
fn a_stop_or_an_error_at_an_operation_of_a_start_loses_nothing_of_the_log() {
    starts(STRIDE);
}

#[test]
fn a_stop_or_a_second_error_behind_a_failed_sync_loses_nothing_that_was_acknowledged() {
    recoveries(5);
}

#[test]
#[ignore = "C4: each operation of a start over a log with each of the 4 fates (POINT_FROM, _TO)"]
fn a_stop_or_an_error_at_every_operation_of_a_start_loses_nothing_of_the_log() {
    starts(1);
}

#[test]
#[ignore = "C4: each of 24 operations behind a failed sync with each of the 4 fates (POINT_FROM, _TO)"]
fn a_stop_or_a_second_error_at_every_operation_behind_a_failed_sync_loses_nothing_that_was_acknowledged() {
    recoveries(1);
}
