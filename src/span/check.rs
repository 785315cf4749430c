//! The step that computes the semantic-convention columns.
//!
//! Duty: [`Check`], the cloneable handle by which the store runs a step it does not know (semconv.md 5). Guarantee: without
//! a step batches pass unchanged, and their columns are null. Left to others: the step itself (`semconv`).

use std::fmt;
use std::sync::Arc;

use super::SpanBatch;

/// Gives a batch its semantic-convention columns; cheap to clone.
#[derive(Clone)]
pub struct Check(Option<Arc<dyn Fn(SpanBatch) -> SpanBatch + Send + Sync>>);

impl Check {
    /// Wraps a function that keeps the spans and adds the columns ([`SpanBatch::with_semconv`]). It must not panic.
    pub fn new(check: impl Fn(SpanBatch) -> SpanBatch + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(check)))
    }

    /// Leaves all columns null.
    pub fn none() -> Self {
        Self(None)
    }

    /// Runs the step.
    pub fn apply(&self, batch: SpanBatch) -> SpanBatch {
        match &self.0 {
            Some(check) => check(batch),
            None => batch,
        }
    }
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Check")
    }
}
