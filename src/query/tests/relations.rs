//! Claims about `traces`, `span_events` and whole containers.

use super::fixture::*;

const SECOND: i64 = 1_000_000_000;

#[tokio::test]
async fn a_root_that_arrives_late_is_simply_there() {
    let child = Span { start: NOW, duration: SECOND, service: "cart", status: "error", ..Span::new(1, 2) };
    let orphan = Span { start: NOW, ..Span::new(2, 3) };
    let sql = "SELECT span_count, error_count, has_root, root_service, trace_duration_ns, services FROM traces ORDER BY trace_id";
    let before = Fill::new().part(&[child.clone(), orphan.clone()], &Promotions::new(), 10).await;
    let root = Span { start: NOW - SECOND, duration: 3 * SECOND, parent: None, service: "web", ..Span::new(1, 1) };
    let after = before.memory(&[root]).view();
    assert_eq!(
        ask(&after, sql).await,
        [["2", "1", "true", "web", "3000000000", "[cart, web]"], ["1", "0", "false", "∅", "1000", "[shop]"]]
    );
    assert_eq!(one(&after, "SELECT count(*) FROM traces").await, "2");
    assert_eq!(one(&after, "SELECT count(*) FROM traces WHERE error_count > 0").await, "1");
    let id = format!("{:032x}", 1);
    assert_eq!(one(&after, &format!("SELECT span_count FROM traces WHERE trace_id = '{id}'")).await, "2");
}

#[tokio::test]
async fn of_several_roots_the_first_to_start_is_the_traces_root_whatever_came_first() {
    let root = |id, start, service, name| Span { start, parent: None, service, name, ..Span::new(1, id) };
    let (second, first) = (root(7, NOW + SECOND, "late", "b"), root(9, NOW, "web", "a"));
    let twin = root(8, NOW, "cart", "c");
    let sql = "SELECT root_service, root_name, right(hex(root_span_id), 1), root_status FROM traces";
    for spans in [[&second, &first, &twin], [&first, &twin, &second], [&twin, &second, &first]] {
        let spans = spans.map(Span::clone);
        let parts = Fill::new().part(&spans[..1], &Promotions::new(), 10).await;
        // Of those that start at once the smaller id.
        assert_eq!(ask(&parts.memory(&spans[1..]).view(), sql).await, [["cart", "c", "8", "unset"]]);
    }
}

#[tokio::test]
async fn a_time_filter_is_exact_and_border_traces_are_marked() {
    let hour = 3_600 * SECOND;
    let spans = [
        // Begins inside, its first span half an hour earlier: whole because of the window.
        Span { start: NOW - hour / 2, parent: None, ..Span::new(1, 1) },
        Span { start: NOW + SECOND, ..Span::new(1, 2) },
        // Begins inside.
        Span { start: NOW + SECOND, parent: None, ..Span::new(2, 3) },
        // A span that lasts until beyond the widened end.
        Span { start: NOW + SECOND, duration: 5 * hour, ..Span::new(3, 4) },
    ];
    let view = Fill::new().memory(&spans).view();
    let filter = "start_time >= now() AND start_time <= now() + INTERVAL '1 hour'";
    let rows =
        ask(&view, &format!("SELECT right(hex(trace_id), 1), span_count, edge FROM traces WHERE {filter} ORDER BY 1"))
            .await;
    assert_eq!(rows, [["2", "1", "false"], ["3", "1", "true"]]);
    let all = ask(&view, "SELECT right(hex(trace_id), 1), span_count, edge FROM traces ORDER BY 1").await;
    assert_eq!(all, [["1", "2", "false"], ["2", "1", "false"], ["3", "1", "false"]]);
}

#[tokio::test]
async fn events_are_rows_with_brackets() {
    let mut span = Span::new(1, 1);
    let error = vec![("exception.type".to_owned(), "IOError".into()), ("_wg.x".to_owned(), 5.into())];
    span.events = vec![(NOW, "exception", error), (NOW + 5, "retry", vec![])];
    let view = Fill::new().memory(&[span.clone()]).part(&[span, Span::new(1, 2)], &Promotions::new(), 10).await.view();
    let sql = "SELECT service_name, e.attributes['exception.type'] AS type, count(*) AS n FROM span_events e \
               WHERE e.name = 'exception' AND e.time >= ago('1h') GROUP BY 1, 2 ORDER BY 3 DESC";
    assert_eq!(ask(&view, sql).await, [["shop", "IOError", "2"]]);
    assert_eq!(one(&view, "SELECT count(*) FROM span_events").await, "4");
    assert_eq!(one(&view, "SELECT count(*) FROM span_events WHERE attributes['wg.x'] = 5").await, "2");
    assert_eq!(one(&view, "SELECT count(*) FROM span_links").await, "0");
}

#[tokio::test]
async fn reserved_keys_are_hidden_and_promoted_ones_are_back() {
    let span = Span::new(1, 1).with("wg.end_time", 1).with("_wg.x", "own").with("a", "1").with("n", 5).with("a", "2");
    let span = Span { resource: vec![("wg.schema_url".into(), "u".into()), ("host".into(), "h".into())], ..span };
    let promotions: Promotions = [
        ("attr.a".to_owned(), arrow::datatypes::DataType::Utf8View),
        ("attr.n".to_owned(), arrow::datatypes::DataType::Int64),
        ("res.host".to_owned(), arrow::datatypes::DataType::Utf8View),
    ]
    .into();
    let memory = Fill::new().memory(std::slice::from_ref(&span)).view();
    let parts = Fill::new().part(&[span], &promotions, 10).await.view();
    for view in [&memory, &parts] {
        let object = one(view, "SELECT attrs_json(attributes) FROM spans").await;
        let object: serde_json::Value = serde_json::from_str(&object).unwrap();
        assert_eq!(object, serde_json::json!({"wg.x": "own", "a": "1", "n": 5}));
        assert_eq!(one(view, "SELECT attrs_json(resource) FROM spans").await, r#"{"host":"h"}"#);
        let text = "SELECT r::text FROM (SELECT resource AS r FROM spans) WHERE CAST(r AS VARCHAR) LIKE '%host%'";
        assert_eq!(one(view, text).await, r#"{"host":"h"}"#);
        let keys = "SELECT array_to_string(array_sort(attr_keys(attributes)), ',') FROM spans";
        assert_eq!(one(view, keys).await, "a,n,wg.x");
        let row = ask(
            view,
            "SELECT attributes['wg.x'], attributes['_wg.x'], attributes['wg.end_time'], attributes['a'], \
                             resource['wg.schema_url'], has_attr(attributes, 'wg.end_time') FROM spans",
        )
        .await;
        assert_eq!(row, [["own", "∅", "∅", "1", "∅", "false"]]);
        assert!(!ask(view, "SELECT * FROM spans").await[0].join(" ").contains("wg.end_time"));
    }
}

#[tokio::test]
async fn the_schema_system_shows_the_parts_and_the_memory_of_the_statements_own_view() {
    let spans = [Span::new(1, 1), Span { start: NOW + SECOND, ..Span::new(1, 2) }];
    let view = Fill::new().part(&spans, &Promotions::new(), 10).await.memory(&[Span::new(2, 3)]).view();
    let sql = "SELECT level, hour, rows, max_start - min_start = INTERVAL '1 second', min_ingest = max_ingest, \
               starts_with(path, 'spans/date=2023-11-14/hour=22/') FROM system.parts";
    assert_eq!(ask(&view, sql).await, [["0", "2023-11-14T22", "2", "true", "true", "true"]]);
    assert_eq!(one(&view, "SELECT rows FROM system.memory").await, "1");
    let sql =
        "SELECT (SELECT sum(rows) FROM system.parts) + m.rows = (SELECT count(*) FROM spans) FROM system.memory m";
    assert_eq!(one(&view, sql).await, "true");
    assert_eq!(one(&view, "SELECT count(*) FROM system.parts a JOIN system.parts b ON a.path = b.path").await, "1");
    assert_eq!(one(&Fill::new().view(), "SELECT count(*) FROM system.parts").await, "0");
    // No folder, no files.
    assert!(try_ask(&view, "SELECT * FROM drop_ledger").await.is_err());
}

#[tokio::test]
async fn promotions_are_listed_part_by_part_with_what_is_left_in_lists() {
    let of = |id| Span::new(1, id);
    let promotions: Promotions = [
        ("attr.n".to_owned(), arrow::datatypes::DataType::Int64),
        ("attr.wg.x".to_owned(), arrow::datatypes::DataType::Int64),
        ("res.host".to_owned(), arrow::datatypes::DataType::Utf8View),
    ]
    .into();
    let mut first = of(1).with("n", 5).with("wg.x", 1).with("alone", "x");
    first.resource = vec![("host".to_owned(), "h".into())];
    let parts = Fill::new().part(&[first, of(2).with("n", "five"), of(3)], &promotions, 10).await;
    let view = parts.part(&[of(4).with("n", 6)], &Promotions::new(), 10).await.memory(&[of(5).with("n", 7)]).view();
    let sql =
        "SELECT level, key, column_name, sql_type, rows, residual_rows FROM system.promotions ORDER BY level, key";
    assert_eq!(
        ask(&view, sql).await,
        [["attributes", "n", "attr.n", "BIGINT", "2", "1"], ["resource", "host", "res.host", "TEXT", "1", "0"]]
    );
    // With the relations that it is made for.
    let bytes =
        "SELECT count(*) FROM system.promotions JOIN system.part_columns USING (path, column_name) WHERE bytes > 0";
    assert_eq!(one(&view, bytes).await, "2");
    assert_eq!(
        one(&view, "SELECT count(DISTINCT path) FROM system.promotions JOIN system.parts USING (path)").await,
        "1"
    );
    assert_eq!(one(&Fill::new().view(), "SELECT count(*) FROM system.promotions").await, "0");
}
