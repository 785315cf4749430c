//! Attributes of the spans of one run, event by event.

use std::collections::BTreeMap;

use bpmn::core::{IncidentKind, Input, OnUnknown, Trigger, Variables};
use serde_json::{Value as Json, json};

use super::*;
use crate::engine::tests::scenario::{START_MS, file, task};

const RUN: u64 = 7;
const TASK: u64 = 8;

/// A run of `body`, begun at depth 1.
fn run(body: &str) -> Trace {
    run_of(None, body)
}

fn run_of(trigger: Option<Trigger>, body: &str) -> Trace {
    let mut trace = Trace::new([3; 16], RUN, "http://here".into());
    trace.drawn = Arc::new(Drawn::of(&file("p", body).bytes));
    let (process, hash) = ("p".to_owned(), "h".to_owned());
    let (start, message_key) = (None, None);
    let created =
        Body::InstanceCreated { instance: RUN, process, version: 1, hash, start, message_key, trigger, depth: 1 };
    take(&mut trace, Some("gate"), created);
    trace
}

fn take(trace: &mut Trace, actor: Option<&str>, body: Body) {
    trace.take(&Event { seq: 1, at_ms: START_MS, actor: actor.map(str::to_owned), body });
}

fn enter(trace: &mut Trace, element: u64, id: &str, kind: &str) {
    take(
        trace,
        None,
        Body::ElementActivated {
            instance: RUN,
            element,
            scope: RUN,
            node: 0,
            id: id.to_owned(),
            name: None,
            kind: kind.to_owned(),
            flow: None,
        },
    );
}

fn leave(trace: &mut Trace, element: u64) {
    take(trace, None, Body::ElementCompleted { instance: RUN, element, scope: RUN });
}

/// A task with a job of type `of`, until its first attempt runs.
fn work(trace: &mut Trace, of: &str) {
    enter(trace, TASK, "t", "serviceTask");
    let input = Input { group: 0, effect_key: "k".to_owned(), headers: BTreeMap::new(), variables: Variables::new() };
    let (job, instance, element, r#type) = (9, RUN, TASK, of.to_owned());
    take(trace, None, Body::JobCreated { job, instance, element, r#type, retries: 3, due_ms: START_MS, input });
    activate(trace, 1);
}

fn activate(trace: &mut Trace, attempt: u32) {
    let (job, instance, element, worker) = (9, RUN, TASK, "engine".to_owned());
    let (headers, on_unknown) = (None, OnUnknown::Retry);
    let body = Body::JobActivated { job, instance, element, attempt, boot_epoch: 1, worker, headers, on_unknown };
    take(trace, None, body);
}

fn complete(trace: &mut Trace, of: &str, result: Json) {
    let result = result.as_object().unwrap().iter();
    let result = result.map(|(name, value)| (name.clone(), bpmn::core::Value::from_json(value))).collect();
    let (job, instance, element, r#type) = (9, RUN, TASK, of.to_owned());
    take(trace, None, Body::JobCompleted { job, instance, element, attempt: 1, r#type, result });
}

fn get<'a>(span: &'a StepSpan, key: &str) -> Option<&'a Value> {
    span.attributes.iter().find(|(name, _)| *name == key).map(|(_, value)| value)
}

fn newest(trace: &Trace) -> &StepSpan {
    trace.spans.last().unwrap()
}

#[test]
fn an_attempt_says_what_kind_of_job_it_is_and_how_much_came_of_it() {
    let sql = |header: &str| task("t", "sql", &format!("<zeebe:taskHeaders>{header}</zeebe:taskHeaders>"));
    let mut trace = run(&sql(r#"<zeebe:header key="queryFile" value="learn/a.sql"/>"#));
    work(&mut trace, "sql");
    complete(&mut trace, "sql", json!({"rows": [{"secret": "s3cret"}, {}], "truncated": false}));
    let span = newest(&trace);
    assert_eq!(span.kind, Kind::Client);
    assert_eq!(get(span, "db.system.name"), Some(&text("weavergen")));
    assert_eq!(get(span, "db.query.summary"), Some(&text("learn/a.sql")));
    assert_eq!(get(span, "db.response.returned_rows"), Some(&Value::Int(2)));
    assert!(!format!("{span:?}").contains("s3cret"));

    for (row, rows) in [(json!({"a": 1}), 1), (Json::Null, 0)] {
        let mut trace = run(&sql(r#"<zeebe:header key="query" value="SELECT 1"/>"#));
        work(&mut trace, "sql");
        complete(&mut trace, "sql", json!({"row": row, "truncated": false}));
        assert_eq!(get(newest(&trace), "db.query.text"), Some(&text("SELECT 1")));
        assert_eq!(get(newest(&trace), "db.response.returned_rows"), Some(&Value::Int(rows)));
    }

    let argv = r#"<zeebe:taskHeaders><zeebe:header key="argv" value='=["shop", service]'/></zeebe:taskHeaders>"#;
    let mut trace = run(&task("t", "command", argv));
    work(&mut trace, "command");
    complete(&mut trace, "command", json!({"exitCode": 4, "stdout": "s3cret"}));
    let span = newest(&trace);
    assert_eq!((span.kind, get(span, "process.exit.code")), (Kind::Internal, Some(&Value::Int(4))));
    assert_eq!(get(span, "process.executable.name"), Some(&text("shop")));
    assert!(!format!("{span:?}").contains("s3cret"));

    let mut trace = run(&task("t", "codegen", ""));
    work(&mut trace, "codegen");
    complete(&mut trace, "codegen", json!({"variant": "a"}));
    let foreign = |(key, _): &&Attribute| key.starts_with("db.") || key.starts_with("process.");
    assert_eq!(newest(&trace).attributes.iter().find(foreign), None);
}

#[test]
fn an_attempt_that_fails_still_says_what_it_ran_and_nothing_of_a_result() {
    let argv = r#"<zeebe:taskHeaders><zeebe:header key="argv" value='["shop"]'/></zeebe:taskHeaders>"#;
    let mut trace = run(&task("t", "command", argv));
    work(&mut trace, "command");
    let (job, instance, element, message) = (9, RUN, TASK, "ended with exit code 1".to_owned());
    take(&mut trace, None, Body::JobFailed { job, instance, element, attempt: 1, message, retryable: true });
    let span = newest(&trace);
    assert_eq!(get(span, "process.executable.name"), Some(&text("shop")));
    assert_eq!((get(span, "process.exit.code"), get(span, "error.type")), (None, Some(&text("error"))));
}

#[test]
fn an_attempt_that_asked_many_times_is_one() {
    let mut trace = run(&task("t", "span-gate", ""));
    work(&mut trace, "span-gate");
    for poll in 1..=3 {
        let (job, why, input) = (9, bpmn::core::Requeue::Later, None);
        let (instance, element, due_ms, retries_left) = (RUN, TASK, START_MS, 3);
        let later = Body::JobRetryScheduled { job, instance, element, due_ms, retries_left, why, input };
        take(&mut trace, None, later);
        let (headers, on_unknown, worker) = (None, OnUnknown::Retry, "engine".to_owned());
        let again =
            Body::JobActivated { job, instance, element, attempt: 1, boot_epoch: 1, worker, headers, on_unknown };
        trace.take(&Event { seq: 1, at_ms: START_MS + poll * 10_000, actor: None, body: again });
    }
    complete(&mut trace, "span-gate", json!({"verdict": "pass"}));
    assert_eq!(newest(&trace).start_ns, START_MS * 1_000_000);
    leave(&mut trace, TASK);
    let step = newest(&trace);
    assert_eq!(get(step, "bpmn.attempt"), Some(&int(1)));
    assert!(step.moments.is_empty(), "{:?}", step.moments);
}

#[test]
fn only_runs_and_tasks_have_a_type_and_an_address_and_all_have_the_depth() {
    let property =
        r#"<zeebe:properties><zeebe:property name="cicd.pipeline.task.type" value="test"/></zeebe:properties>"#;
    let mut trace = run(&task("t", "sql", property));
    let start = newest(&trace).clone();
    enter(&mut trace, 20, "gw", "exclusiveGateway");
    leave(&mut trace, 20);
    let gateway = newest(&trace).clone();
    work(&mut trace, "sql");
    complete(&mut trace, "sql", json!({"rows": []}));
    let attempt = newest(&trace).clone();
    leave(&mut trace, TASK);
    let step = newest(&trace).clone();
    take(&mut trace, None, Body::InstanceCompleted { instance: RUN });
    let whole = newest(&trace).clone();
    let types: Vec<_> = [&start, &gateway, &attempt, &step, &whole].map(|span| get(span, "otel.span.type")).to_vec();
    let of = |name: &str| text(format!("weavergen.workflow.{name}"));
    assert_eq!(types, [Some(&of("start")), None, None, Some(&of("step")), Some(&of("run"))]);
    assert_eq!(get(&step, "cicd.pipeline.task.run.url.full"), Some(&text("http://here/runs/7#t")));
    assert_eq!(get(&step, "cicd.pipeline.task.type"), Some(&text("test")));
    assert_eq!(get(&whole, "cicd.pipeline.run.url.full"), Some(&text("http://here/runs/7")));
    assert_eq!(get(&start, "bpmn.actor"), Some(&text("gate")));
    assert_eq!(get(&gateway, "weavergen.workflow.step.name"), None);
    assert!([start, gateway, attempt, step, whole].iter().all(|span| get(span, "weavergen.depth") == Some(&int(2))));
}

#[test]
fn the_start_and_the_run_name_the_episode_that_started_it_and_a_run_of_none_does_not() {
    let links = vec![("01".to_owned(), "02".to_owned())];
    let trigger =
        Trigger { gate: "g".to_owned(), key: "service_name=shop".to_owned(), episode: 3, links: links.clone() };
    let named = |trigger: Option<Trigger>| {
        let mut trace = run_of(trigger, "");
        let start = newest(&trace).clone();
        take(&mut trace, None, Body::InstanceCompleted { instance: RUN });
        let whole = newest(&trace).clone();
        let names = ["name", "key", "episode"].map(|part| format!("weavergen.gate.{part}"));
        let of = |span: &StepSpan| names.each_ref().map(|name| get(span, name).cloned());
        assert_eq!(of(&start), of(&whole));
        (of(&start), start.links)
    };
    assert_eq!(named(Some(trigger)), ([Some(text("g")), Some(text("service_name=shop")), Some(int(3))], links));
    assert_eq!(named(None), ([None, None, None], Vec::new()));
}

#[test]
fn an_event_says_what_set_it_off_and_the_next_one_does_not() {
    let mut trace = run("");
    let (name, key, process) = ("go".to_owned(), "k".to_owned(), "p".to_owned());
    take(&mut trace, None, Body::MessageCorrelated { name, key, process, instance: RUN });
    enter(&mut trace, 20, "on_go", "startEvent");
    leave(&mut trace, 20);
    assert_eq!(get(newest(&trace), "bpmn.message.name"), Some(&text("go")));
    assert_eq!(get(newest(&trace), "bpmn.correlation.key"), Some(&text("k")));
    enter(&mut trace, TASK, "t", "serviceTask");
    let (due_ms, lateness_ms) = (START_MS - 5, 5);
    take(&mut trace, None, Body::TimerFired { timer: 1, instance: RUN, element: TASK, due_ms, lateness_ms });
    let cause = Cause::Boundary { id: "late".to_owned(), timer: true };
    take(&mut trace, None, Body::ElementTerminated { instance: RUN, element: TASK, scope: RUN, cause });
    let host = newest(&trace).clone();
    assert_eq!((host.moments[0].name, host.error.as_deref()), ("timer", Some("timeout")));
    let timer = [("bpmn.timer.due", text("2024-12-31T23:59:59.995Z")), ("bpmn.timer.lateness_ms", Value::Int(5))];
    assert_eq!(host.moments[0].attributes, timer);
    assert_eq!(get(&host, "bpmn.message.name"), None);
    enter(&mut trace, 21, "late", "boundaryEvent");
    leave(&mut trace, 21);
    assert!(timer.iter().all(|(key, value)| get(newest(&trace), key) == Some(value)));
    let caught = Body::ErrorCaught { instance: RUN, element: TASK, node: 0, code: Some("E1".to_owned()) };
    take(&mut trace, None, caught);
    enter(&mut trace, 22, "caught", "boundaryEvent");
    leave(&mut trace, 22);
    assert_eq!(get(newest(&trace), "bpmn.error.code"), Some(&text("E1")));
    assert_eq!(get(newest(&trace), "bpmn.timer.due"), None);
}

#[test]
fn a_step_tells_its_retries_incidents_and_where_its_token_went() {
    let mut trace = run("");
    work(&mut trace, "work");
    let (incident, message, held) = (30, "s3cret".to_owned(), bpmn::core::Held::JobEnded);
    let (expression, reads) = (None, Variables::new());
    let raised = Body::IncidentRaised {
        incident,
        instance: RUN,
        element: TASK,
        kind: IncidentKind::JobFailed,
        message,
        expression,
        reads,
        since_ms: START_MS,
        count: 1,
        held,
    };
    take(&mut trace, None, raised);
    let (job, why, input) = (9, bpmn::core::Requeue::Operator, None);
    let (instance, element, due_ms, retries_left) = (RUN, TASK, START_MS, 3);
    let again = Body::JobRetryScheduled { job, instance, element, due_ms, retries_left, why, input };
    take(&mut trace, Some("ada"), again);
    leave(&mut trace, TASK);
    take(&mut trace, None, Body::FlowTaken { instance: RUN, element: TASK, flow: "f1".to_owned() });
    take(&mut trace, None, Body::FlowTaken { instance: RUN, element: 99, flow: "elsewhere".to_owned() });
    let span = newest(&trace);
    let told: Vec<_> =
        span.moments.iter().map(|moment| (moment.name, moment.attributes.last().unwrap().1.clone())).collect();
    let flow = Value::Texts(vec!["f1".to_owned()]);
    assert_eq!(told, [("incident", text("job-failed")), ("retry", text("ada")), ("token", flow)]);
    assert!(!format!("{span:?}").contains("s3cret"));
}
