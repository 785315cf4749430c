//! Deleting files: those of removed parts, and those that nothing names (storage.md 5.3, 8).
//!
//! Duty: `Upkeep::sweep`. Guarantee: a file of a part goes only once its removal is durable, its grace has passed and no
//! snapshot holds it; a damaged part's file goes to `quarantine/` instead. A file that no version names goes only when its
//! ULID is older than an hour and nobody in this process has it in hand. After a restart the manifest tells what is still
//! to be deleted. Left to others: what is removed (`retain.rs`, `suspect.rs`, compaction).

use std::collections::HashSet;
use std::time::{Duration, Instant};

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use ulid::Ulid;

use super::manifest::Reason;
use super::open::count_quarantine;
use super::shelf::parts_error;
use super::upkeep::Upkeep;
use super::{Error, part};

/// How often files that nothing names are looked for.
const EVERY: Duration = Duration::from_secs(3600);
/// How old they must be.
const AGE_MS: u64 = 3_600_000;
/// Where they may lie.
const FOLDERS: [&str; 2] = ["spans", "index"];

impl Upkeep {
    /// Deletes what may go; every hour also what nothing names.
    pub(super) async fn sweep(&self) -> Result<(), Error> {
        self.sweep_removed(self.shelf.clock().now_ns()).await?;
        let due = self.chores.lock().expect("no holder of this lock panics").orphans_due;
        if Instant::now() >= due {
            self.sweep_orphans(self.shelf.clock().now_ns()).await?;
            self.chores.lock().expect("no holder of this lock panics").orphans_due = Instant::now() + EVERY;
        }
        Ok(())
    }

    pub(super) async fn sweep_removed(&self, now_ns: i64) -> Result<(), Error> {
        let objects = self.shelf.objects().as_ref();
        for removal in self.shelf.departed(now_ns).await {
            if self.memtable.is_stopped() {
                return Ok(());
            }
            let [file, sum, index] = part::files_of(&removal.path);
            // The part first: what names it goes last.
            match removal.reason {
                Reason::Quarantined => {
                    for path in [&file, &sum] {
                        part::put_aside(objects, path).await.map_err(|e| parts_error(&e))?;
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
        }
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
        for path in files {
            let Some(ulid) = part::ulid_of(&path) else { continue };
            if named.contains(&ulid) || in_hand.contains(&ulid) || !is_old(ulid, now_ns) {
                continue;
            }
            if self.memtable.is_stopped() {
                return Ok(());
            }
            if delete(objects, &path).await? {
                tracing::info!(path, "deleted a file that no manifest version names");
                self.metrics.orphans_deleted.inc();
            }
        }
        Ok(())
    }
}

fn is_old(ulid: Ulid, now_ns: i64) -> bool {
    let now_ms = u64::try_from(now_ns / 1_000_000).unwrap_or(0);
    ulid.timestamp_ms().saturating_add(AGE_MS) < now_ms
}

/// `false`: it was not there.
async fn delete(objects: &dyn ObjectStore, path: &str) -> Result<bool, Error> {
    match objects.delete(&Path::from(path)).await {
        Ok(()) => Ok(true),
        Err(object_store::Error::NotFound { .. }) => Ok(false),
        Err(error) => Err(parts_error(&error)),
    }
}
