//! Names of columns that a statement computes and does not name.
//!
//! Duty: `round(duration_ms, 2)` is called as it was written, not as the engine's plan writes it
//! (`round(spans.duration_ms,Int64(2))`). Guarantee: columns, aliases and `*` keep their names, and the plan its own: only
//! what goes out is renamed. Left to others: all else about a schema (`gateway`).

use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::common::Result;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{self, Expr, SelectItem, SetExpr};

/// The names that a statement gives, by column; `None` where the engine's own stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names(Vec<Option<String>>);

impl Names {
    /// What `statement`, once planned, calls its columns.
    pub fn of(statement: &Statement) -> Self {
        let Statement::Statement(statement) = statement else { return Self::default() };
        let ast::Statement::Query(query) = statement.as_ref() else { return Self::default() };
        let mut body = query.body.as_ref();
        let select = loop {
            match body {
                SetExpr::Select(select) => break select,
                SetExpr::Query(query) => body = query.body.as_ref(),
                // The first of a union names its columns.
                SetExpr::SetOperation { left, .. } => body = left.as_ref(),
                _ => return Self::default(),
            }
        };
        let name = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) => Some(written(expr)),
            SelectItem::ExprWithAlias { .. } => Some(None),
            // How many columns come of it, only the plan knows.
            _ => None,
        };
        Self(select.projection.iter().map(name).collect::<Option<Vec<_>>>().unwrap_or_default())
    }

    /// `schema` with these names.
    pub fn applied(&self, schema: SchemaRef) -> SchemaRef {
        if self.0.len() != schema.fields().len() {
            return schema;
        }
        let named = schema.fields().iter().zip(&self.0).map(|(field, name)| match name {
            Some(name) if !name.eq_ignore_ascii_case(field.name()) => {
                Arc::new(field.as_ref().clone().with_name(name.clone()))
            }
            _ => field.clone(),
        });
        Arc::new(Schema::new_with_metadata(named.collect::<Vec<_>>(), schema.metadata().clone()))
    }

    /// `batch` as one of `schema`, which [`Names::applied`] gave.
    ///
    /// Errors: none where the schema is the batch's own but for names.
    pub fn renamed(&self, batch: RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
        if self.0.iter().all(Option::is_none) {
            return Ok(batch);
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &rows)?)
    }
}

/// The expression as SQL; `None` for a column, which has a name.
fn written(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => None,
        Expr::Nested(inner) => written(inner),
        expr => Some(expr.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{ArrayRef, Int64Array};
    use arrow::datatypes::{DataType, Field};
    use datafusion::sql::parser::DFParser;

    use super::*;

    fn named(sql: &str, engine: &[&str]) -> Vec<String> {
        let statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
        let fields = engine.iter().map(|name| Field::new(*name, DataType::Int64, true)).collect::<Vec<_>>();
        let schema = Arc::new(Schema::new(fields));
        let names = Names::of(&statement);
        let given = names.applied(schema.clone());
        let columns = engine.iter().map(|_| Arc::new(Int64Array::from(vec![1])) as ArrayRef).collect();
        let batch = names.renamed(RecordBatch::try_new(schema, columns).unwrap(), &given).unwrap();
        assert_eq!(batch.num_rows(), 1);
        batch.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn what_is_computed_is_called_as_it_was_written() {
        let sql = "SELECT name, s.kind, round(duration_ms, 2), (1 + 1), 'x', COUNT(*), a AS b FROM spans s";
        let engine =
            ["name", "kind", "round(s.duration_ms,Int64(2))", "Int64(1) + Int64(1)", "Utf8(\"x\")", "count(*)", "b"];
        assert_eq!(named(sql, &engine), ["name", "kind", "round(duration_ms, 2)", "1 + 1", "'x'", "count(*)", "b"]);
        assert_eq!(
            named("WITH c AS (SELECT 1) SELECT a + 1 FROM c UNION ALL SELECT 2", &["c.a + Int64(1)"]),
            ["a + 1"]
        );
    }

    #[test]
    fn where_the_plan_alone_knows_the_columns_its_names_stay() {
        for sql in ["SELECT *, a + 1 FROM spans", "SELECT s.* FROM spans s", "VALUES (1)", "EXPLAIN SELECT 1 + 1"] {
            assert_eq!(named(sql, &["Int64(1)"]), ["Int64(1)"], "{sql}");
        }
        assert_eq!(named("SELECT 1 + 1, 2", &["Int64(1)"]), ["Int64(1)"], "another number of columns");
    }
}
