//! Verdicts of ticks that are not closed (gates.md 3, provisional).
//!
//! Duty: when somebody asks, what the states of buckets tell of the newest ticks that M has passed and the gate has not closed.
//! Guarantee: they are made here and nowhere kept: no state of a key, row of the journal or message depends on them; what they
//! are held to is what was written; a look ends in bounded time. Left to others: the states (`buckets`), their form (`web`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::Live;
use crate::gate::book::{error_json, evidence_json};
use crate::gate::definition::{Class, Gate, On};
use crate::gate::evaluator::{Parts, Position};
use crate::gate::identity::alert_key;
use crate::gate::journal::{Error, Journal, PastRun};
use crate::gate::result::{AskAhead, ResultRow, RunError, Runner, Window, well_formed};
use crate::gate::verdict::{Outcome, judge, sort_worst_first};
use crate::gate::window::{Grid, MAX_DUE, window_at};

/// Who looks holds up those who look next: what takes longer is told of when its tick closes.
const PATIENCE: Duration = Duration::from_secs(5);

/// The verdict of a key at a tick that is not closed: it may change until then.
#[derive(Clone, Debug, PartialEq)]
pub struct Provisional {
    /// Alert key; empty where the outcome is that of the whole gate.
    pub key: String,
    /// `by` values by name.
    pub labels: BTreeMap<String, String>,
    /// Event time that it looks at; its end is the tick.
    pub window: Window,
    /// Outcome up to now.
    pub outcome: Outcome,
    /// Number judged.
    pub value: Option<f64>,
    /// Samples.
    pub n: Option<u64>,
    /// What the value was held to.
    pub baseline: Option<f64>,
    /// Other columns as JSON; an error's text for outcome error.
    pub evidence: String,
    /// At most five.
    pub trace_ids: Vec<[u8; 16]>,
}

/// What is looked at.
#[derive(Clone, Debug)]
pub(in super::super) struct Outlook {
    runner: Runner,
    position: Position,
    m_ns: Arc<AtomicI64>,
}

impl Outlook {
    /// `m_ns` is where M is.
    pub(in super::super) fn new(parts: &Parts, m_ns: Arc<AtomicI64>) -> Self {
        Self { runner: parts.runner.clone(), position: parts.position.clone(), m_ns }
    }
}

impl Live {
    /// Verdicts of the ticks of `gate` that M has passed and that are not closed, the oldest tick first: of the newest
    /// [`MAX_DUE`] ticks, at most `most` of each, the worst first.
    ///
    /// There are none of a gate that is not of class decomposable, nor before its first tick in this process has read what its
    /// windows hold. Errors: the journal, of a gate with `baseline`.
    pub async fn provisional(&self, gate: &str, most: usize) -> Result<Vec<Provisional>, Error> {
        let Ok((_, gate)) = self.gate(gate) else { return Ok(Vec::new()) };
        let shares = gate.class == Class::Decomposable && gate.on == On::Interval && !gate.source.is_derived;
        let Some(now) = self.now(&gate.name).filter(|_| shares) else { return Ok(Vec::new()) };
        let Outlook { runner, position, m_ns } = &self.inner.outlook;
        let ticks = open_ticks(&now.grid, now.last_tick_ns, m_ns.load(Ordering::Relaxed));
        let Some(cut_us) = position.get().filter(|_| !ticks.is_empty()) else { return Ok(Vec::new()) };
        let gate = Arc::new(gate.clone());
        let windows = ticks.into_iter().map(|t_ns| window_at(&gate, t_ns)).collect();
        let ask = AskAhead { gate: gate.clone(), windows, cut_us };
        let patience = gate.timeout.min(PATIENCE);
        let found = tokio::time::timeout(patience, runner.ahead(ask)).await.unwrap_or_default();
        let (journal, generation) = (self.inner.journal.clone(), now.generation);
        let judging = tokio::task::spawn_blocking(move || -> Result<Vec<Provisional>, Error> {
            let mut all = Vec::new();
            for (window, rows) in found {
                all.extend(verdicts(&journal, (&gate, generation), window, rows, most)?);
            }
            Ok(all)
        });
        judging.await.map_err(|error| Error::Damaged(error.to_string()))?
    }
}

/// The newest ticks of `grid` behind `last_ns` that M = `m_ns` has passed, at most [`MAX_DUE`].
fn open_ticks(grid: &Grid, last_ns: i64, m_ns: i64) -> Vec<i64> {
    let newest_ns = Grid { offset_ns: 0, ..grid.clone() }.last_due(m_ns);
    let after_ns = grid.back(newest_ns, MAX_DUE).max(last_ns);
    grid.ticks(after_ns, newest_ns).collect()
}

fn verdicts(
    journal: &Journal,
    (gate, generation): (&Gate, u64),
    window: Window,
    rows: Result<Vec<ResultRow>, RunError>,
    most: usize,
) -> Result<Vec<Provisional>, Error> {
    let rows = match rows.and_then(well_formed) {
        Ok(rows) if rows.is_empty() => return Ok(vec![of_gate(window, Outcome::NoData, "")]),
        Ok(rows) => rows,
        Err(why) => return Ok(vec![of_gate(window, Outcome::Error, &why.to_string())]),
    };
    let bases = bases(journal, (gate, generation), &rows, window.end_ns)?;
    let judged = rows.into_iter().map(|row| {
        let judged = judge(gate, &row, bases.get(&alert_key(&row.key)).copied());
        (row, judged)
    });
    let mut judged: Vec<_> = judged.collect();
    sort_worst_first(gate, &mut judged);
    judged.truncate(most.min(gate.limit));
    let told = judged.into_iter().map(|(row, judged)| {
        let key = alert_key(&row.key);
        Provisional {
            baseline: bases.get(&key).copied(),
            key,
            window,
            outcome: judged.outcome,
            value: row.value.filter(|value| value.is_finite()),
            n: row.n,
            evidence: evidence_json(&row.evidence),
            trace_ids: row.trace_ids.iter().map(|id| id.0).collect(),
            labels: row.key,
        }
    });
    Ok(told.collect())
}

/// What concerns all keys.
fn of_gate(window: Window, outcome: Outcome, why: &str) -> Provisional {
    Provisional {
        key: String::new(),
        labels: BTreeMap::new(),
        window,
        outcome,
        value: None,
        n: None,
        baseline: None,
        evidence: error_json(why),
        trace_ids: Vec::new(),
    }
}

/// What the values of `rows` are held to at the tick `t_ns`, by key: of final values that were written, others are none yet.
fn bases(
    journal: &Journal,
    (gate, generation): (&Gate, u64),
    rows: &[ResultRow],
    t_ns: i64,
) -> Result<BTreeMap<String, f64>, Error> {
    let Some(baseline) = &gate.baseline else { return Ok(BTreeMap::new()) };
    let snapshot = journal.snapshot()?;
    let mut bases = BTreeMap::new();
    for key in rows.iter().map(|row| alert_key(&row.key)) {
        let mut runs = snapshot.past(&gate.name, generation, &key, baseline.ticks(t_ns))?;
        runs.extend(snapshot.run(&gate.name, generation, &key)?.as_ref().map(PastRun::from));
        if let Some(base) = baseline.of(baseline.values(runs.iter(), t_ns)) {
            bases.insert(key, base);
        }
    }
    Ok(bases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_four_ticks_between_the_last_closed_one_and_m_are_looked_at() {
        let grid = Grid::every(30, 600);
        let at = |last_ns, m_ns| open_ticks(&grid, last_ns, m_ns);
        assert_eq!(at(30, 59), [0_i64; 0], "M has not come to the next");
        assert_eq!(at(30, 60), [60], "however far M must be past it to close it");
        assert_eq!(at(30, 179), [60, 90, 120, 150]);
        assert_eq!(at(30, 180), [90, 120, 150, 180]);
        assert_eq!(at(30, i64::MIN), [0_i64; 0], "before M is known");
    }
}
