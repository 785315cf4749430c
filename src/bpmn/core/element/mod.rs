//! What a token does at a node.
//!
//! Duty: the way of an activation: enter, act, write the result, leave; and its end from outside. Guarantee: an
//! activation that cannot go on keeps its token under an incident that says where it stopped. Left to others: one file
//! per thing that is more than a step of that way.

pub(super) mod boundary;
pub(super) mod error;
pub(super) mod split;
pub(super) mod task;

use super::event::{Body, Cause};
use super::incident::Fault;
use super::job;
use super::machine::{Arrival, At, Machine};
use super::program::Kind;
use super::row::{Held, IncidentKind};
use super::value::Variables;
use super::variables;

/// A token enters a node.
pub(super) fn arrive(machine: &mut Machine<'_>, arrival: Arrival) {
    let payload = arrival.payload.clone();
    if let Some(element) = activate(machine, &arrival) {
        let held = if payload.is_empty() { Held::Inputs } else { Held::Result(payload) };
        go_on(machine, element, held);
    }
}

/// A token rests before a node because the step had run too long.
pub(super) fn park(machine: &mut Machine<'_>, arrival: Arrival) {
    let payload = arrival.payload.clone();
    if let Some(element) = activate(machine, &arrival)
        && let Some(at) = machine.at(element)
    {
        let message = "over 10,000 arrivals in one step: look for a cycle without a wait, then resolve to go on";
        let held = if payload.is_empty() { Held::Runaway } else { Held::Result(payload) };
        machine.raise(element, &at.row, Fault::new(IncidentKind::RunawayLoop, message.to_owned()), held);
    }
}

/// Makes the activation.
pub(super) fn activate(machine: &mut Machine<'_>, arrival: &Arrival) -> Option<u64> {
    let program = machine.program(arrival.instance)?;
    let node = program.nodes.get(arrival.node)?;
    let element = machine.new_key();
    machine.emit(Body::ElementActivated {
        instance: arrival.instance,
        element,
        scope: arrival.scope,
        node: u32::try_from(arrival.node).unwrap_or(u32::MAX),
        id: node.id.clone(),
        name: node.name.clone(),
        kind: node.element.clone(),
        flow: arrival.flow.and_then(|flow| program.flows.get(flow)).map(|flow| flow.id.clone()),
    });
    Some(element)
}

/// Goes on from where an activation stopped, or begins.
pub(super) fn go_on(machine: &mut Machine<'_>, element: u64, held: Held) {
    let Some(at) = machine.at_or(element, held.clone()) else { return };
    match held {
        Held::Runaway | Held::Inputs => inputs(machine, &at),
        Held::Timers => task::arm_and_create(machine, &at),
        Held::Job => task::create(machine, &at),
        Held::Result(result_variables) => result(machine, &at, result_variables),
        Held::Leaving => leave(machine, &at),
        // the job's own commands move it
        Held::JobEnded => {}
    }
}

fn inputs(machine: &mut Machine<'_>, at: &At) {
    if let Err(fault) = variables::map_in(machine, at, &at.node().inputs) {
        return machine.raise(at.key, &at.row, fault, Held::Inputs);
    }
    match &at.node().kind {
        Kind::ServiceTask(_) => task::arm_and_create(machine, at),
        Kind::ErrorEnd { code } => error::end(machine, at, code.clone()),
        Kind::ExclusiveGateway => leave(machine, at),
        Kind::Start { .. } | Kind::End | Kind::ErrorBoundary { .. } | Kind::TimerBoundary { .. } => {
            result(machine, at, Variables::new());
        }
    }
}

/// Writes what an activation gave (bpmn.md 7, rules 2 and 3) and leaves.
pub(super) fn result(machine: &mut Machine<'_>, at: &At, result: Variables) {
    let given = match &at.node().kind {
        Kind::ServiceTask(spec) => task::interpret(machine, at, spec, &result),
        _ => Ok(task::Given::Variables(result.clone())),
    };
    let written = match given {
        Ok(task::Given::Error { code, message }) => {
            return error::of_task(machine, at, None, code, message, Variables::new(), Some(result));
        }
        Ok(task::Given::Variables(given)) => write(machine, at, given),
        Err(fault) => Err(fault),
    };
    match written {
        Ok(()) => leave(machine, at),
        Err(fault) => machine.raise(at.key, &at.row, fault, Held::Result(result)),
    }
}

fn write(machine: &mut Machine<'_>, at: &At, given: Variables) -> Result<(), Fault> {
    variables::writable(given.keys())?;
    let outputs = &at.node().outputs;
    for (name, value) in given {
        if outputs.is_empty() {
            variables::give(machine, at.key, name, value);
        } else {
            variables::set(machine, at.row.instance, at.key, name, value);
        }
    }
    variables::map_out(machine, at, outputs)
}

/// Chooses the outgoing flows, completes, and sends the tokens on.
fn leave(machine: &mut Machine<'_>, at: &At) {
    let chosen = match split::choose(machine, at) {
        Ok(chosen) => chosen,
        Err(fault) => return machine.raise(at.key, &at.row, fault, Held::Leaving),
    };
    let (instance, scope, element) = (at.row.instance, at.row.scope, at.key);
    boundary::disarm(machine, element);
    machine.emit(Body::ElementCompleted { instance, element, scope });
    for flow in chosen {
        let Some(taken) = at.program.flows.get(flow) else { continue };
        machine.emit(Body::FlowTaken { instance, element, flow: taken.id.clone() });
        machine.send(Arrival { instance, scope, node: taken.target, flow: Some(flow), payload: Variables::new() });
    }
    machine.touch(instance);
}

/// Ends an activation from outside, children first (S10).
pub(super) fn close(machine: &mut Machine<'_>, element: u64, cause: &Cause) {
    for child in machine.view().children(element, usize::MAX) {
        close(machine, child, cause);
    }
    let Some(row) = machine.view().element(element) else { return };
    job::withdraw(machine, element);
    boundary::disarm(machine, element);
    machine.clear(element);
    let (instance, scope) = (row.instance, row.scope);
    machine.emit(Body::ElementTerminated { instance, element, scope, cause: cause.clone() });
    machine.touch(instance);
}

/// Ends everything of an instance.
pub(super) fn close_all(machine: &mut Machine<'_>, instance: u64, cause: &Cause) {
    for child in machine.view().children(instance, usize::MAX) {
        close(machine, child, cause);
    }
    machine.drop_tokens(instance);
}
