//! What a gate's runs leave for the next (gates.md 8, class re-run).
//!
//! Duty: the plan of each gate's SQL, and the last result of its window, which stands while no span entered the window, left
//! it or came into it. Guarantee: a result that stands is the one that asking again would give. Left to others: asking
//! (`run`), what may lie where (`query::quiet`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};

use super::definition::{EventTime, Gate};
use super::result::{Ask, ResultRow, Selection, Window};
use super::window::window_at;
use crate::query::Prepared;
use crate::query::quiet::Region;
use crate::span::pinned::ScalarType;
use crate::store::View;

/// Rows of a result that is kept; a larger one is asked for again.
const MOST_ROWS: usize = 10_000;

/// Types in which a statement reads attributes; the same `Arc` until they change.
pub(super) type Types = Arc<BTreeMap<String, ScalarType>>;

/// By gate; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Standing(Arc<Mutex<HashMap<String, Kept>>>);

/// What is kept of one gate; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    gate: Arc<Gate>,
    /// Apart, so that a job's selection of spans does not take the place of the gate's own plan.
    prepared: [Prepared; 2],
    of_run: bool,
    last: Arc<Mutex<Option<Last>>>,
}

#[derive(Debug)]
struct Last {
    window: Window,
    cut_us: i64,
    types: Types,
    rows: Vec<ResultRow>,
}

impl Standing {
    /// What was kept of the gate that asks. Nothing of another gate that had its name.
    pub(super) fn of(&self, ask: &Ask) -> Kept {
        let mut gates = self.0.lock().expect("no holder of this lock panics");
        let fresh =
            || Kept { gate: ask.gate.clone(), prepared: Default::default(), of_run: false, last: Arc::default() };
        let kept = gates.entry(ask.gate.name.clone()).or_insert_with(fresh);
        if !Arc::ptr_eq(&kept.gate, &ask.gate) && kept.gate != ask.gate {
            *kept = fresh();
        }
        Kept { of_run: matches!(ask.spans, Selection::OfRun(_)), ..kept.clone() }
    }
}

impl Kept {
    /// Where the plan is.
    pub(super) fn prepared(&self) -> &Prepared {
        &self.prepared[usize::from(self.of_run)]
    }

    /// The last rows, if they stand for `ask` in the same `types`. `view` is asked for only where it can decide.
    pub(super) fn rows(&self, ask: &Ask, types: &Types, view: impl FnOnce() -> View) -> Option<Vec<ResultRow>> {
        if !self.may_stand(ask) || !self.prepared().reads_spans_only() {
            return None;
        }
        let last = self.last();
        let last = last.as_ref().filter(|last| Arc::ptr_eq(&last.types, types))?;
        let regions = last.changed(ask)?;
        let view = view();
        (!regions.iter().any(|region| region.may_hold(&view))).then(|| last.rows.clone())
    }

    /// Keeps the rows of `ask`, which was asked no earlier than `types` were in force.
    pub(super) fn keep(&self, ask: &Ask, types: Types, rows: &[ResultRow]) {
        if !self.may_stand(ask) {
            return;
        }
        let mut last = self.last();
        // A run that took longer than one that began later has nothing to add.
        if last.as_ref().is_some_and(|last| last.window.end_ns > ask.window.end_ns) {
            return;
        }
        *last = (rows.len() <= MOST_ROWS).then(|| Last {
            window: ask.window,
            cut_us: ask.cut_us,
            types,
            rows: rows.to_vec(),
        });
    }

    /// Whether it is the gate's own window, by which the rows that the query sees are known.
    fn may_stand(&self, ask: &Ask) -> bool {
        ask.spans == Selection::OfGate
            && !ask.gate.source.explicit_window
            && ask.window == window_at(&ask.gate, ask.window.end_ns)
    }

    fn last(&self) -> MutexGuard<'_, Option<Last>> {
        self.last.lock().expect("no holder of this lock panics")
    }
}

impl Last {
    /// Where spans must lie for the rows of `ask` to differ. `None` if time goes back.
    fn changed(&self, ask: &Ask) -> Option<[Region; 3]> {
        let (before, now) = (self.window, ask.window);
        if now.start_ns < before.start_ns || now.end_ns < before.end_ns || ask.cut_us < self.cut_us {
            return None;
        }
        let region = |from_ns, to_ns, after_us, until_us| Region {
            by_start: ask.gate.time == EventTime::Start,
            from_ns,
            to_ns,
            after_us,
            until_us,
        };
        Some([
            region(before.end_ns.max(now.start_ns), now.end_ns, i64::MIN, ask.cut_us),
            region(before.start_ns, before.end_ns.min(now.start_ns), i64::MIN, self.cut_us),
            region(now.start_ns, before.end_ns, self.cut_us, ask.cut_us),
        ])
    }
}
