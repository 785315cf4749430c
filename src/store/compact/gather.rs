//! Rows picked from blocks, one after another, as one batch.
//!
//! Duty: [`Gather`]. Guarantee: the batch has the rows in the order they were picked; a block is held only while a
//! picked row of it waits. Left to others: the order.

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use hashbrown::HashMap;

use super::rows::Block;
use crate::store::part::picked;

/// Picked rows that are not a batch yet.
#[derive(Debug, Default)]
pub struct Gather {
    blocks: Vec<Arc<Block>>,
    /// By address: places in `blocks`, which keep the addresses taken.
    places: HashMap<usize, usize>,
    rows: Vec<(usize, usize)>,
    bytes: usize,
}

impl Gather {
    /// Adds a row.
    pub fn push(&mut self, block: &Arc<Block>, row: usize) {
        let at = *self.places.entry(Arc::as_ptr(block).addr()).or_insert_with(|| {
            self.blocks.push(block.clone());
            self.blocks.len() - 1
        });
        self.rows.push((at, row));
        self.bytes += block.row_bytes();
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// About the memory that the batch will hold.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the waiting rows, so that no block is held for their sake.
    pub fn settle(&mut self) -> Result<(), ArrowError> {
        if let Some(batch) = self.take()? {
            let block = Arc::new(Block::new(batch));
            (0..block.rows()).for_each(|row| self.push(&block, row));
        }
        Ok(())
    }

    /// The rows; none are left.
    pub fn take(&mut self) -> Result<Option<RecordBatch>, ArrowError> {
        let (blocks, rows) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.rows));
        self.places.clear();
        self.bytes = 0;
        if rows.is_empty() {
            return Ok(None);
        }
        let batches: Vec<&RecordBatch> = blocks.iter().map(|block| &block.batch).collect();
        picked(&batches, &rows)
    }
}
