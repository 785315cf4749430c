//! A box with a header, a type row and the first 40 rows.
//!
//! Duty: numbers right, ids in hex, long text cut in the middle, and how many rows there are. Guarantee: no text of a
//! span can move the cursor or colour the terminal. Left to others: where rows come from (`stream`), what a cell may show
//! (`cell`).

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::super::sql::Failure;
use super::cell::{elided, line, shown, value};
use crate::query::render::arrow::type_name;
use crate::query::render::value::text;
use crate::query::{Code, Error};

/// The columns of EXPLAIN.
const PLAN: [&str; 2] = ["plan_type", "plan"];
/// Rows of a box.
pub const SHOWN: usize = 40;
/// Characters of a cell.
const WIDEST: usize = 60;

/// The box of `batches`, of a result with `count` rows, or with more.
pub fn render(schema: &Schema, batches: &[RecordBatch], count: u64, more: bool) -> Result<String, Failure> {
    if schema.fields().iter().map(|field| field.name().as_str()).eq(PLAN) {
        return plans(batches);
    }
    let body = table(schema, batches, SHOWN, WIDEST)?;
    Ok(format!("{body}{}\n", footer(count, more)))
}

/// What EXPLAIN says, line by line and whole: a plan that is cut tells nobody anything.
fn plans(batches: &[RecordBatch]) -> Result<String, Failure> {
    let mut shown = String::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            shown.push_str(&value(batch.column(0), row)?.unwrap_or_default());
            shown.push('\n');
            let plan = text(batch.column(1), row).map_err(|error| Error::new(Code::Internal, error.to_string()))?;
            for of_plan in plan.unwrap_or_default().lines() {
                shown.push_str("  ");
                shown.push_str(&line(of_plan));
                shown.push('\n');
            }
        }
    }
    Ok(shown)
}

/// The first `rows` of `batches`, whose cells have at most `width` characters.
pub fn table(schema: &Schema, batches: &[RecordBatch], rows: usize, width: usize) -> Result<String, Failure> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    let types: Vec<String> = schema.fields().iter().map(|field| type_name(field)).collect();
    let numbers: Vec<bool> = types.iter().map(|of| is_number(of)).collect();
    let cell = |text: String, number: bool| {
        Cell::new(text).set_alignment(if number { CellAlignment::Right } else { CellAlignment::Left })
    };
    let names = schema
        .fields()
        .iter()
        .zip(&types)
        .map(|(field, of)| format!("{}\n{}", elided(field.name(), width), elided(of, width)));
    table.set_header(names.zip(&numbers).map(|(text, number)| cell(text, *number)));
    let mut left = rows;
    for batch in batches {
        for row in 0..batch.num_rows().min(left) {
            let mut cells = Vec::with_capacity(types.len());
            for (column, number) in batch.columns().iter().zip(&numbers) {
                cells.push(cell(elided(&shown(column, row)?, width), *number));
            }
            table.add_row(cells);
        }
        left -= batch.num_rows().min(left);
    }
    Ok(if schema.fields().is_empty() { String::new() } else { format!("{table}\n") })
}

/// How many rows there are, and how many of them are shown.
pub fn footer(count: u64, more: bool) -> String {
    let plus = if more { "+" } else { "" };
    match count {
        1 if !more => "1 row".to_owned(),
        count if count > SHOWN as u64 => format!("… {count}{plus} rows ({SHOWN} shown)"),
        count => format!("{count}{plus} rows"),
    }
}

/// Whether a type stands at the right.
pub fn is_number(of: &str) -> bool {
    of == "BIGINT" || of == "DOUBLE" || of.starts_with("DECIMAL")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, FixedSizeBinaryArray, Float64Array, Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_box_has_types_numbers_right_ids_in_hex_and_long_text_cut() {
        let ids = FixedSizeBinaryArray::try_from_iter([[0xab_u8; 8], [1; 8]].into_iter()).unwrap();
        let long = format!("{}{}", "a".repeat(50), "z".repeat(50));
        let batch = RecordBatch::try_from_iter([
            ("span_id", Arc::new(ids) as ArrayRef),
            ("n", Arc::new(Int64Array::from(vec![Some(5), None])) as ArrayRef),
            ("ms", Arc::new(Float64Array::from(vec![0.5, 1e20])) as ArrayRef),
            ("name", Arc::new(StringArray::from(vec![long.as_str(), "a\u{1b}[31m\nb"])) as ArrayRef),
        ])
        .unwrap();
        let shown = render(&batch.schema(), &[batch], 2, false).unwrap();
        let expected = "\
┌──────────────────┬────────┬────────┬──────────────────────────────────────────────────────────────┐
│ span_id          ┆      n ┆     ms ┆ name                                                         │
│ BINARY(8)        ┆ BIGINT ┆ DOUBLE ┆ TEXT                                                         │
╞══════════════════╪════════╪════════╪══════════════════════════════════════════════════════════════╡
│ abababababababab ┆      5 ┆    0.5 ┆ aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…zzzzzzzzzzzzzzzzzzzzzzzzzzzzz │
│ 0101010101010101 ┆      ∅ ┆  1e+20 ┆ a�[31m\\nb                                                    │
└──────────────────┴────────┴────────┴──────────────────────────────────────────────────────────────┘
2 rows
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_plan_is_shown_whole_line_by_line() {
        let kinds: ArrayRef = Arc::new(StringArray::from(vec!["logical_plan", "physical_plan"]));
        let long = format!("Filter: {}", "a".repeat(100));
        let plans: ArrayRef = Arc::new(StringArray::from(vec!["Scan\u{1b}", &format!("{long}\n  Scan")]));
        let batch = RecordBatch::try_from_iter([("plan_type", kinds), ("plan", plans)]).unwrap();
        let shown = render(&batch.schema(), &[batch], 2, false).unwrap();
        assert_eq!(shown, format!("logical_plan\n  Scan\u{fffd}\nphysical_plan\n  {long}\n    Scan\n"));
    }

    #[test]
    fn forty_rows_are_shown_and_all_are_counted() {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..40));
        let batch = RecordBatch::try_from_iter([("n", values)]).unwrap();
        let shown = |count, more| render(&batch.schema(), std::slice::from_ref(&batch), count, more).unwrap();
        assert!(shown(40, false).ends_with("\n40 rows\n"));
        assert!(shown(123, false).ends_with("\n… 123 rows (40 shown)\n"));
        assert!(shown(10_000, true).ends_with("\n… 10000+ rows (40 shown)\n"));
        let one = render(&batch.schema(), &[batch.slice(3, 1)], 1, false).unwrap();
        assert!(one.contains("│      3 │") && one.ends_with("\n1 row\n"), "{one}");
        let none = render(&batch.schema(), &[], 0, false).unwrap();
        assert!(none.ends_with("\n0 rows\n"), "{none}");
    }
}
