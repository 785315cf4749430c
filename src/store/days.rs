//! When the trace indexes of a day become one file (storage.md 10.1).
//!
//! Duty: the step [`Upkeep::merge_days`]. Guarantee: the compacted parts of a day are merged once it is over and nothing
//! was compacted for two hours, and again when others took their place; the file of a day without any is deleted. Left to
//! others: the file (`index`), and parts of rows that came late or stray: they are few, and their own indexes are asked.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::part::{self, Part};
use super::shelf::{hour_text, parts_error};
use super::upkeep::Upkeep;
use super::{Error, index};

/// How often it is looked for days that are due.
const EVERY: Duration = Duration::from_secs(600);
/// How long nothing was written to a day that is merged.
const QUIET_MS: i64 = 2 * 3600 * 1000;
/// Of the share of compaction: the indexes that are merged, beside the file of the same size that they make.
const SHARE: u64 = 4;

/// The compacted parts of the days.
type Days = BTreeMap<String, Vec<Arc<Part>>>;

impl Upkeep {
    /// Every ten minutes: merges the indexes of days that are due.
    pub(super) async fn merge_days(&self) -> Result<(), Error> {
        let due = self.chores.lock().expect("no holder of this lock panics").days_due;
        if Instant::now() >= due && !self.status.short_of_room.load(Ordering::Relaxed) {
            let merged = self.merge_days_at(self.shelf.clock().now_ns()).await;
            // After an error too: what is read for it may be much, and nobody waits for it.
            self.chores.lock().expect("no holder of this lock panics").days_due = Instant::now() + EVERY;
            return merged;
        }
        Ok(())
    }

    pub(super) async fn merge_days_at(&self, now_ns: i64) -> Result<(), Error> {
        let days = days_of(&self.shelf.shown().parts.parts);
        let dates: BTreeSet<&str> = days.keys().map(String::as_str).collect();
        self.indexes.keep_days(&dates).await.map_err(|e| parts_error(&e))?;
        let chores = || self.chores.lock().expect("no holder of this lock panics");
        chores().full_days.retain(|date, _| days.contains_key(date));
        for (date, parts) in &days {
            if self.memtable.is_stopped() {
                return Ok(());
            }
            let names: BTreeSet<String> = parts.iter().map(|part| part.entry.path.clone()).collect();
            let is_full = chores().full_days.get(date) == Some(&names);
            if is_full || !is_due(date, parts, now_ns) || self.indexes.has_in_day(date, parts).await {
                continue;
            }
            let limit_bytes = self.compaction.share / SHARE;
            let merged = self.indexes.merge_day(date, parts, limit_bytes).await.map_err(|e| parts_error(&e))?;
            if merged && !self.indexes.has_in_day(date, parts).await {
                // There is no room for the others, also next time.
                chores().full_days.insert(date.clone(), names);
            }
        }
        Ok(())
    }
}

fn days_of(parts: &[Arc<Part>]) -> Days {
    let mut days = Days::new();
    for part in parts.iter().filter(|part| part.entry.level > 0) {
        if let Some(date) = index::date_of(&part.entry.path) {
            days.entry(date.to_owned()).or_default().push(part.clone());
        }
    }
    days
}

/// Whether the indexes of `parts`, all compacted ones that the day `date` has, are to be merged at `now_ns`.
fn is_due(date: &str, parts: &[Arc<Part>], now_ns: i64) -> bool {
    let quiet_since_ms = now_ns / 1_000_000 - QUIET_MS;
    let hour = hour_text(quiet_since_ms.div_euclid(3_600_000));
    let is_quiet = |part: &Arc<Part>| {
        let written_ms = part::ulid_of(&part.entry.path).map(|ulid| ulid.timestamp_ms());
        written_ms.is_some_and(|ms| i64::try_from(ms).is_ok_and(|ms| ms <= quiet_since_ms))
    };
    parts.len() > 1 && hour.split('T').next().is_some_and(|today| date < today) && parts.iter().all(is_quiet)
}

#[cfg(test)]
mod tests {
    use ulid::Ulid;

    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    /// 2023-11-15T00:00:00Z, when the day of these parts is over.
    const OVER_MS: u64 = 1_700_006_400_000;

    fn part(level: u8, written_ms: u64) -> Arc<Part> {
        let ulid = Ulid::from_parts(written_ms, 7);
        let entry = serde_json::from_value(serde_json::json!({
            "path": format!("spans/date=2023-11-14/hour=22/{ulid}.parquet"), "level": level, "hour": "2023-11-14T22",
            "rows": 1, "bytes": 1, "footer_bytes": 1, "start": [0, 0], "end": [0, 0], "ingest": [0, 0],
            "row_groups": [], "services": [], "lsn": [1, 1], "schema": 1, "file_xxh3": "0", "sum_xxh3": "0",
        }));
        Arc::new(Part::new(entry.unwrap()))
    }

    fn due(parts: &[Arc<Part>], at_ms: u64) -> bool {
        is_due("2023-11-14", parts, i64::try_from(at_ms).unwrap() * 1_000_000)
    }

    #[test]
    fn a_day_is_due_two_hours_after_it_is_over_and_was_compacted() {
        let compacted = [part(1, OVER_MS - 20 * HOUR_MS), part(1, OVER_MS + HOUR_MS)];
        assert!(!due(&compacted, OVER_MS + 2 * HOUR_MS));
        assert!(!due(&compacted, OVER_MS + 3 * HOUR_MS - 1));
        assert!(due(&compacted, OVER_MS + 3 * HOUR_MS));
        let early = [part(1, OVER_MS - 20 * HOUR_MS), part(1, OVER_MS - 19 * HOUR_MS)];
        assert!(!due(&early, OVER_MS + 2 * HOUR_MS - 1), "spans of the day may still come");
        assert!(due(&early, OVER_MS + 2 * HOUR_MS));
    }

    #[test]
    fn late_and_stray_parts_do_not_count_and_one_alone_is_not_due() {
        let late = part(0, OVER_MS + 50 * HOUR_MS);
        let days = days_of(&[part(1, OVER_MS), late.clone(), part(1, OVER_MS + 1)]);
        assert_eq!(days.keys().collect::<Vec<_>>(), ["2023-11-14"]);
        assert_eq!(days["2023-11-14"].len(), 2);
        assert!(due(&days["2023-11-14"], OVER_MS + 3 * HOUR_MS));
        let alone = days_of(&[part(1, OVER_MS), late]);
        assert!(!due(&alone["2023-11-14"], OVER_MS + 100 * HOUR_MS));
    }
}
