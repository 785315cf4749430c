//! A step: one command worked to the point where every token rests.
//!
//! Duty: the queue of tokens, and the way of facts into the state. Guarantee: what the step sees is always the state
//! after its own facts; the queue is first in, first out. Left to others: what each element does (`element`), what each
//! command does (`command` files).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::apply::apply_to;
use super::command::{Action, Answer, Command, Effect, Rejection};
use super::event::{Body, Event};
use super::incident::Fault;
use super::program::{Models, Node, Program};
use super::row::{Element, Held, IncidentKind, Instance};
use super::state::{Overlay, StateView};
use super::{deploy, element, incident, job, message, start, timer};

/// Arrivals that one step, or one timer of it, may work (bpmn.md 4).
const MOST_ARRIVALS: u32 = 10_000;

/// A step's answer: facts to apply and effects to have after they are safe.
pub type Step = (Vec<Event>, Vec<Effect>);

/// Works one command.
///
/// Errors: the command is not valid now, and nothing changed.
pub fn step(models: &Models, state: &dyn StateView, command: Command) -> Result<Step, Rejection> {
    let mut machine = Machine::new(models, state, &command);
    let answer = match command.action {
        Action::Boot { engine_id } => job::boot(&mut machine, engine_id),
        Action::Deploy { processes } => deploy::deploy(&mut machine, &processes)?,
        Action::Start { process, version, start, variables } => {
            start::start(&mut machine, &process, version, start.as_deref(), variables)?
        }
        Action::PublishMessage { name, key, message_id, variables, only, trigger, depth } => message::publish(
            &mut machine,
            message::Publication { name, key, message_id, variables, only, trigger, depth },
        )?,
        Action::Tick => timer::tick(&mut machine),
        Action::ActivateJobs { worker, jobs } => job::activate(&mut machine, &worker, jobs),
        Action::RefuseJob { job, message } => job::refuse(&mut machine, job, message)?,
        Action::JobCompleted { job, attempt, result } => job::completed(&mut machine, job, attempt, result)?,
        Action::JobFailed { job, attempt, message, retryable, backoff_ms } => {
            job::failed(&mut machine, job, attempt, message, retryable, backoff_ms)?
        }
        Action::JobError { job, attempt, code, message, variables } => {
            job::error(&mut machine, job, attempt, code, message, variables)?
        }
        Action::JobUnknown { job, attempt, message } => job::unknown(&mut machine, job, attempt, message)?,
        Action::JobLater { job, attempt, at_ms } => job::later(&mut machine, job, attempt, at_ms)?,
        Action::Resolve { incident } => incident::resolve(&mut machine, incident)?,
        Action::Retry { job, retries, variables } => incident::retry(&mut machine, job, retries, variables)?,
        Action::Cancel { instance, reason } => start::cancel(&mut machine, instance, reason)?,
    };
    machine.run();
    machine.effects.push(Effect::Reply(answer));
    Ok((machine.events, machine.effects))
}

/// A token that has left one node and not reached the next.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub instance: u64,
    pub scope: u64,
    pub node: usize,
    pub flow: Option<usize>,
    /// For a message start: what came with it.
    pub payload: BTreeMap<String, super::value::Value>,
}

/// The state of one step.
pub(super) struct Machine<'a> {
    pub models: &'a Models,
    pub state: Overlay<'a>,
    pub events: Vec<Event>,
    pub effects: Vec<Effect>,
    pub now_ms: i64,
    /// An incident that is being resolved: raised again it keeps its key.
    pub resolving: Option<(u64, u64, super::row::Incident)>,
    actor: Option<String>,
    queue: VecDeque<Arrival>,
    arrivals: u32,
    touched: BTreeSet<u64>,
    programs: BTreeMap<u64, Option<Arc<Program>>>,
    next_seq: u64,
    next_key: u64,
}

impl<'a> Machine<'a> {
    fn new(models: &'a Models, state: &'a dyn StateView, command: &Command) -> Self {
        let meta = state.meta();
        Self {
            models,
            state: Overlay::new(state),
            events: Vec::new(),
            effects: Vec::new(),
            now_ms: command.now_ms.max(meta.last_now),
            resolving: None,
            actor: command.actor.clone(),
            queue: VecDeque::new(),
            arrivals: 0,
            touched: BTreeSet::new(),
            programs: BTreeMap::new(),
            next_seq: meta.last_seq + 1,
            next_key: meta.last_key + 1,
        }
    }

    /// The state after everything emitted so far.
    pub fn view(&self) -> &(dyn StateView + 'a) {
        &self.state
    }

    /// Records a fact.
    pub fn emit(&mut self, body: Body) {
        let event = Event { seq: self.next_seq, at_ms: self.now_ms, actor: self.actor.clone(), body };
        self.next_seq += 1;
        apply_to(&mut self.state, &event);
        self.events.push(event);
    }

    /// A key never used before; the fact that names it must be emitted next.
    pub fn new_key(&mut self) -> u64 {
        let key = self.next_key;
        self.next_key += 1;
        key
    }

    /// Queues a token.
    pub fn send(&mut self, arrival: Arrival) {
        self.queue.push_back(arrival);
    }

    /// The instance may have nothing left to do.
    pub fn touch(&mut self, instance: u64) {
        self.touched.insert(instance);
    }

    /// Drops the queued tokens of an instance that ends.
    pub fn drop_tokens(&mut self, instance: u64) {
        self.queue.retain(|arrival| arrival.instance != instance);
        self.touched.remove(&instance);
    }

    /// Works until every token rests; runs with none left end.
    pub fn run(&mut self) {
        while let Some(arrival) = self.queue.pop_front() {
            self.arrivals += 1;
            if self.arrivals > MOST_ARRIVALS {
                element::park(self, arrival);
            } else {
                element::arrive(self, arrival);
            }
        }
        self.arrivals = 0;
        for instance in std::mem::take(&mut self.touched) {
            if self.view().instance(instance).is_some() && self.view().children(instance, 1).is_empty() {
                self.emit(Body::InstanceCompleted { instance });
            }
        }
    }

    /// The program of an instance, if it runs and its model is there.
    pub fn program(&mut self, instance: u64) -> Option<Arc<Program>> {
        if let Some(program) = self.programs.get(&instance) {
            return program.clone();
        }
        let row: Option<Instance> = self.view().instance(instance);
        let program = row.and_then(|row| self.models.program(&row.hash, &row.process).cloned());
        self.programs.insert(instance, program.clone());
        program
    }

    /// An activation with its row, program and node. Nothing when it has ended, or its model is missing.
    pub fn find(&mut self, element: u64) -> Option<At> {
        let row = self.view().element(element)?;
        let program = self.program(row.instance).filter(|program| program.nodes.len() > row.node as usize)?;
        Some(At { key: element, row, program })
    }

    /// The same, of an activation whose job, if it has one, has ended; a missing model is an incident.
    pub fn at(&mut self, element: u64) -> Option<At> {
        let has_job = self.view().element(element).is_some_and(|row| row.job.is_some());
        self.at_or(element, if has_job { Held::JobEnded } else { Held::Inputs })
    }

    /// The same; `held` is where it goes on when the model is there again.
    pub fn at_or(&mut self, element: u64, held: Held) -> Option<At> {
        let found = self.find(element);
        if found.is_none()
            && let Some(row) = self.view().element(element)
        {
            let message = "the definition of this run cannot be read by this version: go on with one that reads it, or \
                           cancel the run";
            let held = row.held.clone().map_or(held, |(_, held)| held);
            self.raise(element, &row, Fault::new(IncidentKind::Internal, message.to_owned()), held);
        }
        found
    }
}

/// An activation being worked on.
#[derive(Clone, Debug)]
pub(super) struct At {
    pub key: u64,
    pub row: Element,
    pub program: Arc<Program>,
}

impl At {
    pub fn node(&self) -> &Node {
        &self.program.nodes[self.row.node as usize]
    }
}

/// Nothing to say.
pub(super) fn done() -> Result<Answer, Rejection> {
    Ok(Answer::Done)
}
