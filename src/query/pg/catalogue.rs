//! `pg_catalog` (sql.md 9.3).
//!
//! Duty: the tables of PostgreSQL's catalogue over the names of a session. Guarantee: it lists our relations and nothing
//! that is not there for the statement; the number of an object is the same in every statement; it is there in sessions
//! of this surface only, and the guard knows its tables by their type. Left to others: rows (`tables`),
//! functions (`functions`), what the built-in types and operators are (datafusion-pg-catalog).

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Field, Int32Type, Schema, SchemaRef};
use datafusion::catalog::{CatalogProvider, SchemaProvider};
use datafusion::common::{DataFusionError, Result};
use datafusion::execution::TaskContext;
use datafusion::execution::context::SessionContext;
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::TableType;
use datafusion_pg_catalog::pg_catalog::catalog_info::CatalogInfo;
use datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_pg_catalog::pg_catalog::generate_series_arg_coercion::CoerceIntArgsToBigInt;
use datafusion_pg_catalog::pg_catalog::{
    PG_CATALOG_TABLES, PgCatalogSchemaProvider, PgCatalogStaticTables, PgCatalogTable,
};
use futures::TryStreamExt as _;

use super::information::Information;
use super::named::Types;
use super::objects::Objects;
use super::routines::{Routine, routines};
use super::set_config::Wishes;
use super::settings::Settings;
use super::tables::{Keywords, Tables};
use super::{absent, functions, kind};
use crate::query::session::{CATALOG, SCHEMA, SYSTEM};

pub use super::tables::Table;

/// The schema.
pub(super) const NAME: &str = "pg_catalog";
const INFORMATION: &str = "information_schema";
/// The number of the role that owns everything.
pub(super) const OWNER: i32 = 10;

/// Who a statement runs for.
#[derive(Clone, Debug)]
pub struct Caller {
    /// What `current_user` is.
    pub user: String,
    /// What `current_database()` is.
    pub database: String,
    /// What `pg_backend_pid()` is.
    pub pid: i32,
    /// The settings when the statement began.
    pub settings: Arc<Settings>,
    /// What the statement asks to set.
    pub wishes: Wishes,
    /// Shared by all connections.
    pub catalogue: Catalogue,
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        (&self.user, &self.database, self.pid) == (&other.user, &other.database, other.pid)
            && Arc::ptr_eq(&self.settings, &other.settings)
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
    /// Names and numbers; `None` = not known for the names as they are.
    objects: ArcSwapOption<Objects>,
}

/// A relation: its columns in the types of the catalogue, and its kind.
pub type Relation = (SchemaRef, TableType);

/// Relations by name.
pub type Relations = BTreeMap<String, Relation>;

/// The relations of the newest session, by schema.
#[derive(Clone, Debug, Default)]
struct Names(Arc<ArcSwap<BTreeMap<String, Arc<Relations>>>>);

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
        for name in absent::names(NAME) {
            if let Some(table) = absent::table(NAME, name) {
                of_catalogue.insert(name.to_owned(), (table.schema(), TableType::Base));
            }
        }
        names.0.store(Arc::new(BTreeMap::from([(NAME.to_owned(), Arc::new(of_catalogue))])));
        let (routines, objects) = (OnceLock::new(), ArcSwapOption::empty());
        Ok(Self(Arc::new(Shared { names, provider, fixed, routines, objects })))
    }

    /// Adds the catalogue, its functions and its types to the session of a statement of `caller`.
    ///
    /// Errors: none that a caller can cause.
    pub async fn extend(&self, context: &SessionContext, caller: &Caller) -> Result<()> {
        let Some(catalog) = context.catalog(CATALOG) else {
            return Err(DataFusionError::Internal("a session has its catalog".to_owned()));
        };
        for schema in [SCHEMA, SYSTEM] {
            self.follow(catalog.as_ref(), schema).await?;
        }
        if let Some(before) = catalog.schema(INFORMATION) {
            let relations = [SCHEMA, SYSTEM].map(|schema| (schema, self.0.names.relations(schema)));
            catalog.register_schema(INFORMATION, Arc::new(Information::new(before, caller, relations)))?;
        }
        self.follow(catalog.as_ref(), INFORMATION).await?;
        let routines = self.0.routines.get_or_init(|| Arc::new(routines(&context.state()))).clone();
        let tables = Tables::new(self, caller, &routines);
        catalog.register_schema(NAME, Arc::new(tables))?;

        let state = context.state_ref();
        let planned =
            SessionStateBuilder::new_from_existing(state.read().clone()).with_type_planner(Arc::new(Types)).build();
        *state.write() = planned;
        let objects = self.objects(&routines).await?;
        for function in functions::all(caller, &routines, &objects) {
            context.register_udf(function);
        }
        CoerceIntArgsToBigInt::widen(context);
        let keywords = self.0.fixed.pg_get_keywords.try_into_memtable()?;
        context.register_udtf("pg_get_keywords", Arc::new(Keywords(Arc::new(Table::of(keywords)))));
        Ok(())
    }

    /// Takes the relations of `schema` of a session.
    async fn follow(&self, catalog: &dyn CatalogProvider, schema: &str) -> Result<()> {
        if let Some(tables) = catalog.schema(schema)
            && self.0.names.follow(schema, tables.as_ref()).await?
        {
            self.0.objects.store(None);
        }
        Ok(())
    }

    /// The number of a schema.
    pub(super) async fn schema(&self, name: &str) -> Result<Option<i32>> {
        let of = |batch: &RecordBatch| {
            let names = batch.column_by_name("nspname")?.as_string_opt::<i32>()?;
            let numbers = batch.column_by_name("oid")?.as_primitive_opt::<Int32Type>()?;
            (0..names.len()).find(|row| names.value(*row) == name).map(|row| numbers.value(row))
        };
        Ok(self.rows("pg_namespace").await?.iter().find_map(of))
    }

    /// Names and numbers of objects.
    async fn objects(&self, routines: &[Routine]) -> Result<Arc<Objects>> {
        if let Some(objects) = self.0.objects.load_full() {
            return Ok(objects);
        }
        let (schemas, relations) = (self.rows("pg_namespace").await?, self.rows("pg_class").await?);
        let (types, functions) = (self.rows("pg_type").await?, self.rows("pg_proc").await?);
        let objects = Arc::new(Objects::new(&schemas, &relations, &types, &functions, routines));
        self.0.objects.store(Some(Arc::clone(&objects)));
        Ok(objects)
    }

    /// A table as datafusion-pg-catalog has it.
    pub(super) fn built_in(&self, name: &str) -> Result<Option<PgCatalogTable>> {
        self.0.provider.build_table_by_name(name)
    }

    /// The rows of a table of the catalogue.
    pub(super) async fn rows(&self, table: &str) -> Result<Vec<RecordBatch>> {
        match self.0.provider.build_table_by_name(table)? {
            Some(PgCatalogTable::Dynamic(table)) => table.execute(Arc::new(TaskContext::default())).try_collect().await,
            Some(PgCatalogTable::Static(table)) => Ok(table.data().to_vec()),
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
        let relations = Arc::new(relations);
        self.0.rcu(|all| {
            let mut all = BTreeMap::clone(all);
            all.insert(schema.to_owned(), relations.clone());
            all
        });
        Ok(true)
    }

    fn relations(&self, schema: &str) -> Arc<Relations> {
        self.0.load().get(schema).cloned().unwrap_or_default()
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
