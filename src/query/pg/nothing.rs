//! Statements that have no rows because of what they read.
//!
//! Duty: a statement over relations that hold nothing (`absent`), in forms that the engine does not plan, becomes one of the
//! same columns without rows. Guarantee: only where no row can come: what is inner-joined holds nothing, and no aggregate
//! makes a row of it; what the engine plans stays as it is, with its types. Left to others: all others (`reads`).

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, AccessExpr, Expr, FunctionArguments, GroupByExpr, Ident, JoinOperator, Query, Select, SelectItem, SetExpr,
    SetOperator, TableFactor, TableWithJoins, Value, Visit, Visitor,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::reads::parts;
use super::{absent, aggregates, compat};
use crate::query::guard::folded;

/// Functions that give sets or records, for which the engine has no form.
const HARD: [&str; 6] = [
    "_pg_expandarray",
    "generate_subscripts",
    "pg_options_to_table",
    "unnest",
    "json_build_object",
    "pg_partition_tree",
];

/// What stands in place of `statement`, if it has no rows and the engine may not plan it.
pub fn nothing(statement: &ast::Statement) -> Option<ast::Statement> {
    let ast::Statement::Query(query) = statement else { return None };
    if !is_empty(query, &HashMap::new()) || !is_hard(statement) {
        return None;
    }
    let columns = compat::names(statement)?;
    let mut instead = Parser::parse_sql(&PostgreSqlDialect {}, "SELECT NULL WHERE false").ok()?.pop()?;
    if let ast::Statement::Query(query) = &mut instead
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        let column = |name: String| SelectItem::ExprWithAlias {
            expr: Expr::Value(Value::Null.into()),
            alias: Ident::with_quote('"', name),
        };
        // The engine wants names that differ; the client hears those of its own text.
        select.projection = columns.into_iter().enumerate().map(|(at, name)| column(format!("{name} {at}"))).collect();
    }
    Some(instead)
}

/// Common table expressions, and whether they have no rows.
type Expressions = HashMap<String, bool>;

fn is_empty(query: &Query, outer: &Expressions) -> bool {
    let mut expressions = outer.clone();
    for expression in query.with.iter().flat_map(|with| &with.cte_tables) {
        let empty = is_empty(&expression.query, &expressions);
        expressions.insert(folded(&expression.alias.name), empty);
    }
    body_is_empty(&query.body, &expressions)
}

fn body_is_empty(body: &SetExpr, expressions: &Expressions) -> bool {
    match body {
        SetExpr::Select(select) => select_is_empty(select, expressions),
        SetExpr::Query(query) => is_empty(query, expressions),
        SetExpr::SetOperation { op: SetOperator::Union, left, right, .. } => {
            body_is_empty(left, expressions) && body_is_empty(right, expressions)
        }
        SetExpr::SetOperation { op: SetOperator::Except, left, .. } => body_is_empty(left, expressions),
        SetExpr::SetOperation { op: SetOperator::Intersect, left, right, .. } => {
            body_is_empty(left, expressions) || body_is_empty(right, expressions)
        }
        _ => false,
    }
}

fn select_is_empty(select: &Select, expressions: &Expressions) -> bool {
    let is_grouped = match &select.group_by {
        GroupByExpr::Expressions(by, modifiers) => !by.is_empty() && modifiers.is_empty(),
        GroupByExpr::All(_) => false,
    };
    // An aggregate over no rows is one row.
    let one_row = !is_grouped && (select.having.is_some() || aggregates::any(&select.projection));
    !one_row && select.from.iter().any(|from| joined_is_empty(from, expressions))
}

fn joined_is_empty(from: &TableWithJoins, expressions: &Expressions) -> bool {
    let mut empty = factor_is_empty(&from.relation, expressions);
    for join in &from.joins {
        let right = || factor_is_empty(&join.relation, expressions);
        empty = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => empty || right(),
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => empty,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => right(),
            JoinOperator::FullOuter(_) => empty && right(),
            _ => false,
        };
    }
    empty
}

fn factor_is_empty(factor: &TableFactor, expressions: &Expressions) -> bool {
    match factor {
        TableFactor::Table { name, args: None, .. } => match parts(name).as_slice() {
            [name] => expressions.get(name).copied().unwrap_or_else(|| absent::has("pg_catalog", name)),
            [.., schema, name] => absent::has(schema, name),
            [] => false,
        },
        TableFactor::Derived { subquery, .. } => is_empty(subquery, expressions),
        TableFactor::NestedJoin { table_with_joins, .. } => joined_is_empty(table_with_joins, expressions),
        _ => false,
    }
}

/// Whether a statement has what the engine may not plan: subqueries within expressions, sets, parts of records, and
/// comparisons with arrays that are columns.
fn is_hard(statement: &ast::Statement) -> bool {
    struct Hard;
    impl Visitor for Hard {
        type Break = ();

        fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
            match factor {
                TableFactor::Derived { lateral: true, .. } | TableFactor::Function { .. } => ControlFlow::Break(()),
                TableFactor::Table { args: Some(_), .. } => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            }
        }

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            let is_hard = match expr {
                Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => true,
                Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                    matches!(right.as_ref(), Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Nested(_))
                }
                Expr::CompoundFieldAccess { access_chain, .. } => {
                    access_chain.iter().any(|access| matches!(access, AccessExpr::Dot(_)))
                }
                Expr::Function(call) => {
                    matches!(call.args, FunctionArguments::Subquery(_))
                        || parts(&call.name).last().is_some_and(|name| HARD.contains(&name.as_str()))
                }
                _ => false,
            };
            if is_hard { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    }
    statement.visit(&mut Hard).is_break()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instead(sql: &str) -> Option<String> {
        let statement = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap().pop().unwrap();
        nothing(&statement).map(|statement| statement.to_string())
    }

    #[test]
    fn keys_of_indexes_are_none() {
        let of = |columns: &str| Some(format!("SELECT {columns} WHERE false"));
        assert_eq!(
            instead(
                "SELECT i.x AS \"N\", (information_schema._pg_expandarray(i.indkey)).n FROM pg_index i, pg_class c"
            ),
            of("NULL AS \"N 0\", NULL AS \"n 1\"")
        );
        assert_eq!(
            instead(
                "SELECT conname, array_agg(a ORDER BY ord) AS cols FROM (SELECT conname, unnest(conkey) AS a, \
                 generate_subscripts(conkey, 1) AS ord FROM pg_catalog.pg_constraint c JOIN pg_class r ON true) x \
                 GROUP BY conname"
            ),
            of("NULL AS \"conname 0\", NULL AS \"cols 1\"")
        );
        assert_eq!(
            instead("SELECT count(*) OVER () AS n, (SELECT 1) AS one FROM pg_constraint"),
            of("NULL AS \"n 0\", NULL AS \"one 1\"")
        );
        assert_eq!(
            instead("WITH k AS (SELECT unnest(conkey) AS k FROM pg_constraint) SELECT k FROM pg_class JOIN k ON true"),
            of("NULL AS \"k 0\"")
        );
    }

    #[test]
    fn what_may_have_rows_or_can_be_planned_stays() {
        for sql in [
            "SELECT conname FROM pg_constraint WHERE conrelid = 5",
            "SELECT count(*), (SELECT 1) FROM pg_constraint",
            "SELECT json_agg(conname), (SELECT 1) FROM pg_constraint",
            "SELECT stddev(conkey), (SELECT 1) FROM pg_constraint",
            "SELECT (SELECT 1) FROM pg_class c LEFT JOIN pg_index i ON i.indrelid = c.oid",
            "SELECT (SELECT 1) FROM pg_constraint UNION SELECT relname FROM pg_class",
            "SELECT (SELECT 1) FROM pg_constraint RIGHT JOIN pg_class ON true",
            "WITH pg_index AS (SELECT 1 AS a) SELECT (SELECT 1) FROM pg_index",
            "SELECT (SELECT 1) FROM public.pg_index",
            "SELECT *, (SELECT 1) FROM pg_index",
            "SELECT (SELECT relname FROM pg_class, pg_index LIMIT 1)",
        ] {
            assert_eq!(instead(sql), None, "{sql}");
        }
    }
}
