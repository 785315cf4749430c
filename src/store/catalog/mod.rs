//! The catalogue: which services, operations and attribute keys the store holds (storage.md 10.2).
//!
//! Duty: [`Catalog`], advanced by each flush, kept as a file with the manifest's checkpoints, shown as [`Tables`].
//! Guarantee: each stored row is counted once, whatever flush, replay, compaction and crashes do; a file that is missing,
//! damaged or of another history costs a recount of parts, behind, and never a start or a wrong count. Left to others:
//! SQL (`query`), when a step is due (`upkeep`).
//!
//! What makes it simple: rows enter parts in the order of their store positions, and keep them for ever. So one position
//! tells which rows of the parts are counted, through whatever parts they have wandered since. What lies between the
//! position of the newest file and that of the manifest is counted from the parts that hold it now.
//!
//! A row counts for the day of its home hour as long as a part of that day is live; so rows that left with an hour, or as
//! repeats, count until their day does.

mod counts;
mod file;
mod kept;
mod parts;
#[cfg(test)]
mod tests;
mod tally;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use object_store::{ObjectStore, PutMode};

use counts::{Counts, Entry};
pub use counts::{Day, Table};
pub use file::FOLDER;
pub use kept::{NotOurs, check, is_name};
use kept::{delete, newest, versions};
use parts::Gap;
use tally::Tally;

use super::manifest::{self, PartEntry};
use super::memtable::Memtable;
use super::part::{self, Part};
use super::shelf::{Shelf, Shown, parts_error};
use super::{Error, Rows, View};

/// Rows that are counted under one lock, about.
const STEP_ROWS: usize = 8192;
const RETRY: Duration = Duration::from_secs(5);
const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// The catalogue of a dataset; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    /// Rooted at the dataset's folder.
    objects: Arc<dyn ObjectStore>,
    /// The parts, checked.
    parts: Arc<dyn ObjectStore>,
    share: usize,
    state: Mutex<State>,
    /// Parts with rows of the gap.
    behind: tokio::sync::Mutex<VecDeque<Arc<Part>>>,
}

#[derive(Debug)]
struct State {
    counts: Counts,
    /// Counted are the rows of parts up to it, except for those in `gap`, µs.
    position_us: i64,
    gap: Option<Gap>,
    /// Version of the newest file; 0 = none.
    written: u64,
    /// Version after which days were last looked at.
    retained: Option<u64>,
    /// The next file is due, whatever its version.
    due: bool,
    /// Files that cannot be read.
    damaged: Vec<u64>,
    /// Rows are missing for good, so no file may say that all are there.
    flawed: bool,
}

/// What is known under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As [`Table`] says; `None` = all names for which there was no room.
    pub names: Option<Vec<String>>,
    /// Bit `t` = some value had the attribute type `t`; 0 but for attribute keys.
    pub types: u8,
    /// Ascending by day, not empty.
    pub days: Vec<Day>,
}

/// All tables, of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables([Vec<Line>; 5]);

impl Tables {
    fn from_counts(counts: &Counts) -> Self {
        let line = |(names, Entry { types, days }): (Option<Vec<&str>>, &Entry)| Line {
            names: names.map(|names| names.into_iter().map(str::to_owned).collect()),
            types: *types,
            days: days.clone(),
        };
        Self(Table::ALL.map(|table| counts.rows(table).map(line).collect()))
    }

    /// The rows of `table`, by name.
    pub fn of(&self, table: Table) -> &[Line] {
        &self.0[table as usize]
    }
}

/// What to do about a part that is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damaged {
    /// It is passed over; no file is written until a start counted again.
    Skip,
    /// They may still be wanted.
    Fail,
}

impl Catalog {
    /// Reads the newest file of `objects` that fits the manifest `shown`; to hold about `share` bytes. Without one all rows
    /// of `parts` are to be counted. Changes nothing.
    pub async fn open(
        objects: Arc<dyn ObjectStore>,
        parts: Arc<dyn ObjectStore>,
        shown: Arc<Shown>,
        share: usize,
    ) -> Self {
        let (newest, damaged) = newest(objects.as_ref(), &shown, share).await;
        let (written, counts, position_us) = newest.unwrap_or_else(|| (0, Counts::new(share), i64::MIN));
        let gap = Gap { above_us: position_us, to_us: shown.max_ingest_us };
        let behind: VecDeque<_> = shown.parts.parts.iter().filter(|part| gap.touches(&part.entry)).cloned().collect();
        let state = State {
            counts,
            position_us: position_us.max(shown.max_ingest_us),
            gap: (!behind.is_empty()).then_some(gap),
            written,
            retained: None,
            due: false,
            damaged,
            flawed: false,
        };
        let (state, behind) = (Mutex::new(state), tokio::sync::Mutex::new(behind));
        let this = Self { inner: Arc::new(Inner { objects, parts, share, state, behind }) };
        this.retain(|| shown);
        this
    }

    /// Removes the files of versions that the manifest does not have: it will have others of these numbers.
    pub async fn drop_foreign(&self, version: u64) {
        let objects = self.inner.objects.as_ref();
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

    /// Whether rows of parts are to be counted.
    pub fn is_behind(&self) -> bool {
        self.state().gap.is_some()
    }

    /// The rows of a generation are in parts, which the manifest names. In the order of the commits.
    pub fn flushed(&self, rows: &[Arc<Rows>]) {
        let mut tally = Tally::default();
        let mut rest = rows;
        while !rest.is_empty() {
            // All batches of a record under one lock: a position tells of whole records.
            let (mut count, mut end) = (0, 0);
            while end < rest.len() && (count < STEP_ROWS || rest[end].ingest_us == rest[end - 1].ingest_us) {
                count += rest[end].batch.rows();
                end += 1;
            }
            let (step, after) = rest.split_at(end);
            let mut state = self.state();
            add(&mut state, &mut tally, step);
            state.position_us = state.position_us.max(step.last().map_or(i64::MIN, |rows| rows.ingest_us));
            rest = after;
        }
    }

    /// Counts what is missing until nothing is, or `stop`; a failure is tried again.
    pub fn run(&self, memtable: &Memtable) {
        if !cfg!(test) {
            // Below ingest in priority; a refusal only means equal priority.
            let _ = rustix::process::setpriority_process(None, 10);
        }
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the catalogue cannot be counted again; the first statement does it");
                return;
            }
        };
        while let Err(error) = runtime.block_on(self.catch_up(|| memtable.is_stopped(), Damaged::Skip)) {
            if matches!(error, Error::Draining) {
                return;
            }
            tracing::warn!(%error, "the catalogue cannot be counted again yet; it is tried again");
            if !memtable.pause(RETRY) {
                return;
            }
        }
        tracing::info!("the catalogue has all rows of the parts");
    }

    /// Counts the parts with missing rows. Several callers share the work.
    async fn catch_up(&self, stop: impl Fn() -> bool, damaged: Damaged) -> Result<(), Error> {
        loop {
            let mut behind = self.inner.behind.lock().await;
            let Some(gap) = self.state().gap else { return Ok(()) };
            let Some(part) = behind.front().cloned() else {
                let mut state = self.state();
                (state.gap, state.due, state.retained) = (None, true, None);
                return Ok(());
            };
            if stop() {
                return Err(Error::Draining);
            }
            match parts::count(&self.inner.parts, &part.entry, gap, self.inner.share).await {
                Ok(counts) => self.state().counts.absorb(&counts),
                Err(error) if damaged == Damaged::Skip && !may_pass(&error) => {
                    tracing::warn!(part = part.entry.path, %error, "its rows are missing in the catalogue");
                    // What is saved of it comes back in another part, which nobody counts: the next start does.
                    self.state().flawed = true;
                }
                Err(error) => return Err(parts_error(&error)),
            }
            // Without a pause since it was counted: a caller that goes away leaves all or nothing of it.
            behind.pop_front();
        }
    }

    /// Lets the days go that no live part has rows of. `shown` is asked when nothing else can advance the counts.
    pub fn retain(&self, shown: impl FnOnce() -> Arc<Shown>) {
        let mut state = self.state();
        let shown = shown();
        if state.retained.replace(shown.version) == Some(shown.version) {
            return;
        }
        let days = state.counts.days();
        let live: Vec<[i32; 2]> = shown.parts.parts.iter().map(|part| days_of(&part.entry)).collect();
        let is_live = |day: i32| live.iter().any(|[first, last]| (*first..=*last).contains(&day));
        let gone: Vec<i32> = days.into_iter().filter(|day| !is_live(*day)).collect();
        if !gone.is_empty() {
            state.counts.retain(|day| gone.binary_search(&day).is_err());
        }
    }

    /// What an upkeep does about it: days that have left, and the file if it is due.
    pub async fn keep(&self, shelf: &Shelf) -> Result<(), Error> {
        self.retain(|| shelf.shown());
        let is_due = {
            let state = self.state();
            state.due || shelf.shown().version >= state.written.saturating_add(manifest::CHECKPOINT_EVERY)
        };
        if is_due { self.write(shelf).await } else { Ok(()) }
    }

    /// Writes the file of the manifest's version, durably, then deletes those that it makes needless; nothing while rows
    /// are missing, or if there is one.
    pub async fn write(&self, shelf: &Shelf) -> Result<(), Error> {
        let objects = self.inner.objects.as_ref();
        let (version, position_us, counts) = {
            let state = self.state();
            let version = shelf.shown().version;
            if state.gap.is_some() || state.flawed || state.written == version {
                return Ok(());
            }
            (version, state.position_us, state.counts.clone())
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

    /// The tables with all rows of the parts, and those in memory of `view`: each counts once, if it was flushed meanwhile
    /// too.
    ///
    /// Errors: rows are to be counted from parts that cannot be read, or are damaged.
    pub async fn tables(&self, view: &View) -> Result<Tables, Error> {
        self.catch_up(|| false, Damaged::Fail).await?;
        let (this, memory) = (self.clone(), view.memory.clone());
        let counted = tokio::task::spawn_blocking(move || {
            let state = this.state();
            let mut now = State { counts: state.counts.clone(), damaged: Vec::new(), ..*state };
            drop(state);
            add(&mut now, &mut Tally::default(), &memory);
            Tables::from_counts(&now.counts)
        });
        counted.await.map_err(|e| Error::Internal { detail: format!("counting the rows in memory: {e}") })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().expect("no holder of this lock panics")
    }
}

/// Counts those of `rows` that are not yet.
fn add(state: &mut State, tally: &mut Tally, rows: &[Arc<Rows>]) {
    let position_us = state.position_us;
    rows.iter().filter(|rows| rows.ingest_us > position_us).for_each(|rows| tally.add(&mut state.counts, rows));
}

/// Whether the same may succeed later.
fn may_pass(error: &part::Error) -> bool {
    !matches!(error, part::Error::Objects { source: object_store::Error::NotFound { .. }, .. })
        && error.class() == crate::error::Class::Unavailable
}

/// The first and the last day of which `part` may have rows.
fn days_of(part: &PartEntry) -> [i32; 2] {
    let of_ns = |ns: i64| tally::day_of_hour(ns.div_euclid(HOUR_NS));
    let hour: Option<jiff::Timestamp> = format!("{}:00:00Z", part.hour).parse().ok();
    match hour {
        Some(hour) if !part.stray => [tally::day_of_hour(hour.as_second().div_euclid(3600)); 2],
        // Its outliers belong to the day of their ingest.
        _ => {
            let ingest = part.ingest.map(|us| of_ns(us.saturating_mul(1000)));
            [of_ns(part.start[0]).min(ingest[0]), of_ns(part.start[1]).max(ingest[1])]
        }
    }
}
