//! Rows picked from blocks, one after another.
//!
//! Duty: [`Gather`]. Guarantee: the rows come in the order they were picked; a block is held only while a picked row of
//! it waits. Left to others: the order.

use std::sync::Arc;

use arrow::error::ArrowError;

use super::pick::{At, Cells};
use super::rows::{Block, picked};
use super::vocabulary::Vocabulary;

/// Picked rows that are not columns yet.
#[derive(Debug, Default)]
pub struct Gather {
    blocks: Vec<Arc<Block>>,
    /// By number in the stretch that rows come from: places in `blocks`.
    places: Vec<Option<u32>>,
    rows: Vec<At>,
    bytes: usize,
}

impl Gather {
    /// The next rows come from other blocks, so many.
    pub fn enter(&mut self, blocks: usize) {
        self.places.clear();
        self.places.resize(blocks, None);
    }

    /// Adds row `at` of `blocks`, those of [`Gather::enter`].
    pub fn push(&mut self, blocks: &[Arc<Block>], at: At) {
        let (block, row) = at;
        let place = *self.places[block as usize].get_or_insert_with(|| {
            self.blocks.push(blocks[block as usize].clone());
            u32::try_from(self.blocks.len() - 1).expect("few blocks fit in memory")
        });
        self.rows.push((place, row));
        self.bytes += blocks[block as usize].row_bytes;
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// About the memory that the rows will take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Copies the waiting rows, so that no block is held for their sake.
    pub fn settle(&mut self, vocabulary: &Vocabulary) -> Result<(), ArrowError> {
        if let Some((columns, rows)) = self.take(vocabulary)? {
            let block = [Arc::new(Block::new(columns, rows, vocabulary)?)];
            self.enter(1);
            (0..).take(rows).for_each(|row| self.push(&block, (0, row)));
        }
        Ok(())
    }

    /// The rows, and how many they are; none are left.
    pub fn take(&mut self, vocabulary: &Vocabulary) -> Result<Option<(Vec<Cells>, usize)>, ArrowError> {
        let (blocks, rows) = (std::mem::take(&mut self.blocks), std::mem::take(&mut self.rows));
        self.places.fill(None);
        self.bytes = 0;
        match rows.is_empty() {
            true => Ok(None),
            false => Ok(Some((picked(&blocks, &rows, vocabulary)?, rows.len()))),
        }
    }
}
