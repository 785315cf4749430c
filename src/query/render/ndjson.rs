//! One JSON object a row, and one that ends them.
//!
//! Duty: the shape of sql.md 9.2. Guarantee: the last line of a whole answer is `$end`. Left to others: values
//! (`value`).

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::value::{quote, write_json};
use super::{Lacks, unwritable};
use crate::query::error::Error;
use crate::query::gateway::Stats;

#[derive(Debug)]
pub(super) struct Ndjson {
    names: Vec<Vec<u8>>,
}

impl Ndjson {
    pub(super) fn begin(schema: &Schema) -> Self {
        let name = |name: &String| {
            let mut out = Vec::new();
            quote(name, &mut out);
            out
        };
        Self { names: schema.fields().iter().map(|field| name(field.name())).collect() }
    }

    pub(super) fn row(&mut self, batch: &RecordBatch, row: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        out.push(b'{');
        for (at, (name, column)) in self.names.iter().zip(batch.columns()).enumerate() {
            if at > 0 {
                out.push(b',');
            }
            out.extend_from_slice(name);
            out.push(b':');
            write_json(column, row, out).map_err(unwritable)?;
        }
        out.extend_from_slice(b"}\n");
        Ok(())
    }
}

pub(super) fn end(stats: Stats, lacks: Lacks, out: &mut Vec<u8>) {
    let mut end = stats.to_json();
    end["truncated"] = lacks.truncated.into();
    end["incomplete"] = lacks.incomplete.into();
    out.extend_from_slice(format!("{}\n", serde_json::json!({ "$end": end })).as_bytes());
}

pub(super) fn failed(error: &Error) -> Vec<u8> {
    format!("{}\n", serde_json::json!({ "$error": error.to_json() })).into_bytes()
}
