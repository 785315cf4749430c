//! Claims about what is read.

use arrow::array::AsArray;
use arrow::datatypes::{DataType, Int64Type};

use super::fetched::{Recorder, fetched};
use super::fixture::*;
use crate::query::library::Library;
use crate::query::params::Params;
use crate::query::{Config, Statement};

/// Spans of four hours, one row group of 10 a quarter.
async fn hours() -> crate::store::View {
    let mut fill = Fill::new();
    for hour in 0..4_i64 {
        let spans: Vec<Span> = (0..40_i64)
            .map(|i| {
                Span {
                    start: NOW + hour * 3_600_000_000_000 + i * 90_000_000_000,
                    duration: 1_000_000,
                    ..Span::new(1, 1)
                }
                .with("http.route", "/x")
            })
            .collect();
        fill = fill.part(&spans, &Promotions::new(), 10).await;
    }
    fill.memory(&[Span { start: NOW + 5 * 3_600_000_000_000, ..Span::new(2, 2) }.with("n", 10)]).view()
}

#[tokio::test]
async fn counting_rows_opens_no_part() {
    let mut view = hours().await;
    assert_eq!(one(&view, "SELECT count(*) FROM spans").await, "161");
    // Without any object behind the parts the answer is the same.
    view.objects = std::sync::Arc::new(object_store::memory::InMemory::new());
    assert_eq!(one(&view, "SELECT count(*) FROM spans").await, "161");
    assert!(try_ask(&view, "SELECT count(*) FROM spans WHERE name = 'op'").await.is_err());
}

#[tokio::test]
async fn time_prunes_parts_row_groups_and_memory() {
    let view = hours().await;
    let second = "start_time >= '2023-11-14T23:13:20Z' AND start_time < '2023-11-14T23:20:00Z'";
    let sql = format!("SELECT count(name) FROM spans WHERE {second}");
    assert_eq!(one(&view, &sql).await, "5");
    let plan = explain(&view, &sql).await;
    assert!(!plan.contains("MemoryExec"), "{plan}");
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    assert!(plan.contains("files_opened=1"), "{plan}");
    // Only the first of four row groups of ten is decoded.
    let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    assert!(scan.contains("output_rows=10"), "{scan}");
}

#[tokio::test]
async fn end_time_prunes_by_the_ranges_of_ends() {
    let view = hours().await;
    let sql = "SELECT count(name) FROM spans WHERE end_time <= '2023-11-14T22:14:00Z'";
    assert_eq!(one(&view, sql).await, "1");
    let plan = explain(&view, sql).await;
    assert_eq!(plan.matches(".parquet").count(), 1, "{plan}");
    assert_eq!(
        one(&view, "SELECT max(end_time) - max(start_time) = INTERVAL '1 microsecond' FROM spans").await,
        "true"
    );
}

#[tokio::test]
async fn a_bracket_reads_its_own_promoted_column_only() {
    let spans: Vec<Span> =
        (0..20).map(|i| Span::new(1, 1).with("a", "x").with("b", "y").with("c", i64::from(i))).collect();
    let promotions = ["attr.a", "attr.b"].map(|name| (name.to_owned(), DataType::Utf8View)).into();
    let view = Fill::new().part(&spans, &promotions, 100).await.view();
    let plan = explain(&view, "SELECT attributes['a'] FROM spans WHERE attributes['c'] > 3").await;
    let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    assert!(scan.contains("attr("), "{plan}");
    assert_eq!(
        one(&view, "SELECT count(*) FROM spans WHERE attributes['b'] = 'y' AND attributes['c'] > 3").await,
        "16"
    );
}

/// Three parts of 40 spans, in groups of 10, sorted by `route`; the last has no `coupon`, which no part promotes.
async fn routes() -> crate::store::View {
    let promotions = [("attr.route", DataType::Utf8View), ("attr.size", DataType::Int64)];
    let promotions: Promotions = promotions.map(|(name, of)| (name.to_owned(), of)).into();
    let mut fill = Fill::new();
    for part in 0..3_i64 {
        let span = |i: i64| {
            let span = Span { start: NOW + (part * 40 + i) * 1_000_000, ..Span::new(1, 1) };
            let span = span
                .with("route", format!("/r{}{i:02}", part).as_str())
                .with("size", i)
                .with("long", "x".repeat(500).as_str());
            if part < 2 && i >= 30 { span.with("coupon", "SPRING").with("other", Val::Double(1.5)) } else { span }
        };
        fill = fill.part(&(0..40).map(span).collect::<Vec<_>>(), &promotions, 10).await;
    }
    fill.view()
}

#[tokio::test]
async fn a_bracket_is_the_promoted_column_where_a_part_has_one_and_prunes_as_it_does() {
    let view = routes().await;
    let sql = "SELECT count(*) FROM spans WHERE attributes['route'] = '/r107'";
    assert_eq!(one(&view, sql).await, "1");
    let plan = explain(&view, sql).await;
    // Row groups: 12; the statistics of 11 say no.
    assert!(plan.contains("row_groups_pruned_statistics=12 total → 1 matched"), "{plan}");
    assert!(plan.contains("output_rows=10"), "{plan}");
    let sql = "SELECT count(*) FROM spans WHERE attributes['size'] > 35 AND attributes['size'] < 38.5";
    assert_eq!(one(&view, sql).await, "9");
    let plan = explain(&view, sql).await;
    assert!(plan.contains("row_groups_pruned_statistics=12 total → 3 matched"), "{plan}");
}

#[tokio::test]
async fn a_key_that_a_part_does_not_have_keeps_it_closed_and_row_groups_without_it_too() {
    let view = routes().await;
    let sql = "SELECT hex(trace_id), attributes['coupon'] AS c FROM spans WHERE attributes['coupon'] = 'SPRING'";
    assert_eq!(ask(&view, sql).await.len(), 20);
    let plan = explain(&view, sql).await;
    assert!(plan.contains("files_opened=2"), "{plan}");
    let scan = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    assert!(scan.contains("output_rows=20"), "{scan}");
    assert_eq!(one(&view, "SELECT count(*) FROM spans WHERE attributes['nowhere'] > 3").await, "0");
    let plan = explain(&view, "SELECT count(*) FROM spans WHERE attributes['nowhere'] > 3").await;
    assert!(!plan.contains(".parquet"), "{plan}");
    assert_eq!(one(&view, "SELECT count(*) FROM spans WHERE attributes['nowhere'] IS NULL").await, "120");
    assert_eq!(one(&view, "SELECT count(attributes['coupon']) FROM spans").await, "20");
}

/// Bytes that the scans of a statement fetched.
async fn scanned(view: &crate::store::View, sql: &str) -> f64 {
    let plan = explain(view, sql).await;
    let text = plan.split("bytes_scanned=").nth(1).unwrap_or_else(|| panic!("{plan}"));
    let mut words = text.split([' ', ',', ']']);
    let number: f64 = words.next().unwrap().parse().unwrap();
    number
        * match words.next().unwrap_or_default() {
            "K" | "KB" => 1e3,
            "M" | "MB" => 1e6,
            _ => 1.0,
        }
}

#[tokio::test]
async fn a_bracket_on_a_list_fetches_no_leaves_that_its_key_does_not_need() {
    let view = routes().await;
    let double = scanned(&view, "SELECT sum(attributes['other']) FROM spans").await;
    let text = scanned(&view, "SELECT max(attributes['long']) FROM spans").await;
    let whole = scanned(&view, "SELECT max(attrs_json(attributes)) FROM spans").await;
    assert!(double < text && text < whole, "{double} {text} {whole}");
}

#[tokio::test]
async fn below_a_limit_the_decoder_filters_and_row_groups_come_in_order() {
    let view = routes().await;
    let newest = "SELECT * FROM spans WHERE attributes['size'] >= 5 ORDER BY start_time DESC LIMIT 3";
    let rows = ask(&view, &newest.replace('*', "attributes['route']")).await;
    assert_eq!(rows, [["/r239"], ["/r238"], ["/r237"]]);
    let plan = explain(&view, newest).await;
    assert!(plan.contains("FilterExec"), "the filter stays: {plan}");
    assert!(plan.contains("predicate_evaluation_errors=0") || plan.contains("pushdown_rows_pruned"), "{plan}");
    let pruned = plan.lines().find(|line| line.contains("DataSourceExec")).unwrap();
    assert!(!pruned.contains("output_rows=120"), "{pruned}");
    let without = explain(&view, "SELECT * FROM spans WHERE attributes['size'] >= 5").await;
    assert!(!without.contains("reverse_row_groups"), "{without}");
    assert!(plan.contains("reverse_row_groups=true"), "{plan}");
}

#[tokio::test]
async fn a_sort_with_a_limit_leaves_out_row_groups_while_it_runs() {
    // A tenth of all rows passes: fewer than the engine's filter would collect before it hands any on.
    let span = |at: i64| {
        let service = if at % 10 == 0 { "rare" } else { "shop" };
        let span = Span::new(1, 1 + u64::try_from(at).unwrap());
        Span { start: NOW + at * 1_000_000, duration: 1 + at, service, ..span }
    };
    let spans: Vec<Span> = (0..4_800).map(span).collect();
    for key in ["start_time", "duration_ns"] {
        let mut view = Fill::new().part(&spans, &Promotions::new(), 600).await.view();
        let recorder = Recorder::before(&mut view);
        let session = session_with(&view, &Config { threads: 1, ..Config::default() });
        let sql = format!("SELECT * FROM spans WHERE service_name = 'rare' ORDER BY {key} DESC LIMIT 5");
        assert_eq!(try_ask_in(&session, &sql).await.unwrap().len(), 5);
        let groups: Vec<usize> = fetched(&view, &recorder).await.keys().map(|(_, group)| *group).collect();
        assert_eq!(groups, [7], "{key}");
    }
}

#[tokio::test]
async fn in_memory_a_bracket_on_what_is_interned_expands_its_values_only() {
    let mut spans: Vec<Span> = (0..6).map(|i| Span::new(1, 1).with("n", i64::from(i)).with("wg.n", 7)).collect();
    for (at, span) in spans.iter_mut().enumerate().skip(1) {
        let region = if at % 2 == 0 { "eu" } else { "us" };
        span.resource = vec![("region".to_owned(), Val::from(region)), ("wg.region".to_owned(), Val::from("x"))];
    }
    let view = Fill::new().memory(&spans).view();
    let sql = "SELECT resource['region'], attributes['n'] FROM spans WHERE resource['region'] <> 'us' ORDER BY 2";
    let plan = explain(&view, sql).await;
    let scan = plan.lines().find(|line| line.contains("MemoryExec")).unwrap();
    assert!(scan.contains("brackets=3"), "{plan}");
    assert_eq!(ask(&view, sql).await, [["eu", "2"], ["eu", "4"]]);
    let none = "SELECT count(resource['region']), count(resource['wg.region']), count(attributes['wg.n']) FROM spans";
    assert_eq!(ask(&view, none).await, [["5", "0", "0"]]);
    let whole = "SELECT attrs_json(resource), resource['region'] FROM spans WHERE attributes['n'] = 3";
    assert_eq!(ask(&view, whole).await, [["{\"region\":\"us\"}", "us"]]);
}

#[tokio::test]
async fn canonical_queries_are_planned_and_answered() {
    let gateway = gateway_over(&hours().await, Config { threads: 2, ..Config::default() });
    let library = Library::shipped(Some(concat!(env!("CARGO_MANIFEST_DIR"), "/queries").into()));
    let names: Vec<String> = library.names().into_iter().filter(|name| name.starts_with("bench/")).collect();
    assert_eq!(names.len(), 12);
    for name in names {
        let query = library.query(&name).unwrap();
        let example = query.head.examples.first().cloned().unwrap_or_default();
        let params = query.bind(&example, NOW).unwrap().into();
        let statement = Statement { params: Params::from_json(&params).unwrap(), ..Statement::new(&query.sql) };
        let mut answer = gateway.run(statement).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        answer.collect().await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn parameters_meet_ids_brackets_and_times() {
    use datafusion::common::ScalarValue;
    let view = hours().await;
    let count = async |sql: &str, value: ScalarValue| {
        let frame = session(&view).sql(sql).await.unwrap().with_param_values(vec![value]);
        frame.unwrap().collect().await.unwrap()[0].column(0).as_primitive::<Int64Type>().value(0)
    };
    let id = ScalarValue::from(format!("{:032x}", 2));
    assert_eq!(count("SELECT count(*) FROM spans WHERE trace_id = $1", id).await, 1);
    let route = ScalarValue::from("/x");
    assert_eq!(count("SELECT count(*) FROM spans WHERE attributes['http.route'] = $1", route).await, 160);
    let time = ScalarValue::TimestampNanosecond(Some(NOW + 5 * 3_600_000_000_000), Some("UTC".into()));
    assert_eq!(count("SELECT count(*) FROM spans WHERE start_time >= $1", time).await, 1);
    let number = ScalarValue::from(3_i64);
    assert_eq!(count("SELECT count(*) FROM spans WHERE attributes['n'] > $1", number).await, 1);
}
