//! Gates as the daemon runs them, and the spans that they look at: what the rows `gate_*` share.
//!
//! Duty: gates of a file over a store, with a journal; a million spans in five minutes, of 20 services; ticks of 10 s on a clock
//! that the row moves. Guarantee: the daemon's own evaluator over real files with `fsync`; a tick closes by what is heard of
//! the sources, and exactly one at a time. Left to others: which gates, and what is measured.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use prometheus::Registry;
use tempfile::TempDir;
use weavergen::clock::Clock;
use weavergen::gate::evaluator::Position;
use weavergen::gate::{self, Evaluator, Feed, Group, Journal, Known, Late, Metrics, Parts, Planner};
use weavergen::query;
use weavergen::span::Delivery;
use weavergen::store::Store;

use super::{load, resident, store};

pub const SERVICES: usize = 20;
/// Spans of the window.
pub const SPANS: usize = 1_000_000;
pub const WINDOW_S: u64 = 300;
pub const INTERVAL_S: u64 = 10;
/// Width of the buckets of gates that share.
pub const BUCKET: Duration = Duration::from_secs(INTERVAL_S);
pub const ATTRIBUTES: usize = 4;
/// Spans of a request: what a service sends in an interval.
pub const REQUEST: usize = SPANS / INTERVALS as usize / SERVICES;
const INTERVALS: u64 = WINDOW_S / INTERVAL_S;
/// A tick of the grid at which the window is full.
const FULL_S: u64 = 1_760_000_300;
/// How far behind a tick the last spans of each source end that close it.
const PAST_S: u64 = 1;
const SECOND_NS: u64 = 1_000_000_000;

/// Gates that are open.
pub struct Gates {
    pub evaluator: Evaluator,
    pub journal: Journal,
    pub metrics: Metrics,
    pub groups: Vec<Group>,
    /// Of the journal.
    pub dir: TempDir,
}

impl Gates {
    /// Those of the file `text` over `store`, as the daemon loads and runs them; alerts go to `receivers`.
    pub fn open(store: &Store, clock: &Clock, text: &str, config: gate::Config, receivers: &[&str]) -> Self {
        let dir = store::folder();
        let (groups, config) = loaded(&dir, text, config);
        let metrics = Metrics::register(&Registry::new()).expect("an empty registry");
        let query = query::Config { threads: 2, ..query::Config::default() };
        let reader = store.reader();
        let gateway = gate::run::gateway(reader.clone(), &query, &config, Vec::new(), clock.clone()).expect("threads");
        let journal = Journal::open(&dir.path().join("gates.redb")).expect("an empty folder");
        let parts = Parts {
            questions: groups
                .iter()
                .flat_map(|group| &group.gates)
                .map(|gate| (gate.name.clone(), gate::question(gate)))
                .collect::<BTreeMap<_, _>>(),
            default_receivers: receivers.iter().map(|name| (*name).to_owned()).collect(),
            value_metrics: true,
            runner: gate::run::sharing_runner(gateway.clone(), &groups, &config, &metrics),
            groups: groups.clone(),
            late: Late::over(gateway),
            position: Position::new(move || {
                let view = reader.view();
                view.complete.then_some(view.visible_us)
            }),
            feed: Feed::over(store.clone(), &config),
            journal: journal.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            concurrency: gate::run::at_a_time(),
        };
        let evaluator = Evaluator::open(parts).expect("an empty journal");
        Self { evaluator, journal, metrics, groups, dir }
    }
}

/// The groups of the file `text`, and the configuration that names it.
pub fn loaded(dir: &TempDir, text: &str, config: gate::Config) -> (Vec<Group>, gate::Config) {
    let file = dir.path().join("gates.yaml");
    std::fs::write(&file, text).expect("the folder is writable");
    let config = gate::Config { files: Some(vec![file.display().to_string()]), ..config };
    let known = Known::default();
    let request = gate::Request { config: &config, queries_dir: None, known: &known };
    let mut loaded = gate::load(&request, &Planner::default());
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    // Without built-in files.
    loaded.groups.truncate(loaded.named);
    (loaded.groups, config)
}

/// Appends the spans of `body`; no other delivery has its `identity`.
pub async fn send(store: &Store, body: Vec<u8>, identity: u64) {
    for delivery in store::deliveries_from([body].into_iter()) {
        let delivery = Delivery { identity: u128::from(identity), ..delivery };
        store.append(delivery).await.expect("the store takes it");
    }
}

/// Spans that come to a store, of so many operations a service.
pub struct Spans {
    pub store: Store,
    /// By how much memory of the store grows with the spans of an interval.
    pub interval_bytes: u64,
    operations: usize,
    /// All end before it.
    until_s: u64,
    _dir: TempDir,
}

impl Spans {
    /// Those of a window.
    pub async fn of_window(operations: usize) -> Self {
        let (store, _, dir) = store::open().await;
        let until_s = FULL_S - WINDOW_S + PAST_S;
        let mut spans = Self { store, interval_bytes: 0, operations, until_s, _dir: dir };
        for _ in 0..INTERVALS / 2 {
            spans.come().await;
        }
        // What the first ones took is also that of threads and decoders.
        let before = resident::bytes();
        for _ in INTERVALS / 2..INTERVALS {
            spans.come().await;
        }
        spans.interval_bytes = resident::bytes().saturating_sub(before) / (INTERVALS - INTERVALS / 2);
        spans
    }

    /// Those of the next interval, of all services.
    pub async fn come(&mut self) {
        self.until_s += INTERVAL_S;
        let times = (self.until_s * SECOND_NS, INTERVAL_S * SECOND_NS);
        // Each operation in turn, where an interval has fewer spans of a service than there are operations.
        let first = usize::try_from(self.until_s / INTERVAL_S).expect("64 bits") * REQUEST % self.operations;
        for service in 0..SERVICES {
            let seed = self.until_s * SERVICES as u64 + service as u64;
            let name = format!("service-{service}");
            let body = load::spread_from(seed, (REQUEST, ATTRIBUTES), (self.operations, first), &name, times);
            send(&self.store, body, seed).await;
        }
    }

    /// Gates of the file `text` that look at them; without a `bucket` each is asked by its SQL.
    pub fn judged(self, text: &str, bucket: Duration) -> House {
        let now_ns = i64::try_from((FULL_S - INTERVAL_S / 2) * SECOND_NS).expect("it fits");
        let clock = Clock::manual(now_ns, 7);
        let gates = Gates::open(&self.store, &clock, text, gate::Config { bucket, ..gate::Config::default() }, &[]);
        House { spans: self, clock, gates, closed: 0 }
    }
}

/// Gates over spans.
pub struct House {
    pub spans: Spans,
    pub gates: Gates,
    clock: Clock,
    /// Ticks so far.
    closed: u64,
}

impl House {
    /// Moves the clock on and closes the tick that is due. The first reads the whole window.
    pub async fn tick(&mut self) -> Duration {
        self.clock.advance(Duration::from_secs(INTERVAL_S));
        let started = Instant::now();
        let is_closed = self.gates.evaluator.round_once().await.expect("the disk takes it");
        let took = started.elapsed();
        assert!(is_closed, "a tick is due");
        self.closed += 1;
        assert_eq!(self.asked(), self.closed, "each tick asks each gate once");
        took
    }

    /// The spans of an interval come, and the tick behind them closes.
    pub async fn next_tick(&mut self) -> Duration {
        self.spans.come().await;
        self.tick().await
    }

    /// How often the last gate was asked.
    fn asked(&self) -> u64 {
        let last = self.gates.groups.last().and_then(|group| group.gates.last()).expect("there are gates");
        let metrics = &self.gates.metrics;
        let missed = metrics.missed_ticks.with_label_values(&[last.name.as_str(), "overrun"]).get();
        assert_eq!(missed, 0, "no tick is left out");
        metrics.evaluation_seconds.with_label_values(&[last.name.as_str()]).get_sample_count()
    }

    /// Ends all of it.
    pub async fn close(self) {
        let Self { spans, gates, .. } = self;
        drop(gates);
        spans.store.close().await.expect("the store closes");
    }
}

/// The value of rank `percent` in ms, of times in any order.
pub fn rank_ms(times: &[Duration], percent: usize) -> f64 {
    let mut times = times.to_vec();
    times.sort_unstable();
    times[(times.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3
}
