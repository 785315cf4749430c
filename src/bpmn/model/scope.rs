//! Nodes and flows of a process or subprocess.
//!
//! Duty: the graph as the sequence flows say it. Guarantee: document order; every index is valid; nodes that are not built
//! stay as `Unsupported` with what lies in them. Left to others: events (`event`), extensions (`extensions`).

use std::collections::{BTreeMap, BTreeSet};

use super::build::Build;
use super::references::{Wire, is_node, is_unknown_node};
use super::xml::{Element, Ns};
use super::{Drawing, Flow, FlowIx, Node, NodeIx, NodeKind, Scope, event, extensions};
use crate::diagnostic::{Diagnostic, Severity};

/// Reads what lies directly in the element `owner`, and below.
pub(super) fn read(build: &mut Build<'_>, owner: usize) -> Scope {
    let document = build.document;
    let none: Vec<Wire> = Vec::new();
    let wires = build.wires.get(&owner).unwrap_or(&none);
    let connected: BTreeSet<usize> = wires.iter().flat_map(|wire| [wire.source, wire.target]).collect();
    let elements: Vec<usize> = document
        .children(owner)
        .filter(|(index, element)| is_node(element) || (is_unknown_node(document, *index) && connected.contains(index)))
        .map(|(index, _)| index)
        .collect();
    let indexes: BTreeMap<usize, NodeIx> =
        elements.iter().enumerate().map(|(node, element)| (*element, node)).collect();

    let mut scope = Scope::default();
    for element in &elements {
        scope.nodes.push(node(build, *element, &indexes));
    }
    let mut flows: BTreeMap<usize, FlowIx> = BTreeMap::new();
    for wire in wires {
        let element = &document.elements[wire.flow];
        let conditions = document.children(wire.flow).filter(|(_, child)| child.is("conditionExpression"));
        let flow = Flow {
            id: build.ids.id(wire.flow).to_owned(),
            name: element.value("name").map(str::to_owned),
            // `references::wires` files a wire under the parent of both its ends, and both are nodes.
            source: indexes[&wire.source],
            target: indexes[&wire.target],
            condition: conditions.map(|(_, child)| child).find_map(event::content),
            at: element.at,
        };
        flows.insert(wire.flow, scope.flows.len());
        scope.nodes[flow.source].outgoing.push(scope.flows.len());
        scope.nodes[flow.target].incoming.push(scope.flows.len());
        scope.flows.push(flow);
    }
    for (node, element) in elements.iter().enumerate() {
        if let Some(host) = scope.nodes[node].drawing.attached_to {
            scope.nodes[host].boundaries.push(node);
        }
        default(build, &mut scope, node, *element, &flows);
        redundant(build, &scope, node, *element);
        order(build, *element);
    }
    scope
}

fn node(build: &mut Build<'_>, index: usize, indexes: &BTreeMap<usize, NodeIx>) -> Node {
    let document = build.document;
    let element = &document.elements[index];
    let is_event = element.ns == Ns::Model && element.local.ends_with("Event");
    let definitions = if is_event { event::definitions(document, build.ids, index) } else { Vec::new() };
    let host = element.value("attachedToRef").and_then(|host| build.ids.element(document, host));
    let host = host.filter(|host| element.local == "boundaryEvent" && is_activity(&document.elements[*host]));
    let host = host.and_then(|host| indexes.get(&host).copied());
    let kind = match element.local.as_str() {
        _ if is_event && is_node(element) => event::kind(build, index, &definitions, host),
        _ if !is_node(element) => refused(0, &element.local),
        "serviceTask" => burden(build, index).map_or(NodeKind::ServiceTask, |(tier, what)| refused(tier, what)),
        "exclusiveGateway" => NodeKind::ExclusiveGateway,
        _ => composite(build, index),
    };
    let interrupting = match element.local.as_str() {
        "boundaryEvent" => Some(event::is_true(element, "cancelActivity")),
        "startEvent" => element.attribute("isInterrupting").map(|_| event::is_true(element, "isInterrupting")),
        _ => None,
    };
    associations(build, index);
    Node {
        id: build.ids.id(index).to_owned(),
        name: element.value("name").map(str::to_owned),
        element: element.local.clone(),
        kind,
        incoming: Vec::new(),
        outgoing: Vec::new(),
        default: None,
        boundaries: Vec::new(),
        extensions: extensions::read(document, index),
        drawing: Drawing {
            event: event::name(document, index, &definitions),
            attached_to: host,
            interrupting,
            repeats: event::repeats(document, index),
        },
        at: element.at,
    }
}

fn refused(tier: u8, what: &str) -> NodeKind {
    NodeKind::Unsupported { tier, what: what.to_owned(), inner: None }
}

/// Activities carry boundary events.
pub(super) fn is_activity(element: &Element) -> bool {
    is_node(element)
        && (element.local == "task"
            || element.local.ends_with("Task")
            || matches!(element.local.as_str(), "callActivity" | "subProcess" | "transaction" | "adHocSubProcess"))
}

/// Nodes that are not built, with tier of bpmn.md 3 and what lies in them.
fn composite(build: &mut Build<'_>, index: usize) -> NodeKind {
    let element = &build.document.elements[index];
    let on = |attribute: &str| matches!(element.value(attribute).map(str::trim), Some("true" | "1"));
    let (tier, what) = match element.local.as_str() {
        "subProcess" if on("triggeredByEvent") => (1, "eventSubProcess"),
        "receiveTask" | "eventBasedGateway" if on("instantiate") => (3, element.local.as_str()),
        "eventBasedGateway" if element.value("eventGatewayType") == Some("Parallel") => (3, "eventBasedGateway"),
        "businessRuleTask" | "sendTask" | "receiveTask" | "eventBasedGateway" => (2, element.local.as_str()),
        "complexGateway" | "transaction" | "adHocSubProcess" => (3, element.local.as_str()),
        local if local.to_ascii_lowercase().contains("choreography") => (3, local),
        local => (1, local),
    };
    let holds = super::references::is_scope(element);
    let inner = holds.then(|| Box::new(read(build, index)));
    NodeKind::Unsupported { tier, what: what.to_owned(), inner }
}

/// What makes an activity of a built kind one that is not built.
fn burden(build: &Build<'_>, index: usize) -> Option<(u8, &'static str)> {
    let document = build.document;
    let element = &document.elements[index];
    for attribute in ["startQuantity", "completionQuantity"] {
        if element.value(attribute).is_some_and(|quantity| quantity.trim() != "1") {
            return Some((3, attribute));
        }
    }
    if matches!(element.value("isForCompensation").map(str::trim), Some("true" | "1")) {
        return Some((2, "isForCompensation"));
    }
    for (child, part) in document.children(index).filter(|(_, part)| part.ns == Ns::Model) {
        let computes = || document.children(child).any(|(_, part)| part.is("assignment") || part.is("transformation"));
        match part.local.as_str() {
            "multiInstanceLoopCharacteristics" => {
                let all = part.value("behavior").is_none_or(|behavior| behavior == "All");
                return Some((if all { 1 } else { 3 }, "multiInstanceLoopCharacteristics"));
            }
            "standardLoopCharacteristics" => return Some((2, "standardLoopCharacteristics")),
            "dataInputAssociation" if computes() => return Some((3, "dataInputAssociation")),
            "dataOutputAssociation" if computes() => return Some((3, "dataOutputAssociation")),
            _ => {}
        }
    }
    None
}

/// `data-association-ignored`: data moves by mappings only.
fn associations(build: &mut Build<'_>, index: usize) {
    let document = build.document;
    if !build.executable {
        return;
    }
    for (_, part) in document.children(index).filter(|(_, part)| part.ns == Ns::Model) {
        if matches!(part.local.as_str(), "dataInputAssociation" | "dataOutputAssociation") {
            let id = build.ids.id(index);
            let message = format!("the {} of `{id}` moves no data", part.local);
            let fix = format!("map the data by `zeebe:ioMapping` of `{id}`");
            let finding = Diagnostic::new("data-association-ignored", Severity::Warning, part.at, message, fix);
            build.findings.push(finding.on(id));
        }
    }
}

/// `default`, which `references::check` knows to be a sequence flow; of another node it is a finding.
fn default(build: &mut Build<'_>, scope: &mut Scope, node: NodeIx, index: usize, flows: &BTreeMap<usize, FlowIx>) {
    let element = &build.document.elements[index];
    let Some(attribute) = element.attribute("default").filter(|default| !default.value.trim().is_empty()) else {
        return;
    };
    let flow = build.ids.element(build.document, &attribute.value).and_then(|flow| flows.get(&flow).copied());
    match flow.filter(|flow| scope.flows[*flow].source == node) {
        Some(flow) => scope.nodes[node].default = Some(flow),
        None => {
            let id = &scope.nodes[node].id;
            let message = format!("the default `{}` of `{id}` does not begin at `{id}`", attribute.value);
            let fix = format!("let `default` of `{id}` name one of its own outgoing flows");
            let finding = Diagnostic::new("dangling-ref", Severity::Error, attribute.at, message, fix);
            build.findings.push(finding.on(id));
        }
    }
}

/// `flow-ref-mismatch`: `incoming` and `outgoing` repeat what the flows say; none at all is no contradiction.
fn redundant(build: &mut Build<'_>, scope: &Scope, node: NodeIx, index: usize) {
    let document = build.document;
    let known = &scope.nodes[node];
    for (local, flows) in [("incoming", &known.incoming), ("outgoing", &known.outgoing)] {
        let children = || document.children(index).filter(|(_, child)| child.is(local)).map(|(_, child)| child);
        let Some(first) = children().next() else { continue };
        let actual: BTreeSet<&str> = flows.iter().map(|flow| scope.flows[*flow].id.as_str()).collect();
        let id = &known.id;
        let mut said = BTreeSet::new();
        let mut wrong = None;
        for child in children() {
            let target =
                build.ids.element(document, &child.text).map_or(child.text.as_str(), |flow| build.ids.id(flow));
            if !actual.contains(target) {
                let message = || format!("`{id}` lists `{target}` as {local}, which no sequence flow confirms");
                wrong.get_or_insert_with(|| (child.at, message()));
            }
            said.insert(target);
        }
        let missing = actual.difference(&said).next();
        let unlisted = missing.map(|flow| (first.at, format!("`{id}` does not list `{flow}` among its {local} flows")));
        // The first contradiction is enough: the fix is the same for all.
        if let Some((at, message)) = wrong.or(unlisted) {
            let fix = format!("delete the `{local}` children of `{id}` or correct them");
            build.findings.push(Diagnostic::new("flow-ref-mismatch", Severity::Warning, at, message, fix).on(id));
        }
    }
}

/// `xsd-order`: documentation, extension elements, incoming, outgoing, then the rest.
fn order(build: &mut Build<'_>, index: usize) {
    let document = build.document;
    let rank = |child: &Element| match child.local.as_str() {
        "documentation" => 0,
        "extensionElements" => 1,
        "auditing" | "monitoring" | "categoryValueRef" => 2,
        "incoming" => 3,
        "outgoing" => 4,
        _ => 5,
    };
    let mut highest = (0, "");
    for (_, child) in document.children(index).filter(|(_, child)| child.ns == Ns::Model) {
        if rank(child) < highest.0 {
            let id = build.ids.id(index);
            let message =
                format!("`{}` of `{id}` stands behind `{}`; the schema wants it before", child.local, highest.1);
            let fix = format!("save the file in a modeler, which orders the children of `{id}`");
            build.findings.push(Diagnostic::new("xsd-order", Severity::Info, child.at, message, fix).on(id));
            return;
        }
        highest = (rank(child), &child.local);
    }
}
