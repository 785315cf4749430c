//! The catalogue: which services, operations and attribute keys the store holds (storage.md 10.2).
//!
//! Duty: [`Catalog`], advanced by each flush, kept as a file with the manifest's checkpoints, shown as [`Tables`].
//! Guarantee: each stored row is counted once, whatever flush, replay, compaction and crashes do; a file that is missing,
//! damaged or of another history, and a panic while rows are counted, cost a recount of parts, behind, and never a start, a
//! flush or a wrong count. Left to others: SQL (`query`), when a step is due (`upkeep`), the recount (`behind`), the files
//! (`kept`).
//!
//! What makes it simple: rows enter parts in the order of their store positions, and keep them for ever. So one position
//! tells which rows of the parts are counted, through whatever parts they have wandered since. What lies between the
//! position of the newest file and that of the manifest is counted from the parts that hold it now.
//!
//! A row counts for the day of its home hour as long as a part of that day is live; so rows that left with an hour, or as
//! repeats, count until their day does.

mod behind;
mod counts;
mod file;
mod kept;
mod parts;
#[cfg(test)]
mod tests;
mod tally;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt as _;

use behind::Left;
pub use behind::run;
use counts::{Counts, Entry};
pub use counts::{Day, Table};
pub use file::FOLDER;
use kept::newest;
pub use kept::{NotOurs, check, is_name};
use parts::Gap;
use tally::Tally;

use super::manifest::PartEntry;
use super::part::Part;
use super::shelf::{Shelf, Shown};
use super::{Error, Rows, Run, View, panics};

/// Rows that are counted under one lock, about.
const STEP_ROWS: usize = 8192;
const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// The catalogue of a dataset; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalog {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shelf: Shelf,
    share: usize,
    state: Mutex<State>,
    /// Who counts parts, one at a time.
    turn: tokio::sync::Mutex<()>,
    /// Who adds flushed rows next panics, for tests.
    #[cfg(test)]
    panics: std::sync::atomic::AtomicBool,
}

/// Rows of parts, counted.
#[derive(Clone, Debug)]
struct Counted {
    counts: Counts,
    /// They are those up to it, except for the rows in a gap, µs.
    position_us: i64,
}

#[derive(Debug)]
struct State {
    counted: Counted,
    gap: Option<Gap>,
    /// Parts with rows of the gap, not those of a snapshot.
    behind: VecDeque<Arc<Part>>,
    /// How often the count began again.
    life: u64,
    /// Version of the newest file; 0 = none.
    written: u64,
    /// Version after which days were last looked at.
    retained: Option<u64>,
    /// The next file is due, whatever its version.
    due: bool,
    /// Files that cannot be read.
    damaged: Vec<u64>,
}

impl State {
    /// Rows of `shown` above `from`'s position are to be counted from its parts.
    fn after(from: Counted, shown: &Shown) -> Self {
        let gap = Gap { above_us: from.position_us, to_us: shown.max_ingest_us };
        let behind = shown.parts.parts.iter().filter(|part| gap.touches(&part.entry));
        // By name alone: who waits for its count must not keep the file of a part that has left.
        let mut behind: Vec<_> = behind.map(|part| Arc::new(Part::new(part.entry.clone()))).collect();
        // First those that are merged soon: a part that has left before its turn has all counted again.
        behind.sort_by_key(|part| (part.entry.level, Reverse(part.entry.lsn[1])));
        Self {
            counted: Counted { position_us: from.position_us.max(shown.max_ingest_us), ..from },
            gap: (!behind.is_empty()).then_some(gap),
            behind: behind.into(),
            life: 0,
            written: 0,
            retained: None,
            due: false,
            damaged: Vec::new(),
        }
    }

    /// Forgets what was counted: all rows of `shown` are to be.
    fn begin_again(&mut self, shown: &Shown, share: usize) {
        let fresh = Self::after(Counted::none(share), shown);
        let damaged = std::mem::take(&mut self.damaged);
        *self = Self { life: self.life + 1, written: self.written, due: true, damaged, ..fresh };
    }
}

impl Counted {
    fn none(share: usize) -> Self {
        Self { counts: Counts::new(share), position_us: i64::MIN }
    }

    /// Counts those of `rows` that are not yet.
    fn add(&mut self, tally: &mut Tally, rows: &[Arc<Rows>]) {
        let position_us = self.position_us;
        let new = rows.iter().filter(|rows| rows.ingest_us > position_us);
        Run::of(new).iter().for_each(|run| tally.add(&mut self.counts, run));
        tally.finish(&mut self.counts);
    }
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

impl Catalog {
    /// Reads the newest file that fits the manifest of `shelf`; to hold about `share` bytes. Without one all rows of the
    /// parts are to be counted. Changes nothing.
    pub async fn open(shelf: &Shelf, share: usize) -> Self {
        let shown = shelf.shown();
        let (newest, damaged) = newest(shelf.objects().as_ref(), &shown, share).await;
        let (written, counted) = match newest {
            Some((written, counts, position_us)) => (written, Counted { counts, position_us }),
            None => (0, Counted::none(share)),
        };
        let state = Mutex::new(State { written, damaged, ..State::after(counted, &shown) });
        let inner = Inner {
            shelf: shelf.clone(),
            share,
            state,
            turn: tokio::sync::Mutex::default(),
            #[cfg(test)]
            panics: std::sync::atomic::AtomicBool::default(),
        };
        let this = Self { inner: Arc::new(inner) };
        this.retain();
        this
    }

    /// Whether rows of parts are to be counted.
    pub fn is_behind(&self) -> bool {
        self.state().gap.is_some()
    }

    /// The rows of a generation are in parts, which the manifest names. In the order of the commits.
    ///
    /// A panic does not reach the caller: the rows are safe, and the next use of the catalogue counts all again.
    pub fn flushed(&self, rows: &[Arc<Rows>]) {
        let add = || {
            self.add_flushed(rows);
            Ok(())
        };
        if let Err(error) = panics::caught("counting flushed rows", add) {
            tracing::error!(%error, "the rows of the catalogue are counted again, from the parts");
        }
    }

    fn add_flushed(&self, rows: &[Arc<Rows>]) {
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
            state.counted.add(&mut tally, step);
            #[cfg(test)]
            assert!(!self.inner.panics.swap(false, std::sync::atomic::Ordering::Relaxed), "planned panic");
            let position_us = &mut state.counted.position_us;
            *position_us = step.last().map_or(i64::MIN, |rows| rows.ingest_us).max(*position_us);
            rest = after;
        }
    }

    /// Whoever adds flushed rows next panics, with some of them added.
    #[cfg(test)]
    pub fn panic_once(&self) {
        self.inner.panics.store(true, std::sync::atomic::Ordering::Relaxed);
    }

    /// Lets the days go that no live part has rows of.
    pub fn retain(&self) {
        let mut state = self.state();
        // Nothing else can advance the counts now.
        let shown = self.inner.shelf.shown();
        if state.retained.replace(shown.version) == Some(shown.version) {
            return;
        }
        let counts = &mut state.counted.counts;
        let days = counts.days();
        let live: Vec<[i32; 2]> = shown.parts.parts.iter().map(|part| days_of(&part.entry)).collect();
        let is_live = |day: i32| live.iter().any(|[first, last]| (*first..=*last).contains(&day));
        let gone: Vec<i32> = days.into_iter().filter(|day| !is_live(*day)).collect();
        if !gone.is_empty() {
            counts.retain(|day| gone.binary_search(&day).is_err());
        }
    }

    /// The tables with all rows of the parts, and those in memory of `view`: each counts once, if it was flushed meanwhile
    /// too. Where the view passes over damaged parts their rows are left out, and it is told of them.
    ///
    /// Errors: rows are to be counted from parts that cannot be read, or are damaged.
    pub async fn tables(&self, view: &View) -> Result<Tables, Error> {
        loop {
            let caught_up = AssertUnwindSafe(self.catch_up(|| false)).catch_unwind().await;
            let caught_up = caught_up.map_err(|panic| panics::told("a count of the catalogue", &*panic))?;
            let Left { life, damaged } = caught_up?;
            match &view.skipped {
                Some(skipped) => damaged.iter().for_each(|(path, _)| skipped.note(path)),
                None => damaged.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))?,
            }
            let (this, memory) = (self.clone(), view.memory.clone());
            let counted = tokio::task::spawn_blocking(move || {
                let state = this.state();
                if state.life != life {
                    return None;
                }
                let mut now = state.counted.clone();
                drop(state);
                now.add(&mut Tally::default(), &memory);
                Some(Tables::from_counts(&now.counts))
            });
            let counted = counted.await;
            let counted =
                counted.map_err(|e| Error::Internal { detail: format!("counting the rows in memory: {e}") })?;
            if let Some(tables) = counted {
                return Ok(tables);
            }
        }
    }

    /// What is counted, and is to be. After a panic of a holder nobody knows: all is counted again.
    fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(|poisoned| {
            let mut state = poisoned.into_inner();
            state.begin_again(&self.inner.shelf.shown(), self.inner.share);
            self.inner.state.clear_poison();
            state
        })
    }
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
