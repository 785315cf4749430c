//! The door of the log: where appends get their lsn and line up for the next group.
//!
//! Duty: under one short lock, look the identity up, assign lsn and store position, queue the record. Guarantee: lsns
//! and positions strictly increase in queue order; every queued record is answered exactly once; nothing enters while
//! the door is shut. Left to others: writing what is queued (`thread.rs`).

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::identity::{Identities, Seen};
use super::payload::Payload;
use super::told::{Answer, Told};
use crate::clock::Clock;
use crate::span::SpanBatch;
use crate::store::metrics::Metrics;
use crate::store::{Error, Lsn};

/// A record on its way into the log.
#[derive(Debug)]
pub struct Pending {
    /// What becomes visible.
    pub batches: Vec<SpanBatch>,
    /// What is written.
    pub payload: Payload,
    /// XXH3-64 of the payload.
    pub payload_xxh3: u64,
    /// Position in the log.
    pub lsn: Lsn,
    /// Store position, µs.
    pub ingest_us: i64,
    /// Request identity; 0 = none.
    pub identity: u128,
    /// Own spans.
    pub own: bool,
    /// Number of spans.
    pub spans: u32,
    /// When it was queued.
    pub since: Instant,
    /// Who waits for it.
    pub done: Told,
}

/// What an append offers.
#[derive(Debug)]
pub struct Offer {
    /// What becomes visible.
    pub batches: Vec<SpanBatch>,
    /// What is written.
    pub payload: Payload,
    /// XXH3-64 of the payload.
    pub payload_xxh3: u64,
    /// Request identity; 0 = none.
    pub identity: u128,
    /// Own spans.
    pub own: bool,
    /// Number of spans.
    pub spans: u32,
}

/// What became of an offer.
#[derive(Debug)]
pub enum Entered {
    /// It is queued; the answer comes when it is durable and visible.
    Queued(oneshot::Receiver<Answer>),
    /// The same is stored.
    Stored,
    /// The same is queued by someone else.
    Waits(oneshot::Receiver<Result<(), Error>>),
    /// There is no room for it, for this reason; it is given back.
    Refused(Box<Offer>, Error),
}

/// The queue and all that is decided under its lock.
#[derive(Debug)]
pub struct Door {
    state: Mutex<State>,
    /// Wakes the log thread.
    pub(super) wake: Condvar,
    clock: Clock,
    metrics: Arc<Metrics>,
}

/// See [`Door`].
#[derive(Debug)]
pub struct State {
    pub(in crate::store) pending: Vec<Pending>,
    pub(in crate::store) pending_bytes: u64,
    pub(in crate::store) next_lsn: Lsn,
    last_us: i64,
    pub(in crate::store) identities: Identities,
    /// No new records, those queued are finished.
    pub(super) draining: bool,
    /// No new records until the log is proven again.
    pub(in crate::store) off: Option<Error>,
    /// Who asked for a freeze; told the lsn up to which rows are in frozen generations.
    pub(super) freezes: Vec<oneshot::Sender<Lsn>>,
    /// The last word: write the mark, end.
    pub(super) finish: Option<oneshot::Sender<()>>,
    pub(super) stop: bool,
    /// The log thread is gone.
    ended: bool,
    /// It panicked.
    pub(in crate::store) died: Option<Error>,
}

impl Door {
    /// A door whose first record gets `next_lsn` and a position above `last_us`.
    pub fn new(next_lsn: Lsn, last_us: i64, identities: Identities, clock: Clock, metrics: Metrics) -> Self {
        let state = State {
            pending: Vec::new(),
            pending_bytes: 0,
            next_lsn,
            last_us,
            identities,
            draining: false,
            off: None,
            freezes: Vec::new(),
            finish: None,
            stop: false,
            ended: false,
            died: None,
        };
        Self { state: Mutex::new(state), wake: Condvar::new(), clock, metrics: Arc::new(metrics) }
    }

    /// The state, locked.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    /// Queues an offer, unless the same is known or `refusal` tells why not; a repeat is not refused for want of room.
    ///
    /// Errors: nothing enters any more, or not before the log is proven again.
    pub fn enter(&self, offer: Offer, refusal: impl FnOnce() -> Option<Error>) -> Result<Entered, Error> {
        let mut state = self.lock();
        if state.draining || state.stop || state.ended {
            return Err(state.why_ended());
        }
        let now = self.clock.now_us().max(state.last_us);
        if offer.identity != 0 {
            match state.identities.offer(offer.identity, now) {
                Seen::Durable => return Ok(Entered::Stored),
                Seen::Pending(told) => return Ok(Entered::Waits(told)),
                Seen::New => {}
            }
        }
        if let Some(error) = state.off.clone() {
            state.identities.failed(offer.identity, &error);
            return Err(error);
        }
        if let Some(error) = refusal() {
            state.identities.failed(offer.identity, &error);
            return Ok(Entered::Refused(Box::new(offer), error));
        }
        Ok(Entered::Queued(self.queue(&mut state, offer)))
    }

    /// How far the newest store position stands ahead of the clock, which was ahead itself then; 0 = not at all.
    pub fn ahead(&self) -> Duration {
        let ahead_us = self.lock().last_us.saturating_sub(self.clock.now_us());
        Duration::from_micros(u64::try_from(ahead_us).unwrap_or(0))
    }

    /// Asks for a freeze between two groups; the answer is the lsn up to which all rows are frozen then.
    pub fn freeze(&self) -> Result<oneshot::Receiver<Lsn>, Error> {
        let (tell, told) = oneshot::channel();
        let mut state = self.lock();
        if state.ended {
            return Err(state.why_ended());
        }
        state.freezes.push(tell);
        self.wake.notify_all();
        Ok(told)
    }

    /// Lets nothing more in.
    pub fn drain(&self) {
        self.lock().draining = true;
    }

    /// Asks the log thread to write the mark and end, once the queue is empty; told when it has.
    pub fn finish(&self) -> Result<oneshot::Receiver<()>, Error> {
        let (tell, told) = oneshot::channel();
        let mut state = self.lock();
        if state.ended {
            return Err(state.why_ended());
        }
        state.finish = Some(tell);
        self.wake.notify_all();
        Ok(told)
    }

    /// Asks the log thread to end once the queue is empty.
    pub fn stop(&self) {
        self.lock().stop = true;
        self.wake.notify_all();
    }

    /// The log thread is gone, with what it died of: whoever waits learns it.
    pub(super) fn end(&self, died: Option<Error>) {
        // Whatever the thread held when it panicked: nobody uses the queue any more.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended = true;
        state.died = died;
        state.freezes.clear();
        state.finish = None;
        drop(state.take());
        let error = state.why_ended();
        state.identities.abandon(&error);
        drop(state);
        self.state.clear_poison();
    }

    /// Why nothing enters once the log thread is gone.
    pub fn why_ended(&self) -> Error {
        self.lock().why_ended()
    }

    /// The same for one who got no answer: the thread lets go of what it holds before it says what it died of.
    pub async fn ended(&self) -> Error {
        for _ in 0..5_000 {
            {
                let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                if state.ended {
                    return state.why_ended();
                }
            }
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        self.why_ended()
    }

    /// Lines a record up whatever the door's state: for the shutdown mark.
    pub(in crate::store) fn queue(&self, state: &mut State, offer: Offer) -> oneshot::Receiver<Answer> {
        let (done, answer) = Told::new(self.metrics.clone(), offer.own, offer.spans);
        // storage.md 2: max(now, last + 1 µs), so it increases strictly even where the clock stands behind.
        state.last_us = self.clock.now_us().max(state.last_us + 1);
        let pending = Pending {
            batches: offer.batches,
            payload: offer.payload,
            payload_xxh3: offer.payload_xxh3,
            lsn: state.next_lsn,
            ingest_us: state.last_us,
            identity: offer.identity,
            own: offer.own,
            spans: offer.spans,
            since: Instant::now(),
            done,
        };
        state.next_lsn += 1;
        // The log thread waits for the first record, and then for a full group or its time: each one between would wake it
        // for nothing.
        let is_first = state.pending.is_empty();
        state.pending_bytes += pending.log_bytes();
        state.pending.push(pending);
        if is_first || state.is_full_group() {
            self.wake.notify_all();
        }
        answer
    }
}

impl State {
    fn why_ended(&self) -> Error {
        self.died.clone().unwrap_or(Error::Draining)
    }

    /// Takes all that is queued.
    pub(in crate::store) fn take(&mut self) -> Vec<Pending> {
        self.pending_bytes = 0;
        std::mem::take(&mut self.pending)
    }

    /// Whether a group should not wait for more.
    pub(in crate::store) fn is_full_group(&self) -> bool {
        self.pending_bytes >= 1 << 20 || self.pending.len() >= 256
    }
}
