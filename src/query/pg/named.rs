//! Types that a statement may name.
//!
//! Duty: what of PostgreSQL's types the engine reads a value as: those of texts with a form of their own are text here, as
//! in parameters (`kind`). Guarantee: a cast to one gives what clients are told it does. Left to others: numbers of objects
//! and names with `pg_catalog` (datafusion-pg-catalog).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field};
use datafusion::common::Result;
use datafusion::logical_expr::planner::TypePlanner;
use datafusion::sql::sqlparser::ast::DataType as Sql;
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_any_form_are_text() {
        for of in [Sql::JSONB, Sql::Uuid] {
            assert_eq!(Types.plan_type_field(&of).unwrap().unwrap().data_type(), &DataType::Utf8);
        }
        assert!(!is_text(&Sql::Regclass) && !is_text(&Sql::Date));
    }
}
