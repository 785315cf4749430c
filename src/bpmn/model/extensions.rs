//! Extension elements of the `zeebe` namespace (bpmn.md 10).
//!
//! Duty: taskDefinition, ioMapping, taskHeaders, properties as typed values. Guarantee: what is not built is kept by name, so
//! that `lint` refuses it. Left to others: whether a value makes sense (`lint`).

use super::xml::{Attribute, Document, Element, Ns};
use super::{Extensions, Header, Mapping, TaskDefinition, Text};
use crate::diagnostic::At;

/// Read by other tools only: kept in the source, without effect on execution.
const IGNORED: [&str; 2] = ["linkedResources", "jobPriorityDefinition"];

/// The `zeebe` children of the `extensionElements` of `owner`, in document order.
pub(super) fn of(document: &Document, owner: usize) -> impl Iterator<Item = (usize, &Element)> {
    let holders = document.children(owner).filter(|(_, child)| child.is("extensionElements"));
    holders.flat_map(|(holder, _)| document.children(holder)).filter(|(_, extension)| extension.ns == Ns::Zeebe)
}

/// `zeebe:properties` of `owner`: name and value, in document order.
pub(super) fn properties(document: &Document, owner: usize) -> Vec<(String, String)> {
    let lists = of(document, owner).filter(|(_, extension)| extension.local == "properties");
    let all = lists.flat_map(|(list, _)| children(document, list, "property"));
    let text = |property: &Element, attribute| property.value(attribute).unwrap_or_default().to_owned();
    all.map(|property| (text(property, "name"), text(property, "value"))).collect()
}

/// What we read of the extension elements of a flow node.
pub(super) fn read(document: &Document, owner: usize) -> Extensions {
    let mut out = Extensions { properties: properties(document, owner), ..Extensions::default() };
    for (index, extension) in of(document, owner) {
        match extension.local.as_str() {
            "taskDefinition" => {
                out.task = Some(TaskDefinition {
                    r#type: required(extension, "type"),
                    retries: extension.attribute("retries").map(text),
                });
            }
            "taskHeaders" => out.headers.extend(children(document, index, "header").map(|header| Header {
                key: header.value("key").unwrap_or_default().to_owned(),
                value: required(header, "value"),
            })),
            "ioMapping" => {
                out.inputs.extend(children(document, index, "input").map(mapping));
                out.outputs.extend(children(document, index, "output").map(mapping));
            }
            "properties" => {}
            local if IGNORED.contains(&local) => {}
            local => {
                out.unsupported.entry(local.to_owned()).or_insert(extension.at);
            }
        }
    }
    out
}

fn children<'d>(document: &'d Document, list: usize, local: &'static str) -> impl Iterator<Item = &'d Element> {
    let all = document.children(list).map(|(_, element)| element);
    all.filter(move |element| element.ns == Ns::Zeebe && element.local == local)
}

fn mapping(element: &Element) -> Mapping {
    Mapping { source: required(element, "source"), target: required(element, "target") }
}

/// An attribute's text; absent = empty, at the place of its element.
fn required(element: &Element, attribute: &str) -> Text {
    let absent = || Text { text: String::new(), language: None, at: At { length: 0, ..element.at } };
    element.attribute(attribute).map_or_else(absent, text)
}

fn text(attribute: &Attribute) -> Text {
    Text { text: attribute.value.clone(), language: None, at: attribute.at }
}
