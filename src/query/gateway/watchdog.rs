//! Ends the largest statement before the process holds more memory than it may (sql.md 8, storage.md 14).
//!
//! Duty: [`Watchdog`], which takes a reading of what the process holds four times a second. Guarantee: past 85 % of the
//! limit the statement that has reserved most ends in `sql.limit.memory`; one for a reading, and the next reading is
//! taken once its memory was given back. Left to others: how to read (`telemetry`); what a statement may reserve
//! (`memory`): that is most of what it holds, and the rest is why there is a watchdog.
//!
//! What stays held past the line after a statement has ended is held by others, or was not given back by the allocator
//! yet: then another one ends only when more is held again. A statement with less than a hundredth of the limit is left
//! alone: its end would bring nothing.

use std::time::Duration;

use prometheus::{IntCounter, Registry};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::log::Log;
use crate::query::error::{Code, Error};

/// From one reading to the next.
const EVERY: Duration = Duration::from_millis(250);
/// A statement that was ended stops within a second, unless a function of it does not come to an end.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often it is looked whether its memory was given back.
const POLL: Duration = Duration::from_millis(20);

/// See above.
#[derive(Debug)]
pub struct Watchdog {
    statements: Vec<Log>,
    line: Line,
    ended: IntCounter,
    patience: Duration,
}

impl Watchdog {
    /// Watches the statements of `gateways` in a process that may hold `limit_bytes`.
    ///
    /// Errors: the metric's name is taken.
    pub fn register(gateways: &[Gateway], limit_bytes: u64, registry: &Registry) -> prometheus::Result<Self> {
        let ended = IntCounter::new(
            "weavergen_query_ended_for_memory",
            "Statements that were ended because the process came near its limit of memory.",
        )?;
        registry.register(Box::new(ended.clone()))?;
        let statements = gateways.iter().map(|gateway| gateway.inner.log.clone()).collect();
        Ok(Self { statements, line: Line::of(limit_bytes), ended, patience: PATIENCE })
    }

    /// Watches until `stop`. `held` reads what the process holds, in bytes; `None` = that cannot be told here, and nothing
    /// is watched.
    pub async fn run(mut self, held: impl Fn() -> Option<u64>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let watch = async {
            loop {
                ticks.tick().await;
                let Some(bytes) = held() else { return };
                self.look(bytes).await;
            }
        };
        stop.run_until_cancelled(watch).await;
    }

    /// Does what follows from one reading.
    async fn look(&mut self, held_bytes: u64) {
        if !self.line.is_passed(held_bytes) {
            return;
        }
        let limit_bytes = self.line.limit_bytes;
        let largest = self.statements.iter().filter_map(Log::largest).max_by_key(|(_, bytes)| *bytes);
        let Some((entry, bytes)) = largest.filter(|(_, bytes)| *bytes >= limit_bytes / 100) else { return };
        entry.stop_for(too_much(held_bytes, limit_bytes, bytes));
        self.line.one_has_ended();
        self.ended.inc();
        let query_id = entry.query_id();
        tracing::warn!(
            query_id,
            bytes,
            held_bytes,
            limit_bytes,
            "the largest statement ends: memory is near its limit"
        );
        let released = async {
            while entry.reserved_bytes() > 0 {
                tokio::time::sleep(POLL).await;
            }
        };
        if tokio::time::timeout(self.patience, released).await.is_err() {
            tracing::warn!(query_id, "a statement that was ended for memory still holds some");
        }
    }
}

fn too_much(held_bytes: u64, limit_bytes: u64, bytes: u64) -> Error {
    let [held, limit, own] = [held_bytes, limit_bytes, bytes].map(|bytes| bytes.div_ceil(1 << 20));
    Error::new(
        Code::LimitMemory,
        format!(
            "the process held {held} MiB, and its limit is {limit} MiB: this statement was ended, which held {own} MiB, \
             more than any other"
        ),
    )
    .hint("narrow the time range, add a LIMIT, or sample with `in_sample(trace_id, 0.1)`; or raise `memory.limit`")
}

/// When a statement is to end.
#[derive(Debug)]
struct Line {
    limit_bytes: u64,
    /// One has ended, and nothing was read since.
    ended: bool,
    /// What was held past the line after one had ended, the least of it.
    left_bytes: Option<u64>,
}

impl Line {
    fn of(limit_bytes: u64) -> Self {
        Self { limit_bytes, ended: false, left_bytes: None }
    }

    fn one_has_ended(&mut self) {
        self.ended = true;
    }

    /// Whether a reading of `held_bytes` asks for the end of a statement.
    fn is_passed(&mut self, held_bytes: u64) -> bool {
        if held_bytes <= self.limit_bytes / 100 * 85 {
            *self = Self::of(self.limit_bytes);
            return false;
        }
        if std::mem::take(&mut self.ended) {
            self.left_bytes = Some(held_bytes);
            return false;
        }
        self.left_bytes = self.left_bytes.map(|left| left.min(held_bytes));
        self.left_bytes.is_none_or(|left| held_bytes > left + self.limit_bytes / 32)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Schema;
    use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation, UnboundedMemoryPool};
    use datafusion::physical_plan::ExecutionPlan;
    use datafusion::physical_plan::empty::EmptyExec;

    use super::super::Shape;
    use super::super::log::{Entered, Who};
    use super::*;
    use crate::query::tests::fixture::{self, Span};
    use crate::query::{Config, Statement};

    fn watchdog(statements: &[Log], limit_bytes: u64) -> Watchdog {
        let watchdog = Watchdog::register(&[], limit_bytes, &Registry::new()).unwrap();
        // Nobody goes on before he may, however slow the machine is.
        Watchdog { statements: statements.to_vec(), patience: Duration::from_secs(3600), ..watchdog }
    }

    /// A statement that has reserved `bytes`.
    fn statement(log: &Log, id: &str, bytes: usize) -> (Entered, MemoryReservation) {
        let entered = log.enter(Who { query_id: id.to_owned(), ..Who::default() });
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let plan: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::new(Schema::empty())));
        entered.entry.planned(&plan, &pool);
        let held = MemoryConsumer::new("test").register(&pool);
        held.grow(bytes);
        (entered, held)
    }

    #[test]
    fn a_line_that_stays_passed_asks_again_only_when_more_is_held() {
        let mut line = Line::of(1_000);
        assert_eq!([850, 851, 860, 840, 851].map(|held| line.is_passed(held)), [false, true, true, false, true]);
        line.one_has_ended();
        // What is left; 31 more than the least of it; more than that.
        assert_eq!([990, 990, 900, 931, 932].map(|held| line.is_passed(held)), [false, false, false, false, true]);
        line.one_has_ended();
        assert_eq!([860, 891, 892].map(|held| line.is_passed(held)), [false, false, true]);
        line.one_has_ended();
        assert_eq!([850, 851].map(|held| line.is_passed(held)), [false, true], "below the line all is forgotten");
    }

    #[tokio::test]
    async fn for_a_reading_past_the_line_the_statement_that_holds_most_ends_and_its_memory_is_waited_for() {
        let (one, other) = (Log::default(), Log::default());
        let mut watchdog = watchdog(&[one.clone(), other.clone()], 1_000);
        let (small, _small) = statement(&one, "1", 30);
        let (large, of_large) = statement(&other, "2", 500);
        let (middle, _middle) = statement(&one, "3", 40);
        let ended = |of: &[&Entered]| of.iter().map(|entered| entered.entry.stop.is_cancelled()).collect::<Vec<_>>();
        watchdog.look(850).await;
        assert_eq!(ended(&[&small, &large, &middle]), [false; 3]);
        let look = tokio::spawn(async move {
            watchdog.look(851).await;
            watchdog
        });
        while !large.entry.stop.is_cancelled() {
            tokio::task::yield_now().await;
        }
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert!(!look.is_finished(), "its memory was not given back yet");
        assert_eq!((large.entry.stopped().code, ended(&[&small, &middle])), (Code::LimitMemory, vec![false, false]));
        drop(of_large);
        let mut watchdog = look.await.unwrap();
        watchdog.look(900).await;
        watchdog.look(931).await;
        assert_eq!((watchdog.ended.get(), ended(&[&small, &middle])), (1, vec![false, false]), "nothing more is held");
    }

    #[tokio::test]
    async fn a_statement_that_holds_next_to_nothing_or_ends_already_is_left_alone() {
        let log = Log::default();
        let mut watchdog = watchdog(std::slice::from_ref(&log), 1_000);
        let (little, _little) = statement(&log, "1", 9);
        let (ends, _ends) = statement(&log, "2", 700);
        let waiting = log.enter(Who { query_id: "3".to_owned(), ..Who::default() });
        ends.entry.stop.cancel();
        watchdog.look(1_000).await;
        assert!(!little.entry.stop.is_cancelled() && !waiting.entry.stop.is_cancelled());
        assert_eq!((ends.entry.stopped().code, watchdog.ended.get()), (Code::Cancelled, 0));
    }

    #[tokio::test]
    async fn a_statement_that_is_ended_says_why_and_what_to_do() {
        let spans: Vec<Span> = (1..=10).map(|id| Span::new(1, id)).collect();
        let gateway = fixture::gateway(&spans, Config { threads: 2, ..Config::default() });
        let mut watchdog = watchdog(std::slice::from_ref(&gateway.inner.log), 1_000);
        let crossed: Vec<String> = (1..12).map(|n| format!("CROSS JOIN spans s{n}")).collect();
        let endless = format!(
            "SELECT count(*) FROM spans s0 {} WHERE s0.duration_ns + s11.duration_ns + s5.duration_ns <> 7",
            crossed.join(" ")
        );
        let asked = gateway.clone();
        let answer = tokio::spawn(async move { asked.run(Statement::new(&endless)).await.map(drop) });
        while gateway.inner.log.largest().is_none_or(|(_, bytes)| bytes < 10) {
            assert!(!answer.is_finished(), "it has ended by itself");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        watchdog.look(900).await;
        let error = answer.await.unwrap().unwrap_err();
        assert_eq!(error.code, Code::LimitMemory, "{}", error.message);
        assert!(error.message.contains("its limit is 1 MiB: this statement was ended"), "{}", error.message);
        assert!(error.hint.is_some_and(|hint| hint.contains("`memory.limit`")));
        assert_eq!(watchdog.ended.get(), 1);
        gateway.run(Statement::new("SELECT 1")).await.unwrap();
    }

    #[tokio::test]
    async fn a_statement_whose_rows_nobody_takes_gives_its_memory_back_when_it_is_ended() {
        let spans: Vec<Span> = (1..=10).map(|id| Span::new(1, id)).collect();
        let gateway = fixture::gateway(&spans, Config { threads: 2, ..Config::default() });
        let mut watchdog = watchdog(std::slice::from_ref(&gateway.inner.log), 1_000);
        let crossed: Vec<String> = (1..8).map(|n| format!("CROSS JOIN spans s{n}")).collect();
        let sql = format!("SELECT s0.span_id, s7.span_id AS other FROM spans s0 {}", crossed.join(" "));
        let mut answer = gateway.run(Statement { shape: Shape::Arrow, ..Statement::new(&sql) }).await.unwrap();
        let held = gateway.inner.log.largest().unwrap();
        assert!(held.1 >= 10, "the sides of its joins: {}", held.1);
        watchdog.look(900).await;
        assert_eq!((held.0.reserved_bytes(), watchdog.ended.get()), (0, 1));
        let error = loop {
            match answer.next().await {
                Ok(batch) => assert!(batch.is_some(), "it had many more rows"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code, Code::LimitMemory, "{}", error.message);
    }
}
