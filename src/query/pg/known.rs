//! Statements of tools that the engine does not plan.
//!
//! Duty: what is asked by them, said otherwise. Guarantee: a statement is known by what only it has; rows mean the same
//! for what there is here: no domains, ranges or types of rows. Left to others: those that datafusion-pg-catalog knows
//! (`compat`).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{self, Expr, Value, Visit, Visitor};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::kind::{Kind, Scalar};

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

/// The types of parameters that `sql` casts to numbers of objects: the engine knows those as any other number.
pub fn numbers(sql: &str) -> Vec<(usize, Kind)> {
    // Few statements do, and this is asked of each.
    if !sql.to_ascii_lowercase().contains("oid") {
        return Vec::new();
    }
    let mut casts = Casts::default();
    for statement in Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap_or_default() {
        let _: ControlFlow<()> = statement.visit(&mut casts);
    }
    casts.0
}

#[derive(Default)]
struct Casts(Vec<(usize, Kind)>);

impl Visitor for Casts {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Expr::Cast { expr, data_type, .. } = expr
            && let Expr::Value(value) = expr.as_ref()
            && let Value::Placeholder(name) = &value.value
            && let Ok(number) = name.trim_start_matches('$').parse()
        {
            let of = match data_type.to_string().to_ascii_lowercase().as_str() {
                "oid" => Kind::One(Scalar::Oid),
                "oid[]" => Kind::Many(Scalar::Oid),
                _ => return ControlFlow::Continue(()),
            };
            self.0.push((number, of));
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_that_are_cast_to_numbers_of_objects_are_such() {
        let found = numbers("SELECT $1::oid, $2::oid[], $3::bigint, $1::text FROM pg_type WHERE oid = $4");
        assert_eq!(found, [(1, Kind::One(Scalar::Oid)), (2, Kind::Many(Scalar::Oid))]);
        assert_eq!(numbers(include_str!("asyncpg.sql")), [(1, Kind::Many(Scalar::Oid))]);
        assert!(numbers("SELECT 1 AS oid; SELECT '").is_empty());
    }
}
