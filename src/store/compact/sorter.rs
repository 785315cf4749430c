//! Sorting the rows of one slice of time within bounded memory.
//!
//! Duty: [`Sorter`]: rows in any order in, sorted rows out. Guarantee: it holds the bytes allowed and one batch more;
//! beyond them sorted runs go to the disk, merged a bounded number at a time. Left to others: which rows.

use std::sync::Arc;

use arrow::array::ArrayRef;

use super::gather::Gather;
use super::pick::Cells;
use super::rows::Block;
use super::spill::{Merged, Run, Spill, Stretch};
use super::vocabulary::Vocabulary;
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

/// Where the rows are.
pub enum Sorted {
    /// In memory, in any order.
    Memory(Vec<Arc<Block>>),
    /// In sorted runs.
    Runs(Spill, Vec<Run>),
}

/// The sorted rows, one stretch after the other.
pub enum Cursor<'a> {
    /// In memory: all in one.
    Memory(Option<&'a [Arc<Block>]>),
    /// In runs.
    Runs(Merged<'a>),
}

impl<'a> Sorter<'a> {
    /// No rows yet.
    pub fn new(room: &'a Room<'a>) -> Self {
        Self { room, blocks: Vec::new(), bytes: 0, runs: Vec::new(), spill: None }
    }

    /// Adds rows, as `vocabulary` carries them.
    pub fn push(&mut self, columns: Vec<ArrayRef>, vocabulary: &mut Vocabulary) -> Result<(), Error> {
        let rows = columns.first().map_or(0, |column| column.len());
        let columns = columns.into_iter().map(Cells::of).collect::<Result<_, _>>().map_err(|e| kernel_error(&e))?;
        let block = Block::new(columns, rows, vocabulary).map_err(|e| kernel_error(&e))?;
        // A row's place in the order takes as much as a few columns.
        self.bytes += block.bytes + rows * 64;
        self.blocks.push(Arc::new(block));
        if self.bytes > self.room.sort_bytes() {
            self.spill_run(vocabulary)?;
        }
        Ok(())
    }

    fn spill_run(&mut self, vocabulary: &mut Vocabulary) -> Result<(), Error> {
        let blocks = std::mem::take(&mut self.blocks);
        self.bytes = 0;
        vocabulary.settle();
        if self.spill.is_none() {
            let name = self.room.clock.ulid().to_string();
            self.spill = Some(Spill::create(self.room.disk, self.room.tmp, &name)?);
        }
        let spill = self.spill.as_mut().expect("made above");
        let mut writing = Writing { spill, run: Run::default(), gather: Gather::default(), vocabulary: &*vocabulary };
        writing.add(&whole(&blocks, vocabulary))?;
        let run = writing.finish()?;
        self.runs.push(run);
        Ok(())
    }

    /// All rows are there.
    pub fn finish(mut self, vocabulary: &mut Vocabulary) -> Result<Sorted, Error> {
        if self.runs.is_empty() {
            vocabulary.settle();
            return Ok(Sorted::Memory(self.blocks));
        }
        if !self.blocks.is_empty() {
            self.spill_run(vocabulary)?;
        }
        let mut spill = self.spill.take().expect("runs lie in a file");
        // What was sorted lies on the disk now: all its memory is there for a block of each run.
        let most = (self.room.sort_bytes() / RUN_BLOCK_BYTES).max(2);
        let mut runs = self.runs;
        while runs.len() > most {
            let rest = runs.split_off(most);
            let run = merge(&mut spill, &runs, vocabulary)?;
            runs = rest;
            runs.push(run);
            self.room.go_on()?;
        }
        Ok(Sorted::Runs(spill, runs))
    }
}

fn whole(blocks: &[Arc<Block>], vocabulary: &Vocabulary) -> Stretch {
    Stretch::of(blocks.iter().map(|block| (block.clone(), 0..block.rows())).collect(), false, vocabulary)
}

/// A run under way.
struct Writing<'a> {
    spill: &'a mut Spill,
    run: Run,
    gather: Gather,
    vocabulary: &'a Vocabulary,
}

impl Writing<'_> {
    fn add(&mut self, stretch: &Stretch) -> Result<(), Error> {
        self.gather.enter(stretch.blocks.len());
        for row in 0..stretch.rows.len() {
            self.gather.push(&stretch.blocks, stretch.rows.at(row));
            if self.gather.bytes() >= RUN_BLOCK_BYTES {
                self.write()?;
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), Error> {
        match self.gather.take(self.vocabulary).map_err(|e| kernel_error(&e))? {
            Some(rows) => self.spill.append(&mut self.run, &rows, self.vocabulary),
            None => Ok(()),
        }
    }

    fn finish(mut self) -> Result<Run, Error> {
        self.write()?;
        Ok(self.run)
    }
}

/// Several runs as one.
fn merge(spill: &mut Spill, runs: &[Run], vocabulary: &Vocabulary) -> Result<Run, Error> {
    let mut merged = Merged::open(spill.reader(), runs, vocabulary)?;
    let mut writing = Writing { spill, run: Run::default(), gather: Gather::default(), vocabulary };
    while let Some(stretch) = merged.next(vocabulary)? {
        writing.add(&stretch)?;
    }
    writing.finish()
}

impl Sorted {
    /// From the first row.
    pub fn cursor(&self, vocabulary: &Vocabulary) -> Result<Cursor<'_>, Error> {
        Ok(match self {
            Self::Memory(blocks) => Cursor::Memory(Some(blocks.as_slice())),
            Self::Runs(spill, runs) => Cursor::Runs(Merged::open(spill.reader(), runs, vocabulary)?),
        })
    }
}

impl Cursor<'_> {
    /// The next rows; `None` after the last.
    pub fn next(&mut self, vocabulary: &Vocabulary) -> Result<Option<Stretch>, Error> {
        match self {
            Self::Memory(blocks) => Ok(blocks.take().map(|blocks| whole(blocks, vocabulary))),
            Self::Runs(merged) => merged.next(vocabulary),
        }
    }
}
