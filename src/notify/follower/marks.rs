//! What became of tries, written down.
//!
//! Duty: from answers of receivers to marks in the outbox, what Alertmanagers then know and the health alert of the line.
//! Guarantee: a mark that could not be written is kept and written before anything else is sent, so that a disk that takes
//! nothing does not make a message go out again and again. Left to others: sending (the parent, `peer`), waits between
//! tries of a message (`retry`).

use std::collections::BTreeMap;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::super::retry::{self, Next, Reply};
use super::super::shown::transition;
use super::target::Target;
use super::{Follower, blocking};
use crate::gate::health::{Condition, HealthKind};
use crate::gate::journal::{Batch, Error, OutboxRow, Resend, Status};

/// Between looks at an outbox that cannot be read or marked.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// A try that ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) sequence: u64,
    pub(super) row: OutboxRow,
    pub(super) reply: Reply,
    /// What the receiver knows if it arrived.
    pub(super) changes: Vec<Resend>,
}

/// What is to be written and is not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Unmarked {
    /// Messages with what is left of them.
    pub(super) marks: Vec<(u64, Option<OutboxRow>)>,
    /// What the receiver knows.
    pub(super) known: Vec<Resend>,
    /// Whether the line takes messages: not, for this reason, or it does. `None` = nothing new.
    pub(super) failing: Option<Option<String>>,
}

impl Unmarked {
    fn is_empty(&self) -> bool {
        self.marks.is_empty() && self.known.is_empty() && self.failing.is_none()
    }

    /// What is told last holds.
    fn take_in(&mut self, later: Self) {
        self.marks.extend(later.marks);
        self.known.extend(later.known);
        if later.failing.is_some() {
            self.failing = later.failing;
        }
    }
}

/// The pause after `failures` (from 1) in a row: 1 s doubling to 60 s.
pub(super) fn pause(failures: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(LONGEST)
}

impl Follower {
    /// Writes down how tries ended.
    ///
    /// Errors: the journal; then it is kept, and [`Follower::flush`] writes it.
    pub(super) async fn settle(&self, ended: Vec<Ended>) -> Result<(), Error> {
        let now_ns = self.shared.clock.now_ns();
        let interval = matches!(self.target, Target::Alertmanager(_)).then_some(self.shared.terms.resend);
        let mut unmarked = Unmarked::default();
        let (mut arrived, mut dead) = (false, None);
        for Ended { sequence, row, reply, changes } in ended {
            let attempts = row.attempts.saturating_add(1);
            let id = transition(&row.notice);
            let times = (row.written_ns, now_ns);
            match retry::next(&reply, attempts, times, interval, self.shared.clock.random()) {
                Next::Done => {
                    arrived = true;
                    unmarked.marks.push((sequence, None));
                    unmarked.known.extend(changes);
                }
                Next::Again(next_try_ns) => {
                    tracing::warn!(receiver = %self.name, transition = %id, attempts, code = %reply.code(), "message not delivered yet");
                    unmarked.marks.push((sequence, Some(OutboxRow { attempts, next_try_ns, ..row })));
                }
                Next::Dead(why) => {
                    tracing::error!(receiver = %self.name, transition = %id, attempts, %why, "message given up");
                    self.shared.metrics.dead_letters.inc();
                    dead = Some(why.clone());
                    if row.notice.status == Status::Resolved {
                        // Its end cannot be told, so at least nobody says any more that it fires.
                        unmarked.known.push(Resend::ForgetAll(row.notice.alert));
                    }
                    unmarked.marks.push((sequence, Some(OutboxRow { attempts, dead: Some(why), ..row })));
                }
            }
        }
        unmarked.failing = match (dead, arrived) {
            (Some(why), _) => Some(Some(why)),
            (None, true) => Some(None),
            (None, false) => None,
        };
        self.write(unmarked).await
    }

    /// Writes what is left of earlier tries, then `unmarked`, in one transaction.
    ///
    /// Errors: the journal; then all of it is kept, and [`Follower::flush`] writes it.
    pub(super) async fn write(&self, unmarked: Unmarked) -> Result<(), Error> {
        self.unmarked().take_in(unmarked);
        self.flush().await
    }

    /// Writes what could not be written before, if there is any. Nothing is sent before this has gone well.
    ///
    /// Errors: the journal.
    pub(super) async fn flush(&self) -> Result<(), Error> {
        let Unmarked { marks, known, failing } = {
            let unmarked = self.unmarked();
            if unmarked.is_empty() {
                return Ok(());
            }
            unmarked.clone()
        };
        let batch = match failing {
            Some(failing) => self.health(failing.as_deref()).await?,
            None => Batch::default(),
        };
        // Most often there is nothing new of a line's health, and then a transaction would be synced for nothing.
        if !(marks.is_empty() && known.is_empty() && batch.is_empty()) {
            let (journal, name) = (self.shared.journal.clone(), self.name.clone());
            let now_ns = self.shared.clock.now_ns();
            blocking(move || journal.mark_told(&name, &marks, &known, &batch, now_ns)).await?;
        }
        // One task drives a follower, so nothing came meanwhile.
        *self.unmarked() = Unmarked::default();
        Ok(())
    }

    fn unmarked(&self) -> MutexGuard<'_, Unmarked> {
        self.unmarked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns the health alert about this receiver on (with a reason) or off.
    async fn health(&self, failing: Option<&str>) -> Result<Batch, Error> {
        let snapshot = self.shared.journal.clone();
        let known = blocking(move || snapshot.snapshot()?.health()).await?;
        let condition = Condition {
            kind: HealthKind::DeliveryFailing,
            about: &self.name,
            key: &BTreeMap::new(),
            receivers: &self.others,
            summary: format!("receiver {}: {}", self.name, failing.unwrap_or_default()),
            t_ns: self.shared.clock.now_ns(),
        };
        let mut batch = Batch::default();
        if let Some((row, messages)) = condition.turn(known.get(&condition.alert()), failing.is_some()) {
            batch.health.insert(condition.alert(), row);
            batch.outbox = messages;
        }
        Ok(batch)
    }
}
