//! What happens on one connection: requests in hand, since when it is idle, since when a request head is arriving.
//!
//! Duty: the facts from which `connection` takes header and idle timeouts (otlp.md H10, L5, L7). hyper's own header
//! timer also runs while a kept-alive connection is idle, so it cannot tell the two apart. Guarantee: a head is only
//! "arriving" between its first byte and the call of the service. Left to others: closing.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Facts about one connection, shared by its socket, its service and its supervisor.
#[derive(Debug)]
pub(super) struct Activity {
    facts: Mutex<Facts>,
    changed: Notify,
}

#[derive(Debug)]
struct Facts {
    in_hand: usize,
    idle_since: Instant,
    head_since: Option<Instant>,
    unread: bool,
}

/// Which limit a connection reaches next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// A request head takes too long.
    Header,
    /// No request for too long.
    Idle,
}

/// One request in hand; the connection is idle again when the last is dropped.
#[derive(Debug)]
pub(super) struct InHand<'a>(&'a Activity);

impl Activity {
    pub(super) fn new() -> Self {
        let facts = Facts { in_hand: 0, idle_since: Instant::now(), head_since: None, unread: false };
        Self { facts: Mutex::new(facts), changed: Notify::new() }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().expect("no holder of this lock panics")
    }

    /// The socket gave bytes.
    pub(super) fn bytes_arrived(&self) {
        let mut facts = self.facts();
        if facts.in_hand == 0 && facts.head_since.is_none() {
            facts.head_since = Some(Instant::now());
            drop(facts);
            self.changed.notify_one();
        }
    }

    /// A request head is complete.
    pub(super) fn begin(&self) -> InHand<'_> {
        let mut facts = self.facts();
        facts.in_hand += 1;
        facts.head_since = None;
        InHand(self)
    }

    /// A request is answered although bytes of it were not read.
    pub(super) fn left_unread(&self) {
        self.facts().unread = true;
    }

    /// Whether the peer may still be sending: a body nobody read, or a head that was refused.
    pub(super) fn has_unread(&self) -> bool {
        let facts = self.facts();
        facts.unread || facts.head_since.is_some()
    }

    /// Ends when a head began to arrive.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The limit that is reached next, and when; `None` while a request is in hand or when both are off.
    pub(super) fn next_limit(&self, header: Option<Duration>, idle: Option<Duration>) -> Option<(Instant, Limit)> {
        let facts = self.facts();
        if facts.in_hand > 0 {
            return None;
        }
        match facts.head_since {
            Some(since) if header.is_some() => header.map(|limit| (since + limit, Limit::Header)),
            _ => idle.map(|limit| (facts.idle_since + limit, Limit::Idle)),
        }
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        let mut facts = self.0.facts();
        facts.in_hand -= 1;
        facts.idle_since = Instant::now();
        drop(facts);
        self.0.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Option<Duration> = Some(Duration::from_secs(10));
    const IDLE: Option<Duration> = Some(Duration::from_secs(60));

    #[test]
    fn an_idle_connection_and_a_slow_head_have_limits_of_their_own() {
        let activity = Activity::new();
        let limit = |header, idle| activity.next_limit(header, idle).map(|(_, limit)| limit);
        assert_eq!(limit(HEADER, IDLE), Some(Limit::Idle));
        activity.bytes_arrived();
        assert_eq!(limit(HEADER, IDLE), Some(Limit::Header));
        let (first, _) = activity.next_limit(HEADER, IDLE).unwrap();
        std::thread::sleep(Duration::from_millis(2));
        activity.bytes_arrived();
        assert_eq!(activity.next_limit(HEADER, IDLE).unwrap().0, first, "more bytes buy no time");
        let request = activity.begin();
        assert_eq!(limit(HEADER, IDLE), None);
        drop(request);
        assert_eq!(limit(HEADER, IDLE), Some(Limit::Idle));
        assert_eq!(limit(HEADER, None), None);
    }
}
