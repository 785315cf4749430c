//! What each fact does to the state.
//!
//! Duty: `apply`. Guarantee: total: an event that does not fit the state changes the rows it can and never panics; equal
//! state and event give equal state. Left to others: which events come (`machine`).

use super::event::{Body, DeployedVersion, Event, Requeue};
use super::row::{Definition, Element, Incident, Instance, Job, JobStatus, Meta, OnUnknown, Timer, Version};
use super::state::{Key, Row, State, StateMut, StateView};

/// Changes `state` by one fact.
pub fn apply(state: &mut State, event: &Event) {
    apply_to(state, event);
}

/// Changes any rows, e.g. an [`Overlay`](super::Overlay), by one fact.
pub fn apply_to<S: StateMut>(rows: &mut S, event: &Event) {
    let mut meta = view(rows).meta();
    meta.last_seq = event.seq;
    meta.last_now = event.at_ms;
    body(rows, &mut meta, event);
    rows.put(Key::Meta, Row::Meta(meta));
}

fn view<S: StateMut>(rows: &S) -> &(dyn StateView + '_) {
    rows
}

fn body<S: StateMut>(rows: &mut S, meta: &mut Meta, event: &Event) {
    match &event.body {
        Body::Booted { boot_epoch, engine_id } => {
            meta.boot_epoch = *boot_epoch;
            meta.engine_id = *engine_id;
        }
        Body::Deployed(deployed) => deploy(rows, deployed, event.at_ms),
        Body::InstanceCreated { instance, process, version, hash, message_key, .. } => {
            meta.last_key = meta.last_key.max(*instance);
            let row = Instance {
                process: process.clone(),
                version: *version,
                hash: hash.clone(),
                started_ms: event.at_ms,
                message_key: message_key.clone(),
            };
            if let Some(key) = message_key {
                rows.put(Key::KeyedStart(process.clone(), key.clone()), Row::Number(instance.cast_signed()));
            }
            rows.put(Key::Instance(*instance), Row::Instance(row));
        }
        Body::InstanceCompleted { instance }
        | Body::InstanceFailed { instance, .. }
        | Body::InstanceCancelled { instance, .. } => {
            if let Some(Instance { process, message_key: Some(key), .. }) = view(rows).instance(*instance) {
                rows.remove(Key::KeyedStart(process, key));
            }
            forget_variables(rows, *instance);
            rows.remove(Key::Instance(*instance));
        }
        Body::ElementActivated { instance, element, scope, node, .. } => {
            meta.last_key = meta.last_key.max(*element);
            let row = Element { instance: *instance, scope: *scope, node: *node, job: None, next_group: 0, held: None };
            rows.put(Key::Element(*element), Row::Element(row));
            rows.put(Key::Child(*scope, *element), Row::Unit);
        }
        Body::ElementCompleted { element, scope, .. } | Body::ElementTerminated { element, scope, .. } => {
            if let Some(job) = view(rows).element(*element).and_then(|row| row.job) {
                remove_job(rows, job);
            }
            forget_variables(rows, *element);
            rows.remove(Key::Child(*scope, *element));
            rows.remove(Key::Element(*element));
        }
        Body::FlowTaken { .. }
        | Body::ErrorCaught { .. }
        | Body::MessageCorrelated { .. }
        | Body::MessageDropped { .. } => {}
        Body::VariableSet { scope, name, value, .. } => {
            rows.put(Key::Variable(*scope, name.clone()), Row::Variable(value.clone()));
        }
        Body::MessagePublished { name, key, id, forget_ms } => {
            if let Some(id) = id {
                rows.put(Key::MessageId(name.clone(), key.clone(), id.clone()), Row::Number(*forget_ms));
                rows.put(Key::MessageExpiry(*forget_ms, name.clone(), key.clone(), id.clone()), Row::Unit);
            }
        }
        Body::MessageExpired { name, key, id, forget_ms } => {
            rows.remove(Key::MessageId(name.clone(), key.clone(), id.clone()));
            rows.remove(Key::MessageExpiry(*forget_ms, name.clone(), key.clone(), id.clone()));
        }
        Body::TimerScheduled { timer, instance, element, node, due_ms, source } => {
            meta.last_key = meta.last_key.max(*timer);
            let row = Timer { instance: *instance, element: *element, node: *node, source: source.clone() };
            rows.put(Key::Timer(*due_ms, *timer), Row::Timer(row));
            rows.put(Key::TimerOf(*element, *timer), Row::Number(*due_ms));
        }
        Body::TimerFired { timer, element, due_ms, .. } | Body::TimerCancelled { timer, element, due_ms, .. } => {
            rows.remove(Key::Timer(*due_ms, *timer));
            rows.remove(Key::TimerOf(*element, *timer));
        }
        Body::IncidentRaised {
            incident,
            instance,
            element,
            kind,
            message,
            expression,
            reads,
            since_ms,
            count,
            held,
        } => {
            meta.last_key = meta.last_key.max(*incident);
            let row = Incident {
                instance: *instance,
                element: *element,
                kind: *kind,
                message: message.clone(),
                expression: expression.clone(),
                reads: reads.clone(),
                since_ms: *since_ms,
                count: *count,
            };
            rows.put(Key::Incident(*incident), Row::Incident(Box::new(row)));
            change_element(rows, *element, |row| row.held = Some((*incident, held.clone())));
        }
        Body::IncidentCleared { incident, element, .. } => {
            rows.remove(Key::Incident(*incident));
            change_element(rows, *element, |row| row.held = None);
        }
        Body::JobCreated { job, .. } => {
            meta.last_key = meta.last_key.max(*job);
            self::job(rows, event);
        }
        Body::JobActivated { .. }
        | Body::JobCompleted { .. }
        | Body::JobFailed { .. }
        | Body::JobUnknown { .. }
        | Body::JobRetryScheduled { .. }
        | Body::JobCancelled { .. }
        | Body::ErrorThrown { .. } => self::job(rows, event),
    }
}

fn job<S: StateMut>(rows: &mut S, event: &Event) {
    match &event.body {
        Body::JobCreated { job, instance, element, r#type, retries, due_ms, input } => {
            let row = Job {
                instance: *instance,
                element: *element,
                r#type: r#type.clone(),
                input: input.clone(),
                retries: *retries,
                retries_left: *retries,
                attempt: 0,
                first_activated_ms: None,
                on_unknown: OnUnknown::default(),
                status: JobStatus::Queued { due_ms: *due_ms, same_attempt: false },
            };
            rows.put(Key::JobQueue(r#type.clone(), *due_ms, *job), Row::Unit);
            rows.put(Key::Job(*job), Row::Job(Box::new(row)));
            change_element(rows, *element, |row| {
                row.job = Some(*job);
                row.next_group = input.group + 1;
            });
        }
        Body::JobActivated { job, attempt, boot_epoch, headers, on_unknown, .. } => {
            change_job(rows, *job, |row| {
                row.attempt = *attempt;
                row.first_activated_ms.get_or_insert(event.at_ms);
                row.on_unknown = on_unknown.clone();
                row.status = JobStatus::Active { boot_epoch: *boot_epoch };
                if let Some(headers) = headers {
                    row.input.headers = headers.clone();
                }
            });
            if let Some(key) = view(rows).job(*job).and_then(|row| row.concurrency_key()) {
                rows.put(Key::JobLock(key), Row::Number(job.cast_signed()));
            }
        }
        Body::JobCompleted { job, element, .. } | Body::JobCancelled { job, element, .. } => {
            remove_job(rows, *job);
            change_element(rows, *element, |row| row.job = None);
        }
        Body::JobFailed { job, .. } | Body::JobUnknown { job, .. } | Body::ErrorThrown { job: Some((job, _)), .. } => {
            change_job(rows, *job, |row| row.status = JobStatus::Ended);
        }
        Body::JobRetryScheduled { job, element, due_ms, retries_left, why, input, .. } => {
            if let Some(input) = input {
                change_element(rows, *element, |row| row.next_group = input.group + 1);
            }
            change_job(rows, *job, |row| {
                row.retries_left = *retries_left;
                // a person begins anew: limits over all tries count from there
                if *why == Requeue::Operator {
                    row.first_activated_ms = None;
                }
                row.status = JobStatus::Queued { due_ms: *due_ms, same_attempt: *why == Requeue::Later };
                if let Some(input) = input {
                    row.input = input.clone();
                }
            });
        }
        _ => {}
    }
}

fn change_element<S: StateMut>(rows: &mut S, element: u64, change: impl FnOnce(&mut Element)) {
    if let Some(mut row) = view(rows).element(element) {
        change(&mut row);
        rows.put(Key::Element(element), Row::Element(row));
    }
}

/// Changes a job and moves it out of and into the tables that follow its status.
fn change_job<S: StateMut>(rows: &mut S, job: u64, change: impl FnOnce(&mut Job)) {
    let Some(mut row) = view(rows).job(job) else { return };
    leave_tables(rows, job, &row);
    change(&mut row);
    if let JobStatus::Queued { due_ms, .. } = &row.status {
        rows.put(Key::JobQueue(row.r#type.clone(), *due_ms, job), Row::Unit);
    }
    rows.put(Key::Job(job), Row::Job(Box::new(row)));
}

fn remove_job<S: StateMut>(rows: &mut S, job: u64) {
    let Some(row) = view(rows).job(job) else { return };
    leave_tables(rows, job, &row);
    rows.remove(Key::Job(job));
}

fn leave_tables<S: StateMut>(rows: &mut S, job: u64, row: &Job) {
    match row.status {
        JobStatus::Queued { due_ms, .. } => rows.remove(Key::JobQueue(row.r#type.clone(), due_ms, job)),
        JobStatus::Active { .. } => {
            if let Some(key) = row.concurrency_key() {
                rows.remove(Key::JobLock(key));
            }
        }
        JobStatus::Ended => {}
    }
}

fn forget_variables<S: StateMut>(rows: &mut S, scope: u64) {
    for name in view(rows).variables(scope).into_keys() {
        rows.remove(Key::Variable(scope, name));
    }
}

fn deploy<S: StateMut>(rows: &mut S, deployed: &DeployedVersion, at_ms: i64) {
    let process = &deployed.process;
    let before = view(rows).definition(process);
    for (name, _) in before.iter().flat_map(|row| &row.starts) {
        rows.remove(Key::MessageStart(name.clone(), process.clone()));
    }
    for (name, start) in &deployed.starts {
        rows.put(Key::MessageStart(name.clone(), process.clone()), Row::Text(start.clone()));
    }
    let last_version = before.map_or(0, |row| row.last_version).max(deployed.version);
    let row = Definition { version: deployed.version, last_version, starts: deployed.starts.clone() };
    rows.put(Key::Definition(process.clone()), Row::Definition(row));
    if !deployed.again {
        let row = Version {
            hash: deployed.hash.clone(),
            exec_hash: deployed.exec_hash.clone(),
            tag: deployed.tag.clone(),
            change: deployed.change,
            deployed_ms: at_ms,
        };
        rows.put(Key::Version(process.clone(), deployed.version), Row::Version(row));
        rows.put(Key::VersionOf(process.clone(), deployed.hash.clone()), Row::Number(i64::from(deployed.version)));
    }
}
