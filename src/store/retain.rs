//! Retention: which parts leave, and when (storage.md 12.1, the row `delete_oldest` of 12.2).
//!
//! Duty: [`expired`] decides by age and by size, [`Watch`] whether the clock may be believed; both are pure;
//! `Upkeep::retain` commits what they say. Guarantee: whole parts, oldest hours first, an hour as a whole; nothing of
//! the current hour or of the next day leaves for want of room; after a jump of the clock nothing leaves until two readings
//! 10 minutes apart agree. A part's hour is that of its folder, so time outliers and stray rows leave with the hour in
//! which they were filed. Left to others: deleting the files (`sweep.rs`).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::manifest::{DELETE_GRACE_NS, Delta, PartEntry, Reason, Removal};
use super::room::{self, Room};
use super::upkeep::Upkeep;
use super::{Error, ledger};

const HOUR_NS: i64 = 3600 * 1_000_000_000;
/// Rows of an hour beyond it were not sent so far ahead: the clock was, and is no more. No time makes them old soon.
const AHEAD_NS: i64 = 25 * HOUR_NS;
/// A step of the clock against the monotonic one that is no drift any more.
const JUMP: Duration = Duration::from_secs(3600);
/// How far apart two readings must be that confirm a clock.
const CONFIRM: Duration = Duration::from_secs(600);

/// What retention keeps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Parts whose hour ended longer ago leave; `None` = none.
    pub max_age: Option<Duration>,
    /// Bytes of parts kept at most; `None` = any.
    pub max_bytes: Option<u64>,
}

/// The places in `parts` of those that leave at `now_ns`, ascending.
pub fn expired<'a>(parts: impl IntoIterator<Item = &'a PartEntry>, limits: Limits, now_ns: i64) -> Vec<usize> {
    let mut hours: BTreeMap<i64, Hour> = BTreeMap::new();
    for (at, part) in parts.into_iter().enumerate() {
        // A folder that is no hour was not named by us; its rows are never judged old.
        let Some(start_ns) = hour_start_ns(&part.hour) else { continue };
        let hour = hours.entry(start_ns).or_default();
        hour.parts.push(at);
        hour.bytes += part.bytes;
    }
    let mut total: u64 = hours.values().map(|hour| hour.bytes).sum();
    let horizon = limits.max_age.map(|age| now_ns.saturating_sub(nanos(age)));
    let mut leaving = Vec::new();
    for (start_ns, hour) in hours {
        let end_ns = start_ns.saturating_add(HOUR_NS);
        let old = horizon.is_some_and(|horizon| end_ns <= horizon);
        let may_leave = end_ns <= now_ns || start_ns > now_ns.saturating_add(AHEAD_NS);
        let over = limits.max_bytes.is_some_and(|max| total > max) && may_leave;
        if !old && !over {
            continue;
        }
        total -= hour.bytes;
        leaving.extend(hour.parts);
    }
    leaving.sort_unstable();
    leaving
}

#[derive(Default)]
struct Hour {
    parts: Vec<usize>,
    bytes: u64,
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Start of `YYYY-MM-DDTHH`, ns since 1970.
fn hour_start_ns(hour: &str) -> Option<i64> {
    let at: jiff::Timestamp = format!("{hour}:00:00Z").parse().ok()?;
    i64::try_from(at.as_nanosecond()).ok()
}

/// Whether the wall clock may decide what is old.
///
/// It compares the clock with a monotonic one. Before the first reading it knows when the manifest was last written before
/// this start: a start long after that, or before it, looks like a jump and costs 10 minutes, no more.
#[derive(Debug)]
pub struct Watch {
    /// Wall ns and monotonic time that belong together; `None` before the first reading.
    last: Option<(i64, Duration)>,
    /// The first reading after the jump.
    unconfirmed: Option<Duration>,
    written_ns: Option<i64>,
}

impl Watch {
    /// A watch over a store that was last written at `written_ns`; `None` = never.
    pub fn new(written_ns: Option<i64>) -> Self {
        Self { last: None, unconfirmed: None, written_ns }
    }

    /// Takes a reading; `mono` counts from any fixed moment of this process. `true`: the clock may be believed.
    pub fn read(&mut self, wall_ns: i64, mono: Duration) -> bool {
        let expected = match self.last {
            Some((wall, at)) => Some(wall.saturating_add(nanos(mono.saturating_sub(at)))),
            None => self.written_ns,
        };
        self.last = Some((wall_ns, mono));
        if expected.is_some_and(|expected| wall_ns.abs_diff(expected) > nanos(JUMP).unsigned_abs()) {
            tracing::warn!(wall_ns, ?expected, "the clock jumped: retention waits until it is confirmed");
            self.unconfirmed = Some(mono);
            return false;
        }
        if self.unconfirmed.is_some_and(|since| mono.saturating_sub(since) < CONFIRM) {
            return false;
        }
        self.unconfirmed = None;
        true
    }
}

impl Upkeep {
    /// Removes what is too old or too much.
    pub(super) async fn retain(&self) -> Result<(), Error> {
        let mono = self.chores.lock().expect("no holder of this lock panics").began.elapsed();
        self.retain_at(self.shelf.clock().now_ns(), mono).await
    }

    /// The same at the wall time `now_ns`, `mono` after the start.
    pub(super) async fn retain_at(&self, now_ns: i64, mono: Duration) -> Result<(), Error> {
        let is_believed = self.chores.lock().expect("no holder of this lock panics").watch.read(now_ns, mono);
        self.look_at_room();
        if !is_believed {
            return Ok(());
        }
        self.settle_open().await?;
        let config = self.shelf.config();
        let shown = self.shelf.shown();
        let parts = || shown.parts.parts.iter().map(|part| &part.entry);
        let mut limits = config.limits();
        let wanted = self.wanted_bytes().filter(|_| config.delete_oldest);
        if let Some(wanted) = wanted {
            let total: u64 = parts().map(|entry| entry.bytes).sum();
            limits.max_bytes = Some(limits.max_bytes.unwrap_or(u64::MAX).min(total.saturating_sub(wanted)));
        }
        let leaving: Vec<&PartEntry> = {
            let all: Vec<&PartEntry> = parts().collect();
            expired(parts(), limits, now_ns).into_iter().map(|at| all[at]).collect()
        };
        if leaving.is_empty() {
            return Ok(());
        }
        // A full disk cannot wait for readers outside the process.
        let grace = if wanted.is_some() { 0 } else { DELETE_GRACE_NS };
        let delete_after = now_ns.saturating_add(grace);
        let removal = |entry: &&PartEntry| Removal { path: entry.path.clone(), reason: Reason::Expired, delete_after };
        let delta = Delta { remove: leaving.iter().map(removal).collect(), ..Delta::default() };
        let leaving: Vec<PartEntry> = leaving.into_iter().cloned().collect();
        self.commit(delta, move |upkeep| upkeep.tell_expired(leaving)).await
    }

    fn tell_expired(&self, left: Vec<PartEntry>) {
        let rows: u64 = left.iter().map(|entry| entry.rows).sum();
        self.metrics.expired.inc_by(rows);
        tracing::info!(parts = left.len(), rows, "retention removed parts");
        for entry in left {
            self.ledger.record(ledger::Drop {
                stage: "store".to_owned(),
                component: "retention".to_owned(),
                reason: "expired".to_owned(),
                path: entry.path,
                spans: entry.rows,
                bytes: entry.bytes,
                ..ledger::Drop::default()
            });
        }
    }

    /// Tells health whether room is short where log, scratch files and, without an object store, parts are.
    fn look_at_room(&self) {
        let Ok(space) = self.disk.space(&self.folder.root) else { return };
        let min = room::min_free_bytes(self.shelf.config().min_free_bytes, space);
        let room = Room::of(space, min);
        let is_short = room != Room::Ample;
        if self.status.short_of_room.swap(is_short, Ordering::Relaxed) != is_short {
            self.metrics.degraded.with_label_values(&["low_space"]).set(i64::from(is_short));
            tracing::warn!(free = space.free, min, ?room, "room on the disk of the data folder changed");
        }
    }

    /// Bytes that are missing to `retention.min_free_bytes` on the disk of the parts, beyond those of removed parts that go
    /// soon; `None` = none. A part that leaves another disk, or a bucket, makes no room on this one.
    fn wanted_bytes(&self) -> Option<u64> {
        let space = self.disk.space(self.shelf.place().root()?).ok()?;
        let min = room::min_free_bytes(self.shelf.config().min_free_bytes, space);
        let missing = min.saturating_sub(space.free).saturating_sub(self.shelf.leaving_bytes());
        (missing > 0).then_some(missing)
    }
}

#[cfg(test)]
mod tests;
