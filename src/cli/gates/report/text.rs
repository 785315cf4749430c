//! The report for people.
//!
//! Duty: a table from worst to best with evidence below what is not good, and a last line that says how it ended. Guarantee:
//! plain text in columns, so that a log keeps it. Left to others: the lines (`report`).

use std::fmt::Write as _;

use super::{Report, rfc3339};
use crate::cli::gates::worth::Worth;

const HEADS: [&str; 6] = ["verdict", "gate", "key", "value", "wanted", "n"];

/// Renders it.
pub(super) fn render(report: &Report) -> String {
    let mut out = String::new();
    let rows: Vec<[String; 6]> = report
        .lines
        .iter()
        .map(|line| {
            [
                word(line.worth).to_owned(),
                line.gate.clone(),
                one_line(line.key_shown()),
                line.value_shown(),
                line.wanted(),
                line.n.map_or_else(|| "-".to_owned(), |n| n.to_string()),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let wide = |at: usize| {
            let cells = rows.iter().map(|row| row[at].chars().count());
            cells.chain([HEADS[at].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..HEADS.len()).map(wide).collect();
        let mut put = |cells: [&str; 6]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
        };
        put(HEADS);
        for row in &rows {
            put([&row[0], &row[1], &row[2], &row[3], &row[4], &row[5]].map(String::as_str));
        }
        let notable: Vec<_> =
            report.lines.iter().filter(|line| line.worth != Worth::Passed || line.why.is_some()).collect();
        if !notable.is_empty() {
            out.push('\n');
        }
        for line in notable {
            let _ = writeln!(
                out,
                "{} {} {}: {}",
                word(line.worth),
                line.gate,
                one_line(line.key_shown()),
                one_line(&line.sentence())
            );
            let _ = writeln!(out, "     at {}:{}", line.file, line.line);
            let evidence = line.evidence_shown();
            if !evidence.is_empty() {
                let _ = writeln!(out, "     {}", one_line(&evidence));
            }
        }
    }
    for (gate, why) in &report.overflows {
        let _ = writeln!(out, "not judged {gate}: {why}; group the query by fewer values or raise the group's `limit`");
    }
    if !out.is_empty() {
        out.push('\n');
    }
    if let (Some(first), Some(last)) = (report.input.first_ns, report.input.last_ns) {
        let _ = writeln!(
            out,
            "{} judged {}, {} to {}",
            report.input.source,
            report.judge.as_str(),
            rfc3339(first),
            rfc3339(last)
        );
    }
    let _ = writeln!(out, "{} (exit {})", report.sum(), report.exit as u8);
    out
}

const fn word(worth: Worth) -> &'static str {
    match worth {
        Worth::Failed => "FAIL",
        Worth::Error => "not judged",
        Worth::Warned => "warn",
        Worth::Passed => "pass",
        Worth::Skipped => "skip",
    }
}

fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}
