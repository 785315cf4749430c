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
    daemon_on("127.0.0.1:0", access).await
}

/// As one that is bound to `endpoint`.
async fn daemon_on(endpoint: &str, access: crate::access::Config) -> (tempfile::TempDir, CancellationToken) {
    let spans: Vec<Span> = (1..=50).map(|id| Span::new(1, id).with("k", 1_i64)).collect();
    let config = crate::query::Config { threads: 2, ..Default::default() };
    let state = AppState {
        gateway: fixture::gateway(&spans, config),
        store: None,
        engine: None,
        outbox: None,
        gates: None,
        access: Arc::new(Access::open(access, &Clock::manual(0, 1)).unwrap()),
        hosts: Arc::new(Hosts::default()),
        flight: true,
        clock: crate::clock::Clock::os(),
        links: Arc::new(Links::default()),
    };
    let listeners = bind(endpoint).await.unwrap();
    let address = listeners[0].local_addr().unwrap();
    let stop = CancellationToken::new();
    tokio::spawn(serve(listeners, state, stop.clone()));
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("run.json"), format!(r#"{{"pid": 1, "api": ["{address}"]}}"#)).unwrap();
    (dir, stop)
}

async fn ran(data: &Path, line: &[&str]) -> (Exit, String) {
    piped(data, line, "").await
}

/// As with `script` on standard input.
async fn piped(data: &Path, line: &[&str], script: &str) -> (Exit, String) {
    let args = match Line::try_parse_from(std::iter::once("sql").chain(line.iter().copied())) {
        Ok(line) => line.args,
        Err(error) => return (Exit::Usage, error.to_string()),
    };
    let mut out = Vec::new();
    let args = Args { output: args.output.or(args.out.is_none().then_some(Output::Ndjson)), ..args };
    let clock = Clock::manual(fixture::NOW, 3);
    let surroundings = Surroundings { data_folder: data.to_owned(), history: PathBuf::new(), clock };
    match to(&mut out, args, surroundings, script.to_owned()).await {
        Ok(()) => (Exit::Good, String::from_utf8_lossy(&out).into_owned()),
        Err(failure) => (failure.exit(), failure.to_string()),
    }
}

#[tokio::test]
async fn a_daemon_that_is_bound_to_every_address_is_found_by_its_run_file() {
    let anyone = crate::access::Config { anonymous: Some(Some(crate::access::Role::Viewer)), tokens_file: None };
    let (dir, _stop) = daemon_on("0.0.0.0:0", anyone).await;
    let (exit, text) = ran(dir.path(), &["SELECT count(*) AS n FROM spans"]).await;
    assert_eq!((exit, text.lines().next()), (Exit::Good, Some(r#"{"n":50}"#)), "{text}");
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
        (vec!["-c", "SELECT 1", "--named", "red"], data, Exit::Usage),
        (vec!["-c", "SELECT 1", "-f", "x.sql"], data, Exit::Usage),
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
    // As a daemon writes it: who may read the tokens need not name them.
    naming(dir.path(), &file);
    let (exit, text) = ran(dir.path(), &["SELECT 1"]).await;
    assert_eq!(exit, Exit::Good, "{text}");
    std::fs::remove_file(&file).unwrap();
    assert_eq!(ran(dir.path(), &["SELECT 1"]).await.0, Exit::Unavailable);
}

/// A `run.json` that names the tokens file `file`, as a daemon writes it.
fn naming(data: &Path, file: &Path) {
    let run_file = data.join("run.json");
    let run = std::fs::read_to_string(&run_file).unwrap();
    std::fs::write(&run_file, run.replace('}', &format!(r#", "tokens_file": {file:?}}}"#))).unwrap();
}

#[tokio::test]
async fn where_no_token_is_asked_for_none_is_sent_that_was_not_named() {
    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("tokens");
    let config = crate::access::Config { anonymous: None, tokens_file: Some(file.clone()) };
    let (dir, _stop) = daemon(config).await;
    naming(dir.path(), &file);
    // Edited since the daemon read it.
    std::fs::write(&file, "fedcba9876543210 admin\n").unwrap();
    let (exit, text) = ran(dir.path(), &["SELECT 1"]).await;
    assert_eq!(exit, Exit::Good, "{text}");
    let (exit, text) = ran(dir.path(), &["SELECT 1", "--token-file", file.to_str().unwrap()]).await;
    assert_eq!(exit, Exit::Unavailable, "{text}");
}

#[tokio::test]
async fn what_a_caller_without_a_token_may_not_do_is_asked_again_as_an_admin() {
    let secret = tempfile::tempdir().unwrap();
    let file = secret.path().join("tokens");
    std::fs::write(&file, "fedcba9876543210 viewer\n0123456789abcdef admin\n").unwrap();
    let anonymous = Some(Some(crate::access::Role::Viewer));
    let (dir, _stop) = daemon(crate::access::Config { anonymous, tokens_file: Some(file.clone()) }).await;
    let asked = || async {
        let target = ask::Target::of(None, None, dir.path()).unwrap();
        // Needs the role admin, and a store, which this daemon does not have.
        target.call("/api/v1/store/compact").await.unwrap_err().to_string()
    };
    let refused = asked().await;
    assert!(refused.contains("role admin"), "{refused}");
    naming(dir.path(), &file);
    let passed = asked().await;
    assert!(!passed.contains("role admin"), "{passed}");
}

#[test]
fn parameters_are_typed_as_json_scalars_and_else_text() {
    let given = ["a=5", "b=checkout", "c=true", "$d=null", "e=\"5\"", "f=[1]", "g=", "h=x=y", "i=-1.5"];
    let given: Vec<String> = given.map(str::to_owned).to_vec();
    let expected = serde_json::json!({
        "a": 5, "b": "checkout", "c": true, "d": null, "e": "5", "f": "[1]", "g": "", "h": "x=y", "i": -1.5
    });
    let pairs = call::pairs(&given).unwrap();
    assert_eq!(serde_json::Value::Object(call::typed(&pairs).unwrap()), expected);
}

#[tokio::test]
async fn a_named_query_runs_with_values_of_the_types_of_its_head() {
    let (dir, _stop) = daemon(crate::access::Config::default()).await;
    let data = dir.path();
    let (exit, text) = ran(data, &["--named", "red", "-p", "since=1h", "-p", "service=shop"]).await;
    assert_eq!(exit, Exit::Good, "{text}");
    assert!(text.starts_with(r#"{"service_name":"shop","name":"op","calls":50,"#), "{text}");
    // `5` is text where the head says TEXT.
    let (exit, text) = ran(data, &["--named", "red.sql", "-p", "service=5"]).await;
    assert_eq!((exit, text.lines().count()), (Exit::Good, 1), "{text}");
    let at = ["--named", "before_after", "-p", "at=now-1s", "-o", "json"];
    let (exit, text) = ran(data, &at).await;
    assert_eq!(exit, Exit::Good, "{text}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let column = json["columns"].as_array().unwrap().iter().find(|column| column["name"] == "p95_change").unwrap();
    assert_eq!(column["unit"], "ratio");
    assert_eq!(json["rows"][0][3], 50);
    for (line, said) in [
        (vec!["--named", "rde"], "there is no query `rde`; did you mean `red`? `weavergen sql --list` lists them"),
        (
            vec!["--named", "red", "-p", "servce=a"],
            "-p servce: `red` has no parameter `servce`; did you mean `service`?",
        ),
        (
            vec!["--named", "red", "-p", "since=soon"],
            "-p since=soon: `soon` is no DURATION; write a duration, e.g. `250ms`, `1h30m`, `7d`",
        ),
        (
            vec!["--named", "trace"],
            "`trace` needs `trace` (TEXT: its id, 32 hex digits); give it with -p trace=…, e.g. \
             `-p trace=00000000000000000000000000000002`",
        ),
    ] {
        assert_eq!(ran(data, &line).await, (Exit::Usage, said.to_owned()), "{line:?}");
    }
    let (exit, text) = ran(data, &["--list"]).await;
    assert_eq!(exit, Exit::Good);
    let row = r#"{"query":"trace","about":"one trace in a line"#;
    assert!(text.lines().any(|line| line.starts_with(row)), "{text}");
    let (_, text) = ran(data, &["--list", "-o", "box"]).await;
    assert!(text.contains("│ throughput ") && text.contains("│ attribute_cardinality "), "{text}");
}

#[tokio::test]
async fn a_script_runs_its_statements_one_after_another_up_to_the_first_failure() {
    let (dir, _stop) = daemon(crate::access::Config::default()).await;
    let data = dir.path();
    let script =
        "-- two\n.output csv\nSELECT 1 AS a; SELECT ';' AS b, $x AS x\n;\n\\x\n.output markdown\nSELECT 3 AS c";
    let (exit, text) = piped(data, &["-p", "x=5"], script).await;
    assert_eq!((exit, text.as_str()), (Exit::Good, "a\r\n1\r\nb,x\r\n;,5\r\n| c |\n| ---: |\n| 3 |\n"));
    let (exit, text) = piped(data, &[], "SELECT 1; SELECT nme FROM spans; SELECT 3").await;
    assert_eq!(exit, Exit::Bad, "{text}");
    for (line, script, said) in [
        (vec!["-p", "y=1"], "SELECT $x", "-p y: no statement of standard input has `$y`; correct the name"),
        (vec![], "-- nothing", "standard input has no statement; write one, e.g. `SELECT * FROM spans LIMIT 10`"),
        (vec![], "\\dd", "there is no command `\\dd`; did you mean `\\d`? `.help` lists them"),
        (vec![], ".output csf", "there is no format `csf`; did you mean `csv`?"),
    ] {
        assert_eq!(piped(data, &line, script).await, (Exit::Usage, said.to_owned()), "{script}");
    }
    let files = tempfile::tempdir().unwrap();
    let file = files.path().join("a.sql");
    std::fs::write(&file, "SELECT count(*) AS n FROM spans; .read nowhere.sql").unwrap();
    let (exit, text) = ran(data, &["-f", file.to_str().unwrap()]).await;
    assert_eq!((exit, text.as_str()), (Exit::Io, "there is no file nowhere.sql; correct its path"));
    std::fs::write(&file, "-- about: a\n-- param: n BIGINT = 2 how many\nSELECT $n + 1 AS m").unwrap();
    let (_, text) = ran(data, &["-f", file.to_str().unwrap(), "-o", "csv"]).await;
    assert_eq!(text, "m\r\n3\r\n");
    let (exit, text) = ran(data, &["-f", file.to_str().unwrap(), "-p", "n=x"]).await;
    assert_eq!((exit, text.as_str()), (Exit::Usage, "-p n=x: `x` is no BIGINT; write a whole number, e.g. `20`"));
    let (exit, text) = ran(data, &["-f", "/nowhere/a.sql"]).await;
    assert_eq!((exit, text.as_str()), (Exit::Io, "there is no file /nowhere/a.sql; correct its path"));
}

#[tokio::test]
async fn rows_go_to_a_file_in_the_format_of_its_name_and_a_failure_leaves_what_was_there() {
    let (dir, _stop) = daemon(crate::access::Config::default()).await;
    let files = tempfile::tempdir().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    let sql = "SELECT name, duration_ns, attributes FROM spans ORDER BY span_id";
    let (exit, text) = ran(dir.path(), &[sql, "--out", &path("a.parquet"), "--limit", "30"]).await;
    assert_eq!((exit, text.as_str()), (Exit::Good, ""));
    let (exit, text) = ran(dir.path(), &[sql, "--out", &path("a.parquet"), "--limit", "x"]).await;
    assert_eq!(exit, Exit::Usage, "{text}");
    let (exit, _) = ran(dir.path(), &["SELECT nme FROM spans", "--out", &path("a.parquet")]).await;
    assert_eq!(exit, Exit::Bad);
    assert_eq!(std::fs::read_dir(files.path()).unwrap().count(), 1);
    // The folder is now one of plain Parquet files.
    let (exit, text) = ran(
        Path::new("/nowhere"),
        &["SELECT count(*) AS n, sum(duration_ns) AS ns FROM parquet", "--data", &path(""), "-o", "csv"],
    )
    .await;
    assert_eq!((exit, text.as_str()), (Exit::Good, "n,ns\r\n30,30000\r\n"));
    let (exit, text) = ran(dir.path(), &["SELECT * FROM spanz", "--data", &path("")]).await;
    assert!(exit == Exit::Bad && text.contains("are the table `parquet`"), "{text}");
    let (_, _) = ran(dir.path(), &[sql, "--out", &path("b.csv"), "--limit", "1"]).await;
    let text = std::fs::read_to_string(path("b.csv")).unwrap();
    assert_eq!(text, "name,duration_ns,attributes\r\nop,1000,\"{\"\"k\"\":1}\"\r\n");
    let (exit, text) = ran(dir.path(), &[sql, "--out", "/nowhere/x.csv"]).await;
    assert!(exit == Exit::Io && text.contains("make its folder first"), "{text}");
    let (exit, text) = piped(dir.path(), &["--out", &path("c.csv")], "SELECT 1; SELECT 2").await;
    assert_eq!((exit, text.as_str()), (Exit::Usage, "--out takes the rows of one statement, and there are 2"));
}

#[tokio::test]
async fn explain_shows_the_plan_and_a_comment_may_come_first() {
    let (dir, _stop) = daemon(crate::access::Config::default()).await;
    let (exit, text) = ran(dir.path(), &["-c", "-- a note\nSELECT count(*) FROM spans", "--explain", "--timing"]).await;
    assert_eq!(exit, Exit::Good, "{text}");
    assert!(text.contains(r#""plan_type":"logical_plan""#), "{text}");
    let (exit, text) = ran(dir.path(), &["--named", "trace_spans", "-p", "trace=5", "--explain"]).await;
    assert!(exit == Exit::Good && text.contains("TableScan: spans"), "{text}");
    let (exit, text) = ran(dir.path(), &["--named", "trace_spans", "-p", "trace=5"]).await;
    assert!(exit == Exit::Bad && text.starts_with("sql.argument"), "{text}");
}
