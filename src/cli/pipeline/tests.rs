//! Claims about the commands that ask a daemon: an API with an engine in memory and its tables.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bpmn::core::OnUnknown;
use clap::Parser;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::daemon::{Daemon, Row, rows};
use super::show::Run;
use super::*;
use crate::access::{Access, Hosts};
use crate::engine::job::{Job, Outcome};
use crate::engine::{Config, Engine, Jobs, provider};
use crate::query::Gateway;
use crate::query::gateway::Resources;
use crate::query::tests::fixture::{self, Fill};
use crate::web::{AppState, Links, bind, serve};

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: Command,
}

struct World {
    data: tempfile::TempDir,
    clock: Clock,
    engine: Engine,
    _stop: tokio_util::sync::DropGuard,
}

/// What the job of a task does is its id: `ok`, `fails`, `throws`, `waits`.
async fn outcome(job: Job) -> Outcome {
    match job.element.as_str() {
        "fails" => Outcome::Failed { message: "no luck".to_owned(), retryable: false, backoff: None },
        "throws" => {
            Outcome::Error { code: "E1".to_owned(), message: "thrown".to_owned(), variables: serde_json::Map::new() }
        }
        "waits" => std::future::pending().await,
        _ => Outcome::Completed(serde_json::Map::new()),
    }
}

impl World {
    async fn new() -> Self {
        let clock = Clock::manual(fixture::NOW, 1);
        let jobs = Jobs {
            run: Arc::new(|job, _| Box::pin(outcome(job))),
            render: Arc::new(|text, _| Ok(text.to_owned())),
            on_unknown: Arc::new(|_, _| OnUnknown::Incident),
            limits: BTreeMap::from([("sql".to_owned(), 4)]),
        };
        let config = Config { path: None, jobs, registry: registry(&clock) };
        let engine = Engine::open(config, clock.clone()).unwrap();
        let gateway = Gateway::with(
            fixture::reader(&Fill::new().view()),
            crate::query::Config { threads: 2, ..Default::default() },
            Resources::default(),
            provider::providers(engine.store()),
            clock.clone(),
            &prometheus::Registry::new(),
        )
        .unwrap();
        let state = AppState {
            gateway,
            store: None,
            engine: Some(engine.clone()),
            outbox: None,
            gates: None,
            access: Arc::new(Access::open(crate::access::Config::default(), &clock).unwrap()),
            hosts: Arc::new(Hosts::default()),
            flight: true,
            clock: crate::clock::Clock::os(),
            links: Arc::new(Links::default()),
        };
        let listeners = bind("127.0.0.1:0").await.unwrap();
        let address = listeners[0].local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(serve(listeners, state, stop.clone()));
        let data = tempfile::tempdir().unwrap();
        std::fs::write(data.path().join("run.json"), format!(r#"{{"api": ["{address}"]}}"#)).unwrap();
        Self { data, clock, engine, _stop: stop.drop_guard() }
    }

    /// A file whose process `id` has one task of this id.
    fn file(&self, id: &str, task: &str) -> String {
        let text = format!(
            r#"<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
 xmlns:zeebe="http://camunda.org/schema/zeebe/1.0" targetNamespace="t"><error id="e" errorCode="E2"/>
<process id="{id}" isExecutable="true"><startEvent id="start"/>
<serviceTask id="{task}" name="Do it"><extensionElements><zeebe:taskDefinition type="sql"/>
<zeebe:taskHeaders><zeebe:header key="query" value="SELECT 1"/></zeebe:taskHeaders></extensionElements></serviceTask>
<boundaryEvent id="caught" attachedToRef="{task}"><errorEventDefinition/></boundaryEvent>
<endEvent id="failed"><errorEventDefinition errorRef="e"/></endEvent><endEvent id="end"/>
<sequenceFlow id="f1" sourceRef="start" targetRef="{task}"/><sequenceFlow id="f2" sourceRef="{task}" targetRef="end"/>
<sequenceFlow id="f3" sourceRef="caught" targetRef="failed"/></process></definitions>"#
        );
        let path = self.data.path().join(format!("{id}.bpmn"));
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    async fn ran(&self, line: &[&str]) -> Exit {
        let command = Line::try_parse_from([&["pipeline"], line].concat()).unwrap().command;
        match run(command, self.data.path().to_owned(), &self.clock).await {
            Ok(exit) => exit,
            Err(error) => Exit::of(&error),
        }
    }

    fn target(&self) -> crate::cli::sql::ask::Target {
        let daemon = Daemon { url: None, data: Some(self.data.path().to_owned()), token_file: None };
        daemon.target("/nowhere".into()).unwrap()
    }

    async fn rows(&self, sql: &str) -> Vec<Row> {
        rows(&self.target(), sql, Row::new()).await.unwrap()
    }
}

#[tokio::test]
async fn a_deployed_file_runs_and_its_end_is_the_exit_code() {
    let world = World::new().await;
    for (task, exit) in [("ok", Exit::Good), ("throws", Exit::Bad), ("fails", Exit::Warn)] {
        let process = format!("p_{task}");
        let file = world.file(&process, task);
        assert_eq!(world.ran(&["deploy", "--dry-run", &file]).await, Exit::Good);
        assert_eq!(world.ran(&["run", &process]).await, Exit::Bad, "a dry run deploys nothing");
        assert_eq!(world.ran(&["deploy", &file]).await, Exit::Good);
        assert_eq!(world.ran(&["run", &process, "--set", "a=1", "--wait"]).await, exit, "{task}");
    }
    let runs = world.rows("SELECT process_id, state, error_code, incidents FROM pipeline_runs ORDER BY run").await;
    let expected = [
        json!({"process_id": "p_ok", "state": "completed", "error_code": null, "incidents": 0}),
        json!({"process_id": "p_throws", "state": "failed", "error_code": "E2", "incidents": 0}),
        json!({"process_id": "p_fails", "state": "running", "error_code": null, "incidents": 1}),
    ];
    assert_eq!(runs.into_iter().map(Value::Object).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn one_key_starts_one_run() {
    let world = World::new().await;
    assert_eq!(world.ran(&["deploy", &world.file("p", "waits")]).await, Exit::Good);
    for key in ["k", "k", "l"] {
        assert_eq!(world.ran(&["run", "p", "--key", key, "--format", "json"]).await, Exit::Good);
    }
    assert_eq!(world.engine.store().runs().unwrap().len(), 2);
    assert_eq!(world.ran(&["list", "--state", "running", "--process", "p", "--since", "1h"]).await, Exit::Good);
    assert_eq!(world.ran(&["list", "--format", "json"]).await, Exit::Good);
}

#[tokio::test]
async fn the_tables_hold_steps_incidents_and_definitions_as_they_are() {
    let world = World::new().await;
    let file = world.file("p", "fails");
    world.ran(&["deploy", &file]).await;
    assert_eq!(world.ran(&["run", "p", "--wait"]).await, Exit::Warn);
    let run = world.engine.store().runs().unwrap()[0].0;
    let shown = Run::of(&world.target(), run).await.unwrap();
    let steps: Vec<(&str, &str, &str)> = shown
        .steps
        .iter()
        .map(|step| {
            let text = |name: &str| step[name].as_str().unwrap();
            (text("element_id"), text("element_type"), text("state"))
        })
        .collect();
    assert_eq!(steps, [("start", "startEvent", "completed"), ("fails", "serviceTask", "active")]);
    assert_eq!((&shown.steps[1]["name"], &shown.steps[1]["attempts"]), (&json!("Do it"), &json!(1)));
    let incident = &shown.incidents[0];
    assert_eq!((&incident["kind"], &incident["element_id"]), (&json!("job-failed"), &json!("fails")));
    assert!(incident["message"].as_str().unwrap().contains("no luck"));
    assert_eq!(shown.run["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(shown.steps[0]["span_id"].as_str().unwrap().len(), 16);
    let definitions = world.rows("SELECT * FROM pipeline_definitions").await;
    assert_eq!(definitions[0]["xml"].as_str().unwrap(), std::fs::read_to_string(&file).unwrap());
    assert_eq!((&definitions[0]["version"], &definitions[0]["change"]), (&json!(1), &json!("new")));
    // Ids of the engine join those of spans.
    let joined = world.rows("SELECT count(*) AS n FROM spans s JOIN pipeline_runs r ON s.trace_id = r.trace_id").await;
    assert_eq!(joined[0]["n"], 0);
    for line in [&["show", &run.to_string()][..], &["show", &run.to_string(), "--format", "json"]] {
        assert_eq!(world.ran(line).await, Exit::Good);
    }
}

#[tokio::test]
async fn a_run_is_drawn_with_the_state_of_its_elements() {
    let world = World::new().await;
    world.ran(&["deploy", &world.file("p", "fails")]).await;
    world.ran(&["run", "p", "--wait"]).await;
    let run = world.engine.store().runs().unwrap()[0].0.to_string();
    let daemon = Daemon { url: None, data: None, token_file: None };
    let text = export::of_run(run.parse().unwrap(), daemon, world.data.path().to_owned()).await.unwrap();
    assert!(text.starts_with("flowchart LR"), "{text}");
    let has = |class: &str, id: &str| {
        text.lines().any(|line| line.trim_start().starts_with("class ") && line.contains(id) && line.contains(class))
    };
    assert!(has("done", "start") && has("incident", "fails"), "{text}");
    assert_eq!(world.ran(&["export", &run, "--mermaid"]).await, Exit::Good);
    assert_eq!(world.ran(&["export", &run, "--json"]).await, Exit::Usage);
}

#[tokio::test]
async fn what_is_not_there_or_not_right_has_its_exit_code() {
    let world = World::new().await;
    let good = world.file("good", "ok");
    let bad = world.data.path().join("bad.bpmn");
    std::fs::write(&bad, std::fs::read_to_string(&good).unwrap().replace("targetRef=\"end\"", "targetRef=\"gone\""))
        .unwrap();
    let bad = bad.display().to_string();
    let nowhere = Path::new(&good).with_extension("none").display().to_string();
    for (line, exit) in [
        (vec!["deploy", &good, &bad], Exit::Config),
        (vec!["deploy", &good, &nowhere], Exit::Io),
        (vec!["run", "good"], Exit::Bad),
        (vec!["show", "77"], Exit::Bad),
        (vec!["export", "77", "--mermaid"], Exit::Bad),
        (vec!["list", "--since", "soon"], Exit::Usage),
        (vec!["run", "good", "--set", "x"], Exit::Usage),
        (vec!["list", "--url", "http://127.0.0.1:1"], Exit::Unavailable),
        (vec!["list", "--data", "/nowhere"], Exit::Unavailable),
    ] {
        assert_eq!(world.ran(&line).await, exit, "{line:?}");
    }
    assert_eq!(world.engine.store().definitions().unwrap().len(), 0, "a set with an error deploys nothing");
}
