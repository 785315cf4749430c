//! One follower of the outbox a receiver.
//!
//! Duty: send what is due, in order per alert id; mark what arrived, put off what did not, give up what never will, with a
//! health alert through the other receivers. Guarantee: a mark is written only after a 2xx, so a message is sent at least
//! once; a message waits only for earlier ones of its alert id, receivers never for each other. Left to others: bodies
//! (`webhook`), waits (`retry`).

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Webhook};
use super::metrics::Metrics;
use super::retry::{self, Next, Reply};
use super::webhook::{self, IDEMPOTENCY_KEY, SIGNATURE};
use crate::clock::Clock;
use crate::error::Class;
use crate::gate::Journal;
use crate::gate::health::{Condition, HealthKind};
use crate::gate::journal::{Batch, Error, Notice, OutboxRow, Status};
use crate::gate::state::Cause;

/// Time for one answer.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Messages looked at together, of which each alert's first is sent.
const LOOKED_AT: usize = 2_048;
/// Messages of one receiver on the wire at a time.
const AT_A_TIME: usize = 16;
/// Longest pause without looking at the outbox.
const IDLE: Duration = Duration::from_secs(30);
/// What of an answer's body is kept in a dead letter, in bytes.
const KEPT_TEXT: usize = 512;

/// Why delivery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A `secret_file`.
    #[error(
        "notify::receivers::{receiver}::webhook::secret_file: cannot read {path}: {why}; check the path and its rights"
    )]
    Secret {
        /// Name of the receiver.
        receiver: String,
        /// As configured.
        path: String,
        /// The operating system's words.
        why: String,
    },
    /// The HTTP client or the metrics' names.
    #[error("delivery cannot start: {0}")]
    Setup(String),
}

impl OpenError {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Secret { .. } => Class::Invalid,
            Self::Setup(_) => Class::Internal,
        }
    }
}

/// Sends to every receiver.
#[derive(Debug)]
pub struct Notifier {
    followers: Vec<Follower>,
}

#[derive(Debug)]
struct Follower {
    name: String,
    webhook: Webhook,
    secret: Option<Vec<u8>>,
    others: Vec<String>,
    /// Up to this sequence there are only dead letters; a message never comes back to life.
    dead_to: AtomicU64,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    external_url: String,
    journal: Journal,
    clock: Clock,
    client: reqwest::Client,
    metrics: Metrics,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pass {
    /// Messages tried or left out; there may be more to do at once.
    tried: usize,
    /// The first moment at which a message is due again, ns since 1970.
    next_ns: Option<i64>,
}

impl Notifier {
    /// Reads secrets and makes the client.
    ///
    /// Errors: see [`OpenError`].
    pub fn open(config: &Config, journal: Journal, clock: Clock, registry: &Registry) -> Result<Self, OpenError> {
        let metrics = Metrics::register(registry).map_err(|e| OpenError::Setup(e.to_string()))?;
        Self::with(config, journal, clock, metrics, client(TIMEOUT)?)
    }

    fn with(
        config: &Config,
        journal: Journal,
        clock: Clock,
        metrics: Metrics,
        client: reqwest::Client,
    ) -> Result<Self, OpenError> {
        let shared = Arc::new(Shared { external_url: config.external_url.clone(), journal, clock, client, metrics });
        let follower = |(name, webhook): (&String, &Webhook)| {
            let secret = webhook.secret_file.as_ref().map(|path| {
                let unreadable = |e: std::io::Error| OpenError::Secret {
                    receiver: name.clone(),
                    path: path.display().to_string(),
                    why: e.to_string(),
                };
                std::fs::read(path).map(|bytes| bytes.trim_ascii_end().to_vec()).map_err(unreadable)
            });
            Ok(Follower {
                name: name.clone(),
                webhook: webhook.clone(),
                secret: secret.transpose()?,
                others: config.receivers.keys().filter(|other| *other != name).cloned().collect(),
                dead_to: AtomicU64::new(0),
                shared: shared.clone(),
            })
        };
        let followers = config.receivers.iter().map(follower).collect::<Result<_, OpenError>>()?;
        Ok(Self { followers })
    }

    /// Sends until `stop`. What is on the wire then is sent again at the next start, with the same id.
    pub async fn run(self, stop: CancellationToken) {
        futures::future::join_all(self.followers.into_iter().map(|follower| follower.run(stop.clone()))).await;
    }
}

/// A client that waits for an answer for `timeout`.
fn client(timeout: Duration) -> Result<reqwest::Client, OpenError> {
    reqwest::Client::builder()
        .timeout(timeout)
        // A redirected POST would become a GET, and arrive as nothing.
        .redirect(reqwest::redirect::Policy::none())
        .user_agent(concat!("weavergen/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|e| OpenError::Setup(e.to_string()))
}

impl Follower {
    async fn run(self, stop: CancellationToken) {
        let mut changes = self.shared.journal.outbox_changes();
        loop {
            changes.mark_unchanged();
            let pass = tokio::select! {
                () = stop.cancelled() => return,
                pass = self.pass() => pass,
            };
            let wait = match pass {
                Ok(Pass { tried: 1.., .. }) => continue,
                Ok(Pass { next_ns: Some(at_ns), .. }) => {
                    let left_ns = at_ns.saturating_sub(self.shared.clock.now_ns());
                    Duration::from_nanos(u64::try_from(left_ns).unwrap_or(0)).clamp(Duration::from_millis(10), IDLE)
                }
                Ok(Pass { next_ns: None, .. }) => IDLE,
                Err(error) => {
                    tracing::error!(receiver = %self.name, %error, "the outbox cannot be read or marked");
                    Duration::from_secs(1)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                _ = changes.changed() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Tries each alert's first message that is due.
    async fn pass(&self) -> Result<Pass, Error> {
        let now_ns = self.shared.clock.now_ns();
        let mut waiting = BTreeSet::new();
        let (mut due, mut skipped, mut next_ns) = (Vec::new(), Vec::new(), None::<i64>);
        let first = self.dead_to.load(Ordering::Relaxed);
        let mut after = first;
        loop {
            let rows = self.waiting(after).await?;
            if after == first {
                self.dead_to.store(rows.first().map_or(first, |(at, _)| at.saturating_sub(1)), Ordering::Relaxed);
                self.show(&rows, now_ns);
            }
            let (count, last) = (rows.len(), rows.last().map_or(after, |(at, _)| *at));
            for (sequence, row) in rows {
                // Left out ones hold up nobody, so they do not wait for their turn.
                if !self.wants(&row.notice) {
                    skipped.push((sequence, None));
                } else if !waiting.insert(row.notice.alert) {
                } else if row.next_try_ns > now_ns {
                    next_ns = Some(next_ns.map_or(row.next_try_ns, |next| next.min(row.next_try_ns)));
                } else {
                    due.push((sequence, row));
                }
            }
            // However many wait for their time, what stands behind them does not wait with them.
            if count < LOOKED_AT || !due.is_empty() || !skipped.is_empty() {
                break;
            }
            after = last;
        }
        let tried = due.len() + skipped.len();
        if !skipped.is_empty() {
            self.mark(skipped, Batch::default()).await?;
        }
        let mut due = due.into_iter();
        let mut on_the_wire = FuturesUnordered::new();
        loop {
            while on_the_wire.len() < AT_A_TIME
                && let Some((sequence, row)) = due.next()
            {
                on_the_wire.push(async move {
                    let reply = self.send(&row.notice).await;
                    (sequence, row, reply)
                });
            }
            let Some(first) = on_the_wire.next().await else { break };
            let mut ended = vec![first];
            // Those that ended meanwhile are marked by the same transaction.
            while let Some(Some(next)) = futures::FutureExt::now_or_never(on_the_wire.next()) {
                ended.push(next);
            }
            self.settle(ended).await?;
        }
        Ok(Pass { tried, next_ns })
    }

    fn wants(&self, notice: &Notice) -> bool {
        if notice.status == Status::Resolved && !self.webhook.send_resolved {
            return false;
        }
        // Who was told that it failed is told that it does not any more.
        notice.health || notice.level >= self.webhook.min_level || notice.reason == Cause::Lowered.as_str()
    }

    async fn send(&self, notice: &Notice) -> Reply {
        let body = webhook::body(notice, &self.name, &self.shared.external_url);
        let mut request = self
            .shared
            .client
            .post(&self.webhook.url)
            .header(reqwest::header::CONTENT_TYPE, "application/json")
            .header(IDEMPOTENCY_KEY, webhook::idempotency_key(notice));
        for (name, value) in &self.webhook.headers {
            request = request.header(name, value);
        }
        if let Some(secret) = &self.secret {
            let unix_s = self.shared.clock.now_ns() / 1_000_000_000;
            request = request.header(SIGNATURE, webhook::signature(secret, unix_s, &body));
        }
        let reply = match request.body(body).send().await {
            Ok(response) => self.read(response).await,
            Err(error) if error.is_timeout() => Reply::Timeout,
            // The address may hold a secret.
            Err(error) => Reply::Network(chain(&error.without_url())),
        };
        self.shared.metrics.sent.with_label_values(&[self.name.as_str(), reply.code().as_str()]).inc();
        reply
    }

    async fn read(&self, response: reqwest::Response) -> Reply {
        let code = response.status().as_u16();
        let asked = response.headers().get(reqwest::header::RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|text| retry::retry_after(text, self.shared.clock.now_ns()));
        let mut text = Vec::new();
        if !(200..300).contains(&code) {
            let mut body = response.bytes_stream();
            while let Some(Ok(bytes)) = body.next().await {
                text.extend_from_slice(&bytes);
                if text.len() >= KEPT_TEXT {
                    text.truncate(KEPT_TEXT);
                    break;
                }
            }
        }
        Reply::Status { code, retry_after, text: String::from_utf8_lossy(&text).trim().to_owned() }
    }

    /// Writes down how tries ended.
    async fn settle(&self, ended: Vec<(u64, OutboxRow, Reply)>) -> Result<(), Error> {
        let now_ns = self.shared.clock.now_ns();
        let mut marks = Vec::new();
        let (mut arrived, mut dead) = (false, None);
        for (sequence, row, reply) in ended {
            let attempts = row.attempts.saturating_add(1);
            let id = webhook::idempotency_key(&row.notice);
            match retry::next(&reply, attempts, row.written_ns, now_ns, self.shared.clock.random()) {
                Next::Done => {
                    arrived = true;
                    marks.push((sequence, None));
                }
                Next::Again(next_try_ns) => {
                    tracing::warn!(receiver = %self.name, transition = %id, attempts, code = %reply.code(), "message not delivered yet");
                    marks.push((sequence, Some(OutboxRow { attempts, next_try_ns, ..row })));
                }
                Next::Dead(why) => {
                    tracing::error!(receiver = %self.name, transition = %id, attempts, %why, "message given up");
                    self.shared.metrics.dead_letters.inc();
                    dead = Some(why.clone());
                    marks.push((sequence, Some(OutboxRow { attempts, dead: Some(why), ..row })));
                }
            }
        }
        let batch = match (dead, arrived) {
            (Some(why), _) => self.health(Some(&why)).await?,
            (None, true) => self.health(None).await?,
            (None, false) => Batch::default(),
        };
        self.mark(marks, batch).await
    }

    /// Turns the health alert about this receiver on (with a reason) or off.
    async fn health(&self, failing: Option<&str>) -> Result<Batch, Error> {
        let snapshot = self.shared.journal.clone();
        let known = tokio::task::spawn_blocking(move || snapshot.snapshot()?.health());
        let known = known.await.map_err(|e| Error::Damaged(e.to_string()))??;
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

    /// Messages behind sequence `after`.
    async fn waiting(&self, after: u64) -> Result<Vec<(u64, OutboxRow)>, Error> {
        let (journal, name) = (self.shared.journal.clone(), self.name.clone());
        let read = tokio::task::spawn_blocking(move || journal.snapshot()?.waiting(&name, after, LOOKED_AT));
        read.await.map_err(|e| Error::Damaged(e.to_string()))?
    }

    async fn mark(&self, marks: Vec<(u64, Option<OutboxRow>)>, batch: Batch) -> Result<(), Error> {
        let (journal, name) = (self.shared.journal.clone(), self.name.clone());
        let now_ns = self.shared.clock.now_ns();
        let write = tokio::task::spawn_blocking(move || journal.mark_sent(&name, &marks, &batch, now_ns));
        write.await.map_err(|e| Error::Damaged(e.to_string()))?
    }

    fn show(&self, rows: &[(u64, OutboxRow)], now_ns: i64) {
        let label = [self.name.as_str()];
        let size = self.shared.journal.outbox_size(&self.name);
        let waiting = i64::try_from(size.messages.saturating_sub(size.dead)).unwrap_or(i64::MAX);
        self.shared.metrics.outbox.with_label_values(&label).set(waiting);
        let oldest_ns = rows.iter().map(|(_, row)| now_ns.saturating_sub(row.written_ns)).max().unwrap_or(0);
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
        self.shared.metrics.oldest_seconds.with_label_values(&label).set(oldest_ns as f64 / 1e9);
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
