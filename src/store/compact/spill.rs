//! Sorted runs on the local disk, for a bucket that is larger than the memory allowed.
//!
//! Duty: [`Spill`], a scratch file of blocks, and [`Merged`], the rows of several runs in one order. Guarantee: of
//! every run one block is in memory; the file goes when the spill is dropped. Left to others: the bytes of a block
//! (`pack`), sorting a run (`rows`), what is left behind by a crash (`tmp/` is emptied at start).

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pack::{pack, unpack};
use super::pick::Cells;
use super::rows::{Block, Order, order};
use super::vocabulary::Vocabulary;
use super::work::{kernel_error, scratch_error};
use crate::disk::{Disk, File};
use crate::store::Error;

/// A scratch file.
#[derive(Debug)]
pub struct Spill {
    disk: Disk,
    path: PathBuf,
    file: File,
    end: u64,
}

/// Where the blocks of one sorted run lie.
#[derive(Debug, Default)]
pub struct Run {
    blocks: Vec<Range<u64>>,
}

impl Spill {
    /// A new file below `dir`.
    pub fn create(disk: &Disk, dir: &Path, name: &str) -> Result<Self, Error> {
        let path = dir.join(format!("compact-{name}.runs"));
        let file = disk.create_new(&path).map_err(|e| scratch_error("create", &path, &e))?;
        Ok(Self { disk: disk.clone(), path, file, end: 0 })
    }

    /// Adds the next rows of a run, so many.
    pub fn append(
        &mut self,
        run: &mut Run,
        (columns, rows): &(Vec<Cells>, usize),
        vocabulary: &Vocabulary,
    ) -> Result<(), Error> {
        let bytes = pack(columns, *rows, vocabulary).map_err(|e| kernel_error(&e))?;
        self.file.write_all_at(&bytes, self.end).map_err(|e| scratch_error("write", &self.path, &e))?;
        let end = self.end + bytes.len() as u64;
        run.blocks.push(self.end..end);
        self.end = end;
        Ok(())
    }

    /// A second handle, to read runs while others are written.
    pub fn reader(&self) -> Reader {
        Reader { file: self.file.clone(), path: self.path.clone() }
    }
}

/// Reads the blocks of a [`Spill`].
#[derive(Debug)]
pub struct Reader {
    file: File,
    path: PathBuf,
}

impl Reader {
    fn read(&self, place: &Range<u64>, vocabulary: &Vocabulary) -> Result<Block, Error> {
        let mut bytes = vec![0; usize::try_from(place.end - place.start).expect("a block fits in memory")];
        self.file.read_exact_at(&mut bytes, place.start).map_err(|e| Error::io("read", &self.path, &e))?;
        let damaged = |what| Error::io("read", &self.path, &std::io::Error::other(format!("a sorted run: {what}")));
        let (columns, rows) = unpack(&bytes, vocabulary).map_err(damaged)?;
        Block::new(columns, rows, vocabulary).map_err(|e| kernel_error(&e))
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a scratch file of compaction stays until the next start");
        }
    }
}

/// One run being read.
#[derive(Debug)]
struct Tail<'a> {
    run: &'a Run,
    next_block: usize,
    block: Arc<Block>,
    row: usize,
}

/// The rows of several runs, sorted.
#[derive(Debug)]
pub struct Merged<'a> {
    spill: Reader,
    /// Those with rows left.
    tails: Vec<Tail<'a>>,
}

/// Rows in order, all of those that lie between the rows before and after.
#[derive(Debug)]
pub struct Stretch {
    /// Where they are.
    pub blocks: Vec<Arc<Block>>,
    /// The rows.
    pub rows: Order,
}

impl Stretch {
    /// The rows of `blocks`, of each those in the range beside it; `are_sorted`: they come in order.
    pub fn of(blocks: Vec<(Arc<Block>, Range<usize>)>, are_sorted: bool, vocabulary: &Vocabulary) -> Self {
        let rows = order(&blocks, are_sorted, vocabulary);
        Self { blocks: blocks.into_iter().map(|(block, _)| block).collect(), rows }
    }
}

impl<'a> Merged<'a> {
    /// Opens the runs.
    pub fn open(spill: Reader, runs: &'a [Run], vocabulary: &Vocabulary) -> Result<Self, Error> {
        let mut merged = Self { spill, tails: Vec::with_capacity(runs.len()) };
        for run in runs.iter().filter(|run| !run.blocks.is_empty()) {
            let block = Arc::new(merged.spill.read(&run.blocks[0], vocabulary)?);
            merged.tails.push(Tail { run, next_block: 1, block, row: 0 });
        }
        Ok(merged)
    }

    /// The next rows; `None` after the last.
    ///
    /// All rows up to the smallest of the last rows of the blocks in memory: what is still on the disk comes behind it.
    pub fn next(&mut self, vocabulary: &Vocabulary) -> Result<Option<Stretch>, Error> {
        let last = |tail: &Tail<'_>| tail.block.rows() - 1;
        let Some(bound) = self.tails.iter().map(|tail| tail.block.key(last(tail), vocabulary)).min() else {
            return Ok(None);
        };
        let end = |tail: &Tail<'_>| {
            let (mut from, mut to) = (tail.row, tail.block.rows());
            while from < to {
                let middle = usize::midpoint(from, to);
                match tail.block.key(middle, vocabulary) <= bound {
                    true => from = middle + 1,
                    false => to = middle,
                }
            }
            from
        };
        let ends: Vec<usize> = self.tails.iter().map(end).collect();
        let tails = self.tails.iter().zip(&ends).filter(|(tail, end)| tail.row < **end);
        let blocks = tails.map(|(tail, end)| (tail.block.clone(), tail.row..*end)).collect();
        let stretch = Stretch::of(blocks, true, vocabulary);
        let mut left = Vec::with_capacity(self.tails.len());
        for (mut tail, end) in std::mem::take(&mut self.tails).into_iter().zip(ends) {
            tail.row = end;
            if end == tail.block.rows() {
                let Some(place) = tail.run.blocks.get(tail.next_block) else { continue };
                tail.block = Arc::new(self.spill.read(place, vocabulary)?);
                (tail.next_block, tail.row) = (tail.next_block + 1, 0);
            }
            left.push(tail);
        }
        self.tails = left;
        Ok(Some(stretch))
    }
}

#[cfg(test)]
mod tests;
