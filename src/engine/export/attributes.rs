//! Attributes of step spans that are more than a field of an event (bpmn.md 15).
//!
//! Duty: values, addresses, and what jobs of our types add. Guarantee: of a job's result only numbers that say nothing of
//! variables. Left to others: which span gets which (`trace`).

use bpmn::core::Variables;

use super::Value;
use super::drawn::Task;

/// An attribute: its key and its value.
pub(super) type Attribute = (&'static str, Value);

pub(super) fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

pub(super) fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

/// RFC 3339.
pub(super) fn instant(ms: i64) -> Value {
    text(jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string()))
}

/// `id` as a part of an address.
pub(super) fn in_address(id: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:".contains(byte);
    id.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Numbers that the result of a job gives its span.
pub(super) fn of_result(job_type: &str, result: &Variables) -> Vec<Attribute> {
    use bpmn::core::Value as V;
    match job_type {
        "sql" => {
            let rows = match (result.get("rows"), result.get("row")) {
                (Some(V::List(rows)), _) => Some(rows.len() as u64),
                (_, Some(V::Null)) => Some(0),
                (_, Some(_)) => Some(1),
                _ => None,
            };
            rows.map(|rows| ("db.response.returned_rows", int(rows))).into_iter().collect()
        }
        "command" => {
            let code = result.get("exitCode").and_then(V::as_i64);
            code.map(|code| ("process.exit.code", Value::Int(code))).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

/// What the file says of a job, as attributes of its attempts.
pub(super) fn of_file(job_type: &str, task: Option<&Task>) -> Vec<Attribute> {
    let from = |key, of: fn(&Task) -> &Option<String>| task.and_then(|task| of(task).as_ref().map(|v| (key, text(v))));
    match job_type {
        "sql" => [
            Some(("db.system.name", text("weavergen"))),
            from("db.query.summary", |task| &task.query_file),
            from("db.query.text", |task| &task.query),
        ]
        .into_iter()
        .flatten()
        .collect(),
        "command" => from("process.executable.name", |task| &task.command).into_iter().collect(),
        _ => Vec::new(),
    }
}
