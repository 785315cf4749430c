//! The events of one run on their way to spans (bpmn.md 15).
//!
//! Duty: what each span says. Guarantee: a function of the run's events, of the file it runs, and of the address where
//! people find this daemon; values of variables are never in it. Left to others: reading events, delivery (`export`).

use std::collections::BTreeMap;
use std::sync::Arc;

use bpmn::core::{Body, Cause, Event, Requeue, Trigger};

use super::attributes::{Attribute, in_address, instant, int, of_file, of_result, text};
use super::drawn::Drawn;
use super::{Kind, Moment, StepSpan, Value};
use crate::engine::ids::{self, Part};

/// What the spans of a run need to know of it.
#[derive(Default)]
struct Run {
    process: String,
    version: u32,
    hash: String,
    started_ms: i64,
    depth: u32,
    /// The episode of a gate that started it.
    gate: Vec<Attribute>,
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
    /// Of the event that set it off.
    cause: Vec<Attribute>,
    moments: Vec<Moment>,
    job: Option<(u64, String, String)>,
    attempt: Option<(u32, i64)>,
    before: Option<[u8; 8]>,
}

/// One run's events on their way to spans.
pub(super) struct Trace {
    engine_id: [u8; 16],
    run: u64,
    external_url: Arc<str>,
    /// Its file.
    pub(super) drawn: Arc<Drawn>,
    row: Run,
    open: BTreeMap<u64, Open>,
    /// What is known of the event that is activated next: its message, its timer, its error.
    cause: Vec<Attribute>,
    /// Those of the commit so far.
    pub(super) spans: Vec<StepSpan>,
    /// Number of the newest event taken.
    pub(super) newest: u64,
}

/// What leads from a run to the verdicts that started it: `gate_transitions` and `gate_episodes` have the same names.
fn of_gate(trigger: &Trigger) -> Vec<Attribute> {
    vec![
        ("weavergen.gate.name", text(&trigger.gate)),
        ("weavergen.gate.key", text(&trigger.key)),
        ("weavergen.gate.episode", int(trigger.episode)),
    ]
}

const fn ns(ms: i64) -> i64 {
    ms.saturating_mul(1_000_000)
}

impl Trace {
    /// A run of which nothing is known yet; its addresses lie below `external_url`.
    pub(super) fn new(engine_id: [u8; 16], run: u64, external_url: Arc<str>) -> Self {
        Self {
            engine_id,
            run,
            external_url,
            drawn: Arc::default(),
            row: Run::default(),
            open: BTreeMap::new(),
            cause: Vec::new(),
            spans: Vec::new(),
            newest: 0,
        }
    }

    /// Takes the run's next event.
    pub(super) fn take(&mut self, event: &Event) {
        let at = event.at_ms;
        match &event.body {
            Body::InstanceCreated { process, version, hash, trigger, depth, .. } => {
                self.row = Run {
                    process: process.clone(),
                    version: *version,
                    hash: hash.clone(),
                    started_ms: at,
                    depth: depth.saturating_add(1),
                    gate: trigger.as_ref().map(of_gate).unwrap_or_default(),
                    moments: Vec::new(),
                };
                let mut span = self.span("weavergen.workflow.start".to_owned(), self.run, Part::Start, 0, at, at);
                span.parent_span_id = Some(self.id(self.run, Part::Whole, 0));
                span.attributes = self.workflow(Some("weavergen.workflow.start"));
                span.attributes.extend(self.row.gate.iter().cloned());
                span.attributes.extend(event.actor.as_ref().map(|actor| ("bpmn.actor", text(actor))));
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
                    cause: std::mem::take(&mut self.cause),
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
            Body::FlowTaken { element, flow, .. } => self.left(*element, at, flow),
            Body::MessageCorrelated { name, key, .. } => {
                self.cause = vec![("bpmn.message.name", text(name)), ("bpmn.correlation.key", text(key))];
            }
            Body::VariableSet { scope, name, .. } => self.moment(*scope, at, "variable", vec![("name", text(name))]),
            Body::JobCreated { job, element, r#type, input, .. } => {
                if let Some(open) = self.open.get_mut(element) {
                    open.job = Some((*job, r#type.clone(), input.effect_key.clone()));
                }
            }
            // goes on with the same attempt: no retry, and one who waits for hours asks many times
            Body::JobRetryScheduled { why: Requeue::Later, .. } => {}
            Body::JobRetryScheduled { element, input, due_ms, .. } => {
                if let (Some(input), Some(open)) = (input, self.open.get_mut(element))
                    && let Some(job) = &mut open.job
                {
                    job.2.clone_from(&input.effect_key);
                }
                let by = event.actor.as_ref().map(|actor| ("bpmn.actor", text(actor)));
                let due = ("due_ms", Value::Int(*due_ms));
                self.moment(*element, at, "retry", std::iter::once(due).chain(by).collect());
            }
            Body::JobActivated { element, attempt, .. } => {
                if let Some(open) = self.open.get_mut(element) {
                    open.attempts = open.attempts.max(*attempt);
                    // one that went on has the start that it had
                    if open.attempt.is_none_or(|(before, _)| before != *attempt) {
                        open.attempt = Some((*attempt, at));
                    }
                }
            }
            Body::JobCompleted { element, r#type, result, .. } => {
                self.attempt(event, *element, "success", None, of_result(r#type, result));
            }
            Body::JobFailed { element, message, .. } | Body::JobUnknown { element, message, .. } => {
                self.attempt(event, *element, "error", Some(message), Vec::new());
            }
            Body::JobCancelled { element, was_active: true, .. } => {
                self.attempt(event, *element, "cancellation", None, Vec::new());
            }
            Body::ErrorThrown { element, job, code, message, .. } => {
                if let Some(open) = self.open.get_mut(element) {
                    open.error_code = Some(code.clone().unwrap_or_default());
                }
                if job.is_some() {
                    self.attempt(event, *element, "failure", Some(message), Vec::new());
                }
                let code = text(code.clone().unwrap_or_default());
                self.moment(*element, at, "error", vec![("bpmn.error.code", code)]);
            }
            Body::ErrorCaught { code, .. } => {
                self.cause = vec![("bpmn.error.code", text(code.clone().unwrap_or_default()))];
            }
            Body::TimerFired { element, due_ms, lateness_ms, .. } => {
                let timer =
                    vec![("bpmn.timer.due", instant(*due_ms)), ("bpmn.timer.lateness_ms", Value::Int(*lateness_ms))];
                self.cause.clone_from(&timer);
                self.moment(*element, at, "timer", timer);
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
    fn moment(&mut self, owner: u64, at_ms: i64, name: &'static str, attributes: Vec<Attribute>) {
        let moment = Moment { at_ns: ns(at_ms), name, attributes };
        match self.open.get_mut(&owner) {
            Some(open) => open.moments.push(moment),
            None if owner == self.run => self.row.moments.push(moment),
            None => {}
        }
    }

    /// The span of a step that has just been left gets where its token went.
    fn left(&mut self, element: u64, at_ms: i64, flow: &str) {
        let id = self.id(element, Part::Whole, 0);
        if let Some(span) = self.spans.iter_mut().rev().find(|span| span.span_id == id) {
            let attributes = vec![("bpmn.flow.ids", Value::Texts(vec![flow.to_owned()]))];
            span.moments.push(Moment { at_ns: ns(at_ms), name: "token", attributes });
        }
    }

    /// The page of the run, or of one of its elements.
    fn address(&self, element: Option<&str>) -> Value {
        let part = element.map(|id| format!("#{}", in_address(id))).unwrap_or_default();
        text(format!("{}/runs/{}{part}", self.external_url, self.run))
    }

    /// What every span of the run has; `r#type` is that of a run, a task or a decision.
    fn workflow(&self, r#type: Option<&str>) -> Vec<Attribute> {
        let typed = r#type.map(|of| ("otel.span.type", text(of)));
        let all = [
            ("weavergen.workflow.name", text(&self.row.process)),
            ("weavergen.workflow.run.id", text(self.run.to_string())),
            ("bpmn.process.id", text(&self.row.process)),
            ("bpmn.process.version", int(u64::from(self.row.version))),
            ("bpmn.process.hash", text(&self.row.hash)),
            ("bpmn.instance.key", int(self.run)),
            ("weavergen.depth", int(u64::from(self.row.depth))),
        ];
        typed.into_iter().chain(all).collect()
    }

    fn end(&mut self, event: &Event, outcome: &str, result: &str, code: Option<Option<String>>) {
        let name = format!("RUN {}", self.row.process);
        let mut span = self.span(name, self.run, Part::Whole, 0, self.row.started_ms, event.at_ms);
        span.kind = Kind::Server;
        span.attributes = self.workflow(Some("weavergen.workflow.run"));
        span.attributes.extend([
            ("weavergen.workflow.outcome", text(outcome)),
            ("cicd.pipeline.name", text(&self.row.process)),
            ("cicd.pipeline.run.id", text(self.run.to_string())),
            ("cicd.pipeline.run.url.full", self.address(None)),
            ("cicd.pipeline.action.name", text("RUN")),
            ("cicd.pipeline.result", text(result)),
        ]);
        span.attributes.extend(self.row.gate.iter().cloned());
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
        let is_task = open.job.is_some() || open.kind.ends_with("Task");
        span.attributes = self.workflow(is_task.then_some("weavergen.workflow.step"));
        span.attributes.extend(is_task.then(|| ("weavergen.workflow.step.name", text(&name))));
        span.attributes.extend([
            ("bpmn.element.id", text(&open.id)),
            ("bpmn.element.type", text(&open.kind)),
            ("bpmn.element.key", int(element)),
            ("bpmn.scope.key", int(open.scope)),
        ]);
        span.attributes.extend(open.flow.map(|flow| ("bpmn.flow.ids", Value::Texts(vec![flow]))));
        span.attributes.extend(open.cause);
        if is_task {
            span.attributes.extend([
                ("cicd.pipeline.task.name", text(&name)),
                ("cicd.pipeline.task.run.id", text(element.to_string())),
                ("cicd.pipeline.task.run.result", text(result)),
                ("cicd.pipeline.task.run.url.full", self.address(Some(&open.id))),
                ("bpmn.attempt", int(u64::from(open.attempts))),
            ]);
            let task = self.drawn.task(&self.row.process, &open.id);
            let of_type = task.and_then(|task| task.r#type.as_ref());
            span.attributes.extend(of_type.map(|of| ("cicd.pipeline.task.type", text(of))));
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

    fn attempt(&mut self, event: &Event, element: u64, result: &str, message: Option<&String>, given: Vec<Attribute>) {
        let Some(open) = self.open.get_mut(&element) else { return };
        let (Some((attempt, since)), Some((job, r#type, effect_key))) = (open.attempt.take(), open.job.clone()) else {
            return;
        };
        let (name, id, before) = (open.name.clone().unwrap_or_else(|| open.id.clone()), open.id.clone(), open.before);
        let kind = open.kind.clone();
        let number = ids::attempt_number(job, attempt);
        let mut span = self.span(name, element, Part::Attempt, number, since, event.at_ms);
        span.parent_span_id = Some(self.id(element, Part::Whole, 0));
        span.kind = if matches!(r#type.as_str(), "http" | "sql" | "llm") { Kind::Client } else { Kind::Internal };
        let decides = matches!(r#type.as_str(), "llm" | "vote");
        span.attributes = self.workflow(decides.then_some("weavergen.ai.decision"));
        if decides {
            span.attributes
                .extend([("weavergen.decision.id", text(&effect_key)), ("weavergen.decision.kind", text(&id))]);
        }
        span.attributes.extend(of_file(&r#type, self.drawn.task(&self.row.process, &id)));
        span.attributes.extend(given);
        span.attributes.extend([
            ("bpmn.element.id", text(id)),
            ("bpmn.element.type", text(kind)),
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

#[cfg(test)]
mod tests;
