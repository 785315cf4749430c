//! `trace_tree`, `descendants`, `ancestors`: the spans of a trace in the order of its trees.
//!
//! Duty: columns and rows. Guarantee: a trace that is not there, and a span that is not in it, give no rows. Left to
//! others: who stands where (`forest`).

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{ArrayRef, BooleanArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;

use super::arguments::Call;
use super::columns::{self, Rows, number, span_id, time, word};
use super::computed::Computed;
use super::gather::{Batches, Step};
use crate::query::forest::critical;
use crate::query::forest::{Forest, Place};
use crate::span::SpanId;

fn schema() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let flag = |name: &str| Field::new(name, DataType::Boolean, true);
        Arc::new(Schema::new(vec![
            number("depth"),
            number("sibling_no"),
            number("nested_left"),
            number("nested_right"),
            span_id("span_id"),
            span_id("parent_span_id"),
            word("service_name"),
            word("name"),
            word("kind"),
            word("status_code"),
            time("start_time"),
            number("offset_ns"),
            number("duration_ns"),
            number("self_time_ns"),
            flag("is_orphan"),
            flag("is_duplicate"),
            flag("on_critical_path"),
        ]))
    });
    &SCHEMA
}

/// Which spans of the trees.
#[derive(Clone, Copy, Debug)]
enum Which {
    All,
    /// Below a span, at most so many levels.
    Below(SpanId, usize),
    Above(SpanId),
}

/// `trace_tree(trace)`.
pub fn trace_tree(call: &Call<'_>, _: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(1..=1, "a trace")?;
    table(call, Which::All)
}

/// `descendants(trace, span [, max_depth])`.
pub fn descendants(call: &Call<'_>, _: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(2..=3, "a trace, a span and perhaps how many levels")?;
    let levels = match call.value(2)? {
        None => usize::MAX,
        Some(_) => usize::try_from(call.number(2, "how many levels", 1..=i64::MAX)?).unwrap_or(usize::MAX),
    };
    table(call, Which::Below(call.span(1)?, levels))
}

/// `ancestors(trace, span)`.
pub fn ancestors(call: &Call<'_>, _: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(2..=2, "a trace and a span")?;
    table(call, Which::Above(call.span(1)?))
}

fn table(call: &Call<'_>, which: Which) -> Result<Arc<dyn TableProvider>> {
    let sql = columns::of_trace(call.trace(0)?);
    let step = Step(Arc::new(move |batch| rows(&Rows::try_new(batch)?, which)));
    Ok(Computed::gathered(call.name, schema().clone(), sql, Vec::new(), step))
}

fn rows(rows: &Rows, which: Which) -> Result<Batches> {
    let forest = Forest::new(rows.spans());
    let mut on_path = vec![false; rows.len()];
    if let Some(root) = forest.root() {
        critical::path(&forest, root).iter().for_each(|section| on_path[section.span] = true);
    }
    let picked = picked(&forest, which);
    let first_ns = forest.spans().iter().map(|span| span.start_ns).min().unwrap_or(0);
    let rows = rows.clone();
    Ok(columns::batches(picked.len(), move |range| {
        let picked = &picked[range];
        let number = |of: &dyn Fn(usize) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(picked.iter().map(|at| of(*at))))
        };
        let count = |of: fn(&Place) -> usize| number(&|at| signed(of(forest.place(at))));
        let flag = |of: &dyn Fn(usize) -> bool| -> ArrayRef {
            Arc::new(BooleanArray::from_iter(picked.iter().map(|at| Some(of(*at)))))
        };
        let mut columns = vec![
            count(|place| place.depth),
            count(|place| place.sibling_no),
            count(|place| place.left),
            count(|place| place.right),
        ];
        columns.extend(rows.take(picked, &[1, 2, 3, 4, 5, 6, 7])?);
        columns.extend([
            number(&|at| forest.spans()[at].start_ns.saturating_sub(first_ns)),
            number(&|at| forest.spans()[at].duration_ns),
            number(&|at| forest.place(at).self_ns),
            flag(&|at| forest.place(at).is_orphan),
            flag(&|at| forest.place(at).is_duplicate),
            flag(&|at| on_path[at]),
        ]);
        Ok(RecordBatch::try_new(schema().clone(), columns)?)
    }))
}

/// Indexes of the spans that are given, in tree order.
fn picked(forest: &Forest, which: Which) -> Vec<usize> {
    let of = match which {
        Which::All => return forest.order().to_vec(),
        Which::Below(span, _) | Which::Above(span) => span,
    };
    let Some(of) = forest.find(of.0).map(|at| *forest.place(at)) else { return Vec::new() };
    let fits = |place: &Place| match which {
        Which::All => true,
        Which::Below(_, levels) => place.left > of.left && place.right < of.right && place.depth - of.depth <= levels,
        Which::Above(_) => place.left < of.left && place.right > of.right,
    };
    forest.order().iter().copied().filter(|at| fits(forest.place(*at))).collect()
}

fn signed(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
