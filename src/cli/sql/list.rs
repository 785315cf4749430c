//! `--list`: the queries of the library.
//!
//! Duty: name, parameters and sentence of each. Guarantee: a file with a wrong head is listed with what is wrong. Left to
//! others: the files (`query::library`).

use std::io::Write;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};

use super::Failure;
use crate::cli::output::{self, Output, boxes};
use crate::clock::Clock;
use crate::query::library::{Library, Parameter};

/// Characters of a cell: sentences are not cut.
const WIDEST: usize = 140;

pub(super) fn write(
    library: &Library,
    output: Output,
    clock: &Clock,
    out: &mut (dyn Write + Send),
) -> Result<(), Failure> {
    let batch = rows(library);
    if output != Output::Box {
        return output::write(output, &batch.schema(), &[batch], clock, out);
    }
    // All of them, whatever their number.
    let table = boxes::table(&batch.schema(), std::slice::from_ref(&batch), usize::MAX, WIDEST)?;
    let count = batch.num_rows();
    writeln!(out, "{table}{count} queries; `weavergen sql --named QUERY -p name=value` runs one")?;
    Ok(out.flush()?)
}

fn rows(library: &Library) -> RecordBatch {
    let (mut names, mut params, mut about, mut examples) = (vec![], vec![], vec![], vec![]);
    for name in library.names() {
        match library.query(&name) {
            Ok(query) => {
                params.push(query.head.params.iter().map(Parameter::to_string).collect::<Vec<_>>().join(", "));
                about.push(query.head.about.clone());
                examples.push(query.example().map(|values| format!("weavergen sql --named {name} {values}")));
            }
            Err(error) => {
                params.push(String::new());
                about.push(error.to_string());
                examples.push(None);
            }
        }
        names.push(name);
    }
    let text = |texts: Vec<String>| Arc::new(StringArray::from(texts)) as ArrayRef;
    let examples = Arc::new(StringArray::from(examples)) as ArrayRef;
    let columns = [("query", text(names)), ("about", text(about)), ("params", text(params)), ("example", examples)];
    RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
        .expect("the columns have a row for each query")
}
