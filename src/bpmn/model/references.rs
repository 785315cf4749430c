//! Ids and what refers to them.
//!
//! Duty: `duplicate-id`, `dangling-ref`, `flow-crosses-scope`, stable ids for elements that have none. Guarantee: after
//! [`check`] without an error every reference that we follow leads to an element of the right kind, or, where nothing is
//! run, out of the file through a prefix. Left to others: what refers to what means (`scope`, `event`).

use std::collections::BTreeMap;

use super::xml::{Document, Element, Ns};
use crate::diagnostic::{Diagnostic, Severity};

/// Errors of one kind that a refusal names; a file with more is not one that a person reads to the end.
const MANY: usize = 1_000;

/// Where a reference leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To this element.
    Element(usize),
    /// To another file: its prefix stands for another namespace than the file's own.
    External,
    /// Nowhere.
    Missing,
}

/// Ids of a file.
#[derive(Debug)]
pub(super) struct Ids {
    by_id: BTreeMap<String, usize>,
    own: Vec<String>,
}

impl Ids {
    /// Collects the ids of model and diagram elements; a second use is a `duplicate-id` in `errors`.
    pub(super) fn collect(document: &Document, errors: &mut Vec<Diagnostic>) -> Self {
        let mut ids = Self { by_id: BTreeMap::new(), own: vec![String::new(); document.elements.len()] };
        let mut autos: BTreeMap<&str, u32> = BTreeMap::new();
        let given =
            |element: &Element| element.value("id").map(str::trim).filter(|id| !id.is_empty()).map(str::to_owned);
        for (index, element) in document.elements.iter().enumerate() {
            if !matches!(element.ns, Ns::Model | Ns::BpmnDi) && !is_foreign_node(document, index) {
                continue;
            }
            let id = given(element).unwrap_or_else(|| {
                let n = autos.entry(&element.local).and_modify(|n| *n += 1).or_insert(1);
                format!("auto:{}:{n}", element.local)
            });
            if let Some(first) = ids.by_id.get(&id) {
                if errors.len() > MANY {
                    continue;
                }
                let first = &document.elements[*first];
                let place = element.attribute("id").map_or(element.at, |attribute| attribute.at);
                let message = format!("the id `{id}` is used twice, by a {} and a {}", first.local, element.local);
                let fix = format!("rename one of the two `{id}`");
                let at = first.attribute("id").map_or(first.at, |attribute| attribute.at);
                let twice = Diagnostic::new("duplicate-id", Severity::Error, place, message, fix);
                errors.push(twice.on(&id).with(at, format!("the first `{id}`")));
            } else {
                ids.by_id.insert(id.clone(), index);
            }
            ids.own[index] = id;
        }
        ids
    }

    /// The id of `element`, given or `auto:`; empty for elements of foreign namespaces.
    pub(super) fn id(&self, element: usize) -> &str {
        &self.own[element]
    }

    /// Follows a QName.
    pub(super) fn resolve(&self, document: &Document, reference: &str) -> Target {
        let reference = reference.trim();
        if let Some(element) = self.by_id.get(reference) {
            return Target::Element(*element);
        }
        let Some((prefix, local)) = reference.split_once(':') else { return Target::Missing };
        if let Some(element) = self.by_id.get(local) {
            return Target::Element(*element);
        }
        let own = document.elements[0].value("targetNamespace");
        match document.prefixes.get(prefix) {
            Some(uri) if Some(uri.as_str()) != own => Target::External,
            _ => Target::Missing,
        }
    }

    /// The element of model type `local` that `reference` leads to.
    pub(super) fn element(&self, document: &Document, reference: &str) -> Option<usize> {
        match self.resolve(document, reference) {
            Target::Element(element) => Some(element),
            Target::External | Target::Missing => None,
        }
    }
}

/// Elements that hold nodes and flows.
const SCOPES: [&str; 6] =
    ["process", "subProcess", "transaction", "adHocSubProcess", "choreography", "subChoreography"];

/// Flow nodes of the standard.
const NODES: [&str; 22] = [
    "startEvent",
    "endEvent",
    "intermediateCatchEvent",
    "intermediateThrowEvent",
    "implicitThrowEvent",
    "boundaryEvent",
    "task",
    "serviceTask",
    "userTask",
    "scriptTask",
    "manualTask",
    "businessRuleTask",
    "sendTask",
    "receiveTask",
    "exclusiveGateway",
    "parallelGateway",
    "inclusiveGateway",
    "eventBasedGateway",
    "complexGateway",
    "callActivity",
    "choreographyTask",
    "callChoreography",
];

/// Elements of a scope that are no flow nodes.
const OTHERS: [&str; 27] = [
    "documentation",
    "extensionElements",
    "auditing",
    "monitoring",
    "property",
    "laneSet",
    "sequenceFlow",
    "dataObject",
    "dataObjectReference",
    "dataStoreReference",
    "artifact",
    "association",
    "group",
    "textAnnotation",
    "resourceRole",
    "performer",
    "humanPerformer",
    "potentialOwner",
    "correlationSubscription",
    "supports",
    "ioSpecification",
    "ioBinding",
    "incoming",
    "outgoing",
    "supportedInterfaceRef",
    "completionCondition",
    "participantRef",
];

/// Whether `element` holds nodes and flows.
pub(super) fn is_scope(element: &Element) -> bool {
    element.ns == Ns::Model && SCOPES.contains(&element.local.as_str())
}

/// Whether `element` is a flow node of the standard.
pub(super) fn is_node(element: &Element) -> bool {
    let local = element.local.as_str();
    element.ns == Ns::Model
        && (NODES.contains(&local) || (is_scope(element) && !matches!(local, "process" | "choreography")))
}

/// Whether `index` stands where a node may stand and is nothing that the standard knows.
pub(super) fn is_unknown_node(document: &Document, index: usize) -> bool {
    let element = &document.elements[index];
    let other = element.ns == Ns::Model && OTHERS.contains(&element.local.as_str());
    let characteristics = element.local.ends_with("LoopCharacteristics") || element.local.ends_with("Association");
    let inside = element.parent.is_some_and(|parent| is_scope(&document.elements[parent]));
    inside && !other && !characteristics && !is_node(element)
}

fn is_foreign_node(document: &Document, index: usize) -> bool {
    is_unknown_node(document, index) && document.elements[index].value("id").is_some()
}

/// A sequence flow whose ends are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wire {
    pub(super) flow: usize,
    pub(super) source: usize,
    pub(super) target: usize,
}

/// The sequence flows by the scope in which both ends lie, in document order; what leads nowhere or leaves its scope is
/// an error.
pub(super) fn wires(document: &Document, ids: &Ids, errors: &mut Vec<Diagnostic>) -> BTreeMap<usize, Vec<Wire>> {
    let mut wires: BTreeMap<usize, Vec<Wire>> = BTreeMap::new();
    let most = errors.len() + MANY;
    for (flow, element) in document.elements.iter().enumerate().filter(|(_, element)| element.is("sequenceFlow")) {
        if errors.len() > most {
            break;
        }
        let mut end = |attribute: &str| {
            let id = ids.id(flow);
            let Some(found) = element.attribute(attribute) else {
                let message = format!("the sequence flow `{id}` has no `{attribute}`");
                let fix = format!("connect `{id}` or delete it");
                errors.push(Diagnostic::new("dangling-ref", Severity::Error, element.at, message, fix).on(id));
                return None;
            };
            let target = ids.element(document, &found.value);
            let node = target.filter(|node| is_node(&document.elements[*node]) || is_unknown_node(document, *node));
            if node.is_none() {
                let what = target.map_or("which is not in the file".to_owned(), |target| {
                    format!("a {}, which is no flow node", document.elements[target].local)
                });
                let message = format!("`{attribute}` of the sequence flow `{id}` names `{}`, {what}", found.value);
                let fix = format!("create `{}` or correct `{attribute}` of `{id}`", found.value);
                errors.push(Diagnostic::new("dangling-ref", Severity::Error, found.at, message, fix).on(id));
            }
            node
        };
        let (source, target) = (end("sourceRef"), end("targetRef"));
        let (Some(source), Some(target)) = (source, target) else { continue };
        let scope = |node: usize| document.elements[node].parent;
        match scope(source).filter(|parent| Some(*parent) == scope(target)) {
            Some(parent) => wires.entry(parent).or_default().push(Wire { flow, source, target }),
            None => {
                let id = ids.id(flow);
                let (from, to) = (ids.id(source), ids.id(target));
                let message =
                    format!("the sequence flow `{id}` leaves its scope: `{from}` and `{to}` lie in different ones");
                let fix = format!("replace `{id}` by a boundary event or a message");
                let crossing = Diagnostic::new("flow-crosses-scope", Severity::Error, element.at, message, fix).on(id);
                errors.push(crossing.with(document.elements[target].at, format!("`{to}`")));
            }
        }
    }
    wires
}

/// Attributes that refer, and what they must lead to (a suffix of the local name; empty = any element).
const REFERENCES: [(&str, &str); 10] = [
    ("messageRef", "message"),
    ("errorRef", "error"),
    ("signalRef", "signal"),
    ("escalationRef", "escalation"),
    ("processRef", "process"),
    ("default", "sequenceFlow"),
    ("attachedToRef", ""),
    ("dataObjectRef", "dataObject"),
    ("dataStoreRef", "dataStore"),
    ("activityRef", ""),
];

/// Those without which an element does something else.
const DECIDE: [&str; 8] = [
    "messageRef",
    "errorRef",
    "signalRef",
    "escalationRef",
    "default",
    "attachedToRef",
    "activityRef",
    "eventDefinitionRef",
];

/// Whether `index` lies in an executable process, or is an event definition that one may refer to.
fn runs(document: &Document, index: usize) -> bool {
    let executable = |element: &Element| {
        element.is("process") && !matches!(element.value("isExecutable").map(str::trim), Some("false" | "0"))
    };
    let element = &document.elements[index];
    let outward = |inner: &&Element| inner.parent.map(|parent| &document.elements[parent]);
    match std::iter::successors(Some(element), outward).find(|outer| outer.is("process")) {
        Some(process) => executable(process),
        None => {
            element.local.ends_with("EventDefinition") && document.children(0).any(|(_, process)| executable(process))
        }
    }
}

/// Reports every other reference that leads nowhere, or to something else than its name says.
pub(super) fn check(document: &Document, ids: &Ids, errors: &mut Vec<Diagnostic>) {
    let most = errors.len() + MANY;
    for (index, element) in document.elements.iter().enumerate().filter(|(_, element)| element.ns == Ns::Model) {
        if errors.len() > most {
            break;
        }
        let mut follow = |name: &str, value: &str, at, wanted: &str| {
            let id = ids.id(index);
            let what = match ids.resolve(document, value) {
                // what is drawn may lead anywhere; what is run may not mean something else than it says
                Target::External if !(DECIDE.contains(&name) && runs(document, index)) => return,
                Target::External => "which is in another file: imports are not built".to_owned(),
                Target::Missing => "which is not in the file".to_owned(),
                Target::Element(target) => {
                    let local = &document.elements[target].local;
                    if wanted.is_empty() || local == wanted || (wanted == "EventDefinition" && local.ends_with(wanted))
                    {
                        return;
                    }
                    format!("which is a {local}")
                }
            };
            let message = format!("`{name}` of `{id}` names `{}`, {what}", value.trim());
            let fix = format!("create `{}` or correct `{name}` of `{id}`", value.trim());
            errors.push(Diagnostic::new("dangling-ref", Severity::Error, at, message, fix).on(id));
        };
        for (name, wanted) in REFERENCES {
            // An empty reference says as much as none: modelers leave it behind when the target is cleared.
            if let Some(found) = element.attribute(name).filter(|found| !found.value.trim().is_empty()) {
                follow(name, &found.value, found.at, wanted);
            }
        }
        if matches!(element.local.as_str(), "messageFlow" | "association") {
            for name in ["sourceRef", "targetRef"] {
                if let Some(found) = element.attribute(name) {
                    follow(name, &found.value, found.at, "");
                }
            }
        }
        let wanted = match element.local.as_str() {
            "flowNodeRef" => "",
            "eventDefinitionRef" => "EventDefinition",
            _ => continue,
        };
        follow(&element.local, &element.text, element.text_at, wanted);
    }
}
