//! Connections that have not logged in.
//!
//! Duty: bound them without shutting the door. Guarantee: at most 64 are open; one more takes the place of the oldest of
//! the address that has most, so that whoever is silent, or many, loses first, and a login that takes its usual
//! milliseconds is let in. Left to others: how long a login may take (`serve`).

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio_util::sync::CancellationToken;

const CHAIRS: usize = 64;

/// Who is logging in; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct WaitingRoom(Arc<Mutex<Room>>);

#[derive(Debug, Default)]
struct Room {
    next: u64,
    /// The oldest first.
    seated: VecDeque<Seated>,
}

#[derive(Debug)]
struct Seated {
    number: u64,
    peer: IpAddr,
    leave: CancellationToken,
}

/// The place of a connection, until it is dropped.
#[derive(Debug)]
pub struct Chair {
    room: WaitingRoom,
    number: u64,
    leave: CancellationToken,
}

impl WaitingRoom {
    /// A place for a connection from `peer`.
    pub fn enter(&self, peer: IpAddr) -> Chair {
        let mut room = self.room();
        if room.seated.len() >= CHAIRS {
            room.make_room();
        }
        let (number, leave) = (room.next, CancellationToken::new());
        room.next += 1;
        room.seated.push_back(Seated { number, peer: peer.to_canonical(), leave: leave.clone() });
        Chair { room: self.clone(), number, leave }
    }

    fn room(&self) -> MutexGuard<'_, Room> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Room {
    fn make_room(&mut self) {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for seated in &self.seated {
            *counts.entry(seated.peer).or_default() += 1;
        }
        let most = counts.values().copied().max().unwrap_or(0);
        let at = self.seated.iter().position(|seated| counts[&seated.peer] == most);
        if let Some(oldest) = at.and_then(|at| self.seated.remove(at)) {
            oldest.leave.cancel();
        }
    }
}

impl Chair {
    /// Ends when another connection needs the place.
    pub async fn taken(&self) {
        self.leave.cancelled().await;
    }
}

impl Drop for Chair {
    fn drop(&mut self) {
        self.room.room().seated.retain(|seated| seated.number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_the_address_that_has_most_makes_room() {
        let room = WaitingRoom::default();
        let (few, many): (IpAddr, IpAddr) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let first = room.enter(few);
        let others: Vec<Chair> = (1..CHAIRS).map(|_| room.enter(many)).collect();
        let next = room.enter(few);
        let left = |chair: &Chair| chair.leave.is_cancelled();
        assert_eq!((left(&first), left(&others[0]), left(&others[1]), left(&next)), (false, true, false, false));
        assert_eq!(room.room().seated.len(), CHAIRS);
        drop((first, others, next));
        assert_eq!(room.room().seated.len(), 0);
    }
}
