//! What happens on one connection: requests in hand, since when it is idle, since when a request head is arriving.
//!
//! Duty: the facts from which `connection` takes header and idle timeouts (otlp.md H10, L5, L7). hyper's own header
//! timer also runs while a kept-alive connection is idle, so it cannot tell the two apart. Guarantee: a head is only
//! "arriving" between its first byte and the call of the service; over HTTP/2, where heads and bodies of several requests
//! come one after the other, between the frames that hold it (`frames`). Left to others: closing.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::frames::Seen;

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
    /// HTTP/2: frames tell where heads are, and requests in hand say nothing of the next one's.
    framed: bool,
    /// HTTP/2: bytes came after the last request.
    trailing: bool,
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
        let facts = Facts {
            in_hand: 0,
            idle_since: Instant::now(),
            head_since: None,
            unread: false,
            framed: false,
            trailing: false,
        };
        Self { facts: Mutex::new(facts), changed: Notify::new() }
    }

    /// Of an HTTP/2 connection, whose preface is on its way.
    pub(super) fn of_frames() -> Self {
        let mut new = Self::new();
        let facts = new.facts.get_mut().expect("nobody else holds it yet");
        (facts.framed, facts.head_since) = (true, Some(facts.idle_since));
        new
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

    /// The socket gave bytes of an HTTP/2 connection.
    pub(super) fn frames_arrived(&self, seen: Seen) {
        let mut facts = self.facts();
        facts.trailing |= facts.in_hand == 0;
        let before = facts.head_since;
        if seen.ended || !seen.arriving {
            facts.head_since = None;
        }
        if seen.arriving && facts.head_since.is_none() {
            facts.head_since = Some(Instant::now());
        }
        if facts.head_since != before {
            drop(facts);
            self.changed.notify_one();
        }
    }

    /// A request head is complete.
    pub(super) fn begin(&self) -> InHand<'_> {
        let mut facts = self.facts();
        facts.in_hand += 1;
        facts.trailing = false;
        if !facts.framed {
            facts.head_since = None;
        }
        InHand(self)
    }

    /// A request is answered although bytes of it were not read.
    pub(super) fn left_unread(&self) {
        self.facts().unread = true;
    }

    /// Whether the peer may still be sending: a body nobody read, or a head that was refused.
    pub(super) fn has_unread(&self) -> bool {
        let facts = self.facts();
        facts.unread || facts.trailing || facts.head_since.is_some()
    }

    /// Ends when a head began to arrive.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The limit that is reached next, and when; `None` when both are off, and while requests are in hand and no head is
    /// arriving.
    pub(super) fn next_limit(&self, header: Option<Duration>, idle: Option<Duration>) -> Option<(Instant, Limit)> {
        let facts = self.facts();
        match (facts.head_since, header) {
            (Some(since), Some(limit)) => Some((since + limit, Limit::Header)),
            _ if facts.in_hand > 0 => None,
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

    #[test]
    fn over_http2_a_slow_head_has_its_limit_while_other_requests_are_in_hand() {
        let activity = Activity::of_frames();
        let limit = || activity.next_limit(HEADER, IDLE).map(|(_, limit)| limit);
        assert_eq!(limit(), Some(Limit::Header), "the preface");
        activity.frames_arrived(Seen { ended: true, arriving: false });
        assert_eq!(limit(), Some(Limit::Idle));
        activity.frames_arrived(Seen { ended: true, arriving: true });
        let request = activity.begin();
        let (first, _) = activity.next_limit(HEADER, IDLE).unwrap();
        assert_eq!(limit(), Some(Limit::Header), "the head behind the one in hand");
        std::thread::sleep(Duration::from_millis(2));
        activity.frames_arrived(Seen { ended: false, arriving: true });
        assert_eq!(activity.next_limit(HEADER, IDLE).unwrap().0, first, "more bytes buy no time");
        activity.frames_arrived(Seen { ended: true, arriving: true });
        assert!(activity.next_limit(HEADER, IDLE).unwrap().0 > first, "the next head has a time of its own");
        activity.frames_arrived(Seen { ended: true, arriving: false });
        assert_eq!(limit(), None);
        drop(request);
        assert_eq!(limit(), Some(Limit::Idle));
    }
}
