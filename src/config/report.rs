//! Problems as text for people and for machines (collector_config.md 4).
//!
//! Duty: `error[WG-CFG-0013]: path: text`, ` --> file:line:column`, `help: …`; or a JSON array. Guarantee: at most 50 are
//! told, and how many more there are; no warning takes the place of an error. Left to others: writing it somewhere.

use std::fmt::Write;

use crate::yaml::Problem;

const MOST: usize = 50;

/// Which form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// A JSON array of objects.
    Json,
}

/// `problems`, in their order.
pub fn render(problems: &[Problem], format: Format) -> String {
    match format {
        Format::Text => text(problems),
        Format::Json => json(problems),
    }
}

const fn severity(problem: &Problem) -> &'static str {
    if problem.code.is_error() { "error" } else { "warning" }
}

/// Those that are told: errors, then as many warnings as there is place for; in the order of `problems`.
fn told(problems: &[Problem]) -> Vec<&Problem> {
    let errors = problems.iter().filter(|problem| problem.code.is_error()).count();
    let (mut errors_left, mut warnings_left) = (MOST, MOST.saturating_sub(errors));
    let takes_place = |problem: &&Problem| {
        let left = if problem.code.is_error() { &mut errors_left } else { &mut warnings_left };
        let has_place = *left > 0;
        *left = left.saturating_sub(1);
        has_place
    };
    problems.iter().filter(takes_place).collect()
}

fn text(problems: &[Problem]) -> String {
    let mut out = String::new();
    let told = told(problems);
    for problem in &told {
        let at = if problem.path.is_empty() { String::new() } else { format!("{}: ", problem.path) };
        let (severity, code, text, mark) = (severity(problem), problem.code, &problem.text, &problem.mark);
        // Writing into a String cannot fail.
        let _ = writeln!(out, "{severity}[{code}]: {at}{text}\n --> {mark}");
        if let Some(help) = &problem.help {
            let _ = writeln!(out, "help: {help}");
        }
    }
    if problems.len() > told.len() {
        let _ = writeln!(out, "… and {} more", problems.len() - told.len());
    }
    out.truncate(out.trim_end().len());
    out
}

fn json(problems: &[Problem]) -> String {
    let object = |problem: &Problem| {
        let position = problem.mark.position();
        serde_json::json!({
            "severity": severity(problem),
            "code": problem.code.to_string(),
            "path": problem.path,
            "message": problem.text,
            "file": problem.mark.source(),
            "line": position.map(|(line, _)| line),
            "column": position.map(|(_, column)| column),
            "help": problem.help,
        })
    };
    serde_json::Value::Array(told(problems).into_iter().map(object).collect()).to_string()
}
