//! The task that closes ticks.
//!
//! Duty: watch the frontier, run the gates of a group at one cut when a tick closes, take the answers into the book and
//! write it. Guarantee: no tick closes before the store's replay has ended; all gates of a group see one cut; a group that is
//! slow holds up no other but derived gates, which read what it gives; what could not be written is evaluated again. Left to
//! others: what answers mean (`book`), running SQL (`result::Runner`).

mod ask;
mod driven;
mod early;
mod operator;
mod position;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore};
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::standing::{Standing, show_lag};
use super::book::{Book, Closing, Definitions};
use super::definition::Group;
use super::derived::first_held;
use super::journal::{Batch, Error, Journal};
use super::late::Late;
use super::live::{Board, Live, Outlook};
use super::metrics::Metrics;
use super::result::Runner;
use super::state::Downtime;
use super::watermark::{Feed, Watermark};
use super::window::{ALIVE_NS, due_from};
use crate::clock::Clock;

pub use driven::Driven;
pub use operator::{CloseError, Closed, Operator};
pub use position::Position;

/// How long to wait for a replay, or after the journal could not be written.
const PAUSE: Duration = Duration::from_millis(500);
/// How often old rows are removed.
const PRUNE_NS: i64 = 3_600 * 1_000_000_000;

/// What the evaluator works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Loaded groups, in the order of their files.
    pub groups: Vec<Group>,
    /// [`super::question`] of every gate, by name.
    pub questions: BTreeMap<String, [u8; 32]>,
    /// `notify.default`
    pub default_receivers: Vec<String>,
    /// `gates.value_metrics`
    pub value_metrics: bool,
    /// Runs the SQL.
    pub runner: Runner,
    /// Counts late spans.
    pub late: Late,
    /// Where the store is.
    pub position: Position,
    /// What comes to it, by which ticks close.
    pub feed: Feed,
    /// `gates.redb`
    pub journal: Journal,
    /// Wall time.
    pub clock: Clock,
    /// `weavergen_gate_*`
    pub metrics: Metrics,
    /// Queries at a time: `max(1, cores / 2)`.
    pub concurrency: usize,
}

/// Closes ticks until it is stopped.
#[derive(Debug)]
pub struct Evaluator {
    shared: Arc<Shared>,
    downtimes: Vec<Downtime>,
    watermark: Watermark,
    running: JoinSet<Closing>,
    /// Group and tick of each that runs.
    tasks: BTreeMap<Id, (usize, i64)>,
    /// Groups that close a tick.
    busy: BTreeSet<usize>,
    looks: early::Looks,
    written_ns: i64,
    pruned_ns: i64,
}

#[derive(Debug)]
struct Shared {
    parts: Parts,
    book: Mutex<Book>,
    slots: Semaphore,
    /// What is asked between ticks goes one after the other, and no tick waits for it.
    look_slot: Semaphore,
    /// Something waits to be written.
    woken: Notify,
    /// For those who look while it runs, where somebody does.
    board: OnceLock<Board>,
}

impl Shared {
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no holder of this lock panics")
    }
}

impl Evaluator {
    /// Reads the journal, notes the downtime, ends generations whose question changed or whose gate is gone. Blocks.
    ///
    /// Errors: see [`Error`].
    pub fn open(parts: Parts) -> Result<Self, Error> {
        let now_ns = parts.clock.now_ns();
        let downtimes = parts.journal.wake(now_ns)?;
        let book = open_book(&parts, &downtimes)?;
        let kept = parts.journal.snapshot()?.sources()?;
        let watermark = Watermark::open(parts.feed.clone(), book.frontier_floor_ns(), kept, now_ns);
        let slots = Semaphore::new(parts.concurrency.max(1));
        Ok(Self {
            shared: Arc::new(Shared {
                parts,
                book: Mutex::new(book),
                slots,
                look_slot: Semaphore::new(1),
                woken: Notify::new(),
                board: OnceLock::new(),
            }),
            downtimes,
            watermark,
            running: JoinSet::new(),
            tasks: BTreeMap::new(),
            busy: BTreeSet::new(),
            looks: early::Looks::default(),
            written_ns: now_ns,
            pruned_ns: 0,
        })
    }

    /// For what people close.
    pub fn operator(&self) -> Operator {
        Operator { shared: self.shared.clone() }
    }

    /// For those who read and close gates while it runs.
    pub fn live(&self) -> Live {
        let board = self.shared.board.get_or_init(Board::default).clone();
        let mut book = self.shared.book();
        book.touch_all();
        board.put(book.changed());
        drop(book);
        let parts = &self.shared.parts;
        let from = (board, parts.journal.clone(), self.operator(), Outlook::new(parts, self.watermark.reached_ns()));
        Live::new(&parts.groups, from, parts.clock.clone())
    }

    /// Closes ticks until `stop`; then writes what waits.
    pub async fn run(mut self, stop: CancellationToken) {
        let shared = self.shared.clone();
        let Parts { position, clock, metrics, .. } = &shared.parts;
        let is_replayed = || position.get().is_some();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                () = self.watermark.hear(is_replayed, clock, metrics) => {}
            }
            let (wait, next_m_ns) = self.start_due();
            let (pause, awaited) = self.start_looks();
            let until = (wait.min(pause), next_m_ns, awaited);
            let outcome = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(first) = self.running.join_next_with_id() => {
                    let mut closings: Vec<Closing> = self.ended(first).into_iter().collect();
                    // Groups whose ticks close together share one transaction.
                    while let Some(next) = self.running.try_join_next_with_id() {
                        closings.extend(self.ended(next));
                    }
                    self.take_in(closings).await
                }
                Some(first) = self.looks.next() => self.take_looks(first).await,
                () = shared.woken.notified() => self.write(false).await,
                () = self.watermark.rest(until, is_replayed, clock, metrics) => self.write(false).await,
            };
            if let Err(error) = outcome {
                tracing::error!(%error, "gate verdicts could not be written; their ticks are evaluated again");
                tokio::select! {
                    () = stop.cancelled() => {
                        // Those who wait for what is not written any more are told so.
                        let mut book = shared.book();
                        book.end_changes();
                        drop(book.take_waiting());
                        return;
                    }
                    () = self.recover() => {}
                }
            }
        }
        self.running.shutdown().await;
        self.looks.end().await;
        shared.book().end_changes();
        if let Err(error) = self.write(true).await {
            tracing::error!(%error, "gate verdicts could not be written; their ticks are evaluated at the next start");
        }
    }

    /// Closes all ticks that are due and writes them.
    #[cfg(test)]
    pub(super) async fn round(&mut self) -> Result<(), Error> {
        while self.round_once().await? {}
        self.write(false).await
    }

    /// Closes at most one due tick of each group: for those who move the clock themselves. `false`: none is due.
    ///
    /// Errors: the journal.
    pub async fn round_once(&mut self) -> Result<bool, Error> {
        self.hear().await;
        self.start_due();
        let Some(first) = self.running.join_next_with_id().await else { return Ok(false) };
        let mut closings: Vec<Closing> = self.ended(first).into_iter().collect();
        while let Some(next) = self.running.join_next_with_id().await {
            closings.extend(self.ended(next));
        }
        self.take_in(closings).await?;
        Ok(true)
    }

    /// What an evaluation gave. The tick of one that broke off is left out, for it would break off again.
    fn ended(&mut self, ended: Result<(Id, Closing), JoinError>) -> Option<Closing> {
        let id = ended.as_ref().map_or_else(|error| error.id(), |(id, _)| *id);
        let (group, t_ns) = self.tasks.remove(&id)?;
        match ended {
            Ok((_, closing)) => Some(closing),
            Err(error) => {
                tracing::error!(%error, group, tick_ns = t_ns, "an evaluation broke off; its tick is missed");
                self.busy.remove(&group);
                let now_ns = self.shared.parts.clock.now_ns();
                self.shared.book().miss(group, (t_ns, t_ns), now_ns);
                None
            }
        }
    }

    /// Begins the evaluation of every group that has a tick due; how long to wait if nothing ends before, and the M at which
    /// the next tick is due.
    fn start_due(&mut self) -> (Duration, i64) {
        let parts = &self.shared.parts;
        let now_ns = parts.clock.now_ns();
        let Some(m_ns) = self.watermark.advance(now_ns, &parts.metrics) else { return (PAUSE, i64::MAX) };
        let mut book = self.shared.book();
        let mut wake_ns = self.written_ns.saturating_add(ALIVE_NS);
        wake_ns = wake_ns.min(book.write_by_ns().unwrap_or(i64::MAX));
        let resumed_ns = book.resumed_ns();
        let standing: Vec<Standing> = (0..book.groups().len()).map(|group| Standing::of(&book, group)).collect();
        show_lag(&parts.metrics, &standing, m_ns);
        let (mut cut_us, mut next_m_ns) = (None, i64::MAX);
        for (group, Standing { grid, last_ns, is_derived, .. }) in standing.iter().enumerate() {
            let last_ns = *last_ns;
            let kept_ns = self.watermark.kept_ns((group, grid, last_ns), (m_ns, now_ns), resumed_ns);
            if self.busy.contains(&group) {
                continue;
            }
            let held_ns = match is_derived {
                true => {
                    let others = standing.iter().filter(|s| !s.is_derived).map(|s| (&s.grid, s.last_ns));
                    first_held(grid, others, m_ns)
                }
                false => i64::MAX,
            };
            if held_ns <= grid.next(last_ns) {
                // It goes on when what it waits for is taken in.
                continue;
            }
            let until_ns = m_ns.min(held_ns.saturating_sub(1).saturating_add(grid.offset_ns));
            let Some(found) = due_from(grid, last_ns, until_ns, resumed_ns, kept_ns) else {
                next_m_ns = next_m_ns.min(grid.next(last_ns).saturating_add(grid.offset_ns));
                continue;
            };
            // One cut for all groups that close together.
            if cut_us.is_none() {
                cut_us = parts.position.get();
            }
            let Some(cut_us) = cut_us else { return (PAUSE, i64::MAX) };
            if let Some(dropped) = found.dropped {
                book.miss(group, dropped, now_ns);
            }
            self.looks.give_up(group);
            self.busy.insert(group);
            let (shared, moment) = (self.shared.clone(), (found.next_ns, cut_us));
            let task = self.running.spawn(ask::evaluate(shared, group, moment, self.looks.order));
            self.tasks.insert(task.id(), (group, found.next_ns));
        }
        if self.watermark.is_clock() {
            wake_ns = wake_ns.min(next_m_ns);
        }
        let wait_ns = u64::try_from(wake_ns.saturating_sub(now_ns)).unwrap_or(0);
        // A clock that jumps is noticed within a second.
        let wait = Duration::from_nanos(wait_ns).clamp(Duration::from_millis(1), Duration::from_secs(1));
        (wait, next_m_ns)
    }

    async fn take_in(&mut self, closings: Vec<Closing>) -> Result<(), Error> {
        let now_ns = self.shared.parts.clock.now_ns();
        let is_read = {
            let mut book = self.shared.book();
            for closing in closings {
                self.busy.remove(&closing.group);
                book.close(closing, now_ns)?;
            }
            book.has_derived()
        };
        self.write(is_read).await
    }

    /// Writes the batch if it has an effect or waited long enough, and otherwise `meta.alive` when that is due.
    async fn write(&mut self, force: bool) -> Result<(), Error> {
        let now_ns = self.shared.parts.clock.now_ns();
        let board = self.shared.board.get();
        let (batch, waiting, changed, is_loaded) = {
            let mut book = self.shared.book();
            let batch = book.take(now_ns, force);
            let waiting = if batch.is_some() { book.take_waiting() } else { Vec::new() };
            // Together with the batch, so that nothing is shown that is only in the next.
            let changed = board.map(|_| book.changed());
            (batch, waiting, changed, !book.groups().is_empty())
        };
        let show = || board.zip(changed).into_iter().for_each(|(board, changed)| board.put(changed));
        let is_late = now_ns.saturating_sub(self.written_ns) >= ALIVE_NS;
        let mut batch = match batch {
            Some(batch) => batch,
            None if is_loaded && (force || is_late) => Batch::default(),
            // What waits had no effect, so it may be seen before it is written.
            None => {
                show();
                return Ok(());
            }
        };
        self.watermark.note(&mut batch, now_ns, force);
        let prune = now_ns.saturating_sub(self.pruned_ns) >= PRUNE_NS;
        let journal = self.shared.parts.journal.clone();
        let written = tokio::task::spawn_blocking(move || {
            journal.commit(&batch, now_ns)?;
            if prune { journal.prune(now_ns) } else { Ok(()) }
        });
        written.await.map_err(|e| Error::Damaged(e.to_string()))??;
        show();
        for told in waiting {
            // Who asked may have gone.
            let _ = told.send(());
        }
        self.written_ns = now_ns;
        if prune {
            self.pruned_ns = now_ns;
        }
        Ok(())
    }

    /// Goes back to what the journal holds.
    async fn recover(&mut self) {
        self.running.shutdown().await;
        self.tasks.clear();
        self.looks.end().await;
        self.busy.clear();
        self.watermark.note_again();
        loop {
            tokio::time::sleep(PAUSE).await;
            match open_book(&self.shared.parts, &self.downtimes) {
                Ok(mut book) => {
                    if let Some(board) = self.shared.board.get() {
                        book.touch_all();
                        board.put(book.changed());
                    }
                    *self.shared.book() = book;
                    return;
                }
                Err(error) => tracing::error!(%error, "the journal of gates cannot be read"),
            }
        }
    }
}

fn open_book(parts: &Parts, downtimes: &[Downtime]) -> Result<Book, Error> {
    let definitions = Definitions {
        groups: parts.groups.clone(),
        questions: parts.questions.clone(),
        default_receivers: parts.default_receivers.clone(),
        value_metrics: parts.value_metrics,
    };
    let now_ns = parts.clock.now_ns();
    Book::open(parts.journal.clone(), definitions, downtimes.to_vec(), parts.metrics.clone(), now_ns)
}
