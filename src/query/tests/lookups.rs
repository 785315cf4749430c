//! Claims about lookups by trace: the index changes what is read, never what is answered.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::fixture::*;
use crate::query::Config;
use crate::store::View;

/// Ids of traces are these from 1 on.
const TRACES: u64 = 400;

/// Spans of random traces, in runs, with an attribute `n` that is a number or a text.
fn spans(chance: &mut ChaCha8Rng, count: usize, first_id: u64) -> Vec<Span> {
    let mut trace = 1;
    (0..count as u64)
        .map(|at| {
            if chance.next_u64().is_multiple_of(4) {
                trace = 1 + chance.next_u64() % TRACES;
            }
            let start = NOW + i64::try_from(chance.next_u64() % 3_600_000_000_000).unwrap();
            let name = ["op", "GET /cart", "pay"][usize::try_from(chance.next_u64() % 3).unwrap()];
            let span = Span { start, name, ..Span::new(u128::from(trace), first_id + at) };
            match chance.next_u64() % 3 {
                0 => span,
                1 => span.with("n", i64::try_from(chance.next_u64() % 10).unwrap()),
                _ => span.with("n", "five"),
            }
        })
        .collect()
}

/// Four parts, one of them with row groups of several zones, and three batches in memory.
async fn view(chance: &mut ChaCha8Rng) -> (View, Vec<Span>) {
    let promoted: Promotions = [("attr.n".to_owned(), arrow::datatypes::DataType::Int64)].into();
    let mut all = Vec::new();
    let mut fill = Fill::new();
    for (count, group_rows) in [(300, 50), (60_000, 40_000), (90, 7), (1_000, 1_000)] {
        let of_part = spans(chance, count, 1 + all.len() as u64);
        let promotions = if count == 90 { Promotions::new() } else { promoted.clone() };
        fill = fill.part(&of_part, &promotions, group_rows).await;
        all.extend(of_part);
    }
    let in_memory = spans(chance, 200, 1 + all.len() as u64);
    all.extend(in_memory.clone());
    // A batch that is searched itself, and two with a filter.
    for batch in [&in_memory[..10], &in_memory[10..90], &in_memory[90..]] {
        fill = fill.memory(batch);
    }
    (fill.view(), all)
}

fn id(trace: u64) -> String {
    format!("trace_id('{trace:032x}')")
}

/// The ids of the spans that `keep`, as a statement that selects `hex(span_id)` answers.
fn expected(all: &[Span], keep: impl Fn(&Span) -> bool) -> Vec<String> {
    let mut ids: Vec<String> = all.iter().filter(|span| keep(span)).map(|span| format!("{:016x}", span.id)).collect();
    ids.sort();
    ids
}

async fn span_ids(view: &View, filter: &str) -> Vec<String> {
    let rows = ask(view, &format!("SELECT hex(span_id) FROM spans WHERE {filter} ORDER BY 1")).await;
    rows.into_iter().map(|mut row| row.remove(0)).collect()
}

#[tokio::test]
async fn answers_with_the_index_are_those_without_it_and_those_of_a_search() {
    let mut chance = ChaCha8Rng::seed_from_u64(21);
    let (view, all) = view(&mut chance).await;
    let mut without = view.clone();
    without.indexes = None;
    for round in 0..8 {
        let [a, b, c] = [(); 3].map(|()| 1 + chance.next_u64() % TRACES);
        // Not every id is there.
        let far = TRACES + 1 + chance.next_u64() % 1_000;
        let is = |span: &Span, traces: &[u64]| traces.iter().any(|trace| u128::from(*trace) == span.trace);
        let number = |span: &Span| match span.attributes.first() {
            Some((_, Val::Int(n))) => Some(*n),
            _ => None,
        };
        let list = [a, b, c, far].map(id).join(", ");
        let half = NOW + 1_800_000_000_000;
        let cases: Vec<(String, Vec<String>)> = vec![
            (format!("trace_id = {}", id(a)), expected(&all, |s| is(s, &[a]))),
            (format!("trace_id = '{far:032x}'"), vec![]),
            (format!("trace_id IN ({list})"), expected(&all, |s| is(s, &[a, b, c]))),
            (
                format!("trace_id = {} OR trace_id = {} AND name = 'pay'", id(a), id(b)),
                expected(&all, |s| is(s, &[a]) || is(s, &[b]) && s.name == "pay"),
            ),
            (
                format!("trace_id = {} AND start_time >= '2023-11-14T22:43:20Z'", id(a)),
                expected(&all, |s| is(s, &[a]) && s.start >= half),
            ),
            (
                format!("trace_id IN ({list}) AND attributes['n'] > 4"),
                expected(&all, |s| is(s, &[a, b, c]) && number(s).is_some_and(|n| n > 4)),
            ),
            (
                format!("trace_id = {} AND attributes['n'] = 'five'", id(a)),
                expected(&all, |s| is(s, &[a]) && s.attributes.first().is_some_and(|(_, v)| *v == Val::from("five"))),
            ),
            (format!("trace_id = {} AND trace_id = {}", id(a), id(a + 1)), vec![]),
            (format!("NOT trace_id IN ({list}) AND name = 'pay' AND start_time < '2023-11-14T22:14:00Z'"), {
                expected(&all, |s| !is(s, &[a, b, c]) && s.name == "pay" && s.start < NOW + 40_000_000_000)
            }),
        ];
        for (filter, expected) in cases {
            assert_eq!(span_ids(&view, &filter).await, expected, "round {round}: {filter}");
            if round == 0 {
                assert_eq!(span_ids(&without, &filter).await, expected, "without an index: {filter}");
            }
        }
        let sql = format!(
            "SELECT p.name, c.name, count(*) FROM spans p JOIN spans c ON c.trace_id = p.trace_id AND c.name = 'pay' \
             WHERE p.trace_id = {} GROUP BY 1, 2 ORDER BY 1, 2",
            id(a)
        );
        assert_eq!(ask(&view, &sql).await, ask(&without, &sql).await, "{sql}");
        let sql = format!("SELECT span_count, root_name FROM traces WHERE trace_id = {}", id(b));
        assert_eq!(ask(&view, &sql).await, ask(&without, &sql).await, "{sql}");
    }
}

#[tokio::test]
async fn a_lookup_opens_the_parts_that_hold_the_trace_and_decodes_its_rows_only() {
    let rare = |trace: u128, count: u64, at: u64| -> Vec<Span> {
        (0..count).map(|n| Span::new(if n == at { trace } else { 7 }, 1 + n).with("n", "x")).collect()
    };
    let promoted = &Promotions::new();
    let view = Fill::new()
        .part(&rare(500, 40, 13), promoted, 10)
        .await
        .part(&rare(501, 40_000, 17_000), promoted, 40_000)
        .await
        .part(&rare(502, 40, 0), promoted, 10)
        .await
        .view();
    for (trace, left) in [(500_u64, "row_groups=1, rows=10"), (501, "row_groups=1, rows=16384")] {
        let sql = format!("SELECT * FROM spans WHERE trace_id = {}", id(trace));
        let plan = explain(&view, &sql).await;
        assert!(plan.contains(&format!("TraceLookupExec: traces=1, parts=1 of 3, {left}")), "{plan}");
        // A long file may be named once for each range of its bytes.
        let named = view.parts.parts.iter().map(|part| plan.contains(&part.entry.path)).collect::<Vec<_>>();
        assert_eq!(named, [500, 501, 502].map(|of| of == trace), "{plan}");
        let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
        // The decoder looks for the id: all else of the zone is not made into rows.
        assert!(scan.contains("output_rows=1,"), "{scan}");
        assert!(plan.lines().any(|line| line.contains("FilterExec")), "the filter stays above: {plan}");
    }
    let plan = explain(&view, &format!("SELECT * FROM spans WHERE trace_id = {}", id(9))).await;
    assert!(!plan.contains(".parquet"), "no part holds it: {plan}");
    let plan = explain(&view, &format!("SELECT * FROM traces WHERE trace_id = {}", id(502))).await;
    assert!(plan.contains("TraceLookupExec: traces=1, parts=1 of 3"), "{plan}");
    let plan = explain(&view, "SELECT * FROM spans WHERE name = 'op'").await;
    assert!(!plan.contains("TraceLookupExec"), "{plan}");
}

#[tokio::test]
async fn zones_of_one_part_are_read_by_several_partitions() {
    let mut chance = ChaCha8Rng::seed_from_u64(23);
    // Each trace is in most of the five zones.
    let all = spans(&mut chance, 60_000, 1);
    let view = Fill::new().part(&all, &Promotions::new(), 40_000).await.view();
    let session = session_with(&view, &Config { threads: 4, ..Config::default() });
    for trace in 1..=4 {
        let sql = format!("SELECT hex(span_id) FROM spans WHERE trace_id = {} ORDER BY 1", id(trace));
        let rows: Vec<String> = try_ask_in(&session, &sql).await.unwrap().into_iter().flatten().collect();
        assert_eq!(rows, expected(&all, |span| span.trace == u128::from(trace)));
    }
    let plan = try_ask_in(&session, &format!("EXPLAIN SELECT * FROM spans WHERE trace_id = {}", id(1))).await.unwrap();
    let plan = plan.concat().join("\n");
    assert!(plan.contains("parts=1 of 1, row_groups=2, "), "{plan}");
    // The engine cuts each of the two pieces into ranges of bytes besides, as it does a file.
    assert_eq!(plan.matches(".parquet:0..").count(), 2, "{plan}");
}

#[tokio::test]
async fn of_memory_a_lookup_reads_the_batches_that_hold_the_trace() {
    let rare = |trace: u128, count: u64| -> Vec<Span> {
        (0..count).map(|n| Span::new(if n == 3 { trace } else { 7 }, 1 + n).with("n", "x")).collect()
    };
    let fill = Fill::new().part(&rare(500, 40), &Promotions::new(), 10).await;
    let view = fill.memory(&rare(501, 5)).memory(&rare(502, 100)).memory(&rare(503, 1_000)).view();
    // The second asks the filters that the first has made.
    for _ in 0..2 {
        for (trace, batches) in [(501, "batches=1, rows=5"), (502, "batches=1, rows=100"), (7, "batches=3, rows=1105")]
        {
            let plan = explain(&view, &format!("SELECT * FROM spans WHERE trace_id = {}", id(trace))).await;
            assert!(plan.contains(batches), "{plan}");
            assert!(plan.lines().any(|line| line.contains("FilterExec")), "the filter stays above: {plan}");
        }
        let two = format!("SELECT * FROM spans WHERE trace_id IN ({}, {})", id(501), id(503));
        let plan = explain(&view, &two).await;
        assert!(plan.contains("batches=2, rows=1005"), "{plan}");
        for nowhere in [500, 9] {
            let plan = explain(&view, &format!("SELECT * FROM spans WHERE trace_id = {}", id(nowhere))).await;
            assert!(!plan.contains("MemoryExec"), "{plan}");
        }
    }
    let plan = explain(&view, "SELECT * FROM spans WHERE name = 'op'").await;
    assert!(plan.contains("batches=3, rows=1105"), "{plan}");
}

#[tokio::test]
async fn a_part_without_an_index_is_searched_whole_beside_the_others() {
    let mut chance = ChaCha8Rng::seed_from_u64(22);
    let (view, all) = view(&mut chance).await;
    let objects: Arc<dyn ObjectStore> = view.objects.clone();
    let lost = view.parts.parts[1].entry.index.clone().unwrap();
    objects.delete(&Path::from(lost)).await.unwrap();
    for _ in 0..5 {
        let trace = 1 + chance.next_u64() % TRACES;
        let filter = format!("trace_id = {}", id(trace));
        assert_eq!(span_ids(&view, &filter).await, expected(&all, |s| s.trace == u128::from(trace)));
    }
    let plan = explain(&view, &format!("SELECT * FROM spans WHERE trace_id = {}", id(1))).await;
    assert!(plan.contains(" of 3, row_groups="), "{plan}");
    assert_eq!(plan.matches("DataSourceExec").count(), 2, "{plan}");
    let wanted = view.indexes.as_ref().unwrap().take_wanted();
    assert_eq!(wanted.into_iter().map(|part| part.path).collect::<Vec<_>>(), [view.parts.parts[1].entry.path.clone()]);
}
