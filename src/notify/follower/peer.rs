//! One Alertmanager (gates.md 9).
//!
//! Duty: messages in batches, what fires or has ended again and again, halving what is refused. Guarantee: what is told again
//! is what arrived last, and nothing is told again of an alert of which a message waits, so nothing is told out of order: the
//! message is tried as often as its alert would be told again. All of it survives a restart, after which it is told at once.
//! Left to others: what a message says (`alertmanager`), marks (the parent).

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use reqwest::header::AUTHORIZATION;
use serde_json::Value;

use super::super::alertmanager::{self, MOST, Plan};
use super::super::config::{Auth, Username};
use super::super::retry::{self, Reply};
use super::super::shown::transition;
use super::super::wire::{self, JSON};
use super::marks::{Ended, Unmarked};
use super::{Follower, LOOKED_AT, Shared, blocking};
use crate::gate::identity::AlertId;
use crate::gate::journal::{Error, OutboxRow, Resend, ResendPlace, ResendRow};
use crate::gate::window::nanos;

/// Batches told again before messages have their turn.
const PAGES: usize = 16;

/// An address of a receiver.
#[derive(Debug)]
pub(super) struct Peer {
    /// Name of the receiver.
    pub(super) receiver: String,
    /// All addresses of it.
    pub(super) lines: Vec<String>,
    /// With path.
    pub(super) url: String,
    pub(super) auth: Option<Auth>,
    pub(super) client: wire::Client,
    pub(super) round: Mutex<Round>,
}

/// Where telling again stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Round {
    /// When it began, ns since 1970; `None` = the next one is not due.
    begun_ns: Option<i64>,
    /// What was told in it.
    after: Option<ResendPlace>,
    /// Not before, ns since 1970.
    next_ns: i64,
    /// How far ahead that lay when it was said.
    wait_ns: i64,
    /// Failures in a row.
    attempts: u32,
    /// Something was told in it.
    has_told: bool,
    /// Something was not taken in it.
    has_failed: bool,
}

/// How a page that is told again fares.
#[derive(Debug, Default)]
struct Again {
    /// The answer that says that the peer does not take anything now.
    failed: Option<Reply>,
    /// Alerts of it are not taken.
    is_refused: bool,
}

/// A message and what it says.
#[derive(Debug)]
struct Unit {
    sequence: u64,
    row: OutboxRow,
    plan: Plan,
}

impl Follower {
    /// Sends `due`, at most one message an alert.
    pub(super) async fn tell(&self, peer: &Peer, due: Vec<(u64, OutboxRow)>) -> Result<(), Error> {
        if due.is_empty() {
            return Ok(());
        }
        let (journal, name) = (self.shared.journal.clone(), self.name.clone());
        let with_known = blocking(move || {
            let snapshot = journal.snapshot()?;
            let known = |(sequence, row): (u64, OutboxRow)| {
                let known = snapshot.resends_of(&name, row.notice.alert)?;
                Ok((sequence, row, known))
            };
            due.into_iter().map(known).collect::<Result<Vec<_>, Error>>()
        });
        let now_ns = self.shared.clock.now_ns();
        let unit = |(sequence, row, known): (u64, OutboxRow, Vec<ResendRow>)| {
            let plan = alertmanager::plan(&row.notice, row.written_ns, &known, self.send_resolved, now_ns);
            Unit { sequence, row, plan }
        };
        let units = with_known.await?.into_iter().map(unit).collect();
        for batch in batches(units) {
            self.tell_batch(peer, batch).await?;
        }
        Ok(())
    }

    /// Sends a batch; of one that is refused the halves, down to single alerts: the peer may have taken the good ones.
    async fn tell_batch(&self, peer: &Peer, batch: Vec<Unit>) -> Result<(), Error> {
        let mut parts = vec![batch];
        while let Some(mut part) = parts.pop() {
            let alerts: Vec<&ResendRow> = part.iter().flat_map(|unit| &unit.plan.alerts).collect();
            let mut reply = self.post(peer, &alerts).await;
            if is_refused(&reply) && part.len() > 1 {
                let behind = part.split_off(part.len() / 2);
                parts.extend([behind, part]);
                continue;
            }
            if is_refused(&reply) && alerts.len() > 1 {
                reply = self.tell_singly(peer, &alerts).await;
            }
            let ended = part.into_iter().map(|Unit { sequence, row, plan }| Ended {
                sequence,
                row,
                reply: reply.clone(),
                changes: plan.changes,
            });
            self.settle(ended.collect()).await?;
        }
        Ok(())
    }

    /// Sends the alerts of one message for themselves. The last says how things are; without it the ends before it are not
    /// told either.
    async fn tell_singly(&self, peer: &Peer, alerts: &[&ResendRow]) -> Reply {
        let mut first = None;
        for alert in alerts.iter().rev() {
            let reply = self.post(peer, &[alert]).await;
            if !is_success(&reply) && (first.is_none() || !is_refused(&reply)) {
                return reply;
            }
            first.get_or_insert(reply);
        }
        first.unwrap_or_else(Reply::nothing_to_say)
    }

    /// Tells again what is due, if it is: how much was told before messages should have their turn, and when to go on.
    pub(super) async fn resend(&self, peer: &Peer) -> Result<(usize, i64), Error> {
        let mut round = *peer.round.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ns = self.shared.clock.now_ns();
        let interval_ns = nanos(self.shared.terms.resend);
        // A clock that was set back does not end the telling.
        if now_ns < round.next_ns && round.next_ns.saturating_sub(now_ns) <= round.wait_ns {
            return Ok((0, round.next_ns));
        }
        let begun_ns = *round.begun_ns.get_or_insert(now_ns);
        let waiting = self.waiting_alerts().await?;
        let mut told = 0;
        for _ in 0..PAGES {
            let (journal, name, after) = (self.shared.journal.clone(), self.name.clone(), round.after);
            let rows = blocking(move || journal.snapshot()?.resends(&name, after, MOST)).await?;
            let Some(last) = rows.last().map(|(place, _)| *place) else {
                if round.has_told && !round.has_failed {
                    // It takes all that it is told, though no message may come for a long time.
                    self.write(Unmarked { failing: Some(None), ..Unmarked::default() }).await?;
                }
                let next_ns = begun_ns.saturating_add(interval_ns);
                round = Round { next_ns, wait_ns: interval_ns, ..Round::default() };
                break;
            };
            let rows: Vec<ResendRow> =
                rows.into_iter().map(|(_, row)| row).filter(|row| !waiting.contains(&row.notice.alert)).collect();
            round.has_told |= !rows.is_empty();
            let again = self.resend_page(peer, rows).await?;
            round.has_failed |= again.is_refused || again.failed.is_some();
            if let Some(failed) = again.failed {
                round.attempts = round.attempts.saturating_add(1);
                let now_ns = self.shared.clock.now_ns();
                let (interval, chance) = (self.shared.terms.resend, self.shared.clock.random());
                round.wait_ns = retry::resend_wait_ns(&failed, round.attempts, interval, chance);
                round.next_ns = now_ns.saturating_add(round.wait_ns);
                tracing::warn!(receiver = %self.name, code = %failed.code(), "alerts cannot be told again now");
                told = 0;
                break;
            }
            round.attempts = 0;
            round.after = Some(last);
            told += 1;
        }
        *peer.round.lock().unwrap_or_else(PoisonError::into_inner) = round;
        // A round that is not over goes on at once.
        let more = if round.next_ns <= now_ns { told } else { 0 };
        Ok((more, round.next_ns))
    }

    /// Tells `rows` again.
    async fn resend_page(&self, peer: &Peer, rows: Vec<ResendRow>) -> Result<Again, Error> {
        let mut again = Again::default();
        let mut parts = vec![rows];
        let mut over = Vec::new();
        while let Some(mut part) = parts.pop() {
            let reply = self.post(peer, &part.iter().collect::<Vec<_>>()).await;
            match (is_success(&reply), is_refused(&reply)) {
                (true, _) => {
                    let now_ns = self.shared.clock.now_ns();
                    over.extend(part.iter().filter_map(|row| alertmanager::over(row, now_ns)));
                }
                (false, true) if part.len() > 1 => {
                    let behind = part.split_off(part.len() / 2);
                    parts.extend([behind, part]);
                }
                (false, true) => {
                    // It was taken before, so it is no dead letter; the next round tries again.
                    again.is_refused = true;
                    let id = part.first().map(|row| transition(&row.notice)).unwrap_or_default();
                    tracing::warn!(receiver = %self.name, transition = %id, ?reply, "an alert is not taken again");
                    over.extend(part.iter().filter_map(|row| alertmanager::over(row, self.shared.clock.now_ns())));
                }
                (false, false) => {
                    again.failed = Some(reply);
                    break;
                }
            }
        }
        self.keep(over).await?;
        Ok(again)
    }

    async fn keep(&self, changes: Vec<Resend>) -> Result<(), Error> {
        self.write(Unmarked { known: changes, ..Unmarked::default() }).await
    }

    /// Alerts of which a message waits.
    async fn waiting_alerts(&self) -> Result<BTreeSet<AlertId>, Error> {
        let mut alerts = BTreeSet::new();
        let mut after = 0;
        loop {
            let (rows, _) = self.waiting(after).await?;
            alerts.extend(rows.iter().map(|(_, row)| row.notice.alert));
            match rows.last() {
                Some((last, _)) if rows.len() == LOOKED_AT => after = *last,
                _ => return Ok(alerts),
            }
        }
    }

    /// One POST; nothing to say has arrived.
    async fn post(&self, peer: &Peer, alerts: &[&ResendRow]) -> Reply {
        if alerts.is_empty() {
            return Reply::nothing_to_say();
        }
        let reply = peer.post(alerts, &self.shared).await;
        self.count(&reply);
        reply
    }
}

impl Peer {
    async fn post(&self, alerts: &[&ResendRow], shared: &Shared) -> Reply {
        let now_ns = shared.clock.now_ns();
        let body: Vec<Value> = alerts.iter().map(|row| shared.terms.alert(row, now_ns)).collect();
        let request = match self.authorized(self.client.post(&self.url)).await {
            Ok(request) => request,
            Err(why) => return Reply::Network(why),
        };
        wire::post(request, JSON, Value::from(body).to_string(), now_ns).await
    }

    /// Files are read at each POST, for tokens are replaced while the daemon runs.
    async fn authorized(&self, request: reqwest::RequestBuilder) -> Result<reqwest::RequestBuilder, String> {
        Ok(match &self.auth {
            None => request,
            Some(Auth::Basic { username, password_file }) => {
                let username = match username {
                    Username::Text(text) => text.clone(),
                    Username::File(path) => secret(path).await?,
                };
                request.basic_auth(username, Some(secret(password_file).await?))
            }
            Some(Auth::Bearer { scheme, filename }) => {
                let text = secret(filename).await?;
                let token = text.lines().next().unwrap_or_default().trim();
                request.header(AUTHORIZATION, format!("{scheme} {token}").trim_start().to_owned())
            }
        })
    }
}

async fn secret(path: &std::path::Path) -> Result<String, String> {
    let read = tokio::fs::read_to_string(path).await;
    read.map(|text| text.trim_end().to_owned()).map_err(|error| format!("cannot read {}: {error}", path.display()))
}

/// Units in order, together of at most [`MOST`] alerts.
fn batches(units: Vec<Unit>) -> Vec<Vec<Unit>> {
    let mut batches: Vec<(usize, Vec<Unit>)> = Vec::new();
    for unit in units {
        let alerts = unit.plan.alerts.len();
        match batches.last_mut() {
            Some((count, batch)) if *count + alerts <= MOST => {
                *count += alerts;
                batch.push(unit);
            }
            _ => batches.push((alerts, vec![unit])),
        }
    }
    batches.into_iter().map(|(_, batch)| batch).collect()
}

const fn is_success(reply: &Reply) -> bool {
    matches!(reply, Reply::Status { code: 200..=299, .. })
}

/// Whether it is about what was sent, not about who sent it or when.
const fn is_refused(reply: &Reply) -> bool {
    matches!(reply, Reply::Status { code: 400 | 413, .. })
}
