//! `weavergen store` and the relations of the schema `system`, with the built binary: beside a daemon, over its folder
//! afterwards, and over folders that were damaged on purpose.

use std::path::{Path, PathBuf};
use std::process::Command;

use prost::Message as _;
use serde_json::Value;

use crate::daemon::{BINARY, Daemon, block_on};
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// Exit code, stdout and stderr of `weavergen` with `args`.
fn ran(args: &[&str]) -> (i32, String, String) {
    let output = Command::new(BINARY).args(args).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// The rows of an ndjson answer, without its end; the exit code must be `code`.
fn rows(code: i32, args: &[&str]) -> Vec<Value> {
    let (exit, out, err) = ran(args);
    assert_eq!(exit, code, "{args:?}\n{out}{err}");
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}")));
    let mut rows: Vec<Value> = lines.collect();
    assert!(rows.pop().is_some_and(|end| end.get("$end").is_some()), "{out}");
    rows
}

/// A daemon that writes no spans of its own and flushes only when asked.
fn daemon(data: &Path) -> Daemon {
    let flags = ["--set=service::telemetry::traces::level=none", "--set=storage::memtable::flush_after=10m"];
    Daemon::start_with(data, &flags)
}

fn load(daemon: &Daemon, seed: u32) {
    let (code, out, err) =
        ran(&["loadgen", "--traces", "40", "--seed", &seed.to_string(), "--endpoint", &daemon.grpc()]);
    assert_eq!(code, 0, "{out}{err}");
}

fn flush(daemon: &Daemon) -> Value {
    rows(0, &["store", "flush", "--url", &daemon.url("api", "")]).remove(0)
}

/// A stopped folder with two flushes of parts.
fn folder(dir: &Path) -> PathBuf {
    let data = dir.join("data");
    let daemon = daemon(&data);
    load(&daemon, 1);
    flush(&daemon);
    load(&daemon, 2);
    flush(&daemon);
    assert_eq!(daemon.stop(), 0);
    data
}

/// All files below `dir` whose name ends in `end`, sorted.
fn files(dir: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => todo.push(path),
                false if path.to_str().unwrap().ends_with(end) => found.push(path),
                false => {}
            }
        }
    }
    found.sort();
    found
}

fn below(data: &Path, file: &Path) -> String {
    file.strip_prefix(data).unwrap().to_str().unwrap().to_owned()
}

/// (severity, file, place) of what `verify` finds; the exit code must be `code`.
fn found(code: i32, data: &Path, more: &[&str]) -> Vec<(String, String, String)> {
    let args = [&["store", "verify", "--data", data.to_str().unwrap()], more].concat();
    let text = |row: &Value, name: &str| row[name].as_str().unwrap_or("-").to_owned();
    let rows = rows(code, &args);
    for row in &rows {
        assert!(!text(row, "problem").is_empty() && !text(row, "next_move").is_empty(), "{row}");
    }
    rows.iter().map(|row| (text(row, "severity"), text(row, "file"), text(row, "place"))).collect()
}

fn without_memory_bytes(rows: &[Value]) -> Vec<Value> {
    let mut rows = rows.to_vec();
    for row in rows.iter_mut().filter(|row| row["what"] == "memory") {
        row["bytes"] = Value::Null;
    }
    rows
}

#[test]
fn the_daemon_and_its_folder_tell_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = daemon(&data);
    let (api, folder) = (daemon.url("api", ""), data.to_str().unwrap().to_owned());
    load(&daemon, 1);
    let spans = daemon.rows("SELECT count(*) FROM spans")[0][0].as_u64().unwrap();
    let flushed = flush(&daemon);
    assert_eq!(flushed["rows"], spans);
    assert!(flushed["parts"].as_u64().unwrap() > 0, "{flushed}");
    load(&daemon, 2);
    let total = daemon.rows("SELECT count(*) FROM spans")[0][0].as_u64().unwrap();
    for command in ["ls", "stats"] {
        let asked = rows(0, &["store", command, "--url", &api]);
        let of_folder = rows(0, &["store", command, "--data", &folder]);
        // Rows of the log are checked against the registry by a daemon only, so they take other memory there.
        assert_eq!(without_memory_bytes(&asked), without_memory_bytes(&of_folder), "{command}");
        assert_eq!(asked, rows(0, &["store", command, "--url", api.trim_start_matches("http://")]));
    }
    let listed = rows(0, &["store", "ls", "--url", &api]);
    let parts: Vec<_> = listed.iter().filter(|row| row["kind"] == "part").collect();
    assert_eq!(parts.iter().map(|row| row["rows"].as_u64().unwrap()).sum::<u64>(), spans);
    for part in &parts {
        let file = data.join(part["path"].as_str().unwrap());
        assert_eq!(part["bytes"], file.metadata().unwrap().len());
        assert!(part["min_start"].as_str() <= part["max_start"].as_str() && !part["min_ingest"].is_null(), "{part}");
    }
    let log: Vec<_> = listed.iter().filter(|row| row["kind"] == "log").collect();
    assert_eq!((log.len(), &log[0]["first_lsn"]), (1, &1.into()));
    assert_eq!(log[0]["rows"], total, "one segment holds all that was acknowledged");

    let stats = rows(0, &["store", "stats", "--url", &api]);
    let of = |what: &str| stats.iter().find(|row| row["what"] == what).unwrap();
    assert_eq!((&of("total")["rows"], &of("memory")["rows"]), (&total.into(), &(total - spans).into()));
    assert_eq!(of("parts")["rows"], spans);
    let columns: Vec<_> = stats.iter().filter(|row| row["what"] == "column").collect();
    assert!(columns.iter().any(|row| row["name"] == "attr.http.route"), "{columns:?}");
    let bytes = |rows: &[&Value]| rows.iter().map(|row| row["bytes"].as_u64().unwrap()).sum::<u64>();
    assert!(bytes(&columns) < bytes(&parts) && bytes(&columns) > bytes(&parts) / 4, "footers are the rest");
    let unpacked = columns.iter().map(|row| row["uncompressed_bytes"].as_u64().unwrap()).sum::<u64>();
    let ratio = (unpacked as f64 / bytes(&columns) as f64 * 100.0).round() / 100.0;
    assert_eq!((&of("total")["uncompressed_bytes"], &of("total")["compression"]), (&unpacked.into(), &ratio.into()));

    // While it runs, and by itself.
    assert_eq!(found(0, &data, &[]), []);
    assert_eq!(found(0, &data, &["--deep"]), []);
    assert_eq!(rows(0, &["store", "verify", "--url", &api]), Vec::<Value>::new());
    let (code, text, _) = ran(&["store", "verify", "--data", &folder, "-o", "box"]);
    assert!(code == 0 && text.trim_end().ends_with("1 log segment: whole"), "{text}");
    let (_, text, _) = ran(&["store", "ls", "--url", &api, "-o", "box"]);
    assert!(text.contains("┌") && text.contains("first_lsn"), "{text}");
    assert_eq!(flush(&daemon)["rows"], total - spans);
    assert_eq!(flush(&daemon)["rows"], 0, "nothing is left");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(found(0, &data, &["--deep"]), []);
}

#[test]
fn what_was_refused_is_in_the_drop_ledger_of_daemon_and_folder() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = daemon(&data);
    let span = Span { trace_id: vec![7; 3], span_id: vec![1; 8], name: "bad".to_owned(), ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let url = format!("{}/v1/traces", daemon.http());
    let status = block_on(async {
        let post = reqwest::Client::new().post(url).header("content-type", "application/x-protobuf");
        post.body(request.encode_to_vec()).send().await.unwrap().status().as_u16()
    });
    assert_eq!(status, 200, "a partial success");
    let sql = "SELECT stage, component, transport, reason, path, trace_id, spans FROM drop_ledger";
    let row = serde_json::json!([
        "receive",
        "otlp",
        "http",
        "invalid_trace_id",
        "resourceSpans[0].scopeSpans[0].spans[0]",
        "070707",
        1
    ]);
    assert_eq!(daemon.rows(sql), [row], "it is there at once");
    assert_eq!(daemon.rows("SELECT sum(spans) FROM system.drops")[0][0], 1);
    let offline = rows(0, &["sql", "--data", data.to_str().unwrap(), sql]);
    assert_eq!((offline.len(), &offline[0]["reason"]), (1, &"invalid_trace_id".into()));
    assert_eq!(daemon.stop(), 0);
    assert_eq!(rows(0, &["sql", "--data", data.to_str().unwrap(), sql]), offline);
}

#[test]
fn the_schema_system_is_listed_and_described() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = daemon(&data);
    let names =
        |sql: &str| -> Vec<String> { daemon.rows(sql).iter().map(|row| row[0].as_str().unwrap().to_owned()).collect() };
    let parts =
        ["path", "level", "hour", "rows", "bytes", "min_start", "max_start", "max_end", "min_ingest", "max_ingest"];
    assert_eq!(names("DESCRIBE system.parts"), parts);
    assert_eq!(names("DESCRIBE system.wal_segments"), ["path", "first_lsn", "last_lsn", "bytes", "spans"]);
    let drops =
        ["time", "stage", "component", "transport", "peer", "reason", "path", "trace_id", "span_id", "spans", "bytes"];
    assert_eq!(names("DESCRIBE drop_ledger"), drops);
    assert_eq!(names("DESCRIBE system.drops"), drops);
    let tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'system' ORDER BY 1";
    let of_files = ["damage", "drops", "files", "memory", "part_columns", "parts", "promotions"];
    let listed = [&of_files[..], &["queries", "settings", "wal_segments"]].concat();
    assert_eq!(names(tables), listed);
    let (status, answer) = daemon.ask("DESCRIBE parts");
    assert_eq!((status, &answer["error"]["code"]), (400, &"sql.unknown_table".into()), "{answer}");
    let (_, answer) = daemon.ask("SELECT * FROM system.part");
    assert!(answer["error"]["hint"].as_str().unwrap().contains("`system.parts`"), "{answer}");
    // A daemon does not send its callers to a daemon; a folder does.
    let (_, answer) = daemon.ask("SELECT * FROM semconv_findings_1m");
    assert!(!answer["error"]["hint"].as_str().unwrap().contains("--url"), "{answer}");
    assert_eq!(daemon.ask("SELECT * FROM system.queries").0, 200);
    let (code, _, err) = ran(&["sql", "--data", data.to_str().unwrap(), "SELECT * FROM system.queries"]);
    assert!(code == 1 && err.contains("ask it with `--url`"), "{err}");
    let schema = block_on(async {
        let url = daemon.url("api", "/api/v1/schema");
        reqwest::get(url).await.unwrap().json::<Value>().await.unwrap()
    });
    let listed = schema["tables"].as_array().unwrap();
    assert!(listed.iter().any(|table| table["name"] == "system.parts"), "{schema}");
    assert!(listed.iter().any(|table| table["name"] == "drop_ledger"), "{schema}");
}

#[test]
fn a_flipped_byte_of_a_part_is_found_and_the_statement_names_the_part() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path());
    let folder = data.to_str().unwrap();
    let part = files(&data.join("spans"), ".parquet").remove(0);
    let mut bytes = std::fs::read(&part).unwrap();
    bytes[1_000] ^= 0x10;
    std::fs::write(&part, &bytes).unwrap();
    let name = below(&data, &part);
    let place = format!("bytes 0 to {}", bytes.len().min(256 << 10));
    assert_eq!(found(1, &data, &["--deep"]), [("damage".to_owned(), name.clone(), place)]);
    let (code, text, _) = ran(&["store", "verify", "--deep", "--data", folder, "-o", "box"]);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((code, lines.len()), (1, 2), "{text}");
    assert!(lines[0].starts_with(&format!("damage: {name}: bytes 0 to ")) && lines[0].contains("restore"), "{text}");
    assert!(lines[1].ends_with(": 1 damaged"), "{text}");
    let (code, _, err) = ran(&["sql", "--data", folder, "SELECT sum(duration_ns), min(name) FROM spans"]);
    assert!(code == 1 && err.contains("sql.part_corrupt") && err.contains(&name), "{err}");
    assert!(err.contains("weavergen store verify"), "{err}");
    // A daemon on the folder tells it too.
    let daemon = daemon(&data);
    daemon.wait_ready();
    // Before a statement finds the damage: then the part leaves the manifest.
    assert_eq!(
        rows(0, &["store", "ls", "--url", &daemon.url("api", "")]).len(),
        rows(0, &["store", "ls", "--data", folder]).len()
    );
    let (status, answer) = daemon.ask("SELECT sum(duration_ns), min(name) FROM spans");
    assert_eq!((status, &answer["error"]["code"]), (500, &"sql.part_corrupt".into()), "{answer}");
    assert!(answer["error"]["message"].as_str().unwrap().contains(&name), "{answer}");
    let (code, out, err) = ran(&["store", "verify", "--url", &daemon.url("api", "")]);
    match code {
        // The part is small: its footer lies in the block.
        1 => assert!(out.contains(&name), "{out}{err}"),
        // The daemon was quicker: what its statement has found damaged is live no longer, and the rest is whole.
        _ => {
            assert_eq!(code, 0, "{out}{err}");
            let live = format!("SELECT count(*) FROM system.parts WHERE path = '{name}'");
            assert_eq!(daemon.rows(&live)[0][0], 0, "{out}{err}");
        }
    }
}

#[test]
fn every_damaged_file_is_told_and_strangers_are_only_noted() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path());
    let parts = files(&data.join("spans"), ".parquet");
    assert!(parts.len() >= 2, "{parts:?}");
    // A part that is cut, one whose `.sum` is cut; the half of a part under a new name, and a file of somebody else.
    let whole = std::fs::read(&parts[0]).unwrap();
    std::fs::write(&parts[0], &whole[..whole.len() / 2]).unwrap();
    let name = below(&data, &parts[1]);
    let sum = data.join(name.replacen("spans/", "index/sum/", 1).replace(".parquet", ".sum"));
    let sums = std::fs::read(&sum).unwrap();
    std::fs::write(&sum, &sums[..sums.len() - 1]).unwrap();
    let half = parts[0].with_file_name("01HF7YAT00AAAAAAAAAAAAAAAA.parquet");
    std::fs::write(&half, &whole[..whole.len() / 3]).unwrap();
    let stranger = parts[0].with_file_name("notes.txt");
    std::fs::write(&stranger, "mine").unwrap();
    let of = |severity: &str, file: &Path| (severity.to_owned(), below(&data, file), "-".to_owned());
    let mut expected = [of("damage", &parts[0]), of("damage", &sum), of("note", &half), of("note", &stranger)];
    expected.sort();
    let mut told = found(1, &data, &[]);
    told.sort();
    assert_eq!(told, expected);
    let problem = |file: &Path| -> String {
        let rows = rows(1, &["store", "verify", "--deep", "--data", data.to_str().unwrap()]);
        let row = rows.iter().find(|row| row["file"] == below(&data, file)).unwrap();
        row["problem"].as_str().unwrap().to_owned()
    };
    assert_eq!(problem(&parts[0]), format!("it has {} bytes, the manifest says {}", whole.len() / 2, whole.len()));
    assert!(problem(&sum).contains(&format!("it has {} bytes", sums.len() - 1)), "{}", problem(&sum));
    std::fs::remove_file(&parts[0]).unwrap();
    assert_eq!(problem(&parts[0]), "the file is missing");
    std::fs::write(&parts[0], &whole).unwrap();
    std::fs::write(&sum, &sums).unwrap();
    assert_eq!(found(0, &data, &["--deep"]).len(), 2, "strangers are no damage");

    // A damaged manifest is told; which parts count is then read from the parts themselves.
    let listed = || -> Vec<serde_json::Value> {
        let listed = rows(0, &["store", "ls", "--data", data.to_str().unwrap()]);
        listed.into_iter().map(|mut row| row["path"].take()).collect()
    };
    let before = listed();
    assert!(before.len() > 1, "{before:?}");
    let delta = files(&data.join("manifest"), ".json").pop().unwrap();
    let text = std::fs::read_to_string(&delta).unwrap();
    std::fs::write(&delta, text.replacen("\"rows\":", "\"rows\":1", 1)).unwrap();
    assert_eq!(found(1, &data, &[])[0], of("damage", &delta));
    assert_eq!(listed(), before);
    let (code, _, err) = ran(&["store", "stats", "--data", data.to_str().unwrap()]);
    assert_eq!(code, 0, "{err}");
}

#[test]
fn a_torn_log_is_noted_and_a_corrupt_one_is_damage() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = daemon(&data);
    load(&daemon, 1);
    daemon.kill();
    let segment = files(&data.join("wal"), ".wal").remove(0);
    let whole = std::fs::read(&segment).unwrap();
    assert_eq!(found(0, &data, &["--deep"]), []);
    let records: Vec<usize> = whole.windows(4).enumerate().filter(|(_, w)| *w == b"WGRC").map(|(at, _)| at).collect();
    assert!(records.len() >= 4, "{records:?}");
    let listed = |data: &Path| rows(0, &["store", "ls", "--data", data.to_str().unwrap()]).remove(0);
    let all = listed(&data);

    // The last record is torn: it was never acknowledged, as far as anyone can tell.
    let last = *records.last().unwrap();
    let mut torn = whole.clone();
    torn[last + 80..].fill(0);
    std::fs::write(&segment, &torn).unwrap();
    assert_eq!(found(0, &data, &[]), [("note".to_owned(), "wal/".to_owned(), "tail".to_owned())]);
    assert_eq!(listed(&data)["last_lsn"].as_u64().unwrap() + 1, all["last_lsn"].as_u64().unwrap());

    // The second record is damaged, and later groups stand behind it.
    let mut corrupt = whole.clone();
    corrupt[records[1] + 90] ^= 1;
    std::fs::write(&segment, &corrupt).unwrap();
    let name = below(&data, &segment);
    let told = found(1, &data, &[]);
    assert_eq!(told[0], ("damage".to_owned(), name.clone(), "records 2 to 2".to_owned()));
    assert_eq!((told.len(), &told[1].1), (2, &name));
    assert_eq!(std::fs::read(&segment).unwrap(), corrupt, "it only looks");

    // A header that is damaged.
    let mut headless = whole.clone();
    headless[20] ^= 1;
    std::fs::write(&segment, &headless).unwrap();
    assert!(found(1, &data, &[]).contains(&("damage".to_owned(), name, "header".to_owned())));
    assert!(listed(&data)["last_lsn"].is_null());

    std::fs::write(&segment, &whole).unwrap();
    std::fs::write(data.join("wal/copy.bak"), "x").unwrap();
    assert_eq!(found(0, &data, &[]), [("note".to_owned(), "wal/copy.bak".to_owned(), "-".to_owned())]);
}

#[test]
fn wrong_uses_end_with_their_code_and_the_next_move() {
    let dir = tempfile::tempdir().unwrap();
    let (none, file) = (dir.path().join("none"), dir.path().join("file"));
    std::fs::write(&file, "x").unwrap();
    let empty = dir.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    for command in ["ls", "stats", "verify"] {
        for (data, told) in [(&none, "not a data folder"), (&file, "Not a directory"), (&empty, "not a data folder")] {
            let (code, out, err) = ran(&["store", command, "--data", data.to_str().unwrap()]);
            assert!(code == 74 && out.is_empty() && err.contains(told), "{command} {data:?}: {code} {out}{err}");
            assert!(err.contains(data.to_str().unwrap()), "{err}");
        }
        assert!(!none.exists(), "a reader makes no folder");
        let (code, _, err) = ran(&["store", command, "--url", "http://127.0.0.1:1"]);
        assert!(code == 69 && err.contains("127.0.0.1:1"), "{code} {err}");
        let (code, ..) = ran(&["store", command, "--url", "http://127.0.0.1:1", "--data", empty.to_str().unwrap()]);
        assert_eq!(code, 2);
    }
    let (code, _, err) = ran(&["store", "flush", "--data", empty.to_str().unwrap()]);
    assert!(code == 69 && err.contains("no daemon runs on"), "{code} {err}");
    assert_eq!(ran(&["store", "flush", "--url", "http://127.0.0.1:1"]).0, 69);
    assert_eq!(ran(&["store", "verify", "--deep", "--url", "http://127.0.0.1:1"]).0, 2);
    assert_eq!(ran(&["store"]).0, 2);
    assert_eq!(ran(&["store", "list"]).0, 2);
    // A part of the folder that is no folder: unreadable, not empty.
    let data = folder(dir.path());
    std::fs::rename(data.join("wal"), data.join("wal.away")).unwrap();
    std::fs::write(data.join("wal"), "x").unwrap();
    let (code, _, err) = ran(&["store", "verify", "--data", data.to_str().unwrap()]);
    assert!(code == 74 && err.contains("wal"), "{code} {err}");
}

#[test]
fn compact_of_a_folder_needs_no_daemon_and_asks_one_that_runs() {
    let dir = tempfile::tempdir().unwrap();
    let data = folder(dir.path());
    let data = data.to_str().unwrap();
    let sql = "SELECT service_name, name, count(*) AS n, sum(duration_ns) AS ns FROM spans GROUP BY 1, 2 ORDER BY 1, 2";
    let before = rows(0, &["sql", "--data", data, sql]);
    let compact = || rows(0, &["store", "compact", "--data", data]).remove(0);
    let number = |answer: &Value, name: &str| answer[name].as_u64().unwrap();
    let answer = compact();
    assert!(number(&answer, "removed") >= 2 && number(&answer, "added") >= 1, "{answer}");
    assert!(number(&answer, "parts") < number(&answer, "removed") + number(&answer, "added"), "{answer}");
    assert_eq!(rows(0, &["sql", "--data", data, sql]), before);
    assert_eq!((number(&compact(), "added"), number(&compact(), "removed")), (0, 0));
    let (code, _, err) = ran(&["store", "compact", "--data", data, "--hour", "yesterday"]);
    assert!(code == 2 && err.contains("`yesterday` is no hour"), "{code} {err}");
    let nowhere = dir.path().join("nowhere");
    assert_eq!(ran(&["store", "compact", "--data", nowhere.to_str().unwrap()]).0, 74);
    assert!(!nowhere.exists());
    let daemon = daemon(Path::new(data));
    for seed in [3, 4] {
        load(&daemon, seed);
        flush(&daemon);
    }
    assert!(number(&compact(), "removed") >= 2, "the daemon did it");
    assert_eq!(daemon.stop(), 0);
    assert_eq!(ran(&["store", "verify", "--deep", "--data", data]).0, 0);
}

#[test]
fn compact_leaves_fewer_parts_and_the_same_answers() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = daemon(&dir.path().join("data"));
    for seed in [1, 2] {
        load(&daemon, seed);
        flush(&daemon);
    }
    let url = daemon.url("api", "");
    let sql = "SELECT service_name, name, count(*) AS n, sum(duration_ns) AS ns FROM spans GROUP BY 1, 2 ORDER BY 1, 2";
    let before = rows(0, &["sql", "--url", &url, sql]);
    let answer = rows(0, &["store", "compact", "--url", &url]).remove(0);
    let number = |name: &str| answer[name].as_u64().unwrap();
    assert!(number("removed") >= 2 && number("added") >= 1 && number("added") <= number("removed"), "{answer}");
    assert_eq!(rows(0, &["sql", "--url", &url, sql]), before);
    let again = rows(0, &["store", "compact", "--url", &url]).remove(0);
    assert_eq!((&again["added"], &again["removed"]), (&0.into(), &0.into()));
    let (code, _, err) = ran(&["store", "compact", "--hour", "yesterday", "--url", &url]);
    assert!(code != 0 && err.contains("`yesterday` is no hour"), "{code} {err}");
    assert_eq!(daemon.stop(), 0);
    let data = dir.path().join("data");
    assert_eq!(ran(&["store", "verify", "--deep", "--data", data.to_str().unwrap()]).0, 0);
}
