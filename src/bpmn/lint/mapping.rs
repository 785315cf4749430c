//! Input and output mappings.
//!
//! Duty: `mapping-invalid` (own: what section 7 needs and the catalogue has no id for). Guarantee: a mapping that passes has a
//! source, and a target that is a dotted name and not `run`. Left to others: the FEEL of sources (`expression`).

use super::Check;
use crate::model::{Mapping, Node, NodeKind};

pub(super) fn check(check: &mut Check<'_>) {
    for node in &check.process.scope.nodes {
        if matches!(node.kind, NodeKind::Unsupported { .. }) {
            continue;
        }
        for mapping in node.extensions.inputs.iter().chain(&node.extensions.outputs) {
            one(check, node, mapping);
        }
    }
}

fn one(check: &mut Check<'_>, node: &Node, mapping: &Mapping) {
    let id = &node.id;
    let target = mapping.target.text.as_str();
    let wrong = if target.is_empty() {
        Some((mapping.target.at, "has no target".to_owned()))
    } else if target.split('.').any(|part| part.trim().is_empty()) {
        Some((mapping.target.at, format!("writes `{target}`, which has an empty name between dots")))
    } else if target.split('.').next().map(str::trim) == Some("run") {
        Some((mapping.target.at, "writes `run`, which is read-only".to_owned()))
    } else if mapping.source.feel().unwrap_or(&mapping.source.text).trim().is_empty() {
        Some((mapping.source.at, format!("of `{target}` has no source; an empty text is `=\"\"`")))
    } else {
        None
    };
    if let Some((at, what)) = wrong {
        let fix = format!("give each mapping of `{id}` a source and a name such as `to.name` as target");
        check.error("mapping-invalid", at, id, format!("a mapping of `{id}` {what}"), fix);
    }
}
