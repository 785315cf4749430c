//! One follower of the outbox a line: a receiver, or one address of a receiver with several.
//!
//! Duty: send what is due, in order per alert id; mark what arrived, put off what did not, give up what never will, with a
//! health alert through the other receivers. Guarantee: a mark is written only after a 2xx, so a message is sent at least
//! once; a message waits only for earlier ones of its alert id, receivers never for each other. Left to others: bodies
//! (`webhook` and its neighbours), waits (`retry`), what answers mean (`marks`), Alertmanagers' batches and re-sends (`peer`),
//! secrets (`open`).

mod marks;
mod open;
mod peer;
mod target;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio_util::sync::CancellationToken;

use super::alertmanager::Terms;
use super::metrics::Metrics;
use super::retry::Reply;
use super::wire;
use crate::clock::Clock;
use crate::gate::Journal;
use crate::gate::journal::{Error, Notice, OutboxRow, Size, Status};
use crate::gate::state::{Cause, Level};
use marks::{Ended, Unmarked, pause};
use target::{Each, Target};

pub use open::{OpenError, Rim};

/// Messages looked at together, of which each alert's first is sent.
const LOOKED_AT: usize = 2_048;
/// Messages of one receiver on the wire at a time.
const AT_A_TIME: usize = 16;
/// Longest pause without looking at the outbox.
const IDLE: Duration = Duration::from_secs(30);

/// Sends to every receiver.
///
/// A receiver of the kind alertmanager has a line a address, `NAME@HOST:PORT`, each with a queue and re-sends of its own:
/// none waits for another. Every other receiver is one line of its own name.
#[derive(Debug)]
pub struct Notifier {
    followers: Vec<Follower>,
}

#[derive(Debug)]
struct Follower {
    /// Of the line.
    name: String,
    target: Target,
    min_level: Level,
    send_resolved: bool,
    /// Who is told when this line fails.
    others: Vec<String>,
    /// Up to this sequence there are only dead letters; a message never comes back to life under its number.
    dead_to: AtomicU64,
    /// How tries ended, as long as it cannot be written.
    unmarked: Mutex<Unmarked>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    journal: Journal,
    clock: Clock,
    /// Of receivers without certificates of their own.
    client: wire::Client,
    metrics: Metrics,
    terms: Terms,
    /// Names this daemon.
    instance: String,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pass {
    /// Messages tried or left out; there may be more to do at once.
    tried: usize,
    /// The first moment at which a message is due again, ns since 1970.
    next_ns: Option<i64>,
}

/// What may be sent now.
#[derive(Debug, Default)]
struct Due {
    /// Each alert's first message, if its time has come.
    messages: Vec<(u64, OutboxRow)>,
    /// Numbers of messages that this receiver does not want.
    skipped: Vec<u64>,
    next_ns: Option<i64>,
}

impl Notifier {
    /// Sends until `stop`. What is on the wire then is sent again at the next start, with the same id.
    pub async fn run(self, stop: CancellationToken) {
        futures::future::join_all(self.followers.into_iter().map(|follower| follower.run(stop.clone()))).await;
    }
}

impl Follower {
    async fn run(self, stop: CancellationToken) {
        let mut changes = self.shared.journal.outbox_changes();
        let mut failures = 0;
        loop {
            changes.mark_unchanged();
            let pass = tokio::select! {
                () = stop.cancelled() => return,
                pass = self.pass() => pass,
            };
            failures = if pass.is_ok() { 0 } else { failures + 1 };
            let wait = match pass {
                Ok(Pass { tried: 1.., .. }) => continue,
                Ok(Pass { next_ns: Some(at_ns), .. }) => {
                    let left_ns = at_ns.saturating_sub(self.shared.clock.now_ns());
                    Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0)).clamp(Duration::from_millis(10), IDLE)
                }
                Ok(Pass { next_ns: None, .. }) => IDLE,
                Err(error) => {
                    let wait = pause(failures);
                    let wait_s = wait.as_secs();
                    tracing::error!(receiver = %self.name, %error, wait_s, "the outbox cannot be read or marked");
                    // What others write makes this disk no better.
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = tokio::time::sleep(wait) => continue,
                    }
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changes.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Tries each alert's first message that is due, and what an Alertmanager is to be told again.
    async fn pass(&self) -> Result<Pass, Error> {
        self.flush().await?;
        if let Target::Alertmanager(peer) = &self.target {
            let (journal, receiver, lines) = (self.shared.journal.clone(), peer.receiver.clone(), peer.lines.clone());
            blocking(move || journal.hand_on(&receiver, &lines)).await?;
        }
        let Due { mut messages, skipped, mut next_ns } = self.due().await?;
        let mut tried = messages.len() + skipped.len();
        if !skipped.is_empty() {
            let marks = skipped.into_iter().map(|sequence| (sequence, None)).collect();
            self.write(Unmarked { marks, ..Unmarked::default() }).await?;
        }
        let mut sooner = |at_ns: i64| next_ns = Some(next_ns.map_or(at_ns, |next| next.min(at_ns)));
        match &self.target {
            Target::Alertmanager(peer) => {
                let (resent, at_ns) = self.resend(peer).await?;
                self.tell(peer, messages).await?;
                tried += resent;
                sooner(at_ns);
            }
            Target::Each(each) => match each.pace() {
                Some(pace) if !messages.is_empty() => {
                    if let Some(at_ns) = pace.free_at(self.shared.clock.now_ns()) {
                        tried -= messages.len();
                        sooner(at_ns);
                    } else {
                        messages.truncate(1);
                        let sent = self.send_all(each, messages).await;
                        pace.sent(self.shared.clock.now_ns());
                        sent?;
                    }
                }
                _ => self.send_all(each, messages).await?,
            },
        }
        Ok(Pass { tried, next_ns })
    }

    async fn due(&self) -> Result<Due, Error> {
        let now_ns = self.shared.clock.now_ns();
        let mut waiting = BTreeSet::new();
        let mut due = Due::default();
        let first = self.dead_to.load(Ordering::Relaxed);
        let mut after = first;
        loop {
            let (rows, size) = self.waiting(after).await?;
            if after == first {
                self.dead_to.store(rows.first().map_or(first, |(at, _)| at.saturating_sub(1)), Ordering::Relaxed);
                self.show(&rows, size, now_ns);
            }
            let (count, last) = (rows.len(), rows.last().map_or(after, |(at, _)| *at));
            for (sequence, row) in rows {
                // Left out ones hold up nobody, so they do not wait for their turn.
                if !self.wants(&row.notice) {
                    due.skipped.push(sequence);
                } else if !waiting.insert(row.notice.alert) {
                } else if row.next_try_ns > now_ns {
                    due.next_ns = Some(due.next_ns.map_or(row.next_try_ns, |next| next.min(row.next_try_ns)));
                } else {
                    due.messages.push((sequence, row));
                }
            }
            // However many wait for their time, what stands behind them does not wait with them.
            if count < LOOKED_AT || !due.messages.is_empty() || !due.skipped.is_empty() {
                return Ok(due);
            }
            after = last;
        }
    }

    fn wants(&self, notice: &Notice) -> bool {
        // An Alertmanager that is not told of an end must still not be told again that it fires.
        let is_unwanted_end = notice.status == Status::Resolved && !self.send_resolved;
        if is_unwanted_end && !matches!(self.target, Target::Alertmanager(_)) {
            return false;
        }
        // Who was told that it failed is told that it does not any more.
        notice.health || notice.level >= self.min_level || notice.reason == Cause::Lowered.as_str()
    }

    /// Sends each message for itself, several at a time. Once a mark fails nothing more is sent; how those on the wire end is
    /// kept.
    async fn send_all(&self, each: &Each, due: Vec<(u64, OutboxRow)>) -> Result<(), Error> {
        let mut due = due.into_iter();
        let mut on_the_wire = FuturesUnordered::new();
        let mut result = Ok(());
        loop {
            while result.is_ok()
                && on_the_wire.len() < AT_A_TIME
                && let Some((sequence, row)) = due.next()
            {
                on_the_wire.push(async move {
                    let reply = self.send(each, &row.notice).await;
                    Ended { sequence, row, reply, changes: Vec::new() }
                });
            }
            let Some(first) = on_the_wire.next().await else { return result };
            let mut ended = vec![first];
            // Those that ended meanwhile are marked by the same transaction.
            while let Some(Some(next)) = futures::FutureExt::now_or_never(on_the_wire.next()) {
                ended.push(next);
            }
            result = result.and(self.settle(ended).await);
        }
    }

    async fn send(&self, each: &Each, notice: &Notice) -> Reply {
        let reply = each.send(notice, &self.name, &self.shared).await;
        self.count(&reply);
        if let (Some(pace), Some(asked)) = (each.pace(), reply.retry_after()) {
            // It asks the line, not the message.
            pace.hold(self.shared.clock.now_ns(), asked);
        }
        reply
    }

    fn count(&self, reply: &Reply) {
        self.shared.metrics.sent.with_label_values(&[self.name.as_str(), reply.code().as_str()]).inc();
    }

    /// Messages behind sequence `after`, and how much there is in all.
    async fn waiting(&self, after: u64) -> Result<(Vec<(u64, OutboxRow)>, Size), Error> {
        let (journal, name) = (self.shared.journal.clone(), self.name.clone());
        // The size is locked by those who write, for as long as the disk takes.
        blocking(move || Ok((journal.snapshot()?.waiting(&name, after, LOOKED_AT)?, journal.outbox_size(&name)))).await
    }

    fn show(&self, rows: &[(u64, OutboxRow)], size: Size, now_ns: i64) {
        let label = [self.name.as_str()];
        let waiting = i64::try_from(size.messages.saturating_sub(size.dead)).unwrap_or(i64::MAX);
        self.shared.metrics.outbox.with_label_values(&label).set(waiting);
        let oldest_ns = rows.iter().map(|(_, row)| now_ns.saturating_sub(row.written_ns)).max().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
        self.shared.metrics.oldest_seconds.with_label_values(&label).set(oldest_ns as f64 / 1e9);
    }
}

/// Work on the file, off the threads that serve.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Damaged(e.to_string()))?
}
