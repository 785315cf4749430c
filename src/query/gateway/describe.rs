//! What is known of a statement before it runs, and of all tables (sql.md 9.2 `check`, 9.4).
//!
//! Duty: plan a statement under the guard, a slot and the planning limit, and tell its columns, the types of its
//! parameters, notices and estimates; list the tables with their columns; stop a statement by its id. Guarantee: no row
//! is read; what is refused here would be refused to run. Left to others: the words of a wire (`web`).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::stats::Precision;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::{LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::statistics::{StatisticsArgs, StatisticsContext};

use super::run::{Job, Logical, logical, opened};
use super::{Gateway, Granted, Statement, internal};
use crate::query::error::{Code, Error};
use crate::query::params::{self, Params};
use crate::query::session::{CATALOG, SCHEMA};
use crate::query::translate::translate;
use crate::query::within::Instants;
use crate::store::View;

/// What is known of a statement before it runs.
#[derive(Clone, Debug)]
pub struct Described {
    /// A ULID.
    pub query_id: String,
    /// Store position of the newest row that it would see, µs since 1970.
    pub snapshot_us: i64,
    /// Columns; `None` where they hang on parameters that were not given.
    pub schema: Option<SchemaRef>,
    /// Placeholders, in the order of the text, where no parameters were given.
    pub parameters: Vec<Parameter>,
    /// What the caller should know, one sentence each.
    pub notices: Vec<String>,
    /// What it would read; `None` where parameters were not given.
    pub estimates: Option<Estimates>,
}

/// A placeholder without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Without its `$`.
    pub name: String,
    /// What the plan needs there; `None` = it does not say.
    pub of: Option<DataType>,
}

/// What a statement would read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Estimates {
    /// Rows out, if the plan can tell.
    pub rows: Option<u64>,
    /// Whether `rows` is certain.
    pub rows_exact: bool,
    /// Files that it would open.
    pub parts: u64,
    /// Bytes of those files: it reads at most that.
    pub bytes: u64,
}

/// A table, with all its columns.
#[derive(Clone, Debug)]
pub struct Table {
    /// `public`, `system` or `information_schema`.
    pub schema: String,
    /// Its name there.
    pub name: String,
    /// `BASE TABLE` or `VIEW`.
    pub kind: &'static str,
    /// Its columns.
    pub columns: SchemaRef,
}

impl Gateway {
    /// Plans `statement` and runs nothing. Without parameters its placeholders stay open.
    ///
    /// Errors: as [`Gateway::run`], as far as planning finds them; they carry the statement's id.
    pub async fn describe(&self, mut statement: Statement) -> Result<Described, Error> {
        let query_id = self.id_of(&statement);
        statement.query_id = Some(query_id.clone());
        if statement.params == Params::None && !params::names(&statement.sql).is_empty() {
            statement.params = Params::Open;
        }
        let mut notices = Vec::new();
        let limits = Granted::of(&statement, &self.inner.config, &mut notices);
        match self.planning(statement, &limits, described).await {
            Ok(described) => {
                notices.extend(described.notices);
                Ok(Described { query_id, notices, ..described })
            }
            Err(error) => Err(error.of(&query_id)),
        }
    }

    /// All tables that a statement of this moment can name, by schema and name, for the identity that asks.
    ///
    /// Errors: `sql.busy`, `sql.timeout`, `sql.cancelled`, `sql.internal`.
    pub async fn tables(&self, identity: &str, surface: &'static str) -> Result<Vec<Table>, Error> {
        let statement = Statement { identity: identity.to_owned(), surface, ..Statement::new("SHOW TABLES") };
        let limits = Granted::of(&statement, &self.inner.config, &mut Vec::new());
        self.planning(statement, &limits, listed).await
    }

    /// Stops the statement `query_id` if `may` stop one of the identity that it is given. `None` = none of this id runs;
    /// else whether it was stopped.
    pub fn cancel(&self, query_id: &str, may: impl FnOnce(&str) -> bool) -> Option<bool> {
        self.inner.log.cancel(query_id, may)
    }
}

async fn listed(mut job: Job) -> Result<Vec<Table>, Error> {
    let view = std::mem::replace(&mut job.view, View::empty());
    let (context, _) = opened(&job, &view, Instants::Given).await?;
    let catalog = context.catalog(CATALOG).ok_or_else(internal)?;
    let mut tables = Vec::new();
    let mut schemas = catalog.schema_names();
    // Ours first.
    schemas.sort_by_key(|name| (name != SCHEMA, name.clone()));
    for name in schemas {
        let Some(schema) = catalog.schema(&name) else { continue };
        let mut names = schema.table_names();
        names.sort();
        for table in names {
            let found = schema.table(&table).await.map_err(|e| translate(&e, "", None))?;
            let Some(found) = found else { continue };
            let kind = match found.table_type() {
                TableType::Base | TableType::Temporary => "BASE TABLE",
                TableType::View => "VIEW",
            };
            tables.push(Table { schema: name.clone(), name: table, kind, columns: found.schema() });
        }
    }
    Ok(tables)
}

async fn described(mut job: Job) -> Result<Described, Error> {
    let view = std::mem::replace(&mut job.view, View::empty());
    let view = match job.as_of_us {
        Some(as_of_us) => view.until(as_of_us),
        None => view,
    };
    let nothing = Described {
        query_id: String::new(),
        snapshot_us: view.visible_us,
        schema: None,
        parameters: Vec::new(),
        notices: Vec::new(),
        estimates: None,
    };
    let is_open = job.params == Params::Open;
    let Logical { context, plan, names, notices, .. } = match logical(&job, &view).await {
        Ok(logical) => logical,
        // What a placeholder stands for may be what is missing: a run with its value tells.
        Err(error) if is_open && matches!(error.code, Code::Type | Code::Argument | Code::Internal) => {
            return Ok(Described { parameters: parameters(&job.sql, None), ..nothing });
        }
        Err(error) => return Err(error),
    };
    let described = Described { notices, ..nothing };
    let columns = names.applied(Arc::new(plan.schema().as_arrow().clone()));
    if is_open {
        let parameters = parameters(&job.sql, Some(&plan));
        // A column of an open parameter has no type yet.
        let is_known = columns.fields().iter().all(|field| *field.data_type() != DataType::Null);
        return Ok(Described { schema: is_known.then_some(columns), parameters, ..described });
    }
    let physical: Result<Arc<dyn ExecutionPlan>, _> = Box::pin(context.state().create_physical_plan(&plan)).await;
    let physical = physical.map_err(|e| translate(&e, &job.sql, Some(&context)))?;
    let schema = if physical.schema().fields().len() == columns.fields().len() {
        names.applied(physical.schema())
    } else {
        columns
    };
    Ok(Described { schema: Some(schema), estimates: Some(estimates(&physical)), ..described })
}

fn parameters(sql: &str, plan: Option<&LogicalPlan>) -> Vec<Parameter> {
    let types = plan.and_then(|plan| plan.get_parameter_types().ok()).unwrap_or_default();
    let of = |name: String| Parameter { of: types.get(&format!("${name}")).cloned().flatten(), name };
    let mut parameters: Vec<Parameter> = params::names(sql).into_iter().map(|(name, _)| of(name)).collect();
    // `$2` may stand before `$1`; values come by number.
    if parameters.iter().all(|parameter| parameter.name.parse::<usize>().is_ok()) {
        parameters.sort_by_key(|parameter| parameter.name.parse::<usize>().unwrap_or_default());
    }
    parameters
}

/// The columns of `parameters`, `TEXT` where the plan does not say: every value can be read from it.
pub fn columns_of(parameters: &[Parameter]) -> Schema {
    let field = |parameter: &Parameter| {
        let of = parameter.of.clone().filter(|of| *of != DataType::Null).unwrap_or(DataType::Utf8);
        Field::new(&parameter.name, of, true)
    };
    Schema::new(parameters.iter().map(field).collect::<Vec<_>>())
}

fn estimates(plan: &Arc<dyn ExecutionPlan>) -> Estimates {
    let mut estimates = Estimates::default();
    if let Ok(statistics) = StatisticsContext::new().compute(plan.as_ref(), &StatisticsArgs::new()) {
        (estimates.rows, estimates.rows_exact) = match statistics.num_rows {
            Precision::Exact(rows) => (Some(rows as u64), true),
            Precision::Inexact(rows) => (Some(rows as u64), false),
            Precision::Absent => (None, false),
        };
    }
    let mut open = vec![plan.clone()];
    while let Some(node) = open.pop() {
        let files = node
            .downcast_ref::<DataSourceExec>()
            .and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
            .map(|scan| scan.file_groups.as_slice())
            .unwrap_or_default();
        for file in files.iter().flat_map(|group| group.files()) {
            estimates.parts += 1;
            estimates.bytes += file.object_meta.size;
        }
        open.extend(node.children().into_iter().cloned());
    }
    estimates
}
