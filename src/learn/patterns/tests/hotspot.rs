//! `error_hotspot` against its plain form, which takes every pair of every span apart, and `newest` against an order.

use std::collections::BTreeMap;
use std::time::Instant;

use arrow::datatypes::DataType;

use super::*;
use crate::query::tests::fixture::{ask as ask_rows, explain};
use crate::store::View;

const PLAIN: &str = include_str!("../../../../tests/data/learn/error_hotspot_plain.sql");
const SERVICES: [&str; 3] = ["cart", "pay", "shop"];
/// Few, so that values repeat; the first two lie in columns of their own in parts.
const KEYS: [&str; 5] = ["plan", "code", "region", "weavergen.note", "b"];

/// What a statement finds, in order; planned without a limit of time, which a busy machine would overrun.
async fn found(view: &View, sql: &str) -> Vec<Vec<String>> {
    // Few spans make few pairs that ten of them share.
    let sql = sql.replace(">= 10", ">= 2");
    let mut rows = ask_rows(view, sql.trim_end().trim_end_matches(';')).await;
    rows.sort();
    rows
}

fn value() -> impl Strategy<Value = Val> {
    prop_oneof![
        6 => (0..3_i64).prop_map(Val::Int),
        6 => (0..3_usize).prop_map(|at| Val::from(["a", "0", "true"][at])),
        2 => any::<bool>().prop_map(Val::Bool),
        2 => (0..2_i32).prop_map(|half| Val::Double(f64::from(half) / 2.0)),
        1 => Just(Val::Empty),
        1 => Just(Val::from("")),
        1 => Just(Val::Bytes(vec![1])),
        1 => Just(Val::Array),
        1 => Just(Val::from("y".repeat(129).as_str())),
    ]
}

/// A span: service, whether it fails, attributes of which a key may come twice, whether it has more than 64 others.
type Given = (usize, bool, Vec<(usize, Val)>, bool);

fn given() -> impl Strategy<Value = Given> {
    let attributes = proptest::collection::vec((0..KEYS.len(), value()), 0..7);
    (0..SERVICES.len(), prop::bool::weighted(0.4), attributes, prop::bool::weighted(0.05))
}

fn span(id: usize, (service, is_bad, attributes, is_wide): &Given) -> Span {
    let number = u64::try_from(id).unwrap() + 1;
    let mut span = Span {
        // Some begin at the same time, and some are of one trace.
        start: NOW + i64::try_from(id / 2).unwrap(),
        service: SERVICES[*service],
        status: if *is_bad { "error" } else { "ok" },
        ..Span::new(u128::from(number % 50), number)
    };
    for (key, value) in attributes {
        span = span.with(KEYS[*key], value.clone());
    }
    if *is_wide {
        for at in 0..70_i64 {
            span = span.with(&format!("k{at:03}"), at);
        }
    }
    span
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn error_hotspot_gives_what_its_plain_form_gives(all in proptest::collection::vec(given(), 40..240), cut in 1..40_usize) {
        let spans: Vec<Span> = all.iter().enumerate().map(|(id, given)| span(id, given)).collect();
        let columns = [("attr.plan".to_owned(), DataType::Utf8View), ("attr.code".to_owned(), DataType::Int64)].into();
        let (plain, shipped) = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let view = Fill::new().part(&spans[..cut], &columns, 16).await.memory(&spans[cut..]).view();
            (found(&view, PLAIN).await, found(&view, &shipped("error_hotspot").sql).await)
        });
        prop_assert_eq!(plain, shipped);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 50, ..ProptestConfig::default() })]

    #[test]
    fn newest_keeps_the_first_five_of_all_rows_in_order(all in proptest::collection::vec(given(), 20..120), cut in 1..20_usize) {
        // Times and traces repeat.
        let spans: Vec<Span> = all.iter().enumerate().map(|(id, given)| span(id * 37 % 60, given)).collect();
        let (kept, ordered) = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let view = Fill::new().part(&spans[..cut], &BTreeMap::new(), 5).await.memory(&spans[cut..]).view();
            let kept = "SELECT service_name, newest(trace_id, start_time) FROM spans GROUP BY 1 ORDER BY 1";
            let ordered = "SELECT service_name, array_agg(trace_id ORDER BY place) FROM (SELECT service_name, trace_id, \
                row_number() OVER (PARTITION BY service_name ORDER BY start_time DESC, trace_id) AS place FROM spans) \
                WHERE place <= 5 GROUP BY 1 ORDER BY 1";
            (ask_rows(&view, kept).await, ask_rows(&view, ordered).await)
        });
        prop_assert_eq!(kept, ordered);
    }
}

/// `count` spans of which one in twenty fails, each with ten attributes, two of them of many values.
fn standard(count: usize) -> Vec<Span> {
    let of = |id: usize| {
        let number = i64::try_from(id).unwrap();
        let attribute = |at: usize| match at {
            0 => Val::Int(number),
            1 => Val::from(format!("/item/{id}").as_str()),
            at => Val::from(format!("value-{}", id % (at * 3)).as_str()),
        };
        let given = (id % SERVICES.len(), id.is_multiple_of(20), Vec::new(), false);
        (0..10).fold(span(id, &given), |span, at| span.with(&format!("app.key.{at}"), attribute(at)))
    };
    (0..count).map(of).collect()
}

#[tokio::test]
async fn error_hotspot_reads_the_spans_twice() {
    let view = Fill::new().memory(&standard(400)).view();
    let plan = explain(&view, shipped("error_hotspot").sql.trim_end().trim_end_matches(';')).await;
    assert_eq!(plan.matches("MemoryExec").count(), 2, "{plan}");
}

#[tokio::test]
#[ignore = "a measurement: prints how long both forms take"]
async fn error_hotspot_beside_its_plain_form() {
    let columns =
        [("attr.app.key.3".to_owned(), DataType::Utf8View), ("attr.app.key.0".to_owned(), DataType::Int64)].into();
    let spans = standard(30_000);
    for view in [Fill::new().memory(&spans).view(), Fill::new().part(&spans, &columns, 20_000).await.view()] {
        let mut seconds = [0.0, 0.0];
        for _ in 0..3 {
            for (at, sql) in [PLAIN, &shipped("error_hotspot").sql].into_iter().enumerate() {
                let started = Instant::now();
                assert!(!found(&view, sql).await.is_empty());
                seconds[at] += started.elapsed().as_secs_f64() / 3.0;
            }
        }
        println!("plain {:.3} s, shipped {:.3} s: {:.1} times", seconds[0], seconds[1], seconds[0] / seconds[1]);
    }
}
