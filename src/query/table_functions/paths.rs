//! `critical_path` of one trace, `critical_path_by` of many.
//!
//! Duty: columns, rows, and which traces. Guarantee: the sections of a trace add up to the duration of its root. Left
//! to others: the sections (`forest::critical`).

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampNanosecondArray};
use arrow::datatypes::{Schema, SchemaRef};
use datafusion::catalog::TableProvider;
use datafusion::common::Result;

use super::arguments::Call;
use super::columns::{self, Rows, double, number, span_id, text, time, word};
use super::computed::{Computed, instant};
use super::gather::{Batches, Step};
use crate::query::derived::moved;
use crate::query::forest::Forest;
use crate::query::forest::critical::{self, Section};

/// Traces that are looked at unless said, and at most.
const TRACES: i64 = 1_000;
const MOST_TRACES: i64 = 100_000;

fn schema() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        Arc::new(Schema::new(vec![
            number("seq"),
            span_id("span_id"),
            word("service_name"),
            word("name"),
            time("section_start"),
            time("section_end"),
            number("section_ns"),
            double("share"),
        ]))
    });
    &SCHEMA
}

/// `critical_path(trace)`.
pub fn critical_path(call: &Call<'_>, _: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(1..=1, "a trace")?;
    let sql = columns::of_trace(call.trace(0)?);
    let step = Step(Arc::new(|batch| sections(&Rows::try_new(batch)?)));
    Ok(Computed::gathered(call.name, schema().clone(), sql, Vec::new(), step))
}

fn sections(rows: &Rows) -> Result<Batches> {
    let forest = Forest::new(rows.spans());
    let root = forest.root();
    let sections = root.map(|root| critical::path(&forest, root)).unwrap_or_default();
    let whole_ns = root.map_or(0, |root| forest.spans()[root].duration_ns);
    let rows = rows.clone();
    Ok(columns::batches(sections.len(), move |range| {
        let first = range.start;
        let sections = &sections[range];
        let spans: Vec<usize> = sections.iter().map(|section| section.span).collect();
        let at = |of: fn(&Section) -> i64| -> ArrayRef {
            let times = TimestampNanosecondArray::from_iter_values(sections.iter().map(of));
            Arc::new(times.with_timezone("UTC"))
        };
        let seq = (0..sections.len()).map(|at| i64::try_from(first + at + 1).unwrap_or(i64::MAX));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from_iter_values(seq))];
        columns.extend(rows.take(&spans, &[1, 3, 4])?);
        columns.extend([
            at(|section| section.start_ns),
            at(|section| section.end_ns),
            Arc::new(Int64Array::from_iter_values(sections.iter().map(Section::ns))) as ArrayRef,
            Arc::new(Float64Array::from_iter_values(sections.iter().map(|s| share(s.ns().into(), whole_ns.into())))),
        ]);
        Ok(RecordBatch::try_new(schema().clone(), columns)?)
    }))
}

/// What sections are summed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Service,
    Operation,
}

impl By {
    fn schema(self) -> SchemaRef {
        let mut fields = vec![text("service_name")];
        if self == Self::Operation {
            fields.push(text("name"));
        }
        fields.extend([number("section_ns"), double("share"), number("traces")]);
        Arc::new(Schema::new(fields))
    }
}

/// `critical_path_by(predicate, from, to, by [, max_traces])`: of the newest traces of which a span begins in the time
/// and fits. Spans further from the time than `window` are not read.
pub fn critical_path_by(call: &Call<'_>, window: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(4..=5, "a condition, two times, 'service' or 'operation' and perhaps how many traces")?;
    let predicate = call.predicate(0)?;
    let (from, to) = call.time(1)?;
    let by = match call.text(3, "'service' or 'operation'")? {
        "service" => By::Service,
        "operation" => By::Operation,
        _ => return Err(call.wrong("takes 'service' or 'operation' as argument 4")),
    };
    let traces = match call.value(4)? {
        None => TRACES,
        Some(_) => call.number(4, "how many traces", 1..=MOST_TRACES)?,
    };
    let window_ns = i64::try_from(window.as_nanos()).unwrap_or(i64::MAX);
    let (lo, hi) = (instant(moved(from, -window_ns)), instant(moved(to, window_ns)));
    let (from, to) = (instant(from), instant(to));
    let sql = columns::reading(&format!(
        "start_time >= {lo} AND start_time < {hi} AND trace_id IN (SELECT trace_id FROM (SELECT trace_id, \
         max(start_time) AS newest FROM spans WHERE start_time >= {from} AND start_time < {to} AND $predicate \
         GROUP BY trace_id ORDER BY newest DESC, trace_id LIMIT {traces}) AS picked)"
    ));
    let step = Step(Arc::new(move |batch| summed(&Rows::try_new(batch)?, by)));
    Ok(Computed::gathered(call.name, by.schema(), sql, vec![("predicate", predicate)], step))
}

/// Time on critical paths, and the traces in which there was any.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    ns: i128,
    traces: i64,
}

fn summed(rows: &Rows, by: By) -> Result<Batches> {
    let all = rows.spans();
    let mut traces: BTreeMap<[u8; 16], Vec<usize>> = BTreeMap::new();
    for (row, trace) in rows.traces().enumerate() {
        traces.entry(trace).or_default().push(row);
    }
    let (services, names) = (rows.words(3)?, rows.words(4)?);
    let mut sums: BTreeMap<(&str, Option<&str>), Sum> = BTreeMap::new();
    for rows in traces.values() {
        let forest = Forest::new(rows.iter().map(|row| all[*row]).collect());
        let Some(root) = forest.root() else { continue };
        let mut own: HashMap<(&str, Option<&str>), i128> = HashMap::new();
        for section in critical::path(&forest, root) {
            let row = rows[section.span];
            let name = (by == By::Operation).then(|| names.value(row));
            *own.entry((services.value(row), name)).or_default() += i128::from(section.ns());
        }
        for (key, ns) in own {
            let sum = sums.entry(key).or_default();
            sum.ns += ns;
            sum.traces += 1;
        }
    }
    let whole: i128 = sums.values().map(|sum| sum.ns).sum();
    let mut lines: Vec<_> = sums.into_iter().collect();
    // Equal ones stay in the order of their names.
    lines.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.ns));
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(StringArray::from_iter_values(lines.iter().map(|((service, _), _)| *service)))];
    if by == By::Operation {
        columns.push(Arc::new(StringArray::from_iter(lines.iter().map(|((_, name), _)| *name))));
    }
    let ns = lines.iter().map(|(_, sum)| i64::try_from(sum.ns).unwrap_or(i64::MAX));
    columns.extend([
        Arc::new(Int64Array::from_iter_values(ns)) as ArrayRef,
        Arc::new(Float64Array::from_iter_values(lines.iter().map(|(_, sum)| share(sum.ns, whole)))),
        Arc::new(Int64Array::from_iter_values(lines.iter().map(|(_, sum)| sum.traces))),
    ]);
    Ok(Box::new(std::iter::once(Ok(RecordBatch::try_new(by.schema(), columns)?))))
}

/// There is a part only of what is longer than 0.
#[allow(clippy::cast_precision_loss, reason = "a share is a double")]
fn share(part: i128, whole: i128) -> f64 {
    part as f64 / whole as f64
}
