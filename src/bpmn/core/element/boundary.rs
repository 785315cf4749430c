//! Boundary events: armed, fired, disarmed (S11, S12, S22).
//!
//! Duty: timers on activities and the step from host to boundary event. Guarantee: an interrupting one closes its host
//! first and fires at most once. Left to others: which error it catches (`error`).

use super::super::event::{Body, Cause};
use super::super::incident::Fault;
use super::super::machine::{Arrival, At, Machine};
use super::super::program::Kind;
use super::super::row::{Held, IncidentKind, Timer};
use super::super::value::{Value, Variables};
use super::super::{job, time, variables};
use super::{activate, close, go_on};
use crate::core::command::Effect;

/// Arms the timers of an activity, all or none.
pub(in super::super) fn arm(machine: &mut Machine<'_>, at: &At) -> Result<(), Fault> {
    let mut due = Vec::new();
    for node in &at.node().boundaries {
        let Some(boundary) = at.program.nodes.get(*node) else { continue };
        let Kind::TimerBoundary { date, text, .. } = &boundary.kind else { continue };
        let value = variables::source(machine, at.key, text)?;
        let instant =
            value.as_str().and_then(|text| if *date { time::date(text) } else { time::after(machine.now_ms, text) });
        let Some(instant) = instant else {
            let shown = match &value {
                Value::String(text) => format!("`{text}`"),
                _ => "what its expression gives".to_owned(),
            };
            let form = if *date { "a date such as 2025-01-01T00:00:00Z" } else { "a duration such as PT15M" };
            let message = format!("timer `{}`: {shown} is not {form}", boundary.id);
            return Err(Fault::new(IncidentKind::TimerInvalid, message));
        };
        due.push((*node, instant, value.as_str().unwrap_or_default().to_owned()));
    }
    for (node, due_ms, source) in due {
        let timer = machine.new_key();
        let node = u32::try_from(node).unwrap_or(u32::MAX);
        machine.emit(Body::TimerScheduled { timer, instance: at.row.instance, element: at.key, node, due_ms, source });
        machine.effects.push(Effect::WakeAt(due_ms));
    }
    Ok(())
}

/// Cancels what is still armed on an activation.
pub(in super::super) fn disarm(machine: &mut Machine<'_>, element: u64) {
    let Some(row) = machine.view().element(element) else { return };
    for (timer, due_ms) in machine.view().timers_of(element) {
        machine.emit(Body::TimerCancelled { timer, instance: row.instance, element, due_ms });
    }
}

/// A due timer acts.
pub(in super::super) fn fire(machine: &mut Machine<'_>, timer: u64, due_ms: i64, row: &Timer) {
    let lateness_ms = machine.now_ms.saturating_sub(due_ms).max(0);
    machine.emit(Body::TimerFired { timer, instance: row.instance, element: row.element, due_ms, lateness_ms });
    let Some(host) = machine.find(row.element) else {
        // its task begins anew when the model is there again
        job::withdraw(machine, row.element);
        disarm(machine, row.element);
        machine.at_or(row.element, Held::Inputs);
        return;
    };
    let node = row.node as usize;
    let Some(boundary) = host.program.nodes.get(node) else { return };
    let interrupting = matches!(boundary.kind, Kind::TimerBoundary { interrupting: true, .. });
    enter(machine, &host, node, interrupting, Variables::new(), Variables::new());
}

/// Leaves through a boundary event: closes the host if it interrupts, then activates the event in the host's scope.
///
/// `locals` are seen by the event's own output mappings only; `payload` is its result.
pub(in super::super) fn enter(
    machine: &mut Machine<'_>,
    host: &At,
    node: usize,
    interrupting: bool,
    locals: Variables,
    payload: Variables,
) {
    if interrupting {
        let Some(boundary) = host.program.nodes.get(node) else { return };
        let timer = matches!(boundary.kind, Kind::TimerBoundary { .. });
        close(machine, host.key, &Cause::Boundary { id: boundary.id.clone(), timer });
    }
    let (instance, scope) = (host.row.instance, host.row.scope);
    let arrival = Arrival { instance, scope, node, flow: None, payload: Variables::new() };
    let Some(element) = activate(machine, &arrival) else { return };
    for (name, value) in locals {
        variables::set(machine, instance, element, name, value);
    }
    go_on(machine, element, Held::Result(payload));
}
