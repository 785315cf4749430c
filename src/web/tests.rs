//! Claims about the API, over real connections.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::access;
use crate::clock::Clock;
use crate::query::tests::fixture::{self, Span};

pub(super) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    done: tokio::task::JoinHandle<()>,
}

async fn server(config: access::Config, query: crate::query::Config) -> Server {
    serving(config, query, None).await
}

/// A server whose API takes what changes pipelines.
pub(super) async fn server_with(config: access::Config, engine: Option<Engine>) -> Server {
    serving(config, crate::query::Config { threads: 2, ..Default::default() }, engine).await
}

async fn serving(config: access::Config, query: crate::query::Config, engine: Option<Engine>) -> Server {
    let spans: Vec<Span> = (1..=3).map(|id| Span::new(1, id).with("http.route", "/cart")).collect();
    let state = AppState {
        gateway: fixture::gateway(&spans, query),
        store: None,
        engine,
        access: Arc::new(Access::open(config, &Clock::manual(0, 1)).unwrap()),
        hosts: Arc::new(Hosts::new(&["spans.example".to_owned()])),
        links: Arc::new(Links { health: Some("http://localhost:13133/".to_owned()), metrics: None }),
    };
    let listeners = bind("127.0.0.1:0").await.unwrap();
    let address = listeners[0].local_addr().unwrap();
    let stop = CancellationToken::new();
    let done = tokio::spawn(serve(listeners, state, stop.clone()));
    Server { address, stop, done }
}

async fn plain() -> Server {
    server(access::Config::default(), crate::query::Config { threads: 2, ..Default::default() }).await
}

impl Server {
    pub(super) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::builder().no_proxy().build().unwrap().post(format!("http://{}{path}", self.address))
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://{}{path}", self.address))
    }

    async fn error(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let body: Value = response.json().await.unwrap();
        let error = body["error"].clone();
        for member in ["code", "class", "message", "position", "hint", "query_id"] {
            assert!(error.get(member).is_some(), "{member}: {body}");
        }
        (status, error)
    }
}

#[tokio::test]
async fn json_and_raw_text_and_get_give_the_same_rows() {
    let server = plain().await;
    let sql = "SELECT name, count(*) AS n FROM spans GROUP BY 1";
    let body = json!({"sql": "SELECT name, count(*) AS n FROM spans WHERE name = $1 GROUP BY 1", "params": ["op"], "tag": "t"});
    for request in [
        server.post("/api/v1/sql").json(&body),
        server.post("/api/v1/sql").body(body.to_string()),
        server.post("/api/v1/sql").header("content-type", "application/x-www-form-urlencoded").body(sql),
        server.post("/api/v1/sql?format=json").header("accept", "text/csv").body(sql),
        server.get("/api/v1/sql").query(&[("q", sql)]),
        server.get("/api/v1/sql").query(&[("q", sql)]).header("accept", "text/html, */*;q=0.8"),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        let id = response.headers()["x-weavergen-query-id"].to_str().unwrap().to_owned();
        let snapshot = response.headers()["x-weavergen-snapshot"].to_str().unwrap().to_owned();
        let answer: Value = response.json().await.unwrap();
        assert_eq!(answer["rows"], json!([["op", 3]]));
        assert_eq!((&answer["query_id"], &answer["snapshot"]), (&json!(id), &json!(snapshot)));
        assert_eq!((id.len(), snapshot.len(), snapshot.ends_with('Z')), (26, 27, true));
    }
}

#[tokio::test]
async fn the_format_follows_accept_and_the_query() {
    let server = plain().await;
    for (accept, query, expected) in [
        ("application/x-ndjson", "", "application/x-ndjson"),
        ("text/csv", "", "text/csv; charset=utf-8"),
        ("application/vnd.apache.arrow.stream", "", "application/vnd.apache.arrow.stream"),
        ("application/json;q=0.1, text/csv;q=0.9", "", "text/csv; charset=utf-8"),
        ("application/json", "?format=arrow", "application/vnd.apache.arrow.stream"),
        ("*/*", "", "application/json"),
    ] {
        let request = server.post(&format!("/api/v1/sql{query}")).header("accept", accept).body("SELECT 1 AS one");
        let response = request.send().await.unwrap();
        assert_eq!(response.headers()["content-type"], expected, "{accept}{query}");
        let bytes = response.bytes().await.unwrap();
        if expected.starts_with("text/csv") {
            assert_eq!(bytes, "one\r\n1\r\n");
        }
    }
    let request = server.post("/api/v1/sql").header("accept", "image/png").body("SELECT 1");
    assert_eq!(server.error(request).await.0, 400);
    assert_eq!(server.error(server.post("/api/v1/sql?format=xml").body("SELECT 1")).await.0, 400);
}

#[tokio::test]
async fn errors_have_their_shape_and_status() {
    let server = plain().await;
    for (body, status, code) in [
        ("SELECT nme FROM spans", 400, "sql.unknown_column"),
        ("SELECT * FROM spnas", 400, "sql.unknown_table"),
        ("SELEC 1", 400, "sql.syntax"),
        ("", 400, "sql.syntax"),
        ("DROP TABLE spans", 403, "sql.not_allowed"),
        ("SELECT 1/0", 400, "sql.argument"),
        (r#"{"sql": 1}"#, 400, "sql.argument"),
        (r#"{"sql": "SELECT 1", "limit": 5}"#, 400, "sql.argument"),
        (r#"{"sql": "SELECT 1", "as_of": "yesterday"}"#, 400, "sql.argument"),
        (r#"{"sql": "SELECT 1", "hints": {"pushdown": "x"}}"#, 400, "sql.argument"),
        ("{", 400, "sql.argument"),
    ] {
        let (got, error) = server.error(server.post("/api/v1/sql").body(body)).await;
        assert_eq!((got, error["code"].as_str().unwrap()), (status, code), "{body}: {error}");
    }
    let (_, error) = server.error(server.post("/api/v1/sql").body("SELECT nme FROM spans")).await;
    assert_eq!(error["position"], json!({"line": 1, "column": 8, "offset": 7}));
    assert_eq!(error["hint"], "did you mean `name`?");
    assert_eq!(server.error(server.get("/api/v1/sql")).await.0, 400);
    assert_eq!(server.error(server.get("/nothing")).await.0, 404);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(server.error(client.put(format!("http://{}/api/v1/sql", server.address))).await.0, 405);
    let (status, error) = server.error(server.post("/api/v1/sql").body(vec![b' '; (1 << 20) + 1])).await;
    assert_eq!((status, error["code"].as_str()), (413, Some("web.too_large")));
    assert_eq!(server.error(server.post("/api/v1/sql").body(vec![b'S', 0xff])).await.0, 400);
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let server = plain().await;
    for (host, status) in [("evil.example", 421), ("spans.example", 200), ("localhost:1", 200), ("[::1]:80", 200)] {
        let response = server.post("/api/v1/sql").header("host", host).body("SELECT 1").send().await.unwrap();
        assert_eq!(response.status(), status, "{host}");
        let response = server.get("/").header("host", host).send().await.unwrap();
        assert_eq!(response.status(), status, "{host}");
    }
    let own = format!("http://{}", server.address);
    for (name, value, status) in [
        ("origin", "https://evil.example", 403),
        ("origin", "null", 403),
        ("sec-fetch-site", "cross-site", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("origin", own.as_str(), 200),
    ] {
        let response = server.post("/api/v1/sql").header(name, value).body("SELECT 1").send().await.unwrap();
        assert_eq!(response.status(), status, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_token_is_asked_for_where_nobody_is_anonymous() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, "0123456789abcdef viewer\n").unwrap();
    let config = access::Config { anonymous: Some(None), tokens_file: Some(path) };
    let server = server(config, crate::query::Config { threads: 1, ..Default::default() }).await;
    let response = server.post("/api/v1/sql").body("SELECT 1").send().await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    let (status, error) = server.error(server.post("/api/v1/sql").bearer_auth("wrong").body("SELECT 1")).await;
    assert_eq!((status, error["code"].as_str()), (401, Some("sql.unauthenticated")));
    let response = server.post("/api/v1/sql").bearer_auth("0123456789abcdef").body("SELECT 1").send().await.unwrap();
    assert_eq!(response.status(), 200);
}

#[tokio::test]
async fn limits_of_a_request_cut_and_end_it() {
    let server = plain().await;
    let cut = json!({"sql": "SELECT name FROM spans", "limits": {"rows": 2}});
    let answer: Value = server.post("/api/v1/sql").json(&cut).send().await.unwrap().json().await.unwrap();
    assert_eq!((answer["rows"].as_array().unwrap().len(), &answer["truncated"]), (2, &json!(true)));
    let cut = json!({"sql": "SELECT name FROM spans", "limits": {"bytes": 14}});
    let answer: Value = server.post("/api/v1/sql").json(&cut).send().await.unwrap().json().await.unwrap();
    assert_eq!((&answer["rows"], &answer["truncated"]), (&json!([["op"], ["op"]]), &json!(true)));
    let joins = (0..14).map(|n| format!("CROSS JOIN spans s{n} ")).collect::<String>();
    let sql =
        format!("SELECT count(*) FROM spans a {joins} WHERE a.duration_ns + s3.duration_ns + s9.duration_ns <> 7");
    let late = json!({"sql": sql, "limits": {"time_ms": 200}});
    let (status, error) = server.error(server.post("/api/v1/sql").json(&late)).await;
    assert_eq!((status, error["code"].as_str()), (504, Some("sql.timeout")), "{error}");
}

#[tokio::test]
async fn the_page_and_the_schema_are_there_and_a_stop_waits_for_nobody() {
    let server = plain().await;
    let page = server.get("/").send().await.unwrap().text().await.unwrap();
    assert!(page.contains("http://localhost:13133/") && page.contains("/api/v1/sql"), "{page}");
    let schema: Value = server.get("/api/v1/schema").send().await.unwrap().json().await.unwrap();
    let tables = schema["tables"].as_array().unwrap();
    let spans = tables.iter().find(|table| table["name"] == "spans").unwrap();
    let columns = spans["columns"].as_array().unwrap();
    assert_eq!(columns[0], json!({"name": "trace_id", "type": "BINARY(16)", "unit": null}));
    assert!(columns.contains(&json!({"name": "duration_ns", "type": "BIGINT", "unit": "ns"})));
    let idle = tokio::net::TcpStream::connect(server.address).await.unwrap();
    server.stop.cancel();
    tokio::time::timeout(Duration::from_secs(12), server.done).await.unwrap().unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_setting_that_moves_it() {
    let listeners = bind("localhost:0").await.unwrap();
    let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
    assert!(ports.iter().all(|port| *port == ports[0] && *port != 0), "{ports:?}");
    let error = bind(&format!("127.0.0.1:{}", ports[0])).await.unwrap_err().to_string();
    assert!(error.contains(&format!("port {}", ports[0])), "{error}");
    assert!(error.contains("--set web::endpoint=localhost:PORT"), "{error}");
    assert!(bind("nowhere").await.is_err());
}

#[tokio::test]
async fn only_an_admin_flushes_and_compacts_the_store() {
    let viewer = access::Config { anonymous: Some(Some(access::Role::Viewer)), ..access::Config::default() };
    let query = crate::query::Config { threads: 2, ..Default::default() };
    let of_viewer = server(viewer, query).await;
    let (status, error) = of_viewer.error(of_viewer.post("/api/v1/store/flush")).await;
    assert_eq!((status, &error["code"]), (403, &json!("sql.denied")));
    let server = plain().await;
    assert_eq!(server.error(server.get("/api/v1/store/flush")).await.0, 405);
    assert_eq!(server.error(server.post("/api/v1/store/flush")).await.0, 404, "this one has no store");
    let (status, error) = of_viewer.error(of_viewer.post("/api/v1/store/compact?hour=2026-11-28T09")).await;
    assert_eq!((status, &error["code"]), (403, &json!("sql.denied")));
    assert_eq!(server.error(server.get("/api/v1/store/compact")).await.0, 405);
    assert_eq!(server.error(server.post("/api/v1/store/compact")).await.0, 404, "this one has no store");
}
