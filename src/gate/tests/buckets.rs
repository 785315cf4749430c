//! Gates over shared states against the same gates by SQL (gates.md 16, P2): random spans, any division into deliveries, late
//! ones, flushes and compaction between them. What may share is for `sharing`.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::Value;

use super::super::Config;
use super::super::buckets::Buckets;
use super::super::definition::Group;
use super::super::plan::Planner;
use super::super::result::{Ask, AskAhead, ResultRow, RunError, Selection, Window};
use super::super::run::{gateway, run as run_prepared};
use super::super::window::{nanos, window_at};
use super::{load_text_as, said};
use crate::clock::Clock;
use crate::query::tests::fixture::{self, Span};
use crate::query::{self, Gateway, Prepared};
use crate::span::pinned::ScalarType;
use crate::span::{Delivery, Origin};
use crate::store::Store;
use crate::store::samples::store_at;

const S: i64 = 1_000_000_000;
/// A tick of the grid, after which all spans end.
const BEGIN: i64 = 1_700_000_000 * S;

/// Statements with their other keys: every form that shares.
pub(super) const SHARED: &[(&str, &str)] = &[
    (
        "SELECT service_name, avg(duration_ns) / 1e6 AS value, count(*) AS n, min(duration_ns) AS low, max(name) AS last \
         FROM spans GROUP BY service_name",
        "window: 1m, by: [service_name]",
    ),
    (
        "SELECT count(*) FILTER (WHERE status_code = 'error') / CAST(nullif(count(*), 0) AS DOUBLE) AS value, count(*) AS n \
         FROM spans WHERE service_name = 'a'",
        "window: 2m",
    ),
    (
        "SELECT sum(duration_ns) AS value, count(*) AS n FROM spans WHERE 'b' = service_name AND kind = 'server'",
        "window: 30s",
    ),
    ("SELECT count(*) AS value FROM spans WHERE service_name = 'nobody'", "window: 1m"),
    ("SELECT count(*) AS value, sum(duration_ns) AS total FROM spans", "window: 1m"),
    (
        "SELECT attributes['app.k'] AS k, service_name, avg(attributes['app.n']::double) AS value, count(attributes['app.n']) AS n \
         FROM spans GROUP BY 1, 2 HAVING count(*) > 2",
        "window: 1m, by: [k, service_name]",
    ),
    (
        "SELECT status_code, stddev(duration_ns) AS value, count(*) AS n, var_pop(duration_ns) AS v, corr(duration_ns, \
         attributes['app.n']::double) AS c, covar_samp(duration_ns, attributes['app.n']::double) AS cs FROM spans WHERE \
         duration_ns > 0 GROUP BY status_code",
        "window: 2m, by: [status_code]",
    ),
    (
        "WITH s AS (SELECT service_name AS svc, duration_ns / 1000 AS us, status_code <> 'error' AS good FROM spans x WHERE x.kind \
         IN ('server', 'client')) SELECT svc, max(us) AS value, count(*) AS n, bool_and(good) AS all_good, bool_or(NOT good) AS \
         any_bad FROM s GROUP BY svc",
        "window: 1m, by: [svc]",
    ),
    (
        "SELECT service_name, p95(duration_ns) AS value, count(*) AS n, approx_distinct(trace_id) AS traces, \
         approx_percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ns) AS half, error_rate(status_code) AS bad FROM spans \
         GROUP BY service_name",
        "window: 1m, by: [service_name]",
    ),
    (
        "SELECT service_name, count(*) AS value, make_array(min(trace_id) FILTER (WHERE status_code = 'error'), max(trace_id) \
         FILTER (WHERE status_code = 'error')) AS trace_ids FROM spans GROUP BY service_name",
        "window: 1m, by: [service_name]",
    ),
    (
        "SELECT service_name, count(*) AS value FROM spans GROUP BY service_name",
        "window: 1m, by: [service_name], time: start",
    ),
    // In wider buckets.
    (
        "SELECT service_name, sum(duration_ns) AS value, count(*) AS n FROM spans GROUP BY 1",
        "window: 3h, by: [service_name]",
    ),
    ("SELECT count(*) AS value, max(duration_ns) AS longest FROM spans", "window: 13h"),
    (
        "SELECT service_name, count(*) AS value FROM spans GROUP BY service_name",
        "window: 1m, by: [service_name], include_pipeline_spans: true",
    ),
    (
        "SELECT coalesce(attributes['app.k'], 'none') AS k, count(*) AS value FROM spans WHERE service_name = 'a' GROUP BY 1",
        "window: 2m, by: [k]",
    ),
];

pub(super) fn text_of(gates: &[(&str, &str)]) -> String {
    let gate = |(at, (sql, more)): (usize, &(&str, &str))| {
        let sql = serde_json::to_string(sql).unwrap();
        format!("{{gate: g{at}, sql: {sql}, pass: \"> 0\", {more}}}")
    };
    let gates: Vec<String> = gates.iter().enumerate().map(gate).collect();
    format!("groups: [{{name: g, interval: 10s, gates: [{}]}}]", gates.join(", "))
}

/// Gates share in buckets of ten seconds.
pub(super) fn sharing() -> Config {
    Config::default()
}

/// They do not.
pub(super) fn unshared() -> Config {
    Config { bucket: Duration::ZERO, ..Config::default() }
}

pub(super) fn groups_of(gates: &[(&str, &str)]) -> Vec<Group> {
    groups_in(sharing(), gates)
}

pub(super) fn groups_in(config: Config, gates: &[(&str, &str)]) -> Vec<Group> {
    let loaded = load_text_as(&text_of(gates), &Planner::default(), config);
    assert!(!loaded.has_errors(), "{}", said(&loaded));
    loaded.groups.into_iter().filter(|group| group.name == "g").collect()
}

fn over(store: &Store, clock: &Clock) -> Gateway {
    let query = query::Config { threads: 2, ..query::Config::default() };
    gateway(store.reader(), &query, &Config::default(), Vec::new(), clock.clone()).unwrap()
}

/// A span: when it ends, service, attribute, and whether it is good.
fn span(at: u64, (end_s, service, extra): (i64, usize, u8)) -> Span {
    let span = Span {
        start: BEGIN + end_s * S - i64::from(extra) * S / 10,
        duration: i64::from(extra) * S / 10,
        service: ["a", "b", "c"][service % 3],
        name: ["x", "y"][usize::from(extra % 2)],
        kind: ["server", "client", "internal"][usize::from(extra % 3)],
        status: if extra.is_multiple_of(4) { "error" } else { "ok" },
        ..Span::new(u128::from(at / 2) + 1, at + 1)
    };
    let span = match extra % 5 {
        0 => span,
        k => span.with("app.k", ["p", "q", "r", "s"][usize::from(k - 1)]),
    };
    let span = if extra.is_multiple_of(3) { span.with("app.n", i64::from(extra)) } else { span };
    if extra == 7 { span.with("weavergen.origin", "pipeline") } else { span }
}

async fn append(store: &Store, spans: &[Span]) {
    let batches = vec![fixture::batch(spans)];
    store.append(Delivery { batches, body: None, identity: 0, origin: Origin::Received }).await.unwrap();
}

fn sorted(mut rows: Vec<ResultRow>) -> Vec<ResultRow> {
    rows.sort_by(|a, b| a.key.cmp(&b.key));
    rows
}

fn near(one: f64, other: f64, share: f64, most: f64) -> bool {
    one.to_bits() == other.to_bits() || (one - other).abs() <= share * one.abs().max(other.abs()) + most
}

/// Floats may differ by the order in which they were added; sketches by their error.
fn same(one: &ResultRow, other: &ResultRow) -> bool {
    let value = match (one.value, other.value) {
        (Some(one), Some(other)) => near(one, other, 1e-9, 1e-9),
        (one, other) => one == other,
    };
    let evidence = one.evidence.iter().zip(&other.evidence).all(|((name, one), (as_name, other))| {
        let near = match (one.as_f64(), other.as_f64()) {
            // A sketch of few values knows them only roughly.
            (Some(_), Some(_)) if name == "half" => true,
            // What nearly cancels out, of numbers of 10 digits.
            (Some(one), Some(other)) if name == "cs" => near(one, other, 1e-6, 1e4),
            (Some(one), Some(other)) => near(one, other, 1e-6, 1e-6),
            _ => one == other,
        };
        name == as_name && near
    });
    let len = one.evidence.len() == other.evidence.len();
    value && evidence && len && (&one.key, one.n, &one.trace_ids) == (&other.key, other.n, &other.trace_ids)
}

/// Every gate at `t_ns`, both ways.
async fn agrees(buckets: &Buckets, gateway: &Gateway, groups: &[Group], t_ns: i64) -> Result<(), String> {
    let cut_us = gateway.view().visible_us;
    for gate in groups.iter().flat_map(|group| &group.gates) {
        let window = window_at(gate, t_ns);
        let ask = Ask { gate: Arc::new(gate.clone()), window, cut_us, spans: Selection::OfGate };
        let look = AskAhead { gate: ask.gate.clone(), windows: vec![window], cut_us };
        let ahead = buckets.ahead(look).await;
        let shared = buckets.rows(&ask).await;
        let shared = shared.ok_or_else(|| format!("{} is not shared: {}", gate.name, gate.source.sql))?;
        let shared = sorted(shared.map_err(|error| format!("{}: {error}", gate.name))?);
        let alone = sorted(run_prepared(gateway, &ask, &Prepared::default()).await.unwrap());
        if shared.len() != alone.len() || !shared.iter().zip(&alone).all(|(one, other)| same(one, other)) {
            return Err(format!("{}\n{shared:#?}\nand by SQL\n{alone:#?}", gate.source.sql));
        }
        for (_, rows) in ahead {
            let rows = sorted(rows.map_err(|error| format!("{}, ahead: {error}", gate.name))?);
            if rows.len() != alone.len() || !rows.iter().zip(&alone).all(|(one, other)| same(one, other)) {
                return Err(format!("{}\n{rows:#?}\nahead, and by SQL\n{alone:#?}", gate.source.sql));
            }
        }
    }
    Ok(())
}

/// What happens between ticks.
#[derive(Clone, Debug)]
enum Act {
    Append(Vec<(i64, usize, u8)>),
    Flush,
    Compact,
    /// As after a start: nothing is kept.
    Forget,
    /// So many seconds later.
    Tick(i64),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    // How far before the present a span ends: some are late, some lie in the future.
    let ago = prop_oneof![8 => -15_i64..90, 1 => 10_700_i64..10_900, 1 => 46_000_i64..47_500];
    let spans = prop::collection::vec((ago, 0_usize..3, 0_u8..40), 1..30);
    let act = prop_oneof![
        6 => spans.prop_map(Act::Append),
        1 => Just(Act::Flush),
        1 => Just(Act::Compact),
        1 => Just(Act::Forget),
        4 => prop::sample::select(vec![0_i64, 10, 10, 20, 60]).prop_map(Act::Tick),
    ];
    prop::collection::vec(act, 8..30)
}

proptest! {
    // Each asks some hundred questions by SQL.
    #![proptest_config(ProptestConfig { cases: 6, max_shrink_iters: 30, ..ProptestConfig::default() })]

    #[test]
    fn shared_states_give_what_each_gate_alone_gives_at_the_same_cut(acts in acts()) {
        let outcome = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let clock = Clock::manual(BEGIN, 5);
            let store = store_at(dir.path(), clock.clone()).await;
            let groups = groups_of(SHARED);
            let gateway = over(&store, &clock);
            let config = sharing();
            let fresh = || Buckets::with_most(gateway.clone(), &groups, &config, 10_000);
            let (mut buckets, mut now_s, mut count) = (fresh(), 0, 0);
            for act in acts.iter().chain(&[Act::Tick(10)]) {
                match act {
                    Act::Append(spans) => {
                        let spans = spans.iter().zip(count..).map(|((ago, service, extra), at)| {
                            span(at, (now_s - ago, *service, *extra))
                        });
                        let spans: Vec<Span> = spans.collect();
                        count += spans.len() as u64;
                        append(&store, &spans).await;
                    }
                    Act::Flush => store.freeze_and_flush().await.unwrap(),
                    Act::Compact => store.compact(None).await.unwrap(),
                    Act::Forget => buckets = fresh(),
                    Act::Tick(by_s) => {
                        now_s += by_s;
                        clock.advance(Duration::from_secs(u64::try_from(*by_s).unwrap()));
                        agrees(&buckets, &gateway, &groups, BEGIN + now_s * S).await?;
                    }
                }
            }
            Ok::<(), String>(())
        });
        if let Err(why) = outcome {
            return Err(TestCaseError::fail(why));
        }
    }
}

/// A store with gates over it.
struct House {
    dir: tempfile::TempDir,
    store: Store,
    gateway: Gateway,
    groups: Vec<Group>,
}

impl House {
    async fn new(gates: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual(BEGIN, 5);
        let store = store_at(dir.path(), clock.clone()).await;
        let gateway = over(&store, &clock);
        Self { dir, store, gateway, groups: groups_of(gates) }
    }

    fn buckets(&self, entries: u64) -> Buckets {
        Buckets::with_most(self.gateway.clone(), &self.groups, &sharing(), entries)
    }

    /// The gate `at` over the window that ends so many seconds after [`BEGIN`].
    fn ask(&self, at: usize, t_s: i64) -> Ask {
        let gate = self.groups[0].gates[at].clone();
        let end_ns = BEGIN + t_s * S;
        let window = Window { start_ns: end_ns - nanos(gate.window), end_ns };
        Ask { gate: Arc::new(gate), window, cut_us: self.gateway.view().visible_us, spans: Selection::OfGate }
    }

    /// What is told ahead of the windows of the first gate that end so many seconds after [`BEGIN`].
    async fn ahead(&self, buckets: &Buckets, ends_s: &[i64]) -> Vec<(i64, Vec<Option<f64>>)> {
        let asks: Vec<Ask> = ends_s.iter().map(|t_s| self.ask(0, *t_s)).collect();
        let windows = asks.iter().map(|ask| ask.window).collect();
        let Ask { gate, cut_us, .. } = asks[0].clone();
        let found = buckets.ahead(AskAhead { gate, windows, cut_us }).await;
        found.into_iter().map(|(window, rows)| ((window.end_ns - BEGIN) / S, values(Some(rows)).unwrap())).collect()
    }
}

fn values(rows: Option<Result<Vec<ResultRow>, RunError>>) -> Option<Vec<Option<f64>>> {
    rows.map(|rows| sorted(rows.unwrap()).into_iter().map(|row| row.value).collect())
}

#[tokio::test]
async fn what_buckets_cannot_tell_is_left_to_the_sql() {
    let house = House::new(&[("SELECT count(*) AS value FROM spans", "window: 1m")]).await;
    append(&house.store, &[span(0, (5, 0, 1)), span(1, (15, 0, 1))]).await;
    let buckets = house.buckets(1_000);
    let ask = house.ask(0, 60);
    assert_eq!(values(buckets.rows(&ask).await), Some(vec![Some(2.0)]));
    let window = |start_s: i64, end_s: i64| Window { start_ns: BEGIN + start_s * S, end_ns: BEGIN + end_s * S };
    let other = |change: &dyn Fn(&mut Ask)| {
        let mut ask = ask.clone();
        change(&mut ask);
        ask
    };
    // Since a key fired, on the grid.
    assert_eq!(values(buckets.rows(&other(&|ask| ask.window = window(10, 60))).await), Some(vec![Some(1.0)]));
    for (what, ask) in [
        ("off the grid", other(&|ask| ask.window = window(7, 60))),
        ("before what is kept", other(&|ask| ask.window = window(-3_600, 0))),
        ("before the cut that was reached", other(&|ask| ask.cut_us -= 1)),
        ("the spans of one run", other(&|ask| ask.spans = Selection::OfRun("r".into()))),
        ("another gate of the name", other(&|ask| Arc::make_mut(&mut ask.gate).source.sql.push(' '))),
    ] {
        assert_eq!(buckets.rows(&ask).await, None, "{what}");
    }
}

#[tokio::test]
async fn a_look_ahead_counts_what_came_since_and_leaves_the_states_where_a_tick_meets_them() {
    let house = House::new(&[("SELECT count(*) AS value FROM spans", "window: 1m")]).await;
    append(&house.store, &[span(0, (25, 0, 1))]).await;
    let buckets = house.buckets(1_000);
    assert!(house.ahead(&buckets, &[70]).await.is_empty(), "no tick has read anything");
    assert_eq!(values(buckets.rows(&house.ask(0, 60)).await), Some(vec![Some(1.0)]));
    append(&house.store, &[span(1, (35, 0, 1))]).await;
    // It has its cut before others look.
    let tick = house.ask(0, 70);
    append(&house.store, &[span(2, (45, 0, 1)), span(3, (75, 0, 1))]).await;
    let ahead = [(70, vec![Some(3.0)]), (80, vec![Some(4.0)]), (90, vec![Some(3.0)])];
    assert_eq!(house.ahead(&buckets, &[70, 80, 90]).await, ahead);
    assert!(house.ahead(&buckets, &[75]).await.is_empty(), "off the grid");
    assert!(house.ahead(&buckets, &[-3_600]).await.is_empty(), "before what is kept");
    assert_eq!(values(buckets.rows(&tick).await), Some(vec![Some(2.0)]), "not left to the SQL");
    assert_eq!(house.ahead(&buckets, &[70, 80, 90]).await, ahead);
}

#[tokio::test]
async fn a_gate_whose_expression_fails_harms_none_that_shares_with_it() {
    let house = House::new(&[
        ("SELECT service_name, count(*) AS value FROM spans GROUP BY 1", "window: 1m, by: [service_name]"),
        (
            "SELECT service_name, sum(CAST(name AS BIGINT)) AS value FROM spans GROUP BY 1",
            "window: 1m, by: [service_name]",
        ),
        ("SELECT name, count(*) AS value FROM spans GROUP BY 1", "window: 1m, by: [name]"),
    ])
    .await;
    append(&house.store, &[span(0, (5, 0, 1)), span(1, (15, 1, 1))]).await;
    let buckets = house.buckets(1_000);
    // Asked alone, by SQL.
    assert_eq!(buckets.rows(&house.ask(0, 60)).await, None);
    assert_eq!(buckets.rows(&house.ask(1, 60)).await, None);
    assert_eq!(values(buckets.rows(&house.ask(2, 60)).await), Some(vec![Some(2.0)]), "it groups by other keys");
    // Once no window holds the spans that it failed on.
    assert_eq!(values(buckets.rows(&house.ask(0, 300)).await), Some(vec![]));
}

#[tokio::test]
async fn states_that_do_not_fit_the_memory_of_a_piece_of_work_are_an_error_of_no_gate() {
    let house = House::new(&[
        ("SELECT span_id, p95(duration_ns) AS value FROM spans GROUP BY 1", "window: 9d, by: [span_id]"),
        ("SELECT service_name, count(*) AS value FROM spans GROUP BY 1", "window: 9d, by: [service_name]"),
    ])
    .await;
    // Five narrow buckets of a wide one, so that their states are made one.
    let spans: Vec<Span> =
        (0..5_000).map(|at| span(at, (-7_000 + i64::try_from(at % 5).unwrap() * 10, 0, 1))).collect();
    append(&house.store, &spans).await;
    let config = Config { rerun_memory: 1 << 20, ..sharing() };
    let query = query::Config { threads: 2, ..query::Config::default() };
    let clock = Clock::manual(BEGIN, 5);
    let small = gateway(house.store.reader(), &query, &config, Vec::new(), clock).unwrap();
    let buckets = Buckets::with_most(small, &house.groups, &config, 1_000_000);
    for at in 0..2 {
        let window = window_at(&house.groups[0].gates[at], BEGIN);
        let rows = buckets.rows(&Ask { window, ..house.ask(at, 0) }).await;
        assert!(!matches!(rows, Some(Err(_))), "{rows:?}");
    }
}

#[tokio::test]
async fn a_damaged_part_concerns_only_the_windows_that_hold_it() {
    // By other keys, so that these are two aggregations.
    let house = House::new(&[
        ("SELECT count(*) AS value FROM spans", "window: 1m"),
        ("SELECT service_name, count(*) AS value FROM spans GROUP BY 1", "window: 2h, by: [service_name]"),
    ])
    .await;
    append(&house.store, &[span(0, (-3_600, 0, 1))]).await;
    house.store.freeze_and_flush().await.unwrap();
    let path = house.store.reader().view().parts.parts[0].entry.path.clone();
    append(&house.store, &[span(1, (5, 0, 1))]).await;
    let file = house.dir.path().join(&path);
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let buckets = house.buckets(1_000);
    assert_eq!(values(buckets.rows(&house.ask(0, 60)).await), Some(vec![Some(1.0)]));
    assert_eq!(buckets.rows(&house.ask(1, 60)).await, None, "its SQL says what is damaged");
}

#[tokio::test]
async fn keys_without_bound_are_an_error_of_the_gate_that_has_them_alone() {
    let house = House::new(&[
        ("SELECT span_id, count(*) AS value FROM spans GROUP BY 1", "window: 1m, by: [span_id]"),
        ("SELECT service_name, count(*) AS value FROM spans GROUP BY 1", "window: 1m, by: [service_name]"),
    ])
    .await;
    let spans: Vec<Span> = (0..100).map(|at| span(at, (5, 0, 1))).collect();
    append(&house.store, &spans).await;
    let buckets = house.buckets(50);
    assert_eq!(buckets.rows(&house.ask(0, 60)).await, Some(Err(RunError::StateCap)));
    assert_eq!(values(buckets.rows(&house.ask(1, 60)).await), Some(vec![Some(100.0)]));
    let room = house.buckets(150);
    assert_eq!(room.rows(&house.ask(0, 60)).await.map(|rows| rows.unwrap().len()), Some(100));
    // Room comes with time.
    assert_eq!(values(buckets.rows(&house.ask(0, 300)).await), Some(vec![]));
}

#[tokio::test]
async fn without_keys_a_bucket_is_one_state_however_many_narrow_ones_it_is_of() {
    let sql =
        "SELECT count(*) AS value, p95(duration_ns) AS slow, max(name) AS last, avg(duration_ns) AS mean FROM spans";
    let house = House::new(&[(sql, "window: 13h")]).await;
    let spans: Vec<Span> = (0..1_000).map(|at| span(at, (-10_000 + i64::try_from(at).unwrap() * 9, 0, 1))).collect();
    append(&house.store, &spans).await;
    let buckets = house.buckets(200);
    agrees(&buckets, &house.gateway, &house.groups, BEGIN).await.unwrap();
}

#[tokio::test]
async fn spans_of_clocks_that_are_wrong_fill_nothing_and_count_once_it_is_their_time() {
    const YEAR_S: i64 = 365 * 86_400;
    let house = House::new(&[("SELECT count(*) AS value FROM spans", "window: 1m")]).await;
    let ahead: Vec<Span> =
        (1..=1_000_u64).map(|at| span(at, (YEAR_S + i64::try_from(at).unwrap() * 10, 0, 1))).collect();
    append(&house.store, &ahead).await;
    append(&house.store, &[span(0, (5, 0, 1))]).await;
    // An hour ahead is kept.
    let buckets = house.buckets(400);
    assert_eq!(values(buckets.rows(&house.ask(0, 60)).await), Some(vec![Some(1.0)]));
    append(&house.store, &[span(2_000, (6, 0, 1))]).await;
    assert_eq!(values(buckets.rows(&house.ask(0, YEAR_S + 60)).await), Some(vec![Some(5.0)]));
}

#[tokio::test]
async fn names_that_no_gate_asks_for_are_no_keys() {
    let house = House::new(&[
        ("SELECT count(*) AS value FROM spans WHERE name = 'x'", "window: 1m"),
        ("SELECT count(*) AS value FROM spans WHERE 'y' = name", "window: 1m"),
    ])
    .await;
    let named = |at: u64| {
        let name: &'static str = Box::leak(format!("GET /{at}").into_boxed_str());
        Span { name, ..span(at, (5, 0, 1)) }
    };
    let foreign: Vec<Span> = (10..110).map(named).collect();
    append(&house.store, &foreign).await;
    append(&house.store, &[span(0, (5, 0, 2)), span(1, (5, 0, 1)), span(2, (15, 0, 1))]).await;
    let buckets = house.buckets(50);
    assert_eq!(values(buckets.rows(&house.ask(0, 60)).await), Some(vec![Some(1.0)]));
    assert_eq!(values(buckets.rows(&house.ask(1, 60)).await), Some(vec![Some(2.0)]));
}

#[tokio::test]
async fn attributes_are_read_in_the_types_of_the_registry_in_force() {
    let house = House::new(&[(
        "SELECT max(attributes['app.k']) = '9' AS value, count(attributes['app.k']) AS n FROM spans",
        "window: 1m",
    )])
    .await;
    let of = |text: &str, at: u64| Span { start: BEGIN, ..Span::new(1, at) }.with("app.k", text);
    append(&house.store, &[of("9", 1), of("10", 2)]).await;
    let buckets = house.buckets(50);
    assert_eq!(values(buckets.rows(&house.ask(0, 60)).await), Some(vec![Some(1.0)]), "as text 9 is above 10");
    house.gateway.set_registry_types([("app.k".to_owned(), ScalarType::Int)].into());
    let by_sql = run_prepared(&house.gateway, &house.ask(0, 60), &Prepared::default()).await.unwrap();
    assert_eq!(values(buckets.rows(&house.ask(0, 60)).await), Some(vec![by_sql[0].value]));
    assert_eq!(by_sql[0].evidence.get("none"), None::<&Value>);
}
