//! CSV as RFC 4180 has it: NULL is empty, empty text is `""`.

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;

use super::value;

/// The header line.
pub fn csv_header(schema: &SchemaRef) -> String {
    let names: Vec<_> = schema.fields().iter().map(|field| escape(field.name())).collect();
    names.join(",") + "\r\n"
}

/// The rows of `batch`, a line each.
pub fn csv_rows(batch: &RecordBatch) -> String {
    let mut out = String::new();
    for row in 0..batch.num_rows() {
        for (at, column) in batch.columns().iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            if let Some(text) = value::text(column, row) {
                out.push_str(&escape(&text));
            }
        }
        out.push_str("\r\n");
    }
    out
}

fn escape(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains([',', '"', '\n', '\r']);
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}
