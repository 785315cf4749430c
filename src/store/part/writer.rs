//! A part written row group by row group.
//!
//! Duty: [`Writer`]. Guarantee: every row goes in once, in the order given; each call of [`Writer::write`] is one row
//! group; footer and manifest entry say what was written. Left to others: which rows make a group, and what is promoted
//! (`encode` for rows in memory, `store/compact` for rows of other parts).

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::arrow_writer::{ArrowRowGroupWriterFactory, compute_leaves};
use parquet::arrow::{ArrowSchemaConverter, add_encoded_arrow_schema_to_metadata};
use parquet::file::metadata::KeyValue;
use parquet::file::writer::SerializedFileWriter;

use super::columns::{file_schema, properties};
use super::encode::Facts;
use super::keys::Keys;
use super::promote::Promotion;
use super::tally::Tally;
use super::totals::Totals;
use super::{EncodedPart, Error, PartSpec, sums};
use crate::store::Config;
use crate::store::index::TraceFacts;

/// A part under way, in memory.
#[derive(Debug)]
pub struct Writer {
    parquet: SerializedFileWriter<Vec<u8>>,
    columns: Option<Columns>,
    config: Config,
    schema: SchemaRef,
    promotion: Promotion,
    facts: Facts,
    traces: TraceFacts,
    tallies: [Tally; 3],
    /// The tallies had all rows before the first was written.
    counted: bool,
}

/// Makes the writers of the columns of a row group.
struct Columns {
    /// Rows that the bloom filters are made for.
    rows: usize,
    factory: ArrowRowGroupWriterFactory,
}

impl Columns {
    /// For row groups of at most `rows` rows.
    ///
    /// A file's own writer would size the filters of all its row groups alike, and folding a filter that is much too
    /// large costs more than filling it.
    fn of(schema: &SchemaRef, rows: usize, config: &Config) -> Result<Self, Error> {
        let properties = properties(schema, rows, config)?;
        let root = ArrowSchemaConverter::new().convert(schema)?.root_schema_ptr();
        let like = SerializedFileWriter::new(std::io::sink(), root, properties.into())?;
        Ok(Self { rows, factory: ArrowRowGroupWriterFactory::new(&like, schema.clone()) })
    }
}

impl std::fmt::Debug for Columns {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Columns").field("rows", &self.rows).finish_non_exhaustive()
    }
}

impl Writer {
    /// A part with the columns of `promotion` and row groups of at most `group_rows` rows.
    pub fn try_new(promotion: Promotion, group_rows: usize, config: &Config) -> Result<Self, Error> {
        Self::start(promotion, group_rows, config, Default::default(), false)
    }

    /// The same for rows whose attributes were counted already.
    pub(super) fn counted(
        promotion: Promotion,
        group_rows: usize,
        config: &Config,
        tallies: [Tally; 3],
    ) -> Result<Self, Error> {
        Self::start(promotion, group_rows, config, tallies, true)
    }

    fn start(
        promotion: Promotion,
        group_rows: usize,
        config: &Config,
        tallies: [Tally; 3],
        counted: bool,
    ) -> Result<Self, Error> {
        let schema = file_schema(&promotion.0);
        let mut properties = properties(&schema, group_rows.max(1), config)?;
        let root = ArrowSchemaConverter::new().convert(&schema)?.root_schema_ptr();
        add_encoded_arrow_schema_to_metadata(&schema, &mut properties);
        let parquet = SerializedFileWriter::new(Vec::new(), root, properties.into())?;
        let (facts, traces) = (Facts::default(), TraceFacts::default());
        let config = config.clone();
        Ok(Self { parquet, columns: None, schema, config, promotion, facts, traces, tallies, counted })
    }

    /// The columns of the file.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Adds one row group, which has the columns of [`Writer::schema`] and at most the rows of a group.
    pub fn write(&mut self, group: &RecordBatch) -> Result<(), Error> {
        if !self.counted {
            self.promotion.tally(&mut self.tallies, group, self.facts.groups.len());
        }
        self.traces.add(self.facts.groups.len(), group);
        self.facts.add(group);
        let rows = group.num_rows().next_power_of_two();
        let columns = match self.columns.take().filter(|columns| columns.rows == rows) {
            Some(columns) => self.columns.insert(columns),
            None => self.columns.insert(Columns::of(&self.schema, rows, &self.config)?),
        };
        let number = self.parquet.flushed_row_groups().len();
        let mut leaves = columns.factory.create_column_writers(number)?.into_iter();
        let mut row_group = self.parquet.next_row_group()?;
        // One column after the other: each holds a compressor and a dictionary while it is open, and there are many.
        for (field, column) in self.schema.fields().iter().zip(group.columns()) {
            for leaf in compute_leaves(field, column)? {
                let mut writer = leaves.next().expect("there is a writer for each leaf of the schema");
                writer.write(&leaf)?;
                writer.close()?.append_to_row_group(&mut row_group)?;
            }
        }
        row_group.close()?;
        Ok(())
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
        for (key, value) in self.facts.metadata(spec, &Keys::of(&self.tallies, &self.promotion.0)) {
            self.parquet.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let file = Bytes::from(self.parquet.into_inner()?);
        let sum = Bytes::from(sums::of(&file));
        let index = self.traces.finish(spec.ulid);
        Ok(EncodedPart { entry: self.facts.entry(spec, &file, &sum), file, sum, index })
    }
}
