//! Results as bytes: JSON, NDJSON, CSV, Arrow IPC (sql.md 9.2).
//!
//! Duty: turn batches into the formats that HTTP and the shell share. Guarantee: a value has the same text in all text
//! formats. Left to others: headers and statuses (`web`), boxes for people (`cli/output`).

mod arrow_ipc;
mod csv;
mod json;
pub mod value;

use arrow::datatypes::{DataType, Field, SchemaRef};

pub use arrow_ipc::{ArrowStream, plain_batch, plain_schema, restore};
pub use csv::{csv_header, csv_rows};
pub use json::{columns as json_columns, end_line, error_json, json_object, json_rows, stats_json, time_text};

use super::sql_type::sql_type;

/// A form of results.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON document.
    Json,
    /// One JSON object a row.
    NdJson,
    /// RFC 4180 with a header.
    Csv,
    /// One Arrow IPC stream.
    Arrow,
}

impl Format {
    /// Media type of an answer.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::NdJson => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Arrow => "application/vnd.apache.arrow.stream",
        }
    }

    /// From `?format=` or `-o`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "json" => Some(Self::Json),
            "ndjson" => Some(Self::NdJson),
            "csv" => Some(Self::Csv),
            "arrow" => Some(Self::Arrow),
            _ => None,
        }
    }

    /// From an `Accept` header: the first format named; JSON where anything goes.
    pub fn from_accept(accept: &str) -> Option<Self> {
        accept.split(',').find_map(|part| match part.split(';').next().unwrap_or("").trim() {
            "application/json" | "*/*" | "application/*" | "" => Some(Self::Json),
            "application/x-ndjson" => Some(Self::NdJson),
            "text/csv" | "text/*" => Some(Self::Csv),
            "application/vnd.apache.arrow.stream" => Some(Self::Arrow),
            _ => None,
        })
    }
}

/// Name, SQL type and unit of a column.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Column {
    /// As in the statement.
    pub name: String,
    /// As sql.md 2 writes it.
    #[serde(rename = "type")]
    pub sql_type: String,
    /// `ns`, `ms` or none.
    pub unit: Option<&'static str>,
}

/// The columns of a result.
pub fn columns(schema: &SchemaRef) -> Vec<Column> {
    schema.fields().iter().map(|field| column(field)).collect()
}

fn column(field: &Field) -> Column {
    Column { name: field.name().clone(), sql_type: sql_type(field.data_type()), unit: unit(field) }
}

/// The unit that a name promises: `duration_ns` is in ns.
pub fn unit(field: &Field) -> Option<&'static str> {
    let of = match field.data_type() {
        DataType::Dictionary(_, value) => value.as_ref(),
        of => of,
    };
    if !of.is_numeric() {
        return None;
    }
    match field.name().rsplit('_').next() {
        Some("ns") => Some("ns"),
        Some("us") => Some("us"),
        Some("ms") => Some("ms"),
        Some("bytes") => Some("bytes"),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
