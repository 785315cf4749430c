//! Types that a statement may name.
//!
//! Duty: what of PostgreSQL's types the engine reads a value as: those of texts with a form of their own are text here, as
//! in parameters (`kind`). Guarantee: a cast to one gives what clients are told it does. Left to others: numbers of objects
//! and names with `pg_catalog` (datafusion-pg-catalog).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::{DataType as Sql, Expr, SelectItem, Statement};
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;

use super::compat::projection;
use super::kind::Scalar;
use super::reads::parts;

/// Names of those that the parser does not know.
const TEXTS: [&str; 9] = ["bpchar", "cidr", "citext", "inet", "json", "jsonb", "name", "uuid", "xml"];

/// Plans types of this surface.
#[derive(Debug)]
pub struct Types;

impl TypePlanner for Types {
    fn plan_type_field(&self, of: &Sql) -> Result<Option<Arc<Field>>> {
        match is_text(of) {
            true => Ok(Some(Arc::new(Field::new("", DataType::Utf8, true)))),
            false => PgOidTypePlanner.plan_type_field(of),
        }
    }
}

fn is_text(of: &Sql) -> bool {
    match of {
        Sql::JSON | Sql::JSONB | Sql::Uuid => true,
        Sql::Custom(name, arguments) => {
            let name = parts(name);
            let is_ours = match name.as_slice() {
                [_] => true,
                [schema, _] => schema == "pg_catalog",
                _ => false,
            };
            is_ours && arguments.is_empty() && name.last().is_some_and(|name| TEXTS.contains(&name.as_str()))
        }
        _ => false,
    }
}

/// Which of the types of JSON the columns of `statement` are cast to, where it names them one by one: the engine has texts.
pub fn json(statement: &Statement) -> Option<Vec<Option<Scalar>>> {
    let of = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(cast_to_json(expr)),
        _ => None,
    };
    projection(statement)?.iter().map(of).collect()
}

fn cast_to_json(expr: &Expr) -> Option<Scalar> {
    match expr {
        Expr::Nested(inner) => cast_to_json(inner),
        Expr::Cast { data_type: Sql::JSON, .. } => Some(Scalar::Json),
        Expr::Cast { data_type: Sql::JSONB, .. } => Some(Scalar::Jsonb),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    #[test]
    fn columns_that_are_cast_to_json_are_told_as_it() {
        let of = |sql: &str| json(&Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap()[0]);
        assert_eq!(
            of("SELECT a::jsonb, (CAST(b AS JSON)) AS c, d::text FROM spans"),
            Some(vec![Some(Scalar::Jsonb), Some(Scalar::Json), None])
        );
        assert_eq!(of("SELECT *, a::jsonb FROM spans"), None);
    }

    #[test]
    fn texts_of_any_form_are_text() {
        for of in [Sql::JSONB, Sql::Uuid] {
            assert_eq!(Types.plan_type_field(&of).unwrap().unwrap().data_type(), &DataType::Utf8);
        }
        assert!(!is_text(&Sql::Regclass) && !is_text(&Sql::Date));
    }
}
