//! What starts, interrupts and fails.
//!
//! Duty: boundaries, error codes, message starts. Guarantee: a boundary event that passes has a host and a trigger, an error
//! end that passes has a code, a message start that passes has a name of its own. Left to others: timers (`timer`).

use std::collections::BTreeMap;

use super::Check;
use crate::diagnostic::{Diagnostic, Severity};
use crate::model::{BoundaryTrigger, EndResult, Node, NodeIx, NodeKind, StartTrigger, Timer};

pub(super) fn check(check: &mut Check<'_>) {
    let scope = &check.process.scope;
    for node in &scope.nodes {
        let id = &node.id;
        if node.element == "boundaryEvent" {
            boundary(check, node);
        }
        if matches!(node.element.as_str(), "boundaryEvent" | "intermediateCatchEvent") && node.drawing.event.is_none() {
            let message = format!("`{id}` waits for nothing: it has no event definition");
            let fix = format!("choose an event definition for `{id}`, e.g. a timer");
            check.error("event-definition-missing", node.at, id, message, fix);
        }
        if let NodeKind::End(EndResult::Error { error }) = &node.kind {
            error_end(check, node, *error);
        }
    }
    for node in 0..scope.nodes.len() {
        duplicates(check, node);
    }
    messages(check);
}

fn boundary(check: &mut Check<'_>, node: &Node) {
    let id = &node.id;
    let mut invalid = |what: &str| {
        let fix = format!("attach `{id}` to an activity of its own scope, and let no flow lead to it");
        check.error("boundary-host-invalid", node.at, id, format!("the boundary event `{id}` {what}"), fix);
    };
    if node.drawing.attached_to.is_none() {
        invalid("sits on no activity of its scope");
    }
    if !node.incoming.is_empty() {
        invalid("has an incoming sequence flow");
    }
    let NodeKind::Boundary { interrupting, trigger: BoundaryTrigger::Error { error }, .. } = &node.kind else { return };
    if !interrupting {
        let message =
            format!("the error boundary event `{id}` says `cancelActivity=\"false\"`, but an error ends its activity");
        let fix = format!("remove `cancelActivity` from `{id}`");
        check.error("error-boundary-non-interrupting", node.at, id, message, fix);
    }
    if code(check, *error).is_none() {
        let message = format!("`{id}` names no error code, so it catches every error");
        check.info(
            "error-code-missing",
            node.at,
            id,
            message,
            format!("give the error of `{id}` a code if only one is meant"),
        );
    }
}

fn code<'a>(check: &Check<'a>, error: Option<usize>) -> Option<&'a str> {
    error.and_then(|error| check.definitions.errors[error].code.as_deref())
}

fn error_end(check: &mut Check<'_>, node: &Node, error: Option<usize>) {
    let id = &node.id;
    match code(check, error) {
        None => {
            let what = if error.is_none() { "names no error" } else { "names an error without a code" };
            let message = format!("the error end event `{id}` {what}");
            check.error("error-code-missing", node.at, id, message, format!("give the error of `{id}` a code"));
        }
        Some(code) => {
            let message = format!("nothing catches `{code}` of `{id}`: the run ends failed");
            let fix = format!("replace `{id}` by a none end event if that is not meant");
            check.info("error-uncaught", node.at, id, message, fix);
        }
    }
}

/// Two boundary events of one host that wait for the same.
fn duplicates(check: &mut Check<'_>, host: NodeIx) {
    let scope = &check.process.scope;
    let mut seen: BTreeMap<(&str, &str), &Node> = BTreeMap::new();
    for boundary in scope.nodes[host].boundaries.iter().map(|boundary| &scope.nodes[*boundary]) {
        let NodeKind::Boundary { trigger, .. } = &boundary.kind else { continue };
        let key = match trigger {
            BoundaryTrigger::Error { error } => ("error", code(check, *error).unwrap_or_default()),
            BoundaryTrigger::Timer(Timer::Date(text) | Timer::Duration(text) | Timer::Cycle(text)) => {
                ("timer", text.text.as_str())
            }
            BoundaryTrigger::Timer(Timer::Missing) => continue,
        };
        if let Some(first) = seen.insert(key, boundary) {
            let (one, two, host) = (&first.id, &boundary.id, &scope.nodes[host].id);
            let message = format!("`{one}` and `{two}` on `{host}` have the same {} trigger", key.0);
            let fix = format!("merge `{one}` and `{two}`");
            let finding = Diagnostic::new("boundary-duplicate", Severity::Error, boundary.at, message, fix);
            check.findings.push(finding.on(two).with(first.at, format!("`{one}`")));
        }
    }
}

fn messages(check: &mut Check<'_>) {
    let mut seen: BTreeMap<&str, &Node> = BTreeMap::new();
    for node in &check.process.scope.nodes {
        let NodeKind::Start(StartTrigger::Message { message }) = &node.kind else { continue };
        let id = &node.id;
        let definitions = check.definitions;
        let name = message.and_then(|message| definitions.messages[message].name.as_deref());
        let Some(name) = name else {
            let what = if message.is_none() { "names no message" } else { "names a message without a name" };
            let text = format!("the message start event `{id}` {what}, so nothing can start it");
            check.error("message-without-correlation", node.at, id, text, format!("give the message of `{id}` a name"));
            continue;
        };
        if let Some(first) = seen.insert(name, node) {
            let one = &first.id;
            let text = format!("`{one}` and `{id}` both start the process by the message `{name}`");
            let fix = format!("keep one of `{one}` and `{id}`, or give `{id}` another message");
            let finding = Diagnostic::new("message-without-correlation", Severity::Error, node.at, text, fix);
            check.findings.push(finding.on(id).with(first.at, format!("`{one}`")));
        }
    }
}
