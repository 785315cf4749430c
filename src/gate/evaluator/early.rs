//! Looking at what came before a tick closes (gates.md 8, classes ingest and trace).
//!
//! Duty: between ticks, ask gates with `on: ingest` for the matching spans that were appended since they were asked last, and
//! those with `on: trace` for the share of traces that have settled by now; at a tick, ask the former once more, up to its cut.
//! Guarantee: a group is looked at or closes a tick, never both at once, and no tick waits for a look: one that is under way
//! then is given up; what a look found is written with the position it came to; looking takes at most a tenth of the time,
//! less while it fails, and is no reason to look. Left to others: what it means (`book`), the statements (`arrivals`,
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
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use super::super::arrivals::{Came, Matching, Order, asking};
use super::super::book::Book;
use super::super::definition::{Gate, Group, On};
use super::super::identity::alert_key;
use super::super::journal::Error;
use super::super::result::{Ask, ResultRow, RunError, Selection, Window};
use super::super::watermark::Awaited;
use super::super::window::{nanos, window_at};
use super::{Evaluator, Shared};

/// The least pause between two looks at what came, and how often it is looked whether something did, where nobody hears it.
const ARRIVALS: Duration = Duration::from_millis(250);
/// The same of traces that settle.
const SETTLED: Duration = Duration::from_secs(1);
/// Looking pauses for so many times as long as it took.
const SHARE: u32 = 10;
/// The longest such pause: ten times the longest `timeout`.
const MOST: Duration = Duration::from_secs(3_000);
/// A pause doubles with each look that fails, so often at the most.
const MOST_DOUBLED: u32 = 8;

/// Looks that are under way, when the next begin, and in which order spans come.
#[derive(Debug, Default)]
pub(super) struct Looks {
    running: JoinSet<Look>,
    /// By group, as all here.
    under_way: BTreeMap<usize, UnderWay>,
    pauses: BTreeMap<usize, Pause>,
    pub(super) order: Order,
}

#[derive(Debug)]
struct UnderWay {
    handle: AbortHandle,
    since: Instant,
}

/// How long a group is left alone.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    /// Looks at it that failed one after the other.
    failures: u32,
}

/// Why something is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// A tick closes.
    Tick,
    /// Spans came.
    Look,
}

/// What was found of a group.
#[derive(Debug)]
pub(super) struct Look {
    group: usize,
    t_ns: i64,
    cut_us: i64,
    found: Vec<(String, Found)>,
    cost_ns: u64,
    has_failed: bool,
}

#[derive(Debug)]
enum Found {
    Came(Came),
    Settled(Vec<ResultRow>),
}

impl Looks {
    /// Those that have ended, once one has; `None` = none is under way.
    pub(super) async fn next(&mut self) -> Option<Vec<Look>> {
        let first = self.running.join_next_with_id().await?;
        let mut all: Vec<Look> = self.ended(first).into_iter().collect();
        while let Some(next) = self.running.try_join_next_with_id() {
            all.extend(self.ended(next));
        }
        Some(all)
    }

    /// What was found, unless it was given up.
    fn ended(&mut self, ended: Result<(Id, Look), JoinError>) -> Option<Look> {
        let id = ended.as_ref().map_or_else(|error| error.id(), |(id, _)| *id);
        let group = *self.under_way.iter().find(|(_, look)| look.handle.id() == id)?.0;
        let look = self.under_way.remove(&group)?;
        match ended {
            Ok((_, found)) => Some(found),
            Err(error) => {
                tracing::error!(%error, "a look at what came broke off");
                self.pause(group, SETTLED, (look.since.elapsed(), true));
                None
            }
        }
    }

    /// Gives up the look at a group, for a tick of it closes. The next one is about the same spans.
    pub(super) fn give_up(&mut self, group: usize) {
        if let Some(look) = self.under_way.remove(&group) {
            look.handle.abort();
            let failures = self.pauses.get(&group).map_or(0, |pause| pause.failures);
            self.pause(group, Duration::ZERO, (look.since.elapsed(), false));
            self.pauses.entry(group).and_modify(|pause| pause.failures = failures);
        }
    }

    /// Leaves a group alone for a while after a look that took so long, and whether it failed.
    fn pause(&mut self, group: usize, least: Duration, (took, has_failed): (Duration, bool)) {
        let before = self.pauses.get(&group).map_or(0, |pause| pause.failures);
        let failures = if has_failed { before.saturating_add(1).min(MOST_DOUBLED) } else { 0 };
        let pause = least.max(took.saturating_mul(SHARE)).saturating_mul(1 << failures).min(MOST);
        self.pauses.insert(group, Pause { until: Instant::now() + pause, failures });
    }

    /// Ends all.
    pub(super) async fn end(&mut self) {
        self.running.shutdown().await;
        self.under_way.clear();
        self.pauses.clear();
    }
}

impl Evaluator {
    /// Begins to look at every group that is to be looked at; how long to wait for the next, less once what it waits for came.
    pub(super) fn start_looks(&mut self) -> (Duration, Awaited) {
        let parts = &self.shared.parts;
        let (now_ns, now) = (parts.clock.now_ns(), Instant::now());
        let (mut wait, mut cut_us, spoken_us) = (Duration::MAX, None, self.watermark.spoken_us());
        let mut awaited = Awaited::Nothing;
        let book = self.shared.book();
        for (at, group) in book.groups().iter().enumerate() {
            let is_busy = self.busy.contains(&at) || self.looks.under_way.contains_key(&at);
            let Some(least) = least_pause(group).filter(|_| !is_busy) else { continue };
            let until = self.looks.pauses.get(&at).map_or(now, |pause| pause.until);
            if until > now {
                wait = wait.min(until - now);
                continue;
            }
            if cut_us.is_none() {
                cut_us = parts.position.get();
            }
            let Some(cut_us) = cut_us else { break };
            if !is_wanted(&book, group, now_ns, (cut_us, spoken_us)) {
                match spoken_us {
                    // Who hears what comes need not look whether it did.
                    Some(_) => awaited = awaited.max(awaited_by(group)),
                    None => wait = wait.min(least),
                }
                continue;
            }
            let handle = self.looks.running.spawn(look(self.shared.clone(), at, (now_ns, cut_us)));
            self.looks.under_way.insert(at, UnderWay { handle, since: now });
        }
        (wait, awaited)
    }

    /// Takes in what was found and writes it.
    pub(super) async fn take_looks(&mut self, looks: Vec<Look>) -> Result<(), Error> {
        let wall_ns = self.shared.parts.clock.now_ns();
        {
            let mut book = self.shared.book();
            for Look { group, t_ns, cut_us, found, cost_ns, has_failed } in looks {
                let least = book.groups().get(group).and_then(least_pause).unwrap_or(SETTLED);
                self.looks.pause(group, least, (Duration::from_nanos(cost_ns), has_failed));
                for (name, found) in found {
                    book.between_ticks((t_ns, cut_us), |book| match found {
                        Found::Came(came) => book.arrive(&name, came, (cut_us, wall_ns)),
                        Found::Settled(rows) => book.settle(&name, rows, (t_ns, cut_us, wall_ns)),
                    })?;
                }
            }
        }
        self.write(false).await
    }

    /// Looks, with the spans up to a position (µs), at those gates that `is_meant` and that do not wait for ticks, as at an
    /// instant: for those who choose both themselves. Takes in what is found.
    ///
    /// Errors: the journal.
    pub async fn look_at(
        &mut self,
        (now_ns, cut_us): (i64, i64),
        is_meant: impl Fn(&Gate) -> bool,
    ) -> Result<(), Error> {
        let count = self.shared.book().groups().len();
        let is_meant = &is_meant;
        let look = |group| look_for(self.shared.clone(), group, (now_ns, cut_us), is_meant);
        let looks = join_all((0..count).map(look)).await;
        self.take_looks(looks).await
    }

    /// Looks at all groups now and takes in what is found.
    #[cfg(test)]
    pub(super) async fn look_now(&mut self) -> Result<(), Error> {
        self.looks.pauses.clear();
        self.start_looks();
        while let Some(looks) = self.looks.next().await {
            self.take_looks(looks).await?;
        }
        Ok(())
    }
}

/// How long to wait between two looks at a group at least; `None` = its gates wait for ticks.
fn least_pause(group: &Group) -> Option<Duration> {
    if group.gates.iter().any(|gate| gate.on.is_ingest()) {
        return Some(ARRIVALS);
    }
    group.gates.iter().any(judges_early).then_some(SETTLED)
}

/// Whether a share of settled traces is a breach at once: not if it has to last, come often, or is held to a past of ticks.
fn judges_early(gate: &Gate) -> bool {
    gate.on == On::Trace && gate.hold_for.is_zero() && gate.fire_after.is_none() && gate.baseline.is_none()
}

/// What this daemon and its pipelines send is no news to who leaves it out; else they would be kept busy by themselves.
const fn leaves_own_out(gate: &Gate) -> bool {
    !gate.include_own_spans && !gate.include_pipeline_spans
}

/// Whose spans may be news to a group that is looked at between ticks.
fn awaited_by(group: &Group) -> Awaited {
    let mut early = group.gates.iter().filter(|gate| gate.on.is_ingest() || judges_early(gate));
    if early.all(leaves_own_out) { Awaited::Sources } else { Awaited::Anybody }
}

/// Whether something can have changed since the last look: the store came to `cut_us`, and to `spoken_us` with spans of
/// sources, if that is known.
fn is_wanted(book: &Book, group: &Group, now_ns: i64, (cut_us, spoken_us): (i64, Option<i64>)) -> bool {
    group.gates.iter().any(|gate| {
        let came_us = spoken_us.filter(|_| leaves_own_out(gate)).map_or(cut_us, |spoken_us| spoken_us.min(cut_us));
        match &gate.assertion {
            _ if gate.on.is_ingest() => book.seen_us(&gate.name) < Some(came_us),
            Some(assertion) if judges_early(gate) => {
                // The last span that came may let a trace settle for so long.
                let last_ns = nanos(assertion.give_up).saturating_add(nanos(assertion.quiet));
                now_ns.saturating_sub(came_us.saturating_mul(1_000)) <= last_ns.saturating_add(nanos(SETTLED))
            }
            _ => false,
        }
    })
}

async fn look(shared: Arc<Shared>, group: usize, moment: (i64, i64)) -> Look {
    look_for(shared, group, moment, |_| true).await
}

/// Looks at those gates of `group` that `is_meant`.
async fn look_for(
    shared: Arc<Shared>,
    group: usize,
    (now_ns, cut_us): (i64, i64),
    is_meant: impl Fn(&Gate) -> bool,
) -> Look {
    let mut gates = shared.book().gates_of(group);
    gates.retain(|gate| is_meant(gate));
    let looked = gates.into_iter().map(|gate| {
        let shared = shared.clone();
        async move {
            let (found, cost_ns) = look_at(&shared, &gate, (now_ns, cut_us)).await;
            (gate.name.clone(), found, cost_ns)
        }
    });
    let mut look = Look { group, t_ns: now_ns, cut_us, found: Vec::new(), cost_ns: 0, has_failed: false };
    for (name, found, cost_ns) in join_all(looked).await {
        look.cost_ns = look.cost_ns.saturating_add(cost_ns);
        match found {
            Ok(Some(found)) => look.found.push((name, found)),
            Ok(None) => {}
            // The next look, or the tick, is about the same spans.
            Err(error) => {
                tracing::warn!(gate = %name, %error, "what came could not be looked at");
                look.has_failed = true;
            }
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
            let (came, cost_ns) = arrived(shared, gate, matching, (cut_us, By::Look)).await;
            (came.map(|came| Some(Found::Came(came))), cost_ns)
        }
        (On::Trace, Some(assertion)) if judges_early(gate) => {
            let asked_by = asking(gate, "settled", assertion.sql_arrived());
            let (rows, cost_ns) = asked(shared, asked_by, window_at(gate, now_ns), (cut_us, By::Look)).await;
            (rows.map(|rows| Some(Found::Settled(rows))), cost_ns)
        }
        _ => (Ok(None), 0),
    }
}

/// What came of `gate` behind the position that it was looked at up to.
async fn arrived(
    shared: &Shared,
    gate: &Gate,
    matching: &Matching,
    (cut_us, by): (i64, By),
) -> (Result<Came, RunError>, u64) {
    let seen_us = shared.book().seen_us(&gate.name);
    let Some(seen_us) = seen_us.filter(|seen_us| *seen_us < cut_us) else { return (Ok(Came::default()), 0) };
    let window = Window { start_ns: seen_us.saturating_mul(1_000), end_ns: cut_us.saturating_mul(1_000) };
    let (rows, cost_ns) = asked(shared, matching.arrived(gate), window, (cut_us, by)).await;
    let came = |rows| Came { arrivals: matching.arrivals(rows), until_us: Some(cut_us), ..Came::default() };
    (rows.map(came), cost_ns)
}

/// What came of `gate` before the tick `t_ns` is judged; `None` for gates that wait for ticks.
pub(super) async fn came(shared: &Shared, gate: &Arc<Gate>, (t_ns, cut_us): (i64, i64), order: Order) -> Option<Came> {
    let On::Ingest(matching) = &gate.on else { return None };
    let found = match order {
        Order::Arrival => arrived(shared, gate, matching, (cut_us, By::Tick)).await.0,
        Order::Event => {
            let start_ns = shared.book().judged_until_ns(&gate.name);
            let window = Window { start_ns, end_ns: t_ns };
            let (rows, _) = asked(shared, matching.ended(gate), window, (cut_us, By::Tick)).await;
            // As if each had come when it ended: ticks that follow in the other order go on behind it.
            let until_us = Some(t_ns.div_euclid(1_000));
            rows.map(|rows| Came { arrivals: matching.arrivals(rows), until_us, ..Came::default() })
        }
    };
    Some(found.unwrap_or_else(|error| {
        tracing::warn!(gate = %gate.name, %error, "what came could not be looked at");
        // The tick finds what is in its window. What came before it is given up, so that what cannot be read is not asked for
        // for ever.
        let until_us = Some(window_at(gate, t_ns).start_ns.div_euclid(1_000));
        Came { arrivals: Vec::new(), until_us, error: Some(error) }
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
        let window = Window { start_ns, end_ns: t_ns };
        let (there, cost) = asked(shared, matching.proof(gate), window, (cut_us, By::Tick)).await;
        cost_ns = cost_ns.saturating_add(cost);
        // An error proves nothing: the key holds.
        let there = there.unwrap_or_default().into_iter();
        let enough = there.filter(|row| row.n.is_some_and(|n| n >= gate.min_samples.max(1)));
        proven.extend(enough.map(|row| alert_key(&row.key)).filter(|key| keys.contains(key)));
    }
    (proven, cost_ns)
}

/// The rows that `gate` asks for, and how long it took in ns.
async fn asked(
    shared: &Shared,
    gate: Gate,
    window: Window,
    (cut_us, by): (i64, By),
) -> (Result<Vec<ResultRow>, RunError>, u64) {
    let (slots, runner) = (if by == By::Look { &shared.look_slot } else { &shared.slots }, &shared.parts.runner);
    let _turn = slots.acquire().await.ok();
    let (started, timeout) = (Instant::now(), gate.timeout);
    let ask = Ask { gate: Arc::new(gate), window, cut_us, spans: Selection::OfGate };
    let asked = if by == By::Look { runner.look(ask) } else { runner.run(ask) };
    let rows = tokio::time::timeout(timeout, asked).await.unwrap_or(Err(RunError::Timeout));
    (rows, u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX))
}
