//! When a test of gates looks at spans between ticks (gates.md 8, classes ingest and trace).
//!
//! Duty: from what arrives to the instants at which a gate may find something. Guarantee: the daemon, which looks four times a
//! second at spans that match and once a second at traces, finds the same; here it is found at the instant of arrival, or at the
//! first whole second, counted from the start of the test, at which the share of settled traces, or what it means, can have
//! changed. Left to others: looking (`gate::evaluator`), the clock (`stage`).

use std::collections::BTreeSet;

use crate::gate::window::nanos;
use crate::gate::{Gate, On};
use crate::span::SpanBatch;

/// The daemon looks at traces so often.
const EVERY_NS: i64 = 1_000_000_000;

/// What is to be looked at, and when.
#[derive(Debug)]
pub(super) struct Looks {
    start_ns: i64,
    /// Whether a gate is about spans that match.
    has_arrivals: bool,
    /// `quiet`, `give_up` and window of gates about traces, ns.
    traces: Vec<[i64; 3]>,
    /// When the last spans came, and that nobody looked at them yet.
    came_ns: i64,
    has_come: bool,
    /// Whole seconds at which traces may have settled or left a window.
    settling: BTreeSet<i64>,
}

/// What is to be looked at now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Due {
    arrivals: bool,
    traces: bool,
}

impl Due {
    /// Whether there is anything.
    pub(super) const fn is_any(self) -> bool {
        self.arrivals || self.traces
    }

    /// Whether `gate` is.
    pub(super) fn is_at(self, gate: &Gate) -> bool {
        match gate.on {
            On::Interval => false,
            On::Ingest(_) => self.arrivals,
            On::Trace => self.traces,
        }
    }
}

impl Looks {
    /// Of a test that begins at an instant, without gates.
    pub(super) const fn since(start_ns: i64) -> Self {
        let settling = BTreeSet::new();
        Self { start_ns, has_arrivals: false, traces: Vec::new(), came_ns: start_ns, has_come: false, settling }
    }

    /// From now on for these gates.
    pub(super) fn follow<'g>(&mut self, gates: impl Iterator<Item = &'g Gate>) {
        (self.has_arrivals, self.traces) = (false, Vec::new());
        for gate in gates {
            match (&gate.on, &gate.assertion) {
                (On::Ingest(_), _) => self.has_arrivals = true,
                (On::Trace, Some(of)) => self.traces.push([of.quiet, of.give_up, gate.window].map(nanos)),
                _ => {}
            }
        }
    }

    /// Spans come.
    pub(super) fn came(&mut self, now_ns: i64, batches: &[SpanBatch]) {
        (self.came_ns, self.has_come) = (now_ns, true);
        if self.traces.is_empty() {
            return;
        }
        let mut ends = BTreeSet::from([now_ns]);
        for batch in batches {
            let rows = 0..batch.rows();
            ends.extend(rows.map(|row| batch.start_times().value(row).saturating_add(batch.durations_ns().value(row))));
        }
        for [quiet_ns, give_up_ns, window_ns] in &self.traces {
            for settled_ns in ends.iter().flat_map(|end_ns| [quiet_ns, give_up_ns].map(|of| end_ns.saturating_add(*of)))
            {
                // A trace is judged behind the instant at which it settled; by arrival, also at it.
                let instants = [settled_ns.saturating_sub(1), settled_ns, settled_ns.saturating_add(*window_ns)];
                let seconds = instants.map(|at_ns| second_behind(self.start_ns, at_ns));
                self.settling.extend(seconds.into_iter().filter(|at_ns| *at_ns >= now_ns));
            }
        }
    }

    /// A tick closed, somebody closed an episode, or other gates are in force: what stands in a window may now be a breach.
    pub(super) fn again(&mut self, now_ns: i64) {
        if !self.traces.is_empty() {
            self.settling.insert(second_behind(self.start_ns, now_ns));
        }
    }

    /// When to look next if nothing comes before.
    pub(super) fn next_ns(&self) -> Option<i64> {
        self.settling.first().copied().filter(|at_ns| *at_ns <= self.until_ns())
    }

    /// What is to be looked at at `now_ns`; then it has been.
    pub(super) fn take(&mut self, now_ns: i64) -> Due {
        let later = self.settling.split_off(&now_ns.saturating_add(1));
        let reached = std::mem::replace(&mut self.settling, later);
        let arrivals = std::mem::take(&mut self.has_come) && self.has_arrivals;
        Due { arrivals, traces: !reached.is_empty() && !self.traces.is_empty() && now_ns <= self.until_ns() }
    }

    /// The daemon looks at traces as long as the last spans that came can let one settle.
    fn until_ns(&self) -> i64 {
        let longest = self.traces.iter().map(|[quiet_ns, give_up_ns, _]| quiet_ns.saturating_add(*give_up_ns)).max();
        self.came_ns.saturating_add(longest.unwrap_or(0)).saturating_add(EVERY_NS)
    }
}

/// The first whole second from `start_ns` on that lies behind `at_ns`.
const fn second_behind(start_ns: i64, at_ns: i64) -> i64 {
    let seconds = at_ns.saturating_sub(start_ns).div_euclid(EVERY_NS).saturating_add(1);
    start_ns.saturating_add(seconds.saturating_mul(EVERY_NS))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = EVERY_NS;

    fn looks() -> Looks {
        // Two seconds of silence, given up after twenty, a window of ten.
        Looks { traces: vec![[2 * S, 20 * S, 10 * S]], ..Looks::since(5) }
    }

    #[test]
    fn a_whole_second_counts_from_the_start_and_lies_behind() {
        assert_eq!([4, 5, 6].map(|at_ns| second_behind(5, at_ns)), [5, 5 + S, 5 + S]);
        assert_eq!(second_behind(5, 5 + 3 * S - 1), 5 + 3 * S);
    }

    #[test]
    fn traces_are_looked_at_when_they_may_have_settled_and_when_they_leave_the_window() {
        let mut looks = looks();
        looks.came(5 + S, &[]);
        let mut seen = Vec::new();
        while let Some(at_ns) = looks.next_ns() {
            assert_eq!(looks.take(at_ns), Due { arrivals: false, traces: true });
            seen.push((at_ns - 5) / S);
        }
        // What leaves the window later than the daemon looks for it waits for a tick.
        assert_eq!(seen, [3, 4, 14, 21, 22]);
        assert_eq!(looks.take(5 + 40 * S), Due { arrivals: false, traces: false });
    }

    #[test]
    fn what_came_is_looked_at_once() {
        let mut looks = Looks { has_arrivals: true, ..Looks::since(0) };
        looks.came(7, &[]);
        assert_eq!(looks.next_ns(), None, "it is looked at when it comes");
        assert_eq!([looks.take(7), looks.take(7)].map(Due::is_any), [true, false]);
    }
}
