//! What a statement would do, without running it.
//!
//! Duty: plan a statement and tell its columns, the functions in it that depend on more than rows, and the times that
//! each of its scans is bound to. Guarantee: no row is read. Left to others: what of it is acceptable (`gate`).

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{DataFusionError, Result as EngineResult};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{Expr, LogicalPlan, TableScan, Volatility};
use datafusion::sql::parser::Statement as Parsed;
use datafusion::sql::sqlparser::ast::{self, SetExpr};

use super::config::Config;
use super::derived::renamed;
use super::error::{Code, Error};
use super::params::Params;
use super::scan::bounds::Bounds;
use super::sources::Sources;
use super::translate::translate;
use super::within::{Instants, Within};
use super::{guard, session, shared};
use crate::span::TimeRange;
use crate::store::View;

/// What a statement would do.
#[derive(Clone, Debug)]
pub struct Probe {
    /// Its columns.
    pub schema: SchemaRef,
    /// Functions whose result depends on the clock or on chance, and tables about the engine and the store, by name.
    pub unsteady: Vec<String>,
    /// Its scans of `spans` and of the relations over it.
    pub scans: Vec<Scan>,
    /// Why it shares no states with others over `spans` (`shared`); `None` = it may.
    pub alone: Option<String>,
}

/// One scan of `spans` or of a relation over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// `spans`, `traces`, `span_events`, `span_links` or `red_1m`.
    pub table: String,
    /// What its filters leave of `start_time`; of `time` for `span_events`.
    pub start: TimeRange,
    /// What its filters leave of `end_time`.
    pub end: TimeRange,
}

/// What planning needs beside the statement.
#[derive(Clone, Debug)]
pub struct Ground {
    /// Settings.
    pub config: Config,
    /// Memory and caches, from [`session::runtime`].
    pub engine: Arc<RuntimeEnv>,
    /// Tables of other modules.
    pub extra: Vec<(String, Arc<dyn TableProvider>)>,
}

/// Plans `sql`, which must be one SELECT or WITH, within `within` and over no rows.
///
/// It recurses as deep as the guard lets statements be nested: call it on a thread with 16 MiB of stack.
///
/// Errors: those that running it would end in before its first row.
pub async fn probe(ground: &Ground, sql: &str, params: &Params, within: &Within) -> Result<Probe, Error> {
    let checked = guard::check(sql, params)?;
    let is_select = match &checked.statement {
        Parsed::Statement(statement) => match statement.as_ref() {
            ast::Statement::Query(query) => checked.limitable && !matches!(*query.body, SetExpr::Values(_)),
            _ => false,
        },
        _ => false,
    };
    if !is_select || checked.must_exist.is_some() || guard::is_listing(sql) {
        return Err(Error::new(Code::NotAllowed, "the statement is neither SELECT nor WITH")
            .hint("write one SELECT, or WITH … SELECT"));
    }
    let engine = |e: DataFusionError| translate(&e, "", None);
    let context = session::open(&View::empty(), &ground.config, 0, &ground.engine).map_err(engine)?;
    for (name, table) in &ground.extra {
        context.register_table(name.as_str(), table.clone()).map_err(engine)?;
    }
    Box::pin(within.narrow(&context, &ground.config, Instants::Given)).await.map_err(engine)?;
    let failed = |e: DataFusionError| translate(&e, sql, Some(&context));
    let state = context.state();
    let plan = Box::pin(state.statement_to_plan(checked.statement)).await.map_err(failed)?;
    guard::check_plan(&plan, Sources::with(&ground.extra))?;
    let mut unsteady: Vec<String> = checked.clock.iter().map(|name| (*name).to_owned()).collect();
    find_unsteady(&plan, &mut unsteady).map_err(failed)?;
    let alone = shared::may_share(&shared::analysed(&state, plan.clone()).map_err(failed)?).err();
    let optimized = state.optimize(&plan).map_err(failed)?;
    // What the optimizer leaves is not always what can be run.
    Box::pin(state.create_physical_plan(&plan)).await.map_err(failed)?;
    let mut scans = Vec::new();
    find_scans(&optimized, &mut scans).map_err(failed)?;
    Ok(Probe { schema: Arc::new(optimized.schema().as_arrow().clone()), unsteady, scans, alone })
}

fn find_unsteady(plan: &LogicalPlan, found: &mut Vec<String>) -> EngineResult<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(schema) = scan.table_name.schema().filter(|schema| *schema != session::SCHEMA)
        {
            found.push(format!("{schema}.{}", scan.table_name.table()));
        }
        // The last hour, as the clock has it.
        if let LogicalPlan::TableScan(scan) = node
            && scan.table_name.table() == "service_graph"
        {
            found.push("service_graph".to_owned());
        }
        node.apply_expressions(|expr| {
            expr.apply(|inner| {
                if let Expr::ScalarFunction(call) = inner
                    && call.func.signature().volatility != Volatility::Immutable
                    && !found.iter().any(|name| name == call.func.name())
                {
                    found.push(call.func.name().to_owned());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn find_scans(plan: &LogicalPlan, found: &mut Vec<Scan>) -> EngineResult<()> {
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node {
            found.extend(bounded(scan)?);
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

fn bounded(scan: &TableScan) -> EngineResult<Option<Scan>> {
    let table = scan.table_name.table();
    if !matches!(table, "spans" | "traces" | "span_events" | "span_links" | "red_1m") {
        return Ok(None);
    }
    let as_start = |name: &str| match (table, name) {
        ("span_events", "time") | ("red_1m", "minute") => "start_time".to_owned(),
        _ => name.to_owned(),
    };
    let filters = scan.filters.iter().map(|filter| renamed(filter, as_start)).collect::<EngineResult<Vec<_>>>()?;
    let bounds = Bounds::of(&filters);
    Ok(Some(Scan { table: table.to_owned(), start: bounds.start, end: bounds.end }))
}
