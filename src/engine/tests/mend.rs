//! What passes: errors of the disk, stops, definitions that cannot be read.

use std::sync::Arc;
use std::time::Duration;

use bpmn::core::{Action, Body};
use serde_json::Map;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::super::job::Outcome;
use super::super::store::{Batch, SourceRow};
use super::super::writer::Work;
use super::super::{Ask, bring_back};
use super::faulty::{Disk, Passing};
use super::scenario::{Life, START_MS, act, deploy, everything, jobs, line, timed};
use crate::clock::Clock;
use crate::engine::{Config, Engine, Error, Store};

fn config(jobs: crate::engine::Jobs) -> Config {
    Config { path: None, jobs, registry: Default::default() }
}

fn start(process: &str) -> Action {
    let variables = [("x".to_owned(), bpmn::core::Value::from(1_i64))].into();
    Action::Start { process: process.to_owned(), version: None, start: Some("start".to_owned()), variables }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_that_passes_the_engine_is_healthy_again_without_being_asked() {
    let disk = Disk::new();
    let engine = Engine::on(Store::by(disk.opener()).unwrap(), config(jobs()), Clock::os()).unwrap();
    engine.deploy(vec![line("p", "nobody", "")], None, None).await.unwrap();
    let mut healthy = engine.healthy();
    disk.fail_at(1, Passing::Lost);
    let answer = engine.submit(start("p"), None, None).await;
    assert!(matches!(answer, Err(Error::Unavailable)), "{answer:?}");
    let again = tokio::time::timeout(Duration::from_secs(20), healthy.wait_for(|healthy| *healthy)).await;
    again.expect("it opens the file by itself").unwrap();
    engine.submit(start("p"), None, None).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_ended_by_a_defect_is_not_healthy() {
    let mut broken = jobs();
    broken.render = Arc::new(|_, _| panic!("a defect"));
    let engine = Engine::open(config(broken), Clock::os()).unwrap();
    engine.deploy(vec![everything()], None, None).await.unwrap();
    let answer = engine.submit(start("everything"), None, None).await;
    assert!(matches!(answer, Err(Error::Unavailable)), "{answer:?}");
    let mut healthy = engine.healthy();
    let told = tokio::time::timeout(Duration::from_secs(20), healthy.wait_for(|healthy| !*healthy)).await;
    told.expect("it is told").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_go_on_after_an_error_of_the_file() {
    let disk = Disk::new();
    let engine = Engine::on(Store::by(disk.opener()).unwrap(), config(jobs()), Clock::os()).unwrap();
    let (sender, mut taken) = mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let deliver: crate::engine::export::Deliver = Box::new(move |request| {
        let sender = sender.clone();
        Box::pin(async move { sender.send(request.spans.len()).map_err(|error| error.to_string()) })
    });
    engine.deploy(vec![line("p", "nobody", "")], None, None).await.unwrap();
    engine.submit(start("p"), None, None).await.unwrap();
    disk.fail_at(1, Passing::Lost);
    let exporter = tokio::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        async move { crate::engine::export::run(&engine, "http://here", deliver, stop).await }
    });
    let next = |taken: &mut mpsc::UnboundedReceiver<usize>| {
        let mut got = 0;
        while let Ok(spans) = taken.try_recv() {
            got += spans;
        }
        got
    };
    taken.recv().await.unwrap();
    // its cursor could not be kept; the next command finds the error as well, and the file is opened again
    let mut healthy = engine.healthy();
    while engine.submit(start("p"), None, None).await.is_err() {
        tokio::time::timeout(Duration::from_secs(20), healthy.wait_for(|healthy| *healthy)).await.unwrap().unwrap();
    }
    next(&mut taken);
    engine.submit(start("p"), None, None).await.unwrap();
    let more = tokio::time::timeout(Duration::from_secs(20), taken.recv()).await;
    assert!(more.expect("it goes on").unwrap() > 0);
    stop.cancel();
    exporter.await.unwrap().unwrap();
}

#[tokio::test]
async fn after_the_stop_a_failure_is_not_told_and_what_was_done_is() {
    let outcomes = [
        (Outcome::Failed { message: "was cancelled".to_owned(), retryable: false, backoff: None }, false),
        (Outcome::Unknown { message: "ended abnormally".to_owned() }, false),
        (Outcome::Completed(Map::new()), true),
        (Outcome::Later(START_MS), true),
    ];
    for (outcome, is_told) in outcomes {
        for stopped in [false, true] {
            let stop = CancellationToken::new();
            if stopped {
                stop.cancel();
            }
            let (asks, mut queue) = mpsc::channel::<Ask>(1);
            let work = Work::Finished { job: 1, attempt: 1, outcome: outcome.clone(), is_over: true };
            let told = tokio::spawn(async move {
                bring_back(&asks, &stop, work).await;
            });
            let asked = queue.recv().await;
            assert_eq!(asked.is_some(), is_told || !stopped, "{outcome:?}");
            drop(asked);
            told.await.unwrap();
        }
    }
}

#[test]
fn what_became_due_while_nobody_ran_fires_before_a_job_is_given_out_again() {
    let clock = Clock::manual((START_MS + 3_600_000) * 1_000_000, 1);
    let store = Store::in_memory().unwrap();
    let mut life = Life::open(store.clone(), START_MS).unwrap();
    life.batch(&[deploy(timed("p", "")), act(start("p"), None)]).unwrap();
    assert_eq!(life.working.len(), 1);
    drop(life);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = runtime.block_on(async { Engine::on(store.clone(), config(jobs()), clock) }).unwrap();
    let events = store.events(0, usize::MAX).unwrap();
    let given = events.iter().filter(|logged| matches!(logged.event.body, Body::JobActivated { .. })).count();
    assert_eq!(given, 1, "the timer was due: no second attempt");
    assert!(matches!(events.last().unwrap().event.body, Body::InstanceCompleted { .. }));
    engine.stop();
}

#[test]
fn a_definition_that_cannot_be_read_stops_its_own_runs_and_no_others() {
    let store = Store::in_memory().unwrap();
    let mut life = Life::open(store.clone(), START_MS).unwrap();
    life.batch(&[deploy(line("p", "work", "")), deploy(line("q", "work", "")), act(start("p"), None)]).unwrap();
    let of_p = store
        .definitions()
        .unwrap()
        .into_iter()
        .find(|(_, row)| String::from_utf8_lossy(&row.bytes).contains("process id=\"p\""));
    let (hash, _) = of_p.unwrap();
    let broken = SourceRow { bytes: b"<definitions/>".to_vec(), bindings: None };
    store.commit(&Batch { definitions: [(hash, broken)].into(), ..Batch::default() }).unwrap();
    let mut life = Life::open(store.clone(), START_MS + 60_000).unwrap();
    life.batch(&[act(Action::Tick, None), act(start("q"), None)]).unwrap();
    assert_eq!(life.working.iter().map(|job| job.process.as_str()).collect::<Vec<_>>(), ["q"]);
    let events = store.events(0, usize::MAX).unwrap();
    let raised = events.iter().filter(|logged| matches!(logged.event.body, Body::IncidentRaised { .. })).count();
    assert_eq!(raised, 1, "the run of `p` waits for a person");
}
