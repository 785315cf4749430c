//! Making a data folder whole again: `weavergen store repair` (storage.md 12.3, 12.4).
//!
//! Duty: name the parts anew where the manifest cannot be read, however much of it, or is older than they are; write lost
//! checksum files anew; put others in the place of damaged parts, as far as their rows can be read (`rescue.rs`).
//! Guarantee: no daemon works on the folder meanwhile; nothing is deleted: what is damaged goes to `quarantine/`; a second
//! run finds nothing to do. Left to others: the log, which a start judges itself (`recover.rs`).

use object_store::ObjectStore;

use super::folder::Folder;
use super::local::is_unreadable;
use super::lock::Lock;
use super::manifest::{Manifest, PartEntry};
use super::part::{self, Depth, Reread};
use super::place::Objects;
use super::recover::before_log;
use super::rescue::{Ground, Rescued, rescue};
use super::shelf::{manifest_error, parts_error};
use super::{Config, Error, part::Problem};
use crate::clock::Clock;
use crate::disk::Disk;

/// Something that was wrong, and what was done about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repaired {
    /// The file, below the data folder.
    pub file: String,
    /// What was wrong with it.
    pub problem: String,
    /// What was done.
    pub done: &'static str,
    /// Spans that cannot be read any more.
    pub lost_spans: u64,
}

/// Repairs the data folder `config.path` and its parts, where `config` says they are; what was wrong comes back, in the
/// order in which it was met.
///
/// Errors: [`Error::Locked`] while a daemon runs on it, [`Error::Folder`] if it is no data folder, [`Error::Place`] if its
/// parts are not where `config` says, [`Error::Io`], [`Error::Parts`] and [`Error::Unreachable`] if they cannot be read or
/// written; what was repaired before stays repaired.
pub async fn repair(config: &Config, disk: &Disk, clock: &Clock) -> Result<Vec<Repaired>, Error> {
    let folder = Folder::read(disk, &config.path)?;
    let _lock = Lock::take(disk, &config.path)?;
    let place = Objects::open(&config.place, &folder, disk, clock)?;
    place.prepare(clock).await?;
    let objects = place.store().clone();
    let mut manifest = Manifest::rebuild(objects.clone()).await.map_err(|e| place.of_manifest(&e))?;
    if before_log(disk, &folder)? > manifest.flushed_lsn(folder.node) {
        manifest.recover_tail().await.map_err(|e| manifest_error(&e))?;
    }
    let aside = "put into quarantine/";
    let mut repaired: Vec<Repaired> = Vec::new();
    for file in manifest.unreadable() {
        let (file, problem) = (file.path.clone(), file.problem.clone());
        repaired.push(Repaired { file, problem, done: aside, lost_spans: 0 });
    }
    if let Some(recovery) = manifest.recovered() {
        let done = "named the parts anew";
        repaired.push(Repaired { file: "manifest/".to_owned(), problem: recovery.told.clone(), done, lost_spans: 0 });
    }
    let mut is_writer = !repaired.is_empty();
    if is_writer {
        place.claim(&mut manifest, clock).await?;
        manifest.checkpoint(clock).await.map_err(|e| manifest_error(&e))?;
    }
    for entry in manifest.parts().to_vec() {
        if manifest.parts().iter().all(|live| live.path != entry.path) {
            // It left with another output of its compaction.
            continue;
        }
        let problems = part::check(objects.as_ref(), &entry, Depth::Deep).await;
        let Some(Problem { file, what, .. }) = problems.into_iter().next() else { continue };
        let (done, lost_spans) = match reread(objects.as_ref(), &entry).await? {
            Reread::Whole if file != entry.path => ("written anew from the part", 0),
            Reread::Whole => ("left: its bytes are those that were written; report it", 0),
            Reread::Damaged(_) => {
                if !std::mem::replace(&mut is_writer, true) {
                    place.claim(&mut manifest, clock).await?;
                }
                let origin = Manifest::origin(&objects, &entry.path).await.map_err(|e| manifest_error(&e))?;
                let removed: Vec<_> = manifest.removed().cloned().collect();
                let (objects, live) = (&objects, manifest.parts());
                let ground = Ground { objects, config, clock, live, removed: &removed };
                let Rescued { delta, lost, from_inputs } = rescue(&ground, &entry, origin.as_ref()).await?;
                let done = match delta.add.is_empty() {
                    _ if from_inputs => "the parts it was made of into new ones, then quarantine/",
                    false => "whole row groups into a new part, then quarantine/",
                    true => aside,
                };
                manifest.commit(delta, clock).await.map_err(|e| manifest_error(&e))?;
                for path in [entry.path.clone(), part::sum_path(&entry.path)] {
                    part::put_aside(objects.as_ref(), &path).await.map_err(|e| parts_error(&e))?;
                }
                (done, lost)
            }
        };
        repaired.push(Repaired { file, problem: what, done, lost_spans });
    }
    Ok(repaired)
}

/// What a part's bytes are now; those that the disk cannot give, and not at a second try either, count as damaged.
async fn reread(objects: &dyn ObjectStore, entry: &PartEntry) -> Result<Reread, Error> {
    match part::reread(objects, entry).await {
        Err(error) if is_unreadable(&error) => {}
        read => return read.map_err(|e| parts_error(&e)),
    }
    match part::reread(objects, entry).await {
        Err(error) if is_unreadable(&error) => Ok(Reread::Damaged(error.to_string())),
        read => read.map_err(|e| parts_error(&e)),
    }
}
