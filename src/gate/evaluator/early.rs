//! Looking at what came before a tick closes (gates.md 8, classes ingest and trace).
//!
//! Duty: between ticks, ask gates with `on: ingest` for the matching spans that were appended since they were asked last, and
//! those with `on: trace` for the share of traces that have settled by now; at a tick, ask the former once more, up to its cut.
//! Guarantee: a group is looked at or closes a tick, never both at once; what a look found is written with the position it
//! came to; looking takes at most a tenth of the time. Left to others: what it means (`book`), the statements (`arrivals`,
//! `assertion`).
//!
//! What a verdict of `on: trace` means: a trace is judged here once its root and every `wait_for` type have come and none of its
//! spans for `quiet`, neither in event time nor by arrival, or `give_up` has passed; if the share of the window up to this
//! moment does not pass, the key fires at it. Nothing of that is kept beside the episode: the tick that closes judges the
//! traces that settled in its window as for `on: interval`, so a restart between the two loses and doubles nothing. What
//! passes, warns more or has to last for `for` waits for that tick.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::super::arrivals::{Came, Matching, Order, asking};
use super::super::book::Book;
use super::super::definition::{Gate, Group, On};
use super::super::identity::alert_key;
use super::super::journal::Error;
use super::super::result::{Ask, ResultRow, RunError, Selection, Window};
use super::super::window::{nanos, window_at};
use super::{Evaluator, Shared};

/// How often it is looked whether spans came.
const ARRIVALS_NS: i64 = 250_000_000;
/// How often it is looked whether traces settled.
const SETTLED_NS: i64 = 1_000_000_000;
/// Looking pauses for so many times as long as it took.
const SHARE: i64 = 10;
/// The longest such pause: ten times the longest `timeout`.
const MOST_NS: i64 = 3_000 * 1_000_000_000;

/// Looks that are under way, when the next begin, and in which order spans come.
#[derive(Debug, Default)]
pub(super) struct Looks {
    running: JoinSet<Look>,
    next_ns: BTreeMap<usize, i64>,
    pub(super) order: Order,
}

/// What was found of a group.
#[derive(Debug)]
pub(super) struct Look {
    group: usize,
    t_ns: i64,
    cut_us: i64,
    found: Vec<(String, Found)>,
    cost_ns: u64,
}

#[derive(Debug)]
enum Found {
    Came(Came),
    Settled(Vec<ResultRow>),
}

impl Looks {
    /// Those that have ended, once one has; `None` = none is under way.
    pub(super) async fn next(&mut self) -> Option<Vec<Look>> {
        let first = self.running.join_next().await?;
        let mut all: Vec<Look> = first.into_iter().collect();
        while let Some(next) = self.running.try_join_next() {
            all.extend(next);
        }
        Some(all)
    }

    /// Ends all.
    pub(super) async fn end(&mut self) {
        self.running.shutdown().await;
        self.next_ns.clear();
    }
}

impl Evaluator {
    /// Begins to look at every group that is to be looked at; how long to wait for the next.
    pub(super) fn start_looks(&mut self) -> Duration {
        let parts = &self.shared.parts;
        let now_ns = parts.clock.now_ns();
        let (mut wake_ns, mut cut_us) = (i64::MAX, None);
        let book = self.shared.book();
        for (at, group) in book.groups().iter().enumerate() {
            let Some(pause_ns) = pause_ns(group).filter(|_| !self.busy.contains(&at)) else { continue };
            let next_ns = self.looks.next_ns.get(&at).copied().unwrap_or(now_ns);
            // A clock that went back is not waited for.
            if next_ns > now_ns && next_ns.saturating_sub(now_ns) <= MOST_NS {
                wake_ns = wake_ns.min(next_ns);
                continue;
            }
            if cut_us.is_none() {
                cut_us = parts.position.get();
            }
            let Some(cut_us) = cut_us else { break };
            if !is_wanted(&book, group, now_ns, cut_us) {
                wake_ns = wake_ns.min(now_ns.saturating_add(pause_ns));
                continue;
            }
            self.busy.insert(at);
            self.looks.running.spawn(look(self.shared.clone(), at, (now_ns, cut_us)));
        }
        Duration::from_nanos(u64::try_from(wake_ns.saturating_sub(now_ns)).unwrap_or(0))
    }

    /// Takes in what was found and writes it.
    pub(super) async fn take_looks(&mut self, looks: Vec<Look>) -> Result<(), Error> {
        let wall_ns = self.shared.parts.clock.now_ns();
        {
            let mut book = self.shared.book();
            for Look { group, t_ns, cut_us, found, cost_ns } in looks {
                self.busy.remove(&group);
                let pause_ns = book.groups().get(group).and_then(pause_ns).unwrap_or(SETTLED_NS);
                let pause_ns = pause_ns.max(i64::try_from(cost_ns).unwrap_or(MOST_NS).saturating_mul(SHARE));
                self.looks.next_ns.insert(group, wall_ns.saturating_add(pause_ns.min(MOST_NS)));
                for (name, found) in found {
                    match found {
                        Found::Came(came) => book.arrive(&name, came, (cut_us, wall_ns))?,
                        Found::Settled(rows) => book.settle(&name, rows, (t_ns, cut_us, wall_ns))?,
                    }
                }
            }
        }
        self.write(false).await
    }

    /// Looks at all groups now and takes in what is found.
    #[cfg(test)]
    pub(super) async fn look_now(&mut self) -> Result<(), Error> {
        self.looks.next_ns.clear();
        self.start_looks();
        while let Some(looks) = self.looks.next().await {
            self.take_looks(looks).await?;
        }
        Ok(())
    }
}

/// How long to wait between two looks at a group at least; `None` = its gates wait for ticks.
fn pause_ns(group: &Group) -> Option<i64> {
    if group.gates.iter().any(|gate| gate.on.is_ingest()) {
        return Some(ARRIVALS_NS);
    }
    group.gates.iter().any(judges_early).then_some(SETTLED_NS)
}

/// Whether a share of settled traces is a breach at once: not if it has to last, come often, or is held to a past of ticks.
fn judges_early(gate: &Gate) -> bool {
    gate.on == On::Trace && gate.hold_for.is_zero() && gate.fire_after.is_none() && gate.baseline.is_none()
}

/// Whether something can have changed since the last look.
fn is_wanted(book: &Book, group: &Group, now_ns: i64, cut_us: i64) -> bool {
    group.gates.iter().any(|gate| match &gate.assertion {
        _ if gate.on.is_ingest() => book.seen_us(&gate.name) < Some(cut_us),
        Some(assertion) if judges_early(gate) => {
            // The last span that came may let a trace settle for so long.
            let last_ns = nanos(assertion.give_up).saturating_add(nanos(assertion.quiet)).saturating_add(SETTLED_NS);
            now_ns.saturating_sub(cut_us.saturating_mul(1_000)) <= last_ns
        }
        _ => false,
    })
}

async fn look(shared: Arc<Shared>, group: usize, (now_ns, cut_us): (i64, i64)) -> Look {
    let gates = shared.book().gates_of(group);
    let looked = gates.into_iter().map(|gate| {
        let shared = shared.clone();
        async move {
            let (found, cost_ns) = look_at(&shared, &gate, (now_ns, cut_us)).await;
            (gate.name.clone(), found, cost_ns)
        }
    });
    let mut look = Look { group, t_ns: now_ns, cut_us, found: Vec::new(), cost_ns: 0 };
    for (name, found, cost_ns) in join_all(looked).await {
        look.cost_ns = look.cost_ns.saturating_add(cost_ns);
        match found {
            Ok(Some(found)) => look.found.push((name, found)),
            Ok(None) => {}
            // The next look, or the tick, is about the same spans.
            Err(error) => tracing::warn!(gate = %name, %error, "what came could not be looked at"),
        }
    }
    look
}

async fn look_at(
    shared: &Shared,
    gate: &Arc<Gate>,
    (now_ns, cut_us): (i64, i64),
) -> (Result<Option<Found>, RunError>, u64) {
    match (&gate.on, &gate.assertion) {
        (On::Ingest(matching), _) => {
            let (came, cost_ns) = arrived(shared, gate, matching, cut_us).await;
            (came.map(|came| Some(Found::Came(came))), cost_ns)
        }
        (On::Trace, Some(assertion)) if judges_early(gate) => {
            let asked_by = asking(gate, "settled", assertion.sql_arrived());
            let (rows, cost_ns) = asked(shared, asked_by, window_at(gate, now_ns), cut_us).await;
            (rows.map(|rows| Some(Found::Settled(rows))), cost_ns)
        }
        _ => (Ok(None), 0),
    }
}

/// What came of `gate` behind the position that it was looked at up to.
async fn arrived(shared: &Shared, gate: &Gate, matching: &Matching, cut_us: i64) -> (Result<Came, RunError>, u64) {
    let seen_us = shared.book().seen_us(&gate.name);
    let Some(seen_us) = seen_us.filter(|seen_us| *seen_us < cut_us) else { return (Ok(Came::default()), 0) };
    let window = Window { start_ns: seen_us.saturating_mul(1_000), end_ns: cut_us.saturating_mul(1_000) };
    let (rows, cost_ns) = asked(shared, matching.arrived(gate), window, cut_us).await;
    (rows.map(|rows| Came { arrivals: matching.arrivals(rows), until_us: Some(cut_us) }), cost_ns)
}

/// What came of `gate` before the tick `t_ns` is judged; `None` for gates that wait for ticks.
pub(super) async fn came(shared: &Shared, gate: &Arc<Gate>, (t_ns, cut_us): (i64, i64), order: Order) -> Option<Came> {
    let On::Ingest(matching) = &gate.on else { return None };
    let found = match order {
        Order::Arrival => arrived(shared, gate, matching, cut_us).await.0,
        Order::Event => {
            let start_ns = shared.book().judged_until_ns(&gate.name);
            let window = Window { start_ns, end_ns: t_ns };
            let (rows, _) = asked(shared, matching.ended(gate), window, cut_us).await;
            rows.map(|rows| Came { arrivals: matching.arrivals(rows), until_us: None })
        }
    };
    Some(found.unwrap_or_else(|error| {
        tracing::warn!(gate = %gate.name, %error, "what came could not be looked at");
        // The tick finds what is in its window. What came before it is given up, so that what cannot be read is not asked for
        // for ever.
        Came { arrivals: Vec::new(), until_us: Some(window_at(gate, t_ns).start_ns.div_euclid(1_000)) }
    }))
}

/// Keys of which nothing matches and other spans came since they fired, and how long it took to find them.
pub(super) async fn proven(
    shared: &Shared,
    gate: &Arc<Gate>,
    (t_ns, cut_us): (i64, i64),
    rows: &[ResultRow],
) -> (BTreeSet<String>, u64) {
    let (mut proven, mut cost_ns) = (BTreeSet::new(), 0_u64);
    let On::Ingest(matching) = &gate.on else { return (proven, cost_ns) };
    let wanted = shared.book().to_prove(gate, t_ns, rows);
    for (start_ns, keys) in wanted {
        let (there, cost) = asked(shared, matching.proof(gate), Window { start_ns, end_ns: t_ns }, cut_us).await;
        cost_ns = cost_ns.saturating_add(cost);
        // An error proves nothing: the key holds.
        let there = there.unwrap_or_default().into_iter();
        let enough = there.filter(|row| row.n.is_some_and(|n| n >= gate.min_samples.max(1)));
        proven.extend(enough.map(|row| alert_key(&row.key)).filter(|key| keys.contains(key)));
    }
    (proven, cost_ns)
}

/// The rows that `gate` asks for, and how long it took in ns.
async fn asked(shared: &Shared, gate: Gate, window: Window, cut_us: i64) -> (Result<Vec<ResultRow>, RunError>, u64) {
    let _turn = shared.slots.acquire().await.ok();
    let (started, timeout) = (Instant::now(), gate.timeout);
    let ask = Ask { gate: Arc::new(gate), window, cut_us, spans: Selection::OfGate };
    let rows = match tokio::time::timeout(timeout, shared.parts.runner.run(ask)).await {
        Ok(rows) => rows,
        Err(_) => Err(RunError::Timeout),
    };
    (rows, u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
