//! Aggregates that a statement calls.
//!
//! Duty: which calls make one value of many rows. Guarantee: those of a session are all known, so that what hangs on one
//! having a row, also over nothing, is not said of another. Left to others: what they give (`functions`).

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::LazyLock;

use datafusion::sql::sqlparser::ast::{Expr, Function, Visit, visit_expressions};

use super::reads::parts;
use crate::query::{allow, functions};

/// Aggregates of PostgreSQL that no session has; some have another name there.
const ELSEWHERE: [&str; 18] = [
    "any_value",
    "bit_and",
    "bit_or",
    "bit_xor",
    "every",
    "json_agg",
    "json_object_agg",
    "jsonb_agg",
    "jsonb_object_agg",
    "mode",
    "percentile_disc",
    "range_agg",
    "regr_avgx",
    "regr_avgy",
    "stddev_samp",
    "var_samp",
    "variance",
    "xmlagg",
];

static OURS: LazyLock<HashSet<String>> =
    LazyLock::new(|| functions::aggregates().iter().map(|of| of.name().to_owned()).collect());

/// Whether `call` is of an aggregate that the engine plans, over a group of rows.
pub fn is_planned(call: &Function) -> bool {
    is_over_groups(call, |name| allow::aggregate(name) || OURS.contains(name))
}

/// Whether `of` has a call of an aggregate.
pub fn any<T: Visit>(of: &T) -> bool {
    let found = visit_expressions(of, |expr| match expr {
        Expr::Function(call) if is_planned(call) || is_over_groups(call, |name| ELSEWHERE.contains(&name)) => {
            ControlFlow::Break(())
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// A window gives a value for each row, and none where there is none.
fn is_over_groups(call: &Function, is_one: impl Fn(&str) -> bool) -> bool {
    call.over.is_none() && parts(&call.name).last().is_some_and(|name| is_one(name.as_str()))
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn aggregates_of_a_session_and_of_postgresql_are_known_wherever_they_stand() {
        let has = |sql: &str| any(&Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap());
        for call in [
            "COUNT(*)",
            "stddev(a)",
            "p99(a)",
            "error_rate(b)",
            "json_agg(a)",
            "every(b)",
            "pg_catalog.max(a)",
            "1 + coalesce(sum(a), 0)",
            "percentile_cont(0.5) WITHIN GROUP (ORDER BY a)",
        ] {
            assert!(has(&format!("SELECT {call} FROM t")), "{call}");
        }
        for call in ["lower(a)", "count(*) OVER ()", "row_number() OVER (ORDER BY a)", "counted(a)", "\"COUNT\"(a)"] {
            assert!(!has(&format!("SELECT {call} FROM t")), "{call}");
        }
    }
}
