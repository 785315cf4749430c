//! What receivers of the kind alertmanager know, for they want to be told again and again (gates.md 9).
//!
//! Duty: rows of the table `resend`: for each line (one address of a receiver), alert and label set what was told last.
//! Guarantee: a row is written with the mark of the message that it comes from, in one transaction; lines that the
//! configuration does not name keep nothing, and new ones begin with what their neighbours know. Left to others: sending
//! (`notify`), how much may lie here (`outbox`).

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::super::identity::AlertId;
use super::outbox::Sizes;
use super::rows::{Notice, OutboxRow, decode, encode};
use super::{Error, Journal, OUTBOX, RESEND, batch};

/// Names a set of labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LabelSet(pub [u8; 16]);

impl LabelSet {
    /// First 16 bytes of SHA-256 over names and values, each with its length before it.
    pub fn of(labels: &BTreeMap<String, String>) -> Self {
        let parts = labels.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()]);
        let digest = parts
            .fold(Sha256::new(), |hash, part| {
                let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
                hash.chain_update(length.to_le_bytes()).chain_update(part.as_bytes())
            })
            .finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }
}

/// Table `resend`, by line, alert id and label set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResendRow {
    /// What was told last; its episode and number are those of the message that said so.
    pub notice: Notice,
    /// `startsAt`, the same in every re-send; ns since 1970.
    pub starts_at_ns: i64,
    /// Until when the end is told again, ns since 1970; `None` = it fires.
    pub until_ns: Option<i64>,
}

/// A change of the table, of one line.
#[derive(Clone, Debug, PartialEq)]
pub enum Resend {
    /// From now on this is told again.
    Put(Box<ResendRow>),
    /// This label set is not told any more.
    Forget(AlertId, LabelSet),
    /// Nothing of this alert is.
    ForgetAll(AlertId),
}

impl super::rows::Row for ResendRow {}

/// Behind which row of a line the next ones are read.
pub type ResendPlace = (AlertId, LabelSet);

pub(super) fn write(tx: &WriteTransaction, line: &str, changes: &[Resend], sizes: &mut Sizes) -> Result<(), Error> {
    if changes.is_empty() {
        return Ok(());
    }
    let mut table = tx.open_table(RESEND)?;
    for change in changes {
        match change {
            Resend::Put(row) => {
                let bytes = encode(row.as_ref());
                let key = (line, row.notice.alert.0, LabelSet::of(&row.notice.labels).0);
                if let Some(before) = table.insert(key, bytes.as_slice())? {
                    sizes.forgot(line, before.value().len());
                }
                sizes.keeps(line, bytes.len());
            }
            Resend::Forget(alert, set) => {
                if let Some(before) = table.remove((line, alert.0, set.0))? {
                    sizes.forgot(line, before.value().len());
                }
            }
            Resend::ForgetAll(alert) => {
                let all = (line, alert.0, [0; 16])..=(line, alert.0, [u8::MAX; 16]);
                for entry in table.extract_from_if(all, |_, _| true)? {
                    sizes.forgot(line, entry?.1.value().len());
                }
            }
        }
    }
    Ok(())
}

impl Journal {
    /// Hands the messages of `receiver` on to each of `lines`, in order. `false` if there are none.
    ///
    /// Errors: see [`Error`].
    pub fn hand_on(&self, receiver: &str, lines: &[String]) -> Result<bool, Error> {
        if self.snapshot()?.waiting(receiver, 0, 1)?.is_empty() {
            return Ok(false);
        }
        let tx = self.inner.db.begin_write()?;
        let mut kept = self.sizes();
        let mut sizes = kept.clone();
        {
            let mut outbox = tx.open_table(OUTBOX)?;
            let mut number = batch::Counter::open(&tx, "outbox")?;
            let mut rows = Vec::new();
            for entry in outbox.extract_from_if((receiver, 0)..=(receiver, u64::MAX), |_, row| is_waiting(row))? {
                rows.push(entry?.1.value().to_vec());
            }
            for row in rows {
                sizes.went(receiver, row.len(), false);
                for line in lines {
                    outbox.insert((line.as_str(), number.next()), row.as_slice())?;
                    sizes.came(line, row.len(), false);
                }
            }
            number.close(&tx)?;
        }
        sizes.trim(&tx, self.inner.limits)?;
        tx.commit()?;
        *kept = sizes;
        drop(kept);
        self.inner.outbox.send_modify(|count| *count += 1);
        Ok(true)
    }

    /// Fits what is kept to the configured `lines` of each receiver: a line without any row gets what a neighbour knows and
    /// what still waits for one that is gone; rows of lines that are gone are removed, their dead letters stay.
    ///
    /// Errors: see [`Error`].
    pub fn keep_lines(&self, lines: &BTreeMap<String, Vec<String>>) -> Result<(), Error> {
        let tx = self.inner.db.begin_write()?;
        let mut kept = self.sizes();
        let mut sizes = kept.clone();
        {
            let mut resend = tx.open_table(RESEND)?;
            let mut known: BTreeSet<String> = BTreeSet::new();
            for entry in resend.iter()? {
                known.insert(entry?.0.value().0.to_owned());
            }
            let mut outbox = tx.open_table(OUTBOX)?;
            for entry in outbox.iter()? {
                known.insert(entry?.0.value().0.to_owned());
            }
            let mut number = batch::Counter::open(&tx, "outbox")?;
            for (receiver, lines) in lines {
                let prefix = format!("{receiver}@");
                let of_receiver: Vec<&String> = known.iter().filter(|line| line.starts_with(&prefix)).collect();
                let fresh: Vec<&String> = lines.iter().filter(|line| !known.contains(*line)).collect();
                if let Some(neighbour) = of_receiver.first() {
                    let all =
                        (neighbour.as_str(), [0; 16], [0; 16])..=(neighbour.as_str(), [u8::MAX; 16], [u8::MAX; 16]);
                    let mut rows = Vec::new();
                    for entry in resend.range(all)? {
                        let (key, row) = entry?;
                        rows.push((key.value().1, key.value().2, row.value().to_vec()));
                    }
                    for line in &fresh {
                        for (alert, set, row) in &rows {
                            resend.insert((line.as_str(), *alert, *set), row.as_slice())?;
                            sizes.keeps(line, row.len());
                        }
                    }
                }
                for gone in of_receiver.into_iter().filter(|line| !lines.contains(*line)) {
                    let all = (gone.as_str(), [0; 16], [0; 16])..=(gone.as_str(), [u8::MAX; 16], [u8::MAX; 16]);
                    for entry in resend.extract_from_if(all, |_, _| true)? {
                        sizes.forgot(gone, entry?.1.value().len());
                    }
                    let mut rows = Vec::new();
                    let all = (gone.as_str(), 0)..=(gone.as_str(), u64::MAX);
                    for entry in outbox.extract_from_if(all, |_, row| is_waiting(row))? {
                        rows.push(entry?.1.value().to_vec());
                    }
                    tracing::warn!(line = %gone, waiting = rows.len(), "an address of a receiver is gone");
                    for row in rows {
                        sizes.went(gone, row.len(), false);
                        for line in &fresh {
                            outbox.insert((line.as_str(), number.next()), row.as_slice())?;
                            sizes.came(line, row.len(), false);
                        }
                    }
                }
            }
            number.close(&tx)?;
            // Lines of receivers that are gone as a whole.
            let configured: BTreeSet<&str> = lines.values().flatten().map(String::as_str).collect();
            for entry in resend.extract_if(|key, _| !configured.contains(key.0))? {
                let (key, row) = entry?;
                sizes.forgot(key.value().0, row.value().len());
            }
        }
        tx.commit()?;
        *kept = sizes;
        Ok(())
    }
}

fn is_waiting(row: &[u8]) -> bool {
    decode::<OutboxRow>(row).is_ok_and(|row| row.dead.is_none())
}
