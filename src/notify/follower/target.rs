//! How a line is spoken to.
//!
//! Duty: for each kind the request that carries one message; the pace of Slack. Guarantee: secrets are not shown by `Debug`.
//! Left to others: bodies (`webhook`, `cloudevents`, `pagerduty`, `slack`), Alertmanagers (`peer`).

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::super::config::{Format, Webhook};
use super::super::retry::Reply;
use super::super::webhook::{self, IDEMPOTENCY_KEY, SIGNATURE};
use super::super::wire::{self, JSON};
use super::super::{cloudevents, pagerduty, shown, slack};
use super::Shared;
use super::peer::Peer;
use crate::gate::journal::Notice;
use crate::gate::window::nanos;

/// Slack takes one message a second.
const PACE_NS: i64 = 1_000_000_000;

#[derive(Debug)]
pub(super) enum Target {
    /// Each message is a request.
    Each(Each),
    /// Messages go in batches, and again.
    Alertmanager(Peer),
}

pub(super) enum Each {
    Webhook { webhook: Webhook, secret: Option<Vec<u8>> },
    PagerDuty { url: String, routing_key: String },
    Slack { url: String, pace: Pace },
}

impl fmt::Debug for Each {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Webhook { .. } => "Webhook",
            Self::PagerDuty { .. } => "PagerDuty",
            Self::Slack { .. } => "Slack",
        })
    }
}

impl Each {
    /// Between messages, where the receiver wants it.
    pub(super) const fn pace(&self) -> Option<&Pace> {
        match self {
            Self::Slack { pace, .. } => Some(pace),
            Self::Webhook { .. } | Self::PagerDuty { .. } => None,
        }
    }

    /// Sends one message.
    pub(super) async fn send(&self, notice: &Notice, name: &str, shared: &Shared) -> Reply {
        let (external_url, now_ns) = (shared.terms.external_url.as_str(), shared.clock.now_ns());
        match self {
            Self::Webhook { webhook, secret } => {
                let (body, content_type) = match webhook.format {
                    Format::Alertmanager => (webhook::body(notice, name, external_url), JSON),
                    Format::CloudEvents => {
                        let body = cloudevents::body(notice, name, external_url, &shared.instance);
                        (body, cloudevents::CONTENT_TYPE)
                    }
                };
                let request = shared.client.post(&webhook.url);
                let mut request = request.header(IDEMPOTENCY_KEY, shown::transition(notice));
                for (name, value) in &webhook.headers {
                    request = request.header(name, value);
                }
                if let Some(secret) = secret {
                    request = request.header(SIGNATURE, webhook::signature(secret, now_ns / 1_000_000_000, &body));
                }
                wire::post(request, content_type, body, now_ns).await
            }
            Self::PagerDuty { url, routing_key } => {
                let request = shared.client.post(&format!("{url}{}", pagerduty::PATH));
                wire::post(request, JSON, pagerduty::body(notice, routing_key, external_url), now_ns).await
            }
            Self::Slack { url, .. } => {
                wire::post(shared.client.post(url), JSON, slack::body(notice, external_url), now_ns).await
            }
        }
    }
}

/// At most one message a second, and none for as long as the receiver asks.
pub(super) struct Pace(Mutex<Hold>);

#[derive(Clone, Copy)]
struct Hold {
    /// When it was said, ns since 1970.
    from_ns: i64,
    /// Until when nothing goes.
    to_ns: i64,
}

impl Pace {
    /// As if a message had been sent at `now_ns`: the process before may have.
    pub(super) const fn from(now_ns: i64) -> Self {
        Self(Mutex::new(Hold { from_ns: now_ns, to_ns: now_ns.saturating_add(PACE_NS) }))
    }

    /// When the next one may go, if that is not now.
    pub(super) fn free_at(&self, now_ns: i64) -> Option<i64> {
        let mut held = self.held();
        if now_ns < held.from_ns {
            // A clock that was set back does not hold messages for longer than the pace.
            *held = Hold { from_ns: now_ns, to_ns: now_ns.saturating_add(PACE_NS) };
        }
        (now_ns < held.to_ns).then_some(held.to_ns)
    }

    pub(super) fn sent(&self, now_ns: i64) {
        self.until(now_ns, now_ns.saturating_add(PACE_NS));
    }

    /// The receiver asks at `now_ns` for `asked` without a message.
    pub(super) fn hold(&self, now_ns: i64, asked: Duration) {
        let asked_ns = nanos(asked);
        self.until(now_ns, now_ns.saturating_add(asked_ns));
    }

    fn until(&self, from_ns: i64, to_ns: i64) {
        let mut held = self.held();
        // What it asked for goes before the pace.
        let to_ns = if from_ns < held.from_ns { to_ns } else { to_ns.max(held.to_ns) };
        *held = Hold { from_ns, to_ns };
    }

    fn held(&self) -> MutexGuard<'_, Hold> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
