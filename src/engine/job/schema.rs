//! The headers of every job type, as data (bpmn.md 10).
//!
//! Duty: one table for lint, element templates, documentation and the reading of headers. Guarantee: a header that is not
//! in the table is an error, and so is a missing required one; values are read by the table's types. Left to others:
//! FEEL and templates in headers (`engine` evaluates them before a job runs).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bpmn::lint::{HeaderRule, Registry};
use serde_json::{Map, Value};

use crate::yaml::{Size, nearest};

/// What a header holds once it is evaluated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A whole number, not negative.
    Number,
    /// `true` or `false`.
    Bool,
    /// Bytes: a number, or text with a unit, `1MiB`.
    Size,
    /// A list; as literal text, a JSON array.
    List,
    /// A context; as literal text, a JSON object.
    Map,
    /// An instant: ms since 1970, or ISO 8601 with an offset.
    Instant,
    /// A duration: ISO 8601, `PT10M`.
    Duration,
    /// A list of durations, joined by commas.
    Durations,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A FEEL expression that the engine evaluates over the result.
    Expression,
    /// Anything.
    Any,
}

/// One header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its key.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether it must be there.
    pub required: bool,
    /// Whether `=` FEEL is evaluated.
    pub feel: bool,
    /// Whether `{{` is rendered.
    pub template: bool,
    /// As written, if it is left out.
    pub default: Option<&'static str>,
    /// One sentence.
    pub doc: &'static str,
}

const fn header(name: &'static str, kind: Kind, doc: &'static str) -> Header {
    Header { name, kind, required: false, feel: true, template: true, default: None, doc }
}

impl Header {
    const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    const fn or(self, default: &'static str) -> Self {
        Self { default: Some(default), ..self }
    }

    /// Taken as written.
    const fn literal(self) -> Self {
        Self { feel: false, template: false, ..self }
    }
}

/// Headers that every type takes; the engine reads them.
pub const COMMON: &[Header] = &[
    header("timeout", Kind::Duration, "How long an attempt may take; of a span-gate, all tries.").or("PT10M"),
    header("retryBackoff", Kind::Durations, "Wait before the nth retry; the last one repeats.").or("PT1S,PT10S,PT1M"),
    header("onUnknown", Kind::Text, "When the outcome is unknown: retry, incident, or error:CODE."),
    header("idempotent", Kind::Bool, "Whether doing it twice is as good as once.").or("false"),
    header("concurrencyKey", Kind::Text, "At most one job with this key runs at a time."),
    header("resultVariable", Kind::Text, "Variable that takes the result.").literal(),
    header("resultExpression", Kind::Expression, "FEEL over the result that gives the variables.").literal(),
    header("errorExpression", Kind::Expression, "FEEL over the result that gives null or a BPMN error.").literal(),
];

const COMMAND: &[Header] = &[
    header("argv", Kind::List, "What to run: a name of jobs.commands, then its arguments; never a shell.").required(),
    header("cwd", Kind::Text, "Working folder, under a configured root; else an empty folder of the attempt."),
    header("env", Kind::Map, "Environment variables beside those that every command gets."),
    header("stdin", Kind::Any, "Text for its standard input; anything else is written as JSON."),
    header("stdout", Kind::Word(&["text", "json", "lines", "none"]), "How its standard output is read.").or("text"),
    header("maxOutput", Kind::Size, "Bytes of standard output that are kept.").or("1MiB"),
    header("exitOk", Kind::Any, "Exit code, or list of exit codes, that mean success.").or("0"),
    header("exitErrors", Kind::Map, "Exit code to BPMN error code."),
];

const SQL: &[Header] = &[
    header("query", Kind::Text, "A statement; values go into params, never into its text."),
    header("queryFile", Kind::Text, "A file below queries/, instead of query."),
    header("params", Kind::Any, "Values of its placeholders: a list for $1, a context for $name."),
    header("maxRows", Kind::Number, "Rows that are taken.").or("1000"),
    header("single", Kind::Bool, "Whether the result is its first row alone.").or("false"),
];

const CODEGEN: &[Header] = &[
    header("target", Kind::Text, "Folder of templates below registry/.").required(),
    header("output", Kind::Text, "Folder written to, under a configured root.").required(),
    header("variant", Kind::Text, "Folder below the target's."),
    header("mode", Kind::Word(&["stage", "apply", "revert"]), "Stage, install, or take the newest install back.")
        .or("stage"),
    header("staged", Kind::Text, "With apply: the staging folder to install, as an earlier job gave it."),
    header("generator", Kind::Word(&["forge", "command"]), "Renderer: forge is the built-in one.").or("forge"),
    header("templates", Kind::Text, "Folder that holds registry/<target>/; else the daemon's."),
    header("registry", Kind::Text, "Folder of definitions or builtin:NAME; else semconv.registry."),
    header("params", Kind::Map, "Parameters over those of weaver.yaml."),
    header("expectClean", Kind::Bool, "Fail while a generated file is edited by hand.").or("false"),
];

const SPAN_GATE: &[Header] = &[
    header("gate", Kind::Text, "Name of the gate.").required(),
    header("key", Kind::Map, "Values of its by-columns; else all keys."),
    header("only", Kind::Word(&["all", "run"]), "Which spans: all, or the run's own alone.").or("all"),
    header("mode", Kind::Word(&["until-verdict", "once", "until-pass"]), "When to stop asking.").or("until-verdict"),
    header("since", Kind::Instant, "Only spans newer than this; else than the run's newest codegen, or its start."),
    header("onFail", Kind::Word(&["continue", "error"]), "Whether a failing gate is the BPMN error GATE_FAILED.")
        .or("continue"),
];

/// Job types that are built, with their headers.
pub const TYPES: [(&str, &[Header]); 4] =
    [("command", COMMAND), ("sql", SQL), ("codegen", CODEGEN), ("span-gate", SPAN_GATE)];

/// The headers of a type, without [`COMMON`].
pub fn of(job_type: &str) -> Option<&'static [Header]> {
    TYPES.iter().find(|(name, _)| *name == job_type).map(|(_, headers)| *headers)
}

/// What lint needs to know about jobs.
pub fn lint_registry(external: Vec<String>, gates: Option<Vec<String>>) -> Registry {
    let rule = |header: &Header| HeaderRule {
        name: header.name.to_owned(),
        required: header.required,
        values: match header.kind {
            Kind::Word(words) => words.iter().map(|word| (*word).to_owned()).collect(),
            Kind::Bool => vec!["true".to_owned(), "false".to_owned()],
            _ => Vec::new(),
        },
    };
    let rules = |headers: &[Header]| headers.iter().chain(COMMON).map(rule).collect();
    let jobs = TYPES.iter().map(|(name, headers)| ((*name).to_owned(), rules(headers))).collect();
    Registry { jobs, external, gates, ..Registry::default() }
}

/// Evaluated headers of one job, checked against the table.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    schema: &'static [Header],
    given: &'a BTreeMap<String, Value>,
}

impl<'a> Headers<'a> {
    /// Checks `given` against the headers of `job_type`. Null is as good as left out.
    ///
    /// Errors: one sentence for the first header that is unknown, missing, or of another type.
    pub fn of(job_type: &str, given: &'a BTreeMap<String, Value>) -> Result<Self, String> {
        let schema = of(job_type).ok_or_else(|| format!("job type `{job_type}` is not known"))?;
        let names = || schema.iter().chain(COMMON).map(|header| header.name);
        let known: BTreeSet<&str> = names().collect();
        if let Some(name) = given.keys().find(|name| !known.contains(name.as_str())) {
            let near = nearest(name, names()).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(format!("job type `{job_type}` has no header `{name}`{near}"));
        }
        let headers = Self { schema, given };
        for header in schema {
            if header.required && headers.value(header.name).is_none() {
                return Err(format!("header `{}` of job type `{job_type}` is required", header.name));
            }
            headers.check(header)?;
        }
        Ok(headers)
    }

    fn check(&self, header: &Header) -> Result<(), String> {
        let name = header.name;
        match header.kind {
            Kind::Text => self.text(name).map(drop),
            Kind::Number => self.number(name).map(drop),
            Kind::Bool => self.boolean(name).map(drop),
            Kind::Size => self.size(name).map(drop),
            Kind::List => self.list(name).map(drop),
            Kind::Map => self.map(name).map(drop),
            Kind::Instant => self.instant_ms(name).map(drop),
            Kind::Word(_) => self.word(name).map(drop),
            Kind::Duration | Kind::Durations | Kind::Expression | Kind::Any => Ok(()),
        }
    }

    /// The value as it was evaluated; the default as text; none if neither.
    pub fn value(&self, name: &str) -> Option<Value> {
        let given = self.given.get(name).filter(|value| !value.is_null()).cloned();
        let default = || self.header(name).and_then(|header| header.default).map(Value::from);
        given.or_else(default)
    }

    fn header(&self, name: &str) -> Option<&'static Header> {
        self.schema.iter().chain(COMMON).find(|header| header.name == name)
    }

    /// Text; numbers and booleans as they are written.
    pub fn text(&self, name: &str) -> Result<Option<String>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => scalar(&value).map(Some).ok_or_else(|| wrong(name, "text", &value)),
        }
    }

    /// A whole number.
    pub fn number(&self, name: &str) -> Result<Option<u64>, String> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let number = match &value {
            Value::Number(number) => number.as_u64().or_else(|| whole(number.as_f64()?)),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        number.map(Some).ok_or_else(|| wrong(name, "a whole number, not negative", &value))
    }

    /// `true` or `false`; false if left out.
    pub fn boolean(&self, name: &str) -> Result<bool, String> {
        match self.value(name) {
            None => Ok(false),
            Some(Value::Bool(value)) => Ok(value),
            Some(Value::String(text)) if text == "true" => Ok(true),
            Some(Value::String(text)) if text == "false" => Ok(false),
            Some(other) => Err(wrong(name, "true or false", &other)),
        }
    }

    /// Bytes.
    pub fn size(&self, name: &str) -> Result<Option<u64>, String> {
        match self.value(name) {
            Some(Value::String(text)) => match (text.trim().parse(), Size::parse(text.trim())) {
                (Ok(bytes), _) | (_, Ok(Size::Bytes(bytes))) => Ok(Some(bytes)),
                _ => Err(wrong(name, "bytes, e.g. 1MiB", &Value::String(text))),
            },
            _ => self.number(name),
        }
    }

    /// A list.
    pub fn list(&self, name: &str) -> Result<Option<Vec<Value>>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(items)) => Ok(Some(items)),
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(Value::Array(items)) => Ok(Some(items)),
                _ => Err(wrong(name, "a list, e.g. =[\"name\", \"argument\"]", &Value::String(text))),
            },
            Some(other) => Err(wrong(name, "a list, e.g. =[\"name\", \"argument\"]", &other)),
        }
    }

    /// A context; empty if left out.
    pub fn map(&self, name: &str) -> Result<Map<String, Value>, String> {
        match self.value(name) {
            None => Ok(Map::new()),
            Some(Value::Object(map)) => Ok(map),
            Some(Value::String(text)) => match serde_json::from_str(&text) {
                Ok(Value::Object(map)) => Ok(map),
                _ => Err(wrong(name, "a context, e.g. ={\"name\": \"value\"}", &Value::String(text))),
            },
            Some(other) => Err(wrong(name, "a context, e.g. ={\"name\": \"value\"}", &other)),
        }
    }

    /// ms since 1970.
    pub fn instant_ms(&self, name: &str) -> Result<Option<i64>, String> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.as_i64()),
            Some(Value::String(text)) => match text.parse::<jiff::Timestamp>() {
                Ok(at) => Ok(Some(at.as_millisecond())),
                Err(_) => Err(wrong(name, "an instant, e.g. 2026-01-31T12:00:00Z", &Value::String(text))),
            },
            Some(other) => Err(wrong(name, "an instant, e.g. 2026-01-31T12:00:00Z", &other)),
        }
    }

    /// One of the header's words.
    pub fn word(&self, name: &str) -> Result<String, String> {
        let words = match self.header(name).map(|header| header.kind) {
            Some(Kind::Word(words)) => words,
            _ => &[],
        };
        let value = self.value(name).unwrap_or_default();
        match value.as_str().filter(|word| words.contains(word)) {
            Some(word) => Ok(word.to_owned()),
            None => Err(wrong(name, &format!("one of {}", words.join(", ")), &value)),
        }
    }
}

/// Text of a scalar.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        _ => None,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be a whole number in range")]
fn whole(value: f64) -> Option<u64> {
    (value >= 0.0 && value.fract() == 0.0 && value < 9_007_199_254_740_992.0).then_some(value as u64)
}

fn wrong(name: &str, want: &str, got: &Value) -> String {
    let mut got = got.to_string();
    if got.len() > 80 {
        let end = (0..=80).rev().find(|end| got.is_char_boundary(*end)).unwrap_or(0);
        got.truncate(end);
        got.push('…');
    }
    format!("header `{name}` wants {want}, got {got}")
}

/// A duration in the header's form, for the engine: `PT10M`, days at most.
///
/// Errors: one sentence.
pub fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::Span = text.parse().map_err(|_| format!("`{text}` is no duration; write e.g. PT10M"))?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    let length = length.map_err(|_| format!("`{text}` has months or years, which have no fixed length"))?;
    Duration::try_from(length).map_err(|_| format!("`{text}` is negative"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn given(value: Value) -> BTreeMap<String, Value> {
        value.as_object().unwrap().clone().into_iter().collect()
    }

    #[test]
    fn an_unknown_missing_or_wrong_header_is_told_with_its_name() {
        for (job_type, value, want) in [
            ("command", json!({"argvv": ["x"]}), "has no header `argvv`; did you mean `argv`?"),
            ("command", json!({}), "header `argv` of job type `command` is required"),
            ("command", json!({"argv": null}), "header `argv` of job type `command` is required"),
            ("command", json!({"argv": "rm -rf /"}), "header `argv` wants a list"),
            ("command", json!({"argv": ["x"], "stdout": "xml"}), "one of text, json, lines, none, got \"xml\""),
            ("sql", json!({"maxRows": -1}), "header `maxRows` wants a whole number"),
            ("span-gate", json!({"gate": "g", "since": "yesterday"}), "header `since` wants an instant"),
            ("http", json!({}), "job type `http` is not known"),
        ] {
            let error = Headers::of(job_type, &given(value)).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn literal_text_is_read_as_the_type_of_its_header() {
        let of = given(
            json!({"argv": "[\"x\", 1]", "maxOutput": "2KiB", "exitErrors": "{\"3\": \"E\"}", "timeout": "PT1S"}),
        );
        let headers = Headers::of("command", &of).unwrap();
        assert_eq!(headers.list("argv").unwrap().unwrap(), [json!("x"), json!(1)]);
        assert_eq!(headers.size("maxOutput").unwrap(), Some(2048));
        assert_eq!(headers.map("exitErrors").unwrap()["3"], "E");
        assert_eq!(headers.word("stdout").unwrap(), "text");
        let of = given(json!({"query": "q", "maxRows": 5.0, "single": "true"}));
        let headers = Headers::of("sql", &of).unwrap();
        assert_eq!((headers.number("maxRows").unwrap(), headers.boolean("single").unwrap()), (Some(5), true));
        assert_eq!(duration("PT2M"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("P1D"), Ok(Duration::from_secs(86_400)));
        assert!(duration("P1M").is_err() && duration("2 minutes ago").is_err() && duration("-PT1S").is_err());
    }

    #[test]
    fn every_default_is_of_its_headers_type_and_every_header_is_documented() {
        for (name, headers) in TYPES {
            let mut given = BTreeMap::new();
            for header in headers.iter().filter(|header| header.required) {
                given.insert(header.name.to_owned(), if header.kind == Kind::List { json!(["x"]) } else { json!("x") });
            }
            Headers::of(name, &given).unwrap();
            let names: BTreeSet<_> = headers.iter().chain(COMMON).map(|header| header.name).collect();
            assert_eq!(names.len(), headers.len() + COMMON.len(), "{name}: a header stands twice");
            assert!(headers.iter().all(|header| header.doc.ends_with('.')));
        }
        let registry = lint_registry(vec!["mine".into()], None);
        let mode = registry.jobs["codegen"].iter().find(|rule| rule.name == "mode").unwrap();
        assert_eq!(mode.values, ["stage", "apply", "revert"]);
        assert!(registry.jobs["sql"].iter().any(|rule| rule.name == "timeout"));
    }
}
