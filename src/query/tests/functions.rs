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
async fn histograms_are_values_that_merge_and_answer() {
    let spans: Vec<Span> =
        (1..=200).map(|i| Span { duration: i * 1_000_000, ..Span::new(1, 1) }.with("n", i)).collect();
    let view = Fill::new().memory(&spans[..70]).part(&spans[70..], &Promotions::new(), 20).await.view();
    let sql = "WITH h AS (SELECT duration_ns % 7 AS k, exphist(duration_ns) AS h FROM spans GROUP BY 1) \
               SELECT exphist_count(exphist_merge(h)), exphist_sum(exphist_merge(h)), exphist_min(exphist_merge(h)), \
               exphist_max(exphist_merge(h)) FROM h";
    assert_eq!(ask(&view, sql).await, [["200", "20100000000.0", "1000000.0", "200000000.0"]]);
    let sql = "SELECT exphist_quantile(exphist(duration_ms), q) FROM spans, (VALUES (0.5), (0.9)) AS s(q) \
               GROUP BY q ORDER BY q";
    let found = ask(&view, sql).await;
    for (row, exact) in found.iter().zip([100.5, 180.1]) {
        let value: f64 = row[0].parse().unwrap();
        assert!((value - exact).abs() <= 0.0055 * exact, "{value} for {exact}");
    }
    // A bracket is read as a number; of no values there is no histogram, and of NULL no answer.
    assert_eq!(one(&view, "SELECT exphist_max(exphist(attributes['n'])) FROM spans").await, "200.0");
    assert_eq!(one(&view, "SELECT exphist(duration_ns) IS NULL FROM spans WHERE false").await, "true");
    assert_eq!(one(&view, "SELECT exphist_quantile(NULL, 0.5) IS NULL").await, "true");
    assert_eq!(one(&view, "SELECT exphist_quantile(exphist(duration_ns), NULL) IS NULL FROM spans").await, "true");
    let room = "SELECT (exphist(duration_ns, 16))['scale'] < 6, \
                cardinality((exphist(duration_ns, 16))['positive']) <= 16 FROM spans";
    assert_eq!(ask(&view, room).await, [["true", "true"]]);
    let columns =
        "SELECT data_type FROM information_schema.columns WHERE table_name = 'red_1m' AND column_name = 'duration'";
    assert_eq!(one(&view, columns).await, "EXPHIST");
    for (sql, told) in [
        ("SELECT exphist(name) FROM spans", "exphist takes numbers"),
        ("SELECT exphist(duration_ns, 1) FROM spans", "a number from 2 to 16384"),
        ("SELECT exphist(duration_ns, NULL) FROM spans", "a number from 2 to 16384"),
        ("SELECT exphist(duration_ns, duration_ns) FROM spans", "a number from 2 to 16384"),
        ("SELECT exphist_quantile(exphist(duration_ns), 1.5) FROM spans", "a share from 0 to 1, not 1.5"),
        ("SELECT exphist_quantile(duration_ns, 0.5) FROM spans", "takes a histogram and a share"),
        ("SELECT exphist_merge(duration_ns) FROM spans", "exphist_merge takes histograms"),
        ("SELECT exphist_count(named_struct('scale', 3)) FROM spans", "exphist_count takes a histogram"),
    ] {
        let error = try_ask(&view, sql).await.unwrap_err();
        assert!(error.contains(told), "{sql}: {error}");
    }
}

#[tokio::test]
async fn exemplars_are_the_heaviest_distinct_traces() {
    let spans: Vec<Span> = (0..60_u64)
        .map(|i| Span { duration: i64::try_from(i).unwrap(), ..Span::new(u128::from(i % 20), i + 1) })
        .collect();
    let view = Fill::new().memory(&spans[..30]).part(&spans[30..], &Promotions::new(), 7).await.view();
    let sql = |n: &str| {
        format!(
            "SELECT right(hex(x.e['trace_id']), 2), x.e['weight'] FROM \
             (SELECT unnest(exemplar(trace_id, duration_ns{n})) AS e FROM spans) AS x"
        )
    };
    assert_eq!(ask(&view, &sql("")).await, [["13", "59.0"], ["12", "58.0"], ["11", "57.0"]]);
    assert_eq!(ask(&view, &sql(", 1")).await, [["13", "59.0"]]);
    assert_eq!(ask(&view, &sql(", 100000")).await.len(), 20);
    assert_eq!(one(&view, "SELECT cardinality(exemplar(trace_id, NULL)) FROM spans").await, "0");
    for n in [", 0", ", 100001", ", NULL", ", duration_ns"] {
        let error = try_ask(&view, &sql(n)).await.unwrap_err();
        assert!(error.contains("from 1 to 100000 traces, by a constant"), "{n}: {error}");
    }
    let error = try_ask(&view, "SELECT exemplar(span_id, duration_ns) FROM spans").await.unwrap_err();
    assert!(error.contains("exemplar takes a trace id and a number"), "{error}");
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
            "public.red_1m",
            "public.service_graph",
            "public.span_events",
            "public.span_links",
            "public.spans",
            "public.traces",
            "system.memory",
            "system.part_columns",
            "system.parts",
            "system.promotions"
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
