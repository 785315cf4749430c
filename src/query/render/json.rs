//! JSON and NDJSON.
//!
//! Duty: rows as lists (JSON) or objects (NDJSON), and the members around them. Guarantee: the shapes of sql.md 9.2
//! and 10. Left to others: values (`value`).

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde_json::{Value, json};
use ulid::Ulid;

use super::value::{self, quote, rfc3339};
use crate::query::error::Error;
use crate::query::gateway::Stats;

/// The rows of `batch` as JSON lists, comma-separated.
pub fn json_rows(batch: &RecordBatch) -> String {
    let row = |at| {
        let values: Vec<_> = batch.columns().iter().map(|column| value::json(column, at)).collect();
        format!("[{}]", values.join(","))
    };
    (0..batch.num_rows()).map(row).collect::<Vec<_>>().join(",")
}

/// Row `at` of `batch` as one JSON object.
pub fn json_object(batch: &RecordBatch, at: usize) -> String {
    let schema = batch.schema_ref();
    let members = schema.fields().iter().zip(batch.columns());
    let members: Vec<_> =
        members.map(|(f, column)| format!("{}:{}", quote(f.name()), value::json(column, at))).collect();
    format!("{{{}}}", members.join(","))
}

/// The member `columns`.
pub fn columns(schema: &SchemaRef) -> Value {
    serde_json::to_value(super::columns(schema)).expect("columns are plain data")
}

/// The member `stats`.
pub fn stats_json(stats: &Stats) -> Value {
    let millis = |duration: std::time::Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
    json!({
        "rows": stats.rows,
        "elapsed_ms": millis(stats.elapsed),
        "cpu_ms": millis(stats.cpu),
        "bytes_scanned": stats.bytes_scanned,
        "parts": stats.parts,
    })
}

/// The last line of NDJSON.
pub fn end_line(stats: &Stats) -> String {
    let mut end = stats_json(stats);
    end["truncated"] = stats.truncated.into();
    json!({ "$end": end }).to_string()
}

/// The error document, and the member `$error` of NDJSON.
pub fn error_json(error: &Error, query_id: Option<Ulid>) -> Value {
    let position = error.position.map(|at| json!({ "line": at.line, "column": at.column, "offset": at.offset }));
    json!({
        "code": error.code.as_str(),
        "class": error.class().as_str(),
        "message": error.message,
        "position": position,
        "hint": error.hint,
        "query_id": query_id.map(|id| id.to_string()),
    })
}

/// A store position as RFC 3339 with 6 digits.
pub fn time_text(us: i64) -> String {
    rfc3339(i128::from(us) * 1_000, 6)
}
