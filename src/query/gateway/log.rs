//! Which statements run, and the last that ended (sql.md 8): what `system.queries` shows and a cancel needs.
//!
//! Duty: keep a line for each statement from when it comes until 1000 others have ended after it, and stop one by its id.
//! Guarantee: a statement is in it exactly once, one that is only planned just meanwhile; it holds no plan and no rows of
//! one that has ended. Left to others: who may stop whose (the surfaces), running them (`run`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, OnceLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::physical_plan::ExecutionPlan;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::stats::Stats;
use crate::query::error::{Code, Error};
use crate::query::lazy::{Lazy, Rows};
use crate::query::memory::peak;
use crate::query::sources::Own;
use crate::span::schema::timestamp;

/// Statements that are kept after they ended.
const ENDED: usize = 1000;
/// Characters of a text that are kept.
const MAX_TEXT: usize = 4096;

/// What is known of a statement before it runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Who {
    pub query_id: String,
    /// Empty = the daemon itself.
    pub identity: String,
    pub surface: &'static str,
    pub tag: Option<String>,
    pub sql: String,
    pub started_us: i64,
}

/// The statements of a gateway; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Log(Arc<Mutex<Book>>);

#[derive(Debug, Default)]
struct Book {
    running: BTreeMap<String, Arc<Entry>>,
    ended: VecDeque<Line>,
}

/// A statement that has not ended.
#[derive(Debug)]
pub(super) struct Entry {
    who: Who,
    began: Instant,
    /// Cancelled when the statement is to stop.
    pub stop: CancellationToken,
    /// Why, where that is not what a caller wished.
    why: OnceLock<Error>,
    has_slot: AtomicBool,
    rows: AtomicU64,
    ran: Mutex<Option<Ran>>,
}

#[derive(Debug)]
struct Ran {
    /// None once nothing of it runs any more: `stats` has what it took then.
    plan: Option<Arc<dyn ExecutionPlan>>,
    stats: Stats,
    pool: Arc<dyn MemoryPool>,
}

/// What works for a statement; once it is dropped nothing does.
#[derive(Debug)]
pub(super) struct Work(pub Arc<Entry>);

/// What operators took.
#[derive(Clone, Copy, Debug)]
struct Used {
    stats: Stats,
    peak_memory_bytes: Option<u64>,
}

/// A row of the table.
#[derive(Clone, Debug)]
struct Line {
    who: Who,
    state: &'static str,
    error: Option<&'static str>,
    elapsed_ms: u64,
    rows: u64,
    used: Option<Used>,
}

impl Log {
    /// Enters a statement; it ends when what is given back is dropped.
    pub(super) fn enter(&self, mut who: Who) -> Entered {
        if let Some((cut, _)) = who.sql.char_indices().nth(MAX_TEXT) {
            who.sql.truncate(cut);
            who.sql.push('…');
        }
        let entry = Arc::new(Entry {
            who,
            began: Instant::now(),
            stop: CancellationToken::new(),
            why: OnceLock::new(),
            has_slot: AtomicBool::new(false),
            rows: AtomicU64::new(0),
            ran: Mutex::default(),
        });
        self.book().running.insert(entry.who.query_id.clone(), entry.clone());
        Entered { log: self.clone(), entry, outcome: None, kept: true }
    }

    /// Stops the statement `query_id` if `may` stop one of the identity that it is given. `None` = none of this id runs;
    /// else whether it was stopped.
    pub(super) fn cancel(&self, query_id: &str, may: impl FnOnce(&str) -> bool) -> Option<bool> {
        let entry = self.book().running.get(query_id).cloned()?;
        let may = may(&entry.who.identity);
        if may {
            entry.stop.cancel();
        }
        Some(may)
    }

    /// The statement that has reserved most memory of those that are not to stop, and how many bytes that is.
    pub(super) fn largest(&self) -> Option<(Arc<Entry>, u64)> {
        let book = self.book();
        let going_on = book.running.values().filter(|entry| !entry.stop.is_cancelled());
        going_on.map(|entry| (entry.clone(), entry.reserved_bytes())).max_by_key(|(_, bytes)| *bytes)
    }

    /// The table `system.queries`.
    pub(super) fn table(&self) -> Arc<dyn TableProvider> {
        let log = self.clone();
        let rows = move || -> Rows {
            let lines = log.lines();
            Box::pin(async move { batch(&lines) })
        };
        Arc::new(Own::new(Lazy::new(SCHEMA.clone(), rows)))
    }

    fn lines(&self) -> Vec<Line> {
        let (running, ended) = {
            let book = self.book();
            let running: Vec<_> = book.running.values().cloned().collect();
            (running, book.ended.iter().cloned().collect::<Vec<_>>())
        };
        let line = |entry: &Arc<Entry>| {
            let state = if entry.has_slot.load(Ordering::Relaxed) { "running" } else { "waiting" };
            entry.line(state, None)
        };
        running.iter().map(line).chain(ended.into_iter().rev()).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().expect("no holder of this lock panics")
    }
}

impl Entry {
    pub(super) fn query_id(&self) -> &str {
        &self.who.query_id
    }

    pub(super) fn has_slot(&self) {
        self.has_slot.store(true, Ordering::Relaxed);
    }

    /// Tells what runs; metrics of `plan` are read while it does.
    pub(super) fn planned(&self, plan: &Arc<dyn ExecutionPlan>, pool: &Arc<dyn MemoryPool>) {
        // A statement is planned once; a second plan would be no better known.
        let ran = || Ran { plan: Some(plan.clone()), stats: Stats::default(), pool: pool.clone() };
        self.ran().get_or_insert_with(ran);
    }

    fn ran(&self) -> MutexGuard<'_, Option<Ran>> {
        self.ran.lock().expect("no holder of this lock panics")
    }

    /// Stops it for a reason of ours.
    pub(super) fn stop_for(&self, why: Error) {
        // Only the watchdog has one, and it stops no statement twice.
        let _ = self.why.set(why);
        self.stop.cancel();
    }

    /// What it ends in once it was stopped.
    pub(super) fn stopped(&self) -> Error {
        self.why.get().cloned().unwrap_or_else(super::cancelled)
    }

    /// What its operators and functions hold at the moment, as far as it is counted.
    pub(super) fn reserved_bytes(&self) -> u64 {
        self.ran().as_ref().map_or(0, |ran| ran.pool.reserved() as u64)
    }

    pub(super) fn took(&self, rows: u64) {
        self.rows.store(rows, Ordering::Relaxed);
    }

    fn line(&self, state: &'static str, error: Option<&'static str>) -> Line {
        let used = |ran: &Ran| {
            let stats = ran.plan.as_ref().map_or(ran.stats, |plan| Stats::of(plan, 0));
            Used { stats, peak_memory_bytes: peak(&ran.pool) }
        };
        Line {
            who: self.who.clone(),
            state,
            error,
            elapsed_ms: u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            rows: self.rows.load(Ordering::Relaxed),
            used: self.ran().as_ref().map(used),
        }
    }
}

impl Drop for Work {
    /// A plan keeps what its operators gathered, the sides of joins for one: not for as long as the reader of a statement
    /// that was stopped takes none of its last rows.
    fn drop(&mut self) {
        let plan = self.0.ran().as_mut().and_then(|ran| {
            let plan = ran.plan.take()?;
            ran.stats = Stats::of(&plan, 0);
            Some(plan)
        });
        drop(plan);
    }
}

/// A statement's place in the log.
#[derive(Debug)]
pub(super) struct Entered {
    log: Log,
    pub entry: Arc<Entry>,
    outcome: Option<Result<(), Code>>,
    /// Whether it is among those that ended.
    kept: bool,
}

impl Entered {
    /// As what leaves no line behind: it was only planned.
    pub(super) fn passing(mut self) -> Self {
        self.kept = false;
        self
    }

    /// How it ended; the first word counts.
    pub(super) fn ended(&mut self, outcome: Result<(), Code>) {
        self.outcome.get_or_insert(outcome);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        let (state, error) = match self.outcome {
            Some(Ok(())) => ("ok", None),
            Some(Err(Code::Cancelled)) => ("cancelled", Some(Code::Cancelled.as_str())),
            Some(Err(code)) => ("failed", Some(code.as_str())),
            // Nobody takes its rows any more.
            None => ("left", None),
        };
        let line = self.entry.line(state, error);
        let mut book = self.log.book();
        book.running.remove(&self.entry.who.query_id);
        if !self.kept {
            return;
        }
        if book.ended.len() == ENDED {
            book.ended.pop_front();
        }
        book.ended.push_back(line);
    }
}

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let text = |name| Field::new(name, DataType::Utf8, false);
    let number = |name| Field::new(name, DataType::Int64, true);
    Arc::new(Schema::new(vec![
        text("query_id"),
        text("identity").with_nullable(true),
        text("surface").with_nullable(true),
        text("tag").with_nullable(true),
        text("text"),
        text("state"),
        text("error").with_nullable(true),
        Field::new("started", timestamp(TimeUnit::Microsecond), false),
        number("elapsed_ms").with_nullable(false),
        number("rows").with_nullable(false),
        number("bytes_scanned"),
        number("cpu_ms"),
        number("peak_memory_bytes"),
        number("files_opened"),
    ]))
});

/// The newest last among those that run, first among those that ended.
fn batch(lines: &[Line]) -> Result<RecordBatch> {
    let text = |of: fn(&Line) -> Option<&str>| -> ArrayRef { Arc::new(StringArray::from_iter(lines.iter().map(of))) };
    let number = |of: fn(&Line) -> Option<u64>| -> ArrayRef {
        let signed = |value| i64::try_from(value).unwrap_or(i64::MAX);
        Arc::new(Int64Array::from_iter(lines.iter().map(|line| of(line).map(signed))))
    };
    let some = |text: &'static str| Some(text).filter(|text| !text.is_empty());
    let surfaces = lines.iter().map(|line| some(line.who.surface));
    let started = lines.iter().map(|line| line.who.started_us);
    let columns: Vec<ArrayRef> = vec![
        text(|line| Some(&line.who.query_id)),
        text(|line| Some(line.who.identity.as_str()).filter(|name| !name.is_empty())),
        Arc::new(StringArray::from_iter(surfaces)),
        text(|line| line.who.tag.as_deref()),
        text(|line| Some(&line.who.sql)),
        text(|line| Some(line.state)),
        text(|line| line.error),
        Arc::new(TimestampMicrosecondArray::from_iter_values(started).with_timezone("UTC")),
        number(|line| Some(line.elapsed_ms)),
        number(|line| Some(line.rows)),
        number(|line| line.used.map(|used| used.stats.bytes_scanned)),
        number(|line| line.used.map(|used| used.stats.cpu_ms)),
        number(|line| line.used.and_then(|used| used.peak_memory_bytes)),
        number(|line| line.used.map(|used| used.stats.files_opened)),
    ];
    Ok(RecordBatch::try_new(SCHEMA.clone(), columns)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn who(id: usize) -> Who {
        Who { query_id: id.to_string(), identity: "me".to_owned(), sql: "ü".repeat(5000), ..Who::default() }
    }

    #[tokio::test]
    async fn the_last_thousand_that_ended_are_kept_the_newest_first_and_long_texts_cut() {
        let log = Log::default();
        for id in 0..1005 {
            log.enter(who(id)).ended(Ok(()));
        }
        let running = log.enter(who(2000));
        let lines = log.lines();
        let ids: Vec<&str> = [&lines[0], &lines[1], &lines[1000]].map(|line| line.who.query_id.as_str()).to_vec();
        assert_eq!((lines.len(), ids), (1001, vec!["2000", "1004", "5"]));
        assert_eq!((lines[0].state, lines[1].state), ("waiting", "ok"));
        assert_eq!(lines[1].who.sql.chars().count(), MAX_TEXT + 1);
        drop(running);
        assert_eq!((log.lines().len(), log.lines()[0].state), (1000, "left"));
        assert_eq!(batch(&log.lines()).unwrap().num_rows(), 1000);
    }

    #[tokio::test]
    async fn only_what_runs_is_stopped_and_only_by_who_may() {
        let log = Log::default();
        let mut entered = log.enter(who(1));
        assert_eq!(log.cancel("1", |identity| identity == "you"), Some(false));
        assert!(!entered.entry.stop.is_cancelled());
        assert_eq!(log.cancel("1", |identity| identity == "me"), Some(true));
        assert!(entered.entry.stop.is_cancelled());
        entered.ended(Err(Code::Cancelled));
        entered.ended(Ok(()));
        drop(entered);
        assert_eq!(log.cancel("1", |_| true), None);
        assert_eq!((log.lines()[0].state, log.lines()[0].error), ("cancelled", Some("sql.cancelled")));
    }
}
