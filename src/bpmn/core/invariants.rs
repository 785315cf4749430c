//! What must hold after every step (bpmn.md 8).
//!
//! Duty: check a state, and a log of events. Guarantee: reads only; says each breach in one sentence that begins with its
//! number. Left to others: I8, which is comparing two states; I4, I6, I9, whose elements are not built yet.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Body, Event, Requeue};
use super::program::{Kind, Models};
use super::row::JobStatus;
use super::state::{Key, Row, State, StateView};

/// Breaches of I1, I2, I3, I7 in a state between two steps, and of its tables against each other.
pub fn of_state(models: &Models, state: &State) -> Vec<String> {
    let view: &dyn StateView = state;
    let mut broken = Vec::new();
    let mut keyed = BTreeSet::new();
    for (key, row) in state.rows() {
        match (key, row) {
            (Key::Instance(instance), Row::Instance(row)) => {
                if view.children(*instance, 1).is_empty() {
                    broken.push(format!("I2: run {instance} is live and nothing in it can end it"));
                }
                if let Some(message_key) = &row.message_key {
                    if !keyed.insert((row.process.clone(), message_key.clone())) {
                        broken.push(format!("I7: two active runs of `{}` with key `{message_key}`", row.process));
                    }
                    if view.keyed_start(&row.process, message_key) != Some(*instance) {
                        broken.push(format!("I7: the key `{message_key}` of run {instance} is not taken"));
                    }
                }
            }
            (Key::Element(element), Row::Element(row)) => {
                let scope_lives = view.instance(row.scope).is_some() || view.element(row.scope).is_some();
                if !scope_lives || view.instance(row.instance).is_none() {
                    broken.push(format!("I1: element {element} lies in a closed scope"));
                }
                if view.get(&Key::Child(row.scope, *element)).is_none() {
                    broken.push(format!("I1: element {element} is not listed in its scope"));
                }
                let waits = row.job.is_some_and(|job| {
                    view.job(job).is_some_and(|job| job.element == *element && job.status != JobStatus::Ended)
                });
                let held = row
                    .held
                    .as_ref()
                    .is_some_and(|(incident, _)| view.incident(*incident).is_some_and(|row| row.element == *element));
                if waits == held {
                    broken.push(format!(
                        "I3: element {element} rests with {} wait",
                        if waits { "an incident and a" } else { "no" }
                    ));
                }
            }
            (Key::Child(scope, element), _) if view.element(*element).is_none_or(|row| row.scope != *scope) => {
                broken.push(format!("I1: scope {scope} lists element {element}, which is not there"))
            }
            (Key::Variable(scope, name), _) if view.instance(*scope).is_none() && view.element(*scope).is_none() => {
                broken.push(format!("I1: variable `{name}` belongs to the closed scope {scope}"))
            }
            (Key::Job(job), Row::Job(row)) => {
                if view.element(row.element).is_none_or(|element| element.job != Some(*job)) {
                    broken.push(format!("I3: job {job} has no owner"));
                }
                if let JobStatus::Queued { due_ms, .. } = row.status
                    && view.get(&Key::JobQueue(row.r#type.clone(), due_ms, *job)).is_none()
                {
                    broken.push(format!("I3: job {job} waits outside its queue"));
                }
            }
            (Key::JobQueue(_, due, job), _) => {
                let waits = view.job(*job).map(|row| row.status);
                if !matches!(waits, Some(JobStatus::Queued { due_ms, .. }) if due_ms == *due) {
                    broken.push(format!("I3: the queue lists job {job}, which does not wait"));
                }
            }
            (Key::JobLock(key), Row::Number(job)) => {
                let runs = view.job(job.cast_unsigned()).map(|row| (row.status.clone(), row.concurrency_key()));
                if !matches!(runs, Some((JobStatus::Active { .. }, Some(own))) if own == *key) {
                    broken.push(format!("I3: `{key}` is locked by job {job}, which does not run"));
                }
            }
            (Key::Timer(due, timer), Row::Timer(row)) => {
                if view.get(&Key::TimerOf(row.element, *timer)) != Some(Row::Number(*due)) {
                    broken.push(format!("I3: timer {timer} has no owner"));
                }
                timer_owner(models, view, *timer, row.element, row.node, &mut broken);
            }
            (Key::TimerOf(element, timer), Row::Number(due))
                if (view.element(*element).is_none() || view.get(&Key::Timer(*due, *timer)).is_none()) =>
            {
                broken.push(format!("I3: element {element} owns timer {timer}, which is not there"))
            }
            (Key::Incident(incident), Row::Incident(row)) => {
                let held = view.element(row.element).and_then(|row| row.held).map(|(of, _)| of);
                if held != Some(*incident) {
                    broken.push(format!("I1: incident {incident} holds nothing"));
                }
            }
            (Key::KeyedStart(process, key), Row::Number(instance))
                if view.instance(instance.cast_unsigned()).is_none() =>
            {
                broken.push(format!("I7: `{key}` of `{process}` belongs to a run that has ended"))
            }
            _ => {}
        }
    }
    broken
}

fn timer_owner(models: &Models, view: &dyn StateView, timer: u64, element: u64, node: u32, broken: &mut Vec<String>) {
    let program = view
        .element(element)
        .and_then(|row| view.instance(row.instance).map(|instance| (row, instance)))
        .and_then(|(row, instance)| Some((row, models.program(&instance.hash, &instance.process)?)));
    let fits = program.is_some_and(|(row, program)| {
        program.nodes.get(row.node as usize).is_some_and(|host| {
            host.boundaries.contains(&(node as usize))
                && matches!(program.nodes.get(node as usize).map(|n| &n.kind), Some(Kind::TimerBoundary { .. }))
        })
    });
    if !fits {
        broken.push(format!("I3: timer {timer} is armed on an activity that has no such boundary event"));
    }
}

/// Breaches of I5 and I10 in a log from its beginning, and of the promise that an effect key has one input.
pub fn of_log(events: &[Event]) -> Vec<String> {
    let mut broken = Vec::new();
    let mut running: BTreeMap<u64, u32> = BTreeMap::new();
    let mut last: BTreeMap<u64, u32> = BTreeMap::new();
    let mut inputs = BTreeMap::new();
    let mut by_key: BTreeMap<String, String> = BTreeMap::new();
    for (seq, event) in (1..).zip(events) {
        if event.seq != seq {
            broken.push(format!("I10: event {} stands at {seq}", event.seq));
        }
        let mut ends = |job: &u64, attempt: &u32| {
            if running.remove(job) != Some(*attempt) {
                broken.push(format!("I5: attempt {attempt} of job {job} ends at event {seq} without running"));
            }
        };
        match &event.body {
            Body::JobCompleted { job, attempt, .. }
            | Body::JobFailed { job, attempt, .. }
            | Body::JobUnknown { job, attempt, .. }
            | Body::JobCancelled { job, attempt, was_active: true, .. }
            | Body::ErrorThrown { job: Some((job, attempt)), .. } => ends(job, attempt),
            Body::JobRetryScheduled { job, why, input, .. } => {
                if *why == Requeue::Later {
                    running.remove(job);
                    last.remove(job);
                } else if running.contains_key(job) {
                    broken.push(format!("I5: job {job} is queued at event {seq} while it runs"));
                }
                if let Some(input) = input {
                    inputs.insert(*job, input.clone());
                }
            }
            Body::JobCreated { job, input, .. } => {
                inputs.insert(*job, input.clone());
            }
            Body::JobActivated { job, attempt, headers, .. } => {
                if running.insert(*job, *attempt).is_some()
                    || last.insert(*job, *attempt).is_some_and(|l| l >= *attempt)
                {
                    broken.push(format!("I5: attempt {attempt} of job {job} starts at event {seq} a second time"));
                }
                if let Some(input) = inputs.get_mut(job) {
                    if let Some(headers) = headers {
                        input.headers = headers.clone();
                    }
                    let content = format!("{:?} {:?}", input.headers, input.variables);
                    if by_key.get(&input.effect_key).is_some_and(|before| *before != content) {
                        broken.push(format!("an effect key has two inputs: {}", input.effect_key));
                    }
                    by_key.insert(input.effect_key.clone(), content);
                }
            }
            _ => {}
        }
    }
    broken
}
