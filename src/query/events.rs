//! The relations `span_events` and `span_links`: one row an element of a span's list.
//!
//! Duty: sql.md 4. Guarantee: every event and link of every span is a row. Left to others: brackets on their
//! attributes (`attributes`).
//!
//! A filter on an event's time leaves out spans that ended more than `query.trace_window` before it, over memory and
//! parts alike, so parts are pruned by their last end. Clocks of one process put events within their span; the window
//! covers those that do not.

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Column, Result, UnnestOptions};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr, LogicalPlanBuilder, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::col;

use super::derived;

/// `span_events` or `span_links` over one view.
#[derive(Debug)]
pub struct NestedTable {
    spans: Arc<dyn TableProvider>,
    list: List,
    window_ns: i64,
    schema: SchemaRef,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum List {
    Events,
    Links,
}

impl NestedTable {
    /// The events of `spans`.
    pub fn events(spans: Arc<dyn TableProvider>, window: Duration) -> Self {
        Self::new(spans, List::Events, window)
    }

    /// The links of `spans`.
    pub fn links(spans: Arc<dyn TableProvider>, window: Duration) -> Self {
        Self::new(spans, List::Links, window)
    }

    fn new(spans: Arc<dyn TableProvider>, list: List, window: Duration) -> Self {
        let window_ns = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
        let plan = plan(&spans, list, &[], i64::MIN).and_then(LogicalPlanBuilder::build);
        let schema = derived::schema_of(&plan.expect("the plan is the same for every view"));
        Self { spans, list, window_ns, schema }
    }
}

fn plan(
    spans: &Arc<dyn TableProvider>,
    list: List,
    filters: &[Expr],
    ended_after_ns: i64,
) -> Result<LogicalPlanBuilder> {
    let mut plan = derived::within(derived::spans(spans)?, ended_after_ns, i64::MAX)?;
    for filter in derived::handed_on(filters, &["trace_id", "span_id", "service_name", "start_time"])? {
        plan = plan.filter(filter)?;
    }
    let of_span = |name: &str| col(Column::new(Some("spans"), name));
    let column = if list == List::Events { "events" } else { "links" };
    let element = |field: &str| get_field(col("element"), field);
    let plan = plan
        .project(vec![
            of_span("trace_id").alias("span_trace_id"),
            of_span("span_id").alias("own_span_id"),
            of_span("service_name").alias("service"),
            of_span("name").alias("span_name"),
            of_span("start_time").alias("span_start"),
            of_span(column).alias("element"),
        ])?
        .unnest_column_with_options(
            Column::new_unqualified("element"),
            UnnestOptions::new().with_preserve_nulls(false),
        )?;
    let mut columns = vec![
        col("span_trace_id").alias("trace_id"),
        col("own_span_id").alias("span_id"),
        col("service").alias("service_name"),
    ];
    if list == List::Events {
        columns.push(col("span_name"));
    }
    columns.push(col("span_start").alias("start_time"));
    columns.extend(match list {
        List::Events => vec![
            element("time").alias("time"),
            element("name").alias("name"),
            element("attributes").alias("attributes"),
            element("dropped_attributes_count").alias("dropped_attributes_count"),
        ],
        List::Links => vec![
            element("trace_id").alias("linked_trace_id"),
            element("span_id").alias("linked_span_id"),
            element("trace_state").alias("trace_state"),
            element("attributes").alias("attributes"),
            element("flags").alias("flags"),
        ],
    });
    plan.project(columns)
}

#[async_trait::async_trait]
impl TableProvider for NestedTable {
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
        let mut ended_after_ns = i64::MIN;
        if self.list == List::Events {
            let times = derived::bounds_as(filters, "time", "end_time")?.end;
            ended_after_ns = derived::moved(times.min_ns, -self.window_ns);
        }
        derived::physical(session, plan(&self.spans, self.list, filters, ended_after_ns)?, projection).await
    }
}
