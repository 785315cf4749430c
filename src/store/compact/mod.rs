//! Compaction: few sorted parts in place of many small ones (storage.md 9).
//!
//! Duty: [`job`]: plan one job, run it, prove it, commit it as one manifest delta. Guarantee: readers see each row
//! once, before, during and after; without the proof, or after any failure before the commit, the inputs stay live and
//! the outputs are deleted. Left to others: deleting the files of inputs (`sweep`), when it runs (`upkeep.rs`).
//!
//! The way of a job: [`plan`] picks the inputs, [`scatter`] (level 0), [`splice`] or [`sort`] (level 1) reads and writes
//! them, [`proof`] compares.

mod gather;
mod pack;
mod parents;
mod pick;
pub mod plan;
mod proof;
mod rows;
mod same;
mod scatter;
mod sort;
mod sorter;
mod spill;
mod splice;
mod state;
#[cfg(test)]
mod tests;
mod vocabulary;
mod work;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use plan::{Job, Kind, Settings, backlog_hours, plan};
pub use state::State;
use work::{Outputs, Room, part_error};

use super::manifest::{DELETE_GRACE_NS, Delta, PartEntry, Reason, Removal};
use super::part::{Opened, PartStore, Totals};
use super::room::min_free_bytes;
use super::shelf::Shown;
use super::upkeep::Upkeep;
use super::{Error, ledger};
use crate::disk::Disk;

/// What compaction has besides the parts.
#[derive(Debug)]
pub struct Means {
    /// For scratch files.
    pub disk: Disk,
    /// Their folder.
    pub tmp: PathBuf,
    /// Memory in bytes.
    pub share: u64,
    /// Failures and wishes.
    pub state: State,
}

/// Runs the jobs that are due, one after another. Errors: as of [`job`].
pub async fn step(upkeep: &Upkeep) -> Result<(), Error> {
    while job(upkeep).await? {}
    Ok(())
}

/// Runs the job that is due first; `false`: there is none that can be run now.
///
/// Errors: [`Error::Superseded`] and [`Error::Draining`]; what else goes wrong is kept with its hour in [`State`].
pub async fn job(upkeep: &Upkeep) -> Result<bool, Error> {
    match upkeep.settle_open().await {
        Ok(()) => {}
        Err(error @ Error::Superseded { .. }) => return Err(error),
        // The manifest goes first.
        Err(_) => return Ok(false),
    }
    let state = &upkeep.compaction.state;
    let now = || upkeep.shelf.clock().now_ns();
    if !state.is_due(upkeep.shelf.shown().version, now()) {
        return Ok(false);
    }
    // Of hours whose jobs have no room on the disk: they wait, and keep no other hour from its own.
    let mut short: BTreeMap<String, String> = BTreeMap::new();
    loop {
        // Before the parts: who asks behind a flush means its parts as well.
        let (mut paused, forced) = state.look(now());
        paused.extend(short.keys().cloned());
        let entries = entries(&upkeep.shelf.shown());
        state.keep(&entries.iter().map(|entry| entry.hour.as_str()).collect());
        let behind = backlog_hours(&entries, now());
        upkeep.metrics.compaction_backlog_hours.set(i64::try_from(behind).unwrap_or(i64::MAX));
        let stopped = || upkeep.memtable.is_stopped();
        let mut room = room(upkeep, &stopped);
        let settings = Settings { join_bytes: room.target_bytes(), paused, forced };
        let Some(job) = plan(&entries, now(), &settings) else {
            let asked = settings.forced.and_then(|hour| short.iter().find(|(of, _)| hour.is_empty() || **of == hour));
            if let Some((_, detail)) = asked {
                state.answer(Err(Error::DiskFull { detail: detail.clone() }));
            }
            state.wait_for_room(&short);
            upkeep.metrics.degraded.with_label_values(&["compaction"]).set(i64::from(state.is_behind()));
            match state.nothing_left() {
                true => return Ok(false),
                false => continue,
            }
        };
        if let Some(detail) = short_of_space(upkeep, &job) {
            // Its inputs go only some time after its outputs are there (storage.md 12.2).
            short.insert(job.hour, detail);
            continue;
        }
        let reads = checked_anew(upkeep, &job);
        room.reads = Arc::new(reads.clone());
        // A state of its own: without optimisation a stack of 2 MiB does not hold all of them.
        let done = upkeep.watched("compaction", Box::pin(run(&job, &room, upkeep))).await;
        // What is damaged now may have been good when it was read for a statement: it is judged like any other.
        reads.take_suspects().iter().for_each(|path| upkeep.shelf.part_store().suspect(path));
        if let Err(Error::PartDamaged { path, .. }) = &done {
            // Its blocks had their checksums, and the file not its hash, or a page could not be decoded.
            upkeep.shelf.part_store().doubt(path);
        }
        match done {
            Ok(true) => state.succeeded(&job.hour),
            // The manifest goes first.
            Ok(false) => return Ok(false),
            Err(error @ (Error::Superseded { .. } | Error::Draining)) => {
                state.answer(Err(error.clone()));
                return Err(error);
            }
            Err(error) => failed(upkeep, &job, error, now()),
        }
        upkeep.metrics.degraded.with_label_values(&["compaction"]).set(i64::from(state.is_behind()));
        state.look_again();
        return Ok(true);
    }
}

fn entries(shown: &Shown) -> Vec<PartEntry> {
    shown.parts.parts.iter().map(|part| part.entry.clone()).collect()
}

fn room<'a>(upkeep: &'a Upkeep, stopped: &'a (dyn Fn() -> bool + Sync)) -> Room<'a> {
    let means = &upkeep.compaction;
    Room {
        objects: upkeep.shelf.objects().clone(),
        reads: upkeep.shelf.reads(),
        config: upkeep.shelf.config(),
        clock: upkeep.shelf.clock(),
        disk: &means.disk,
        tmp: &means.tmp,
        share: means.share,
        stopped,
    }
}

/// The inputs, every block checked once more: what a reader found good an hour ago may have decayed, and after this job
/// nobody can tell any more.
fn checked_anew(upkeep: &Upkeep, job: &Job) -> PartStore {
    let parts = PartStore::new(upkeep.shelf.objects().clone());
    job.inputs.iter().for_each(|entry| parts.register(entry));
    parts
}

fn failed(upkeep: &Upkeep, job: &Job, error: Error, now_ns: i64) {
    upkeep.metrics.compaction_failures.inc();
    let times = upkeep.compaction.state.failed(&job.hour, error.clone(), now_ns);
    tracing::warn!(hour = job.hour, times, %error, "compaction failed; the parts stay as they are");
    upkeep.compaction.state.answer(Err(error));
}

/// The missing room on the disk, as a sentence, if `job` may not be begun.
fn short_of_space(upkeep: &Upkeep, job: &Job) -> Option<String> {
    let means = &upkeep.compaction;
    // The outputs may be on another disk than the scratch files, or on none.
    [Some(means.tmp.as_path()), upkeep.shelf.place().root()].into_iter().flatten().find_map(|folder| {
        let space = means.disk.space(folder).ok()?;
        let least = min_free_bytes(upkeep.shelf.config().min_free_bytes, space);
        let needs = least.saturating_add(job.inputs.iter().map(|part| part.bytes).sum());
        (space.free < needs).then(|| format!("compaction of {} needs {needs} free bytes, {} are", job.hour, space.free))
    })
}

/// One job from its inputs to the published snapshot; `false` if the commit is not settled.
async fn run(job: &Job, room: &Room<'_>, upkeep: &Upkeep) -> Result<bool, Error> {
    let began = Instant::now();
    let mut outputs = Outputs::of(job, 1);
    let made = match Box::pin(make(job, room, &mut outputs)).await {
        Ok(made) => made,
        Err(error) => {
            outputs.discard(room).await;
            return Err(error);
        }
    };
    let delete_after = room.clock.now_ns().saturating_add(DELETE_GRACE_NS);
    let removal = |part: &PartEntry| Removal { path: part.path.clone(), reason: Reason::Compacted, delete_after };
    let remove: Vec<Removal> = job.inputs.iter().map(removal).collect();
    let (hour, inputs, count, duplicates) = (job.hour.clone(), remove.len(), outputs.put.len(), made.rows);
    let delta = Delta { add: std::mem::take(&mut outputs.put), remove, flushed: BTreeMap::new() };
    let told = move |upkeep: &Upkeep| {
        upkeep.metrics.duplicates.with_label_values(&["row"]).inc_by(duplicates);
        if duplicates > 0 {
            upkeep.ledger.record(ledger::Drop {
                stage: "store".to_owned(),
                component: "compaction".to_owned(),
                reason: "duplicate_row".to_owned(),
                path: format!("hour {hour}"),
                spans: duplicates,
                ..ledger::Drop::default()
            });
        }
        tracing::info!(hour, inputs, outputs = count, duplicates, "parts compacted");
    };
    let settled = match upkeep.commit(delta, told).await {
        Ok(()) => true,
        Err(error @ Error::Superseded { .. }) => return Err(error),
        Err(_) => false,
    };
    upkeep.metrics.compaction_seconds.observe(began.elapsed().as_secs_f64());
    Ok(settled)
}

/// Writes the outputs; the sums over dropped duplicates come back, once the proof holds.
async fn make(job: &Job, room: &Room<'_>, outputs: &mut Outputs) -> Result<Totals, Error> {
    let mut inputs = Vec::with_capacity(job.inputs.len());
    let mut claimed = Totals::default();
    for entry in &job.inputs {
        room.go_on()?;
        let input = Opened::open(room.reads.clone(), entry).await.map_err(|e| part_error(&e))?;
        claimed.add(&input.totals);
        inputs.push(input);
    }
    let dropped = match job.kind {
        Kind::Sort | Kind::Join if Box::pin(splice::splice(job, &inputs, room, outputs)).await? => Totals::default(),
        Kind::Sort => Box::pin(sort::sort(job, &inputs, room, outputs)).await?,
        Kind::Join => Box::pin(scatter::join(job, &inputs, room, outputs)).await.map(|()| Totals::default())?,
        Kind::Split => Box::pin(scatter::split(job, &inputs, room, outputs)).await.map(|()| Totals::default())?,
    };
    proof::check(&claimed, &outputs.totals, &dropped)
        .map_err(|what| Error::Internal { detail: format!("compaction of {}: {what}", job.hour) })?;
    Ok(dropped)
}
