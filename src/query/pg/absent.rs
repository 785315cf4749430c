//! Relations of PostgreSQL that hold nothing here.
//!
//! Duty: which there are and their columns (`absent.txt`): constraints, indexes, triggers, privileges, statistics. Guarantee:
//! tools that look for such things find none, instead of an error or what the built-in tables of another server have. Left
//! to others: statements over them that the engine does not plan (`nothing`).

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemTable, TableProvider};

use super::kind::{Scalar, arrow_type};

/// By schema and name.
static ALL: LazyLock<BTreeMap<(&str, &str), SchemaRef>> = LazyLock::new(|| {
    let relation = |line: &'static str| {
        let (name, columns) = line.split_once(": ")?;
        Some((name.split_once('.')?, self::columns(columns)?))
    };
    include_str!("absent.txt").lines().filter_map(relation).collect()
});

/// Columns that are written as `name type, name type`; `None` = a type is not known.
pub fn columns(text: &str) -> Option<SchemaRef> {
    let fields = text.split(", ").map(field).collect::<Option<Vec<_>>>()?;
    Some(Arc::new(Schema::new(fields)))
}

fn field(column: &str) -> Option<Field> {
    let (name, of) = column.rsplit_once(' ')?;
    let of = match of.strip_suffix("[]") {
        Some(item) => DataType::List(Arc::new(Field::new("item", arrow_type(Scalar::named(item)?), true))),
        None => arrow_type(Scalar::named(of)?),
    };
    Some(Field::new(name, of, true))
}

/// Names of those of `schema`.
pub fn names(schema: &str) -> impl Iterator<Item = &'static str> {
    ALL.keys().filter(move |(of, _)| *of == schema).map(|(_, name)| *name)
}

/// Whether `schema` has one of that name.
pub fn has(schema: &str, name: &str) -> bool {
    ALL.contains_key(&(schema, name))
}

/// The relation, without rows.
pub fn table(schema: &str, name: &str) -> Option<Arc<dyn TableProvider>> {
    let columns = ALL.get(&(schema, name))?;
    let table = MemTable::try_new(columns.clone(), vec![vec![]]).expect("no batch has other columns");
    Some(Arc::new(table))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_relation_and_none_is_one_twice() {
        assert_eq!(ALL.len(), include_str!("absent.txt").lines().count());
        assert!(has("pg_catalog", "pg_index") && has("information_schema", "key_column_usage"));
        assert!(!has("pg_catalog", "pg_class") && !has("public", "pg_index"));
        let keys = ALL[&("pg_catalog", "pg_index")].field_with_name("indkey").unwrap().data_type().clone();
        assert_eq!(keys, DataType::List(Arc::new(Field::new("item", DataType::Int16, true))));
    }
}
