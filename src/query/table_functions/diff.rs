//! `trace_diff`: what changed from one trace to another.
//!
//! Duty: columns and rows, one a path of (service, name, kind). Guarantee: every span of both traces counts in one row.
//! Left to others: the alignment (`forest::diff`).

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, StringViewArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;

use super::arguments::Call;
use super::columns::{self, Rows, number, text};
use super::computed::Computed;
use super::gather::{Batches, Step};
use crate::query::forest::Forest;
use crate::query::forest::diff::{self, Row, Side};
use crate::span::TraceId;

/// Labels of a path that are shown, the last ones, and the bytes of each.
const SHOWN: usize = 12;
const LABEL_BYTES: usize = 80;
/// A duration is another one if it differs by more than one part in so many.
const NOTICED: i64 = 10;

fn schema() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            text("path"),
            text("service_name"),
            text("name"),
            number("count_a"),
            number("count_b"),
            number("duration_a_ns"),
            number("duration_b_ns"),
            number("delta_ns"),
            text("status_a"),
            text("status_b"),
            text("change"),
        ]))
    });
    &SCHEMA
}

/// `trace_diff(a, b)`.
pub fn trace_diff(call: &Call<'_>, _: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(2..=2, "two traces")?;
    let (a, b) = (call.trace(0)?, call.trace(1)?);
    let sql = columns::reading(&format!("trace_id IN (trace_id('{a}'), trace_id('{b}'))"));
    let step = Step(Arc::new(move |batch| rows(&Rows::try_new(batch)?, a, b)));
    Ok(Computed::gathered(call.name, schema().clone(), sql, Vec::new(), step))
}

/// The spans of one trace.
struct Half {
    /// Their rows.
    rows: Vec<usize>,
    forest: Forest,
    labels: Vec<usize>,
}

/// Service, name and kind of spans.
struct Words {
    service: StringViewArray,
    name: StringViewArray,
    kind: StringViewArray,
    status: StringViewArray,
}

impl Half {
    fn of<'a>(
        trace: TraceId,
        rows: &Rows,
        words: &'a Words,
        known: &mut HashMap<(&'a str, &'a str, &'a str), usize>,
        labels: &mut Vec<usize>,
    ) -> Self {
        let all = rows.spans();
        let own: Vec<usize> = rows.traces().enumerate().filter(|(_, of)| *of == trace.0).map(|(row, _)| row).collect();
        let forest = Forest::new(own.iter().map(|row| all[*row]).collect());
        let of = |row: &usize| {
            let key = (words.service.value(*row), words.name.value(*row), words.kind.value(*row));
            *known.entry(key).or_insert_with(|| {
                labels.push(*row);
                labels.len() - 1
            })
        };
        let own_labels = own.iter().map(of).collect();
        Self { rows: own, forest, labels: own_labels }
    }

    fn side(&self) -> Side<'_> {
        Side { forest: &self.forest, labels: &self.labels }
    }

    fn duration_ns(&self, spans: &[usize]) -> i64 {
        spans.iter().fold(0, |sum, at| sum.saturating_add(self.forest.spans()[*at].duration_ns))
    }

    /// `error` if one span has it, else `ok` if one has it.
    fn status(&self, spans: &[usize], words: &Words) -> Option<&'static str> {
        let has = |status: &str| spans.iter().any(|at| words.status.value(self.rows[*at]) == status);
        let known = ["error", "ok"].into_iter().find(|status| has(status));
        (!spans.is_empty()).then(|| known.unwrap_or("unset"))
    }
}

fn rows(rows: &Rows, a: TraceId, b: TraceId) -> Result<Batches> {
    let words = Words { service: rows.words(3)?, name: rows.words(4)?, kind: rows.words(5)?, status: rows.words(6)? };
    let (mut known, mut labels) = (HashMap::new(), Vec::new());
    let a = Half::of(a, rows, &words, &mut known, &mut labels);
    let b = Half::of(b, rows, &words, &mut known, &mut labels);
    drop(known);
    let lines = diff::rows(a.side(), b.side());
    Ok(columns::batches(lines.len(), move |range| {
        let shown = &lines[range.clone()];
        let label = |line: &Row| labels[line.label];
        let texts = |of: &dyn Fn(&Row) -> Option<String>| -> ArrayRef {
            Arc::new(StringArray::from_iter(shown.iter().map(of)))
        };
        let numbers =
            |of: &dyn Fn(&Row) -> Option<i64>| -> ArrayRef { Arc::new(Int64Array::from_iter(shown.iter().map(of))) };
        let count = |spans: &[usize]| Some(i64::try_from(spans.len()).unwrap_or(i64::MAX));
        let sum = |half: &Half, spans: &[usize]| (!spans.is_empty()).then(|| half.duration_ns(spans));
        let paths = range.map(|at| path(&lines, at, |line| named(&words, label(line))));
        let columns = vec![
            Arc::new(StringArray::from_iter_values(paths)) as ArrayRef,
            texts(&|line| Some(words.service.value(label(line)).to_owned())),
            texts(&|line| Some(words.name.value(label(line)).to_owned())),
            numbers(&|line| count(&line.a)),
            numbers(&|line| count(&line.b)),
            numbers(&|line| sum(&a, &line.a)),
            numbers(&|line| sum(&b, &line.b)),
            numbers(&|line| Some(b.duration_ns(&line.b).saturating_sub(a.duration_ns(&line.a)))),
            texts(&|line| a.status(&line.a, &words).map(str::to_owned)),
            texts(&|line| b.status(&line.b, &words).map(str::to_owned)),
            texts(&|line| {
                let (before, after) = (sum(&a, &line.a), sum(&b, &line.b));
                Some(change(before, after).to_owned())
            }),
        ];
        Ok(RecordBatch::try_new(schema().clone(), columns)?)
    }))
}

fn change(before_ns: Option<i64>, after_ns: Option<i64>) -> &'static str {
    match (before_ns, after_ns) {
        (None, _) => "added",
        (_, None) => "removed",
        (Some(before), Some(after)) => match after.saturating_sub(before) {
            delta if delta > before / NOTICED => "slower",
            delta if delta < -(before / NOTICED) => "faster",
            _ => "same",
        },
    }
}

/// The labels from the root to a line, the last ones of a long path.
fn path(lines: &[Row], at: usize, label: impl Fn(&Row) -> String) -> String {
    let mut above = std::iter::successors(Some(at), |at| lines[*at].above);
    let mut labels: Vec<String> = above.by_ref().take(SHOWN).map(|at| label(&lines[at])).collect();
    if above.next().is_some() {
        labels.push("…".to_owned());
    }
    labels.reverse();
    labels.join(" > ")
}

fn named(words: &Words, row: usize) -> String {
    let mut label = format!("{} {}", words.service.value(row), words.name.value(row));
    if label.len() > LABEL_BYTES {
        let end = (0..=LABEL_BYTES).rev().find(|at| label.is_char_boundary(*at)).unwrap_or(0);
        label.truncate(end);
        label.push('…');
    }
    label
}
