//! Whether the statement of a gate with `on: ingest` is about `spans` (gates.md 8, codes 016 to 019).
//!
//! Duty: plan it as it was written, so that a problem is told where it was written and not in the statements that it becomes.
//! Left to others: its shape (`arrivals`), what any gate's SQL must keep to (the parent).

use super::super::definition::{Gate, On, Source};
use super::{PROBE_ENDS_NS, Planner, Report};
use crate::query::place_of;

impl Planner {
    /// Tells what is wrong with the statement by which `gate` matches spans, if it has one. `false`: something is.
    pub(super) fn matches_spans(&self, gate: &Gate, report: &Report<'_>) -> bool {
        let On::Ingest(matching) = &gate.on else { return true };
        let source = Source { sql: matching.written.clone(), explicit_window: false, ..gate.source.clone() };
        let written = Gate { source, ..gate.clone() };
        let report =
            Report { gate: &written, who: report.who.clone(), source: report.source, problems: report.problems };
        match self.probe(&written, PROBE_ENDS_NS[0]) {
            Ok(probe) => {
                for name in &probe.unsteady {
                    report.unsteady(name, place_of(name, &written.source.sql));
                }
                probe.unsteady.is_empty()
            }
            Err(error) => {
                report.refused(&error);
                false
            }
        }
    }
}
