//! Bodies for which room is held before they are here (otlp.md B4).
//!
//! Duty: know which of them do not come, and tell their readers once somebody else needs the room: else two peers that
//! announce a large body and send nothing would keep everybody out. Guarantee: nobody is told while there is room for
//! all, nor whoever keeps the pace of a body that is here within 10 s. Left to others: the room itself (`admit`), giving
//! it back (`body`), and time limits that hold in any case (L6).

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

/// A peer that waits for `100 Continue`, or is far away, begins to send only then.
const GRACE: Duration = Duration::from_millis(250);
/// A body that comes evenly and is whole after this time keeps its room.
const PACE: Duration = Duration::from_secs(10);

/// All bodies that are being waited for.
#[derive(Debug, Default)]
pub(super) struct Arriving(Mutex<Vec<Arc<Progress>>>);

#[derive(Debug)]
struct Progress {
    since: Instant,
    /// Bytes for which room is held.
    expected: AtomicU64,
    received: AtomicU64,
    /// How long it waited for room itself, in ms: not the time of its peer.
    waited_ms: AtomicU64,
    wanted: Notify,
    /// Whether `wanted` may hold a permit; who was never told needs no clock for each piece.
    is_told: AtomicBool,
}

/// One body, while it is being waited for.
#[derive(Debug)]
pub(super) struct Arrival<'a> {
    all: &'a Arriving,
    progress: Arc<Progress>,
}

impl Arriving {
    /// Room for `expected` bytes is held from now on.
    pub(super) fn begin(&self, expected: u64) -> Arrival<'_> {
        let progress = Arc::new(Progress {
            since: Instant::now(),
            expected: AtomicU64::new(expected),
            received: AtomicU64::new(0),
            waited_ms: AtomicU64::new(0),
            wanted: Notify::new(),
            is_told: AtomicBool::new(false),
        });
        self.bodies().push(progress.clone());
        Arrival { all: self, progress }
    }

    /// There is no room for somebody: who is behind has to go.
    pub(super) fn want_room(&self) {
        self.want_room_at(Instant::now());
    }

    fn want_room_at(&self, now: Instant) {
        for body in self.bodies().iter().filter(|body| body.is_behind(now)) {
            body.wanted.notify_one();
            // Behind it: else `has` between the two would leave a permit that nobody looks for.
            body.is_told.store(true, Ordering::Release);
        }
    }

    fn bodies(&self) -> MutexGuard<'_, Vec<Arc<Progress>>> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Progress {
    fn is_behind(&self, now: Instant) -> bool {
        let waited = Duration::from_millis(self.waited_ms.load(Ordering::Relaxed));
        let Some(late) = now.saturating_duration_since(self.since).checked_sub(GRACE.saturating_add(waited)) else {
            return false;
        };
        let (expected, received) = (self.expected.load(Ordering::Relaxed), self.received.load(Ordering::Relaxed));
        let due = u128::from(expected) * late.as_millis() / PACE.as_millis();
        // If all is here for which it holds room, it waits for room itself.
        received < expected && u128::from(received) <= due
    }
}

impl Arrival<'_> {
    /// Room for so many bytes is held by now.
    pub(super) fn expects(&self, bytes: u64) {
        self.progress.expected.store(bytes, Ordering::Relaxed);
    }

    /// It has waited so long for room.
    pub(super) fn waited(&self, waited: Duration) {
        let ms = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        self.progress.waited_ms.fetch_add(ms, Ordering::Relaxed);
    }

    /// So many bytes are here.
    pub(super) fn has(&self, bytes: u64) {
        self.progress.received.store(bytes, Ordering::Relaxed);
        // What was told while these bytes were on their way is not remembered against whoever is in time with them.
        let is_told = &self.progress.is_told;
        if is_told.load(Ordering::Acquire)
            && !self.progress.is_behind(Instant::now())
            && is_told.swap(false, Ordering::Acquire)
        {
            let _ = self.progress.wanted.notified().now_or_never();
        }
    }

    /// Ends when the room is to be given back.
    pub(super) async fn room_wanted(&self) {
        self.progress.wanted.notified().await;
    }
}

impl Drop for Arrival<'_> {
    fn drop(&mut self) {
        let mut bodies = self.all.bodies();
        if let Some(at) = bodies.iter().position(|body| Arc::ptr_eq(body, &self.progress)) {
            bodies.swap_remove(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_is_behind_has_to_go_and_only_when_room_is_wanted() {
        let all = Arriving::default();
        let (silent, steady, quick) = (all.begin(1 << 20), all.begin(1 << 20), all.begin(100));
        let start = silent.progress.since;
        let told = |arrival: &Arrival<'_>| arrival.room_wanted().now_or_never().is_some();
        steady.has(300 << 10);
        quick.has(99);
        all.want_room_at(start + GRACE / 2);
        assert_eq!([told(&silent), told(&steady), told(&quick)], [false; 3], "all have just begun");
        // 2 of 10 s: a fifth of the body is due.
        all.want_room_at(start + GRACE * 2 + Duration::from_secs(2));
        assert_eq!([told(&silent), told(&steady), told(&quick)], [true, false, false]);
        // 4 s: two fifths.
        all.want_room_at(start + GRACE * 2 + Duration::from_secs(4));
        assert_eq!([told(&steady), told(&quick)], [true, false]);
        drop(silent);
        drop(quick);
        assert_eq!(all.bodies().len(), 1);
    }

    #[test]
    fn who_waits_for_room_itself_or_is_in_time_again_is_not_told() {
        let all = Arriving::default();
        let (waiting, late) = (all.begin(0), all.begin(1 << 20));
        let told = |arrival: &Arrival<'_>| arrival.room_wanted().now_or_never().is_some();
        all.want_room_at(waiting.progress.since + Duration::from_secs(9));
        assert!(!told(&waiting), "before its first step");
        late.has(1 << 19);
        assert!(!told(&late), "half of it came in the meantime");
        waiting.expects(1 << 16);
        waiting.has(1 << 16);
        all.want_room_at(waiting.progress.since + Duration::from_secs(30));
        assert_eq!([told(&waiting), told(&late)], [false, true], "its first step is here, the second is not given yet");
        waiting.waited(Duration::from_secs(30));
        waiting.expects(2 << 16);
        all.want_room_at(waiting.progress.since + GRACE + Duration::from_secs(31));
        assert!(!told(&waiting), "its peer has had one second");
        all.want_room_at(waiting.progress.since + GRACE + Duration::from_secs(36));
        assert!(told(&waiting));
    }

    #[test]
    fn a_body_of_unknown_length_is_behind_when_its_last_step_does_not_come() {
        let all = Arriving::default();
        let body = all.begin(0);
        body.expects(3 << 16);
        body.has(2 << 16);
        let told = |after: u64| {
            all.want_room_at(body.progress.since + Duration::from_secs(after));
            body.room_wanted().now_or_never().is_some()
        };
        assert_eq!([told(1), told(5), told(9)], [false, false, true]);
    }
}
