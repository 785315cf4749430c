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
use std::time::{Duration, Instant};

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
use writer::{Done, Due, Item, Work, Writer};

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
        let mut writer = Writer::open(store.clone(), config.jobs.clone(), &config.registry)?;
        let entropy = (u128::from(clock.random()) << 64) | u128::from(clock.random());
        // what became due meanwhile fires before anything is given out that it may withdraw
        let boot = [Action::Boot { engine_id: entropy.to_be_bytes() }, Action::Tick]
            .map(|action| Item { work: Work::Act { action, actor: None }, request_id: None });
        let first = writer.batch(&boot, now_ms(&clock))?;
        let (asks, queue) = mpsc::channel(QUEUE);
        let (events, _) = broadcast::channel(BEHIND);
        let (due, wake) = watch::channel(first.due);
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
    due: watch::Sender<Due>,
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
        self.due.send_replace(done.due);
        if !done.events.is_empty() {
            // nobody listens: fine
            let _ = self.events.send(done.events.into());
        }
    }

    fn dispatch(&self, job: Job) {
        // its outcome would be unknown either way: what has not begun does not begin
        if self.stop.is_cancelled() {
            return;
        }
        let key @ (job_key, attempt) = (job.key, job.attempt);
        let token = self.stop.child_token();
        self.tokens.lock().expect("no holder of this lock panics").insert(key, token.clone());
        let (run, asks, tokens, stop) =
            (Arc::clone(&self.jobs.run), self.asks.clone(), Arc::clone(&self.tokens), self.stop.clone());
        self.runtime.spawn(async move {
            let (outcome, rest) = pool::run(run, job, token).await;
            tokens.lock().expect("no holder of this lock panics").remove(&key);
            let finished = Work::Finished { job: job_key, attempt, outcome, is_over: rest.is_none() };
            bring_back(&asks, &stop, finished).await;
            let Some(rest) = rest else { return };
            tracing::warn!(
                job = job_key,
                attempt,
                "an attempt goes on beyond its time limit: its worker is not free yet"
            );
            tokio::select! {
                () = rest => bring_back(&asks, &stop, Work::Over { job: job_key, attempt }).await,
                () = stop.cancelled() => {}
            }
        });
    }
}

/// Offers what came of an attempt until it is committed or refused for good.
async fn bring_back(asks: &mpsc::Sender<Ask>, stop: &CancellationToken, work: Work) {
    let mut wait = REOPEN.0;
    let (Work::Finished { job, attempt, .. } | Work::Over { job, attempt }) = work else { return };
    // after the stop a failure may be of the stop's own making: then the outcome is unknown, which the next boot finds
    let bad = matches!(&work, Work::Finished { outcome: Outcome::Failed { .. } | Outcome::Unknown { .. }, .. });
    while !(bad && stop.is_cancelled()) {
        let (reply, answer) = oneshot::channel();
        let ask = Ask { item: Item { work: work.clone(), request_id: None }, reply: Some(reply) };
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

/// Ticks when something is due, by the later of the wall clock and the engine's own time.
async fn wake_up(mut due: watch::Receiver<Due>, asks: mpsc::Sender<Ask>, clock: Clock, stop: CancellationToken) {
    loop {
        let Due { at_ms, now_ms: own_ms } = *due.borrow_and_update();
        let left = || at_ms.map(|at| at.saturating_sub(now_ms(&clock).max(own_ms)));
        let wait = left().map(|left| Duration::from_millis(u64::try_from(left).unwrap_or(0)));
        tokio::select! {
            () = stop.cancelled() => return,
            changed = due.changed() => if changed.is_err() { return },
            // a sleep is cut, so that a wall clock that was set is noticed
            () = tokio::time::sleep(wait.unwrap_or(Duration::MAX).min(Duration::from_secs(60))) => {
                if left().is_some_and(|left| left <= 0) {
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

/// Tells that nothing can be written when the writer's thread ends by a panic.
struct EndsUnhealthy<'a>(&'a watch::Sender<bool>);

impl Drop for EndsUnhealthy<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.send_replace(false);
        }
    }
}

/// What the writer does next.
#[allow(clippy::large_enum_variant, reason = "one lives at a time")]
enum Next {
    Do(Ask),
    Reopen,
    Stop,
}

/// The writer's thread: one batch after another.
fn work(mut writer: Writer, mut queue: mpsc::Receiver<Ask>, rim: &Rim, clock: &Clock) {
    let _guard = EndsUnhealthy(&rim.health);
    // when to open the file again, and how long to wait after that
    let mut failed: Option<(Instant, Duration)> = None;
    loop {
        let reopen = async {
            match failed {
                Some((at, _)) => tokio::time::sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let next = rim.runtime.block_on(async {
            tokio::select! {
                // what comes with the stop is not taken any more
                biased;
                () = rim.stop.cancelled() => Next::Stop,
                () = reopen => Next::Reopen,
                ask = queue.recv() => ask.map_or(Next::Stop, Next::Do),
            }
        });
        let first = match next {
            Next::Stop => return,
            Next::Do(ask) => ask,
            Next::Reopen => {
                match writer.reopen(now_ms(clock)) {
                    Ok(done) => {
                        tracing::info!("engine.redb is open again");
                        failed = None;
                        rim.health.send_replace(true);
                        rim.act(done);
                    }
                    Err(error) => {
                        tracing::error!(%error, "engine.redb cannot be opened again");
                        failed = Some(later(failed));
                    }
                }
                continue;
            }
        };
        if failed.is_some() {
            refuse(first);
            continue;
        }
        let mut asks = vec![first];
        while asks.len() < MOST {
            let Ok(ask) = queue.try_recv() else { break };
            asks.push(ask);
        }
        let (items, replies): (Vec<_>, Vec<_>) = asks.into_iter().map(|ask| (ask.item, ask.reply)).unzip();
        match writer.batch(&items, now_ms(clock)) {
            Ok(mut done) => {
                for (reply, answer) in replies.into_iter().zip(std::mem::take(&mut done.replies)) {
                    // who asked may be gone
                    let _ = reply.map(|reply| reply.send(answer));
                }
                rim.act(done);
            }
            Err(error) => {
                tracing::error!(%error, commands = items.len(), "engine.redb: a commit failed, nothing of it is answered");
                rim.health.send_replace(false);
                failed = Some(later(failed));
                replies.into_iter().flatten().for_each(|reply| drop(reply.send(Err(Error::Unavailable))));
            }
        }
    }
}

/// When to try next: after the wait of `failed`, and twice that the next time.
fn later(failed: Option<(Instant, Duration)>) -> (Instant, Duration) {
    let wait = failed.map_or(REOPEN.0, |(_, wait)| wait);
    (Instant::now() + wait, (wait * 2).min(REOPEN.1))
}

fn refuse(ask: Ask) {
    let _ = ask.reply.map(|reply| reply.send(Err(Error::Unavailable)));
}
