//! Messages that start runs (S16 a to c with ttl 0, S33).
//!
//! Duty: command `PublishMessage`. Guarantee: a message id counts once within 24 hours; at most one active run per
//! process and key. Left to others: catch events and buffering, which no built element needs yet.

use super::command::{Answer, Rejection};
use super::event::{Body, Trigger};
use super::machine::Machine;
use super::start::{self, Begin};
use super::state::{Key, Row, first_expiry};
use super::value::Variables;
use super::variables;

/// A message id is remembered this long.
const REMEMBERED_MS: i64 = 86_400_000;
/// Message ids forgotten in one step.
const MOST_FORGOTTEN: usize = 1_000;

pub(super) struct Publication {
    pub name: String,
    pub key: String,
    pub message_id: Option<String>,
    pub variables: Variables,
    pub only: Option<String>,
    pub trigger: Option<Trigger>,
    pub depth: u32,
}

pub(super) fn publish(machine: &mut Machine<'_>, message: Publication) -> Result<Answer, Rejection> {
    let Publication { name, key, message_id, variables: payload, only, trigger, depth } = message;
    variables::allowed(&payload)?;
    if let Some(id) = &message_id {
        match machine.view().get(&Key::MessageId(name.clone(), key.clone(), id.clone())) {
            Some(Row::Number(forget_ms)) if forget_ms > machine.now_ms => {
                return Err(Rejection::DuplicateMessage { name, key, id: id.clone() });
            }
            Some(Row::Number(forget_ms)) => {
                let (name, key, id) = (name.clone(), key.clone(), id.clone());
                machine.emit(Body::MessageExpired { name, key, id, forget_ms });
            }
            _ => {}
        }
    }
    let mut receivers = receivers(machine, &name);
    if let Some(only) = &only {
        receivers.retain(|(process, _)| process == only);
        if receivers.is_empty() {
            return Err(Rejection::NoSuchStart { process: only.clone(), start: name });
        }
        let active = |process: &str| machine.view().keyed_start(process, &key).filter(|_| !key.is_empty());
        if let Some(instance) = active(only) {
            return Err(Rejection::Busy { process: only.clone(), key, instance });
        }
    }
    let forget_ms = machine.now_ms.saturating_add(REMEMBERED_MS);
    machine.emit(Body::MessagePublished { name: name.clone(), key: key.clone(), id: message_id, forget_ms });
    let mut started = Vec::new();
    for (process, start) in receivers {
        if !key.is_empty() && machine.view().keyed_start(&process, &key).is_some() {
            continue;
        }
        let Some(definition) = machine.view().definition(&process) else { continue };
        let begin = Begin {
            process: process.clone(),
            version: definition.version,
            start: Some(start),
            root: Variables::new(),
            payload: payload.clone(),
            message_key: Some(key.clone()).filter(|key| !key.is_empty()),
            trigger: trigger.clone(),
            depth,
        };
        let instance = match start::begin(machine, begin) {
            Ok(instance) => instance,
            // whoever means one process is told why it does not start
            Err(rejection) if only.is_some() => return Err(rejection),
            Err(_) => continue,
        };
        machine.emit(Body::MessageCorrelated { name: name.clone(), key: key.clone(), process, instance });
        started.push(instance);
    }
    if started.is_empty() {
        machine.emit(Body::MessageDropped { name, key });
    }
    Ok(Answer::Published { started })
}

/// (process id, start event id) of everything that this message starts, by process id.
fn receivers(machine: &Machine<'_>, name: &str) -> Vec<(String, String)> {
    let from = Key::MessageStart(name.to_owned(), String::new());
    let to = Key::MessageStart(format!("{name}\0"), String::new());
    machine
        .view()
        .scan(&from, &to, usize::MAX)
        .into_iter()
        .filter_map(|(key, row)| match (key, row) {
            (Key::MessageStart(_, process), Row::Text(start)) => Some((process, start)),
            _ => None,
        })
        .collect()
}

/// Forgets message ids whose time is over.
pub(super) fn forget(machine: &mut Machine<'_>) {
    let (from, to) = (first_expiry(i64::MIN), first_expiry(machine.now_ms.saturating_add(1)));
    for (expiry, _) in machine.view().scan(&from, &to, MOST_FORGOTTEN) {
        if let Key::MessageExpiry(forget_ms, name, key, id) = expiry {
            machine.emit(Body::MessageExpired { name, key, id, forget_ms });
        }
    }
}
