//! The only wall clock and the only source of chance.
//!
//! Duty: time of day, random numbers and ULIDs for everything durable or visible. Guarantee: no other file asks the
//! operating system for either (`.clippy.toml` bans it), so a test that passes a manual clock sees the same run again.
//! Left to others: timers and timeouts, which are tokio's, and the order of log records, which the store makes
//! strictly increasing itself.

pub mod cron;

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use ulid::Ulid;

/// A wall clock with a source of chance; cheap to clone, all clones share both.
#[derive(Clone, Debug)]
pub struct Clock {
    time: Time,
    chance: Arc<Mutex<ChaCha12Rng>>,
}

#[derive(Clone, Debug)]
enum Time {
    Os,
    Manual(Arc<Mutex<i64>>),
}

impl Clock {
    /// The machine's clock and entropy.
    #[allow(clippy::disallowed_methods, reason = "this file is where the ban is lifted")]
    pub fn os() -> Self {
        Self { time: Time::Os, chance: Arc::new(Mutex::new(ChaCha12Rng::from_os_rng())) }
    }

    /// A clock that stands at `unix_ns` until [`Clock::advance`] moves it, with chance drawn from `seed`.
    pub fn manual(unix_ns: i64, seed: u64) -> Self {
        Self {
            time: Time::Manual(Arc::new(Mutex::new(unix_ns))),
            chance: Arc::new(Mutex::new(ChaCha12Rng::seed_from_u64(seed))),
        }
    }

    /// Nanoseconds since 1970 UTC; a clock before 1970 reads 0.
    #[allow(clippy::disallowed_methods, reason = "this file is where the ban is lifted")]
    pub fn now_ns(&self) -> i64 {
        match &self.time {
            Time::Os => SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)),
            Time::Manual(now) => *now.lock().expect("no holder of this lock panics"),
        }
    }

    /// Microseconds since 1970 UTC.
    pub fn now_us(&self) -> i64 {
        self.now_ns() / 1_000
    }

    /// Moves a manual clock forward; the machine's clock ignores it.
    pub fn advance(&self, by: Duration) {
        if let Time::Manual(now) = &self.time {
            let step = i64::try_from(by.as_nanos()).unwrap_or(i64::MAX);
            let mut now = now.lock().expect("no holder of this lock panics");
            *now = now.saturating_add(step);
        }
    }

    /// Moves a manual clock forward to `unix_ns`, never back; the machine's clock ignores it.
    pub fn advance_to(&self, unix_ns: i64) {
        if let Time::Manual(now) = &self.time {
            let mut now = now.lock().expect("no holder of this lock panics");
            *now = unix_ns.max(*now);
        }
    }

    /// 64 random bits.
    pub fn random(&self) -> u64 {
        self.chance.lock().expect("no holder of this lock panics").next_u64()
    }

    /// A ULID of now.
    pub fn ulid(&self) -> Ulid {
        let millis = u64::try_from(self.now_ns() / 1_000_000).unwrap_or(0);
        let chance = (u128::from(self.random()) << 64) | u128::from(self.random());
        Ulid::from_parts(millis, chance)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let (a, b) = (Clock::manual(1_000_000_000, 7), Clock::manual(1_000_000_000, 7));
        assert_eq!([a.ulid(), a.ulid()], [b.ulid(), b.ulid()]);
        assert_ne!(a.ulid(), a.ulid());
    }

    #[test]
    fn a_manual_clock_moves_only_when_told() {
        let clock = Clock::manual(5_000, 1);
        assert_eq!(clock.now_ns(), 5_000);
        clock.advance(Duration::from_micros(2));
        assert_eq!((clock.now_ns(), clock.now_us()), (7_000, 7));
        clock.advance_to(9_000);
        clock.advance_to(8_000);
        assert_eq!(clock.now_ns(), 9_000);
    }
}
