//! Functions of our own (sql.md 5). ★ add one here and to [`scalars`], [`aggregates`] or [`windows`].
//!
//! Duty: ids, time, sampling, quantiles, histograms and the trees of traces. Guarantee: a wrong argument is an [`ArgumentError`] that shows
//! the right form. Left to others: the engine's functions (`session` lists those that may be named).

pub mod aggregates;
pub mod capped;
pub mod earliest;
pub mod exemplar;
pub mod exphist;
pub mod exphist_value;
pub mod finding;
pub mod ids;
pub mod newest;
pub mod numeric;
pub mod sample;
pub mod tally;
pub mod time;
pub mod tree;

use std::sync::Arc;

use datafusion::common::DataFusionError;
use datafusion::logical_expr::{AggregateUDF, ScalarUDF, WindowUDF};

use crate::error::Class;

/// A function of ours got an argument that it cannot work with (code `sql.argument`).
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ArgumentError {
    /// What is wrong and what is expected.
    pub message: String,
}

impl ArgumentError {
    /// The caller's text is wrong.
    pub fn class(&self) -> Class {
        Class::Invalid
    }
}

/// An [`ArgumentError`] on its way through the engine; `DataFusionError::find_root` finds it.
pub fn argument(message: impl Into<String>) -> DataFusionError {
    DataFusionError::External(Box::new(ArgumentError { message: message.into() }))
}

/// All scalar functions of ours, for a statement that began at `now_ns`.
pub fn scalars(now_ns: i64) -> Vec<Arc<ScalarUDF>> {
    let mut all = ids::all();
    all.extend(time::all(now_ns));
    all.push(sample::InSample::default().into());
    all.push(finding::HasFinding::default().into());
    all.extend(exphist_value::all());
    all.extend(super::attributes::containers::all());
    all.push(super::attributes::pairs::AttrPairs::default().into());
    all.into_iter().map(Arc::new).collect()
}

/// All aggregate functions of ours.
pub fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let mut all = aggregates::all();
    all.extend([newest::NewestTraces::default().into(), tally::Tally::default().into()]);
    all.push(exemplar::Exemplar::default().into());
    all.into_iter().map(Arc::new).collect()
}

/// All window functions of ours. They are made for what trace assertions become (gates.md 13), and are not described.
pub fn windows() -> Vec<Arc<WindowUDF>> {
    tree::all()
}
