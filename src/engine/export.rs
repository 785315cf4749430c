//! Spans of runs, steps and attempts, made from events (bpmn.md 15).
//!
//! Duty: the spans of each commit, in event order, handed to a function; the cursor moves after it has taken them.
//! Guarantee: ids and content depend on events alone, so that what is sent again is the same; values of variables are
//! never in them. Left to others: encoding and delivery (the function), and dedup by identity (the store).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bpmn::core::{Body, Cause, Event, StateView};
use futures::future::BoxFuture;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::error::Error;
use super::ids::{self, Part};
use super::store::Logged;
use super::{Engine, Store};

/// Name of the cursor: the last event whose spans are taken.
const CURSOR: &str = "export_cursor";
/// Events read at a time.
const PAGE: usize = 4_096;
/// Open runs whose events need not be read again.
const KEPT_RUNS: usize = 1_024;
/// Waits after a refusal, doubled from the first to the second.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// The kind of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A run.
    Server,
    /// A step.
    Internal,
    /// An attempt that calls another system.
    Client,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A whole number.
    Int(i64),
    /// A list of texts.
    Texts(Vec<String>),
}

/// Something at a moment of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// ns since 1970.
    pub at_ns: i64,
    /// What.
    pub name: &'static str,
    /// Details.
    pub attributes: Vec<(&'static str, Value)>,
}

/// One span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepSpan {
    /// Of the root instance.
    pub trace_id: [u8; 16],
    /// Never all zero.
    pub span_id: [u8; 8],
    /// None for a run.
    pub parent_span_id: Option<[u8; 8]>,
    /// Name of the element, or its id.
    pub name: String,
    /// Its kind.
    pub kind: Kind,
    /// ns since 1970.
    pub start_ns: i64,
    /// ns since 1970.
    pub end_ns: i64,
    /// Text of a status that is an error.
    pub error: Option<String>,
    /// In the order added.
    pub attributes: Vec<(&'static str, Value)>,
    /// In time order.
    pub moments: Vec<Moment>,
    /// (trace id, span id) as lower-case hex.
    pub links: Vec<(String, String)>,
}

/// The spans of one commit: one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of the engine, for the identity: XXH3-128 over it and `first_seq`.
    pub engine_id: [u8; 16],
    /// Number of the commit's first event.
    pub first_seq: u64,
    /// In event order.
    pub spans: Vec<StepSpan>,
}

/// Takes a request; `Ok` = it is durably there.
pub type Deliver = Box<dyn Fn(Request) -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// Sends what is not sent yet, and then each commit, until `stop`. A refusal is tried again for ever.
///
/// Errors: the file cannot be read.
pub async fn run(engine: &Engine, deliver: Deliver, stop: CancellationToken) -> Result<(), Error> {
    let mut commits = engine.subscribe();
    let mut spans = Spans::after(engine.store(), engine.store().cursor(CURSOR)?.unwrap_or(0))?;
    loop {
        while let Some((request, last_seq)) = spans.next_commit()? {
            if request.spans.is_empty() {
                // nothing to send twice: not worth a write
                continue;
            }
            let mut wait = AGAIN.0;
            while let Err(reason) = deliver(request.clone()).await {
                tracing::warn!(reason, "spans of pipeline runs were refused and will be sent again");
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    () = tokio::time::sleep(wait) => wait = (wait * 2).min(AGAIN.1),
                }
            }
            engine.store().set_cursor(CURSOR, last_seq)?;
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            commit = commits.recv() => if matches!(commit, Err(RecvError::Closed)) { return Ok(()) },
        }
    }
}

/// The spans of commits, one after the other. What open runs need is kept, so that each event is read once; of a run
/// that began before, its earlier events are read once more.
pub struct Spans {
    store: Store,
    engine_id: [u8; 16],
    /// Last event that was read.
    read: u64,
    /// Events behind it that are read already.
    page: VecDeque<Logged>,
    runs: BTreeMap<u64, Trace>,
}

impl std::fmt::Debug for Spans {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spans").field("read", &self.read).field("runs", &self.runs.len()).finish_non_exhaustive()
    }
}

impl Spans {
    /// Those of the commits after event `cursor`.
    ///
    /// Errors: the file cannot be read.
    pub fn after(store: &Store, cursor: u64) -> Result<Self, Error> {
        let view = store.view()?;
        let engine_id = (&view as &dyn StateView).meta().engine_id;
        view.failed()?;
        Ok(Self { store: store.clone(), engine_id, read: cursor, page: VecDeque::new(), runs: BTreeMap::new() })
    }

    /// The next commit, and the number of its last event; `None` until there is another.
    ///
    /// Errors: the file cannot be read.
    pub fn next_commit(&mut self) -> Result<Option<(Request, u64)>, Error> {
        let commit = self.commit()?;
        let (Some(first_seq), Some(last_seq)) = (commit.first().map(|e| e.seq), commit.last().map(|e| e.seq)) else {
            return Ok(None);
        };
        let mut spans = Vec::new();
        for event in &commit {
            let Some(run) = event.body.instance() else { continue };
            self.begin(run, first_seq)?;
            let Some(trace) = self.runs.get_mut(&run) else { continue };
            trace.take(event);
            trace.newest = event.seq;
            spans.append(&mut trace.spans);
            let ended = matches!(
                event.body,
                Body::InstanceCompleted { .. } | Body::InstanceFailed { .. } | Body::InstanceCancelled { .. }
            );
            if ended {
                self.runs.remove(&run);
            }
        }
        while self.runs.len() > KEPT_RUNS {
            let idle = self.runs.iter().min_by_key(|(_, trace)| trace.newest).map(|(run, _)| *run);
            self.runs.remove(&idle.expect("there are more than none"));
        }
        Ok(Some((Request { engine_id: self.engine_id, first_seq, spans }, last_seq)))
    }

    /// The events of the next commit; empty if there is none.
    fn commit(&mut self) -> Result<Vec<Event>, Error> {
        let mut commit = Vec::new();
        loop {
            if self.page.is_empty() {
                self.page = self.store.events(self.read + 1, PAGE)?.into();
            }
            match self.page.front() {
                Some(logged) if commit.is_empty() || !logged.first => {}
                // A commit is there whole or not at all: the next one begins, or this was the last.
                _ => return Ok(commit),
            }
            let logged = self.page.pop_front().expect("the front was looked at");
            self.read = logged.event.seq;
            commit.push(logged.event);
        }
    }

    /// Makes sure that what happened in `run` before event `first_seq` is known.
    fn begin(&mut self, run: u64, first_seq: u64) -> Result<(), Error> {
        if self.runs.contains_key(&run) {
            return Ok(());
        }
        let mut trace = Trace {
            engine_id: self.engine_id,
            run,
            row: Run::default(),
            open: BTreeMap::new(),
            spans: Vec::new(),
            newest: first_seq,
        };
        for seq in self.store.events_of(run)?.into_iter().take_while(|seq| *seq < first_seq) {
            for logged in self.store.events(seq, 1)? {
                trace.take(&logged.event);
            }
        }
        trace.spans.clear();
        self.runs.insert(run, trace);
        Ok(())
    }
}

/// What the spans of a run need to know of it.
#[derive(Default)]
struct Run {
    process: String,
    version: u32,
    hash: String,
    started_ms: i64,
    moments: Vec<Moment>,
}

/// An activation that is open.
struct Open {
    id: String,
    name: Option<String>,
    kind: String,
    scope: u64,
    flow: Option<String>,
    started_ms: i64,
    attempts: u32,
    error_code: Option<String>,
    moments: Vec<Moment>,
    job: Option<(u64, String, String)>,
    attempt: Option<(u32, i64)>,
    before: Option<[u8; 8]>,
}

/// One run's events on their way to spans.
struct Trace {
    engine_id: [u8; 16],
    run: u64,
    row: Run,
    open: BTreeMap<u64, Open>,
    /// Of the events taken since they were last fetched.
    spans: Vec<StepSpan>,
    /// Number of the newest event taken.
    newest: u64,
}

fn text(text: impl Into<String>) -> Value {
    Value::Text(text.into())
}

fn int(number: u64) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}

const fn ns(ms: i64) -> i64 {
    ms.saturating_mul(1_000_000)
}

impl Trace {
    fn take(&mut self, event: &Event) {
        let at = event.at_ms;
        match &event.body {
            Body::InstanceCreated { process, version, hash, trigger, .. } => {
                self.row = Run {
                    process: process.clone(),
                    version: *version,
                    hash: hash.clone(),
                    started_ms: at,
                    moments: Vec::new(),
                };
                let mut span = self.span("weavergen.workflow.start".to_owned(), self.run, Part::Start, 0, at, at);
                span.parent_span_id = Some(self.id(self.run, Part::Whole, 0));
                span.attributes = self.workflow("weavergen.workflow.start");
                span.links = trigger.as_ref().map(|trigger| trigger.links.clone()).unwrap_or_default();
                self.spans.push(span);
            }
            Body::InstanceCompleted { .. } => self.end(event, "completed", "success", None),
            Body::InstanceFailed { code, .. } => self.end(event, "failed", "failure", Some(code.clone())),
            Body::InstanceCancelled { .. } => self.end(event, "cancelled", "cancellation", None),
            Body::ElementActivated { element, scope, id, name, kind, flow, .. } => {
                let open = Open {
                    id: id.clone(),
                    name: name.clone(),
                    kind: kind.clone(),
                    scope: *scope,
                    flow: flow.clone(),
                    started_ms: at,
                    attempts: 0,
                    error_code: None,
                    moments: Vec::new(),
                    job: None,
                    attempt: None,
                    before: None,
                };
                self.open.insert(*element, open);
            }
            Body::ElementCompleted { element, .. } => self.step(event, *element, "success", None),
            Body::ElementTerminated { element, cause, .. } => {
                let (result, by) = match cause {
                    Cause::Boundary { id, timer: true } => ("timeout", Some(id)),
                    Cause::Boundary { id, timer: false } => ("failure", Some(id)),
                    Cause::Error => ("skip", None),
                    Cause::Cancel => ("cancellation", None),
                };
                self.step(event, *element, result, by);
            }
            Body::VariableSet { scope, name, .. } => self.moment(*scope, at, "variable", vec![("name", text(name))]),
            Body::JobCreated { job, element, r#type, input, .. } => {
                if let Some(open) = self.open.get_mut(element) {
                    open.job = Some((*job, r#type.clone(), input.effect_key.clone()));
                }
            }
            Body::JobRetryScheduled { element, input, due_ms, .. } => {
                if let (Some(input), Some(open)) = (input, self.open.get_mut(element))
                    && let Some(job) = &mut open.job
                {
                    job.2.clone_from(&input.effect_key);
                }
                self.moment(*element, at, "retry", vec![("due_ms", Value::Int(*due_ms))]);
            }
            Body::JobActivated { element, attempt, .. } => {
                if let Some(open) = self.open.get_mut(element) {
                    open.attempts += 1;
                    open.attempt = Some((*attempt, at));
                }
            }
            Body::JobCompleted { element, .. } => self.attempt(event, *element, "success", None),
            Body::JobFailed { element, message, .. } => self.attempt(event, *element, "error", Some(message)),
            Body::JobUnknown { element, message, .. } => self.attempt(event, *element, "error", Some(message)),
            Body::JobCancelled { element, was_active: true, .. } => {
                self.attempt(event, *element, "cancellation", None);
            }
            Body::ErrorThrown { element, job, code, message, .. } => {
                if let Some(open) = self.open.get_mut(element) {
                    open.error_code = Some(code.clone().unwrap_or_default());
                }
                if job.is_some() {
                    self.attempt(event, *element, "failure", Some(message));
                }
                let code = text(code.clone().unwrap_or_default());
                self.moment(*element, at, "error", vec![("bpmn.error.code", code)]);
            }
            Body::TimerFired { element, lateness_ms, .. } => {
                self.moment(*element, at, "timer", vec![("bpmn.timer.lateness_ms", Value::Int(*lateness_ms))]);
            }
            Body::IncidentRaised { element, kind, .. } => {
                self.moment(*element, at, "incident", vec![("bpmn.incident.kind", text(kind.as_str()))]);
            }
            _ => {}
        }
    }

    fn id(&self, key: u64, part: Part, attempt: u64) -> [u8; 8] {
        ids::span_id(&self.engine_id, key, part, attempt)
    }

    fn span(&self, name: String, key: u64, part: Part, attempt: u64, start_ms: i64, end_ms: i64) -> StepSpan {
        StepSpan {
            trace_id: ids::trace_id(&self.engine_id, self.run),
            span_id: self.id(key, part, attempt),
            parent_span_id: None,
            name,
            kind: Kind::Internal,
            start_ns: ns(start_ms),
            end_ns: ns(end_ms),
            error: None,
            attributes: Vec::new(),
            moments: Vec::new(),
            links: Vec::new(),
        }
    }

    /// On the activation, or on the run.
    fn moment(&mut self, owner: u64, at_ms: i64, name: &'static str, attributes: Vec<(&'static str, Value)>) {
        let moment = Moment { at_ns: ns(at_ms), name, attributes };
        match self.open.get_mut(&owner) {
            Some(open) => open.moments.push(moment),
            None if owner == self.run => self.row.moments.push(moment),
            None => {}
        }
    }

    fn workflow(&self, r#type: &str) -> Vec<(&'static str, Value)> {
        vec![
            ("otel.span.type", text(r#type)),
            ("weavergen.workflow.name", text(&self.row.process)),
            ("weavergen.workflow.run.id", text(self.run.to_string())),
            ("bpmn.process.id", text(&self.row.process)),
            ("bpmn.process.version", int(u64::from(self.row.version))),
            ("bpmn.process.hash", text(&self.row.hash)),
            ("bpmn.instance.key", int(self.run)),
        ]
    }

    fn end(&mut self, event: &Event, outcome: &str, result: &str, code: Option<Option<String>>) {
        let name = format!("RUN {}", self.row.process);
        let mut span = self.span(name, self.run, Part::Whole, 0, self.row.started_ms, event.at_ms);
        span.kind = Kind::Server;
        span.attributes = self.workflow("weavergen.workflow.run");
        span.attributes.extend([
            ("weavergen.workflow.outcome", text(outcome)),
            ("cicd.pipeline.name", text(&self.row.process)),
            ("cicd.pipeline.run.id", text(self.run.to_string())),
            ("cicd.pipeline.action.name", text("RUN")),
            ("cicd.pipeline.result", text(result)),
        ]);
        if let Some(code) = code {
            let code = code.unwrap_or_default();
            span.error = Some(format!("error `{code}`"));
            span.attributes.extend([("error.type", text(&code)), ("bpmn.error.code", text(code))]);
        }
        span.attributes.extend(event.actor.as_ref().map(|actor| ("bpmn.actor", text(actor))));
        span.moments = std::mem::take(&mut self.row.moments);
        self.spans.push(span);
    }

    fn step(&mut self, event: &Event, element: u64, result: &str, cause: Option<&String>) {
        let Some(open) = self.open.remove(&element) else { return };
        let name = open.name.clone().unwrap_or_else(|| open.id.clone());
        let mut span = self.span(name.clone(), element, Part::Whole, 0, open.started_ms, event.at_ms);
        span.parent_span_id = Some(self.id(open.scope, Part::Whole, 0));
        span.attributes = self.workflow("weavergen.workflow.step");
        span.attributes.extend([
            ("weavergen.workflow.step.name", text(&name)),
            ("bpmn.element.id", text(&open.id)),
            ("bpmn.element.type", text(&open.kind)),
            ("bpmn.element.key", int(element)),
            ("bpmn.scope.key", int(open.scope)),
        ]);
        span.attributes.extend(open.flow.map(|flow| ("bpmn.flow.ids", Value::Texts(vec![flow]))));
        if open.job.is_some() {
            span.attributes.extend([
                ("cicd.pipeline.task.name", text(&name)),
                ("cicd.pipeline.task.run.id", text(element.to_string())),
                ("cicd.pipeline.task.run.result", text(result)),
                ("bpmn.attempt", int(u64::from(open.attempts))),
            ]);
        }
        span.attributes.extend(cause.map(|cause| ("bpmn.cause", text(cause))));
        if matches!(result, "failure" | "error" | "timeout") {
            let code = open.error_code.unwrap_or_else(|| result.to_owned());
            span.attributes.push(("error.type", text(&code)));
            span.error = Some(code);
        }
        span.moments = open.moments;
        self.spans.push(span);
    }

    fn attempt(&mut self, event: &Event, element: u64, result: &str, message: Option<&String>) {
        let Some(open) = self.open.get_mut(&element) else { return };
        let (Some((attempt, since)), Some((job, r#type, effect_key))) = (open.attempt.take(), open.job.clone()) else {
            return;
        };
        let (name, id, before) = (open.name.clone().unwrap_or_else(|| open.id.clone()), open.id.clone(), open.before);
        let number = ids::attempt_number(job, attempt);
        let mut span = self.span(name, element, Part::Attempt, number, since, event.at_ms);
        span.parent_span_id = Some(self.id(element, Part::Whole, 0));
        span.kind = if matches!(r#type.as_str(), "http" | "sql" | "llm") { Kind::Client } else { Kind::Internal };
        let decides = matches!(r#type.as_str(), "llm" | "vote");
        span.attributes = self.workflow(if decides { "weavergen.ai.decision" } else { "weavergen.workflow.step" });
        if decides {
            span.attributes
                .extend([("weavergen.decision.id", text(&effect_key)), ("weavergen.decision.kind", text(&id))]);
        }
        span.attributes.extend([
            ("bpmn.element.id", text(id)),
            ("bpmn.element.key", int(element)),
            ("bpmn.attempt", int(u64::from(attempt))),
            ("bpmn.effect.key", text(effect_key)),
            ("cicd.pipeline.task.run.result", text(result)),
        ]);
        if matches!(result, "failure" | "error") {
            span.error = message.cloned();
            span.attributes.push(("error.type", text(result)));
        }
        let hex = bpmn::core::hash::hex;
        span.links.extend(before.map(|before| (hex(&span.trace_id), hex(&before))));
        if let Some(open) = self.open.get_mut(&element) {
            open.before = Some(span.span_id);
        }
        self.spans.push(span);
    }
}
