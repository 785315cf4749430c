//! Whether spans may lie somewhere, without reading them (gates.md 8: the last result stands).
//!
//! Duty: answer from the time ranges of parts and row groups, and from the rows in memory. Guarantee: "no" is certain.
//! Left to others: what follows from it (`gate`).

use crate::span::TimeRange;
use crate::store::manifest::PartEntry;
use crate::store::{Rows, View};

/// Some spans, by event time and by when they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// The event time is the start of a span; otherwise its end.
    pub by_start: bool,
    /// Half-open event time, ns since 1970.
    pub from_ns: i64,
    /// First instant behind it.
    pub to_ns: i64,
    /// They came after this position of the store, µs.
    pub after_us: i64,
    /// The last position.
    pub until_us: i64,
}

impl Region {
    /// Whether `view` may hold one of them.
    pub fn may_hold(&self, view: &View) -> bool {
        if self.from_ns >= self.to_ns || self.after_us >= self.until_us {
            return false;
        }
        view.memory.iter().any(|rows| self.in_memory(rows))
            || view.parts.parts.iter().any(|part| self.in_part(&part.entry))
    }

    fn in_memory(&self, rows: &Rows) -> bool {
        if rows.ingest_us <= self.after_us || rows.ingest_us > self.until_us {
            return false;
        }
        let time = self.from_ns..self.to_ns;
        let starts = rows.batch.start_times();
        let starts = starts.values().iter();
        match self.by_start {
            true => starts.copied().any(|start| time.contains(&start)),
            false => {
                let lasts = rows.batch.durations_ns();
                starts.zip(lasts.values()).any(|(start, last)| time.contains(&start.saturating_add(*last)))
            }
        }
    }

    fn in_part(&self, part: &PartEntry) -> bool {
        let [first_us, last_us] = part.ingest;
        let time = TimeRange { min_ns: self.from_ns, max_ns: self.to_ns - 1 };
        let of = |start: [i64; 2], end: [i64; 2]| {
            let [min_ns, max_ns] = if self.by_start { start } else { end };
            time.overlaps(TimeRange { min_ns, max_ns })
        };
        let has_groups = !part.row_groups.is_empty();
        first_us <= self.until_us
            && last_us > self.after_us
            && of(part.start, part.end)
            && (!has_groups || part.row_groups.iter().any(|group| of(group.start, group.end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::tests::fixture::{Fill, NOW, Promotions, Span};

    const S: i64 = 1_000_000_000;

    #[tokio::test]
    async fn what_may_lie_in_a_region_is_seen_in_memory_and_in_parts() {
        let spans = [(0, 5), (100, 5)].map(|(at, s)| Span { start: NOW + at * S, duration: s * S, ..Span::new(1, 1) });
        let memory = Fill::new().memory(&spans).view();
        let parts = Fill::new().part(&spans, &Promotions::new(), 1).await.view();
        let came_us = NOW / 1_000 + 1;
        for view in [memory, parts] {
            let region = |by_start, from_s: i64, to_s: i64| Region {
                by_start,
                from_ns: NOW + from_s * S,
                to_ns: NOW + to_s * S,
                after_us: i64::MIN,
                until_us: came_us,
            };
            for (by_start, from_s, to_s, holds) in [
                (false, 5, 6, true),
                (false, 0, 5, false),
                (false, 6, 105, false),
                (false, 105, 105, false),
                (true, 0, 5, true),
                (true, 1, 100, false),
                (true, 100, 101, true),
            ] {
                assert_eq!(region(by_start, from_s, to_s).may_hold(&view), holds, "{by_start} {from_s} {to_s}");
            }
            let all = region(false, 0, 200);
            assert!(!Region { after_us: came_us, until_us: i64::MAX, ..all }.may_hold(&view), "they came before");
            assert!(!Region { until_us: came_us - 1, ..all }.may_hold(&view), "they came later");
        }
    }
}
