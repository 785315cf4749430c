//! Connections that ask nothing.
//!
//! Duty: know since when a connection has no request in hand, and for how long it may be so. Guarantee: a request is in
//! hand from its head to the last byte of its answer, however long that takes; before the first one a connection has 10
//! s, between two 2 min. Left to others: heads that arrive too slowly over HTTP/1.1 (hyper), closing (`serve`).
//!
//! The library that tells HTTP/1.1 from HTTP/2 waits for the first bytes without a limit, and pings of HTTP/2 are
//! answered by clients that want nothing.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use tokio::time::Instant;

/// To the first request.
const FIRST: Duration = Duration::from_secs(10);
/// From one to the next.
const NEXT: Duration = Duration::from_secs(120);

/// What a connection does; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<Facts>>);

#[derive(Debug)]
struct Facts {
    in_hand: usize,
    ends: Instant,
    next: Duration,
}

/// A request in hand, until it is dropped.
#[derive(Debug)]
pub(super) struct InHand(Activity);

impl Activity {
    /// Of a connection that was made just now.
    pub(super) fn new() -> Self {
        Self::with(FIRST, NEXT)
    }

    fn with(first: Duration, next: Duration) -> Self {
        Self(Arc::new(Mutex::new(Facts { in_hand: 0, ends: Instant::now() + first, next })))
    }

    /// A request came.
    pub(super) fn begin(&self) -> InHand {
        self.facts().in_hand += 1;
        InHand(self.clone())
    }

    /// Ends once the connection has asked nothing for too long.
    pub(super) async fn over(&self) {
        loop {
            let ends = {
                let facts = self.facts();
                match facts.in_hand {
                    0 if facts.ends <= Instant::now() => return,
                    0 => facts.ends,
                    // Once it is done, its time begins anew.
                    _ => Instant::now() + facts.next,
                }
            };
            tokio::time::sleep_until(ends).await;
        }
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl InHand {
    /// `body`, with which the request ends.
    pub(super) fn until_the_end_of(self, body: Body) -> Body {
        Body::new(Held { body, _request: self })
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut facts = self.0.facts();
        facts.in_hand -= 1;
        facts.ends = Instant::now() + facts.next;
    }
}

/// The body of an answer.
struct Held {
    body: Body,
    _request: InHand,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_over(activity: &Activity, after: Duration) -> bool {
        tokio::time::timeout(after, activity.over()).await.is_ok()
    }

    #[tokio::test]
    async fn a_connection_has_its_time_to_the_first_request_and_to_the_next_one() {
        let (first, next) = (Duration::from_millis(200), Duration::from_millis(600));
        let activity = Activity::with(first, next);
        assert!(!is_over(&activity, first / 2).await);
        assert!(is_over(&activity, first).await);
        let activity = Activity::with(first, next);
        let answer = activity.begin().until_the_end_of(Body::from("long"));
        assert!(!is_over(&activity, 2 * next).await, "an answer takes as long as it takes");
        let other = activity.begin();
        drop(answer);
        assert!(!is_over(&activity, 2 * next).await);
        drop(other);
        assert!(!is_over(&activity, next / 2).await);
        assert!(is_over(&activity, next).await);
    }
}
