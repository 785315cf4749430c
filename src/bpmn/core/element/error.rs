//! BPMN errors (S19).
//!
//! Duty: who catches an error, and what happens when nobody does. Guarantee: at one place the exact code goes before the
//! catch-all; nothing is thrown silently. Left to others: job failures, which are no BPMN errors (`job`).

use super::super::event::{Body, Cause};
use super::super::incident::Fault;
use super::super::machine::{At, Machine};
use super::super::program::Kind;
use super::super::row::{Held, IncidentKind};
use super::super::value::{Value, Variables};
use super::{boundary, close_all};

/// A job, or the reading of its result, throws. `result` is what to read again when nobody catches.
pub(in super::super) fn of_task(
    machine: &mut Machine<'_>,
    at: &At,
    job: Option<(u64, u32)>,
    code: String,
    message: String,
    thrown: Variables,
    result: Option<Variables>,
) {
    let code = Some(code).filter(|code| !code.is_empty());
    let (instance, element) = (at.row.instance, at.key);
    machine.emit(Body::ErrorThrown { instance, element, job, code: code.clone(), message: message.clone() });
    if let Some(node) = catching(at, code.as_deref()) {
        machine.emit(Body::ErrorCaught {
            instance,
            element,
            node: u32::try_from(node).unwrap_or(u32::MAX),
            code: code.clone(),
        });
        let locals = Variables::from([
            ("errorCode".to_owned(), code.map_or(Value::Null, Value::String)),
            ("errorMessage".to_owned(), Value::String(message)),
        ]);
        return boundary::enter(machine, at, node, true, locals, thrown);
    }
    let code = code.unwrap_or_default();
    let message = format!("nothing catches error `{code}` ({message}): attach an error boundary event, or retry");
    let held = result.map_or(Held::JobEnded, Held::Result);
    machine.raise(element, &at.row, Fault::new(IncidentKind::UncaughtError, message), held);
}

/// The boundary event of the throwing task that catches `code`.
fn catching(at: &At, code: Option<&str>) -> Option<usize> {
    let catcher = |exact: bool| {
        at.node().boundaries.iter().copied().find(|node| match at.program.nodes.get(*node).map(|node| &node.kind) {
            Some(Kind::ErrorBoundary { code: Some(caught) }) => exact && Some(caught.as_str()) == code,
            Some(Kind::ErrorBoundary { code: None }) => !exact,
            _ => false,
        })
    };
    catcher(true).or_else(|| catcher(false))
}

/// An error end event: no scope of the elements built so far encloses it but the run, which ends failed.
pub(in super::super) fn end(machine: &mut Machine<'_>, at: &At, code: Option<String>) {
    let instance = at.row.instance;
    let message = format!("error end event `{}`", at.node().id);
    machine.emit(Body::ErrorThrown {
        instance,
        element: at.key,
        job: None,
        code: code.clone(),
        message: message.clone(),
    });
    close_all(machine, instance, &Cause::Error);
    machine.emit(Body::InstanceFailed { instance, code, message });
}
