//! What receivers of the kind alertmanager know, for they want to be told again and again (gates.md 9).
//!
//! Duty: rows of the table `resend`: for each line (one address of a receiver), alert and label set what was told last.
//! Guarantee: a row is written with the mark of the message that it comes from, in one transaction. Left to others: sending
//! (`notify`), how much may lie here (`outbox`), which lines there are (`lines`).

use std::collections::BTreeMap;

use redb::WriteTransaction;
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
                    sizes.forgot(line, before.value().len(), fires(before.value())?);
                }
                sizes.keeps(line, bytes.len(), row.until_ns.is_none());
            }
            Resend::Forget(alert, set) => {
                if let Some(before) = table.remove((line, alert.0, set.0))? {
                    sizes.forgot(line, before.value().len(), fires(before.value())?);
                }
            }
            Resend::ForgetAll(alert) => {
                let all = (line, alert.0, [0; 16])..=(line, alert.0, [u8::MAX; 16]);
                for entry in table.extract_from_if(all, |_, _| true)? {
                    let before = entry?.1;
                    sizes.forgot(line, before.value().len(), fires(before.value())?);
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
}

/// Whether a row of the table `resend` says that something fires.
pub(super) fn fires(row: &[u8]) -> Result<bool, Error> {
    Ok(decode::<ResendRow>(row)?.until_ns.is_none())
}

pub(super) fn is_waiting(row: &[u8]) -> bool {
    decode::<OutboxRow>(row).is_ok_and(|row| row.dead.is_none())
}
