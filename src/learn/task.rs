//! The task that learns.
//!
//! Duty: run pattern files when their ticks close, after all gates of the same time, and follow engine and gates.
//! Guarantee: files due together see one cut and are one transaction; a statement that fails leaves its rows alone;
//! what could not be written is done again; no file runs for more than a tenth of the time. Left to others: statements
//! (`patterns::run`), rows (`journal`), facts (`follow`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use datafusion::catalog::TableProvider;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Learner, Switch};
use super::follow::Follower;
use super::journal::{ClockRow, Error, Journal, RunRow, RunState, TickDone};
use super::metrics::Metrics;
use super::patterns::fold::{Tick, select};
use super::patterns::run::TIMEOUT;
use super::patterns::{Pattern, rows};
use super::sources::{Ask, Asker, EngineEvents, GateFacts, Progress};
use super::tables;
use crate::clock::Clock;
use crate::gate::window::{Frontier, Grid, due, nanos};

/// How long to wait for a replay, for gates, or after the file could not be written.
const PAUSE: Duration = Duration::from_millis(200);
/// Longest wait after the file could not be written.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// How often the journals are looked at, and how often rows that wait for a verdict.
const FOLLOW: Duration = Duration::from_millis(50);
const THOROUGH_NS: i64 = 1_000_000_000;
/// Failures in a row at which health is degraded.
const FAILURES: u32 = 4;
/// Longest text of an error that is kept, in bytes.
const ERROR_BYTES: usize = 1 << 10;
/// A file may run for one part in so many of the time: one that took longer waits before its next run.
const SHARE: u32 = 10;
/// How often rows of files that are gone are looked at.
const SWEEP_NS: i64 = 60 * 1_000_000_000;

/// What learning works with.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Section `learn`.
    pub config: Config,
    /// `learn.redb` of the data folder.
    pub path: PathBuf,
    /// `quarantine/` of the data folder.
    pub quarantine: PathBuf,
    /// Pattern files, in the order in which they run.
    pub patterns: Vec<Pattern>,
    /// Runs their statements.
    pub asker: Asker,
    /// Where store and gates are.
    pub progress: Progress,
    /// The engine's journal.
    pub engine: EngineEvents,
    /// The gates' journal.
    pub gates: GateFacts,
    /// Wall time.
    pub clock: Clock,
    /// `weavergen_learn_*`
    pub metrics: Metrics,
}

/// Learning, opened; `app` registers its tables and runs it.
#[derive(Debug)]
pub struct Learn {
    parts: Parts,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    journal: Journal,
    follower: Option<Follower>,
}

impl Learn {
    /// Opens the file, if anything is to be learned. Blocks. The engine must not have begun to work yet.
    ///
    /// Errors: see [`Error`]; a damaged file is none, it is moved away.
    pub fn open(parts: Parts) -> Result<Self, Error> {
        let is_on = |learner| parts.config.switch(learner) != Switch::Off;
        if !is_on(Learner::Patterns) && !is_on(Learner::Feedback) {
            return Ok(Self { parts, open: None });
        }
        let opened = Journal::open(&parts.path, &parts.quarantine, &parts.clock)?;
        if let Some(moved) = &opened.quarantined {
            let text = format!("learn.redb was damaged and moved to {}; patterns begin anew", moved.display());
            parts.metrics.note("file", text);
        }
        let journal = opened.journal;
        let follow =
            || Follower::new(journal.clone(), parts.engine.clone(), parts.gates.clone(), parts.metrics.clone());
        let follower = is_on(Learner::Feedback).then(follow);
        if let Some(follower) = &follower {
            follower.meet_engine()?;
        }
        Ok(Self { open: Some(Open { journal, follower }), parts })
    }

    /// `learned_patterns`, `feedback` and `learn_runs`; empty where their learner is off.
    pub fn tables(&self) -> Vec<(String, Arc<dyn TableProvider>)> {
        let is_on = self.parts.config.switch(Learner::Patterns) != Switch::Off;
        let journal = self.open.as_ref().filter(|_| is_on).map(|open| &open.journal);
        tables::tables(journal, self.open.as_ref().and_then(|open| open.follower.as_ref()))
    }

    /// What it counts, and what of it is degraded.
    pub fn metrics(&self) -> &Metrics {
        &self.parts.metrics
    }

    /// Takes facts in; none if the learner is off.
    pub fn follower(&self) -> Option<Follower> {
        self.open.as_ref()?.follower.clone()
    }

    /// Learns until `stop`.
    ///
    /// Errors: see [`Error`]: what the file holds of the patterns cannot be read.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Error> {
        let Some(open) = self.open else { return Ok(()) };
        let (clock, metrics, path) = (self.parts.clock.clone(), self.parts.metrics.clone(), self.parts.path.clone());
        let follow = async {
            if let Some(follower) = open.follower {
                keep_following(follower, &clock, &metrics, &path, stop.clone()).await;
            }
        };
        let patterns = async {
            if self.parts.config.switch(Learner::Patterns) == Switch::Off {
                return Ok(());
            }
            let mut miner = Miner::open(self.parts, open.journal).await?;
            miner.run(stop.clone()).await;
            Ok(())
        };
        let ((), outcome) = tokio::join!(follow, patterns);
        outcome
    }
}

async fn keep_following(follower: Follower, clock: &Clock, metrics: &Metrics, path: &Path, stop: CancellationToken) {
    let (mut level_ns, mut thorough_ns, mut pause) = (clock.now_ns(), i64::MIN, FOLLOW);
    loop {
        let now_ns = clock.now_ns();
        let is_thorough = now_ns.saturating_sub(thorough_ns) >= THOROUGH_NS;
        let turn = follower.clone();
        let outcome = match tokio::task::spawn_blocking(move || turn.follow(is_thorough)).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::Source(error.to_string())),
        };
        match outcome {
            Ok(()) => {
                (level_ns, pause) = (now_ns, FOLLOW);
                if is_thorough {
                    thorough_ns = now_ns;
                    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
                    metrics.file_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
                }
                metrics.clear("follow");
            }
            Err(error) => {
                tracing::warn!(%error, "learn cannot follow engine and gates; it tries again");
                metrics.note("follow", error.to_string());
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
        let lag = clock.now_ns().saturating_sub(level_ns).max(0) as f64 / 1e9;
        for source in ["engine", "gates"] {
            metrics.lag_seconds.with_label_values(&[source]).set(lag);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Runs pattern files.
#[derive(Debug)]
pub struct Miner {
    parts: Parts,
    journal: Journal,
    clocks: BTreeMap<String, ClockRow>,
    /// The last tick before the first one to run, of files that never ran.
    begun: BTreeMap<String, i64>,
    failures: BTreeMap<String, u32>,
    /// Ticks before this one are missed, of files that took long.
    spaced: BTreeMap<String, i64>,
    frontier: Frontier,
    swept_ns: i64,
}

impl Miner {
    /// Reads how far the files of `parts` are.
    ///
    /// Errors: see [`Error`].
    pub async fn open(parts: Parts, journal: Journal) -> Result<Self, Error> {
        let reader = journal.clone();
        let read = tokio::task::spawn_blocking(move || reader.clocks()).await;
        let clocks = read.map_err(|error| Error::Source(error.to_string()))??;
        let offset_ns = nanos(parts.config.query_offset);
        let floor = clocks.values().map(|clock| clock.last_tick_ns.saturating_add(offset_ns)).max();
        let mut frontier = Frontier::new(floor.unwrap_or(i64::MIN));
        let m_ns = frontier.advance(parts.clock.now_ns());
        let grid = |pattern: &Pattern| Grid::every(nanos(pattern.every), offset_ns);
        let begun = parts.patterns.iter().map(|pattern| (pattern.name.clone(), grid(pattern).last_due(m_ns))).collect();
        let (failures, spaced) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { parts, journal, clocks, begun, failures, spaced, frontier, swept_ns: i64::MIN })
    }

    async fn run(&mut self, stop: CancellationToken) {
        let mut pause = PAUSE;
        loop {
            let wait = tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.turn() => match outcome {
                    Ok(wait) => {
                        pause = PAUSE;
                        self.parts.metrics.clear("patterns");
                        wait
                    }
                    Err(error) => {
                        tracing::error!(%error, "patterns could not be written; their ticks are run again");
                        self.parts.metrics.note("patterns", error.to_string());
                        pause = (pause * 2).min(LONGEST_PAUSE);
                        pause
                    }
                },
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    fn last_ns(&self, pattern: &Pattern) -> i64 {
        let ran = self.clocks.get(&pattern.name).map(|clock| clock.last_tick_ns);
        ran.unwrap_or_else(|| self.begun.get(&pattern.name).copied().unwrap_or_default())
    }

    /// Runs the files of the earliest tick that is due; how long to wait before the next turn.
    ///
    /// Errors: see [`Error`]; nothing of the tick is written, so it may be run again.
    pub async fn turn(&mut self) -> Result<Duration, Error> {
        let now_ns = self.parts.clock.now_ns();
        let m_ns = self.frontier.advance(now_ns);
        self.sweep(m_ns).await?;
        let offset_ns = nanos(self.parts.config.query_offset);
        let (mut wake_ns, mut lag_ns) = (i64::MAX, 0);
        let mut waiting = Vec::new();
        for pattern in &self.parts.patterns {
            let grid = Grid::every(nanos(pattern.every), offset_ns);
            let last_ns = self.last_ns(pattern);
            lag_ns = lag_ns.max(grid.last_due(m_ns) - last_ns);
            match due(&grid, last_ns, m_ns, i64::MIN) {
                Some(found) => waiting.push((found, pattern.clone())),
                None => wake_ns = wake_ns.min(grid.next(last_ns).saturating_add(offset_ns)),
            }
        }
        #[allow(clippy::cast_precision_loss, reason = "a gauge is a double")]
        self.parts.metrics.lag_seconds.with_label_values(&["patterns"]).set(lag_ns.max(0) as f64 / 1e9);
        let Some(t_ns) = waiting.iter().map(|(found, _)| found.next_ns).min() else {
            let wait_ns = u64::try_from(wake_ns.saturating_sub(now_ns)).unwrap_or(0);
            // A clock that jumps is noticed within a second.
            return Ok(Duration::from_nanos(wait_ns).clamp(Duration::from_millis(1), Duration::from_secs(1)));
        };
        if !self.parts.progress.gates_closed(t_ns) {
            return Ok(PAUSE);
        }
        let Some(cut_us) = self.parts.progress.cut_us() else { return Ok(PAUSE) };
        let (mut done, mut ran) = (Vec::new(), Vec::new());
        for (found, pattern) in waiting.iter().filter(|(found, _)| found.next_ns == t_ns) {
            if let Some(dropped) = found.dropped {
                done.push(missed(pattern, dropped));
            }
            if self.spaced.get(&pattern.name).is_some_and(|next_ns| t_ns < *next_ns) {
                done.push(missed(pattern, (t_ns, t_ns)));
                continue;
            }
            let began_ns = self.parts.clock.now_ns();
            done.push(self.one(pattern, t_ns, cut_us).await);
            let spent_ns = self.parts.clock.now_ns().saturating_sub(began_ns);
            ran.push((pattern.clone(), Duration::from_nanos(u64::try_from(spent_ns).unwrap_or(0))));
        }
        self.write(done).await?;
        for (pattern, spent) in ran {
            self.space(&pattern, t_ns, spent);
        }
        Ok(Duration::ZERO)
    }

    /// Keeps a file that ran for `spent` from taking more than its share of the time.
    fn space(&mut self, pattern: &Pattern, t_ns: i64, spent: Duration) {
        // A run ends with its timeout; what is more was a clock that jumped.
        let due = spent.min(TIMEOUT) * SHARE;
        if due <= pattern.every {
            self.spaced.remove(&pattern.name);
            return;
        }
        let (file, seconds, next_s) = (pattern.name.as_str(), spent.as_secs_f64(), due.as_secs_f64());
        tracing::warn!(pattern = file, seconds, next_s, "a pattern file ran for more than its share; ticks are missed");
        self.spaced.insert(pattern.name.clone(), t_ns.saturating_add(nanos(due)));
    }

    /// Runs one file at one tick.
    async fn one(&self, pattern: &Pattern, t_ns: i64, cut_us: i64) -> TickDone {
        let tick = tick(pattern, t_ns, cut_us);
        let ask = Ask {
            sql: pattern.sql.clone(),
            window_ns: (tick.window_start_ns, t_ns),
            is_explicit: pattern.is_explicit,
            include_pipeline_spans: pattern.include_pipeline_spans,
            cut_us,
        };
        let began = Instant::now();
        let result = match tokio::time::timeout(TIMEOUT, self.parts.asker.ask(ask)).await {
            Ok(result) => result.and_then(|batches| rows::read(&pattern.by, &batches)),
            Err(_) => Err(format!("the statement took longer than {} s", TIMEOUT.as_secs())),
        };
        let elapsed = began.elapsed();
        self.parts.metrics.run_seconds.with_label_values(&[pattern.name.as_str()]).observe(elapsed.as_secs_f64());
        let mut run = RunRow {
            cut_us: Some(cut_us),
            window_ns: (tick.window_start_ns, t_ns),
            state: RunState::Done,
            missed_from_ns: None,
            rows: 0,
            below: 0,
            over_limit: 0,
            evicted: 0,
            elapsed_ns: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX),
            error: None,
        };
        let selected = match result {
            Ok(rows) => {
                let selected = select(rows, pattern.thresholds);
                (run.below, run.over_limit) = (selected.below, selected.over_limit);
                Some(selected)
            }
            Err(why) => {
                tracing::warn!(pattern = %pattern.name, error = %why, "a pattern file failed");
                run.state = RunState::Error;
                run.error = Some(cut_text(why));
                None
            }
        };
        TickDone { pattern: pattern.name.clone(), statement: pattern.question(), tick, run, selected }
    }

    async fn write(&mut self, done: Vec<TickDone>) -> Result<(), Error> {
        let (journal, batch) = (self.journal.clone(), done.clone());
        let written = tokio::task::spawn_blocking(move || {
            let written = journal.commit_ticks(&batch)?;
            Ok::<_, Error>((written, journal.clocks()?))
        });
        let (written, clocks) = written.await.map_err(|error| Error::Source(error.to_string()))??;
        self.clocks = clocks;
        let metrics = &self.parts.metrics;
        for (pattern, rows) in &written.rows {
            metrics.rows.with_label_values(&[pattern.as_str()]).set(i64::try_from(*rows).unwrap_or(i64::MAX));
        }
        let left_out = |pattern: &str, reason, count: u64| {
            if count > 0 {
                metrics.left_out.with_label_values(&[pattern, reason]).inc_by(count);
            }
        };
        for (reason, counts) in [("evicted", &written.evicted), ("expired", &written.expired)] {
            for (pattern, count) in counts {
                left_out(pattern, reason, *count);
            }
        }
        for of in done {
            let name = of.pattern.as_str();
            metrics.runs.with_label_values(&[name, of.run.state.as_str()]).inc();
            left_out(name, "below", of.run.below);
            left_out(name, "over_limit", of.run.over_limit);
            let failures = self.failures.entry(of.pattern.clone()).or_default();
            match of.run.state {
                RunState::Missed => {}
                RunState::Done => {
                    *failures = 0;
                    metrics.clear(&format!("pattern {name}"));
                }
                RunState::Error => {
                    *failures += 1;
                    if *failures >= FAILURES {
                        let why = of.run.error.unwrap_or_default();
                        let text = format!("the pattern file `{name}` failed {failures} times in a row: {why}");
                        metrics.note(format!("pattern {name}"), text);
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows of files that are gone expire.
    async fn sweep(&mut self, m_ns: i64) -> Result<(), Error> {
        if m_ns.saturating_sub(self.swept_ns) < SWEEP_NS {
            return Ok(());
        }
        let loaded: BTreeSet<String> = self.parts.patterns.iter().map(|pattern| pattern.name.clone()).collect();
        let journal = self.journal.clone();
        let swept = tokio::task::spawn_blocking(move || journal.expire_unloaded(&loaded, m_ns)).await;
        swept.map_err(|error| Error::Source(error.to_string()))??;
        self.swept_ns = m_ns;
        Ok(())
    }
}

fn tick(pattern: &Pattern, t_ns: i64, cut_us: i64) -> Tick {
    let window_start_ns = t_ns.saturating_sub(nanos(pattern.window));
    Tick { t_ns, window_start_ns, cut_us, expire_ns: nanos(pattern.expire) }
}

/// The ticks of the grid from the first to the last of `dropped`, in one row.
fn missed(pattern: &Pattern, (first_ns, last_ns): (i64, i64)) -> TickDone {
    let tick = tick(pattern, last_ns, 0);
    let run = RunRow {
        cut_us: None,
        window_ns: (tick.window_start_ns, last_ns),
        state: RunState::Missed,
        missed_from_ns: Some(first_ns),
        rows: 0,
        below: 0,
        over_limit: 0,
        evicted: 0,
        elapsed_ns: 0,
        error: Some("overrun".to_owned()),
    };
    TickDone { pattern: pattern.name.clone(), statement: pattern.question(), tick, run, selected: None }
}

fn cut_text(mut text: String) -> String {
    if text.len() > ERROR_BYTES {
        let mut end = ERROR_BYTES;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
    }
    text
}
