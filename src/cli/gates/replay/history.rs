//! What the journal of a data folder knows of ticks, and when things happened.
//!
//! Duty: cut, timeouts, looks between ticks and closures by hand of a daemon's past, as steps in the order in which they
//! happened. Guarantee: a tick that the journal would know and does not was not judged; of one that it cannot know (too old, not
//! yet written) it says so. A look that found nothing left no trace and needs none: it changed nothing. Left to others: playing
//! the steps (`replay`), reading rows (`gate::journal`).

use std::collections::{BTreeMap, BTreeSet};

use crate::gate::evaluator::Driven;
use crate::gate::journal::{Error, JournalRow, KEPT_NS, Missed, Snapshot, TickRow, Waiting};
use crate::gate::state::{Cause, Downtime};

/// Rows that are read at a time.
const PIECE: usize = 10_000;

/// A daemon's past.
#[derive(Debug, Default)]
pub(super) struct History {
    /// By group, as its daemon called it.
    ticks: BTreeMap<String, BTreeMap<i64, TickRow>>,
    /// The last name of each gate's group.
    group_of: BTreeMap<String, String>,
    /// Wall time at which a tick of a gate was taken in, as far as it changed something.
    taken_ns: BTreeMap<(String, i64), i64>,
    /// What happened between ticks, in order: transitions of gates that do not wait for them, episodes that people closed.
    between: Vec<JournalRow>,
    /// Times at which the daemon did not run.
    pub(super) downtimes: Vec<Downtime>,
    /// Ticks before may have been removed.
    since_ns: i64,
}

/// What is known of a tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// It closed at this position.
    Cut(i64),
    /// It was not judged.
    Missed,
    /// Nothing.
    Nothing,
}

/// What happens next.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Step {
    /// A tick of some groups; `None`: it was missed. In event order, if nothing is known of what had come by then. With what
    /// lay in the outbox, as far as that is known.
    Tick { t_ns: i64, cut_us: Option<i64>, in_event_order: bool, outbox: Option<Waiting>, groups: BTreeSet<usize> },
    /// A gate was looked at between two ticks, as of an instant, and something was found.
    Look { gate: String, t_ns: i64, cut_us: i64 },
    /// Somebody closed an episode.
    Close(Box<JournalRow>),
}

/// Steps with the wall time of each, and what the journal does not know of them.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In order.
    pub(super) steps: Vec<(i64, Step)>,
    /// Gates whose query took too long, by tick.
    pub(super) timeouts: BTreeSet<(String, i64)>,
    /// Sentences for people.
    pub(super) notes: Vec<String>,
}

impl History {
    /// All that `snapshot` says of ticks behind `from_ns` up to `to_ns`, and of what happened between them and behind.
    ///
    /// Errors: the journal cannot be read.
    pub(super) fn of(snapshot: &Snapshot, (from_ns, to_ns): (i64, i64)) -> Result<Self, Error> {
        let mut history = Self {
            group_of: snapshot.gates()?.into_iter().map(|(gate, row)| (gate, row.group)).collect(),
            downtimes: snapshot.downtimes()?,
            since_ns: snapshot.alive_ns()?.map_or(i64::MIN, |alive_ns| alive_ns.saturating_sub(KEPT_NS)),
            ..Self::default()
        };
        let groups: BTreeSet<String> = history.group_of.values().cloned().collect();
        for group in groups {
            let ticks = snapshot.ticks(&group)?.into_iter().collect();
            history.ticks.insert(group, ticks);
        }
        let mut next = 0;
        loop {
            let rows = snapshot.journal(next, PIECE)?;
            let Some((last, _)) = rows.last() else { return Ok(history) };
            next = last + 1;
            for (_, row) in rows {
                if row.cause == Cause::Manual || row.looked_us.is_some() {
                    // Spans that came late, or from clocks that run ahead, were found at another time than theirs.
                    history.between.extend(Some(row).filter(|row| row.at_ns > from_ns));
                } else if row.t_ns > from_ns && row.t_ns <= to_ns {
                    history.taken_ns.insert((row.gate, row.t_ns), row.at_ns);
                }
            }
        }
    }

    /// The ticks of `group`: under its own name, else under the one that its gates had in the daemon, whose files may have been
    /// named by another path.
    fn ticks_of(&self, group: &Driven) -> BTreeMap<i64, &TickRow> {
        let own = self.ticks.get(&group.id).filter(|ticks| !ticks.is_empty());
        let names: BTreeSet<&String> = match own {
            Some(_) => BTreeSet::from([&group.id]),
            None => group.gates.iter().filter_map(|gate| self.group_of.get(gate)).collect(),
        };
        names.into_iter().filter_map(|name| self.ticks.get(name)).flatten().map(|(t_ns, row)| (*t_ns, row)).collect()
    }

    fn known(&self, t_ns: i64, ticks: &BTreeMap<i64, &TickRow>) -> Known {
        match (ticks.get(&t_ns), ticks.last_key_value()) {
            (Some(row), _) => row.cut_us.map_or(Known::Missed, Known::Cut),
            (None, Some((last_ns, _))) if t_ns >= self.since_ns && t_ns <= *last_ns => Known::Missed,
            (None, _) => Known::Nothing,
        }
    }
}

/// A tick that is played, in the order of it: when by the clock, which, whether of derived gates, up to which cut, whether
/// spans come in the order of their times, and what lay in the outbox.
type Played = (i64, i64, bool, Option<i64>, bool, Option<Waiting>);

/// The ticks of `groups` in `span`, behind its first instant up to its last, and what happened until the last of them closed,
/// at least in `span`: what happened behind them met the states of ticks that are not played. Ticks of which `history` knows
/// nothing see all spans, up to `all_us`, as all do without it.
pub(super) fn plan(groups: &[Driven], span: (i64, i64), all_us: i64, history: Option<&History>) -> Plan {
    let mut plan = Plan::default();
    // Derived gates read what the others gave, so a tick of theirs comes last of all with its time.
    let mut ticks: BTreeMap<Played, BTreeSet<usize>> = BTreeMap::new();
    let mut last_of_tick: BTreeMap<i64, i64> = BTreeMap::new();
    for half in [false, true] {
        for group in groups.iter().filter(|group| group.is_derived == half) {
            let known = history.map(|history| (history, history.ticks_of(group)));
            let (mut wall_ns, mut unknown) = (i64::MIN, 0_usize);
            for t_ns in group.grid.ticks(span.0, span.1) {
                let due_ns = t_ns.saturating_add(group.grid.offset_ns);
                let taken = |gate: &String| history?.taken_ns.get(&(gate.clone(), t_ns)).copied();
                let row = known.as_ref().and_then(|(_, ticks)| ticks.get(&t_ns));
                // Sources whose clocks run ahead close a tick before it is due by ours.
                let closed_ns = row.and_then(|row| row.closed_ns).unwrap_or_else(|| {
                    group.gates.iter().filter_map(taken).max().map_or(due_ns, |taken_ns| taken_ns.max(due_ns))
                });
                wall_ns = closed_ns.max(wall_ns);
                let last_ns = last_of_tick.entry(t_ns).or_insert(i64::MIN);
                if half {
                    wall_ns = wall_ns.max(*last_ns);
                } else {
                    *last_ns = wall_ns.max(*last_ns);
                }
                let (cut_us, in_event_order) = match known.as_ref().map(|(history, ticks)| history.known(t_ns, ticks)) {
                    Some(Known::Cut(cut_us)) => (Some(cut_us), false),
                    Some(Known::Missed) => (None, false),
                    Some(Known::Nothing) => {
                        unknown += 1;
                        (Some(all_us), true)
                    }
                    None => (Some(all_us), true),
                };
                let outbox = row.and_then(|row| row.outbox);
                ticks.entry((wall_ns, t_ns, half, cut_us, in_event_order, outbox)).or_default().insert(group.at);
                let missed = row.into_iter().flat_map(|row| &row.missed).filter(|(_, why)| *why == Missed::Timeout);
                plan.timeouts.extend(missed.map(|(gate, _)| (gate.clone(), t_ns)));
            }
            if unknown > 0 {
                plan.notes.push(format!(
                    "the journal knows nothing of {unknown} ticks of group {}: all spans count for them",
                    group.id
                ));
            }
        }
    }
    let last_ns = ticks.keys().map(|(wall_ns, ..)| *wall_ns).max().map_or(span.1, |wall_ns| wall_ns.max(span.1));
    let is_played =
        |row: &&JournalRow| row.at_ns <= last_ns && groups.iter().any(|group| group.gates.contains(&row.gate));
    let mut between = history.into_iter().flat_map(|history| &history.between).filter(is_played).peekable();
    for ((wall_ns, t_ns, _, cut_us, in_event_order, outbox), groups) in ticks {
        while let Some(row) = between.next_if(|row| row.at_ns < wall_ns) {
            plan.add(row);
        }
        plan.steps.push((wall_ns, Step::Tick { t_ns, cut_us, in_event_order, outbox, groups }));
    }
    between.for_each(|row| plan.add(row));
    plan
}

impl Plan {
    /// What happened between ticks; once, for a look whose transitions are several rows.
    fn add(&mut self, row: &JournalRow) {
        let step = match row.looked_us {
            Some(cut_us) if row.cause != Cause::Manual => {
                Step::Look { gate: row.gate.clone(), t_ns: row.looked_ns.unwrap_or(row.t_ns), cut_us }
            }
            _ => Step::Close(Box::new(row.clone())),
        };
        let step = (row.at_ns, step);
        if self.steps.last() != Some(&step) {
            self.steps.push(step);
        }
    }
}

#[cfg(test)]
mod tests;
