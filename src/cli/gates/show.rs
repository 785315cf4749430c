//! What `weavergen gates show` tells beside the daemon's tables (gates.md 10, 12).
//!
//! Duty: how the gate is evaluated, and the verdicts of ticks that are not closed, as the daemon's API has them. Guarantee: they
//! come as rows, in the format of the others, so that who reads those reads them too; without such a verdict there are no rows
//! for it. Left to others: what is provisional (`gate`), state and results (the parent).

use std::io;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, BooleanArray, Float64Array, RecordBatch, StringArray, UInt64Array};
use arrow::datatypes::{Field, Schema};
use serde_json::Value;

use crate::cli::output::{self, Output};
use crate::cli::sql::Failure;
use crate::cli::sql::ask::Target;
use crate::clock::Clock;

/// Verdicts of a tick, the worst first; as many rows as there are of results.
const SHOWN: &str = "20";
/// Columns of the row about the gate.
const ABOUT: [&str; 5] = ["gate", "group", "file", "class", "mode"];
/// Columns of verdicts, named as the daemon names them.
const VERDICT: [&str; 9] = ["key", "outcome", "final", "tick", "value", "n", "window_start", "window_end", "evidence"];

/// Writes what the daemon at `target` says of `gate`, which it has.
///
/// Errors: the daemon cannot be asked; the rows cannot be written.
pub(super) async fn beside_tables(
    target: &Target,
    gate: &str,
    output: Option<Output>,
    clock: &Clock,
) -> Result<(), Failure> {
    let answer = target.look(&format!("/api/v1/gates/{gate}"), &[("limit", SHOWN)]).await?;
    let (output, mut out) = (Output::chosen(output), io::BufWriter::new(io::stdout()));
    for rows in batches(&answer) {
        match output::write(output, &rows.schema(), std::slice::from_ref(&rows), clock, &mut out) {
            // The reader of a pipe had enough.
            Err(Failure::Pipe) => return Ok(()),
            written => written?,
        }
    }
    Ok(())
}

/// The gate, and its provisional verdicts if there are any.
fn batches(answer: &Value) -> Vec<RecordBatch> {
    let mut all = vec![batch(&ABOUT, std::slice::from_ref(answer))];
    let provisional = answer["provisional"].as_array().map_or(&[][..], Vec::as_slice);
    if !provisional.is_empty() {
        all.push(batch(&VERDICT, provisional));
    }
    all
}

fn batch(names: &[&str], rows: &[Value]) -> RecordBatch {
    let column = |name: &&str| -> (Field, ArrayRef) {
        let values = rows.iter().map(|row| &row[*name]);
        let column: ArrayRef = match *name {
            "final" => Arc::new(values.map(Value::as_bool).collect::<BooleanArray>()),
            "value" => Arc::new(values.map(Value::as_f64).collect::<Float64Array>()),
            "n" => Arc::new(values.map(Value::as_u64).collect::<UInt64Array>()),
            "evidence" => Arc::new(values.map(|value| Some(value.to_string())).collect::<StringArray>()),
            _ => Arc::new(values.map(Value::as_str).collect::<StringArray>()),
        };
        (Field::new(*name, column.data_type().clone(), true), column)
    };
    let (fields, columns): (Vec<_>, Vec<_>) = names.iter().map(column).unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("the arrays are those of the schema")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn shown(answer: &Value) -> Vec<String> {
        let clock = Clock::manual(1_700_000_000_000_000_000, 7);
        let mut out = Vec::new();
        for rows in batches(answer) {
            output::write(Output::Ndjson, &rows.schema(), std::slice::from_ref(&rows), &clock, &mut out).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        text.lines().filter(|line| !line.starts_with("{\"$end\"")).map(str::to_owned).collect()
    }

    #[test]
    fn the_class_is_a_row_and_every_provisional_verdict_is_one() {
        let mut answer = json!({
            "gate": "g", "group": "h", "file": "f.yaml", "class": "decomposable", "mode": "enforce", "provisional": [],
        });
        let about = r#"{"gate":"g","group":"h","file":"f.yaml","class":"decomposable","mode":"enforce"}"#;
        assert_eq!(shown(&answer), [about]);
        let at = "2026-01-01T00:00:30Z";
        let of = |key: &str, value: Value| {
            json!({
                "key": key, "labels": {}, "outcome": "fail", "final": false, "value": value, "n": 4, "baseline": null,
                "tick": at, "window_start": at, "window_end": at, "evidence": {"worst": 2}, "trace_ids": [],
            })
        };
        answer["provisional"] = json!([of("service=a", json!(0.5)), of("service=b", Value::Null)]);
        let rows = shown(&answer);
        assert_eq!((rows.len(), rows[0].as_str()), (3, about));
        let first: Value = serde_json::from_str(&rows[1]).unwrap();
        let expected = json!({
            "key": "service=a", "outcome": "fail", "final": false, "tick": at, "value": 0.5, "n": 4, "window_start": at,
            "window_end": at, "evidence": "{\"worst\":2}",
        });
        assert_eq!(first, expected);
        assert!(rows[2].contains(r#""key":"service=b""#) && rows[2].contains(r#""final":false"#), "{}", rows[2]);
    }
}
