//! Rows of several batches in one set of arrays, which are made when they are first looked at.
//!
//! Duty: [`Block`], and [`Shared`], the rows of it that are one batch. Guarantee: a batch shows its own rows and no other,
//! whatever was added to the block before and after them; arrays are made once, by whoever looks first. Left to others:
//! gathering rows ([`Gather`]: `otlp`), which batches may be looked at ([`super::SpanBatch`]'s holders).

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow::array::{Array as _, ArrayRef, RecordBatch};

use super::check::Checker;
use super::{SpanBatch, TimeRange};

/// Whoever gathers the rows of blocks, one block after the other.
pub trait Gather: Send + Sync {
    /// Ends `block`, if it is the one at hand: [`Block::make`] has been called when this returns.
    fn end(&self, block: &Block);
}

/// Columns of all rows, if the step makes any.
type Checked = Option<Arc<[ArrayRef]>>;

/// Rows that are gathered one request after the other, and their arrays once somebody looks.
pub struct Block {
    made: OnceLock<RecordBatch>,
    /// What the steps that were asked for say of all rows: one, or more where the step changed within the block.
    checked: Mutex<Vec<(Checker, Checked)>>,
    /// Until it is made.
    by: Mutex<Option<Arc<dyn Gather>>>,
}

impl Block {
    /// A block whose rows `by` is about to gather.
    pub fn new(by: Arc<dyn Gather>) -> Self {
        Self { made: OnceLock::new(), checked: Mutex::default(), by: Mutex::new(Some(by)) }
    }

    /// These are its rows, with the columns of [`super::schema::incoming`]; the first call counts.
    pub fn make(&self, rows: RecordBatch) {
        let _ = self.made.set(rows);
        drop(self.by().take());
    }

    fn rows(&self) -> &RecordBatch {
        if self.made.get().is_none() {
            // Not under the lock: whoever gathers takes it at the end.
            let by = self.by().clone();
            if let Some(by) = by {
                by.end(self);
            }
        }
        self.made.get().expect("who gathers a block makes it before it lets go of it")
    }

    /// The columns that `checker` makes of all rows, once.
    fn checked(&self, checker: &Checker) -> Checked {
        let rows = self.rows();
        // Who else asks waits for the columns. A panic of a step leaves no half of them.
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, columns)) = checked.iter().find(|(by, _)| by.is(checker)) {
            return columns.clone();
        }
        let columns = SpanBatch::try_new(rows.clone()).ok().and_then(|rows| checker.columns(&rows));
        checked.push((checker.clone(), columns.clone()));
        columns
    }

    fn by(&self) -> std::sync::MutexGuard<'_, Option<Arc<dyn Gather>>> {
        // A place that is full or empty: no panic leaves it half changed.
        self.by.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.made.get().map(RecordBatch::num_rows);
        f.debug_struct("Block").field("rows", &rows).finish_non_exhaustive()
    }
}

/// The rows `at` of a block.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    block: Arc<Block>,
    at: Range<usize>,
    pub(super) starts: TimeRange,
    /// Memory that they hold, about.
    pub(super) bytes: u64,
    rows: OnceLock<RecordBatch>,
}

impl Shared {
    pub(super) fn new(block: Arc<Block>, at: Range<usize>, starts: TimeRange, bytes: u64) -> Self {
        Self { block, at, starts, bytes, rows: OnceLock::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.at.len()
    }

    pub(super) fn rows(&self) -> &RecordBatch {
        self.rows.get_or_init(|| self.block.rows().slice(self.at.start, self.at.len()))
    }

    /// One column, without the others: what asks many batches for it keeps nothing of them.
    pub(super) fn column(&self, at: usize) -> ArrayRef {
        self.block.rows().column(at).slice(self.at.start, self.at.len())
    }

    /// The columns that `checker` makes of them.
    pub(super) fn checked(&self, checker: &Checker) -> Option<Arc<[ArrayRef]>> {
        let all = self.block.checked(checker)?;
        Some(all.iter().map(|column| column.slice(self.at.start, self.at.len())).collect())
    }

    /// These rows and those of `next`, if they follow them in the same block.
    pub(super) fn joined(&self, next: &Self) -> Option<Self> {
        if !Arc::ptr_eq(&self.block, &next.block) || self.at.end != next.at.start {
            return None;
        }
        let starts = TimeRange {
            min_ns: self.starts.min_ns.min(next.starts.min_ns),
            max_ns: self.starts.max_ns.max(next.starts.max_ns),
        };
        Some(Self::new(self.block.clone(), self.at.start..next.at.end, starts, self.bytes + next.bytes))
    }
}
