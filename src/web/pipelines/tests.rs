//! Claims about the calls that change pipelines, over real connections.

use std::collections::BTreeMap;
use std::sync::Arc;

use bpmn::core::OnUnknown;
use serde_json::{Value, json};

use super::super::tests::{Server, server_with};
use crate::access::{self, Role};
use crate::clock::Clock;
use crate::engine::job::schema::lint_registry;
use crate::engine::{Config, Engine, Jobs};

fn engine() -> Engine {
    let jobs = Jobs {
        run: Arc::new(|_, _| Box::pin(std::future::pending())),
        render: Arc::new(|text, _| Ok(text.to_owned())),
        on_unknown: Arc::new(|_, _| OnUnknown::Incident),
        limits: BTreeMap::new(),
    };
    let config = Config { path: None, jobs, registry: lint_registry(Vec::new(), None) };
    Engine::open(config, Clock::manual(1_735_689_600_000_000_000, 1)).unwrap()
}

async fn serving() -> (Server, Engine) {
    let engine = engine();
    (server_with(access::Config::default(), Some(engine.clone())).await, engine)
}

/// A process whose task waits for ever.
fn file(process: &str) -> String {
    format!(
        r#"<definitions xmlns="http://www.omg.org/spec/BPMN/20100524/MODEL"
 xmlns:zeebe="http://camunda.org/schema/zeebe/1.0" targetNamespace="t">
<process id="{process}" isExecutable="true"><startEvent id="start"/>
<serviceTask id="work"><extensionElements><zeebe:taskDefinition type="sql"/>
<zeebe:taskHeaders><zeebe:header key="query" value="SELECT 1"/></zeebe:taskHeaders></extensionElements></serviceTask>
<sequenceFlow id="f" sourceRef="start" targetRef="work"/></process></definitions>"#
    )
}

const DEPLOYMENTS: &str = "/api/v1/pipelines/deployments";
const INSTANCES: &str = "/api/v1/pipelines/instances";

async fn good(request: reqwest::RequestBuilder, status: u16) -> Value {
    let response = request.send().await.unwrap();
    let (got, body) = (response.status().as_u16(), response.text().await.unwrap());
    assert_eq!(got, status, "{body}");
    serde_json::from_str(&body).unwrap()
}

/// The problem that `request` gets, checked for its form.
async fn problem(request: reqwest::RequestBuilder) -> (u16, String, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["status"], status);
    for member in ["type", "title", "detail"] {
        assert!(body[member].is_string(), "{member}: {body}");
    }
    (status, body["code"].as_str().unwrap().to_owned(), body)
}

#[tokio::test]
async fn a_file_comes_into_force_and_the_same_bytes_change_nothing() {
    let (server, engine) = serving().await;
    for (dry, outcome) in [("?dry_run=true", "new"), ("", "new"), ("?dry_run=true", "same"), ("", "same")] {
        let request = server.post(&format!("{DEPLOYMENTS}{dry}")).header("content-type", "application/xml");
        let answer = good(request.body(file("p")), 200).await;
        let deployed = &answer["deployed"][0];
        assert_eq!(
            (&deployed["process_id"], &deployed["version"], &deployed["outcome"]),
            (&json!("p"), &json!(1), &json!(outcome))
        );
        assert_eq!(deployed["hash"].as_str().unwrap().len(), 64);
    }
    assert_eq!(engine.store().definitions().unwrap().len(), 1);
}

#[tokio::test]
async fn of_a_list_all_files_come_into_force_or_none() {
    let (server, engine) = serving().await;
    let broken = file("q").replace("targetRef=\"work\"", "targetRef=\"gone\"");
    let files = json!([{"name": "p.bpmn", "content": file("p")}, {"name": "q.bpmn", "content": broken}]);
    let (status, code, body) = problem(server.post(DEPLOYMENTS).json(&files)).await;
    assert_eq!((status, code.as_str()), (422, "invalid-definition"));
    let found = body["diagnostics"].as_array().unwrap();
    assert!(found.iter().any(|d| d["file"] == "q.bpmn" && d["rule"] == "dangling-ref" && d["line"] == 6), "{body}");
    assert_eq!(engine.store().definitions().unwrap().len(), 0);
    let encoded = base64::engine::Engine::encode(&base64::engine::general_purpose::STANDARD, file("q"));
    let files = json!([{"name": "p.bpmn", "content": file("p")}, {"name": "q.bpmn", "base64": encoded}]);
    let answer = good(server.post(DEPLOYMENTS).json(&files), 200).await;
    assert_eq!(answer["deployed"].as_array().unwrap().len(), 2);
    let twice = json!([{"name": "a.bpmn", "content": file("p")}, {"name": "b.bpmn", "content": file("p") + " "}]);
    let (status, code, _) = problem(server.post(DEPLOYMENTS).json(&twice)).await;
    assert_eq!((status, code.as_str()), (409, "conflict"));
}

#[tokio::test]
async fn an_idempotency_key_starts_one_run() {
    let (server, engine) = serving().await;
    good(server.post(DEPLOYMENTS).body(file("p")), 200).await;
    let body = json!({"process_id": "p", "variables": {"a": 1.5}});
    let start = |key: &str| server.post(INSTANCES).header("idempotency-key", key).json(&body);
    let (first, again, other) = (good(start("k"), 201).await, good(start("k"), 201).await, good(start("l"), 201).await);
    assert_eq!(first, again);
    assert_ne!(first, other);
    assert_eq!(engine.store().runs().unwrap().len(), 2);
    let used = server.post(DEPLOYMENTS).header("idempotency-key", "k").body(file("q"));
    let (status, code, _) = problem(used).await;
    assert_eq!((status, code.as_str()), (409, "conflict"));
    let view = engine.store().view().unwrap();
    let run = first["instance"].as_u64().unwrap();
    assert_eq!((&view as &dyn bpmn::core::StateView).variables(run)["a"].to_json(), json!(1.5));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let (server, engine) = serving().await;
    good(server.post(DEPLOYMENTS).body(file("p")), 200).await;
    for (body, status, code) in [
        (json!({"process_id": "none"}), 404, "not-found"),
        (json!({"process_id": "p", "version": 7}), 404, "not-found"),
        (json!({"process_id": "p", "start": "none"}), 404, "no-such-start"),
        (json!({"process_id": "p", "variables": {"run": 1}}), 422, "invalid-variables"),
        (json!({"process": "p"}), 422, "sql.argument"),
        (json!({"process_id": "p", "variables": [1]}), 422, "sql.argument"),
    ] {
        let (got, name, _) = problem(server.post(INSTANCES).json(&body)).await;
        assert_eq!((got, name.as_str()), (status, code), "{body}");
    }
    let (status, _, _) = problem(server.post(INSTANCES).header("idempotency-key", "").body("{}")).await;
    assert_eq!(status, 422);
    let (status, _, _) = problem(server.post(DEPLOYMENTS).json(&json!([]))).await;
    assert_eq!(status, 422);
    assert_eq!(engine.store().runs().unwrap().len(), 0);
}

#[tokio::test]
async fn a_viewer_changes_nothing_and_without_an_engine_there_is_nothing() {
    let viewer = access::Config { anonymous: Some(Some(Role::Viewer)), ..access::Config::default() };
    let engine = engine();
    let server = server_with(viewer, Some(engine.clone())).await;
    for path in [DEPLOYMENTS, INSTANCES] {
        let (status, code, _) = problem(server.post(path).body(file("p"))).await;
        assert_eq!((status, code.as_str()), (403, "sql.denied"));
    }
    assert_eq!(engine.store().definitions().unwrap().len(), 0);
    let server = server_with(access::Config::default(), None).await;
    let (status, code, _) = problem(server.post(INSTANCES).body("{}")).await;
    assert_eq!((status, code.as_str()), (404, "web.not_found"));
}
