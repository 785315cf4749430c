//! What rows look like on a terminal or in a pipe.
//!
//! Duty: the formats of `-o`, and the box for people. Guarantee: stdout gets rows only. Left to others: the formats of
//! the wire (`query::render`).

pub mod boxes;
mod cell;
mod expanded;
mod markdown;
mod stream;

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

pub use stream::write as write_rows;

use super::sql::{Failure, MAX_TEXT_BYTES};
use crate::clock::Clock;
use crate::query::Stats;
use crate::query::render::{Format, Head, Lacks, Renderer, value};

/// `-o`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// A table for people; the first 40 rows
    Box,
    /// One JSON object
    Json,
    /// One JSON object a row
    Ndjson,
    /// RFC 4180 with a header
    Csv,
    /// An Arrow IPC stream
    Arrow,
    /// A Parquet file
    Parquet,
    /// A Markdown table
    Markdown,
}

/// How rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Look {
    /// The format.
    pub output: Output,
    /// In place of a box, each row as lines of column and value.
    pub expanded: bool,
}

impl Output {
    /// `-o`, or what fits stdout: a box on a terminal, else a row a line.
    pub fn chosen(output: Option<Self>) -> Self {
        output.unwrap_or(if std::io::stdout().is_terminal() { Self::Box } else { Self::Ndjson })
    }

    /// `-o`, or what the name of the file says, or a row a line.
    pub fn of_file(output: Option<Self>, path: &Path) -> Self {
        let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default().to_ascii_lowercase();
        let of_ending = match ending.as_str() {
            "json" => Self::Json,
            "csv" => Self::Csv,
            "arrow" | "arrows" => Self::Arrow,
            "parquet" => Self::Parquet,
            "md" => Self::Markdown,
            "txt" => Self::Box,
            _ => Self::Ndjson,
        };
        output.unwrap_or(of_ending)
    }

    /// Whether it is no text.
    pub fn is_binary(self) -> bool {
        matches!(self, Self::Arrow | Self::Parquet)
    }

    /// The format of the wire, if it is one.
    fn format(self) -> Option<Format> {
        match self {
            Self::Box | Self::Markdown => None,
            Self::Json => Some(Format::Json),
            Self::Ndjson => Some(Format::Ndjson),
            Self::Csv => Some(Format::Csv),
            Self::Arrow => Some(Format::Arrow),
            Self::Parquet => Some(Format::Parquet),
        }
    }
}

/// Writes `batches`, which are at hand, in any format.
pub fn write(
    output: Output,
    schema: &Schema,
    batches: &[RecordBatch],
    clock: &Clock,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let rows = batches.iter().map(RecordBatch::num_rows).sum::<usize>() as u64;
    let Some(format) = output.format() else {
        match output {
            Output::Markdown => {
                out.write_all(markdown::head(schema).as_bytes())?;
                for batch in batches {
                    out.write_all(markdown::rows(batch)?.as_bytes())?;
                }
            }
            _ => out.write_all(boxes::render(schema, batches, rows, false)?.as_bytes())?,
        }
        return Ok(out.flush()?);
    };
    let (query_id, snapshot) = (clock.ulid().to_string(), value::snapshot(clock.now_us()));
    let schema = std::sync::Arc::new(schema.clone());
    let head = Head { query_id: &query_id, snapshot: &snapshot, schema: &schema, max_bytes: MAX_TEXT_BYTES };
    let (mut renderer, bytes) = Renderer::begin(format, false, head)?;
    out.write_all(&bytes)?;
    for batch in batches {
        out.write_all(&renderer.rows(batch)?)?;
    }
    out.write_all(&renderer.end(Stats { rows, ..Stats::default() }, Lacks::default(), &[])?)?;
    Ok(out.flush()?)
}
