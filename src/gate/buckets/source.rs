//! The states of all aggregations over one selection of spans, as far as the store has come.
//!
//! Duty: bring them to the cut of a tick by reading the spans that came since, once for all; merge the buckets of a window.
//! Guarantee: they are those of one cut, wholly or not at all; spans that cannot be read concern only the aggregations whose
//! windows hold them, and those are asked by SQL. A reading that is begun goes on when nobody waits for it any more, so a gate
//! with a short `timeout` does not keep it from its end. Left to others: who asks (the parent), ticks to come (`ahead`).

mod ahead;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use arrow::array::RecordBatch;
use datafusion::common::DataFusionError;
use tokio::task::JoinSet;

use super::states::{Given, States};
use crate::gate::metrics::Metrics;
use crate::gate::result::{RunError, Window};
use crate::query::shared::{Aggregation, Part, Source};
use crate::query::{self, Gateway};

/// Merged windows of an aggregation that are kept: one for each length of window, and some for keys that are confirmed.
const MOST_MERGED: usize = 16;

/// So far ahead of the newest tick, and of the arrival of spans, they are kept.
const AHEAD_NS: i64 = 3_600_000_000_000;

/// Entries and bytes of all states.
#[derive(Debug)]
pub(super) struct Usage {
    most: (u64, u64),
    of_sources: Mutex<BTreeMap<usize, (u64, u64)>>,
    metrics: Option<Metrics>,
}

impl Usage {
    /// At most so many.
    pub(super) fn new(most: (u64, u64), metrics: Option<Metrics>) -> Self {
        Self { most, of_sources: Mutex::default(), metrics }
    }

    /// How much is over, if the source `at` has `own`.
    fn over(&self, at: usize, own: (u64, u64)) -> (bool, bool) {
        let others = self.of_sources.lock().expect("no holder of this lock panics");
        let others = others.iter().filter(|(source, _)| **source != at).map(|(_, size)| *size);
        let (entries, bytes) = others.fold(own, |sum, size| (sum.0 + size.0, sum.1 + size.1));
        (entries > self.most.0, bytes > self.most.1)
    }

    fn set(&self, at: usize, own: (u64, u64)) {
        let mut all = self.of_sources.lock().expect("no holder of this lock panics");
        all.insert(at, own);
        if let Some(metrics) = &self.metrics {
            let (entries, bytes) = all.values().fold((0, 0), |sum: (u64, u64), size| (sum.0 + size.0, sum.1 + size.1));
            metrics.bucket_entries.set(i64::try_from(entries).unwrap_or(i64::MAX));
            metrics.bucket_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }
}

/// What was found for a window.
#[derive(Debug)]
pub(super) enum Found {
    /// Its keys and values.
    Values(RecordBatch),
    /// Nothing: the gate is asked by its SQL.
    Alone,
    /// Why there is nothing. It is not asked by SQL, which would have as many keys.
    Error(RunError),
}

/// How long the spans of an aggregation are kept.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Keep {
    /// Its longest window.
    pub window_ns: i64,
    /// How far behind the newest tick it may be asked.
    pub behind_ns: i64,
}

/// Widths of buckets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Widths {
    /// Of all of them at first.
    pub narrow_ns: i64,
    /// How many of these become one once only windows begin there, which do so on a multiple of it; 1 = they stay.
    pub wide: i64,
}

impl Keep {
    fn all_ns(self) -> i64 {
        self.window_ns.saturating_add(self.behind_ns)
    }
}

impl Widths {
    /// The bucket of `at_ns`.
    const fn bucket(self, at_ns: i64) -> i64 {
        at_ns.div_euclid(self.narrow_ns)
    }

    /// The first bucket of the wide one in which `at_ns` lies.
    const fn wide_bucket(self, at_ns: i64) -> i64 {
        self.bucket(at_ns).div_euclid(self.wide).saturating_mul(self.wide)
    }
}

/// A source and its states.
#[derive(Debug)]
pub(super) struct SourceNow {
    source: Arc<Source>,
    /// Of each aggregation.
    keeps: Vec<Keep>,
    widths: Widths,
    usage: Arc<Usage>,
    /// Its place among the sources.
    at: usize,
    now: Arc<tokio::sync::Mutex<Now>>,
    merged: Vec<tokio::sync::Mutex<Vec<Merged>>>,
}

/// The states of a moment.
#[derive(Debug)]
struct Now {
    /// Spans up to this position are in them.
    cut_us: i64,
    states: Vec<States>,
    /// The newest end of a window that was asked for.
    t_ns: i64,
}

#[derive(Debug)]
struct Merged {
    window: Window,
    cut_us: i64,
    /// `None` = they cannot be merged.
    values: Option<RecordBatch>,
}

impl SourceNow {
    pub(super) fn new((source, at): (Arc<Source>, usize), keeps: Vec<Keep>, widths: Widths, usage: Arc<Usage>) -> Self {
        let states = vec![States::default(); keeps.len()];
        let now = Now { cut_us: i64::MIN, states, t_ns: i64::MIN };
        let merged = keeps.iter().map(|_| tokio::sync::Mutex::default()).collect();
        Self { source, keeps, widths, usage, at, now: Arc::new(tokio::sync::Mutex::new(now)), merged }
    }

    pub(super) fn aggregation(&self, at: usize) -> &Aggregation {
        &self.source.aggregations[at]
    }

    /// Keys and values of the aggregation `at` over `window` at `cut_us`.
    pub(super) async fn values(self: &Arc<Self>, gateway: &Gateway, at: usize, window: Window, cut_us: i64) -> Found {
        let mut merged = self.merged[at].lock().await;
        if let Some(known) = merged.iter().find(|one| one.window == window && one.cut_us == cut_us) {
            return known.values.clone().map_or(Found::Alone, Found::Values);
        }
        let states = match self.states(gateway, at, window, cut_us).await {
            Ok(states) => states,
            Err(found) => return found,
        };
        let source = self.source.clone();
        let work = gateway.spawn(async move { source.aggregations[at].merged(states, source.task()).await });
        let values = match work.await {
            Ok(Ok(values)) => Some(values),
            Ok(Err(error)) => {
                tracing::debug!(%error, "shared states cannot be merged");
                None
            }
            Err(_) => None,
        };
        merged.retain(|one| one.cut_us == cut_us);
        if merged.len() >= MOST_MERGED {
            merged.remove(0);
        }
        merged.push(Merged { window, cut_us, values: values.clone() });
        values.map_or(Found::Alone, Found::Values)
    }

    /// The states of the buckets of `window` at `cut_us`.
    async fn states(
        self: &Arc<Self>,
        gateway: &Gateway,
        at: usize,
        window: Window,
        cut_us: i64,
    ) -> Result<Vec<RecordBatch>, Found> {
        let mut now = self.now.clone().lock_owned().await;
        if now.cut_us > cut_us {
            return Err(Found::Alone);
        }
        if now.cut_us < cut_us || now.states[at].is_to_load(window.end_ns) {
            let (this, reader) = (self.clone(), gateway.clone());
            let work = gateway.spawn(async move {
                this.advance(&reader, &mut now, window.end_ns, cut_us).await;
                now
            });
            now = work.await.map_err(|_| Found::Alone)?;
        }
        let states = &now.states[at];
        if states.given_up() == Some(Given::Full) {
            return Err(Found::Error(RunError::StateCap));
        }
        let bucket = |at_ns: i64| self.widths.bucket(at_ns);
        states.of(bucket(window.start_ns), bucket(window.end_ns)).ok_or(Found::Alone)
    }

    /// Brings the states to `cut_us`, for windows that end at `t_ns`.
    async fn advance(&self, gateway: &Gateway, now: &mut Now, t_ns: i64, cut_us: i64) {
        now.t_ns = now.t_ns.max(t_ns);
        let mut next = now.states.clone();
        self.read(gateway, now, &mut next, cut_us).await;
        self.usage.set(self.at, size(&next));
        now.states = next;
        now.cut_us = cut_us;
    }

    async fn read(&self, gateway: &Gateway, now: &Now, next: &mut [States], cut_us: i64) {
        let oldest = |keep: Keep| self.widths.wide_bucket(now.t_ns.saturating_sub(keep.all_ns()));
        let settled = |keep: Keep| self.widths.wide_bucket(now.t_ns.saturating_sub(keep.behind_ns));
        let limit_ns = now.t_ns.max(cut_us.saturating_mul(1_000)).saturating_add(AHEAD_NS);
        for (states, keep) in next.iter_mut().zip(&self.keeps) {
            states.bound(self.widths.bucket(limit_ns), self.widths.bucket(now.t_ns));
            states.forget_before(oldest(*keep));
            states.widen_before(settled(*keep), self.widths.wide);
        }
        let loaded: Vec<usize> = (0..next.len()).filter(|at| next[*at].is_loaded()).collect();
        if now.cut_us < cut_us
            && let Err(error) = self.take(gateway, next, &loaded, (now.t_ns, now.cut_us, cut_us)).await
        {
            tracing::debug!(error = %error.message, "spans that came cannot be read; all are read anew");
            // Some of them may be in.
            loaded.iter().for_each(|at| next[*at].unload());
        }
        let fresh: Vec<usize> = (0..next.len()).filter(|at| next[*at].is_to_load(now.t_ns)).collect();
        let begin = |states: &mut States, keep: Keep| {
            states.begin(oldest(keep));
            states.widen_before(settled(keep), self.widths.wide);
        };
        fresh.iter().for_each(|at| begin(&mut next[*at], self.keeps[*at]));
        // Before the first position there is none.
        let all = (now.t_ns, -1, cut_us);
        if self.take(gateway, next, &fresh, all).await.is_ok() {
            return;
        }
        // Each by itself: what is damaged may lie before the windows of most. What is in by now counts against none of them.
        fresh.iter().for_each(|at| next[*at].unload());
        for at in fresh {
            let keep = self.keeps[at];
            begin(&mut next[at], keep);
            if let Err(error) = self.take(gateway, next, &[at], all).await {
                tracing::debug!(error = %error.message, "spans cannot be read; the gates over them are asked alone");
                next[at].give_up(Given::Broken, now.t_ns.saturating_add(keep.behind_ns));
            }
        }
    }

    /// Adds the spans between two positions to the aggregations `of`.
    async fn take(
        &self,
        gateway: &Gateway,
        next: &mut [States],
        of: &[usize],
        (t_ns, after_us, until_us): (i64, i64, i64),
    ) -> Result<(), query::Error> {
        let Some(first) = of.iter().filter_map(|at| next[*at].from()).min() else { return Ok(()) };
        let part = Part { from_ns: first.saturating_mul(self.widths.narrow_ns), after_us, until_us };
        let mut reading = self.source.open(gateway.view(), part).await?;
        while let Some(rows) = reading.next().await?.map(Arc::new) {
            let mut work = JoinSet::new();
            for at in of.iter().copied().filter(|at| next[*at].is_loaded()) {
                let (source, rows, width_ns) = (self.source.clone(), rows.clone(), self.widths.narrow_ns);
                work.spawn(async move { (at, source.aggregations[at].states(&rows, width_ns, source.task()).await) });
            }
            while let Some(done) = work.join_next().await {
                let (at, made) = done.map_err(|error| broken(&error))?;
                match made {
                    Ok(made) => made.into_iter().for_each(|(bucket, states)| next[at].add(bucket, states)),
                    Err(error) => self.give_up(&mut next[at], at, &error, t_ns),
                }
            }
            self.reduce(next, of, t_ns).await?;
            self.bound(next, t_ns);
        }
        Ok(())
    }

    /// Makes one batch of many of a bucket.
    async fn reduce(&self, next: &mut [States], of: &[usize], t_ns: i64) -> Result<(), query::Error> {
        let mut work = JoinSet::new();
        for at in of {
            for (bucket, batches) in next[*at].take_crowded() {
                let (source, at) = (self.source.clone(), *at);
                work.spawn(async move { (at, bucket, source.aggregations[at].reduced(batches, source.task()).await) });
            }
        }
        while let Some(done) = work.join_next().await {
            let (at, bucket, reduced) = done.map_err(|error| broken(&error))?;
            match reduced {
                // Of one that was given up meanwhile nothing is added.
                Ok(states) => next[at].add(bucket, states),
                Err(error) => self.give_up(&mut next[at], at, &error, t_ns),
            }
        }
        Ok(())
    }

    /// The gates of the aggregation `at` are asked alone: what `error` says of its states is no concern of the others.
    fn give_up(&self, states: &mut States, at: usize, error: &DataFusionError, t_ns: i64) {
        tracing::debug!(%error, "states cannot be made; the gates that share them are asked alone");
        let lasts_ns = match error.find_root() {
            DataFusionError::ResourcesExhausted(_) => self.keeps[at].behind_ns,
            // An expression fails until no window holds the span that it fails on.
            _ => self.keeps[at].all_ns(),
        };
        states.give_up(Given::Broken, t_ns.saturating_add(lasts_ns));
    }

    /// Gives up the largest until all are within bounds: that is the one whose keys are too many.
    fn bound(&self, next: &mut [States], t_ns: i64) {
        loop {
            let (entries, bytes) = self.usage.over(self.at, size(next));
            let weight = |states: &States| if entries { states.entries } else { states.bytes };
            let largest = next.iter().enumerate().max_by_key(|(_, states)| weight(states));
            let Some((at, _)) = largest.filter(|(_, states)| (entries || bytes) && weight(states) > 0) else { return };
            next[at].give_up(Given::Full, t_ns.saturating_add(self.keeps[at].all_ns()));
        }
    }
}

fn broken(why: &dyn std::fmt::Display) -> query::Error {
    query::Error::new(query::Code::Internal, why.to_string())
}

fn size(states: &[States]) -> (u64, u64) {
    states.iter().fold((0, 0), |(entries, bytes), one| (entries + one.entries, bytes + one.bytes))
}
