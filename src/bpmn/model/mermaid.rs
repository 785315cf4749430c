//! A drawing as Mermaid text.
//!
//! Duty: `flowchart LR` of processes, a subgraph a scope, a shape a type, colours by state (bpmn.md 17). Guarantee: works
//! without a diagram; any id and text is safe in the output; equal models give equal bytes. Left to others: who is in
//! which state (`engine`).

use std::collections::{BTreeMap, BTreeSet};

use super::{Definitions, Node, NodeKind, Process, Scope};

/// How far an element is in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StateClass {
    /// Completed at least once, and not there now.
    Done,
    /// Has a token or a running job.
    Active,
    /// Waits for a timer, message or task.
    Waiting,
    /// Has an open incident.
    Incident,
    /// Terminated.
    Cancelled,
}

impl StateClass {
    fn name(self) -> &'static str {
        match self {
            StateClass::Done => "done",
            StateClass::Active => "active",
            StateClass::Waiting => "waiting",
            StateClass::Incident => "incident",
            StateClass::Cancelled => "cancelled",
        }
    }

    fn style(self) -> &'static str {
        match self {
            StateClass::Done => "fill:#d9ead3,stroke:#38761d,color:#000",
            StateClass::Active => "fill:#cfe2f3,stroke:#0b5394,color:#000",
            StateClass::Waiting => "fill:#fff2cc,stroke:#b45f06,color:#000",
            StateClass::Incident => "fill:#f4cccc,stroke:#990000,color:#000",
            StateClass::Cancelled => "fill:#eeeeee,stroke:#666666,color:#666666,stroke-dasharray:4",
        }
    }
}

/// All processes of a file, pools without one, and the messages between them.
pub fn mermaid(definitions: &Definitions) -> String {
    let mut drawing = Drawing::default();
    for process in &definitions.processes {
        drawing.process(process);
    }
    let participants = definitions.collaborations.iter().flat_map(|collaboration| &collaboration.participants);
    for (id, name, process) in participants {
        let drawn = process.as_ref().and_then(|process| drawing.names.get(process).cloned());
        if let Some(drawn) = drawn {
            drawing.names.insert(id.clone(), drawn);
        } else {
            let node = drawing.name(id);
            let label = label(name.as_deref().unwrap_or(id));
            drawing.line(&format!("{node}[/\"{label}\"/]"));
        }
    }
    for (_, source, target) in definitions.collaborations.iter().flat_map(|collaboration| &collaboration.message_flows)
    {
        // A message flow may lead to what is not drawn, e.g. a choreography.
        if let (Some(source), Some(target)) = (drawing.names.get(source), drawing.names.get(target)) {
            let line = format!("{source} -.-> {target}");
            drawing.line(&line);
        }
    }
    drawing.end(&BTreeMap::new())
}

/// One process with the state of its elements, by element id; elements that are not named have none.
pub fn mermaid_of(process: &Process, states: &BTreeMap<String, StateClass>) -> String {
    let mut drawing = Drawing::default();
    drawing.process(process);
    drawing.end(states)
}

#[derive(Default)]
struct Drawing {
    text: String,
    depth: usize,
    /// Element id → name in the drawing.
    names: BTreeMap<String, String>,
    used: BTreeSet<String>,
    /// How many ids became the same safe text.
    twins: BTreeMap<String, usize>,
}

impl Drawing {
    fn process(&mut self, process: &Process) {
        let name = self.name(&process.id);
        self.scope(&name, process.name.as_deref().unwrap_or(&process.id), &process.scope);
    }

    fn scope(&mut self, name: &str, title: &str, scope: &Scope) {
        self.line(&format!("subgraph {name}[\"{}\"]", label(title)));
        self.depth += 1;
        self.line("direction LR");
        let names: Vec<String> = scope.nodes.iter().map(|node| self.name(&node.id)).collect();
        for (node, name) in scope.nodes.iter().zip(&names) {
            match &node.kind {
                NodeKind::Unsupported { inner: Some(inner), .. } => {
                    self.scope(name, node.name.as_deref().unwrap_or(&node.id), inner);
                }
                _ => self.line(&format!("{name}{}", shape(node))),
            }
        }
        for (node, name) in scope.nodes.iter().zip(&names) {
            if let Some(host) = node.drawing.attached_to {
                self.line(&format!("{} -.- {name}", names[host]));
            }
        }
        for (index, flow) in scope.flows.iter().enumerate() {
            let condition = flow.condition.as_ref().map(|condition| condition.expression().trim());
            let is_default = scope.nodes[flow.source].default == Some(index);
            let name = flow.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
            let text = name.or(condition).or(is_default.then_some("default"));
            let text = text.map(|text| format!("|\"{}\"|", label(text))).unwrap_or_default();
            self.line(&format!("{} -->{text} {}", names[flow.source], names[flow.target]));
        }
        self.depth -= 1;
        self.line("end");
    }

    /// The name of the element `id`: letters, digits and `_` behind `n_`, which no keyword of Mermaid begins with.
    fn name(&mut self, id: &str) -> String {
        let safe: String = id.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        let mut name = format!("n_{safe}");
        while !self.used.insert(name.clone()) {
            let twins = self.twins.entry(safe.clone()).or_insert(1);
            *twins += 1;
            name = format!("n_{safe}_{twins}");
        }
        self.names.insert(id.to_owned(), name.clone());
        name
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(&"  ".repeat(self.depth + 1));
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn end(mut self, states: &BTreeMap<String, StateClass>) -> String {
        let mut members: BTreeMap<StateClass, Vec<String>> = BTreeMap::new();
        for (id, state) in states {
            if let Some(name) = self.names.get(id) {
                members.entry(*state).or_default().push(name.clone());
            }
        }
        for (state, names) in members {
            self.line(&format!("classDef {} {}", state.name(), state.style()));
            self.line(&format!("class {} {}", names.join(","), state.name()));
        }
        format!("flowchart LR\n{}", self.text)
    }
}

/// Brackets by type, the label between them.
fn shape(node: &Node) -> String {
    let mark = match node.element.as_str() {
        "exclusiveGateway" => Some("X"),
        "parallelGateway" => Some("+"),
        "inclusiveGateway" => Some("O"),
        "complexGateway" => Some("*"),
        "eventBasedGateway" => Some("event"),
        _ => None,
    };
    let name = node.name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    let text = label(name.or(mark).unwrap_or(&node.id));
    let text = match &node.drawing.event {
        Some(event) => format!("{event}: {text}"),
        None => text,
    };
    match node.element.as_str() {
        "startEvent" => format!("([\"{text}\"])"),
        "endEvent" => format!("(((\"{text}\")))"),
        "callActivity" => format!("[[\"{text}\"]]"),
        local if local.ends_with("Event") => format!("((\"{text}\"))"),
        local if local.ends_with("Gateway") => format!("{{\"{text}\"}}"),
        local if local.ends_with("ask") => format!("[\"{text}\"]"),
        _ => format!(">\"{text}\"]"),
    }
}

/// Text inside quotes: what Mermaid or HTML would read as markup becomes an entity, a line break `<br/>`.
fn label(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.trim().chars() {
        match character {
            '\n' => out.push_str("<br/>"),
            '\r' => {}
            '"' => out.push_str("#quot;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '&' => out.push_str("#amp;"),
            '#' => out.push_str("#35;"),
            '`' => out.push_str("#96;"),
            ';' => out.push_str("#59;"),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}
