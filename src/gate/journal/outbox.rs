//! How much waits for each receiver, and what goes when it is too much (gates.md 9, limits).
//!
//! Duty: count messages, re-sends and bytes of each receiver, and remove what may go. Guarantee: a message that is still
//! tried never goes, however full the outbox is, nor does a re-send of what fires: without it the receiver would hold the
//! episode for over, and there are never more of them than open episodes, which the table `state` holds anyway; what goes
//! are first re-sends of ends, then dead letters, the oldest first, and what fires leaves them half of the room. Left to others:
//! writing and sending.

use std::collections::{BTreeMap, BTreeSet};

use redb::{ReadableTable as _, WriteTransaction};

use super::resend::{self, ResendRow};
use super::rows::{OutboxRow, Waiting, decode};
use super::{Error, OUTBOX, RESEND};

/// Most of one receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

pub(super) const LIMITS: Limits = Limits { messages: 100_000, bytes: 256 << 20 };
/// Of so many messages of the limit one more goes, so that the next ones find room without a search.
const ONE_MORE_OF: u64 = 100;

/// What is kept for one receiver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Messages, dead letters among them.
    pub messages: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that are not tried any more.
    pub dead: u64,
    /// What is told again and again; no messages, and part of the bytes.
    pub resends: u64,
    /// Those of them that say that something fires.
    pub firing: u64,
    /// Their bytes.
    pub firing_bytes: u64,
}

/// What ticks say of the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampled {
    /// What lies in this one: where somebody sends.
    Own,
    /// What another journal says of them, whose history is played again; `None` = nothing is known, for nobody sends.
    Given(Option<Waiting>),
}

/// By receiver.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes(BTreeMap<String, Size>);

impl Sizes {
    /// Those of the file.
    pub(super) fn read(tx: &WriteTransaction) -> Result<Self, Error> {
        let mut sizes = Self::default();
        for entry in tx.open_table(OUTBOX)?.iter()? {
            let (key, row) = entry?;
            let is_dead = decode::<OutboxRow>(row.value())?.dead.is_some();
            sizes.came(key.value().0, row.value().len(), is_dead);
        }
        for entry in tx.open_table(RESEND)?.iter()? {
            let (key, row) = entry?;
            sizes.keeps(key.value().0, row.value().len(), resend::fires(row.value())?);
        }
        Ok(sizes)
    }

    pub(super) fn of(&self, receiver: &str) -> Size {
        self.0.get(receiver).copied().unwrap_or_default()
    }

    pub(super) fn came(&mut self, receiver: &str, bytes: usize, is_dead: bool) {
        let size = self.0.entry(receiver.to_owned()).or_default();
        size.messages += 1;
        size.bytes += bytes as u64;
        size.dead += u64::from(is_dead);
    }

    pub(super) fn went(&mut self, receiver: &str, bytes: usize, is_dead: bool) {
        let size = self.0.entry(receiver.to_owned()).or_default();
        size.messages = size.messages.saturating_sub(1);
        size.bytes = size.bytes.saturating_sub(bytes as u64);
        size.dead = size.dead.saturating_sub(u64::from(is_dead));
    }

    /// Takes in a re-send.
    pub(super) fn keeps(&mut self, receiver: &str, bytes: usize, fires: bool) {
        let size = self.0.entry(receiver.to_owned()).or_default();
        size.resends += 1;
        size.bytes += bytes as u64;
        if fires {
            size.firing += 1;
            size.firing_bytes += bytes as u64;
        }
    }

    pub(super) fn forgot(&mut self, receiver: &str, bytes: usize, fires: bool) {
        let size = self.0.entry(receiver.to_owned()).or_default();
        size.resends = size.resends.saturating_sub(1);
        size.bytes = size.bytes.saturating_sub(bytes as u64);
        if fires {
            size.firing = size.firing.saturating_sub(1);
            size.firing_bytes = size.firing_bytes.saturating_sub(bytes as u64);
        }
    }

    /// Names of all that had messages.
    pub(super) fn receivers(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    /// All receivers together.
    pub(super) fn waiting(&self) -> Waiting {
        self.0.values().fold(Waiting::default(), |sum, size| Waiting {
            messages: sum.messages + size.messages.saturating_sub(size.dead),
            dead: sum.dead + size.dead,
        })
    }

    /// Those for which something waits, or that are told again and again.
    pub(super) fn lively(&self) -> BTreeSet<String> {
        let is_lively = |(_, size): &(&String, &Size)| size.messages > size.dead || size.resends > 0;
        self.0.iter().filter(is_lively).map(|(name, _)| name.clone()).collect()
    }

    fn any_dead(&self) -> bool {
        self.0.values().any(|size| size.dead > 0)
    }

    /// Removes re-sends of ends, then the oldest dead letters, of receivers that are over `limits`.
    pub(super) fn trim(&mut self, tx: &WriteTransaction, limits: Limits) -> Result<(), Error> {
        let over: Vec<String> =
            self.0.iter().filter(|(_, size)| size.surplus(limits)).map(|(r, _)| r.clone()).collect();
        for receiver in over {
            let ends = self.trim_ends(tx, &receiver, limits)?;
            let letters = self.trim_letters(tx, &receiver, limits)?;
            tracing::warn!(%receiver, ends, letters, "the outbox is full; re-sends of ends or dead letters went");
        }
        Ok(())
    }

    fn trim_ends(&mut self, tx: &WriteTransaction, receiver: &str, limits: Limits) -> Result<usize, Error> {
        let mut table = tx.open_table(RESEND)?;
        let mut ends = Vec::new();
        for entry in table.range((receiver, [0; 16], [0; 16])..=(receiver, [u8::MAX; 16], [u8::MAX; 16]))? {
            let (key, row) = entry?;
            let of: ResendRow = decode(row.value())?;
            if let Some(until_ns) = of.until_ns {
                ends.push((until_ns, of.starts_at_ns, key.value().1, key.value().2, row.value().len()));
            }
        }
        ends.sort_unstable();
        let mut more = limits.messages / ONE_MORE_OF;
        let mut gone = 0;
        for (_, _, alert, set, bytes) in ends {
            let is_over = self.of(receiver).is_over(limits);
            if !is_over && more == 0 {
                break;
            }
            more -= u64::from(!is_over);
            table.remove((receiver, alert, set))?;
            self.forgot(receiver, bytes, false);
            gone += 1;
        }
        Ok(gone)
    }

    fn trim_letters(&mut self, tx: &WriteTransaction, receiver: &str, limits: Limits) -> Result<usize, Error> {
        if !self.of(receiver).is_over(limits) {
            return Ok(0);
        }
        let mut table = tx.open_table(OUTBOX)?;
        let mut gone = Vec::new();
        let (mut left, mut more) = (self.of(receiver), limits.messages / ONE_MORE_OF);
        for entry in table.range((receiver, 0)..=(receiver, u64::MAX))? {
            if left.dead == 0 || (more == 0 && !left.is_over(limits)) {
                break;
            }
            let (key, row) = entry?;
            if decode::<OutboxRow>(row.value())?.dead.is_some() {
                more -= u64::from(!left.is_over(limits));
                self.went(receiver, row.value().len(), true);
                left = self.of(receiver);
                gone.push(key.value().1);
            }
        }
        for sequence in &gone {
            table.remove((receiver, *sequence))?;
        }
        Ok(gone.len())
    }

    /// Removes dead letters written before `before_ns`.
    pub(super) fn prune(&mut self, tx: &WriteTransaction, before_ns: i64) -> Result<(), Error> {
        if !self.any_dead() {
            return Ok(());
        }
        let mut gone = Vec::new();
        let mut table = tx.open_table(OUTBOX)?;
        for entry in table.iter()? {
            let (key, row) = entry?;
            let of: OutboxRow = decode(row.value())?;
            if of.dead.is_some() && of.written_ns < before_ns {
                let (receiver, sequence) = key.value();
                self.went(receiver, row.value().len(), true);
                gone.push((receiver.to_owned(), sequence));
            }
        }
        for (receiver, sequence) in gone {
            table.remove((receiver.as_str(), sequence))?;
        }
        Ok(())
    }
}

impl Size {
    /// Whether it is over `limits` and something of it may go.
    fn surplus(&self, limits: Limits) -> bool {
        (self.dead > 0 || self.resends > self.firing) && self.is_over(limits)
    }

    /// What fires never goes, so it counts for half of each limit at most: else all that may go went as soon as it came, and
    /// there was still no room.
    fn is_over(&self, limits: Limits) -> bool {
        let over = |all: u64, firing: u64, limit: u64| all.saturating_sub(firing) + firing.min(limit / 2) > limit;
        over(self.messages + self.resends, self.firing, limits.messages)
            || over(self.bytes, self.firing_bytes, limits.bytes)
    }
}
