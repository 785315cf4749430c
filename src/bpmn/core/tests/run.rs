//! A machine under test: every step is checked in every way there is.
//!
//! Duty: run commands; after each, invariants, refold, and the same command again. Guarantee: a breach panics with what
//! led to it. Left to others: what should have happened (the tests).

use super::dsl;
use crate::core::*;

/// Wall clock of the first command: 2025-01-01T00:00:00Z.
pub const START_MS: i64 = 1_735_689_600_000;

/// A booted machine with process `p`.
pub struct Run {
    pub models: Models,
    pub state: State,
    pub log: Vec<Event>,
    pub effects: Vec<Effect>,
    pub now_ms: i64,
}

impl Run {
    /// A machine in which `text` is deployed.
    pub fn of(text: &str) -> Self {
        let mut run = Self {
            models: Models::default(),
            state: State::default(),
            log: Vec::new(),
            effects: Vec::new(),
            now_ms: START_MS,
        };
        run.ask(Action::Boot { engine_id: [7; 16] }).unwrap();
        run.deploy(text);
        run
    }

    /// Deploys `text` as process `p`.
    pub fn deploy(&mut self, text: &str) -> Answer {
        let hash = format!("hash of {text}");
        self.models.add(&hash, &dsl::definitions(text)).unwrap();
        self.ask(Action::Deploy { processes: vec![("p".to_owned(), hash)] }).unwrap()
    }

    /// One command, checked.
    pub fn ask(&mut self, action: Action) -> Result<Answer, Rejection> {
        let command = Command { now_ms: self.now_ms, actor: None, action };
        let (events, mut effects) = step(&self.models, &self.state, command.clone())?;
        let again = step(&self.models, &self.state, command.clone()).unwrap();
        assert_eq!(events, again.0, "the same command twice gives the same events");
        for event in &events {
            apply(&mut self.state, event);
        }
        self.log.extend(events);
        self.check(&command);
        let answer = effects.pop();
        self.effects = effects;
        match answer {
            Some(Effect::Reply(answer)) => Ok(answer),
            other => panic!("no reply but {other:?}"),
        }
    }

    /// One command while no definition can be read; checked by the next one.
    pub fn ask_without_models(&mut self, action: Action) {
        let command = Command { now_ms: self.now_ms, actor: None, action };
        let (events, _) = step(&Models::default(), &self.state, command).unwrap();
        events.iter().for_each(|event| apply(&mut self.state, event));
        self.log.extend(events);
    }

    fn check(&self, command: &Command) {
        let mut broken = invariants::of_state(&self.models, &self.state);
        broken.extend(invariants::of_log(&self.log));
        assert!(
            broken.is_empty(),
            "after {command:?}: {broken:#?}\n{:#?}",
            self.log.iter().map(|e| &e.body).collect::<Vec<_>>()
        );
        let mut folded = State::default();
        for event in &self.log {
            let bytes = postcard::to_stdvec(event).unwrap();
            apply(&mut folded, &postcard::from_bytes(&bytes).unwrap());
        }
        let bytes = |state: &State| postcard::to_stdvec(state).unwrap();
        assert_eq!(bytes(&folded), bytes(&self.state), "refold gives other bytes");
    }

    pub fn view(&self) -> &dyn StateView {
        &self.state
    }

    /// Starts process `p`.
    pub fn start(&mut self, variables: &[(&str, Value)]) -> u64 {
        let action = Action::Start { process: "p".to_owned(), version: None, start: None, variables: vars(variables) };
        match self.ask(action).unwrap() {
            Answer::Started { instance } => instance,
            other => panic!("{other:?}"),
        }
    }

    /// Ids of the nodes where tokens rest, sorted.
    pub fn waiting(&self) -> Vec<String> {
        let mut ids: Vec<_> = self.elements().into_iter().map(|(_, id, _)| id).collect();
        ids.sort();
        ids
    }

    /// (key, id, row) of everything that rests, oldest first.
    pub fn elements(&self) -> Vec<(u64, String, Element)> {
        self.state
            .rows()
            .filter_map(|(key, row)| match (key, row) {
                (Key::Element(key), Row::Element(row)) => {
                    let instance = self.view().instance(row.instance)?;
                    let program = self.models.program(&instance.hash, &instance.process)?;
                    Some((*key, program.nodes[row.node as usize].id.clone(), row.clone()))
                }
                _ => None,
            })
            .collect()
    }

    /// The oldest activation of node `id`.
    pub fn element(&self, id: &str) -> (u64, Element) {
        let found = self.elements().into_iter().find(|(_, node, _)| node == id);
        let (key, _, row) = found.unwrap_or_else(|| panic!("no token rests at `{id}`: {:?}", self.waiting()));
        (key, row)
    }

    /// (kind, count) of the incident at `id`.
    pub fn incident(&self, id: &str) -> Option<(u64, &'static str, u32)> {
        let (key, _) = self.element(id).1.held?;
        self.view().incident(key).map(|row| (key, row.kind.as_str(), row.count))
    }

    /// Resolves the incident at `id`.
    pub fn resolve(&mut self, id: &str) {
        let (incident, ..) = self.incident(id).unwrap();
        self.ask(Action::Resolve { incident }).unwrap();
    }

    /// Gives the oldest job of node `id` to a worker; its key and attempt.
    pub fn activate(&mut self, id: &str) -> (u64, u32) {
        let job = self.element(id).1.job.unwrap();
        let jobs = vec![JobStart { job, rendered: Err("no template".to_owned()), on_unknown: OnUnknown::Incident }];
        self.ask(Action::ActivateJobs { worker: "w".to_owned(), jobs }).unwrap();
        match self.effects.as_slice() {
            [Effect::DispatchJob { job, attempt }] => (*job, *attempt),
            other => panic!("job of `{id}` was not given out: {other:?}"),
        }
    }

    /// The oldest job of node `id` is done.
    pub fn complete(&mut self, id: &str, result: &[(&str, Value)]) {
        let (job, attempt) = self.activate(id);
        self.ask(Action::JobCompleted { job, attempt, result: vars(result) }).unwrap();
    }

    /// The oldest job of node `id` fails.
    pub fn fail(&mut self, id: &str, retryable: bool) {
        let (job, attempt) = self.activate(id);
        let message = "it broke".to_owned();
        self.ask(Action::JobFailed { job, attempt, message, retryable, backoff_ms: None }).unwrap();
    }

    /// The oldest job of node `id` throws a BPMN error.
    pub fn throw(&mut self, id: &str, code: &str, thrown: &[(&str, Value)]) {
        let (job, attempt) = self.activate(id);
        let (code, message) = (code.to_owned(), "thrown".to_owned());
        self.ask(Action::JobError { job, attempt, code, message, variables: vars(thrown) }).unwrap();
    }

    /// Time passes, and what is due fires.
    pub fn advance(&mut self, ms: i64) {
        self.now_ms += ms;
        self.ask(Action::Tick).unwrap();
    }

    /// Completions in order.
    pub fn trace(&self) -> Vec<String> {
        let mut ids = std::collections::BTreeMap::new();
        let mut trace = Vec::new();
        for event in &self.log {
            match &event.body {
                Body::ElementActivated { element, id, .. } => {
                    ids.insert(*element, id.clone());
                }
                Body::ElementCompleted { element, .. } => trace.push(ids[element].clone()),
                _ => {}
            }
        }
        trace
    }

    /// How the newest run ended: `completed`, `failed CODE`, `cancelled`.
    pub fn end(&self) -> Option<String> {
        self.log.iter().rev().find_map(|event| match &event.body {
            Body::InstanceCompleted { .. } => Some("completed".to_owned()),
            Body::InstanceFailed { code, .. } => Some(format!("failed {}", code.as_deref().unwrap_or("-"))),
            Body::InstanceCancelled { .. } => Some("cancelled".to_owned()),
            _ => None,
        })
    }

    /// The last value given to a variable of the run itself.
    pub fn root(&self, instance: u64, wanted: &str) -> Option<Value> {
        self.log.iter().rev().find_map(|event| match &event.body {
            Body::VariableSet { scope, name, value, .. } if *scope == instance && name == wanted => Some(value.clone()),
            _ => None,
        })
    }
}

/// Named values.
pub fn vars(entries: &[(&str, Value)]) -> Variables {
    entries.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect()
}

/// A whole number.
pub fn number(number: i64) -> Value {
    Value::from(number)
}
