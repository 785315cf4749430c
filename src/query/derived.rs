//! Relations that are computed from `spans` when they are asked for.
//!
//! Duty: what `traces`, `span_events` and `span_links` share: planning an inner plan, and handing on filters that hold
//! for spans too. Guarantee: a handed-on filter only leaves out rows that the filter above would. Left to others: the
//! inner plans (`traces`, `events`).

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{Column, Result};
use datafusion::datasource::provider_as_source;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::prelude::col;

use super::scan::bounds::Bounds;

/// A plan that reads `spans`.
pub fn spans(table: &Arc<dyn TableProvider>) -> Result<LogicalPlanBuilder> {
    LogicalPlanBuilder::scan("spans", provider_as_source(table.clone()), None)
}

/// The schema of `plan`, for a provider.
pub fn schema_of(plan: &LogicalPlan) -> SchemaRef {
    Arc::new(plan.schema().as_arrow().clone())
}

/// The physical plan of the columns `projection` of `plan`.
pub async fn physical(
    session: &dyn Session,
    plan: LogicalPlanBuilder,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some(projection) = projection else {
        return session.create_physical_plan(&plan.build()?).await;
    };
    let columns = plan.schema().columns();
    // Counting rows needs a column to make the rows with.
    let wanted: &[usize] = if projection.is_empty() { &[0] } else { projection };
    let exprs = wanted.iter().map(|&at| Expr::Column(columns[at].clone()));
    let physical = session.create_physical_plan(&plan.project(exprs)?.build()?).await?;
    if projection.is_empty() {
        return Ok(Arc::new(ProjectionExec::try_new(Vec::<ProjectionExpr>::new(), physical)?));
    }
    Ok(physical)
}

/// The conjuncts of `filters` that name no other columns than `columns`, over unqualified columns.
pub fn handed_on(filters: &[Expr], columns: &[&str]) -> Result<Vec<Expr>> {
    let conjuncts = filters.iter().flat_map(split_conjunction);
    let fits = |conjunct: &&Expr| {
        let named = conjunct.column_refs();
        !named.is_empty()
            && named.iter().all(|column| columns.contains(&column.name.as_str()))
            && !conjunct.is_volatile()
    };
    conjuncts.filter(fits).map(|conjunct| renamed(conjunct, |name| name.to_owned())).collect()
}

/// `expr` over unqualified columns with other names.
pub fn renamed(expr: &Expr, name: impl Fn(&str) -> String) -> Result<Expr> {
    let renamed = expr.clone().transform(|expr| match expr {
        Expr::Column(column) => Ok(Transformed::yes(Expr::Column(Column::new_unqualified(name(&column.name))))),
        other => Ok(Transformed::no(other)),
    })?;
    Ok(renamed.data)
}

/// What `filters` say of the column `column`, as if they said it of the spans' column `of_spans`.
pub fn bounds_as(filters: &[Expr], column: &str, of_spans: &str) -> Result<Bounds> {
    // Other columns must not be taken for the spans' of the same name.
    let name = |name: &str| if name == column { of_spans.to_owned() } else { format!("no_{name}") };
    let renamed = filters.iter().map(|filter| renamed(filter, name)).collect::<Result<Vec<_>>>()?;
    Ok(Bounds::of(&renamed))
}

/// A literal of `ns` since 1970.
pub fn instant(ns: i64) -> Expr {
    use datafusion::common::ScalarValue;
    datafusion::prelude::lit(ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into())))
}

/// `plan` without the spans that lie wholly before `lo_ns` or begin after `hi_ns`.
pub fn within(plan: LogicalPlanBuilder, lo_ns: i64, hi_ns: i64) -> Result<LogicalPlanBuilder> {
    let mut plan = plan;
    if lo_ns != i64::MIN {
        plan = plan.filter(col("end_time").gt_eq(instant(lo_ns)))?;
    }
    if hi_ns != i64::MAX {
        plan = plan.filter(col("start_time").lt_eq(instant(hi_ns)))?;
    }
    Ok(plan)
}

/// `at_ns` moved by `by_ns`; no bound stays none.
pub fn moved(at_ns: i64, by_ns: i64) -> i64 {
    if at_ns == i64::MIN || at_ns == i64::MAX { at_ns } else { at_ns.saturating_add(by_ns) }
}
