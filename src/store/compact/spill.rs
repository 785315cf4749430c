//! Sorted runs on the local disk, for a bucket that is larger than the memory allowed.
//!
//! Duty: [`Spill`], a scratch file of Arrow blocks, and [`Merged`], the rows of several runs in one order. Guarantee:
//! of every run one block is in memory; the file goes when the spill is dropped. Left to others: sorting a run
//! (`rows`), what is left behind by a crash (`tmp/` is emptied at start).

use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::DataType;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::{IpcWriteOptions, StreamWriter};
use arrow::ipc::{CompressionType, MetadataVersion};

use super::rows::Block;
use crate::disk::{Disk, File};
use crate::store::Error;
use crate::store::wal::payload::compact;

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
        let file = disk.create_new(&path).map_err(|e| Error::io("create", &path, &e))?;
        Ok(Self { disk: disk.clone(), path, file, end: 0 })
    }

    /// Adds the next rows of a run.
    pub fn append(&mut self, run: &mut Run, batch: &RecordBatch) -> Result<(), Error> {
        let bytes = packed(batch).map_err(|e| Error::Internal { detail: format!("packing a sorted run: {e}") })?;
        self.file.write_all_at(&bytes, self.end).map_err(|e| Error::io("write", &self.path, &e))?;
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
    fn read(&self, place: &Range<u64>) -> Result<Block, Error> {
        let mut bytes = vec![0; usize::try_from(place.end - place.start).expect("a block fits in memory")];
        self.file.read_exact_at(&mut bytes, place.start).map_err(|e| Error::io("read", &self.path, &e))?;
        let damaged = |e: &dyn std::fmt::Display| Error::io("read", &self.path, &std::io::Error::other(e.to_string()));
        let mut reader = StreamReader::try_new(Cursor::new(bytes), None).map_err(|e| damaged(&e))?;
        let batch = reader.next().ok_or_else(|| damaged(&"an empty block"))?.map_err(|e| damaged(&e))?;
        Ok(Block::new(batch))
    }
}

impl Drop for Spill {
    fn drop(&mut self) {
        if let Err(error) = self.disk.remove(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "a scratch file of compaction stays until the next start");
        }
    }
}

fn packed(batch: &RecordBatch) -> Result<Vec<u8>, arrow::error::ArrowError> {
    let options = IpcWriteOptions::try_new(64, false, MetadataVersion::V5)?
        .try_with_compression(Some(CompressionType::LZ4_FRAME))?;
    // Dictionaries were made for these rows when they were picked.
    let packed = |column: &ArrayRef| match column.data_type() {
        DataType::Dictionary(_, _) => Ok(column.clone()),
        _ => compact(column),
    };
    let columns = batch.columns().iter().map(packed).collect::<Result<_, _>>()?;
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), batch.schema_ref(), options)?;
    writer.write(&RecordBatch::try_new(batch.schema(), columns)?)?;
    writer.finish()?;
    writer.into_inner()
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
    /// Those with rows left, the one with the smallest row last.
    cursors: Vec<Tail<'a>>,
}

impl<'a> Merged<'a> {
    /// Opens the runs.
    pub fn open(spill: Reader, runs: &'a [Run]) -> Result<Self, Error> {
        let mut merged = Self { spill, cursors: Vec::with_capacity(runs.len()) };
        for run in runs.iter().filter(|run| !run.blocks.is_empty()) {
            let block = Arc::new(merged.spill.read(&run.blocks[0])?);
            merged.enter(Tail { run, next_block: 1, block, row: 0 });
        }
        Ok(merged)
    }

    fn enter(&mut self, cursor: Tail<'a>) {
        let key = cursor.block.key(cursor.row);
        let at = self.cursors.partition_point(|other| other.block.key(other.row) > key);
        self.cursors.insert(at, cursor);
    }

    /// The next row; `None` after the last.
    pub fn next(&mut self) -> Result<Option<(Arc<Block>, usize)>, Error> {
        let Some(mut cursor) = self.cursors.pop() else { return Ok(None) };
        let found = (cursor.block.clone(), cursor.row);
        cursor.row += 1;
        if cursor.row == cursor.block.rows() {
            let Some(place) = cursor.run.blocks.get(cursor.next_block) else { return Ok(Some(found)) };
            cursor.block = Arc::new(self.spill.read(place)?);
            (cursor.next_block, cursor.row) = (cursor.next_block + 1, 0);
        }
        self.enter(cursor);
        Ok(Some(found))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples;

    #[test]
    fn a_block_of_a_run_counts_as_much_as_the_rows_did_before() {
        let dir = tempfile::tempdir().unwrap();
        let batch = samples::batch(1, 500).with_ingest_time(1);
        let before = Block::new(batch.clone());
        let mut spill = Spill::create(&Disk::Os, dir.path(), "test").unwrap();
        let mut run = Run::default();
        spill.append(&mut run, &batch).unwrap();
        let after = spill.reader().read(&run.blocks[0]).unwrap();
        // Each array of a block lies in the one allocation of its message.
        assert!(after.batch.get_array_memory_size() > 4 * after.bytes);
        assert!(after.bytes < 2 * before.bytes, "{} bytes became {}", before.bytes, after.bytes);
    }
}
