//! Deleting files: those of removed parts, and those that nothing names (storage.md 5.3, 8).
//!
//! Duty: `Upkeep::sweep`. Guarantee: a file of a part goes only once its removal is durable, its grace has passed and no
//! snapshot holds it; a damaged part's file goes to `quarantine/` instead. A file that no version names goes only when its
//! ULID is older than an hour and nobody in this process has it in hand. After a restart the manifest tells what is still
//! to be deleted. A file of the local disk that cannot go keeps no other one; health tells of it. Left to others: what is
//! removed (`retain.rs`, `suspect.rs`, compaction).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use ulid::Ulid;

use super::manifest::{Reason, Removal};
use super::open::count_quarantine;
use super::shelf::parts_error;
use super::upkeep::Upkeep;
use super::{Error, part};

/// How often files that nothing names are looked for.
const EVERY: Duration = Duration::from_secs(3600);
/// The same after an error.
const AGAIN: Duration = Duration::from_secs(600);
/// How old they must be.
const AGE_MS: u64 = 3_600_000;
/// Where they may lie.
const FOLDERS: [&str; 2] = ["spans", "index"];

impl Upkeep {
    /// Deletes what may go; every hour also what nothing names.
    pub(super) async fn sweep(&self) -> Result<(), Error> {
        let removed = self.sweep_removed(self.shelf.clock().now_ns()).await;
        self.tell_unswept("files of parts that have left", &removed);
        let due = self.chores.lock().expect("no holder of this lock panics").orphans_due;
        if Instant::now() < due {
            return removed;
        }
        let orphans = self.sweep_orphans(self.shelf.clock().now_ns()).await;
        self.tell_unswept("files that nothing names", &orphans);
        let pause = if orphans.is_ok() { EVERY } else { AGAIN };
        self.chores.lock().expect("no holder of this lock panics").orphans_due = Instant::now() + pause;
        removed.and(orphans)
    }

    fn tell_unswept(&self, what: &'static str, swept: &Result<(), Error>) {
        let mut unswept = self.status.unswept.lock().expect("no holder of this lock panics");
        match swept {
            Ok(()) => drop(unswept.remove(what)),
            Err(error) => drop(unswept.insert(what, error.to_string())),
        }
        self.metrics.degraded.with_label_values(&["sweep"]).set(i64::from(!unswept.is_empty()));
    }

    pub(super) async fn sweep_removed(&self, now_ns: i64) -> Result<(), Error> {
        let mut done = Ok(());
        for removal in self.shelf.departed(now_ns).await {
            if self.memtable.is_stopped() {
                break;
            }
            done = done.and(goes_on(self.sweep_part(&removal).await)?);
        }
        done
    }

    async fn sweep_part(&self, removal: &Removal) -> object_store::Result<()> {
        let objects = self.shelf.objects().as_ref();
        let [file, sum, index] = part::files_of(&removal.path);
        // The part first: what names it goes last.
        match removal.reason {
            Reason::Quarantined => {
                for path in [&file, &sum] {
                    part::put_aside(objects, path).await?;
                }
                count_quarantine(&self.disk, &self.folder, &self.metrics);
            }
            Reason::Compacted | Reason::Expired | Reason::Dropped => {
                delete(objects, &file).await?;
                delete(objects, &sum).await?;
            }
        }
        delete(objects, &index).await?;
        self.indexes.forget(&removal.path);
        self.shelf.forget(&removal.path).await;
        Ok(())
    }

    pub(super) async fn sweep_orphans(&self, now_ns: i64) -> Result<(), Error> {
        let objects = self.shelf.objects().as_ref();
        let mut files = Vec::new();
        for folder in FOLDERS {
            let listed = objects.list(Some(&Path::from(folder))).map_ok(|meta| meta.location.to_string());
            files.extend(listed.try_collect::<Vec<_>>().await.map_err(|e| parts_error(&e))?);
        }
        // After the listing: what was named meanwhile is known here.
        // What another writer has named since would look like nobody's: then its sweep does it.
        let Some(named) = self.shelf.named().await? else { return Ok(()) };
        let named: HashSet<Ulid> = named.iter().filter_map(|path| part::ulid_of(path)).collect();
        let in_hand = self.shelf.part_store().names();
        let in_hand: HashSet<Ulid> = in_hand.iter().filter_map(|path| part::ulid_of(path)).collect();
        let mut done = Ok(());
        for path in files {
            let Some(ulid) = part::ulid_of(&path) else { continue };
            if named.contains(&ulid) || in_hand.contains(&ulid) || !is_old(ulid, now_ns) {
                continue;
            }
            if self.memtable.is_stopped() {
                break;
            }
            let deleted = delete(objects, &path).await;
            if matches!(deleted, Ok(true)) {
                tracing::info!(path, "deleted a file that no manifest version names");
                self.metrics.orphans_deleted.inc();
            }
            done = done.and(goes_on(deleted.map(drop))?);
        }
        done
    }
}

fn is_old(ulid: Ulid, now_ns: i64) -> bool {
    let now_ms = u64::try_from(now_ns / 1_000_000).unwrap_or(0);
    ulid.timestamp_ms().saturating_add(AGE_MS) < now_ms
}

/// `false`: it was not there.
async fn delete(objects: &dyn ObjectStore, path: &str) -> object_store::Result<bool> {
    match objects.delete(&Path::from(path)).await {
        Ok(()) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What became of one file, if the others may fare better: each file of a disk has troubles of its own, a bucket that
/// does not answer has them all.
fn goes_on(swept: object_store::Result<()>) -> Result<Result<(), Error>, Error> {
    match swept {
        Ok(()) => Ok(Ok(())),
        Err(error) if part::is_local(&error) => Ok(Err(parts_error(&error))),
        Err(error) => Err(parts_error(&error)),
    }
}
