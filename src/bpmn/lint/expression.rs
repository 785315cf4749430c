//! FEEL in conditions, mappings, timers, types and headers.
//!
//! Duty: `condition-parse`, `feel-nondeterministic`, `condition-unknown-variable`, `condition-type`, `expression-language`,
//! `literal-looks-like-feel`. Guarantee: every expression that passes compiles at deploy; an error's place is that of the
//! character in the file. Left to others: values (`feel`), templates.

use std::collections::BTreeSet;

use super::Check;
use super::spelling::{closest, distance};
use super::variables::{Known, Written};
use crate::feel::{self, ErrorKind, Expr, Type};
use crate::model::{BoundaryTrigger, Flow, NodeIx, NodeKind, Text, Timer};

pub(super) fn check(check: &mut Check<'_>, written: &Written) {
    let scope = &check.process.scope;
    let conditioned = scope.flows.iter().filter(|flow| flow.condition.is_some());
    let sources: BTreeSet<NodeIx> = conditioned.map(|flow| flow.source).collect();
    let known = written.before(scope, &sources);
    for flow in &scope.flows {
        let Some(condition) = &flow.condition else { continue };
        language(check, flow, condition);
        let Some(expression) = compile(check, &flow.id, condition, written) else { continue };
        unknown(check, flow, condition, &expression, &known[&flow.source]);
        kind(check, flow, condition, &expression);
    }
    for node in &scope.nodes {
        if matches!(node.kind, NodeKind::Unsupported { .. }) {
            continue;
        }
        let extensions = &node.extensions;
        let mut texts: Vec<&Text> = Vec::new();
        if let Some(task) = &extensions.task {
            texts.push(&task.r#type);
            texts.extend(&task.retries);
        }
        texts.extend(extensions.headers.iter().map(|header| &header.value));
        texts.extend(extensions.inputs.iter().chain(&extensions.outputs).map(|mapping| &mapping.source));
        if let NodeKind::Boundary { trigger: BoundaryTrigger::Timer(timer), .. } = &node.kind {
            texts.extend(match timer {
                Timer::Date(text) | Timer::Duration(text) | Timer::Cycle(text) => Some(text),
                Timer::Missing => None,
            });
        }
        texts.retain(|text| text.feel().is_some_and(|feel| !feel.trim().is_empty()));
        // These two are always expressions.
        let always = |key: &str| matches!(key, "resultExpression" | "errorExpression");
        let expressions = extensions.headers.iter().filter(|header| always(&header.key)).map(|header| &header.value);
        texts.extend(expressions.filter(|text| text.feel().is_none()));
        for text in texts {
            compile(check, &node.id, text, written);
        }
        for mapping in extensions.inputs.iter().chain(&extensions.outputs) {
            looks_like_feel(check, &node.id, &mapping.source, written);
        }
    }
}

/// Compiles `text` without a leading `=`; what does not compile is a finding on `element`.
fn compile(check: &mut Check<'_>, element: &str, text: &Text, written: &Written) -> Option<Expr> {
    let error = match feel::compile(text.expression(), &written.all) {
        Ok(expression) => return Some(expression),
        Err(error) => error,
    };
    let skipped = u32::from(text.feel().is_some());
    let at = check.place(text, error.column.saturating_add(skipped));
    let (message, column) = (&error.message, error.column);
    let (rule, what, fix) = match error.kind {
        ErrorKind::Nondeterministic => (
            "feel-nondeterministic",
            "reads chance",
            format!("let the caller of the process or a job pass the value to `{element}`"),
        ),
        ErrorKind::NotBuilt => (
            "unsupported:feel",
            "needs FEEL that is not built yet",
            format!("let a job compute the value that `{element}` needs"),
        ),
        ErrorKind::Syntax | ErrorKind::UnknownFunction | ErrorKind::Limit => {
            ("condition-parse", "does not parse", format!("correct the FEEL of `{element}` at this place"))
        }
    };
    let message = format!("an expression of `{element}` {what}, at its column {column}: {message}");
    check.error(rule, at, element, message, fix);
    None
}

/// `condition-type`: no value of the variables can make it true or false.
fn kind(check: &mut Check<'_>, flow: &Flow, condition: &Text, expression: &Expr) {
    let id = &flow.id;
    let constant = || {
        let nothing_read = expression.reads().is_empty();
        let value = nothing_read.then(|| expression.eval(&feel::Context::new(), 0).ok()).flatten();
        value.map(|(value, _)| value.kind()).filter(|kind| *kind != Type::Boolean)
    };
    let proven = expression.provable_type().filter(|kind| *kind != Type::Boolean).or_else(constant);
    let message = match proven {
        None => return,
        Some(Type::Null) => {
            format!("the condition of `{id}` is always null: it compares different types, or is null itself")
        }
        Some(kind) => format!("the condition of `{id}` is a {kind}, never a boolean"),
    };
    let fix = format!("write a comparison of equal types in the condition of `{id}`");
    check.warning("condition-type", condition.at, id, message, fix);
}

fn language(check: &mut Check<'_>, flow: &Flow, condition: &Text) {
    let Some(language) =
        condition.language.as_deref().filter(|language| !language.to_ascii_lowercase().contains("feel"))
    else {
        return;
    };
    let id = &flow.id;
    let message = format!("the condition of `{id}` declares the language `{language}` and is read as FEEL");
    check.warning(
        "expression-language",
        condition.at,
        id,
        message,
        format!("delete `language` at the condition of `{id}`"),
    );
}

fn unknown(check: &mut Check<'_>, flow: &Flow, condition: &Text, expression: &Expr, known: &Known) {
    let id = &flow.id;
    // `variables` is the context of everything visible (bpmn.md 7).
    let given = |name: &String| matches!(name.as_str(), "run" | "variables") || known.names.contains(name);
    // Ten names of one condition make the point; a hostile one holds thousands.
    for name in expression.needs().iter().filter(|name| !given(name)).take(10) {
        let near = closest(name, known.names.iter().map(String::as_str));
        let slip = |near: &str| distance(name, near) == 1 && name.chars().count() >= 4;
        if known.open && !near.is_some_and(slip) {
            continue;
        }
        let fix = match near {
            Some(near) => format!("write `{near}` in the condition of `{id}` if that is meant"),
            None => format!("let an output mapping on the way to `{id}`, e.g. of its start event, declare `{name}`"),
        };
        let message = format!("nobody on the way to `{id}` writes `{name}`, which its condition reads");
        check.warning("condition-unknown-variable", condition.at, id, message, fix);
    }
}

/// A literal source that begins as a path or a formula over a known variable.
fn looks_like_feel(check: &mut Check<'_>, element: &str, source: &Text, written: &Written) {
    if source.feel().is_some() {
        return;
    }
    let text = source.text.trim();
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let path = rest.strip_prefix('.').is_some_and(|rest| rest.starts_with(|c: char| c.is_alphabetic() || c == '_'));
    let formula = rest.trim_start().starts_with(['+', '*', '/', '<', '>', '=', '!', '[']) || rest.starts_with(" - ");
    if written.all.contains(name) && (path || formula) {
        let message = format!("the source `{text}` of a mapping of `{element}` is a literal text, but looks like FEEL");
        let fix = format!("write `= {text}` in `{element}` if the value of `{name}` is meant");
        check.warning("literal-looks-like-feel", source.at, element, message, fix);
    }
}
