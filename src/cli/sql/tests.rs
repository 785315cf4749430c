//! Claims about `weavergen sql`.

use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::access::{Access, Hosts};
use crate::cli::exit::Exit;
use crate::query::tests::fixture::{self, Span};
use crate::web::{AppState, Links, bind, serve};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// A daemon's API over 50 spans, and a data folder with its `run.json`.
async fn daemon(access: crate::access::Config) -> (tempfile::TempDir, CancellationToken) {
    let spans: Vec<Span> = (1..=50).map(|id| Span::new(1, id).with("k", 1_i64)).collect();
    let config = crate::query::Config { threads: 2, ..Default::default() };
    let state = AppState {
        gateway: fixture::gateway(&spans, config),
        store: None,
        access: Arc::new(Access::open(access, &Clock::manual(0, 1)).unwrap()),
        hosts: Arc::new(Hosts::default()),
        links: Arc::new(Links::default()),
    };
    let listeners = bind("127.0.0.1:0").await.unwrap();
    let address = listeners[0].local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listeners, state, stop.clone()));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("run.json"), format!(r#"{{"pid": 1, "api": ["{address}"]}}"#)).unwrap();
    (dir, stop)
}

async fn ran(data: &Path, line: &[&str]) -> (Exit, String) {
    let args = match Line::try_parse_from(std::iter::once("sql").chain(line.iter().copied())) {
        Ok(line) => line.args,
        Err(error) => return (Exit::Usage, error.to_string()),
    };
    let mut out = Vec::new();
    let output = args.output.unwrap_or(Output::Ndjson);
    let ran = to(&mut out, output, args, data.to_owned(), Clock::manual(fixture::NOW, 3)).await;
    match ran {
        Ok(()) => (Exit::Good, String::from_utf8_lossy(&out).into_owned()),
        Err(failure) => (failure.exit(), failure.to_string()),
    }
}

#[tokio::test]
async fn the_local_daemon_answers_in_every_format() {
    let (dir, _stop) = daemon(crate::access::Config::default()).await;
    let sql = "SELECT name, span_id, attributes FROM spans ORDER BY span_id LIMIT 1";
    let row = r#"{"name":"op","span_id":"0000000000000001","attributes":{"k":1}}"#;
    let (exit, text) = ran(dir.path(), &[sql]).await;
    assert_eq!(exit, Exit::Good, "{text}");
    assert_eq!(text.lines().next(), Some(row));
    let (_, text) = ran(dir.path(), &["-c", sql, "-o", "csv"]).await;
    assert_eq!(text, "name,span_id,attributes\r\nop,0000000000000001,\"{\"\"k\"\":1}\"\r\n");
    let (_, text) = ran(dir.path(), &[sql, "-o", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["columns"][2]["type"], "ATTRIBUTES");
    assert_eq!(json["rows"], serde_json::json!([["op", "0000000000000001", {"k": 1}]]));
    let (_, text) = ran(dir.path(), &[sql, "-o", "box"]).await;
    assert!(text.contains("┆ ATTRIBUTES │") && text.contains(r#"{"k":1}"#) && text.ends_with("\n1 row\n"), "{text}");
    let (exit, text) = ran(dir.path(), &[sql, "-o", "arrow"]).await;
    assert_eq!(exit, Exit::Good);
    assert!(!text.is_empty());
}

#[tokio::test]
async fn rows_are_cut_by_the_limit_and_counted_in_a_box() {
    let (dir, _stop) = daemon(crate::access::Config::default()).await;
    let sql = "SELECT name FROM spans";
    let (_, text) = ran(dir.path(), &[sql, "-o", "box"]).await;
    assert!(text.ends_with("\n… 50 rows (40 shown)\n"), "{text}");
    let (_, text) = ran(dir.path(), &[sql, "-o", "box", "--limit", "45"]).await;
    assert!(text.ends_with("\n… 45+ rows (40 shown)\n"), "{text}");
    let (_, text) = ran(dir.path(), &[sql, "--limit", "2"]).await;
    assert_eq!(text.lines().count(), 3);
    assert!(text.lines().last().unwrap().contains(r#""truncated":true"#), "{text}");
    let (_, text) = ran(dir.path(), &[sql, "--limit", "50"]).await;
    assert!(text.lines().last().unwrap().contains(r#""truncated":false"#), "{text}");
}

#[tokio::test]
async fn exit_codes_tell_what_to_do_next() {
    let (dir, _stop) = daemon(crate::access::Config::default()).await;
    let empty = tempfile::tempdir().unwrap();
    let data = dir.path();
    let endless = (0..14).map(|n| format!("CROSS JOIN spans s{n} ")).collect::<String>();
    let endless = format!("SELECT count(*) FROM spans a {endless} WHERE a.duration_ns + s9.duration_ns <> 7");
    let nowhere = empty.path().join("nowhere");
    let nowhere = nowhere.to_str().unwrap();
    for (line, at, exit) in [
        (vec!["SELECT nme FROM spans"], data, Exit::Bad),
        (vec!["DROP TABLE spans"], data, Exit::Bad),
        (vec![], data, Exit::Usage),
        (vec!["SELECT 1", "-c", "SELECT 2"], data, Exit::Usage),
        (vec!["SELECT 1", "-o", "parquetry"], data, Exit::Usage),
        (vec!["SELECT $x", "-p", "x"], data, Exit::Usage),
        (vec!["SELECT $x", "-p", "x=1", "-p", "x=2"], data, Exit::Usage),
        (vec!["SELECT 1", "--timeout", "soon"], data, Exit::Usage),
        (vec!["SELECT 1", "--url", "x", "--data", "y"], data, Exit::Usage),
        (vec![endless.as_str(), "--timeout", "200ms"], data, Exit::NotJudged),
        (vec!["SELECT 1"], empty.path(), Exit::Unavailable),
        (vec!["SELECT 1", "--url", "http://127.0.0.1:1"], data, Exit::Unavailable),
        (vec!["SELECT 1", "--data", nowhere], data, Exit::Io),
        (vec!["SELECT $x + 1", "-p", "x=41"], data, Exit::Good),
    ] {
        let (got, text) = ran(at, &line).await;
        assert_eq!(got, exit, "{line:?}: {text}");
    }
    let (_, text) = ran(data, &["SELECT 1,\n  nme FROM spans"]).await;
    let expected = "sql.unknown_column: there is no column `nme`\n --> line 2, column 3\n  |   nme FROM spans\n  |   ^\nhint: did you mean `name`?";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn access_denied_is_69_and_a_token_file_opens() {
    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("tokens");
    let config = crate::access::Config { anonymous: Some(None), tokens_file: Some(file.clone()) };
    let (dir, _stop) = daemon(config).await;
    let (exit, text) = ran(dir.path(), &["SELECT 1"]).await;
    assert_eq!(exit, Exit::Unavailable, "{text}");
    assert!(text.contains("--token-file"), "{text}");
    let (exit, text) = ran(dir.path(), &["SELECT 1", "--token-file", file.to_str().unwrap()]).await;
    assert_eq!(exit, Exit::Good, "{text}");
}

#[test]
fn parameters_are_typed_as_json_scalars_and_else_text() {
    let given = ["a=5", "b=checkout", "c=true", "$d=null", "e=\"5\"", "f=[1]", "g=", "h=x=y", "i=-1.5"];
    let given: Vec<String> = given.map(str::to_owned).to_vec();
    let expected = serde_json::json!({
        "a": 5, "b": "checkout", "c": true, "d": null, "e": "5", "f": "[1]", "g": "", "h": "x=y", "i": -1.5
    });
    assert_eq!(serde_json::Value::Object(params(&given).unwrap()), expected);
}
