//! Where tokens come from and where they get.
//!
//! Duty: `no-start`, `several-none-starts`, `unreachable-node`, `dead-end-implicit`. Guarantee: linear in nodes and flows.
//! Left to others: conditions (`split`); every flow counts as open.

use super::Check;
use crate::diagnostic::{Diagnostic, Severity};
use crate::model::{Node, NodeIx, NodeKind, Scope, StartTrigger};

pub(super) fn check(check: &mut Check<'_>) {
    let (process, scope) = (check.process, &check.process.scope);
    starts(check, scope);
    let has_start = scope.nodes.iter().any(|node| node.element == "startEvent");
    let roots: Vec<NodeIx> = (0..scope.nodes.len())
        .filter(|node| match has_start {
            true => scope.nodes[*node].element == "startEvent",
            false => scope.nodes[*node].incoming.is_empty() && !stands_alone(&scope.nodes[*node]),
        })
        .collect();
    if roots.is_empty() {
        let id = &process.id;
        let message = format!("no token can begin in `{id}`: it has no start event and no node without incoming flow");
        check.error("no-start", process.at, id, message, format!("add a start event to `{id}`"));
        return;
    }
    let reached = reachable(scope, roots);
    for (index, node) in scope.nodes.iter().enumerate() {
        let id = &node.id;
        if !reached[index] && !stands_alone(node) {
            let message = format!("no token can get to `{id}`");
            check.error("unreachable-node", node.at, id, message, format!("connect `{id}` or delete it"));
        }
        if node.outgoing.is_empty() && node.element != "endEvent" && !leads_elsewhere(node) {
            let message = format!("the token ends at `{id}`, which is no end event");
            check.info("dead-end-implicit", node.at, id, message, format!("add an end event behind `{id}`"));
        }
    }
}

fn starts(check: &mut Check<'_>, scope: &Scope) {
    let mut none = scope.nodes.iter().filter(|node| node.kind == NodeKind::Start(StartTrigger::None));
    let Some(first) = none.next() else { return };
    for second in none {
        let (one, two) = (&first.id, &second.id);
        let message =
            format!("`{one}` and `{two}` both start the process without a trigger, so a caller must name one");
        let finding = Diagnostic::new(
            "several-none-starts",
            Severity::Warning,
            second.at,
            message,
            format!("keep one of `{one}` and `{two}`"),
        );
        check.findings.push(finding.on(two).with(first.at, format!("`{one}`")));
    }
}

/// Nodes that no flow leads to by their nature.
fn stands_alone(node: &Node) -> bool {
    let by_nature = match &node.kind {
        NodeKind::Boundary { .. } => false,
        NodeKind::Unsupported { what, .. } => {
            matches!(what.as_str(), "eventSubProcess" | "isForCompensation" | "linkIntermediateCatchEvent")
        }
        _ => false,
    };
    // A boundary event without a host is `boundary-host-invalid`, not unreachable.
    by_nature || (node.element == "boundaryEvent" && node.drawing.attached_to.is_none())
}

/// Nodes whose token goes on without a flow.
fn leads_elsewhere(node: &Node) -> bool {
    stands_alone(node) || node.drawing.event.as_deref() == Some("link")
}

/// Which nodes of `scope` a token from `roots` can get to, over flows and boundary events.
fn reachable(scope: &Scope, roots: Vec<NodeIx>) -> Vec<bool> {
    let mut reached = vec![false; scope.nodes.len()];
    let mut queue = roots;
    while let Some(node) = queue.pop() {
        if std::mem::replace(&mut reached[node], true) {
            continue;
        }
        let node = &scope.nodes[node];
        queue.extend(node.outgoing.iter().map(|flow| scope.flows[*flow].target));
        queue.extend(&node.boundaries);
    }
    reached
}
