//! The durable half of BPMN: what `bpmn::core` decides, kept and acted on.
//!
//! Duty: one writer over `engine.redb`, jobs, timers, wake-ups, spans of the steps. Guarantee: nothing is answered or
//! dispatched before its commit; kill -9 at any moment loses and repeats nothing (bpmn.md 11). Left to others: semantics
//! (`bpmn`).

pub mod deploy;
pub mod error;
pub mod export;
pub mod history;
pub mod ids;
pub mod job;
pub mod library;
pub mod metrics;
pub mod pool;
pub mod preview;
pub mod provider;
pub mod settings;
pub mod source;
pub mod starts;
pub mod store;
pub mod tables;
pub mod trigger;
pub mod wanted;

mod writer;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bpmn::core::{Action, Answer, Event};
use bpmn::lint::Registry;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use deploy::{Prepared, SourceFile, prepare};
pub use error::Error;
pub use metrics::Metrics;
pub use pool::Jobs;
pub use settings::Settings;
pub use store::Store;

use crate::clock::Clock;
use job::{Job, Outcome};
use writer::{Done, Item, Work, Writer};

/// Commands of one commit.
const MOST: usize = 512;
/// Commands that wait.
const QUEUE: usize = 4_096;
/// Batches of events that a slow subscriber may be behind.
const BEHIND: usize = 1_024;
/// Waits before the file is opened again after a failed commit: doubled from the first to the second.
const REOPEN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));

/// Where the engine keeps its state and what it knows of jobs.
#[derive(Clone, Debug)]
pub struct Config {
    /// `engine.redb`; none = in memory.
    pub path: Option<PathBuf>,
    /// Handlers, templates, limits.
    pub jobs: Jobs,
    /// What `lint` knows when files are deployed.
    pub registry: Registry,
}

/// The engine. Cheap to clone; stops when [`Engine::stop`] is called.
#[derive(Clone, Debug)]
pub struct Engine {
    asks: mpsc::Sender<Ask>,
    events: broadcast::Sender<Arc<[Event]>>,
    store: Store,
    registry: Arc<Registry>,
    healthy: watch::Receiver<bool>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Ask {
    item: Item,
    reply: Option<oneshot::Sender<Result<Answer, Error>>>,
}

impl Engine {
    /// Opens the file, raises the boot epoch (attempts of the life before are unknown) and begins to work.
    ///
    /// Errors: the file is held, damaged, of a newer format, or cannot be written. Needs a tokio runtime.
    pub fn open(config: Config, clock: Clock) -> Result<Self, Error> {
        let store = match &config.path {
            Some(path) => Store::open(path)?,
            None => Store::in_memory()?,
        };
        Self::on(store, config, clock)
    }

    /// The same on a store that is open.
    pub fn on(store: Store, config: Config, clock: Clock) -> Result<Self, Error> {
        let mut writer = Writer::open(store.clone(), config.jobs.clone())?;
        let entropy = (u128::from(clock.random()) << 64) | u128::from(clock.random());
        let action = Action::Boot { engine_id: entropy.to_be_bytes() };
        let boot = Item { work: Work::Act { action, actor: None }, request_id: None };
        let first = writer.batch(&[boot], now_ms(&clock))?;
        let (asks, queue) = mpsc::channel(QUEUE);
        let (events, _) = broadcast::channel(BEHIND);
        let (due, wake) = watch::channel(first.next_due);
        let (health, healthy) = watch::channel(true);
        let stop = CancellationToken::new();
        let rim = Rim {
            runtime: tokio::runtime::Handle::current(),
            jobs: config.jobs,
            asks: asks.clone(),
            events: events.clone(),
            due,
            health,
            tokens: Arc::default(),
            stop: stop.clone(),
        };
        tokio::spawn(wake_up(wake, asks.clone(), clock.clone(), stop.clone()));
        rim.act(first);
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || work(writer, queue, &rim, &clock))
            .map_err(|error| Error::Storage(error.to_string()))?;
        Ok(Self { asks, events, store, registry: Arc::new(config.registry), healthy, stop })
    }

    /// Does one thing; returns after its commit. The same `request_id` within 24 hours gets the same answer.
    pub async fn submit(
        &self,
        action: Action,
        actor: Option<String>,
        request_id: Option<String>,
    ) -> Result<Answer, Error> {
        self.ask(Item { work: Work::Act { action, actor }, request_id }).await
    }

    /// Puts files in force, all or none.
    ///
    /// Errors: `Refused` with the findings.
    pub async fn deploy(
        &self,
        files: Vec<SourceFile>,
        actor: Option<String>,
        request_id: Option<String>,
    ) -> Result<Answer, Error> {
        let files = prepare(files, &self.registry).map_err(Error::Refused)?;
        self.ask(Item { work: Work::Deploy { files, actor }, request_id }).await
    }

    async fn ask(&self, item: Item) -> Result<Answer, Error> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask { item, reply: Some(reply) }).await.map_err(|_| Error::Unavailable)?;
        answer.await.map_err(|_| Error::Unavailable)?
    }

    /// Committed events, a batch a commit. Who falls behind reads on from [`Store::events`].
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<[Event]>> {
        self.events.subscribe()
    }

    /// The file, for reading.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// False while nothing can be written.
    pub fn healthy(&self) -> watch::Receiver<bool> {
        self.healthy.clone()
    }

    /// Takes no more commands, and asks running jobs to end; what they did not tell is unknown after the next open.
    pub fn stop(&self) {
        self.stop.cancel();
    }
}

fn now_ms(clock: &Clock) -> i64 {
    clock.now_ns() / 1_000_000
}

/// What the writer thread reaches outside.
struct Rim {
    runtime: tokio::runtime::Handle,
    jobs: Jobs,
    asks: mpsc::Sender<Ask>,
    events: broadcast::Sender<Arc<[Event]>>,
    due: watch::Sender<Option<i64>>,
    health: watch::Sender<bool>,
    tokens: Arc<Mutex<BTreeMap<(u64, u32), CancellationToken>>>,
    stop: CancellationToken,
}

impl Rim {
    /// Effects of a commit.
    fn act(&self, done: Done) {
        for key in &done.cancel {
            if let Some(token) = self.tokens.lock().expect("no holder of this lock panics").get(key) {
                token.cancel();
            }
        }
        for job in done.dispatch {
            self.dispatch(job);
        }
        self.due.send_replace(done.next_due);
        if !done.events.is_empty() {
            // nobody listens: fine
            let _ = self.events.send(done.events.into());
        }
    }

    fn dispatch(&self, job: Job) {
        let key = (job.key, job.attempt);
        let token = self.stop.child_token();
        self.tokens.lock().expect("no holder of this lock panics").insert(key, token.clone());
        let (run, asks, tokens, stop) =
            (Arc::clone(&self.jobs.run), self.asks.clone(), Arc::clone(&self.tokens), self.stop.clone());
        self.runtime.spawn(async move {
            let outcome = pool::run(run, job, token).await;
            tokens.lock().expect("no holder of this lock panics").remove(&key);
            bring_back(&asks, &stop, key, outcome).await;
        });
    }
}

/// Offers an outcome until it is committed or refused for good.
async fn bring_back(asks: &mpsc::Sender<Ask>, stop: &CancellationToken, (job, attempt): (u64, u32), outcome: Outcome) {
    let mut wait = REOPEN.0;
    loop {
        let (reply, answer) = oneshot::channel();
        let work = Work::Finished { job, attempt, outcome: outcome.clone() };
        let ask = Ask { item: Item { work, request_id: None }, reply: Some(reply) };
        if asks.send(ask).await.is_err() {
            return;
        }
        match answer.await {
            Ok(Err(Error::Unavailable)) => {}
            Ok(Err(error)) => {
                tracing::info!(job, attempt, %error, "result of a job was not taken");
                return;
            }
            Ok(Ok(_)) | Err(_) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => wait = (wait * 2).min(REOPEN.1),
            () = stop.cancelled() => return,
        }
    }
}

/// Ticks when something is due.
async fn wake_up(
    mut due: watch::Receiver<Option<i64>>,
    asks: mpsc::Sender<Ask>,
    clock: Clock,
    stop: CancellationToken,
) {
    loop {
        let at = *due.borrow_and_update();
        let wait = at.map(|at| Duration::from_millis(u64::try_from(at.saturating_sub(now_ms(&clock))).unwrap_or(0)));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = due.changed() => if changed.is_err() { return },
            // a sleep is cut, so that a wall clock that was set is noticed
            () = tokio::time::sleep(wait.unwrap_or(Duration::MAX).min(Duration::from_secs(60))) => {
                if at.is_some_and(|at| at <= now_ms(&clock)) {
                    let item = Item { work: Work::Act { action: Action::Tick, actor: None }, request_id: None };
                    let (reply, answer) = oneshot::channel();
                    if asks.send(Ask { item, reply: Some(reply) }).await.is_err() {
                        return;
                    }
                    if let Ok(Err(_)) = answer.await {
                        tokio::time::sleep(REOPEN.0).await;
                    }
                }
            }
        }
    }
}

/// The writer's thread: one batch after another.
fn work(mut writer: Writer, mut queue: mpsc::Receiver<Ask>, rim: &Rim, clock: &Clock) {
    let mut failed: Option<(i64, Duration)> = None;
    loop {
        let next = rim.runtime.block_on(async {
            tokio::select! {
                ask = queue.recv() => ask,
                () = rim.stop.cancelled() => None,
            }
        });
        let Some(first) = next else { return };
        let mut asks = vec![first];
        while asks.len() < MOST {
            let Ok(ask) = queue.try_recv() else { break };
            asks.push(ask);
        }
        let now_ms = now_ms(clock);
        if let Some((again_ms, wait)) = failed {
            if now_ms < again_ms {
                refuse(asks);
                continue;
            }
            if let Err(error) = writer.store.reopen() {
                tracing::error!(%error, "engine.redb cannot be opened again");
                failed = Some(later(now_ms, wait));
                refuse(asks);
                continue;
            }
        }
        let (items, replies): (Vec<_>, Vec<_>) = asks.into_iter().map(|ask| (ask.item, ask.reply)).unzip();
        match writer.batch(&items, now_ms) {
            Ok(mut done) => {
                if failed.take().is_some() {
                    rim.health.send_replace(true);
                }
                for (reply, answer) in replies.into_iter().zip(std::mem::take(&mut done.replies)) {
                    // who asked may be gone
                    let _ = reply.map(|reply| reply.send(answer));
                }
                rim.act(done);
            }
            Err(error) => {
                tracing::error!(%error, commands = items.len(), "engine.redb: a commit failed, nothing of it was done");
                rim.health.send_replace(false);
                failed = Some(later(now_ms, failed.map_or(REOPEN.0, |(_, wait)| wait)));
                replies.into_iter().flatten().for_each(|reply| drop(reply.send(Err(Error::Unavailable))));
            }
        }
    }
}

fn later(now_ms: i64, wait: Duration) -> (i64, Duration) {
    let ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    (now_ms.saturating_add(ms), (wait * 2).min(REOPEN.1))
}

fn refuse(asks: Vec<Ask>) {
    for ask in asks {
        let _ = ask.reply.map(|reply| reply.send(Err(Error::Unavailable)));
    }
}
