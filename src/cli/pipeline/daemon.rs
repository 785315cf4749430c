//! What the commands of `pipeline` ask of a daemon.
//!
//! Duty: find it, make a call that changes something, read rows and show them. Guarantee: a refusal is shown with its
//! code and findings, and has the exit code of design.md. Left to others: the connection (`sql::ask`).

use anyhow::Context as _;
use bpmn::diagnostic::Severity;
use serde_json::{Map, Value, json};

use super::{Format, printable};
use crate::cli::exit::{self, Exit};
use crate::cli::output::{self, Output};
pub(super) use crate::cli::sql::ask::Daemon;
use crate::cli::sql::ask::Target;
use crate::cli::sql::{self, Failure};
use crate::clock::Clock;
use crate::query::render::value::write_json;

/// A row by column name.
pub(in crate::cli) type Row = Map<String, Value>;

/// Posts `body`; the answer's JSON.
pub(super) async fn call(target: &Target, path: &str, body: &Value, key: Option<&str>) -> Result<Value, exit::Failure> {
    match target.post_json(path, body, key).await? {
        Ok(answer) => Ok(answer),
        Err(problem) => Err(refused(&problem)),
    }
}

/// All rows of `sql`.
pub(in crate::cli) async fn rows(target: &Target, sql: &str, params: Row) -> Result<Vec<Row>, Failure> {
    let (schema, batches) = sql::rows_of_daemon(target, sql, params).await?;
    let mut rows = Vec::new();
    for batch in &batches {
        for at in 0..batch.num_rows() {
            let mut row = Row::new();
            for (field, column) in schema.fields().iter().zip(batch.columns()) {
                let mut text = Vec::new();
                let unreadable = |error: &dyn std::fmt::Display| {
                    Failure::Broken(format!("column `{}` of the answer cannot be read: {error}", field.name()))
                };
                write_json(column, at, &mut text).map_err(|error| unreadable(&error))?;
                let value = serde_json::from_slice(&text).map_err(|error| unreadable(&error))?;
                row.insert(field.name().clone(), value);
            }
            rows.push(row);
        }
    }
    Ok(rows)
}

/// Writes all rows of `sql`: JSON is an object with `name`, text a box on a terminal, else a row a line. A reader that
/// left, `| head`, is no failure.
pub(in crate::cli) async fn show(
    target: &Target,
    (sql, params): (String, Row),
    (format, name): (Format, &str),
    clock: &Clock,
) -> anyhow::Result<Exit> {
    if format == Format::Json {
        let rows = rows(target, &sql, params).await.map_err(exit::Failure::from)?;
        super::print(&(serde_json::to_string_pretty(&json!({ name: rows })).context("write JSON")? + "\n"))?;
        return Ok(Exit::Good);
    }
    let (schema, batches) = sql::rows_of_daemon(target, &sql, params).await.map_err(exit::Failure::from)?;
    let mut out = std::io::BufWriter::new(std::io::stdout());
    match output::write(Output::chosen(None), &schema, &batches, clock, &mut out) {
        Ok(()) | Err(Failure::Pipe) => Ok(Exit::Good),
        Err(failure) => Err(exit::Failure::from(failure).into()),
    }
}

/// A problem of the API as a failure: findings first, one a line.
fn refused(problem: &Value) -> exit::Failure {
    let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut message: String = problem
        .get("diagnostics")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|finding| line(finding) + "\n")
        .collect();
    message.push_str(&printable(&format!("{}: {}", text("code"), text("detail"))));
    let next = if text("hint").is_empty() { next_move(text("code")) } else { text("hint") };
    if !next.is_empty() {
        message.push_str(&format!("; {}", printable(next)));
    }
    let exit = match problem.get("status").and_then(Value::as_u64) {
        Some(503 | 401 | 403) => Exit::Unavailable,
        Some(422) if text("code") == "invalid-definition" => Exit::Config,
        _ => Exit::Bad,
    };
    exit::Failure::new(exit, message)
}

/// What to do at a command line about a refusal that has no hint of its own.
fn next_move(code: &str) -> &'static str {
    match code {
        "ambiguous-start" => "give it with --start",
        "not-found" => "`weavergen sql \"SELECT process_id, version FROM pipeline_definitions\"` lists what there is",
        _ => "",
    }
}

/// A finding as `pipeline check` prints it.
fn line(finding: &Value) -> String {
    let text = |name: &str| finding.get(name).and_then(Value::as_str).unwrap_or_default();
    let number =
        |name: &str| finding.get(name).and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok()).unwrap_or(0);
    let severity = [Severity::Error, Severity::Warning, Severity::Info]
        .into_iter()
        .find(|severity| severity.to_string() == text("severity"))
        .unwrap_or(Severity::Error);
    let at = bpmn::diagnostic::At { offset: 0, length: 0, line: number("line"), column: number("column") };
    let mut shown = bpmn::diagnostic::Diagnostic::new(text("rule"), severity, at, text("message"), text("fix"));
    shown.file = text("file").to_owned();
    shown.element = finding.get("element").and_then(Value::as_str).map(str::to_owned);
    printable(&shown.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_file_shows_its_findings_and_ends_with_78() {
        let problem = json!({
            "status": 422, "code": "invalid-definition", "detail": "1 finding(s)",
            "diagnostics": [{"rule": "dangling-ref", "severity": "error", "file": "a.bpmn", "line": 3, "column": 7,
                "offset": 9, "length": 1, "element": "f", "message": "leads nowhere", "fix": "create `x`", "related": []}],
        });
        let failure = refused(&problem);
        assert_eq!(
            failure.to_string(),
            "a.bpmn:3:7: error dangling-ref [f]: leads nowhere; create `x`\ninvalid-definition: 1 finding(s)"
        );
        assert_eq!(Exit::of(&failure.into()), Exit::Config);
    }

    #[test]
    fn a_refusal_without_a_hint_tells_the_next_move_of_the_command_line() {
        let told = |problem| refused(&problem).to_string();
        let several = json!({"status": 422, "code": "ambiguous-start", "detail": "name one of [\"A\"]"});
        assert_eq!(told(several), "ambiguous-start: name one of [\"A\"]; give it with --start");
        let none = told(json!({"status": 404, "code": "not-found", "detail": "process `x` does not exist"}));
        assert!(none.ends_with("FROM pipeline_definitions\"` lists what there is"), "{none}");
        let hinted = json!({"status": 404, "code": "not-found", "detail": "x", "hint": "look"});
        assert_eq!(told(hinted), "not-found: x; look");
    }

    #[test]
    fn other_refusals_end_with_1_and_an_engine_that_cannot_write_with_69() {
        let exit = |status: u16, code: &str| {
            Exit::of(&refused(&json!({"status": status, "code": code, "detail": "x"})).into())
        };
        assert_eq!(exit(404, "not-found"), Exit::Bad);
        assert_eq!(exit(422, "ambiguous-start"), Exit::Bad);
        assert_eq!(exit(403, "sql.denied"), Exit::Unavailable);
        assert_eq!(exit(503, "unavailable"), Exit::Unavailable);
    }
}
