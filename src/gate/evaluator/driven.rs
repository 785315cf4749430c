//! Ticks that somebody else chooses: spans that are all there, a history that is played again.
//!
//! Duty: close one tick of some groups at a given cut, by the same questions and the same book as the daemon. Guarantee: a
//! derived gate is asked after all others of its tick are written. Left to others: which ticks (`playback`).

use std::collections::BTreeSet;

use futures::future::join_all;

use super::super::arrivals::Order;
use super::super::book::{KeyNow, group_id};
use super::super::derived;
use super::super::window::{Grid, nanos};
use super::{Error, Evaluator, Parts, ask};

/// A group as the book runs it: derived gates form groups of their own.
#[derive(Clone, Debug)]
pub struct Driven {
    /// Its place among the others.
    pub at: usize,
    /// Its identity in the journal.
    pub id: String,
    /// Its ticks.
    pub grid: Grid,
    /// Whether one of its gates looks at start times.
    pub by_start: bool,
    /// Whether it is one of derived gates, whose ticks close behind those of all others.
    pub is_derived: bool,
    /// Names of its gates.
    pub gates: Vec<String>,
}

impl Evaluator {
    /// The groups that run.
    pub fn driven(&self) -> Vec<Driven> {
        let book = self.shared.book();
        let by_start = |gate: &super::super::Gate| gate.time == super::super::definition::EventTime::Start;
        let groups = book.groups().iter().enumerate().map(|(at, group)| Driven {
            at,
            id: group_id(group),
            grid: Grid::of(group),
            by_start: group.gates.iter().any(by_start),
            is_derived: derived::is_group(group),
            gates: group.gates.iter().map(|gate| gate.name.clone()).collect(),
        });
        groups.collect()
    }

    /// The groups as they were loaded.
    pub fn groups(&self) -> Vec<super::super::Group> {
        self.shared.parts.groups.clone()
    }

    /// Whether from now on ticks take spans in the order of their event times, for all of them are there and none comes
    /// later, or in the order in which they came.
    pub fn in_event_order(&mut self, holds: bool) {
        self.looks.order = if holds { Order::Event } else { Order::Arrival };
    }

    /// Closes the tick `t_ns` of `groups`, with the spans up to `cut_us`, and writes it as the daemon would.
    ///
    /// Errors: the journal.
    pub async fn close_tick(&mut self, t_ns: i64, cut_us: i64, groups: &BTreeSet<usize>) -> Result<(), Error> {
        let is_derived: Vec<bool> = self.shared.book().groups().iter().map(derived::is_group).collect();
        for half in [false, true] {
            let chosen = groups.iter().filter(|at| is_derived.get(**at) == Some(&half));
            let closings =
                join_all(chosen.map(|at| ask::evaluate(self.shared.clone(), *at, (t_ns, cut_us), self.looks.order)))
                    .await;
            if !closings.is_empty() {
                self.take_in(closings).await?;
            }
        }
        Ok(())
    }

    /// Leaves the tick `t_ns` of `groups` out: missed(overrun).
    pub fn miss_tick(&mut self, t_ns: i64, groups: &BTreeSet<usize>) {
        let now_ns = self.shared.parts.clock.now_ns();
        let mut book = self.shared.book();
        groups.iter().for_each(|group| book.miss(*group, (t_ns, t_ns), now_ns));
    }

    /// Writes what waits.
    ///
    /// Errors: the journal.
    pub async fn finish(&mut self) -> Result<(), Error> {
        self.write(true).await
    }

    /// Every key that was judged, with its latest verdict.
    pub fn keys(&self) -> Vec<KeyNow> {
        self.shared.book().keys_now()
    }

    /// Gates that have more keys than their limit, each with a sentence.
    pub fn overflows(&self) -> std::collections::BTreeMap<String, String> {
        self.shared.book().overflows()
    }

    /// Hears what came to the store.
    pub async fn hear(&mut self) {
        let Parts { position, clock, metrics, .. } = &self.shared.parts;
        self.watermark.hear(|| position.get().is_some(), clock, metrics).await;
    }

    /// From now on ticks close by the clock: all spans came that will.
    pub fn release(&mut self) {
        self.watermark.release();
    }

    /// The instant of the clock at which the next tick up to `until_ns` closes if no span comes before, ns since 1970;
    /// `None`: all are closed.
    pub fn next_due_ns(&self, until_ns: i64) -> Option<i64> {
        let book = self.shared.book();
        let ticks = book.groups().iter().enumerate().map(|(at, group)| {
            let next_ns = Grid::of(group).next(book.last_tick_ns(at));
            (next_ns, next_ns.saturating_add(nanos(group.query_offset)))
        });
        let m_ns = ticks.filter(|(next_ns, _)| *next_ns <= until_ns).map(|(_, due_ns)| due_ns).min()?;
        Some(self.watermark.reaches_ns(m_ns, self.shared.parts.clock.now_ns()))
    }
}
