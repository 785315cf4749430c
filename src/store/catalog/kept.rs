//! The files of the catalogue that are kept.
//!
//! Duty: which are there, which of them counts, whether one is good, which is written and which go. Guarantee: a file
//! counts only if it can be read and is of the history that the manifest has; one is written only while no row is missing.
//! Left to others: the format (`file`).

use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};

use super::counts::Counts;
use super::{Catalog, file};
use crate::store::shelf::{Shown, parts_error};
use crate::store::{Error, manifest};

impl Catalog {
    /// Removes the files of versions that the manifest does not have: it will have others of these numbers.
    pub async fn drop_foreign(&self) {
        let objects = self.inner.shelf.objects().as_ref();
        let version = self.inner.shelf.shown().version;
        let result = async {
            for foreign in versions(objects).await?.into_iter().filter(|of| *of > version) {
                tracing::warn!(version = foreign, "removed a file of the catalogue that is newer than the manifest");
                delete(objects, foreign).await?;
            }
            Ok::<_, object_store::Error>(())
        };
        if let Err(error) = result.await {
            tracing::warn!(%error, "cannot remove files of the catalogue that are newer than the manifest");
        }
    }

    /// What an upkeep does about it: days that have left, and the file if it is due.
    pub async fn keep(&self) -> Result<(), Error> {
        self.retain();
        let is_due = {
            let state = self.state();
            let version = self.inner.shelf.shown().version;
            state.due || version >= state.written.saturating_add(manifest::CHECKPOINT_EVERY)
        };
        if is_due { self.write().await } else { Ok(()) }
    }

    /// Writes the file of the manifest's version, durably, then deletes those that it makes needless; nothing while rows
    /// are missing, or if there is one.
    pub async fn write(&self) -> Result<(), Error> {
        let objects = self.inner.shelf.objects().as_ref();
        let (version, position_us, counts) = {
            let state = self.state();
            let version = self.inner.shelf.shown().version;
            if state.gap.is_some() || state.written == version {
                return Ok(());
            }
            (version, state.counted.position_us, state.counted.counts.clone())
        };
        let internal = |e: &dyn std::fmt::Display| Error::Internal { detail: format!("the catalogue's file: {e}") };
        let encoded = tokio::task::spawn_blocking(move || file::encode(version, position_us, &counts)).await;
        let bytes = encoded.map_err(|e| internal(&e))?.map_err(|e| internal(&e))?;
        let is_damaged = self.state().damaged.contains(&version);
        if is_damaged {
            delete(objects, version).await.map_err(|e| parts_error(&e))?;
            self.state().damaged.retain(|of| *of != version);
        }
        // Of one version any file will do: no object is ever replaced.
        match objects.put_opts(&file::path_of(version), bytes.into(), PutMode::Create.into()).await {
            Ok(_) | Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => return Err(parts_error(&error)),
        }
        let damaged = {
            let mut state = self.state();
            (state.written, state.due) = (version, false);
            std::mem::take(&mut state.damaged)
        };
        let mut good = versions(objects).await.map_err(|e| parts_error(&e))?;
        good.retain(|of| !damaged.contains(of));
        good.truncate(good.len().saturating_sub(manifest::CHECKPOINTS_KEPT));
        for needless in damaged.into_iter().chain(good) {
            delete(objects, needless).await.map_err(|e| parts_error(&e))?;
        }
        Ok(())
    }
}

/// Version, counts and position of the newest file that counts for the manifest `shown`; and those that are no use.
pub async fn newest(objects: &dyn ObjectStore, shown: &Shown, share: usize) -> (Option<(u64, Counts, i64)>, Vec<u64>) {
    let mut damaged = Vec::new();
    let found = match versions(objects).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "the files of the catalogue cannot be listed; its rows are counted again");
            return (None, damaged);
        }
    };
    for version in found.into_iter().rev().filter(|version| *version <= shown.version) {
        match read(objects, version, share).await {
            // What the manifest does not have, another history had.
            Ok((_, position_us)) if position_us > shown.max_ingest_us => damaged.push(version),
            Ok((counts, position_us)) => return (Some((version, counts, position_us)), damaged),
            Err(Unread::Fetch(error)) => {
                // It may be good: it stays, and costs a count of what came since an older one.
                tracing::warn!(path = %file::path_of(version), %error, "a file of the catalogue cannot be fetched");
            }
            Err(Unread::Damaged(problem)) => {
                tracing::warn!(path = %file::path_of(version), problem, "a file of the catalogue is damaged");
                damaged.push(version);
            }
        }
    }
    (None, damaged)
}

/// Why a file gives no counts.
#[derive(Debug, thiserror::Error)]
enum Unread {
    #[error("{0}")]
    Fetch(object_store::Error),
    #[error("{0}")]
    Damaged(String),
}

async fn read(objects: &dyn ObjectStore, version: u64, share: usize) -> Result<(Counts, i64), Unread> {
    let got = async { objects.get(&file::path_of(version)).await?.bytes().await }.await;
    let bytes = got.map_err(Unread::Fetch)?;
    let decoded = tokio::task::spawn_blocking(move || file::decode(version, &bytes, share)).await;
    decoded.map_err(|e| Unread::Damaged(format!("reading it failed: {e}")))?.map_err(Unread::Damaged)
}

/// Versions of the files that are there, ascending.
pub async fn versions(objects: &dyn ObjectStore) -> object_store::Result<Vec<u64>> {
    let listed: Vec<_> = objects.list(Some(&Path::from(file::FOLDER))).try_collect().await?;
    let mut versions: Vec<u64> =
        listed.iter().filter_map(|meta| file::version_of(meta.location.filename().unwrap_or_default())).collect();
    versions.sort_unstable();
    Ok(versions)
}

/// Deletes the file of `version`; one that is not there is fine.
pub async fn delete(objects: &dyn ObjectStore, version: u64) -> object_store::Result<()> {
    match objects.delete(&file::path_of(version)).await {
        Err(object_store::Error::NotFound { .. }) => Ok(()),
        deleted => deleted,
    }
}

/// Whether a file of the folder with this name is one of the catalogue.
pub fn is_name(name: &str) -> bool {
    file::version_of(name).is_some()
}

/// What is wrong with the file `path` of the folder, as half a sentence; `None` = nothing. Errors: it is none of ours.
pub async fn check(objects: &dyn ObjectStore, path: &str) -> Result<Option<String>, NotOurs> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let version = file::version_of(name).ok_or(NotOurs)?;
    match objects.head(&file::path_of(version)).await {
        // A daemon has deleted it since the listing.
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        _ => Ok(read(objects, version, usize::MAX).await.err().map(|why| why.to_string())),
    }
}

/// A file of the folder that is none of the catalogue's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotOurs;

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;
    use crate::store::place::sick::Sick;

    #[tokio::test]
    async fn what_cannot_be_fetched_is_not_taken_for_damaged() {
        let sick = Sick::new(1, 0);
        sick.die();
        assert!(matches!(read(&sick, 3, 1 << 20).await, Err(Unread::Fetch(_))));
        let objects = InMemory::new();
        objects.put(&file::path_of(3), "no file of the catalogue".into()).await.unwrap();
        assert!(matches!(read(&objects, 3, 1 << 20).await, Err(Unread::Damaged(_))));
    }
}
