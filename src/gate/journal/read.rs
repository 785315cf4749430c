//! Reading the journal.
//!
//! Duty: one unchanging view of all tables, with the rows decoded. Guarantee: everything read through one [`Snapshot`]
//! belongs to one commit. Left to others: columns (`tables`).

use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{ReadTransaction, ReadableDatabase as _, ReadableTable as _};

use super::super::identity::AlertId;
use super::super::state::Downtime;
use super::rows::{
    EpisodeRow, GateRow, HealthRow, JournalRow, KeyRow, Occasion, OutboxRow, OutcomeRun, StartRow, StartState, TickRow,
    decode,
};
use super::{
    EPISODE, Error, GATE, HEALTH, JOURNAL, Journal, LabelSet, META, OUTBOX, RESEND, RESULT, RUNNING, ResendPlace,
    ResendRow, STARTS, STATE, TICK, starts_of, stored,
};

/// Place of a complete row of results: its first tick and a number.
pub type Place = (i64, u64);

/// All tables as one commit left them.
pub struct Snapshot {
    tx: ReadTransaction,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Journal {
    /// The tables of this moment.
    ///
    /// Errors: see [`Error`].
    pub fn snapshot(&self) -> Result<Snapshot, Error> {
        Ok(Snapshot { tx: self.inner.db.begin_read()? })
    }
}

/// Errors of every method: see [`Error`].
impl Snapshot {
    /// A table of this commit.
    pub(super) fn table<K: redb::Key + 'static>(
        &self,
        of: redb::TableDefinition<'static, K, super::Bytes>,
    ) -> Result<redb::ReadOnlyTable<K, super::Bytes>, Error> {
        Ok(self.tx.open_table(of)?)
    }

    /// When the daemon was last known to run, ns since 1970.
    pub fn alive_ns(&self) -> Result<Option<i64>, Error> {
        stored(&self.tx.open_table(META)?, "alive")
    }

    /// Times at which no daemon ran, oldest first.
    pub fn downtimes(&self) -> Result<Vec<Downtime>, Error> {
        Ok(stored(&self.tx.open_table(META)?, "downtimes")?.unwrap_or_default())
    }

    /// Gates by name, those that are not loaded any more among them.
    pub fn gates(&self) -> Result<BTreeMap<String, GateRow>, Error> {
        let table = self.tx.open_table(GATE)?;
        table
            .iter()?
            .map(|entry| entry.map_err(Error::from))
            .map(|entry| {
                let (name, row) = entry?;
                Ok((name.value().to_owned(), decode(row.value())?))
            })
            .collect()
    }

    /// Keys of one generation, by alert key.
    pub fn keys(&self, gate: &str, generation: u64) -> Result<BTreeMap<String, KeyRow>, Error> {
        let table = self.tx.open_table(STATE)?;
        let mut keys = BTreeMap::new();
        for entry in table.range((gate, generation, "")..(gate, generation + 1, ""))? {
            let (id, row) = entry?;
            keys.insert(id.value().2.to_owned(), decode(row.value())?);
        }
        Ok(keys)
    }

    /// One gate.
    pub fn gate(&self, name: &str) -> Result<Option<GateRow>, Error> {
        stored(&self.tx.open_table(GATE)?, name)
    }

    /// One key of one generation.
    pub fn key(&self, gate: &str, generation: u64, key: &str) -> Result<Option<KeyRow>, Error> {
        stored(&self.tx.open_table(STATE)?, (gate, generation, key))
    }

    /// At most `limit` keys of one generation behind the alert key `after`, in order.
    pub fn keys_after(
        &self,
        gate: &str,
        generation: u64,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KeyRow)>, Error> {
        let table = self.tx.open_table(STATE)?;
        let from = match after {
            Some(after) => Bound::Excluded((gate, generation, after)),
            None => Bound::Included((gate, generation, "")),
        };
        let rows = table.range::<(&str, u64, &str)>((from, Bound::Excluded((gate, generation + 1, ""))))?;
        rows.take(limit)
            .map(|entry| {
                let (id, row) = entry?;
                Ok((id.value().2.to_owned(), decode(row.value())?))
            })
            .collect()
    }

    /// The running row of results of one key.
    pub fn run(&self, gate: &str, generation: u64, key: &str) -> Result<Option<OutcomeRun>, Error> {
        stored(&self.tx.open_table(RUNNING)?, (gate, generation, key))
    }

    /// Running rows of results of one generation, by alert key.
    pub fn running(&self, gate: &str, generation: u64) -> Result<BTreeMap<String, OutcomeRun>, Error> {
        let table = self.tx.open_table(RUNNING)?;
        let mut runs = BTreeMap::new();
        for entry in table.range((gate, generation, "")..(gate, generation + 1, ""))? {
            let (id, row) = entry?;
            runs.insert(id.value().2.to_owned(), decode(row.value())?);
        }
        Ok(runs)
    }

    /// All running rows of results.
    pub fn all_running(&self) -> Result<Vec<OutcomeRun>, Error> {
        let table = self.tx.open_table(RUNNING)?;
        table.iter()?.map(|entry| decode(entry?.1.value())).collect()
    }

    /// At most `limit` complete rows of results with their place, in order of their first tick, behind `after` and with
    /// the first tick not after `until_ns`.
    pub fn results(&self, after: Place, until_ns: i64, limit: usize) -> Result<Vec<(Place, OutcomeRun)>, Error> {
        let table = self.tx.open_table(RESULT)?;
        let from = Bound::Excluded(after);
        let to = Bound::Included((until_ns, u64::MAX));
        if after >= (until_ns, u64::MAX) {
            return Ok(Vec::new());
        }
        let rows = table.range::<(i64, u64)>((from, to))?.take(limit);
        rows.map(|entry| {
            let (place, row) = entry?;
            Ok((place.value(), decode(row.value())?))
        })
        .collect()
    }

    /// At most `limit` rows of the journal with their sequence, from `from` on.
    pub fn journal(&self, from: u64, limit: usize) -> Result<Vec<(u64, JournalRow)>, Error> {
        let table = self.tx.open_table(JOURNAL)?;
        let rows = table.range(from..)?.take(limit);
        rows.map(|entry| {
            let (sequence, row) = entry?;
            Ok((sequence.value(), decode(row.value())?))
        })
        .collect()
    }

    /// The last `limit` rows about `gate`, newest first, of the last `looked_at` rows about all gates.
    pub fn last_rows(&self, gate: &str, limit: usize, looked_at: usize) -> Result<Vec<JournalRow>, Error> {
        let table = self.tx.open_table(JOURNAL)?;
        let mut found = Vec::new();
        for entry in table.iter()?.rev().take(looked_at) {
            if found.len() == limit {
                break;
            }
            let row: JournalRow = decode(entry?.1.value())?;
            if row.gate == gate {
                found.push(row);
            }
        }
        Ok(found)
    }

    /// Number of the last episode of each alert; 0 = it had none.
    pub fn last_episodes(&self, alerts: &[AlertId]) -> Result<Vec<u64>, Error> {
        let table = self.tx.open_table(EPISODE)?;
        let last = |alert: &AlertId| {
            let mut range = table.range((alert.0, 0)..=(alert.0, u64::MAX))?;
            Ok(range.next_back().transpose()?.map_or(0, |(key, _)| key.value().1))
        };
        alerts.iter().map(last).collect()
    }

    /// One episode.
    pub fn episode(&self, alert: AlertId, number: u64) -> Result<Option<EpisodeRow>, Error> {
        stored(&self.tx.open_table(EPISODE)?, (alert.0, number))
    }

    /// All episodes.
    pub fn episodes(&self) -> Result<Vec<(AlertId, u64, EpisodeRow)>, Error> {
        let table = self.tx.open_table(EPISODE)?;
        let rows = table.iter()?.map(|entry| {
            let (key, row) = entry?;
            let (alert, number) = key.value();
            Ok((AlertId(alert), number, decode(row.value())?))
        });
        rows.collect()
    }

    /// What became of a tick.
    pub fn tick(&self, group: &str, t_ns: i64) -> Result<Option<TickRow>, Error> {
        stored(&self.tx.open_table(TICK)?, (group, t_ns))
    }

    /// All ticks of a group, in order.
    pub fn ticks(&self, group: &str) -> Result<Vec<(i64, TickRow)>, Error> {
        let table = self.tx.open_table(TICK)?;
        let rows = table.range((group, i64::MIN)..=(group, i64::MAX))?.map(|entry| {
            let (key, row) = entry?;
            Ok((key.value().1, decode(row.value())?))
        });
        rows.collect()
    }

    /// At most `limit` ticks of all groups from one instant up to another, in order of group and tick, behind `after`.
    pub fn ticks_between(
        &self,
        after: Option<(&str, i64)>,
        (from_ns, to_ns): (i64, i64),
        limit: usize,
    ) -> Result<Vec<(String, i64, TickRow)>, Error> {
        let table = self.tx.open_table(TICK)?;
        let mut found = Vec::new();
        let (mut group, mut next_ns) = match after {
            Some((group, t_ns)) => (group.to_owned(), t_ns.saturating_add(1).max(from_ns)),
            // No group has this name.
            None => (String::new(), from_ns),
        };
        loop {
            if next_ns <= to_ns {
                let left = limit.saturating_sub(found.len());
                for entry in table.range((group.as_str(), next_ns)..=(group.as_str(), to_ns))?.take(left) {
                    let (key, row) = entry?;
                    found.push((group.clone(), key.value().1, decode(row.value())?));
                }
            }
            if found.len() >= limit {
                return Ok(found);
            }
            let behind = (Bound::Excluded((group.as_str(), i64::MAX)), Bound::Unbounded);
            let Some(entry) = table.range::<(&str, i64)>(behind)?.next() else { return Ok(found) };
            let (key, _) = entry?;
            let behind = key.value().0.to_owned();
            (group, next_ns) = (behind, from_ns);
        }
    }

    /// The first `limit` messages of `receiver`, in order; dead ones among them.
    pub fn outbox(&self, receiver: &str, limit: usize) -> Result<Vec<(u64, OutboxRow)>, Error> {
        let table = self.tx.open_table(OUTBOX)?;
        let rows = table.range((receiver, 0)..=(receiver, u64::MAX))?.take(limit).map(|entry| {
            let (key, row) = entry?;
            Ok((key.value().1, decode(row.value())?))
        });
        rows.collect()
    }

    /// At most `limit` messages of `receiver` that are still tried, in order, behind sequence `after`.
    pub fn waiting(&self, receiver: &str, after: u64, limit: usize) -> Result<Vec<(u64, OutboxRow)>, Error> {
        let table = self.tx.open_table(OUTBOX)?;
        let mut rows = Vec::new();
        for entry in table.range((receiver, after.saturating_add(1))..=(receiver, u64::MAX))? {
            let (key, row) = entry?;
            let row: OutboxRow = decode(row.value())?;
            if row.dead.is_none() {
                rows.push((key.value().1, row));
            }
            if rows.len() == limit {
                break;
            }
        }
        Ok(rows)
    }

    /// At most `limit` messages of all receivers, in order of receiver and sequence, behind `after`; dead ones among them.
    pub fn messages(&self, after: (&str, u64), limit: usize) -> Result<Vec<(String, u64, OutboxRow)>, Error> {
        let table = self.tx.open_table(OUTBOX)?;
        let from = (std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded);
        let rows = table.range::<(&str, u64)>(from)?.take(limit).map(|entry| {
            let (key, row) = entry?;
            Ok((key.value().0.to_owned(), key.value().1, decode(row.value())?))
        });
        rows.collect()
    }

    /// What `line` knows of `alert`.
    pub fn resends_of(&self, line: &str, alert: AlertId) -> Result<Vec<ResendRow>, Error> {
        let table = self.tx.open_table(RESEND)?;
        let rows = table.range((line, alert.0, [0; 16])..=(line, alert.0, [u8::MAX; 16]))?;
        rows.map(|entry| decode(entry?.1.value())).collect()
    }

    /// At most `limit` rows of what `line` knows, behind `after`. A health alert that fires has the annotations of now.
    pub fn resends(
        &self,
        line: &str,
        after: Option<ResendPlace>,
        limit: usize,
    ) -> Result<Vec<(ResendPlace, ResendRow)>, Error> {
        let table = self.tx.open_table(RESEND)?;
        let from = match after {
            None => std::ops::Bound::Included((line, [0; 16], [0; 16])),
            Some((alert, set)) => std::ops::Bound::Excluded((line, alert.0, set.0)),
        };
        let to = std::ops::Bound::Included((line, [u8::MAX; 16], [u8::MAX; 16]));
        if after == Some((AlertId([u8::MAX; 16]), LabelSet([u8::MAX; 16]))) {
            return Ok(Vec::new());
        }
        let rows = table.range::<(&str, [u8; 16], [u8; 16])>((from, to))?.take(limit).map(|entry| {
            let (key, row) = entry?;
            let (_, alert, set) = key.value();
            let mut row: ResendRow = decode(row.value())?;
            if row.notice.health && row.until_ns.is_none() {
                let now = self.health_of(AlertId(alert))?.and_then(|now| now.told).map(|told| told.notice);
                if let Some(now) = now.filter(|now| now.episode == row.notice.episode) {
                    row.notice.annotations = now.annotations;
                }
            }
            Ok(((AlertId(alert), LabelSet(set)), row))
        });
        rows.collect()
    }

    /// Starts that are due, in order, and the wall times (ns since 1970) at which their alerts' earlier ones for the same
    /// occasion began.
    pub fn due_starts(&self) -> Result<Vec<(StartRow, Vec<i64>)>, Error> {
        let mut due = Vec::new();
        let mut began: BTreeMap<(Occasion, AlertId), Vec<i64>> = BTreeMap::new();
        for occasion in [Occasion::Failed, Occasion::Resolved] {
            let table = self.tx.open_table(starts_of(occasion))?;
            for entry in table.iter()? {
                let mut row: StartRow = decode(entry?.1.value())?;
                row.request.occasion = occasion;
                match row.state {
                    StartState::Due => due.push(row),
                    StartState::Started { at_ns, .. } => {
                        began.entry((occasion, row.request.alert)).or_default().push(at_ns);
                    }
                    StartState::Refused(_) | StartState::Lapsed => {}
                }
            }
        }
        due.sort_by_key(|row| row.sequence);
        let with_began = |row: StartRow| {
            let began = began.get(&(row.request.occasion, row.request.alert)).cloned().unwrap_or_default();
            (row, began)
        };
        Ok(due.into_iter().map(with_began).collect())
    }

    /// Wall times (ns since 1970) at which starts of `alert` for `occasion` began.
    pub fn began(&self, occasion: Occasion, alert: AlertId) -> Result<Vec<i64>, Error> {
        let table = self.tx.open_table(starts_of(occasion))?;
        let mut began = Vec::new();
        for entry in table.range((alert.0, 0)..=(alert.0, u64::MAX))? {
            if let StartState::Started { at_ns, .. } = decode::<StartRow>(entry?.1.value())?.state {
                began.push(at_ns);
            }
        }
        Ok(began)
    }

    /// The start of an episode by `on_fail`.
    pub fn start(&self, alert: AlertId, episode: u64) -> Result<Option<StartRow>, Error> {
        stored(&self.tx.open_table(STARTS)?, (alert.0, episode))
    }

    /// One health alert.
    pub fn health_of(&self, alert: AlertId) -> Result<Option<HealthRow>, Error> {
        stored(&self.tx.open_table(HEALTH)?, alert.0)
    }

    /// Health alerts that fire or did.
    pub fn health(&self) -> Result<BTreeMap<AlertId, HealthRow>, Error> {
        let table = self.tx.open_table(HEALTH)?;
        let rows = table.iter()?.map(|entry| {
            let (alert, row) = entry?;
            Ok((AlertId(alert.value()), decode(row.value())?))
        });
        rows.collect()
    }
}
