//! From a view to a physical plan.
//!
//! Duty: the union of memory and parts for one table scan. Guarantee: each row of the view that may pass the filters is
//! handed out exactly once; what the manifest's time ranges or a part's trace index exclude is not opened, and of memory
//! what times or trace filters exclude is not made into rows. Left to others: the filters themselves (a `FilterExec`
//! above), how a file's columns become the table's (`adapter`).

pub mod adapter;
pub mod below_union;
pub mod bounds;
mod brackets;
pub mod columns;
pub mod compared;
pub mod decoding;
mod lookup;
mod memory;
mod offsets;
mod parts;
mod skip;
mod traces;
mod until;
mod word;

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::Session;
use datafusion::common::Result;
use datafusion::logical_expr::Expr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::union::UnionExec;

use self::bounds::Bounds;
use self::brackets::Brackets;
use self::parts::Wanted;
use self::traces::Pinned;
use crate::span::schema;
use crate::store::{Rows, View};

use self::lookup::TraceLookupExec;
pub use self::memory::MemoryExec;
pub use self::parts::store_url;

/// The columns of `spans`: those of [`schema::stored`] with plain lists for `resource` and `scope`, then the computed
/// ones.
pub fn table_schema() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let plain = |field: &Arc<Field>| match field.data_type() {
            of if *of == schema::interned_attributes() => {
                Arc::new(field.as_ref().clone().with_data_type(schema::attributes()))
            }
            _ => field.clone(),
        };
        let mut fields: Vec<Arc<Field>> = schema::stored().fields().iter().map(plain).collect();
        fields.push(Arc::new(Field::new(columns::END_TIME, schema::timestamp(TimeUnit::Nanosecond), false)));
        fields.push(Arc::new(Field::new(columns::DURATION_MS, DataType::Float64, false)));
        Arc::new(Schema::new(fields))
    });
    &SCHEMA
}

/// The plan that reads the rows of `view` that may pass `filters`.
///
/// `projection` indexes [`table_schema`]; `limit` may cut the rows of each part of the union, so it is given only where
/// no filter stands above.
pub async fn plan(
    view: &View,
    session: &dyn Session,
    projection: Option<&Vec<usize>>,
    filters: &[Expr],
    limit: Option<usize>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let projection = projection.cloned().unwrap_or_else(|| (0..table_schema().fields().len()).collect());
    let mut inputs = match view.until_us {
        None => inputs(view, session, &projection, filters, limit).await?,
        Some(until_us) => {
            let (whole, cut) = until::split(view, until_us);
            let mut of_whole = inputs(&whole, session, &projection, filters, limit).await?;
            let (wider, filters) = (until::with_position(&projection), until::filters(filters, until_us));
            for input in inputs(&cut, session, &wider, &filters, None).await? {
                of_whole.push(until::bounded(input, &projection, until_us)?);
            }
            of_whole
        }
    };
    match inputs.len() {
        0 => Ok(Arc::new(EmptyExec::new(Arc::new(table_schema().project(&projection)?)))),
        1 => Ok(inputs.remove(0)),
        _ => UnionExec::try_new(inputs),
    }
}

/// The leaves over parts and memory, none where nothing may pass.
async fn inputs(
    view: &View,
    session: &dyn Session,
    projection: &[usize],
    filters: &[Expr],
    limit: Option<usize>,
) -> Result<Vec<Arc<dyn ExecutionPlan>>> {
    let bounds = &Bounds::of(filters);
    let partitions = session.config().target_partitions();
    let mut inputs: Vec<Arc<dyn ExecutionPlan>> = Vec::new();
    let lookup = match Pinned::of(filters) {
        Some(pinned) => Some((traces::locate(view, bounds, &pinned).await, pinned)),
        None => None,
    };
    if let Some((located, pinned)) = &lookup {
        inputs.extend(parts::lookup(view, session, projection, bounds, pinned, located)?);
    }
    let (located, pinned) = lookup.unzip();
    let located = located.unwrap_or_default();
    let wanted = Wanted { bounds, brackets: &Brackets::of(filters)? };
    inputs.extend(parts::plan(view, session, projection, wanted, &located, limit).await?);
    let may_hold =
        |rows: &Arc<Rows>| memory_may_hold(rows, bounds) && pinned.as_ref().is_none_or(|pinned| pinned.may_be_in(rows));
    let memory: Vec<_> = view.memory.iter().filter(|rows| may_hold(rows)).cloned().collect();
    if !memory.is_empty() {
        inputs.push(Arc::new(MemoryExec::try_new(&memory, projection.to_vec(), partitions)?));
    }
    Ok(inputs)
}

fn memory_may_hold(rows: &Rows, bounds: &Bounds) -> bool {
    let Some(start) = rows.starts else { return false };
    let ingest_ns = rows.ingest_us.saturating_mul(1_000);
    bounds.start.overlaps(start) && bounds.ingest.min_ns <= ingest_ns && ingest_ns <= bounds.ingest.max_ns
}
