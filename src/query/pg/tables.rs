//! Tables of `pg_catalog`.
//!
//! Duty: their rows for one statement: those of datafusion-pg-catalog, of the caller, and of our functions. Guarantee: each
//! is of a type that the guard knows. Left to others: which relations there are (`catalogue`), what holds nothing (`absent`).

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch, new_null_array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{MemTable, SchemaProvider, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion_pg_catalog::pg_catalog::PG_CATALOG_TABLES;

use super::absent;
use super::catalogue::{Caller, Catalogue, NAME, OWNER};
use super::routines::Routine;
use crate::query::session::SCHEMA;
use crate::query::sources::Own;

/// The number of the only database.
const DATABASE: i32 = 5;
/// The numbers that PostgreSQL has for `pg_default` and for functions that are built in.
const TABLESPACE: i32 = 1663;
const LANGUAGE: i32 = 12;

/// The schema `pg_catalog` of a statement.
#[derive(Debug)]
pub struct Tables {
    shared: Catalogue,
    caller: Caller,
    routines: Arc<Vec<Routine>>,
}

impl Tables {
    /// Over `shared`, for `caller`.
    pub fn new(shared: &Catalogue, caller: &Caller, routines: &Arc<Vec<Routine>>) -> Self {
        Self { shared: shared.clone(), caller: caller.clone(), routines: routines.clone() }
    }
}

#[async_trait::async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        let theirs = PG_CATALOG_TABLES.iter().copied().filter(|name| !absent::has(NAME, name));
        theirs.chain(absent::names(NAME)).chain([USERS]).map(str::to_owned).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        if let Some(absent) = absent::table(NAME, name) {
            return Ok(Some(Arc::new(Table::of(absent))));
        }
        if name == USERS {
            let schema = absent::columns(OF_USERS).expect("its types are known");
            let rows = batch(&schema, &[self.user()])?;
            return Ok(Some(Arc::new(Table::of(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?)))));
        }
        let Some(of) = self.shared.built_in(name)? else { return Ok(None) };
        let schema = of.schema();
        let rows = match name {
            "pg_database" => batch(&schema, &[self.database()])?,
            "pg_roles" => batch(&schema, &[self.role()])?,
            "pg_settings" => {
                let row = |(name, value): (&str, &str)| {
                    let [context, vartype, source] = ["user", "string", "default"].map(ScalarValue::from);
                    let kept = [("context", context), ("vartype", vartype), ("source", source)];
                    let values = [("name", name), ("setting", value), ("reset_val", value)];
                    values.map(|(column, value)| (column, value.into())).into_iter().chain(kept).collect()
                };
                batch(&schema, &self.caller.settings.all().map(row).collect::<Vec<_>>())?
            }
            "pg_proc" => batch(&schema, &self.routines().await?)?,
            _ if !is_amended(name, &schema) => {
                return Ok(Some(Arc::new(Table::of(of.try_into_table_provider()?))));
            }
            _ => RecordBatch::new_empty(schema.clone()),
        };
        let mut batches = vec![rows];
        if !["pg_database", "pg_roles", "pg_settings"].contains(&name) {
            batches.extend(self.shared.rows(name).await?);
        }
        let batches = batches.iter().map(|batch| amended(name, batch)).collect::<Result<Vec<_>>>()?;
        let schema = batches[0].schema();
        Ok(Some(Arc::new(Table::of(Arc::new(MemTable::try_new(schema, vec![batches])?)))))
    }

    fn table_exist(&self, name: &str) -> bool {
        name == USERS || PG_CATALOG_TABLES.contains(&name) || absent::has(NAME, name)
    }
}

/// Who may log in, under the name that older tools ask for.
pub(super) const USERS: &str = "pg_user";
const OF_USERS: &str = "usename text, usesysid oid, usecreatedb bool, usesuper bool, userepl bool, usebypassrls bool, \
                        passwd text, valuntil timestamptz, useconfig text[]";

/// Whether the rows of a table are others than those of datafusion-pg-catalog.
fn is_amended(name: &str, columns: &Schema) -> bool {
    ["pg_class", "pg_collation", "pg_namespace"].contains(&name)
        || columns.fields().iter().any(|field| is_rights(field))
}

/// Whether a column says who may do what: nobody is given anything here, but it must be an array.
fn is_rights(field: &Field) -> bool {
    field.name().ends_with("acl")
}

/// Rows of the table `name` as PostgreSQL has them: with an owner, rights as arrays, and options of relations.
fn amended(name: &str, rows: &RecordBatch) -> Result<RecordBatch> {
    let texts = DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)));
    let nothing = || new_null_array(&texts, rows.num_rows());
    let (mut fields, mut columns) = (Vec::<Arc<Field>>::new(), Vec::<ArrayRef>::new());
    for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
        let is_owner = ["relowner", "nspowner"].contains(&field.name().as_str());
        if is_rights(field) {
            fields.push(Arc::new(Field::new(field.name(), texts.clone(), true)));
            columns.push(nothing());
        } else {
            let owner = || Arc::new(Int32Array::from_value(OWNER, rows.num_rows()));
            fields.push(Arc::clone(field));
            columns.push(if is_owner && field.data_type() == &DataType::Int32 { owner() } else { Arc::clone(column) });
        }
    }
    if name == "pg_class" {
        for missing in ["relacl", "reloptions"] {
            fields.push(Arc::new(Field::new(missing, texts.clone(), true)));
            columns.push(nothing());
        }
    }
    if name == "pg_collation" {
        fields.push(Arc::new(Field::new("colliculocale", DataType::Utf8, true)));
        columns.push(new_null_array(&DataType::Utf8, rows.num_rows()));
    }
    if name == "pg_settings"
        && let Some(values) = rows.column_by_name("reset_val")
    {
        fields.push(Arc::new(Field::new("boot_val", values.data_type().clone(), true)));
        columns.push(Arc::clone(values));
    }
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

/// Values of a row by column.
pub type Row = Vec<(&'static str, ScalarValue)>;

impl Tables {
    fn database(&self) -> Row {
        vec![
            ("oid", DATABASE.into()),
            ("datname", self.caller.database.as_str().into()),
            ("datdba", OWNER.into()),
            ("encoding", 6.into()),
            ("datlocprovider", "c".into()),
            ("datcollate", "C".into()),
            ("datctype", "C".into()),
            ("datallowconn", true.into()),
            ("datconnlimit", (-1).into()),
            ("dattablespace", TABLESPACE.into()),
        ]
    }

    fn role(&self) -> Row {
        vec![
            ("rolname", self.caller.user.as_str().into()),
            ("rolinherit", true.into()),
            ("rolcanlogin", true.into()),
            ("rolconnlimit", (-1).into()),
            ("oid", OWNER.into()),
        ]
    }

    fn user(&self) -> Row {
        vec![
            ("usename", self.caller.user.as_str().into()),
            ("usesysid", OWNER.into()),
            ("usecreatedb", false.into()),
            ("usesuper", false.into()),
            ("userepl", false.into()),
            ("usebypassrls", false.into()),
        ]
    }

    async fn routines(&self) -> Result<Vec<Row>> {
        let schema = self.shared.schema(SCHEMA).await?.unwrap_or_default();
        let row = |routine: &Routine| -> Row {
            vec![
                ("oid", routine.oid.into()),
                ("proname", routine.name.as_str().into()),
                ("pronamespace", schema.into()),
                ("proowner", OWNER.into()),
                ("prolang", LANGUAGE.into()),
                ("prokind", routine.kind.into()),
                ("proretset", routine.gives_rows.into()),
                ("provolatile", "s".into()),
                ("proparallel", "s".into()),
                ("prosrc", routine.name.as_str().into()),
            ]
        };
        Ok(self.routines.iter().map(row).collect())
    }
}

/// A batch of `schema`; what a row does not give is NULL, or 0, false or empty where it cannot be.
pub fn batch(schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
    let column = |field: &Arc<Field>| {
        let of = field.data_type();
        let value = |row: &Row| match row.iter().find(|(name, _)| name == field.name()) {
            Some((_, value)) => value.cast_to(of),
            None if field.is_nullable() => ScalarValue::try_from(of),
            None => ScalarValue::new_default(of),
        };
        let values: Vec<ScalarValue> = rows.iter().map(value).collect::<Result<_>>()?;
        match values.is_empty() {
            true => Ok(arrow::array::new_empty_array(of)),
            false => ScalarValue::iter_to_array(values),
        }
    };
    let columns = schema.fields().iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// A table of the catalogue: what the guard lets a statement of this surface read beside our own.
pub type Table = Own<dyn TableProvider>;

/// `pg_get_keywords()`.
#[derive(Debug)]
pub struct Keywords(pub Arc<Table>);

impl TableFunctionImpl for Keywords {
    fn call_with_args(&self, _: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        Ok(self.0.clone())
    }
}
