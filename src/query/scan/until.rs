//! A view that ends within a part (storage.md 5.4).
//!
//! Duty: scan the parts that lie on both sides of the view's position by themselves, and leave out their rows above it.
//! Guarantee: exactly the rows at or below the position, also where a plan counts or limits rows; the other parts and
//! memory are read as ever, with exact counts. Left to others: which parts lie above the position altogether
//! ([`View::until`]).

use std::sync::Arc;

use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{Expr, Operator, lit};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use datafusion::prelude::col;

use super::table_schema;
use crate::span::schema::INGEST_TIME_INDEX;
use crate::store::{PartSet, View};

const POSITION: &str = "ingest_time";

/// The view without the parts that have rows above `until_us`, and one of only these.
pub(super) fn split(view: &View, until_us: i64) -> (View, View) {
    let (whole, cut) = view.parts.parts.iter().cloned().partition(|part| part.entry.ingest[1] <= until_us);
    let of = |parts| Arc::new(PartSet { parts });
    let whole = View { parts: of(whole), until_us: None, ..view.clone() };
    let cut = View { parts: of(cut), memory: Vec::new(), until_us: None, ..view.clone() };
    (whole, cut)
}

/// `projection` with the position behind it, if it has it not.
pub(super) fn with_position(projection: &[usize]) -> Vec<usize> {
    let missing = (!projection.contains(&INGEST_TIME_INDEX)).then_some(INGEST_TIME_INDEX);
    projection.iter().copied().chain(missing).collect()
}

/// `filters` and that of the position, by which the scan leaves out what cannot match.
pub(super) fn filters(filters: &[Expr], until_us: i64) -> Vec<Expr> {
    let mut all = filters.to_vec();
    all.push(col(POSITION).lt_eq(lit(instant(until_us))));
    all
}

/// `input`, which has the columns of [`with_position`], as far as `until_us`, with those of `projection`.
pub(super) fn bounded(
    input: Arc<dyn ExecutionPlan>,
    projection: &[usize],
    until_us: i64,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = input.schema();
    let position: Arc<dyn PhysicalExpr> = Arc::new(Column::new(POSITION, schema.index_of(POSITION)?));
    let until = Arc::new(Literal::new(instant(until_us)));
    let filter = FilterExec::try_new(Arc::new(BinaryExpr::new(position, Operator::LtEq, until)), input)?;
    if schema.fields().len() == projection.len() {
        return Ok(Arc::new(filter));
    }
    let columns = projection.iter().enumerate().map(|(at, column)| {
        let name = table_schema().field(*column).name();
        ProjectionExpr { expr: Arc::new(Column::new(name, at)), alias: name.clone() }
    });
    Ok(Arc::new(ProjectionExec::try_new(columns.collect::<Vec<_>>(), Arc::new(filter))?))
}

fn instant(us: i64) -> ScalarValue {
    ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()))
}
