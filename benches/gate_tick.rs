//! What a tick of many gates costs that share states (gates.md 17).
//!
//! Duty: the row `gate_tick`: 1,000 decomposable gates in 20 aggregations over a million spans in five minutes, of 20 services
//! and 100 types, ticks of 10 s, in which the spans of the last 10 s are read, every gate is judged and the tick is written.
//! Guarantee: the daemon's own evaluator, a real store and journal with `fsync`. Left to others: gates by SQL (`gates`).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use prometheus::Registry;
use weavergen::clock::Clock;
use weavergen::gate::evaluator::Position;
use weavergen::gate::{self, Evaluator, Feed, Journal, Known, Late, Metrics, Parts, Planner};
use weavergen::query;
use weavergen::span::Delivery;
use weavergen::store::Store;

use super::{Bench, load, store};

const AGGREGATIONS: usize = 20;
const GATES_OF_EACH: usize = 50;
const SERVICES: usize = 20;
const TYPES: usize = 100;
/// Spans of the window.
const SPANS: usize = 1_000_000;
const WINDOW_S: u64 = 300;
const INTERVAL_S: u64 = 10;
/// Ticks that are measured.
const TICKS: u64 = 40;
const ATTRIBUTES: usize = 4;
/// A tick of the grid at which the window is full.
const FULL_S: u64 = 1_760_000_300;
/// Spans of a request.
const REQUEST: usize = SPANS / (WINDOW_S / INTERVAL_S) as usize / SERVICES;

/// Prints the row.
pub fn run(bench: &Bench) {
    if bench.wants("gate_tick") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
        runtime.block_on(row());
    }
}

async fn row() {
    let (store, _, _dir) = store::open().await;
    let mut tick_s = FULL_S - WINDOW_S;
    while tick_s < FULL_S {
        tick_s += INTERVAL_S;
        append(&store, tick_s).await;
    }
    let journal_dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    let clock = Clock::manual(i64::try_from((FULL_S - INTERVAL_S / 2) * 1_000_000_000).expect("it fits"), 7);
    let metrics = Metrics::register(&Registry::new()).expect("an empty registry");
    let mut evaluator = evaluator(&store, &clock, &metrics, &journal_dir.path().join("gates.redb"));
    // The first tick reads the whole window.
    let first = tick(&mut evaluator, &clock, INTERVAL_S).await;
    let mut ticks = Vec::new();
    for _ in 0..TICKS {
        tick_s += INTERVAL_S;
        append(&store, tick_s).await;
        ticks.push(tick(&mut evaluator, &clock, INTERVAL_S).await);
    }
    ticks.sort_unstable();
    let ms = |percent: usize| ticks[(ticks.len() * percent).div_ceil(100).max(1) - 1].as_secs_f64() * 1e3;
    println!(
        "gate_tick/{}x{SPANS} p50 {:>7.1} ms  p99 {:>7.1} ms of {TICKS} ticks, the first {:.2} s, {} states in {} MiB",
        AGGREGATIONS * GATES_OF_EACH,
        ms(50),
        ms(99),
        first.as_secs_f64(),
        metrics.bucket_entries.get(),
        metrics.bucket_bytes.get() >> 20,
    );
    assert!(metrics.bucket_entries.get() > 0, "the gates share");
    drop(evaluator);
    store.close().await.expect("the store closes");
}

/// Moves the clock on and closes what is due.
async fn tick(evaluator: &mut Evaluator, clock: &Clock, by_s: u64) -> Duration {
    clock.advance(Duration::from_secs(by_s));
    let started = Instant::now();
    assert!(evaluator.round_once().await.expect("the disk takes it"), "a tick is due");
    started.elapsed()
}

/// The spans of the interval before `until_s`, of all services.
async fn append(store: &Store, until_s: u64) {
    for service in 0..SERVICES {
        let seed = until_s * SERVICES as u64 + service as u64;
        let times = (until_s * 1_000_000_000, INTERVAL_S * 1_000_000_000);
        let body = load::spread(seed, (REQUEST, ATTRIBUTES), TYPES, &format!("service-{service}"), times);
        for delivery in store::deliveries_from([body].into_iter()) {
            store.append(Delivery { identity: u128::from(seed), ..delivery }).await.expect("the store takes it");
        }
    }
}

/// Of each aggregation, gates of a service and a type each, and three questions in turn.
fn gates() -> String {
    let mut text = format!("groups:\n- name: g\n  interval: {INTERVAL_S}s\n  query_offset: 0s\n  gates:\n");
    for aggregation in 0..AGGREGATIONS {
        for at in 0..GATES_OF_EACH {
            let value = [
                "avg(duration_ns) / 1e6 AS value, max(duration_ns) AS longest, stddev(duration_ns) AS deviation",
                "count(*) FILTER (WHERE status_code = 'error') / CAST(count(*) AS DOUBLE) AS value",
                "sum(duration_ns) AS value, min(start_time) AS first, bool_and(status_code <> 'error') AS good",
            ][at % 3];
            let (service, name) = (at % SERVICES, load::span_type((at * 7 + aggregation) % TYPES));
            text.push_str(&format!(
                "  - gate: g{aggregation}_{at}\n    window: {WINDOW_S}s\n    pass: '>= 0'\n    sql: |\n      SELECT {value}, \
                 count(*) AS n FROM spans WHERE duration_ns >= {aggregation} AND service_name = 'service-{service}' AND name \
                 = '{name}'\n"
            ));
        }
    }
    text
}

fn evaluator(store: &Store, clock: &Clock, metrics: &Metrics, journal: &std::path::Path) -> Evaluator {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    let file = dir.path().join("gates.yaml");
    std::fs::write(&file, gates()).expect("the folder is writable");
    let config = gate::Config {
        files: Some(vec![file.display().to_string()]),
        bucket: Duration::from_secs(INTERVAL_S),
        ..gate::Config::default()
    };
    let known = Known::default();
    let request = gate::Request { config: &config, queries_dir: None, known: &known };
    let loaded = gate::load(&request, &Planner::default());
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    let groups: Vec<gate::Group> = loaded.groups.into_iter().filter(|group| group.name == "g").collect();
    let query = query::Config { threads: 2, ..query::Config::default() };
    let reader = store.reader();
    let gateway = gate::run::gateway(reader.clone(), &query, &config, Vec::new(), clock.clone()).expect("threads");
    let parts = Parts {
        questions: groups
            .iter()
            .flat_map(|g| &g.gates)
            .map(|g| (g.name.clone(), gate::question(g)))
            .collect::<BTreeMap<_, _>>(),
        default_receivers: Vec::new(),
        value_metrics: true,
        runner: gate::run::sharing_runner(gateway.clone(), &groups, &config, metrics),
        groups,
        late: Late::over(gateway),
        position: Position::new(move || Some(reader.view().visible_us)),
        feed: Feed::none(),
        journal: Journal::open(journal).expect("an empty folder"),
        clock: clock.clone(),
        metrics: metrics.clone(),
        concurrency: 1,
    };
    Evaluator::open(parts).expect("an empty journal")
}
