//! What starts, ends and interrupts.
//!
//! Duty: event definitions, inline or by reference, to kinds. Guarantee: what is not built is `Unsupported` by its full name,
//! e.g. `timerStartEvent`. Left to others: whether the references are of use (`lint`).

use super::build::Build;
use super::references::Ids;
use super::xml::{Document, Element, Ns};
use super::{BoundaryTrigger, EndResult, NodeIx, NodeKind, StartTrigger, Text, Timer};

/// The event definitions of a node, those behind `eventDefinitionRef` inlined, in document order.
pub(super) fn definitions(document: &Document, ids: &Ids, node: usize) -> Vec<usize> {
    let mut found = Vec::new();
    for (index, child) in document.children(node).filter(|(_, child)| child.ns == Ns::Model) {
        if child.local == "eventDefinitionRef" {
            found.extend(ids.element(document, &child.text));
        } else if child.local.ends_with("EventDefinition") {
            found.push(index);
        }
    }
    found
}

/// `timer`, `message`, …; `multiple` or `parallelMultiple` for several.
pub(super) fn name(document: &Document, node: usize, definitions: &[usize]) -> Option<String> {
    let element = &document.elements[node];
    match definitions {
        [] => None,
        [one] => {
            let local = &document.elements[*one].local;
            Some(local.strip_suffix("EventDefinition").unwrap_or(local).to_owned())
        }
        _ if element.value("parallelMultiple") == Some("true") => Some("parallelMultiple".to_owned()),
        _ => Some("multiple".to_owned()),
    }
}

/// The kind of the event `node`; `host` is what a boundary event sits on.
pub(super) fn kind(build: &Build<'_>, node: usize, definitions: &[usize], host: Option<NodeIx>) -> NodeKind {
    let document = build.document;
    let element = &document.elements[node];
    let event = name(document, node, definitions);
    let definition = definitions.first().map(|index| &document.elements[*index]);
    let target = |attribute: &str| {
        let reference = definition.and_then(|definition| definition.value(attribute))?;
        build.ids.element(document, reference)
    };
    let message = || target("messageRef").and_then(|element| build.messages.get(&element).copied());
    let error = || target("errorRef").and_then(|element| build.errors.get(&element).copied());
    match (element.local.as_str(), event.as_deref(), host) {
        ("startEvent", None, _) => NodeKind::Start(StartTrigger::None),
        ("startEvent", Some("message"), _) => NodeKind::Start(StartTrigger::Message { message: message() }),
        ("endEvent", None, _) => NodeKind::End(EndResult::None),
        ("endEvent", Some("error"), _) => NodeKind::End(EndResult::Error { error: error() }),
        ("boundaryEvent", Some("error"), Some(host)) => NodeKind::Boundary {
            host,
            interrupting: is_true(element, "cancelActivity"),
            trigger: BoundaryTrigger::Error { error: error() },
        },
        ("boundaryEvent", Some("timer"), Some(host)) => NodeKind::Boundary {
            host,
            interrupting: is_true(element, "cancelActivity"),
            trigger: BoundaryTrigger::Timer(timer(build, definitions[0])),
        },
        (local, event, _) => NodeKind::Unsupported { tier: tier(local, event), what: what(local, event), inner: None },
    }
}

/// An attribute that is true unless it says otherwise.
pub(super) fn is_true(element: &Element, attribute: &str) -> bool {
    !matches!(element.value(attribute).map(str::trim), Some("false" | "0"))
}

/// The first of `timeDate`, `timeDuration`, `timeCycle` that says something.
fn timer(build: &Build<'_>, definition: usize) -> Timer {
    for (_, child) in build.document.children(definition).filter(|(_, child)| child.ns == Ns::Model) {
        let Some(text) = content(child) else { continue };
        match child.local.as_str() {
            "timeDate" => return Timer::Date(text),
            "timeDuration" => return Timer::Duration(text),
            "timeCycle" => return Timer::Cycle(text),
            _ => {}
        }
    }
    Timer::Missing
}

/// The content of an expression element; empty = absent.
pub(super) fn content(element: &Element) -> Option<Text> {
    let language = element.value("language").map(str::to_owned);
    (!element.text.is_empty()).then(|| Text { text: element.text.clone(), language, at: element.text_at })
}

/// `timerStartEvent` of `startEvent` and `timer`.
fn what(local: &str, event: Option<&str>) -> String {
    let mut letters = local.chars();
    match (event, letters.next()) {
        (Some(event), Some(first)) => format!("{event}{}{}", first.to_ascii_uppercase(), letters.as_str()),
        _ => local.to_owned(),
    }
}

/// Tier of bpmn.md 3.
fn tier(local: &str, event: Option<&str>) -> u8 {
    match (local, event) {
        (_, Some("conditional" | "cancel" | "multiple" | "parallelMultiple")) => 3,
        (_, Some("signal" | "escalation" | "compensate" | "link")) => 2,
        ("endEvent" | "intermediateThrowEvent" | "boundaryEvent", Some("message")) => 2,
        (_, None | Some("timer" | "message" | "error" | "terminate")) => 1,
        _ => 3,
    }
}

/// `standard`, `sequential` or `parallel`, as an activity says how often it runs.
pub(super) fn repeats(document: &Document, activity: usize) -> Option<String> {
    let mut parts = document.children(activity).filter(|(_, part)| part.ns == Ns::Model);
    let kind = parts.find_map(|(_, part)| match part.local.as_str() {
        "standardLoopCharacteristics" => Some("standard"),
        "multiInstanceLoopCharacteristics" if part.value("isSequential") == Some("true") => Some("sequential"),
        "multiInstanceLoopCharacteristics" => Some("parallel"),
        _ => None,
    });
    kind.map(str::to_owned)
}
