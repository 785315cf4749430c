//! `information_schema` as clients of PostgreSQL read it.
//!
//! Duty: schemas, relations and columns of ours, with PostgreSQL's names of types and all of its columns. Guarantee: it
//! says of a column what `pg_catalog` and rows say. Left to others: what is the same on all surfaces (functions), and what
//! there is none of (`absent`).

use std::sync::Arc;

use datafusion::catalog::{MemTable, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::TableType;

use super::absent;
use super::catalogue::{Caller, Relation, Relations};
use super::kind::{Kind, Scalar};
use super::tables::{Row, Table, batch};
use crate::query::session::{SCHEMA, SYSTEM};

const NAME: &str = "information_schema";

/// Names and columns of the tables that have rows here.
const OURS: [(&str, &str); 5] = [
    (
        "columns",
        "table_catalog text, table_schema text, table_name text, column_name text, ordinal_position int4, column_default \
         text, is_nullable text, data_type text, character_maximum_length int4, character_octet_length int4, \
         numeric_precision int4, numeric_precision_radix int4, numeric_scale int4, datetime_precision int4, interval_type \
         text, interval_precision int4, character_set_catalog text, character_set_schema text, character_set_name text, \
         collation_catalog text, collation_schema text, collation_name text, domain_catalog text, domain_schema text, \
         domain_name text, udt_catalog text, udt_schema text, udt_name text, scope_catalog text, scope_schema text, \
         scope_name text, maximum_cardinality int4, dtd_identifier text, is_self_referencing text, is_identity text, \
         identity_generation text, identity_start text, identity_increment text, identity_maximum text, identity_minimum \
         text, identity_cycle text, is_generated text, generation_expression text, is_updatable text",
    ),
    ("information_schema_catalog_name", "catalog_name text"),
    (
        "schemata",
        "catalog_name text, schema_name text, schema_owner text, default_character_set_catalog text, \
         default_character_set_schema text, default_character_set_name text, sql_path text",
    ),
    (
        "tables",
        "table_catalog text, table_schema text, table_name text, table_type text, self_referencing_column_name text, \
         reference_generation text, user_defined_type_catalog text, user_defined_type_schema text, user_defined_type_name \
         text, is_insertable_into text, is_typed text, commit_action text",
    ),
    (
        "views",
        "table_catalog text, table_schema text, table_name text, view_definition text, check_option text, is_updatable text, \
         is_insertable_into text, is_trigger_updatable text, is_trigger_deletable text, is_trigger_insertable_into text",
    ),
];

/// The schema `information_schema` of a statement.
#[derive(Debug)]
pub struct Information {
    before: Arc<dyn SchemaProvider>,
    caller: Caller,
    /// By schema.
    relations: [(&'static str, Arc<Relations>); 2],
}

impl Information {
    /// Over that of other surfaces and the relations of `caller`.
    pub fn new(
        before: Arc<dyn SchemaProvider>,
        caller: &Caller,
        relations: [(&'static str, Arc<Relations>); 2],
    ) -> Self {
        Self { before, caller: caller.clone(), relations }
    }

    fn all(&self) -> impl Iterator<Item = (&'static str, &String, &Relation)> {
        self.relations
            .iter()
            .flat_map(|(schema, relations)| relations.iter().map(move |(name, of)| (*schema, name, of)))
    }

    fn rows(&self, name: &str) -> Vec<Row> {
        let database = || ScalarValue::from(self.caller.database.as_str());
        match name {
            "information_schema_catalog_name" => vec![vec![("catalog_name", database())]],
            "schemata" => [NAME, "pg_catalog", SCHEMA, SYSTEM]
                .map(|schema| {
                    vec![
                        ("catalog_name", database()),
                        ("schema_name", schema.into()),
                        ("schema_owner", self.caller.user.as_str().into()),
                    ]
                })
                .to_vec(),
            "tables" => self
                .all()
                .map(|(schema, name, (_, of))| {
                    vec![
                        ("table_catalog", database()),
                        ("table_schema", schema.into()),
                        ("table_name", name.as_str().into()),
                        ("table_type", kind(*of).into()),
                        ("is_insertable_into", "NO".into()),
                        ("is_typed", "NO".into()),
                    ]
                })
                .collect(),
            "views" => self
                .all()
                .filter(|(_, _, (_, of))| *of == TableType::View)
                .map(|(schema, name, _)| {
                    vec![
                        ("table_catalog", database()),
                        ("table_schema", schema.into()),
                        ("table_name", name.as_str().into()),
                        ("check_option", "NONE".into()),
                        ("is_updatable", "NO".into()),
                        ("is_insertable_into", "NO".into()),
                    ]
                })
                .collect(),
            _ => self.columns(),
        }
    }

    fn columns(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for (schema, name, (columns, _)) in self.all() {
            for (place, column) in (1_i32..).zip(columns.fields()) {
                let of = Kind::of(column);
                let mut row: Row = vec![
                    ("table_catalog", self.caller.database.as_str().into()),
                    ("table_schema", schema.into()),
                    ("table_name", name.as_str().into()),
                    ("column_name", column.name().as_str().into()),
                    ("ordinal_position", place.into()),
                    ("is_nullable", if column.is_nullable() { "YES" } else { "NO" }.into()),
                    ("data_type", of.sql_name().into()),
                    ("udt_catalog", self.caller.database.as_str().into()),
                    ("udt_schema", "pg_catalog".into()),
                    ("udt_name", of.name().into()),
                    ("dtd_identifier", place.to_string().into()),
                    ("is_self_referencing", "NO".into()),
                    ("is_identity", "NO".into()),
                    ("identity_cycle", "NO".into()),
                    ("is_generated", "NEVER".into()),
                    ("is_updatable", "NO".into()),
                ];
                row.extend(size(of));
                rows.push(row);
            }
        }
        rows
    }
}

/// A kind of relation in the words of SQL.
const fn kind(of: TableType) -> &'static str {
    match of {
        TableType::Base => "BASE TABLE",
        TableType::View => "VIEW",
        TableType::Temporary => "LOCAL TEMPORARY",
    }
}

/// How much a value of a type holds.
fn size(of: Kind) -> Row {
    let number = |bits: i32| -> Row { vec![("numeric_precision", bits.into()), ("numeric_precision_radix", 2.into())] };
    let integer = |bits: i32| -> Row { [number(bits), vec![("numeric_scale", 0.into())]].concat() };
    match of {
        Kind::One(Scalar::Int2) => integer(16),
        Kind::One(Scalar::Int4) => integer(32),
        Kind::One(Scalar::Int8) => integer(64),
        Kind::One(Scalar::Float4) => number(24),
        Kind::One(Scalar::Float8) => number(53),
        Kind::One(Scalar::Date) => vec![("datetime_precision", 0.into())],
        Kind::One(Scalar::Time | Scalar::Timestamp | Scalar::Timestamptz | Scalar::Interval) => {
            vec![("datetime_precision", 6.into())]
        }
        _ => Row::new(),
    }
}

#[async_trait::async_trait]
impl SchemaProvider for Information {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.before.table_names();
        names.extend(OURS.iter().map(|(name, _)| (*name).to_owned()));
        names.extend(absent::names(NAME).map(str::to_owned));
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some((_, columns)) = OURS.iter().find(|(ours, _)| *ours == name) {
            let schema = absent::columns(columns).expect("the columns above have types that are known");
            let rows = batch(&schema, &self.rows(name))?;
            return Ok(Some(Arc::new(Table::of(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?)))));
        }
        match absent::table(NAME, name) {
            Some(absent) => Ok(Some(Arc::new(Table::of(absent)))),
            None => self.before.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        OURS.iter().any(|(ours, _)| *ours == name) || absent::has(NAME, name) || self.before.table_exist(name)
    }
}
