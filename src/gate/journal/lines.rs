//! Queues of the outbox and the receivers that are configured (gates.md 9).
//!
//! Duty: at each start fit what is kept to the lines of today; a line is a receiver, or one address of a receiver of the kind
//! alertmanager, `NAME@HOST:PORT`. Guarantee: a new address begins with what a neighbour was told and what still waits for
//! it, together; what waits for a receiver that changed its kind goes on; what waits for one that is gone is given up where
//! people see it, and never told by surprise when the name comes back. Left to others: sending (`notify`).

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable as _, Table, WriteTransaction};

use super::outbox::Sizes;
use super::resend::{fires, is_waiting};
use super::rows::{OutboxRow, decode, encode};
use super::{Bytes, Error, Journal, META, OUTBOX, RESEND, batch, stored};

/// Key in `meta`: names of all lines and receivers that were configured at the last start.
const LINES: &str = "lines";

/// The tables, open in one transaction.
struct Kept<'a, 'tx> {
    outbox: Table<'tx, (&'static str, u64), Bytes>,
    resend: Table<'tx, (&'static str, [u8; 16], [u8; 16]), Bytes>,
    number: batch::Counter,
    sizes: &'a mut Sizes,
}

/// The receiver of a line.
fn receiver_of(line: &str) -> &str {
    line.split_once('@').map_or(line, |(receiver, _)| receiver)
}

/// Whose queue it is, if that receiver is not configured any more. What no start noted yet is not known to be gone.
pub(super) fn gone(tx: &WriteTransaction, line: &str) -> Result<Option<String>, Error> {
    let queues: Option<BTreeSet<String>> = stored(&tx.open_table(META)?, LINES)?;
    let is_gone = queues.is_some_and(|queues| !queues.contains(line));
    Ok(is_gone.then(|| receiver_of(line).to_owned()))
}

impl Journal {
    /// Fits what is kept to the configured `lines` of each receiver; the one line of a receiver that has no addresses is its
    /// name. How many messages were given up because nobody is there to take them.
    ///
    /// Errors: see [`Error`].
    pub fn keep_lines(&self, lines: &BTreeMap<String, Vec<String>>) -> Result<u64, Error> {
        let queues: BTreeSet<String> =
            lines.iter().flat_map(|(receiver, of)| of.iter().chain([receiver])).cloned().collect();
        let tx = self.inner.db.begin_write()?;
        let mut kept = self.sizes();
        let mut sizes = kept.clone();
        let given_up = {
            let before: Option<BTreeSet<String>> = stored(&tx.open_table(META)?, LINES)?;
            let mut tables = Kept {
                outbox: tx.open_table(OUTBOX)?,
                resend: tx.open_table(RESEND)?,
                number: batch::Counter::open(&tx, "outbox")?,
                sizes: &mut sizes,
            };
            let held = tables.sizes.lively();
            // Before starts were noted, a line that held nothing could not be told from a new one.
            let known = before.unwrap_or_else(|| held.clone());
            for (receiver, of_it) in lines {
                let prefix = format!("{receiver}@");
                let is_line = |line: &&String| line.starts_with(&prefix);
                let here: BTreeSet<&String> = held.iter().chain(&known).filter(is_line).collect();
                if of_it.iter().any(|line| line == receiver) {
                    tables.unite(here.iter().map(|line| line.as_str()), receiver)?;
                    continue;
                }
                let old: Vec<&String> = here.iter().copied().filter(|line| known.contains(*line)).collect();
                if let Some(neighbour) = tables.nearest(&old) {
                    for line in of_it.iter().filter(|line| !known.contains(*line)) {
                        tables.copy(neighbour, line)?;
                    }
                }
                for line in here.into_iter().filter(|line| !queues.contains(*line)) {
                    let waiting = tables.take_waiting(line)?.len();
                    if waiting > 0 {
                        tracing::warn!(%line, waiting, "an address of a receiver is gone; the others are told");
                    }
                }
            }
            tables.forget_others(&queues)?;
            let given_up = tables.give_up_others(&queues)?;
            tables.number.close(&tx)?;
            tx.open_table(META)?.insert(LINES, encode(&queues).as_slice())?;
            given_up
        };
        tx.commit()?;
        *kept = sizes;
        Ok(given_up)
    }
}

impl Kept<'_, '_> {
    /// The line of `lines` that is told best: of those for which least waits the one that knows most.
    fn nearest<'l>(&self, lines: &[&'l String]) -> Option<&'l str> {
        let place = |line: &&&String| {
            let size = self.sizes.of(line);
            (size.messages.saturating_sub(size.dead), Reverse(size.resends))
        };
        lines.iter().min_by_key(place).map(|line| line.as_str())
    }

    /// Lets `line` begin with what `neighbour` knows and what waits for it.
    fn copy(&mut self, neighbour: &str, line: &str) -> Result<(), Error> {
        let mut known = Vec::new();
        for entry in self.resend.range((neighbour, [0; 16], [0; 16])..=(neighbour, [u8::MAX; 16], [u8::MAX; 16]))? {
            let (key, row) = entry?;
            known.push((key.value().1, key.value().2, row.value().to_vec()));
        }
        for (alert, set, row) in known {
            if let Some(before) = self.resend.insert((line, alert, set), row.as_slice())? {
                self.sizes.forgot(line, before.value().len(), fires(before.value())?);
            }
            self.sizes.keeps(line, row.len(), fires(&row)?);
        }
        let mut waiting = Vec::new();
        for entry in self.outbox.range((neighbour, 0)..=(neighbour, u64::MAX))? {
            let row = entry?.1.value().to_vec();
            if is_waiting(&row) {
                waiting.push(decode(&row)?);
            }
        }
        waiting.into_iter().try_for_each(|row| self.put(line, row))
    }

    /// Adds a message that nobody tried yet.
    fn put(&mut self, line: &str, row: OutboxRow) -> Result<(), Error> {
        let bytes = encode(&OutboxRow { attempts: 0, next_try_ns: 0, ..row });
        self.outbox.insert((line, self.number.next()), bytes.as_slice())?;
        self.sizes.came(line, bytes.len(), false);
        Ok(())
    }

    /// Takes out what waits for `line`.
    fn take_waiting(&mut self, line: &str) -> Result<Vec<OutboxRow>, Error> {
        let mut rows = Vec::new();
        for entry in self.outbox.extract_from_if((line, 0)..=(line, u64::MAX), |_, row| is_waiting(row))? {
            let row = entry?.1;
            self.sizes.went(line, row.value().len(), false);
            rows.push(decode(row.value())?);
        }
        Ok(rows)
    }

    /// What waits for `lines`, once a transition, goes to `receiver`, whose addresses they were.
    fn unite<'l>(&mut self, lines: impl Iterator<Item = &'l str>, receiver: &str) -> Result<(), Error> {
        let mut rows: Vec<OutboxRow> = Vec::new();
        for line in lines {
            rows.extend(self.take_waiting(line)?);
        }
        // Transitions of one alert in order, whichever line they waited for.
        let place = |row: &OutboxRow| (row.written_ns, row.notice.alert, row.notice.episode, row.notice.number);
        rows.sort_by_key(place);
        rows.dedup_by_key(|row| place(row));
        if !rows.is_empty() {
            tracing::info!(receiver, waiting = rows.len(), "a receiver has no addresses any more; its messages go on");
        }
        rows.into_iter().try_for_each(|row| self.put(receiver, row))
    }

    /// Lines that are not configured are told nothing again.
    fn forget_others(&mut self, queues: &BTreeSet<String>) -> Result<(), Error> {
        for entry in self.resend.extract_if(|key, _| !queues.contains(key.0))? {
            let (key, row) = entry?;
            self.sizes.forgot(key.value().0, row.value().len(), fires(row.value())?);
        }
        Ok(())
    }

    /// What waits where nobody looks is a dead letter. How many there are.
    fn give_up_others(&mut self, queues: &BTreeSet<String>) -> Result<u64, Error> {
        let mut given_up: BTreeMap<String, u64> = BTreeMap::new();
        let mut rows = Vec::new();
        for entry in self.outbox.iter()? {
            let (key, row) = entry?;
            let (line, sequence) = key.value();
            if !queues.contains(line) && is_waiting(row.value()) {
                rows.push((line.to_owned(), sequence, row.value().to_vec()));
            }
        }
        for (line, sequence, bytes) in rows {
            let dead = Some(format!("receiver {} is not configured any more", receiver_of(&line)));
            let row = encode(&OutboxRow { dead, ..decode(&bytes)? });
            self.outbox.insert((line.as_str(), sequence), row.as_slice())?;
            self.sizes.went(&line, bytes.len(), false);
            self.sizes.came(&line, row.len(), true);
            *given_up.entry(line).or_default() += 1;
        }
        for (line, messages) in &given_up {
            tracing::warn!(%line, messages, "messages given up: their receiver is not configured any more");
        }
        Ok(given_up.values().sum())
    }
}
