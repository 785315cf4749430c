//! Who writes which variable.
//!
//! Duty: for a flow, the names that are written on some way to it. Guarantee: a name counts as unknown only when every writer
//! on the way says what it writes, or when it is a letter away from a known one. Left to others: reading (`expression`).

use std::collections::{BTreeMap, BTreeSet};

use super::Check;
use crate::feel::Names;
use crate::model::{BoundaryTrigger, Node, NodeIx, NodeKind, Scope, StartTrigger, is_template};

/// Beyond so many nodes every writer of the process counts as on the way.
const BOUND: usize = 2_000;

/// What a gate gives a run that it starts (S33), besides its own `input`.
const GATE: [&str; 8] = ["gate", "verdict", "value", "labels", "window", "episode", "rows", "trace_ids"];

/// What is known where a flow begins.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    pub(super) names: BTreeSet<String>,
    /// Whether someone on the way may write any name.
    pub(super) open: bool,
}

/// The writers of a process.
#[derive(Debug)]
pub(super) struct Written {
    by_node: Vec<Known>,
    /// Every name that the process writes anywhere, and those that the engine gives.
    pub(super) all: Names,
}

impl Written {
    pub(super) fn of(check: &mut Check<'_>) -> Self {
        let scope = &check.process.scope;
        let by_node: Vec<Known> = scope.nodes.iter().map(|node| writes(check, node)).collect();
        let mut all: Names = by_node.iter().flat_map(|known| known.names.iter().cloned()).collect();
        let inputs = scope.nodes.iter().flat_map(|node| &node.extensions.inputs);
        all.extend(inputs.filter_map(|mapping| top(&mapping.target.text)));
        all.extend(["run", "variables", "errorCode", "errorMessage"].map(str::to_owned));
        if scope.nodes.len() > BOUND {
            let id = &check.process.id;
            let message =
                format!("`{id}` has more than {BOUND} nodes, so every writer counts as on the way to every condition");
            check.info("analysis-bounded", check.process.at, id, message, format!("split `{id}`"));
        }
        Self { by_node, all }
    }

    /// What is written on the ways to each of `nodes`, the node itself included.
    pub(super) fn before(&self, scope: &Scope, nodes: &BTreeSet<NodeIx>) -> BTreeMap<NodeIx, Known> {
        if scope.nodes.len() > BOUND {
            let everything = self.union(0..scope.nodes.len());
            return nodes.iter().map(|node| (*node, everything.clone())).collect();
        }
        nodes.iter().map(|node| (*node, self.union(ancestors(scope, *node)))).collect()
    }

    fn union(&self, nodes: impl IntoIterator<Item = NodeIx>) -> Known {
        let mut known = Known::default();
        for node in nodes {
            known.names.extend(self.by_node[node].names.iter().cloned());
            known.open |= self.by_node[node].open;
        }
        known
    }
}

/// `node` and all from which a token can get to it.
fn ancestors(scope: &Scope, node: NodeIx) -> BTreeSet<NodeIx> {
    let mut found = BTreeSet::new();
    let mut queue = vec![node];
    while let Some(node) = queue.pop() {
        if found.insert(node) {
            let node = &scope.nodes[node];
            queue.extend(node.incoming.iter().map(|flow| scope.flows[*flow].source));
            queue.extend(node.drawing.attached_to);
        }
    }
    found
}

/// What leaves `node` when its token does.
fn writes(check: &Check<'_>, node: &Node) -> Known {
    let mapped: BTreeSet<String> =
        node.extensions.outputs.iter().filter_map(|mapping| top(&mapping.target.text)).collect();
    if !mapped.is_empty() {
        return Known { names: mapped, open: false };
    }
    let open = Known { names: BTreeSet::new(), open: true };
    match &node.kind {
        NodeKind::ServiceTask => result(check, node).unwrap_or(open),
        NodeKind::Start(StartTrigger::Message { message }) => {
            let name = message.and_then(|message| check.definitions.messages[message].name.as_deref());
            let gate = name.is_some_and(|name| name == "weavergen.gate" || name.starts_with("weavergen.gate."));
            let names = if gate { GATE.map(str::to_owned).into() } else { BTreeSet::new() };
            Known { names, open: true }
        }
        NodeKind::Boundary { trigger: BoundaryTrigger::Error { .. }, .. } | NodeKind::Unsupported { .. } => open,
        NodeKind::Start(StartTrigger::None)
        | NodeKind::End(_)
        | NodeKind::Boundary { trigger: BoundaryTrigger::Timer(_), .. }
        | NodeKind::ExclusiveGateway => Known::default(),
    }
}

/// The result variables of a job, when its headers or the registry tell.
fn result(check: &Check<'_>, node: &Node) -> Option<Known> {
    let header =
        |key: &str| node.extensions.headers.iter().rfind(|header| header.key == key).map(|header| &header.value);
    if let Some(variable) = header("resultVariable") {
        let literal = variable.feel().is_none() && !is_template(&variable.text);
        return literal.then(|| Known { names: BTreeSet::from([variable.text.clone()]), open: false });
    }
    if header("resultExpression").is_some() {
        return None;
    }
    let task = node.extensions.task.as_ref()?;
    let names = check.registry.results.get(&task.r#type.text)?;
    Some(Known { names: names.iter().cloned().collect(), open: false })
}

/// The variable that a dotted target writes.
fn top(target: &str) -> Option<String> {
    target.split('.').next().map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned)
}
