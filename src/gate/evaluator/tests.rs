//! Gates on spans in memory: a store that is a list, a query that is a share of good spans a service.

mod arrivals;
mod baseline;
mod broken;
mod changes;
mod crash;
mod derived;
mod live;
mod levels;
mod oracle;
mod rules;
mod schedule;
mod soak;
mod sources;
mod starts;
mod store;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus::Registry;

use super::super::definition::tests::{comparison, gate};
use super::super::definition::{Gate, Group, OnFail, Test};
use super::super::journal::faulty::Medium;
use super::super::journal::{JournalRow, OutboxRow};
use super::super::result::{Ask, ResultRow, RunError};
use super::super::starts::Starts;
use super::super::state::Cause;
use super::*;

const S: i64 = 1_000_000_000;
/// A multiple of every interval used, so that ticks are easy to read.
const BEGIN_S: i64 = 1_699_920_000;

/// A span, as far as the query cares.
#[derive(Clone, Debug)]
struct Span {
    end_s: i64,
    service: &'static str,
    good: bool,
    ingest_us: i64,
}

#[derive(Clone, Debug, Default)]
struct Store {
    spans: Arc<Mutex<Vec<Span>>>,
    /// What the next runs answer instead.
    fault: Arc<Mutex<Option<RunError>>>,
    /// What those answer that ask what came.
    arrivals_fault: Arc<Mutex<Option<RunError>>>,
    /// Looks never end.
    is_stuck: Arc<AtomicBool>,
    /// Runs panic.
    panics: Arc<AtomicBool>,
    /// How often it was asked.
    asks: Arc<AtomicU64>,
    /// Where ticks close by what comes: by which spans come.
    clock: Option<Clock>,
}

impl Store {
    /// Takes spans in; times in seconds since the begin.
    fn take(&self, spans: impl IntoIterator<Item = (i64, &'static str, bool)>) {
        let mut all = self.spans.lock().unwrap();
        let now_us = self.clock.as_ref().map_or(1, Clock::now_us);
        let ingest_us = all.last().map_or(1, |span| span.ingest_us + 1).max(now_us);
        all.extend(spans.into_iter().map(|(at, service, good)| Span { end_s: BEGIN_S + at, service, good, ingest_us }));
    }

    fn late(&self) -> Late {
        let store = self.clone();
        Late::new(move |late| {
            let spans = store.spans.lock().unwrap();
            let came = |span: &&Span| (late.after_us + 1..=late.until_us).contains(&span.ingest_us);
            let count = spans.iter().filter(came).filter(|span| span.end_s * S < late.before_ns).count() as u64;
            Box::pin(async move { Ok(count) })
        })
    }

    fn rows(&self, ask: &Ask) -> Vec<ResultRow> {
        let spans = self.spans.lock().unwrap();
        if ask.gate.on.is_ingest() {
            return arrivals::rows(&spans, ask);
        }
        let mut counts: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for span in spans.iter() {
            let e_ns = span.end_s * S;
            if span.ingest_us <= ask.cut_us && (ask.window.start_ns..ask.window.end_ns).contains(&e_ns) {
                let count = counts.entry(span.service).or_default();
                count.0 += u64::from(span.good);
                count.1 += 1;
            }
        }
        let row = |(service, (good, all)): (&str, (u64, u64))| ResultRow {
            key: BTreeMap::from([("service".to_owned(), service.to_owned())]),
            value: Some(good as f64 / all as f64),
            n: Some(all),
            ..ResultRow::default()
        };
        counts.into_iter().map(row).collect()
    }
}

async fn breaks_off() -> Result<Vec<ResultRow>, RunError> {
    panic!("as the test wants it")
}

/// A daemon that can be killed and started again over the same bytes.
struct Daemon {
    medium: Medium,
    store: Store,
    clock: Clock,
    groups: Vec<Group>,
    metrics: Metrics,
    evaluator: Option<Evaluator>,
    journal: Option<Journal>,
}

fn by_service(pass: f64) -> Gate {
    Gate { by: vec!["service".into()], notify: Some(vec!["hook".into()]), ..gate("good", Test::AtLeast(pass)) }
}

fn every_30s(gates: Vec<Gate>) -> Group {
    Group {
        name: "g".into(),
        file: "gates/test.yaml".into(),
        interval: Duration::from_secs(30),
        query_offset: Duration::from_secs(20),
        labels: BTreeMap::new(),
        gates,
    }
}

impl Daemon {
    fn new(groups: Vec<Group>) -> Self {
        Self::over(Store::default(), groups, Clock::manual(BEGIN_S * S, 5))
    }

    fn over(store: Store, groups: Vec<Group>, clock: Clock) -> Self {
        let mut daemon = Self {
            medium: Medium::default(),
            store,
            clock,
            groups,
            metrics: Metrics::register(&Registry::new()).unwrap(),
            evaluator: None,
            journal: None,
        };
        daemon.start();
        daemon
    }

    fn start(&mut self) {
        let journal = self.medium.journal().unwrap();
        let (store, positions) = (self.store.clone(), self.store.clone());
        let written = journal.clone();
        let is_stuck = self.store.is_stuck.clone();
        let runner = Runner::new(move |ask| {
            store.asks.fetch_add(1, Ordering::Relaxed);
            if store.panics.load(Ordering::Relaxed) {
                return Box::pin(breaks_off());
            }
            let of_arrivals = ask.gate.name.ends_with(" arrivals");
            let fault = if of_arrivals { &store.arrivals_fault } else { &store.fault }.lock().unwrap().clone();
            let rows = || match ask.gate.source.is_derived {
                true => derived::rows(&written, &ask),
                false => store.rows(&ask),
            };
            let rows = fault.map_or_else(|| Ok(rows()), Err);
            Box::pin(async move { rows })
        });
        let looking = runner.clone();
        let runner = runner.looking(move |ask| match is_stuck.load(Ordering::Relaxed) {
            true => Box::pin(std::future::pending()),
            false => looking.run(ask),
        });
        // Source texts stand for questions, so that a test changes a question by its text.
        let question = |gate: &Gate| {
            let mut hash = [0; 32];
            let text = gate.source.sql.as_bytes();
            hash[..text.len().min(32)].copy_from_slice(&text[..text.len().min(32)]);
            (gate.name.clone(), hash)
        };
        let parts = Parts {
            questions: self.groups.iter().flat_map(|group| &group.gates).map(question).collect(),
            groups: self.groups.clone(),
            default_receivers: vec!["hook".into()],
            value_metrics: true,
            runner,
            late: self.store.late(),
            position: Position::new(move || {
                Some(positions.spans.lock().unwrap().last().map_or(0, |span| span.ingest_us))
            }),
            feed: self.store.feed(),
            journal: journal.clone(),
            clock: self.clock.clone(),
            metrics: self.metrics.clone(),
            concurrency: 2,
        };
        self.evaluator = Some(Evaluator::open(parts).unwrap());
        self.journal = Some(journal);
    }

    /// Ends the process without a word.
    fn kill(&mut self) {
        self.evaluator = None;
        self.journal = None;
    }

    fn now_s(&self) -> i64 {
        self.clock.now_ns() / S - BEGIN_S
    }

    fn wait(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    async fn round(&mut self) {
        self.evaluator.as_mut().unwrap().round().await.unwrap();
    }

    /// Runs until `end_s`, a round every 10 s.
    async fn until(&mut self, end_s: i64) {
        while self.now_s() < end_s {
            self.wait(10);
            self.round().await;
        }
    }

    fn journal(&self) -> &Journal {
        self.journal.as_ref().unwrap()
    }

    fn starts(&self) -> Starts {
        Starts::new(self.journal().clone(), self.clock.clone(), self.metrics.clone())
    }

    fn rows(&self) -> Vec<JournalRow> {
        let rows = self.journal().snapshot().unwrap().journal(0, usize::MAX).unwrap();
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Transitions as (tick in seconds since the begin, key, cause).
    fn seen(&self) -> Vec<(i64, String, Cause)> {
        self.rows().into_iter().map(|row| (row.t_ns / S - BEGIN_S, row.key, row.cause)).collect()
    }

    fn outbox(&self) -> Vec<OutboxRow> {
        let rows = self.journal().snapshot().unwrap().outbox("hook", usize::MAX).unwrap();
        rows.into_iter().map(|(_, row)| row).collect()
    }

    /// Alert names in the outbox with firing or resolved.
    fn told(&self) -> Vec<(String, super::super::journal::Status)> {
        self.outbox().into_iter().map(|row| (row.notice.labels["alertname"].clone(), row.notice.status)).collect()
    }
}

/// Spans of `service` every 10 s in `[from_s, to_s)`, all good or all bad.
fn spans(service: &'static str, from_s: i64, to_s: i64, good: bool) -> Vec<(i64, &'static str, bool)> {
    (from_s..to_s).step_by(10).map(|at| (at, service, good)).collect()
}
