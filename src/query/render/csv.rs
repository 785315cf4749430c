//! CSV by RFC 4180.
//!
//! Duty: a header and one record a row. Guarantee: NULL is an empty field and empty text is `""`, so both come back.
//! Left to others: values (`value`).

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::unwritable;
use super::value::text;
use crate::query::error::Error;

#[derive(Debug)]
pub(super) struct Csv;

impl Csv {
    pub(super) fn begin(schema: &Schema, out: &mut Vec<u8>) -> Self {
        for (at, column) in schema.fields().iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            field(column.name(), out);
        }
        out.extend_from_slice(b"\r\n");
        Self
    }

    pub(super) fn row(&mut self, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        for (at, column) in batch.columns().iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            if let Some(text) = text(column, row).map_err(unwritable)? {
                field(&text, out);
            }
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

fn field(text: &str, out: &mut Vec<u8>) {
    if text.is_empty() || text.contains([',', '"', '\r', '\n']) {
        out.push(b'"');
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}
