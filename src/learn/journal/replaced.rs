//! An engine's file that is not the one that was followed, or an older copy of it.
//!
//! Duty: begin anew with its first event. Guarantee: no run of it is taken for one that was; what is decided of runs that it
//! does not hold stays, under a number that no run has; what is open of them goes, for nothing closes it any more. Left to
//! others: noticing it (`follow`).

use redb::{ReadableDatabase as _, ReadableTable as _, WriteTransaction};

use super::{BY_RUN, CURSOR, Error, Journal, RUN, TRIES, TryRow, WATCH, decode, encode, stored};
use crate::learn::sources::EngineHead;

/// Beside the cursor of the engine: which engine that is.
const ENGINE_ID: &str = "engine_id";

impl Journal {
    /// The engine that is followed; `None` before its first event, and in files of versions that did not ask.
    ///
    /// Errors: see [`Error`].
    pub fn engine_id(&self) -> Result<Option<[u8; 16]>, Error> {
        stored(&self.db.begin_read()?.open_table(CURSOR)?, ENGINE_ID)
    }

    /// Follows the engine of `head` from now on; whether that is another one than before, or an older copy.
    ///
    /// Errors: see [`Error`]; then nothing of it was written.
    pub fn turn_to(&self, head: &EngineHead) -> Result<bool, Error> {
        let tx = self.begin()?;
        let is_replaced;
        {
            let mut cursor = tx.open_table(CURSOR)?;
            let last = stored::<_, u64>(&cursor, "engine")?.unwrap_or_default();
            let before = stored::<_, [u8; 16]>(&cursor, ENGINE_ID)?;
            is_replaced = before.is_some_and(|id| id != head.id) || head.sequence < last;
            if is_replaced {
                let is_same = before == Some(head.id);
                cursor.insert("engine", encode(&0_u64).as_slice())?;
                leave(&tx, |row| is_same && row.facts.at_ns <= head.at_ns)?;
            }
            cursor.insert(ENGINE_ID, encode(&head.id).as_slice())?;
        }
        tx.commit()?;
        Ok(is_replaced)
    }
}

/// Makes room for an engine that counts anew; rows that `comes_again` are made again from its events.
fn leave(tx: &WriteTransaction, comes_again: impl Fn(&TryRow) -> bool) -> Result<(), Error> {
    let (mut tries, mut by_run) = (tx.open_table(TRIES)?, tx.open_table(BY_RUN)?);
    let mut rows = Vec::new();
    for entry in tries.iter()? {
        let (effect, row) = entry?;
        rows.push((effect.value().to_owned(), decode::<TryRow>(row.value())?));
    }
    // Keys of runs are above 0: what is below was left before.
    for (effect, row) in rows.into_iter().filter(|(_, row)| row.run >= 0) {
        let at_ns = row.facts.at_ns;
        tries.remove(effect.as_str())?;
        by_run.remove((row.run, at_ns, effect.as_str()))?;
        if row.decision.outcome.is_some() && !comes_again(&row) {
            // An older copy may give the same key of effect to something else.
            let (effect, run) = (format!("{effect}@{at_ns}"), row.run.saturating_neg());
            tries.insert(effect.as_str(), encode(&TryRow { run, ..row }).as_slice())?;
            by_run.insert((run, at_ns, effect.as_str()), ())?;
        }
    }
    tx.open_table(RUN)?.retain(|_, _| false)?;
    tx.open_table(WATCH)?.retain(|_, _| false)?;
    Ok(())
}
