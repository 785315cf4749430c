//! The report as annotations of GitHub Actions (gates.md 12).
//!
//! Duty: `::error` and `::warning` at the line of the gate, at most 10 of each, worst first, and one `::notice` with totals.
//! Guarantee: no text of spans or files can begin a command of its own. Left to others: the lines (`report`).

use std::fmt::Write as _;

use super::Report;
use crate::cli::gates::worth::Worth;

/// What GitHub shows of each level in one step.
const MOST: usize = 10;

/// Renders it.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let is_error = |worth: Worth| matches!(worth, Worth::Failed | Worth::Error);
    let overflows = report.overflows.len();
    let errors = report.lines.iter().filter(|line| is_error(line.worth));
    let warnings = report.lines.iter().filter(|line| line.worth == Worth::Warned);
    let all = [("error", errors.collect::<Vec<_>>()), ("warning", warnings.collect())];
    for (word, lines) in all {
        // Room for what no key says.
        let room = if word == "error" { MOST.saturating_sub(overflows) } else { MOST };
        for line in lines.into_iter().take(room) {
            let title = format!("{} {}", line.gate, line.key_shown());
            let evidence = line.evidence_shown();
            let gap = if evidence.is_empty() { "" } else { "\n" };
            let place = match line.file.starts_with("builtin:") {
                true => String::new(),
                false => format!("file={},line={},", property(&line.file), line.line),
            };
            let text = message(&format!("{}{gap}{evidence}", line.sentence()));
            let _ = writeln!(out, "::{word} {place}title={}::{text}", property(&title));
        }
    }
    for (gate, why) in report.overflows.iter().take(MOST) {
        let _ = writeln!(out, "::error title={}::{}", property(gate), message(why));
    }
    if report.lines.is_empty() {
        let _ = writeln!(out, "::error title=weavergen gates::{}", message(&report.sum()));
    }
    let _ = writeln!(out, "::notice title=weavergen gates::{}", message(&report.sum()));
    out
}

fn message(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    message(text).replace(':', "%3A").replace(',', "%2C")
}
