//! What compaction remembers between its steps: hours that failed, and what was asked for.
//!
//! Duty: [`State`], shared with those who ask and with health. Guarantee: an hour that failed waits longer each time
//! and is left alone after the third, unless what failed may pass: then it is tried again for ever; who asked for a
//! compaction is answered once. Left to others: the jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use tokio::sync::oneshot;

use crate::store::Error;

/// Failures after which an hour is skipped until the next start, or until somebody asks for it.
const MOST_FAILURES: u32 = 3;
/// Waits after the first and the second failure.
const PAUSES_NS: [i64; 2] = [60 * 1_000_000_000, 600 * 1_000_000_000];

/// How long parts that gave no job are not looked at again.
const LOOK_NS: i64 = 10 * 1_000_000_000;

/// See the module.
#[derive(Debug, Default)]
pub struct State {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    failed: BTreeMap<String, Failed>,
    /// Hours that the last look passed over for want of room on the disk, a sentence each.
    short: BTreeMap<String, String>,
    /// Manifest version and time at which there was nothing to do.
    idle: Option<(u64, i64)>,
    wish: Option<Wish>,
}

#[derive(Debug)]
struct Failed {
    times: u32,
    again_at_ns: i64,
    error: Error,
}

#[derive(Debug)]
struct Wish {
    /// Empty = all hours.
    hour: String,
    /// A look at the parts has taken it into account.
    seen: bool,
    answer: oneshot::Sender<Result<(), Error>>,
}

impl State {
    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().expect("no holder of this lock panics")
    }

    /// Asks for the compaction of `hour` (all without one), however new its rows are. The answer comes when there is
    /// nothing left to do, or with what went wrong.
    ///
    /// Errors: [`Error::Parts`] while another wish is under way.
    pub fn ask(&self, hour: Option<&str>) -> Result<oneshot::Receiver<Result<(), Error>>, Error> {
        let mut memory = self.memory();
        if memory.wish.as_ref().is_some_and(|wish| !wish.answer.is_closed()) {
            return Err(Error::Parts { detail: "a compaction that was asked for is under way; ask again".to_owned() });
        }
        let (answer, answered) = oneshot::channel();
        match hour {
            Some(hour) => drop(memory.failed.remove(hour)),
            None => memory.failed.clear(),
        }
        memory.wish = Some(Wish { hour: hour.unwrap_or_default().to_owned(), seen: false, answer });
        Ok(answered)
    }

    /// Whether there may be something to do: another manifest, some seconds later, or a wish.
    pub(super) fn is_due(&self, version: u64, now_ns: i64) -> bool {
        let mut memory = self.memory();
        let same = |(looked, at): (u64, i64)| looked == version && (at..at + LOOK_NS).contains(&now_ns);
        if memory.wish.is_none() && memory.idle.is_some_and(same) {
            return false;
        }
        memory.idle = Some((version, now_ns));
        true
    }

    /// A job was run: there may be another, whatever the manifest says.
    pub(super) fn look_again(&self) {
        self.memory().idle = None;
    }

    /// Answers who asked.
    pub(in crate::store) fn answer(&self, result: Result<(), Error>) {
        if let Some(wish) = self.memory().wish.take() {
            // Who asked may have gone.
            let _ = wish.answer.send(result);
        }
    }

    /// The hours that wait after a failure, and the hour asked for (empty = all), as of one moment.
    pub(super) fn look(&self, now_ns: i64) -> (BTreeSet<String>, Option<String>) {
        let mut memory = self.memory();
        let waits = |failed: &Failed| failed.times >= MOST_FAILURES || now_ns < failed.again_at_ns;
        let paused = memory.failed.iter().filter(|(_, failed)| waits(failed)).map(|(hour, _)| hour.clone()).collect();
        let forced = memory.wish.as_mut().map(|wish| {
            wish.seen = true;
            wish.hour.clone()
        });
        (paused, forced)
    }

    /// The last look found nothing to do: who asked is answered. `false` if somebody has asked since.
    pub(super) fn nothing_left(&self) -> bool {
        let mut memory = self.memory();
        if memory.wish.as_ref().is_some_and(|wish| !wish.seen) {
            return false;
        }
        if let Some(wish) = memory.wish.take() {
            let _ = wish.answer.send(Ok(()));
        }
        true
    }

    /// The hours that wait for room on the disk, all of them; each is logged when it is new.
    pub(super) fn wait_for_room(&self, short: &BTreeMap<String, String>) {
        let mut memory = self.memory();
        for (hour, detail) in short.iter().filter(|(hour, _)| !memory.short.contains_key(*hour)) {
            tracing::warn!(hour, detail, "compaction waits for room on the disk");
        }
        memory.short = short.clone();
    }

    /// The hour's parts are others now: what failed may go well.
    pub(in crate::store) fn succeeded(&self, hour: &str) {
        self.memory().failed.remove(hour);
    }

    /// Only `hours` have parts: what is known of others is of no use.
    pub(super) fn keep(&self, hours: &BTreeSet<&str>) {
        self.memory().failed.retain(|hour, _| hours.contains(hour.as_str()));
    }

    /// How often the hour has failed by now, of what does not pass.
    pub(super) fn failed(&self, hour: &str, error: Error, now_ns: i64) -> u32 {
        let mut memory = self.memory();
        let passes = matches!(error, Error::DiskFull { .. } | Error::Unreachable { .. });
        let times = memory.failed.get(hour).map_or(0, |failed| failed.times) + u32::from(!passes);
        let pause = PAUSES_NS[usize::try_from(times.max(1) - 1).unwrap_or(usize::MAX).min(PAUSES_NS.len() - 1)];
        let again_at_ns = now_ns.saturating_add(pause);
        memory.failed.insert(hour.to_owned(), Failed { times, again_at_ns, error });
        times
    }

    /// Whether there are hours that are skipped or wait for room.
    pub(super) fn is_behind(&self) -> bool {
        let memory = self.memory();
        !memory.short.is_empty() || memory.failed.values().any(|failed| failed.times >= MOST_FAILURES)
    }

    /// The hours that are skipped or wait for room, a sentence each.
    pub fn reasons(&self) -> Vec<String> {
        let memory = self.memory();
        let skipped = memory.failed.iter().filter(|(_, failed)| failed.times >= MOST_FAILURES);
        let skipped = skipped.map(|(hour, failed)| format!("hour {hour} is not compacted: {}", failed.error));
        let short = memory.short.values().map(|detail| format!("{detail}; make room, or shorten `retention`"));
        skipped.chain(short).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: &str = "2023-11-14T22";

    #[test]
    fn who_asks_behind_a_look_is_not_answered_by_it() {
        let state = State::default();
        state.failed(HOUR, Error::Draining, 0);
        let paused = BTreeSet::from([HOUR.to_owned()]);
        assert_eq!(state.look(1), (paused, None));
        let mut answered = state.ask(None).unwrap();
        assert!(!state.nothing_left(), "that look knew nothing of it");
        assert!(answered.try_recv().is_err());
        assert_eq!(state.look(1), (BTreeSet::new(), Some(String::new())));
        assert!(state.nothing_left());
        answered.try_recv().unwrap().unwrap();
    }

    #[test]
    fn what_may_pass_has_no_hour_skipped_and_an_hour_without_parts_is_forgotten() {
        let state = State::default();
        let full = || Error::DiskFull { detail: "tmp".to_owned() };
        let away = || Error::Unreachable { place: "spans/x".to_owned(), detail: "503".to_owned() };
        for n in 0..6 {
            state.failed(HOUR, if n % 2 == 0 { full() } else { away() }, 0);
        }
        assert_eq!(state.look(1).0, BTreeSet::from([HOUR.to_owned()]), "it waits");
        assert_eq!((state.look(i64::MAX).0, state.reasons()), (BTreeSet::new(), Vec::new()));
        for _ in 0..3 {
            state.failed(HOUR, Error::Draining, 0);
        }
        assert_eq!(state.look(i64::MAX).0, BTreeSet::from([HOUR.to_owned()]));
        state.keep(&BTreeSet::from([HOUR]));
        assert!(state.is_behind());
        state.keep(&BTreeSet::from(["2023-11-14T23"]));
        assert!(!state.is_behind() && state.reasons().is_empty());
    }
}
