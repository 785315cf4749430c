//! Following the journals of engine and gates.
//!
//! Duty: take in what is committed, in batches, and say when `feedback` is level with both. Guarantee: followers do not
//! overlap, and scans that wait for each other hold no thread; what could not be written is taken again. Left to others:
//! what facts mean (`feedback`), the journals (`sources`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;

use super::journal::{Error, Journal};
use super::metrics::Metrics;
use super::sources::{EngineEvents, EngineHead, GateFacts, Wanted};

/// Events of one transaction.
const BATCH: usize = 1000;
/// How long a scan of `feedback` waits.
pub const WAIT: Duration = Duration::from_secs(1);

/// Takes facts in; cheap to clone.
#[derive(Clone, Debug)]
pub struct Follower {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    journal: Journal,
    engine: EngineEvents,
    gates: GateFacts,
    metrics: Metrics,
    /// Held while facts are taken in.
    turn: Mutex<()>,
    /// One for all who wait for `turn` without blocking.
    waiting: Arc<Semaphore>,
}

impl Follower {
    /// Of these journals into that one.
    pub fn new(journal: Journal, engine: EngineEvents, gates: GateFacts, metrics: Metrics) -> Self {
        let (turn, waiting) = (Mutex::new(()), Arc::new(Semaphore::new(1)));
        Self { inner: Arc::new(Inner { journal, engine, gates, metrics, turn, waiting }) }
    }

    /// The file that it writes.
    pub fn journal(&self) -> &Journal {
        &self.inner.journal
    }

    /// Takes in all that is committed now. Blocks.
    ///
    /// Errors: see [`Error`]; what was taken in before stays.
    pub fn catch_up(&self) -> Result<(), Error> {
        self.follow(true)
    }

    /// As [`Follower::catch_up`], without blocking. Whoever waits no longer leaves a thread that goes on; until it is done no
    /// other begins.
    pub async fn level(&self) -> Result<(), Error> {
        let stopped = || Error::Source("the follower stopped".to_owned());
        let place = self.inner.waiting.clone().acquire_owned().await.map_err(|_| stopped())?;
        let follower = self.clone();
        let level = tokio::task::spawn_blocking(move || {
            let _place = place;
            follower.catch_up()
        });
        level.await.map_err(|_| stopped())?
    }

    /// Begins anew where the engine's file was replaced since it was followed last. Blocks. To be called before the engine
    /// goes on: an older copy that has as many events again looks like the file that was followed.
    ///
    /// Errors: see [`Error`].
    pub(super) fn meet_engine(&self) -> Result<(), Error> {
        let _turn = self.inner.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.recognise(&self.inner.engine.head().map_err(Error::Source)?)
    }

    /// As [`Follower::catch_up`]; rows that wait for a verdict are looked at only if `thorough`, or if the gates' journal
    /// has grown.
    pub(super) fn follow(&self, thorough: bool) -> Result<(), Error> {
        let Inner { journal, engine, gates, metrics, turn, .. } = self.inner.as_ref();
        // Nothing is half done behind a panic: a transaction that is not committed never was.
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        let gates_head = gates.head().map_err(Error::Source)?;
        let engine_head = engine.head().map_err(Error::Source)?;
        let look = |wanted: &[Wanted]| gates.look(wanted);
        self.recognise(&engine_head)?;
        let mut cursors = journal.cursors()?;
        while cursors.engine < engine_head.sequence {
            let page = engine.from(cursors.engine + 1, BATCH).map_err(Error::Source)?;
            if page.first_kept > cursors.engine + 1 {
                let lost = page.first_kept - cursors.engine - 1;
                metrics.lost_events.inc_by(lost);
                metrics.note("feedback", format!("{lost} events of the engine were removed before learn had them"));
                tracing::error!(lost, "events of the engine were removed before learn had them");
            }
            if page.events.is_empty() {
                let (at, last) = (cursors.engine, engine_head.sequence);
                let text = format!("the engine has no event behind {at}, but {last} is its last");
                return Err(Error::Source(text));
            }
            journal.take_engine(&page.events, &look)?;
            cursors = journal.cursors()?;
        }
        if thorough || cursors.gates < gates_head {
            journal.take_gates(gates_head, &look)?;
        }
        Ok(())
    }

    /// Begins anew where the engine is another one than the one that was followed, or an older copy of it.
    fn recognise(&self, head: &EngineHead) -> Result<(), Error> {
        let Inner { journal, metrics, .. } = self.inner.as_ref();
        let before = journal.cursors()?.engine;
        let is_known = journal.engine_id()? == Some(head.id) && head.sequence >= before;
        // An engine that is being made has no id yet.
        if is_known || head.sequence == 0 || !journal.turn_to(head)? {
            return Ok(());
        }
        // How much is missing nobody can say.
        metrics.lost_events.inc();
        let text = "engine.redb is not the one that was followed, or an older copy: what it does not hold is lost, and it is \
                    followed from its first event";
        metrics.note("feedback", text);
        tracing::error!(before, last = head.sequence, "engine.redb was replaced");
        Ok(())
    }
}
