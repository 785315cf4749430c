//! Admission: byte reservations and the delay told to a refused sender (otlp.md B3, B4, B6).
//!
//! Duty: hand out room for wire bytes, decompressed bytes and columns before they exist, and estimate when there will
//! be room again. Guarantee: the bytes of all requests in hand stay within the pool; nobody waits longer than
//! `admission_wait`, for bodies that do not come not at all (`arriving`), and nobody is refused for want of room only
//! because another receiver of the share waits longer. Left to others: the status of a refusal (`status`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::budget::{Exhausted, Pool, Reservation};
use crate::clock::Clock;

use super::arriving::Arriving;

/// Unknown sizes are reserved in steps of this many bytes.
pub(super) const STEP_BYTES: usize = 64 << 10;
/// Delay when nothing is committed although requests are in hand, and when the disk is full (B6).
pub(super) const STALLED: Duration = Duration::from_secs(5);
/// Delay told while draining (X2).
pub(super) const DRAINING: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(30);
/// Time constant of the commit rate.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Room for the requests in hand of the receivers that are bound with it; cheap to clone, all clones are one share.
#[derive(Clone, Debug)]
pub struct Share(Arc<Shared>);

/// How fast room comes back, and who holds it for nothing, is known of all receivers of a share or of none.
#[derive(Debug)]
struct Shared {
    pool: Pool,
    rate: Mutex<Rate>,
    arriving: Arriving,
    /// Of the receivers that wait at all, in ms.
    shortest_wait_ms: AtomicU64,
}

impl Share {
    /// One of `bytes`.
    pub fn new(bytes: u64) -> Self {
        let rate = Mutex::new(Rate { bytes: 0.0, at: Instant::now(), known: false });
        let shortest_wait_ms = AtomicU64::new(u64::MAX);
        Self(Arc::new(Shared { pool: Pool::new(bytes), rate, arriving: Arriving::default(), shortest_wait_ms }))
    }
}

/// How one receiver takes from its share.
#[derive(Debug)]
pub(super) struct Admission {
    share: Arc<Shared>,
    wait: Duration,
    shortest_delay: Duration,
    clock: Clock,
}

/// Bytes given back by commits, decaying exponentially.
#[derive(Debug)]
struct Rate {
    bytes: f64,
    at: Instant,
    /// Whether there ever was a commit: before the first one nothing is known to have stalled.
    known: bool,
}

impl Rate {
    fn decayed(&self, now: Instant) -> f64 {
        self.bytes * (-now.saturating_duration_since(self.at).as_secs_f64() / RATE_WINDOW.as_secs_f64()).exp()
    }
}

impl Admission {
    pub(super) fn new(share: Share, wait: Duration, shortest_delay: Duration, clock: Clock) -> Self {
        if !wait.is_zero() {
            let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
            share.0.shortest_wait_ms.fetch_min(ms, Ordering::Relaxed);
        }
        Self { share: share.0, wait, shortest_delay, clock }
    }

    pub(super) fn pool(&self) -> &Pool {
        &self.share.pool
    }

    /// Bodies that hold room before they are here.
    pub(super) fn arriving(&self) -> &Arriving {
        &self.share.arriving
    }

    /// The message limit that always fits: wire, decompressed and twice that for columns are four parts (B4).
    pub(super) fn message_limit(&self, configured: u64) -> u64 {
        configured.min(self.pool().limit_bytes() / 4)
    }

    /// Room for a request whose body is `wire` bytes; if it is not compressed, also for its columns.
    pub(super) async fn reserve(&self, wire: u64, compressed: bool) -> Result<Reservation, Exhausted> {
        // What is known is taken at once: requests that hold a part while they wait for the rest block each other.
        let bytes = if compressed { wire } else { wire.saturating_mul(3) };
        let mut reservation = self.pool().empty();
        self.grow(&mut reservation, bytes).await?;
        Ok(reservation)
    }

    pub(super) async fn grow(&self, reservation: &mut Reservation, bytes: u64) -> Result<(), Exhausted> {
        let Err(exhausted) = self.pool().try_grow(reservation, bytes) else { return Ok(()) };
        if bytes > self.pool().limit_bytes() {
            return Err(exhausted);
        }
        let start = Instant::now();
        loop {
            // Whoever waits longest would keep the head of the line, and what comes free, while the others give up behind
            // it. After as long as the most impatient wait it goes to the end of the line.
            let left = self.wait.saturating_sub(start.elapsed());
            let turn = left.min(Duration::from_millis(self.share.shortest_wait_ms.load(Ordering::Relaxed)));
            self.arriving().want_room();
            match self.pool().grow(reservation, bytes, turn).await {
                Err(_) if turn < left => {}
                outcome => return outcome,
            }
        }
    }

    /// The same without waiting.
    pub(super) fn try_grow(&self, reservation: &mut Reservation, bytes: u64) -> Result<(), Exhausted> {
        self.pool().try_grow(reservation, bytes)
    }

    /// A commit is over and gives `bytes` back.
    pub(super) fn committed(&self, bytes: u64) {
        self.committed_at(Instant::now(), bytes);
    }

    fn committed_at(&self, now: Instant, bytes: u64) {
        let mut rate = self.share.rate.lock().expect("no holder of this lock panics");
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        let bytes = rate.decayed(now) + bytes as f64;
        *rate = Rate { bytes, at: now, known: true };
    }

    /// When a refused sender should come back: the time the pool needs to drain at the current rate, within limits, and
    /// up to 20 % more so that senders refused together do not return together.
    pub(super) fn delay(&self) -> Duration {
        self.delay_at(Instant::now())
    }

    fn delay_at(&self, now: Instant) -> Duration {
        self.jittered(self.drain_time(now).clamp(self.shortest_delay.min(LONGEST_DELAY), LONGEST_DELAY))
    }

    fn drain_time(&self, now: Instant) -> Duration {
        let (per_second, known) = {
            let rate = self.share.rate.lock().expect("no holder of this lock panics");
            (rate.decayed(now) / RATE_WINDOW.as_secs_f64(), rate.known)
        };
        let reserved = self.pool().reserved_bytes();
        if reserved == 0 || !known {
            return self.shortest_delay;
        }
        if per_second < 1024.0 {
            return STALLED;
        }
        #[allow(clippy::cast_precision_loss, reason = "an estimate")]
        Duration::from_secs_f64((reserved as f64 / per_second).min(LONGEST_DELAY.as_secs_f64()))
    }

    fn jittered(&self, delay: Duration) -> Duration {
        let per_mille = u32::try_from(self.clock.random() % 201).expect("under 201");
        delay + delay * per_mille / 1000
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(pool_bytes: u64) -> Admission {
        let clock = Clock::manual(0, 1);
        Admission::new(Share::new(pool_bytes), Duration::from_millis(100), Duration::from_secs(1), clock)
    }

    #[tokio::test]
    async fn delays_grow_with_the_backlog_and_stay_within_their_limits() {
        let admission = admission(512 << 20);
        let at_rest = admission.delay();
        assert!((1.0..=1.2).contains(&at_rest.as_secs_f64()), "{at_rest:?}");
        // 100 MiB in the window are about 10 MiB a second.
        let start = Instant::now();
        admission.committed_at(start, 100 << 20);
        let mut held = Vec::new();
        let mut last = Duration::ZERO;
        for mib in [30_u64, 60, 120, 240] {
            held.push(admission.pool().reserve(mib << 19, Duration::ZERO).await.unwrap());
            let delay = admission.drain_time(start);
            assert!(delay > last, "{delay:?} after {last:?}");
            last = delay;
        }
        let delay = admission.delay_at(start + Duration::from_secs(25));
        assert!(delay >= Duration::from_secs(30) && delay <= Duration::from_secs(36), "{delay:?}");
        let stalled = admission.delay_at(start + Duration::from_secs(300));
        assert!(stalled >= STALLED && stalled <= STALLED + Duration::from_secs(1), "{stalled:?}");
    }

    #[tokio::test]
    async fn receivers_of_one_share_have_its_room_once_and_know_what_comes_back() {
        let share = Share::new(1 << 20);
        let of = || Admission::new(share.clone(), Duration::ZERO, Duration::from_secs(1), Clock::manual(0, 1));
        let (one, other) = (of(), of());
        let held = one.reserve(1 << 20, true).await.unwrap();
        assert!(other.reserve(1, true).await.is_err());
        let start = Instant::now();
        assert_eq!(other.drain_time(start), Duration::from_secs(1), "nothing was committed yet");
        one.committed_at(start, 512 << 10);
        let delay = other.drain_time(start).as_secs_f64();
        assert!((19.0..21.0).contains(&delay), "1 MiB at 51 KiB a second: {delay}");
        drop(held);
        assert!(other.reserve(1 << 20, true).await.is_ok());
    }

    #[tokio::test]
    async fn who_waits_longer_than_others_of_its_share_lets_them_pass() {
        let share = Share::new(1 << 20);
        let of = |wait_ms: u64| {
            let wait = Duration::from_millis(wait_ms);
            Admission::new(share.clone(), wait, Duration::from_secs(1), Clock::manual(0, 1))
        };
        let (patient, other) = (of(60_000), of(400));
        let held = other.reserve(512 << 10, true).await.unwrap();
        let waiting = tokio::spawn(async move { patient.reserve(1 << 20, true).await });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let passed = other.reserve(256 << 10, true).await.unwrap();
        assert!(!waiting.is_finished());
        drop((held, passed));
        assert_eq!(waiting.await.unwrap().unwrap().bytes(), 1 << 20);
    }

    #[tokio::test]
    async fn more_than_the_share_is_refused_without_waiting() {
        let start = Instant::now();
        let share = Share::new(1 << 20);
        let _other = Admission::new(share.clone(), Duration::from_millis(1), Duration::ZERO, Clock::manual(0, 1));
        let patient = Admission::new(share, Duration::from_secs(3600), Duration::ZERO, Clock::manual(0, 1));
        assert!(patient.reserve((1 << 20) + 1, true).await.is_err());
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[tokio::test]
    async fn the_message_limit_fits_the_pool_four_times() {
        let admission = admission(24 << 20);
        assert_eq!(admission.message_limit(64 << 20), 6 << 20);
        assert_eq!(admission.message_limit(1 << 20), 1 << 20);
    }

    #[tokio::test]
    async fn who_finds_no_room_waits_no_longer_than_allowed() {
        let admission = admission(1 << 20);
        let held = admission.reserve(300 << 10, false).await.unwrap();
        assert_eq!(held.bytes(), 900 << 10);
        let start = Instant::now();
        assert!(admission.reserve(200 << 10, true).await.is_err());
        assert!((100..1000).contains(&start.elapsed().as_millis()));
        drop(held);
        assert!(admission.reserve(200 << 10, true).await.is_ok());
    }
}
