//! Arrow IPC streams of plain types (sql.md 9.2).
//!
//! Duty: unfold dictionaries and views, at every depth, so that every client reads the stream; and the way back for our
//! own shell. Guarantee: `restore(plain_batch(b))` shows as `b` does. Left to others: compression, transport.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;

use super::unit;
use crate::query::attributes::is_container;
use crate::span::schema;

const UNIT: &str = "wg.unit";
const RENDER: &str = "wg.render";

/// Writes batches of one schema as a stream.
#[allow(missing_debug_implementations, reason = "arrow's writer has none")]
pub struct ArrowStream {
    writer: StreamWriter<Vec<u8>>,
}

impl ArrowStream {
    /// Begins a stream of results with this schema.
    pub fn try_new(schema: &SchemaRef) -> Result<Self, ArrowError> {
        Ok(Self { writer: StreamWriter::try_new(Vec::new(), &plain_schema(schema))? })
    }

    /// Adds rows.
    pub fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.writer.write(&plain_batch(batch)?)
    }

    /// The bytes written since the last call.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(self.writer.get_mut())
    }

    /// The end mark, behind what was not taken yet.
    pub fn finish(mut self) -> Result<Vec<u8>, ArrowError> {
        self.writer.finish()?;
        Ok(self.take())
    }
}

/// The schema that clients see.
pub fn plain_schema(schema: &SchemaRef) -> SchemaRef {
    Arc::new(Schema::new(schema.fields().iter().map(|field| plain_field(field)).collect::<Vec<_>>()))
}

/// The rows that clients see.
pub fn plain_batch(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let schema = plain_schema(&batch.schema());
    let columns = batch.columns().iter().zip(schema.fields()).map(|(c, f)| cast(c, f.data_type()));
    RecordBatch::try_new_with_options(
        schema.clone(),
        columns.collect::<Result<Vec<ArrayRef>, _>>()?,
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
}

/// Gives attribute containers of a plain batch their type back, so that they show as attributes.
pub fn restore(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let is_attributes = |field: &Field| field.metadata().get(RENDER).is_some_and(|render| render == "attributes");
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
        if is_attributes(field) {
            columns.push(cast(column, &schema::attributes())?);
            fields.push(Field::new(field.name(), schema::attributes(), true));
        } else {
            columns.push(column.clone());
            fields.push(field.as_ref().clone());
        }
    }
    RecordBatch::try_new_with_options(
        Arc::new(Schema::new(fields)),
        columns,
        &arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows())),
    )
}

fn plain_field(field: &Field) -> Field {
    let mut metadata = std::collections::HashMap::new();
    if let Some(unit) = unit(field) {
        metadata.insert(UNIT.to_owned(), unit.to_owned());
    }
    if is_container(field.data_type()) {
        metadata.insert(RENDER.to_owned(), "attributes".to_owned());
    } else if matches!(field.data_type(), DataType::FixedSizeBinary(8 | 16)) {
        metadata.insert(RENDER.to_owned(), "hex".to_owned());
    }
    Field::new(field.name(), plain(field.data_type()), field.is_nullable()).with_metadata(metadata)
}

fn plain(of: &DataType) -> DataType {
    let inner = |field: &Field| Arc::new(Field::new(field.name(), plain(field.data_type()), field.is_nullable()));
    match of {
        DataType::Dictionary(_, value) => plain(value),
        DataType::Utf8View => DataType::Utf8,
        DataType::BinaryView => DataType::Binary,
        DataType::List(item) => DataType::List(inner(item)),
        DataType::LargeList(item) => DataType::LargeList(inner(item)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(|f| inner(f)).collect::<Fields>()),
        other => other.clone(),
    }
}
