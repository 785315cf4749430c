//! Row groups of one part in another one, byte for byte.
//!
//! Duty: [`Whole`], a part that is read as a whole, and [`Writer::take_over`], its row groups behind those written so far.
//! Guarantee: values, statistics, page indexes and filters are those of the part; only `parent_service` may be written
//! anew; the rows' ids, times and hashes were read, so that totals say what is there. Left to others: whether that is
//! worth it (`store/compact/splice.rs`).

use arrow::array::{ArrayRef, RecordBatch};
use bytes::Bytes;
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ParquetRecordBatchReaderBuilder};
use parquet::column::writer::ColumnCloseResult;
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::properties::ReaderProperties;
use parquet::file::reader::FileReader as _;
use parquet::file::serialized_reader::{ReadOptionsBuilder, SerializedFileReader};

use super::encode::Facts;
use super::keys::Level;
use super::read::{mask, unread};
use super::{Error, Opened, Writer};
use crate::store::manifest;

/// The bytes of a part, with what its footer and indexes say of them.
pub struct Whole {
    path: String,
    file: Bytes,
    reader: SerializedFileReader<Bytes>,
    metadata: ArrowReaderMetadata,
}

impl std::fmt::Debug for Whole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whole").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Opened {
    /// The columns of [`Writer::take_over`]'s rows.
    pub const TAKEN_OVER: [&'static str; 6] = Facts::COLUMNS;

    /// All of the part's bytes, checked as they are now: a block that was good when it was read before may have decayed.
    pub async fn whole(&self) -> Result<Whole, Error> {
        let path = self.entry.path.clone();
        let file = self.fetch().await?;
        if manifest::hash(&file) != self.entry.file_xxh3 {
            return Err(Error::corrupt(&path, "its bytes are not those that were written"));
        }
        let properties = ReaderProperties::builder().set_read_bloom_filter(true).build();
        let options = ReadOptionsBuilder::new().with_page_index().with_encoding_stats_as_mask(false);
        let options = options.with_reader_properties(properties).build();
        let reader = SerializedFileReader::new_with_options(file.clone(), options);
        let reader = reader.map_err(|error| Error::corrupt(&path, error.to_string()))?;
        Ok(Whole { path, file, reader, metadata: self.metadata().clone() })
    }
}

impl Whole {
    /// `columns` of the row group `group`, of the bytes that [`Writer::take_over`] copies.
    pub fn read(&self, group: usize, columns: &[&str]) -> Result<RecordBatch, Error> {
        let rows = usize::try_from(self.metadata.metadata().row_group(group).num_rows()).unwrap_or(0);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(self.file.clone(), self.metadata.clone());
        let mask = mask(builder.parquet_schema(), columns);
        let builder = builder.with_row_groups(vec![group]).with_projection(mask).with_batch_size(rows.max(1));
        let mut batches = builder.build().map_err(|error| unread(&self.path, error))?;
        let batch = batches.next().transpose().map_err(|error| unread(&self.path, error.into()))?;
        let problem = "a row group has not the rows that its footer counts";
        batch.filter(|batch| batch.num_rows() == rows).ok_or_else(|| Error::corrupt(&self.path, problem))
    }
}

impl Writer {
    /// Counts the attributes of the row groups of a part that will be taken over next, all of them.
    ///
    /// The part's promoted columns are those of this one.
    pub fn take_over_keys(&mut self, part: &Opened) {
        let (first, groups) = (self.facts.groups.len(), part.entry.row_groups.len());
        self.incomplete |= !part.keys.complete;
        for (tally, level) in self.tallies.iter_mut().zip(Level::ALL) {
            part.keys.level(level).iter().for_each(|key| tally.take_over(key, first, groups));
        }
    }

    /// Adds row group `group` of `part`. `rows` are its rows, with the columns [`Opened::TAKEN_OVER`]; `parents`, if it is
    /// there, stands in place of its column `parent_service`.
    pub fn take_over(
        &mut self,
        part: &Whole,
        group: usize,
        rows: &RecordBatch,
        parents: Option<&ArrayRef>,
    ) -> Result<(), Error> {
        let corrupt = |problem: String| Error::corrupt(&part.path, problem);
        let of_part = part.reader.metadata();
        let columns = of_part.row_group(group).columns();
        let corrupt_group = || corrupt(format!("row group {group} is not the one that its footer describes"));
        let leaves = self.parquet.schema_descr().columns().to_vec();
        if columns.len() != leaves.len() || of_part.row_group(group).num_rows() != rows.num_rows() as i64 {
            return Err(corrupt_group());
        }
        self.learn(rows);
        let filters = part.reader.get_row_group(group).map_err(|error| corrupt(error.to_string()))?;
        let mut row_group = self.parquet.next_row_group()?;
        for leaf in &leaves {
            if let Some(parents) = parents.filter(|_| leaf.path().parts() == ["parent_service"]) {
                let field = self.schema.field_with_name("parent_service")?;
                let chunk = self.chunks.chunk(field, leaf, parents, rows.num_rows().next_power_of_two())?;
                let chunk = chunk.ok_or_else(|| Error::Unfit("`parent_service` has no dictionary".to_owned()))?;
                row_group.append_column(&chunk.bytes, chunk.close)?;
                self.chunks.reuse(chunk.bytes);
                continue;
            }
            // Promoted columns may come in another order.
            let at = columns.iter().position(|column| column.column_path() == leaf.path()).ok_or_else(corrupt_group)?;
            let column = &columns[at];
            let column_index = of_part.column_index().and_then(|index| index.get(group)?.get(at)).cloned();
            let close = ColumnCloseResult {
                bytes_written: u64::try_from(column.compressed_size()).unwrap_or(0),
                rows_written: rows.num_rows() as u64,
                metadata: column.clone(),
                bloom_filter: filters.get_column_bloom_filter(at).cloned(),
                column_index: column_index.filter(|index| !matches!(index, ColumnIndexMetaData::NONE)),
                offset_index: of_part.offset_index().and_then(|index| index.get(group)?.get(at)).cloned(),
            };
            row_group.append_column(&part.file, close).map_err(|error| corrupt(error.to_string()))?;
        }
        row_group.close()?;
        Ok(())
    }
}
