//! Followers: rows as they become durable, in the order of their positions (storage.md 5.4).
//!
//! Duty: [`Store::follow`] and the [`Follower`] it gives, [`News`] for those who look now and then. Guarantee: each record above the position it began at comes once,
//! whole, after all those before it, whatever flush, compaction and replay do meanwhile; nothing waits for a follower, and
//! it holds about [`AT_ONCE_ROWS`] rows at most: what it has not asked for stays where it is, in generations and then in
//! parts. Rows that left the store before they were asked for do not come. Left to others: what is done with the rows,
//! reading them back from parts (`late.rs`).

mod late;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::memtable::Memtable;
use super::{Error, Lsn, Reader, Rows, Store};
use crate::span::SpanBatch;

/// Rows that a follower takes at once, about: a record is not cut.
const AT_ONCE_ROWS: usize = 8192;
/// How often it looks whether replay has ended, which nobody tells it.
const REPLAY_PAUSE: Duration = Duration::from_millis(50);

/// Rows of one log record, or of a part of it where its request was cut into several batches.
#[derive(Clone, Debug)]
pub struct Followed {
    /// The spans.
    pub batch: SpanBatch,
    /// Store position of the record, µs since 1970. A follower that begins at it goes on behind the record.
    pub position_us: i64,
}

/// See [`Store::follow`].
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    memtable: Arc<Memtable>,
    news: watch::Receiver<Lsn>,
    /// All rows up to it have come, or are in `ready`.
    position_us: i64,
    ready: VecDeque<Followed>,
    at_once_rows: usize,
}

/// Tells that rows came, not which; see [`Store::news`].
#[derive(Clone, Debug)]
pub struct News(watch::Receiver<Lsn>);

impl News {
    /// Waits for rows that came since it was made or waited last; without end once the store has ended. A caller that goes
    /// away while it waits misses nothing.
    pub async fn came(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

impl Store {
    /// News of rows as they become durable. That replay has ended it does not tell.
    pub fn news(&self) -> News {
        News(self.inner.progress.news.subscribe())
    }

    /// Follows the rows above the store position `from_us`, µs since 1970; [`i64::MIN`] = all there are.
    pub fn follow(&self, from_us: i64) -> Follower {
        Follower {
            reader: self.inner.reader.clone(),
            memtable: self.inner.memtable.clone(),
            news: self.inner.progress.news.subscribe(),
            position_us: from_us,
            ready: VecDeque::new(),
            at_once_rows: AT_ONCE_ROWS,
        }
    }
}

impl Follower {
    /// The next rows, waiting for them; `None` once the store has ended and all its rows have come. A caller that goes away
    /// while it waits misses nothing.
    ///
    /// Errors: a part that holds the next rows cannot be read, or is damaged; another call tries again.
    pub async fn next(&mut self) -> Result<Option<Followed>, Error> {
        loop {
            if let Some(next) = self.ready.pop_front() {
                return Ok(Some(next));
            }
            // Before the look: what comes during it is news.
            self.news.borrow_and_update();
            let is_stopped = self.memtable.is_stopped();
            let is_complete = self.reader.is_complete();
            if self.fill(is_complete).await? {
                continue;
            }
            if is_stopped {
                return Ok(None);
            }
            let news = self.news.changed();
            if !is_complete {
                drop(tokio::time::timeout(REPLAY_PAUSE, news).await);
            } else if news.await.is_err() {
                // The sender has gone with the store.
                return Ok(None);
            }
        }
    }

    /// The rows that are there, about as many as it takes at once and in whole records; none once all have come.
    ///
    /// Errors: as [`Follower::next`].
    pub async fn ready(&mut self) -> Result<Vec<Followed>, Error> {
        if self.ready.is_empty() {
            let is_complete = self.reader.is_complete();
            self.fill(is_complete).await?;
        }
        Ok(self.ready.drain(..).collect())
    }

    /// Takes the next rows there are; `false` if there are none.
    async fn fill(&mut self, is_complete: bool) -> Result<bool, Error> {
        let snapshot = self.reader.snapshot();
        // Rows enter parts in the order of their positions, so those in parts come before all in memory.
        if snapshot.parts.parts.iter().any(|part| part.entry.ingest[1] > self.position_us) {
            let objects = self.reader.objects().clone();
            let window = late::read(objects, &snapshot.parts.parts, self.position_us, self.at_once_rows).await?;
            self.position_us = window.until_us;
            self.ready = window.rows.into();
            return Ok(true);
        }
        if !is_complete {
            // Replay fills a generation in front of the rows that arrive meanwhile.
            return Ok(false);
        }
        let mut rows: Vec<Arc<Rows>> = Vec::new();
        for generation in snapshot.frozen.iter().chain([&snapshot.active]) {
            let taken: usize = rows.iter().map(|rows| rows.batch.rows()).sum();
            if taken >= self.at_once_rows {
                break;
            }
            rows.extend(generation.after(self.position_us, self.at_once_rows - taken));
        }
        let Some(last) = rows.last() else { return Ok(false) };
        self.position_us = last.ingest_us;
        let followed = |rows: &Arc<Rows>| Followed { batch: rows.batch.clone(), position_us: rows.ingest_us };
        self.ready = rows.iter().map(followed).collect();
        Ok(true)
    }
}
