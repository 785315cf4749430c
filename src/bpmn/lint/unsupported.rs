//! What is not built.
//!
//! Duty: `unsupported:ELEMENT`, `unknown-element-on-path`. Guarantee: nothing that the machine cannot run gets past, nested
//! scopes included; the tier and a replacement are named. Left to others: whether what is built is used rightly.

use super::Check;
use crate::diagnostic::At;
use crate::model::{BoundaryTrigger, Node, NodeKind, Scope, Timer};

pub(super) fn check(check: &mut Check<'_>) {
    let process = check.process;
    for (what, at) in &process.unsupported {
        refuse(check, what, tier_of_part(what), *at, &process.id);
    }
    for (name, value) in &process.properties {
        if name == "weavergen.durability" && value != "group" {
            refuse(check, "weavergen.durability", 1, process.at, &process.id);
        }
    }
    scope(check, &process.scope);
}

fn scope(check: &mut Check<'_>, scope_of: &Scope) {
    for node in &scope_of.nodes {
        match &node.kind {
            // No trigger, no host: rules of their own say it better.
            NodeKind::Unsupported { what, .. }
                if matches!(what.as_str(), "intermediateCatchEvent" | "boundaryEvent") => {}
            NodeKind::Unsupported { .. } if is_homeless(node) => {}
            NodeKind::Unsupported { tier: 0, what, .. } => {
                let id = &node.id;
                check.error(
                    "unknown-element-on-path",
                    node.at,
                    id,
                    format!("sequence flows lead through `{id}`, a `{what}`, which BPMN does not know"),
                    format!("replace `{id}` by a service task"),
                );
            }
            NodeKind::Unsupported { tier, what, inner } => {
                refuse(check, what, *tier, node.at, &node.id);
                if let Some(inner) = inner {
                    scope(check, inner);
                }
            }
            _ => built(check, node),
        }
    }
}

/// A boundary event without a valid host: `boundary-host-invalid`.
fn is_homeless(node: &Node) -> bool {
    node.element == "boundaryEvent" && node.drawing.attached_to.is_none()
}

/// What a node of a built kind says that is not built.
fn built(check: &mut Check<'_>, node: &Node) {
    for (what, at) in &node.extensions.unsupported {
        refuse(check, what, tier_of_part(what), *at, &node.id);
    }
    if let NodeKind::Boundary { trigger: BoundaryTrigger::Timer(Timer::Cycle(text)), .. } = &node.kind {
        refuse(check, "timeCycle", 1, text.at, &node.id);
    }
}

fn refuse(check: &mut Check<'_>, what: &str, tier: u8, at: At, id: &str) {
    let when = if tier == 3 { "not planned" } else { "not built yet" };
    check.error(
        &format!("unsupported:{what}"),
        at,
        id,
        format!("`{what}` on `{id}` is of tier {tier}, {when}, so the process cannot run"),
        format!("{} in place of `{what}` on `{id}`", replacement(what)),
    );
}

/// Tier of bpmn.md 3 and 10 for extension elements, attributes and parts.
fn tier_of_part(what: &str) -> u8 {
    match what {
        "formDefinition" | "userTask" | "assignmentDefinition" | "taskSchedule" | "priorityDefinition" => 1,
        "calledElement" | "loopCharacteristics" | "script" | "subscription" | "taskDefinition" => 1,
        "executionListeners" => 2,
        _ => 3,
    }
}

fn replacement(what: &str) -> &'static str {
    match what {
        "parallelGateway" | "inclusiveGateway" | "complexGateway" => {
            "put the branches one after another, chosen by exclusive gateways,"
        }
        "eventBasedGateway" => "use a service task with boundary events",
        "subProcess" | "transaction" | "adHocSubProcess" | "callActivity" => {
            "put what it contains into the process itself"
        }
        "eventSubProcess" => "use boundary events on the service tasks",
        "multiInstanceLoopCharacteristics" | "standardLoopCharacteristics" => "draw the loop with an exclusive gateway",
        "timeCycle" => "use a timeDuration",
        "dataInputAssociation" | "dataOutputAssociation" => "use a zeebe:ioMapping",
        "isForCompensation" | "startQuantity" | "completionQuantity" => "draw the work as service tasks with flows",
        "weavergen.durability" => "use the value `group`",
        "executionListeners" | "taskListeners" => "use a service task before or after",
        other if other.ends_with("StartEvent") => "use a none or message start event",
        other if other.ends_with("EndEvent") => "use a none or error end event",
        other if other.ends_with("BoundaryEvent") => "use a timer or error boundary event",
        other if other.ends_with("Event") => "use a service task whose job waits",
        other if other.ends_with("Task") || other == "task" => "use a service task",
        _ => "use a service task with headers",
    }
}
