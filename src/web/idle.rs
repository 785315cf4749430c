//! Connections that ask nothing, and those that do not take what they asked for.
//!
//! Duty: know since when a connection waits for its peer, and for how long it may. Guarantee: an answer takes us as long
//! as it takes; before the first request a peer has 10 s, from one to the next and from one piece of an answer to the next
//! 2 min, unless another request waits for us. Left to others: heads that arrive too slowly over HTTP/1.1 (hyper), bodies
//! that do (`body`), closing (`serve`).
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
/// From one to the next, and from one piece of an answer to the next: who works on what came, or reads it page by page,
/// rests for a while.
pub(super) const NEXT: Duration = Duration::from_secs(120);

/// What a connection does; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<Mutex<Facts>>);

#[derive(Debug)]
struct Facts {
    /// Requests of which the next thing to be done is ours.
    ours: usize,
    /// When the peer's time is over, if `ours` is 0.
    ends: Instant,
    next: Duration,
}

/// A request in hand, until it is dropped.
#[derive(Debug)]
pub(super) struct InHand {
    activity: Activity,
    is_ours: bool,
}

impl Activity {
    /// Of a connection that was made just now.
    pub(super) fn new() -> Self {
        Self::with(FIRST, NEXT)
    }

    fn with(first: Duration, next: Duration) -> Self {
        Self(Arc::new(Mutex::new(Facts { ours: 0, ends: Instant::now() + first, next })))
    }

    /// A request came.
    pub(super) fn begin(&self) -> InHand {
        self.facts().ours += 1;
        InHand { activity: self.clone(), is_ours: true }
    }

    /// Ends once the peer has asked nothing and taken nothing for too long.
    pub(super) async fn over(&self) {
        loop {
            let ends = {
                let facts = self.facts();
                match facts.ours {
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
        Body::new(Held { body, request: self })
    }

    /// Whose turn it is from now on.
    fn turn(&mut self, is_ours: bool) {
        let mut facts = self.activity.facts();
        match (self.is_ours, is_ours) {
            (false, true) => facts.ours += 1,
            (true, false) => facts.ours -= 1,
            _ => {}
        }
        facts.ends = Instant::now() + facts.next;
        self.is_ours = is_ours;
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.turn(false);
    }
}

/// The body of an answer.
struct Held {
    body: Body,
    request: InHand,
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // It is asked for the next piece when the peer has room for it.
        self.request.turn(polled.is_pending());
        polled
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
    use futures::{FutureExt as _, StreamExt as _, stream};
    use http_body_util::BodyExt as _;

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
        let pieces = stream::iter([Ok::<_, std::io::Error>("piece")]).chain(stream::pending());
        let mut answer = activity.begin().until_the_end_of(Body::from_stream(pieces));
        assert!(!is_over(&activity, 2 * next).await, "an answer takes as long as it takes");
        assert!(answer.frame().await.is_some());
        assert!(!is_over(&activity, next / 2).await);
        assert!(is_over(&activity, next).await, "the peer has not come for the next piece");
        assert!(answer.frame().now_or_never().is_none());
        assert!(!is_over(&activity, 2 * next).await, "it has, and we have none");
        let other = activity.begin();
        drop(answer);
        assert!(!is_over(&activity, 2 * next).await);
        drop(other);
        assert!(!is_over(&activity, next / 2).await);
        assert!(is_over(&activity, next).await);
    }
}
