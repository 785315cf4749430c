//! The step that computes the semantic-convention columns.
//!
//! Duty: [`Check`], the cloneable handle by which the store runs a step it does not know (semconv.md 5), and [`Checker`], the
//! step as it is at one moment. Guarantee: without a step batches pass unchanged, and their columns are null. Left to
//! others: the step itself (`semconv`), when its columns are made ([`SpanBatch::checked_by`]).

use std::fmt;
use std::sync::Arc;

use arrow::array::ArrayRef;

use super::SpanBatch;

/// Gives a batch its semantic-convention columns; cheap to clone.
#[derive(Clone)]
pub struct Check(Option<Arc<dyn Fn() -> Checker + Send + Sync>>);

impl Check {
    /// Wraps a function that hands out the step that is in force.
    pub fn new(now: impl Fn() -> Checker + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(now)))
    }

    /// Leaves all columns null.
    pub fn none() -> Self {
        Self(None)
    }

    /// `batch` as the step that is in force checks it.
    pub fn apply(&self, batch: SpanBatch) -> SpanBatch {
        match &self.0 {
            Some(now) => batch.checked_by(now()),
            None => batch,
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check")
    }
}

type Columns = dyn Fn(&SpanBatch) -> Option<Vec<ArrayRef>> + Send + Sync;

/// The step of one moment; cheap to clone.
#[derive(Clone)]
pub struct Checker {
    which: usize,
    columns: Arc<Columns>,
}

impl Checker {
    /// Wraps a function that makes the columns of [`super::schema::semconv_fields`] for a batch; `None` leaves them null. It
    /// must not panic. Two of the same number `which` that are there at the same time make the same columns.
    pub fn new(which: usize, columns: impl Fn(&SpanBatch) -> Option<Vec<ArrayRef>> + Send + Sync + 'static) -> Self {
        Self { which, columns: Arc::new(columns) }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.which == other.which
    }

    pub(super) fn columns(&self, batch: &SpanBatch) -> Option<Arc<[ArrayRef]>> {
        (self.columns)(batch).map(Into::into)
    }
}

impl fmt::Debug for Checker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checker")
    }
}
