//! The rows in memory: one active generation, and those that wait for their flush (storage.md 5).
//!
//! Duty: every change of the shared [`Snapshot`], each as one store. Guarantee: a row is in exactly one of active,
//! frozen, parts at any moment; frozen generations stand in lsn order. Left to others: when to freeze (`wal/thread.rs`),
//! flushing (`flush.rs`), reading (`snapshot.rs`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;

use super::metrics::Metrics;
use super::{Gen, Lsn, PartSet, Rows, Snapshot};

/// The writing side of the snapshot.
#[derive(Debug)]
pub struct Memtable {
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// Bytes of rows in all generations.
    bytes: AtomicU64,
    /// Log bytes of rows in all generations.
    log_bytes: AtomicU64,
    metrics: Metrics,
    /// Wakes the flush when a generation is complete, and the replay when one is gone.
    changed: Condvar,
    stop: Mutex<bool>,
}

impl Memtable {
    /// No rows but those of `parts`; the active generation begins at `from`.
    pub fn new(manifest_version: u64, parts: Arc<PartSet>, from: Lsn, metrics: Metrics) -> Self {
        let snapshot = Snapshot { manifest_version, parts, frozen: Vec::new(), active: Arc::new(Gen::new(from)) };
        Self {
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
            bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
            metrics,
            changed: Condvar::new(),
            stop: Mutex::new(false),
        }
    }

    /// What readers share.
    pub fn snapshot(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.snapshot
    }

    /// Adds rows to the active generation. Called by the log thread only, in lsn order.
    pub fn push(&self, rows: Vec<Arc<Rows>>, log_bytes: u64) {
        self.push_into(&self.snapshot.load().active, rows, log_bytes);
    }

    /// Adds rows to `into`, which must be the active generation or one that replay fills.
    pub fn push_into(&self, into: &Gen, rows: Vec<Arc<Rows>>, log_bytes: u64) {
        let bytes = rows.iter().map(|r| r.bytes).sum();
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.log_bytes.fetch_add(log_bytes, Ordering::Relaxed);
        into.add(rows, bytes, log_bytes);
        self.measure();
    }

    /// Bytes of rows in all generations.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Log bytes that are not in parts yet.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// Bytes of rows in the active generation.
    pub fn active_bytes(&self) -> u64 {
        self.snapshot.load().active.bytes()
    }

    /// Generations that wait for their flush.
    pub fn frozen(&self) -> usize {
        self.snapshot.load().frozen.len()
    }

    /// The active generation is complete with `to`; a new one begins. Called by the log thread only.
    pub fn freeze(&self, to: Lsn) {
        let next = Arc::new(Gen::new(to + 1));
        self.snapshot.load().active.seal(to);
        self.snapshot.rcu(|old| {
            let mut frozen = old.frozen.clone();
            frozen.push(old.active.clone());
            Snapshot { manifest_version: old.manifest_version, parts: old.parts.clone(), frozen, active: next.clone() }
        });
        self.notify();
    }

    /// Adds a generation for replay, in its place by lsn; it is complete once sealed ([`Memtable::seal`]).
    pub fn begin_replayed(&self, from: Lsn) -> Arc<Gen> {
        let begun = Arc::new(Gen::new(from));
        self.snapshot.rcu(|old| {
            let mut frozen = old.frozen.clone();
            frozen.insert(frozen.partition_point(|g| g.from < from), begun.clone());
            Snapshot {
                manifest_version: old.manifest_version,
                parts: old.parts.clone(),
                frozen,
                active: old.active.clone(),
            }
        });
        begun
    }

    /// A replayed generation is complete with `to`; without rows it goes at once, and is never complete: the flush would
    /// take `to` for flushed, which the first record of this process may have.
    pub fn seal(&self, generation: &Arc<Gen>, to: Lsn) {
        if generation.rows().is_empty() {
            self.snapshot.rcu(|old| {
                let frozen = old.frozen.iter().filter(|g| !Arc::ptr_eq(g, generation)).cloned().collect();
                Snapshot {
                    manifest_version: old.manifest_version,
                    parts: old.parts.clone(),
                    frozen,
                    active: old.active.clone(),
                }
            });
        } else {
            generation.seal(to);
        }
        self.notify();
    }

    /// The oldest frozen generation is in `parts` now, which the manifest `version` names. Once more is once too: a flush
    /// that panics behind its commit is tried again.
    pub fn flushed(&self, generation: &Arc<Gen>, version: u64, parts: &Arc<PartSet>) {
        let before = self.snapshot.rcu(|old| {
            let frozen = old.frozen.iter().filter(|g| !Arc::ptr_eq(g, generation)).cloned().collect();
            Snapshot { manifest_version: version, parts: parts.clone(), frozen, active: old.active.clone() }
        });
        if !before.frozen.iter().any(|g| Arc::ptr_eq(g, generation)) {
            return;
        }
        self.bytes.fetch_sub(generation.bytes(), Ordering::Relaxed);
        self.log_bytes.fetch_sub(generation.log_bytes(), Ordering::Relaxed);
        self.measure();
        self.notify();
    }

    /// The manifest `version` names `parts`: rows moved between parts, or left with them.
    pub fn replaced(&self, version: u64, parts: &Arc<PartSet>) {
        self.snapshot.rcu(|old| Snapshot {
            manifest_version: version,
            parts: parts.clone(),
            frozen: old.frozen.clone(),
            active: old.active.clone(),
        });
    }

    /// Waits for the oldest frozen generation to be complete; `None` when asked to stop.
    pub fn wait_for_complete(&self) -> Option<Arc<Gen>> {
        let mut stop = self.stop.lock().expect("no holder of this lock panics");
        loop {
            if *stop {
                return None;
            }
            if let Some(oldest) = self.snapshot.load().frozen.first().filter(|g| g.to().is_some()) {
                return Some(oldest.clone());
            }
            stop = self.changed.wait(stop).expect("no holder of this lock panics");
        }
    }

    /// Waits until at most `max` generations are older than `from`, of those that wait for their flush; `false` when asked
    /// to stop. Younger ones do not count: they are flushed after the one that begins at `from`.
    pub fn wait_for_older_at_most(&self, max: usize, from: Lsn) -> bool {
        let older = || self.snapshot.load().frozen.iter().take_while(|g| g.from < from).count();
        let mut stop = self.stop.lock().expect("no holder of this lock panics");
        while !*stop && older() > max {
            stop = self.changed.wait(stop).expect("no holder of this lock panics");
        }
        !*stop
    }

    /// Waits for `pause`, less when asked to stop; `false` then.
    pub fn pause(&self, pause: Duration) -> bool {
        let stop = self.stop.lock().expect("no holder of this lock panics");
        let waited = self.changed.wait_timeout_while(stop, pause, |stop| !*stop);
        !*waited.expect("no holder of this lock panics").0
    }

    /// Whether flush and replay shall end.
    pub fn is_stopped(&self) -> bool {
        *self.stop.lock().expect("no holder of this lock panics")
    }

    /// Ends flush and replay at their next step.
    pub fn stop(&self) {
        *self.stop.lock().expect("no holder of this lock panics") = true;
        self.changed.notify_all();
    }

    fn notify(&self) {
        // The lock orders this after the check of a waiter that is about to wait.
        drop(self.stop.lock().expect("no holder of this lock panics"));
        self.changed.notify_all();
    }

    fn measure(&self) {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.memtable_bytes.set(gauge(self.bytes()));
        self.metrics.wal_unflushed_bytes.set(gauge(self.log_bytes()));
        self.metrics.generations.with_label_values(&["frozen"]).set(gauge(self.frozen() as u64));
        self.metrics.generations.with_label_values(&["active"]).set(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples;

    #[test]
    fn a_replayed_generation_without_rows_is_never_handed_to_the_flush() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let memtable = Memtable::new(0, Arc::default(), 5, metrics);
        let (empty, filled) = (memtable.begin_replayed(5), memtable.begin_replayed(6));
        memtable.push_into(&filled, vec![Arc::new(Rows::new(samples::batch(1, 3), 1, 6))], 100);
        memtable.seal(&empty, 5);
        memtable.seal(&filled, 6);
        assert_eq!((empty.to(), filled.to(), memtable.frozen()), (None, Some(6), 1));
    }

    #[test]
    fn a_generation_that_is_flushed_twice_gives_its_bytes_back_once() {
        let metrics = Metrics::register(&prometheus::Registry::new()).unwrap();
        let memtable = Memtable::new(0, Arc::default(), 1, metrics);
        let rows = |lsn| vec![Arc::new(Rows::new(samples::batch(lsn, 3), lsn as i64, lsn))];
        memtable.push(rows(1), 100);
        memtable.freeze(1);
        memtable.push(rows(2), 70);
        let (first, all) = (memtable.snapshot().load().frozen[0].clone(), memtable.bytes());
        for _ in 0..2 {
            memtable.flushed(&first, 1, &Arc::default());
            assert_eq!((memtable.bytes(), memtable.log_bytes()), (all - first.bytes(), 70));
        }
    }
}
