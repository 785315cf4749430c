//! What is known between two ticks: spans that match, shares of settled traces (gates.md 8, classes ingest and trace).
//!
//! Duty: breaches at instants that are no ticks, and what ticks do with keys that have them. Guarantee: a key that is in an
//! episode gets no other one by what comes; an episode that began behind a tick is not ended by it; a key of which nothing
//! matches clears; what came of a key above the limit is counted, and a tick whose window holds it is free to tell it. Left to
//! others: asking (`evaluator`), all other rules of a tick (the parent).

use super::super::super::arrivals::{Arrival, Came, is_matched, take_next};
use super::super::super::journal::Untold;
use super::*;

/// Matching spans that have come already and lie behind the tick, of keys that are in an episode: the first of each.
pub(super) type Ahead = Vec<(ResultRow, i64)>;

/// Of a gate with `on: ingest` an empty result says that nothing matches.
pub(super) fn clear_silence(gate: &Gate, seen: &mut BTreeMap<String, Seen>) {
    if gate.on.is_ingest() {
        let silent = seen.values_mut().filter(|seen| seen.judged.outcome == Outcome::NoData);
        silent.for_each(|seen| seen.judged = Judged { outcome: Outcome::Pass, clears: true });
    }
}

/// Whether a breach must last or come often: that only ticks can tell.
const fn is_patient(gate: &Gate) -> bool {
    !gate.hold_for.is_zero() || gate.fire_after.is_some()
}

impl Book {
    /// The position up to which arrivals of a gate were looked at, µs.
    pub(in crate::gate) fn seen_us(&self, gate: &str) -> Option<i64> {
        self.gates.get(gate).and_then(|entry| entry.row.seen_us)
    }

    /// The last closed tick of a gate, ns since 1970.
    pub(in crate::gate) fn judged_until_ns(&self, gate: &str) -> i64 {
        self.gates.get(gate).map_or(0, |entry| entry.row.last_tick_ns)
    }

    /// Takes in what came of a gate with `on: ingest`, up to the position `cut_us` at the latest.
    pub(in crate::gate) fn arrive(
        &mut self,
        name: &str,
        came: Came,
        (cut_us, wall_ns): (i64, i64),
    ) -> Result<(), Error> {
        let Some(entry) = self.gates.get_mut(name) else { return Ok(()) };
        let (gate, last_ns) = (entry.gate.clone(), entry.row.last_tick_ns);
        if let Some(until_us) = came.until_us.filter(|until_us| entry.row.seen_us < Some(*until_us)) {
            entry.row.seen_us = Some(until_us);
            self.batch.gates.insert(name.to_owned(), entry.row.clone());
            self.since_ns.get_or_insert(wall_ns);
        }
        let mut open = entry.keys.values().filter(|row| row.state.phase.is_open()).count();
        let mut held = 0;
        let is_patient = is_patient(&gate);
        for Arrival { row, at_ns, oldest_ns, newest_ns, .. } in came.arrivals.into_iter().filter(|_| !is_patient) {
            let key = alert_key(&row.key);
            let t_ns = match self.state_of(name, &key).map(|state| state.phase).unwrap_or_default() {
                // No tick will tell it: it came too late for those that have closed.
                Phase::Recovering(_) if oldest_ns < last_ns => last_ns,
                Phase::Firing(_) | Phase::Recovering(_) => continue,
                phase if open >= gate.limit => {
                    held += 1;
                    if phase == Phase::Resolved {
                        self.leave_untold(name, &key, Untold { first_ns: oldest_ns, last_ns: newest_ns });
                    }
                    continue;
                }
                Phase::Inactive | Phase::Pending | Phase::Resolved => {
                    open += 1;
                    at_ns
                }
            };
            self.breach(&gate, row, Input::Fail, (t_ns, cut_us, wall_ns))?;
        }
        // A tick knows all keys; of what came since only those that came are known.
        if held > 0 && !self.overflows().contains_key(name) {
            let moment = self.between(&gate, (last_ns, cut_us, wall_ns));
            let summary = format!("{held} keys above the limit of {} were not judged", gate.limit);
            self.health(&gate, HealthKind::GateOverflow, &BTreeMap::new(), &summary, true, &moment);
            self.since_ns.get_or_insert(wall_ns);
        }
        self.show_keys_of(name);
        Ok(())
    }

    /// Spans of a key whose episode is over that nobody is told of: a tick whose window holds one may, once there is room. Those
    /// behind the windows of all ticks to come are counted, and no tick is asked about them.
    fn leave_untold(&mut self, name: &str, key: &str, came: Untold) {
        let Some(entry) = self.gates.get_mut(name) else { return };
        let Some(row) = entry.keys.get_mut(key) else { return };
        let next_ns = Grid::of(&self.definitions.groups[entry.group]).next(entry.row.last_tick_ns);
        let open_ns = window_at(&entry.gate, next_ns).start_ns;
        let left = row.untold.into_iter().chain([came]).filter_map(|untold| untold.since(open_ns));
        row.untold = left.reduce(Untold::and);
        let id = KeyId { gate: name.to_owned(), generation: entry.row.generation, key: key.to_owned() };
        self.batch.keys.insert(id, Some(row.clone()));
    }

    /// Takes in the shares of traces that have settled by `t_ns`, of a gate with `on: trace`: those that pass wait for a tick.
    pub(in crate::gate) fn settle(
        &mut self,
        name: &str,
        rows: Vec<ResultRow>,
        (t_ns, cut_us, wall_ns): (i64, i64, i64),
    ) -> Result<(), Error> {
        let Some(entry) = self.gates.get(name) else { return Ok(()) };
        let gate = entry.gate.clone();
        let judged = rows.into_iter().map(|row| {
            let judged = verdict::judge(&gate, &row, None);
            (row, judged)
        });
        let (kept, _) = verdict::worst(&gate, judged.collect());
        for (row, judged) in kept {
            let x = match judged.outcome {
                Outcome::Fail => Input::Fail,
                Outcome::Warn => Input::Warn,
                _ => continue,
            };
            let state = self.state_of(name, &alert_key(&row.key));
            // Its level rises when the tick closes.
            if state.is_none_or(|state| !state.phase.is_open()) {
                self.breach(&gate, row, x, (t_ns, cut_us, wall_ns))?;
            }
        }
        self.show_keys_of(name);
        Ok(())
    }

    /// The rows of a tick of a gate with `on: ingest`, with one of nothing for each known key that has none, and the
    /// matching spans ahead. The rows of any other gate as they are.
    pub(super) fn with_silent(&self, gate: &Gate, rows: Vec<ResultRow>) -> (Vec<ResultRow>, Ahead) {
        let (mut kept, mut ahead, mut there) = (Vec::new(), Vec::new(), BTreeSet::new());
        let Some(entry) = self.gates.get(&gate.name).filter(|_| gate.on.is_ingest()) else { return (rows, ahead) };
        for mut row in rows {
            let key = alert_key(&row.key);
            let (next_ns, known) = (take_next(&mut row), entry.keys.get(&key));
            if let Some(next_ns) = next_ns
                && known.is_some_and(|known| known.state.phase.is_open())
            {
                let one = ResultRow { value: Some(1.0), n: Some(1), trace_ids: Vec::new(), ..row.clone() };
                ahead.push((one, next_ns));
            }
            // What lies ahead alone is a row of a key that this tick has nothing to say of.
            if is_matched(&row) || known.is_some() || gate.by.is_empty() {
                there.insert(key);
                kept.push(row);
            }
        }
        for (_, known) in entry.keys.iter().filter(|(key, _)| !there.contains(*key)) {
            kept.push(ResultRow { key: known.labels.clone(), value: Some(0.0), n: Some(0), ..ResultRow::default() });
        }
        (kept, ahead)
    }

    /// Begins the next episode of keys whose last one this tick ended while spans ahead of it match; forgets keys of which
    /// nothing needs to be known any more.
    pub(super) fn go_on(&mut self, gate: &Gate, ahead: Ahead, moment: &Moment) -> Result<(), Error> {
        if !gate.on.is_ingest() {
            return Ok(());
        }
        for (row, next_ns) in ahead {
            let state = self.state_of(&gate.name, &alert_key(&row.key));
            if state.is_some_and(|state| !state.phase.is_open()) {
                self.breach(gate, row, Input::Fail, (next_ns, moment.cut_us, moment.wall_ns))?;
            }
        }
        let keys = self.gates[&gate.name].keys.iter().filter(|_| !gate.by.is_empty());
        let over = keys.filter(|(_, row)| row.state.phase == Phase::Inactive);
        let over: Vec<String> = over.map(|(key, _)| key.clone()).collect();
        over.iter().for_each(|key| self.forget(&gate.name, key));
        Ok(())
    }

    /// Whether a row of a gate with `on: ingest` says no more at a tick than that nothing matches of a key that is in no episode,
    /// or that what was told of it still matches.
    pub(super) fn is_remembered(&self, gate: &Gate, row: &ResultRow, t_ns: i64) -> bool {
        if !gate.on.is_ingest() {
            return false;
        }
        let key = alert_key(&row.key);
        let phase = self.state_of(&gate.name, &key).map(|state| state.phase);
        match is_matched(row) {
            true => self.is_over(gate, &key, t_ns),
            false => matches!(phase, None | Some(Phase::Inactive | Phase::Resolved)),
        }
    }

    /// Whether the episode of a key is over, so that the tick `t_ns` of `on: ingest` does not begin the next: the spans of its
    /// window were looked at as they came, and what was said of them, also by hand, is said. Not so if one of which nothing was
    /// said may lie in its window; of one that lies in none any more nothing is.
    pub(super) fn is_over(&self, gate: &Gate, key: &str, t_ns: i64) -> bool {
        let row = self.gates.get(&gate.name).and_then(|entry| entry.keys.get(key));
        let is_told = |row: &KeyRow| {
            let window = window_at(gate, t_ns);
            row.state.phase == Phase::Resolved && row.untold.is_none_or(|untold| !untold.may_lie_in(window))
        };
        gate.on.is_ingest() && !is_patient(gate) && row.is_some_and(is_told)
    }

    /// Whether the open episode of a key began at the tick or behind it: then the tick says nothing of its end.
    pub(super) fn is_ahead(&self, name: &str, key: &str, t_ns: i64) -> bool {
        let state = self.state_of(name, key).filter(|state| state.phase.is_open());
        state.is_some_and(|state| state.fired_at_ns.is_some_and(|fired_ns| fired_ns >= t_ns))
    }

    /// Keys in an episode of which nothing matches, and since when: of a gate with `on_fail` other spans of theirs must have come
    /// since (gates.md 4.3). By the start of the window in which they must lie.
    pub(in crate::gate) fn to_prove(
        &self,
        gate: &Gate,
        t_ns: i64,
        rows: &[ResultRow],
    ) -> BTreeMap<i64, BTreeSet<String>> {
        let mut wanted: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        let (Some(_), Some(entry)) = (&gate.on_fail, self.gates.get(&gate.name)) else { return wanted };
        let matching = rows.iter().filter(|row| is_matched(row));
        let matching: BTreeSet<String> = matching.map(|row| alert_key(&row.key)).collect();
        let Window { start_ns, .. } = window_at(gate, t_ns);
        for (key, row) in entry.keys.iter().filter(|(key, row)| row.state.phase.is_open() && !matching.contains(*key)) {
            let since_ns = row.state.fired_at_ns.map_or(start_ns, |fired_ns| fired_ns.max(start_ns));
            if since_ns < t_ns {
                wanted.entry(since_ns).or_default().insert(key.clone());
            }
        }
        wanted
    }

    /// A breach of a key that is in no episode, or recovers, at an instant that is no tick. It is not before what is known of
    /// the key.
    fn breach(
        &mut self,
        gate: &Gate,
        row: ResultRow,
        x: Input,
        (at_ns, cut_us, wall_ns): (i64, i64, i64),
    ) -> Result<(), Error> {
        let key = alert_key(&row.key);
        let known = self.state_of(&gate.name, &key).and_then(State::previous_ns);
        let t_ns = known.map_or(at_ns, |known_ns| known_ns.max(at_ns));
        let outcome = if x == Input::Warn { Outcome::Warn } else { Outcome::Fail };
        let judged = Judged::without_value(outcome);
        let moment = Moment { rows: vec![(row.clone(), judged)], ..self.between(gate, (t_ns, cut_us, wall_ns)) };
        let seen = Seen { labels: row.key.clone(), judged, row: Some(row.clone()) };
        self.learn_keys(gate, &BTreeMap::from([(key.clone(), seen)]), &moment)?;
        self.step(gate, &key, Some(&row), x, outcome, &moment)?;
        self.touched.insert(gate.name.clone());
        self.since_ns.get_or_insert(wall_ns);
        Ok(())
    }

    /// An instant that is no tick.
    fn between(&self, gate: &Gate, (t_ns, cut_us, wall_ns): (i64, i64, i64)) -> Moment {
        let group = self.gates.get(&gate.name).map(|entry| Grid::of(&self.definitions.groups[entry.group]));
        // A window is half open, and the span at the instant is in it.
        let end_ns = if gate.on.is_ingest() { t_ns.saturating_add(1) } else { t_ns };
        Moment {
            t_ns,
            step_ns: group.map_or(0, |grid| grid.step_ns(t_ns)),
            wall_ns,
            cut_us,
            window: window_at(gate, end_ns),
            rows: Vec::new(),
            cost_ns: 0,
            baselines: BTreeMap::new(),
            after_downtime: false,
            written: OnceCell::new(),
        }
    }
}
