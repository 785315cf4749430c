//! The span store: log, memory, Parquet parts, manifest.
//!
//! Duty: take deliveries durably ([`Store`]), keep them as parts, and show one consistent [`View`] of all rows.
//! Guarantee: an append that returned `Ok` survives kill -9 and power loss (with `durability: fsync`) and is in every
//! view taken afterwards, exactly once. Left to others: SQL (`query`), admission (`receive`), semantic-convention
//! columns (handed in as a function).
//!
//! The way of a delivery: [`Store::append`] → `wal` (durable) → `memtable` (visible) → `flush` (parts). `recover` walks
//! it again after a start, `offline` without one.

pub mod alone;
mod append;
pub mod catalog;
mod compact;
pub mod config;
mod days;
mod decode;
mod error;
pub mod files;
mod flush;
mod folder;
mod follow;
mod held;
pub mod index;
pub mod ledger;
pub mod local;
mod lock;
pub mod manifest;
mod memtable;
mod metrics;
pub mod offline;
mod open;
mod outlier;
mod panics;
pub mod part;
pub mod place;
mod recover;
pub mod repair;
mod rescue;
mod retain;
mod room;
mod run;
#[cfg(test)]
pub(crate) mod samples;
mod scrub;
mod settle;
mod shelf;
mod snapshot;
mod split;
mod suspect;
mod sweep;
#[cfg(test)]
mod tests;
mod trace_filter;
mod upkeep;
pub mod verify;
mod wal;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

pub use catalog::Catalog;
pub use config::Config;
pub use error::Error;
pub use files::Files;
pub use follow::{Followed, Follower, News};
pub use ledger::Ledger;
pub use run::Run;
pub use shelf::is_hour;
pub use snapshot::{Gen, PartSet, Reader, Rows, Skipped, Snapshot, View};
use tokio::sync::watch;
pub use trace_filter::TraceFilter;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::span::{Check, Delivery};
use append::Account;
use flush::Flushed;
use memtable::Memtable;
use metrics::Metrics;
use wal::door::Door;
use wal::next::Next;
use wal::thread::{Limits, Progress};

/// A log sequence number: one per record, +1 each, never reused.
pub type Lsn = u64;

/// Store positions that are further ahead of the clock are told by health.
const CLOCK_AHEAD: Duration = Duration::from_secs(3600);

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The record; 0 for an empty delivery or a duplicate.
    pub lsn: Lsn,
    /// The same request was already stored (storage.md 11.3a); nothing was added.
    pub duplicate: bool,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Replay has ended and appends can be made durable.
    pub ready: bool,
    /// What is wrong or pending, one sentence each; empty when all is well.
    pub reasons: Vec<String>,
}

/// The span store; cheap to clone. Its threads end, and the folder's lock is released, with [`Store::close`] or when the
/// last clone is dropped.
#[derive(Clone, Debug)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    limits: Limits,
    door: Arc<Door>,
    memtable: Arc<Memtable>,
    next: Option<Next>,
    progress: Arc<Progress>,
    flushed: watch::Receiver<Flushed>,
    compaction: Arc<compact::Means>,
    status: Arc<Status>,
    metrics: Metrics,
    check: Check,
    reader: Reader,
    ledger: Ledger,
    #[cfg(test)]
    upkeep: upkeep::Upkeep,
    threads: Mutex<Vec<JoinHandle<()>>>,
    _lock: lock::Lock,
}

/// What the start found and how far it is.
#[derive(Debug, Default)]
struct Status {
    /// Replay has ended.
    complete: Arc<AtomicBool>,
    /// Damage that was found.
    damage: Mutex<Vec<String>>,
    /// Less than `retention.min_free_bytes` is free: only what frees space should write (storage.md 12.2).
    short_of_room: AtomicBool,
    /// Replay has ended early: a defect of ours.
    replay_failed: std::sync::OnceLock<Error>,
    /// Steps of the upkeep whose last try panicked, with what they said.
    panicked: Mutex<BTreeMap<&'static str, String>>,
    /// Files that the last sweep could not delete, by kind, with the first error.
    unswept: Mutex<BTreeMap<&'static str, String>>,
    /// Parts that could not be read when they were to be judged, by path.
    unread: Mutex<BTreeMap<String, suspect::Unread>>,
}

impl Store {
    /// Opens the data folder `config.path`, made if absent. Returns as soon as appends can be taken; replay of the log
    /// goes on behind ([`Store::is_ready`]). Must be called within a tokio runtime.
    ///
    /// Errors: [`Error::Locked`] if another process owns the folder, [`Error::Folder`] if it is of a newer release,
    /// [`Error::Corrupt`] with `wal.on_corruption: refuse`, [`Error::Io`] and [`Error::Parts`] if it cannot be read.
    pub async fn open(
        config: Config,
        disk: Disk,
        clock: Clock,
        budget: &Budget,
        registry: &prometheus::Registry,
    ) -> Result<Self, Error> {
        Self::open_checked(config, disk, clock, budget, registry, Check::none()).await
    }

    /// As [`Store::open`]; spans pass `check` before they are stored, and again when the log is replayed, which holds
    /// them without its columns.
    pub async fn open_checked(
        config: Config,
        disk: Disk,
        clock: Clock,
        budget: &Budget,
        registry: &prometheus::Registry,
        check: Check,
    ) -> Result<Self, Error> {
        open::open(config, disk, clock, budget, registry, decode::otlp(), check).await
    }

    /// Makes a delivery durable and visible; returns then. An empty one is answered at once, one that is stored already
    /// (same request identity) is not stored again.
    ///
    /// Errors: retryable ones ([`crate::error::Class::is_retryable`]) for want of memory or space, after a failed sync,
    /// while shutting down; nothing of the delivery is visible then. When the caller goes away meanwhile the delivery may
    /// still be stored (otlp.md A5).
    pub async fn append(&self, delivery: Delivery) -> Result<Appended, Error> {
        if delivery.spans() == 0 {
            return Ok(Appended { lsn: 0, duplicate: false });
        }
        let mut account = Account::of(&delivery, &self.inner.metrics);
        let result = self.inner.append(delivery, &mut account).await;
        account.close(&result);
        result
    }

    /// Whether replay has ended.
    pub fn is_ready(&self) -> bool {
        self.inner.status.complete.load(Ordering::Acquire)
    }

    /// A handle on the rows.
    pub fn reader(&self) -> Reader {
        self.inner.reader.clone()
    }

    /// The drop ledger.
    pub fn ledger(&self) -> Ledger {
        self.inner.ledger.clone()
    }

    /// How the store is.
    pub fn health(&self) -> Health {
        let inner = &self.inner;
        let mut reasons = inner.status.damage.lock().expect("no holder of this lock panics").clone();
        match inner.status.replay_failed.get() {
            Some(error) => reasons.push(format!("{error}; the log has what is missing: restart, and report it")),
            None if !self.is_ready() => reasons.push("the log is being replayed".to_owned()),
            None => {}
        }
        if let Some(error) = inner.refusal() {
            reasons.push(error.to_string());
        } else if inner.status.short_of_room.load(Ordering::Relaxed) {
            reasons.push("less than retention.min_free_bytes is free on the disk of the data folder".to_owned());
        }
        let ahead = inner.door.ahead();
        if ahead > CLOCK_AHEAD {
            reasons.push(format!(
                "the newest store position is {} hours ahead of the clock, which must have jumped: until it is reached, \
                 spans are judged by that position, and those older than retention.max_age before it are time outliers",
                ahead.as_secs() / 3600
            ));
        }
        let door = inner.door.lock();
        reasons.extend(door.died.iter().chain(&door.off).map(ToString::to_string));
        let has_died = door.died.is_some();
        drop(door);
        if let Some(error) = &inner.flushed.borrow().error
            && !matches!(error, Error::Superseded { .. })
        {
            reasons.push(format!("flush: {error}"));
        }
        reasons.extend(inner.compaction.state.reasons());
        reasons.extend(inner.status.panicked.lock().expect("no holder of this lock panics").values().cloned());
        let unswept = inner.status.unswept.lock().expect("no holder of this lock panics");
        reasons.extend(unswept.iter().map(|(what, why)| format!("{what} cannot be deleted: {why}")));
        drop(unswept);
        let unread = inner.status.unread.lock().expect("no holder of this lock panics");
        reasons.extend(unread.iter().map(|(path, unread)| unread.told(path)));
        drop(unread);
        reasons.extend(inner.ledger.problem().map(|problem| format!("the drop ledger is not written: {problem}")));
        // storage.md 4.6: readiness turns 503 after the third failure.
        let durable = inner.progress.failed_recoveries.load(Ordering::Relaxed) < 3;
        let runs = durable && !has_died && inner.superseded().is_none();
        Health { ready: self.is_ready() && runs, reasons }
    }

    /// Writes all rows in memory to parts; returns when they are durable and in the manifest.
    ///
    /// Errors: what made the flush fail; the rows stay in memory and in the log, and it is tried again behind.
    pub async fn freeze_and_flush(&self) -> Result<(), Error> {
        let inner = &self.inner;
        let mut flushed = inner.flushed.clone();
        let failures = flushed.borrow().failures;
        let target = inner.door.freeze()?.await.map_err(|_| inner.door.why_ended())?;
        while inner.memtable.snapshot().load().frozen.iter().any(|g| g.from <= target) {
            {
                let progress = flushed.borrow_and_update();
                // After a takeover nothing is tried again.
                if let Some(error) = &progress.error
                    && (progress.failures > failures || matches!(error, Error::Superseded { .. }))
                {
                    return Err(error.clone());
                }
            }
            if inner.memtable.is_stopped() {
                return Err(Error::Draining);
            }
            if let Some(error) = inner.status.replay_failed.get() {
                // The generation that it was filling is never complete, and the others wait behind it.
                return Err(error.clone());
            }
            // A replayed generation without rows goes without a flush.
            drop(tokio::time::timeout(Duration::from_millis(50), flushed.changed()).await);
        }
        Ok(())
    }

    /// Compacts the parts of `hour` (`YYYY-MM-DDTHH`), of all hours without one, however new their rows are; returns
    /// when readers see the outputs. Rows in memory are left there.
    ///
    /// Errors: [`Error::Parts`] while another call is under way, [`Error::DiskFull`] without room for the outputs, and
    /// what made a job fail; the parts stay as they were then.
    pub async fn compact(&self, hour: Option<&str>) -> Result<(), Error> {
        let mut answered = self.inner.compaction.state.ask(hour)?;
        loop {
            match tokio::time::timeout(Duration::from_millis(100), &mut answered).await {
                Ok(answer) => return answer.map_err(|_| Error::Draining)?,
                // The thread that answers has ended.
                Err(_) if self.inner.memtable.is_stopped() => return Err(Error::Draining),
                Err(_) if self.inner.superseded().is_some() => return Err(self.inner.superseded().expect("just seen")),
                Err(_) => {}
            }
        }
    }

    /// Takes no more appends, waits for those under way, flushes, writes the shutdown mark, releases the folder. Other
    /// clones may still read.
    ///
    /// Errors: what made the flush fail; everything acknowledged is in the log then, and the next start replays it.
    pub async fn close(self) -> Result<(), Error> {
        let inner = &self.inner;
        inner.door.drain();
        // During replay the log still holds everything, but what came meanwhile where none is written.
        let has_log = inner.config.durability != config::Durability::Memory;
        let flushed = if self.is_ready() || !has_log { self.freeze_and_flush().await } else { Ok(()) };
        if let Ok(finished) = inner.door.finish() {
            // An error: the thread ended without a mark, and the next start replays.
            let _ = finished.await;
        }
        let of_join = self.inner.clone();
        let joined = tokio::task::spawn_blocking(move || of_join.stop_and_join()).await;
        joined.map_err(|e| Error::Internal { detail: format!("cannot end the store's threads: {e}") })?;
        flushed
    }
}

impl Inner {
    fn stop_and_join(&self) {
        self.door.stop();
        self.memtable.stop();
        if let Some(next) = &self.next {
            next.stop();
        }
        let threads = std::mem::take(&mut *self.threads.lock().expect("no holder of this lock panics"));
        // A panic of a thread was already reported by the panic hook.
        threads.into_iter().for_each(|thread| drop(thread.join()));
        // Followers look once more, and end.
        self.progress.news.send_modify(|_| {});
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}
