//! Compaction of a data folder on which no daemon runs: `weavergen store compact --data` (storage.md 12.4).
//!
//! Duty: [`compact`]: own the folder, merge what there is to merge, leave. Guarantee: as the daemon's compaction; the log is
//! neither read nor changed, so rows that are not in parts yet stay there for the next start. Left to others: the jobs
//! (`compact`), deleting the files of inputs once their grace has passed, which the next daemon's sweep does.

use std::sync::Arc;

use super::catalog::Catalog;
use super::compact::{self, Means};
use super::folder::Folder;
use super::index::Indexes;
use super::ledger::Ledger;
use super::lock::Lock;
use super::memtable::Memtable;
use super::metrics::Metrics;
use super::shelf::Shelf;
use super::upkeep::Upkeep;
use super::{Config, Error, Status};
use crate::budget::Budget;
use crate::clock::Clock;
use crate::disk::Disk;

/// What a compaction did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// Parts that came.
    pub added: u64,
    /// Parts that left.
    pub removed: u64,
    /// Parts there are now.
    pub parts: u64,
    /// Version of the manifest that names them.
    pub manifest_version: u64,
}

/// Compacts the parts of `hour` (`YYYY-MM-DDTHH`), of all hours without one, however new their rows are.
///
/// Errors: [`Error::Locked`] while a process owns the folder, [`Error::Folder`] if it is none, [`Error::DiskFull`] without
/// room for the outputs, [`Error::Io`] and [`Error::Parts`] if it cannot be read or written; the parts stay as they were.
pub async fn compact(
    config: &Config,
    disk: &Disk,
    clock: &Clock,
    budget: &Budget,
    hour: Option<&str>,
) -> Result<Compacted, Error> {
    // Only an existing folder: a start would make one.
    Folder::read(disk, &config.path)?;
    let _lock = Lock::take(disk, &config.path)?;
    let folder = Folder::open(disk, &config.path, clock)?;
    let internal = |what: &str, e: &dyn std::fmt::Display| Error::Internal { detail: format!("{what}: {e}") };
    let metrics = Metrics::register(&prometheus::Registry::new()).map_err(|e| internal("metrics", &e))?;
    let shelf = Shelf::open(&folder, disk, clock, config).await?;
    shelf.claim().await?;
    let before = shelf.shown();
    let memtable = Memtable::new(before.version, before.parts.clone(), before.flushed + 1, metrics.clone());
    let share = usize::try_from(budget.lookup_bytes()).unwrap_or(usize::MAX);
    let ledger = Ledger::open(folder.ledger(), disk.clone(), clock.clone())
        .map_err(|e| Error::io("open", &folder.ledger(), &e))?;
    let state = compact::State::default();
    let mut answered = state.ask(hour)?;
    let upkeep = Upkeep {
        indexes: Indexes::new(shelf.objects().clone(), share, metrics.trace_index_bytes.clone()),
        catalog: Catalog::open(&shelf, share).await,
        compaction: Arc::new(Means { disk: disk.clone(), tmp: folder.tmp(), share: budget.compaction_bytes(), state }),
        shelf,
        memtable: Arc::new(memtable),
        metrics,
        status: Arc::new(Status::default()),
        ledger,
        disk: disk.clone(),
        folder,
        chores: Arc::default(),
    };
    compact::step(&upkeep).await?;
    // Before the ledger ends with what was dropped as repeated.
    let ledger = upkeep.ledger.clone();
    tokio::task::spawn_blocking(move || ledger.flush()).await.map_err(|e| internal("the drop ledger", &e))?;
    answered.try_recv().map_err(|e| internal("the compaction gave no answer", &e))??;
    let after = upkeep.shelf.shown();
    let paths = |of: &super::shelf::Shown| -> std::collections::HashSet<String> {
        of.parts.parts.iter().map(|part| part.entry.path.clone()).collect()
    };
    let (was, is) = (paths(&before), paths(&after));
    Ok(Compacted {
        added: is.difference(&was).count() as u64,
        removed: was.difference(&is).count() as u64,
        parts: is.len() as u64,
        manifest_version: after.version,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{offline, samples};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_folder_without_a_daemon_is_compacted_and_the_log_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(samples::NOW_NS, 1);
        let config = Config { min_free_bytes: Some(0), ..Config::at(dir.path()) };
        let budget = Budget::try_new(1 << 30).unwrap();
        let compact = async |hour: Option<&str>| compact(&config, &Disk::Os, &clock, &budget, hour).await;
        assert!(matches!(compact(None).await, Err(Error::Folder { .. })), "no folder yet");
        assert!(!dir.path().join("LOCK").exists());
        let store = samples::store_at(dir.path(), clock.clone()).await;
        for seed in 1..=3 {
            store.append(samples::delivery(seed, 4)).await.unwrap();
            store.freeze_and_flush().await.unwrap();
        }
        assert!(matches!(compact(None).await, Err(Error::Locked { .. })), "its daemon runs");
        store.append(samples::delivery(4, 4)).await.unwrap();
        // Killed: the last request is in the log alone.
        let killed = tempfile::tempdir().unwrap();
        let status = std::process::Command::new("cp").arg("-r").arg(dir.path()).arg(killed.path()).status().unwrap();
        assert!(status.success());
        drop(store);
        let folder = killed.path().join(dir.path().file_name().unwrap());
        let config = Config { path: folder.clone(), ..config.clone() };
        let log = || -> Vec<(std::path::PathBuf, Vec<u8>)> {
            let mut paths = Disk::Os.list(&folder.join("wal")).unwrap();
            paths.sort();
            paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
        };
        let logged = log();
        let hour = super::super::shelf::hour_text(samples::NOW_NS / 3_600_000_000_000);
        let other = super::compact(&config, &Disk::Os, &clock, &budget, Some("2001-01-01T00")).await.unwrap();
        assert_eq!((other.added, other.removed, other.parts), (0, 0, 3));
        let done = super::compact(&config, &Disk::Os, &clock, &budget, Some(&hour)).await.unwrap();
        assert_eq!((done.added, done.removed, done.parts), (1, 3, 1));
        assert_eq!(log(), logged);
        let rows = |view: &crate::store::View| -> u64 {
            let in_memory: usize = view.memory.iter().map(|rows| rows.batch.rows()).sum();
            view.parts.parts.iter().map(|part| part.entry.rows).sum::<u64>() + in_memory as u64
        };
        assert_eq!(rows(&offline::open(&config, Disk::Os, clock.clone()).await.unwrap().view()), 16);
        let store = samples::store_at(&folder, clock).await;
        assert_eq!(rows(&store.reader().view()), 16);
    }
}
