//! Each row as lines of column and value.
//!
//! Duty: what `\x` shows: all of a value, however long. Guarantee: one line a value, as in a box. Left to others: where
//! rows come from (`stream`).

use arrow::array::RecordBatch;

use super::super::sql::Failure;
use super::boxes::{SHOWN, footer};
use super::cell::{line, shown};

/// The first 40 rows of `batches`, of a result with `count` rows, or with more.
pub fn render(batches: &[RecordBatch], count: u64, more: bool) -> Result<String, Failure> {
    let mut text = String::new();
    let mut number = 0;
    for batch in batches {
        let schema = batch.schema();
        let names: Vec<String> = schema.fields().iter().map(|field| line(field.name())).collect();
        let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
        for row in 0..batch.num_rows() {
            number += 1;
            if number > SHOWN {
                break;
            }
            text += &format!("─ {number} {}\n", "─".repeat(width.max(4)));
            for (name, column) in names.iter().zip(batch.columns()) {
                text += &format!("{name:width$} │ {}\n", shown(column, row)?);
            }
        }
    }
    Ok(format!("{text}{}\n", footer(count, more)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_row_is_a_line_for_each_column() {
        let long = "x".repeat(100);
        let batch = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(vec![Some(5), None])) as ArrayRef),
            ("name", Arc::new(StringArray::from(vec![long.as_str(), "a\nb"])) as ArrayRef),
        ])
        .unwrap();
        let want = format!("─ 1 ────\nn    │ 5\nname │ {long}\n─ 2 ────\nn    │ ∅\nname │ a\\nb\n2 rows\n");
        assert_eq!(render(&[batch], 2, false).unwrap(), want);
    }
}
