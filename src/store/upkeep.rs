//! The thread that keeps the parts in order: compaction, retention, sweep, scrub, indexes that are made again.
//!
//! Duty: one step after another, below ingest in priority. Guarantee: a step that fails leaves the live parts as they
//! are, is logged, and comes again with back-off; after a takeover nothing is written any more. Left to others: each
//! step.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::FutureExt as _;

use super::catalog::Catalog;
use super::compact::{self, Means};
use super::folder::Folder;
use super::index::Indexes;
use super::ledger::Ledger;
use super::memtable::Memtable;
use super::metrics::Metrics;
use super::retain::Watch;
use super::scrub::Scrub;
use super::settle::Open;
use super::shelf::{Shelf, Shown};
use super::{Error, Status, panics};
use crate::disk::Disk;

/// How often it looks whether there is something to do.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What every step works with.
#[derive(Clone, Debug)]
pub struct Upkeep {
    pub(super) shelf: Shelf,
    pub(super) memtable: Arc<Memtable>,
    pub(super) metrics: Metrics,
    pub(super) indexes: Indexes,
    pub(super) catalog: Catalog,
    pub(super) compaction: Arc<Means>,
    pub(super) status: Arc<Status>,
    pub(super) ledger: Ledger,
    pub(super) disk: Disk,
    pub(super) folder: Folder,
    pub(super) chores: Arc<Mutex<Chores>>,
}

/// What the steps remember from one time to the next.
#[derive(Debug)]
pub struct Chores {
    /// When the thread began: the monotonic clock of retention.
    pub(super) began: Instant,
    /// Whether the wall clock may be believed.
    pub(super) watch: Watch,
    /// When files that nothing names are looked for.
    pub(super) orphans_due: Instant,
    /// Commits of unknown outcome.
    pub(super) open: Vec<Open>,
    /// Parts whose blocks are read without being asked for.
    pub(super) scrub: Scrub,
    /// When days whose trace indexes are to be merged are looked for.
    pub(super) days_due: Instant,
    /// Days whose index names as many parts as there is memory for, with all the parts that they have.
    pub(super) full_days: BTreeMap<String, BTreeSet<String>>,
}

impl Default for Chores {
    fn default() -> Self {
        Self::since(None)
    }
}

impl Chores {
    /// For a store that was last written at `written_ns` (ns since 1970) before this start; `None` = never.
    pub(super) fn since(written_ns: Option<i64>) -> Self {
        let now = Instant::now();
        Self {
            began: now,
            watch: Watch::new(written_ns),
            orphans_due: now,
            open: Vec::new(),
            scrub: Scrub::default(),
            days_due: now,
            full_days: BTreeMap::new(),
        }
    }
}

impl Upkeep {
    /// Runs until the memtable is stopped.
    pub fn run(self) {
        // Below ingest in priority; a refusal only means equal priority.
        if !cfg!(test) {
            // Tests wait for it, and on a loaded machine they would for minutes.
            let _ = rustix::process::setpriority_process(None, 10);
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "compaction and retention cannot start");
                return;
            }
        };
        #[cfg(test)]
        if self.shelf.config().by_hand {
            return;
        }
        let (mut pause, mut goes_on) = (PAUSE, false);
        while self.memtable.pause(if goes_on { Duration::ZERO } else { pause }) {
            let (merged, done) = runtime.block_on(self.round());
            goes_on = merged;
            pause = match done {
                Ok(()) => PAUSE,
                Err(Error::Superseded { .. } | Error::Draining) => return,
                Err(error) => {
                    tracing::warn!(%error, "upkeep of the parts failed; the parts stay as they are, it is tried again");
                    (pause * 2).min(LONGEST_PAUSE)
                }
            };
        }
    }

    /// Rounds until there is nothing to merge, or one of them fails.
    #[cfg(test)]
    pub(super) async fn step(&self) -> Result<(), Error> {
        loop {
            let (merged, done) = self.round().await;
            if !merged || done.is_err() {
                return done;
            }
        }
    }

    /// Each step once. `true`: parts were merged, and there may be more to merge: a backlog of hours keeps no other step
    /// from its turn.
    pub(super) async fn round(&self) -> (bool, Result<(), Error>) {
        let mut merged = false;
        // One that fails, for want of room perhaps, must not keep the sweep from making room.
        let done = [
            self.watched("quarantine", self.quarantine_suspects()).await,
            self.watched("retention", self.retain()).await,
            // Before the sweep: it puts into quarantine what nobody names and what may be wanted all the same.
            self.watched("the checkpoint", self.shelf.checkpoint_if_due()).await,
            self.watched("the sweep", self.sweep()).await,
            self.watched("the catalogue", self.catalog.keep()).await,
            self.watched("a plan of compaction", self.compact()).await.map(|did| merged = did).inspect_err(|error| {
                // Who waits for it has nothing to wait for.
                self.compaction.state.answer(Err(error.clone()));
            }),
            self.watched("the trace index", self.rebuild_indexes()).await,
            self.watched("the trace index of a day", self.merge_days()).await,
            self.watched("the scrub", self.scrub()).await,
        ];
        (merged, done.into_iter().collect())
    }

    /// A step that panics is told by health until it succeeds. What it had begun is as after an error: files that nobody
    /// names, or a commit that the manifest knows.
    pub(super) async fn watched<T>(
        &self,
        what: &'static str,
        step: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let done = match AssertUnwindSafe(step).catch_unwind().await {
            Ok(done) => return done.inspect(|_| self.well(what)),
            Err(panic) => panics::told(what, &*panic),
        };
        let mut panicked = self.status.panicked.lock().expect("no holder of this lock panics");
        panicked.insert(what, done.to_string());
        self.metrics.degraded.with_label_values(&["panic"]).set(1);
        Err(done)
    }

    fn well(&self, what: &'static str) {
        let mut panicked = self.status.panicked.lock().expect("no holder of this lock panics");
        if panicked.remove(what).is_some() && panicked.is_empty() {
            self.metrics.degraded.with_label_values(&["panic"]).set(0);
        }
    }

    async fn rebuild_indexes(&self) -> Result<(), Error> {
        let damaged = self.indexes.rebuild_wanted(&self.shelf.reads(), || self.memtable.is_stopped()).await;
        damaged.iter().for_each(|path| self.shelf.part_store().doubt(path));
        Ok(())
    }

    /// Merging writes before it frees: not where room is short (storage.md 12.2). `true`: a job was run.
    async fn compact(&self) -> Result<bool, Error> {
        if self.status.short_of_room.load(Ordering::Relaxed) {
            let detail = "less than retention.min_free_bytes is free: nothing is compacted".to_owned();
            self.compaction.state.answer(Err(Error::DiskFull { detail }));
            return Ok(false);
        }
        Box::pin(compact::job(self)).await
    }

    /// Shows readers the parts of `shown`, as one store of the snapshot: for a commit without a flush.
    pub(super) fn publish(&self, shown: &Shown) {
        self.memtable.replaced(shown.version, &shown.parts);
        self.metrics.measure(&shown.parts);
    }
}
