//! A Markdown table.
//!
//! Duty: all rows, numbers right. Guarantee: a value is one cell, whatever is in it; NULL is an empty cell. Left to others:
//! where rows come from (`stream`).

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;

use super::super::sql::Failure;
use super::boxes::is_number;
use super::cell::{line, value};
use crate::query::render::arrow::type_name;

/// The two lines above the rows.
pub fn head(schema: &Schema) -> String {
    let names = schema.fields().iter().map(|field| cell(&line(field.name())));
    let rules = schema.fields().iter().map(|field| if is_number(&type_name(field)) { "---:" } else { "---" });
    format!("{}{}", row(names), row(rules.map(str::to_owned)))
}

/// The lines of `batch`.
pub fn rows(batch: &RecordBatch) -> Result<String, Failure> {
    let mut text = String::new();
    for at in 0..batch.num_rows() {
        let cells = batch.columns().iter().map(|column| Ok(cell(&value(column, at)?.unwrap_or_default())));
        text += &row(cells.collect::<Result<Vec<_>, Failure>>()?.into_iter());
    }
    Ok(text)
}

fn row(cells: impl Iterator<Item = String>) -> String {
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

/// What has a meaning in Markdown or in the HTML that it lets through stands for itself.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => cell.push_str("&lt;"),
            '&' => cell.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '~' | '$' => cell.extend(['\\', c]),
            c => cell.push(c),
        }
    }
    cell
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn every_value_is_one_cell() {
        let batch = RecordBatch::try_from_iter([
            ("span_id", Arc::new(StringArray::from(vec![Some("a|b\n<img>"), None])) as ArrayRef),
            ("n", Arc::new(Int64Array::from(vec![5, 6])) as ArrayRef),
        ])
        .unwrap();
        let text = head(&batch.schema()) + &rows(&batch).unwrap();
        assert_eq!(text, "| span\\_id | n |\n| --- | ---: |\n| a\\|b\\\\n&lt;img> | 5 |\n|  | 6 |\n");
    }
}
