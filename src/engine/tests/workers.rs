//! Who gets a free worker, and when one is free.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bpmn::core::{Action, Body, Event, JobStatus, StateView, Value};
use bpmn::lint::Registry;
use serde_json::Map;

use super::super::deploy::SourceFile;
use super::super::job::{Job, Outcome};
use super::super::store::Store;
use super::super::writer::{Item, Work, Writer};
use super::faulty::{Disk, Passing};
use super::scenario::{Life, START_MS, act, deploy, everything, jobs, line, timed};

fn life() -> Life {
    Life::open(Store::in_memory().unwrap(), START_MS).unwrap()
}

fn start(process: &str, x: i64) -> Item {
    let variables = BTreeMap::from([("x".to_owned(), Value::from(x))]);
    let start = Some("start".to_owned());
    act(Action::Start { process: process.to_owned(), version: None, start, variables }, None)
}

/// One task of type `work` with a concurrency key, and a timer of 30 s on it.
fn keyed(key: &str) -> SourceFile {
    let header =
        format!(r#"<zeebe:taskHeaders><zeebe:header key="concurrencyKey" value="{key}"/></zeebe:taskHeaders>"#);
    timed("keyed", &header)
}

fn done() -> Outcome {
    Outcome::Completed(Map::new())
}

/// The runs whose jobs workers have.
fn runs(life: &Life) -> Vec<u64> {
    let mut runs: Vec<u64> = life.working.iter().map(|job| job.run).collect();
    runs.sort_unstable();
    runs
}

fn incidents(life: &Life) -> Vec<Event> {
    let events = life.writer.store.events(0, usize::MAX).unwrap().into_iter().map(|logged| logged.event);
    events.filter(|event| matches!(event.body, Body::IncidentRaised { .. })).collect()
}

#[test]
fn what_is_deployed_and_started_in_one_batch_is_worked() {
    let mut life = life();
    life.batch(&[deploy(everything()), start("everything", 1)]).unwrap();
    let ids: Vec<&str> = life.working.iter().map(|job| job.element.as_str()).collect();
    assert_eq!(ids, ["fail_once"]);
}

#[test]
fn a_wall_clock_that_is_set_back_holds_no_job_back() {
    let mut life = life();
    life.batch(&[deploy(everything()), start("everything", 1)]).unwrap();
    life.now_ms -= 3_600_000;
    life.batch(&[start("everything", 2)]).unwrap();
    assert_eq!(life.working.len(), 2);
    let done = life.writer.batch(&[act(Action::Tick, None)], life.now_ms).unwrap();
    assert_eq!(done.due.now_ms, START_MS, "what is due is due by this time");
    life.checked_events();
}

#[test]
fn a_concurrency_key_is_held_until_its_attempt_has_really_ended() {
    let mut life = life();
    life.batch(&[deploy(keyed("k")), start("keyed", 1), start("keyed", 2)]).unwrap();
    let first: Job = life.working[0].clone();
    assert_eq!(life.working.len(), 1);
    // the timer closes both tasks; a third run waits for the key
    life.now_ms += 30_000;
    life.batch(&[act(Action::Tick, None), start("keyed", 3)]).unwrap();
    assert!(life.working.is_empty(), "the first attempt was withdrawn and may still run: {:?}", life.working);
    life.finish(&first, done()).unwrap();
    assert_eq!(life.working.len(), 1);
    assert!(life.working[0].run > first.run);
    life.checked_events();
}

#[test]
fn an_attempt_whose_outcome_is_unknown_holds_its_worker_until_it_is_over() {
    let mut life = life();
    let header = r#"<zeebe:taskHeaders><zeebe:header key="retryBackoff" value="PT0S"/></zeebe:taskHeaders>"#;
    life.batch(&[deploy(line("p", "gate", header)), start("p", 1)]).unwrap();
    let job: Job = life.working.remove(0);
    let (key, attempt) = (job.key, job.attempt);
    let outcome = Outcome::Unknown { message: "it did not end".to_owned() };
    let unknown = Work::Finished { job: key, attempt, outcome, is_over: false };
    life.batch(&[Item { work: unknown, request_id: None }]).unwrap();
    assert!(life.working.is_empty(), "the only worker of `gate` still has the first attempt");
    life.batch(&[Item { work: Work::Over { job: key, attempt }, request_id: None }]).unwrap();
    assert_eq!(life.working.iter().map(|job| job.attempt).collect::<Vec<_>>(), [2]);
}

#[test]
fn jobs_behind_a_lock_leave_no_worker_idle() {
    // the key is a template: 1, 1, 2
    let mut life = life();
    life.batch(&[deploy(keyed("{{ x }}")), start("keyed", 1), start("keyed", 1), start("keyed", 2)]).unwrap();
    let started = runs(&life);
    assert_eq!(started.len(), 2, "`work` has two workers");
    let keys: Vec<i64> = life.working.iter().map(|job| job.variables["x"].as_i64().unwrap()).collect();
    assert_eq!(keys, [1, 2]);
    life.checked_events();
}

#[test]
fn jobs_behind_a_lock_hide_none_that_come_after_them() {
    let mut life = life();
    life.batch(&[deploy(keyed("{{ x }}"))]).unwrap();
    let mut items: Vec<Item> = (0..300).map(|_| start("keyed", 1)).collect();
    items.push(start("keyed", 2));
    life.batch(&items).unwrap();
    let keys: Vec<i64> = life.working.iter().map(|job| job.variables["x"].as_i64().unwrap()).collect();
    assert_eq!(keys, [1, 2]);
}

#[test]
fn what_waits_behind_a_lock_is_rendered_once_until_its_input_changes() {
    let rendered = Arc::new(AtomicUsize::new(0));
    let mut counting = jobs();
    let (render, count) = (counting.render.clone(), rendered.clone());
    counting.render = Arc::new(move |text, variables| {
        count.fetch_add(1, Ordering::Relaxed);
        render(text, variables)
    });
    let mut life = life();
    life.writer = Writer::open(life.writer.store.clone(), counting, &Registry::default()).unwrap();
    life.batch(&[deploy(keyed("{{ x }}"))]).unwrap();
    let items: Vec<Item> = (0..300).map(|_| start("keyed", 1)).collect();
    life.batch(&items).unwrap();
    let first = rendered.load(Ordering::Relaxed);
    assert!((300..310).contains(&first), "{first}");
    for _ in 0..5 {
        life.batch(&[act(Action::Tick, None)]).unwrap();
    }
    assert_eq!((rendered.load(Ordering::Relaxed), life.working.len()), (first, 1));
    // a person gives the last one another key
    let view = life.writer.store.view().unwrap();
    let (_, job) = *(&view as &dyn StateView).due_jobs("work", life.now_ms, None, 300).last().unwrap();
    let variables = BTreeMap::from([("x".to_owned(), Value::from(2_i64))]);
    life.batch(&[act(Action::Retry { job, retries: None, variables }, None)]).unwrap();
    assert_eq!(life.working.last().map(|job| (job.key, job.variables["x"].as_i64())), Some((job, Some(2))));
    // and when the first is done the next one is given out
    let done_one = life.working[0].clone();
    life.finish(&done_one, done()).unwrap();
    assert_eq!(life.working.len(), 2);
    life.checked_events();
}

#[test]
fn an_attempt_that_has_not_come_back_is_not_given_out_under_its_number() {
    let mut there = 0;
    for at in 1..=40 {
        let disk = Disk::new();
        let mut life = Life::open(Store::by(disk.opener()).unwrap(), START_MS).unwrap();
        life.batch(&[deploy(line("p", "work", "")), start("p", 1)]).unwrap();
        let job: Job = life.working[0].clone();
        disk.fail_at(at, Passing::Done);
        let later = Outcome::Later(START_MS + 1_000);
        if life.finish(&job, later.clone()).is_ok() {
            continue;
        }
        // the file was away for longer than until the next poll; its other worker is free
        life.now_ms += 60_000;
        life.reopen().unwrap();
        let view = life.writer.store.view().unwrap();
        let row = (&view as &dyn StateView).job(job.key).unwrap();
        there += usize::from(matches!(row.status, JobStatus::Queued { .. }));
        drop(view);
        assert_eq!(life.inputs.len(), 1, "{at}: its worker still has it");
        // the worker repeats what it did not hear an answer to
        life.finish(&job, later).unwrap();
        assert_eq!(life.inputs.len(), 2, "{at}: given out once more, when it is back");
        life.checked_events();
    }
    assert!(there > 0, "a commit that failed was there");
}

#[test]
fn a_job_that_cannot_be_started_leaves_its_worker_to_the_next() {
    let mut life = life();
    let header = r#"<zeebe:taskHeaders><zeebe:header key="text" value="{{ x }}"/></zeebe:taskHeaders>"#;
    let (process, version, start_event) = ("p".to_owned(), None, Some("start".to_owned()));
    let without = Action::Start { process, version, start: start_event, variables: BTreeMap::new() };
    life.batch(&[deploy(line("p", "gate", header)), act(without, None), start("p", 1)]).unwrap();
    assert_eq!(life.working.len(), 1, "the first has no `x`: it is an incident, and the second runs");
    assert_eq!(incidents(&life).len(), 1);
}

#[test]
fn a_job_of_a_type_that_nobody_works_is_an_incident_and_one_of_others_waits() {
    let registry = Registry {
        jobs: BTreeMap::from([("work".to_owned(), Vec::new())]),
        external: vec!["mail".to_owned()],
        ..Registry::default()
    };
    for (r#type, count) in [("sq1", 300), ("mail", 0)] {
        let mut life = life();
        life.writer = Writer::open(life.writer.store.clone(), jobs(), &registry).unwrap();
        life.batch(&[deploy(line("p", r#type, ""))]).unwrap();
        let items: Vec<Item> = (0..300).map(|_| start("p", 1)).collect();
        life.batch(&items).unwrap();
        assert_eq!(incidents(&life).len(), count, "{type}: all of them at once");
        life.checked_events();
    }
}
