//! Who waits for a record, and what its spans count as.
//!
//! Duty: [`Told`], the log's end of one answer. Guarantee: whatever becomes of the record, its spans are counted by one of
//! the two: by who waits for the answer, or here once nobody does; also where the log ends without an answer. Left to
//! others: the end of who waits (`store::append`).

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::store::metrics::{Metrics, source_of};
use crate::store::{Error, Lsn};

/// What the log says of a record; `None`: it ended before it could.
pub type Answer = Option<Result<Lsn, Error>>;

/// See above.
#[derive(Debug)]
pub struct Told {
    /// `None` once it has answered.
    done: Option<oneshot::Sender<Answer>>,
    metrics: Arc<Metrics>,
    own: bool,
    spans: u32,
}

impl Told {
    /// For a record of so many `spans`, and where its answer comes.
    pub fn new(metrics: Arc<Metrics>, own: bool, spans: u32) -> (Self, oneshot::Receiver<Answer>) {
        let (done, answer) = oneshot::channel();
        (Self { done: Some(done), metrics, own, spans }, answer)
    }

    /// Answers. A client that went away needs none; its spans stay (otlp.md A5).
    pub fn answer(mut self, answer: Result<Lsn, Error>) {
        self.say(Some(answer));
    }

    fn say(&mut self, answer: Answer) {
        let Some(Err(unheard)) = self.done.take().map(|done| done.send(answer)) else { return };
        let (source, spans) = (source_of(self.own), self.spans.into());
        match unheard {
            Some(Ok(_)) => self.metrics.stored(source, spans),
            Some(Err(error)) => self.metrics.not_stored(source, spans, &error),
            None => self.metrics.given_up(source, spans),
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        // Sent and not only let go: between a look at who waits and the letting go that one may leave.
        self.say(None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spans offered, acked and failed after `act` on an answer of 3 spans.
    fn counts(act: impl FnOnce(Told, oneshot::Receiver<Answer>)) -> [u64; 3] {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let (told, answer) = Told::new(Arc::new(metrics.clone()), false, 3);
        act(told, answer);
        [&metrics.offered, &metrics.acked, &metrics.failed].map(|family| family.with_label_values(&["received"]).get())
    }

    #[test]
    fn spans_count_here_only_if_nobody_waits_for_the_answer() {
        let heard = |told: Told, mut answer: oneshot::Receiver<Answer>| {
            told.answer(Ok(7));
            assert!(matches!(answer.try_recv(), Ok(Some(Ok(7)))));
        };
        let ended = |told: Told, mut answer: oneshot::Receiver<Answer>| {
            drop(told);
            assert!(matches!(answer.try_recv(), Ok(None)));
        };
        assert_eq!((counts(heard), counts(ended)), ([0; 3], [0; 3]));
        let left = |say: fn(Told)| {
            counts(|told, answer| {
                drop(answer);
                say(told);
            })
        };
        assert_eq!(left(|told| told.answer(Ok(7))), [3, 3, 0]);
        assert_eq!(left(|told| told.answer(Err(Error::Draining))), [3, 0, 3]);
        assert_eq!(left(drop), [3, 0, 3]);
    }
}
