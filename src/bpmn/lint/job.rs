//! Job types and their headers.
//!
//! Duty: `job-type-missing`, `job-type-unknown`, `header-unknown-or-missing`, `header-value`, `unsafe-retry`. Guarantee: which
//! types exist and what they take is the caller's data. Left to others: FEEL in types and headers (`expression`); templates
//! are rendered at run time.

use std::collections::BTreeSet;

use super::Check;
use super::spelling::closest;
use crate::model::timer;
use crate::model::{Header, Node, NodeKind, is_template};

/// Headers that every type takes (bpmn.md 10).
const COMMON: [&str; 8] = [
    "timeout",
    "retryBackoff",
    "onUnknown",
    "idempotent",
    "concurrencyKey",
    "resultVariable",
    "resultExpression",
    "errorExpression",
];

pub(super) fn check(check: &mut Check<'_>) {
    for node in check.process.scope.nodes.iter().filter(|node| node.kind == NodeKind::ServiceTask) {
        job(check, node);
    }
}

fn job(check: &mut Check<'_>, node: &Node) {
    let (id, registry) = (&node.id, check.registry);
    let Some(task) = node.extensions.task.as_ref().filter(|task| !task.r#type.text.trim().is_empty()) else {
        let message = format!("the service task `{id}` names no job type");
        let names: Vec<_> = registry.jobs.keys().map(String::as_str).collect();
        let one_of = if names.is_empty() { String::new() } else { format!(", one of {}", names.join(", ")) };
        let fix = format!("give `{id}` a zeebe:taskDefinition with a type{one_of}");
        check.error("job-type-missing", node.at, id, message, fix);
        return;
    };
    retries(check, node);
    values(check, node);
    let name = task.r#type.text.as_str();
    let external = registry.external.iter().any(|external| external == name);
    if task.r#type.feel().is_some() || registry.jobs.is_empty() || external {
        return;
    }
    let Some(rules) = registry.jobs.get(name) else {
        let known = registry.jobs.keys().chain(&registry.external).map(String::as_str);
        let fix = match closest(name, known) {
            Some(close) => format!("write `{close}` in `{id}` if that is meant"),
            None => {
                let names: Vec<_> = registry.jobs.keys().map(String::as_str).collect();
                format!("give `{id}` one of {}, or name `{name}` in `jobs.external`", names.join(", "))
            }
        };
        let message = format!("the job type `{name}` of `{id}` is neither built in nor named in `jobs.external`");
        check.error("job-type-unknown", task.r#type.at, id, message, fix);
        return;
    };
    let given: BTreeSet<&str> = node.extensions.headers.iter().map(|header| header.key.as_str()).collect();
    for header in &node.extensions.headers {
        let key = header.key.as_str();
        let rule = rules.iter().find(|rule| rule.name == key);
        if rule.is_none() && !COMMON.contains(&key) {
            let names = rules.iter().map(|rule| rule.name.as_str()).chain(COMMON);
            let fix = match closest(key, names) {
                Some(close) => format!("write `{close}` for the header `{key}` of `{id}`"),
                None => format!("delete the header `{key}` of `{id}`"),
            };
            let message = format!("the job type `{name}` of `{id}` takes no header `{key}`");
            check.error("header-unknown-or-missing", header.value.at, id, message, fix);
        }
        let literal = literal(header);
        if let (Some(rule), Some(value)) = (rule, literal)
            && !rule.values.is_empty()
            && !rule.values.iter().any(|allowed| allowed == value)
        {
            let fix = format!("write one of {} in the header `{key}` of `{id}`", rule.values.join(", "));
            let message = format!("the header `{key}` of `{id}` cannot be `{value}`");
            check.error("header-value", header.value.at, id, message, fix);
        }
    }
    for rule in rules.iter().filter(|rule| rule.required && !given.contains(rule.name.as_str())) {
        let message = format!("the job type `{name}` of `{id}` needs the header `{}`", rule.name);
        let fix = format!("add the header `{}` to `{id}`", rule.name);
        check.error("header-unknown-or-missing", node.at, id, message, fix);
    }
    unsafe_retry(check, node, name);
}

/// The value of a header that is neither FEEL nor a template.
fn literal(header: &Header) -> Option<&str> {
    let text = header.value.text.as_str();
    (header.value.feel().is_none() && !is_template(text)).then_some(text)
}

fn retries(check: &mut Check<'_>, node: &Node) {
    let task = node.extensions.task.as_ref();
    let Some(retries) = task.and_then(|task| task.retries.as_ref()).filter(|retries| retries.feel().is_none()) else {
        return;
    };
    if retries.text.trim().parse::<u32>().unwrap_or(0) == 0 {
        let id = &node.id;
        let message = format!("`retries` of `{id}` is `{}`, no whole number of attempts above 0", retries.text);
        check.error("header-value", retries.at, id, message, format!("write e.g. `3` in `retries` of `{id}`"));
    }
}

/// Values of the headers that every type takes, and keys given twice.
fn values(check: &mut Check<'_>, node: &Node) {
    let id = &node.id;
    let mut seen = BTreeSet::new();
    for header in &node.extensions.headers {
        let key = header.key.as_str();
        let at = header.value.at;
        if !seen.insert(key) {
            let message = format!("the header `{key}` of `{id}` is given twice");
            check.error("header-value", at, id, message, format!("keep one header `{key}` of `{id}`"));
        }
        // the name is taken as it is written
        let value = if key == "resultVariable" { Some(header.value.text.as_str()) } else { literal(header) };
        let Some(value) = value else { continue };
        let (good, form) = match key {
            "timeout" => (lasts(value).is_some_and(|lasts| lasts > 0), "a duration above 0 such as `PT10M`"),
            "retryBackoff" => (
                value.split(',').all(|part| lasts(part).is_some_and(|lasts| lasts >= 0)),
                "durations such as `PT1S,PT10S,PT1M`",
            ),
            // empty is absent
            "resultVariable" => (value.is_empty() || is_name(value), "the name of a variable, which is not `run`"),
            "idempotent" => (matches!(value, "true" | "false"), "`true` or `false`"),
            "onUnknown" => {
                let code = value.strip_prefix("error:").is_some_and(|code| !code.is_empty());
                (code || matches!(value, "retry" | "incident"), "`retry`, `incident` or `error:CODE`")
            }
            _ => continue,
        };
        if !good {
            let message = format!("the header `{key}` of `{id}` is `{value}`, not {form}");
            check.error("header-value", at, id, message, format!("write {form} in the header `{key}` of `{id}`"));
        }
    }
}

/// The sign of a duration.
fn lasts(text: &str) -> Option<i64> {
    let duration = timer::duration(text).ok()?;
    // its parts have one sign
    [duration.months, duration.days, duration.ms].into_iter().find(|part| *part != 0).or(Some(0)).map(i64::signum)
}

/// Whether an expression can read a variable of this name.
fn is_name(text: &str) -> bool {
    text.trim() == text && text != "run" && !text.starts_with('=') && !text.contains(['.', '{', '`'])
}

/// An effect that may happen twice although nobody said that it may.
fn unsafe_retry(check: &mut Check<'_>, node: &Node, name: &str) {
    let id = &node.id;
    let value =
        |key: &str| node.extensions.headers.iter().rfind(|header| header.key == key).map(|header| &header.value);
    let is = |key: &str, wanted: &str| value(key).is_some_and(|value| value.text == wanted);
    let changes = name == "command" || (name == "http" && (is("method", "POST") || is("method", "PATCH")));
    if changes && is("onUnknown", "retry") && !is("idempotent", "true") {
        let at = value("onUnknown").map_or(node.at, |value| value.at);
        let message = format!("`{id}` is tried again when its outcome is unknown, so its effect may happen twice");
        let fix = format!("say `idempotent` = `true` on `{id}` if it is, else `onUnknown` = `incident`");
        check.warning("unsafe-retry", at, id, message, fix);
    }
}
