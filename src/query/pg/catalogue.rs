//! `pg_catalog` (sql.md 9.3).
//!
//! Duty: the tables of PostgreSQL's catalogue over the names of a session. Guarantee: it lists our relations and nothing
//! that is not there for the statement; the number of an object is the same in every statement; it is there in sessions
//! of this surface only, and the guard knows its tables by their type. Left to others: functions (`functions`), what the
//! built-in types and operators are (datafusion-pg-catalog).

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Field, Int32Type, Schema, SchemaRef};
use datafusion::catalog::{MemTable, SchemaProvider, Session, TableFunctionArgs, TableFunctionImpl, TableProvider};
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionContext;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::generate_series_arg_coercion::CoerceIntArgsToBigInt;
use datafusion_pg_catalog::pg_catalog::oid_type_planner::PgOidTypePlanner;
use datafusion_pg_catalog::pg_catalog::{
    PG_CATALOG_TABLES, PgCatalogSchemaProvider, PgCatalogStaticTables, PgCatalogTable,
};
use futures::TryStreamExt as _;

use super::functions;
use super::kind;
use super::routines::{Routine, routines};
use super::settings::Settings;
use crate::query::session::{CATALOG, SCHEMA, SYSTEM};

const NAME: &str = "pg_catalog";
const INFORMATION: &str = "information_schema";
/// The number of the role that owns everything.
const OWNER: i32 = 10;
/// The number of the only database.
const DATABASE: i32 = 5;

/// Who a statement runs for.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What `current_user` is.
    pub user: String,
    /// What `current_database()` is.
    pub database: String,
    /// The settings when the statement began.
    pub settings: Arc<Settings>,
    /// Shared by all connections.
    pub catalogue: Catalogue,
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.user == other.user && self.database == other.database && Arc::ptr_eq(&self.settings, &other.settings)
    }
}

/// Numbers of objects and the tables that never change; cheap to clone.
#[derive(Clone, Debug)]
pub struct Catalogue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    names: Names,
    provider: PgCatalogSchemaProvider<Names, EmptyContextProvider>,
    fixed: Arc<PgCatalogStaticTables>,
    /// Those of the first session: every session has the same.
    routines: OnceLock<Arc<Vec<Routine>>>,
    /// Numbers of the relations that no name without a schema reaches; `None` = not known for the names as they are.
    hidden: ArcSwapOption<HashSet<i32>>,
}

type Relations = BTreeMap<String, (SchemaRef, TableType)>;

/// The relations of the newest session, by schema.
#[derive(Clone, Debug, Default)]
struct Names(Arc<ArcSwap<BTreeMap<String, Relations>>>);

impl Catalogue {
    /// Without any relation yet.
    ///
    /// Errors: the tables within the binary cannot be read.
    pub fn try_new() -> Result<Self> {
        let fixed = Arc::new(PgCatalogStaticTables::try_new()?);
        let names = Names::default();
        let provider = PgCatalogSchemaProvider::try_new(names.clone(), fixed.clone(), EmptyContextProvider)?;
        let mut of_catalogue = Relations::new();
        for name in PG_CATALOG_TABLES {
            if let Some(table) = provider.build_table_by_name(name)? {
                of_catalogue.insert((*name).to_owned(), (table.schema(), TableType::Base));
            }
        }
        names.0.store(Arc::new(BTreeMap::from([(NAME.to_owned(), of_catalogue)])));
        let (routines, hidden) = (OnceLock::new(), ArcSwapOption::empty());
        Ok(Self(Arc::new(Shared { names, provider, fixed, routines, hidden })))
    }

    /// Adds the catalogue, its functions and its types to the session of a statement of `caller`.
    ///
    /// Errors: none that a caller can cause.
    pub async fn extend(&self, context: &SessionContext, caller: &Caller) -> Result<()> {
        let Some(catalog) = context.catalog(CATALOG) else {
            return Err(DataFusionError::Internal("a session has its catalog".to_owned()));
        };
        for schema in [SCHEMA, SYSTEM, INFORMATION] {
            if let Some(tables) = catalog.schema(schema)
                && self.0.names.follow(schema, tables.as_ref()).await?
            {
                self.0.hidden.store(None);
            }
        }
        let routines = self.0.routines.get_or_init(|| Arc::new(routines(&context.state()))).clone();
        let tables = Tables { shared: self.clone(), caller: caller.clone(), routines: routines.clone() };
        catalog.register_schema(NAME, Arc::new(tables))?;

        let state = context.state_ref();
        let planned = SessionStateBuilder::new_from_existing(state.read().clone())
            .with_type_planner(Arc::new(PgOidTypePlanner))
            .build();
        *state.write() = planned;
        let hidden = self.hidden().await?;
        for function in functions::all(caller, &routines, &hidden) {
            context.register_udf(function);
        }
        CoerceIntArgsToBigInt::widen(context);
        let keywords = self.0.fixed.pg_get_keywords.try_into_memtable()?;
        context.register_udtf("pg_get_keywords", Arc::new(Keywords(Arc::new(Table(keywords)))));
        Ok(())
    }

    /// The number of a schema.
    async fn schema(&self, name: &str) -> Result<Option<i32>> {
        let of = |batch: &RecordBatch| {
            let names = batch.column_by_name("nspname")?.as_string_opt::<i32>()?;
            let numbers = batch.column_by_name("oid")?.as_primitive_opt::<Int32Type>()?;
            (0..names.len()).find(|row| names.value(*row) == name).map(|row| numbers.value(row))
        };
        Ok(self.rows("pg_namespace").await?.iter().find_map(of))
    }

    /// Numbers of the relations that are in neither of the schemas where names without one are looked for.
    async fn hidden(&self) -> Result<Arc<HashSet<i32>>> {
        if let Some(hidden) = self.0.hidden.load_full() {
            return Ok(hidden);
        }
        let elsewhere = [self.schema(SYSTEM).await?, self.schema(INFORMATION).await?];
        let of = |batch: RecordBatch| -> Option<Vec<i32>> {
            let schemas = batch.column_by_name("relnamespace")?.as_primitive_opt::<Int32Type>()?.clone();
            let numbers = batch.column_by_name("oid")?.as_primitive_opt::<Int32Type>()?.clone();
            let is_hidden = |row: &usize| elsewhere.contains(&Some(schemas.value(*row)));
            Some((0..numbers.len()).filter(is_hidden).map(|row| numbers.value(row)).collect())
        };
        let hidden = Arc::new(self.rows("pg_class").await?.into_iter().filter_map(of).flatten().collect());
        self.0.hidden.store(Some(Arc::clone(&hidden)));
        Ok(hidden)
    }

    /// The rows of a table of the catalogue that are made anew for each look.
    async fn rows(&self, table: &str) -> Result<Vec<RecordBatch>> {
        match self.0.provider.build_table_by_name(table)? {
            Some(PgCatalogTable::Dynamic(table)) => table.execute(Arc::new(TaskContext::default())).try_collect().await,
            _ => Ok(Vec::new()),
        }
    }
}

impl Names {
    /// Takes the relations of `schema` of a session, where they are others than before; whether they are.
    async fn follow(&self, schema: &str, tables: &dyn SchemaProvider) -> Result<bool> {
        let mut names = tables.table_names();
        names.sort();
        if self.0.load().get(schema).is_some_and(|known| known.keys().eq(names.iter())) {
            return Ok(false);
        }
        let mut relations = Relations::new();
        for name in names {
            if let Some(table) = tables.table(&name).await? {
                let fields: Vec<Field> = table.schema().fields().iter().map(|of| kind::in_catalogue(of)).collect();
                relations.insert(name, (Arc::new(Schema::new(fields)), table.table_type()));
            }
        }
        self.0.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(schema.to_owned(), relations.clone());
            all
        });
        Ok(true)
    }

    fn relation(&self, schema: &str, name: &str) -> Option<(SchemaRef, TableType)> {
        self.0.load().get(schema).and_then(|relations| relations.get(name)).cloned()
    }
}

#[async_trait::async_trait]
impl CatalogInfo for Names {
    async fn catalog_names(&self) -> Result<Vec<String>, DataFusionError> {
        Ok(vec![CATALOG.to_owned()])
    }

    async fn schema_names(&self, _: &str) -> Result<Option<Vec<String>>, DataFusionError> {
        Ok(Some(self.0.load().keys().cloned().collect()))
    }

    async fn table_names(&self, _: &str, schema: &str) -> Result<Option<Vec<String>>, DataFusionError> {
        Ok(self.0.load().get(schema).map(|relations| relations.keys().cloned().collect()))
    }

    async fn table_schema(&self, _: &str, schema: &str, table: &str) -> Result<Option<SchemaRef>, DataFusionError> {
        Ok(self.relation(schema, table).map(|(schema, _)| schema))
    }

    async fn table_type(&self, _: &str, schema: &str, table: &str) -> Result<Option<TableType>, DataFusionError> {
        Ok(self.relation(schema, table).map(|(_, of)| of))
    }
}

/// The schema `pg_catalog` of a statement.
#[derive(Debug)]
struct Tables {
    shared: Catalogue,
    caller: Caller,
    routines: Arc<Vec<Routine>>,
}

#[async_trait::async_trait]
impl SchemaProvider for Tables {
    fn table_names(&self) -> Vec<String> {
        PG_CATALOG_TABLES.iter().map(|name| (*name).to_owned()).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>, DataFusionError> {
        let Some(of) = self.shared.0.provider.build_table_by_name(name)? else { return Ok(None) };
        let schema = of.schema();
        let rows = match name {
            "pg_database" => batch(&schema, &[self.database()])?,
            "pg_roles" => batch(&schema, &[self.role()])?,
            "pg_settings" => {
                let row = |(name, value): (&str, &str)| vec![("name", name.into()), ("setting", value.into())];
                batch(&schema, &self.caller.settings.all().map(row).collect::<Vec<_>>())?
            }
            "pg_proc" => batch(&schema, &self.routines().await?)?,
            _ => return Ok(Some(Arc::new(Table(of.try_into_table_provider()?)))),
        };
        let mut batches = vec![rows];
        if let ("pg_proc", PgCatalogTable::Static(built_in)) = (name, &of) {
            batches.extend_from_slice(built_in.data());
        }
        Ok(Some(Arc::new(Table(Arc::new(MemTable::try_new(schema, vec![batches])?)))))
    }

    fn table_exist(&self, name: &str) -> bool {
        PG_CATALOG_TABLES.contains(&name)
    }
}

/// Values of a row by column.
type Row = Vec<(&'static str, ScalarValue)>;

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

    async fn routines(&self) -> Result<Vec<Row>> {
        let schema = self.shared.schema(SCHEMA).await?.unwrap_or_default();
        let row = |routine: &Routine| -> Row {
            vec![
                ("oid", routine.oid.into()),
                ("proname", routine.name.as_str().into()),
                ("pronamespace", schema.into()),
                ("proowner", OWNER.into()),
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
fn batch(schema: &SchemaRef, rows: &[Row]) -> Result<RecordBatch> {
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
#[derive(Debug)]
pub struct Table(Arc<dyn TableProvider>);

#[async_trait::async_trait]
impl TableProvider for Table {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn table_type(&self) -> TableType {
        self.0.table_type()
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        self.0.supports_filters_pushdown(filters)
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0.scan(session, projection, filters, limit).await
    }
}

/// `pg_get_keywords()`.
#[derive(Debug)]
struct Keywords(Arc<Table>);

impl TableFunctionImpl for Keywords {
    fn call_with_args(&self, _: TableFunctionArgs) -> Result<Arc<dyn TableProvider>> {
        Ok(self.0.clone())
    }
}
