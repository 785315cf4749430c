//! Bringing a dead letter back (gates.md 12, `outbox retry`).
//!
//! Duty: find a message by its number and let it be tried again. Guarantee: it gets a new number behind all others, because
//! a follower does not look again at numbers before its first living one; one that a later transition of its alert has
//! overtaken stays dead, for telling what is over after what is would invent an alert or end one that fires. Left to others:
//! who may ask (`web`).

use redb::{ReadableTable as _, WriteTransaction};

use super::super::identity::AlertId;
use super::rows::{EpisodeRow, GateRow, HealthRow, KeyRow, Notice, OutboxRow, Status, decode, encode};
use super::{EPISODE, Error, GATE, HEALTH, Journal, OUTBOX, STATE, batch, lines, stored};

/// What became of a wish to try a message again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revived {
    /// It waits again, under this number.
    Again(u64),
    /// There is no such message: it arrived, or never was.
    Unknown,
    /// It is tried anyway.
    Waiting,
    /// A later transition of the alert came to be.
    Overtaken,
    /// Its receiver, of this name, is not configured any more, or does not have that address.
    Gone(String),
}

impl Journal {
    /// Tries the dead letter number `sequence` again.
    ///
    /// Errors: see [`Error`].
    pub fn revive(&self, sequence: u64, now_ns: i64) -> Result<Revived, Error> {
        let tx = self.inner.db.begin_write()?;
        let mut kept = self.sizes();
        let mut sizes = kept.clone();
        let again = {
            let mut outbox = tx.open_table(OUTBOX)?;
            let mut found = None;
            for receiver in sizes.receivers() {
                if let Some(bytes) = outbox.get((receiver.as_str(), sequence))? {
                    found = Some((receiver.clone(), bytes.value().len(), decode::<OutboxRow>(bytes.value())?));
                    break;
                }
            }
            let Some((receiver, bytes, row)) = found else { return Ok(Revived::Unknown) };
            if row.dead.is_none() {
                return Ok(Revived::Waiting);
            }
            if let Some(name) = lines::gone(&tx, &receiver)? {
                return Ok(Revived::Gone(name));
            }
            if is_overtaken(&tx, &row.notice)? {
                return Ok(Revived::Overtaken);
            }
            outbox.remove((receiver.as_str(), sequence))?;
            sizes.went(&receiver, bytes, true);
            let mut number = batch::Counter::open(&tx, "outbox")?;
            let again = number.next();
            number.close(&tx)?;
            let row = OutboxRow { written_ns: now_ns, attempts: 0, next_try_ns: 0, dead: None, ..row };
            let bytes = encode(&row);
            outbox.insert((receiver.as_str(), again), bytes.as_slice())?;
            sizes.came(&receiver, bytes.len(), false);
            again
        };
        tx.commit()?;
        *kept = sizes;
        drop(kept);
        self.inner.outbox.send_modify(|count| *count += 1);
        Ok(Revived::Again(again))
    }
}

/// Whether the alert has a transition behind that of `notice`.
fn is_overtaken(tx: &WriteTransaction, notice: &Notice) -> Result<bool, Error> {
    let is_firing = notice.status == Status::Firing;
    if notice.health {
        let row: Option<HealthRow> = stored(&tx.open_table(HEALTH)?, notice.alert.0)?;
        let is_it = |row: HealthRow| row.episode == notice.episode && row.told.is_some() == is_firing;
        return Ok(!row.is_some_and(is_it));
    }
    let episodes = tx.open_table(EPISODE)?;
    let AlertId(alert) = notice.alert;
    if let Some(later) = episodes.range((alert, notice.episode + 1)..=(alert, u64::MAX))?.next() {
        later?;
        return Ok(true);
    }
    let is_open =
        stored::<_, EpisodeRow>(&episodes, (alert, notice.episode))?.is_some_and(|row| row.closed_ns.is_none());
    let gate: Option<GateRow> = stored(&tx.open_table(GATE)?, notice.gate.as_str())?;
    let Some(gate) = gate.filter(|_| is_open) else { return Ok(is_firing) };
    let key = (notice.gate.as_str(), gate.generation, notice.key.as_str());
    let row: Option<KeyRow> = stored(&tx.open_table(STATE)?, key)?;
    let told = row.and_then(|row| row.told).map(|told| (told.notice.episode, told.notice.number));
    // An end of what is open was told when its gate fell silent; it is overtaken once the gate told again that it fires.
    Ok(if is_firing { told != Some((notice.episode, notice.number)) } else { told.is_some() })
}
