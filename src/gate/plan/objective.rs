//! Whether the parts of an objective, an assertion and of `exemplars` are about `spans` (gates.md 13, 14, codes 031, 032, 016,
//! 020).
//!
//! Duty: plan predicates by themselves and look up the `by` columns that they are counted by, so that a problem is told where
//! it was written and not in the statement that they become. Left to others: what any gate's SQL must keep to (the parent).

use arrow::datatypes::{DataType, Schema};

use super::super::definition::{Gate, Source};
use super::super::exemplars;
use super::super::gate_keys::Places;
use super::super::problem::Code;
use super::{Planner, Report, listed};
use crate::query::probe::Probe;
use crate::query::{self};
use crate::yaml::Mark;

impl Planner {
    /// Tells what is wrong with the parts of the objective of `gate`. `false`: something is, or there is none.
    pub(super) fn is_about_spans(&self, gate: &Gate, places: &Places, report: &Report<'_>) -> bool {
        let (Some(slo), Some(marks)) = (&gate.slo, &places.slo) else { return false };
        let predicates = [("total", &slo.total, &marks.total), ("good", &slo.good, &marks.good)];
        let found = predicates.map(|(key, text, mark)| self.is_predicate(gate, (Code::Slo, key), text, mark, report));
        match self.of_spans(gate, "*") {
            Ok(spans) => {
                let known =
                    gate.by.iter().zip(&places.by).map(|(name, mark)| is_column(&spans.schema, name, mark, report));
                // All of them are told.
                let known: Vec<bool> = known.collect();
                !known.contains(&false) && found == [true, true]
            }
            Err(error) => {
                report.refused(&error);
                false
            }
        }
    }

    /// Tells what is wrong with the predicates of the assertion of `gate`, if it has one. `false`: something is.
    pub(super) fn asserts_of_spans(&self, gate: &Gate, places: &Places, report: &Report<'_>) -> bool {
        let that = places.assertion.iter().flat_map(|places| &places.that);
        let found = that.map(|(text, mark)| self.is_predicate(gate, (Code::Assertion, "that"), text, mark, report));
        // All of them are told.
        let found: Vec<bool> = found.collect();
        !found.contains(&false)
    }

    /// Tells what is wrong with `exemplars` of `gate`.
    pub(super) fn check_exemplars(&self, gate: &Gate, places: &Places, report: &Report<'_>) {
        let (Some(text), mark) = (&gate.exemplars, &places.exemplars) else { return };
        let is_fine = self.is_predicate(gate, (Code::Plan, "exemplars"), text, mark, report);
        let Ok(spans) = self.of_spans(gate, "*") else { return };
        let unknown: Vec<&String> =
            gate.by.iter().filter(|name| spans.schema.column_with_name(name).is_none()).collect();
        if is_fine
            && unknown.is_empty()
            && let Some(asking) = exemplars::asking(gate)
            && let Err(error) = self.probe(&asking, super::PROBE_ENDS_NS[0])
        {
            let next =
                error.hint.as_deref().unwrap_or("write another condition, or give the query a column `trace_ids`");
            report.tell(Code::Plan, mark, format!("`exemplars`: {}", error.message), next.to_owned());
        }
        for name in unknown {
            let what = format!("`exemplars` finds the spans of a key by `{name}`, and `spans` has no such column");
            let next = "put columns of `spans` into `by`, or give the query a column `trace_ids` instead";
            report.tell(Code::Column, mark, what, next.to_owned());
        }
    }

    fn is_predicate(
        &self,
        gate: &Gate,
        (code, key): (Code, &str),
        text: &str,
        mark: &Mark,
        report: &Report<'_>,
    ) -> bool {
        let probe = match self.of_spans(gate, &format!("({text}) AS value")) {
            Ok(probe) => probe,
            Err(error) => {
                let next = error.hint.as_deref().unwrap_or("`weavergen sql \"describe spans\"` lists the columns");
                report.tell(code, mark, format!("`{key}`: {}", error.message), next.to_owned());
                return false;
            }
        };
        if let Some(name) = probe.unsteady.first() {
            let what =
                format!("`{key}`: `{name}` depends on more than the span: it would not hold again for the same one");
            report.tell(Code::Clock, mark, what, "compare columns of `spans` with literals".to_owned());
            return false;
        }
        match probe.schema.field(0).data_type() {
            DataType::Boolean | DataType::Null => true,
            of => {
                let of = query::sql_type::sql_type(of);
                let what = format!("`{key}` is {of}, a condition is expected");
                report.tell(code, mark, what, "compare it, e.g. `kind = 'server'`".to_owned());
                false
            }
        }
    }

    /// Plans `columns` of the spans of the gate's window.
    fn of_spans(&self, gate: &Gate, columns: &str) -> Result<Probe, query::Error> {
        let sql = format!("SELECT {columns} FROM spans WHERE end_time >= $window_start AND end_time < $window_end");
        let source = Source { sql, explicit_window: true, ..gate.source.clone() };
        let gate = Gate { source, ..gate.clone() };
        self.probe(&gate, super::PROBE_ENDS_NS[0])
    }
}

fn is_column(spans: &Schema, name: &str, mark: &Mark, report: &Report<'_>) -> bool {
    let is_there = spans.column_with_name(name).is_some();
    if !is_there {
        report.tell(Code::Column, mark, format!("`spans` has no column `{name}`"), listed(spans, name));
    }
    is_there
}
