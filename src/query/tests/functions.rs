//! Claims about functions, ids and errors.

use super::fixture::*;

fn three() -> Vec<Span> {
    (1..=3).map(|i| Span { start: NOW - i64::try_from(i).unwrap() * 60_000_000_000, ..Span::new(7, i) }).collect()
}

#[tokio::test]
async fn ids_compare_with_hex_literals_and_are_shown_as_hex() {
    let view = Fill::new().memory(&three()).view();
    let id = format!("{:032x}", 7);
    assert_eq!(one(&view, &format!("SELECT count(*) FROM spans WHERE trace_id = '{id}'")).await, "3");
    assert_eq!(one(&view, &format!("SELECT count(*) FROM spans WHERE '{id}' = trace_id")).await, "3");
    assert_eq!(one(&view, "SELECT count(*) FROM spans WHERE trace_id = trace_id('0000000000000007')").await, "3");
    assert_eq!(
        one(&view, "SELECT count(*) FROM spans WHERE span_id IN ('0000000000000001', '0000000000000002')").await,
        "2"
    );
    assert_eq!(
        one(&view, "SELECT hex(span_id) FROM spans WHERE span_id = span_id('0000000000000003')").await,
        "0000000000000003"
    );
}

#[tokio::test]
async fn an_id_of_another_length_is_told() {
    let view = Fill::new().memory(&three()).view();
    let error = try_ask(&view, "SELECT 1 FROM spans WHERE trace_id = '4bf9'").await.unwrap_err();
    assert!(error.contains("`4bf9` is not a trace id: a trace id is 32 hexadecimal digits, this has 4"), "{error}");
    let error = try_ask(&view, "SELECT 1 FROM spans WHERE span_id IN ('zz')").await.unwrap_err();
    assert!(error.contains("a span id is 16 hexadecimal digits"), "{error}");
    let error = try_ask(&view, "SELECT 1 FROM spans WHERE trace_id = trace_id('xyz')").await.unwrap_err();
    assert!(error.contains("`xyz` is not a trace id: 32 (or 16) hexadecimal digits are expected"), "{error}");
}

#[tokio::test]
async fn times_count_from_the_start_of_the_statement() {
    let view = Fill::new().memory(&three()).view();
    assert_eq!(one(&view, "SELECT count(*) FROM spans WHERE start_time >= ago('2m')").await, "2");
    assert_eq!(one(&view, "SELECT now() - ago('90s') = INTERVAL '90 seconds'").await, "true");
    assert_eq!(one(&view, "SELECT CURRENT_TIMESTAMP = now()").await, "true");
    assert_eq!(one(&view, "SELECT dur('1h2m')").await, "3720000000000");
    assert_eq!(one(&view, "SELECT dur_text(1250000000)").await, "1.25 s");
    assert_eq!(
        one(&view, "SELECT time_bucket('1m', to_timestamp('2024-01-01T00:00:59Z'))").await,
        "2024-01-01T00:00:00Z"
    );
    let buckets =
        ask(&view, "SELECT time_bucket('1h', start_time) AS t, count(*) FROM spans GROUP BY 1 ORDER BY 1").await;
    assert_eq!(buckets, [["2023-11-14T22:00:00Z", "3"]]);
    let error = try_ask(&view, "SELECT ago('15 minutes')").await.unwrap_err();
    assert!(error.contains("`15 minutes` is not a duration"), "{error}");
    let error = try_ask(&view, "SELECT time_bucket('0s', start_time) FROM spans").await.unwrap_err();
    assert!(error.contains("longer than 0"), "{error}");
}

#[tokio::test]
async fn quantiles_and_rates_aggregate() {
    let spans: Vec<Span> = (1..=100)
        .map(|i| Span { duration: i * 1_000_000, status: if i % 4 == 0 { "error" } else { "ok" }, ..Span::new(1, 1) })
        .collect();
    let view = Fill::new().memory(&spans[..50]).part(&spans[50..], &Promotions::new(), 20).await.view();
    let p: f64 = one(&view, "SELECT p95(duration_ns) / 1e6 FROM spans").await.parse().unwrap();
    assert!((p - 95.05).abs() < 0.6, "{p}");
    let q: f64 = one(&view, "SELECT quantile(duration_ms, 0.5) FROM spans").await.parse().unwrap();
    assert!((q - 50.5).abs() < 0.4, "{q}");
    assert_eq!(one(&view, "SELECT error_rate(status_code) FROM spans").await, "0.25");
    assert_eq!(one(&view, "SELECT count(*) FILTER (WHERE status_code = 'error') FROM spans").await, "25");
    assert_eq!(
        one(&view, "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY duration_ns) / 1000000 FROM spans").await,
        "50.5"
    );
    let error = try_ask(&view, "SELECT quantile(duration_ns, 2) FROM spans").await.unwrap_err();
    assert!(error.contains("a number from 0 to 1"), "{error}");
}

#[tokio::test]
async fn what_is_not_listed_cannot_be_named() {
    let view = Fill::new().view();
    for sql in [
        "SELECT random()",
        "SELECT uuid()",
        "SELECT input_file_name() FROM spans",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM information_schema.df_settings",
        "SHOW datafusion.execution.batch_size",
    ] {
        assert!(try_ask(&view, sql).await.is_err(), "{sql}");
    }
}

#[tokio::test]
async fn tables_columns_and_functions_are_listed() {
    let view = Fill::new().view();
    let tables: Vec<String> = ask(&view, "SHOW TABLES").await.iter().map(|row| row[1..3].join(".")).collect();
    assert_eq!(
        tables,
        [
            "public.span_events",
            "public.span_links",
            "public.spans",
            "public.traces",
            "system.memory",
            "system.part_columns",
            "system.parts"
        ]
    );
    let columns = ask(
        &view,
        "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'spans' ORDER BY ordinal_position",
    )
    .await;
    assert_eq!(columns[0], ["trace_id", "BINARY(16)"]);
    assert_eq!(columns.last().unwrap(), &["duration_ms", "DOUBLE"]);
    assert!(columns.contains(&vec!["resource".into(), "ATTRIBUTES".into()]));
    assert!(ask(&view, "SHOW FUNCTIONS LIKE 'ago'").await.len() == 1);
    assert!(!ask(&view, "SHOW COLUMNS FROM traces").await.is_empty());
    assert_eq!(ask(&view, "DESCRIBE spans").await.len(), columns.len());
}
