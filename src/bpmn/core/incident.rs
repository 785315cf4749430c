//! What keeps a token where it is, and how it goes on.
//!
//! Duty: raise, resolve and retry. Guarantee: an incident belongs to one activation and keeps its token; resolved
//! without success it is the same incident with a higher count. Left to others: what failed (`element`, `job`).

use super::command::{Answer, Rejection};
use super::element;
use super::event::{Body, Requeue};
use super::machine::{Machine, done};
use super::row::{Element, Held, IncidentKind, JobStatus};
use super::value::Variables;
use super::variables;

/// What went wrong, before it is an incident.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fault {
    pub kind: IncidentKind,
    pub message: String,
    pub expression: Option<String>,
    pub reads: Variables,
}

impl Fault {
    pub fn new(kind: IncidentKind, message: String) -> Self {
        Self { kind, message, expression: None, reads: Variables::new() }
    }
}

impl Machine<'_> {
    /// Puts an incident on an activation.
    pub fn raise(&mut self, element: u64, row: &Element, fault: Fault, held: Held) {
        let before = match &self.resolving {
            Some((of, incident, row)) if *of == element => Some((*incident, row.since_ms, row.count + 1)),
            _ => row
                .held
                .as_ref()
                .and_then(|(incident, _)| Some((*incident, self.view().incident(*incident)?)))
                .map(|(incident, row)| (incident, row.since_ms, row.count + 1)),
        };
        let (incident, since_ms, count) = match before {
            Some(known) => known,
            None => (self.new_key(), self.now_ms, 1),
        };
        self.emit(Body::IncidentRaised {
            incident,
            instance: row.instance,
            element,
            kind: fault.kind,
            message: fault.message,
            expression: fault.expression,
            reads: fault.reads,
            since_ms,
            count,
            held,
        });
    }

    /// Takes the incident off an activation.
    pub fn clear(&mut self, element: u64) {
        if let Some(row) = self.view().element(element)
            && let Some((incident, _)) = row.held
        {
            self.emit(Body::IncidentCleared { incident, instance: row.instance, element });
        }
    }
}

/// Command `Resolve`.
pub(super) fn resolve(machine: &mut Machine<'_>, incident: u64) -> Result<Answer, Rejection> {
    let missing = || Rejection::NotFound { what: "incident".to_owned(), id: incident.to_string() };
    let row = machine.view().incident(incident).ok_or_else(missing)?;
    let element = row.element;
    let resting = machine.view().element(element).ok_or_else(missing)?;
    let held = match (resting.held.ok_or_else(missing)?, resting.job) {
        // its job was withdrawn when a timer fired without a model (`boundary`): the task begins anew
        ((_, Held::JobEnded), None) => Held::Inputs,
        ((_, held), _) => held,
    };
    machine.resolving = Some((element, incident, row));
    if let Held::JobEnded = held {
        machine.clear(element);
        // a job that waits or runs goes on by itself
        if let Some(job) = resting.job
            && machine.view().job(job).is_some_and(|row| row.status == JobStatus::Ended)
        {
            requeue(machine, job, None);
        }
        return done();
    }
    machine.clear(element);
    element::go_on(machine, element, held);
    machine.run();
    machine.resolving = None;
    done()
}

/// Command `Retry`.
pub(super) fn retry(
    machine: &mut Machine<'_>,
    job: u64,
    retries: Option<u32>,
    set: Variables,
) -> Result<Answer, Rejection> {
    let missing = || Rejection::NotFound { what: "job".to_owned(), id: job.to_string() };
    let row = machine.view().job(job).ok_or_else(missing)?;
    if let JobStatus::Active { .. } = row.status {
        return Err(Rejection::Conflict {
            message: format!("attempt {} of job {job} is running: wait for its end or cancel the run", row.attempt),
        });
    }
    variables::allowed(&set)?;
    let element = row.element;
    if machine.find(element).is_none() {
        let message =
            "the definition of this run cannot be read by this version: use one that reads it, or cancel the run";
        return Err(Rejection::Conflict { message: message.to_owned() });
    }
    machine.resolving = machine.view().element(element).and_then(|element_row| {
        let (incident, _) = element_row.held?;
        Some((element, incident, machine.view().incident(incident)?))
    });
    machine.clear(element);
    let changed = !set.is_empty();
    for (name, value) in set {
        variables::give(machine, element, name, value);
    }
    if !changed {
        requeue(machine, job, retries);
    } else if let Some(at) = machine.at(element) {
        // the input is made again; if it came out different it gets an effect key of its own
        match element::task::input_again(machine, &at, &row.input) {
            Ok(input) => {
                let retries_left = retries.unwrap_or(row.retries).max(1);
                let due_ms = machine.now_ms;
                let (instance, why) = (row.instance, Requeue::Operator);
                machine.emit(Body::JobRetryScheduled { job, instance, element, due_ms, retries_left, why, input });
            }
            Err(fault) => {
                super::job::withdraw(machine, element);
                machine.raise(element, &at.row, fault, Held::Job);
            }
        }
    }
    done()
}

fn requeue(machine: &mut Machine<'_>, job: u64, retries: Option<u32>) {
    let Some(row) = machine.view().job(job) else { return };
    machine.emit(Body::JobRetryScheduled {
        job,
        instance: row.instance,
        element: row.element,
        due_ms: machine.now_ms,
        retries_left: retries.unwrap_or(row.retries).max(1),
        why: Requeue::Operator,
        input: None,
    });
}
