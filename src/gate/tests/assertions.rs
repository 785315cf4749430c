//! Assertions over a store: what `assert` becomes gives what walking the traces by hand gives.

use serde_json::{Value, json};

use super::super::assertion::selector::{About, Literal, Narrowed, Relation, Selector, Step};
use super::super::result::ResultRow;
use super::super::verdict::{Outcome, judge};
use super::run::{ask, only_gate, over, run};
use super::*;
use crate::query::tests::fixture::{Fill, NOW, Promotions, Span, Val};
use crate::span::TraceId;
use crate::store::View;

const MS: i64 = 1_000_000;
const S: i64 = 1_000_000_000;

/// A gate over `assert` and more keys.
fn asserting(assert: &Value, more: &str) -> Gate {
    only_gate(&load_text(&format!("groups: [{{name: g, gates: [{{gate: a, assert: {assert}, window: 1m{more}}}]}}]")))
}

/// The rows of `gate` in the seconds from `from_s` to `to_s` behind [`NOW`].
async fn rows_in(gate: &Gate, view: &View, (from_s, to_s): (i64, i64)) -> Vec<ResultRow> {
    run(&over(view), &ask(gate, NOW + from_s * S, NOW + to_s * S)).await.unwrap()
}

/// The only row of `gate` over `spans` in the minute from [`NOW`].
async fn only_row(gate: &Gate, spans: &[Span]) -> ResultRow {
    let mut rows = rows_in(gate, &Fill::new().memory(spans).view(), (0, 60)).await;
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows.remove(0)
}

fn count(row: &ResultRow, column: &str) -> u64 {
    row.evidence[column].as_u64().unwrap_or_else(|| panic!("{column}: {:?}", row.evidence))
}

/// Which of `checks` the one trace in `spans` keeps to.
async fn kept(spans: &[Span], checks: &[Value]) -> Vec<bool> {
    let mut kept = Vec::new();
    for some in checks.chunks(20) {
        let row = only_row(&asserting(&json!({ "checks": some }), ""), spans).await;
        assert_eq!(row.n, Some(1));
        kept.extend((1..=some.len()).map(|no| count(&row, &format!("failed_{no}")) == 0));
        let all = kept[kept.len() - some.len()..].iter().all(|kept| *kept);
        assert_eq!(row.value, Some(f64::from(u8::from(all))));
    }
    kept
}

/// A span of the first trace.
fn span(id: u64, parent: Option<u64>, name: &'static str, (start_ms, end_ms): (i64, i64)) -> Span {
    let (start, duration) = (NOW + start_ms * MS, (end_ms - start_ms) * MS);
    Span { parent, name, start, duration, kind: "internal", service: "cart", ..Span::new(1, id) }
}

/// A request: under the root db, charge and db again, and ledger under charge.
fn request() -> Vec<Span> {
    let db = |id, times, system: &str| {
        Span { kind: "client", ..span(id, Some(1), "db", times) }.with("db.system.name", system)
    };
    vec![
        Span { kind: "server", ..span(1, None, "GET /cart", (0, 100)) }.with("http.status_code", 200),
        db(2, (10, 30), "redis"),
        Span { kind: "client", service: "pay", ..span(3, Some(1), "charge", (40, 70)) }
            .with("app.note", "it's 5 o'clock"),
        Span { service: "pay", status: "error", ..span(4, Some(3), "ledger", (45, 60)) }
            .with("app.share", Val::Double(0.25)),
        db(5, (80, 90), "postgresql"),
    ]
}

#[tokio::test]
async fn selectors_select_by_place_columns_and_attributes() {
    let selected = [
        ("span", 5),
        ("span[]", 5),
        ("span[name=\"db\"]", 2),
        ("span span", 4),
        ("span span span", 1),
        ("span span span span", 0),
        ("span[name=\"GET /cart\"] span[name=\"ledger\"]", 1),
        ("span[name=\"GET /cart\"] > span[name=\"ledger\"]", 0),
        ("span[name=\"GET /cart\"] > span", 3),
        ("span > span > span[name=\"ledger\"]", 1),
        ("span[name=\"db\"] span", 0),
        ("span[name=\"charge\"] ~ span", 1),
        ("span[name=\"db\"] ~ span", 2),
        ("span[name=\"db\"] ~ span[name=\"db\"]", 1),
        ("span[name=\"db\"] ~ span > span", 1),
        ("span[name=\"GET /cart\"] ~ span", 0),
        ("span[name=\"db\"], span[name=\"ledger\"]", 3),
        ("span[name=\"db\"], span[kind=\"client\"]", 3),
        ("span:root", 1),
        ("span:leaf", 3),
        ("span:error", 1),
        ("span:error:root", 0),
        ("span[kind=\"client\"]:first", 1),
        ("span[kind=\"client\"]:first ~ span", 2),
        ("span[kind=\"client\"]:last ~ span", 0),
        ("span[kind=\"client\"]:nth(2) > span", 1),
        ("span[kind=\"client\"]:nth(4)", 0),
        ("span:leaf:first ~ span", 2),
        ("span:first:leaf", 0),
        ("span[attr.\"db.system.name\"=\"redis\"]", 1),
        ("span[db.system.name!=\"redis\"]", 1),
        ("span[not(db.system.name=\"redis\")]", 4),
        ("span[exists(db.system.name)]", 2),
        ("span[not(exists(attr.\"db.system.name\"))]", 3),
        ("span[db.system.name^=\"post\"]", 1),
        ("span[db.system.name$=\"is\"]", 1),
        ("span[db.system.name*=\"gres\"]", 1),
        ("span[name contains \"a\"]", 2),
        ("span[name~=\"^(GET|led)\"]", 2),
        ("span[http.status_code=200]", 1),
        ("span[http.status_code>=400]", 0),
        ("span[app.share<0.5]", 1),
        ("span[app.note=\"it's 5 o'clock\"]", 1),
        ("span[app.note=\"' OR true --\"]", 0),
        ("span[service=\"pay\" status=\"error\"]", 1),
        ("span[duration>=20ms,duration<50ms]", 2),
        ("span[service='cart'] span[name='ledger']", 1),
    ];
    let exactly = |(select, count): (&str, i32)| json!({ "select": select, "expect": format!("count == {count}") });
    let kept = kept(&request(), &selected.map(exactly)).await;
    let wrong: Vec<_> = selected.iter().zip(kept).filter(|(_, kept)| !kept).map(|(selected, _)| selected).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn what_is_expected_holds_of_all_any_none_or_so_many_of_the_selected() {
    let db = |that: &[&str], expect: &str| json!({ "select": "span[name=\"db\"]", "that": that, "expect": expect });
    let nothing = |expect: &str| json!({ "select": "span[name=\"cache\"]", "that": ["true"], "expect": expect });
    let (short, redis) = ("duration_ns < 15000000", "attributes['db.system.name'] = 'redis'");
    let null = "attributes['app.absent'] = 'x'";
    let expected = [
        (json!({ "select": "span[name=\"db\"]" }), true),
        (db(&["duration_ns < 50000000", "kind = 'client'"], "all"), true),
        (db(&[short], "all"), false),
        (db(&[null], "all"), false),
        (db(&[short], "any"), true),
        (db(&[short, redis], "any"), false),
        (db(&[null], "any"), false),
        (db(&[short, redis], "none"), true),
        (db(&[null], "none"), true),
        (db(&[short], "none"), false),
        (db(&[short], "count == 1"), true),
        (db(&[], "count >= 3"), false),
        (db(&[], "count in [1, 2]"), true),
        (db(&[], "count not in [1, 2]"), false),
        (db(&[], "count != 2"), false),
        (nothing("all"), false),
        (nothing("any"), false),
        (nothing("none"), true),
        (nothing("count == 0"), true),
        (nothing("count < 1"), true),
    ];
    let checks: Vec<Value> = expected.iter().map(|(check, _)| check.clone()).collect();
    let kept = kept(&request(), &checks).await;
    assert_eq!(kept, expected.map(|(_, kept)| kept));
}

#[tokio::test]
async fn before_asks_that_all_of_the_first_ended_when_the_others_start_and_that_both_are_there() {
    let before = |first: &str, then: &str| json!({ "before": { "first": format!("span[name=\"{first}\"]"), "then": format!("span[name=\"{then}\"]") } });
    let spans = [
        span(1, None, "root", (0, 100)),
        span(2, Some(1), "reserve", (10, 20)),
        span(3, Some(1), "reserve", (15, 40)),
        span(4, Some(1), "charge", (40, 60)),
        span(5, Some(4), "ship", (59, 70)),
    ];
    let checks = [
        before("reserve", "charge"),
        before("charge", "reserve"),
        before("reserve", "ship"),
        before("charge", "ship"),
        before("reserve", "absent"),
        before("absent", "charge"),
    ];
    assert_eq!(kept(&spans, &checks).await, [true, false, true, false, false, false]);
}

#[tokio::test]
async fn an_orphan_a_second_root_and_giving_up_fail_a_trace_that_must_be_complete() {
    let whole = asserting(&json!({ "complete": true, "give_up": "20s", "quiet": "1s" }), "");
    let checked = asserting(&json!({ "checks": [{ "select": "span" }], "give_up": "20s", "quiet": "1s" }), "");
    let (root, child) = (span(1, None, "root", (0, 100)), span(2, Some(1), "child", (10, 20)));
    let orphan = span(3, Some(77), "orphan", (10, 20));
    let second = span(4, None, "second", (10, 20));
    for (spans, is_complete, incomplete) in [
        (vec![root.clone(), child.clone()], true, 0),
        // Sent twice, it is there once.
        (vec![root.clone(), child.clone(), root.clone(), child.clone()], true, 0),
        (vec![root.clone(), child.clone(), orphan], false, 0),
        (vec![root.clone(), child.clone(), second], false, 0),
        (vec![child.clone()], false, 1),
    ] {
        let row = only_row(&whole, &spans).await;
        assert_eq!((row.value, row.n), (Some(f64::from(u8::from(is_complete))), Some(1)), "{spans:?}");
        assert_eq!((count(&row, "incomplete"), count(&row, "failed_1")), (incomplete, u64::from(!is_complete)));
        // What is not asked does not fail it.
        let row = only_row(&checked, &spans).await;
        assert_eq!((row.value, count(&row, "incomplete")), (Some(1.0), incomplete), "{spans:?}");
    }
}

#[tokio::test]
async fn a_type_that_is_waited_for_comes_late_or_is_given_up() {
    let of_type =
        |trace: u128, id, times, of| Span { trace, semconv: Some((of, 0, 0)), ..span(id, Some(1), "late", times) };
    let root = |trace: u128| Span { trace, ..span(1, None, "root", (0, 100)) };
    let spans = [
        root(1),
        of_type(1, 2, (24_000, 25_000), "payment.charge"),
        root(2),
        of_type(2, 2, (24_000, 25_000), "payment.refund"),
        root(3),
    ];
    let view = Fill::new().part(&spans, &Promotions::new(), 2).await.view();
    let check = json!([{ "select": "span[type=\"payment.charge\"]" }]);
    let asks = |wait_for: Value| json!({ "wait_for": wait_for, "give_up": "50s", "checks": check.clone() });
    let (waits, does_not) = (asks(json!(["payment.charge"])), asks(json!([])));
    // Without waiting all of them are quiet at 10.1 s, and nothing that comes later counts.
    let rows = rows_in(&asserting(&does_not, ""), &view, (0, 60)).await;
    assert_eq!((rows[0].value, rows[0].n, count(&rows[0], "incomplete")), (Some(0.0), Some(3), 0));
    // The first is quiet at 35 s; the others are given up at 50.1 s.
    let waits = asserting(&waits, "");
    let rows = rows_in(&waits, &view, (0, 40)).await;
    let row = &rows[0];
    assert_eq!((row.value, row.n, count(row, "incomplete"), count(row, "unsettled")), (Some(1.0), Some(1), 0, 2));
    let rows = rows_in(&waits, &view, (40, 60)).await;
    let row = &rows[0];
    assert_eq!((row.value, row.n, count(row, "incomplete"), count(row, "unsettled")), (Some(0.0), Some(2), 2, 0));
}

/// The instants at which a trace settles, in seconds: its spans as (end, whether it is a root).
fn settles(mut spans: Vec<(i64, bool)>, quiet_s: i64, give_up_s: i64) -> Vec<i64> {
    spans.sort_unstable();
    let mut instants = Vec::new();
    let mut rest = spans.as_slice();
    while let Some(&(first_s, _)) = rest.first() {
        let gap = rest.windows(2).position(|pair| pair[1].0 - pair[0].0 > give_up_s);
        let (part, after) = rest.split_at(gap.map_or(rest.len(), |at| at + 1));
        let is_quiet = |at: &usize| {
            let has_root = part[..=*at].iter().any(|(_, is_root)| *is_root);
            has_root && part.get(at + 1).is_none_or(|(next_s, _)| next_s - part[*at].0 >= quiet_s)
        };
        let quiet = (0..part.len()).find(is_quiet).map(|at| part[at].0 + quiet_s);
        instants.push(quiet.unwrap_or(i64::MAX).min(first_s + give_up_s));
        rest = after;
    }
    instants
}

#[tokio::test]
async fn a_trace_is_judged_in_the_windows_that_hold_the_instant_at_which_it_settled() {
    let chance = crate::clock::Clock::manual(0, 17);
    let random = |below: u64| i64::try_from(chance.random() % below).unwrap();
    let gate = asserting(&json!({ "checks": [{ "select": "span" }], "quiet": "10s", "give_up": "40s" }), "");
    let (mut spans, mut instants) = (Vec::new(), Vec::new());
    for trace in 1..=120 {
        // Few and many spans, close together or far apart; most have a root.
        let (count, from, spread) = (1 + random(6), random(150), [8, 40, 150][random(3) as usize]);
        let mut ends = Vec::new();
        for id in 0..count {
            let (end_s, is_root) = (from + random(spread), random(4) == 0);
            let parent = (!is_root).then_some(99);
            let id = u64::try_from(id).unwrap() + 1;
            spans.push(Span { trace, parent, start: NOW + end_s * S - 5, duration: 5, ..Span::new(trace, id) });
            ends.push((end_s, is_root));
        }
        instants.extend(settles(ends, 10, 40));
    }
    assert!(instants.len() > 125, "some traces come back: {}", instants.len());
    let half = spans.len() / 2;
    let view = Fill::new().part(&spans[..half], &Promotions::new(), 16).await.memory(&spans[half..]).view();
    let mut all = 0;
    let side_by_side = (0..13).map(|at| (at * 30, (at + 1) * 30));
    let overlapping = (0..8).map(|at| (at * 35, at * 35 + 90));
    for (no, (from_s, to_s)) in side_by_side.chain(overlapping).enumerate() {
        let rows = rows_in(&gate, &view, (from_s, to_s)).await;
        let want = instants.iter().filter(|at| (from_s..to_s).contains(at)).count() as u64;
        assert_eq!((rows.len(), rows[0].n), (1, Some(want)), "{from_s} to {to_s}");
        all += if no < 13 { want } else { 0 };
    }
    assert_eq!(all, instants.len() as u64, "windows side by side judge each once");
}

#[tokio::test]
async fn what_ends_after_a_trace_settled_changes_nothing_and_nothing_is_judged_before() {
    let check = json!({ "quiet": "10s", "checks": [{ "select": "span", "expect": "count == 2" }] });
    let gate = asserting(&check, "");
    let spans = [
        span(1, None, "root", (0, 1_000)),
        span(2, Some(1), "child", (10, 20)),
        // It ends at the very instant.
        span(3, Some(1), "late", (10_000, 11_000)),
    ];
    let row = only_row(&gate, &spans).await;
    assert_eq!((row.value, row.n, count(&row, "unsettled")), (Some(1.0), Some(1), 0));
    let view = Fill::new().memory(&spans).view();
    let early = rows_in(&gate, &view, (0, 11)).await;
    assert_eq!((early[0].value, early[0].n, count(&early[0], "unsettled")), (None, Some(0), 1), "half open");
    assert_eq!(judge(&gate, &early[0], None).outcome, Outcome::NoData);
    assert_eq!(rows_in(&gate, &view, (11, 41)).await[0].n, Some(1));
    assert_eq!(rows_in(&gate, &view, (12, 42)).await[0].n, Some(0));
}

#[tokio::test]
async fn spans_behind_which_none_come_need_not_be_quiet() {
    let check = json!({ "checks": [{ "select": "span[status=\"ok\"]" }] });
    let mut gate = asserting(&check, "");
    gate.source.sql = gate.assertion.as_ref().unwrap().sql_at_end();
    let mut spans = Vec::new();
    for (trace, parent, status) in [(1, None, "ok"), (2, None, "error"), (3, Some(9), "ok")] {
        spans.push(Span { trace, parent, status, start: NOW, duration: S, ..Span::new(trace, 1) });
    }
    // The window ends behind the last span, as that of `gates run` does.
    let view = Fill::new().memory(&spans).view();
    let rows = run(&over(&view), &ask(&gate, NOW, NOW + S + 1)).await.unwrap();
    assert_eq!((rows[0].value, rows[0].n, count(&rows[0], "unsettled")), (Some(0.5), Some(2), 1));
}

#[tokio::test]
async fn keys_are_those_of_roots_and_the_newest_traces_that_failed_are_evidence() {
    let mut spans = Vec::new();
    for trace in 1..=12_u128 {
        let at = i64::try_from(trace).unwrap();
        let (name, service) = if trace % 2 == 0 { ("GET /even", "web") } else { ("GET /odd", "shop") };
        // Of the odd ones all fail but the first, of the even ones none.
        let status = if trace % 2 == 0 || trace == 1 { "ok" } else { "error" };
        let times = (at * 100, at * 100 + 50);
        spans.push(Span { trace, service, status, ..span(1, None, name, times) });
        spans.push(Span { trace, service: "db", ..span(2, Some(1), "query", times) });
    }
    // It has not settled, and its name is no key yet.
    spans.push(Span { trace: 50, ..span(1, Some(9), "GET /new", (59_000, 59_500)) });
    let view = Fill::new().memory(&spans).view();
    let check = json!([{ "select": "span:root", "that": ["status_code <> 'error'"] }]);
    for (by, odd, even) in [("root_name", "GET /odd", "GET /even"), ("root_service", "shop", "web")] {
        let gate = asserting(&json!({ "by": by, "checks": check.clone() }), ", pass: \">= 50%\", min_samples: 5");
        assert_eq!(gate.by, [by]);
        let rows = rows_in(&gate, &view, (0, 60)).await;
        assert_eq!(rows.len(), 2, "{rows:?}");
        let of = |key: &str| rows.iter().find(|row| row.key[by] == key).unwrap();
        assert_eq!((of(odd).value, of(odd).n), (Some(1.0 / 6.0), Some(6)));
        assert_eq!((of(even).value, of(even).n), (Some(1.0), Some(6)));
        let newest: Vec<TraceId> = [11_u128, 9, 7, 5, 3].map(|trace| TraceId(trace.to_be_bytes())).to_vec();
        assert_eq!((&of(odd).trace_ids, of(even).trace_ids.len()), (&newest, 0));
        assert_eq!((count(of(odd), "unsettled"), count(of(odd), "failed_1"), count(of(odd), "passed")), (1, 5, 1));
        assert_eq!(judge(&gate, of(odd), None).outcome, Outcome::Fail);
        assert_eq!(judge(&gate, of(even), None).outcome, Outcome::Pass);
    }
    let empty = Fill::new().view();
    let by_name = asserting(&json!({ "by": "root_name", "checks": check.clone() }), "");
    assert!(rows_in(&by_name, &empty, (0, 60)).await.is_empty());
    let none = rows_in(&asserting(&json!({ "checks": check }), ""), &empty, (0, 60)).await;
    assert_eq!((none.len(), none[0].value, none[0].n), (1, None, Some(0)));
}

/// A trace for walking: name, parent and start of each span, whose id is its index and one.
type Walked = Vec<(&'static str, Option<usize>, i64)>;

/// Its spans in pre-order, siblings by start and id.
fn pre_order(trace: &Walked) -> Vec<usize> {
    fn below(trace: &Walked, of: Option<usize>, into: &mut Vec<usize>) {
        // A parent that is not there makes a root.
        let parent = |at: usize| trace[at].1.filter(|parent| *parent < trace.len());
        let mut children: Vec<usize> = (0..trace.len()).filter(|at| parent(*at) == of).collect();
        children.sort_by_key(|at| (trace[*at].2, *at));
        for child in children {
            into.push(child);
            below(trace, Some(child), into);
        }
    }
    let mut order = Vec::new();
    below(trace, None, &mut order);
    order
}

/// What a path of steps selects in `trace`, by walking.
fn walk(trace: &Walked, steps: &[Step]) -> Vec<usize> {
    let order = pre_order(trace);
    let parent = |at: usize| trace[at].1.filter(|parent| *parent < trace.len());
    let is_below =
        |at: usize, top: usize| std::iter::successors(parent(at), |above| parent(*above)).any(|above| above == top);
    let mut selected: Vec<usize> = Vec::new();
    for step in steps {
        let relates = |at: usize| match step.relation {
            Relation::Anywhere => true,
            Relation::Descendant => selected.iter().any(|top| is_below(at, *top)),
            Relation::Child => parent(at).is_some_and(|parent| selected.contains(&parent)),
            Relation::LaterSibling => selected.iter().any(|other| {
                parent(at).is_some() && parent(at) == parent(*other) && (trace[*other].2, *other) < (trace[at].2, at)
            }),
        };
        let is_named = |at: usize| {
            step.tests.iter().all(|test| {
                let About::Compared(_, _, Literal::Text(name)) = &test.about else { panic!("{test:?}") };
                (trace[at].0 == name) != test.is_negated
            })
        };
        let mut next: Vec<usize> = order.iter().copied().filter(|at| relates(*at) && is_named(*at)).collect();
        for narrowed in &step.narrowed {
            match narrowed {
                Narrowed::Nth(rank) => next = next.into_iter().skip(*rank as usize - 1).take(1).collect(),
                Narrowed::Last => next = next.last().copied().into_iter().collect(),
                Narrowed::Leaf => next.retain(|at| (0..trace.len()).all(|other| parent(other) != Some(*at))),
                Narrowed::Root => next.retain(|at| trace[*at].1.is_none()),
                Narrowed::Error => panic!("no span has an error"),
            }
        }
        selected = next;
    }
    selected
}

#[tokio::test]
async fn selectors_select_what_walking_selects_in_any_trees() {
    let chance = crate::clock::Clock::manual(0, 5);
    let random = |below: usize| usize::try_from(chance.random() % below as u64).unwrap();
    let (names, mut nonempty) = (["a", "b", "c"], 0);
    for round in 0..4 {
        let mut traces: Vec<Walked> = Vec::new();
        let mut spans = Vec::new();
        for trace in 1..=40_u128 {
            let mut walked = Walked::new();
            for at in 0..=random(9) {
                let parent = match random(8) {
                    0 => None,
                    1 => Some(90),
                    _ => at.checked_sub(1).map(|last| random(last + 1)),
                };
                let start_ms = i64::try_from(random(5)).unwrap();
                walked.push((names[random(3)], parent, start_ms));
                let (id, parent) = (at as u64 + 1, parent.map(|parent| parent as u64 + 1));
                spans.push(Span { trace, ..span(id, parent, walked[at].0, (start_ms, start_ms + 1)) });
            }
            traces.push(walked);
        }
        let step = || {
            let test = match random(4) {
                0 => String::new(),
                1 => format!("[not(name=\"{}\")]", names[random(3)]),
                _ => format!("[name=\"{}\"]", names[random(3)]),
            };
            let narrowed = ["", "", "", ":first", ":last", ":nth(2)", ":leaf", ":root"][random(8)];
            format!("span{test}{narrowed}")
        };
        let path = || {
            let more = (0..random(3)).map(|_| format!("{}{}", [" ", ">", " ~ "][random(3)], step()));
            let more: Vec<String> = more.collect();
            format!("{}{}", step(), more.concat())
        };
        let selectors: Vec<String> =
            (0..10).map(|_| if random(4) == 0 { format!("{}, {}", path(), path()) } else { path() }).collect();
        let least = 1 + round % 2;
        let checks: Vec<Value> =
            selectors.iter().map(|select| json!({ "select": select, "expect": format!("count >= {least}") })).collect();
        let gate = asserting(&json!({ "checks": checks, "give_up": "20s" }), "");
        // What is sent in another order stands at the same places.
        spans.reverse();
        let row = only_row(&gate, &spans).await;
        assert_eq!(row.n, Some(40));
        for (no, select) in selectors.iter().enumerate() {
            let paths = Selector::parse(select).unwrap().paths;
            let failed = traces.iter().filter(|trace| {
                let mut all: Vec<usize> = paths.iter().flat_map(|steps| walk(trace, steps)).collect();
                all.sort_unstable();
                all.dedup();
                nonempty += usize::from(!all.is_empty());
                all.len() < least
            });
            let failed = failed.count() as u64;
            assert_eq!(count(&row, &format!("failed_{}", no + 1)), failed, "{select}: {traces:?}");
        }
    }
    assert!(nonempty > 200, "{nonempty}");
}

#[test]
fn what_an_assertion_becomes_is_one_bounded_scan_and_a_new_question_when_it_changes() {
    let select = "span span > span ~ span:first:last span span";
    let check = json!([{ "select": select }, { "select": format!("span:error, {select}"), "expect": "none" }]);
    let gate = asserting(&json!({ "by": "root_name", "complete": true, "checks": check.clone() }), "");
    assert!(gate.source.explicit_window && !gate.source.is_derived);
    assert_eq!(gate.source.sql.matches("FROM spans").count(), 1, "{}", gate.source.sql);
    assert!(gate.source.sql.contains("$window_start - INTERVAL '600 seconds'"), "{}", gate.source.sql);
    assert_eq!((gate.pass.test, gate.min_samples), (Test::Is(1.0), 1));
    let same = asserting(&json!({ "by": "root_name", "complete": true, "checks": check.clone() }), ", min_samples: 3");
    assert_eq!(super::super::question(&gate), super::super::question(&same));
    for other in [
        json!({ "complete": true, "checks": check.clone() }),
        json!({ "by": "root_name", "complete": true, "quiet": "5s", "checks": check.clone() }),
        json!({ "by": "root_name", "complete": true, "checks": [{ "select": "span" }] }),
    ] {
        assert_ne!(super::super::question(&gate), super::super::question(&asserting(&other, "")), "{other}");
    }
    let shown = gate.assertion.as_ref().unwrap().shown();
    assert_eq!(
        (&shown["by"], &shown["quiet"], &shown["checks"][0]["select"]),
        (&json!("root_name"), &json!("10s"), &json!(select))
    );
    assert_eq!(shown["checks"][1]["expect"], "none");
}
