//! One unit test of gates, played (gates.md 15).
//!
//! Duty: a store, the daemon's evaluator and a clock that the test moves: spans arrive, ticks close, events happen. Guarantee:
//! nothing sleeps; ticks close by the same frontier, cut and journal as in the daemon. A kill takes what was not journaled; the
//! store, whose own promises are tested elsewhere, keeps its spans. Left to others: what is expected (`compare`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::arrivals::Arrivals;
use super::{house, load_gates};
use crate::clock::Clock;
use crate::config::Config;
use crate::gate::evaluator::Position;
use crate::gate::journal::{Batch, JournalRow, Notice};
use crate::gate::result::{Ask, RunError, Runner};
use crate::gate::suite::{Test, What};
use crate::gate::verdict::Outcome;
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

/// All that a test may look at.
#[derive(Debug)]
pub(super) struct Played {
    /// In the order of ticks.
    pub seen: Vec<Seen>,
    /// Transitions up to the last tick that is looked at.
    pub journal: Vec<JournalRow>,
    /// Messages by receiver.
    pub messages: Vec<(String, Notice)>,
    /// Names of the gates.
    pub gates: BTreeSet<String>,
}

/// What lasts through a test.
struct Stage<'a> {
    config: &'a Config,
    clock: Clock,
    house: &'a house::Spans,
    asked: house::Asked,
    failing: Arc<Mutex<BTreeSet<(String, i64)>>>,
    gates: BTreeSet<String>,
    receivers: BTreeSet<String>,
    seen: Vec<Seen>,
    told: BTreeMap<String, i64>,
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
        What::FailQuery(gate) => Some((gate.clone(), event.at_ns)),
        _ => None,
    });
    let mut stage = Stage {
        config,
        clock: clock.clone(),
        house,
        asked: house.ask(config, clock)?,
        failing: Arc::new(Mutex::new(failing.collect())),
        gates: BTreeSet::new(),
        receivers: config.notify.default.iter().cloned().collect(),
        seen: Vec::new(),
        told: BTreeMap::new(),
    };
    let end_ns = last_tick(test, &arrivals);
    let mut events: Vec<_> = test.events.iter().filter(|event| !matches!(event.what, What::FailQuery(_))).collect();
    events.sort_by_key(|event| event.at_ns);
    let mut events = events.into_iter().peekable();
    let mut evaluator = stage.open(groups).await?;
    loop {
        let due_ns = evaluator.next_due_ns(end_ns);
        let event_ns = events.peek().map(|event| event.at_ns);
        let Some(t_ns) = due_ns.into_iter().chain(event_ns).min() else { break };
        stage.deliver(&mut arrivals, t_ns).await?;
        stage.wait_until(t_ns);
        if event_ns == Some(t_ns)
            && let Some(event) = events.next()
        {
            evaluator = stage.happen(&event.what, evaluator).await?;
            continue;
        }
        while evaluator.round_once().await? {
            stage.look(&evaluator);
        }
    }
    evaluator.finish().await?;
    stage.told(end_ns)
}

/// The last tick that anybody looks at, and not before the spans end.
fn last_tick(test: &Test, arrivals: &Arrivals) -> i64 {
    let expected = test.expect.iter().map(|expect| expect.at_ns);
    let changes = test.transitions.iter().flatten().map(|change| change.at_ns);
    let events = test.events.iter().map(|event| event.at_ns);
    expected.chain(changes).chain(events).chain([arrivals.last_end_ns()]).max().unwrap_or(test.start_ns)
}

impl Stage<'_> {
    async fn open(&mut self, groups: Vec<Group>) -> anyhow::Result<Evaluator> {
        let gates = || groups.iter().flat_map(|group| &group.gates);
        self.gates = gates().map(|gate| gate.name.clone()).collect();
        self.receivers.extend(gates().flat_map(|gate| gate.notify.iter().flatten()).cloned());
        let (inner, failing) = (self.asked.runner(), self.failing.clone());
        let runner = Runner::new(move |ask: Ask| {
            let fails = failing.lock().expect("no holder of this lock panics");
            if fails.contains(&(ask.gate.name.clone(), ask.window.end_ns)) {
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
            journal: self.asked.journal(),
            clock: self.clock.clone(),
            metrics: Metrics::register(&prometheus::Registry::new())?,
            concurrency: 1,
            groups,
        };
        Ok(tokio::task::spawn_blocking(move || Evaluator::open(parts)).await??)
    }

    /// Hands over what arrives up to `t_ns`.
    async fn deliver(&self, arrivals: &mut Arrivals, t_ns: i64) -> anyhow::Result<()> {
        while let Some((at_ns, batches)) = arrivals.next_until(t_ns)? {
            self.wait_until(at_ns);
            self.house.append(batches).await?;
        }
        Ok(())
    }

    fn wait_until(&self, t_ns: i64) {
        let left = u64::try_from(t_ns.saturating_sub(self.clock.now_ns())).unwrap_or(0);
        self.clock.advance(Duration::from_nanos(left));
    }

    async fn happen(&mut self, what: &What, mut evaluator: Evaluator) -> anyhow::Result<Evaluator> {
        match what {
            What::FailQuery(_) => Ok(evaluator),
            What::Close { gate, key, reason } => {
                evaluator.operator().close(gate, key, "test", reason);
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
                self.wait_until(*up_at_ns);
                self.open(groups).await
            }
        }
    }

    /// Notes every key at the ticks that have just closed.
    fn look(&mut self, evaluator: &Evaluator) {
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

    fn told(self, end_ns: i64) -> anyhow::Result<Played> {
        let snapshot = self.asked.journal().snapshot()?;
        let rows = snapshot.journal(0, usize::MAX)?.into_iter().map(|(_, row)| row);
        let mut messages = Vec::new();
        for receiver in &self.receivers {
            let rows = snapshot.outbox(receiver, usize::MAX)?.into_iter().map(|(_, row)| row.notice);
            let in_time = rows.filter(|notice| notice.window.end_ns <= end_ns);
            messages.extend(in_time.map(|notice| (receiver.clone(), notice)));
        }
        let journal = rows.filter(|row| row.t_ns <= end_ns).collect();
        Ok(Played { seen: self.seen, journal, messages, gates: self.gates })
    }
}
