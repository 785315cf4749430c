//! Facts of the gates' journal (learn.md 4).
//!
//! Duty: [`GateFacts`] over `gates.redb`. Guarantee: all answers of one look belong to one commit, so a tick that is only in
//! memory is no fact. Left to others: what follows from them (`feedback`).
//!
//! `gate_results` keeps equal outcomes as one row, with the value of its last tick: a verdict that is looked up late, after a
//! time in which nothing followed the gates, has the value of that tick.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::feedback::{EpisodeEnd, EpisodeFacts, Verdict};
use super::sources::{GateFacts, Wanted};
use crate::gate::Group;
use crate::gate::identity::{AlertId, TENANT};
use crate::gate::journal::{self, Journal, OutcomeRun, Snapshot};
use crate::gate::state::Cause;
use crate::gate::verdict::Outcome;
use crate::gate::window::Grid;

/// Longest row of `gate_results`.
const RUN_NS: i64 = 5 * 60 * 1_000_000_000;
/// Rows read at once.
const PAGE: usize = 1000;
/// Searches that are remembered; to forget them costs reading more rows.
const MOST_SEARCHED: usize = 10_000;

/// Facts out of `journal`.
pub fn facts(journal: Journal) -> GateFacts {
    let of_head = journal.clone();
    let head = move || last_sequence(&of_head).map_err(|error| error.to_string());
    let searched = Mutex::new(Searched::new());
    GateFacts::new(head, move |wanted| {
        // A look that failed half way has noted nothing that is not so.
        let mut searched = searched.lock().unwrap_or_else(PoisonError::into_inner);
        look(&journal, wanted, &mut searched).map_err(|error| error.to_string())
    })
}

/// Whether every gate of `groups` has closed its ticks up to a time (ns since 1970), as far as `journal` says; for
/// [`super::Progress`]. A gate without a row has no tick yet. What cannot be read is not closed.
pub fn closed(journal: Journal, groups: &[Group]) -> impl Fn(i64) -> bool + Send + Sync + 'static {
    let grids: Vec<(String, Grid)> = groups
        .iter()
        .flat_map(|group| group.gates.iter().map(|gate| (gate.name.clone(), Grid::of_gate(group, gate))))
        .collect();
    move |t_ns| {
        let rows = journal.snapshot().and_then(|snapshot| snapshot.gates());
        rows.is_ok_and(|rows| {
            grids.iter().all(|(name, grid)| {
                let due_ns = Grid { offset_ns: 0, ..grid.clone() }.last_due(t_ns);
                rows.get(name).is_none_or(|row| !row.loaded || row.last_tick_ns >= due_ns)
            })
        })
    }
}

/// Until which tick (ns since 1970) there was no verdict of the kind wanted: what is looked for again and again is looked for
/// in new rows only.
type Searched = BTreeMap<Wanted, i64>;

/// Sequences have no gaps that matter: the search doubles its step and then halves it.
fn last_sequence(journal: &Journal) -> Result<u64, journal::Error> {
    let snapshot = journal.snapshot()?;
    let first_from = |from: u64| Ok::<_, journal::Error>(snapshot.journal(from, 1)?.first().map(|(at, _)| *at));
    let Some(mut low) = first_from(0)? else { return Ok(0) };
    let mut step = 1;
    while step > 0 {
        match first_from(low.saturating_add(step))? {
            Some(found) => {
                low = found;
                step = step.saturating_mul(2);
            }
            None => step /= 2,
        }
    }
    Ok(low)
}

fn look(journal: &Journal, wanted: &[Wanted], searched: &mut Searched) -> Result<Vec<EpisodeFacts>, journal::Error> {
    let snapshot = journal.snapshot()?;
    let gates = snapshot.gates()?;
    let mut facts = Vec::new();
    for of in wanted {
        let alert = AlertId::new(TENANT, &of.gate, &labels(&of.key));
        let episode = snapshot.episode(alert, of.episode)?;
        let value_before = match &episode {
            None => None,
            Some(row) => Some(value_at_firing(&snapshot, alert, of, row.opened_ns)?),
        };
        let ended = episode
            .and_then(|row| Some(EpisodeEnd { t_ns: row.closed_ns?, is_passed: row.closed_by == Some(Cause::Passed) }));
        let known_until_ns = gates.get(&of.gate).filter(|row| row.loaded).map_or(i64::MAX, |row| row.last_tick_ns);
        facts.push(EpisodeFacts { value_before, ended, verdict: None, known_until_ns });
    }
    verdicts(&snapshot, wanted, &mut facts, searched)?;
    Ok(facts)
}

/// What the start says when it was asked for at the firing, else what the results say of that tick.
fn value_at_firing(
    snapshot: &Snapshot,
    alert: AlertId,
    of: &Wanted,
    opened_ns: i64,
) -> Result<Option<f64>, journal::Error> {
    if let Some(start) = snapshot.start(alert, of.episode)?.filter(|start| start.request.t_ns == opened_ns)
        && let Ok(variables) = serde_json::from_str::<serde_json::Value>(&start.request.variables)
    {
        return Ok(variables["value"].as_f64());
    }
    let mut value = None;
    each(snapshot, opened_ns.saturating_sub(RUN_NS), opened_ns, |run| {
        let is_it = run.gate == of.gate && run.key == of.key;
        if is_it && run.first_tick_ns <= opened_ns && opened_ns <= run.last_tick_ns {
            value = if run.last_tick_ns == opened_ns { run.value } else { run.value_avg() };
        }
    })?;
    Ok(value)
}

/// The first effective verdict at t ≥ end + window, for each that is wanted with an end.
fn verdicts(
    snapshot: &Snapshot,
    wanted: &[Wanted],
    facts: &mut [EpisodeFacts],
    searched: &mut Searched,
) -> Result<(), journal::Error> {
    let mut of_key: BTreeMap<(&str, &str), Vec<(usize, i64)>> = BTreeMap::new();
    let mut from_ns: Option<i64> = None;
    for (at, of) in wanted.iter().enumerate() {
        if let Some(ended_ns) = of.run_ended_ns {
            of_key.entry((&of.gate, &of.key)).or_default().push((at, ended_ns));
            let behind = searched.get(of).copied().unwrap_or(ended_ns).max(ended_ns);
            from_ns = Some(from_ns.map_or(behind, |known| known.min(behind)));
        }
    }
    let Some(from_ns) = from_ns else { return Ok(()) };
    each(snapshot, from_ns.saturating_sub(RUN_NS), i64::MAX - 1, |run| {
        let is_pass = match run.outcome {
            Outcome::Pass => true,
            Outcome::Warn | Outcome::Fail => false,
            _ => return,
        };
        for (at, ended_ns) in of_key.get(&(run.gate.as_str(), run.key.as_str())).into_iter().flatten() {
            let from_ns = ended_ns.saturating_add(run.window.end_ns - run.window.start_ns);
            let Some(t_ns) = first_tick(run, from_ns) else { continue };
            let fact = &mut facts[*at];
            if fact.verdict.is_none_or(|known| t_ns < known.t_ns) {
                fact.verdict = Some(Verdict { t_ns, is_pass, value: run.value });
            }
        }
    })?;
    if searched.len() > MOST_SEARCHED {
        searched.clear();
    }
    for (of, fact) in wanted.iter().zip(facts) {
        if of.run_ended_ns.is_some() && fact.verdict.is_none() && fact.known_until_ns < i64::MAX {
            searched.insert(of.clone(), fact.known_until_ns);
        } else {
            searched.remove(of);
        }
    }
    Ok(())
}

/// The first tick of `run` at or behind `from_ns`.
fn first_tick(run: &OutcomeRun, from_ns: i64) -> Option<i64> {
    if run.last_tick_ns < from_ns {
        return None;
    }
    let gaps = i64::try_from(run.evaluations.saturating_sub(1)).unwrap_or(i64::MAX);
    if from_ns <= run.first_tick_ns || gaps == 0 {
        return Some(if from_ns <= run.first_tick_ns { run.first_tick_ns } else { run.last_tick_ns });
    }
    let step = ((run.last_tick_ns - run.first_tick_ns) / gaps).max(1);
    let behind = from_ns - run.first_tick_ns;
    let ticks = behind / step + i64::from(behind % step > 0);
    Some((run.first_tick_ns + ticks * step).min(run.last_tick_ns))
}

/// Calls `act` with every row of results whose first tick lies in `[from_ns, to_ns]`, complete or running.
fn each(snapshot: &Snapshot, from_ns: i64, to_ns: i64, mut act: impl FnMut(&OutcomeRun)) -> Result<(), journal::Error> {
    let mut after = (from_ns, 0);
    loop {
        let page = snapshot.results(after, to_ns, PAGE)?;
        for (_, run) in &page {
            act(run);
        }
        match page.last() {
            Some((place, _)) if page.len() == PAGE => after = *place,
            _ => break,
        }
    }
    for run in snapshot.all_running()? {
        if run.first_tick_ns <= to_ns {
            act(&run);
        }
    }
    Ok(())
}

/// The labels of an alert key.
fn labels(key: &str) -> BTreeMap<String, String> {
    let mut labels = BTreeMap::new();
    let (mut name, mut text, mut is_value) = (String::new(), String::new(), false);
    let mut chars = key.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => text.extend(chars.next()),
            '=' if !is_value => {
                name = std::mem::take(&mut text);
                is_value = true;
            }
            ',' => {
                labels.insert(std::mem::take(&mut name), std::mem::take(&mut text));
                is_value = false;
            }
            c => text.push(c),
        }
    }
    if is_value {
        labels.insert(name, text);
    }
    labels
}

#[cfg(test)]
mod tests;
