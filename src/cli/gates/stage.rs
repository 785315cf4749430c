//! One unit test of gates, played (gates.md 15).
//!
//! Duty: a store, the daemon's evaluator and a clock that the test moves: spans arrive, ticks close, events happen, starts of
//! pipelines are taken, as by an engine whose runs end at once, when `cooldown` and `max_runs` allow it. Guarantee: nothing
//! sleeps; ticks close by the same sources, cut and journal as in the daemon, and by the clock once all spans came. Between ticks
//! spans are looked at as in the daemon, but at once: those of `on: ingest` at the instant at which they arrive, traces of
//! `on: trace` at the whole seconds at which some can have settled (`looks`). A kill takes what was not journaled; the store,
//! whose own promises are tested elsewhere, keeps its spans. Left to others: what is expected (`compare`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::arrivals::Arrivals;
use super::definitions::Definitions;
use super::input::Taken;
use super::looks::Looks;
use super::run::MOST_TICKS;
use super::{house, load_gates};
use crate::cli::exit::{Exit, Failure};
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::evaluator::Position;
use crate::gate::journal::{Batch, JournalRow, Notice, Sampled, StartRequest};
use crate::gate::result::{Ask, RunError, Runner};
use crate::gate::starts::{Answer, Starts};
use crate::gate::suite::{Event, Test, What};
use crate::gate::verdict::Outcome;
use crate::gate::window::Grid;
use crate::gate::{Evaluator, Group, Late, Metrics, Parts, question};

/// A key at a tick.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// The tick, ns since 1970.
    pub t_ns: i64,
    pub gate: String,
    pub key: String,
    /// `None` = the key was not judged at it.
    pub outcome: Option<Outcome>,
    pub value: Option<f64>,
    pub n: Option<u64>,
    pub phase: crate::gate::state::Phase,
    pub episode: u64,
}

/// A pipeline that began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Began {
    pub pipeline: String,
    pub episode: u64,
    pub key: String,
}

/// All that a test may look at.
#[derive(Debug)]
pub(super) struct Played {
    /// In the order of ticks.
    pub seen: Vec<Seen>,
    /// Transitions up to the last tick that is looked at.
    pub journal: Vec<JournalRow>,
    /// Messages by receiver.
    pub messages: Vec<(String, Notice)>,
    /// In the order in which they did.
    pub began: Vec<Began>,
    /// Names of the gates.
    pub gates: BTreeSet<String>,
    /// Events that changed nothing: their lines, and why.
    pub idle: Vec<(u32, String)>,
    /// Whether a tick closed at all.
    pub closed: bool,
    /// What became of the input beside spans.
    pub taken: Taken,
}

/// Queries that fail, by gate and tick, with the line of the event; whether they were asked.
type Failing = BTreeMap<(String, i64), (u32, bool)>;

/// What lasts through a test.
struct Stage<'a> {
    config: &'a Config,
    clock: Clock,
    house: &'a house::Spans,
    asked: house::Asked,
    failing: Arc<Mutex<Failing>>,
    gates: BTreeSet<String>,
    receivers: BTreeSet<String>,
    seen: Vec<Seen>,
    told: BTreeMap<String, i64>,
    starts: Starts,
    began: Vec<Began>,
    idle: Vec<(u32, String)>,
    closed: bool,
    end_ns: i64,
    looks: Looks,
}

/// Plays `test` with the gates of `groups`.
///
/// Errors: the registry, input files, gate files of a reload; the store or the journal.
pub(super) async fn play(test: &Test, groups: &[Group], config: &Config) -> anyhow::Result<Played> {
    let clock = Clock::manual(test.start_ns, 0);
    let house = house::Spans::fresh_as(config, &clock, &Clock::os()).await?;
    let played = played(test, groups.to_vec(), config, &clock, &house).await;
    house.close().await;
    played
}

async fn played(
    test: &Test,
    groups: Vec<Group>,
    config: &Config,
    clock: &Clock,
    house: &house::Spans,
) -> anyhow::Result<Played> {
    let mut arrivals = Arrivals::of(test).await?;
    let failing = test.events.iter().filter_map(|event| match &event.what {
        What::FailQuery(gate) => Some(((gate.clone(), event.at_ns), (event.line, false))),
        _ => None,
    });
    let definitions = Definitions::Test(test.definitions.clone(), clock.clone());
    let end_ns = last_tick(test, &arrivals, &groups);
    let asked = house.ask(config, definitions.table(), clock)?;
    // What is told waits, for nobody sends it.
    asked.journal().sample(Sampled::Own);
    let metrics = Metrics::register(&prometheus::Registry::new())?;
    let mut stage = Stage {
        config,
        clock: clock.clone(),
        house,
        starts: Starts::new(asked.journal(), clock.clone(), metrics),
        began: Vec::new(),
        asked,
        failing: Arc::new(Mutex::new(failing.collect())),
        gates: BTreeSet::new(),
        receivers: config.notify.default.iter().cloned().collect(),
        seen: Vec::new(),
        told: BTreeMap::new(),
        idle: Vec::new(),
        closed: false,
        end_ns,
        looks: Looks::since(test.start_ns),
    };
    let mut events: Vec<_> = test.events.iter().filter(|event| !matches!(event.what, What::FailQuery(_))).collect();
    events.sort_by_key(|event| event.at_ns);
    let mut events = events.into_iter().peekable();
    let mut evaluator = stage.open(groups).await?;
    loop {
        let arrival_ns = arrivals.next_ns();
        if arrival_ns.is_none() {
            // Silence after the last span lets nobody wait.
            evaluator.release();
        }
        evaluator.hear().await;
        let due_ns = evaluator.next_due_ns(end_ns);
        let event_ns = events.peek().map(|event| event.at_ns);
        let start_ns = stage.take_starts()?.filter(|at_ns| *at_ns <= end_ns);
        let look_ns = stage.looks.next_ns().filter(|at_ns| *at_ns <= end_ns);
        // An arrival may bring a tick to its end. What comes behind the last one that anybody looks at does not.
        let arrival_ns = arrival_ns.filter(|_| due_ns.is_some());
        let instants = [due_ns, event_ns, start_ns, look_ns, arrival_ns];
        let Some(t_ns) = instants.into_iter().flatten().min() else { break };
        // After a kill the clock is ahead of ticks that are due. What arrived by now is there when they close.
        stage.deliver(&mut arrivals, t_ns.max(clock.now_ns())).await?;
        stage.clock.advance_to(t_ns);
        if event_ns == Some(t_ns)
            && let Some(event) = events.next()
        {
            // What an operator closes may have fired by what has just come.
            if matches!(event.what, What::Close { .. }) {
                stage.look_between(&mut evaluator).await?;
            }
            evaluator = stage.happen(event, evaluator).await?;
            stage.looks.again(stage.clock.now_ns());
            continue;
        }
        let mut closes = false;
        while evaluator.round_once().await? {
            stage.look(&evaluator);
            closes = true;
        }
        // Ticks first, as in the daemon: a group closes a tick or is looked at.
        stage.look_between(&mut evaluator).await?;
        if closes {
            stage.looks.again(stage.clock.now_ns());
        }
    }
    evaluator.finish().await?;
    stage.told(arrivals.taken())
}

/// The last tick that anybody looks at, and not before the spans end. A list that is compared whole says something of what
/// spans do, also if it is empty: then it is the first tick behind them, of those gates that the test names.
fn last_tick(test: &Test, arrivals: &Arrivals, groups: &[Group]) -> i64 {
    let expected = test.expect.iter().map(|expect| expect.at_ns);
    let changes = test.transitions.iter().flatten().map(|change| change.at_ns);
    let events = test.events.iter().map(|event| match event.what {
        What::Kill { up_at_ns } => up_at_ns,
        _ => event.at_ns,
    });
    let is_whole = test.transitions.is_some() || test.notifications.is_some() || test.pipelines.is_some();
    let named: BTreeSet<&str> = (test.expect.iter().map(|expect| &expect.gate))
        .chain(test.transitions.iter().flatten().map(|change| &change.gate))
        .chain(test.notifications.iter().flatten().filter_map(|message| message.gate.as_ref()))
        .map(String::as_str)
        .collect();
    let is_meant =
        |(_, gate): &(&Group, &crate::gate::Gate)| is_whole && (named.is_empty() || named.contains(gate.name.as_str()));
    let gates = groups.iter().flat_map(|group| group.gates.iter().map(move |gate| (group, gate)));
    let behind = gates.filter(is_meant).map(|(group, gate)| Grid::of_gate(group, gate).next(arrivals.last_end_ns()));
    let all = expected.chain(changes).chain(events).chain(behind).chain([arrivals.last_end_ns()]);
    all.max().unwrap_or(test.start_ns)
}

impl Stage<'_> {
    async fn open(&mut self, groups: Vec<Group>) -> anyhow::Result<Evaluator> {
        let (from_ns, end_ns) = (self.clock.now_ns(), self.end_ns);
        let ticks = |grid: Grid| Grid { offset_ns: 0, ..grid }.count_due(from_ns, end_ns);
        let count = groups.iter().flat_map(Grid::all_of).map(ticks).fold(0, usize::saturating_add);
        if count > MOST_TICKS {
            let text =
                format!("there are {count} ticks up to the last `at` and the last span; bring them nearer to `start`");
            return Err(Failure::new(Exit::Config, text).into());
        }
        let gates = || groups.iter().flat_map(|group| &group.gates);
        self.gates = gates().map(|gate| gate.name.clone()).collect();
        self.looks.follow(gates());
        self.receivers.extend(gates().flat_map(|gate| gate.notify.iter().flatten()).cloned());
        let (inner, failing) = (self.asked.runner(), self.failing.clone());
        let runner = Runner::new(move |ask: Ask| {
            let mut fails = failing.lock().expect("no holder of this lock panics");
            if let Some((_, is_asked)) = fails.get_mut(&(ask.gate.name.clone(), ask.window.end_ns)) {
                *is_asked = true;
                return Box::pin(async { Err(RunError::Run("the test lets it fail".to_owned())) });
            }
            inner.run(ask)
        });
        let reader = self.house.reader();
        let parts = Parts {
            questions: gates().map(|gate| (gate.name.clone(), question(gate))).collect(),
            default_receivers: self.config.notify.default.clone(),
            value_metrics: false,
            runner,
            late: Late::over(self.asked.gateway()),
            position: Position::new(move || {
                let view = reader.view();
                view.complete.then_some(view.visible_us)
            }),
            feed: self.house.feed(self.config),
            journal: self.asked.journal(),
            clock: self.clock.clone(),
            metrics: Metrics::register(&prometheus::Registry::new())?,
            concurrency: 1,
            groups,
        };
        Ok(tokio::task::spawn_blocking(move || Evaluator::open(parts)).await??)
    }

    /// Hands over what arrives up to `t_ns`.
    async fn deliver(&mut self, arrivals: &mut Arrivals, t_ns: i64) -> anyhow::Result<()> {
        while let Some((at_ns, batches)) = arrivals.next_until(t_ns)? {
            self.clock.advance_to(at_ns);
            self.looks.came(self.clock.now_ns(), &batches);
            self.house.append(batches).await?;
        }
        Ok(())
    }

    /// Looks at what came, and at traces that may have settled by now.
    async fn look_between(&mut self, evaluator: &mut Evaluator) -> anyhow::Result<()> {
        let now_ns = self.clock.now_ns();
        let due = self.looks.take(now_ns);
        if due.is_any() {
            let cut_us = self.house.reader().view().visible_us;
            evaluator.look_at((now_ns, cut_us), |gate| due.is_at(gate)).await?;
        }
        Ok(())
    }

    /// Begins every pipeline that may begin now; when the next one may.
    fn take_starts(&mut self) -> anyhow::Result<Option<i64>> {
        loop {
            let due = self.starts.due()?;
            // One that begins may hold the next.
            let Some(request) = due.requests.into_iter().next() else { return Ok(due.next_ns) };
            let run = i64::try_from(self.began.len()).unwrap_or(i64::MAX).saturating_add(1);
            self.starts.answer(&request, &Answer::Started(run))?;
            let StartRequest { pipeline, episode, key, .. } = request;
            self.began.push(Began { pipeline, episode, key });
        }
    }

    async fn happen(&mut self, event: &Event, mut evaluator: Evaluator) -> anyhow::Result<Evaluator> {
        match &event.what {
            What::FailQuery(_) => Ok(evaluator),
            What::Close { gate, key, reason } => {
                if !evaluator.operator().close(gate, key, "test", reason) {
                    self.idle.push((event.line, format!("{gate} {{{key}}} has no open episode that could be closed")));
                }
                Ok(evaluator)
            }
            What::Reload(files) => {
                evaluator.finish().await?;
                drop(evaluator);
                self.open(load_gates(self.config, files)?).await
            }
            What::Kill { up_at_ns } => {
                let groups = evaluator.groups();
                drop(evaluator);
                // The daemon says that it lives every 5 s; here to the moment.
                self.asked.journal().commit(&Batch::default(), self.clock.now_ns())?;
                self.clock.advance_to(*up_at_ns);
                self.open(groups).await
            }
        }
    }

    /// Notes every key at the ticks that have just closed.
    fn look(&mut self, evaluator: &Evaluator) {
        self.closed = true;
        let keys = evaluator.keys();
        let fresh: BTreeMap<String, i64> = keys
            .iter()
            .filter(|now| self.told.get(&now.gate.name).is_none_or(|told| *told < now.tick_ns))
            .map(|now| (now.gate.name.clone(), now.tick_ns))
            .collect();
        for now in keys.into_iter().filter(|now| fresh.contains_key(&now.gate.name)) {
            let judged = now.run.last_tick_ns == now.tick_ns;
            self.seen.push(Seen {
                t_ns: now.tick_ns,
                gate: now.gate.name.clone(),
                key: now.key,
                outcome: judged.then_some(now.run.outcome),
                value: now.run.value.filter(|_| judged),
                n: now.run.n.filter(|_| judged),
                phase: now.phase,
                episode: now.episode,
            });
        }
        self.told.extend(fresh);
    }

    fn told(mut self, taken: Taken) -> anyhow::Result<Played> {
        let end_ns = self.end_ns;
        let failing = self.failing.lock().expect("no holder of this lock panics").clone();
        for ((gate, _), (line, _)) in failing.into_iter().filter(|(_, (_, is_asked))| !is_asked) {
            self.idle.push((
                line,
                format!("the query of {gate} is not asked at that time, so it does not fail; a tick is needed"),
            ));
        }
        self.idle.sort();
        let snapshot = self.asked.journal().snapshot()?;
        let rows = snapshot.journal(0, usize::MAX)?.into_iter().map(|(_, row)| row);
        let mut messages = Vec::new();
        for receiver in &self.receivers {
            let rows = snapshot.outbox(receiver, usize::MAX)?.into_iter().map(|(_, row)| row.notice);
            let in_time = rows.filter(|notice| notice.window.end_ns <= end_ns);
            messages.extend(in_time.map(|notice| (receiver.clone(), notice)));
        }
        let journal = rows.filter(|row| row.t_ns <= end_ns).collect();
        let Self { seen, began, gates, idle, closed, .. } = self;
        Ok(Played { seen, journal, messages, began, gates, idle, closed, taken })
    }
}
