//! Which way a token takes.
//!
//! Duty: conditions and defaults of exclusive gateways and of nodes with several outgoing flows (S5, S7). Guarantee: a gateway
//! without an error here has at most one flow that acts as default. Left to others: the expressions (`expression`).

use super::Check;
use crate::model::{FlowIx, Node, NodeKind, Scope};

pub(super) fn check(check: &mut Check<'_>) {
    let scope = &check.process.scope;
    for node in &scope.nodes {
        let exclusive = node.kind == NodeKind::ExclusiveGateway;
        if matches!(node.kind, NodeKind::Unsupported { .. }) {
            continue;
        }
        default(check, scope, node);
        if exclusive {
            gateway(check, scope, node);
        }
    }
}

fn unconditioned(scope: &Scope, node: &Node) -> Vec<FlowIx> {
    let open = |flow: &FlowIx| scope.flows[*flow].condition.is_none() && node.default != Some(*flow);
    node.outgoing.iter().copied().filter(open).collect()
}

fn default(check: &mut Check<'_>, scope: &Scope, node: &Node) {
    let Some(default) = node.default.map(|flow| &scope.flows[flow]) else { return };
    let id = &node.id;
    if default.condition.is_some() {
        let flow = &default.id;
        let message = format!("the condition of `{flow}` is never evaluated, since `{flow}` is the default of `{id}`");
        check.warning(
            "default-flow-with-condition",
            default.at,
            flow,
            message,
            format!("delete the condition of `{flow}`"),
        );
    }
    if let Some(sibling) = unconditioned(scope, node).first().map(|flow| &scope.flows[*flow].id) {
        let flow = &default.id;
        let message =
            format!("`{sibling}` has no condition and is always taken, so the default `{flow}` of `{id}` never is");
        let fix = format!("give `{sibling}` a condition or drop one of `{sibling}` and `{flow}`");
        check.warning("default-never-taken", default.at, flow, message, fix);
    }
}

fn gateway(check: &mut Check<'_>, scope: &Scope, node: &Node) {
    let id = &node.id;
    let open = unconditioned(scope, node);
    if open.len() > 1 {
        let names: Vec<_> = open.iter().map(|flow| format!("`{}`", scope.flows[*flow].id)).collect();
        let message = format!("{} leave the exclusive gateway `{id}` without a condition", names.join(", "));
        let fix = format!("give all but one of them a condition and mark that one default of `{id}`");
        check.error("exclusive-flow-without-condition", scope.flows[open[1]].at, id, message, fix);
        return;
    }
    if node.default.is_some() {
        return;
    }
    match open.first().map(|flow| &scope.flows[*flow]) {
        Some(flow) if node.outgoing.len() > 1 => {
            let message = format!("`{}` has no condition and acts as the default of `{id}`", flow.id);
            let fix = format!("mark `{}` as the default of `{id}`", flow.id);
            check.warning("implicit-default", flow.at, &flow.id, message, fix);
        }
        Some(_) => {}
        None => {
            let conditions: Vec<_> =
                node.outgoing.iter().filter_map(|flow| scope.flows[*flow].condition.as_ref()).collect();
            let texts: Vec<_> = conditions.iter().map(|condition| condition.expression()).collect();
            if !texts.is_empty() && !exhaustive(&texts) {
                let message =
                    format!("`{id}` has no default, and its conditions may all be false: the token would stay");
                let fix = format!("mark one flow of `{id}` as its default");
                check.warning("no-default-and-not-exhaustive", node.at, id, message, fix);
            }
        }
    }
}

/// Whether one of `conditions` is true whatever the variables are, as far as two of them show it.
fn exhaustive(conditions: &[&str]) -> bool {
    let tokens: Vec<_> = conditions.iter().map(|condition| tokens(condition)).collect();
    let pairs = tokens.iter().enumerate().flat_map(|(at, a)| tokens[at + 1..].iter().map(move |b| (a, b)));
    tokens.iter().any(|condition| condition == &["true"]) || pairs.take(10_000).any(|(a, b)| complementary(a, b))
}

/// `x` and `not(x)`, `a < b` and `a >= b`. Null makes neither true, but that is an incident with a default, too (S8).
fn complementary(a: &[&str], b: &[&str]) -> bool {
    let negates = |a: &[&str], b: &[&str]| {
        b.len() == a.len() + 3 && b[..2] == ["not", "("] && b.last() == Some(&")") && b[2..b.len() - 1] == *a
    };
    if negates(a, b) || negates(b, a) {
        return true;
    }
    let (Some((left, op, right)), Some(other)) = (comparison(a), comparison(b)) else { return false };
    let (opposite, mirrored) = match op {
        "=" => ("!=", "!="),
        "!=" => ("=", "="),
        "<" => (">=", "<="),
        "<=" => (">", "<"),
        ">" => ("<=", ">="),
        _ => ("<", ">"),
    };
    other == (left, opposite, right) || other == (right, mirrored, left)
}

/// The sides of a text that is one comparison and nothing that binds less.
fn comparison<'t>(tokens: &'t [&'t str]) -> Option<(&'t [&'t str], &'t str, &'t [&'t str])> {
    let is_operator = |token: &&str| matches!(*token, "=" | "!=" | "<" | "<=" | ">" | ">=");
    let looser =
        |token: &&str| matches!(*token, "and" | "or" | "if" | "for" | "some" | "every" | "between" | "in" | "function");
    if tokens.iter().any(looser) || tokens.iter().filter(|token| is_operator(token)).count() != 1 {
        return None;
    }
    let at = tokens.iter().position(is_operator)?;
    Some((&tokens[..at], tokens[at], &tokens[at + 1..]))
}

/// Strings, words with dots, operators. White space only separates.
fn tokens(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.');
        let length = match first {
            '"' => {
                let mut escaped = false;
                let closing = |(_, c): &(usize, char)| {
                    let closes = *c == '"' && !escaped;
                    escaped = *c == '\\' && !escaped;
                    closes
                };
                rest.char_indices().skip(1).find(closing).map_or(rest.len(), |(at, _)| at + 1)
            }
            c if word(c) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            _ if rest.starts_with("<=") || rest.starts_with(">=") || rest.starts_with("!=") => 2,
            c => c.len_utf8(),
        };
        out.push(&rest[..length]);
        rest = rest[length..].trim_start();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_that_complement_each_other_are_exhaustive() {
        for pair in [
            ["x", "not(x)"],
            ["x > 1", "x<=1"],
            ["1 >= a.b", "a.b > 1"],
            ["v = \"a = b\"", "v != \"a = b\""],
            ["x", "true"],
            ["x and y", "not(x and y)"],
        ] {
            assert!(exhaustive(&pair), "{pair:?}");
        }
        for pair in [
            ["x", "y"],
            ["x > 1", "x < 1"],
            ["x = 1", "x = 2"],
            ["x > 1 and y", "x <= 1 and y"],
            ["v = \"a\"", "v != \"a \""],
            ["x", "not(y)"],
        ] {
            assert!(!exhaustive(&pair), "{pair:?}");
        }
        assert!(!exhaustive(&["\"never closed \\\""]));
    }
}
