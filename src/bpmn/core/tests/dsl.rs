//! Definitions from one line of text, for tests.
//!
//! Duty: `start -> a -> gw; gw [x = 1] -> b; gw -> c; a !E -> h; a @PT5S -> late` as [`Definitions`]. Guarantee: nodes and
//! flows stand in the order of their first mention. Left to others: XML (`model`).
//!
//! A node's name says what it is: `start…` none start, `on_NAME` message start, `gw…` exclusive gateway, `end…` end,
//! `fail_CODE` error end, anything else a service task of that job type. `a !CODE` is its error boundary (`!*` catches
//! all), `a @DURATION` its timer, `a ~DURATION` one that does not interrupt. `[default]` marks a default flow. Statements
//! `a.in x := =1`, `a.out y := =x`, `a.header k := v`, `a.retries := 1` add extensions.

use std::collections::BTreeMap;

use crate::diagnostic::At;
use crate::model::{
    BoundaryTrigger, Definitions, EndResult, ErrorDefinition, Flow, Header, Mapping, Message, Node, NodeKind, Process,
    Scope, StartTrigger, TaskDefinition, Text, Timer,
};

/// The process `p` of this text.
pub fn definitions(text: &str) -> Definitions {
    let mut build = Build::default();
    for statement in text.split([';', '\n']).map(str::trim).filter(|statement| !statement.is_empty()) {
        build.statement(statement);
    }
    build.finish(text)
}

#[derive(Default)]
struct Build {
    scope: Scope,
    messages: Vec<Message>,
    errors: Vec<ErrorDefinition>,
    by_name: BTreeMap<String, usize>,
}

fn text(text: &str) -> Text {
    Text { text: text.to_owned(), language: None, at: At::default() }
}

impl Build {
    fn statement(&mut self, statement: &str) {
        if let Some((left, value)) = statement.split_once(":=") {
            return self.extension(left.trim(), value.trim());
        }
        let mut steps = statement.split("->").map(str::trim);
        let mut from = steps.next().unwrap().to_owned();
        for to in steps {
            self.edge(&from, to);
            from = to.to_owned();
        }
    }

    fn extension(&mut self, left: &str, value: &str) {
        let (node, what) = left.split_once('.').unwrap();
        let node = self.node(node);
        let (what, name) = what.split_once(' ').unwrap_or((what, ""));
        let extensions = &mut self.scope.nodes[node].extensions;
        match what {
            "in" => extensions.inputs.push(Mapping { source: text(value), target: text(name) }),
            "out" => extensions.outputs.push(Mapping { source: text(value), target: text(name) }),
            "header" => extensions.headers.push(Header { key: name.to_owned(), value: text(value) }),
            "retries" => extensions.task.as_mut().unwrap().retries = Some(text(value)),
            "type" => extensions.task.as_mut().unwrap().r#type = text(value),
            other => panic!("no statement `{other}`"),
        }
    }

    fn edge(&mut self, from: &str, to: &str) {
        let (source, condition) = match from.split_once('[') {
            Some((source, rest)) => (source.trim(), Some(rest.trim_end_matches(']').trim())),
            None => (from, None),
        };
        let to = to.split('[').next().unwrap().trim();
        let source = match source.split_once(['!', '@', '~']) {
            Some((host, _)) => self.boundary(source, host.trim()),
            None => self.node(source),
        };
        let target = self.node(to.split(['!', '@', '~']).next().unwrap().trim());
        let flow = self.scope.flows.len();
        self.scope.flows.push(Flow {
            id: format!("f{}", flow + 1),
            name: None,
            source,
            target,
            condition: condition.filter(|text| *text != "default").map(text),
            at: At::default(),
        });
        self.scope.nodes[source].outgoing.push(flow);
        self.scope.nodes[target].incoming.push(flow);
        if condition == Some("default") {
            self.scope.nodes[source].default = Some(flow);
        }
    }

    fn push(&mut self, id: &str, element: &str, kind: NodeKind) -> usize {
        let node = self.scope.nodes.len();
        self.scope.nodes.push(Node {
            id: id.to_owned(),
            name: None,
            element: element.to_owned(),
            kind,
            incoming: Vec::new(),
            outgoing: Vec::new(),
            default: None,
            boundaries: Vec::new(),
            extensions: Default::default(),
            drawing: Default::default(),
            at: At::default(),
        });
        self.by_name.insert(id.to_owned(), node);
        node
    }

    fn error(&mut self, code: &str) -> usize {
        self.errors.push(ErrorDefinition { id: code.to_owned(), code: Some(code.to_owned()), at: At::default() });
        self.errors.len() - 1
    }

    fn boundary(&mut self, id: &str, host: &str) -> usize {
        if let Some(node) = self.by_name.get(id) {
            return *node;
        }
        let host_node = self.node(host);
        let rest = id[host.len()..].trim();
        let (mark, what) = rest.split_at(1);
        let trigger = match (mark, what) {
            ("!", "*") => BoundaryTrigger::Error { error: None },
            ("!", code) => BoundaryTrigger::Error { error: Some(self.error(code)) },
            (_, when) if when.starts_with("20") => BoundaryTrigger::Timer(Timer::Date(text(when))),
            (_, when) => BoundaryTrigger::Timer(Timer::Duration(text(when))),
        };
        let kind = NodeKind::Boundary { host: host_node, interrupting: mark != "~", trigger };
        let node = self.push(id, "boundaryEvent", kind);
        self.scope.nodes[host_node].boundaries.push(node);
        node
    }

    fn node(&mut self, id: &str) -> usize {
        if let Some(node) = self.by_name.get(id) {
            return *node;
        }
        if id.starts_with("start") {
            self.push(id, "startEvent", NodeKind::Start(StartTrigger::None))
        } else if let Some(name) = id.strip_prefix("on_") {
            let message =
                Message { id: name.to_owned(), name: Some(name.to_owned()), correlation_key: None, at: At::default() };
            self.messages.push(message);
            let message = Some(self.messages.len() - 1);
            self.push(id, "startEvent", NodeKind::Start(StartTrigger::Message { message }))
        } else if id.starts_with("gw") {
            self.push(id, "exclusiveGateway", NodeKind::ExclusiveGateway)
        } else if id.starts_with("end") {
            self.push(id, "endEvent", NodeKind::End(EndResult::None))
        } else if let Some(code) = id.strip_prefix("fail_") {
            let error = Some(self.error(code));
            self.push(id, "endEvent", NodeKind::End(EndResult::Error { error }))
        } else {
            let node = self.push(id, "serviceTask", NodeKind::ServiceTask);
            self.scope.nodes[node].extensions.task = Some(TaskDefinition { r#type: text(id), retries: None });
            node
        }
    }

    fn finish(self, source: &str) -> Definitions {
        Definitions {
            source: source.as_bytes().to_vec(),
            processes: vec![Process {
                id: "p".to_owned(),
                name: None,
                executable: Some(true),
                version_tag: None,
                properties: Vec::new(),
                unsupported: Default::default(),
                scope: self.scope,
                at: At::default(),
            }],
            messages: self.messages,
            errors: self.errors,
            collaborations: Vec::new(),
            has_diagram: false,
            findings: Vec::new(),
        }
    }
}
