//! What learning costs beside what it looks at (learn.md 21).
//!
//! Duty: the rows `learn_tick` (a tick of the shipped pattern files beside their statements alone, and what it slows
//! ingest by) and `learn_feedback` (taking in the engine's events beside the engine's own commits, and a scan of
//! `feedback` that has to catch up beside one that has not). Guarantee: real files with `fsync`; both sides of a ratio are
//! measured in the same run. Left to others: the rows of what is not built.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bpmn::core::{Action, Body, OnUnknown};
use prometheus::Registry;
use weavergen::clock::Clock;
use weavergen::engine::job::Outcome;
use weavergen::engine::{self, Engine, Jobs, SourceFile};
use weavergen::learn::feedback::RunEnd;
use weavergen::learn::follow::Follower;
use weavergen::learn::patterns::{Pattern, Planner, Request, load as load_patterns, run as statements};
use weavergen::learn::sources::{CodegenMode, EngineEvent, EngineFact, EngineHead, Page};
use weavergen::learn::task::Miner;
use weavergen::learn::{self, Ask, EngineEvents, GateFacts, Journal, Metrics, Parts, Progress, tables};
use weavergen::query::{self, Gateway, Statement};
use weavergen::semconv::check;
use weavergen::span::Delivery;
use weavergen::store::Store;

use super::{Bench, load, semconv, store};

/// Runs of which the median is printed.
const RUNS: usize = 5;
/// Load of `learn_tick`.
const SPANS: usize = 1_000_000;
const SERVICES: usize = 20;
const ATTRIBUTES: usize = 10;
const IN_REQUEST: usize = 8192;
/// Spans appended to see what a tick costs ingest.
const APPENDED: usize = 200_000;
/// The first tick behind the spans of the load, and a clock at which the tick before it has just closed.
const FIRST_TICK_S: i64 = 1_760_000_010;
const BEGIN_S: i64 = FIRST_TICK_S + 5;
const INTERVAL: Duration = Duration::from_secs(30);
/// Load of `learn_feedback`: events of the engine, of which one in a hundred is a try.
const EVENTS: usize = 1_000_000;
const EVENTS_OF_RUN: usize = 500;
const BEHIND: usize = 1_000;
/// What the engine commits meanwhile: runs of five tasks, so many at once.
const ENGINE_RUNS: usize = 512;
const AT_ONCE: usize = 64;
const TASKS: usize = 5;
const SECOND_NS: i64 = 1_000_000_000;

/// Prints a row each.
pub fn run(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    if bench.wants("learn_tick") {
        let Ticked { tick_s, alone_s, off, during } = runtime.block_on(tick());
        let slower = (1.0 - during / off).max(0.0) * 100.0;
        let of_interval = slower * tick_s / INTERVAL.as_secs_f64();
        println!(
            "learn_tick/{SPANS}     {tick_s:>7.2} s a tick, {alone_s:.2} s its statements alone: {:.2} times; ingest {off:.0} \
             spans/s, {during:.0} during a tick: -{slower:.1} %, -{of_interval:.1} % over {} s",
            tick_s / alone_s,
            INTERVAL.as_secs()
        );
    }
    if bench.wants("learn_feedback") {
        let Followed { taken, committed, level_ms, behind_ms } = runtime.block_on(feedback());
        println!(
            "learn_feedback/{EVENTS} {taken:>9.0} events/s taken in, {committed:.0} committed by the engine: {:.1} times; scan \
             {behind_ms:.1} ms behind {BEHIND} events, {level_ms:.1} ms behind none: {:.1} times",
            taken / committed,
            behind_ms / level_ms
        );
    }
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn folder() -> tempfile::TempDir {
    // Not /tmp, which may be memory.
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable")
}

fn metrics() -> Metrics {
    Metrics::register(&Registry::new()).expect("a registry of its own")
}

fn journal(dir: &Path, clock: &Clock) -> Journal {
    Journal::open(&dir.join("learn.redb"), dir, clock).expect("an empty folder").journal
}

struct Ticked {
    tick_s: f64,
    alone_s: f64,
    /// Spans appended a second without and during a tick.
    off: f64,
    during: f64,
}

/// Spans of [`SERVICES`] services that follow definitions, half of them without a required attribute.
fn deliveries(first: usize, spans: usize) -> Vec<Delivery> {
    let registry = semconv::tables();
    let bodies = (first..first + spans.div_ceil(IN_REQUEST)).map(|at| {
        let service = format!("service-{}", at % SERVICES);
        load::of_service(at as u64, IN_REQUEST, ATTRIBUTES, semconv::SPAN_TYPES, &service)
    });
    let mut deliveries = store::deliveries_from(bodies);
    for (at, delivery) in deliveries.iter_mut().enumerate() {
        delivery.identity = (first + at) as u128 + 1;
        for batch in &mut delivery.batches {
            let columns = check(&registry, batch).0;
            *batch = batch.clone().with_semconv(columns).expect("the columns are of this batch");
        }
    }
    deliveries
}

async fn tick() -> Ticked {
    let (spans, _, _spans_dir) = store::open().await;
    store::fill(&spans, deliveries(0, SPANS)).await;
    let (dir, clock) = (folder(), Clock::manual(BEGIN_S * SECOND_NS, 1));
    let query = query::Config { threads: 2, ..query::Config::default() };
    let spill = Some((dir.path().join("spill"), 10 << 30));
    let gateway = statements::gateway(spans.reader(), &query, 1 << 30, spill, Vec::new(), clock.clone());
    let asker = statements::asker(gateway.expect("threads can be started"));
    let (config, cut_us) = (learn::Config::default(), spans.reader().view().visible_us);
    let request = Request { config: &config, queries_dir: None, retention: None };
    let patterns = load_patterns(&request, &Planner::default()).patterns;
    let file = journal(dir.path(), &clock);
    let parts = Parts {
        config: config.clone(),
        path: dir.path().join("learn.redb"),
        quarantine: dir.path().to_owned(),
        patterns: patterns.clone(),
        asker: asker.clone(),
        progress: Progress::new(move || Some(cut_us), |_| true),
        engine: EngineEvents::none(),
        gates: GateFacts::none(),
        clock: clock.clone(),
        metrics: metrics(),
    };
    let mut miner = Miner::open(parts, file.clone()).await.expect("the file is new");
    let (mut ticks, mut alone) = (Vec::new(), Vec::new());
    for round in 0..RUNS {
        let t_ns = (FIRST_TICK_S + 30 * i64::try_from(round).expect("a few")) * SECOND_NS;
        let started = Instant::now();
        for pattern in &patterns {
            let ran = asker.ask(ask(pattern, t_ns, cut_us)).await;
            assert!(ran.is_ok(), "{}: {ran:?}", pattern.name);
        }
        alone.push(started.elapsed().as_secs_f64());
        clock.advance(INTERVAL);
        let started = Instant::now();
        while miner.turn().await.expect("the disk takes it").is_zero() {}
        ticks.push(started.elapsed().as_secs_f64());
    }
    let runs = file.pattern_runs().expect("the file can be read");
    assert_eq!(runs.len(), RUNS * patterns.len(), "every file ran at every tick");
    assert!(runs.iter().all(|(.., run)| run.error.is_none()), "and found what there is");

    let off = appended(&spans, 1_000).await;
    clock.advance(INTERVAL);
    let ticking = tokio::spawn(async move {
        loop {
            while miner.turn().await.expect("the disk takes it").is_zero() {}
            clock.advance(INTERVAL);
        }
    });
    let during = appended(&spans, 2_000).await;
    ticking.abort();
    spans.close().await.expect("the store closes");
    Ticked { tick_s: median(ticks), alone_s: median(alone), off, during }
}

fn ask(pattern: &Pattern, t_ns: i64, cut_us: i64) -> Ask {
    let window_ns = i64::try_from(pattern.window.as_nanos()).expect("at most 90 days");
    Ask {
        sql: pattern.sql.clone(),
        window_ns: (t_ns - window_ns, t_ns),
        is_explicit: pattern.is_explicit,
        include_pipeline_spans: pattern.include_pipeline_spans,
        cut_us,
    }
}

/// Spans acknowledged a second.
async fn appended(spans: &Store, first: usize) -> f64 {
    let deliveries = deliveries(first, APPENDED);
    let started = Instant::now();
    store::fill(spans, deliveries).await;
    rate(APPENDED, started.elapsed())
}

#[allow(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
fn rate(count: usize, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

struct Followed {
    /// Events a second.
    taken: f64,
    committed: f64,
    level_ms: f64,
    behind_ms: f64,
}

/// Events of the engine's journal from number `first` on: of each run one in a hundred is a try.
fn events(first: usize, count: usize) -> impl Iterator<Item = EngineEvent> {
    (first..first + count).map(|number| {
        let (run, step) = (number / EVENTS_OF_RUN, number % EVENTS_OF_RUN);
        let key = i64::try_from(run).expect("below the bound of keys");
        let fact = match step {
            0 => EngineFact::RunStarted {
                run: key,
                gate: "span_completeness".to_owned(),
                key: format!("service_name=service-{}", run % SERVICES),
                episode: run as u64,
                pipeline: "regenerate".to_owned(),
            },
            step if step % 100 == 50 => EngineFact::Generated {
                run: key,
                effect_key: format!("{number:026}"),
                target: "instrumentation".to_owned(),
                variant: format!("variant-{}", step / 100),
                mode: CodegenMode::Stage,
            },
            step if step % 100 == 60 => EngineFact::Judged { run: key, value: Some(0.5) },
            step if step == EVENTS_OF_RUN - 1 => EngineFact::RunEnded { run: key, how: RunEnd::Failed },
            _ => EngineFact::Other,
        };
        let at_ns = i64::try_from(number).expect("a million") * 1_000_000;
        EngineEvent { sequence: number as u64 + 1, at_ns, fact }
    })
}

async fn feedback() -> Followed {
    let (dir, clock) = (folder(), Clock::os());
    let all = Arc::new(Mutex::new(events(0, EVENTS).collect::<Vec<_>>()));
    let (of_head, of_page) = (all.clone(), all.clone());
    let engine = EngineEvents::new(
        move || {
            let sequence = of_head.lock().expect("nobody panics").len() as u64;
            Ok(EngineHead { sequence, ..EngineHead::default() })
        },
        move |from, limit| {
            let events = of_page.lock().expect("nobody panics");
            let first = usize::try_from(from).unwrap_or(usize::MAX).saturating_sub(1).min(events.len());
            let last = first.saturating_add(limit).min(events.len());
            Ok(Page { events: events[first..last].to_vec(), first_kept: 1 })
        },
    );
    let file = journal(dir.path(), &clock);
    let follower = Follower::new(file.clone(), engine, GateFacts::none(), metrics());
    let (level, started) = (follower.clone(), Instant::now());
    let caught_up = tokio::task::spawn_blocking(move || level.catch_up()).await.expect("it does not panic");
    caught_up.expect("the disk takes it");
    let taken = rate(EVENTS, started.elapsed());
    assert_eq!(file.feedback().expect("the file can be read").len(), EVENTS / 100, "a row a try");
    let committed = committed(dir.path()).await;

    let (spans, _, _spans_dir) = store::open().await;
    let query = query::Config { threads: 2, ..query::Config::default() };
    let (resources, registry) = (query::gateway::Resources::default(), Registry::new());
    let relations = tables::tables(Some(&file), Some(&follower));
    let gateway = Gateway::with(spans.reader(), query, resources, relations, clock, &registry).expect("threads");
    let (mut level, mut behind) = (Vec::new(), Vec::new());
    scan(&gateway).await;
    for round in 0..RUNS {
        level.push(scan(&gateway).await);
        all.lock().expect("nobody panics").extend(events(EVENTS + round * BEHIND, BEHIND));
        behind.push(scan(&gateway).await);
    }
    spans.close().await.expect("the store closes");
    Followed { taken, committed, level_ms: median(level), behind_ms: median(behind) }
}

/// Milliseconds of a statement over all rows of `feedback`.
async fn scan(gateway: &Gateway) -> f64 {
    let started = Instant::now();
    let statement = Statement::new("SELECT variant, count(*), count(outcome) FROM feedback GROUP BY 1");
    let rows = gateway.run(statement).await.expect("it runs").collect().await.expect("it runs");
    assert!(!rows.is_empty());
    started.elapsed().as_secs_f64() * 1e3
}

/// Events a second that an engine on a file commits while runs of five tasks go through it.
async fn committed(dir: &Path) -> f64 {
    let done = |_, _| -> futures::future::BoxFuture<'static, Outcome> {
        Box::pin(async { Outcome::Completed(serde_json::Map::new()) })
    };
    let jobs = Jobs {
        run: Arc::new(done),
        render: Arc::new(|text, _| Ok(text.to_owned())),
        on_unknown: Arc::new(|_, _| OnUnknown::Retry),
        limits: BTreeMap::from([("sql".to_owned(), AT_ONCE)]),
    };
    let path = Some(dir.join("engine.redb"));
    let config = engine::Config { path, jobs, registry: bpmn::lint::Registry::default() };
    let engine = Engine::open(config, Clock::os()).expect("an empty folder");
    let file = SourceFile { name: "bench.bpmn".to_owned(), bytes: process().into_bytes() };
    engine.deploy(vec![file], None, None).await.expect("it is good");
    let mut commits = engine.subscribe();
    let (started, mut events, mut ended, mut begun) = (Instant::now(), 0_usize, 0, 0);
    while ended < ENGINE_RUNS {
        while begun < ENGINE_RUNS && begun < ended + AT_ONCE {
            begun += 1;
            let engine = engine.clone();
            let (process, variables) = ("bench".to_owned(), BTreeMap::new());
            let start = Action::Start { process, version: None, start: None, variables };
            tokio::spawn(async move { engine.submit(start, None, None).await.expect("it is deployed") });
        }
        let commit = commits.recv().await.expect("the commits are read as they come");
        events += commit.len();
        ended += commit.iter().filter(|event| matches!(event.body, Body::InstanceCompleted { .. })).count();
    }
    let committed = rate(events, started.elapsed());
    engine.stop();
    committed
}

/// Five tasks one after the other.
fn process() -> String {
    let task = |at: usize| {
        format!(
            "<serviceTask id=\"t{at}\"><extensionElements><zeebe:taskDefinition type=\"sql\"/><zeebe:taskHeaders>\
             <zeebe:header key=\"query\" value=\"SELECT 1\"/></zeebe:taskHeaders></extensionElements></serviceTask>"
        )
    };
    let flow = |at: usize| {
        let from = if at == 0 { "start".to_owned() } else { format!("t{}", at - 1) };
        let to = if at == TASKS { "end".to_owned() } else { format!("t{at}") };
        format!("<sequenceFlow id=\"f{at}\" sourceRef=\"{from}\" targetRef=\"{to}\"/>")
    };
    let tasks: String = (0..TASKS).map(task).collect();
    let flows: String = (0..=TASKS).map(flow).collect();
    format!(
        "<definitions xmlns=\"http://www.omg.org/spec/BPMN/20100524/MODEL\" \
         xmlns:zeebe=\"http://camunda.org/schema/zeebe/1.0\" targetNamespace=\"t\"><process id=\"bench\" \
         isExecutable=\"true\"><startEvent id=\"start\"/>{tasks}<endEvent id=\"end\"/>{flows}</process></definitions>"
    )
}
