//! Runs of gates over a store: which rows count, and what comes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::super::definition::{Comparison, EventTime, Gate, Source, Test};
use super::super::journal::{Batch, TickOf, TickRow};
use super::super::load::Loaded;
use super::super::result::{Ask, ResultRow, RunError, Selection, Window};
use super::super::run::{gateway, params, run as run_prepared, within as within_of};
use super::super::schema::empty_tables;
use super::super::{Config, Journal, Planner, exemplars, rows, run::runner, tables};
use super::{load_files, load_text, load_text_by, said};
use crate::clock::Clock;
use crate::query::gateway::Shape;
use crate::query::tests::fixture::{Fill, NOW, Promotions, Span, reader};
use crate::query::{self, Gateway, Prepared, Statement, Within};
use crate::span::TraceId;
use crate::span::pinned::ScalarType;
use crate::store::View;

const S: i64 = 1_000_000_000;

pub(super) fn over(view: &View) -> Gateway {
    let query = query::Config { threads: 2, ..query::Config::default() };
    gateway(reader(view), &query, &Config::default(), Vec::new(), Clock::manual(NOW, 7)).unwrap()
}

pub(super) fn only_gate(loaded: &Loaded) -> Gate {
    assert!(!loaded.has_errors(), "{}", said(loaded));
    loaded.groups[0].gates[0].clone()
}

/// A gate over `sql` and more keys.
fn gate(sql: &str, more: &str) -> Gate {
    let sql = serde_json::to_string(sql).unwrap();
    only_gate(&load_text(&format!(
        "groups: [{{name: g, gates: [{{gate: a, sql: {sql}, window: 1m, pass: \"> 0\"{more}}}]}}]"
    )))
}

pub(super) fn ask(gate: &Gate, start_ns: i64, end_ns: i64) -> Ask {
    Ask {
        gate: Arc::new(gate.clone()),
        window: Window { start_ns, end_ns },
        cut_us: i64::MAX / 1_000,
        spans: Selection::OfGate,
    }
}

/// Planned for this run, as its very first.
pub(super) async fn run(gateway: &Gateway, ask: &Ask) -> Result<Vec<ResultRow>, RunError> {
    run_prepared(gateway, ask, &Prepared::default()).await
}

/// The one number of a gate without keys.
async fn value(gateway: &Gateway, ask: &Ask) -> Option<f64> {
    let rows = run(gateway, ask).await.unwrap();
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].value
}

fn key(row: &ResultRow, name: &str) -> String {
    row.key[name].clone()
}

#[tokio::test]
async fn the_founding_query_gives_completeness_as_computed_by_hand() {
    let span =
        |trace: u128, service, semconv| Span { service, semconv, ..Span::new(trace, u64::try_from(trace).unwrap()) };
    let spans = [
        // cart: 3 + 1 + 0 of 4 + 2 + 0 required are there; 3 of 4 spans match; 0 of the 2 that require something are whole.
        span(1, "cart", Some(("http.server", 3, 4))),
        span(2, "cart", Some(("http.server", 1, 2))),
        span(3, "cart", Some(("plain", 0, 0))),
        span(4, "cart", None),
        // pay: all of 5.
        span(5, "pay", Some(("http.server", 5, 5))),
        // mail: nothing matches.
        span(6, "mail", None),
    ];
    let view = Fill::new().part(&spans, &Promotions::new(), 100).await.view();
    let mut founding = load_files(&["builtin:founding".to_owned()], None);
    founding.groups.truncate(1);
    let gate = only_gate(&founding);
    let mut rows = run(&over(&view), &ask(&gate, NOW, NOW + 60 * S)).await.unwrap();
    rows.sort_by_key(|row| key(row, "service_name"));
    let [cart, mail, pay] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((key(cart, "service_name").as_str(), cart.value, cart.n), ("cart", Some(4.0 / 6.0), Some(3)));
    assert_eq!((cart.evidence["match_rate"].as_f64(), cart.evidence["strict"].as_f64()), (Some(0.75), Some(0.0)));
    assert_eq!(cart.trace_ids, [TraceId(1_u128.to_be_bytes()), TraceId(2_u128.to_be_bytes())]);
    assert_eq!((key(pay, "service_name").as_str(), pay.value, pay.n), ("pay", Some(1.0), Some(1)));
    assert_eq!(pay.trace_ids, []);
    assert_eq!((key(mail, "service_name").as_str(), mail.value, mail.n), ("mail", None, Some(0)));
    assert_eq!((mail.evidence["match_rate"].as_f64(), mail.evidence["strict"].is_null()), (Some(0.0), true));
}

#[tokio::test]
async fn the_implicit_window_is_half_open_over_event_time_in_memory_and_parts() {
    let at = |trace: u128, start: i64, duration: i64| Span { start: NOW + start, duration, ..Span::new(trace, 1) };
    let spans = [at(1, -10, 10), at(2, 0, 5 * S), at(3, 0, 10 * S), at(4, 9 * S, S - 1), at(5, -5 * S, 4 * S)];
    let memory = Fill::new().memory(&spans).view();
    let parts = Fill::new().part(&spans, &Promotions::new(), 2).await.view();
    for view in [memory, parts] {
        let gateway = over(&view);
        let counted = |more: &'static str| gate("SELECT count(*) AS value FROM spans", more);
        // Ends: NOW, +5, +10, +10 − 1 ns, −1.
        assert_eq!(value(&gateway, &ask(&counted(""), NOW, NOW + 10 * S)).await, Some(3.0));
        assert_eq!(value(&gateway, &ask(&counted(""), NOW + 1, NOW + 10 * S + 1)).await, Some(3.0));
        // Starts: −10 ns, 0, 0, 9, −5.
        assert_eq!(value(&gateway, &ask(&counted(", time: start"), NOW, NOW + 9 * S)).await, Some(2.0));
        // The relations over spans see the same rows.
        let traces = gate("SELECT count(*) AS value, (SELECT count(*) FROM span_events) AS n FROM traces", "");
        assert_eq!(value(&gateway, &ask(&traces, NOW, NOW + 10 * S)).await, Some(3.0));
        // A query that names the window bounds itself.
        let explicit = gate(
            "SELECT count(*) AS value, $gate AS g FROM spans WHERE end_time >= $window_start - INTERVAL '2 seconds' \
             AND end_time < $window_end",
            "",
        );
        let rows = run(&gateway, &ask(&explicit, NOW, NOW + 10 * S)).await.unwrap();
        assert_eq!((rows[0].value, rows[0].evidence["g"].as_str()), (Some(4.0), Some("a")));
    }
}

#[tokio::test]
async fn ticks_of_derived_gates_are_not_seen_also_where_a_query_bounds_its_window() {
    let journal = Journal::in_memory().unwrap();
    let tick = |is_derived| {
        let of = TickOf { group: "g".to_owned(), gates: 1, is_derived };
        TickRow { of: Some(of), ..TickRow::default() }
    };
    let ticks = [("f;g", tick(false)), ("f;g;derived", tick(true))];
    let ticks = ticks.map(|(group, row)| ((group.to_owned(), NOW + S), row)).into();
    journal.commit(&Batch { ticks, ..Batch::default() }, NOW + S).unwrap();
    let query = query::Config { threads: 2, ..query::Config::default() };
    let view = Fill::new().view();
    let (tables, clock) = (tables(Some(&journal)), Clock::manual(NOW, 7));
    let gateway = gateway(reader(&view), &query, &Config::default(), tables, clock).unwrap();
    let whole = "SELECT count(*) AS value FROM gate_ticks";
    let bounded = format!("{whole} WHERE tick > $window_start AND tick <= $window_end");
    let planner = Planner::new(query::Config::default(), empty_tables());
    for sql in [whole, bounded.as_str()] {
        let text = format!("groups: [{{name: g, gates: [{{gate: a, sql: \"{sql}\", window: 1m, pass: \"> 0\"}}]}}]");
        let gate = only_gate(&load_text_by(&text, &planner));
        assert_eq!(gate.source.explicit_window, sql == bounded);
        assert_eq!(value(&gateway, &ask(&gate, NOW, NOW + 10 * S)).await, Some(1.0), "{sql}");
    }
}

#[tokio::test]
async fn spans_after_the_cut_do_not_count_also_where_a_part_holds_both() {
    let one = |trace| [Span::new(trace, 1)];
    let view = Fill::new().part(&one(1), &Promotions::new(), 10).await.memory(&one(2)).memory(&one(3)).view();
    let first_us = NOW / 1_000 + 1;
    let gate = gate("SELECT count(*) AS value FROM spans", "");
    let gateway = over(&view);
    for (cut_us, want) in [(first_us - 1, 0.0), (first_us, 1.0), (first_us + 1, 2.0), (first_us + 9, 3.0)] {
        let ask = Ask { cut_us, ..ask(&gate, NOW, NOW + S) };
        assert_eq!(value(&gateway, &ask).await, Some(want), "{cut_us}");
        assert_eq!(runner(gateway.clone()).run(ask).await.unwrap()[0].value, Some(want));
    }
}

#[tokio::test]
async fn spans_of_pipelines_and_of_this_daemon_count_only_if_included() {
    let origin = |trace: u128, word: &str| Span::new(trace, 1).with("weavergen.origin", word);
    let mut own = Span::new(4, 1);
    own.resource.push(("weavergen.origin".to_owned(), "self".into()));
    let mut of_run = origin(5, "pipeline");
    of_run.resource.push(("weavergen.run".to_owned(), "r'1".into()));
    let spans = [Span::new(1, 1), origin(2, "pipeline"), origin(3, "else"), own, of_run];
    let memory = Fill::new().memory(&spans).view();
    let promotions = Promotions::from([
        ("attr.weavergen.origin".to_owned(), arrow::datatypes::DataType::Utf8View),
        ("res.weavergen.run".to_owned(), arrow::datatypes::DataType::Utf8View),
    ]);
    let parts = Fill::new().part(&spans, &promotions, 10).await.view();
    for view in [memory, parts] {
        let gateway = over(&view);
        let counted = |more: &'static str| gate("SELECT count(*) AS value FROM spans", more);
        for (more, want) in [
            ("", 2.0),
            (", include_pipeline_spans: true", 4.0),
            (", include_own_spans: true", 3.0),
            (", include_pipeline_spans: true, include_own_spans: true", 5.0),
        ] {
            assert_eq!(value(&gateway, &ask(&counted(more), NOW, NOW + S)).await, Some(want), "{more}");
        }
        for (run, want) in [("r'1", 1.0), ("r", 0.0)] {
            let ask = Ask { spans: Selection::OfRun(run.to_owned()), ..ask(&counted(""), NOW, NOW + S) };
            assert_eq!(value(&gateway, &ask).await, Some(want), "{run}");
        }
    }
}

#[tokio::test]
async fn keys_are_text_and_one_key_has_one_row() {
    let gateway = over(&Fill::new().memory(&[Span::new(0xab, 1), Span { service: "pay", ..Span::new(2, 2) }]).view());
    let by = ", by: [service_name, parent_service, is_entry, flags, trace_id]";
    let all = gate("SELECT service_name, parent_service, is_entry, flags, trace_id, 1 AS value FROM spans", by);
    let mut rows = run(&gateway, &ask(&all, NOW, NOW + S)).await.unwrap();
    rows.sort_by_key(|row| key(row, "service_name"));
    let cells: Vec<&str> = rows[1].key.values().map(String::as_str).collect();
    assert_eq!(cells, ["0", "true", "", "shop", "000000000000000000000000000000ab"]);
    assert_eq!((rows[1].n, rows[1].evidence.len()), (None, 0));
    let twice = gate("SELECT 'x' AS k, 1 AS value FROM spans", ", by: [k]");
    let error = run(&gateway, &ask(&twice, NOW, NOW + S)).await.unwrap_err();
    assert_eq!(error, RunError::DuplicateKey("k=x".to_owned()));
    let none = gate("SELECT service_name AS k, 1 AS value FROM spans", ", by: [k]");
    assert_eq!(run(&gateway, &ask(&none, NOW - S, NOW)).await.unwrap(), []);
}

#[tokio::test]
async fn values_of_every_number_type_are_doubles() {
    let gateway = over(&Fill::new().memory(&[Span::new(1, 1)]).view());
    for (sql, value, n) in [
        ("SELECT true AS value, 3.9 AS n", Some(1.0), Some(3)),
        ("SELECT CAST(2.5 AS DECIMAL(5, 2)) AS value, -1 AS n", Some(2.5), Some(0)),
        ("SELECT NULL AS value, NULL AS n", None, Some(0)),
        ("SELECT CAST(7 AS SMALLINT) AS value, CAST(8 AS DECIMAL(20, 0)) AS n", Some(7.0), Some(8)),
        (
            "SELECT CAST('inf' AS DOUBLE) AS value, 9007199254740993 AS n",
            Some(f64::INFINITY),
            Some(9_007_199_254_740_993),
        ),
    ] {
        let rows = run(&gateway, &ask(&gate(sql, ""), NOW, NOW + S)).await.unwrap();
        assert_eq!((rows[0].value, rows[0].n), (value, n), "{sql}");
    }
}

#[tokio::test]
async fn evidence_is_bounded_and_keeps_what_the_guard_asks_for() {
    let gateway = over(&Fill::new().memory(&[Span::new(1, 1)]).view());
    let sql = "SELECT repeat('x', 8000) AS long, repeat('y', 500) AS more, 0.5 AS share, 1 AS value, [1, 2] AS list";
    let rows = run(&gateway, &ask(&gate(sql, ", conclusive_when: share >= 0.2"), NOW, NOW + S)).await.unwrap();
    let names: Vec<&String> = rows[0].evidence.keys().collect();
    assert_eq!(names, ["list", "long", "share"]);
    assert_eq!(rows[0].evidence["share"].as_f64(), Some(0.5));
    assert!(serde_json::to_string(&rows[0].evidence).unwrap().len() <= 8 << 10);
}

#[tokio::test]
async fn trace_ids_are_the_first_five_without_nulls_and_repeats() {
    let spans: Vec<Span> = (1..=9).map(|trace| Span::new(trace, 1)).collect();
    let gateway = over(&Fill::new().memory(&spans).memory(&spans).view());
    let sql = "SELECT array_agg(CASE WHEN trace_id <> '00000000000000000000000000000002' THEN trace_id END ORDER BY \
               trace_id) AS trace_ids, 1 AS value FROM spans";
    let rows = run(&gateway, &ask(&gate(sql, ""), NOW, NOW + S)).await.unwrap();
    let ids: Vec<u8> = rows[0].trace_ids.iter().map(|id| id.0[15]).collect();
    assert_eq!(ids.len(), 5, "{ids:?}");
    assert!(!ids.contains(&2) && ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
}

#[tokio::test]
async fn too_many_rows_and_too_much_time_are_errors() {
    let gateway = over(&Fill::new().memory(&[Span::new(1, 1)]).view());
    let rows = |more: u32| {
        let sql = format!(
            "SELECT k, 1 AS value FROM (SELECT unnest(range(0, 99000)) AS k UNION ALL \
             SELECT 99000 + unnest(range(0, {more})) AS k)"
        );
        gate(&sql, ", by: [k]")
    };
    assert_eq!(run(&gateway, &ask(&rows(1_000), NOW, NOW + S)).await.map(|rows| rows.len()), Ok(100_000));
    assert_eq!(run(&gateway, &ask(&rows(1_001), NOW, NOW + S)).await, Err(RunError::TooManyRows));
    let slow = "SELECT count(*) AS value FROM (VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10)) a(x) \
                CROSS JOIN (SELECT unnest(range(0, 1000)) AS y) b CROSS JOIN (SELECT unnest(range(0, 1000)) AS y) c \
                CROSS JOIN (SELECT unnest(range(0, 1000)) AS y) d WHERE a.x + d.y <> 7";
    let outcome = run(&gateway, &ask(&gate(slow, ", timeout: 50ms"), NOW, NOW + S)).await;
    assert_eq!(outcome, Err(RunError::Timeout));
}

#[tokio::test]
async fn a_gate_that_was_never_loaded_fails_as_an_error_not_a_panic() {
    let gateway = over(&Fill::new().memory(&[Span::new(1, 1)]).view());
    let pass = Comparison { text: "> 0".into(), test: Test::Above(0.0) };
    let mut broken = gate("SELECT 1 AS value", "");
    broken.window = Duration::from_secs(1);
    broken.time = EventTime::Start;
    broken.pass = pass;
    for (sql, is_expected) in [
        ("SELECT nothing FROM spans", true),
        ("SELECT 1 AS other", false),
        ("SELECT 'x' AS value", false),
        ("DELETE FROM spans", true),
        ("SELECT 1 AS value WHERE $else", false),
    ] {
        broken.source = Source { sql: sql.to_owned(), path: None, line: 1, explicit_window: false, is_derived: false };
        let error = run(&gateway, &ask(&broken, NOW, NOW + S)).await.unwrap_err();
        assert_eq!(matches!(error, RunError::Plan(_)), is_expected, "{sql}: {error}");
    }
}

/// Planned with the instants of the run in its text.
async fn run_anew(gateway: &Gateway, ask: &Ask) -> Result<Vec<ResultRow>, RunError> {
    let gate = ask.gate.as_ref();
    let statement = Statement {
        sql: gate.source.sql.clone(),
        params: params(gate, ask.window),
        shape: Shape::Arrow,
        postgres: None,
        ..Statement::default()
    };
    let within = Within { cut_us: Some(ask.cut_us), ..within_of(gate, ask.window, &ask.spans) };
    let mut answer = gateway.run_within(statement, within).await.unwrap();
    rows::read(gate, &answer.collect().await.unwrap())
}

/// Statements of every kind that a plan may be kept of.
const KEPT: [(&str, &str); 7] = [
    (
        "SELECT service_name, count(*) AS value, max(end_time) AS last FROM spans GROUP BY service_name",
        ", by: [service_name]",
    ),
    ("SELECT count(*) AS value, (SELECT count(*) FROM span_events) AS n FROM traces", ""),
    (
        "SELECT service_name, count(*) AS value FROM spans WHERE end_time >= $window_start - INTERVAL '2 seconds' AND \
         end_time < $window_end GROUP BY service_name",
        ", by: [service_name]",
    ),
    (
        "WITH a AS (SELECT * FROM spans), b AS (SELECT service_name, count(*) AS c FROM a GROUP BY 1) SELECT \
         x.service_name, avg(b.c) AS value FROM a x JOIN b ON b.service_name = x.service_name WHERE x.duration_ns > \
         (SELECT avg(duration_ns) - 1 FROM spans) GROUP BY 1",
        ", by: [service_name]",
    ),
    (
        "SELECT date_bin(INTERVAL '5 seconds', end_time, $window_start) AS k, count(*) AS value, $gate AS g FROM spans \
         WHERE end_time >= $window_start AND end_time < $window_end GROUP BY 1",
        ", by: [g]",
    ),
    ("SELECT count(*) FILTER (WHERE attributes['x'] = 'y') AS value, count(*) AS n FROM spans", ""),
    ("SELECT 1 AS value", ""),
];

/// Spans of two services that end at each of so many seconds.
fn ending(seconds: &[i64]) -> Vec<Span> {
    let span = |(at, s): (usize, &i64)| Span {
        start: NOW + (s - 1) * S,
        duration: S,
        service: if at.is_multiple_of(2) { "cart" } else { "pay" },
        ..Span::new(u128::try_from(at).unwrap() + 1, 1).with("x", "y")
    };
    seconds.iter().enumerate().map(span).collect()
}

#[tokio::test]
async fn a_kept_plan_gives_at_every_tick_what_planning_anew_gives() {
    let old = ending(&[1, 2, 3, 11, 12, 25, 31]);
    let view = Fill::new().part(&old, &Promotions::new(), 2).await.memory(&ending(&[4, 13, 29, 30])).view();
    let gateway = over(&view);
    for (sql, more) in KEPT {
        let gate = gate(sql, more);
        let prepared = Prepared::default();
        for tick in 1..4 {
            let end_ns = NOW + tick * 10 * S;
            let mut ask = ask(&gate, end_ns - 60 * S, end_ns);
            ask.cut_us = view.visible_us - tick % 2;
            let by_key = |rows: Result<Vec<ResultRow>, RunError>| {
                rows.map(|mut rows| {
                    rows.sort_by(|a, b| a.key.cmp(&b.key));
                    rows
                })
            };
            let kept = by_key(run_prepared(&gateway, &ask, &prepared).await);
            let anew = by_key(run_anew(&gateway, &ask).await);
            assert_eq!(kept, anew, "{sql} at tick {tick}");
            assert!(prepared.is_planned(), "{sql}");
        }
        assert!(prepared.reads_spans_only(), "{sql}");
    }
}

#[tokio::test]
async fn a_kept_plan_sees_what_the_store_took_since() {
    let reader = |spans: &[i64]| match spans {
        [] => reader(&Fill::new().view()),
        spans => reader(&Fill::new().memory(&ending(spans)).view()),
    };
    let gate = gate("SELECT count(*) AS value FROM spans", "");
    let query = query::Config { threads: 2, ..query::Config::default() };
    let clock = || Clock::manual(NOW, 7);
    let prepared = Prepared::default();
    for spans in [vec![1], vec![1, 2], vec![]] {
        let gateway = gateway(reader(&spans), &query, &Config::default(), Vec::new(), clock()).unwrap();
        let rows = run_prepared(&gateway, &ask(&gate, NOW, NOW + 60 * S), &prepared).await.unwrap();
        assert_eq!(rows[0].value, Some(spans.len() as f64));
    }
}

#[tokio::test]
async fn the_last_result_stands_while_no_span_enters_leaves_or_comes() {
    let view = Fill::new().part(&ending(&[10, 40]), &Promotions::new(), 1).await.memory(&ending(&[45])).view();
    let gateway = over(&view);
    let runner = runner(gateway.clone());
    let counting = gate("SELECT count(*) AS value FROM spans", "");
    let asked = |end_s: i64| Ask { cut_us: view.visible_us, ..ask(&counting, NOW + (end_s - 60) * S, NOW + end_s * S) };
    let statements = || gateway.statements_ended();
    let mut seen = Vec::new();
    // 10 leaves at 80, 40 and 45 at 110.
    for end_s in [50, 60, 70, 80, 90, 100, 110, 120, 130, 140] {
        let before = statements();
        let rows = runner.run(asked(end_s)).await.unwrap();
        assert_eq!(rows, run(&gateway, &asked(end_s)).await.unwrap(), "{end_s}");
        seen.push((end_s, rows[0].value.unwrap(), statements() - before == 2));
    }
    let stood: Vec<_> = seen.iter().filter(|(.., ran)| !ran).map(|(at, ..)| *at).collect();
    assert_eq!(stood, [60, 70, 90, 100, 120, 130, 140], "{seen:?}");
    assert_eq!(seen.iter().map(|(_, value, _)| *value).collect::<Vec<_>>(), [3., 3., 3., 2., 2., 2., 0., 0., 0., 0.]);
    let later = gate("SELECT count(*) AS value FROM spans", ", min_samples: 1, severity: page");
    let before = statements();
    let changed = Ask { gate: Arc::new(later), ..asked(140) };
    runner.run(changed).await.unwrap();
    assert_eq!(statements() - before, 1, "another gate of the name is asked");
}

#[tokio::test]
async fn attributes_have_the_types_of_the_registry_in_force_as_in_any_statement() {
    let spans = [Span::new(1, 1).with("app.level", "9"), Span::new(2, 2).with("app.level", "10")];
    let gateway = over(&Fill::new().memory(&spans).view());
    let runner = runner(gateway.clone());
    let text = "groups: [{name: g, gates: [{gate: a, sql: \"SELECT max(attributes['app.level']) AS value FROM spans\", window: 1m, \
                pass: \"> 0\"}]}]";
    let untyped = said(&load_text(text));
    assert!(untyped.contains("the column `value` is TEXT, a number or a boolean is expected"), "{untyped}");
    let registry = BTreeMap::from([("app.level".to_owned(), ScalarType::Int)]);
    let planner = Planner::new(query::Config::default().with_registry_types(registry.clone()), Vec::new());
    let gate = only_gate(&load_text_by(text, &planner));

    gateway.set_registry_types(registry);
    let asked = || ask(&gate, NOW - 30 * S, NOW + 30 * S);
    assert_eq!(runner.run(asked()).await.unwrap()[0].value, Some(10.0));
    let statement = Statement::new("SELECT max(attributes['app.level']) = 10 AS same FROM spans");
    let same = gateway.run(statement).await.unwrap().collect().await.unwrap();
    assert!(arrow::util::pretty::pretty_format_batches(&same).unwrap().to_string().contains("true"));
    // Neither plan nor result outlives the registry that they were made under.
    gateway.set_registry_types(BTreeMap::new());
    assert!(runner.run(asked()).await.is_err());
}

#[tokio::test]
async fn exemplars_are_found_by_any_column_of_spans_that_a_key_may_be_made_of() {
    let view = Fill::new().memory(&[Span::new(1, 1), Span::new(2, 2)]).view();
    for (by, keys) in [("trace_id", 2), ("span_id", 2), ("name", 1)] {
        let sql = format!("SELECT {by}, count(*) AS value FROM spans GROUP BY 1");
        let gate = gate(&sql, &format!(", by: [{by}], exemplars: \"duration_ns >= 0\""));
        let asking = exemplars::asking(&gate).unwrap();
        let rows = run(&over(&view), &ask(&asking, NOW, NOW + 60 * S)).await.unwrap();
        let mut found: Vec<TraceId> = rows.iter().flat_map(|row| row.trace_ids.clone()).collect();
        found.sort();
        let traces = [1_u128, 2].map(|id| TraceId(id.to_be_bytes()));
        assert_eq!((rows.len(), found.as_slice()), (keys, traces.as_slice()), "{by}");
    }
}
