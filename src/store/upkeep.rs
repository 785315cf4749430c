//! The thread that keeps the parts in order: compaction, retention, sweep.
//!
//! Duty: one step after another, below ingest in priority. Guarantee: a step that fails leaves the live parts as they
//! are, is logged, and comes again with back-off; after a takeover nothing is written any more. Left to others: each
//! step.

use std::sync::Arc;
use std::time::Duration;

use super::Error;
use super::memtable::Memtable;
use super::metrics::Metrics;
use super::shelf::{Shelf, Shown};

/// How often it looks whether there is something to do.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What every step works with.
#[derive(Clone, Debug)]
pub struct Upkeep {
    pub(super) shelf: Shelf,
    pub(super) memtable: Arc<Memtable>,
    pub(super) metrics: Metrics,
}

impl Upkeep {
    /// Runs until the memtable is stopped.
    pub fn run(self) {
        // Below ingest in priority; a refusal only means equal priority.
        let _ = rustix::process::setpriority_process(None, 10);
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, "compaction and retention cannot start");
                return;
            }
        };
        let mut pause = PAUSE;
        while self.memtable.pause(pause) {
            pause = match runtime.block_on(self.step()) {
                Ok(()) => PAUSE,
                Err(Error::Superseded { .. }) => return,
                Err(error) => {
                    tracing::warn!(%error, "upkeep of the parts failed; the parts stay as they are, it is tried again");
                    (pause * 2).min(LONGEST_PAUSE)
                }
            };
        }
    }

    async fn step(&self) -> Result<(), Error> {
        self.shelf.checkpoint_if_due().await?;
        Ok(())
    }

    /// Shows readers the parts of `shown`, as one store of the snapshot: for a commit without a flush.
    pub(super) fn publish(&self, shown: &Shown) {
        self.memtable.replaced(shown.version, &shown.parts);
        self.metrics.measure(&shown.parts);
    }
}
