//! An Arrow IPC stream that every client reads.
//!
//! Duty: plain types (views as Utf8 and Binary, dictionaries unfolded, nested ones too), with unit and SQL type in the
//! fields' metadata. Guarantee: without its end mark the stream is not whole. Left to others: rows.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::ipc::writer::StreamWriter;

use super::unwritable;
use crate::query::attributes::is_container;
use crate::query::error::Error;
use crate::query::sql_type::sql_type;
use crate::query::units::{RENDER, UNIT, unit};

/// Metadata key under which a field of Arrow output carries its SQL type.
pub const SQL_TYPE: &str = "wg.type";

/// Writes one stream.
pub(super) struct Arrow {
    writer: StreamWriter<Vec<u8>>,
    schema: SchemaRef,
}

impl std::fmt::Debug for Arrow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Arrow").field("schema", &self.schema).finish_non_exhaustive()
    }
}

impl Arrow {
    pub(super) fn begin(schema: &Schema, keep_dictionaries: bool, out: &mut Vec<u8>) -> Result<Self, Error> {
        let schema = Arc::new(plain_schema(schema, keep_dictionaries));
        let mut writer = StreamWriter::try_new(Vec::new(), &schema).map_err(unwritable)?;
        out.append(writer.get_mut());
        Ok(Self { writer, schema })
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch, out: &mut Vec<u8>) -> Result<(), Error> {
        self.writer.write(&plain_batch(batch, &self.schema)?).map_err(unwritable)?;
        out.append(self.writer.get_mut());
        Ok(())
    }

    pub(super) fn end(mut self, out: &mut Vec<u8>) -> Result<(), Error> {
        self.writer.finish().map_err(unwritable)?;
        out.append(self.writer.get_mut());
        Ok(())
    }
}

/// `schema` in plain types; with `keep_dictionaries`, dictionaries of top-level columns stay.
pub fn plain_schema(schema: &Schema, keep_dictionaries: bool) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        let mut metadata: HashMap<String, String> = field.metadata().clone();
        metadata.insert(SQL_TYPE.to_owned(), type_name(field));
        if let Some(unit) = unit(field) {
            metadata.insert(UNIT.to_owned(), unit.to_owned());
        }
        let render = match field.data_type() {
            DataType::FixedSizeBinary(8 | 16) => Some("hex"),
            of if is_container(of) => Some("json"),
            _ => None,
        };
        if let Some(render) = render {
            metadata.insert(RENDER.to_owned(), render.to_owned());
        }
        let of = match field.data_type() {
            DataType::Dictionary(key, value) if keep_dictionaries && !value.is_nested() => {
                DataType::Dictionary(key.clone(), Box::new(plain(value)))
            }
            other => plain(other),
        };
        Field::new(field.name(), of, true).with_metadata(metadata)
    });
    Schema::new(fields.collect::<Vec<_>>())
}

/// `batch` in the types of `schema`, which [`plain_schema`] made of its own.
///
/// Errors: `sql.internal` where a column has no plain form.
pub fn plain_batch(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Error> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type())).collect::<Result<Vec<_>, _>>();
    RecordBatch::try_new(schema.clone(), columns.map_err(unwritable)?).map_err(unwritable)
}

/// SQL type of a column, also of one that came here in plain types.
pub fn type_name(field: &Field) -> String {
    field.metadata().get(SQL_TYPE).cloned().unwrap_or_else(|| sql_type(field.data_type()))
}

fn plain(of: &DataType) -> DataType {
    let item = |field: &FieldRef| Arc::new(field.as_ref().clone().with_data_type(plain(field.data_type())));
    match of {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, value) => plain(value),
        DataType::List(field) | DataType::ListView(field) => DataType::List(item(field)),
        DataType::LargeList(field) => DataType::LargeList(item(field)),
        DataType::FixedSizeList(field, size) => DataType::FixedSizeList(item(field), *size),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(item).collect()),
        other => other.clone(),
    }
}
