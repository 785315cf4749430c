//! A part written row group by row group.
//!
//! Duty: [`Writer`]. Guarantee: every row goes in once, in the order given; each call of [`Writer::write`] is one row
//! group; footer and manifest entry say what was written. Left to others: which rows make a group, and what is promoted
//! (`encode` for rows in memory, `store/compact` for rows of other parts).

use arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowColumnWriter, ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::basic::ZstdLevel;
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::chunk::{Chunks, Traces, traces};
use super::columns::{file_schema, properties};
use super::encode::Facts;
use super::keys::Keys;
use super::promote::Promotion;
use super::tally::Tally;
use super::totals::Totals;
use super::{EncodedPart, Error, PartSpec, sums};
use crate::store::Config;
use crate::store::index::TraceFacts;

/// Bytes of a row in a file, about.
const FILE_ROW_BYTES: usize = 80;
/// Bytes that a file has room for at first, at most.
const MOST_FILE_BYTES: usize = 64 << 20;

/// A part under way, in memory.
#[derive(Debug)]
pub struct Writer {
    pub(super) parquet: SerializedFileWriter<Vec<u8>>,
    pub(super) chunks: Chunks,
    config: Config,
    pub(super) schema: SchemaRef,
    promotion: Promotion,
    pub(super) facts: Facts,
    traces: TraceFacts,
    pub(super) tallies: [Tally; 3],
    /// The rows may have keys that nobody has counted.
    pub(super) incomplete: bool,
    /// The tallies had all rows before the first was written.
    counted: bool,
}

/// The crate's writers of the leaves of `field`, of a row group of `rows` rows.
///
/// Those of a whole file would be made all at once, each with a compressor.
fn writers(field: &FieldRef, rows: usize, config: &Config) -> Result<Vec<ArrowColumnWriter>, Error> {
    let schema: SchemaRef = Schema::new(vec![field.clone()]).into();
    let properties = properties(&schema, rows, config)?;
    let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
    let like = SerializedFileWriter::new(std::io::sink(), root, properties.into())?;
    Ok(ArrowRowGroupWriterFactory::new(&like, schema).create_column_writers(0)?)
}

impl Writer {
    /// A part with the columns of `promotion`.
    pub fn try_new(promotion: Promotion, config: &Config) -> Result<Self, Error> {
        Self::start(promotion, config, Default::default(), None)
    }

    /// The same for `rows` rows whose attributes were counted already.
    pub(super) fn counted(
        promotion: Promotion,
        config: &Config,
        tallies: [Tally; 3],
        rows: usize,
    ) -> Result<Self, Error> {
        Self::start(promotion, config, tallies, Some(rows))
    }

    fn start(
        promotion: Promotion,
        config: &Config,
        tallies: [Tally; 3],
        counted: Option<usize>,
    ) -> Result<Self, Error> {
        let schema = file_schema(&promotion.0);
        let mut properties = properties(&Schema::empty(), 1, config)?;
        let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        // A file that grows is copied time and again; what is not written of it takes no memory.
        let file = Vec::with_capacity(counted.map_or(0, |rows| (rows * FILE_ROW_BYTES).min(MOST_FILE_BYTES)));
        let parquet = SerializedFileWriter::new(file, root, properties.into())?;
        let counted = counted.is_some();
        let (facts, traces) = (Facts::default(), TraceFacts::default());
        let chunks = Chunks::new(ZstdLevel::try_new(config.zstd_level)?, config.bloom_fpp)?;
        let config = config.clone();
        Ok(Self { parquet, chunks, schema, config, promotion, facts, traces, tallies, incomplete: false, counted })
    }

    /// The columns of the file.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds one row group, which has the columns of [`Writer::schema`]; text may have a dictionary or none.
    pub fn write(&mut self, group: &RecordBatch) -> Result<(), Error> {
        self.write_columns(group.num_rows(), &mut |at| Ok(group.column(at).clone()))
    }

    /// The same of `rows` rows, whose columns are asked for by their places, one after the other; those with attributes
    /// twice if nobody has counted them.
    pub fn write_columns(
        &mut self,
        rows: usize,
        column: &mut dyn FnMut(usize) -> Result<ArrayRef, ArrowError>,
    ) -> Result<(), Error> {
        if !self.counted {
            self.promotion.tally(&mut self.tallies, self.facts.groups.len(), column)?;
        }
        let names = Facts::COLUMNS.into_iter();
        let facts = names.map(|name| Ok((name, column(self.schema.index_of(name)?)?))).collect::<Result<Vec<_>, _>>();
        let facts = RecordBatch::try_from_iter(facts.map_err(Error::Arrow)?)?;
        let ids = self.learn(&facts);
        // Folding a filter that is much too large costs more than filling it.
        let filter_rows = rows.next_power_of_two();
        let leaves = self.parquet.schema_descr().columns().to_vec();
        let mut leaves = leaves.iter();
        let mut row_group = self.parquet.next_row_group()?;
        for (at, field) in self.schema.fields().iter().enumerate() {
            let array = match facts.column_by_name(field.name()) {
                Some(known) => known.clone(),
                None => column(at)?,
            };
            let descr = leaves.as_slice().first().expect("there is a leaf for each field");
            let flat = match field.name() == "trace_id" {
                true => Some(self.chunks.traces(field, descr, &ids, filter_rows)?),
                false => self.chunks.chunk(field, descr, &array, filter_rows)?,
            };
            if let Some(chunk) = flat {
                row_group.append_column(&chunk.bytes, chunk.close)?;
                self.chunks.reuse(chunk.bytes);
                leaves.next();
                continue;
            }
            if let Some(empty) = Chunks::empty_leaves(field, &array) {
                for (leaf, descr) in empty.iter().zip(leaves.by_ref()) {
                    let chunk = self.chunks.empty(leaf, descr, rows)?;
                    row_group.append_column(&chunk.bytes, chunk.close)?;
                    self.chunks.reuse(chunk.bytes);
                }
                continue;
            }
            if let Some(chunks) = self.chunks.lists(field, leaves.as_slice(), &array)? {
                for (chunk, _) in chunks.into_iter().zip(leaves.by_ref()) {
                    row_group.append_column(&chunk.bytes, chunk.close)?;
                }
                continue;
            }
            for (leaf, mut writer) in
                compute_leaves(field, &array)?.iter().zip(writers(field, filter_rows, &self.config)?)
            {
                writer.write(leaf)?;
                writer.close()?.append_to_row_group(&mut row_group)?;
                leaves.next();
            }
        }
        row_group.close()?;
        Ok(())
    }

    /// Adds to what is known of all rows those of the next row group, which has [`Facts::COLUMNS`]; its traces come back.
    pub(super) fn learn(&mut self, facts: &RecordBatch) -> Traces {
        let ids = facts.column_by_name("trace_id").expect("it is among the columns");
        let ids = traces(ids.as_fixed_size_binary());
        self.traces.add_distinct(self.facts.groups.len(), &ids.values, &ids.keys);
        self.facts.add_of(facts, &ids.values);
        ids
    }

    /// Rows written so far.
    pub fn rows(&self) -> u64 {
        self.facts.rows
    }

    /// Sums over the rows written so far.
    pub fn totals(&self) -> Totals {
        Totals::of(&self.facts, &self.tallies)
    }

    /// The part. Errors: [`Error::Unfit`] without rows.
    pub fn finish(mut self, spec: &PartSpec) -> Result<EncodedPart, Error> {
        if self.facts.rows == 0 {
            return Err(Error::Unfit("there are no rows".to_owned()));
        }
        self.promotion.list_all(&mut self.tallies);
        let mut keys = Keys::of(&self.tallies, &self.promotion.0);
        keys.complete &= !self.incomplete;
        for (key, value) in self.facts.metadata(spec, &keys) {
            self.parquet.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let file = Bytes::from(self.parquet.into_inner()?);
        let sum = Bytes::from(sums::of(&file));
        let index = self.traces.finish(spec.ulid);
        Ok(EncodedPart { entry: self.facts.entry(spec, &file, &sum), file, sum, index })
    }
}
