//! The one writer: a batch of commands becomes one commit.
//!
//! Duty: step commands in order on an overlay, fill free workers in the same commit, keep answers by request id.
//! Guarantee: nothing leaves a batch before its commit; a batch that fails changes nothing, here or in the file. Left to
//! others: queue and threads (`Engine`), running jobs (`pool`).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bpmn::core::{
    Action, Answer, Command, Effect, Event, HeaderValue, Job as JobRow, JobStart, Models, Overlay, StateView, apply_to,
    step, timeout_ms,
};
use serde_json::{Map, Value};

use super::deploy::Prepared;
use super::error::Error;
use super::job::{Job, Outcome};
use super::pool::Jobs;
use super::store::{Batch, Store};
use super::{history, ids};

/// What is kept of an answered request.
pub(super) type Stored = Answer;

/// Answers are kept this long.
const KEPT_MS: i64 = 86_400_000;
/// Waiting jobs of a type that are looked at for free workers.
const CANDIDATES: usize = 256;
/// Headers that the engine reads itself.
const OWN_HEADERS: [&str; 4] = ["timeout", "retryBackoff", "onUnknown", "concurrencyKey"];

/// One thing to do.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A command.
    Act { action: Action, actor: Option<String> },
    /// Files to put in force.
    Deploy { files: Prepared, actor: Option<String> },
    /// A worker is free again, and this came of it.
    Finished { job: u64, attempt: u32, outcome: Outcome },
}

/// One thing to do, and under which request id.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub work: Work,
    pub request_id: Option<String>,
}

/// What a committed batch gives away.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// One an item.
    pub replies: Vec<Result<Answer, Error>>,
    pub dispatch: Vec<Job>,
    /// (job, attempt).
    pub cancel: Vec<(u64, u32)>,
    pub events: Vec<Event>,
    /// When to tick next, ms since 1970.
    pub next_due: Option<i64>,
}

pub(super) struct Writer {
    pub store: Store,
    pub models: Models,
    jobs: Jobs,
    /// (job, attempt) → type, of the attempts that a worker has.
    running: BTreeMap<(u64, u32), String>,
    /// Type → the instance served last.
    served: BTreeMap<String, u64>,
}

impl Writer {
    /// A writer on a store; its definitions are compiled.
    pub fn open(store: Store, jobs: Jobs) -> Result<Self, Error> {
        let mut models = Models::default();
        for (hash, source) in store.definitions()? {
            let definitions = bpmn::model::parse(&source.bytes)
                .map_err(|_| Error::Damaged(format!("definition {hash} can no longer be read")))?;
            models.add(&hash, &definitions).map_err(|errors| {
                Error::Damaged(format!(
                    "definition {hash}: {}",
                    errors.first().map(ToString::to_string).unwrap_or_default()
                ))
            })?;
        }
        Ok(Self { store, models, jobs, running: BTreeMap::new(), served: BTreeMap::new() })
    }

    /// Does all items in order in one commit.
    pub fn batch(&mut self, items: &[Item], now_ms: i64) -> Result<Done, Error> {
        let view = self.store.view()?;
        let mut work = Open {
            overlay: Overlay::new(&view),
            models: self.models.clone(),
            batch: Batch { forget_before_ms: now_ms.saturating_sub(KEPT_MS), ..Batch::default() },
            done: Done::default(),
            given: Vec::new(),
            now_ms,
        };
        let mut finished = Vec::new();
        for item in items {
            if let Work::Finished { job, attempt, .. } = &item.work {
                finished.push((*job, *attempt));
            }
            let reply = self.one(&mut work, item)?;
            work.done.replies.push(reply);
        }
        let served = self.fill(&mut work, &finished)?;
        let Open { overlay, models, mut batch, mut done, given, .. } = work;
        done.next_due = (&overlay as &dyn StateView).next_due(now_ms);
        history::fold(&self.store, &mut batch)?;
        done.dispatch = given.iter().filter_map(|(job, attempt)| self.job(&overlay, &batch, *job, *attempt)).collect();
        batch.rows = overlay.into_changes();
        view.failed()?;
        if !batch.events.is_empty() || !batch.requests.is_empty() || !batch.definitions.is_empty() {
            self.store.commit(&batch)?;
        }
        self.models = models;
        self.served.extend(served);
        for key in finished {
            self.running.remove(&key);
        }
        for job in &done.dispatch {
            self.running.insert((job.key, job.attempt), job.r#type.clone());
        }
        done.events = batch.events;
        Ok(done)
    }

    fn one(&self, work: &mut Open<'_>, item: &Item) -> Result<Result<Answer, Error>, Error> {
        if let Some(id) = &item.request_id {
            let known = match work.batch.requests.get(id) {
                Some(known) => Some(known.clone()),
                None => self.store.request(id)?,
            };
            if let Some((at, answer)) = known
                && at > work.now_ms.saturating_sub(KEPT_MS)
            {
                return Ok(Ok(answer));
            }
        }
        let answer = match &item.work {
            Work::Act { action, actor } => work.step(action.clone(), actor.clone()),
            Work::Deploy { files, actor } => work.deploy(files, actor.clone()),
            Work::Finished { job, attempt, outcome } => work.step(finish(*job, *attempt, outcome), None),
        };
        if let (Some(id), Ok(answer)) = (&item.request_id, &answer) {
            work.batch.requests.insert(id.clone(), (work.now_ms, answer.clone()));
        }
        Ok(answer)
    }

    /// Gives waiting jobs to free workers: oldest first, in turn over instances.
    fn fill(&self, work: &mut Open<'_>, finished: &[(u64, u32)]) -> Result<Vec<(String, u64)>, Error> {
        let mut served = Vec::new();
        let view: &dyn StateView = &work.overlay;
        for (r#type, _) in view.waiting_job_types() {
            let limit = self.jobs.limits.get(&r#type).copied().unwrap_or(0);
            let busy = self.running.iter().filter(|(key, of)| **of == r#type && !finished.contains(key)).count();
            let free = limit.saturating_sub(busy);
            if free == 0 {
                continue;
            }
            let view: &dyn StateView = &work.overlay;
            let after = self.served.get(&r#type).copied().unwrap_or(0);
            let chosen = choose(view, &r#type, work.now_ms, free, after);
            let Some((_, last)) = chosen.last() else { continue };
            served.push((r#type.clone(), last.instance));
            let jobs = chosen.iter().map(|(key, row)| self.start(*key, row)).collect();
            // the machine leaves out what it cannot start and says so in its answer
            let _ = work.step(Action::ActivateJobs { worker: "engine".to_owned(), jobs }, None);
        }
        Ok(served)
    }

    /// What the engine adds to a job: rendered templates, and what its type says about unknown outcomes.
    fn start(&self, key: u64, row: &JobRow) -> JobStart {
        let variables = map(&row.input.variables);
        let rendered = row
            .input
            .headers
            .iter()
            .map(|(name, value)| {
                let value = match value {
                    HeaderValue::Template(text) => {
                        let text =
                            (self.jobs.render)(text, &variables).map_err(|why| format!("header `{name}`: {why}"))?;
                        HeaderValue::Value(text.into())
                    }
                    ready => ready.clone(),
                };
                Ok((name.clone(), value))
            })
            .collect::<Result<BTreeMap<_, _>, String>>();
        let headers = rendered.as_ref().map(json_headers).unwrap_or_default();
        JobStart { job: key, rendered, on_unknown: (self.jobs.on_unknown)(&row.r#type, &headers) }
    }

    /// The attempt for its handler.
    fn job(&self, overlay: &Overlay<'_>, batch: &Batch, key: u64, attempt: u32) -> Option<Job> {
        let view: &dyn StateView = overlay;
        let row = view.job(key)?;
        let instance = view.instance(row.instance)?;
        let element = view.element(row.element)?;
        let program = self.models.program(&instance.hash, &instance.process)?;
        let run = match batch.runs.get(&row.instance) {
            Some(run) => Some(run.clone()),
            None => self.store.run(row.instance).ok().flatten(),
        };
        let engine_id = view.meta().engine_id;
        let mut headers = json_headers(&row.input.headers);
        headers.retain(|name, value| !OWN_HEADERS.contains(&name.as_str()) && !value.is_null());
        Some(Job {
            r#type: row.r#type.clone(),
            key,
            run: row.instance,
            process: instance.process.clone(),
            element: program.nodes.get(element.node as usize)?.id.clone(),
            element_key: row.element,
            attempt,
            effect_key: row.input.effect_key.clone(),
            traceparent: ids::traceparent(&engine_id, row.instance, row.element, key, attempt),
            depth: run.as_ref().map_or(0, |run| run.depth).saturating_add(1),
            headers,
            variables: map(&row.input.variables),
            since_ms: run.and_then(|run| run.generated_ms).unwrap_or(instance.started_ms),
            first_activated_ms: row.first_activated_ms.unwrap_or(instance.started_ms),
            timeout: Duration::from_millis(u64::try_from(timeout_ms(&row)).unwrap_or(0)),
        })
    }
}

/// A batch that is not committed.
struct Open<'a> {
    overlay: Overlay<'a>,
    models: Models,
    batch: Batch,
    done: Done,
    given: Vec<(u64, u32)>,
    now_ms: i64,
}

impl Open<'_> {
    fn step(&mut self, action: Action, actor: Option<String>) -> Result<Answer, Error> {
        let command = Command { now_ms: self.now_ms, actor, action };
        let (events, effects) = step(&self.models, &self.overlay, command)?;
        for event in &events {
            apply_to(&mut self.overlay, event);
        }
        self.batch.events.extend(events);
        let mut answer = Answer::Done;
        for effect in effects {
            match effect {
                Effect::Reply(reply) => answer = reply,
                Effect::DispatchJob { job, attempt } => self.given.push((job, attempt)),
                Effect::CancelJob { job, attempt } => {
                    self.given.retain(|given| *given != (job, attempt));
                    self.done.cancel.push((job, attempt));
                }
                // `next_due` reads the tables, which also know what was due before
                Effect::WakeAt(_) => {}
            }
        }
        Ok(answer)
    }

    fn deploy(&mut self, files: &Prepared, actor: Option<String>) -> Result<Answer, Error> {
        let before = self.models.clone();
        let mut processes = Vec::new();
        for file in &files.files {
            // `prepare` compiled them once, so this cannot fail
            let programs = self.models.add(&file.hash, &file.definitions).unwrap_or_default();
            processes.extend(programs.iter().map(|program| (program.id.clone(), file.hash.clone())));
        }
        let mut ids: Vec<&String> = processes.iter().map(|(id, _)| id).collect();
        ids.sort();
        if let Some(twice) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
            let message = format!("two files define process `{}`: give one another id", twice[0]);
            self.models = before;
            return Err(bpmn::core::Rejection::Conflict { message }.into());
        }
        let answer = self.step(Action::Deploy { processes }, actor);
        match &answer {
            Ok(_) => {
                for file in &files.files {
                    self.batch.definitions.insert(file.hash.clone(), file.source.clone());
                }
            }
            Err(_) => self.models = before,
        }
        answer
    }
}

/// Up to `free` due jobs of a type that no lock keeps back: one an instance in turn, beginning after `after`.
fn choose(view: &dyn StateView, r#type: &str, now_ms: i64, free: usize, after: u64) -> Vec<(u64, JobRow)> {
    let mut by_instance: BTreeMap<u64, VecDeque<(u64, JobRow)>> = BTreeMap::new();
    for key in view.due_jobs(r#type, now_ms, CANDIDATES.max(free)) {
        let Some(row) = view.job(key) else { continue };
        let locked = row.concurrency_key().is_some_and(|key| view.get(&bpmn::core::Key::JobLock(key)).is_some());
        if !locked {
            by_instance.entry(row.instance).or_default().push_back((key, row));
        }
    }
    let mut chosen = Vec::new();
    let mut turn: Vec<u64> = by_instance.range(after.saturating_add(1)..).map(|(key, _)| *key).collect();
    turn.extend(by_instance.range(..=after).map(|(key, _)| *key));
    while chosen.len() < free && !by_instance.is_empty() {
        turn.retain(|instance| by_instance.contains_key(instance));
        for instance in &turn {
            if let Some(waiting) = by_instance.get_mut(instance) {
                chosen.extend(waiting.pop_front().filter(|_| chosen.len() < free));
                if waiting.is_empty() {
                    by_instance.remove(instance);
                }
            }
        }
    }
    chosen
}

fn map(variables: &bpmn::core::Variables) -> Map<String, Value> {
    variables.iter().map(|(name, value)| (name.clone(), value.to_json())).collect()
}

fn json_headers(headers: &BTreeMap<String, HeaderValue>) -> BTreeMap<String, Value> {
    headers
        .iter()
        .map(|(name, value)| {
            let value = match value {
                HeaderValue::Value(value) => value.to_json(),
                HeaderValue::Template(text) => Value::String(text.clone()),
            };
            (name.clone(), value)
        })
        .collect()
}

fn variables(map: &Map<String, Value>) -> bpmn::core::Variables {
    map.iter().map(|(name, value)| (name.clone(), bpmn::core::Value::from_json(value))).collect()
}

/// The command that an outcome is.
fn finish(job: u64, attempt: u32, outcome: &Outcome) -> Action {
    match outcome {
        Outcome::Completed(result) => Action::JobCompleted { job, attempt, result: variables(result) },
        Outcome::Failed { message, retryable, backoff } => Action::JobFailed {
            job,
            attempt,
            message: message.clone(),
            retryable: *retryable,
            backoff_ms: backoff.map(|wait| i64::try_from(wait.as_millis()).unwrap_or(i64::MAX)),
        },
        Outcome::Error { code, message, variables: thrown } => Action::JobError {
            job,
            attempt,
            code: code.clone(),
            message: message.clone(),
            variables: variables(thrown),
        },
        Outcome::Later(at_ms) => Action::JobLater { job, attempt, at_ms: *at_ms },
        Outcome::Unknown { message } => Action::JobUnknown { job, attempt, message: message.clone() },
    }
}
