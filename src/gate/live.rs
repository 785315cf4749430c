//! Gates while the daemon runs, for those who read or close them from outside (gates.md 10).
//!
//! Duty: every loaded gate with its active keys as the last written tick left it; pages of all its keys and the last rows of
//! the journal; closing by hand. Guarantee: reading never waits for the evaluator nor holds it up: what is shown is put
//! here after it is durable, and an asker takes a reference to it. Left to others: ticks that are not closed (`provisional`),
//! forms of JSON and who may (`web`), metrics (`alerts`).

mod provisional;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::{Semaphore, SemaphorePermit};

use super::book::Changed;
use super::definition::{Gate, Group};
use super::evaluator::{CloseError, Closed, Operator};
use super::health::HealthKind;
use super::journal::{Error, Journal, JournalRow, KeyRow, Notice, OutcomeRun};
use super::state::{Level, Phase};
use super::verdict::Outcome;
use super::window::Grid;
use crate::clock::Clock;

pub(super) use provisional::Outlook;
pub use provisional::Provisional;

/// Rows of the journal that are looked through for those of one gate.
const LOOKED_AT: usize = 20_000;

/// A key that is pending or in an episode.
#[derive(Clone, Debug)]
pub struct ActiveKey {
    /// Alert key.
    pub key: String,
    /// `by` values by name.
    pub labels: BTreeMap<String, String>,
    /// Pending, firing or recovering.
    pub phase: Phase,
    /// Level of the episode; of a pending key the one it would fire with.
    pub level: Level,
    /// Number of the open or last episode.
    pub episode: u64,
    /// First tick of the breach, ns since 1970.
    pub active_at_ns: i64,
    /// Tick at which the open episode began.
    pub fired_at_ns: Option<i64>,
    /// Tick since which it only fires for `keep_firing_for`.
    pub keeps_since_ns: Option<i64>,
    /// Outcome and value of the latest verdict that was no error.
    pub last: Option<(Outcome, Option<f64>)>,
    /// The run of equal outcomes that ends with the latest verdict.
    pub run: Option<OutcomeRun>,
}

/// A gate as the last written tick left it.
#[derive(Clone, Debug)]
pub struct GateNow {
    /// Counts questions, from 1.
    pub generation: u64,
    /// The last closed tick, ns since 1970.
    pub last_tick_ns: i64,
    /// Wall time of the last evaluation in this process, ns since 1970.
    pub evaluated_ns: Option<i64>,
    /// How long its query ran.
    pub took_ns: u64,
    /// Why it gave no rows.
    pub error: Option<String>,
    /// Ticks that were not judged in this process, or not for every key.
    pub missed: u64,
    /// Its ticks.
    pub grid: Grid,
    /// Number of keys by phase, each phase once.
    pub phases: [(&'static str, u64); 5],
    /// Keys that are pending or in an episode: the worst first, then by key.
    pub active: Vec<ActiveKey>,
}

impl GateNow {
    /// State of the worst key, as Prometheus has it: `firing`, `pending` or `inactive`.
    pub fn state(&self) -> &'static str {
        match self.active.first() {
            None => "inactive",
            Some(worst) if worst.phase == Phase::Pending => "pending",
            Some(_) => "firing",
        }
    }

    /// How far the last closed tick lies behind the newest that is due at `now_ns`.
    pub fn lag_ns(&self, now_ns: i64) -> i64 {
        self.grid.last_due(now_ns).saturating_sub(self.last_tick_ns).max(0)
    }
}

/// What was last written, put here by the evaluator. A lock is held for as long as a reference takes to change hands.
#[derive(Clone, Debug, Default)]
pub(super) struct Board(Arc<Mutex<Shown>>);

#[derive(Debug, Default)]
struct Shown {
    gates: BTreeMap<String, Arc<GateNow>>,
    health: Arc<Vec<Notice>>,
}

impl Board {
    pub(super) fn put(&self, changed: Changed) {
        let mut shown = self.shown();
        shown.gates.extend(changed.gates);
        if let Some(health) = changed.health {
            shown.health = Arc::new(health);
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

/// Reads and closes gates; cheap to clone.
#[derive(Clone, Debug)]
pub struct Live {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    groups: Vec<Group>,
    /// Group and place in it, by gate.
    places: BTreeMap<String, (usize, usize)>,
    board: Board,
    journal: Journal,
    operator: Operator,
    outlook: Outlook,
    clock: Clock,
    turns: Semaphore,
}

/// Some of the keys of a gate, and its journal's end, as one commit has them.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// The last rows of the journal, newest first, of the last 20,000 about all gates.
    pub journal: Vec<JournalRow>,
    /// Keys with their latest verdicts, in order.
    pub keys: Vec<(String, KeyRow, Option<OutcomeRun>)>,
    /// There are more.
    pub is_cut: bool,
}

impl Live {
    pub(super) fn new(
        groups: &[Group],
        (board, journal, operator, outlook): (Board, Journal, Operator, Outlook),
        clock: Clock,
    ) -> Self {
        let mut groups = groups.to_vec();
        groups.sort_by(|a, b| (&a.file, &a.name).cmp(&(&b.file, &b.name)));
        let placed = groups.iter().enumerate();
        let places = placed
            .flat_map(|(at, group)| group.gates.iter().enumerate().map(move |(i, gate)| (gate.name.clone(), (at, i))))
            .collect();
        let turns = Semaphore::new(1);
        Self { inner: Arc::new(Inner { groups, places, board, journal, operator, outlook, clock, turns }) }
    }

    /// Loaded groups by file and name; in each its gates in the order of the file.
    pub fn groups(&self) -> &[Group] {
        &self.inner.groups
    }

    /// Loaded gates by name.
    pub fn gates(&self) -> impl Iterator<Item = (&Group, &Gate)> {
        self.inner.places.values().map(|(group, at)| {
            let group = &self.inner.groups[*group];
            (group, &group.gates[*at])
        })
    }

    /// A gate with its group.
    ///
    /// Errors: none of that name is loaded; a name like it is told.
    pub fn gate(&self, name: &str) -> Result<(&Group, &Gate), CloseError> {
        let Some((group, at)) = self.inner.places.get(name) else {
            return Err(CloseError::unknown_gate(name, self.inner.places.keys().map(String::as_str)));
        };
        let group = &self.inner.groups[*group];
        Ok((group, &group.gates[*at]))
    }

    /// A loaded gate as it was last written.
    pub fn now(&self, gate: &str) -> Option<Arc<GateNow>> {
        self.inner.board.shown().gates.get(gate).cloned()
    }

    /// Wall time, ns since 1970.
    pub fn clock_ns(&self) -> i64 {
        self.inner.clock.now_ns()
    }

    /// The turn of one piece of work: of those who read, one at a time has a core.
    pub async fn turn(&self) -> Option<SemaphorePermit<'_>> {
        self.inner.turns.acquire().await.ok()
    }

    /// Health alerts that fire: those about gates, then those about receivers. Blocks.
    ///
    /// Errors: the journal.
    pub fn health(&self) -> Result<Vec<Notice>, Error> {
        let about_gates = self.inner.board.shown().health.clone();
        let snapshot = self.inner.journal.snapshot()?;
        let mut all = about_gates.to_vec();
        // One is about a line: a receiver, or one address of a receiver with several.
        let about_lines = snapshot.health()?.into_values().filter(|row| row.kind == HealthKind::DeliveryFailing);
        all.extend(about_lines.filter_map(|row| row.told).map(|told| told.notice));
        Ok(all)
    }

    /// At most `limit` keys of `gate` behind `after`, and `journaled` rows of the journal. Blocks.
    ///
    /// Errors: the journal.
    pub fn page(&self, gate: &str, after: Option<&str>, limit: usize, journaled: usize) -> Result<Page, Error> {
        self.read(gate, &[], after, limit, journaled)
    }

    /// At most `limit` keys of `gate`: those of `first` that there are, then all others; and `journaled` rows of the journal.
    /// Blocks.
    ///
    /// Errors: the journal.
    pub fn page_with(&self, gate: &str, first: &[String], limit: usize, journaled: usize) -> Result<Page, Error> {
        self.read(gate, first, None, limit, journaled)
    }

    fn read(
        &self,
        gate: &str,
        first: &[String],
        after: Option<&str>,
        limit: usize,
        journaled: usize,
    ) -> Result<Page, Error> {
        let snapshot = self.inner.journal.snapshot()?;
        // It is written when the gate is loaded.
        let Some(row) = snapshot.gate(gate)? else { return Ok(Page::default()) };
        let mut rows = Vec::new();
        for key in first {
            rows.extend(snapshot.key(gate, row.generation, key)?.map(|of_key| (key.clone(), of_key)));
        }
        // As many more as may stand in front already.
        let more = snapshot.keys_after(gate, row.generation, after, limit.saturating_add(first.len() + 1))?;
        rows.extend(more.into_iter().filter(|(key, _)| !first.contains(key)));
        let is_cut = rows.len() > limit;
        rows.truncate(limit);
        let mut keys = Vec::with_capacity(rows.len());
        for (key, of_key) in rows {
            let run = snapshot.run(gate, row.generation, &key)?;
            keys.push((key, of_key, run));
        }
        Ok(Page { journal: snapshot.last_rows(gate, journaled, LOOKED_AT)?, keys, is_cut })
    }

    /// Closes the open episode of `key` of `gate`: row 17 of gates.md 5. When this answers, it is durable. Who may do this
    /// is the caller's to know.
    ///
    /// Errors: see [`CloseError`].
    pub async fn close(&self, gate: &str, key: &str, actor: &str, reason: &str) -> Result<Closed, CloseError> {
        self.inner.operator.close_durably(gate, key, actor, reason).await
    }
}
