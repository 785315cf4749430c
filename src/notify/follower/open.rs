//! From the configuration to lines that can be spoken to.
//!
//! Duty: read secrets, make clients, fit what is kept of receivers to those that there are. Guarantee: what is
//! wrong with a file is told at the start, by the key that names it, and without its content. Left to others: sending (the
//! parent).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus::Registry;

use super::super::alertmanager::{self, Terms};
use super::super::config::{Alertmanager, Auth, Config, Kind, Receiver, Username};
use super::super::metrics::Metrics;
use super::super::wire::{self, TIMEOUT};
use super::peer::{Peer, Round};
use super::target::{Each, Pace, Target};
use super::{Follower, Notifier, Shared};
use crate::clock::Clock;
use crate::error::Class;
use crate::gate::Journal;
use crate::gate::health::{self, Condition, HealthKind};
use crate::gate::journal::{self, Batch};

/// What delivery needs of the daemon.
#[derive(Clone, Debug)]
pub struct Rim {
    /// Holds the outbox.
    pub journal: Journal,
    /// Time and chance.
    pub clock: Clock,
    /// Interval of each gate's group, by gate: what fires is said to fire for longer than its gate is judged.
    pub intervals: BTreeMap<String, Duration>,
    /// Names this daemon in the events it sends; the same after a restart.
    pub instance: String,
}

/// Why delivery cannot start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that a key names.
    #[error("notify::receivers::{receiver}::{key}: {why}")]
    File {
        /// Name of the receiver.
        receiver: String,
        /// Below the receiver.
        key: String,
        /// Which file, what is wrong and the next move.
        why: String,
    },
    /// What is kept of the receivers.
    #[error(transparent)]
    Journal(#[from] journal::Error),
    /// The HTTP client or the metrics' names.
    #[error("delivery cannot start: {0}")]
    Setup(String),
}

impl OpenError {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::File { .. } => Class::Invalid,
            Self::Journal(error) => error.class(),
            Self::Setup(_) => Class::Internal,
        }
    }
}

impl Notifier {
    /// Reads secrets and makes clients.
    ///
    /// Errors: see [`OpenError`].
    pub fn open(config: &Config, rim: Rim, registry: &Registry) -> Result<Self, OpenError> {
        let metrics = Metrics::register(registry).map_err(|e| OpenError::Setup(e.to_string()))?;
        let client = wire::client(TIMEOUT, None).map_err(|(_, why)| OpenError::Setup(why))?;
        Self::with(config, rim, metrics, client)
    }

    pub(super) fn with(config: &Config, rim: Rim, metrics: Metrics, client: wire::Client) -> Result<Self, OpenError> {
        let Rim { journal, clock, intervals, instance } = rim;
        let terms = Terms { external_url: config.external_url.clone(), resend: config.resend_interval, intervals };
        let shared = Arc::new(Shared { journal, clock, client, metrics, terms, instance });
        let lines: BTreeMap<String, Vec<String>> = config
            .receivers
            .iter()
            .map(|(name, receiver)| match &receiver.kind {
                Kind::Alertmanager(peers) => (name.clone(), lines(name, peers)),
                Kind::Webhook(_) | Kind::PagerDuty(_) | Kind::Slack(_) => (name.clone(), vec![name.clone()]),
            })
            .collect();
        let given_up = shared.journal.keep_lines(&lines)?;
        shared.metrics.dead_letters.inc_by(given_up);
        fit_health(&shared.journal, &lines, shared.clock.now_ns())?;
        let mut followers = Vec::new();
        for (name, receiver) in &config.receivers {
            for (line, target) in targets(name, receiver, &shared)? {
                followers.push(Follower {
                    others: others(&lines, name, &line),
                    name: line,
                    target,
                    min_level: receiver.min_level,
                    send_resolved: receiver.send_resolved,
                    dead_to: AtomicU64::new(0),
                    unmarked: std::sync::Mutex::default(),
                    shared: shared.clone(),
                });
            }
        }
        Ok(Self { followers })
    }
}

/// Who is told when `line` of `receiver` fails: all other receivers, and its neighbours, for one address that fails can be
/// told of by them.
fn others(lines: &BTreeMap<String, Vec<String>>, receiver: &str, line: &str) -> Vec<String> {
    let receivers = lines.keys().filter(|other| *other != receiver);
    let neighbours = lines.get(receiver).into_iter().flatten().filter(|other| *other != line);
    receivers.chain(neighbours).cloned().collect()
}

/// A line that is not there any more fails no more, and those that are left hear of it; those that are new hear of one that
/// fails on.
fn fit_health(journal: &Journal, lines: &BTreeMap<String, Vec<String>>, now_ns: i64) -> Result<(), journal::Error> {
    let is_line = |name: &str| lines.values().flatten().any(|line| line == name);
    let mut batch = Batch::default();
    for (alert, row) in journal.snapshot()?.health()? {
        if row.kind != HealthKind::DeliveryFailing {
            continue;
        }
        let (about, key) = (row.about.as_str(), &row.key);
        let over = Condition { kind: row.kind, about, key, receivers: &[], summary: String::new(), t_ns: now_ns };
        let changed = match lines.iter().find(|(_, of_it)| of_it.iter().any(|line| line == about)) {
            Some((receiver, _)) => health::follow(&row, &others(lines, receiver, about)),
            None => over.turn(Some(&row), false),
        };
        if let Some((after, messages)) = changed {
            batch.health.insert(alert, after);
            batch.outbox.extend(messages.into_iter().filter(|(name, _)| is_line(name) || lines.contains_key(name)));
        }
    }
    if batch.is_empty() {
        return Ok(());
    }
    // Not by a commit of a tick: the daemon does not run yet, and the time before is downtime.
    journal.mark_sent("", &[], &batch, now_ns)
}

/// A name a address.
fn lines(name: &str, peers: &Alertmanager) -> Vec<String> {
    peers.urls.iter().map(|url| Alertmanager::line(name, url)).collect()
}

/// The lines of a receiver.
fn targets(name: &str, receiver: &Receiver, shared: &Shared) -> Result<Vec<(String, Target)>, OpenError> {
    let secret = |key: &str, path: &Path| read(name, key, path);
    let each = match &receiver.kind {
        Kind::Webhook(webhook) => {
            let secret = webhook.secret_file.as_ref().map(|path| secret("webhook::secret_file", path)).transpose()?;
            Each::Webhook { webhook: webhook.clone(), secret }
        }
        Kind::PagerDuty(pagerduty) => {
            let (key, path) = ("pagerduty::routing_key_file", &pagerduty.routing_key_file);
            let routing_key = text(name, key, path)?;
            Each::PagerDuty { url: pagerduty.url.clone(), routing_key }
        }
        Kind::Slack(slack) => {
            let url = text(name, "slack::url_file", &slack.url_file)?;
            let is_http = reqwest::Url::parse(&url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
            if !is_http {
                let why = format!("{} holds no http or https address; copy it from Slack", slack.url_file.display());
                return Err(OpenError::File { receiver: name.to_owned(), key: "slack::url_file".to_owned(), why });
            }
            Each::Slack { url, pace: Pace::from(shared.clock.now_ns()) }
        }
        Kind::Alertmanager(peers) => return peers_of(name, peers, shared),
    };
    Ok(vec![(name.to_owned(), Target::Each(each))])
}

fn peers_of(name: &str, peers: &Alertmanager, shared: &Shared) -> Result<Vec<(String, Target)>, OpenError> {
    let client = match &peers.tls {
        None => shared.client.clone(),
        Some(tls) => wire::client(TIMEOUT, Some(tls)).map_err(|(key, why)| match key {
            Some(key) => OpenError::File { receiver: name.to_owned(), key: format!("alertmanager::{key}"), why },
            None => OpenError::Setup(why),
        })?,
    };
    // They are read again at each POST; what is wrong with them now is told now.
    match &peers.auth {
        None => {}
        Some(Auth::Basic { username, password_file }) => {
            let key = "alertmanager::auth::basicauth::client_auth";
            if let Username::File(path) = username {
                text(name, &format!("{key}::username_file"), path)?;
            }
            text(name, &format!("{key}::password_file"), password_file)?;
        }
        Some(Auth::Bearer { filename, .. }) => {
            drop(text(name, "alertmanager::auth::bearertokenauth::filename", filename)?);
        }
    }
    let all = lines(name, peers);
    let peer = |(url, line): (&String, &String)| {
        let peer = Peer {
            receiver: name.to_owned(),
            lines: all.clone(),
            url: format!("{url}{}", alertmanager::PATH),
            auth: peers.auth.clone(),
            client: client.clone(),
            round: std::sync::Mutex::new(Round::default()),
        };
        (line.clone(), Target::Alertmanager(peer))
    };
    Ok(peers.urls.iter().zip(&all).map(peer).collect())
}

fn read(receiver: &str, key: &str, path: &Path) -> Result<Vec<u8>, OpenError> {
    let unreadable = |error: std::io::Error| OpenError::File {
        receiver: receiver.to_owned(),
        key: key.to_owned(),
        why: format!("cannot read {}: {error}; check the path and its rights", path.display()),
    };
    std::fs::read(path).map(|bytes| bytes.trim_ascii_end().to_vec()).map_err(unreadable)
}

/// A secret that is text.
fn text(receiver: &str, key: &str, path: &Path) -> Result<String, OpenError> {
    let text = String::from_utf8(read(receiver, key, path)?).unwrap_or_default().trim().to_owned();
    if text.is_empty() {
        let why = format!("{} is empty or no UTF-8; write the secret into it", path.display());
        return Err(OpenError::File { receiver: receiver.to_owned(), key: key.to_owned(), why });
    }
    Ok(text)
}
