//! A box with a header, a type row and the first 40 rows.
//!
//! Duty: numbers right, ids in hex, long text cut in the middle, and how many rows there are. Guarantee: no text of a
//! span can move the cursor or colour the terminal. Left to others: where rows come from.

use std::io::Write;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use comfy_table::{Cell, CellAlignment, ContentArrangement, Table};

use super::super::sql::{Failure, Rows};
use crate::query::render::arrow::type_name;
use crate::query::render::value::text;
use crate::query::{Code, Error};

const SHOWN: usize = 40;
/// Characters of a cell.
const WIDEST: usize = 60;

/// Writes the box of `rows`, of which at most `most` count.
pub async fn write(rows: &mut Rows, most: u64, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let schema = rows.schema();
    let (mut kept, mut count): (Vec<RecordBatch>, u64) = (Vec::new(), 0);
    while let Some(batch) = rows.next().await? {
        let shown = usize::try_from(count).unwrap_or(usize::MAX);
        if shown < SHOWN {
            kept.push(rows.shown(&batch.slice(0, batch.num_rows().min(SHOWN - shown))));
        }
        count += batch.num_rows() as u64;
    }
    let more = count > most || rows.truncated();
    out.write_all(render(&schema, &kept, count.min(most), more)?.as_bytes())?;
    Ok(())
}

/// The box of `batches`, of a result with `count` rows, or with more.
pub fn render(schema: &Schema, batches: &[RecordBatch], count: u64, more: bool) -> Result<String, Failure> {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    let types: Vec<String> = schema.fields().iter().map(|field| type_name(field)).collect();
    let numbers: Vec<bool> = types.iter().map(|of| is_number(of)).collect();
    let cell = |text: String, number: bool| {
        Cell::new(text).set_alignment(if number { CellAlignment::Right } else { CellAlignment::Left })
    };
    let names =
        schema.fields().iter().zip(&types).map(|(field, of)| format!("{}\n{}", elided(field.name()), elided(of)));
    table.set_header(names.zip(&numbers).map(|(text, number)| cell(text, *number)));
    let mut left = usize::try_from(count).unwrap_or(usize::MAX).min(SHOWN);
    for batch in batches {
        for row in 0..batch.num_rows().min(left) {
            let mut cells = Vec::with_capacity(types.len());
            for (column, number) in batch.columns().iter().zip(&numbers) {
                let text = text(column, row)
                    .map_err(|error| Error::new(Code::Internal, format!("a value cannot be shown: {error}")))?;
                cells.push(cell(text.map_or_else(|| "∅".to_owned(), |text| elided(&text)), *number));
            }
            table.add_row(cells);
        }
        left -= batch.num_rows().min(left);
    }
    let plus = if more { "+" } else { "" };
    let footer = match count {
        1 if !more => "1 row".to_owned(),
        count if count > SHOWN as u64 => format!("… {count}{plus} rows ({SHOWN} shown)"),
        count => format!("{count}{plus} rows"),
    };
    let body = if schema.fields().is_empty() { String::new() } else { format!("{table}\n") };
    Ok(format!("{body}{footer}\n"))
}

fn is_number(of: &str) -> bool {
    of == "BIGINT" || of == "DOUBLE" || of.starts_with("DECIMAL")
}

/// One line, without control characters, cut in the middle.
fn elided(text: &str) -> String {
    let mut shown = String::new();
    for c in text.chars() {
        match c {
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            // Also the marks that turn the direction of writing: they would reorder the box.
            c if c.is_control()
                || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}') =>
            {
                shown.push('�');
            }
            c => shown.push(c),
        }
    }
    let length = shown.chars().count();
    if length <= WIDEST {
        return shown;
    }
    let half = (WIDEST - 1) / 2;
    let head: String = shown.chars().take(WIDEST - 1 - half).collect();
    let tail: String = shown.chars().skip(length - half).collect();
    format!("{head}…{tail}")
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
    fn forty_rows_are_shown_and_all_are_counted() {
        let values: ArrayRef = Arc::new(Int64Array::from_iter_values(0..40));
        let batch = RecordBatch::try_from_iter([("n", values)]).unwrap();
        let shown = |count, more| render(&batch.schema(), std::slice::from_ref(&batch), count, more).unwrap();
        assert!(shown(40, false).ends_with("\n40 rows\n"));
        assert!(shown(123, false).ends_with("\n… 123 rows (40 shown)\n"));
        assert!(shown(10_000, true).ends_with("\n… 10000+ rows (40 shown)\n"));
        let one = render(&batch.schema(), &[batch.slice(3, 1)], 1, false).unwrap();
        assert!(one.contains("│      3 │") && one.ends_with("\n1 row\n"), "{one}");
        assert!(shown(0, false).ends_with("\n0 rows\n"));
    }
}
