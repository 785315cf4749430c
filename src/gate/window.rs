//! Event time: when a tick closes (gates.md 3, [first]).
//!
//! Duty: the frontier M and the ticks that are due by it. Guarantee: M never goes back, across restarts neither; a tick is
//! a point of the grid `k × interval` since 1970. Left to others: what counts in a window (`result`), closing (`evaluator`).

use std::time::Duration;

use super::definition::{Class, Gate, Group};
use super::result::Window;

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

/// The frontier M: with no sources yet, the clock that never goes back.
#[derive(Clone, Copy, Debug)]
pub struct Frontier {
    m_ns: i64,
}

impl Frontier {
    /// Not below `floor_ns`: what closed ticks before a restart were past.
    pub const fn new(floor_ns: i64) -> Self {
        Self { m_ns: floor_ns }
    }

    /// M at `clock_ns`.
    pub fn advance(&mut self, clock_ns: i64) -> i64 {
        self.m_ns = self.m_ns.max(clock_ns);
        self.m_ns
    }
}

/// The grid of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    /// Distance of ticks, ns.
    pub interval_ns: i64,
    /// How far M must be past a tick, ns.
    pub offset_ns: i64,
}

impl Grid {
    /// Of `group`.
    pub fn of(group: &Group) -> Self {
        Self { interval_ns: nanos(group.interval).max(1), offset_ns: nanos(group.query_offset) }
    }

    /// The last tick that is closed by M = `m_ns`.
    pub fn last_due(self, m_ns: i64) -> i64 {
        m_ns.saturating_sub(self.offset_ns).div_euclid(self.interval_ns).saturating_mul(self.interval_ns)
    }

    /// The first tick behind `t_ns`.
    pub fn next(self, t_ns: i64) -> i64 {
        (t_ns.div_euclid(self.interval_ns) + 1).saturating_mul(self.interval_ns)
    }

    /// The ticks behind `after_ns`, up to `until_ns`. Ends where time does: a tick that cannot be written is none.
    pub fn ticks(self, after_ns: i64, until_ns: i64) -> impl Iterator<Item = i64> {
        let first = after_ns.div_euclid(self.interval_ns).checked_add(1).and_then(|k| k.checked_mul(self.interval_ns));
        std::iter::successors(first, move |t_ns| t_ns.checked_add(self.interval_ns))
            .take_while(move |t_ns| *t_ns <= until_ns)
    }

    /// Ticks behind `last_ns` that M = `m_ns` closes.
    pub fn count_due(self, last_ns: i64, m_ns: i64) -> usize {
        let (first, last) = (self.next(last_ns), self.last_due(m_ns));
        if last < first {
            return 0;
        }
        usize::try_from((last - first) / self.interval_ns).unwrap_or(usize::MAX - 1) + 1
    }
}

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
pub fn due(grid: Grid, last_ns: i64, m_ns: i64, resumed_ns: i64) -> Option<Due> {
    let count = grid.count_due(last_ns, m_ns);
    if count == 0 {
        return None;
    }
    let (first, last) = (grid.next(last_ns), grid.last_due(m_ns));
    let oldest = if first <= resumed_ns {
        // Closed without effect, and not written yet, or one of the due ones. An older one was behind its time already:
        // it would be dropped. Kept, it would let an evaluator that is too slow fall further behind at each restart.
        let newest = grid.last_due(resumed_ns).min(last);
        grid.next(newest.saturating_sub(ALIVE_NS)).saturating_sub(grid.interval_ns * MAX_DUE as i64)
    } else {
        last - grid.interval_ns * (MAX_DUE as i64 - 1)
    };
    if oldest <= first {
        return Some(Due { dropped: None, next_ns: first });
    }
    Some(Due { dropped: Some((first, oldest - grid.interval_ns)), next_ns: oldest })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: Grid = Grid { interval_ns: 30, offset_ns: 20 };

    #[test]
    fn a_tick_closes_once_m_is_an_offset_past_it() {
        assert_eq!(due(GRID, 60, 109, 0), None);
        assert_eq!(due(GRID, 60, 110, 0), Some(Due { dropped: None, next_ns: 90 }));
        assert_eq!(due(GRID, 61, 110, 0), Some(Due { dropped: None, next_ns: 90 }), "after a change of the grid");
    }

    #[test]
    fn ticks_end_where_time_does() {
        let grid = Grid { interval_ns: 30, offset_ns: 0 };
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
        assert_eq!(due(GRID, 0, 140, 0), Some(Due { dropped: None, next_ns: 30 }), "30 60 90 120");
        assert_eq!(due(GRID, 0, 170, 0), Some(Due { dropped: Some((30, 30)), next_ns: 60 }));
        assert_eq!(due(GRID, 0, 320, 0), Some(Due { dropped: Some((30, 180)), next_ns: 210 }));
    }

    #[test]
    fn ticks_that_were_due_before_a_restart_are_not_dropped() {
        assert_eq!(due(GRID, 0, 320, 45), Some(Due { dropped: None, next_ns: 30 }));
        assert_eq!(due(GRID, 30, 320, 45), Some(Due { dropped: Some((60, 180)), next_ns: 210 }));
    }

    #[test]
    fn a_slow_evaluator_does_not_fall_behind_by_restarts() {
        let second = 1_000_000_000;
        let grid = Grid { interval_ns: second, offset_ns: 2 * second };
        // Alive at 100 s: 98 s was due, 93 s to 98 s may not be written yet, and four may wait.
        let found = due(grid, 10 * second, 120 * second, 100 * second);
        assert_eq!(found, Some(Due { dropped: Some((11 * second, 89 * second)), next_ns: 90 * second }));
        let found = due(grid, 90 * second, 120 * second, 100 * second);
        assert_eq!(found, Some(Due { dropped: None, next_ns: 91 * second }));
        // Behind what it was alive at, a tick is like any other.
        let found = due(grid, 100 * second, 120 * second, 100 * second);
        assert_eq!(found, Some(Due { dropped: Some((101 * second, 114 * second)), next_ns: 115 * second }));
    }

    proptest::proptest! {
        #[test]
        fn what_is_evaluated_is_due_and_what_is_dropped_lies_before_it(
            interval in 1_i64..40, offset in 0_i64..60, last in -100_i64..1000, m in 0_i64..1000, resumed in 0_i64..1000,
            second in proptest::prelude::prop_oneof![proptest::prelude::Just(1_i64), proptest::prelude::Just(1_000_000_000)],
        ) {
            let grid = Grid { interval_ns: interval * second, offset_ns: offset * second };
            let (last, m, resumed) = (last * second, m * second, resumed * second);
            let Some(found) = due(grid, last, m, resumed) else {
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
