//! From the tree of elements to [`Definitions`].
//!
//! Duty: root elements, processes, collaborations. Guarantee: all errors of a file at once, in the order of their places.
//! Left to others: what lies in a process (`scope`), references (`references`).

use std::collections::BTreeMap;

use super::references::{self, Ids, Wire};
use super::xml::{self, Document, Ns};
use super::{Collaboration, Definitions, ErrorDefinition, Message, Process, extensions, scope};
use crate::diagnostic::{self, Diagnostic, Severity};

/// What the parts of the reader share.
pub(super) struct Build<'d> {
    pub(super) document: &'d Document,
    pub(super) ids: &'d Ids,
    /// Sequence flows by scope.
    pub(super) wires: &'d BTreeMap<usize, Vec<Wire>>,
    /// Element → index in [`Definitions::messages`].
    pub(super) messages: BTreeMap<usize, usize>,
    /// Element → index in [`Definitions::errors`].
    pub(super) errors: BTreeMap<usize, usize>,
    /// What is noticed on the way.
    pub(super) findings: Vec<Diagnostic>,
    /// Whether the process at hand runs.
    pub(super) executable: bool,
}

pub(super) fn definitions(source: &[u8]) -> Result<Definitions, Vec<Diagnostic>> {
    let document = xml::read(source).map_err(|error| vec![*error])?;
    let root = &document.elements[0];
    if !root.is("definitions") {
        let message = format!("the root element `{}` is no `definitions` of BPMN 20100524", root.local);
        let fix = format!("save `{}` as BPMN 2.0", root.local);
        return Err(vec![Diagnostic::new("namespace-unknown", Severity::Error, root.at, message, fix)]);
    }
    let mut errors = Vec::new();
    let ids = Ids::collect(&document, &mut errors);
    let wires = references::wires(&document, &ids, &mut errors);
    references::check(&document, &ids, &mut errors);
    if !errors.is_empty() {
        diagnostic::sort(&mut errors);
        return Err(errors);
    }

    let mut build = Build {
        document: &document,
        ids: &ids,
        wires: &wires,
        messages: BTreeMap::new(),
        errors: BTreeMap::new(),
        findings: Vec::new(),
        executable: false,
    };
    let mut definitions = Definitions {
        source: source.to_vec(),
        processes: Vec::new(),
        messages: Vec::new(),
        errors: Vec::new(),
        collaborations: Vec::new(),
        has_diagram: false,
        findings: Vec::new(),
    };
    for (index, element) in document.children(0) {
        if element.ns == Ns::BpmnDi && element.local == "BPMNDiagram" {
            definitions.has_diagram = true;
        } else if element.is("message") {
            build.messages.insert(index, definitions.messages.len());
            definitions.messages.push(build.message(index));
        } else if element.is("error") {
            build.errors.insert(index, definitions.errors.len());
            definitions.errors.push(ErrorDefinition {
                id: ids.id(index).to_owned(),
                code: element.value("errorCode").map(str::trim).filter(|code| !code.is_empty()).map(str::to_owned),
                at: element.at,
            });
        }
    }
    for (index, element) in document.children(0) {
        if element.is("process") {
            definitions.processes.push(build.process(index));
        } else if element.is("collaboration") {
            definitions.collaborations.push(build.collaboration(index));
        }
    }
    definitions.findings = build.findings;
    diagnostic::sort(&mut definitions.findings);
    Ok(definitions)
}

impl Build<'_> {
    fn message(&self, index: usize) -> Message {
        let element = &self.document.elements[index];
        let subscription =
            extensions::of(self.document, index).find(|(_, extension)| extension.local == "subscription");
        Message {
            id: self.ids.id(index).to_owned(),
            name: element.value("name").map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned),
            correlation_key: subscription.and_then(|(_, key)| key.value("correlationKey")).map(str::to_owned),
            at: element.at,
        }
    }

    fn process(&mut self, index: usize) -> Process {
        let element = &self.document.elements[index];
        let executable = match element.value("isExecutable").map(str::trim) {
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            _ => None,
        };
        self.executable = executable != Some(false);
        let mut process = Process {
            id: self.ids.id(index).to_owned(),
            name: element.value("name").map(str::to_owned),
            executable,
            version_tag: None,
            properties: extensions::properties(self.document, index),
            unsupported: BTreeMap::new(),
            scope: scope::read(self, index),
            at: element.at,
        };
        for (_, extension) in extensions::of(self.document, index) {
            match extension.local.as_str() {
                "versionTag" => process.version_tag = extension.value("value").map(str::to_owned),
                // A form does nothing until an element refers to it, and that reference is refused there.
                "properties" | "userTaskForm" => {}
                local => {
                    process.unsupported.entry(local.to_owned()).or_insert(extension.at);
                }
            }
        }
        for (_, child) in self.document.children(index).filter(|(_, child)| child.is("correlationSubscription")) {
            process.unsupported.entry(child.local.clone()).or_insert(child.at);
        }
        process
    }

    fn collaboration(&self, index: usize) -> Collaboration {
        let mut collaboration =
            Collaboration { id: self.ids.id(index).to_owned(), participants: Vec::new(), message_flows: Vec::new() };
        for (child, element) in self.document.children(index) {
            let id = self.ids.id(child).to_owned();
            let named = |attribute: &str| {
                let reference = element.value(attribute)?;
                let target = self.ids.element(self.document, reference);
                Some(target.map_or(reference, |target| self.ids.id(target)).to_owned())
            };
            if element.is("participant") {
                let name = element.value("name").map(str::to_owned);
                collaboration.participants.push((id, name, named("processRef")));
            } else if element.is("messageFlow") {
                let ends = (named("sourceRef").unwrap_or_default(), named("targetRef").unwrap_or_default());
                collaboration.message_flows.push((id, ends.0, ends.1));
            }
        }
        collaboration
    }
}
