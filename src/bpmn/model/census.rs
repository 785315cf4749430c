//! What a file holds, as JSON (bpmn.md 2, `pipeline export --json`).
//!
//! Duty: counts, graph, collaborations and diagrams in document order. Guarantee: read from the source bytes alone, drawings
//! and elements that are not built included; absent fields are left out. Left to others: meaning.

use serde_json::{Map, Value, json};

use super::references::{Ids, is_node, is_scope, is_unknown_node};
use super::xml::{self, Document, Element, Ns};
use super::{Definitions, event};

/// `{counts, processes, collaborations, messages, signals, errors, escalations, diagrams}`.
///
/// `counts` counts elements of the BPMN model namespace by local name. `null` for a model that no file was parsed to.
pub fn census(definitions: &Definitions) -> Value {
    let Ok(document) = xml::read(&definitions.source) else { return Value::Null };
    let ids = Ids::collect(&document, &mut Vec::new());
    Census { document: &document, ids: &ids }.all()
}

struct Census<'d> {
    document: &'d Document,
    ids: &'d Ids,
}

impl Census<'_> {
    fn all(&self) -> Value {
        let mut counts = Map::new();
        for element in self.document.elements.iter().filter(|element| element.ns == Ns::Model) {
            let count = counts.get(&element.local).and_then(Value::as_u64).unwrap_or(0);
            counts.insert(element.local.clone(), json!(count + 1));
        }
        json!({
            "counts": counts,
            "processes": self.roots("process").map(|(index, element)| self.process(index, element)).collect::<Vec<_>>(),
            "collaborations": self.roots("collaboration").map(|(index, _)| self.collaboration(index)).collect::<Vec<_>>(),
            "messages": self.named("message", "name", "name"),
            "signals": self.named("signal", "name", "name"),
            "errors": self.named("error", "errorCode", "code"),
            "escalations": self.named("escalation", "escalationCode", "code"),
            "diagrams": self.document.children(0).filter(|(_, e)| e.ns == Ns::BpmnDi && e.local == "BPMNDiagram")
                .map(|(index, _)| self.diagram(index)).collect::<Vec<_>>(),
        })
    }

    fn roots(&self, local: &'static str) -> impl Iterator<Item = (usize, &Element)> {
        self.document.children(0).filter(move |(_, element)| element.is(local))
    }

    fn named(&self, local: &'static str, attribute: &str, field: &str) -> Vec<Value> {
        let entry = |(index, element): (usize, &Element)| {
            let mut entry = Map::from_iter([("id".to_owned(), json!(self.ids.id(index)))]);
            put(&mut entry, "name", element.value("name"));
            put(&mut entry, field, element.value(attribute));
            Value::Object(entry)
        };
        self.roots(local).map(entry).collect()
    }

    fn process(&self, index: usize, element: &Element) -> Value {
        let mut process = Map::from_iter([("id".to_owned(), json!(self.ids.id(index)))]);
        put(&mut process, "name", element.value("name"));
        match element.value("isExecutable").map(str::trim) {
            Some("true" | "1") => put(&mut process, "executable", Some(true)),
            Some("false" | "0") => put(&mut process, "executable", Some(false)),
            _ => {}
        }
        let (mut lanes, mut nodes, mut flows) = (Vec::new(), Vec::new(), Vec::new());
        self.scope(index, &mut lanes, &mut nodes, &mut flows);
        process.insert("lanes".into(), Value::Array(lanes));
        process.insert("nodes".into(), Value::Array(nodes));
        process.insert("flows".into(), Value::Array(flows));
        Value::Object(process)
    }

    fn scope(&self, scope: usize, lanes: &mut Vec<Value>, nodes: &mut Vec<Value>, flows: &mut Vec<Value>) {
        for (index, element) in self.document.children(scope) {
            if element.is("laneSet") {
                self.lanes(index, lanes);
            } else if element.is("sequenceFlow") {
                flows.push(self.flow(index, element));
            } else if is_node(element) || (is_unknown_node(self.document, index) && !self.ids.id(index).is_empty()) {
                nodes.push(self.node(index, element, scope));
                if is_scope(element) {
                    self.scope(index, lanes, nodes, flows);
                }
            }
        }
    }

    fn lanes(&self, set: usize, out: &mut Vec<Value>) {
        for (index, element) in self.document.children(set).filter(|(_, element)| element.is("lane")) {
            let mut lane = Map::from_iter([("id".to_owned(), json!(self.ids.id(index)))]);
            put(&mut lane, "name", element.value("name"));
            let members = self.document.children(index).filter(|(_, child)| child.is("flowNodeRef"));
            let members: Vec<_> = members.map(|(_, child)| self.target(&child.text)).collect();
            lane.insert("nodes".into(), json!(members));
            out.push(Value::Object(lane));
            for (nested, _) in self.document.children(index).filter(|(_, child)| child.is("childLaneSet")) {
                self.lanes(nested, out);
            }
        }
    }

    fn node(&self, index: usize, element: &Element, scope: usize) -> Value {
        let mut node = Map::from_iter([
            ("id".to_owned(), json!(self.ids.id(index))),
            ("type".to_owned(), json!(element.local)),
            ("scope".to_owned(), json!(self.ids.id(scope))),
        ]);
        put(&mut node, "name", element.value("name"));
        let triggers = event::definitions(self.document, self.ids, index);
        put(&mut node, "event", event::name(self.document, index, &triggers));
        if element.local == "boundaryEvent" {
            put(&mut node, "attachedTo", element.value("attachedToRef").map(|host| self.target(host)));
            put(&mut node, "interrupting", Some(event::is_true(element, "cancelActivity")));
        } else if element.local == "startEvent" && element.attribute("isInterrupting").is_some() {
            put(&mut node, "interrupting", Some(event::is_true(element, "isInterrupting")));
        }
        put(&mut node, "loop", event::repeats(self.document, index));
        Value::Object(node)
    }

    fn flow(&self, index: usize, element: &Element) -> Value {
        let source = element.value("sourceRef").map(|source| self.target(source)).unwrap_or_default();
        let mut flow = Map::from_iter([
            ("id".to_owned(), json!(self.ids.id(index))),
            ("source".to_owned(), json!(source)),
            ("target".to_owned(), json!(element.value("targetRef").map(|target| self.target(target)))),
        ]);
        let conditions = self.document.children(index).filter(|(_, child)| child.is("conditionExpression"));
        put(&mut flow, "condition", conditions.map(|(_, child)| child.text.as_str()).find(|text| !text.is_empty()));
        let from = self.ids.element(self.document, &source).map(|source| &self.document.elements[source]);
        let default = from.and_then(|from| from.value("default")).map(|default| self.target(default));
        if default.as_deref() == Some(self.ids.id(index)) {
            put(&mut flow, "default", Some(true));
        }
        Value::Object(flow)
    }

    fn collaboration(&self, index: usize) -> Value {
        let (mut participants, mut flows) = (Vec::new(), Vec::new());
        for (child, element) in self.document.children(index) {
            let mut entry = Map::from_iter([("id".to_owned(), json!(self.ids.id(child)))]);
            put(&mut entry, "name", element.value("name"));
            if element.is("participant") {
                put(&mut entry, "process", element.value("processRef").map(|process| self.target(process)));
                participants.push(Value::Object(entry));
            } else if element.is("messageFlow") {
                put(&mut entry, "source", element.value("sourceRef").map(|source| self.target(source)));
                put(&mut entry, "target", element.value("targetRef").map(|target| self.target(target)));
                flows.push(Value::Object(entry));
            }
        }
        json!({"id": self.ids.id(index), "participants": participants, "messageFlows": flows})
    }

    fn diagram(&self, index: usize) -> Value {
        let mut diagram = Map::from_iter([("id".to_owned(), json!(self.ids.id(index)))]);
        let (mut shapes, mut edges) = (Vec::new(), Vec::new());
        for (plane, element) in self.document.children(index).filter(|(_, element)| element.local == "BPMNPlane") {
            put(&mut diagram, "plane", element.value("bpmnElement").map(|element| self.target(element)));
            for (child, element) in self.document.children(plane).filter(|(_, element)| element.ns == Ns::BpmnDi) {
                let mut entry = Map::new();
                put(&mut entry, "element", element.value("bpmnElement").map(|element| self.target(element)));
                if element.local == "BPMNShape" {
                    let bounds = self.document.children(child).find(|(_, e)| e.ns == Ns::Dc && e.local == "Bounds");
                    put(&mut entry, "bounds", bounds.map(|(_, b)| numbers(b, &["x", "y", "width", "height"])));
                    let expanded = element.value("isExpanded").map(|expanded| expanded == "true");
                    put(&mut entry, "expanded", expanded);
                    shapes.push(Value::Object(entry));
                } else if element.local == "BPMNEdge" {
                    let points = self.document.children(child).filter(|(_, e)| e.ns == Ns::Di && e.local == "waypoint");
                    let points: Vec<_> = points.map(|(_, point)| numbers(point, &["x", "y"])).collect();
                    entry.insert("waypoints".into(), Value::Array(points));
                    edges.push(Value::Object(entry));
                }
            }
        }
        diagram.insert("shapes".into(), Value::Array(shapes));
        diagram.insert("edges".into(), Value::Array(edges));
        Value::Object(diagram)
    }

    /// The id a reference leads to; as written when it leads out of the file.
    fn target(&self, reference: &str) -> String {
        let found = self.ids.element(self.document, reference);
        found.map_or(reference.trim(), |element| self.ids.id(element)).to_owned()
    }
}

fn put<T: Into<Value>>(entry: &mut Map<String, Value>, field: &str, value: Option<T>) {
    if let Some(value) = value {
        entry.insert(field.to_owned(), value.into());
    }
}

/// The attributes of `element` that are numbers; whole ones without a fraction.
fn numbers(element: &Element, fields: &[&str]) -> Value {
    let mut entry = Map::new();
    for field in fields {
        let number = element.value(field).and_then(|text| text.trim().parse::<f64>().ok()).filter(|n| n.is_finite());
        let whole = |number: f64| number.fract() == 0.0 && number.abs() < 9e15;
        put(&mut entry, field, number.map(|n| if whole(n) { json!(n as i64) } else { json!(n) }));
    }
    Value::Object(entry)
}
