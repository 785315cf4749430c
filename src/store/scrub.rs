//! Blocks that nobody reads are read as well (storage.md 12.3): decay is found while a copy may still be there.
//!
//! Duty: [`Scrub`] decides which parts are due, `Upkeep::scrub` reads them, one a step. Guarantee: while the process runs
//! every part is read once in [`PERIOD`], spread over it, and after a start first those younger than an hour, which a
//! crash may have touched; a damaged one is marked and judged like one that a reader met. Left to others: the judgement
//! (`suspect.rs`).

use std::collections::VecDeque;
use std::time::Duration;

use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use ulid::Ulid;

use super::Error;
use super::manifest::PartEntry;
use super::part::{self, PartStore};
use super::upkeep::Upkeep;

/// In which every block is read once.
pub const PERIOD: Duration = Duration::from_secs(7 * 86_400);
/// Parts younger than this are read after a start.
const YOUNG_MS: u64 = 3_600_000;
/// Nothing is read so soon after a start: senders and readers come first.
const AFTER_START: Duration = Duration::from_secs(60);
/// Bytes of one read.
const READ: u64 = 4 << 20;

/// Which parts are due.
#[derive(Debug, Default)]
pub struct Scrub {
    /// Up to when parts were taken, ns since 1970; `None` before the first step.
    until_ns: Option<i64>,
    due: VecDeque<String>,
}

impl Scrub {
    /// The next part to be read at `now_ns`, of those that are live.
    pub fn next<'a>(&mut self, parts: impl Iterator<Item = &'a PartEntry>, now_ns: i64) -> Option<String> {
        let since_ns = self.until_ns.replace(now_ns);
        for entry in parts {
            let Some(ulid) = part::ulid_of(&entry.path) else { continue };
            let is_due = match since_ns {
                None => is_young(ulid, now_ns),
                Some(since_ns) => has_turn(ulid, since_ns, now_ns),
            };
            if is_due && !self.due.contains(&entry.path) {
                self.due.push_back(entry.path.clone());
            }
        }
        self.due.pop_front()
    }
}

fn is_young(ulid: Ulid, now_ns: i64) -> bool {
    let now_ms = u64::try_from(now_ns / 1_000_000).unwrap_or(0);
    now_ms < ulid.timestamp_ms().saturating_add(YOUNG_MS)
}

/// Whether the part's turn, the same moment of every period, lies in `(since_ns, now_ns]`. The moments of parts are spread
/// by their names, so no memory of past scrubs is needed.
fn has_turn(ulid: Ulid, since_ns: i64, now_ns: i64) -> bool {
    let period = i64::try_from(PERIOD.as_nanos()).expect("a week fits");
    let turn = i64::try_from(twox_hash::XxHash3_64::oneshot(&ulid.to_bytes()) % period.unsigned_abs())
        .expect("less than a period");
    // A clock that went back has no turn in between.
    (now_ns.saturating_sub(turn)).div_euclid(period) > (since_ns.saturating_sub(turn)).div_euclid(period)
}

impl Upkeep {
    /// Reads the part that is due, if one is, once a start has other things behind it.
    pub(super) async fn scrub(&self) -> Result<(), Error> {
        let began = self.chores.lock().expect("no holder of this lock panics").began;
        match began.elapsed() < AFTER_START {
            true => Ok(()),
            false => self.scrub_one().await,
        }
    }

    pub(super) async fn scrub_one(&self) -> Result<(), Error> {
        let shown = self.shelf.shown();
        let now_ns = self.shelf.clock().now_ns();
        let entries = || shown.parts.parts.iter().map(|part| &part.entry);
        let next = self.chores.lock().expect("no holder of this lock panics").scrub.next(entries(), now_ns);
        let Some(path) = next else { return Ok(()) };
        // It may have left since it became due.
        let Some(entry) = entries().find(|entry| entry.path == path) else { return Ok(()) };
        // Another view of the objects: what a reader found good an hour ago may have decayed.
        let reads = PartStore::new(self.shelf.objects().clone());
        reads.register(entry);
        let at = Path::from(path.as_str());
        let mut from = 0;
        while from < entry.bytes {
            if self.memtable.is_stopped() {
                return Ok(());
            }
            let to = entry.bytes.min(from + READ);
            if let Err(error) = reads.get_range(&at, from..to).await {
                if reads.take_suspects().contains(&path) {
                    tracing::warn!(path, %error, "the scrub found a damaged part");
                    self.shelf.part_store().suspect(&path);
                    return Ok(());
                }
                // It proves nothing; who reads the part is told, and its turn comes again.
                tracing::warn!(path, %error, "the scrub cannot read a part");
                return Ok(());
            }
            self.metrics.scrubbed_bytes.inc_by(to - from);
            from = to;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;
    const NOW_NS: i64 = 1_700_000_000 * SECOND_NS;

    fn named(ms: i64) -> PartEntry {
        let ulid = Ulid::from_parts(ms.unsigned_abs(), 7);
        serde_json::from_value(serde_json::json!({
            "path": format!("spans/date=2023-11-14/hour=22/{ulid}.parquet"), "level": 0, "hour": "2023-11-14T22",
            "rows": 1, "bytes": 1, "footer_bytes": 1, "start": [1, 1], "end": [1, 1], "ingest": [1, 1],
            "row_groups": [], "services": [], "lsn": [1, 1], "schema": 1, "file_xxh3": "0", "sum_xxh3": "0",
        }))
        .unwrap()
    }

    #[test]
    fn every_part_has_one_turn_a_week_and_young_ones_have_another_after_a_start() {
        let parts: Vec<_> = (0..200).map(|n| named(NOW_NS / 1_000_000 - n * 60_000)).collect();
        let mut scrub = Scrub::default();
        let mut first: Vec<String> = Vec::new();
        while let Some(path) = scrub.next(parts.iter(), NOW_NS) {
            first.push(path);
        }
        let young: Vec<_> = parts[..60].iter().map(|entry| entry.path.clone()).collect();
        assert_eq!(first, young);
        let (mut turns, mut most, week) = (Vec::new(), 0, 7 * 86_400);
        for second in (0..=week).step_by(600) {
            let before = turns.len();
            while let Some(path) = scrub.next(parts.iter(), NOW_NS + second * SECOND_NS) {
                turns.push(path);
            }
            most = most.max(turns.len() - before);
        }
        assert!(most < 20, "{most} at once: they are not spread");
        turns.sort();
        let mut all: Vec<_> = parts.iter().map(|entry| entry.path.clone()).collect();
        all.sort();
        assert_eq!(turns, all);
        assert_eq!(scrub.next(parts.iter(), NOW_NS), None, "the clock went back");
    }
}
