//! Rows of parts that the catalogue lacks.
//!
//! Duty: [`Catalog::catch_up`], and the thread that calls it when something is missing. Guarantee: each missing row is
//! counted once, whoever counts, panics or goes away meanwhile; a stop is looked at after each batch. A part that is
//! damaged stays missing until it can be read, or until it has left: what was saved of it is in another part by then, so
//! all is counted again. Left to others: counting a part (`parts`), what a statement makes of damage.

use std::sync::Arc;
use std::time::Duration;

use super::counts::Counts;
use super::{Catalog, parts};
use crate::store::Error;
use crate::store::part::{self, Part};
use crate::store::shelf::parts_error;
use crate::store::upkeep::Upkeep;

/// How often the thread looks whether something is missing.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What is missing after all was tried.
#[derive(Debug, Default)]
pub struct Left {
    /// Of which count it tells.
    pub life: u64,
    /// Damaged parts, with what is wrong.
    pub damaged: Vec<(String, Error)>,
}

/// Counts what is missing, whenever something is, until the memtable is stopped.
pub fn run(upkeep: &Upkeep) {
    if !cfg!(test) {
        // Below ingest in priority; a refusal only means equal priority.
        let _ = rustix::process::setpriority_process(None, 10);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the catalogue cannot be counted again; the first statement does it");
            return;
        }
    };
    let (catalog, stop) = (&upkeep.catalog, || upkeep.memtable.is_stopped());
    let mut pause = PAUSE;
    loop {
        if catalog.is_behind() {
            pause = match runtime.block_on(upkeep.watched("a count of the catalogue", catalog.catch_up(stop))) {
                Ok(left) if left.damaged.is_empty() => {
                    tracing::info!("the catalogue has all rows of the parts");
                    PAUSE
                }
                Ok(left) => {
                    for (part, error) in left.damaged {
                        tracing::warn!(part, %error, "its rows are missing in the catalogue");
                    }
                    (pause * 2).min(LONGEST_PAUSE)
                }
                Err(Error::Draining) => return,
                Err(error) => {
                    tracing::warn!(%error, "the catalogue cannot be counted again yet; it is tried again");
                    (pause * 2).min(LONGEST_PAUSE)
                }
            };
        }
        if !upkeep.memtable.pause(pause) {
            return;
        }
    }
}

impl Catalog {
    /// Counts the parts with missing rows. Several callers share the work.
    ///
    /// Errors: [`Error::Draining`] once `stop` says so, and what may pass. A panic leaves rows missing or all to be counted
    /// again, and is for the caller to catch.
    pub async fn catch_up(&self, stop: impl Fn() -> bool) -> Result<Left, Error> {
        let _turn = self.inner.turn.lock().await;
        let mut left = Left::default();
        loop {
            let (gap, part) = {
                let mut state = self.state();
                if left.life != state.life {
                    left = Left { life: state.life, damaged: Vec::new() };
                }
                // Those that are damaged stay in front.
                match (state.gap, state.behind.get(left.damaged.len()).cloned()) {
                    (Some(gap), Some(part)) => (gap, part),
                    (gap, _) => {
                        if gap.is_some() && left.damaged.is_empty() {
                            (state.gap, state.due, state.retained) = (None, true, None);
                        }
                        return Ok(left);
                    }
                }
            };
            if stop() {
                return Err(Error::Draining);
            }
            match parts::count(&self.inner.shelf.reads(), &part.entry, gap, self.inner.share, &stop).await {
                Ok(Some(counts)) => self.absorb(left.life, &part, &counts),
                Ok(None) => return Err(Error::Draining),
                Err(error) if may_pass(&error) => return Err(parts_error(&error)),
                Err(error) if self.is_live(&part) => {
                    // Its blocks may have decayed since they were checked: then only the decoder has seen it.
                    self.inner.shelf.part_store().doubt(&part.entry.path);
                    left.damaged.push((part.entry.path.clone(), parts_error(&error)));
                }
                Err(error) => {
                    tracing::warn!(part = part.entry.path, %error, "it has left; the catalogue is counted again");
                    self.state().begin_again(&self.inner.shelf.shown(), self.inner.share);
                }
            }
        }
    }

    /// Adds the missing rows of `part`, unless the count `life` has been given up. All or nothing of it.
    fn absorb(&self, life: u64, part: &Arc<Part>, counts: &Counts) {
        let mut state = self.state();
        if state.life == life {
            state.counted.counts.absorb(counts);
            state.behind.retain(|other| !Arc::ptr_eq(other, part));
        }
    }

    fn is_live(&self, part: &Part) -> bool {
        self.inner.shelf.shown().parts.parts.iter().any(|live| live.entry.path == part.entry.path)
    }
}

/// Whether the same may succeed later.
fn may_pass(error: &part::Error) -> bool {
    !matches!(error, part::Error::Objects { source: object_store::Error::NotFound { .. }, .. })
        && error.class() == crate::error::Class::Unavailable
}
