//! Clients of PostgreSQL over a daemon: psql, psycopg, SQLAlchemy, asyncpg.
//!
//! What they find must be what HTTP gives. `tests/run.sh` installs them and says where in the environment.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::{Value, json};

use crate::daemon::{BINARY, Daemon};
use crate::given::{installed, skipped};

const ENABLED: [&str; 2] = ["--set=query.pg.enabled=true", "--set=query.pg.endpoint=localhost:0"];
/// Nothing of its own comes between two questions.
const QUIET: &str = "--set=service::telemetry::traces::level=none";

/// Each is asked over every wire; times in microseconds, so that no wire rounds.
const QUERIES: [&str; 9] = [
    "SELECT hex(trace_id), hex(span_id) FROM spans ORDER BY 1, 2 LIMIT 5",
    "SELECT trace_id, span_id, name, kind, duration_ns, duration_ms FROM spans ORDER BY 1, 2 LIMIT 5",
    "SELECT start_time FROM spans ORDER BY start_time LIMIT 5",
    "SELECT service_name, count(*), avg(duration_ns), max(status_code) FROM spans GROUP BY 1 ORDER BY 1",
    "SELECT 1.5::double precision, 'NaN'::double precision, true, NULL, -7::bigint, 'é\"\\'",
    "SELECT make_array(1, 2, NULL), make_array('a', 'b,c', ''), DATE '2020-02-29'",
    "SELECT attributes FROM spans ORDER BY trace_id, span_id LIMIT 3",
    "SELECT name FROM spans WHERE start_time BETWEEN '2020-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z' ORDER BY 1 LIMIT 2",
    "SELECT count(*) FROM spans WHERE trace_id = '00000000000000000000000000000001'",
];

fn daemon(dir: &tempfile::TempDir, more: &[&str]) -> Daemon {
    let daemon = Daemon::start_with(&dir.path().join("data"), &[&ENABLED[..], &[QUIET], more].concat());
    let sent = Command::new(BINARY).args(["loadgen", "--traces", "40", "--endpoint", &daemon.grpc()]).output().unwrap();
    assert!(sent.status.success(), "{}", String::from_utf8_lossy(&sent.stderr));
    daemon
}

/// Host and port.
fn address(daemon: &Daemon) -> (String, String) {
    let url = daemon.url("pg", "");
    let (host, port) = url.trim_start_matches("http://").rsplit_once(':').unwrap();
    (host.to_owned(), port.to_owned())
}

fn psql(daemon: &Daemon, args: &[&str]) -> Command {
    let (host, port) = address(daemon);
    let mut command = Command::new("psql");
    command.args(["-X", "-h", &host, "-p", &port, "-U", "me", "-d", "default", "-P", "pager=off"]).args(args);
    command.env("PGCONNECT_TIMEOUT", "10").env_remove("PGPASSWORD");
    command
}

/// What psql prints; it must say nothing else.
fn said(daemon: &Daemon, sql: &str) -> String {
    let output = psql(daemon, &["-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success() && err.is_empty(), "{sql}: {out}{err}");
    out
}

fn has_psql(test: &str) -> bool {
    let there = Command::new("psql").arg("--version").output().is_ok_and(|output| output.status.success());
    if !there {
        skipped(test, "psql is not installed: run tests/run.sh");
    }
    there
}

/// What `tests/clients/pg.py` found.
fn asked(python: &str, daemon: &Daemon, what: &Value) -> Value {
    let (host, port) = address(daemon);
    let mut child = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/pg.py"))
        .args([&host, &port])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(what.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Python writes NaN as it is.
    let text = String::from_utf8(output.stdout).unwrap().replace("NaN", "\"NaN\"");
    serde_json::from_str(&text).unwrap()
}

/// A value of HTTP's JSON as the script writes it: containers are text on this wire, times end at microseconds.
fn on_this_wire(value: &Value) -> Value {
    match value {
        Value::Object(_) => json!(value.to_string()),
        Value::Array(items) => items.iter().map(on_this_wire).collect(),
        Value::String(text) if text.len() == 30 && text.ends_with('Z') => json!(text[..26]),
        other => other.clone(),
    }
}

/// Numbers as numbers, whatever form they were written in, and JSON within text as what it says.
fn alike(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(alike).collect(),
        Value::String(text) if text.starts_with('{') => {
            serde_json::from_str(text).map_or_else(|_| value.clone(), |of| alike(&of))
        }
        Value::Object(members) => members.iter().map(|(name, of)| (name.clone(), alike(of))).collect(),
        other => other.clone(),
    }
}

#[test]
fn psql_lists_describes_asks_and_cancels() {
    let test = "psql_lists_describes_asks_and_cancels";
    if !has_psql(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(&dir, &[]);
    // A relation that is computed is a view.
    for (listing, views) in [("\\dt", false), ("\\d", true)] {
        let out = said(&daemon, listing);
        assert!(out.contains("spans") && !out.contains("pg_class"), "{listing}: {out}");
        assert_eq!(out.contains("red_1m"), views, "{listing}: {out}");
        assert!(!out.contains("system"), "names without a schema do not reach it: {out}");
    }
    let system = said(&daemon, "\\dt system.*");
    assert!(system.contains("queries") && !system.contains("spans"), "{system}");
    let columns = said(&daemon, "\\d spans");
    for line in ["trace_id", "start_time", "timestamp with time zone", "attributes", "duration_ns", "bigint"] {
        assert!(columns.contains(line), "{line}: {columns}");
    }
    let functions = said(&daemon, "\\df trace_tree");
    assert!(functions.contains("trace_tree") && functions.contains("trace"), "{functions}");
    let commands = [
        "\\l",
        "\\l+",
        "\\dn",
        "\\dn+",
        "\\conninfo",
        "\\d+",
        "\\dt+",
        "\\dv",
        "\\dv+",
        "\\encoding",
        "\\du",
        "\\du+",
        "\\dT",
        "\\dT+",
        "\\df+ trace_tree",
        "\\da+",
        "\\dp",
        "\\dx",
        "\\db+",
        "\\dd",
        "\\dD+",
        "\\ddp",
        "\\dc+",
        "\\des+",
        "\\det+",
        "\\dy+",
        "\\dL+",
        "\\dconfig *time*",
        "\\dtvmsE+ public.*",
    ];
    for command in commands {
        said(&daemon, command);
    }
    let whole = said(&daemon, "\\d+ spans");
    assert!(whole.contains("parent_span_id") && whole.contains("Storage"), "{whole}");
    let definition = said(&daemon, "\\sf trace_tree");
    assert!(definition.contains("FUNCTION public.trace_tree("), "{definition}");
    let text =
        psql(&daemon, &["-At", "-c", "SELECT count(*), 'a' AS b FROM spans", "-c", "SHOW TimeZone"]).output().unwrap();
    let count = daemon.rows("SELECT count(*) FROM spans")[0][0].as_i64().unwrap();
    assert_eq!(String::from_utf8(text.stdout).unwrap(), format!("{count}|a\nUTC\n"));
    let wrong = psql(&daemon, &["-v", "VERBOSITY=verbose", "-c", "SELECT nme FROM spans"]).output().unwrap();
    let told = String::from_utf8(wrong.stderr).unwrap();
    assert!(told.contains("42703") && told.contains("HINT:") && told.contains("LINE 1: SELECT nme"), "{told}");

    let endless = (0..12).map(|n| format!("CROSS JOIN spans s{n} ")).collect::<String>();
    let endless = format!("SELECT count(*) FROM spans a {endless} WHERE a.duration_ns + s9.duration_ns <> 7");
    let child = psql(&daemon, &["-c", &endless]).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(std::time::Duration::from_millis(800));
    let began = Instant::now();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("cancelled"), "{output:?}");
    assert!(began.elapsed().as_secs_f64() < 1.5, "{:?}", began.elapsed());
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn drivers_find_what_http_gives() {
    let test = "drivers_find_what_http_gives";
    let Some(python) = installed(test, "WEAVERGEN_TEST_PYTHON") else { return };
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(&dir, &[]);
    let expected: Vec<Value> = QUERIES.iter().map(|sql| alike(&on_this_wire(&json!(daemon.rows(sql))))).collect();
    let found = asked(&python, &daemon, &json!({ "queries": QUERIES }));
    let count = &daemon.rows("SELECT count(*) FROM spans")[0][0];

    let psycopg = &found["psycopg"];
    for form in ["text", "binary", "simple"] {
        for (at, sql) in QUERIES.iter().enumerate() {
            assert_eq!(alike(&psycopg[form][at]), expected[at], "psycopg, {form}: {sql}");
        }
    }
    for form in [0, 1] {
        assert_eq!(alike(&psycopg["parameters"][form]), alike(&psycopg["sent"]));
    }
    assert_eq!(psycopg["array"], json!([0]));
    assert_eq!(psycopg["since"], json!([true]));
    assert_eq!(psycopg["prepared"], json!([[count], [0]]));
    let states = json!([["42703", "UndefinedColumn", true], ["42501", "InsufficientPrivilege", true]]);
    assert_eq!(psycopg["states"], states);
    assert_eq!(psycopg["after_savepoint"], json!([1]));
    assert_eq!(psycopg["capped"][0], 1_000_000);
    assert!(psycopg["capped"][1][0].as_str().unwrap().contains("left out"), "{}", psycopg["capped"]);

    let sqlalchemy = &found["sqlalchemy"];
    assert!(sqlalchemy["tables"].as_array().unwrap().contains(&json!("spans")), "{sqlalchemy}");
    assert_eq!((&sqlalchemy["count"], &sqlalchemy["rows"]), (count, &json!(2)));
    assert_eq!((&sqlalchemy["isolated"], &sqlalchemy["whole"]), (&json!(1), &json!(2)));
    let columns = &sqlalchemy["columns"];
    let types = ["trace_id", "start_time", "duration_ns", "duration_ms", "is_entry"].map(|name| columns[name].clone());
    assert_eq!(types, ["TEXT", "TIMESTAMP", "BIGINT", "DOUBLE PRECISION", "BOOLEAN"], "{columns}");
    assert_eq!((&sqlalchemy["keys"], &sqlalchemy["has"]), (&json!([]), &json!([true, false])));
    assert_eq!(sqlalchemy["of_spans"], json!([[], [], [], [], [], null]));
    for (list, name) in
        [("views", "traces"), ("schemas", "system"), ("everything", "traces"), ("system", "system.queries")]
    {
        assert!(sqlalchemy[list].as_array().unwrap().contains(&json!(name)), "{list}: {}", sqlalchemy[list]);
    }

    let asyncpg = &found["asyncpg"];
    for (at, (sql, expected)) in QUERIES.iter().zip(&expected).enumerate() {
        assert_eq!(&alike(&asyncpg["rows"][at]), expected, "asyncpg: {sql}");
    }
    assert_eq!((&asyncpg["since"], &asyncpg["listed"]), (&json!(true), &json!(0)));
    assert_eq!((&asyncpg["state"], &asyncpg["inside"]), (&json!("42703"), &json!(1)));
    assert_eq!(asyncpg["pooled"], json!([7, 7, 7]));
    assert_eq!((&asyncpg["limited"], &asyncpg["given"]), (&json!(2), &asyncpg["sent"]));
    assert_eq!(daemon.stop(), 0);
}

#[test]
fn a_token_is_the_password_and_without_rules_the_listener_stays_on_loopback() {
    let test = "a_token_is_the_password_and_without_rules_the_listener_stays_on_loopback";
    if !has_psql(test) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let open = Command::new(BINARY)
        .args(["run", "--set=query.pg.enabled=true", "--set=query.pg.endpoint=0.0.0.0:0", "--data"])
        .args([dir.path().join("refused")])
        .args(crate::daemon::free_ports())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&open.stderr).into_owned();
    assert!(!open.status.success() && told.contains("query::pg::endpoint"), "{told}");

    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "0123456789abcdef viewer\n").unwrap();
    let rules = [format!("--set=access::tokens_file={}", tokens.display()), "--set=access::anonymous=none".to_owned()];
    let mut all: Vec<&str> = ENABLED.to_vec();
    all.extend(rules.iter().map(String::as_str));
    let daemon = Daemon::start_with(&dir.path().join("data"), &all);
    let with =
        |password: &str| psql(&daemon, &["-At", "-w", "-c", "SELECT 1"]).env("PGPASSWORD", password).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&with("0123456789abcdef").stdout), "1\n");
    let refused = with("wrong");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("not known"), "{refused:?}");
    assert_eq!(daemon.stop(), 0);
}
