//! Which parts to merge now: a pure decision (storage.md 9).
//!
//! Duty: [`plan`], from what the manifest says of the live parts and the time. Guarantee: the same parts and time give
//! the same job; once a job's outputs are live they do not bring about the same job again, so compaction ends. Left to
//! others: the merge (`merge`), hours that failed (`step`).

use std::collections::{BTreeMap, BTreeSet};

use ulid::Ulid;

use crate::store::manifest::PartEntry;
use crate::store::part::BUCKET_NS;

const HOUR_NS: i64 = 3600 * 1_000_000_000;
/// After the end of an hour; most of its rows have come by then.
const GRACE_NS: i64 = 600 * 1_000_000_000;
/// Late rows wait for company no longer than this.
const QUIET_NS: i64 = 6 * HOUR_NS;
/// L0 of a running hour from which it is worth a part of level 1.
const EARLY_BYTES: u64 = 256 << 20;
/// Parts of level 1 below this are merged by the final pass.
const SMALL_BYTES: u64 = 128 << 20;
/// Late rows of this size do not wait.
const LATE_BYTES: u64 = 64 << 20;
/// Parts of level 0 joined together stay below this.
const JOIN_BYTES: u64 = 64 << 20;
/// Fewer parts are not worth a job.
const JOIN_PARTS: usize = 8;
/// From so many parts on they are joined however their sizes differ.
const CROWD_PARTS: usize = 16;

/// What a job does with its inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Stray parts: their rows go to parts of level 0 in their home hours.
    Split,
    /// Small parts of level 0 become one, rows in arrival order.
    Join,
    /// Parts become parts of level 1, sorted: each row group, or all rows.
    Sort,
}

/// Parts to merge.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// How.
    pub kind: Kind,
    /// Hour of the outputs, `YYYY-MM-DDTHH`; of a [`Kind::Split`] that of its newest input.
    pub hour: String,
    /// The inputs: those of level 0 in arrival order, then those of level 1 by time.
    pub inputs: Vec<PartEntry>,
}

/// What a plan depends on besides parts and time.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Joined parts stay below it, for an encoded part is held in memory; at most 64 MiB count.
    pub join_bytes: u64,
    /// Hours whose jobs wait.
    pub paused: BTreeSet<String>,
    /// Whether waits of the running hour and of late rows are over: somebody asked for this hour, or (empty) for all.
    pub forced: Option<String>,
}

/// The next job, if there is one.
pub fn plan(parts: &[PartEntry], now_ns: i64, settings: &Settings) -> Option<Job> {
    if let Some(job) = stray(parts, settings) {
        return Some(job);
    }
    let hours = by_hour(parts);
    let open = || hours.iter().filter(|(hour, _)| !settings.paused.contains(**hour));
    let sorted = open().find_map(|(hour, of_hour)| of_hour.sort(hour, now_ns, settings));
    sorted.or_else(|| open().find_map(|(hour, of_hour)| of_hour.join(hour, settings)))
}

/// Hours that have ended and have parts of level 0 or a final pass to come.
pub fn backlog_hours(parts: &[PartEntry], now_ns: i64) -> usize {
    let hours = by_hour(parts);
    hours.iter().filter(|(hour, of_hour)| of_hour.is_behind(hour, now_ns)).count()
}

fn stray(parts: &[PartEntry], settings: &Settings) -> Option<Job> {
    let mut inputs = Vec::new();
    let mut bytes = 0;
    let all: Vec<&PartEntry> =
        parts.iter().filter(|part| part.stray && !settings.paused.contains(&part.hour)).collect();
    if all.len() < JOIN_PARTS {
        return None;
    }
    // Smallest first: what is left of a split must not be carried along for ever.
    let mut by_size = all;
    by_size.sort_by_key(|part| part.bytes);
    for part in by_size {
        bytes += part.bytes;
        if bytes >= settings.join_bytes.min(JOIN_BYTES) && inputs.len() >= 2 {
            break;
        }
        inputs.push(part.clone());
    }
    sort_arrival(&mut inputs);
    let hour = inputs.last()?.hour.clone();
    Some(Job { kind: Kind::Split, hour, inputs })
}

/// The parts of one hour, strays apart.
#[derive(Default)]
struct Hour<'a> {
    level0: Vec<&'a PartEntry>,
    level1: Vec<&'a PartEntry>,
}

fn by_hour(parts: &[PartEntry]) -> BTreeMap<&str, Hour<'_>> {
    let mut hours: BTreeMap<&str, Hour<'_>> = BTreeMap::new();
    for part in parts.iter().filter(|part| !part.stray) {
        let hour = hours.entry(part.hour.as_str()).or_default();
        match part.level {
            0 => hour.level0.push(part),
            _ => hour.level1.push(part),
        }
    }
    for hour in hours.values_mut() {
        hour.level0.sort_by_key(|part| (part.lsn, part.ingest, part.path.clone()));
        hour.level1.sort_by_key(|part| (part.start, part.path.clone()));
    }
    hours
}

fn sort_arrival(parts: &mut [PartEntry]) {
    parts.sort_by_key(|part| (part.lsn, part.ingest, part.path.clone()));
}

/// When the part was written, ns; its name tells it.
fn written_ns(part: &PartEntry) -> i64 {
    let name = part.path.rsplit('/').next().and_then(|name| name.strip_suffix(".parquet"));
    let ms = name.and_then(|name| Ulid::from_string(name).ok()).map_or(0, |ulid| ulid.timestamp_ms());
    i64::try_from(ms).unwrap_or(i64::MAX).saturating_mul(1_000_000)
}

/// First ns of an hour `YYYY-MM-DDTHH`.
pub fn hour_start_ns(hour: &str) -> i64 {
    let start = format!("{hour}:00:00Z").parse::<jiff::Timestamp>().ok();
    start.and_then(|at| i64::try_from(at.as_nanosecond()).ok()).unwrap_or(0)
}

/// The buckets from the first to the last of `ranges` that lie in the hour; `None` if none does.
///
/// Time outliers are filed under an hour that their start times are far from. They say nothing of overlap.
fn hull(part: &PartEntry, hour_ns: i64) -> Option<[i64; 2]> {
    let (first, last) = (hour_ns, hour_ns + HOUR_NS - 1);
    let within = part.row_groups.iter().filter(|group| group.start[1] >= first && group.start[0] <= last);
    let clamped = within.map(|group| [group.start[0].max(first), group.start[1].min(last)]);
    clamped
        .map(|[min, max]| [min.div_euclid(BUCKET_NS), max.div_euclid(BUCKET_NS)])
        .reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])])
}

fn meet(a: Option<[i64; 2]>, b: Option<[i64; 2]>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a[0] <= b[1] && b[0] <= a[1])
}

impl Hour<'_> {
    fn sort(&self, hour: &str, now_ns: i64, settings: &Settings) -> Option<Job> {
        let start = hour_start_ns(hour);
        let due = start.saturating_add(HOUR_NS + GRACE_NS);
        let forced = settings.forced.as_deref().is_some_and(|wanted| wanted.is_empty() || wanted == hour);
        let ended = now_ns >= due;
        let bytes: u64 = self.level0.iter().map(|part| part.bytes).sum();
        let level1: Vec<&PartEntry> = if !ended {
            // What is compacted before the hour's end is joined by the final pass.
            if bytes < EARLY_BYTES && !forced {
                return None;
            }
            Vec::new()
        } else if self.level1.is_empty() {
            Vec::new()
        } else {
            let punctual = self.level0.iter().any(|part| written_ns(part) < due);
            if !self.level0.is_empty() && !punctual && !forced && !self.late_is_due(now_ns, bytes) {
                return self.final_pass(start, due).and_then(|inputs| self.job(hour, false, inputs));
            }
            // The final pass takes along what is due anyway.
            let mut taken = self.final_pass(start, due).unwrap_or_default();
            self.touched(start, &mut taken);
            taken
        };
        let with_level0 = !self.level0.is_empty();
        self.job(hour, with_level0, level1)
    }

    fn job(&self, hour: &str, with_level0: bool, level1: Vec<&PartEntry>) -> Option<Job> {
        let level0 = if with_level0 { self.level0.as_slice() } else { &[] };
        let inputs: Vec<PartEntry> = level0.iter().copied().chain(level1).cloned().collect();
        (!inputs.is_empty()).then(|| Job { kind: Kind::Sort, hour: hour.to_owned(), inputs })
    }

    /// Parts of level 1 that the final pass merges; `None` if there is nothing for it to do.
    ///
    /// Only parts from before the pass count, so that it comes once however its outputs turn out.
    fn final_pass(&self, start: i64, due: i64) -> Option<Vec<&PartEntry>> {
        let hulls: Vec<_> = self.level1.iter().map(|part| hull(part, start)).collect();
        let merges = |at: usize| {
            // Each may have rows that the other repeats, and parents of its rows.
            let overlaps = || (0..hulls.len()).any(|other| other != at && meet(hulls[at], hulls[other]));
            written_ns(self.level1[at]) < due && (self.level1[at].bytes < SMALL_BYTES || overlaps())
        };
        let mut taken: Vec<&PartEntry> = (0..hulls.len()).filter(|at| merges(*at)).map(|at| self.level1[at]).collect();
        if taken.is_empty() {
            return None;
        }
        self.close(start, &mut taken);
        (taken.len() > 1).then_some(taken)
    }

    /// Adds the parts of level 1 that share a bucket with rows of level 0: none of the others can repeat such a row.
    ///
    /// Not those that share one with the parts added: row groups that were taken over whole meet those of their
    /// neighbours, and a late row would have its whole hour written again.
    fn touched<'a>(&'a self, start: i64, taken: &mut Vec<&'a PartEntry>) {
        let late = self.level0.iter().filter_map(|part| hull(part, start));
        let late = late.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]);
        for part in &self.level1 {
            if meet(hull(part, start), late) && !taken.iter().any(|other| other.path == part.path) {
                taken.push(part);
            }
        }
        taken.sort_by_key(|part| (part.start, part.path.clone()));
    }

    /// Adds parts until none that is left lies between or within those taken.
    fn close<'a>(&'a self, start: i64, taken: &mut Vec<&'a PartEntry>) {
        loop {
            let span = taken.iter().filter_map(|part| hull(part, start));
            let span = span.reduce(|a, b| [a[0].min(b[0]), a[1].max(b[1])]);
            let missing = self
                .level1
                .iter()
                .find(|part| meet(hull(part, start), span) && !taken.iter().any(|other| other.path == part.path));
            match missing {
                Some(part) => taken.push(part),
                None => break,
            }
        }
        taken.sort_by_key(|part| (part.start, part.path.clone()));
    }

    fn late_is_due(&self, now_ns: i64, bytes: u64) -> bool {
        let rows = |parts: &[&PartEntry]| parts.iter().map(|part| part.rows).sum::<u64>();
        let newest = self.level0.iter().map(|part| written_ns(part)).max().unwrap_or(0);
        rows(&self.level0).saturating_mul(20) >= rows(&self.level1)
            || bytes >= LATE_BYTES
            || now_ns.saturating_sub(newest) >= QUIET_NS
    }

    fn is_behind(&self, hour: &str, now_ns: i64) -> bool {
        let start = hour_start_ns(hour);
        let due = start.saturating_add(HOUR_NS + GRACE_NS);
        now_ns >= due && (!self.level0.is_empty() || self.final_pass(start, due).is_some())
    }

    /// A run of small parts, neighbours in arrival order. No part joins a run of smaller ones that it outweighs by far:
    /// it would be written again and again for their sake.
    fn join(&self, hour: &str, settings: &Settings) -> Option<Job> {
        let most = settings.join_bytes.min(JOIN_BYTES);
        let crowd = self.level0.len() >= CROWD_PARTS;
        for end in (JOIN_PARTS..=self.level0.len()).rev() {
            let (mut from, mut bytes) = (end, 0);
            while from > 0 {
                let part = self.level0[from - 1];
                let heavy = end - from > 0 && part.bytes > 2 * bytes;
                if bytes + part.bytes >= most || (heavy && !crowd) {
                    break;
                }
                bytes += part.bytes;
                from -= 1;
            }
            if end - from >= JOIN_PARTS {
                let inputs = self.level0[from..end].iter().copied().cloned().collect();
                return Some(Job { kind: Kind::Join, hour: hour.to_owned(), inputs });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
