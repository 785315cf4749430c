//! Ticks that wait for the evaluator, told from those that waited for M (gates.md 8, due ticks per group).
//!
//! Duty: which ticks of a group are not too many yet. Guarantee: where M is the clock, those are the newest [`MAX_DUE`]; ticks
//! that M passes all at once, because a slow source went on or fell silent, are no overrun as long as they are closed within
//! as much time as M jumped; ticks of a time without a daemon are. Left to others: dropping (`window::due_from`).

use std::collections::VecDeque;

use crate::gate::window::{Grid, MAX_DUE};

/// How M came past the ticks of one group that are not closed yet.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    /// When M was looked at last, and where it was.
    looked_ns: i64,
    looked_m_ns: i64,
    steps: VecDeque<Step>,
}

impl Default for Backlog {
    fn default() -> Self {
        Self { looked_ns: i64::MIN, looked_m_ns: i64::MIN, steps: VecDeque::new() }
    }
}

/// Between two looks M moved past ticks.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// The last of them.
    tick_ns: i64,
    /// The clock at the two looks.
    from_ns: i64,
    to_ns: i64,
    /// M at the second.
    m_ns: i64,
    /// How much farther it came between them than the clock.
    jump_ns: i64,
}

impl Backlog {
    /// The first tick behind `last_ns` that has not waited for as long as [`MAX_DUE`] others take by the clock; [`i64::MAX`] =
    /// there is none.
    pub(super) fn kept_ns(&mut self, grid: &Grid, last_ns: i64, m_ns: i64, now_ns: i64) -> i64 {
        while self.steps.front().is_some_and(|step| step.tick_ns <= last_ns) {
            self.steps.pop_front();
        }
        let tick_ns = grid.last_due(m_ns);
        if tick_ns > self.steps.back().map_or(last_ns, |step| step.tick_ns) {
            let jump_ns = match self.looked_ns {
                i64::MIN => 0,
                from_ns => m_ns.saturating_sub(self.looked_m_ns).saturating_sub(now_ns.saturating_sub(from_ns)),
            };
            let (from_ns, jump_ns) = (self.looked_ns, jump_ns.max(0));
            self.steps.push_back(Step { tick_ns, from_ns, to_ns: now_ns, m_ns, jump_ns });
        }
        (self.looked_ns, self.looked_m_ns) = (now_ns, m_ns);
        let since_ns = grid.back(grid.last_due(now_ns), MAX_DUE - 1).saturating_add(grid.offset_ns);
        let mut after_ns = last_ns;
        for step in &self.steps {
            let since_ns = since_ns.min(now_ns.saturating_sub(step.jump_ns));
            let first_ns = match step.from_ns >= since_ns {
                true => grid.next(after_ns),
                // M may have moved with the clock since the look before.
                false => {
                    let m_ns = step.m_ns.saturating_sub(step.to_ns.saturating_sub(since_ns));
                    grid.next(after_ns.max(m_ns.saturating_sub(grid.offset_ns).saturating_sub(1)))
                }
            };
            if first_ns <= step.tick_ns {
                return first_ns;
            }
            after_ns = step.tick_ns;
        }
        i64::MAX
    }
}

/// `kept_ns`, but no tick between `resumed_ns` and `started_ns`, when no daemon ran: nobody could close those.
pub(super) fn behind_downtime(grid: &Grid, kept_ns: i64, (resumed_ns, started_ns): (i64, i64)) -> i64 {
    match resumed_ns > 0 && kept_ns > resumed_ns && kept_ns <= started_ns {
        true => grid.next(started_ns),
        false => kept_ns,
    }
}
