//! Gates with `on: ingest` and `on: trace` over a store: what their statements give.

use super::super::arrivals::{Arrival, rows_of, take_next};
use super::super::result::ResultRow;
use super::super::run::runner;
use super::super::verdict::{Outcome, judge};
use super::run::{ask, only_gate, over, run};
use super::*;
use crate::query::tests::fixture::{Fill, NOW, Promotions, Span};
use crate::span::TraceId;
use crate::store::View;

const S: i64 = 1_000_000_000;
/// The position of what came first.
const FIRST_US: i64 = NOW / 1_000 + 1;
/// When a span of the rest counts whose clock runs ahead by more than ten seconds.
const CLIPPED_NS: i64 = (FIRST_US + 1) * 1_000 + 10 * S;
const GATE: &str = "groups: [{name: g, gates: [{gate: a, sql: \"SELECT service_name FROM spans WHERE status_code = 'error'\", \
                    by: [service_name], window: 1m, on: ingest}]}]";

fn span(trace: u128, service: &'static str, status: &'static str, end_s: i64) -> Span {
    Span { service, status, start: NOW + (end_s - 1) * S, duration: S, ..Span::new(trace, 1) }
}

/// What came first, in memory and in a part, and behind it the rest.
async fn views() -> [View; 2] {
    let first = [
        span(1, "cart", "error", 5),
        span(2, "pay", "ok", 2),
        span(3, "own", "error", 2).with("weavergen.origin", "self"),
    ];
    let rest = [span(4, "cart", "error", 1), span(5, "cart", "ok", 2), span(6, "mail", "error", 50)];
    let memory = Fill::new().memory(&first).memory(&rest).view();
    let parts = Fill::new().part(&first, &Promotions::new(), 2).await.memory(&rest).view();
    [memory, parts]
}

/// Rows by service.
async fn rows(gate: &Gate, view: &View, (start_ns, end_ns): (i64, i64)) -> Vec<ResultRow> {
    let mut rows = run(&over(view), &ask(gate, start_ns, end_ns)).await.unwrap();
    rows.sort_by_key(|row| row.key["service_name"].clone());
    rows
}

fn services(rows: &[ResultRow]) -> Vec<&str> {
    rows.iter().map(|row| row.key["service_name"].as_str()).collect()
}

#[test]
fn a_gate_over_arrivals_needs_no_comparison_and_keeps_firing_for_a_while() {
    let gate = only_gate(&load_text(GATE));
    assert_eq!((gate.class(), gate.pass.test, gate.clear.test), ("ingest", Test::Is(0.0), Test::Is(0.0)));
    assert_eq!(gate.keep_firing_for, Duration::from_secs(30));
    let longer = only_gate(&load_text(&GATE.replace("on: ingest", "on: ingest, keep_firing_for: 2m, pass: \"== 0\"")));
    assert_eq!(longer.keep_firing_for, Duration::from_secs(120));
    let shorter = only_gate(&load_text(&GATE.replace("on: ingest", "on: ingest, keep_firing_for: 5s")));
    assert_eq!(shorter.keep_firing_for, Duration::from_secs(30));
    assert_ne!(
        super::super::question(&gate),
        super::super::question(&only_gate(&load_text(&GATE.replace("error", "ok"))))
    );
}

#[tokio::test]
async fn a_tick_counts_what_matches_in_its_window_and_sees_what_lies_ahead() {
    let gate = only_gate(&load_text(GATE));
    for view in views().await {
        let mut found = rows(&gate, &view, (NOW, NOW + 3 * S)).await;
        assert_eq!(services(&found), ["cart", "mail"]);
        let next: Vec<Option<i64>> = found.iter_mut().map(take_next).collect();
        assert_eq!(next, [Some(NOW + 5 * S), Some(CLIPPED_NS)]);
        assert_eq!((found[0].value, found[0].n), (Some(1.0), Some(1)));
        assert_eq!(found[0].trace_ids, [TraceId(4_u128.to_be_bytes())]);
        assert_eq!((found[1].value, found[1].n, found[1].trace_ids.len()), (Some(0.0), Some(0), 0));
        assert!(found.iter().all(|row| row.evidence.is_empty()), "nothing but the verdict is left: {found:?}");
    }
}

#[tokio::test]
async fn what_came_between_two_positions_is_told_by_the_first_span_of_each_key() {
    let gate = only_gate(&load_text(GATE));
    let On::Ingest(matching) = &gate.on else { panic!("{:?}", gate.on) };
    for view in views().await {
        let arrivals = async |after_us: i64, until_us: i64| {
            let bounds = (after_us * 1_000, until_us * 1_000);
            matching.arrivals(rows(&matching.arrived(&gate), &view, bounds).await)
        };
        let all = arrivals(FIRST_US - 1, FIRST_US + 9).await;
        let told: Vec<_> =
            all.iter().map(|one| (one.row.key["service_name"].as_str(), one.at_ns, one.came_us)).collect();
        assert_eq!(told, [("cart", NOW + 5 * S, FIRST_US), ("mail", CLIPPED_NS, FIRST_US + 1)]);
        let all_of = |one: &Arrival| (one.oldest_ns, one.newest_ns);
        assert_eq!([all_of(&all[0]), all_of(&all[1])], [(NOW + S, NOW + 5 * S), (CLIPPED_NS, CLIPPED_NS)]);
        assert_eq!(all[0].row.trace_ids, [TraceId(1_u128.to_be_bytes())]);
        let rest = arrivals(FIRST_US, FIRST_US + 1).await;
        assert_eq!(
            rest.iter().map(|one| one.row.trace_ids.clone()).collect::<Vec<_>>().concat(),
            [TraceId(4_u128.to_be_bytes()), TraceId(6_u128.to_be_bytes())]
        );
        assert!(arrivals(FIRST_US + 1, FIRST_US + 9).await.is_empty());
        let ended = matching.arrivals(rows(&matching.ended(&gate), &view, (NOW, NOW + 9 * S)).await);
        let ended: Vec<_> = ended.iter().map(|one| (one.at_ns, one.row.trace_ids[0])).collect();
        assert_eq!(ended, [(NOW + S, TraceId(4_u128.to_be_bytes()))], "the first that ended");
        let there = rows(&matching.proof(&gate), &view, (NOW, NOW + 9 * S)).await;
        assert_eq!(services(&there), ["cart", "pay"], "whether they match or not");
        assert_eq!(there[0].n, Some(3));
    }
}

#[tokio::test]
async fn without_keys_there_is_one_row_also_where_nothing_matches() {
    let gate = only_gate(&load_text(
        "groups: [{name: g, gates: [{gate: a, sql: \"SELECT 1 FROM spans WHERE name = 'none'\", window: 1m, on: ingest}]}]",
    ));
    let On::Ingest(matching) = &gate.on else { panic!("{:?}", gate.on) };
    for view in views().await {
        let tick = run(&over(&view), &ask(&gate, NOW, NOW + 3 * S)).await.unwrap();
        assert_eq!((tick.len(), tick[0].value), (1, Some(0.0)));
        let bounds = ((FIRST_US - 1) * 1_000, (FIRST_US + 9) * 1_000);
        let came = run(&over(&view), &ask(&matching.arrived(&gate), bounds.0, bounds.1)).await.unwrap();
        assert!(matching.arrivals(came).is_empty());
    }
}

#[tokio::test]
async fn a_span_whose_clock_runs_ahead_counts_where_its_arrival_puts_it_and_nowhere_else() {
    let gate = only_gate(&load_text(GATE));
    let On::Ingest(matching) = &gate.on else { panic!("{:?}", gate.on) };
    for view in views().await {
        let mail = async |start_s: i64, end_s: i64| {
            let mut found = rows(&gate, &view, (NOW + start_s * S, NOW + end_s * S)).await;
            let row = found.iter_mut().find(|row| row.key["service_name"] == "mail").unwrap();
            (row.value, take_next(row))
        };
        assert_eq!(mail(0, 30).await, (Some(1.0), None));
        assert_eq!(mail(0, 10).await, (Some(0.0), Some(CLIPPED_NS)));
        assert_eq!(mail(40, 60).await, (Some(0.0), None), "where its own clock puts it nothing is told again");
        let window = |start_s: i64| (NOW + start_s * S, NOW + (start_s + 20) * S);
        let ended =
            async |start_s: i64| matching.arrivals(rows(&matching.ended(&gate), &view, window(start_s)).await).len();
        assert_eq!((ended(10).await, ended(40).await), (1, 0));
        let there = async |start_s: i64| rows(&matching.proof(&gate), &view, window(start_s)).await.len();
        assert_eq!((there(10).await, there(40).await), (1, 0));
    }
}

#[tokio::test]
async fn outside_of_ticks_nothing_seen_is_no_pass_and_spans_without_a_match_are_one() {
    let by_service = only_gate(&load_text(GATE));
    let whole = only_gate(&load_text(
        "groups: [{name: g, gates: [{gate: a, sql: \"SELECT 1 FROM spans WHERE status_code = 'error'\", window: 1m, on: \
         ingest}]}]",
    ));
    let strict = Gate { min_samples: 2, ..by_service.clone() };
    for view in views().await {
        let runner = runner(over(&view));
        let judged = async |gate: &Gate, start_s: i64, end_s: i64| {
            let asked = ask(gate, NOW + start_s * S, NOW + end_s * S);
            let mut rows = rows_of(&runner, asked).await.unwrap();
            rows.sort_by_key(|row| row.key.clone());
            rows.iter().map(|row| (judge(gate, row, None).outcome, row.n)).collect::<Vec<_>>()
        };
        assert_eq!(judged(&whole, -90, -30).await, [(Outcome::NoData, Some(0))]);
        assert_eq!(judged(&whole, 2, 5).await, [(Outcome::Pass, Some(2))]);
        assert_eq!(judged(&whole, 0, 5).await, [(Outcome::Fail, Some(1))]);
        assert!(judged(&by_service, -90, -30).await.is_empty());
        assert_eq!(judged(&by_service, 2, 5).await, [(Outcome::Pass, Some(1)), (Outcome::Pass, Some(1))]);
        assert_eq!(judged(&by_service, 0, 5).await, [(Outcome::Fail, Some(1)), (Outcome::Pass, Some(1))]);
        assert_eq!(judged(&strict, 0, 5).await, [(Outcome::Fail, Some(1)), (Outcome::NoData, Some(1))]);
    }
}

#[tokio::test]
async fn a_trace_has_settled_by_arrival_once_none_of_its_spans_came_for_so_long() {
    let gate = only_gate(&load_text(
        "groups: [{name: g, gates: [{gate: a, assert: {complete: true}, window: 1m, on: trace}]}]",
    ));
    assert_eq!(gate.class(), "trace");
    let assertion = gate.assertion.clone().unwrap();
    let early = Gate { source: Source { sql: assertion.sql_arrived(), ..gate.source.clone() }, ..gate.clone() };
    // It ended 20 s before it came.
    let root = Span { parent: None, ..span(1, "cart", "ok", -20) };
    let view = Fill::new().memory(&[root]).view();
    let n = async |gate: &Gate, end_s: i64| {
        let rows = run(&over(&view), &ask(gate, NOW - 40 * S, NOW + end_s * S)).await.unwrap();
        assert_eq!(rows.len(), 1, "{rows:?}");
        rows[0].n
    };
    assert_eq!((n(&gate, 5).await, n(&early, 5).await), (Some(1), Some(0)), "in event time it has");
    assert_eq!((n(&early, 9).await, n(&early, 11).await), (Some(0), Some(1)));
}
