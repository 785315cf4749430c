//! Templates of labels, annotations and pipeline inputs (gates.md 1.4).
//!
//! Duty: check a template at load, render it when a verdict is told. Guarantee: rendering always gives text of at most
//! 4 KiB and never fails: what fails yields `<error expanding template: …>`. Left to others: which values there are.

use std::collections::BTreeMap;

use jiff::Timestamp;
use minijinja::value::Value;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, context};

use crate::span::TraceId;

/// Longest template and longest text made by one, in bytes.
pub const MAX_BYTES: usize = 4 << 10;
/// Steps that a template may take.
const FUEL: u64 = 50_000;
/// Names that every template may use.
const NAMES: [&str; 12] = [
    "labels",
    "value",
    "n",
    "row",
    "gate",
    "level",
    "outcome",
    "episode",
    "baseline",
    "window_start",
    "window_end",
    "trace_ids",
];
/// The name that the inputs of `on_resolve` may use beside them.
const PIPELINE: &str = "pipeline";
/// Names that a label may use: labels are identity, so they must not change with a value.
const LABEL_NAMES: [&str; 2] = ["labels", "gate"];
/// Names that every environment has.
const GLOBALS: [&str; 4] = ["range", "dict", "namespace", "debug"];

/// What a template stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// A label: `labels` and `gate` only.
    Label,
    /// An annotation or an input of `on_fail`.
    Text,
    /// An input of `on_resolve`: also `pipeline`.
    Resolve,
}

/// What templates see.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// Key labels.
    pub labels: BTreeMap<String, String>,
    /// The number judged.
    pub value: Option<f64>,
    /// Samples.
    pub n: Option<u64>,
    /// The evidence row.
    pub row: serde_json::Map<String, serde_json::Value>,
    /// Name of the gate.
    pub gate: String,
    /// `warn` or `fail`.
    pub level: String,
    /// Word of the outcome.
    pub outcome: String,
    /// Number of the episode.
    pub episode: u64,
    /// What the value was held to; `None` without a baseline.
    pub baseline: Option<f64>,
    /// Start of the window, ns since 1970.
    pub window_start_ns: i64,
    /// End of the window, ns since 1970.
    pub window_end_ns: i64,
    /// Traces that show it.
    pub trace_ids: Vec<TraceId>,
    /// The pipeline that `on_fail` asked for, with its run if it began; `None` also where there is no such name.
    pub pipeline: Option<(String, Option<i64>)>,
}

/// `template` with `values`.
pub fn render(template: &str, values: &Values) -> String {
    let rendered = environment().render_str(&plain(template), context_of(values));
    let text = rendered.unwrap_or_else(|error| format!("<error expanding template: {}>", message(&error)));
    cut(text)
}

/// Checks a template before anything is rendered by it. `Err` says what is wrong.
pub fn check(template: &str, of: Use) -> Result<(), String> {
    if template.len() > MAX_BYTES {
        return Err(format!("the template has {} bytes, at most {MAX_BYTES}", template.len()));
    }
    let names: Vec<&str> = match of {
        Use::Label => LABEL_NAMES.to_vec(),
        Use::Text => NAMES.to_vec(),
        Use::Resolve => NAMES.into_iter().chain([PIPELINE]).collect(),
    };
    let environment = environment();
    let text = plain(template);
    let parsed =
        environment.template_from_str(&text).map_err(|e| format!("the template does not parse: {}", message(&e)))?;
    let mut foreign: Vec<String> = parsed.undeclared_variables(false).into_iter().collect();
    foreign.retain(|name| !names.contains(&name.as_str()) && !GLOBALS.contains(&name.as_str()));
    foreign.sort();
    if let Some(name) = foreign.first() {
        let known = names.join(", ");
        return Err(match of {
            Use::Label => format!("the template uses `{name}`; a label may use {known} only, for labels are identity"),
            Use::Text | Use::Resolve => format!("the template uses `{name}`; there are {known}"),
        });
    }
    // Filters, tests and functions are looked up when they run.
    let probe =
        Values { value: Some(0.5), n: Some(1), level: "fail".into(), outcome: "fail".into(), ..Values::default() };
    match parsed.render(context_of(&probe)) {
        Err(error) if is_unknown(error.kind()) => Err(format!("the template cannot be rendered: {}", message(&error))),
        _ => Ok(()),
    }
}

const fn is_unknown(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::UnknownFilter
            | ErrorKind::UnknownTest
            | ErrorKind::UnknownFunction
            | ErrorKind::TemplateNotFound
            | ErrorKind::BadInclude
            | ErrorKind::OutOfFuel
    )
}

fn environment() -> Environment<'static> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Lenient);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
    environment.set_recursion_limit(50);
    environment.set_fuel(Some(FUEL));
    environment
}

fn context_of(values: &Values) -> Value {
    let time =
        |ns: i64| Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| ns.to_string(), |at| at.to_string());
    let traces: Vec<String> = values.trace_ids.iter().map(ToString::to_string).collect();
    context! {
        labels => values.labels.clone(),
        value => values.value,
        n => values.n,
        row => Value::from_pairs(values.row.iter().map(|(key, value)| (key.as_str(), of_json(value)))),
        gate => values.gate.as_str(),
        level => values.level.as_str(),
        outcome => values.outcome.as_str(),
        episode => values.episode,
        baseline => values.baseline,
        window_start => time(values.window_start_ns),
        window_end => time(values.window_end_ns),
        trace_ids => traces,
        pipeline => values.pipeline.as_ref().map(|(process, run)| context! { process => process.as_str(), run => run }),
    }
}

fn of_json(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::from(()),
        serde_json::Value::Bool(value) => Value::from(*value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(value), _) => Value::from(value),
            (None, value) => Value::from(value.unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text.as_str()),
        serde_json::Value::Array(items) => items.iter().map(of_json).collect(),
        serde_json::Value::Object(map) => Value::from_pairs(map.iter().map(|(key, of)| (key.as_str(), of_json(of)))),
    }
}

/// `$labels.x` and `$value` inside `{{ }}` and `{% %}`, outside strings, without their `$`.
fn plain(template: &str) -> String {
    let mut out = String::with_capacity(template.len());
    let (mut inside, mut quote, mut before) = (false, None, ' ');
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        let next = chars.peek().copied();
        match quote {
            Some(q) => {
                if c == q && before != '\\' {
                    quote = None;
                }
            }
            None if !inside => inside = c == '{' && matches!(next, Some('{' | '%')),
            None => match c {
                '"' | '\'' => quote = Some(c),
                '}' if matches!(before, '}' | '%') => inside = false,
                '$' if next.is_some_and(|n| n.is_alphabetic() || n == '_') => {
                    before = c;
                    continue;
                }
                _ => {}
            },
        }
        out.push(c);
        before = c;
    }
    out
}

/// The error in one line.
fn message(error: &minijinja::Error) -> String {
    let text = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    text.replace(|c: char| c.is_control(), " ")
}

fn cut(mut text: String) -> String {
    if text.len() > MAX_BYTES {
        let mut end = MAX_BYTES - '…'.len_utf8();
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push('…');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> Values {
        Values {
            labels: BTreeMap::from([("service_name".to_owned(), "cart <b>".to_owned())]),
            value: Some(0.912_345),
            n: Some(480),
            gate: "g".into(),
            level: "fail".into(),
            window_end_ns: 1_700_000_000_000_000_000,
            trace_ids: vec![TraceId([0xab; 16])],
            pipeline: Some(("repair".into(), Some(42))),
            baseline: Some(0.95),
            row: serde_json::json!({"strict": 0.5, "worst": ["a", {"b": 2}]}).as_object().unwrap().clone(),
            ..Values::default()
        }
    }

    #[test]
    fn templates_show_labels_values_and_windows_in_both_spellings() {
        for (template, want) in [
            (
                "{{ labels.service_name }}: {{ value | round(3) }} complete, {{ n }} spans",
                "cart <b>: 0.912 complete, 480 spans",
            ),
            ("{{ $labels.service_name }} {{$value|round(1)}} costs $5", "cart <b> 0.9 costs $5"),
            ("{{ '$value' }}", "$value"),
            ("{{ window_end }}", "2023-11-14T22:13:20Z"),
            ("{{ row.strict }} {{ row.worst[1].b }} {{ row['none'] }}", "0.5 2 "),
            ("{{ trace_ids[0] }}", "abababababababababababababababab"),
            ("{% if level == 'fail' %}bad{% endif %}", "bad"),
            ("{{ labels.nothing }}|{{ gate.upper() }}", "|G"),
            ("{{ pipeline.process }} {{ pipeline.run }}", "repair 42"),
            ("{{ value | round(2) }} after {{ baseline }}", "0.91 after 0.95"),
        ] {
            assert_eq!(check(template, Use::Resolve), Ok(()), "{template}");
            assert_eq!(render(template, &values()), want, "{template}");
        }
    }

    #[test]
    fn a_template_that_fails_says_so_in_its_place() {
        let none = Values { value: None, ..values() };
        let text = render("{{ value | round(3) }}", &none);
        assert!(text.starts_with("<error expanding template: ") && text.ends_with('>'), "{text}");
        assert!(render("{% for i in range(100000) %}x{% endfor %}", &none).starts_with("<error expanding template: "));
        let long = render("{{ 'é' * 4000 }}", &none);
        assert!(long.len() <= MAX_BYTES && long.ends_with('…'));
    }

    #[test]
    fn what_cannot_work_is_refused_at_load() {
        for (template, of, why) in [
            ("{{ labels.x", Use::Text, "does not parse"),
            ("{{ now() }}", Use::Text, "uses `now`"),
            ("{{ pipeline }}", Use::Text, "uses `pipeline`"),
            ("{{ value }}", Use::Label, "labels are identity"),
            ("{{ labels.x | nofilter }}", Use::Text, "unknown filter"),
            ("{% include 'x' %}", Use::Text, "cannot be rendered"),
        ] {
            assert!(check(template, of).is_err_and(|got| got.contains(why)), "{template}: {:?}", check(template, of));
        }
        assert_eq!(check("{{ labels.x }}-{{ gate }}", Use::Label), Ok(()));
        assert_eq!(check("{{ pipeline.process }} {{ value }}", Use::Resolve), Ok(()));
        assert!(check("{{ pipelines }}", Use::Resolve).is_err_and(|why| why.contains("trace_ids, pipeline")));
        assert!(check(&"x".repeat(MAX_BYTES + 1), Use::Text).is_err());
    }

    proptest! {
        #[test]
        fn no_template_panics(template in "[ -~{}%$\"'|.é\\n]{0,60}", inner in "[a-z$|.()\\[\\]0-9 '*+~-]{0,30}") {
            let text = format!("{template}{{{{ {inner} }}}}");
            let _ = check(&text, Use::Text);
            prop_assert!(render(&text, &values()).len() <= MAX_BYTES);
        }
    }
}
