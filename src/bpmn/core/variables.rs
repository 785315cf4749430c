//! Variables: scopes, expressions in a scope, mappings (bpmn.md 7, rules 1 to 4).
//!
//! Duty: who sees and who gets what. Guarantee: `run` is read-only everywhere; an expression sees exactly the names it
//! reads. Left to others: when mappings run (`element`).

use super::command::Rejection;
use super::event::Body;
use super::incident::Fault;
use super::machine::{At, Machine};
use super::program::{Mapping, Source};
use super::row::IncidentKind;
use super::state::StateView;
use super::time;
use super::value::{Value, Variables};
use crate::feel::Expr;

/// The name that only the engine gives.
const RUN: &str = "run";

/// A caller may set these.
pub(super) fn allowed(variables: &Variables) -> Result<(), Rejection> {
    if variables.contains_key(RUN) { Err(Rejection::InvalidVariables { name: RUN.to_owned() }) } else { Ok(()) }
}

/// An element may write these.
pub(super) fn writable<'n>(names: impl IntoIterator<Item = &'n String>) -> Result<(), Fault> {
    if names.into_iter().any(|name| name == RUN) {
        let message = "variable `run` belongs to the engine: map to another name".to_owned();
        return Err(Fault::new(IncidentKind::MappingError, message));
    }
    Ok(())
}

/// Scopes from `scope` outward.
fn chain(view: &dyn StateView, scope: u64) -> Vec<u64> {
    let mut chain = vec![scope];
    let mut inner = scope;
    while let Some(row) = view.element(inner) {
        inner = row.scope;
        chain.push(inner);
    }
    chain
}

/// `run`: key, process, version and start of the root instance.
fn run_context(view: &dyn StateView, scopes: &[u64]) -> Value {
    let root = scopes.last().copied().unwrap_or(0);
    let Some(row) = view.instance(root) else { return Value::Null };
    Value::Context(Variables::from([
        ("key".to_owned(), Value::count(root)),
        ("process".to_owned(), Value::String(row.process)),
        ("version".to_owned(), Value::count(u64::from(row.version))),
        ("started".to_owned(), Value::String(time::instant_text(row.started_ms))),
    ]))
}

/// One variable as seen from `scope`.
pub(super) fn read(view: &dyn StateView, scope: u64, name: &str) -> Option<Value> {
    let scopes = chain(view, scope);
    if name == RUN {
        return Some(run_context(view, &scopes));
    }
    scopes.into_iter().find_map(|scope| view.variable(scope, name))
}

/// Everything visible from `scope`, `run` included.
pub(super) fn visible(view: &dyn StateView, scope: u64) -> Variables {
    let scopes = chain(view, scope);
    let mut all = Variables::new();
    for scope in scopes.iter().rev() {
        all.extend(view.variables(*scope));
    }
    all.insert(RUN.to_owned(), run_context(view, &scopes));
    all
}

/// An expression's value and the values it read. `extra` hides variables of the same name.
pub(super) fn evaluate(
    machine: &Machine<'_>,
    scope: u64,
    extra: &Variables,
    expression: &Expr,
) -> Result<(Value, Variables), Fault> {
    let view = machine.view();
    let mut reads = Variables::new();
    for name in expression.reads() {
        if let Some(value) = extra.get(&name) {
            reads.insert(name, value.clone());
        } else if name == "variables" {
            let mut all = visible(view, scope);
            all.extend(extra.clone());
            reads.insert(name, Value::Context(all));
        } else if let Some(value) = read(view, scope, &name) {
            reads.insert(name, value);
        }
    }
    let given = expression.eval(&reads, machine.now_ms);
    reads.remove("variables");
    match given {
        Ok((value, _)) => Ok((value, reads)),
        Err(budget) => Err(Fault {
            kind: IncidentKind::ExpressionBudget,
            message: budget.to_string(),
            expression: Some(expression.text().to_owned()),
            reads,
        }),
    }
}

/// A literal, or what its expression gives.
pub(super) fn source(machine: &Machine<'_>, scope: u64, source: &Source) -> Result<Value, Fault> {
    match source {
        Source::Literal(text) => Ok(Value::String(text.clone())),
        Source::Feel(expression) => Ok(evaluate(machine, scope, &Variables::new(), expression)?.0),
    }
}

/// `base` with `value` merged in below `path`.
fn merged(base: Option<Value>, path: &[String], value: Value) -> Result<Value, Fault> {
    let Some((name, rest)) = path.split_first() else { return Ok(value) };
    let mut entries = match base {
        None | Some(Value::Null) => Variables::new(),
        Some(Value::Context(entries)) => entries,
        Some(_) => {
            let message = format!("`{name}` cannot be written into a value that is no context: map to another name");
            return Err(Fault::new(IncidentKind::MappingError, message));
        }
    };
    let inner = entries.remove(name);
    entries.insert(name.clone(), merged(inner, rest, value)?);
    Ok(Value::Context(entries))
}

/// Runs input mappings in order in the local scope of `at`; each sees the earlier ones.
pub(super) fn map_in(machine: &mut Machine<'_>, at: &At, mappings: &[Mapping]) -> Result<(), Fault> {
    for mapping in mappings {
        let value = source(machine, at.key, &mapping.source)?;
        let (name, path) = split(&mapping.target)?;
        let value = merged(machine.view().variable(at.key, name), path, value)?;
        set(machine, at.row.instance, at.key, name.to_owned(), value);
    }
    Ok(())
}

/// Runs output mappings in order in the local scope; mapped names go to the nearest scope above that has them, else the
/// root. All is evaluated before the first is written.
pub(super) fn map_out(machine: &mut Machine<'_>, at: &At, mappings: &[Mapping]) -> Result<(), Fault> {
    let mut mapped = Variables::new();
    for mapping in mappings {
        let value = match &mapping.source {
            Source::Literal(text) => Value::String(text.clone()),
            Source::Feel(expression) => evaluate(machine, at.key, &mapped, expression)?.0,
        };
        let (name, path) = split(&mapping.target)?;
        let base = mapped.get(name).cloned().or_else(|| read(machine.view(), at.row.scope, name));
        mapped.insert(name.to_owned(), merged(if path.is_empty() { None } else { base }, path, value)?);
    }
    for (name, value) in mapped {
        let scope = owner(machine.view(), at.row.scope, &name);
        set(machine, at.row.instance, scope, name, value);
    }
    Ok(())
}

/// Writes a result variable without mapping: to the nearest scope that has the name, beginning with the element's own.
pub(super) fn give(machine: &mut Machine<'_>, element: u64, name: String, value: Value) {
    let scope = owner(machine.view(), element, &name);
    if let Some(row) = machine.view().element(element) {
        set(machine, row.instance, scope, name, value);
    }
}

/// The nearest scope from `from` outward that has `name`, else the root.
fn owner(view: &dyn StateView, from: u64, name: &str) -> u64 {
    let scopes = chain(view, from);
    let root = scopes.last().copied().unwrap_or(from);
    scopes.into_iter().find(|scope| view.variable(*scope, name).is_some()).unwrap_or(root)
}

pub(super) fn set(machine: &mut Machine<'_>, instance: u64, scope: u64, name: String, value: Value) {
    machine.emit(Body::VariableSet { instance, scope, name, value });
}

fn split(target: &[String]) -> Result<(&str, &[String]), Fault> {
    let (name, path) = target
        .split_first()
        .ok_or_else(|| Fault::new(IncidentKind::MappingError, "a mapping has no target: name one".to_owned()))?;
    writable([name])?;
    Ok((name, path))
}
