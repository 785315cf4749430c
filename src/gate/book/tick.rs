//! One closed tick of one group.
//!
//! Duty: from the rows of every gate to inputs, steps, results and health alerts. Guarantee: no data is never a pass; a tick
//! that downtime left without enough to judge has no effect; a key of a gate with `on_fail` clears only by spans that came
//! after it fired. Left to others: rows of the journal about transitions (`tell`).

mod arrivals;

use std::cell::OnceCell;
use std::collections::btree_map;

use serde_json::Value;

use super::super::arrivals::Came;
use super::super::definition::{Policy, StaleAfter};
use super::super::identity::alert_key;
use super::super::journal::{EVIDENCE_BYTES, PastRun, PastTick};
use super::super::result::{RunError, Window};
use super::super::verdict::{self, Input, Judged, Outcome};
use super::super::window::window_at;
use super::*;

/// What a gate's query gave at a tick.
#[derive(Debug)]
pub(in super::super) struct Answer {
    /// Its rows.
    pub(in super::super) rows: Result<Vec<ResultRow>, RunError>,
    /// Keys that pass and clear on the spans since they fired alone.
    pub(in super::super) confirmed: BTreeSet<String>,
    /// Time it took.
    pub(in super::super) cost_ns: u64,
    /// What came since it was looked last, of a gate with `on: ingest`; it comes before the tick.
    pub(in super::super) came: Option<Came>,
}

/// A tick that closes.
#[derive(Debug)]
pub(in super::super) struct Closing {
    /// Index of the group.
    pub(in super::super) group: usize,
    /// The tick.
    pub(in super::super) t_ns: i64,
    /// Position of the store up to which spans counted.
    pub(in super::super) cut_us: i64,
    /// By gate.
    pub(in super::super) answers: BTreeMap<String, Answer>,
    /// Spans that came too late for the ticks before; `None` = they were not counted.
    pub(in super::super) late: Option<u64>,
}

/// One key at the tick.
struct Seen {
    labels: BTreeMap<String, String>,
    judged: Judged,
    row: Option<ResultRow>,
}

/// The tick as the rules of one gate see it.
pub(super) struct Moment {
    pub(super) t_ns: i64,
    /// Event time from the tick before to this one.
    step_ns: i64,
    pub(super) wall_ns: i64,
    pub(super) cut_us: i64,
    pub(super) window: Window,
    /// All rows of the result, worst first, for the variables of a start.
    pub(super) rows: Vec<(ResultRow, Judged)>,
    cost_ns: u64,
    /// What values are held to, by key.
    pub(super) baselines: BTreeMap<String, f64>,
    /// The window overlaps a time at which the daemon did not run, and the tick lies behind its begin.
    after_downtime: bool,
    /// What was written before the tick, once somebody asked.
    written: OnceCell<Snapshot>,
}

impl Moment {
    /// What was written before the tick: one view for all keys, for nothing of the tick is in it.
    pub(super) fn read(&self, journal: &Journal) -> Result<&Snapshot, Error> {
        match self.written.get() {
            Some(written) => Ok(written),
            None => {
                let written = journal.snapshot()?;
                Ok(self.written.get_or_init(|| written))
            }
        }
    }
}

impl Book {
    /// Where a key stands; `None` = nothing is known of it.
    fn state_of(&self, gate: &str, key: &str) -> Option<&State> {
        self.gates.get(gate)?.keys.get(key).map(|row| &row.state)
    }

    /// Keys of `gate` whose pass at `t_ns` counts only if it holds on the spans since they fired alone (gates.md 4.3), by
    /// the start of that shorter window.
    pub(in super::super) fn to_confirm(
        &self,
        gate: &Gate,
        t_ns: i64,
        rows: &[ResultRow],
    ) -> BTreeMap<i64, BTreeSet<String>> {
        let mut wanted: BTreeMap<i64, BTreeSet<String>> = BTreeMap::new();
        if gate.on_fail.is_none() {
            return wanted;
        }
        let Window { start_ns, .. } = window_at(gate, t_ns);
        for row in rows {
            let key = alert_key(&row.key);
            let Some(state) = self.state_of(&gate.name, &key) else { continue };
            let fired_ns = state.fired_at_ns.filter(|fired_ns| state.phase.is_open() && *fired_ns > start_ns);
            if let Some(fired_ns) = fired_ns
                && self.judged(gate, row, t_ns).clears
            {
                wanted.entry(fired_ns).or_default().insert(key);
            }
        }
        wanted
    }

    /// Takes in a closed tick.
    pub(in super::super) fn close(&mut self, closing: Closing, wall_ns: i64) -> Result<(), Error> {
        let id = group_id(&self.definitions.groups[closing.group]);
        let mut missed = BTreeSet::new();
        let cost_ns = closing.answers.values().map(|answer| answer.cost_ns).fold(0, u64::saturating_add);
        let names: Vec<String> =
            self.definitions.groups[closing.group].gates.iter().map(|gate| gate.name.clone()).collect();
        let mut answers = closing.answers;
        for name in names {
            let Some(answer) = answers.remove(&name) else { continue };
            self.judge(&name, answer, closing.t_ns, closing.cut_us, wall_ns, &mut missed)?;
            self.show_keys_of(&name);
        }
        for (gate, reason) in &missed {
            self.metrics.missed_ticks.with_label_values(&[gate.as_str(), reason.as_str()]).inc();
            if let Some(entry) = self.gates.get_mut(gate) {
                entry.vitals.missed += 1;
            }
        }
        let group = &self.definitions.groups[closing.group];
        let late = closing.late.unwrap_or(0);
        self.metrics.late_dropped_spans.with_label_values(&[group.name.as_str()]).inc_by(late);
        self.cuts.insert(closing.group, (closing.t_ns, closing.cut_us));
        let row = TickRow {
            cut_us: Some(closing.cut_us),
            missed,
            closed_ns: Some(wall_ns),
            of: Some(tick_of(group)),
            late: closing.late,
            cost_ns,
            outbox: None,
        };
        self.batch.ticks.insert((id, closing.t_ns), row);
        self.since_ns.get_or_insert(wall_ns);
        Ok(())
    }

    fn judge(
        &mut self,
        name: &str,
        mut answer: Answer,
        t_ns: i64,
        cut_us: i64,
        wall_ns: i64,
        missed: &mut BTreeSet<(String, Missed)>,
    ) -> Result<(), Error> {
        let mut why = answer.rows.as_ref().err().map(ToString::to_string);
        if let Some(mut came) = answer.came.take() {
            why = why.or(came.error.take().map(|error| error.to_string()));
            self.arrive(name, came, (cut_us, wall_ns))?;
        }
        let Some(entry) = self.gates.get_mut(name) else { return Ok(()) };
        let (gate, group) = (entry.gate.clone(), entry.group);
        let window = window_at(&gate, t_ns);
        let lost = |d: &Downtime| window.overlaps(d.from_ns, d.to_ns) && t_ns > d.from_ns;
        entry.row.last_tick_ns = t_ns;
        let errors = match &why {
            None => 0,
            Some(_) => entry.row.errors.saturating_add(1),
        };
        entry.row.errors = errors;
        entry.vitals = Vitals {
            evaluated_ns: Some(wall_ns),
            took_ns: answer.cost_ns,
            error: why.clone(),
            missed: entry.vitals.missed,
        };
        self.touched.insert(name.to_owned());
        self.batch.gates.insert(name.to_owned(), entry.row.clone());
        let mut moment = Moment {
            t_ns,
            step_ns: Grid::of(&self.definitions.groups[group]).step_ns(t_ns),
            wall_ns,
            cut_us,
            window,
            rows: Vec::new(),
            cost_ns: answer.cost_ns,
            baselines: BTreeMap::new(),
            after_downtime: self.downtimes.iter().any(lost),
            written: OnceCell::new(),
        };

        let failing = gate.error_limit.is_some_and(|limit| errors >= limit.max(1));
        let why = why.unwrap_or_default();
        self.health(&gate, HealthKind::GateError, &BTreeMap::new(), &why, failing, &moment);
        match answer.rows {
            Err(error) => {
                if error == RunError::Timeout {
                    missed.insert((name.to_owned(), Missed::Timeout));
                }
                self.count(name, Outcome::Error);
                self.record(&gate, "", Outcome::Error, None, &why, &moment);
                for key in self.known(name) {
                    self.step(&gate, &key, None, Input::Hold, Outcome::Error, &moment)?;
                }
            }
            Ok(rows) => {
                let (rows, ahead) = self.with_silent(&gate, rows);
                let keys: Vec<String> = rows.iter().map(|row| alert_key(&row.key)).collect();
                moment.baselines = self.baselines(&gate, keys.iter().map(String::as_str), t_ns)?;
                let (mut seen, missing) = self.sort_out(&gate, rows, &mut moment);
                arrivals::clear_silence(&gate, &mut seen);
                moment.cost_ns /= u64::try_from(seen.len()).unwrap_or(u64::MAX).max(1);
                self.show_values(name, &seen);
                self.learn_keys(&gate, &seen, &moment)?;
                for (key, seen) in &seen {
                    if !self.judge_key(&gate, key, seen, &answer.confirmed, &moment)? {
                        missed.insert((name.to_owned(), Missed::Downtime));
                    }
                }
                for key in missing {
                    self.miss_key(&gate, &key, &moment)?;
                }
                self.go_on(&gate, ahead, &moment)?;
            }
        }
        Ok(())
    }

    /// The keys that are judged, and the known ones that are missing while others are there.
    fn sort_out(
        &mut self,
        gate: &Gate,
        rows: Vec<ResultRow>,
        moment: &mut Moment,
    ) -> (BTreeMap<String, Seen>, Vec<String>) {
        let known = self.known(&gate.name);
        if rows.is_empty() {
            let no_data = |labels| Seen { labels, judged: Judged::without_value(Outcome::NoData), row: None };
            let keys = &self.gates[&gate.name].keys;
            let mut seen: BTreeMap<_, _> =
                known.into_iter().map(|key| (key.clone(), no_data(keys[&key].labels.clone()))).collect();
            seen.entry(String::new()).or_insert_with(|| no_data(BTreeMap::new()));
            self.health(gate, HealthKind::GateOverflow, &BTreeMap::new(), "", false, moment);
            return (seen, Vec::new());
        }
        let of = |row: &ResultRow| verdict::judge(gate, row, moment.baselines.get(&alert_key(&row.key)).copied());
        let judged = rows.into_iter().map(|row| (of(&row), row)).map(|(j, row)| (row, j));
        let (remembered, judged) = judged.partition(|(row, _)| self.is_remembered(gate, row, moment.t_ns));
        let (mut kept, held) = verdict::worst(gate, judged);
        // The limit is for keys of which something is to be said.
        kept.extend(remembered);
        let summary = format!("{} keys above the limit of {} were not judged", held.len(), gate.limit);
        self.health(gate, HealthKind::GateOverflow, &BTreeMap::new(), &summary, !held.is_empty(), moment);
        verdict::sort_worst_first(gate, &mut kept);
        moment.rows.clone_from(&kept);
        let held: BTreeSet<String> = held.iter().map(|row| alert_key(&row.key)).collect();
        let seen: BTreeMap<_, _> = kept
            .into_iter()
            .map(|(row, judged)| (alert_key(&row.key), Seen { labels: row.key.clone(), judged, row: Some(row) }))
            .collect();
        let missing = known.into_iter().filter(|key| !seen.contains_key(key) && !held.contains(key)).collect();
        // `{}` of a gate with `by` stands for an empty result, which this one is not.
        if !gate.by.is_empty() {
            self.health(gate, HealthKind::GateNoData, &BTreeMap::new(), "", false, moment);
        }
        (seen, missing)
    }

    /// Begins a row for keys that are new in this generation. `{}` of an empty result is one only once it matters.
    fn learn_keys(&mut self, gate: &Gate, seen: &BTreeMap<String, Seen>, moment: &Moment) -> Result<(), Error> {
        let entry = &self.gates[&gate.name];
        let is_new = |(key, seen): &(&String, &Seen)| {
            let stands_for_nothing = key.is_empty() && !gate.by.is_empty() && gate.no_data != Policy::Fail;
            !entry.keys.contains_key(*key) && (seen.row.is_some() || !stands_for_nothing)
        };
        let fresh: Vec<(String, BTreeMap<String, String>)> =
            seen.iter().filter(is_new).map(|(key, seen)| (key.clone(), seen.labels.clone())).collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let alerts: Vec<AlertId> = fresh.iter().map(|(_, labels)| AlertId::new(TENANT, &gate.name, labels)).collect();
        let read = moment.read(&self.journal)?;
        // It may have risen since this book was opened.
        let floor = read.gate(&gate.name)?.map_or(0, |row| row.floor).max(entry.row.floor);
        let written = read.last_episodes(&alerts)?;
        for (((key, labels), alert), last) in fresh.into_iter().zip(alerts).zip(written) {
            let last = self.batch.last_episode(alert).max(last).max(floor);
            let state = State::fresh(last);
            let row = KeyRow { labels, state, missing: 0, last: None, told: None, untold: None };
            if let Some(entry) = self.gates.get_mut(&gate.name) {
                entry.keys.insert(key, row);
            }
        }
        Ok(())
    }

    /// Series of `weavergen_gate_value`: those of this tick's keys, of which there are at most `limit`, and no others.
    fn show_values(&mut self, name: &str, seen: &BTreeMap<String, Seen>) {
        let Some(entry) = self.gates.get_mut(name).filter(|_| self.definitions.value_metrics) else { return };
        let value_of = |seen: &Seen| seen.row.as_ref().and_then(|row| row.value).filter(|value| value.is_finite());
        let valued: BTreeMap<&String, f64> =
            seen.iter().filter_map(|(key, seen)| Some((key, value_of(seen)?))).collect();
        entry.valued.retain(|key| {
            let stays = valued.contains_key(key);
            if !stays {
                let _ = self.metrics.value.remove_label_values(&[name, key]);
            }
            stays
        });
        for (key, value) in valued {
            self.metrics.value.with_label_values(&[name, key.as_str()]).set(value);
            entry.valued.insert(key.clone());
        }
    }

    /// `false` if the tick has no effect on the key: missed(downtime).
    fn judge_key(
        &mut self,
        gate: &Gate,
        key: &str,
        seen: &Seen,
        confirmed: &BTreeSet<String>,
        moment: &Moment,
    ) -> Result<bool, Error> {
        let outcome = seen.judged.outcome;
        if let Some(row) = self.gates.get_mut(&gate.name).and_then(|entry| entry.keys.get_mut(key))
            && seen.row.is_some()
        {
            row.missing = 0;
        }
        let is_thin = matches!(outcome, Outcome::NoData | Outcome::Insufficient);
        // No match is no proof either while the daemon may have missed one.
        let is_silent = gate.on.is_ingest() && outcome == Outcome::Pass;
        if moment.after_downtime && (is_thin || is_silent) {
            self.step(gate, key, None, Input::Hold, outcome, moment)?;
            return Ok(false);
        }
        self.count(&gate.name, outcome);
        self.record(gate, key, outcome, seen.row.as_ref(), "", moment);
        let mut x = verdict::input(gate, seen.judged);
        if x == Input::Clear && gate.on_fail.is_some() && !self.is_proven(gate, key, seen, confirmed, moment) {
            x = Input::Hold;
        }
        if !x.is_breach() && self.is_ahead(&gate.name, key, moment.t_ns) {
            x = Input::Hold;
        }
        if x.is_breach() && self.is_over(gate, key, moment.t_ns) {
            // However long ago: it stays resolved while what was told of it matches.
            return Ok(true);
        }
        for (kind, of, policy, what) in [
            (HealthKind::GateNoData, Outcome::NoData, gate.no_data, "no data"),
            (HealthKind::GateInconclusive, Outcome::Inconclusive, gate.inconclusive, "inconclusive"),
        ] {
            let holds = outcome == of && policy == Policy::Alert;
            let summary = format!("gate {}: {what} for {{{key}}}", gate.name);
            self.health(gate, kind, &seen.labels, &summary, holds, moment);
        }
        self.step(gate, key, seen.row.as_ref(), x, outcome, moment)?;
        Ok(true)
    }

    /// Whether new spans that pass stand behind a clear.
    fn is_proven(&self, gate: &Gate, key: &str, seen: &Seen, confirmed: &BTreeSet<String>, moment: &Moment) -> bool {
        let state = self.state_of(&gate.name, key);
        let Some(state) = state.filter(|state| state.phase.is_open()) else { return true };
        if gate.on.is_ingest() {
            return confirmed.contains(key);
        }
        let all_new = state.fired_at_ns.is_some_and(|fired_ns| moment.window.start_ns >= fired_ns);
        let proves = seen.row.as_ref().is_some_and(|row| verdict::proves(gate, row, seen.judged));
        proves && (all_new || confirmed.contains(key))
    }

    /// A key that is missing while others are there.
    fn miss_key(&mut self, gate: &Gate, key: &str, moment: &Moment) -> Result<(), Error> {
        let judged_ns = self.gates[&gate.name].running.get(key).map(|run| run.last_tick_ns);
        let Some(row) = self.gates.get_mut(&gate.name).and_then(|entry| entry.keys.get_mut(key)) else {
            return Ok(());
        };
        if !moment.after_downtime {
            row.missing = row.missing.saturating_add(1);
        }
        let missing = row.missing;
        // Rows are there, so `{}` of a gate with `by` is disproved: without this it could never end under `never`.
        let stands_for_nothing = key.is_empty() && !gate.by.is_empty();
        let is_gone = match gate.stale_after {
            StaleAfter::Never => stands_for_nothing && missing >= 2,
            StaleAfter::Evaluations(n) => missing >= n.max(1),
            // Ticks of a schedule are not equally far apart.
            StaleAfter::Time(after) if gate.cron.is_some() => {
                let passed_ns = judged_ns.map_or(0, |judged_ns| moment.t_ns.saturating_sub(judged_ns));
                missing > 0 && passed_ns >= nanos(after)
            }
            StaleAfter::Time(after) => i64::from(missing).saturating_mul(moment.step_ns) >= nanos(after),
        };
        let x = if is_gone { Input::Gone } else { Input::Hold };
        let labels = row.labels.clone();
        self.step(gate, key, None, x, Outcome::NoData, moment)?;
        if is_gone {
            for kind in [HealthKind::GateNoData, HealthKind::GateInconclusive] {
                self.health(gate, kind, &labels, "", false, moment);
            }
            if self.state_of(&gate.name, key).is_some_and(|state| state.phase == Phase::Inactive) {
                self.forget(&gate.name, key);
            }
        }
        Ok(())
    }

    /// One step of the state machine, written down.
    fn step(
        &mut self,
        gate: &Gate,
        key: &str,
        row: Option<&ResultRow>,
        x: Input,
        outcome: Outcome,
        moment: &Moment,
    ) -> Result<(), Error> {
        let entry = &self.gates[&gate.name];
        let Some(before) = entry.keys.get(key) else { return Ok(()) };
        let rule = rule(gate, moment.step_ns);
        let now = Now { t_ns: moment.t_ns, wall_ns: moment.wall_ns, downtimes: &self.downtimes };
        let (state, transitions) = state::step(&before.state, &now, x, &rule);
        let mut after = KeyRow { state, ..before.clone() };
        // The next episode tells it.
        after.untold = after.untold.filter(|_| after.state.phase == Phase::Resolved);
        if row.is_some() {
            after.last = Some((outcome, row.and_then(|row| row.value).filter(|value| value.is_finite())));
        } else if outcome != Outcome::Error && x != Input::Gone && after.missing == 0 && !moment.after_downtime {
            after.last = Some((outcome, None));
        }
        for transition in &transitions {
            self.tell(gate, key, &mut after, transition, row, outcome, moment)?;
        }
        if x.is_breach() {
            self.make_up(gate, key, &mut after, row, outcome, moment)?;
        }
        let id =
            KeyId { gate: gate.name.clone(), generation: self.gates[&gate.name].row.generation, key: key.to_owned() };
        self.batch.keys.insert(id, Some(after.clone()));
        if let Some(entry) = self.gates.get_mut(&gate.name) {
            entry.keys.insert(key.to_owned(), after);
        }
        Ok(())
    }

    /// A key about which nothing needs to be known any more.
    fn forget(&mut self, name: &str, key: &str) {
        let Some(entry) = self.gates.get_mut(name) else { return };
        let id = KeyId { gate: name.to_owned(), generation: entry.row.generation, key: key.to_owned() };
        entry.keys.remove(key);
        if let Some(run) = entry.running.remove(key) {
            self.batch.results.push(run);
            self.batch.running.insert(id.clone(), None);
        }
        self.batch.keys.insert(id, None);
    }

    /// Adds the verdict to the running row of results.
    fn record(
        &mut self,
        gate: &Gate,
        key: &str,
        outcome: Outcome,
        row: Option<&ResultRow>,
        why: &str,
        moment: &Moment,
    ) {
        let value = row.and_then(|row| row.value).filter(|value| value.is_finite());
        let Some(entry) = self.gates.get_mut(&gate.name) else { return };
        let next = OutcomeRun {
            gate: gate.name.clone(),
            generation: entry.row.generation,
            group: self.definitions.groups[entry.group].name.clone(),
            key: key.to_owned(),
            outcome,
            first_tick_ns: moment.t_ns,
            last_tick_ns: moment.t_ns,
            evaluations: 1,
            value,
            values: (value.unwrap_or(0.0), u64::from(value.is_some())),
            n: row.and_then(|row| row.n),
            window: moment.window,
            cut_us: moment.cut_us,
            evidence: row.map_or_else(|| error_json(why), |row| evidence_json(&row.evidence)),
            trace_ids: row.map_or_else(Vec::new, |row| row.trace_ids.iter().take(5).map(|id| id.0).collect()),
            dry_run: gate.mode == Mode::DryRun,
            cost_ns: moment.cost_ns,
            baseline: moment.baselines.get(key).copied(),
            ticks: match (value, row) {
                (Some(value), Some(row)) if gate.baseline.is_some() => {
                    let passed = verdict::judge_aside(gate, row).outcome == Outcome::Pass;
                    vec![PastTick { after_ms: 0, value, passed }]
                }
                _ => Vec::new(),
            },
        };
        let running = match entry.running.entry(key.to_owned()) {
            btree_map::Entry::Vacant(place) => place.insert(next),
            btree_map::Entry::Occupied(place) => {
                let run = place.into_mut();
                if let Some(next) = run.extend(next) {
                    let mut done = std::mem::replace(run, next);
                    if gate.baseline.is_some() {
                        // Also what was judged before there was one.
                        done.ticks = PastRun::from(&done).ticks;
                    }
                    self.batch.results.push(done);
                }
                run
            }
        };
        let id = KeyId { gate: gate.name.clone(), generation: running.generation, key: key.to_owned() };
        self.batch.running.insert(id, Some(running.clone()));
    }

    fn health(
        &mut self,
        gate: &Gate,
        kind: HealthKind,
        key: &BTreeMap<String, String>,
        summary: &str,
        holds: bool,
        moment: &Moment,
    ) {
        let holds = holds && gate.mode == Mode::Enforce;
        let receivers = if holds { self.receivers_of(gate) } else { Vec::new() };
        self.turn(kind, &gate.name, key, &receivers, summary.to_owned(), holds, moment.t_ns);
    }

    fn known(&self, name: &str) -> Vec<String> {
        self.gates.get(name).map_or_else(Vec::new, |entry| entry.keys.keys().cloned().collect())
    }

    fn count(&self, name: &str, outcome: Outcome) {
        self.metrics.evaluations.with_label_values(&[name, outcome.as_str()]).inc();
    }
}

/// The evidence as JSON of at most [`EVIDENCE_BYTES`]: columns in order, as many as fit.
pub(in super::super) fn evidence_json(evidence: &serde_json::Map<String, Value>) -> String {
    let mut kept = serde_json::Map::new();
    let mut bytes = 2;
    for (name, value) in evidence {
        bytes += Value::from(name.as_str()).to_string().len() + value.to_string().len() + 2;
        if bytes > EVIDENCE_BYTES {
            break;
        }
        kept.insert(name.clone(), value.clone());
    }
    Value::Object(kept).to_string()
}

/// Why a gate has no rows, as its evidence.
pub(in super::super) fn error_json(why: &str) -> String {
    if why.is_empty() {
        return "{}".to_owned();
    }
    let mut end = why.len().min(EVIDENCE_BYTES / 8);
    while !why.is_char_boundary(end) {
        end -= 1;
    }
    serde_json::json!({ "error": &why[..end] }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_keeps_whole_columns_up_to_its_limit() {
        let columns = [("a", Value::from(1)), ("b", Value::from("x".repeat(EVIDENCE_BYTES))), ("c", Value::from(2))];
        let evidence = columns.map(|(name, value)| (name.to_owned(), value)).into_iter().collect();
        let kept = evidence_json(&evidence);
        assert_eq!(kept, r#"{"a":1}"#);
        let long = error_json(&"é\"".repeat(EVIDENCE_BYTES));
        assert!(long.len() <= EVIDENCE_BYTES && serde_json::from_str::<Value>(&long).is_ok());
    }
}
