//! The engine's session for one statement.
//!
//! Duty: a context over one view, built from the allow-list. Guarantee: nothing can be named that is not listed here:
//! no other tables, functions, files or settings. Left to others: which statements may run, limits and errors (the
//! gateway).

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::Result;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::context::SessionContext;
use datafusion::execution::disk_manager::{DiskManagerBuilder, DiskManagerMode};
use datafusion::execution::memory_pool::{FairSpillPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::SessionStateBuilder;
use datafusion::logical_expr::planner::ExprPlanner;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};
use datafusion::optimizer::{Analyzer, AnalyzerRule, OptimizerRule};
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::prelude::SessionConfig;

use super::allow;
use super::attributes::planner::AttributePlanner;
use super::attributes::rule::AttributeTypes;
use super::attributes::typing::Types;
use super::caps::{BATCH_ROWS, Caps, Constants};
use super::catalog;
use super::config::Config;
use super::events::NestedTable;
use super::functions;
use super::functions::capped::aggregates::capped;
use super::functions::numeric::{Numeric, is_numeric};
use super::hints::Pushdown;
use super::information_schema::InformationSchema;
use super::lenient;
use super::memory::{self, Account};
use super::red::RedTable;
use super::scan;
use super::scan::below_union::BelowUnion;
use super::scan::compared::Compared;
use super::scan::decoding::Decoding;
use super::system;
use super::table::SpanTable;
use super::table_functions;
use super::traces::TracesTable;
use crate::store::View;

/// Name of the only catalog.
pub const CATALOG: &str = "weavergen";
/// Name of the schema of our tables.
pub const SCHEMA: &str = "public";
/// Name of the schema of operators' tables.
pub const SYSTEM: &str = "system";
/// Compiled Parquet footers kept between statements, as a part of the pool: 5 % of the limit beside 35 % (storage.md 14).
const METADATA_CACHE_PART: usize = 7;

/// Where a statement runs, for hints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Over a data folder, without the daemon.
    pub offline: bool,
}

/// What statements share: memory pool, spill folder, footer cache. Made once for a dataset.
///
/// `memory_bytes` bounds what operators reserve over all statements; they spill to `spill_dir`, at most `spill_bytes`,
/// or fail where there is none. Footers come on top of it. Errors: the folder cannot be used.
pub fn runtime(memory_bytes: usize, spill: Option<(PathBuf, u64)>) -> Result<Arc<RuntimeEnv>> {
    let top = std::num::NonZeroUsize::new(3).expect("3 is not 0");
    let pool = TrackConsumersPool::new(FairSpillPool::new(memory_bytes), top);
    let disk = match &spill {
        Some((dir, _)) => DiskManagerMode::Directories(vec![dir.clone()]),
        None => DiskManagerMode::Disabled,
    };
    let mut builder = RuntimeEnvBuilder::new()
        .with_memory_pool(Arc::new(pool))
        .with_disk_manager_builder(DiskManagerBuilder::default().with_mode(disk))
        .with_metadata_cache_limit(memory_bytes / METADATA_CACHE_PART)
        .with_object_list_cache_limit(0)
        .with_file_statistics_cache_limit(0);
    if let Some((_, bytes)) = spill {
        builder = builder.with_max_temp_directory_size(bytes);
    }
    builder.build_arc()
}

/// A session for one statement over `view`, begun at `now_ns`. Of the pool of `runtime` it holds a statement's share.
///
/// Tables of other modules are added with `register_table`. Errors: none that a caller can cause.
pub fn open(view: &View, config: &Config, now_ns: i64, runtime: &Arc<RuntimeEnv>) -> Result<SessionContext> {
    runtime.register_object_store(scan::store_url().as_ref(), view.objects.clone());
    let runtime = memory::of_statement(runtime);
    let mut planners: Vec<Arc<dyn ExprPlanner>> =
        vec![Arc::new(AttributePlanner::new(Types::new(config.attribute_types.clone())))];
    planners.extend(SessionStateDefaults::default_expr_planners());
    let offline = view.files.as_ref().is_some_and(|files| files.is_offline());
    let state = SessionStateBuilder::new()
        .with_config(session_config(config)?.with_extension(Arc::new(Place { offline })))
        .with_runtime_env(runtime.clone())
        .with_catalog_list(Arc::new(datafusion::catalog::MemoryCatalogProviderList::new()))
        .with_expr_planners(planners)
        .with_analyzer_rules(analyzer_rules(Account::of(&runtime.memory_pool)))
        .with_optimizer_rules(optimizer_rules())
        .with_physical_optimizer_rules(physical_rules(config))
        .with_scalar_functions(scalar_functions(now_ns))
        .with_aggregate_functions(aggregate_functions())
        .with_window_functions(window_functions())
        .with_table_function_list(table_functions::all(config.trace_window))
        .build();
    let context = SessionContext::new_with_state(state);

    let tables: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
    for (name, table) in relations_over(Arc::new(SpanTable::new(view.clone())), config) {
        tables.register_table(name.to_owned(), table)?;
    }
    for (name, table) in catalog::tables(view, config) {
        tables.register_table(name.to_owned(), table)?;
    }
    let operators: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
    for (name, table) in system::tables(view) {
        operators.register_table(name.to_owned(), table)?;
    }
    if let Some(drops) = operators.table_exist(system::DROPS).then(|| system::drops(view)).flatten() {
        tables.register_table("drop_ledger".to_owned(), drops)?;
    }
    let catalog = MemoryCatalogProvider::new();
    catalog.register_schema(SCHEMA, tables.clone())?;
    catalog.register_schema(SYSTEM, operators.clone())?;
    let functions = context.state();
    let schemas = vec![(SCHEMA, tables), (SYSTEM, operators)];
    let names = InformationSchema::new(
        schemas,
        functions.scalar_functions(),
        functions.aggregate_functions(),
        functions.table_functions(),
    );
    catalog.register_schema("information_schema", Arc::new(names))?;
    context.register_catalog(CATALOG, Arc::new(catalog));
    Ok(context)
}

/// `spans` and the relations computed from it.
pub fn relations_over(spans: Arc<dyn TableProvider>, config: &Config) -> [(&'static str, Arc<dyn TableProvider>); 6] {
    let window = config.trace_window;
    [
        ("traces", Arc::new(TracesTable::new(spans.clone(), window))),
        ("span_events", Arc::new(NestedTable::events(spans.clone(), window))),
        ("span_links", Arc::new(NestedTable::links(spans.clone(), window))),
        ("red_1m", Arc::new(RedTable::new(spans.clone()))),
        // It reads what `spans` is in the session.
        ("service_graph", table_functions::service_graph_of_the_last_hour(window)),
        ("spans", spans),
    ]
}

fn session_config(config: &Config) -> Result<SessionConfig> {
    let mut session = SessionConfig::new()
        .with_create_default_catalog_and_schema(false)
        .with_default_catalog_and_schema(CATALOG, SCHEMA)
        .with_information_schema(false)
        .with_batch_size(BATCH_ROWS)
        .with_target_partitions(config.threads.max(1));
    let options = session.options_mut();
    options.set("datafusion.sql_parser.dialect", "postgresql")?;
    options.set("datafusion.sql_parser.collect_spans", "true")?;
    options.set("datafusion.sql_parser.recursion_limit", "50")?;
    options.set("datafusion.execution.time_zone", "UTC")?;
    options.set("datafusion.execution.parquet.pushdown_filters", "false")?;
    options.set("datafusion.execution.sort_pushdown_buffer_capacity", "33554432")?;
    options.set("datafusion.execution.spill_compression", "lz4_frame")?;
    Ok(session)
}

/// The engine's rules with ours: types before coercion, which would cast text to numbers, and caps after it.
fn analyzer_rules(account: Account) -> Vec<Arc<dyn AnalyzerRule + Send + Sync>> {
    let mut rules = Analyzer::new().rules;
    let before = rules.iter().position(|rule| rule.name() == "type_coercion").unwrap_or(rules.len());
    rules.insert(before, Arc::new(AttributeTypes));
    rules.push(Arc::new(Caps(account)));
    rules
}

/// The engine's rules and a last look at what they folded.
fn optimizer_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = lenient::optimizer_rules();
    rules.push(Arc::new(Constants));
    rules
}

/// The engine's rules, with ours before scans know the statement's filters, and where they know them and not yet those that
/// change as it runs.
fn physical_rules(config: &Config) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let mut rules = PhysicalOptimizer::new().rules;
    let after = rules.iter().position(|rule| rule.name() == "PushdownSort").map_or(rules.len(), |at| at + 1);
    let pushdown = match config.hints.pushdown {
        Pushdown::Auto => config.pushdown,
        said => said,
    };
    rules.insert(after, Arc::new(Compared));
    rules.insert(after, Arc::new(Decoding(pushdown)));
    let before = rules.iter().position(|rule| rule.name() == "FilterPushdown").unwrap_or(0);
    rules.insert(before, Arc::new(BelowUnion));
    rules
}

/// The engine's functions of which a statement may name some are the same in each: they are made once.
fn scalar_functions(now_ns: i64) -> Vec<Arc<ScalarUDF>> {
    static ENGINE: LazyLock<Vec<Arc<ScalarUDF>>> = LazyLock::new(|| {
        let wrap = |function: Arc<ScalarUDF>| match is_numeric(function.name()) {
            true => Arc::new(ScalarUDF::from(Numeric::new(function))),
            false => function,
        };
        let engine = SessionStateDefaults::default_scalar_functions().into_iter();
        engine.filter(|function| allow::scalar(function.name())).map(wrap).collect()
    });
    let mut functions = ENGINE.clone();
    functions.extend(functions::scalars(now_ns));
    functions
}

fn aggregate_functions() -> Vec<Arc<AggregateUDF>> {
    static ALL: LazyLock<Vec<Arc<AggregateUDF>>> = LazyLock::new(|| {
        let engine = SessionStateDefaults::default_aggregate_functions().into_iter();
        let mut all: Vec<_> = engine.filter(|function| allow::aggregate(function.name())).map(capped).collect();
        all.extend(functions::aggregates());
        all
    });
    ALL.clone()
}

fn window_functions() -> Vec<Arc<WindowUDF>> {
    static ALL: LazyLock<Vec<Arc<WindowUDF>>> = LazyLock::new(|| {
        let mut all = SessionStateDefaults::default_window_functions();
        all.extend(functions::windows());
        all
    });
    ALL.clone()
}
