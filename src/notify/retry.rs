//! When a message is tried again (gates.md 9).
//!
//! Duty: from the answer of a receiver to done, again, or dead. Guarantee: pure; only answers that another try cannot change
//! end in a dead letter before a day has passed. Left to others: the clock and chance, which come in.

use std::time::Duration;

use crate::gate::window::nanos;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// Most of what a peer may ask for between re-sends, in their intervals.
const MOST_ASKED: u32 = 2;
/// Older messages are dead.
pub(super) const OLDEST_NS: i64 = 24 * 3_600 * 1_000_000_000;

/// How a try ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The receiver answered.
    Status {
        /// HTTP status.
        code: u16,
        /// Header `Retry-After`, if it is a time to wait.
        retry_after: Option<Duration>,
        /// Beginning of the body, for a dead letter.
        text: String,
    },
    /// It did not within 10 s.
    Timeout,
    /// The connection failed.
    Network(String),
}

impl Reply {
    /// As if it had arrived.
    pub(super) const fn nothing_to_say() -> Self {
        Self::Status { code: 200, retry_after: None, text: String::new() }
    }

    /// For how long it asks to be left alone.
    pub(super) const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Timeout | Self::Network(_) => None,
        }
    }

    /// The label `code`.
    pub(super) fn code(&self) -> String {
        match self {
            Self::Status { code, .. } => code.to_string(),
            Self::Timeout => "timeout".to_owned(),
            Self::Network(_) => "network".to_owned(),
        }
    }
}

/// What becomes of the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// It arrived.
    Done,
    /// Try again at this time, ns since 1970.
    Again(i64),
    /// Give up, for this reason.
    Dead(String),
}

/// After try number `attempts` (from 1) of a message written at `written_ns`, to a receiver that is told again every `interval`
/// if it has one: a message that waits stands for what would be told again of its alert, so it waits no longer than that does.
pub(super) fn next(
    reply: &Reply,
    attempts: u32,
    (written_ns, now_ns): (i64, i64),
    interval: Option<Duration>,
    chance: u64,
) -> Next {
    let why = match reply {
        Reply::Status { code: 200..=299, .. } => return Next::Done,
        Reply::Status { code: code @ (408 | 429 | 500..=599), .. } => format!("status {code}"),
        Reply::Status { code, text, .. } => return Next::Dead(format!("status {code}: {text}")),
        Reply::Timeout => "no answer in time".to_owned(),
        Reply::Network(why) => why.clone(),
    };
    if now_ns.saturating_sub(written_ns) >= OLDEST_NS {
        return Next::Dead(format!("not delivered within a day; last: {why}"));
    }
    let wait_ns = match interval {
        Some(interval) => resend_wait_ns(reply, attempts, interval, chance),
        None => nanos(jitter(attempts, chance).max(reply.retry_after().unwrap_or_default())),
    };
    Next::Again(now_ns.saturating_add(wait_ns))
}

/// How long what is told again every `interval` waits after failure number `attempts` (from 1) in a row, in ns.
///
/// An Alertmanager ends what it was not told for four intervals, and one of them is over when a round begins: the peer gets
/// the time that it asks for, but at most so much that one more try comes before the end.
pub(super) fn resend_wait_ns(reply: &Reply, attempts: u32, interval: Duration, chance: u64) -> i64 {
    let asked = reply.retry_after().unwrap_or_default().min(interval.saturating_mul(MOST_ASKED));
    nanos(jitter(attempts, chance).min(interval).max(asked))
}

/// Full jitter: evenly between nothing and 1 s doubling to 5 min.
fn jitter(attempts: u32, chance: u64) -> Duration {
    let longest = FIRST.saturating_mul(2_u32.saturating_pow(attempts.saturating_sub(1).min(16))).min(LONGEST);
    let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(chance % (nanos + 1))
}

/// The time to wait in a `Retry-After`: seconds or an HTTP date; at most a day.
pub(super) fn retry_after(text: &str, now_ns: i64) -> Option<Duration> {
    let day = Duration::from_nanos(OLDEST_NS.unsigned_abs());
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds).min(day));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp().as_nanosecond();
    let wait = at.saturating_sub(i128::from(now_ns));
    Some(u64::try_from(wait).map_or(Duration::ZERO, Duration::from_nanos).min(day))
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: i64 = 1_000_000_000;

    fn status(code: u16) -> Reply {
        Reply::Status { code, retry_after: None, text: "no".into() }
    }

    #[test]
    fn what_another_try_can_change_is_tried_again_and_the_rest_is_dead() {
        for reply in
            [status(408), status(429), status(500), status(503), Reply::Timeout, Reply::Network("reset".into())]
        {
            assert!(matches!(next(&reply, 1, (0, 0), None, 7), Next::Again(_)), "{reply:?}");
            assert!(matches!(next(&reply, 1, (0, OLDEST_NS), None, 7), Next::Dead(_)), "a day old: {reply:?}");
        }
        for code in [301, 400, 401, 404, 413] {
            assert_eq!(next(&status(code), 1, (0, 0), None, 7), Next::Dead(format!("status {code}: no")));
        }
        assert_eq!(next(&status(204), 9, (0, OLDEST_NS * 2), None, 7), Next::Done);
    }

    #[test]
    fn waits_double_from_a_second_to_five_minutes_with_full_jitter() {
        for (attempts, longest_s) in [(1, 1), (2, 2), (5, 16), (9, 256), (10, 300), (4_000, 300)] {
            let longest = longest_s * S;
            for chance in [0, longest as u64 / 2, longest as u64, u64::MAX] {
                let Next::Again(at) = next(&status(500), attempts, (0, 0), None, chance) else { panic!() };
                assert!((0..=longest).contains(&at), "{attempts} {chance} {at}");
            }
            let at = next(&status(500), attempts, (0, 0), None, longest as u64);
            assert_eq!(at, Next::Again(longest), "the longest wait can be drawn");
        }
    }

    #[test]
    fn a_receiver_that_asks_for_time_gets_it() {
        let asks = Reply::Status { code: 429, retry_after: retry_after("120", 0), text: String::new() };
        assert_eq!(next(&asks, 1, (0, 5 * S), None, 3), Next::Again(125 * S));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 10 * S), Some(Duration::from_secs(50)));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:00:00 GMT", 10 * S), Some(Duration::ZERO));
        assert_eq!(retry_after("soon", 0), None);
        assert_eq!(retry_after("99999999999", 0), Some(Duration::from_secs(86_400)));
    }

    #[test]
    fn a_re_send_waits_for_what_is_asked_and_never_so_long_that_alerts_end() {
        let interval = Duration::from_secs(60);
        let asks = |text| Reply::Status { code: 429, retry_after: retry_after(text, 0), text: String::new() };
        let longest = 300 * S as u64;
        for (reply, chance, wait_s) in [
            (asks("90"), 0, 90),
            (asks("30"), 0, 30),
            (asks("400"), 0, 120),
            (status(500), 0, 0),
            (status(500), longest, 60),
        ] {
            assert_eq!(resend_wait_ns(&reply, 20, interval, chance), wait_s * S, "{reply:?}");
            // A message that waits stands for it.
            let again = next(&reply, 20, (0, 5 * S), Some(interval), chance);
            assert_eq!(again, Next::Again((5 + wait_s) * S), "{reply:?}");
        }
    }
}
