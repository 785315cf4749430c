//! A second interpreter: naive, with its own data, sharing only the parsed model.
//!
//! Duty: where every token rests after each stimulus, and how the run ends. Guarantee: none of the machine's code. Left
//! to others: generating models and comparing (`promises`).

use std::collections::{BTreeMap, VecDeque};

use crate::model::{BoundaryTrigger, Definitions, EndResult, NodeKind, Scope, Text, Timer};

/// A job as far as tokens care.
#[derive(Clone, Debug, PartialEq)]
pub enum Job {
    Queued { due: i64 },
    Active,
    Ended,
}

/// A resting token.
#[derive(Clone, Debug)]
pub struct Token {
    node: usize,
    pub job: Option<Job>,
    /// Attempts that may still fail.
    left: u32,
    attempts: u32,
    again: bool,
    incident: Option<&'static str>,
    /// (due, order of arming, boundary node).
    timers: Vec<(i64, u64, usize)>,
}

/// What a stimulus does to the `n`th token.
#[derive(Clone, Debug)]
pub enum Finish {
    Complete(i64),
    Fail { retryable: bool },
    Throw(&'static str),
    Later,
}

pub struct Oracle<'m> {
    scope: &'m Scope,
    definitions: &'m Definitions,
    pub tokens: Vec<Token>,
    queue: VecDeque<usize>,
    pub x: Option<i64>,
    pub completed: Vec<String>,
    pub end: Option<String>,
    pub now: i64,
    armed: u64,
}

impl<'m> Oracle<'m> {
    pub fn start(definitions: &'m Definitions, now: i64, x: i64) -> Self {
        let scope = &definitions.processes[0].scope;
        let mut oracle = Self {
            scope,
            definitions,
            tokens: Vec::new(),
            queue: VecDeque::new(),
            x: Some(x),
            completed: Vec::new(),
            end: None,
            now,
            armed: 0,
        };
        let start = scope.nodes.iter().position(|node| matches!(node.kind, NodeKind::Start(_))).unwrap();
        oracle.queue.push_back(start);
        oracle.run();
        oracle
    }

    /// (id, what it waits for) of each resting token, oldest first.
    pub fn resting(&self) -> Vec<(String, String)> {
        let what = |token: &Token| match (&token.incident, &token.job) {
            (Some(kind), _) => (*kind).to_owned(),
            (None, Some(Job::Queued { due })) => format!("queued {due}"),
            (None, Some(Job::Active)) => format!("active {}", token.attempts),
            (None, other) => format!("{other:?}"),
        };
        self.tokens.iter().map(|token| (self.scope.nodes[token.node].id.clone(), what(token))).collect()
    }

    fn run(&mut self) {
        while let Some(node) = self.queue.pop_front() {
            self.enter(node);
        }
        if self.tokens.is_empty() && self.end.is_none() {
            self.end = Some("completed".to_owned());
        }
    }

    fn enter(&mut self, node: usize) {
        let found = &self.scope.nodes[node];
        let mut token =
            Token { node, job: None, left: 3, attempts: 0, again: false, incident: None, timers: Vec::new() };
        match &found.kind {
            NodeKind::ServiceTask => {
                token.job = Some(Job::Queued { due: self.now });
                for boundary in &found.boundaries {
                    if let NodeKind::Boundary { trigger: BoundaryTrigger::Timer(Timer::Duration(text)), .. } =
                        &self.scope.nodes[*boundary].kind
                    {
                        self.armed += 1;
                        token.timers.push((self.now + seconds(text) * 1_000, self.armed, *boundary));
                    }
                }
                self.tokens.push(token);
            }
            NodeKind::End(EndResult::Error { error }) => {
                let code = error.and_then(|ix| self.definitions.errors[ix].code.clone());
                self.end = Some(format!("failed {}", code.unwrap()));
                self.tokens.clear();
                self.queue.clear();
            }
            _ => self.leave(token),
        }
    }

    /// The token goes on, or rests where it is.
    fn leave(&mut self, mut token: Token) {
        let node = &self.scope.nodes[token.node];
        let gateway = matches!(node.kind, NodeKind::ExclusiveGateway);
        let mut default = node.default;
        let mut taken = Vec::new();
        for flow in &node.outgoing {
            let row = &self.scope.flows[*flow];
            if node.default == Some(*flow) {
                continue;
            }
            let holds = match &row.condition {
                None if gateway => {
                    default = Some(*flow);
                    continue;
                }
                None => Some(true),
                Some(text) => self.condition(&text.text),
            };
            match holds {
                None => {
                    token.incident = Some("condition-not-boolean");
                    self.rest(token);
                    return;
                }
                Some(true) => {
                    taken.push(row.target);
                    if gateway {
                        break;
                    }
                }
                Some(false) => {}
            }
        }
        if taken.is_empty() {
            taken.extend(default.map(|flow| self.scope.flows[flow].target));
        }
        if taken.is_empty() && !node.outgoing.is_empty() {
            token.incident = Some("no-flow-taken");
            self.rest(token);
            return;
        }
        self.completed.push(node.id.clone());
        self.queue.extend(taken);
    }

    fn rest(&mut self, token: Token) {
        self.tokens.push(token);
    }

    /// `x = n`, `x > n`, `y` (a number).
    fn condition(&self, text: &str) -> Option<bool> {
        let mut words = text.split(' ');
        let (name, operator, number) = (words.next()?, words.next()?, words.next()?.parse::<i64>().ok()?);
        assert_eq!(name, "x");
        match operator {
            "=" => Some(self.x? == number),
            ">" => Some(self.x? > number),
            _ => None,
        }
    }

    /// Gives the token's job out if it is due; says whether it runs.
    pub fn activate(&mut self, at: usize) -> bool {
        let now = self.now;
        let token = &mut self.tokens[at];
        match token.job {
            Some(Job::Queued { due }) if due <= now && token.incident.is_none() => {
                token.job = Some(Job::Active);
                if !token.again {
                    token.attempts += 1;
                }
                token.again = false;
                true
            }
            _ => false,
        }
    }

    pub fn finish(&mut self, at: usize, how: &Finish) {
        let now = self.now;
        match how {
            Finish::Complete(x) => {
                self.x = Some(*x);
                let mut token = self.tokens.remove(at);
                token.job = None;
                // a token that stays keeps its place: it is as old as before
                let before = self.tokens.len();
                self.leave(token);
                if self.tokens.len() > before {
                    let token = self.tokens.pop().unwrap();
                    self.tokens.insert(at, token);
                }
            }
            Finish::Later => {
                let token = &mut self.tokens[at];
                token.job = Some(Job::Queued { due: now + 1_000 });
                token.again = true;
            }
            Finish::Fail { retryable } => self.failed(at, *retryable, 1_000, "job-failed"),
            Finish::Throw(code) => {
                let boundaries = &self.scope.nodes[self.tokens[at].node].boundaries;
                let catches = |exact: bool| {
                    boundaries.iter().copied().find(|node| match &self.scope.nodes[*node].kind {
                        NodeKind::Boundary { trigger: BoundaryTrigger::Error { error }, .. } => match error {
                            Some(ix) => exact && self.definitions.errors[*ix].code.as_deref() == Some(code),
                            None => !exact,
                        },
                        _ => false,
                    })
                };
                match catches(true).or(catches(false)) {
                    Some(boundary) => {
                        self.tokens.remove(at);
                        self.boundary(boundary);
                    }
                    None => {
                        self.tokens[at].job = Some(Job::Ended);
                        self.tokens[at].incident = Some("uncaught-error");
                    }
                }
            }
        }
        self.run();
    }

    fn boundary(&mut self, node: usize) {
        let token = Token { node, job: None, left: 0, attempts: 0, again: false, incident: None, timers: Vec::new() };
        self.leave(token);
    }

    fn failed(&mut self, at: usize, retryable: bool, wait: i64, incident: &'static str) {
        let now = self.now;
        let token = &mut self.tokens[at];
        if retryable && token.left > 1 {
            token.left -= 1;
            token.job = Some(Job::Queued { due: now + wait });
        } else {
            token.job = Some(Job::Ended);
            token.incident = Some(incident);
        }
    }

    /// Every running attempt is lost; tasks with an even number try again, others ask a person.
    pub fn boot(&mut self) {
        for at in 0..self.tokens.len() {
            if self.tokens[at].job == Some(Job::Active) {
                let retry = retries_unknown(&self.scope.nodes[self.tokens[at].node].id);
                let incident = if retry { "job-failed" } else { "job-unknown-outcome" };
                self.failed(at, retry, 0, incident);
            }
        }
    }

    pub fn resolve(&mut self, at: usize) {
        let now = self.now;
        let token = &mut self.tokens[at];
        if token.incident.take().is_none() {
            return;
        }
        if token.job == Some(Job::Ended) {
            token.job = Some(Job::Queued { due: now });
            token.left = 3;
        } else {
            let token = self.tokens.remove(at);
            let before = self.tokens.len();
            self.leave(token);
            if self.tokens.len() > before {
                let token = self.tokens.pop().unwrap();
                self.tokens.insert(at, token);
            }
        }
        self.run();
    }

    pub fn advance(&mut self, ms: i64) {
        self.now += ms;
        loop {
            let due = self
                .tokens
                .iter()
                .enumerate()
                .flat_map(|(at, token)| token.timers.iter().map(move |timer| (*timer, at)))
                .filter(|((due, ..), _)| *due <= self.now)
                .min();
            let Some((timer, at)) = due else { break };
            self.tokens[at].timers.retain(|other| *other != timer);
            if matches!(self.scope.nodes[timer.2].kind, NodeKind::Boundary { interrupting: true, .. }) {
                self.tokens.remove(at);
            }
            self.boundary(timer.2);
            self.run();
        }
    }
}

/// Whether the attempts of a task whose outcome is unknown are repeated.
pub fn retries_unknown(id: &str) -> bool {
    id.trim_start_matches('t').parse::<u32>().is_ok_and(|number| number % 2 == 0)
}

/// `PTnS`.
fn seconds(text: &Text) -> i64 {
    text.text.trim_start_matches("PT").trim_end_matches('S').parse().unwrap()
}

/// Completions per element.
pub fn counts(trace: &[String]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for id in trace {
        *counts.entry(id.clone()).or_default() += 1;
    }
    counts
}
