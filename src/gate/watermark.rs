//! The watermark M: how far event time has come (gates.md 3).
//!
//! Duty: hear what comes to the store, say up to when ticks may close, and which of them waited for M only. Guarantee: M never
//! goes back, across restarts neither; it stands still until all that the store holds is heard; without a feed it is the
//! clock. Left to others: sources (`sources`), reading spans (`feed`), ticks (`window`), closing them (`evaluator`).

mod backlog;
mod feed;
mod sources;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

pub use feed::{Feed, Heard, Hearing};
pub use sources::Limits;

use self::backlog::{Backlog, behind_downtime};
use self::sources::Sources;
use super::journal::{Batch, SourcesKept};
use super::metrics::Metrics;
use super::window::{ALIVE_NS, Frontier, Grid};
use crate::clock::Clock;

/// How often it is heard what came: before a flush has taken many rows out of memory.
const HEAR_EVERY: Duration = Duration::from_millis(50);
/// Whoever has not heard all after so long goes on with what comes from then on, for gates may not stand still.
const PATIENCE: Duration = Duration::from_secs(5);

/// What somebody waits for who wants to look at what came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Awaited {
    /// No span.
    #[default]
    Nothing,
    /// Spans of sources.
    Sources,
    /// Spans of anybody, also of this daemon and its pipelines.
    Anybody,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Watermark {
    m: Frontier,
    reached_ns: Arc<AtomicI64>,
    feed: Feed,
    sources: Sources,
    /// Store position up to which it heard, µs.
    heard_us: i64,
    /// The last one of it at which a source spoke.
    spoken_us: i64,
    /// When this process began.
    started_ns: i64,
    patience: Duration,
    /// It heard all that the store held once its replay had ended.
    is_level: bool,
    /// No span comes any more: M is the clock.
    is_released: bool,
    noted_ns: i64,
    /// By group.
    backlogs: Vec<Backlog>,
}

impl Watermark {
    /// M is not below `floor_ns`; `kept` is what was noted before this process began at `now_ns`.
    pub(super) fn open(feed: Feed, floor_ns: i64, kept: SourcesKept, now_ns: i64) -> Self {
        let limits = feed.limits;
        let now_us = now_ns.div_euclid(1_000);
        // Older spans say nothing: their sources lag, or fell silent.
        let oldest_us = now_us.saturating_sub(limits.lag_ns.saturating_add(limits.idle_ns).div_euclid(1_000));
        // What comes at this very moment is behind it.
        let heard_us = kept.heard_us.map_or(now_us.saturating_sub(1), |heard_us| heard_us.max(oldest_us));
        Self {
            m: Frontier::new(floor_ns),
            reached_ns: Arc::new(AtomicI64::new(i64::MIN)),
            is_level: feed.hear.is_none(),
            feed,
            sources: Sources::restored(limits, kept.rows, now_ns),
            heard_us,
            spoken_us: heard_us,
            started_ns: now_ns,
            patience: PATIENCE,
            is_released: false,
            noted_ns: now_ns,
            backlogs: Vec::new(),
        }
    }

    /// Whether M is the clock.
    pub(super) fn is_clock(&self) -> bool {
        self.feed.hear.is_none() || self.is_released
    }

    /// The store position up to which it heard spans of sources, µs; `None` = it hears none.
    pub(super) fn spoken_us(&self) -> Option<i64> {
        self.feed.hear.is_some().then_some(self.spoken_us)
    }

    /// From now on M is the clock: no span comes any more.
    pub(super) fn release(&mut self) {
        self.is_released = true;
    }

    /// M as it was said last, ns since 1970, for those who only look; before it was said, before all time.
    pub(super) fn reached_ns(&self) -> Arc<AtomicI64> {
        self.reached_ns.clone()
    }

    /// M at `now_ns`; `None` before all is heard that the store holds.
    pub(super) fn advance(&mut self, now_ns: i64, metrics: &Metrics) -> Option<i64> {
        if !self.is_level {
            return None;
        }
        let to_ns = self.target_ns(now_ns);
        let m_ns = self.m.advance(to_ns);
        self.reached_ns.store(m_ns, Ordering::Relaxed);
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
        metrics.watermark_seconds.set(m_ns as f64 / 1e9);
        metrics.lagging_sources.set(i64::try_from(self.sources.lagging(now_ns)).unwrap_or(i64::MAX));
        Some(m_ns)
    }

    fn target_ns(&self, now_ns: i64) -> i64 {
        if self.is_clock() { now_ns } else { self.sources.frontier_ns(now_ns) }
    }

    /// The first instant of the clock from `now_ns` on at which M is `m_ns` or more, if no span comes before.
    pub(super) fn reaches_ns(&self, m_ns: i64, now_ns: i64) -> i64 {
        match self.is_clock() {
            true => m_ns,
            false if self.m.m_ns() >= m_ns => now_ns,
            false => self.sources.reaches_ns(m_ns, now_ns),
        }
    }

    /// The tick of a group behind its last one from which on none is dropped, however many are due at M = `m_ns`. The daemon
    /// did not run from `resumed_ns` until this process began.
    pub(super) fn kept_ns(&mut self, group: (usize, &Grid, i64), (m_ns, now_ns): (i64, i64), resumed_ns: i64) -> i64 {
        let (at, grid, last_ns) = group;
        if self.backlogs.len() <= at {
            self.backlogs.resize_with(at + 1, Backlog::default);
        }
        let kept_ns = self.backlogs[at].kept_ns(grid, last_ns, m_ns, now_ns);
        behind_downtime(grid, kept_ns, (resumed_ns, self.started_ns))
    }

    /// Hears all that came, as far as that goes within its patience: everybody waits for it. `is_replayed`: whether the store
    /// holds all its rows.
    pub(super) async fn hear(&mut self, is_replayed: impl Fn() -> bool, clock: &Clock, metrics: &Metrics) {
        let Some(hear) = self.feed.hear.clone() else { return };
        // Before: what is there by then is heard.
        let is_replayed = self.is_level || is_replayed();
        let begun = Instant::now();
        let mut why = "they come faster than they are read".to_owned();
        loop {
            let left = self.patience.saturating_sub(begun.elapsed());
            if left.is_zero() {
                tracing::warn!(why, "spans are not heard in time; what some say of their sources is left out");
                self.heard_us = clock.now_us();
                self.spoken_us = self.heard_us;
                break;
            }
            let came = match tokio::time::timeout(left, hear(self.heard_us)).await {
                Ok(Ok(came)) => came,
                Ok(Err(error)) => {
                    why = error;
                    tokio::time::sleep(left.min(HEAR_EVERY)).await;
                    continue;
                }
                Err(_) => continue,
            };
            let Some(last) = came.last() else { break };
            self.heard_us = last.position_us;
            let now_ns = clock.now_ns();
            for heard in came {
                metrics.future_spans.inc_by(heard.future);
                let most_ns = self.feed.limits.latest_ns(heard.position_us);
                if !heard.latest.is_empty() {
                    self.spoken_us = heard.position_us;
                }
                for (service, latest_ns) in heard.latest {
                    self.sources.hear(service, latest_ns.min(most_ns), now_ns);
                }
            }
        }
        self.is_level = is_replayed;
    }

    /// Waits for `wait`, less once M is `m_ns` or what is `awaited` came, and hears meanwhile. Without a feed nobody hears
    /// what comes.
    pub(super) async fn rest(
        &mut self,
        (wait, m_ns, awaited): (Duration, i64, Awaited),
        is_replayed: impl Fn() -> bool,
        clock: &Clock,
        metrics: &Metrics,
    ) {
        if self.feed.hear.is_none() {
            tokio::time::sleep(wait).await;
            return;
        }
        let (begun, heard_us, spoken_us) = (Instant::now(), self.heard_us, self.spoken_us);
        while let Some(left) = wait.checked_sub(begun.elapsed()).filter(|left| !left.is_zero()) {
            if let Some(news) = self.feed.news.as_ref().filter(|_| self.is_level) {
                // Unless some come, M moves by silence alone.
                let now_ns = clock.now_ns();
                let until_ns = self.reaches_ns(m_ns, now_ns).saturating_sub(now_ns);
                let quiet = left.min(Duration::from_nanos(u64::try_from(until_ns).unwrap_or(0)));
                drop(tokio::time::timeout(quiet.saturating_sub(HEAR_EVERY), news()).await);
            }
            let left = wait.saturating_sub(begun.elapsed());
            tokio::time::sleep(left.min(HEAR_EVERY)).await;
            self.hear(&is_replayed, clock, metrics).await;
            let is_news = match awaited {
                Awaited::Nothing => false,
                Awaited::Sources => self.spoken_us > spoken_us,
                Awaited::Anybody => self.heard_us > heard_us,
            };
            if is_news || (self.is_level && self.target_ns(clock.now_ns()) >= m_ns) {
                return;
            }
        }
    }

    /// Adds to `batch` what changed of sources; what may wait, waits.
    pub(super) fn note(&mut self, batch: &mut Batch, now_ns: i64, force: bool) {
        let is_due = force || now_ns.saturating_sub(self.noted_ns) >= ALIVE_NS;
        if self.feed.hear.is_none() || !self.is_level || !is_due {
            return;
        }
        self.noted_ns = now_ns;
        batch.sources = self.sources.take_unwritten();
        batch.heard_us = Some(self.heard_us);
    }

    /// What was noted last was not written.
    pub(super) fn note_again(&mut self) {
        self.sources.write_again();
        self.noted_ns = i64::MIN;
    }
}
