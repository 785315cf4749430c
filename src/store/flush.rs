//! Flush: frozen generations become parts (storage.md 6).
//!
//! Duty: one generation at a time, oldest first: split by hour, write the parts, commit one manifest delta, swap the
//! snapshot, delete log segments one flush late. Guarantee: rows leave memory only when the manifest that names their
//! parts is durable; a failure keeps them and is tried again with back-off, and repeats no step that is done, unless
//! another process owns the store: then it stops. Left to
//! others: the files (`shelf.rs`), when a generation freezes (`wal/thread.rs`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::catalog::Catalog;
use super::manifest::PartEntry;
use super::memtable::Memtable;
use super::metrics::Metrics;
use super::shelf::{Shelf, Shown};
use super::split::{self, Set};
use super::wal::segments::Segments;
use super::{Error, Gen, Lsn, panics};
use crate::disk::Disk;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Space that returned is noticed within 5 s (storage.md 12.2).
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// How far the flush is.
#[derive(Clone, Debug, Default)]
pub struct Flushed {
    /// All rows up to it are in parts.
    pub lsn: Lsn,
    /// Attempts that failed since the start.
    pub failures: u64,
    /// Why the newest attempt failed; `None` after a success.
    pub error: Option<Error>,
}

/// The flush thread's state.
#[derive(Debug)]
pub struct Flusher {
    pub(super) shelf: Shelf,
    pub(super) memtable: Arc<Memtable>,
    pub(super) catalog: Catalog,
    pub(super) segments: Segments,
    pub(super) disk: Disk,
    pub(super) metrics: Metrics,
    pub(super) progress: watch::Sender<Flushed>,
}

/// A flush under way: what a further attempt need not do again.
struct Attempt {
    generation: Arc<Gen>,
    to: Lsn,
    /// Empty before the rows are split.
    sets: Vec<Set>,
    written: Vec<PartEntry>,
}

impl Attempt {
    fn rows(&self) -> usize {
        self.generation.rows().iter().map(|rows| rows.batch.rows()).sum()
    }
}

impl Flusher {
    /// Runs until the memtable is stopped. At the priority of everybody: rows in memory, and at last appends, wait for it.
    pub fn run(self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "the flush cannot start");
                let error = Error::Internal { detail: format!("the flush cannot start: {error}") };
                self.progress.send_modify(|p| (p.failures, p.error) = (p.failures + 1, Some(error)));
                return;
            }
        };
        while let Some(generation) = self.memtable.wait_for_complete() {
            let Some(to) = generation.to() else { continue };
            let mut attempt = Attempt { generation, to, sets: Vec::new(), written: Vec::new() };
            let mut pause = FIRST_PAUSE;
            loop {
                let began = Instant::now();
                let span = tracing::info_span!(
                    target: "weavergen::own", "store/flush", parts = tracing::field::Empty,
                    rows = attempt.rows() as u64, error = tracing::field::Empty,
                );
                // A panic leaves what is written in the attempt, and an open commit in the manifest, as an error does.
                let flush = || runtime.block_on(self.flush(&mut attempt));
                let outcome = span.in_scope(|| panics::caught("it", flush));
                span.record("parts", attempt.sets.len() as u64);
                match outcome {
                    Ok(()) => {
                        self.metrics.flush_seconds.observe(began.elapsed().as_secs_f64());
                        break;
                    }
                    Err(error) => {
                        span.record("error", error.to_string());
                        if matches!(error, Error::Superseded { .. }) {
                            // storage.md 8: a writer that meets a later one stops writing. Nothing of ours can be
                            // committed any more, so nothing is tried again.
                            self.superseded(error);
                            return;
                        }
                        self.failed(error);
                    }
                }
                if !self.memtable.pause(pause) {
                    return;
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        // Behind the last flush: else the next start counts the rows of some flushes again.
        if let Err(error) = runtime.block_on(self.catalog.write()) {
            tracing::warn!(%error, "the catalogue is not written; the next start counts what is missing");
        }
    }

    async fn flush(&self, attempt: &mut Attempt) -> Result<(), Error> {
        let (from, to) = (attempt.generation.from, attempt.to);
        if attempt.sets.is_empty() {
            attempt.sets = split::split(&attempt.generation.rows(), split::hour_of_ns(self.shelf.clock().now_ns()));
        }
        let of = u32::try_from(attempt.sets.len()).unwrap_or(u32::MAX);
        while let Some(set) = attempt.sets.get(attempt.written.len()) {
            let index = u32::try_from(attempt.written.len()).unwrap_or(u32::MAX);
            let entry = self.shelf.put(set, from, to, index, of).await?;
            attempt.written.push(entry);
            if self.memtable.is_stopped() {
                return Err(Error::Draining);
            }
        }
        let before = self.shelf.shown().flushed;
        let rows = attempt.generation.rows();
        // An earlier attempt may have committed without learning of it; the manifest recognises that.
        let published = |shown: &Shown| {
            // Before the rows leave memory: a reader that sees them in parts finds them counted.
            self.catalog.flushed(&rows);
            self.memtable.flushed(&attempt.generation, shown.version, &shown.parts);
            self.metrics.measure(&shown.parts);
        };
        self.shelf.commit_flush(attempt.written.clone(), to, published).await?;
        // One flush late: an unreadable newest delta then costs a replay, not data (storage.md 6.6).
        if let Err(error) = self.segments.delete_up_to(before, &self.disk) {
            tracing::warn!(%error, "cannot delete log segments that are no longer needed");
        }
        self.progress.send_modify(|p| (p.lsn, p.error) = (to, None));
        Ok(())
    }

    fn superseded(&self, error: Error) {
        self.metrics.flush_failures.inc();
        self.metrics.degraded.with_label_values(&["superseded"]).set(1);
        tracing::error!(%error, "another process owns the store; flushes and appends have stopped");
        self.progress.send_modify(|p| (p.failures, p.error) = (p.failures + 1, Some(error)));
    }

    fn failed(&self, error: Error) {
        self.metrics.flush_failures.inc();
        tracing::warn!(%error, "flush failed; the rows stay in memory and in the log, it is tried again");
        self.progress.send_modify(|p| (p.failures, p.error) = (p.failures + 1, Some(error)));
    }
}
