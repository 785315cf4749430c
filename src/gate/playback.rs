//! Gates over spans that are all there already (gates.md 12, `gates run`).
//!
//! Duty: judge everything once, or play all ticks in event time, and say how bad each key was. Guarantee: questions, verdicts
//! and episodes are the daemon's own, over a journal that is thrown away; the clock is the event time, so the same spans give
//! the same answer. Left to others: where spans come from, what an outcome is worth (`cli`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::book::KeyNow;
use super::definition::{Gate, Group, Source};
use super::evaluator::{Evaluator, Parts, Position};
use super::journal::{Error, Journal};
use super::late::Late;
use super::metrics::Metrics;
use super::result::Runner;
use super::state::Level;
use super::verdict::{Input, Judged, Outcome, input};
use super::watermark::Feed;
use crate::clock::Clock;

/// How often gates are asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Judge {
    /// One evaluation a gate over all spans; `for` and hysteresis do not apply.
    #[default]
    Once,
    /// Every tick; a key is as bad as its worst episode.
    Timeline,
}

impl Judge {
    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Once => "once",
            Self::Timeline => "timeline",
        }
    }
}

/// Event times of the spans, ns since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The first start.
    pub first_start_ns: i64,
    /// The first end.
    pub first_end_ns: i64,
    /// The last end, and not before the last start.
    pub last_ns: i64,
}

/// What is asked, and by whom.
#[derive(Clone, Debug)]
pub struct Seat {
    /// Loaded groups.
    pub groups: Vec<Group>,
    /// Runs the SQL over the spans; its tables read `journal`.
    pub runner: Runner,
    /// Takes the verdicts.
    pub journal: Journal,
    /// The spans up to here count: a position of the store in µs.
    pub cut_us: i64,
    /// Queries at a time.
    pub concurrency: usize,
}

/// How a key fared.
#[derive(Clone, Debug)]
pub struct Found {
    /// The key with the verdict that shows it: of the worst moment, else the latest that says anything.
    pub now: KeyNow,
    /// The worst level of its episodes.
    pub bad: Option<Level>,
    /// There was a breach, and none that lasted for an episode.
    pub brief: bool,
    /// The last verdict that says anything is a breach of this level, and no episode of it came of it: there were too few.
    pub ends_bad: Option<Level>,
    /// How many episodes it had.
    pub episodes: u64,
    /// Keys of the gate that are over its limit and were not judged: a sentence.
    pub overflow: Option<String>,
}

/// Ticks that `judge` closes over `extent`, all groups together.
pub fn ticks(groups: &[Group], judge: Judge, extent: Extent) -> usize {
    let of = |group: &Group| match judge {
        Judge::Once => 1,
        Judge::Timeline => {
            let grids = super::window::Grid::all_of(group).into_iter();
            grids.map(|grid| grid.count_due(extent.first_end_ns, extent.last_ns) + 1).sum()
        }
    };
    groups.iter().map(of).fold(0, usize::saturating_add)
}

/// Judges the keys of all gates, by gate and key.
///
/// Errors: the journal, which lies in memory.
pub async fn play(seat: Seat, judge: Judge, extent: Extent) -> Result<Vec<Found>, Error> {
    let mut worst = Worst::default();
    each_tick(seat, judge, extent, |evaluator, t_ns| worst.look(evaluator, t_ns)).await?;
    Ok(worst.into_found())
}

/// What gates gave at each tick, by gate and key: the value, and whether `pass` held, baselines left aside.
pub type Values = BTreeMap<(String, String), Vec<(f64, bool)>>;

/// The values of all gates, for [`held_to`].
///
/// Errors: the journal, which lies in memory.
pub async fn values(mut seat: Seat, judge: Judge, extent: Extent) -> Result<Values, Error> {
    seat.groups.iter_mut().flat_map(|group| &mut group.gates).for_each(|gate| gate.baseline = None);
    let mut values = Values::new();
    let look = |evaluator: &Evaluator, t_ns: i64| {
        for now in evaluator.keys().into_iter().filter(|now| now.run.last_tick_ns == t_ns) {
            let Some(value) = now.run.value else { continue };
            let passed = now.run.outcome == Outcome::Pass;
            values.entry((now.gate.name.clone(), now.key)).or_default().push((value, passed));
        }
    };
    each_tick(seat, judge, extent, look).await?;
    Ok(values)
}

/// `groups` with the values of gates that have a `baseline` held to those of `past` whenever they were: who chose them chose
/// `window` and `offset`, and, where everything is judged once, that one value is enough.
pub fn held_to(mut groups: Vec<Group>, past: &Values, judge: Judge) -> Vec<Group> {
    for gate in groups.iter_mut().flat_map(|group| &mut group.gates) {
        let Some(baseline) = &mut gate.baseline else { continue };
        if judge == Judge::Once {
            baseline.min_samples = 1;
        }
        let of_gate = past.iter().filter(|((of, _), _)| *of == gate.name);
        let base = |values: &[(f64, bool)]| {
            let counted = values.iter().filter(|(_, passed)| *passed || !baseline.only_pass);
            baseline.of(counted.map(|(value, _)| *value).collect())
        };
        let given: BTreeMap<String, f64> =
            of_gate.filter_map(|((_, key), values)| Some((key.clone(), base(values)?))).collect();
        baseline.given = Some(Arc::new(given));
    }
    groups
}

/// Closes every tick, and looks behind each.
async fn each_tick(
    seat: Seat,
    judge: Judge,
    extent: Extent,
    mut look: impl FnMut(&Evaluator, i64),
) -> Result<(), Error> {
    let end_ns = extent.last_ns.saturating_add(1);
    let groups = seat.groups.into_iter().map(|group| prepared(group, judge, extent, end_ns)).collect();
    let clock = Clock::manual(extent.first_end_ns, 0);
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("a fresh registry takes every name");
    let parts = Parts {
        groups,
        questions: BTreeMap::new(),
        default_receivers: Vec::new(),
        value_metrics: false,
        runner: seat.runner,
        late: Late::new(|_| Box::pin(async { Ok(0) })),
        position: Position::new(|| None),
        feed: Feed::none(),
        journal: seat.journal,
        clock: clock.clone(),
        metrics,
        concurrency: seat.concurrency,
    };
    let mut evaluator = tokio::task::spawn_blocking(move || Evaluator::open(parts))
        .await
        .map_err(|error| Error::Damaged(error.to_string()))??;
    evaluator.in_event_order(true);
    for (t_ns, groups) in schedule(&evaluator, judge, extent) {
        clock.advance_to(t_ns);
        evaluator.close_tick(t_ns, seat.cut_us, &groups).await?;
        look(&evaluator, t_ns);
    }
    evaluator.finish().await
}

/// A group as `judge` runs it: all spans are there, so no tick waits for late ones.
fn prepared(group: Group, judge: Judge, extent: Extent, end_ns: i64) -> Group {
    let whole = |gate: Gate| Gate {
        source: match &gate.assertion {
            // No span comes behind the last one, so traces need not be quiet to be judged.
            Some(assertion) => Source { sql: assertion.sql_at_end(), ..gate.source },
            None => gate.source,
        },
        window: Duration::from_nanos(u64::try_from(end_ns.saturating_sub(extent.first_start_ns)).unwrap_or(1).max(1)),
        hold_for: Duration::ZERO,
        fire_after: None,
        keep_firing_for: Duration::ZERO,
        step_down_after: None,
        clear: gate.pass.clone(),
        ..gate
    };
    let gates = match judge {
        Judge::Once => group.gates.into_iter().map(whole).collect(),
        Judge::Timeline => group.gates,
    };
    Group { query_offset: Duration::ZERO, gates, ..group }
}

/// The ticks in order, each with the groups that have it.
fn schedule(evaluator: &Evaluator, judge: Judge, extent: Extent) -> BTreeMap<i64, BTreeSet<usize>> {
    let mut ticks: BTreeMap<i64, BTreeSet<usize>> = BTreeMap::new();
    for group in evaluator.driven() {
        if judge == Judge::Once {
            ticks.entry(extent.last_ns.saturating_add(1)).or_default().insert(group.at);
            continue;
        }
        let first_ns = if group.by_start { extent.first_start_ns } else { extent.first_end_ns };
        // The last tick is the first behind the last span, so that every span is in a window.
        for t_ns in group.grid.ticks(first_ns, group.grid.next(extent.last_ns)) {
            ticks.entry(t_ns).or_default().insert(group.at);
        }
    }
    ticks
}

/// The worst of every key so far.
#[derive(Default)]
struct Worst {
    keys: BTreeMap<(String, String), (u8, Found)>,
    overflows: BTreeMap<String, String>,
}

impl Worst {
    fn look(&mut self, evaluator: &Evaluator, t_ns: i64) {
        self.overflows.extend(evaluator.overflows());
        for now in evaluator.keys() {
            let place = (now.gate.name.clone(), now.key.clone());
            if now.run.last_tick_ns != t_ns {
                continue;
            }
            let (level, rank, episodes) = (now.phase.level(), rank(&now), now.episode);
            let x = input(&now.gate, Judged::without_value(now.run.outcome));
            let breach = match x {
                Input::Fail => Some(Level::Fail),
                Input::Warn => Some(Level::Warn),
                Input::Pass | Input::Clear | Input::Hold | Input::Gone => None,
            };
            // The phase does not say it: a key is also pending after a good verdict, and not any more once it is gone.
            let ends_bad = breach.filter(|breach| level < Some(*breach));
            let brief = breach.is_some();
            match self.keys.get_mut(&place) {
                None => {
                    let found = Found { now, bad: level, brief, ends_bad, episodes, overflow: None };
                    self.keys.insert(place, (rank, found));
                }
                Some((so_far, found)) => {
                    found.brief |= brief;
                    if x.is_effective() {
                        found.ends_bad = ends_bad;
                    }
                    found.bad = found.bad.max(level);
                    found.episodes = found.episodes.max(episodes);
                    // Of equal ones the first shows when it went wrong, and the last how it is.
                    if rank > *so_far || (rank == *so_far && rank <= HARMLESS) {
                        *so_far = rank;
                        found.now = now;
                    }
                }
            }
        }
    }

    fn into_found(self) -> Vec<Found> {
        let named = self.keys.keys().filter(|(_, key)| !key.is_empty());
        let with_keys: BTreeSet<String> = named.map(|(gate, _)| gate.clone()).collect();
        let mut found: Vec<Found> = Vec::new();
        for ((gate, key), (_, mut one)) in self.keys {
            // `{}` of a gate with `by` stands for an empty result, which other ticks were not.
            let stands_for_nothing = key.is_empty() && !one.now.gate.by.is_empty();
            // An episode as bad or worse has said it all.
            one.ends_bad = one.ends_bad.filter(|level| one.bad < Some(*level));
            let says_nothing = one.bad.is_none() && one.ends_bad.is_none() && one.now.run.outcome == Outcome::NoData;
            if stands_for_nothing && says_nothing && with_keys.contains(&gate) {
                continue;
            }
            one.brief &= one.bad.is_none();
            one.overflow = self.overflows.get(&gate).cloned();
            found.push(one);
        }
        found
    }
}

/// Up to this rank nothing is wrong.
const HARMLESS: u8 = 1;

/// From what says nothing to the worst: what was not judged is worse than a warning and no failure (gates.md 12).
fn rank(now: &KeyNow) -> u8 {
    match (now.phase.level(), now.run.outcome) {
        (Some(Level::Fail), _) => 4,
        (_, Outcome::Error) => 3,
        (Some(Level::Warn), _) => 2,
        (None, outcome) => u8::from(outcome.is_effective()),
    }
}

#[cfg(test)]
mod tests;
