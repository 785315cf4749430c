//! Claims about queries within queries that say the same at each level: none is lost.

use super::fixture::{Fill, NOW, Span, ask, one};
use crate::store::View;

fn view() -> View {
    let spans: Vec<Span> =
        (0..3_u8).map(|n| Span { start: NOW + i64::from(n), ..Span::new(1, u64::from(n)) }).collect();
    Fill::new().memory(&spans).view()
}

/// `of` within `levels` queries that each compute `x` from `x`.
fn nested(of: &str, computed: &str, levels: usize) -> String {
    (0..levels).fold(of.to_owned(), |inner, _| format!("SELECT {computed} FROM ({inner})"))
}

#[tokio::test]
async fn texts_and_numbers_are_doubled_once_a_level() {
    let view = view();
    for levels in 1..=6 {
        let times = 1_usize << levels;
        let texts = ["SELECT 'a' AS x".to_owned(), "SELECT left(name, 1) AS x FROM spans LIMIT 1".to_owned()];
        for of in texts {
            for double in ["x || x AS x", "concat(x, x) AS x", "repeat(x, 2) AS x"] {
                let sql = format!("SELECT length(x) FROM ({})", nested(&of, double, levels));
                assert_eq!(one(&view, &sql).await, times.to_string(), "{sql}");
            }
        }
        for of in ["SELECT 1 AS x", "SELECT duration_ns - duration_ns + 1 AS x FROM spans LIMIT 1"] {
            assert_eq!(one(&view, &nested(of, "x + x AS x", levels)).await, times.to_string());
            assert_eq!(one(&view, &nested(of, "x + 1 AS x", levels)).await, (levels + 1).to_string());
        }
    }
    assert_eq!(one(&view, &nested("SELECT 'a' AS x", "x || x AS x", 3)).await, "aaaaaaaa");
}

#[tokio::test]
async fn names_that_change_places_do_so_once_a_level() {
    let view = view();
    for levels in 1..=6 {
        let sql = nested("SELECT 'one' AS a, 'two' AS b", "b AS a, a AS b", levels);
        let expected = if levels % 2 == 0 { ["one", "two"] } else { ["two", "one"] };
        assert_eq!(ask(&view, &sql).await, [expected], "{levels}");
    }
}

#[tokio::test]
async fn levels_are_kept_apart_by_anything_that_the_planner_removes_and_when_others_are_merged() {
    let view = view();
    for (sql, expected) in [
        // What lies between two equal levels goes away.
        (
            "SELECT x + 1 AS x FROM (SELECT x FROM (SELECT x + 1 AS x FROM (SELECT x + 1 AS x FROM (SELECT 1 AS x))))",
            "4",
        ),
        ("SELECT x + 1 AS x FROM (SELECT x + 1 AS x FROM (SELECT x + 1 AS x FROM (SELECT 1 AS x)) WHERE true)", "4"),
        ("SELECT x + 1 AS x FROM (SELECT x + 1 AS x FROM (SELECT x + 1 AS x FROM (SELECT 1 AS x) a) b) c", "4"),
        // Two merge into what a third says.
        (
            "SELECT x + 1 AS x FROM (SELECT x + 1 AS x FROM (SELECT x + 1 + 1 AS x FROM (SELECT duration_ns - duration_ns AS x FROM spans LIMIT 1)))",
            "4",
        ),
        (
            "SELECT x + 1 + 1 AS x FROM (SELECT x + 1 AS x FROM (SELECT x + 1 AS x FROM (SELECT duration_ns - duration_ns AS x FROM spans LIMIT 1)))",
            "4",
        ),
        // In a subquery, in a common table expression, below an aggregate, in a union.
        ("SELECT (SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT 1 AS x))))", "8"),
        (
            "WITH a AS (SELECT 1 AS x), b AS (SELECT x + x AS x FROM a), c AS (SELECT x + x AS x FROM b), d AS (SELECT x + x AS x FROM c) SELECT x + x AS x FROM d",
            "16",
        ),
        (
            "SELECT sum(x) AS x FROM (SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT 1 AS x FROM spans))))",
            "24",
        ),
        (
            "SELECT sum(x) FROM (SELECT x + x AS x FROM (SELECT x + x AS x FROM (SELECT x + x AS x FROM (VALUES (1)) t(x))) UNION ALL SELECT x + x AS x FROM (SELECT x + x AS x FROM (VALUES (1)) t(x)))",
            "12",
        ),
        // Brackets, which move to the scan.
        (
            "SELECT count(x) FROM (SELECT x || x AS x FROM (SELECT x || x AS x FROM (SELECT attributes['none'] AS x FROM spans)))",
            "0",
        ),
    ] {
        assert_eq!(one(&view, sql).await, expected, "{sql}");
    }
}

#[tokio::test]
async fn columns_of_an_answer_keep_the_names_that_they_have_without_levels() {
    let view = view();
    let context = super::fixture::session(&view);
    let sql = "SELECT upper(x), x AS y FROM (SELECT upper(x), upper(x) AS x FROM (SELECT upper(x), upper(x) AS x FROM \
               (SELECT name AS x FROM spans)))";
    let frame = context.sql(sql).await.unwrap();
    let names =
        |schema: &arrow::datatypes::Schema| schema.fields().iter().map(|f| f.name().clone()).collect::<Vec<_>>();
    assert_eq!(names(frame.schema().as_arrow()), ["upper(x)", "y"]);
    let batches = frame.collect().await.unwrap();
    assert_eq!(names(&batches[0].schema()), ["upper(x)", "y"]);
    let plan = context.sql(&format!("EXPLAIN {sql}")).await.unwrap().collect().await.unwrap();
    let shown = arrow::util::pretty::pretty_format_batches(&plan).unwrap().to_string();
    assert!(!shown.contains("level "), "{shown}");
}
