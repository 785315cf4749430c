//! Sorting the rows of one slice of time within bounded memory.
//!
//! Duty: [`Sorter`]: rows in any order in, sorted rows out. Guarantee: it holds the bytes allowed and one batch more;
//! beyond them sorted runs go to the disk, merged a bounded number at a time. Left to others: which rows.

use std::sync::Arc;

use arrow::array::RecordBatch;

use super::gather::Gather;
use super::rows::{Block, order};
use super::spill::{Merged, Run, Spill};
use super::work::{Room, kernel_error};
use crate::store::Error;

/// Bytes of a block of a run.
const RUN_BLOCK_BYTES: usize = 512 << 10;

/// Rows being collected.
pub struct Sorter<'a> {
    room: &'a Room<'a>,
    blocks: Vec<Arc<Block>>,
    bytes: usize,
    runs: Vec<Run>,
    spill: Option<Spill>,
}

/// Where the sorted rows are.
pub enum Sorted {
    /// In memory, with their order.
    Memory(Vec<Arc<Block>>, Vec<(u32, u32)>),
    /// In runs.
    Runs(Spill, Vec<Run>),
}

/// The sorted rows, one by one.
pub enum Cursor<'a> {
    /// In memory.
    Memory(&'a [Arc<Block>], std::slice::Iter<'a, (u32, u32)>),
    /// In runs.
    Runs(Merged<'a>),
}

impl<'a> Sorter<'a> {
    /// No rows yet.
    pub fn new(room: &'a Room<'a>) -> Self {
        Self { room, blocks: Vec::new(), bytes: 0, runs: Vec::new(), spill: None }
    }

    /// Adds rows.
    pub fn push(&mut self, batch: RecordBatch) -> Result<(), Error> {
        let block = Block::new(batch);
        // A row's place in the order takes as much as a few columns.
        self.bytes += block.bytes + block.rows() * 64;
        self.blocks.push(Arc::new(block));
        if self.bytes > self.room.sort_bytes() {
            self.spill_run()?;
        }
        Ok(())
    }

    fn spill_run(&mut self) -> Result<(), Error> {
        let blocks = std::mem::take(&mut self.blocks);
        self.bytes = 0;
        let rows = order(&blocks);
        let mut cursor = Cursor::Memory(&blocks, rows.iter());
        if self.spill.is_none() {
            let name = self.room.clock.ulid().to_string();
            self.spill = Some(Spill::create(self.room.disk, self.room.tmp, &name)?);
        }
        let spill = self.spill.as_mut().expect("made above");
        let mut run = Run::default();
        let mut gather = Gather::default();
        while let Some((block, row)) = cursor.next()? {
            gather.push(&block, row);
            if gather.bytes() >= RUN_BLOCK_BYTES {
                write(spill, &mut run, &mut gather)?;
            }
        }
        write(spill, &mut run, &mut gather)?;
        self.runs.push(run);
        Ok(())
    }

    /// All rows are there.
    pub fn finish(mut self) -> Result<Sorted, Error> {
        if self.runs.is_empty() {
            let rows = order(&self.blocks);
            return Ok(Sorted::Memory(self.blocks, rows));
        }
        if !self.blocks.is_empty() {
            self.spill_run()?;
        }
        let mut spill = self.spill.take().expect("runs lie in a file");
        // What was sorted lies on the disk now: all its memory is there for a block of each run.
        let most = (self.room.sort_bytes() / RUN_BLOCK_BYTES).max(2);
        let mut runs = self.runs;
        while runs.len() > most {
            let rest = runs.split_off(most);
            let run = merge(&mut spill, &runs)?;
            runs = rest;
            runs.push(run);
            self.room.go_on()?;
        }
        Ok(Sorted::Runs(spill, runs))
    }
}

fn write(spill: &mut Spill, run: &mut Run, gather: &mut Gather) -> Result<(), Error> {
    match gather.take().map_err(|e| kernel_error(&e))? {
        Some(batch) => spill.append(run, &batch),
        None => Ok(()),
    }
}

/// Several runs as one.
fn merge(spill: &mut Spill, runs: &[Run]) -> Result<Run, Error> {
    let mut merged = Run::default();
    let mut gather = Gather::default();
    let from = spill.reader();
    let mut rows = Merged::open(from, runs)?;
    while let Some((block, row)) = rows.next()? {
        gather.push(&block, row);
        if gather.bytes() >= RUN_BLOCK_BYTES {
            write(spill, &mut merged, &mut gather)?;
        }
    }
    write(spill, &mut merged, &mut gather)?;
    Ok(merged)
}

impl Sorted {
    /// From the first row.
    pub fn cursor(&self) -> Result<Cursor<'_>, Error> {
        Ok(match self {
            Self::Memory(blocks, rows) => Cursor::Memory(blocks, rows.iter()),
            Self::Runs(spill, runs) => Cursor::Runs(Merged::open(spill.reader(), runs)?),
        })
    }
}

impl Cursor<'_> {
    /// The next row; `None` after the last.
    pub fn next(&mut self) -> Result<Option<(Arc<Block>, usize)>, Error> {
        match self {
            Self::Memory(blocks, rows) => {
                Ok(rows.next().map(|(block, row)| (blocks[*block as usize].clone(), *row as usize)))
            }
            Self::Runs(merged) => merged.next(),
        }
    }
}
