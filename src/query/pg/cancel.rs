//! Cancelling from another connection.
//!
//! Duty: the numbers and secrets of connections. Guarantee: only who knows the secret stops a statement, and only one that
//! runs at that moment. Left to others: stopping it (`connection`).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::clock::Clock;

/// All connections that can be cancelled.
#[derive(Clone, Debug, Default)]
pub struct Cancels(Arc<Mutex<Known>>);

/// The secret and the signal of each, by number.
type Known = HashMap<i32, (i32, Arc<Signal>)>;

/// What a cancel reaches.
#[derive(Debug, Default)]
pub struct Signal {
    cancelled: AtomicBool,
    wake: Notify,
}

impl Signal {
    /// A statement begins: what came before is not about it.
    pub fn begin(&self) {
        self.cancelled.store(false, Ordering::Release);
    }

    /// Ends once the statement is cancelled, also if that was before.
    pub async fn cancelled(&self) {
        loop {
            // Made before the look, so that no cancel falls between.
            let woken = self.wake.notified();
            if self.cancelled.load(Ordering::Acquire) {
                return;
            }
            woken.await;
        }
    }
}

/// The place of one connection; leaves with it.
#[derive(Debug)]
pub struct Place {
    /// Its number.
    pub pid: i32,
    /// Its secret.
    pub secret: i32,
    /// What a cancel of it reaches.
    pub signal: Arc<Signal>,
    all: Cancels,
}

impl Cancels {
    /// A place for a new connection.
    pub fn enter(&self, clock: &Clock) -> Place {
        let signal = Arc::new(Signal::default());
        let mut places = self.0.lock().expect("no holder of this lock panics");
        loop {
            let [a, b, c, d, e, f, g, h] = clock.random().to_be_bytes();
            // Some clients read the number as one that has no sign.
            let pid = i32::from_be_bytes([a & 0x7f, b, c, d]);
            let secret = i32::from_be_bytes([e, f, g, h]);
            if pid != 0 && !places.contains_key(&pid) {
                places.insert(pid, (secret, signal.clone()));
                return Place { pid, secret, signal, all: self.clone() };
            }
        }
    }

    /// Wakes the connection `pid`, if `secret` is its own.
    pub fn cancel(&self, pid: i32, secret: i32) {
        let places = self.0.lock().expect("no holder of this lock panics");
        if let Some((own, signal)) = places.get(&pid)
            && *own == secret
        {
            signal.cancelled.store(true, Ordering::Release);
            signal.wake.notify_waiters();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.all.0.lock().expect("no holder of this lock panics").remove(&self.pid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_secret_cancels_and_not_what_begins_later() {
        let cancels = Cancels::default();
        let place = cancels.enter(&Clock::manual(0, 1));
        let soon = |signal: Arc<Signal>| async move {
            tokio::time::timeout(std::time::Duration::from_millis(20), signal.cancelled()).await.is_ok()
        };
        cancels.cancel(place.pid, place.secret.wrapping_add(1));
        assert!(!soon(place.signal.clone()).await);
        cancels.cancel(place.pid, place.secret);
        assert!(soon(place.signal.clone()).await);
        place.signal.begin();
        assert!(!soon(place.signal.clone()).await);
        let (pid, secret) = (place.pid, place.secret);
        drop(place);
        cancels.cancel(pid, secret);
        assert!(cancels.0.lock().unwrap().is_empty());
    }
}
