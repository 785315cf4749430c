//! The engine as its callers see it: answers, workers, timers, tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arrow::array::{Array as _, AsArray as _};
use arrow::datatypes::Int64Type;
use bpmn::core::{Action, Answer, Body, Rejection};

use super::faulty::{Cut, Disk};
use super::scenario::{answer, everything, file, flow, jobs, task};
use crate::clock::Clock;
use crate::engine::deploy::SourceFile;
use crate::engine::tables::Table;
use crate::engine::wanted::Wanted;
use crate::engine::{Config, Engine, Error, Store};

fn config(jobs: crate::engine::Jobs) -> Config {
    Config { path: None, jobs, registry: Default::default() }
}

fn start(process: &str) -> Action {
    Action::Start {
        process: process.to_owned(),
        version: None,
        start: Some("start".to_owned()),
        variables: [("x".to_owned(), bpmn::core::Value::from(1_i64))].into(),
    }
}

fn line(process: &str, middle: &str, tasks: &[&str]) -> SourceFile {
    let mut body = r#"<startEvent id="start"/><endEvent id="end"/>"#.to_owned();
    let mut before = "start".to_owned();
    for (at, id) in tasks.iter().enumerate() {
        body += &task(id, middle, "");
        body += &flow(at, &before, id, "");
        before = (*id).to_owned();
    }
    file(process, &(body + &flow(99, &before, "end", "")))
}

/// Waits for the end of `runs` runs.
async fn ended(events: &mut tokio::sync::broadcast::Receiver<Arc<[bpmn::core::Event]>>, mut runs: usize) {
    while runs > 0 {
        let batch = tokio::time::timeout(Duration::from_secs(20), events.recv()).await.unwrap().unwrap();
        runs -= batch
            .iter()
            .filter(|event| matches!(event.body, Body::InstanceCompleted { .. } | Body::InstanceFailed { .. }))
            .count();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_run_what_waits_within_their_limits_until_every_run_has_ended() {
    let most = Arc::new(AtomicUsize::new(0));
    let now = Arc::new(AtomicUsize::new(0));
    let mut jobs = jobs();
    let (most_seen, running) = (Arc::clone(&most), Arc::clone(&now));
    jobs.run = Arc::new(move |job, _| {
        let (most, running) = (Arc::clone(&most_seen), Arc::clone(&running));
        Box::pin(async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(5)).await;
            running.fetch_sub(1, Ordering::SeqCst);
            answer(&job)
        })
    });
    let engine = Engine::open(config(jobs), Clock::os()).unwrap();
    let mut events = engine.subscribe();
    engine.deploy(vec![line("p", "work", &["a", "b", "c"])], None, None).await.unwrap();
    for _ in 0..10 {
        engine.submit(start("p"), None, None).await.unwrap();
    }
    ended(&mut events, 10).await;
    assert_eq!(most.load(Ordering::SeqCst), 2, "the limit of `work`");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_gets_the_answer_it_got() {
    let engine = Engine::open(config(jobs()), Clock::os()).unwrap();
    engine.deploy(vec![line("p", "work", &["a"])], None, None).await.unwrap();
    let ask = || engine.submit(start("p"), None, Some("r1".to_owned()));
    let (first, second) = (ask().await.unwrap(), ask().await.unwrap());
    assert!(matches!(first, Answer::Started { .. }));
    assert_eq!(first, second);
    assert_eq!(Table::Runs.rows(engine.store(), &Wanted::default()).unwrap().num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_with_an_error_deploy_nothing_and_findings_name_the_file() {
    let engine = Engine::open(config(jobs()), Clock::os()).unwrap();
    let broken = file(
        "broken",
        r#"<startEvent id="start"/><userTask id="u"/><sequenceFlow id="f" sourceRef="start" targetRef="u"/>"#,
    );
    let refused = engine.deploy(vec![line("good", "work", &["a"]), broken], None, None).await;
    let Err(Error::Refused(findings)) = refused else { panic!("{refused:?}") };
    assert!(
        findings.iter().any(|finding| finding.file == "broken.bpmn" && finding.rule.contains("userTask")),
        "{findings:?}"
    );
    assert_eq!(Table::Definitions.rows(engine.store(), &Wanted::default()).unwrap().num_rows(), 0);
    let none = engine.submit(start("good"), None, None).await;
    assert!(matches!(none, Err(Error::Rejected(Rejection::NotFound { .. }))));
    let twice = engine.deploy(vec![line("p", "work", &["a"]), line("p", "work", &["b"])], None, None).await;
    assert!(matches!(twice, Err(Error::Rejected(Rejection::Conflict { .. }))), "{twice:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reopened_file_has_runs_steps_definitions_and_goes_on_with_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("engine.redb");
    let clock = Clock::os();
    let mut never = jobs();
    never.run = Arc::new(|_, cancel| {
        Box::pin(async move {
            cancel.cancelled().await;
            std::future::pending().await
        })
    });
    {
        let config = Config { path: Some(path.clone()), ..config(never) };
        let engine = Engine::open(config, clock.clone()).unwrap();
        engine.deploy(vec![everything(), line("p", "work", &["a"])], None, None).await.unwrap();
        engine.submit(start("everything"), None, None).await.unwrap();
        engine.submit(start("p"), None, None).await.unwrap();
        engine.stop();
    }
    // the writer's thread lets the file go
    let store = loop {
        match Store::open(&path) {
            Ok(store) => break store,
            Err(Error::Held) => tokio::time::sleep(Duration::from_millis(10)).await,
            Err(error) => panic!("{error}"),
        }
    };
    let engine = Engine::on(store, config(jobs()), clock).unwrap();
    let mut events = engine.subscribe();
    let runs = || Table::Runs.rows(engine.store(), &Wanted::default()).unwrap();
    let state = |at: usize| runs().column_by_name("state").unwrap().as_string::<i32>().value(at).to_owned();
    if state(1) != "completed" {
        ended(&mut events, 1).await;
    }
    assert_eq!((state(1), runs().num_rows()), ("completed".to_owned(), 2));
    let steps = Table::Steps.rows(engine.store(), &Wanted::default()).unwrap();
    let column = |name: &str| steps.column_by_name(name).unwrap().clone();
    let at = (0..steps.num_rows()).find(|at| column("element_id").as_string::<i32>().value(*at) == "a").unwrap();
    assert_eq!(column("attempts").as_primitive::<Int64Type>().value(at), 2, "the first one died with the process");
    assert_eq!(column("span_id").as_string::<i32>().value(at).len(), 16);
    assert!(!column("ended_at").is_null(at));
    let definitions = Table::Definitions.rows(engine.store(), &Wanted::default()).unwrap();
    assert!(definitions.column_by_name("xml").unwrap().as_string::<i32>().value(0).contains("boundaryEvent"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_wakes_the_engine_by_itself() {
    let boundary = r#"<boundaryEvent id="late" attachedToRef="a"><timerEventDefinition><timeDuration>PT0.2S</timeDuration></timerEventDefinition></boundaryEvent>"#;
    let body = [
        r#"<startEvent id="start"/><endEvent id="end"/>"#.to_owned(),
        task("a", "nobody", ""),
        boundary.to_owned(),
        flow(1, "start", "a", ""),
        flow(2, "late", "end", ""),
        flow(3, "a", "end", ""),
    ]
    .concat();
    let engine = Engine::open(config(jobs()), Clock::os()).unwrap();
    let mut events = engine.subscribe();
    engine.deploy(vec![file("p", &body)], None, None).await.unwrap();
    engine.submit(start("p"), None, None).await.unwrap();
    ended(&mut events, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_incident_is_a_row_until_it_is_resolved() {
    let mut failing = jobs();
    failing.run = Arc::new(|job, _| {
        Box::pin(async move { if job.attempt == 1 { panic!("a handler's defect") } else { answer(&job) } })
    });
    failing.on_unknown = Arc::new(|_, _| bpmn::core::OnUnknown::Incident);
    let engine = Engine::open(config(failing), Clock::os()).unwrap();
    let mut events = engine.subscribe();
    engine.deploy(vec![line("p", "work", &["a"])], None, None).await.unwrap();
    engine.submit(start("p"), None, None).await.unwrap();
    let incidents = || Table::Incidents.rows(engine.store(), &Wanted::default()).unwrap();
    while incidents().num_rows() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let rows = incidents();
    assert_eq!(rows.column_by_name("kind").unwrap().as_string::<i32>().value(0), "job-unknown-outcome");
    let incident = rows.column_by_name("incident").unwrap().as_primitive::<Int64Type>().value(0).cast_unsigned();
    engine.submit(Action::Resolve { incident }, Some("operator".to_owned()), None).await.unwrap();
    ended(&mut events, 1).await;
    assert_eq!(incidents().num_rows(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_nothing_can_be_written_nothing_is_done_and_everybody_is_told() {
    let disk = Disk::new();
    let engine = Engine::on(Store::on(disk.clone()).unwrap(), config(jobs()), Clock::os()).unwrap();
    engine.deploy(vec![line("p", "nobody", &["a"])], None, None).await.unwrap();
    engine.submit(start("p"), None, None).await.unwrap();
    assert!(*engine.healthy().borrow());
    disk.stop_at(1, Cut::Clean);
    for _ in 0..3 {
        let answer = engine.submit(start("p"), None, Some("r".to_owned())).await;
        assert!(matches!(answer, Err(Error::Unavailable)), "{answer:?}");
    }
    assert!(!*engine.healthy().borrow());
    let left = Store::on(disk.after(Cut::LostTail)).unwrap();
    assert_eq!(
        Table::Runs.rows(&left, &Wanted::default()).unwrap().num_rows(),
        1,
        "what was answered is there, what was refused is not"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_offered_until_they_are_taken_and_only_once_after_that() {
    let engine = Engine::open(config(jobs()), Clock::os()).unwrap();
    let (sender, mut taken) = tokio::sync::mpsc::unbounded_channel();
    let refused = Arc::new(AtomicUsize::new(0));
    let stop = tokio_util::sync::CancellationToken::new();
    let deliver: crate::engine::export::Deliver = Box::new(move |request| {
        let (sender, refused) = (sender.clone(), Arc::clone(&refused));
        Box::pin(async move {
            if refused.fetch_add(1, Ordering::SeqCst) == 0 {
                return Err("not yet".to_owned());
            }
            sender.send(request.spans.into_iter().map(|span| span.name).collect::<Vec<_>>()).map_err(|e| e.to_string())
        })
    });
    let exporter = tokio::spawn({
        let (engine, stop) = (engine.clone(), stop.clone());
        async move { crate::engine::export::run(&engine, "http://here", deliver, stop).await }
    });
    engine.deploy(vec![line("p", "work", &["a"])], None, None).await.unwrap();
    engine.submit(start("p"), None, None).await.unwrap();
    let mut names = Vec::new();
    while !names.contains(&"RUN p".to_owned()) {
        names.extend(tokio::time::timeout(Duration::from_secs(20), taken.recv()).await.unwrap().unwrap());
    }
    assert_eq!(names, ["weavergen.workflow.start", "start", "a", "a", "end", "RUN p"], "the attempt, then its task");
    stop.cancel();
    exporter.await.unwrap().unwrap();
}

#[test]
fn rows_of_every_table_have_its_schema() {
    let store = Store::in_memory().unwrap();
    for table in Table::ALL {
        let rows = table.rows(&store, &Wanted::default()).unwrap();
        assert_eq!((rows.schema(), rows.num_rows()), (table.schema(), 0), "{}", table.name());
    }
}
