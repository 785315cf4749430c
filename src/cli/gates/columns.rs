//! Spans in Parquet and Arrow IPC: the columns that `SELECT * FROM spans` writes.
//!
//! Duty: find the columns by name, whatever their encoding, and make OTLP requests of their rows. Guarantee: spans come in by
//! the same decoder as all others; a column that is missing and needed, or of a type that holds no span, is an error with its
//! name. Left to others: reading files and keeping spans (`input`).

use std::io::Cursor;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, DictionaryArray, Int32Array, Int64Array, ListArray, RecordBatch, RecordBatchReader,
    new_empty_array, new_null_array,
};
use arrow::array::{AsArray as _, BooleanArray, StringArray, UInt16Array, UInt32Array, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, TimeUnit, TimestampNanosecondType};
use arrow::ipc::reader::{FileReader, StreamReader};
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::otlp;
use crate::span::{SpanBatch, schema};

/// One request in protobuf for each batch of rows.
type Requests = Result<Vec<Vec<u8>>, String>;

/// Reads a Parquet file.
pub(super) fn parquet(bytes: Bytes) -> Requests {
    let failed = |error: parquet::errors::ParquetError| format!("the Parquet file cannot be read: {error}");
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(failed)?;
    requests(reader.with_batch_size(8_192).build().map_err(failed)?)
}

/// Reads an Arrow IPC file.
pub(super) fn arrow_file(bytes: Vec<u8>) -> Requests {
    requests(FileReader::try_new(Cursor::new(bytes), None).map_err(|error| broken(&error))?)
}

/// Reads an Arrow IPC stream.
pub(super) fn arrow_stream(bytes: Vec<u8>) -> Requests {
    requests(StreamReader::try_new(Cursor::new(bytes), None).map_err(|error| broken(&error))?)
}

fn broken(error: &arrow::error::ArrowError) -> String {
    format!("the columns cannot be read: {error}")
}

fn requests(reader: impl RecordBatchReader) -> Requests {
    reader
        .map(|batch| {
            let mut out = Vec::new();
            otlp::encode(&spans(&batch.map_err(|error| broken(&error))?)?, &mut out);
            Ok(out)
        })
        .collect()
}

/// The rows as spans.
fn spans(batch: &RecordBatch) -> Result<SpanBatch, String> {
    let columns =
        schema::incoming().fields().iter().map(|field| column(batch, field)).collect::<Result<Vec<_>, _>>()?;
    let rows = RecordBatch::try_new(schema::incoming().clone(), columns).map_err(|error| broken(&error))?;
    SpanBatch::try_new(rows).map_err(|error| error.to_string())
}

fn column(batch: &RecordBatch, field: &Field) -> Result<ArrayRef, String> {
    let (name, of, rows) = (field.name().as_str(), field.data_type(), batch.num_rows());
    let given = batch.column_by_name(name);
    let words = |text: &str| -> Result<ArrayRef, String> {
        cast(&StringArray::from(vec![text; rows]), of).map_err(|error| broken(&error))
    };
    let found = match (name, given) {
        ("duration_ns", None) => return duration(batch),
        // Derived from the rest when the spans come in.
        ("is_entry", _) => return Ok(Arc::new(BooleanArray::from(vec![false; rows]))),
        ("parent_service", _) => return Ok(new_null_array(of, rows)),
        ("anomalies", _) => return Ok(Arc::new(UInt16Array::from(vec![0; rows]))),
        ("resource_key", _) => return Ok(Arc::new(UInt64Array::from_iter_values(0..rows as u64))),
        ("trace_id" | "span_id" | "start_time" | "name", None) => {
            return Err(format!("it has no column `{name}`; the columns of `SELECT * FROM spans` are read"));
        }
        ("service_name", None) => return words("unknown_service"),
        ("kind", None) => return words("unspecified"),
        ("status_code", None) => return words("unset"),
        ("attributes" | "events" | "links", None) => return empty_lists(of, rows),
        ("resource" | "scope", None) => return interned(empty_lists(&schema::attributes(), rows)?),
        (_, None) if matches!(of, DataType::UInt32) => return Ok(Arc::new(UInt32Array::from(vec![0; rows]))),
        (_, None) => return Ok(new_null_array(of, rows)),
        ("resource" | "scope", Some(found)) => return interned(as_type(found, &schema::attributes(), name)?),
        (_, Some(found)) => found,
    };
    let made = as_type(found, of, name)?;
    if made.null_count() > 0 && !field.is_nullable() {
        return Err(format!("its column `{name}` has NULLs; a span always has one"));
    }
    Ok(made)
}

fn as_type(found: &ArrayRef, of: &DataType, name: &str) -> Result<ArrayRef, String> {
    let plain = match found.data_type() {
        DataType::Dictionary(_, value) => cast(found, value).map_err(|error| broken(&error))?,
        _ => found.clone(),
    };
    cast(&plain, of).map_err(|_| {
        let from = found.data_type();
        format!("its column `{name}` is {from}; the columns of `SELECT * FROM spans` in Parquet or Arrow are read")
    })
}

/// `end_time` − `start_time`.
fn duration(batch: &RecordBatch) -> Result<ArrayRef, String> {
    let nanos = schema::timestamp(TimeUnit::Nanosecond);
    let time = |name: &str| {
        let found = batch.column_by_name(name).ok_or("it has neither a column `duration_ns` nor `end_time`")?;
        as_type(found, &nanos, name)
    };
    let (start, end) = (time("start_time")?, time("end_time")?);
    let (start, end) = (start.as_primitive::<TimestampNanosecondType>(), end.as_primitive::<TimestampNanosecondType>());
    let long = start.values().iter().zip(end.values()).map(|(start, end)| end.saturating_sub(*start).max(0));
    Ok(Arc::new(Int64Array::from_iter_values(long)))
}

fn empty_lists(of: &DataType, rows: usize) -> Result<ArrayRef, String> {
    let DataType::List(item) = of else { return Err(format!("{of} is no list")) };
    let values = new_empty_array(item.data_type());
    Ok(Arc::new(ListArray::new(item.clone(), OffsetBuffer::new_zeroed(rows), values, None)))
}

fn interned(values: ArrayRef) -> Result<ArrayRef, String> {
    let keys = i32::try_from(values.len()).map_err(|_| "a batch of rows is too large".to_owned())?;
    let made = DictionaryArray::try_new(Int32Array::from_iter_values(0..keys), values);
    Ok(Arc::new(made.map_err(|error| broken(&error))?))
}
