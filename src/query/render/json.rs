//! One JSON object for the whole answer.
//!
//! Duty: the shape of sql.md 9.2. Guarantee: without its end it is not valid JSON. Left to others: values (`value`).

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::arrow::type_name;
use super::value::{quote, write_json};
use super::{Head, Lacks, unwritable};
use crate::query::error::Error;
use crate::query::gateway::Stats;
use crate::query::units::unit;

#[derive(Debug)]
pub(super) struct Json {
    first: bool,
}

impl Json {
    pub(super) fn begin(answer: Head<'_>, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(b"{\"query_id\":");
        quote(answer.query_id, out);
        out.extend_from_slice(b",\"snapshot\":");
        quote(answer.snapshot, out);
        out.extend_from_slice(b",\"columns\":");
        columns(answer.schema, out);
        out.extend_from_slice(b",\"rows\":[");
        Self { first: true }
    }

    pub(super) fn row(&mut self, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        if !std::mem::replace(&mut self.first, false) {
            out.push(b',');
        }
        out.push(b'[');
        for (at, column) in batch.columns().iter().enumerate() {
            if at > 0 {
                out.push(b',');
            }
            write_json(column, row, out).map_err(unwritable)?;
        }
        out.push(b']');
        Ok(())
    }
}

pub(super) fn end(notices: &[String], stats: Stats, lacks: Lacks, out: &mut Vec<u8>) {
    let notices = serde_json::Value::from(notices);
    let Lacks { truncated, incomplete } = lacks;
    let tail = format!(
        "],\"truncated\":{truncated},\"incomplete\":{incomplete},\"notices\":{notices},\"stats\":{}}}",
        stats.to_json()
    );
    out.extend_from_slice(tail.as_bytes());
}

fn columns(schema: &Schema, out: &mut Vec<u8>) {
    out.push(b'[');
    for (at, field) in schema.fields().iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        out.extend_from_slice(b"{\"name\":");
        quote(field.name(), out);
        out.extend_from_slice(b",\"type\":");
        quote(&type_name(field), out);
        out.extend_from_slice(b",\"unit\":");
        match unit(field) {
            Some(unit) => quote(unit, out),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b'}');
    }
    out.push(b']');
}
