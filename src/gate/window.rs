//! Event time: when a tick closes (gates.md 3).
//!
//! Duty: the ticks that are due by the frontier M. Guarantee: M never goes back, across restarts neither; a tick is a point
//! of the grid `k × interval` since 1970, or of a schedule. Left to others: where M is (`watermark`), what counts in a window
//! (`result`), closing (`evaluator`).

use std::time::Duration;

use super::definition::{Class, Gate, Group};
use super::result::Window;
use crate::clock::cron::Cron;

/// Due ticks of one group above which the oldest are dropped.
pub const MAX_DUE: usize = 4;
/// What has no effect, and the time of the last sign of life, are written after so long at the latest.
pub const ALIVE_NS: i64 = 5 * 1_000_000_000;

/// A duration as event time, in ns.
pub fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

const SECOND_NS: i64 = 1_000_000_000;
/// Windows of class decomposable that are longer than the first are counted in buckets of the second (gates.md 8).
const WIDE: [(i64, i64); 3] = [
    (8 * 86_400 * SECOND_NS, 3_600 * SECOND_NS),
    (43_200 * SECOND_NS, 600 * SECOND_NS),
    (7_200 * SECOND_NS, 60 * SECOND_NS),
];

/// Width of the buckets at the far edge of `window`; `None` = those of `gates.bucket`.
pub fn wide_ns(window: Duration) -> Option<i64> {
    WIDE.into_iter().find(|(longer_ns, _)| nanos(window) > *longer_ns).map(|(_, width_ns)| width_ns)
}

/// What `gate` looks at when the tick `t_ns` closes. The far edge of a long window lies on that of a bucket.
pub fn window_at(gate: &Gate, t_ns: i64) -> Window {
    let start_ns = t_ns.saturating_sub(nanos(gate.window));
    let start_ns = match wide_ns(gate.window).filter(|_| gate.class == Class::Decomposable) {
        Some(width_ns) => start_ns.div_euclid(width_ns).saturating_mul(width_ns),
        None => start_ns,
    };
    Window { start_ns, end_ns: t_ns }
}

/// The frontier M: the highest instant that it was told.
#[derive(Clone, Copy, Debug)]
pub struct Frontier {
    m_ns: i64,
}

impl Frontier {
    /// Not below `floor_ns`: what closed ticks before a restart were past.
    pub const fn new(floor_ns: i64) -> Self {
        Self { m_ns: floor_ns }
    }

    /// M once event time has come to `to_ns`.
    pub fn advance(&mut self, to_ns: i64) -> i64 {
        self.m_ns = self.m_ns.max(to_ns);
        self.m_ns
    }

    /// M.
    pub const fn m_ns(&self) -> i64 {
        self.m_ns
    }
}

/// The ticks of a group: those of its schedule, where its gates have one, else of its interval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Distance of ticks, ns; of no meaning beside a schedule.
    pub interval_ns: i64,
    /// How far M must be past a tick, ns.
    pub offset_ns: i64,
    /// `cron`
    pub cron: Option<Cron>,
}

impl Grid {
    /// Ticks of an interval.
    pub fn every(interval_ns: i64, offset_ns: i64) -> Self {
        Self { interval_ns: interval_ns.max(1), offset_ns, cron: None }
    }

    /// Of `group`, whose gates have one schedule or none, as those have that run.
    pub fn of(group: &Group) -> Self {
        let cron = group.gates.first().and_then(|gate| gate.cron.clone());
        Self { cron, ..Self::every(nanos(group.interval), nanos(group.query_offset)) }
    }

    /// Of `gate` in `group` as it was loaded.
    pub fn of_gate(group: &Group, gate: &Gate) -> Self {
        Self { cron: gate.cron.clone(), ..Self::every(nanos(group.interval), nanos(group.query_offset)) }
    }

    /// Those of `group` as it was loaded, each once.
    pub fn all_of(group: &Group) -> Vec<Self> {
        let mut all: Vec<Self> = Vec::new();
        for grid in group.gates.iter().map(|gate| Self::of_gate(group, gate)) {
            if !all.contains(&grid) {
                all.push(grid);
            }
        }
        all
    }

    /// The last tick that is closed by M = `m_ns`.
    pub fn last_due(&self, m_ns: i64) -> i64 {
        let until_ns = m_ns.saturating_sub(self.offset_ns);
        match &self.cron {
            None => until_ns.div_euclid(self.interval_ns).saturating_mul(self.interval_ns),
            Some(cron) => cron.previous(until_ns.saturating_add(1)),
        }
    }

    /// The first tick behind `t_ns`.
    pub fn next(&self, t_ns: i64) -> i64 {
        match &self.cron {
            None => (t_ns.div_euclid(self.interval_ns) + 1).saturating_mul(self.interval_ns),
            Some(cron) => cron.next(t_ns),
        }
    }

    /// The last tick before `t_ns`.
    pub fn previous(&self, t_ns: i64) -> i64 {
        match &self.cron {
            None => t_ns.saturating_sub(1).div_euclid(self.interval_ns).saturating_mul(self.interval_ns),
            Some(cron) => cron.previous(t_ns),
        }
    }

    /// The tick `steps` before the tick `t_ns`.
    pub(super) fn back(&self, t_ns: i64, steps: usize) -> i64 {
        (0..steps).fold(t_ns, |t_ns, _| self.previous(t_ns))
    }

    /// Whether there is a tick at `t_ns`.
    pub fn has(&self, t_ns: i64) -> bool {
        self.next(t_ns.saturating_sub(1)) == t_ns
    }

    /// Event time from the tick before the tick `t_ns` to it, ns.
    pub fn step_ns(&self, t_ns: i64) -> i64 {
        match &self.cron {
            None => self.interval_ns,
            Some(cron) => t_ns.saturating_sub(cron.previous(t_ns)),
        }
    }

    /// The ticks behind `after_ns`, up to `until_ns`. Ends where time does: a tick that cannot be written is none.
    pub fn ticks(&self, after_ns: i64, until_ns: i64) -> impl Iterator<Item = i64> {
        let by_schedule = |cron: &Cron, t_ns| Some(cron.next(t_ns)).filter(|t_ns| *t_ns < i64::MAX);
        let first = match &self.cron {
            None => after_ns.div_euclid(self.interval_ns).checked_add(1).and_then(|k| k.checked_mul(self.interval_ns)),
            Some(cron) => by_schedule(cron, after_ns),
        };
        let behind = move |t_ns: &i64| match &self.cron {
            None => t_ns.checked_add(self.interval_ns),
            Some(cron) => by_schedule(cron, *t_ns),
        };
        std::iter::successors(first, behind).take_while(move |t_ns| *t_ns <= until_ns)
    }

    /// Ticks from one of them to another; those of a schedule are counted up to [`MOST_COUNTED`].
    pub fn count(&self, first_ns: i64, last_ns: i64) -> usize {
        match &self.cron {
            _ if last_ns < first_ns => 0,
            None => {
                let steps = last_ns.saturating_sub(first_ns) / self.interval_ns;
                usize::try_from(steps).unwrap_or(usize::MAX - 1) + 1
            }
            Some(_) => self.ticks(first_ns.saturating_sub(1), last_ns).take(MOST_COUNTED).count(),
        }
    }

    /// Ticks behind `last_ns` that M = `m_ns` closes, counted as [`Grid::count`] does.
    pub fn count_due(&self, last_ns: i64, m_ns: i64) -> usize {
        self.count(self.next(last_ns), self.last_due(m_ns))
    }
}

/// Nobody closes so many ticks of a schedule at once; four years of minutes.
const MOST_COUNTED: usize = 1 << 21;

/// Which of the due ticks are evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// Too old: missed(overrun). A range of the grid, first and last; `None` = none.
    pub dropped: Option<(i64, i64)>,
    /// To evaluate next.
    pub next_ns: i64,
}

/// Ticks of `grid` behind `last_ns` at M = `m_ns`; `None` = none is due. At most [`MAX_DUE`] are kept; those up to
/// `resumed_ns`, when the daemon was last alive, as if it had not stopped.
pub fn due(grid: &Grid, last_ns: i64, m_ns: i64, resumed_ns: i64) -> Option<Due> {
    due_from(grid, last_ns, m_ns, resumed_ns, i64::MAX)
}

/// As [`due`]; nothing is dropped from the tick `kept_ns` on, however many are due.
pub fn due_from(grid: &Grid, last_ns: i64, m_ns: i64, resumed_ns: i64, kept_ns: i64) -> Option<Due> {
    let (first, last) = (grid.next(last_ns), grid.last_due(m_ns));
    if last < first {
        return None;
    }
    let oldest = if first <= resumed_ns {
        // Closed without effect, and not written yet, or one of the due ones. An older one was behind its time already:
        // it would be dropped. Kept, it would let an evaluator that is too slow fall further behind at each restart.
        let newest = grid.last_due(resumed_ns).min(last);
        grid.back(grid.next(newest.saturating_sub(ALIVE_NS)), MAX_DUE)
    } else {
        grid.back(last, MAX_DUE - 1)
    };
    let oldest = oldest.min(kept_ns);
    if oldest <= first {
        return Some(Due { dropped: None, next_ns: first });
    }
    Some(Due { dropped: Some((first, grid.previous(oldest))), next_ns: oldest })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { interval_ns: 30, offset_ns: 20, cron: None };

    #[test]
    fn a_tick_closes_once_m_is_an_offset_past_it() {
        assert_eq!(due(&GRID, 60, 109, 0), None);
        assert_eq!(due(&GRID, 60, 110, 0), Some(Due { dropped: None, next_ns: 90 }));
        assert_eq!(due(&GRID, 61, 110, 0), Some(Due { dropped: None, next_ns: 90 }), "after a change of the grid");
    }

    #[test]
    fn ticks_end_where_time_does() {
        let grid = Grid::every(30, 0);
        assert_eq!(grid.ticks(60, 150).collect::<Vec<_>>(), [90, 120, 150]);
        assert_eq!(grid.ticks(150, 60).count(), 0);
        let last = i64::MAX - i64::MAX % 30;
        assert_eq!(grid.ticks(i64::MAX - 40, i64::MAX).collect::<Vec<_>>(), [last - 30, last]);
        assert_eq!(grid.ticks(i64::MAX, i64::MAX).count(), 0);
    }

    #[test]
    fn m_never_goes_back() {
        let mut m = Frontier::new(500);
        assert_eq!([m.advance(400), m.advance(600), m.advance(550)], [500, 600, 600]);
    }

    #[test]
    fn of_more_than_four_due_ticks_the_oldest_are_dropped() {
        assert_eq!(due(&GRID, 0, 140, 0), Some(Due { dropped: None, next_ns: 30 }), "30 60 90 120");
        assert_eq!(due(&GRID, 0, 170, 0), Some(Due { dropped: Some((30, 30)), next_ns: 60 }));
        assert_eq!(due(&GRID, 0, 320, 0), Some(Due { dropped: Some((30, 180)), next_ns: 210 }));
    }

    #[test]
    fn ticks_that_are_kept_are_not_dropped_however_many_there_are() {
        assert_eq!(due_from(&GRID, 0, 320, 0, 60), Some(Due { dropped: Some((30, 30)), next_ns: 60 }));
        assert_eq!(due_from(&GRID, 0, 320, 0, 30), Some(Due { dropped: None, next_ns: 30 }));
        assert_eq!(due_from(&GRID, 0, 320, 0, 240), due(&GRID, 0, 320, 0), "the newest four are, anyway");
    }

    #[test]
    fn ticks_that_were_due_before_a_restart_are_not_dropped() {
        assert_eq!(due(&GRID, 0, 320, 45), Some(Due { dropped: None, next_ns: 30 }));
        assert_eq!(due(&GRID, 30, 320, 45), Some(Due { dropped: Some((60, 180)), next_ns: 210 }));
    }

    #[test]
    fn a_slow_evaluator_does_not_fall_behind_by_restarts() {
        let second = 1_000_000_000;
        let grid = Grid::every(second, 2 * second);
        // Alive at 100 s: 98 s was due, 93 s to 98 s may not be written yet, and four may wait.
        let found = due(&grid, 10 * second, 120 * second, 100 * second);
        assert_eq!(found, Some(Due { dropped: Some((11 * second, 89 * second)), next_ns: 90 * second }));
        let found = due(&grid, 90 * second, 120 * second, 100 * second);
        assert_eq!(found, Some(Due { dropped: None, next_ns: 91 * second }));
        // Behind what it was alive at, a tick is like any other.
        let found = due(&grid, 100 * second, 120 * second, 100 * second);
        assert_eq!(found, Some(Due { dropped: Some((101 * second, 114 * second)), next_ns: 115 * second }));
    }

    #[test]
    fn ticks_of_a_schedule_are_as_far_apart_as_it_says() {
        let hour = 3_600_000_000_000;
        // Weekdays at 9; 1970 began on a Thursday.
        let cron = Cron::parse("0 9 * * 1-5", "UTC").unwrap();
        let grid = Grid { cron: Some(cron), ..Grid::every(1, hour) };
        let (thu, fri, mon) = (9 * hour, 33 * hour, 105 * hour);
        assert_eq!([grid.next(0), grid.next(thu), grid.next(fri)], [thu, fri, mon]);
        assert_eq!([grid.previous(mon), grid.previous(fri + 1), grid.last_due(mon)], [fri, fri, fri]);
        assert_eq!(grid.last_due(mon + hour), mon);
        assert_eq!((grid.step_ns(fri), grid.step_ns(mon)), (24 * hour, 72 * hour));
        assert_eq!((grid.has(fri), grid.has(fri + 1), grid.count(thu, mon), grid.count(mon, thu)), (true, false, 3, 0));
        assert_eq!(grid.ticks(0, mon).collect::<Vec<_>>(), [thu, fri, mon]);
        assert_eq!(due(&grid, thu, fri, 0), None, "an offset is missing");
        assert_eq!(due(&grid, 0, mon + hour, 0), Some(Due { dropped: None, next_ns: thu }));
        let weeks = due(&grid, 0, mon + 14 * 24 * hour, 0).unwrap();
        assert_eq!(weeks.dropped.map(|(first, _)| first), Some(thu));
        assert_eq!(grid.count(weeks.next_ns, grid.last_due(mon + 14 * 24 * hour)), MAX_DUE);
        assert_eq!(grid.ticks(i64::MAX - hour, i64::MAX).count(), 0);
    }

    proptest::proptest! {
        #[test]
        fn what_is_evaluated_is_due_and_what_is_dropped_lies_before_it(
            interval in 1_i64..40, offset in 0_i64..60, last in -100_i64..1000, m in 0_i64..1000, resumed in 0_i64..1000,
            second in proptest::prelude::prop_oneof![proptest::prelude::Just(1_i64), proptest::prelude::Just(1_000_000_000)],
        ) {
            let grid = Grid::every(interval * second, offset * second);
            let (last, m, resumed) = (last * second, m * second, resumed * second);
            let Some(found) = due(&grid, last, m, resumed) else {
                proptest::prop_assert_eq!(grid.count_due(last, m), 0);
                return Ok(());
            };
            proptest::prop_assert!(found.next_ns > last && found.next_ns <= grid.last_due(m));
            proptest::prop_assert_eq!(found.next_ns % grid.interval_ns, 0);
            match found.dropped {
                None => proptest::prop_assert_eq!(found.next_ns, grid.next(last)),
                Some((first, end)) => {
                    proptest::prop_assert_eq!((first, end), (grid.next(last), found.next_ns - grid.interval_ns));
                }
            }
        }
    }
}
