//! A writer under test, driven without threads: stimuli, and workers that answer by themselves.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpmn::core::{Action, Answer, Event, OnUnknown, StateView, Value, invariants};
use serde_json::Map;

use super::super::deploy::{SourceFile, prepare};
use super::super::error::Error;
use super::super::job::{Job, Outcome};
use super::super::pool::Jobs;
use super::super::store::Store;
use super::super::writer::{Done, Item, Work, Writer};

/// 2025-01-01T00:00:00Z.
pub const START_MS: i64 = 1_735_689_600_000;

/// Jobs whose handlers are never called: tests answer for them.
pub fn jobs() -> Jobs {
    Jobs {
        run: Arc::new(|job, _| Box::pin(async move { answer(&job) })),
        render: Arc::new(|text, variables| match variables.get("x") {
            Some(x) => Ok(text.replace("{{ x }}", &x.to_string())),
            None => Err("x is undefined".to_owned()),
        }),
        on_unknown: Arc::new(|_, _| OnUnknown::Retry),
        limits: BTreeMap::from([("work".to_owned(), 2), ("gate".to_owned(), 1)]),
    }
}

/// What the test's worker says: depends on job and attempt alone.
pub fn answer(job: &Job) -> Outcome {
    match (job.element.as_str(), job.attempt) {
        ("fail_once", 1) => Outcome::Failed { message: "first".to_owned(), retryable: true, backoff: None },
        ("throws", _) => Outcome::Error { code: "E1".to_owned(), message: "thrown".to_owned(), variables: Map::new() },
        _ => Outcome::Completed(Map::from_iter([("n".to_owned(), serde_json::json!(job.element.len()))])),
    }
}

/// A process of every built element, as XML.
pub fn file(process: &str, body: &str) -> SourceFile {
    let text = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL" xmlns:zeebe="http://camunda.org/schema/zeebe/1.0" targetNamespace="t">
<error id="e1" errorCode="E1"/><message id="m1" name="go"/>
<process id="{process}" isExecutable="true">{body}</process></definitions>"#
    );
    SourceFile { name: format!("{process}.bpmn"), bytes: text.into_bytes() }
}

pub fn task(id: &str, r#type: &str, more: &str) -> String {
    format!(
        r#"<serviceTask id="{id}"><extensionElements><zeebe:taskDefinition type="{type}"/>{more}</extensionElements></serviceTask>"#
    )
}

pub fn flow(id: usize, from: &str, to: &str, condition: &str) -> String {
    let inner = if condition.is_empty() {
        String::new()
    } else {
        format!("<conditionExpression>={condition}</conditionExpression>")
    };
    format!(r#"<sequenceFlow id="f{id}" sourceRef="{from}" targetRef="{to}">{inner}</sequenceFlow>"#)
}

/// Start, a task `a` with `more` in it, end.
pub fn line(process: &str, r#type: &str, more: &str) -> SourceFile {
    let body = [
        r#"<startEvent id="start"/><endEvent id="end"/>"#.to_owned(),
        task("a", r#type, more),
        flow(1, "start", "a", ""),
        flow(2, "a", "end", ""),
    ];
    file(process, &body.concat())
}

/// The same of type `work`, with a timer of 30 s on it.
pub fn timed(process: &str, more: &str) -> SourceFile {
    let timer = r#"<boundaryEvent id="late" attachedToRef="a"><timerEventDefinition><timeDuration>PT30S</timeDuration></timerEventDefinition></boundaryEvent>"#;
    let body = [
        r#"<startEvent id="start"/><endEvent id="end"/>"#.to_owned(),
        task("a", "work", more),
        timer.to_owned(),
        flow(1, "start", "a", ""),
        flow(2, "a", "end", ""),
        flow(3, "late", "end", ""),
    ];
    file(process, &body.concat())
}

/// Start, a retried task with a template, a gateway, a task that throws into a boundary event, a timer, an end.
pub fn everything() -> SourceFile {
    let header = r#"<zeebe:taskHeaders><zeebe:header key="text" value="x is {{ x }}"/></zeebe:taskHeaders>"#;
    let boundary = r#"<boundaryEvent id="caught" attachedToRef="throws"><errorEventDefinition errorRef="e1"/></boundaryEvent>
        <boundaryEvent id="late" attachedToRef="hangs"><timerEventDefinition><timeDuration>PT30S</timeDuration></timerEventDefinition></boundaryEvent>"#;
    let body = [
        r#"<startEvent id="start"/><startEvent id="on_go"><messageEventDefinition messageRef="m1"/></startEvent>"#
            .to_owned(),
        task("fail_once", "work", header),
        r#"<exclusiveGateway id="gw" default="f4"/>"#.to_owned(),
        task("throws", "work", ""),
        task("hangs", "gate", ""),
        task("after", "work", ""),
        r#"<endEvent id="end"/>"#.to_owned(),
        boundary.to_owned(),
        flow(1, "start", "fail_once", ""),
        flow(2, "on_go", "fail_once", ""),
        flow(3, "fail_once", "gw", ""),
        flow(4, "gw", "hangs", ""),
        flow(5, "gw", "throws", "n &gt; 5"),
        flow(6, "caught", "hangs", ""),
        flow(7, "late", "after", ""),
        flow(8, "after", "end", ""),
        flow(9, "throws", "end", ""),
        flow(10, "hangs", "end", ""),
    ]
    .concat();
    file("everything", &body)
}

/// A stimulus, the request id that it is repeated under, and when it happens.
pub fn stimuli() -> Vec<(String, i64, Step)> {
    let start = |x: i64| {
        Step::Act(Action::Start {
            process: "everything".to_owned(),
            version: None,
            start: Some("start".to_owned()),
            variables: BTreeMap::from([("x".to_owned(), Value::from(x))]),
        })
    };
    let message = Step::Act(Action::PublishMessage {
        name: "go".to_owned(),
        key: "k".to_owned(),
        message_id: Some("k#1".to_owned()),
        variables: BTreeMap::from([("x".to_owned(), Value::from(7_i64))]),
        only: None,
        trigger: None,
        depth: 1,
    });
    let mut steps = vec![
        (0, Step::Deploy),
        (0, start(1)),
        (0, Step::Work),
        (1_000, start(2)),
        (1_000, message),
        (1_000, Step::Work),
    ];
    for at in [5_000, 10_000, 70_000, 140_000, 210_000, 280_000, 350_000] {
        steps.extend([(at, Step::Tick), (at, Step::Work), (at, Step::Work)]);
    }
    steps.into_iter().enumerate().map(|(at, (ms, step))| (format!("r{at}"), START_MS + ms, step)).collect()
}

/// One stimulus.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant, reason = "a few dozen live at a time")]
pub enum Step {
    Deploy,
    Act(Action),
    /// Workers answer everything they have, but for `hangs`.
    Work,
    Tick,
}

/// A life of the engine.
pub struct Life {
    pub writer: Writer,
    /// Attempts that workers have.
    pub working: Vec<Job>,
    /// Every (effect key, headers, variables) that ever left.
    pub inputs: Vec<(String, String)>,
    pub now_ms: i64,
}

impl Life {
    /// Opens, boots.
    pub fn open(store: Store, now_ms: i64) -> Result<Self, Error> {
        let writer = Writer::open(store, jobs(), &Default::default())?;
        let mut life = Self { writer, working: Vec::new(), inputs: Vec::new(), now_ms };
        life.batch(&[act(Action::Boot { engine_id: [3; 16] }, None)])?;
        Ok(life)
    }

    pub fn batch(&mut self, items: &[Item]) -> Result<Vec<Result<Answer, Error>>, Error> {
        let done = self.writer.batch(items, self.now_ms)?;
        Ok(self.take(done))
    }

    /// Opens the file again after a commit that failed.
    pub fn reopen(&mut self) -> Result<(), Error> {
        let done = self.writer.reopen(self.now_ms)?;
        self.take(done);
        Ok(())
    }

    fn take(&mut self, done: Done) -> Vec<Result<Answer, Error>> {
        let Done { replies, dispatch, cancel, .. } = done;
        self.working.retain(|job| !cancel.contains(&(job.key, job.attempt)));
        for job in &dispatch {
            self.inputs.push((job.effect_key.clone(), format!("{:?} {:?}", job.headers, job.variables)));
        }
        self.working.extend(dispatch);
        replies
    }

    /// What comes of an attempt.
    pub fn finish(&mut self, job: &Job, outcome: Outcome) -> Result<(), Error> {
        let (key, attempt) = (job.key, job.attempt);
        let work = Work::Finished { job: key, attempt, outcome, is_over: true };
        self.batch(&[Item { work, request_id: None }])?;
        // who does not hear that it is taken offers it again
        self.working.retain(|working| (working.key, working.attempt) != (key, attempt));
        Ok(())
    }

    pub fn step(&mut self, id: &str, step: &Step) -> Result<(), Error> {
        let id = Some(id.to_owned());
        match step {
            Step::Deploy => {
                self.batch(&[Item { request_id: id, ..deploy(everything()) }])?;
            }
            Step::Act(action) => drop(self.batch(&[act(action.clone(), id)])?),
            Step::Work => {
                let jobs: Vec<Job> = self.working.iter().filter(|job| job.element != "hangs").cloned().collect();
                for job in jobs {
                    self.finish(&job, answer(&job))?;
                }
            }
            Step::Tick => drop(self.batch(&[act(Action::Tick, None)])?),
        }
        Ok(())
    }

    /// All events so far, checked against the stored state.
    pub fn checked_events(&self) -> Vec<Event> {
        let store = &self.writer.store;
        let events: Vec<Event> = store.events(0, usize::MAX).unwrap().into_iter().map(|logged| logged.event).collect();
        let state = store.view().unwrap().state().unwrap();
        let mut broken = invariants::of_log(&events);
        broken.extend(invariants::of_state(&self.writer.models, &state));
        assert!(broken.is_empty(), "{broken:#?}");
        let mut folded = bpmn::core::State::default();
        events.iter().for_each(|event| bpmn::core::apply(&mut folded, event));
        assert_eq!(postcard::to_stdvec(&folded).unwrap(), postcard::to_stdvec(&state).unwrap(), "I8");
        assert!((&state as &dyn StateView).meta().boot_epoch > 0);
        events
    }
}

pub fn deploy(file: SourceFile) -> Item {
    let files = prepare(vec![file], &Default::default()).unwrap();
    Item { work: Work::Deploy { files, actor: None }, request_id: None }
}

pub fn act(action: Action, request_id: Option<String>) -> Item {
    Item { work: Work::Act { action, actor: None }, request_id }
}
