//! The window of request identities (storage.md 11.3a).
//!
//! Duty: tell a request that is stored, or about to be, from a new one. Guarantee: an identity is durable only once its
//! record is; one whose record failed is new again; memory is bounded by a number of identities, oldest out first. Left
//! to others: what an identity is made from (`receive`), waiting for a pending one (`door.rs`).

use std::collections::{HashMap, VecDeque};

use tokio::sync::oneshot;

use crate::store::Error;

/// What is known of an identity.
#[derive(Debug)]
enum State {
    /// Its record is on its way; these wait for it.
    Pending(Vec<oneshot::Sender<Result<(), Error>>>),
    /// Durable since this store position.
    Durable(i64),
}

/// The answer to "have we seen this".
#[derive(Debug)]
pub enum Seen {
    /// No: it is pending from now on.
    New,
    /// Its record is durable.
    Durable,
    /// Its record is on its way.
    Pending(oneshot::Receiver<Result<(), Error>>),
}

/// The identities of the last `window_us`, at most `capacity` durable ones.
#[derive(Debug)]
pub struct Identities {
    window_us: i64,
    capacity: usize,
    states: HashMap<u128, State>,
    /// Durable ones in the order of their positions.
    order: VecDeque<(i64, u128)>,
}

impl Identities {
    /// An empty window.
    pub fn new(window_us: i64, capacity: usize) -> Self {
        Self { window_us, capacity, states: HashMap::new(), order: VecDeque::new() }
    }

    /// Looks `identity` up at the time `now_us`; a new one becomes pending.
    pub fn offer(&mut self, identity: u128, now_us: i64) -> Seen {
        self.expire(now_us);
        match self.states.get_mut(&identity) {
            Some(State::Durable(_)) => Seen::Durable,
            Some(State::Pending(waiters)) => {
                let (tell, told) = oneshot::channel();
                waiters.push(tell);
                Seen::Pending(told)
            }
            None => {
                self.states.insert(identity, State::Pending(Vec::new()));
                Seen::New
            }
        }
    }

    /// The record of `identity` is durable at the position `ingest_us`; who waited for it is told.
    pub fn durable(&mut self, identity: u128, ingest_us: i64) {
        let before = self.states.insert(identity, State::Durable(ingest_us));
        self.order.push_back((ingest_us, identity));
        if let Some(State::Pending(waiters)) = before {
            // A waiter that has gone away needs no answer.
            waiters.into_iter().for_each(|w| drop(w.send(Ok(()))));
        }
        while self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// The record of `identity` failed: it is new again, and who waited for it is told.
    pub fn failed(&mut self, identity: u128, error: &Error) {
        if let Some(State::Pending(waiters)) = self.states.remove(&identity) {
            waiters.into_iter().for_each(|w| drop(w.send(Err(error.clone()))));
        }
    }

    /// No record of a pending identity comes any more: who waits is told.
    pub fn abandon(&mut self, error: &Error) {
        let pending = self.states.extract_if(|_, state| matches!(state, State::Pending(_)));
        for (_, state) in pending {
            let State::Pending(waiters) = state else { continue };
            waiters.into_iter().for_each(|w| drop(w.send(Err(error.clone()))));
        }
    }

    fn expire(&mut self, now_us: i64) {
        while self.order.front().is_some_and(|(at, _)| now_us.saturating_sub(*at) > self.window_us) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((at, identity)) = self.order.pop_front()
            && matches!(self.states.get(&identity), Some(State::Durable(durable)) if *durable == at)
        {
            self.states.remove(&identity);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_is_new_then_pending_then_durable_then_forgotten() {
        let mut window = Identities::new(600, 10);
        assert!(matches!(window.offer(1, 1_000), Seen::New));
        let Seen::Pending(mut told) = window.offer(1, 1_001) else { panic!("pending") };
        window.durable(1, 1_002);
        assert!(told.try_recv().unwrap().is_ok());
        assert!(matches!(window.offer(1, 1_602), Seen::Durable));
        assert!(matches!(window.offer(1, 1_603), Seen::New));
    }

    #[test]
    fn a_failed_identity_is_new_again_and_its_waiters_learn_why() {
        let mut window = Identities::new(600, 10);
        assert!(matches!(window.offer(1, 0), Seen::New));
        let Seen::Pending(mut told) = window.offer(1, 0) else { panic!("pending") };
        window.failed(1, &Error::Draining);
        assert!(matches!(told.try_recv().unwrap(), Err(Error::Draining)));
        assert!(matches!(window.offer(1, 0), Seen::New));
    }

    #[test]
    fn the_oldest_leave_when_there_are_too_many() {
        let mut window = Identities::new(i64::MAX, 2);
        for identity in 1..=3 {
            assert!(matches!(window.offer(identity, 0), Seen::New));
            window.durable(identity, 0);
        }
        assert!(matches!(window.offer(3, 0), Seen::Durable));
        assert!(matches!(window.offer(2, 0), Seen::Durable));
        assert!(matches!(window.offer(1, 0), Seen::New));
    }
}
