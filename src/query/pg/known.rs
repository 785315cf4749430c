//! Statements of tools that the engine does not plan.
//!
//! Duty: what is asked by them, said otherwise. Guarantee: a statement is known by what only it has; rows mean the same
//! for what there is here: no domains, ranges or types of rows. Left to others: those that datafusion-pg-catalog knows
//! (`compat`).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Expr, LimitClause, Query, Value, Visit, VisitMut, Visitor, VisitorMut};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::kind::{Kind, Scalar};
use super::objects::type_name;
use super::reads::parts;
use crate::query::session::SCHEMA;

/// How asyncpg learns of types of which it sees values: a recursion over subqueries that hang on the query around them.
/// Elements of arrays are types that it knows, so there is one step.
const TYPES_OF_ASYNCPG: (&str, &str) = (
    "typeinfo_tree",
    "SELECT t.oid AS oid, n.nspname AS ns, t.typname AS name, t.typtype AS kind, NULL::int AS basetype, \
     t.typelem AS elemtype, e.typdelim AS elemdelim, NULL::int AS range_subtype, NULL::text AS attrtypoids, \
     NULL::text AS attrnames, 0 AS depth, NULL::text AS basetype_name, e.typname AS elemtype_name, \
     NULL::text AS range_subtype_name FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
     LEFT JOIN pg_catalog.pg_type e ON e.oid = t.typelem AND t.typlen = -1 WHERE t.oid = ANY ($1)",
);

/// What stands in place of `statement`, if it is known.
pub fn known(statement: &ast::Statement) -> Option<ast::Statement> {
    let ast::Statement::Query(query) = statement else { return None };
    let with = query.with.as_ref().filter(|with| with.recursive)?;
    let (name, instead) = TYPES_OF_ASYNCPG;
    with.cte_tables.iter().any(|expression| expression.alias.name.value == name).then_some(())?;
    Parser::parse_sql(&PostgreSqlDialect {}, instead).ok()?.pop()
}

/// How many schemas names without one are looked for in, also those that need not be said.
const SCHEMAS: [(&str, &str); 2] =
    [("array_upper(current_schemas(false), 1)", "1"), ("array_upper(current_schemas(true), 1)", "3")];

/// Puts the schema of names without one in place of how Grafana finds it, a subquery over the elements of `search_path`
/// that hangs on itself, and counts of schemas in place of how Java's driver finds them. Whether there was one.
pub fn search_path(statement: &mut ast::Statement) -> bool {
    struct Path(bool);
    impl VisitorMut for Path {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            // Java's driver counts schemas so, in an argument that the engine wants to be constant.
            if let Expr::Function(call) = expr
                && parts(&call.name).last().is_some_and(|name| name == "array_upper")
                && let text = call.to_string()
                && let Some((_, count)) = SCHEMAS.iter().find(|(of, _)| *of == text)
            {
                *expr = Expr::Value(Value::Number((*count).to_owned(), false).into());
                self.0 = true;
            }
            if let Expr::InSubquery { expr: of, subquery, negated } = expr {
                let text = subquery.to_string();
                if text.contains("current_setting('search_path')") && text.contains("generate_series") {
                    let schema = Expr::Value(Value::SingleQuotedString(SCHEMA.to_owned()).into());
                    *expr = Expr::InList { expr: of.clone(), list: vec![schema], negated: *negated };
                    self.0 = true;
                }
            }
            ControlFlow::Continue(())
        }
    }
    let mut path = Path(false);
    let _: ControlFlow<()> = VisitMut::visit(statement, &mut path);
    path.0
}

fn placeholder(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Placeholder(name) => name.trim_start_matches('$').parse().ok(),
            _ => None,
        },
        Expr::Nested(inner) => placeholder(inner),
        _ => None,
    }
}

/// The types that `sql` casts its parameters to, and numbers of rows.
pub fn casts(sql: &str) -> Vec<(usize, Kind)> {
    if !sql.contains('$') {
        return Vec::new();
    }
    let mut casts = Casts::default();
    for statement in Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap_or_default() {
        let _: ControlFlow<()> = Visit::visit(&statement, &mut casts);
    }
    casts.0
}

#[derive(Default)]
struct Casts(Vec<(usize, Kind)>);

fn kind(of: &ast::DataType) -> Option<Kind> {
    let (name, is_array) = type_name(&of.to_string());
    let of = Scalar::named(&name)?;
    Some(if is_array { Kind::Many(of) } else { Kind::One(of) })
}

impl Visitor for Casts {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let (limit, offset) = match &query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|of| &of.value))
            }
            _ => (None, None),
        };
        let rows = [limit, offset].into_iter().flatten().filter_map(placeholder);
        self.0.extend(rows.map(|number| (number, Kind::One(Scalar::Int8))));
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr, data_type, .. } = expr
            && let Some(number) = placeholder(expr)
            && let Some(of) = kind(data_type)
        {
            self.0.push((number, of));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_have_the_types_that_they_are_cast_to() {
        let found = casts("SELECT $1::oid, $2::oid[], CAST($4 AS VARCHAR) FROM pg_type WHERE oid = $5 LIMIT $3");
        let of = [(3, Kind::One(Scalar::Int8)), (1, Kind::One(Scalar::Oid)), (2, Kind::Many(Scalar::Oid))];
        assert_eq!(found, of);
        assert_eq!(casts(include_str!("asyncpg.sql")), [(1, Kind::Many(Scalar::Oid))]);
        assert!(casts("SELECT 1 AS oid; SELECT '$1").is_empty());
    }
}
