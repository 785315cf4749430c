//! Claims about the whole module through the real engine: tables, choice, and the task.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;

use super::feedback::{EpisodeEnd, EpisodeFacts, RunEnd};
use super::patterns::fold::{self, Thresholds};
use super::patterns::{Pattern, rows};
use super::sources::{CodegenMode, EngineEvent, EngineFact, EngineHead, Page};
use super::task::Miner;
use super::*;
use crate::clock::Clock;
use crate::query::gateway::{Resources, Shape};
use crate::query::params::Params;
use crate::query::render::value::text;
use crate::query::tests::fixture::{Fill, NOW, reader};
use crate::query::{self, Gateway, Limits, Statement};

mod oracle;
mod replaced;
mod variants;

const S: i64 = 1_000_000_000;

fn metrics() -> Metrics {
    Metrics::register(&prometheus::Registry::new()).unwrap()
}

fn gateway(tables: Vec<(String, Arc<dyn TableProvider>)>) -> Gateway {
    let config = query::Config { threads: 2, ..query::Config::default() };
    let reader = reader(&Fill::new().view());
    let registry = prometheus::Registry::new();
    Gateway::with(reader, config, Resources::default(), tables, Clock::manual(NOW, 7), &registry).unwrap()
}

async fn ask(gateway: &Gateway, sql: &str, params: Params) -> Result<Vec<Vec<String>>, query::Error> {
    let limits = Limits::default();
    let statement = Statement { sql: sql.to_owned(), params, limits, shape: Shape::Arrow, ..Statement::default() };
    let mut rows = Vec::new();
    for batch in gateway.run(statement).await?.collect().await? {
        for row in 0..batch.num_rows() {
            let cells = batch.columns().iter().map(|column| text(column, row).unwrap().unwrap_or("∅".to_owned()));
            rows.push(cells.collect());
        }
    }
    Ok(rows)
}

/// An engine's journal that grows.
#[derive(Clone, Default)]
struct Engine(Arc<Mutex<Vec<EngineEvent>>>);

impl Engine {
    fn happens(&self, at_s: i64, fact: EngineFact) {
        let mut events = self.0.lock().unwrap();
        let sequence = events.len() as u64 + 1;
        events.push(EngineEvent { sequence, at_ns: at_s * S, fact });
    }

    fn handle(&self) -> EngineEvents {
        self.handle_of([1; 16])
    }

    fn handle_of(&self, id: [u8; 16]) -> EngineEvents {
        let (head, all) = (self.0.clone(), self.0.clone());
        EngineEvents::new(
            move || {
                let events = head.lock().unwrap();
                let at_ns = events.last().map_or(0, |event| event.at_ns);
                Ok(EngineHead { id, sequence: events.len() as u64, at_ns })
            },
            move |from, limit| {
                let events = all.lock().unwrap();
                let page = events.iter().filter(|event| event.sequence >= from).take(limit).cloned();
                Ok(Page { events: page.collect(), first_kept: 1 })
            },
        )
    }
}

fn start(run: i64) -> EngineFact {
    let (gate, key, pipeline) = ("g".to_owned(), "k=v".to_owned(), "repair".to_owned());
    EngineFact::RunStarted { run, gate, key, episode: 1, pipeline }
}

fn code(run: i64, effect: &str, variant: &str) -> EngineFact {
    let (effect_key, target, variant) = (effect.to_owned(), "go".to_owned(), variant.to_owned());
    EngineFact::Generated { run, effect_key, target, variant, mode: CodegenMode::Stage }
}

struct House {
    learn: Learn,
    engine: Engine,
    metrics: Metrics,
    _dir: tempfile::TempDir,
}

fn house(gates: GateFacts) -> House {
    let dir = tempfile::tempdir().unwrap();
    let engine = Engine::default();
    let parts = parts(dir.path(), &engine, gates);
    let metrics = parts.metrics.clone();
    House { learn: Learn::open(parts).unwrap(), engine, metrics, _dir: dir }
}

fn parts(dir: &std::path::Path, engine: &Engine, gates: GateFacts) -> Parts {
    Parts {
        config: Config::default(),
        path: dir.join("learn.redb"),
        quarantine: dir.join("quarantine"),
        patterns: Vec::new(),
        asker: Asker::new(|_| Box::pin(async { Ok(Vec::new()) })),
        progress: Progress::new(|| Some(1), |_| true),
        engine: engine.handle(),
        gates,
        clock: Clock::manual(NOW, 7),
        metrics: metrics(),
    }
}

#[tokio::test]
async fn the_tables_have_the_columns_of_the_specification_in_their_order() {
    let house = house(GateFacts::none());
    let gateway = gateway(house.learn.tables());
    let sql = "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'NAME' ORDER BY ordinal_position";
    let columns = |rows: Vec<Vec<String>>| rows.iter().map(|row| row.join(" ")).collect::<Vec<_>>().join(", ");
    let got = columns(ask(&gateway, &sql.replace("NAME", "learned_patterns"), Params::None).await.unwrap());
    assert_eq!(
        got,
        "pattern TEXT, key TEXT, support BIGINT, effect DOUBLE, first_seen TIMESTAMP(9), last_seen TIMESTAMP(9), trace_ids \
         LIST<BINARY(16)>, effect_kind TEXT, effect_low DOUBLE, effect_high DOUBLE, n BIGINT, rest_support BIGINT, rest_n \
         BIGINT, windows BIGINT, window_start TIMESTAMP(9), window_end TIMESTAMP(9), cut TIMESTAMP(6), labels TEXT, evidence \
         TEXT, expires_at TIMESTAMP(9)"
    );
    let got = columns(ask(&gateway, &sql.replace("NAME", "feedback"), Params::None).await.unwrap());
    assert_eq!(
        got,
        "gate TEXT, key TEXT, episode BIGINT, pipeline TEXT, run BIGINT, target TEXT, variant TEXT, value_before DOUBLE, \
         value_after DOUBLE, outcome TEXT, seconds DOUBLE, at TIMESTAMP(9)"
    );
}

#[tokio::test]
async fn a_statement_right_after_a_try_sees_it() {
    let gates = GateFacts::new(
        || Ok(1),
        |wanted| {
            let ended = Some(EpisodeEnd { t_ns: 30 * S, is_passed: true });
            let facts = EpisodeFacts { value_before: Some(Some(0.25)), ended, known_until_ns: i64::MAX, verdict: None };
            Ok(vec![facts; wanted.len()])
        },
    );
    let house = house(gates);
    let gateway = gateway(house.learn.tables());
    let sql = "SELECT run, variant, value_before, outcome, seconds FROM feedback ORDER BY at";
    house.engine.happens(10, start(7));
    for (at_s, effect, variant) in [(11, "e1", "a"), (14, "e2", "b")] {
        house.engine.happens(at_s, code(7, effect, variant));
        let rows = ask(&gateway, sql, Params::None).await.unwrap();
        assert_eq!(rows.last().unwrap().join(" "), format!("7 {variant} 0.25 ∅ ∅"));
    }
    house.engine.happens(20, EngineFact::RunEnded { run: 7, how: RunEnd::Completed });
    let rows: Vec<_> = ask(&gateway, sql, Params::None).await.unwrap().iter().map(|row| row.join(" ")).collect();
    assert_eq!(rows, ["7 a 0.25 not_better 3", "7 b 0.25 recovered 16"]);
}

#[tokio::test]
async fn a_statement_that_cannot_be_level_with_the_journals_says_to_try_again() {
    let house = house(GateFacts::new(|| Err("gates.redb is busy".to_owned()), |_| Ok(vec![])));
    let error = ask(&gateway(house.learn.tables()), "SELECT * FROM feedback", Params::None).await.unwrap_err();
    assert!(error.class().is_retryable() && error.message.contains("gates.redb is busy"), "{error:?}");
}

#[test]
fn scans_that_wait_in_vain_leave_one_thread_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(2).enable_all().build().unwrap();
    let (release, held) = std::sync::mpsc::channel::<()>();
    let held = Mutex::new(held);
    let gates = GateFacts::new(
        move || {
            let _ = held.lock().unwrap().recv();
            Ok(0)
        },
        |_| Ok(vec![]),
    );
    let house = house(gates);
    let follower = house.learn.follower().unwrap();
    runtime.block_on(async {
        for _ in 0..3 {
            let waited = tokio::time::timeout(Duration::from_millis(50), follower.level()).await;
            assert!(waited.is_err(), "{waited:?}");
        }
        let other = tokio::time::timeout(Duration::from_secs(20), tokio::task::spawn_blocking(|| 7)).await;
        // Before the runtime is dropped, which waits for its threads.
        drop(release);
        assert_eq!(other.expect("the other thread is free").unwrap(), 7);
        follower.level().await.unwrap();
    });
}

#[tokio::test]
async fn an_engine_that_lost_events_is_told() {
    let house = house(GateFacts::none());
    house.engine.happens(10, start(7));
    let follower = follow::Follower::new(
        house.learn.follower().unwrap().journal().clone(),
        EngineEvents::new(
            || Ok(EngineHead { sequence: 9, ..EngineHead::default() }),
            |from, _| {
                let event = |sequence| EngineEvent { sequence, at_ns: 1, fact: EngineFact::Other };
                Ok(Page { events: (from.max(6)..=9).map(event).collect(), first_kept: 6 })
            },
        ),
        GateFacts::none(),
        house.metrics.clone(),
    );
    follower.catch_up().unwrap();
    assert_eq!(house.metrics.lost_events.get(), 5);
    assert!(house.metrics.degraded()[0].contains("5 events"), "{:?}", house.metrics.degraded());
}

fn pattern(name: &str, every_s: u64) -> Pattern {
    Pattern {
        name: name.to_owned(),
        path: String::new(),
        sql: "SELECT 1".to_owned(),
        about: "x".to_owned(),
        by: vec!["k".to_owned()],
        every: Duration::from_secs(every_s),
        window: Duration::from_secs(60),
        thresholds: Thresholds { min_support: 1, min_effect: None, limit: 10 },
        expire: Duration::from_secs(120),
        include_pipeline_spans: false,
        is_explicit: false,
    }
}

/// What the statement gives in a window: keys by the window's end and the cut.
fn result(window_end_ns: i64, cut_us: i64) -> RecordBatch {
    let tick = window_end_ns / S / 30;
    let keys: Vec<String> = (0..tick % 4).map(|i| format!("k{}", (i + tick) % 5)).collect();
    let counts = Int64Array::from(vec![cut_us % 7 + 1; keys.len()]);
    let fields = ["k", "support", "n"]
        .map(|name| Field::new(name, if name == "k" { DataType::Utf8 } else { DataType::Int64 }, true));
    let columns: Vec<arrow::array::ArrayRef> =
        vec![Arc::new(StringArray::from(keys)), Arc::new(counts.clone()), Arc::new(counts)];
    RecordBatch::try_new(Arc::new(Schema::new(fields.to_vec())), columns).unwrap()
}

struct Mine {
    miner: Miner,
    journal: Journal,
    clock: Clock,
    /// Seconds that a statement takes which says so.
    takes_s: Arc<AtomicU64>,
    fails: Arc<AtomicBool>,
    gates_closed: Arc<AtomicBool>,
    metrics: Metrics,
}

async fn mine(journal: Journal, clock: Clock, patterns: Vec<Pattern>) -> Mine {
    let (fails, gates_closed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(true)));
    let (is_failing, closed, cut) = (fails.clone(), gates_closed.clone(), clock.clone());
    let takes_s = Arc::new(AtomicU64::new(0));
    let (passing, time) = (takes_s.clone(), clock.clone());
    let metrics = metrics();
    let parts = Parts {
        config: Config::default(),
        path: std::path::PathBuf::new(),
        quarantine: std::path::PathBuf::new(),
        patterns,
        asker: Asker::new(move |ask| {
            if ask.sql.contains("slow") {
                time.advance(Duration::from_secs(passing.load(Ordering::SeqCst)));
            }
            let outcome = match is_failing.load(Ordering::SeqCst) {
                true => Err("it broke".to_owned()),
                false => Ok(vec![result(ask.window_ns.1, ask.cut_us)]),
            };
            Box::pin(async move { outcome })
        }),
        progress: Progress::new(move || Some(cut.now_us()), move |_| closed.load(Ordering::SeqCst)),
        engine: EngineEvents::none(),
        gates: GateFacts::none(),
        clock: clock.clone(),
        metrics: metrics.clone(),
    };
    let miner = Miner::open(parts, journal.clone()).await.unwrap();
    Mine { miner, journal, clock, takes_s, fails, gates_closed, metrics }
}

impl Mine {
    /// Runs all that is due.
    async fn turns(&mut self) {
        while self.miner.turn().await.unwrap().is_zero() {}
    }

    fn ticks(&self, pattern: &str) -> Vec<String> {
        let runs = self.journal.pattern_runs().unwrap().into_iter().filter(|(name, ..)| name == pattern);
        runs.map(|(_, t_ns, run)| format!("{}:{}", t_ns / S, run.state.as_str())).collect()
    }
}

fn journal(dir: &tempfile::TempDir) -> Journal {
    let path = dir.path().join("learn.redb");
    Journal::open(&path, dir.path(), &Clock::manual(1, 1)).unwrap().journal
}

#[tokio::test]
async fn a_tick_runs_once_m_is_an_offset_past_it_and_after_the_gates_of_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let mut mine = mine(journal(&dir), Clock::manual(600 * S, 1), vec![pattern("p", 30), pattern("q", 60)]).await;
    mine.turns().await;
    assert_eq!(mine.ticks("p"), Vec::<String>::new());
    mine.clock.advance(Duration::from_secs(20));
    mine.gates_closed.store(false, Ordering::SeqCst);
    mine.turns().await;
    assert_eq!(mine.ticks("p"), Vec::<String>::new());
    mine.gates_closed.store(true, Ordering::SeqCst);
    mine.turns().await;
    assert_eq!((mine.ticks("p"), mine.ticks("q")), (vec!["600:done".to_owned()], vec!["600:done".to_owned()]));
    let cuts: BTreeSet<_> = mine.journal.pattern_runs().unwrap().into_iter().map(|(_, _, run)| run.cut_us).collect();
    assert_eq!(cuts.len(), 1, "files due together see one cut");
}

#[tokio::test]
async fn after_a_restart_the_last_four_ticks_run_and_older_ones_are_missed() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(630 * S, 1);
    let mut first = mine(journal(&dir), clock.clone(), vec![pattern("p", 30)]).await;
    clock.advance(Duration::from_secs(25));
    first.turns().await;
    drop(first);
    clock.advance(Duration::from_secs(300));
    let mut again = mine(journal(&dir), clock, vec![pattern("p", 30)]).await;
    again.turns().await;
    assert_eq!(again.ticks("p"), ["630:done", "810:missed", "840:done", "870:done", "900:done", "930:done"]);
    let missed = again.journal.pattern_runs().unwrap().into_iter().find(|(_, t_ns, _)| *t_ns == 810 * S).unwrap().2;
    assert_eq!((missed.missed_from_ns, missed.error.as_deref()), (Some(660 * S), Some("overrun")));
}

#[tokio::test]
async fn four_failures_in_a_row_degrade_health_and_leave_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let mut mine = mine(journal(&dir), Clock::manual(610 * S, 1), vec![pattern("p", 30)]).await;
    mine.clock.advance(Duration::from_secs(40));
    mine.turns().await;
    let rows = mine.journal.pattern_rows().unwrap();
    assert!(!rows.is_empty());
    mine.fails.store(true, Ordering::SeqCst);
    for failures in 1..=4 {
        assert_eq!(mine.metrics.degraded(), Vec::<String>::new(), "{failures}");
        mine.clock.advance(Duration::from_secs(30));
        mine.turns().await;
    }
    assert!(mine.metrics.degraded()[0].contains("`p` failed 4 times in a row: it broke"));
    assert_eq!(mine.journal.pattern_rows().unwrap(), rows);
    mine.fails.store(false, Ordering::SeqCst);
    mine.clock.advance(Duration::from_secs(30));
    mine.turns().await;
    assert_eq!(mine.metrics.degraded(), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_runs_for_more_than_a_tenth_of_the_time_misses_ticks_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let slow = Pattern { sql: "SELECT slow".to_owned(), ..pattern("p", 30) };
    let mut mine = mine(journal(&dir), Clock::manual(610 * S, 1), vec![slow, pattern("q", 30)]).await;
    // 3 s are a tenth of 30 s, 7 s of 70 s; what seems longer than the longest run, of 30 s, counts as that.
    for (until_s, takes_s) in [(655, 3), (685, 7), (775, 3), (805, 40), (1105, 0)] {
        mine.takes_s.store(takes_s, Ordering::SeqCst);
        while mine.clock.now_ns() < until_s * S {
            mine.clock.advance(Duration::from_secs(1));
            mine.turns().await;
        }
    }
    let states = |from_s: i64, to_s: i64, state: &str| -> Vec<String> {
        (from_s..=to_s).step_by(30).map(|t_s| format!("{t_s}:{state}")).collect()
    };
    let of_slow = [
        states(600, 660, "done"),
        states(690, 720, "missed"),
        states(750, 780, "done"),
        states(810, 1050, "missed"),
        states(1080, 1080, "done"),
    ];
    assert_eq!(mine.ticks("p"), of_slow.concat());
    assert_eq!(mine.ticks("q"), states(600, 1080, "done"));
    assert_eq!(mine.metrics.runs.with_label_values(&["p", "missed"]).get(), 11);
    let mut runs = mine.journal.pattern_runs().unwrap().into_iter();
    let (.., missed) = runs.find(|(name, t_ns, _)| name == "p" && *t_ns == 690 * S).unwrap();
    assert_eq!((missed.error.as_deref(), missed.missed_from_ns), (Some("overrun"), Some(690 * S)));
}

#[tokio::test]
async fn learned_patterns_are_the_committed_ticks_folded_again() {
    for steps in [[30, 30, 30, 30, 30, 30, 30, 30], [7, 50, 3, 90, 31, 200, 30, 12], [600, 1, 30, 29, 2, 60, 60, 500]] {
        let dir = tempfile::tempdir().unwrap();
        let files = vec![pattern("p", 30), pattern("q", 60)];
        let clock = Clock::manual(605 * S, 1);
        let mut mine = mine(journal(&dir), clock, files.clone()).await;
        for step in steps {
            mine.clock.advance(Duration::from_secs(step));
            mine.turns().await;
        }
        let mut wanted = Vec::new();
        for file in &files {
            let mut known = BTreeMap::new();
            for (name, t_ns, run) in mine.journal.pattern_runs().unwrap() {
                if let Some(cut_us) = run.cut_us.filter(|_| name == file.name) {
                    let seen = rows::read(&file.by, &[result(t_ns, cut_us)]).unwrap();
                    let window_start_ns = t_ns - 60 * S;
                    let tick = fold::Tick { t_ns, window_start_ns, cut_us, expire_ns: 120 * S };
                    fold::fold(&mut known, fold::select(seen, file.thresholds), tick);
                }
            }
            wanted.extend(known.into_values().map(|row| (file.name.clone(), row)));
        }
        assert!(!wanted.is_empty());
        assert_eq!(mine.journal.pattern_rows().unwrap(), wanted, "{steps:?}");
    }
}

#[tokio::test]
async fn switched_off_it_opens_no_file_and_its_tables_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("learn.redb");
    let parts = Parts {
        config: Config { enabled: false, ..Config::default() },
        path: path.clone(),
        quarantine: dir.path().to_owned(),
        patterns: vec![pattern("p", 30)],
        asker: Asker::new(|_| Box::pin(async { Ok(Vec::new()) })),
        progress: Progress::new(|| Some(1), |_| true),
        engine: EngineEvents::none(),
        gates: GateFacts::none(),
        clock: Clock::manual(NOW, 7),
        metrics: metrics(),
    };
    let learn = Learn::open(parts).unwrap();
    let gateway = gateway(learn.tables());
    for (table, learner) in [("learned_patterns", "patterns"), ("feedback", "feedback"), ("learn_runs", "patterns")] {
        assert_eq!(ask(&gateway, &format!("SELECT count(*) FROM {table}"), Params::None).await.unwrap(), [["0"]]);
        let twice = format!(
            "SELECT key FROM (SELECT 1 AS key) WHERE key IN (SELECT 1 FROM {table} UNION ALL SELECT 2 FROM {table})"
        );
        for sql in [format!("SELECT * FROM {table} AS t"), twice] {
            let notices = gateway.run(Statement::new(sql)).await.unwrap().notices;
            let said = format!(
                "`{table}` is empty because learning is off: it needs `learn.enabled: true` and `learn.learners.{learner}: on`"
            );
            assert_eq!(notices, [said]);
        }
    }
    assert_eq!(gateway.run(Statement::new("SELECT 1")).await.unwrap().notices, Vec::<String>::new());
    assert!(!path.exists());
}

#[tokio::test]
async fn it_follows_by_itself_and_stops_when_told() {
    let house = house(GateFacts::none());
    let journal = house.learn.follower().unwrap().journal().clone();
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(house.learn.run(stop.clone()));
    house.engine.happens(10, start(7));
    house.engine.happens(11, code(7, "e1", "a"));
    let until = tokio::time::Instant::now() + Duration::from_secs(20);
    while journal.cursors().unwrap().engine < 2 {
        assert!(tokio::time::Instant::now() < until, "it does not follow");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(journal.feedback().unwrap().len(), 1);
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_a_shipped_file_finds_is_read_by_sql_with_its_interval() {
    use super::patterns::{Planner, Request, load, run};
    use crate::query::tests::fixture::Span;
    let at = |id: u64, second: i64, name| Span {
        start: NOW + second * S,
        duration: 1,
        name,
        ..Span::new(u128::from(id), id)
    };
    let view = Fill::new().memory(&[at(1, -600, "old"), at(2, 5, "old"), at(3, 6, "new")]).view();
    let config = Config::default();
    let patterns = load(&Request { config: &config, queries_dir: None, retention: None }, &Planner::default()).patterns;
    let query = query::Config { threads: 2, ..query::Config::default() };
    let clock = Clock::manual(NOW, 7);
    let statements = run::gateway(reader(&view), &query, 1 << 30, None, Vec::new(), clock.clone()).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = journal(&dir);
    let parts = Parts {
        config,
        path: dir.path().join("learn.redb"),
        quarantine: dir.path().to_owned(),
        patterns,
        asker: run::asker(statements),
        progress: Progress::new(|| Some(i64::MAX / 1_000), |_| true),
        engine: EngineEvents::none(),
        gates: GateFacts::none(),
        clock: clock.clone(),
        metrics: metrics(),
    };
    let mut miner = Miner::open(parts, file.clone()).await.unwrap();
    // The tick 10 s behind NOW closes; the next one is 30 s later.
    clock.advance(Duration::from_secs(35));
    while miner.turn().await.unwrap().is_zero() {}
    let gateway = gateway(tables::tables(Some(&file), None));
    let sql = "SELECT pattern, key, support, n, effect, effect_kind, effect_low < effect AND effect < effect_high, \
               hex(trace_ids[1]), windows, labels, evidence, expires_at = last_seen + INTERVAL '7 days' FROM learned_patterns";
    let rows: Vec<_> = ask(&gateway, sql, Params::None).await.unwrap().iter().map(|row| row.join(" ")).collect();
    assert_eq!(
        rows,
        ["new_operation operation=new,service_name=shop 1 2 0.5 share true 00000000000000000000000000000003 1 \
         {\"operation\":\"new\",\"service_name\":\"shop\"} {} true"]
    );
    let runs = "SELECT pattern, state, rows FROM learn_runs ORDER BY pattern, tick";
    let runs: Vec<_> = ask(&gateway, runs, Params::None).await.unwrap().iter().map(|row| row.join(" ")).collect();
    assert!(runs.contains(&"error_hotspot done 0".to_owned()), "{runs:?}");
}
