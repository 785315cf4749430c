//! `information_schema`: tables, columns, views and routines of ours.
//!
//! Duty: what SHOW TABLES, SHOW COLUMNS, SHOW FUNCTIONS and clients read. Guarantee: it names what a statement can
//! name, tables of other modules too, and never settings of the engine. Left to others: `pg_catalog`.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::{MemTable, SchemaProvider, TableFunction, TableProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, TableType};

use super::docs::{self, Doc, Kind};
use super::session::{CATALOG, SCHEMA};
use super::sources::Own;
use super::sql_type::sql_type;

/// The schema `information_schema`.
#[derive(Debug)]
pub struct InformationSchema {
    schemas: Vec<(&'static str, Arc<dyn SchemaProvider>)>,
    scalars: BTreeSet<String>,
    aggregates: BTreeSet<String>,
    tables: BTreeSet<String>,
}

/// A table and its names.
struct Named {
    schema: &'static str,
    name: String,
    table: Arc<dyn TableProvider>,
}

const TABLES: &[&str] = &["columns", "parameters", "routines", "tables", "views"];

impl InformationSchema {
    /// Over the tables of `schemas`, those registered later too, and the functions of a session.
    pub fn new(
        schemas: Vec<(&'static str, Arc<dyn SchemaProvider>)>,
        scalars: &HashMap<String, Arc<ScalarUDF>>,
        aggregates: &HashMap<String, Arc<AggregateUDF>>,
        tables: &HashMap<String, Arc<TableFunction>>,
    ) -> Self {
        let (scalars, aggregates) = (scalars.keys().cloned().collect(), aggregates.keys().cloned().collect());
        Self { schemas, scalars, aggregates, tables: tables.keys().cloned().collect() }
    }

    async fn named(&self) -> Result<Vec<Named>> {
        let mut named = Vec::new();
        for (schema, tables) in &self.schemas {
            let mut names = tables.table_names();
            names.sort();
            for name in names {
                if let Some(table) = tables.table(&name).await? {
                    named.push(Named { schema, name, table });
                }
            }
        }
        Ok(named)
    }

    async fn rows(&self, name: &str) -> Result<Option<RecordBatch>> {
        let batch = match name {
            "tables" => tables(&self.named().await?)?,
            "columns" => columns(&self.named().await?)?,
            "views" => texts(&[
                ("table_catalog", vec![]),
                ("table_schema", vec![]),
                ("table_name", vec![]),
                ("definition", vec![]),
            ])?,
            "routines" => self.routines()?,
            "parameters" => self.parameters()?,
            _ => return Ok(None),
        };
        Ok(Some(batch))
    }

    fn functions(&self) -> impl Iterator<Item = (&str, Kind)> {
        let all = [(&self.scalars, Kind::Scalar), (&self.aggregates, Kind::Aggregate), (&self.tables, Kind::Table)];
        all.into_iter().flat_map(|(names, kind)| names.iter().map(move |name| (name.as_str(), kind)))
    }

    fn routines(&self) -> Result<RecordBatch> {
        let of = |value: &str| self.functions().map(|_| Some(value.to_owned())).collect::<Vec<_>>();
        let told = |of: fn(&Doc) -> String| {
            self.functions().map(|(name, kind)| docs::of(kind, name).map(of)).collect::<Vec<Option<String>>>()
        };
        let names = || self.functions().map(|(name, _)| Some(name.to_owned())).collect::<Vec<_>>();
        texts(&[
            ("specific_catalog", of(CATALOG)),
            ("specific_schema", of(SCHEMA)),
            ("specific_name", names()),
            ("routine_catalog", of(CATALOG)),
            ("routine_schema", of(SCHEMA)),
            ("routine_name", names()),
            ("routine_type", of("FUNCTION")),
            ("data_type", told(|doc| doc.form.split_once(" → ").map_or("", |(_, of)| of).to_owned())),
            ("function_type", self.functions().map(|(_, kind)| Some(word(kind).to_owned())).collect()),
            ("description", told(|doc| format!("{}. {}", doc.form, doc.about))),
            ("syntax_example", told(|doc| doc.example.clone())),
        ])
    }

    /// One row a function for its result: functions here take more than one list of types.
    fn parameters(&self) -> Result<RecordBatch> {
        let of = |value: &str| self.functions().map(|_| Some(value.to_owned())).collect::<Vec<_>>();
        let nothing = || self.functions().map(|_| None).collect::<Vec<Option<String>>>();
        let count = self.functions().count();
        with_numbers(
            &[
                ("specific_catalog", of(CATALOG)),
                ("specific_schema", of(SCHEMA)),
                ("specific_name", self.functions().map(|(name, _)| Some(name.to_owned())).collect()),
                ("parameter_mode", of("OUT")),
                ("parameter_name", nothing()),
                ("data_type", nothing()),
            ],
            &[("ordinal_position", vec![1; count]), ("rid", vec![0; count])],
        )
    }
}

#[async_trait::async_trait]
impl SchemaProvider for InformationSchema {
    fn table_names(&self) -> Vec<String> {
        TABLES.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(batch) = self.rows(name).await? else { return Ok(None) };
        Ok(Some(Arc::new(Own::new(MemTable::try_new(batch.schema(), vec![vec![batch]])?))))
    }

    fn table_exist(&self, name: &str) -> bool {
        TABLES.contains(&name)
    }
}

/// A kind of function as clients know it.
fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Scalar => "SCALAR",
        Kind::Aggregate => "AGGREGATE",
        Kind::Table | Kind::Relation => "TABLE",
    }
}

fn tables(named: &[Named]) -> Result<RecordBatch> {
    let of = |value: &str| named.iter().map(|_| Some(value.to_owned())).collect::<Vec<_>>();
    let kind = |table: &Arc<dyn TableProvider>| match table.table_type() {
        TableType::Base => "BASE TABLE",
        TableType::View => "VIEW",
        TableType::Temporary => "LOCAL TEMPORARY",
    };
    texts(&[
        ("table_catalog", of(CATALOG)),
        ("table_schema", named.iter().map(|named| Some(named.schema.to_owned())).collect()),
        ("table_name", named.iter().map(|named| Some(named.name.clone())).collect()),
        ("table_type", named.iter().map(|named| Some(kind(&named.table).to_owned())).collect()),
    ])
}

fn columns(named: &[Named]) -> Result<RecordBatch> {
    let mut schema = vec![];
    let (mut table, mut name, mut place, mut nullable, mut of) = (vec![], vec![], vec![], vec![], vec![]);
    for of_table in named {
        for (at, field) in of_table.table.schema().fields().iter().enumerate() {
            schema.push(Some(of_table.schema.to_owned()));
            table.push(Some(of_table.name.clone()));
            name.push(Some(field.name().clone()));
            place.push(at as u64 + 1);
            nullable.push(Some(if field.is_nullable() { "YES" } else { "NO" }.to_owned()));
            of.push(Some(sql_type(field.data_type())));
        }
    }
    let every = |value: &str| table.iter().map(|_| Some(value.to_owned())).collect::<Vec<_>>();
    let nothing = table.iter().map(|_| None).collect::<Vec<Option<String>>>();
    with_numbers(
        &[
            ("table_catalog", every(CATALOG)),
            ("table_schema", schema),
            ("table_name", table.clone()),
            ("column_name", name),
            ("column_default", nothing),
            ("is_nullable", nullable),
            ("data_type", of),
        ],
        &[("ordinal_position", place)],
    )
}

fn texts(columns: &[(&str, Vec<Option<String>>)]) -> Result<RecordBatch> {
    with_numbers(columns, &[])
}

fn with_numbers(texts: &[(&str, Vec<Option<String>>)], numbers: &[(&str, Vec<u64>)]) -> Result<RecordBatch> {
    let mut fields = Vec::new();
    let mut arrays: Vec<ArrayRef> = Vec::new();
    for (name, values) in texts {
        fields.push(Field::new(*name, DataType::Utf8, true));
        arrays.push(Arc::new(StringArray::from(values.clone())));
    }
    for (name, values) in numbers {
        fields.push(Field::new(*name, DataType::UInt64, false));
        arrays.push(Arc::new(UInt64Array::from(values.clone())));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}
