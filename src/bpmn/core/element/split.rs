//! Which outgoing flows a token takes (S5, S7, S8).
//!
//! Duty: exclusive and implicit splits. Guarantee: a condition is boolean or an incident; a default's own condition is
//! never evaluated. Left to others: taking them.

use super::super::incident::Fault;
use super::super::machine::{At, Machine};
use super::super::program::{Flow, Kind};
use super::super::row::IncidentKind;
use super::super::value::{Value, Variables};
use super::super::variables;

/// Indexes of the flows to take, in document order.
pub(in super::super) fn choose(machine: &Machine<'_>, at: &At) -> Result<Vec<usize>, Fault> {
    let exclusive = matches!(at.node().kind, Kind::ExclusiveGateway);
    let default = at.node().default;
    let mut chosen = Vec::new();
    let mut reads = Variables::new();
    for flow in at.node().outgoing.iter().copied().filter(|flow| Some(*flow) != default) {
        let Some(row) = at.program.flows.get(flow) else { continue };
        if holds(machine, at, row, &mut reads)? {
            chosen.push(flow);
            if exclusive {
                break;
            }
        }
    }
    if chosen.is_empty() {
        chosen.extend(default);
    }
    if chosen.is_empty() && !at.node().outgoing.is_empty() {
        let message =
            format!("no condition of `{}` is true and it has no default flow: mark one as default", at.node().id);
        return Err(Fault { kind: IncidentKind::NoFlowTaken, message, expression: None, reads });
    }
    Ok(chosen)
}

fn holds(machine: &Machine<'_>, at: &At, flow: &Flow, all: &mut Variables) -> Result<bool, Fault> {
    let Some(condition) = &flow.condition else { return Ok(true) };
    let (value, reads) = variables::evaluate(machine, at.key, &Variables::new(), condition)?;
    match value {
        Value::Bool(value) => {
            all.extend(reads);
            Ok(value)
        }
        other => Err(Fault {
            kind: IncidentKind::ConditionNotBoolean,
            message: format!(
                "the condition of flow `{}` gives {}, not true or false: set the variables it reads or change it",
                flow.id,
                match other {
                    Value::Null => "null",
                    Value::Number(_) => "a number",
                    Value::String(_) => "text",
                    Value::List(_) => "a list",
                    _ => "a context",
                }
            ),
            expression: Some(condition.text().to_owned()),
            reads,
        }),
    }
}
