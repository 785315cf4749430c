//! Claims about expressions that grow over levels of queries while they are planned.

use super::*;

/// `computed` of the level below, `levels` times, over one column.
fn nested(computed: &str, levels: usize) -> String {
    let from = "SELECT duration_ns AS x FROM spans".to_owned();
    (0..levels).fold(from, |inner, _| format!("SELECT {computed} FROM ({inner})"))
}

#[tokio::test]
async fn what_doubles_with_each_level_is_refused_before_it_is_optimised() {
    let gateway = gateway();
    let x = nested("x + x + x + x AS x", 8);
    for sql in [
        format!("SELECT x FROM ({x})"),
        format!("SELECT count(*) FROM ({x}) WHERE x > 0"),
        format!("SELECT t.* FROM ({x}) t WHERE t.x > 0"),
        format!("SELECT max(x) FROM ({x})"),
        format!("SELECT DISTINCT x FROM ({x})"),
        format!("SELECT name FROM ({x}) CROSS JOIN spans ORDER BY x LIMIT 1"),
        format!("SELECT count(*) FROM ({x}) a JOIN spans b ON a.x = b.duration_ns"),
        format!("SELECT count(*) FROM spans s WHERE EXISTS (SELECT 1 FROM ({x}) WHERE x = s.duration_ns)"),
        format!("SELECT (SELECT count(*) FROM spans s WHERE s.duration_ns = o.x) FROM ({x}) o"),
        format!("SELECT count(*) FROM ({x}) o, LATERAL (SELECT o.x + 1 AS y) l"),
        format!("SELECT count(*) FROM (SELECT x FROM ({x}) UNION ALL SELECT 1) WHERE x > 0"),
        format!("EXPLAIN SELECT count(*) FROM ({x}) WHERE x > 0"),
        format!("{} WHERE x > 0", read_again(16, "SELECT x + x AS x FROM @")),
        format!("SELECT count(*) FROM ({}) WHERE x > 0", nested("CASE WHEN x > 0 THEN x ELSE -x END AS x", 12)),
    ] {
        let error = one(&gateway, &sql).await.unwrap_err();
        assert_eq!(error.code, Code::TooComplex, "{sql}: {}", told(&error));
        assert!(error.message.contains("once their columns are written out"), "{sql}: {}", told(&error));
    }
    let sum = format!("max(duration_ns){}", " + 1".repeat(200));
    let aliases = format!("SELECT {sum} AS x FROM spans HAVING x > 0{}", " AND x > 0".repeat(100));
    let error = one(&gateway, &aliases).await.unwrap_err();
    assert!(error.message.contains("planned more than once"), "{}", told(&error));
}

#[tokio::test]
async fn what_does_not_grow_runs_at_any_level() {
    let gateway = gateway();
    let ranked = (0..6).fold("SELECT duration_ns AS x FROM spans".to_owned(), |inner, _| {
        format!("SELECT r + r AS x FROM (SELECT row_number() OVER (ORDER BY x) AS r FROM ({inner}))")
    });
    let one_more = format!("SELECT count(*) FROM ({}) WHERE x > 0", nested("x + 1 AS x", 16));
    let doubled = format!("SELECT count(*) FROM ({}) WHERE x >= 0", nested("x + x AS x", 5));
    let of_all = format!("SELECT x FROM ({}) WHERE x >= 0", nested("count(x) + count(x) AS x", 12));
    for (sql, expected) in [
        (one_more, "3"),
        (doubled, "3"),
        (of_all, "2"),
        (format!("SELECT max(x) FROM ({ranked}) WHERE x > 0"), "6"),
        (read_again(16, "SELECT x + 1 AS x FROM @"), "16"),
    ] {
        assert_eq!(one(&gateway, &sql).await.unwrap(), expected, "{sql}");
    }
}

#[tokio::test]
async fn subqueries_within_subqueries_are_refused_before_each_level_doubles_the_planning() {
    let gateway = gateway();
    let nested = |levels: usize| format!("SELECT {}1{}", "(SELECT ".repeat(levels), ")".repeat(levels));
    assert_eq!(one(&gateway, &nested(5)).await.unwrap(), "1");
    let error = one(&gateway, &nested(14)).await.unwrap_err();
    assert_eq!(error.code, Code::TooComplex, "{}", told(&error));
    // Side by side they cost what each costs.
    let beside = format!("SELECT {}", vec!["(SELECT 1)"; 40].join(" + "));
    assert_eq!(one(&gateway, &beside).await.unwrap(), "40");
}
