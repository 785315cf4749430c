//! Metric sources that read spans (gates.md 12, `gates import openslo`).
//!
//! Duty: a source of type `weavergen`, or a statement over `spans`, to the condition and the value that a `slo` counts.
//! Guarantee: a statement is taken only if nothing of it is left out: printed again from what was taken it is the same.
//! Left to others: whether names and types fit (`plan`).

use datafusion::sql::sqlparser::ast::{Expr, SelectItem, SetExpr, Statement};
use datafusion::sql::sqlparser::parser::Parser;

use crate::query::dialect::Postgres;

/// What a statement over `spans` asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// What stands between SELECT and FROM.
    pub what: String,
    /// Its condition; none is `true`.
    pub condition: String,
}

impl Asked {
    /// Whether it counts spans.
    pub(super) fn counts(&self) -> bool {
        self.what.eq_ignore_ascii_case("count(*)") || self.what.eq_ignore_ascii_case("count(1)")
    }
}

/// Reads `SELECT … FROM spans [WHERE …]`. `Err` says what else it is.
pub(super) fn asked(sql: &str) -> Result<Asked, String> {
    let statements = Parser::parse_sql(&Postgres, sql).map_err(|error| format!("no SQL: {error}"))?;
    let other = || "more than `SELECT … FROM spans WHERE …`".to_owned();
    let [statement] = statements.as_slice() else { return Err(other()) };
    let Statement::Query(query) = statement else { return Err(other()) };
    let SetExpr::Select(select) = query.body.as_ref() else { return Err(other()) };
    let [item] = select.projection.as_slice() else { return Err(other()) };
    let (what, shown): (&Expr, String) = match item {
        SelectItem::UnnamedExpr(expr) => (expr, expr.to_string()),
        // A name changes nothing of what is asked.
        SelectItem::ExprWithAlias { expr, alias } => (expr, format!("{expr} AS {alias}")),
        _ => return Err(other()),
    };
    let filter = select.selection.as_ref().map(|condition| format!(" WHERE {condition}")).unwrap_or_default();
    let printed = statement.to_string();
    if !["spans", "public.spans"].iter().any(|table| format!("SELECT {shown} FROM {table}{filter}") == printed) {
        return Err(other());
    }
    let condition = select.selection.as_ref().map_or_else(|| "true".to_owned(), ToString::to_string);
    Ok(Asked { what: what.to_string(), condition })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_is_taken_only_if_nothing_of_it_is_left_out() {
        let read = |sql: &str| asked(sql).map(|asked| (asked.counts(), asked.what, asked.condition));
        let counts = |condition: &str| Ok((true, "count(*)".to_owned(), condition.to_owned()));
        assert_eq!(read("SELECT count(*) FROM spans"), counts("true"));
        assert_eq!(
            read("select count(*) as n\nfrom spans -- all\nwhere kind = 'server' AND name <> 'x;y';"),
            counts("kind = 'server' AND name <> 'x;y'")
        );
        let value = read("SELECT duration_ns / 1e6 FROM public.spans WHERE kind = 'server'");
        assert_eq!(value, Ok((false, "duration_ns / 1e6".to_owned(), "kind = 'server'".to_owned())));
        for other in [
            "SELECT count(*) FROM spans s",
            "SELECT count(*) FROM spans LIMIT 5",
            "SELECT DISTINCT name FROM spans",
            "SELECT count(*), name FROM spans GROUP BY name",
            "SELECT count(*) FROM spans JOIN b ON true",
            "SELECT count(*) FROM requests",
            "SELECT count(*) FROM spans; SELECT 1",
            "WITH a AS (SELECT 1) SELECT count(*) FROM spans",
            "DELETE FROM spans",
        ] {
            assert_eq!(read(other), Err("more than `SELECT … FROM spans WHERE …`".to_owned()), "{other}");
        }
        assert!(read("rate(http_requests_total[5m])").is_err_and(|why| why.starts_with("no SQL: ")));
    }
}
