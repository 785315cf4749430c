//! The log thread: group commit, visibility, freezing, recovery after a failed sync (storage.md 4.3 to 4.6, 5.1).
//!
//! Duty: take what is queued, write and sync it once, make it visible in lsn order, then wake the waiters. Guarantee:
//! nothing becomes visible before it is as durable as configured; generations freeze only between groups; after a failed
//! sync nothing is acknowledged until a fresh segment is proven. Left to others: the files (`writer.rs`), the queue
//! (`door.rs`), what happens to a frozen generation (`flush.rs`).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use super::door::{Door, Offer, Pending};
use super::next::Next;
use super::payload::Payload;
use super::record;
use super::writer::{WriteError, Writer};
use crate::store::memtable::Memtable;
use crate::store::metrics::Metrics;
use crate::store::{Error, Lsn, Rows, panics};

/// How long the log waits between two tries to prove a fresh segment (storage.md 4.6: 5 s; tests need not wait so long).
const RECOVERY_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 200 } else { 5_000 });

/// Where the log is; shared.
#[derive(Debug, Default)]
pub struct Progress {
    /// Last record as durable as configured.
    pub durable_lsn: AtomicU64,
    /// Last record that is visible.
    pub visible_lsn: AtomicU64,
    /// Tries to prove a fresh segment that failed, since the last success.
    pub failed_recoveries: AtomicU64,
    /// Syncs of groups.
    pub groups: AtomicU64,
    /// Tells followers of records that are visible; the last one.
    pub news: watch::Sender<Lsn>,
}

/// When the log thread freezes the active generation.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of rows.
    pub flush_bytes: u64,
    /// Since its first row.
    pub flush_after: Duration,
    /// Frozen generations beyond which no further one is made.
    pub max_frozen: usize,
    /// Share of memory for all generations.
    pub memory_bytes: u64,
    /// `wal.group_commit_delay`
    pub group_commit_delay: Duration,
    /// `retention.max_age`: an older start time is an outlier.
    pub max_age: Option<Duration>,
}

/// The log thread's state.
#[derive(Debug)]
pub struct LogThread {
    pub(in crate::store) door: Arc<Door>,
    /// `None` with `durability: memory`.
    pub(in crate::store) writer: Option<Writer>,
    pub(in crate::store) next: Option<Next>,
    pub(in crate::store) memtable: Arc<Memtable>,
    pub(in crate::store) progress: Arc<Progress>,
    pub(in crate::store) limits: Limits,
    pub(in crate::store) metrics: Metrics,
    /// When the active generation got its first row.
    pub(in crate::store) active_since: Option<Instant>,
    pub(in crate::store) last_group: usize,
}

/// What the thread found to do.
enum Work {
    Group(Vec<Pending>),
    Idle,
    Finish(oneshot::Sender<()>),
    Stop,
}

impl LogThread {
    /// Runs until the door says stop.
    ///
    /// After a panic nobody knows how much of a group is in the file, so nothing more is written: the next start reads
    /// the log as after a crash.
    pub fn run(self) {
        let (door, degraded) = (self.door.clone(), self.metrics.degraded.clone());
        let died = catch_unwind(AssertUnwindSafe(|| self.work())).err().map(|panic| {
            let detail = panics::told("the log", &*panic).to_string();
            tracing::error!(detail, "the log has stopped; nothing is stored until a restart");
            degraded.with_label_values(&["panic"]).set(1);
            Error::Died { detail }
        });
        // However it ended: who still waits is told.
        door.end(died);
    }

    fn work(mut self) {
        loop {
            match self.next_work() {
                Work::Group(group) => self.commit(group),
                Work::Idle => {}
                Work::Finish(done) => {
                    self.mark();
                    let _ = done.send(());
                    return;
                }
                Work::Stop => return,
            }
            if let Some(detail) = self.next.as_ref().and_then(Next::sync_error) {
                self.untrusted(Vec::new(), &Error::Sync { detail: format!("background sync: {detail}") });
            }
            self.freeze_if_asked();
            self.freeze_if_due();
        }
    }

    fn next_work(&mut self) -> Work {
        let door = self.door.clone();
        let mut state = door.lock();
        loop {
            if !state.pending.is_empty() {
                // A lone request on an idle store is synced at once; only company is waited for (storage.md 4.3).
                let deadline = Instant::now() + self.limits.group_commit_delay;
                while self.last_group >= 2 && !state.is_full_group() && !state.stop {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        break;
                    }
                    state = door.wake.wait_timeout(state, left).expect("no holder of this lock panics").0;
                }
                return Work::Group(state.take());
            }
            if !state.freezes.is_empty() {
                return Work::Idle;
            }
            if let Some(done) = state.finish.take() {
                return Work::Finish(done);
            }
            if state.stop {
                return Work::Stop;
            }
            // Often enough for the background sync's errors and for `flush_after`.
            let tick = match self.active_since.filter(|_| self.memtable.frozen() < self.limits.max_frozen) {
                Some(since) => (since + self.limits.flush_after).saturating_duration_since(Instant::now()),
                None => Duration::from_secs(1),
            };
            let tick = tick.clamp(Duration::from_millis(1), Duration::from_secs(1));
            let (guard, waited) = door.wake.wait_timeout(state, tick).expect("no holder of this lock panics");
            state = guard;
            if waited.timed_out() && state.pending.is_empty() {
                return Work::Idle;
            }
        }
    }

    fn commit(&mut self, group: Vec<Pending>) {
        self.last_group = group.len();
        let written = match &mut self.writer {
            Some(writer) => writer.write(&group),
            None => Ok(()),
        };
        match written {
            Ok(()) => self.publish(group),
            Err(WriteError::NotStarted(error)) => self.fail(group, &error),
            Err(WriteError::Untrusted(error)) => self.untrusted(group, &error),
        }
    }

    /// Makes a durable group visible, then answers.
    fn publish(&mut self, group: Vec<Pending>) {
        let Some(last) = group.last().map(|p| p.lsn) else { return };
        self.progress.durable_lsn.store(last, Ordering::Release);
        self.progress.groups.fetch_add(1, Ordering::Relaxed);
        let mut answers = Vec::with_capacity(group.len());
        let mut rows = Vec::with_capacity(group.len());
        let mut log_bytes = 0;
        for pending in group {
            log_bytes += pending.log_bytes();
            let Pending { batches, lsn, ingest_us, identity, since, done, .. } = pending;
            rows.extend(
                batches.into_iter().map(|batch| Arc::new(Rows::within(batch, ingest_us, lsn, self.limits.max_age))),
            );
            answers.push((identity, ingest_us, since, lsn, done));
        }
        if !rows.is_empty() {
            self.active_since.get_or_insert_with(Instant::now);
            self.memtable.push(rows, log_bytes);
        }
        self.progress.visible_lsn.store(last, Ordering::Release);
        let mut state = self.door.lock();
        for (identity, ingest_us, ..) in answers.iter().filter(|a| a.0 != 0) {
            state.identities.durable(*identity, *ingest_us);
        }
        drop(state);
        for (_, _, since, lsn, done) in answers {
            self.metrics.visible_lag_seconds.observe(since.elapsed().as_secs_f64());
            done.answer(Ok(lsn));
        }
        // Behind the answers: nobody waits for a follower.
        self.progress.news.send_replace(last);
    }

    fn fail(&self, group: Vec<Pending>, error: &Error) {
        let mut state = self.door.lock();
        for pending in &group {
            state.identities.failed(pending.identity, error);
        }
        drop(state);
        for pending in group {
            pending.done.answer(Err(error.clone()));
        }
    }

    /// The file is not to be trusted any more: nothing is acknowledged until a fresh one is proven (storage.md 4.6).
    fn untrusted(&mut self, group: Vec<Pending>, error: &Error) {
        self.metrics.wal_sync_errors.inc();
        tracing::error!(%error, records = group.len(), "the log is not durable; acknowledgements are off");
        self.door.lock().off = Some(error.clone());
        self.fail(group, error);
        let queued = self.door.lock().take();
        self.fail(queued, error);
        self.freeze();
        loop {
            // Nothing is queued while the door is off, so this lsn stays the next one.
            let first_lsn = self.door.lock().next_lsn;
            let Some(writer) = &mut self.writer else { return };
            match writer.recover(first_lsn) {
                Ok(()) => break,
                Err(error) => {
                    let failures = self.progress.failed_recoveries.fetch_add(1, Ordering::Relaxed) + 1;
                    self.metrics.wal_sync_errors.inc();
                    self.metrics.degraded.with_label_values(&["sync"]).set(1);
                    tracing::error!(%error, failures, "no fresh log segment yet");
                }
            }
            if !self.pause() {
                return;
            }
        }
        self.progress.failed_recoveries.store(0, Ordering::Relaxed);
        self.metrics.degraded.with_label_values(&["sync"]).set(0);
        self.door.lock().off = None;
        tracing::info!("a fresh log segment is proven; acknowledgements are on");
    }

    /// Waits between two recoveries, answering freezes; `false` when the thread shall end.
    fn pause(&self) -> bool {
        let until = Instant::now() + RECOVERY_PAUSE;
        let mut state = self.door.lock();
        loop {
            // All rows are in frozen generations while the log is off.
            let visible = self.progress.visible_lsn.load(Ordering::Acquire);
            for freeze in state.freezes.drain(..) {
                let _ = freeze.send(visible);
            }
            if state.stop || state.finish.is_some() {
                return false;
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            state = self.door.wake.wait_timeout(state, left).expect("no holder of this lock panics").0;
        }
    }

    /// Between any two groups, so that a busy log does not keep a flush waiting.
    fn freeze_if_asked(&mut self) {
        let freezes = {
            let mut state = self.door.lock();
            // What was let in before the door was shut belongs to the last generation, which nothing follows.
            if state.freezes.is_empty() || state.draining && !state.pending.is_empty() {
                return;
            }
            std::mem::take(&mut state.freezes)
        };
        self.freeze();
        let visible = self.progress.visible_lsn.load(Ordering::Acquire);
        for freeze in freezes {
            let _ = freeze.send(visible);
        }
    }

    fn freeze_if_due(&mut self) {
        let Some(since) = self.active_since else { return };
        let old = since.elapsed() >= self.limits.flush_after;
        let big = self.memtable.active_bytes() >= self.limits.flush_bytes;
        // Memory pressure: freeze early, before appends must be refused (storage.md 14).
        let pressed = self.memtable.bytes() * 4 >= self.limits.memory_bytes * 3 && self.memtable.frozen() == 0;
        let frozen = self.memtable.frozen();
        // One more than `max_frozen` refuses appends: that is for memory to ask for. While the flush is behind, an old
        // generation gains nothing by being frozen.
        if frozen <= self.limits.max_frozen && (big || pressed) || frozen < self.limits.max_frozen && old {
            self.freeze();
        }
    }

    fn freeze(&mut self) {
        if self.active_since.take().is_some() {
            let to: Lsn = self.progress.visible_lsn.load(Ordering::Acquire);
            self.memtable.freeze(to);
        }
    }

    /// The shutdown mark, if this run has written anything: the last record of the log.
    fn mark(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        let untrusted = self.door.lock().off.is_some();
        if writer.current.is_none() || untrusted {
            return;
        }
        let payload = Payload::mark();
        let payload_xxh3 = record::payload_hash(&payload.bytes);
        let offer = Offer { batches: Vec::new(), payload, payload_xxh3, identity: 0, own: true, spans: 0 };
        let mut state = self.door.lock();
        let _answer = self.door.queue(&mut state, offer);
        let group = state.take();
        drop(state);
        match writer.write(&group) {
            Ok(()) => writer.finish(),
            Err(WriteError::NotStarted(error) | WriteError::Untrusted(error)) => {
                tracing::warn!(%error, "no shutdown mark; the next start replays the log");
            }
        }
    }
}
