//! Claims about statements that are bound to a position: the rows at or below it, wherever they lie by now.

use prometheus::Registry;

use super::fixture::{Fill, NOW, Promotions, Span, one};
use crate::clock::Clock;
use crate::query::render::value::text;
use crate::query::{Config, Gateway, Statement};
use crate::store::samples::{self, store_at};

/// The rows of `sql` as text, columns joined, and the position that the answer names.
async fn rows(gateway: &Gateway, sql: &str, as_of_us: Option<i64>) -> (Vec<String>, i64) {
    let mut answer = gateway.run(Statement { as_of_us, ..Statement::new(sql) }).await.unwrap();
    let mut rows = Vec::new();
    for batch in answer.collect().await.unwrap() {
        for row in 0..batch.num_rows() {
            let values = batch.columns().iter().map(|column| text(column, row).unwrap().unwrap_or("∅".into()));
            rows.push(values.collect::<Vec<_>>().join(","));
        }
    }
    (rows, answer.snapshot_us)
}

/// What was appended: seed and rows of each request, with its position.
type Appended = Vec<(u64, usize, i64)>;

/// Asks at every position, and just below the newest, and checks the rows one by one.
async fn check(gateway: &Gateway, appended: &Appended, stage: &str) {
    let below = appended.last().map(|(_, _, at)| at - 1);
    for as_of_us in appended.iter().map(|(_, _, at)| *at).chain(below).chain([0]).map(Some).chain([None]) {
        let told = format!("{stage}, as of {as_of_us:?}");
        let seen: Vec<_> = appended.iter().filter(|(_, _, at)| as_of_us.is_none_or(|limit| *at <= limit)).collect();
        let ids = seen.iter().flat_map(|(seed, rows, _)| (0..*rows).map(|row| samples::id(*seed, row)));
        let mut expected: Vec<String> = ids.map(|id| format!("{id:016x}")).collect();
        expected.sort();
        let (found, snapshot_us) = rows(gateway, "SELECT hex(span_id) FROM spans ORDER BY 1", as_of_us).await;
        assert_eq!(found, expected, "{told}");
        let newest = seen.iter().map(|(_, _, at)| *at).max().unwrap_or(0);
        assert!(snapshot_us >= newest, "{told}: {snapshot_us}");
        assert!(as_of_us.is_none_or(|limit| snapshot_us <= limit), "{told}: {snapshot_us}");
        let count = expected.len().to_string();
        // Answered by counts, by a filter, with a column more, and over another relation.
        for sql in [
            "SELECT count(*) FROM spans",
            "SELECT count(ingest_time) FROM spans WHERE duration_ns >= 0",
            "SELECT count(*) FROM (SELECT * FROM spans LIMIT 100000)",
            "SELECT coalesce(sum(span_count), 0) FROM traces",
        ] {
            assert_eq!(rows(gateway, sql, as_of_us).await.0, [count.as_str()], "{told}: {sql}");
        }
        let newest = seen.iter().map(|(_, _, at)| at.to_string()).next_back().unwrap_or("∅".to_owned());
        let max = rows(gateway, "SELECT CAST(max(ingest_time) AS BIGINT) FROM spans", as_of_us).await.0;
        assert_eq!(max, [newest], "{told}");
        let limited = rows(gateway, "SELECT hex(span_id) FROM spans LIMIT 3", as_of_us).await.0;
        assert_eq!(limited.len(), expected.len().min(3), "{told}");
        assert!(limited.iter().all(|id| expected.contains(id)), "{told}: {limited:?}");
        if let Some(id) = expected.first() {
            let trace = format!("SELECT hex(trace_id) FROM spans WHERE span_id = '{id}'");
            let trace = rows(gateway, &trace, as_of_us).await.0;
            let sql = format!("SELECT count(*) FROM spans WHERE trace_id = '{}' AND span_id = '{id}'", trace[0]);
            assert_eq!(rows(gateway, &sql, as_of_us).await.0, ["1"], "{told}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_has_the_same_rows_in_memory_in_one_part_and_in_a_compacted_part() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::manual(samples::NOW_NS, 11);
    let store = store_at(dir.path(), clock.clone()).await;
    let config = Config { threads: 2, ..Config::default() };
    let gateway = Gateway::new(store.reader(), config, clock.clone(), &Registry::new()).unwrap();
    let mut appended = Appended::new();
    for (stage, requests) in [("memory", [(1, 4), (2, 3), (3, 5)]), ("one part, and memory", [(4, 2), (5, 6), (6, 1)])]
    {
        for (seed, count) in requests {
            store.append(samples::delivery(seed, count)).await.unwrap();
            appended.push((seed, count, store.reader().view().visible_us));
        }
        check(&gateway, &appended, stage).await;
        store.freeze_and_flush().await.unwrap();
        assert!(store.reader().view().memory.is_empty());
        check(&gateway, &appended, "parts").await;
    }
    assert_eq!(store.reader().view().parts.parts.len(), 2);
    store.compact(None).await.unwrap();
    let view = store.reader().view();
    let part = &view.parts.parts[0].entry;
    assert_eq!((view.parts.parts.len(), part.level), (1, 1));
    assert!(appended.iter().all(|(_, _, at)| part.ingest[0] <= *at && *at <= part.ingest[1]));
    check(&gateway, &appended, "a compacted part").await;
}

#[tokio::test]
async fn parts_and_batches_that_lie_on_one_side_are_not_filtered_row_by_row() {
    let spans = |id| [Span::new(1, id), Span::new(2, id)];
    let fill = Fill::new().part(&spans(1), &Promotions::new(), 10).await.part(&spans(2), &Promotions::new(), 10).await;
    let view = fill.memory(&spans(3)).memory(&spans(4)).view();
    let first = NOW / 1_000 + 1;
    for (until_us, parts, batches) in [(first - 1, 0, 0), (first, 1, 0), (first + 1, 2, 0), (first + 2, 2, 1)] {
        let mut bounded = view.clone().until(until_us);
        assert_eq!((bounded.parts.parts.len(), bounded.memory.len()), (parts, batches));
        assert_eq!(bounded.until_us, None, "no part lies on both sides");
        // Counts come from the manifest: no file is there to be opened.
        bounded.objects = std::sync::Arc::new(object_store::memory::InMemory::new());
        assert_eq!(one(&bounded, "SELECT count(*) FROM spans").await, (2 * (parts + batches)).to_string());
    }
}
