//! What all gates know at this moment, and what a closed tick changes of it.
//!
//! Duty: states of all keys in memory, the rules around §4 and §5, and the rows of the journal that follow. Guarantee: what
//! it holds is the journal's content plus one batch that is not written yet; thrown away and opened again it is what the
//! last commit left. Left to others: running queries and writing the batch (`evaluator`), the state machine (`state`).

mod catch_up;
mod past;
mod shown;
mod tell;
mod tick;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::definition::{Gate, Group, Mode};
use super::derived;
use super::evaluator::{CloseError, Closed};
use super::health::{Condition, HealthKind};
use super::identity::{AlertId, TENANT};
use super::journal::{
    Batch, EpisodeEdit, Error, GateRow, HealthRow, Journal, JournalRow, KeyId, KeyRow, Missed, Notice, OutcomeRun,
    Snapshot, StartEdit, Status, TickOf, TickRow, next_generation,
};
use super::late;
use super::metrics::Metrics;
use super::result::ResultRow;
use super::state::{self, Cause, Downtime, Now, Phase, Rule, State};
use super::window::{Grid, nanos};

pub(super) use shown::Changed;
pub use shown::KeyNow;
pub(super) use tell::{annotations, sent_labels};
pub(super) use tick::{Answer, Closing, error_json, evidence_json};

/// A tick that changed no phase is written with the next that does, at the latest after so long.
const LAZY_NS: i64 = 5 * 1_000_000_000;
/// Of ticks that nobody evaluates, the newest are written one by one: so many …
const MISSED_TICKS: usize = 10_000;
/// … with so many names of gates in them. Of an older one the journal says nothing, which says the same: it was not judged.
const MISSED_NAMES: usize = 100_000;

/// What is loaded, as the book needs it.
#[derive(Clone, Debug)]
pub(super) struct Definitions {
    /// Groups in the order of their files; once the book is open, derived gates apart from the others.
    pub(super) groups: Vec<Group>,
    /// Hash of each gate's question, by gate.
    pub(super) questions: BTreeMap<String, [u8; 32]>,
    /// `notify.default`
    pub(super) default_receivers: Vec<String>,
    /// `gates.value_metrics`
    pub(super) value_metrics: bool,
}

/// A loaded gate.
#[derive(Debug)]
struct Entry {
    gate: Arc<Gate>,
    group: usize,
    row: GateRow,
    keys: BTreeMap<String, KeyRow>,
    running: BTreeMap<String, OutcomeRun>,
    vitals: Vitals,
    /// Keys that have a series of `weavergen_gate_value`.
    valued: BTreeSet<String>,
}

/// How the evaluations of a gate went in this process.
#[derive(Clone, Debug, Default)]
struct Vitals {
    /// Wall time of the last one, ns since 1970.
    evaluated_ns: Option<i64>,
    /// How long its query ran.
    took_ns: u64,
    /// Why it gave no rows.
    error: Option<String>,
    /// Ticks that were not judged, or not for every key.
    missed: u64,
}

/// All that is known.
#[derive(Debug)]
pub(super) struct Book {
    journal: Journal,
    definitions: Definitions,
    metrics: Metrics,
    gates: BTreeMap<String, Entry>,
    health: BTreeMap<AlertId, HealthRow>,
    downtimes: Vec<Downtime>,
    /// See [`Book::frontier_floor_ns`].
    floor_ns: i64,
    /// By group: the last tick that closed at a known position, and that position.
    cuts: BTreeMap<usize, (i64, i64)>,
    batch: Batch,
    /// Wall time of the oldest change in the batch.
    since_ns: Option<i64>,
    /// Gates that changed since they were last shown.
    touched: BTreeSet<String>,
    /// Health alerts turned since they were last shown.
    is_health_turned: bool,
    /// Those who wait for the batch to be durable.
    waiting: Vec<oneshot::Sender<()>>,
    /// Nothing is written any more.
    is_ended: bool,
}

/// Identity of a group: its name is unique in its file only, and its derived gates and those with a schedule close ticks of
/// their own.
pub(super) fn group_id(group: &Group) -> String {
    let derived = if derived::is_group(group) { ";derived" } else { "" };
    let cron = group.gates.first().and_then(|gate| gate.cron.as_ref());
    let cron = cron.map(|cron| format!(";cron {cron}")).unwrap_or_default();
    format!("{};{}{derived}{cron}", group.file, group.name)
}

/// What its ticks say of `group`.
fn tick_of(group: &Group) -> TickOf {
    TickOf { group: group.name.clone(), gates: group.gates.len() as u64, is_derived: derived::is_group(group) }
}

impl Book {
    /// The journal's content under `definitions`; generations that ended are closed, new ones begun, and both written.
    ///
    /// Errors: see [`Error`].
    pub(super) fn open(
        journal: Journal,
        mut definitions: Definitions,
        downtimes: Vec<Downtime>,
        metrics: Metrics,
        now_ns: i64,
    ) -> Result<Self, Error> {
        // Without empty groups: they have no last tick, so they would be due forever.
        definitions.groups = derived::apart(&definitions.groups);
        // A book before this one may have left some.
        metrics.value.reset();
        let snapshot = journal.snapshot()?;
        let (rows, health, filled) = (snapshot.gates()?, snapshot.health()?, snapshot.filled()?);
        let mut book = Self {
            journal: journal.clone(),
            definitions,
            metrics,
            gates: BTreeMap::new(),
            health,
            downtimes,
            floor_ns: 0,
            cuts: BTreeMap::new(),
            batch: Batch::default(),
            since_ns: None,
            touched: BTreeSet::new(),
            is_health_turned: false,
            waiting: Vec::new(),
            is_ended: false,
        };
        let placed: Vec<(usize, Arc<Gate>)> = book
            .definitions
            .groups
            .iter()
            .enumerate()
            .flat_map(|(i, group)| group.gates.iter().map(move |gate| (i, Arc::new(gate.clone()))))
            .collect();
        let names: BTreeSet<&str> = placed.iter().map(|(_, gate)| gate.name.as_str()).collect();
        for (name, row) in rows.iter().filter(|(name, row)| row.loaded && !names.contains(name.as_str())) {
            book.end(name, row, &snapshot, Cause::Removed, now_ns)?;
            book.batch.gates.insert(name.clone(), GateRow { loaded: false, ..row.clone() });
        }
        book.floor_ns = floor_of(&book.definitions.groups, &rows);
        let m_ns = book.floor_ns.max(now_ns);
        let mut renewed = BTreeSet::new();
        for (i, gate) in placed {
            let group = &book.definitions.groups[i].clone();
            let question = book.definitions.questions.get(&gate.name).copied().unwrap_or_default();
            let before = rows.get(&gate.name);
            let (mut keys, mut running) = (BTreeMap::new(), BTreeMap::new());
            let row = match before {
                Some(row) if row.loaded && row.question == question => {
                    keys = snapshot.keys(&gate.name, row.generation)?;
                    running = snapshot.running(&gate.name, row.generation)?;
                    GateRow { group: group_id(group), ..row.clone() }
                }
                _ => {
                    renewed.insert(gate.name.clone());
                    if let Some(row) = before.filter(|row| row.loaded) {
                        book.end(&gate.name, row, &snapshot, Cause::Superseded, now_ns)?;
                    }
                    // A gate that joins a group follows its ticks; a group that is new begins with the next one. What one
                    // closed before it came here, by another schedule, is no tick of the group.
                    let id = group_id(group);
                    let is_as_it_was = |g: &Gate, row: &GateRow| {
                        book.definitions.questions.get(&g.name).copied().unwrap_or_default() == row.question
                    };
                    let of_group = group.gates.iter().filter_map(|g| Some((g, rows.get(&g.name)?)));
                    let of_group = of_group.filter(|(g, row)| row.loaded && (row.group == id || is_as_it_was(g, row)));
                    let last_tick_ns = of_group.map(|(_, row)| row.last_tick_ns).max();
                    GateRow {
                        generation: next_generation(before, filled.get(&gate.name), question),
                        question,
                        group: id,
                        last_tick_ns: last_tick_ns.unwrap_or_else(|| Grid::of(group).last_due(m_ns)),
                        floor: before.map_or(0, |row| row.floor),
                        errors: 0,
                        loaded: true,
                        // What came before it was loaded its first tick looks at, as far as its window reaches.
                        seen_us: gate.on.is_ingest().then_some(now_ns.div_euclid(1_000)),
                    }
                }
            };
            if before != Some(&row) {
                book.batch.gates.insert(gate.name.clone(), row.clone());
            }
            let (vitals, valued) = (Vitals::default(), BTreeSet::new());
            book.gates.insert(gate.name.clone(), Entry { gate, group: i, row, keys, running, vitals, valued });
        }
        for at in 0..book.definitions.groups.len() {
            let last_ns = book.last_tick_ns(at);
            let tick = snapshot.tick(&group_id(&book.definitions.groups[at]), last_ns)?;
            if let Some(cut_us) = tick.and_then(|tick| tick.cut_us) {
                book.cuts.insert(at, (last_ns, cut_us));
            }
        }
        book.catch_up(&snapshot, &renewed, now_ns)?;
        drop(snapshot);
        let generation = |entry: &Entry| (entry.gate.name.clone(), entry.row.generation);
        let with_baseline = book.gates.values().filter(|entry| entry.gate.baseline.is_some()).map(generation).collect();
        book.journal.settle_past(&with_baseline, &book.gates.values().map(generation).collect())?;
        if !book.batch.is_empty() {
            book.journal.commit(&book.batch, now_ns)?;
            book.batch = Batch::default();
        }
        book.show_keys();
        Ok(book)
    }

    /// The frontier is not below this: no group's last closed tick + its offset, as the process before left them. A group that
    /// is new begins by the clock, and closed none.
    pub(super) const fn frontier_floor_ns(&self) -> i64 {
        self.floor_ns
    }

    /// The last closed tick of a group.
    pub(super) fn last_tick_ns(&self, group: usize) -> i64 {
        let gates = self.definitions.groups[group].gates.iter().filter_map(|gate| self.gates.get(&gate.name));
        gates.map(|entry| entry.row.last_tick_ns).max().unwrap_or(0)
    }

    /// The spans that came too late for what `group` has closed, of those up to `cut_us`. `None` for derived gates, which
    /// read no spans, and before the first tick.
    pub(super) fn late(&self, group: usize, cut_us: i64) -> Option<late::Between> {
        let (before_ns, after_us) = *self.cuts.get(&group)?;
        let is_derived = derived::is_group(&self.definitions.groups[group]);
        (!is_derived).then_some(late::Between { after_us, until_us: cut_us, before_ns })
    }

    /// Groups in order.
    pub(super) fn groups(&self) -> &[Group] {
        &self.definitions.groups
    }

    /// Whether a group of derived gates is loaded: then what closes is written at once, for they read it.
    pub(super) fn has_derived(&self) -> bool {
        self.definitions.groups.iter().any(derived::is_group)
    }

    /// Gates of a group, in file order.
    pub(super) fn gates_of(&self, group: usize) -> Vec<Arc<Gate>> {
        let names = self.definitions.groups[group].gates.iter();
        names.filter_map(|gate| self.gates.get(&gate.name)).map(|entry| entry.gate.clone()).collect()
    }

    /// The end of the last time at which the daemon ran before this process; 0 at its first start.
    pub(super) fn resumed_ns(&self) -> i64 {
        self.downtimes.last().map_or(0, |d| d.from_ns)
    }

    /// What must be written now, taken out. `force`: also what may wait.
    pub(super) fn take(&mut self, now_ns: i64, force: bool) -> Option<Batch> {
        let since_ns = self.since_ns?;
        if !(force || self.batch.has_effect() || now_ns.saturating_sub(since_ns) >= LAZY_NS) {
            return None;
        }
        self.since_ns = None;
        Some(std::mem::take(&mut self.batch))
    }

    /// Those who wait for the batch that [`Book::take`] gave: told when it is durable, dropped if it is not.
    pub(super) fn take_waiting(&mut self) -> Vec<oneshot::Sender<()>> {
        std::mem::take(&mut self.waiting)
    }

    /// From now on nobody closes by hand: what is in the batch is the last that is written.
    pub(super) fn end_changes(&mut self) {
        self.is_ended = true;
    }

    /// When the batch must be written at the latest; `None` = it is empty.
    pub(super) fn write_by_ns(&self) -> Option<i64> {
        self.since_ns.map(|since_ns| since_ns + LAZY_NS)
    }

    /// Ticks of a group that nobody evaluates.
    pub(super) fn miss(&mut self, group: usize, (first_ns, last_ns): (i64, i64), now_ns: i64) {
        let grid = Grid::of(&self.definitions.groups[group]);
        let id = group_id(&self.definitions.groups[group]);
        let of = tick_of(&self.definitions.groups[group]);
        let names: Vec<String> = self.definitions.groups[group].gates.iter().map(|gate| gate.name.clone()).collect();
        let missed: BTreeSet<_> = names.iter().map(|name| (name.clone(), Missed::Overrun)).collect();
        let count = i64::try_from(grid.count(first_ns, last_ns)).unwrap_or(i64::MAX);
        let most = i64::try_from((MISSED_NAMES / names.len().max(1)).clamp(1, MISSED_TICKS)).unwrap_or(i64::MAX);
        if count > most {
            tracing::warn!(group = %id, missed = count, written = most, "more ticks were missed than are written");
        }
        let mut t_ns = last_ns;
        for _ in 0..count.min(most) {
            let row = TickRow { missed: missed.clone(), of: Some(of.clone()), ..TickRow::default() };
            self.batch.ticks.insert((id.clone(), t_ns), row);
            t_ns = grid.previous(t_ns);
        }
        let count = u64::try_from(count).unwrap_or(0);
        for name in names {
            self.metrics.missed_ticks.with_label_values(&[name.as_str(), Missed::Overrun.as_str()]).inc_by(count);
            if let Some(entry) = self.gates.get_mut(&name) {
                entry.row.last_tick_ns = entry.row.last_tick_ns.max(last_ns);
                entry.vitals.missed += count;
                self.batch.gates.insert(name.clone(), entry.row.clone());
                self.touched.insert(name);
            }
        }
        self.since_ns.get_or_insert(now_ns);
    }

    /// Takes in, by `take_in`, what was found between two ticks as of an instant with the spans up to a position (µs): its
    /// transitions say so, for no tick does.
    pub(super) fn between_ticks(
        &mut self,
        (looked_ns, cut_us): (i64, i64),
        take_in: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let before = self.batch.journal.len();
        take_in(self)?;
        for row in self.batch.journal.iter_mut().skip(before) {
            (row.looked_us, row.looked_ns) = (Some(cut_us), Some(looked_ns));
        }
        Ok(())
    }

    /// An operator closes the open episode of a key: row 17. `written` is told when it is durable, and dropped if it
    /// never will be.
    ///
    /// Errors: there is none, or nothing is written any more; then nothing changes.
    pub(super) fn close_by_hand(
        &mut self,
        gate: &str,
        key: &str,
        (actor, reason): (&str, &str),
        now_ns: i64,
        written: Option<oneshot::Sender<()>>,
    ) -> Result<Closed, CloseError> {
        if self.is_ended {
            return Err(CloseError::Stopping);
        }
        let names = || self.gates.keys().map(String::as_str);
        let unknown = || CloseError::unknown_gate(gate, names());
        let entry = self.gates.get(gate).ok_or_else(unknown)?;
        let row = entry.keys.get(key).ok_or_else(|| CloseError::unknown_key(gate, key, &entry.keys))?;
        let now = Now { t_ns: now_ns, wall_ns: now_ns, downtimes: &self.downtimes };
        let Some((state, transition)) = state::close(&row.state, &now, entry.gate.mode == Mode::DryRun) else {
            let (gate, key) = (gate.to_owned(), key.to_owned());
            return Err(CloseError::NotOpen { gate, key, phase: row.state.phase.as_str() });
        };
        let closed = Closed { episode: state.episode, at_ns: now_ns };
        let row = KeyRow { state, ..row.clone() };
        // What cannot be read is not waited for: the level is then the one that was told last.
        let read = self.journal.snapshot().ok();
        self.leave(gate, key, &row, transition, now_ns, (Some((actor, reason)), read.as_ref()));
        let row = KeyRow { told: None, ..row };
        let id = KeyId { gate: gate.to_owned(), generation: self.gates[gate].row.generation, key: key.to_owned() };
        self.batch.keys.insert(id, Some(row.clone()));
        if let Some(entry) = self.gates.get_mut(gate) {
            entry.keys.insert(key.to_owned(), row);
        }
        self.since_ns.get_or_insert(now_ns);
        self.waiting.extend(written);
        self.touched.insert(gate.to_owned());
        self.show_keys_of(gate);
        Ok(closed)
    }

    /// The generation of a gate ends: row 18 for its keys, and its health alerts resolve.
    fn end(&mut self, name: &str, gate: &GateRow, read: &Snapshot, cause: Cause, now_ns: i64) -> Result<(), Error> {
        let (keys, running) = (read.keys(name, gate.generation)?, read.running(name, gate.generation)?);
        let downtimes = std::mem::take(&mut self.downtimes);
        let now = Now { t_ns: now_ns, wall_ns: now_ns, downtimes: &downtimes };
        let id = |key: &String| KeyId { gate: name.to_owned(), generation: gate.generation, key: key.clone() };
        for (key, row) in &keys {
            // Nobody was told of an episode in dry_run, so nobody is told of its end.
            if let Some((state, transition)) = state::end(&row.state, &now, cause, false) {
                let row = KeyRow { state, ..row.clone() };
                self.leave(name, key, &row, transition, now_ns, (None, Some(read)));
            }
            self.batch.keys.insert(id(key), None);
        }
        for (key, run) in running {
            self.batch.running.insert(id(&key), None);
            self.batch.results.push(run);
        }
        self.downtimes = downtimes;
        let about: Vec<HealthRow> = self.health.values().filter(|row| is_about(row, name)).cloned().collect();
        for row in about {
            self.turn(row.kind, name, &row.key, &[], String::new(), false, now_ns);
        }
        Ok(())
    }

    /// Writes down and tells a transition that no tick made.
    fn leave(
        &mut self,
        gate: &str,
        key: &str,
        row: &KeyRow,
        transition: state::Transition,
        now_ns: i64,
        (by_hand, read): (Option<(&str, &str)>, Option<&Snapshot>),
    ) {
        let alert = AlertId::new(TENANT, gate, &row.labels);
        let journaled = tell::journal_row(alert, gate, key, &transition, now_ns, now_ns);
        let (actor, summary) = by_hand.map_or((None, String::new()), |(a, r)| (Some(a.to_owned()), r.to_owned()));
        let looked_us = by_hand.and_then(|_| self.seen_us(gate));
        self.batch.journal.push(JournalRow { actor, summary, looked_us, ..journaled });
        let Some((episode, number)) = transition.episode else { return };
        self.batch.edit(alert, episode, EpisodeEdit::Close(now_ns, transition.cause));
        self.batch.starts.push((alert, episode, StartEdit::Lapse));
        if let Some(told) = &row.told {
            // What cannot be read any more was not above what was told last.
            let highest = read.and_then(|read| self.level_max(read, alert, episode).ok().flatten());
            let level = highest.unwrap_or(told.notice.level);
            let notice = catch_up::end_of(told, number, level, transition.cause.as_str(), now_ns);
            self.batch.outbox.extend(told.receivers.iter().map(|receiver| (receiver.clone(), notice.clone())));
        }
    }

    /// Turns a health alert on or off.
    #[allow(clippy::too_many_arguments, reason = "they are the fields of a condition")]
    fn turn(
        &mut self,
        kind: HealthKind,
        about: &str,
        key: &BTreeMap<String, String>,
        receivers: &[String],
        summary: String,
        holds: bool,
        t_ns: i64,
    ) {
        let condition = Condition { kind, about, key, receivers, summary, t_ns };
        let alert = condition.alert();
        if let Some((row, messages)) = condition.turn(self.health.get(&alert), holds) {
            self.health.insert(alert, row.clone());
            self.batch.health.insert(alert, row);
            self.batch.outbox.extend(messages);
            self.is_health_turned = true;
        }
    }

    fn receivers_of(&self, gate: &Gate) -> Vec<String> {
        gate.notify.clone().unwrap_or_else(|| self.definitions.default_receivers.clone())
    }

    fn show_keys(&self) {
        for name in self.gates.keys() {
            self.show_keys_of(name);
        }
    }

    fn show_keys_of(&self, name: &str) {
        let Some(entry) = self.gates.get(name) else { return };
        let mut counts: BTreeMap<&str, i64> =
            ["inactive", "pending", "firing", "recovering", "resolved"].map(|word| (word, 0)).into();
        for row in entry.keys.values() {
            *counts.entry(row.state.phase.as_str()).or_default() += 1;
        }
        for (word, count) in counts {
            self.metrics.keys.with_label_values(&[name, word]).set(count);
        }
    }
}

fn is_about(row: &HealthRow, gate: &str) -> bool {
    row.kind != HealthKind::DeliveryFailing && row.about == gate && row.told.is_some()
}

/// M of the process before: not below any group's last closed tick + its offset.
fn floor_of(groups: &[Group], rows: &BTreeMap<String, GateRow>) -> i64 {
    let of = |group: &Group| {
        let last = group.gates.iter().filter_map(|gate| rows.get(&gate.name)).map(|row| row.last_tick_ns).max();
        last.map_or(0, |last_ns| last_ns.saturating_add(nanos(group.query_offset)))
    };
    groups.iter().map(of).max().unwrap_or(0)
}

/// The rule of the state machine for `gate` at a tick that is `step_ns` behind the one before.
fn rule(gate: &Gate, step_ns: i64) -> Rule {
    Rule {
        interval_ns: step_ns,
        hold_for_ns: nanos(gate.hold_for),
        fire_after: gate.fire_after,
        keep_firing_for_ns: nanos(gate.keep_firing_for),
        step_down_after_ns: gate.step_down_after.map(nanos),
        dry_run: gate.mode == Mode::DryRun,
    }
}
