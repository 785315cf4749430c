//! A part written row group by row group.
//!
//! Duty: [`Writer`]. Guarantee: every row goes in once, in the order given; each call of [`Writer::write`] is one row
//! group; footer and manifest entry say what was written. Left to others: which rows make a group, and what is promoted
//! (`encode` for rows in memory, `store/compact` for rows of other parts).

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::KeyValue;

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
    arrow: ArrowWriter<Vec<u8>>,
    schema: SchemaRef,
    promotion: Promotion,
    facts: Facts,
    traces: TraceFacts,
    tallies: [Tally; 3],
    /// The tallies had all rows before the first was written.
    counted: bool,
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
        let properties = properties(&schema, group_rows.max(1), config)?;
        let arrow = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties))?;
        Ok(Self { arrow, schema, promotion, facts: Facts::default(), traces: TraceFacts::default(), tallies, counted })
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
        self.arrow.write(group)?;
        Ok(self.arrow.flush()?)
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
            self.arrow.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let file = Bytes::from(self.arrow.into_inner()?);
        let sum = Bytes::from(sums::of(&file));
        let index = self.traces.finish(spec.ulid);
        Ok(EncodedPart { entry: self.facts.entry(spec, &file, &sum), file, sum, index })
    }
}
