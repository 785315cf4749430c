//! The catalogue's relations over a store.

use super::fixture::{NOW, Span, Val, ask, batch, one, try_ask};
use crate::clock::Clock;
use crate::span::{Delivery, Origin};
use crate::store::samples::{folder_at, store_at};
use crate::store::{Store, View};

const DAY: i64 = 86_400 * 1_000_000_000;

async fn sent(store: &Store, spans: &[Span]) {
    let delivery = Delivery { batches: vec![batch(spans)], body: None, identity: 0, origin: Origin::Received };
    store.append(delivery).await.unwrap();
}

fn of_yesterday(span: Span) -> Span {
    Span { start: NOW - DAY, ..span }
}

/// Some spans in parts, some in memory.
async fn store(dir: &std::path::Path) -> Store {
    let store = store_at(dir, Clock::manual(NOW, 1)).await;
    let paid = Span { service: "pay", name: "charge", status: "error", ..Span::new(1, 2) };
    let first = Span { resource: vec![("host".into(), "h".into())], ..Span::new(1, 1) };
    let first = first.with("app.n", 1).with("http.route", "/").with("wg.end_time", 1).with("_wg.x", true_value());
    sent(&store, &[of_yesterday(first), of_yesterday(Span::new(1, 3).with("app.n", Val::Double(0.5)))]).await;
    store.freeze_and_flush().await.unwrap();
    sent(&store, &[paid.with("app.n", 2).with("app.plan", "gold"), Span { status: "error", ..Span::new(2, 4) }]).await;
    store
}

fn true_value() -> Val {
    Val::Bool(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_operations_are_counted_by_day_over_parts_and_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let check = async |view: &View| {
        let sql = "SELECT service_name, spans, errors, first_seen = now() - INTERVAL '1 day', last_seen = now(), \
                   array_length(per_day) FROM services ORDER BY 1";
        let services = [["pay", "1", "1", "false", "true", "1"], ["shop", "3", "1", "true", "true", "2"]];
        assert_eq!(ask(view, sql).await, services);
        let sql = "SELECT service_name, name, kind, spans, errors FROM operations ORDER BY 1";
        assert_eq!(ask(view, sql).await, [["pay", "charge", "server", "1", "1"], ["shop", "op", "server", "3", "1"]]);
        let sql = "WITH days AS (SELECT service_name, unnest(per_day) AS d FROM services) \
                   SELECT service_name, d['day'], d['spans'], d['errors'] FROM days ORDER BY 1, 2";
        let days =
            [["pay", "2023-11-14", "1", "1"], ["shop", "2023-11-13", "2", "0"], ["shop", "2023-11-14", "1", "1"]];
        assert_eq!(ask(view, sql).await, days);
        let same = "SELECT (SELECT sum(spans) FROM services) = (SELECT count(*) FROM spans)";
        assert_eq!(one(view, same).await, "true");
        let join = "SELECT count(*) FROM spans JOIN operations USING (service_name, name, kind)";
        assert_eq!(one(view, join).await, "4");
    };
    check(&store.reader().view()).await;
    store.freeze_and_flush().await.unwrap();
    check(&store.reader().view()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attribute_keys_tell_levels_types_and_rows_as_senders_wrote_the_keys() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let view = store.reader().view();
    let sql = "SELECT level, key, array_to_string(types, ','), sql_type, rows, distinct_estimate, top_values \
               FROM attribute_keys ORDER BY 1, 2";
    let keys = [
        ["attributes", "app.n", "int,double", "DOUBLE", "3", "∅", "∅"],
        ["attributes", "app.plan", "string", "TEXT", "1", "∅", "∅"],
        ["attributes", "http.route", "string", "TEXT", "1", "∅", "∅"],
        ["attributes", "wg.x", "bool", "BOOLEAN", "1", "∅", "∅"],
        ["resource", "host", "string", "TEXT", "1", "∅", "∅"],
    ];
    assert_eq!(ask(&view, sql).await, keys);
    assert_eq!(one(&view, "SELECT count(*) FROM attribute_keys WHERE level = 'attributes'").await, "4");
    let described: Vec<String> =
        ask(&view, "DESCRIBE attribute_keys").await.into_iter().map(|mut row| row.swap_remove(0)).collect();
    let columns = [
        "level",
        "key",
        "types",
        "sql_type",
        "first_seen",
        "last_seen",
        "rows",
        "distinct_estimate",
        "top_values",
        "per_day",
    ];
    assert_eq!(described, columns);
    let types = "SELECT data_type FROM information_schema.columns WHERE table_name = 'attribute_keys' \
                 AND column_name IN ('types', 'top_values', 'per_day') ORDER BY ordinal_position";
    let types_of =
        [["LIST<TEXT>"], ["LIST<STRUCT<value TEXT, count BIGINT>>"], ["LIST<STRUCT<day DATE, rows BIGINT>>"]];
    assert_eq!(ask(&view, types).await, types_of);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_tells_the_same_without_a_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path()).await;
    let all = ["services", "operations", "attribute_keys"].map(|table| format!("SELECT * FROM {table} ORDER BY 1, 2"));
    let mut before = Vec::new();
    for sql in &all {
        before.push(ask(&store.reader().view(), sql).await);
    }
    let offline = async || folder_at(dir.path(), Clock::manual(NOW, 2)).await.view();
    for close in [false, true] {
        let view = offline().await;
        for (sql, before) in all.iter().zip(&before) {
            assert_eq!(ask(&view, sql).await, *before, "{sql}, closed: {close}");
        }
        if !close {
            store.clone().close().await.unwrap();
        }
    }
    let nothing = super::fixture::Fill::new().view();
    assert!(try_ask(&nothing, "SELECT * FROM services").await.is_err(), "nobody keeps a catalogue");
}
