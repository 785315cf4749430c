//! Traces that show why a key does not pass (gates.md 1.2, `exemplars`).
//!
//! Duty: the predicate, the statement that it becomes, and its ids put into rows that have none. Guarantee: a verdict never
//! depends on it: what cannot be read is no evidence. Left to others: running the statement (`evaluator`).

use std::collections::BTreeMap;

use super::definition::{Comparison, EventTime, Gate, Source, StaleAfter, Test};
use super::problem::Code;
use super::reader::Keys;
use super::result::ResultRow;
use crate::span::TraceId;

/// Ids of a key.
const MOST: usize = 5;

/// The predicate of a gate, as its parser prints it.
pub(super) fn read(keys: &Keys<'_>) -> Option<String> {
    let (text, mark) = keys.text("exemplars")?;
    keys.condition_of(Code::Plan, "exemplars", text, mark)
}

/// The gate that asks for the exemplars of `gate`: the newest traces of each key, in the same window and of the same spans.
pub(super) fn asking(gate: &Gate) -> Option<Gate> {
    let predicate = gate.exemplars.as_ref()?;
    let at = match gate.time {
        EventTime::End => "end_time",
        EventTime::Start => "start_time",
    };
    let keys: String = gate.by.iter().map(|column| format!("\"{column}\", ")).collect();
    let partition = match keys.trim_end_matches(", ") {
        "" => String::new(),
        columns => format!("PARTITION BY {columns} "),
    };
    let grouped = match keys.trim_end_matches(", ") {
        "" => String::new(),
        columns => format!(" GROUP BY {columns}"),
    };
    // `by` may name any column of `spans`, also `trace_id`: what is made here is called as none of them.
    let sql = format!(
        "WITH seen AS (\n  SELECT {keys}trace_id AS exemplar_id, {at} AS exemplar_at FROM spans\n  WHERE {at} >= $window_start \
         AND {at} < $window_end AND ({predicate})\n),\nshown AS (\n  SELECT {keys}exemplar_id, max(exemplar_at) AS exemplar_last \
         FROM seen\n  GROUP BY {keys}exemplar_id\n),\nranked AS (\n  SELECT {keys}exemplar_id, row_number() OVER \
         ({partition}ORDER BY exemplar_last DESC, exemplar_id) AS exemplar_place FROM shown\n)\nSELECT {keys}count(*) AS value, \
         array_agg(exemplar_id ORDER BY exemplar_place) AS trace_ids FROM ranked WHERE exemplar_place <= {MOST}{grouped}"
    );
    let any = Comparison { text: ">= 0".to_owned(), test: Test::AtLeast(0.0) };
    Some(Gate {
        // No gate has a blank in its name, so what is kept of it is kept apart.
        name: format!("{} exemplars", gate.name),
        source: Source { sql, path: None, line: 0, explicit_window: true, is_derived: false },
        slo: None,
        assertion: None,
        baseline: None,
        value_column: "value".to_owned(),
        n_column: "n".to_owned(),
        min_samples: 0,
        conclusive_when: None,
        pass: any.clone(),
        warn: None,
        clear: any,
        stale_after: StaleAfter::Never,
        exemplars: None,
        ..gate.clone()
    })
}

/// Gives the ids of `found` to those of `rows` that have none.
pub(super) fn fill(rows: &mut [ResultRow], found: Vec<ResultRow>) {
    let ids: BTreeMap<BTreeMap<String, String>, Vec<TraceId>> =
        found.into_iter().map(|row| (row.key, row.trace_ids)).collect();
    for row in rows.iter_mut().filter(|row| row.trace_ids.is_empty()) {
        if let Some(ids) = ids.get(&row.key) {
            row.trace_ids.clone_from(ids);
        }
    }
}
