//! One JSON object for the whole answer.
//!
//! Duty: the shape of sql.md 9.2. Guarantee: without its end it is not valid JSON. Left to others: values (`value`).

use arrow::array::RecordBatch;
use arrow::datatypes::{FieldRef, Schema};

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
        out.extend_from_slice(columns(answer.schema).to_string().as_bytes());
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

/// `[{"name","type","unit"}]`.
pub fn columns(schema: &Schema) -> serde_json::Value {
    let column =
        |field: &FieldRef| serde_json::json!({"name": field.name(), "type": type_name(field), "unit": unit(field)});
    schema.fields().iter().map(column).collect()
}
