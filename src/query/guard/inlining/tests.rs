//! Claims about what expressions gain over the levels of a plan.

use super::gained;
use crate::query::{Config, session};
use crate::store::View;

/// Deep enough for what the guard lets through, as query threads are.
const STACK: usize = 64 << 20;

/// What the plan of `sql` gains.
fn of(sql: &str) -> usize {
    let sql = sql.to_owned();
    let work = move || {
        let engine = session::runtime(64 << 20, None).unwrap();
        let context = session::open(&View::empty(), &Config::default(), 0, &engine).unwrap();
        let state = context.state();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let plan = runtime.block_on(Box::pin(state.create_logical_plan(&sql)));
        gained(&plan.unwrap_or_else(|error| panic!("{sql}: {error}"))).unwrap()
    };
    std::thread::Builder::new().stack_size(STACK).spawn(work).unwrap().join().unwrap()
}

/// `computed` of the level below, `levels` times, over one column.
fn nested(computed: &str, levels: usize) -> String {
    let from = "SELECT duration_ns AS x FROM spans".to_owned();
    (0..levels).fold(from, |inner, _| format!("SELECT {computed} FROM ({inner})"))
}

#[test]
fn what_names_a_column_twice_doubles_with_each_level() {
    for levels in 1..=10 {
        // The topmost has three nodes as it is written.
        assert_eq!(of(&nested("x + x AS x", levels)), (2 << levels) - 4, "{levels}");
        assert_eq!(of(&nested("x + 1 AS x", levels)), 2 * levels - 2, "{levels}");
    }
    assert_eq!(of(&nested("x", 10)), 0);
}

#[test]
fn a_column_is_written_out_wherever_it_is_named() {
    // 15 nodes for one.
    let x = nested("x + x AS x", 3);
    for (sql, expected) in [
        (format!("SELECT x FROM ({x}) WHERE x > 0"), 14),
        (format!("SELECT 1 FROM ({x}) WHERE x > 0 AND x < 9"), 28),
        (format!("SELECT 1 FROM (SELECT x FROM ({x}) WHERE x > 0) WHERE x < 9"), 28),
        (format!("SELECT t.* FROM ({x}) t"), 14),
        (format!("SELECT y FROM ({x}) t(y)"), 14),
        (format!("SELECT DISTINCT x FROM ({x})"), 14),
        (format!("SELECT 1 AS one FROM ({x}) ORDER BY x"), 14),
        (format!("SELECT 1 FROM ({x}) GROUP BY x HAVING x > 0"), 14),
        (format!("SELECT max(x) FROM ({x})"), 14),
        // The topmost of the three alone: sets of keys stay where they are.
        (format!("SELECT count(*) FROM ({x}) GROUP BY CUBE (x)"), 12),
        (format!("SELECT 1 FROM ({x}) a JOIN ({x}) b ON a.x = b.x"), 28),
        (format!("SELECT 1 FROM (SELECT x FROM ({x}) UNION ALL SELECT duration_ns FROM spans) WHERE x > 0"), 15),
        (format!("WITH a AS ({x}), b AS (SELECT x AS y FROM a) SELECT 1 FROM b WHERE y > 0"), 14),
        (format!("SELECT (SELECT count(*) FROM spans s WHERE s.duration_ns = o.x) FROM ({x}) o"), 14),
        (format!("SELECT 1 FROM spans s WHERE EXISTS (SELECT 1 FROM ({x}) o WHERE s.duration_ns = o.x)"), 14),
        (format!("SELECT 1 FROM ({x}) o, LATERAL (SELECT o.x + 1 AS y) l"), 14),
        (format!("EXPLAIN SELECT 1 FROM ({x}) WHERE x > 0"), 14),
    ] {
        assert_eq!(of(&sql), expected, "{sql}");
    }
}

#[test]
fn what_is_computed_of_many_rows_is_not_written_out_but_its_keys_are() {
    // Each argument is a sum of two aggregates.
    assert_eq!(of(&nested("max(x) + max(x) AS x", 10)), 2);
    let ranked = (0..10).fold("SELECT duration_ns AS x FROM spans".to_owned(), |inner, _| {
        format!("SELECT r + r AS x FROM (SELECT row_number() OVER (ORDER BY x) AS r FROM ({inner}))")
    });
    assert_eq!(of(&ranked), 2);
    let keys = (0..10).fold("SELECT duration_ns AS x FROM spans".to_owned(), |inner, _| {
        format!("SELECT x + x AS x FROM ({inner}) GROUP BY x")
    });
    assert_eq!(of(&keys), (2 << 10) - 4);
}

#[test]
fn a_count_saturates() {
    let sum = vec!["x"; 30].join(" + ");
    assert_eq!(of(&nested(&format!("{sum} AS x"), 16)), usize::MAX - 59);
}
