//! The relation `red_1m`: rate, errors and durations of each operation, minute by minute.
//!
//! Duty: sql.md 4. Guarantee: nothing is stored, so a late span is simply there; a filter on `minute` reads the spans
//! of these minutes only. Left to others: the exact filter (above), quantiles of other groups (`exphist_merge`).

use std::sync::{Arc, OnceLock};

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result;
use datafusion::functions_aggregate::expr_fn::count;
use datafusion::logical_expr::{
    Expr, ExprFunctionExt, LogicalPlanBuilder, TableProviderFilterPushDown, TableType, lit,
};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::col;

use super::derived;
use super::functions::{aggregates, time};

const MINUTE_NS: i64 = 60_000_000_000;
/// Columns that are those of the spans.
const GROUPED: [&str; 3] = ["service_name", "name", "kind"];

/// `red_1m` over one view.
#[derive(Debug)]
pub struct RedTable {
    spans: Arc<dyn TableProvider>,
    schema: SchemaRef,
}

impl RedTable {
    /// The minutes of `spans`.
    pub fn new(spans: Arc<dyn TableProvider>) -> Self {
        static SCHEMA: OnceLock<SchemaRef> = OnceLock::new();
        let schema = SCHEMA.get_or_init(|| {
            let plan = plan(&spans, &[], i64::MIN, i64::MAX).and_then(LogicalPlanBuilder::build);
            derived::schema_of(&plan.expect("the plan is the same for every view"))
        });
        Self { schema: schema.clone(), spans }
    }
}

/// The minutes of the spans that begin in `[lo_ns, hi_ns)`.
fn plan(spans: &Arc<dyn TableProvider>, filters: &[Expr], lo_ns: i64, hi_ns: i64) -> Result<LogicalPlanBuilder> {
    let mut plan = derived::spans(spans)?;
    if lo_ns != i64::MIN {
        plan = plan.filter(col("start_time").gt_eq(derived::instant(lo_ns)))?;
    }
    if hi_ns != i64::MAX {
        plan = plan.filter(col("start_time").lt(derived::instant(hi_ns)))?;
    }
    for filter in derived::handed_on(filters, &GROUPED)? {
        plan = plan.filter(filter)?;
    }
    let minute = time::time_bucket().call(vec![lit("1m"), col("start_time")]).alias("minute");
    let errors = count(lit(1_i64)).filter(col("status_code").eq(lit("error"))).build()?;
    let groups = std::iter::once(minute).chain(GROUPED.map(col));
    plan.aggregate(
        groups,
        vec![
            count(lit(1_i64)).alias("calls"),
            errors.alias("errors"),
            aggregates::exphist().call(vec![col("duration_ns")]).alias("duration"),
        ],
    )?
    .project(["minute", "service_name", "name", "kind", "calls", "errors", "duration"].map(col))
}

#[async_trait::async_trait]
impl TableProvider for RedTable {
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
        let minutes = derived::bounds_as(filters, "minute", "start_time")?.start;
        // A minute begins no later than its spans, and less than its length before them.
        let hi_ns = derived::moved(minutes.max_ns, MINUTE_NS);
        derived::physical(session, plan(&self.spans, filters, minutes.min_ns, hi_ns)?, projection).await
    }
}
