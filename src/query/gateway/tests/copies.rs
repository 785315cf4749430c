//! Claims about one value that many rows get.

use super::*;

#[tokio::test]
async fn a_long_value_of_one_row_is_not_copied_for_each_row_of_another_relation() {
    let gateway = gateway();
    for sql in [
        "SELECT named_struct('a', repeat('x', 250000)) FROM spans",
        "SELECT (SELECT repeat('x', 250000)) FROM spans",
        "SELECT name FROM spans WHERE name < (SELECT repeat('x', 250000))",
        "SELECT x FROM spans CROSS JOIN (SELECT repeat('x', 250000) AS x)",
        "SELECT x FROM (SELECT repeat('x', 250000) AS x) CROSS JOIN generate_series(1, 10)",
        "SELECT x FROM spans JOIN (VALUES (1, repeat('x', 250000))) v(n, x) ON duration_ns > n",
        "WITH long AS (SELECT repeat('x', 250000) AS x) SELECT (SELECT x FROM long) FROM spans",
        "SELECT unnest(range(10)), x FROM (SELECT repeat('x', 250000) AS x)",
    ] {
        let error = one(&gateway, sql).await.unwrap_err();
        assert_eq!(error.code, Code::Argument, "{sql}: {}", told(&error));
    }
    // Without rows beside it there is one.
    for sql in
        ["SELECT length(repeat('x', 250000))", "SELECT length(x) FROM (SELECT (SELECT repeat('x', 250000)) AS x)"]
    {
        assert_eq!(one(&gateway, sql).await.unwrap(), "250000", "{sql}");
    }
    let short = "SELECT length((SELECT repeat('x', 8000))) FROM spans LIMIT 1";
    assert_eq!(one(&gateway, short).await.unwrap(), "8000");
    one(&gateway, "SELECT named_struct('a', name) FROM spans").await.unwrap();
}

#[tokio::test]
async fn a_long_value_of_a_window_is_not_copied_for_each_row_of_its_partition() {
    let gateway = gateway();
    // One long text among 1000 rows, and none.
    let of =
        "(SELECT value, CASE WHEN value = 1 THEN repeat(value::text, 250000) END AS x FROM generate_series(1, 1000))";
    for window in [
        "max(x) OVER ()",
        "max(x) FILTER (WHERE value = 1) OVER ()",
        "min(x) OVER (ORDER BY value)",
        "first_value(x) OVER (ORDER BY value)",
        "nth_value(x, 1) OVER (ORDER BY value)",
        "string_agg(x, ',') OVER ()",
        "string_agg(repeat(value::text, 100), ',') OVER ()",
        "array_agg(x) OVER ()",
    ] {
        let error = one(&gateway, &format!("SELECT {window} FROM {of}")).await.unwrap_err();
        assert_eq!(error.code, Code::Argument, "{window}: {}", told(&error));
        assert!(error.message.contains("would copy a value of"), "{window}: {}", told(&error));
    }
    let each = "SELECT max(length(m)) FROM (SELECT max(repeat(name, 20000)) OVER (PARTITION BY name) AS m FROM spans)";
    assert_eq!(one(&gateway, each).await.unwrap(), "20000");
    let names = "SELECT first_value(name) OVER (ORDER BY name) FROM spans LIMIT 1";
    assert_eq!(one(&gateway, names).await.unwrap(), "a");
}

#[tokio::test]
async fn a_long_value_of_data_is_copied_for_as_many_rows_as_a_batch_may_hold() {
    let gateway = gateway();
    let of = |elements: u32| format!("(SELECT array_repeat(name, {elements}) AS x FROM spans LIMIT 1)");
    let many = format!("SELECT {} FROM generate_series(1, 1000)", of(90_000));
    let error = one(&gateway, &many).await.unwrap_err();
    assert_eq!(error.code, Code::Argument, "{}", told(&error));
    assert!(error.message.contains("would copy a value of"), "{}", told(&error));
    let few = format!("SELECT array_length({}) FROM spans", of(90_000));
    assert_eq!(one(&gateway, &few).await.unwrap(), "90000;90000;90000");
    let short = format!("SELECT array_length({}) FROM generate_series(1, 2)", of(2));
    assert_eq!(one(&gateway, &short).await.unwrap(), "2;2");
    // A join cuts the rows of the other side instead.
    let joined = format!("SELECT sum(array_length(x)) FROM {} CROSS JOIN generate_series(1, 1000)", of(9_000));
    assert_eq!(one(&gateway, &joined).await.unwrap(), "9000000");
}
