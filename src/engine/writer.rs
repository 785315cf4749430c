//! The one writer: a batch of commands becomes one commit.
//!
//! Duty: step commands in order on an overlay, fill free workers in the same commit, keep answers by request id.
//! Guarantee: nothing leaves a batch before its commit; a batch that fails changes nothing here, and what of it is in the
//! file all the same is found by `reopen`. Left to others: queue and threads (`Engine`), running jobs (`pool`).

mod fill;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bpmn::core::{
    Action, Answer, Command, Effect, Event, HeaderValue, Models, Overlay, StateView, apply_to, step, timeout_ms,
};
use bpmn::lint::Registry;
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
/// A wall clock may be this much behind before it is said, in ms.
const BEHIND_MS: i64 = 1_000;
/// Headers that the engine reads itself.
const OWN_HEADERS: [&str; 4] = ["timeout", "retryBackoff", "onUnknown", "concurrencyKey"];

/// One thing to do.
#[derive(Clone, Debug)]
pub(super) enum Work {
    /// A command.
    Act { action: Action, actor: Option<String> },
    /// Files to put in force.
    Deploy { files: Prepared, actor: Option<String> },
    /// This came of an attempt; `is_over`: its worker is free again.
    Finished { job: u64, attempt: u32, outcome: Outcome, is_over: bool },
    /// A worker is free again whose attempt had an outcome before.
    Over { job: u64, attempt: u32 },
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
    /// When to tick next.
    pub due: Due,
}

/// When to tick next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Due {
    /// ms since 1970.
    pub at_ms: Option<i64>,
    /// The engine's own time, which a wall clock that was set back does not take along (bpmn.md 4).
    pub now_ms: i64,
}

pub(super) struct Writer {
    pub store: Store,
    pub models: Models,
    jobs: Jobs,
    /// Job types that somebody else works; none = any that we do not.
    external: Option<BTreeSet<String>>,
    /// The attempts that a worker has, also those that the state has given up.
    running: BTreeMap<(u64, u32), Running>,
    /// Type → the instance served last.
    served: BTreeMap<String, u64>,
    /// What is known of jobs that wait in the file; what is missing is looked up there.
    waiting: BTreeMap<u64, fill::Waiting>,
    /// The newest event that was given away.
    told: u64,
    is_behind: bool,
}

/// An attempt that a worker has.
struct Running {
    r#type: String,
    concurrency_key: Option<String>,
}

impl Writer {
    /// A writer on a store; its definitions are compiled.
    pub fn open(store: Store, jobs: Jobs, registry: &Registry) -> Result<Self, Error> {
        let view = store.view()?;
        let told = (&view as &dyn StateView).meta().last_seq;
        view.failed()?;
        let external = (!registry.jobs.is_empty()).then(|| registry.external.iter().cloned().collect());
        let (running, served, waiting) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { models: models(&store)?, store, jobs, external, running, served, waiting, told, is_behind: false })
    }

    /// Opens the file again after a commit that failed. That commit may be there all the same: what it gave out that no
    /// worker got is unknown, what it withdrew is cancelled, and its events are told.
    pub fn reopen(&mut self, now_ms: i64) -> Result<Done, Error> {
        self.store.reopen()?;
        self.models = models(&self.store)?;
        let view = self.store.view()?;
        let state: &dyn StateView = &view;
        let active = state.active_jobs();
        view.failed()?;
        let cancel: Vec<_> = self.running.keys().filter(|attempt| !active.contains(attempt)).copied().collect();
        let lost = active.iter().filter(|attempt| !self.running.contains_key(attempt)).map(|(job, attempt)| {
            let message = "the commit that gave it out failed, and no worker got it".to_owned();
            let action = Action::JobUnknown { job: *job, attempt: *attempt, message };
            Item { work: Work::Act { action, actor: None }, request_id: None }
        });
        let lost: Vec<_> = lost.collect();
        let untold = self.store.events(self.told.saturating_add(1), usize::MAX)?;
        let mut done = self.batch(&lost, now_ms)?;
        done.cancel.extend(cancel);
        done.replies.clear();
        done.events = untold.into_iter().map(|logged| logged.event).chain(done.events).collect();
        Ok(done)
    }

    /// Does all items in order in one commit.
    pub fn batch(&mut self, items: &[Item], now_ms: i64) -> Result<Done, Error> {
        let view = self.store.view()?;
        let now_ms = self.own_time((&view as &dyn StateView).meta().last_now, now_ms);
        let mut work = Open {
            overlay: Overlay::new(&view),
            models: self.models.clone(),
            batch: Batch { forget_before_ms: now_ms.saturating_sub(KEPT_MS), ..Batch::default() },
            done: Done::default(),
            given: Vec::new(),
            // a batch that fails gives none of it back: it may be of jobs that are not there
            waiting: std::mem::take(&mut self.waiting),
            now_ms,
        };
        let mut over = BTreeSet::new();
        for item in items {
            if let Work::Finished { job, attempt, is_over: true, .. } | Work::Over { job, attempt } = &item.work {
                over.insert((*job, *attempt));
            }
            let reply = self.one(&mut work, item)?;
            work.done.replies.push(reply);
        }
        let served = self.fill(&mut work, &over);
        history::fold(&self.store, &mut work.batch)?;
        let given = work.given.iter().map(|(job, attempt)| self.job(&work, *job, *attempt));
        let given = given.collect::<Option<Vec<_>>>();
        let Open { overlay, models, mut batch, mut done, mut waiting, .. } = work;
        fill::forget(&mut waiting, &batch.events);
        let state: &dyn StateView = &overlay;
        done.due = Due { at_ms: state.next_due(now_ms), now_ms };
        let told = state.meta().last_seq;
        batch.rows = overlay.into_changes();
        view.failed()?;
        // each was given out in this batch, so its rows and its program are there
        let given = given.ok_or_else(|| Error::Damaged("a job that was given out is not there".to_owned()))?;
        if !batch.events.is_empty() || !batch.requests.is_empty() || !batch.definitions.is_empty() {
            self.store.commit(&batch)?;
        }
        self.models = models;
        self.waiting = waiting;
        self.served.extend(served);
        self.told = told;
        self.running.retain(|attempt, _| !over.contains(attempt));
        for (job, concurrency_key) in given {
            self.running.insert((job.key, job.attempt), Running { r#type: job.r#type.clone(), concurrency_key });
            done.dispatch.push(job);
        }
        done.events = batch.events;
        Ok(done)
    }

    /// The later of the wall clock and the time of the newest event.
    fn own_time(&mut self, last_ms: i64, wall_ms: i64) -> i64 {
        let behind_ms = last_ms.saturating_sub(wall_ms);
        let is_behind = behind_ms > BEHIND_MS;
        if is_behind && !self.is_behind {
            tracing::warn!(behind_ms, "the wall clock was set back: no timer moves until it has caught up");
        }
        self.is_behind = is_behind;
        wall_ms.max(last_ms)
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
            Work::Finished { job, attempt, outcome, .. } => work.step(finish(*job, *attempt, outcome), None),
            Work::Over { .. } => Ok(Answer::Done),
        };
        if let (Some(id), Ok(answer)) = (&item.request_id, &answer) {
            work.batch.requests.insert(id.clone(), (work.now_ms, answer.clone()));
        }
        Ok(answer)
    }

    /// The attempt for its handler, and the concurrency key that it holds.
    fn job(&self, work: &Open<'_>, key: u64, attempt: u32) -> Option<(Job, Option<String>)> {
        let view: &dyn StateView = &work.overlay;
        let row = view.job(key)?;
        let instance = view.instance(row.instance)?;
        let element = view.element(row.element)?;
        // those of this batch: the program may have been deployed in it
        let program = work.models.program(&instance.hash, &instance.process)?;
        let run = match work.batch.runs.get(&row.instance) {
            Some(run) => Some(run.clone()),
            None => self.store.run(row.instance).ok().flatten(),
        };
        let engine_id = view.meta().engine_id;
        let mut headers = json_headers(&row.input.headers);
        headers.retain(|name, value| !OWN_HEADERS.contains(&name.as_str()) && !value.is_null());
        let job = Job {
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
        };
        Some((job, row.concurrency_key()))
    }
}

/// The programs of all deployed files. One that this version cannot run keeps nothing else from working: a run of it is
/// under an incident as soon as it moves.
fn models(store: &Store) -> Result<Models, Error> {
    let mut models = Models::default();
    for (hash, source) in store.definitions()? {
        let why = match bpmn::model::parse(&source.bytes) {
            Ok(definitions) => match models.add(&hash, &definitions) {
                Ok(_) => continue,
                Err(errors) => errors.first().map(ToString::to_string),
            },
            Err(findings) => findings.first().map(ToString::to_string),
        };
        let why = why.unwrap_or_default();
        tracing::error!(hash, why, "a deployed file cannot be run by this version: correct it and deploy it anew");
    }
    Ok(models)
}

/// A batch that is not committed.
struct Open<'a> {
    overlay: Overlay<'a>,
    models: Models,
    batch: Batch,
    done: Done,
    given: Vec<(u64, u32)>,
    waiting: BTreeMap<u64, fill::Waiting>,
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
