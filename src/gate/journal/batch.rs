//! What one transaction writes.
//!
//! Duty: collect what closed ticks did, and put it into the tables. Guarantee: two batches in a row write what one batch of
//! both would, but for what ticks say of the outbox, which is as it was before the batch; edits of episodes and starts are
//! made on the stored row, so an answer of the engine in between is kept. Left to others: when to write (`evaluator`).

use std::collections::BTreeMap;

use redb::WriteTransaction;

use super::super::identity::AlertId;
use super::super::state::{Cause, Level};
use super::outbox::Sizes;
use super::past;
use super::rows::{
    EpisodeRow, GateRow, HealthRow, JournalRow, KeyId, KeyRow, Notice, Occasion, OutboxRow, OutcomeRun, StartRequest,
    StartRow, StartState, TickRow, Waiting, encode,
};
use super::sources::{self, SourceKey, SourceRow};
use super::{
    EPISODE, Error, GATE, HEALTH, JOURNAL, META, OUTBOX, PAST, RESULT, RUNNING, STATE, TICK, starts_of, stored,
};

/// A change of an episode.
#[derive(Clone, Debug, PartialEq)]
pub enum EpisodeEdit {
    /// It begins.
    Open(EpisodeRow),
    /// Its level rises.
    Raise(Level),
    /// It ends at this tick.
    Close(i64, Cause),
}

/// A change of a start.
#[derive(Clone, Debug, PartialEq)]
pub enum StartEdit {
    /// It is due, unless the episode has one for this occasion that did not lapse.
    Request(Box<StartRequest>),
    /// The episode ended: `on_fail` is not due any more.
    Lapse,
    /// The next episode began: `on_resolve` is not due any more.
    LapseResolved,
}

impl StartEdit {
    const fn occasion(&self) -> Occasion {
        match self {
            Self::Request(request) => request.occasion,
            Self::Lapse => Occasion::Failed,
            Self::LapseResolved => Occasion::Resolved,
        }
    }
}

/// Rows to write; `None` removes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Table `gate`.
    pub gates: BTreeMap<String, GateRow>,
    /// Table `state`.
    pub keys: BTreeMap<KeyId, Option<KeyRow>>,
    /// Table `running`.
    pub running: BTreeMap<KeyId, Option<OutcomeRun>>,
    /// Table `result`.
    pub results: Vec<OutcomeRun>,
    /// Table `episode`.
    pub episodes: Vec<(AlertId, u64, EpisodeEdit)>,
    /// The highest level of each episode that [`Batch::edit`] opens or raises; found here without a search.
    pub levels: BTreeMap<(AlertId, u64), Level>,
    /// Table `journal`.
    pub journal: Vec<JournalRow>,
    /// Table `tick`.
    pub ticks: BTreeMap<(String, i64), TickRow>,
    /// Table `outbox`: receiver and message.
    pub outbox: Vec<(String, Notice)>,
    /// Tables `starts` and `resolve_starts`.
    pub starts: Vec<(AlertId, u64, StartEdit)>,
    /// Table `health`.
    pub health: BTreeMap<AlertId, HealthRow>,
    /// Table `sources`.
    pub sources: BTreeMap<SourceKey, Option<SourceRow>>,
    /// What is known of sources holds up to this store position, µs.
    pub heard_us: Option<i64>,
}

impl Batch {
    /// Whether nothing would be written.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it must be written now: a phase changed, a result row is complete, somebody is to be told, or a tick was missed,
    /// which gates that read ticks see before they are asked about that time.
    pub fn has_effect(&self) -> bool {
        let is_missed = |row: &TickRow| row.cut_us.is_none();
        let is_idle = self.results.is_empty()
            && self.episodes.is_empty()
            && self.journal.is_empty()
            && self.outbox.is_empty()
            && self.starts.is_empty()
            && self.health.is_empty();
        !is_idle || self.ticks.values().any(is_missed)
    }

    /// Adds a change of an episode.
    pub fn edit(&mut self, alert: AlertId, number: u64, edit: EpisodeEdit) {
        let level = match &edit {
            EpisodeEdit::Open(row) => Some(row.level_max),
            EpisodeEdit::Raise(level) => Some(*level),
            EpisodeEdit::Close(..) => None,
        };
        if let Some(level) = level {
            self.rise(alert, number, level);
        }
        self.episodes.push((alert, number, edit));
    }

    fn rise(&mut self, alert: AlertId, number: u64, level: Level) {
        let highest = self.levels.entry((alert, number)).or_insert(level);
        *highest = level.max(*highest);
    }

    /// Number of the last episode of `alert` that it opens or raises; 0 = none.
    pub fn last_episode(&self, alert: AlertId) -> u64 {
        self.levels.range((alert, 0)..=(alert, u64::MAX)).next_back().map_or(0, |((_, number), _)| *number)
    }

    /// Adds what happened after it.
    pub fn append(&mut self, later: Self) {
        self.gates.extend(later.gates);
        self.keys.extend(later.keys);
        self.running.extend(later.running);
        self.results.extend(later.results);
        self.episodes.extend(later.episodes);
        for ((alert, number), level) in later.levels {
            self.rise(alert, number, level);
        }
        self.journal.extend(later.journal);
        self.ticks.extend(later.ticks);
        self.outbox.extend(later.outbox);
        self.starts.extend(later.starts);
        self.health.extend(later.health);
        self.sources.extend(later.sources);
        self.heard_us = later.heard_us.or(self.heard_us);
    }

    pub(super) fn write(
        &self,
        tx: &WriteTransaction,
        now_ns: i64,
        sizes: &mut Sizes,
        waiting: Option<Waiting>,
    ) -> Result<(), Error> {
        let mut gates = tx.open_table(GATE)?;
        for (name, row) in &self.gates {
            // The floor rises where episodes are removed, which who made this batch may not have seen.
            let floor = stored::<_, GateRow>(&gates, name.as_str())?.map_or(0, |before| before.floor);
            let row = GateRow { floor: row.floor.max(floor), ..row.clone() };
            gates.insert(name.as_str(), encode(&row).as_slice())?;
        }
        let mut keys = tx.open_table(STATE)?;
        for (id, row) in &self.keys {
            let key = (id.gate.as_str(), id.generation, id.key.as_str());
            match row {
                Some(row) => drop(keys.insert(key, encode(row).as_slice())?),
                None => drop(keys.remove(key)?),
            }
        }
        let mut running = tx.open_table(RUNNING)?;
        for (id, row) in &self.running {
            let key = (id.gate.as_str(), id.generation, id.key.as_str());
            match row {
                Some(row) => drop(running.insert(key, encode(row).as_slice())?),
                None => drop(running.remove(key)?),
            }
        }
        let mut ticks = tx.open_table(TICK)?;
        for ((group, t_ns), row) in &self.ticks {
            let row = TickRow { outbox: waiting.filter(|_| row.cut_us.is_some()), ..row.clone() };
            ticks.insert((group.as_str(), *t_ns), encode(&row).as_slice())?;
        }
        let mut health = tx.open_table(HEALTH)?;
        for (alert, row) in &self.health {
            health.insert(alert.0, encode(row).as_slice())?;
        }
        if !self.results.is_empty() {
            let mut results = tx.open_table(RESULT)?;
            let mut number = Counter::open(tx, "results")?;
            let mut before = tx.open_table(PAST)?;
            for row in &self.results {
                if row.ticks.is_empty() {
                    results.insert((row.first_tick_ns, number.next()), encode(row).as_slice())?;
                    continue;
                }
                past::write(&mut before, row)?;
                let row = OutcomeRun { ticks: Vec::new(), ..row.clone() };
                results.insert((row.first_tick_ns, number.next()), encode(&row).as_slice())?;
            }
            number.close(tx)?;
        }
        if !self.journal.is_empty() {
            let mut journal = tx.open_table(JOURNAL)?;
            let mut number = Counter::open(tx, "journal")?;
            for row in &self.journal {
                journal.insert(number.next(), encode(row).as_slice())?;
            }
            number.close(tx)?;
        }
        if !self.outbox.is_empty() {
            let mut outbox = tx.open_table(OUTBOX)?;
            let mut number = Counter::open(tx, "outbox")?;
            for (receiver, notice) in &self.outbox {
                let notice = notice.clone();
                let row = OutboxRow { notice, written_ns: now_ns, attempts: 0, next_try_ns: 0, dead: None };
                let bytes = encode(&row);
                outbox.insert((receiver.as_str(), number.next()), bytes.as_slice())?;
                sizes.came(receiver, bytes.len(), false);
            }
            number.close(tx)?;
        }
        self.write_episodes(tx)?;
        self.write_starts(tx)?;
        sources::write(tx, self)
    }

    fn write_episodes(&self, tx: &WriteTransaction) -> Result<(), Error> {
        let mut episodes = tx.open_table(EPISODE)?;
        for (alert, number, edit) in &self.episodes {
            let key = (alert.0, *number);
            let before: Option<EpisodeRow> = stored(&episodes, key)?;
            let after = match (edit, before) {
                (EpisodeEdit::Open(row), _) => row.clone(),
                // Evicted meanwhile: there is nothing to change.
                (_, None) => continue,
                (EpisodeEdit::Raise(level), Some(row)) => EpisodeRow { level_max: row.level_max.max(*level), ..row },
                (EpisodeEdit::Close(t_ns, cause), Some(row)) => {
                    EpisodeRow { closed_ns: Some(*t_ns), closed_by: Some(*cause), ..row }
                }
            };
            episodes.insert(key, encode(&after).as_slice())?;
        }
        Ok(())
    }

    fn write_starts(&self, tx: &WriteTransaction) -> Result<(), Error> {
        if self.starts.is_empty() {
            return Ok(());
        }
        let mut number = Counter::open(tx, "starts")?;
        for (alert, episode, edit) in &self.starts {
            let key = (alert.0, *episode);
            let mut starts = tx.open_table(starts_of(edit.occasion()))?;
            let before: Option<StartRow> = stored(&starts, key)?;
            let after = match (edit, before) {
                (StartEdit::Request(request), None) => {
                    let request = request.as_ref().clone();
                    StartRow { sequence: number.next(), request, state: StartState::Due, busy: 0 }
                }
                // What lapsed began nothing, so the episode may ask again.
                (StartEdit::Request(request), Some(row)) if row.state == StartState::Lapsed => {
                    let request = request.as_ref().clone();
                    StartRow { sequence: number.next(), request, state: StartState::Due, busy: 0 }
                }
                (StartEdit::Lapse | StartEdit::LapseResolved, Some(row)) if row.state == StartState::Due => {
                    StartRow { state: StartState::Lapsed, ..row }
                }
                _ => continue,
            };
            starts.insert(key, encode(&after).as_slice())?;
        }
        number.close(tx)
    }
}

/// A number in `meta` that only rises.
pub(super) struct Counter {
    name: &'static str,
    next: u64,
}

impl Counter {
    pub(super) fn open(tx: &WriteTransaction, name: &'static str) -> Result<Self, Error> {
        let meta = tx.open_table(META)?;
        let next = stored(&meta, name)?.unwrap_or(1);
        Ok(Self { name, next })
    }

    pub(super) fn next(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    pub(super) fn close(self, tx: &WriteTransaction) -> Result<(), Error> {
        tx.open_table(META)?.insert(self.name, encode(&self.next).as_slice())?;
        Ok(())
    }
}
