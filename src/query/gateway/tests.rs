//! Claims about the door: what passes, what is refused, and how it is told.

mod books;
mod copies;
mod inlined;

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;
use crate::query::params::Params;
use crate::query::render::value::text;
use crate::query::tests::fixture::{self, Fill, NOW, Span};

fn spans() -> Vec<Span> {
    vec![
        Span { name: "a", duration: 1_500_000, ..Span::new(1, 1) }.with("http.route", "/cart"),
        Span { name: "b", duration: 2_500_000, ..Span::new(1, 2) }.with("app.plan", "it's; DROP TABLE spans --"),
        Span { name: "c", start: NOW - 1, ..Span::new(2, 3) },
    ]
}

fn gateway() -> Gateway {
    fixture::gateway(&spans(), Config { threads: 2, ..Config::default() })
}

async fn rows(gateway: &Gateway, statement: Statement) -> Result<Vec<Vec<Option<String>>>, Error> {
    let mut rows = Vec::new();
    for batch in gateway.run(statement).await?.collect().await? {
        for row in 0..batch.num_rows() {
            rows.push(batch.columns().iter().map(|column| text(column, row).unwrap()).collect());
        }
    }
    Ok(rows)
}

async fn one(gateway: &Gateway, sql: &str) -> Result<String, Error> {
    let rows = rows(gateway, Statement::new(sql)).await?;
    Ok(rows
        .iter()
        .map(|row| row.iter().map(|c| c.clone().unwrap_or("∅".into())).collect::<Vec<_>>().join(","))
        .collect::<Vec<_>>()
        .join(";"))
}

/// `code|message|line:column@offset|hint`.
fn told(error: &Error) -> String {
    let at = error.position.map(|at| format!("{}:{}@{}", at.line, at.column, at.offset)).unwrap_or("-".into());
    let hint = error.hint.as_deref().unwrap_or("-");
    format!("{}|{}|{at}|{hint}", error.code.as_str(), error.message)
}

#[tokio::test]
async fn errors_tell_place_cause_and_next_move() {
    let gateway = gateway();
    let mut wrong = Vec::new();
    for (sql, expected) in include_str!("golden.txt").split("\n\n").filter_map(|case| case.trim().rsplit_once('\n')) {
        let error = one(&gateway, sql).await.err();
        let actual = error.as_ref().map_or("no error".to_owned(), told);
        if actual != expected {
            wrong.push(format!("{sql}\n  expected {expected}\n  actual   {actual}"));
        }
        if let Some(error) = error {
            assert!(error.query_id.is_some(), "{sql}");
            for word in ["datafusion", "DataFusion", "backtrace", ".rs"] {
                assert!(!told(&error).contains(word), "{sql}: {}", told(&error));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn hostile_statements_are_refused() {
    let gateway = gateway();
    let statements = crate::query::tests::hostile();
    assert!(statements.len() >= 150, "{}", statements.len());
    let mut passed = Vec::new();
    for sql in statements {
        match one(&gateway, &sql).await {
            Ok(rows) => passed.push(format!("{sql} => {rows}")),
            Err(error) => assert_ne!(error.code, Code::Internal, "{sql}: {}", told(&error)),
        }
    }
    assert!(passed.is_empty(), "{}", passed.join("\n"));
    assert_eq!(one(&gateway, "SELECT count(*) FROM spans").await.unwrap(), "3");
    assert!(!std::path::Path::new("/tmp/weavergen-escape").exists());
}

#[tokio::test]
async fn statements_that_grow_are_refused_before_they_cost_anything() {
    let gateway = gateway();
    let repeat = |text: &str, times| text.repeat(times);
    let cases = [
        format!("SELECT 1 {}", repeat("+1", 20_000)),
        format!("SELECT {}1{}", repeat("(", 300), repeat(")", 300)),
        format!("SELECT {}1", repeat("- ", 10_000)),
        format!("SELECT {}true", repeat("NOT ", 10_000)),
        format!("SELECT 1{}", repeat("::int", 8_000)),
        format!("SELECT 1 {}", repeat("UNION ALL SELECT 1 ", 32)),
        format!("SELECT * FROM spans a0 {}", (1..=17).map(|n| format!("CROSS JOIN spans a{n} ")).collect::<String>()),
        format!("SELECT * FROM {}", vec!["spans"; 18].join(", ")),
        format!(
            "SELECT 1 FROM (spans a0 {})",
            (1..2500).map(|n| format!("CROSS JOIN spans a{n} ")).collect::<String>()
        ),
        read_again(16, "SELECT (SELECT x FROM @) + (SELECT x FROM @) AS x"),
        format!("EXPLAIN {}", read_again(16, "SELECT (SELECT x FROM @) + (SELECT x FROM @) AS x")),
        read_again(16, "SELECT a.x FROM @ a CROSS JOIN @ b"),
        format!(
            "SELECT count(*) FROM spans GROUP BY CUBE ({})",
            (0..60).map(|n| format!("duration_ns + {n}")).collect::<Vec<_>>().join(", ")
        ),
        format!("WITH {} SELECT 1", (0..17).map(|n| format!("c{n} AS (SELECT 1)")).collect::<Vec<_>>().join(", ")),
        format!("SELECT {}", vec!["1"; 501].join(", ")),
        format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 10_001].join(",")),
        format!("SELECT '{}'", repeat("x", 70_000)),
        format!("SELECT {}1{}", repeat("(SELECT ", 60), repeat(")", 60)),
        format!("SELECT {}1{}", repeat("abs(", 60), repeat(")", 60)),
        format!("SELECT CASE {} END", repeat("WHEN true AND false THEN 1 ", 2_000)),
        format!(
            "SELECT a.*, b.*, {} FROM spans a, spans b",
            (0..499).map(|n| format!("{n} AS c{n}")).collect::<Vec<_>>().join(",")
        ),
    ];
    for sql in cases {
        let began = Instant::now();
        let error = one(&gateway, &sql).await.unwrap_err();
        assert!(matches!(error.code, Code::TooComplex | Code::Syntax), "{}…: {}", &sql[..40], told(&error));
        assert!(began.elapsed() < Duration::from_secs(5), "{}…", &sql[..40]);
    }
    let again = read_again(6, "SELECT a.x + b.x AS x FROM @ a CROSS JOIN @ b");
    assert_eq!(one(&gateway, &again).await.unwrap(), "32");
    let cube = "SELECT count(*) FROM (SELECT name, kind, count(*) FROM spans GROUP BY CUBE (name, kind))";
    assert_eq!(one(&gateway, cube).await.unwrap(), "8");
    // The largest list that is allowed runs.
    let list = format!("SELECT 1 WHERE 1 IN ({})", vec!["1"; 10_000].join(","));
    assert_eq!(one(&gateway, &list).await.unwrap(), "1");
}

/// `levels` common table expressions, each one `of` the one before, which is `@` in it.
fn read_again(levels: usize, of: &str) -> String {
    let each = |level: usize| format!(", c{level} AS ({})", of.replace('@', &format!("c{}", level - 1)));
    let more: String = (1..levels).map(each).collect();
    format!("WITH c0 AS (SELECT 1 AS x){more} SELECT x FROM c{}", levels - 1)
}

#[tokio::test]
async fn a_recursion_ends_after_1000_rounds_or_a_million_rows() {
    let gateway = gateway();
    let recursive =
        |base: &str, term: &str| format!("WITH RECURSIVE t AS ({base} UNION ALL {term}) SELECT count(*) FROM t");
    let endless = one(&gateway, &recursive("SELECT 1 AS n", "SELECT n + 1 FROM t")).await.unwrap_err();
    assert_eq!(endless.code, Code::TooComplex, "{}", told(&endless));
    assert!(endless.message.contains("has not ended after 1000 rounds"), "{}", told(&endless));
    let wide = recursive("SELECT 1 AS n", "SELECT n + 1 FROM t CROSS JOIN spans WHERE n < 100");
    let wide = one(&gateway, &wide).await.unwrap_err();
    assert_eq!(wide.code, Code::LimitRows, "{}", told(&wide));
    assert!(wide.hint.as_deref().is_some_and(|hint| hint.contains("bound it")), "{}", told(&wide));
    let distinct = "WITH RECURSIVE t AS (SELECT 1 AS n UNION SELECT n + 1 FROM t WHERE n < 900) SELECT max(n) FROM t";
    assert_eq!(one(&gateway, distinct).await.unwrap(), "900");
}

#[tokio::test]
async fn a_doubling_over_nested_queries_ends_at_the_cap() {
    let gateway = gateway();
    let nested = |of: &str, double: &str| {
        let from = format!("SELECT {of} AS x0 FROM spans");
        (0..11).fold(from, |sql, level| {
            let double = double.replace('x', &format!("x{level}"));
            format!("SELECT {double} AS x{} FROM ({sql})", level + 1)
        })
    };
    for double in ["x || x", "concat(x, x)", "replace(x, 'a', 'aa')"] {
        let error = one(&gateway, &nested("repeat(name, 1000)", double)).await.unwrap_err();
        assert_eq!(error.code, Code::Argument, "{double}: {}", told(&error));
        assert!(error.message.contains("would make a text of"), "{double}: {}", told(&error));
    }
    let error = one(&gateway, &nested("array_repeat(name, 64)", "array_concat(x, x)")).await.unwrap_err();
    assert!(error.message.contains("would make an array of 131072 elements"), "{}", told(&error));
}

#[tokio::test]
async fn what_grows_beyond_a_cap_is_an_error_of_the_argument() {
    let gateway = gateway();
    for sql in [
        "SELECT name || repeat(name, 2000000) FROM spans",
        "SELECT name FROM spans WHERE name LIKE service_name",
        "SELECT repeat('x', 100000) FROM spans",
    ] {
        let error = one(&gateway, sql).await.unwrap_err();
        assert_eq!(error.code, Code::Argument, "{sql}: {}", told(&error));
    }
}

#[tokio::test]
async fn calls_within_their_caps_have_one_together() {
    let spans: Vec<Span> = (1..=8).map(|id| Span::new(1, id)).collect();
    let reader = fixture::reader(&Fill::new().memory(&spans).view());
    let resources = Resources { memory_bytes: 16 << 20, spill: None };
    let (config, registry) = (Config { threads: 2, ..Config::default() }, Registry::new());
    let gateway = Gateway::with(reader, config, resources, vec![], Clock::manual(NOW, 1), &registry).unwrap();
    // Each column has about 1 MiB: a hundred of them at once are more than a statement may hold.
    let each = |call: &str| {
        let calls: Vec<String> = (0..100).map(|n| call.replace("$n", &(60_000 + n).to_string())).collect();
        calls.join(", ")
    };
    let of = "(SELECT repeat(name, 120000) AS x FROM spans)";
    let lists = "(SELECT [repeat(name, 60000)] AS x FROM spans)";
    let copies = "upper(x), lower(x), initcap(x), reverse(x), x || 'a', x || 'b', x || 'c', concat('a', x), \
                  concat('b', x), concat('c', x), replace(x, 'o', 'a'), replace(x, 'o', 'b')";
    for sql in [
        format!("SELECT {} FROM spans", each("repeat(name, $n)")),
        format!("SELECT {} FROM spans", each("array_repeat(duration_ns, $n)")),
        format!("SELECT {} FROM spans", each("range(duration_ns, duration_ns + $n)")),
        format!("SELECT {} FROM spans", each("repeat(name, 30000) || repeat(name, $n)")),
        format!("SELECT {copies} FROM {of}"),
        format!("SELECT {} FROM {lists}", each("array_append(x, '$n')")),
    ] {
        let error = one(&gateway, &sql).await.unwrap_err();
        assert_eq!(error.code, Code::LimitMemory, "{}…: {}", &sql[..60], told(&error));
    }
    // Constants are refused before that: each would be copied for each row.
    let constants = format!("SELECT {}", each("repeat('xyz', 2 * $n)"));
    assert_eq!(one(&gateway, &constants).await.unwrap_err().code, Code::Argument);
    // What is given up again makes room: as many calls one after the other, and as many batches.
    let lengths = format!("SELECT {} FROM spans LIMIT 1", each("length(repeat(name, $n))"));
    let lengths = one(&gateway, &lengths).await.unwrap();
    assert!(lengths.starts_with("120000,120002,"), "{lengths}");
    let many = "SELECT count(x), max(length(x)) FROM (SELECT repeat(name, 500 + n % 2) AS x FROM \
                (SELECT name, unnest(range(5000 + duration_ns - duration_ns)) AS n FROM spans))";
    assert_eq!(one(&gateway, many).await.unwrap(), "40000,1002");
    let kept = "SELECT length(x), y FROM (SELECT repeat(name, 120000) AS x, upper(repeat(name, 10000)) AS y FROM spans) \
                ORDER BY y, x LIMIT 1";
    assert!(one(&gateway, kept).await.unwrap().starts_with("240000,OPOP"));
}

#[tokio::test]
async fn operators_that_hold_too_much_end_at_the_limit_of_memory() {
    let reader = fixture::reader(&Fill::new().memory(&spans()).view());
    // Room for the ranges alone, which have 2.4 MB together.
    let resources = Resources { memory_bytes: 4 << 20, spill: None };
    let (config, registry) = (Config { threads: 2, ..Config::default() }, Registry::new());
    let gateway = Gateway::with(reader, config, resources, vec![], Clock::manual(NOW, 1), &registry).unwrap();
    let many = "(SELECT unnest(range(99000 + duration_ns - duration_ns)) AS n FROM spans)";
    for sql in [
        format!("SELECT count(*) FROM (SELECT n, count(*) FROM {many} GROUP BY n)"),
        format!("SELECT max(r) FROM (SELECT row_number() OVER (ORDER BY n DESC) AS r FROM {many})"),
    ] {
        let error = one(&gateway, &sql).await.unwrap_err();
        assert_eq!(error.code, Code::LimitMemory, "{sql}: {}", told(&error));
    }
    assert_eq!(one(&gateway, &format!("SELECT count(*) FROM {many}")).await.unwrap(), "297000");
}

#[tokio::test]
async fn a_statement_that_runs_for_ever_ends_in_time_and_frees_its_slot() {
    let gateway = gateway();
    let endless = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    let alternative = "SELECT count(*) FROM (VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10)) a(x) \
        CROSS JOIN (VALUES (1),(2),(3),(4),(5),(6),(7),(8),(9),(10)) b(x) CROSS JOIN spans c CROSS JOIN spans d \
        CROSS JOIN spans e CROSS JOIN spans f CROSS JOIN spans g CROSS JOIN spans h CROSS JOIN spans i \
        CROSS JOIN spans j CROSS JOIN spans k CROSS JOIN spans l CROSS JOIN spans m CROSS JOIN spans n \
        WHERE a.x + b.x + c.duration_ns + n.duration_ns + m.duration_ns <> 7";
    for sql in [endless, alternative] {
        for _ in 0..4 {
            let began = Instant::now();
            let limits = Limits { time: Some(Duration::from_millis(300)), ..Limits::default() };
            let error = rows(&gateway, Statement { limits, ..Statement::new(sql) }).await.unwrap_err();
            assert!(began.elapsed() < Duration::from_millis(1300), "{:?}", began.elapsed());
            if sql == alternative {
                assert_eq!(error.code, Code::Timeout, "{}", told(&error));
            }
        }
    }
    tokio::time::sleep(Duration::from_millis(1000)).await;
    assert_eq!(gateway.inner.running.get(), 0);
    assert_eq!(one(&gateway, "SELECT 1").await.unwrap(), "1");
}

#[tokio::test]
async fn parameters_are_values_and_never_text_of_the_statement() {
    let gateway = gateway();
    let ask = |sql: &str, params: serde_json::Value| {
        let statement = Params::from_json(&params).map(|params| Statement { params, ..Statement::new(sql) });
        let gateway = &gateway;
        async move { rows(gateway, statement?).await }
    };
    let text = |value: &str| vec![vec![Some(value.to_owned())]];
    for hostile in ["it's", "'; DROP TABLE spans; --", "\\'", "$1", "/*", "\u{0}", "''", "E'\\n'", "💥\n\t"] {
        assert_eq!(ask("SELECT $1", json!([hostile])).await.unwrap(), text(hostile));
        assert_eq!(ask("SELECT $who", json!({"who": hostile})).await.unwrap(), text(hostile));
    }
    let name = "SELECT name FROM spans WHERE attributes['app.plan'] = $1";
    assert_eq!(ask(name, json!(["it's; DROP TABLE spans --"])).await.unwrap(), text("b"));
    let typed = "SELECT $a + 1, $b, $c, $d IS NULL, $e";
    let params = json!({"a": i64::MAX - 1, "b": -1.5, "c": true, "d": null, "$e": i64::MIN});
    let expected = [i64::MAX.to_string(), "-1.5".into(), "true".into(), "true".into(), i64::MIN.to_string()];
    assert_eq!(ask(typed, params).await.unwrap(), [expected.map(Some).to_vec()]);
    let count = "SELECT count(*) FROM spans WHERE duration_ns > $1 AND start_time <= $2 LIMIT $3";
    assert_eq!(ask(count, json!([1_000_000, "2023-11-14T22:13:20Z", 1])).await.unwrap(), text("2"));
    for (sql, params, why) in [
        ("SELECT $1", json!([]), "the placeholder `$1` has no value"),
        ("SELECT $2", json!([1]), "the placeholder `$2` has no value"),
        ("SELECT 1", json!([1]), "the statement has no `$1`, but `params` does"),
        ("SELECT $a", json!({"a": 1, "b": 2}), "the statement has no `$b`, but `params` does"),
        ("SELECT $1", json!([[1]]), "the value of `$1` is an array or object"),
        ("SELECT 1", json!("x"), "`params` is neither an array nor an object"),
        ("SELECT * FROM $1", json!(["spans"]), ""),
    ] {
        let error = ask(sql, params).await.unwrap_err();
        assert!(error.message.contains(why), "{sql}: {}", told(&error));
        assert!(matches!(error.code, Code::Argument | Code::Syntax | Code::UnknownTable), "{}", told(&error));
    }
}

#[tokio::test]
async fn work_on_rows_is_done_on_the_query_threads() {
    let answer = gateway().run(Statement::new("SELECT 1")).await.unwrap();
    let name = answer.apart(|| std::thread::current().name().map(str::to_owned)).await.unwrap();
    assert_eq!(name.as_deref(), Some("query"));
    let error = answer.apart(move || assert!(name.is_none())).await.unwrap_err();
    assert_eq!(error.code, Code::Internal);
}

#[tokio::test]
async fn an_answer_is_cut_at_its_rows_and_says_so() {
    let gateway = gateway();
    for (limit, count, truncated) in [(0, 0, true), (2, 2, true), (3, 3, false), (4, 3, false)] {
        let limits = Limits { rows: Some(limit), ..Limits::default() };
        let statement = Statement { limits, ..Statement::new("SELECT name FROM spans ORDER BY name DESC") };
        let mut answer = gateway.run(statement).await.unwrap();
        let batches = answer.collect().await.unwrap();
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        assert_eq!((rows, answer.truncated, answer.stats().rows), (count, truncated, count as u64), "{limit}");
        if let Some(first) = batches.first() {
            // The cap comes after the order.
            assert_eq!(text(first.column(0), 0).unwrap().as_deref(), Some("c"));
        }
    }
    let limits = Limits { rows: Some(u64::MAX), time: Some(Duration::from_secs(9999)), ..Limits::default() };
    let answer = gateway.run(Statement { limits, ..Statement::new("SELECT 1") }).await.unwrap();
    let expected = [
        format!("`limits.rows` was cut from {} to 10000", u64::MAX),
        "`limits.time_ms` was cut from 9999000 to 30000".to_owned(),
    ];
    assert_eq!(answer.notices, expected);
}

#[tokio::test]
async fn a_statement_sees_one_moment_also_an_earlier_one() {
    let view = Fill::new().memory(&spans()[..1]).memory(&spans()[1..]).view();
    let first = view.memory[0].ingest_us;
    let config = Config { threads: 1, ..Config::default() };
    let registry = Registry::new();
    let gateway = Gateway::new(fixture::reader(&view), config, Clock::manual(NOW, 1), &registry).unwrap();
    for (as_of_us, count, snapshot) in [
        (None, "3", view.visible_us),
        (Some(first), "1", first),
        (Some(first - 1), "0", 0),
        (Some(i64::MAX), "3", view.visible_us),
    ] {
        let mut answer =
            gateway.run(Statement { as_of_us, ..Statement::new("SELECT count(*) FROM spans") }).await.unwrap();
        assert_eq!(answer.snapshot_us, snapshot);
        let batches = answer.collect().await.unwrap();
        assert_eq!(text(batches[0].column(0), 0).unwrap().as_deref(), Some(count));
    }
}

#[tokio::test]
async fn listings_name_our_tables_and_columns() {
    let gateway = gateway();
    let tables = one(&gateway, "SHOW TABLES").await.unwrap();
    assert!(tables.contains("public,spans,BASE TABLE"), "{tables}");
    for sql in ["DESCRIBE spans", "desc spans", "SHOW COLUMNS FROM spans", "show columns in public.spans"] {
        let columns = one(&gateway, sql).await.unwrap();
        assert!(columns.starts_with("trace_id,BINARY(16),"), "{sql}: {columns}");
        assert!(columns.contains(";attributes,ATTRIBUTES,"), "{sql}: {columns}");
    }
    assert_eq!(one(&gateway, "SHOW COLUMNS FROM spans LIKE 'duration_m%'").await.unwrap(), "duration_ms,DOUBLE,NO");
    assert_eq!(one(&gateway, "SHOW TABLES LIKE 'x'' OR true --'").await.unwrap(), "");
    assert!(one(&gateway, "SHOW FUNCTIONS LIKE 'p9%'").await.unwrap().contains("p99"));
    assert!(one(&gateway, "EXPLAIN SELECT * FROM spans").await.unwrap().contains("plan"));
    assert!(one(&gateway, "EXPLAIN ANALYZE SELECT count(*) FROM spans").await.unwrap().contains("metrics"));
    assert_eq!(one(&gateway, "VALUES (1), (2);").await.unwrap(), "1;2");
    assert_eq!(one(&gateway, "/* a; b */ SELECT 1 -- ; c").await.unwrap(), "1");
    assert_eq!(one(&gateway, "WITH a AS (SELECT 1 AS x) SELECT x FROM a").await.unwrap(), "1");
}

#[tokio::test]
async fn a_full_house_is_busy_and_a_dropped_answer_makes_room() {
    let gateway = gateway();
    let mut held = Vec::new();
    while gateway.inner.slots.free() > 0 {
        held.push(gateway.inner.slots.take("others").await.unwrap());
    }
    let limits = Limits { time: Some(Duration::from_millis(50)), ..Limits::default() };
    let error = rows(&gateway, Statement { limits, ..Statement::new("SELECT 1") }).await.unwrap_err();
    assert_eq!((error.code, error.retry_after()), (Code::Busy, Some(Duration::from_secs(1))));
    drop(held);
    assert_eq!(one(&gateway, "SELECT 1").await.unwrap(), "1");
}

/// More rows than an answer has room for ahead of its reader.
const MANY: &str = "SELECT * FROM generate_series(1, 1000000)";

#[tokio::test]
async fn an_answer_that_nobody_reads_lends_its_slot_and_goes_on_where_it_stood() {
    let gateway = gateway();
    let mut paused = Vec::new();
    for _ in 0..gateway.inner.slots.free() {
        paused.push(gateway.run(Statement { shape: Shape::Arrow, ..Statement::new(MANY) }).await.unwrap());
    }
    // The time of a wait is not over before the slots are lent.
    assert_eq!(one(&gateway, "SELECT 1").await.unwrap(), "1");
    for answer in &mut paused {
        let rows: usize = answer.collect().await.unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows, 1_000_000);
    }
    drop(paused);
    let began = Instant::now();
    while gateway.slots_taken() > 0 && began.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!((gateway.slots_taken(), gateway.inner.slots.waiting()), (0, 0));
}

#[tokio::test]
async fn a_statement_that_is_untraced_has_no_own_span() {
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry());
    let gateway = gateway();
    for is_untraced in [false, true] {
        let answer = gateway.run(Statement { is_untraced, ..Statement::new("SELECT 1") }).await.unwrap();
        assert_eq!(answer.span.is_none(), is_untraced);
    }
}
