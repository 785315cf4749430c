//! Claims about the API, over real connections.

mod fuzz;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::access;
use crate::clock::Clock;
use crate::query::tests::fixture::{self, Span};

pub(super) struct Server {
    pub(super) address: SocketAddr,
    /// Of what is served.
    pub(super) gateway: crate::query::Gateway,
    stop: CancellationToken,
    done: tokio::task::JoinHandle<()>,
}

pub(super) async fn server(config: access::Config, query: crate::query::Config) -> Server {
    serving(config, query, None).await
}

/// A server whose API takes what changes pipelines.
pub(super) async fn server_with(config: access::Config, engine: Option<Engine>) -> Server {
    serving(config, crate::query::Config { threads: 2, ..Default::default() }, engine).await
}

async fn serving(config: access::Config, query: crate::query::Config, engine: Option<Engine>) -> Server {
    served(AppState { engine, ..state(config, query) }).await
}

/// What requests need, without what changes anything.
pub(super) fn state(config: access::Config, query: crate::query::Config) -> AppState {
    let spans: Vec<Span> = (1..=3).map(|id| Span::new(1, id).with("http.route", "/cart")).collect();
    AppState {
        gateway: fixture::gateway(&spans, query),
        store: None,
        engine: None,
        outbox: None,
        gates: None,
        access: Arc::new(Access::open(config, &Clock::manual(0, 1)).unwrap()),
        hosts: Arc::new(Hosts::new(&["spans.example".to_owned()])),
        flight: true,
        clock: crate::clock::Clock::os(),
        links: Arc::new(Links { health: Some("http://localhost:13133/".to_owned()), metrics: None }),
    }
}

pub(super) async fn served(state: AppState) -> Server {
    served_on("127.0.0.1:0", state).await
}

async fn served_on(endpoint: &str, state: AppState) -> Server {
    let (listeners, gateway) = (bind(endpoint).await.unwrap(), state.gateway.clone());
    let address = SocketAddr::from(([127, 0, 0, 1], listeners[0].local_addr().unwrap().port()));
    let stop = CancellationToken::new();
    let done = tokio::spawn(serve(listeners, state, stop.clone()));
    Server { address, gateway, stop, done }
}

pub(super) async fn plain() -> Server {
    server(access::Config::default(), crate::query::Config { threads: 2, ..Default::default() }).await
}

impl Server {
    pub(super) fn post(&self, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::builder().no_proxy().build().unwrap().post(format!("http://{}{path}", self.address))
    }

    pub(super) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        reqwest::Client::builder().no_proxy().build().unwrap().get(format!("http://{}{path}", self.address))
    }

    pub(super) async fn error(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
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
        ("application/vnd.apache.parquet", "", "application/vnd.apache.parquet"),
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
        (r#"{"sql": "SELECT 1", "hints": {"pushdwn": "on"}}"#, 400, "sql.argument"),
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
        ("sec-fetch-site", "same-site", 403),
        ("sec-fetch-site", "same-origin", 200),
        ("sec-fetch-site", "none", 200),
        ("origin", own.as_str(), 200),
    ] {
        let response = server.post("/api/v1/sql").header(name, value).body("SELECT 1").send().await.unwrap();
        assert_eq!(response.status(), status, "{name}: {value}");
        // An image of another page would run it as well.
        let response = server.get("/api/v1/sql?q=SELECT+1").header(name, value).send().await.unwrap();
        assert_eq!(response.status(), status, "GET {name}: {value}");
        for path in ["/api/v1/schema", "/api/v1/openapi.json"] {
            let response = server.get(path).header(name, value).send().await.unwrap();
            assert_eq!(response.status(), status, "{path} {name}: {value}");
        }
        let response = server.get("/").header(name, value).send().await.unwrap();
        assert_eq!(response.status(), 200, "a link to the page: {name}: {value}");
    }
}

#[tokio::test]
async fn the_schema_is_read_as_its_caller() {
    let server = plain().await;
    assert_eq!(server.get("/api/v1/schema").send().await.unwrap().status(), 200);
    let sql = "SELECT count(*) FILTER (WHERE identity IS NULL), \
               count(*) FILTER (WHERE identity = 'anonymous' AND surface = 'http' AND state = 'ok') > 1 \
               FROM system.queries";
    let answer: Value = server.post("/api/v1/sql").body(sql).send().await.unwrap().json().await.unwrap();
    assert_eq!(answer["rows"], json!([[0, true]]));
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
async fn a_listener_beyond_loopback_asks_for_a_token_over_loopback_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    std::fs::write(&path, "0123456789abcdef admin\n").unwrap();
    for (endpoint, status) in [("127.0.0.1:0", 200), ("0.0.0.0:0", 401)] {
        let config = access::Config { anonymous: None, tokens_file: Some(path.clone()) };
        let query = crate::query::Config { threads: 1, ..Default::default() };
        let server = served_on(endpoint, state(config, query)).await;
        let response = server.post("/api/v1/sql").body("SELECT 1").send().await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{endpoint}");
        let response =
            server.post("/api/v1/sql").bearer_auth("0123456789abcdef").body("SELECT 1").send().await.unwrap();
        assert_eq!(response.status(), 200, "{endpoint}");
    }
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

#[tokio::test]
async fn a_parquet_answer_is_a_file_with_the_rows_of_json() {
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    let server = plain().await;
    let sql = "SELECT name, duration_ns, span_id, attributes FROM spans ORDER BY span_id";
    let rows = |format: &str| server.post(&format!("/api/v1/sql?format={format}")).body(sql).send();
    let file = rows("parquet").await.unwrap().bytes().await.unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    let of_duration = reader.schema().field_with_name("duration_ns").unwrap().metadata()["wg.type"].clone();
    let batches: Vec<_> = reader.build().unwrap().map(Result::unwrap).collect();
    let stream = rows("arrow").await.unwrap().bytes().await.unwrap();
    let stream = arrow::ipc::reader::StreamReader::try_new(stream.as_ref(), None).unwrap();
    let of_stream: Vec<_> = stream.map(Result::unwrap).collect();
    assert_eq!((batches[0].num_rows(), of_duration.as_str()), (3, "BIGINT"));
    for (column, of_stream) in batches[0].columns().iter().zip(of_stream[0].columns()) {
        assert_eq!(column, of_stream);
    }
    // Without its footer it is no file.
    let whole = rows("parquet").await.unwrap().bytes().await.unwrap();
    assert!(ParquetRecordBatchReaderBuilder::try_new(whole.slice(..whole.len() - 8)).is_err());
}

#[tokio::test]
async fn a_check_plans_and_runs_nothing() {
    let server = plain().await;
    let check = |body: Value| server.post("/api/v1/sql/check").json(&body).send();
    let sql = "SELECT name, sum(duration_ns) AS total_ns FROM spans WHERE start_time > $1 AND kind = $2 GROUP BY 1";
    let told: Value = check(json!({"sql": sql})).await.unwrap().json().await.unwrap();
    let columns = json!([
        {"name": "name", "type": "TEXT", "unit": null},
        {"name": "total_ns", "type": "BIGINT", "unit": "ns"},
    ]);
    assert_eq!(told["columns"], columns, "{told}");
    let parameters = json!([{"name": "1", "type": "TIMESTAMP(9)"}, {"name": "2", "type": "TEXT"}]);
    assert_eq!((&told["parameters"], &told["estimates"]), (&parameters, &Value::Null));
    let given = json!({"sql": "SELECT name FROM spans", "limits": {"rows": 99_999_999}});
    let told: Value = check(given).await.unwrap().json().await.unwrap();
    let estimates = json!({"rows": 3, "rows_exact": true, "parts": 0, "bytes": 0});
    assert_eq!((&told["estimates"], &told["parameters"]), (&estimates, &json!([])), "{told}");
    assert_eq!(told["notices"], json!(["`limits.rows` was cut from 99999999 to 10000"]));
    for (body, code) in [("SELECT nme FROM spans", "sql.unknown_column"), ("DROP TABLE spans", "sql.not_allowed")] {
        let error = server.error(server.post("/api/v1/sql/check").body(body)).await.1;
        assert_eq!(error["code"], code, "{error}");
    }
    // What runs for ever is planned at once, and is not in the list of those that ran.
    let began = std::time::Instant::now();
    let endless = "SELECT sum(a.value * b.value) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b";
    assert_eq!(check(json!({"sql": endless})).await.unwrap().status(), 200);
    assert!(began.elapsed() < Duration::from_secs(10));
    let listed = server.post("/api/v1/sql").body("SELECT count(*) FROM system.queries WHERE text LIKE '%value%'");
    let listed: Value = listed.send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["rows"], json!([[1]]), "itself alone");
}

const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b \
                       WHERE a.value + b.value <> 7";

#[tokio::test]
async fn a_statement_is_stopped_by_its_id_and_stays_in_the_list() {
    let server = plain().await;
    let body = json!({"sql": ENDLESS, "tag": "dashboard 7"});
    let endless = tokio::spawn(server.post("/api/v1/sql").json(&body).send());
    let list = "SELECT query_id, state, identity, surface, error, rows, files_opened, cpu_ms, peak_memory_bytes \
                FROM system.queries WHERE tag = 'dashboard 7'";
    let listed = || async {
        let answer: Value = server.post("/api/v1/sql").body(list).send().await.unwrap().json().await.unwrap();
        answer["rows"][0].clone()
    };
    let row = loop {
        match listed().await {
            row if row[1] == "running" && !row[7].is_null() => break row,
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!((&row[2], &row[3], &row[4], &row[5]), (&json!("anonymous"), &json!("http"), &Value::Null, &json!(0)));
    let id = row[0].as_str().unwrap().to_owned();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let stop = |id: &str| client.delete(format!("http://{}/api/v1/sql/{id}", server.address));
    let began = std::time::Instant::now();
    let stopped: Value = stop(&id).send().await.unwrap().json().await.unwrap();
    assert_eq!(stopped, json!({"query_id": id, "state": "cancelled"}));
    let answer = endless.await.unwrap().unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    assert_eq!(answer.status().as_u16(), 499);
    let error: Value = answer.json().await.unwrap();
    assert_eq!((&error["error"]["code"], &error["error"]["query_id"]), (&json!("sql.cancelled"), &json!(id)));
    let row = listed().await;
    assert_eq!((&row[0], &row[1], &row[4]), (&json!(id), &json!("cancelled"), &json!("sql.cancelled")));
    let (status, error) = server.error(stop(&id)).await;
    assert_eq!((status, &error["code"]), (404, &json!("web.not_found")), "it has ended");
    assert_eq!(server.error(stop("nonsense")).await.0, 404);
}

#[tokio::test]
async fn nobody_stops_the_statement_of_another_but_an_admin() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokens");
    let (one, two, admin) = ("1".repeat(16), "2".repeat(16), "3".repeat(16));
    std::fs::write(&path, format!("{one} viewer\n{two} viewer\n{admin} admin\n")).unwrap();
    let config = access::Config { anonymous: Some(None), tokens_file: Some(path) };
    let server = server(config, crate::query::Config { threads: 2, ..Default::default() }).await;
    let endless = tokio::spawn(server.post("/api/v1/sql").bearer_auth(&one).body(ENDLESS).send());
    let id = loop {
        let list = "SELECT query_id FROM system.queries WHERE state = 'running' AND text LIKE '%<> 7'";
        let list = server.post("/api/v1/sql").bearer_auth(&two).body(list);
        let answer: Value = list.send().await.unwrap().json().await.unwrap();
        match answer["rows"][0][0].as_str() {
            Some(id) => break id.to_owned(),
            None => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let stop = |token: &str| client.delete(format!("http://{}/api/v1/sql/{id}", server.address)).bearer_auth(token);
    assert_eq!(server.error(stop(&two)).await.0, 403);
    assert_eq!(stop(&admin).send().await.unwrap().status(), 200);
    assert_eq!(endless.await.unwrap().unwrap().status().as_u16(), 499);
}

#[tokio::test]
async fn every_path_of_the_document_is_served_and_a_shape_is_what_is_answered() {
    let server = plain().await;
    let document: Value = server.get("/api/v1/openapi.json").send().await.unwrap().json().await.unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = reqwest::Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
            let response = client.request(method.clone(), format!("http://{}{path}", server.address)).send().await;
            let status = response.unwrap().status().as_u16();
            // 404 = there is no store or engine behind it here, or no statement of that id.
            assert!(status != 405 && status < 500, "{method} {path}: {status}");
        }
    }
    let shape = |name: &str| -> BTreeSet<String> {
        let members = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        members.keys().cloned().collect()
    };
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    let answer: Value = server.post("/api/v1/sql").body("SELECT 1").send().await.unwrap().json().await.unwrap();
    let checked: Value = server.post("/api/v1/sql/check").body("SELECT 1").send().await.unwrap().json().await.unwrap();
    let wrong: Value = server.post("/api/v1/sql").body("SELECT").send().await.unwrap().json().await.unwrap();
    let schema: Value = server.get("/api/v1/schema").send().await.unwrap().json().await.unwrap();
    for (name, value) in [("Answer", &answer), ("Checked", &checked), ("Error", &wrong), ("Schema", &schema)] {
        assert_eq!(shape(name), keys(value), "{name}");
    }
    let stats = document["components"]["schemas"]["Answer"]["properties"]["stats"]["properties"].clone();
    assert_eq!(keys(&stats), keys(&answer["stats"]));
}

#[tokio::test]
async fn the_schema_says_what_functions_and_relations_are_for() {
    let server = plain().await;
    let schema: Value = server.get("/api/v1/schema").send().await.unwrap().json().await.unwrap();
    let find = |list: &str, name: &str| {
        schema[list].as_array().unwrap().iter().find(|of| of["name"] == name).cloned().unwrap_or_default()
    };
    let spans = find("tables", "spans");
    assert!(spans["about"].is_string() && spans["example"].as_str().unwrap().contains("FROM spans"), "{spans}");
    let dur = find("functions", "dur");
    assert_eq!((&dur["kind"], &dur["returns"]), (&json!("scalar"), &json!("BIGINT")), "{dur}");
    assert!(dur["about"].is_string() && dur["example"].as_str().unwrap().contains("dur("), "{dur}");
    assert_eq!(find("functions", "sqrt")["about"], Value::Null);
    assert!(find("tables", "system.queries")["columns"].as_array().unwrap().len() > 10);
}

/// Whether the server closes `stream` within `limit`; what it says before is not looked at.
async fn closes(stream: &mut tokio::net::TcpStream, limit: Duration) -> bool {
    use tokio::io::AsyncReadExt as _;
    let mut said = Vec::new();
    tokio::time::timeout(limit, stream.read_to_end(&mut said)).await.is_ok()
}

#[tokio::test]
async fn a_connection_that_asks_nothing_is_cut_and_an_answer_that_takes_long_is_not() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let server = plain().await;
    let connect = async |said: &[u8]| {
        let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
        stream.write_all(said).await.unwrap();
        stream
    };
    // No byte, half a preface, the preface and settings of HTTP/2, half a head.
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let silent = [&b""[..], b"PRI * HT", preface, b"GET / HTTP/1.1\r\nHost: loc"];
    let mut streams = Vec::new();
    for said in silent {
        streams.push(connect(said).await);
    }
    // An answer that its reader takes slowly: longer than the time to a first request.
    let sql = "SELECT%20value,value-1,value-2,value-3,value-4%20FROM%20generate_series(1,1000000)";
    let head = format!("GET /api/v1/sql?format=arrow&q={sql} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let mut slow = connect(head.as_bytes()).await;
    let began = tokio::time::Instant::now();
    for (stream, said) in streams.iter_mut().zip(silent) {
        let left = Duration::from_secs(17).saturating_sub(began.elapsed());
        assert!(closes(stream, left).await, "{:?}", String::from_utf8_lossy(said));
    }
    assert!(began.elapsed() >= Duration::from_secs(9), "{:?}", began.elapsed());
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), slow.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"0\r\n\r\n"), "{}", answer.len());
}
