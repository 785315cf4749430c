//! The relation `traces`: one row a trace, aggregated from the spans of the view.
//!
//! Duty: sql.md 4. Guarantee: nothing is stored, so a root that arrives late is simply there. A time filter reads the
//! spans that overlap the filter's range widened by `query.trace_window`; it is then applied exactly to the traces.
//! Left to others: the exact filter (above).
//!
//! `edge` is true when a span of the trace reaches a widened border: then spans beyond it may be missing.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::functions_aggregate::expr_fn::{array_agg, bool_or, count, max, min};
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, cast, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::col;

use super::derived;
use super::functions::earliest::{earliest, earliest_id};
use super::scan::bounds::Bounds;

/// `traces` over one view.
#[derive(Debug)]
pub struct TracesTable {
    spans: Arc<dyn TableProvider>,
    window_ns: i64,
    schema: SchemaRef,
}

/// Instants that the spans read lie between; the smallest and largest number where there is no border.
#[derive(Clone, Copy, Debug)]
struct Borders {
    lo_ns: i64,
    hi_ns: i64,
}

impl TracesTable {
    /// The traces of `spans`; time filters are widened by `window`.
    pub fn new(spans: Arc<dyn TableProvider>, window: Duration) -> Self {
        let window_ns = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        let plan = plan(&spans, &[], Borders { lo_ns: i64::MIN, hi_ns: i64::MAX }).and_then(LogicalPlanBuilder::build);
        let schema = derived::schema_of(&plan.expect("the plan is the same for every view"));
        Self { spans, window_ns, schema }
    }
}

fn plan(spans: &Arc<dyn TableProvider>, filters: &[Expr], borders: Borders) -> Result<LogicalPlanBuilder> {
    let mut plan = derived::within(derived::spans(spans)?, borders.lo_ns, borders.hi_ns)?;
    for filter in derived::handed_on(filters, &["trace_id"])? {
        plan = plan.filter(filter)?;
    }
    let is_root = || col("parent_span_id").is_null();
    let of_root = |column: &str| earliest().call(vec![col(column), col("start_time"), col("span_id")]);
    let of_root = |column: &str| of_root(column).filter(is_root()).build();
    let root_id = earliest_id().call(vec![col("start_time"), col("span_id")]).filter(is_root()).build()?;
    let text = |expr: Expr| cast(expr, DataType::Utf8);
    let mut reaches = lit(false);
    if borders.lo_ns != i64::MIN {
        reaches = reaches.or(col("start_time").lt_eq(derived::instant(borders.lo_ns)));
    }
    if borders.hi_ns != i64::MAX {
        reaches = reaches.or(col("end_time").gt_eq(derived::instant(borders.hi_ns)));
    }
    let services = array_agg(text(col("service_name"))).distinct();
    let services = services.order_by(vec![text(col("service_name")).sort(true, false)]).build()?;
    let errors = count(lit(1_i64)).filter(col("status_code").eq(lit("error"))).build()?;
    plan.aggregate(
        vec![col("trace_id")],
        vec![
            min(col("start_time")).alias("first_start"),
            max(col("end_time")).alias("last_end"),
            of_root("service_name")?.alias("root_service"),
            of_root("name")?.alias("root_name"),
            root_id.alias("root_span_id"),
            of_root("status_code")?.alias("root_status"),
            count(lit(1_i64)).alias("span_count"),
            errors.alias("error_count"),
            services.alias("services"),
            bool_or(is_root()).alias("has_root"),
            bool_or(reaches).alias("edge"),
            max(col("ingest_time")).alias("last_ingest_time"),
        ],
    )?
    .project(vec![
        col("trace_id"),
        col("first_start").alias("start_time"),
        col("last_end").alias("end_time"),
        (nanoseconds(col("last_end")) - nanoseconds(col("first_start"))).alias("trace_duration_ns"),
        col("root_service"),
        col("root_name"),
        col("root_span_id"),
        col("root_status"),
        col("span_count"),
        col("error_count"),
        col("services"),
        col("has_root"),
        col("edge"),
        col("last_ingest_time"),
    ])
}

fn nanoseconds(expr: Expr) -> Expr {
    cast(expr, DataType::Int64)
}

#[async_trait::async_trait]
impl TableProvider for TracesTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        _: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let bounds = Bounds::of(filters);
        let borders = Borders {
            lo_ns: derived::moved(bounds.start.min_ns.max(bounds.end.min_ns), -self.window_ns),
            hi_ns: derived::moved(bounds.start.max_ns.min(bounds.end.max_ns), self.window_ns),
        };
        derived::physical(session, plan(&self.spans, filters, borders)?, projection).await
    }
}
