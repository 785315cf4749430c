//! Runs begin and are cancelled (S1, S10).
//!
//! Duty: commands `Start` and `Cancel`, and the start that a message makes. Guarantee: one token on the chosen start; a
//! run pins its content hash for life. Left to others: who may.

use super::command::{Answer, Rejection};
use super::element;
use super::event::{Body, Cause, Trigger};
use super::machine::{Arrival, Machine, done};
use super::program::{Kind, Program};
use super::value::Variables;
use super::variables;

/// A run to begin.
pub(super) struct Begin {
    pub process: String,
    pub version: u32,
    pub start: Option<String>,
    /// Variables of the run.
    pub root: Variables,
    /// What came with the message that starts it.
    pub payload: Variables,
    pub message_key: Option<String>,
    pub trigger: Option<Trigger>,
    pub depth: u32,
}

pub(super) fn start(
    machine: &mut Machine<'_>,
    process: &str,
    version: Option<u32>,
    named: Option<&str>,
    given: Variables,
) -> Result<Answer, Rejection> {
    variables::allowed(&given)?;
    let missing = |id: String| Rejection::NotFound { what: "process".to_owned(), id };
    let in_force = machine.view().definition(process).ok_or_else(|| missing(process.to_owned()))?;
    let version = version.unwrap_or(in_force.version);
    let row =
        machine.view().version(process, version).ok_or_else(|| missing(format!("{process} version {version}")))?;
    let program = machine.models.program(&row.hash, process).cloned().ok_or_else(|| missing(process.to_owned()))?;
    let start = choose(&program, named)?;
    let by_message = start
        .as_ref()
        .and_then(|id| program.node(id))
        .is_some_and(|node| matches!(program.nodes[node].kind, Kind::Start { message: Some(_) }));
    let (root, payload) = if by_message { (Variables::new(), given) } else { (given, Variables::new()) };
    let process = process.to_owned();
    let by_hand = Begin { process, version, start, root, payload, message_key: None, trigger: None, depth: 0 };
    let instance = begin(machine, by_hand)?;
    Ok(Answer::Started { instance })
}

/// The start event to use: the one named, else the only none start, else the only start, else none at all.
fn choose(program: &Program, named: Option<&str>) -> Result<Option<String>, Rejection> {
    let starts = |none_only: bool| {
        program
            .nodes
            .iter()
            .filter(|node| match &node.kind {
                Kind::Start { message } => !none_only || message.is_none(),
                _ => false,
            })
            .map(|node| node.id.clone())
            .collect::<Vec<_>>()
    };
    let (all, plain) = (starts(false), starts(true));
    match named {
        Some(named) if all.iter().any(|id| id == named) => Ok(Some(named.to_owned())),
        Some(named) => Err(Rejection::NoSuchStart { process: program.id.clone(), start: named.to_owned() }),
        None if all.is_empty() => Ok(None),
        None => match plain.as_slice() {
            [only] => Ok(Some(only.clone())),
            [] => Err(Rejection::AmbiguousStart { process: program.id.clone(), starts: all }),
            _ => Err(Rejection::AmbiguousStart { process: program.id.clone(), starts: plain }),
        },
    }
}

/// Makes the run and puts its first tokens.
pub(super) fn begin(machine: &mut Machine<'_>, begin: Begin) -> Result<u64, Rejection> {
    let Begin { process, version, start, root, payload, message_key, trigger, depth } = begin;
    let missing = || Rejection::NotFound { what: "process".to_owned(), id: process.clone() };
    let hash = machine.view().version(&process, version).ok_or_else(missing)?.hash;
    let program = machine.models.program(&hash, &process).cloned().ok_or_else(missing)?;
    let nodes: Vec<usize> = match &start {
        Some(start) => program.node(start).into_iter().collect(),
        // S1: no start event, one token on each source
        None => (0..program.nodes.len()).filter(|ix| is_source(&program, *ix)).collect(),
    };
    let instance = machine.new_key();
    machine.emit(Body::InstanceCreated { instance, process, version, hash, start, message_key, trigger, depth });
    for (name, value) in root {
        variables::set(machine, instance, instance, name, value);
    }
    for node in nodes {
        machine.send(Arrival { instance, scope: instance, node, flow: None, payload: payload.clone() });
    }
    machine.touch(instance);
    Ok(instance)
}

fn is_source(program: &Program, node: usize) -> bool {
    let node = &program.nodes[node];
    node.incoming.is_empty() && !matches!(node.kind, Kind::ErrorBoundary { .. } | Kind::TimerBoundary { .. })
}

pub(super) fn cancel(machine: &mut Machine<'_>, instance: u64, reason: Option<String>) -> Result<Answer, Rejection> {
    if machine.view().instance(instance).is_none() {
        return Err(Rejection::NotFound { what: "run".to_owned(), id: instance.to_string() });
    }
    element::close_all(machine, instance, &Cause::Cancel);
    machine.emit(Body::InstanceCancelled { instance, reason });
    done()
}
