//! Answers as bytes (sql.md 9.2).
//!
//! Duty: JSON, NDJSON, CSV, Arrow and Parquet, written piece by piece as rows come. Guarantee: what was begun and not ended is
//! not valid in its format, so a cut body cannot be taken for a whole one. Left to others: sending the pieces (`web`),
//! boxes for people (`cli`).

pub mod arrow;
mod csv;
mod json;
mod ndjson;
mod parquet;
pub mod value;

use ::arrow::array::RecordBatch;
use ::arrow::datatypes::SchemaRef;

pub use json::columns;

use super::error::{Code, Error};
use super::gateway::{Answer, Shape, Stats};

/// What is known before the first row.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// A ULID.
    pub query_id: &'a str,
    /// Store position of the newest row seen, RFC 3339 with 6 digits.
    pub snapshot: &'a str,
    /// Columns.
    pub schema: &'a SchemaRef,
    /// Bytes that text may have.
    pub max_bytes: u64,
}

/// The formats of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// One JSON object a row.
    Ndjson,
    /// RFC 4180 with a header.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 5] = [Self::Json, Self::Ndjson, Self::Csv, Self::Arrow, Self::Parquet];

    /// Name in `?format=` and `-o`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Ndjson => "ndjson",
            Self::Csv => "csv",
            Self::Arrow => "arrow",
            Self::Parquet => "parquet",
        }
    }

    /// Media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Ndjson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The format called `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Which limits an answer in it has.
    pub const fn shape(self) -> Shape {
        match self {
            Self::Json | Self::Ndjson | Self::Csv => Shape::Text,
            Self::Arrow | Self::Parquet => Shape::Arrow,
        }
    }
}

/// Writes one answer.
#[derive(Debug)]
pub struct Renderer {
    format: Form,
    left: u64,
    rows: u64,
    truncated: bool,
}

#[derive(Debug)]
enum Form {
    Json(json::Json),
    Ndjson(ndjson::Ndjson),
    Csv(csv::Csv),
    Arrow(Box<arrow::Arrow>),
    Parquet(Box<parquet::Parquet>),
}

/// What an answer does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lacks {
    /// Rows beyond a limit.
    pub truncated: bool,
    /// Rows that could not be read.
    pub incomplete: bool,
}

impl Renderer {
    /// A writer of an answer, and the bytes before its first row.
    ///
    /// Errors: `sql.internal` where a column has no form in Arrow, `sql.type` where it has none in Parquet.
    pub fn begin(format: Format, keep_dictionaries: bool, answer: Head<'_>) -> Result<(Self, Vec<u8>), Error> {
        let mut head = Vec::new();
        let form = match format {
            Format::Json => Form::Json(json::Json::begin(answer, &mut head)),
            Format::Ndjson => Form::Ndjson(ndjson::Ndjson::begin(answer.schema)),
            Format::Csv => Form::Csv(csv::Csv::begin(answer.schema, &mut head)),
            Format::Arrow => Form::Arrow(Box::new(arrow::Arrow::begin(answer.schema, keep_dictionaries, &mut head)?)),
            Format::Parquet => Form::Parquet(Box::new(parquet::Parquet::begin(answer.schema)?)),
        };
        Ok((Self { format: form, left: answer.max_bytes, rows: 0, truncated: false }, head))
    }

    /// The bytes of `batch`, as far as the limit on bytes allows.
    ///
    /// Errors: `sql.internal` where a value cannot be written.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        let columns = match &mut self.format {
            Form::Arrow(form) => Some(form.rows(batch, &mut out)),
            Form::Parquet(form) => Some(form.rows(batch, &mut out)),
            Form::Json(_) | Form::Ndjson(_) | Form::Csv(_) => None,
        };
        if let Some(written) = columns {
            self.rows += batch.num_rows() as u64;
            return written.map(|()| out);
        }
        for row in 0..batch.num_rows() {
            let before = out.len();
            match &mut self.format {
                Form::Json(form) => form.row(batch, row, &mut out)?,
                Form::Ndjson(form) => form.row(batch, row, &mut out)?,
                Form::Csv(form) => form.row(batch, row, &mut out)?,
                Form::Arrow(_) | Form::Parquet(_) => {}
            }
            let bytes = (out.len() - before) as u64;
            if bytes > self.left {
                out.truncate(before);
                self.truncated = true;
                break;
            }
            self.left -= bytes;
            self.rows += 1;
        }
        Ok(out)
    }

    /// Whether no more rows fit.
    pub fn is_full(&self) -> bool {
        self.truncated
    }

    /// The bytes after the last row of an answer that took `stats` and `lacks` something or not before it came here.
    ///
    /// Errors: `sql.internal` where Arrow's end cannot be written.
    pub fn end(self, stats: Stats, lacks: Lacks, notices: &[String]) -> Result<Vec<u8>, Error> {
        let stats = Stats { rows: self.rows, ..stats };
        let lacks = Lacks { truncated: lacks.truncated || self.truncated, ..lacks };
        let mut out = Vec::new();
        match self.format {
            Form::Json(_) => json::end(notices, stats, lacks, &mut out),
            Form::Ndjson(_) => ndjson::end(stats, lacks, &mut out),
            Form::Csv(_) => {}
            Form::Arrow(form) => form.end(&mut out)?,
            Form::Parquet(form) => form.end(&mut out)?,
        }
        Ok(out)
    }

    /// What tells of an error after rows are out, in the one format that has a place for it.
    pub fn failed(&self, error: &Error) -> Vec<u8> {
        match self.format {
            Form::Ndjson(_) => ndjson::failed(error),
            _ => Vec::new(),
        }
    }
}

impl Answer {
    /// What a renderer needs of it; `snapshot` is [`value::snapshot`] of its position.
    pub fn head<'a>(&'a self, snapshot: &'a str) -> Head<'a> {
        Head { query_id: &self.query_id, snapshot, schema: &self.schema, max_bytes: self.max_bytes }
    }
}

fn unwritable(error: ::arrow::error::ArrowError) -> Error {
    tracing::error!(%error, "an answer cannot be written");
    Error::new(Code::Internal, "a value of the answer cannot be written").hint("report it with the query id")
}

#[cfg(test)]
mod tests;
