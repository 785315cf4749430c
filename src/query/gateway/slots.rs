//! Slots of statements (sql.md 8: running queries, waiting).
//!
//! Duty: let as many statements work as there are slots, and say who is next. Guarantee: while others wait, an identity
//! that holds half of the slots gets no further one; nobody waits while a slot is free; those that wait are bounded, and
//! no identity keeps another one from waiting. Left to others: how long one waits (`gateway`), when one lends its slot
//! (`run`).
//!
//! A statement is never stopped for another one, so half is what an identity is cut down to, not what it starts with:
//! one that is alone has all slots.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::sync::oneshot;

/// Statements that may wait for a slot.
const MAX_WAITING: usize = 32;
/// Statements that may have lent theirs: each keeps its memory meanwhile.
const MAX_LENT: usize = 32;

/// The slots of a gateway; cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Slots(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<String, usize>,
    taken: usize,
    lent: usize,
    waiting: VecDeque<Waiter>,
}

#[derive(Debug)]
struct Waiter {
    identity: String,
    /// Whether it had a slot and lent it.
    returns: bool,
    given: oneshot::Sender<Slot>,
}

/// A statement that works; another one may once it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Slots,
    identity: String,
}

/// What a statement has that lent its slot.
#[derive(Debug)]
pub(super) struct Lent {
    slots: Slots,
    identity: String,
}

/// As many wait as may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Slots {
    pub(super) fn new(all: usize) -> Self {
        Self(Arc::new(Shared { all, state: Mutex::default() }))
    }

    /// A slot for `identity`, once there is one. Dropping it before gives up the place.
    ///
    /// Errors: [`Full`].
    pub(super) async fn take(&self, identity: &str) -> Result<Slot, Full> {
        let given = {
            let mut state = self.state();
            if state.taken < self.0.all {
                return Ok(self.hold(&mut state, identity.to_owned()));
            }
            state.waiting.retain(|waiter| !waiter.given.is_closed());
            if state.new_ones().count() >= MAX_WAITING && !state.make_room(identity) {
                return Err(Full);
            }
            state.wait(identity, false)
        };
        // Without one if it had to make room.
        given.await.map_err(|_| Full)
    }

    #[cfg(test)]
    pub(super) fn free(&self) -> usize {
        self.0.all - self.state().taken
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.iter().filter(|waiter| !waiter.given.is_closed()).count()
    }

    fn hold(&self, state: &mut State, identity: String) -> Slot {
        state.taken += 1;
        *state.held.entry(identity.clone()).or_default() += 1;
        Slot { slots: self.clone(), identity }
    }

    fn give_back(&self, identity: &str) {
        let mut state = self.state();
        state.taken -= 1;
        if let Some(held) = state.held.get_mut(identity) {
            *held -= 1;
            if *held == 0 {
                state.held.remove(identity);
            }
        }
        let half = (self.0.all / 2).max(1);
        let mut refused = Vec::new();
        while state.taken < self.0.all
            && let Some(waiter) = state.next(half)
        {
            let slot = self.hold(&mut state, waiter.identity);
            refused.extend(waiter.given.send(slot).err());
        }
        drop(state);
        // Of waiters that left just now: dropping them comes here again.
        drop(refused);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().expect("no holder of this lock panics")
    }
}

impl State {
    /// The waiter that is next where an identity is to have `half` of the slots at most.
    fn next(&mut self, half: usize) -> Option<Waiter> {
        self.waiting.retain(|waiter| !waiter.given.is_closed());
        let has_room = |waiter: &Waiter| self.held.get(&waiter.identity).is_none_or(|held| *held < half);
        let at = self.waiting.iter().position(has_room).unwrap_or(0);
        self.waiting.remove(at)
    }

    /// Those that wait for their first slot.
    fn new_ones(&self) -> impl Iterator<Item = &Waiter> {
        self.waiting.iter().filter(|waiter| !waiter.returns)
    }

    /// Sends the newest of the identity away of which most wait, if those are more than there would be of `identity`.
    fn make_room(&mut self, identity: &str) -> bool {
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for waiter in self.new_ones() {
            *counts.entry(waiter.identity.as_str()).or_default() += 1;
        }
        let own = counts.get(identity).copied().unwrap_or(0) + 1;
        let Some((most, count)) = counts.into_iter().max_by_key(|(_, count)| *count) else { return false };
        let newest = |waiter: &Waiter| !waiter.returns && waiter.identity == most;
        let at = self.waiting.iter().rposition(newest).filter(|_| count > own);
        at.and_then(|at| self.waiting.remove(at)).is_some()
    }

    fn wait(&mut self, identity: &str, returns: bool) -> oneshot::Receiver<Slot> {
        let (given, slot) = oneshot::channel();
        let waiter = Waiter { identity: identity.to_owned(), returns, given };
        match returns {
            true => self.waiting.push_front(waiter),
            false => self.waiting.push_back(waiter),
        }
        slot
    }
}

impl Slot {
    /// Lends it to others while nothing is done with it; `Err` = as many as may have lent theirs.
    pub(super) fn lend(self) -> Result<Lent, Self> {
        {
            let mut state = self.slots.state();
            if state.lent >= MAX_LENT {
                drop(state);
                return Err(self);
            }
            state.lent += 1;
        }
        Ok(Lent { slots: self.slots.clone(), identity: self.identity.clone() })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.give_back(&self.identity);
    }
}

impl Lent {
    /// A slot again, before those that have had none.
    pub(super) async fn take_back(self) -> Slot {
        let given = {
            let mut state = self.slots.state();
            if state.taken < self.slots.0.all {
                return self.slots.hold(&mut state, self.identity.clone());
            }
            state.wait(&self.identity, true)
        };
        given.await.expect("only new ones are sent away, and the slots are held here")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.slots.state().lent -= 1;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Waits as `identity` in the background, until it has its place.
    async fn waiter(slots: &Slots, identity: &'static str) -> tokio::task::JoinHandle<Result<Slot, Full>> {
        // Of its own: in a full queue another one makes room for it.
        let places = |slots: &Slots| slots.state().waiting.iter().filter(|waiter| waiter.identity == identity).count();
        let (before, of_task) = (places(slots), slots.clone());
        let task = tokio::spawn(async move { of_task.take(identity).await });
        while places(slots) == before && !task.is_finished() {
            tokio::task::yield_now().await;
        }
        task
    }

    async fn now<T>(work: impl Future<Output = T>) -> Option<T> {
        tokio::time::timeout(Duration::from_millis(50), work).await.ok()
    }

    #[tokio::test]
    async fn one_identity_has_all_slots_while_it_is_alone_and_half_of_them_while_others_wait() {
        let slots = Slots::new(4);
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(slots.take("a").await.unwrap());
        }
        let mut of_a = vec![waiter(&slots, "a").await, waiter(&slots, "a").await];
        let of_b = waiter(&slots, "b").await;
        let of_c = waiter(&slots, "c").await;
        held.pop();
        let b = now(of_b).await.expect("`b` is next, though `a` came first").unwrap().unwrap();
        held.pop();
        let c = now(of_c).await.expect("`c` is next: `a` has two of four").unwrap().unwrap();
        // Nobody else waits: then it may have more than half.
        drop(b);
        let third = now(of_a.remove(0)).await.expect("nobody else waits").unwrap().unwrap();
        drop(c);
        let fourth = now(of_a.remove(0)).await.expect("nobody else waits").unwrap().unwrap();
        assert_eq!(slots.free(), 0);
        drop((third, fourth, held));
        assert_eq!(slots.free(), 4);
    }

    #[tokio::test]
    async fn an_identity_that_fills_the_queue_makes_room_for_another_and_not_for_itself() {
        let slots = Slots::new(1);
        let held = slots.take("a").await.unwrap();
        let mut of_a = Vec::new();
        for _ in 0..MAX_WAITING {
            of_a.push(waiter(&slots, "a").await);
        }
        assert!(matches!(slots.take("a").await, Err(Full)));
        let of_b = waiter(&slots, "b").await;
        assert!(matches!(now(of_a.pop().unwrap()).await, Some(Ok(Err(Full)))), "the newest of `a` had to go");
        drop(held);
        assert!(now(of_b).await.is_some() || now(of_a.remove(0)).await.is_some());
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_takes_nothing_with_it() {
        let slots = Slots::new(1);
        let held = slots.take("a").await.unwrap();
        let leaving = waiter(&slots, "b").await;
        leaving.abort();
        assert!(leaving.await.is_err());
        let staying = waiter(&slots, "c").await;
        drop(held);
        drop(now(staying).await.expect("it is next").unwrap().unwrap());
        assert_eq!((slots.free(), slots.state().held.len()), (1, 0));
    }

    #[tokio::test]
    async fn a_slot_that_was_lent_comes_back_before_new_ones() {
        let slots = Slots::new(1);
        let lent = slots.take("a").await.unwrap().lend().unwrap();
        let other = slots.take("b").await.unwrap();
        let new = waiter(&slots, "b").await;
        let back = tokio::spawn(lent.take_back());
        while slots.waiting() < 2 {
            tokio::task::yield_now().await;
        }
        drop(other);
        let back = now(back).await.expect("it had one before").unwrap();
        assert!(!new.is_finished());
        drop(back);
        assert!(now(new).await.is_some());
        let mut lent = Vec::new();
        for _ in 0..MAX_LENT {
            lent.push(slots.take("a").await.unwrap().lend().unwrap());
        }
        assert!(slots.take("a").await.unwrap().lend().is_err(), "so many keep their memory");
        drop(lent);
        assert!(slots.take("a").await.unwrap().lend().is_ok());
    }
}
