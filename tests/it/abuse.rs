//! Bad input against a real process: each is told clearly, the daemon lives, nothing acknowledged is lost.
//!
//! What a receiver answers in detail is tested on sockets in `receive/`; here the whole daemon stands behind it.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message as _;
use serde_json::{Value, json};

use crate::daemon::{Daemon, block_on};
use crate::given;
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

const START: u64 = 1_790_000_000_000_000_000;

/// `count` spans of trace `trace`, each with a name of `name_bytes`.
fn request(trace: u64, count: u64, name_bytes: usize) -> ExportTraceServiceRequest {
    let spans = (0..count).map(|n| Span {
        trace_id: [[2; 8], trace.to_be_bytes()].concat(),
        span_id: (trace << 20 | (n + 1)).to_be_bytes().to_vec(),
        name: format!("{:0>name_bytes$}", trace * 31 + n),
        start_time_unix_nano: START + n,
        end_time_unix_nano: START + n + 5,
        ..Span::default()
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] }
}

struct Answer {
    status: u16,
    headers: reqwest::header::HeaderMap,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {}", self.text))
    }
}

fn post(url: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    block_on(async {
        let mut request = reqwest::Client::new().post(url).timeout(Duration::from_secs(60)).body(body);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, text: String::from_utf8_lossy(&response.bytes().await.unwrap()).into_owned() }
    })
}

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// A daemon with the traces that it acknowledged.
struct Victim {
    daemon: Daemon,
    acknowledged: Vec<u64>,
}

impl Victim {
    fn traces(&self) -> String {
        format!("{}/v1/traces", self.daemon.http())
    }

    /// Sends one more good request, which must be taken and found at once.
    fn lives(&mut self, after: &str) {
        let trace = self.acknowledged.len() as u64 + 1;
        let answer = post(&self.traces(), &[PROTOBUF], request(trace, 3, 1).encode_to_vec());
        assert_eq!(answer.status, 200, "after {after}: {}", answer.text);
        self.acknowledged.push(trace);
        self.holds_all(after);
    }

    fn holds_all(&self, after: &str) {
        let sql = "SELECT hex(trace_id), count(*) FROM spans WHERE start_time >= TIMESTAMP '2026-01-01' \
                   GROUP BY 1 ORDER BY 1";
        let found = self.daemon.rows(sql);
        for trace in &self.acknowledged {
            let id = format!("{}{trace:016x}", "02".repeat(8));
            let rows: Vec<_> = found.iter().filter(|row| row[0] == json!(id)).collect();
            assert_eq!(rows.len(), 1, "after {after}: acknowledged trace {id} is lost");
            assert_eq!(rows[0][1], 3, "after {after}: trace {id}");
        }
    }
}

#[test]
fn bad_requests_are_told_and_harm_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    let mut victim = Victim { daemon, acknowledged: Vec::new() };
    victim.lives("the start");
    let url = victim.traces();
    let good = request(900, 5, 1).encode_to_vec();

    // Malformed protobuf: a length that leads behind the end.
    let answer = post(&url, &[PROTOBUF], vec![0x0a, 0xff, 0x01, 0x00]);
    assert_eq!(answer.status, 400, "{}", answer.text);
    assert_eq!(answer.headers["content-type"], "application/x-protobuf", "a Status in the request's encoding");
    victim.lives("malformed protobuf");

    let answer = post(&url, &[JSON], b"{\"resourceSpans\": [{\"scopeSpans\": [}".to_vec());
    assert_eq!(answer.status, 400, "{}", answer.text);
    let message = answer.json()["message"].as_str().unwrap().to_owned();
    assert!(message.contains("37") || message.contains("column") || message.contains("byte"), "where: {message}");
    victim.lives("malformed JSON");

    let whole = gzip(&good);
    let answer = post(&url, &[PROTOBUF, ("content-encoding", "gzip")], whole[..whole.len() - 9].to_vec());
    assert_eq!(answer.status, 400, "{}", answer.text);
    victim.lives("a truncated gzip");

    // 256 MiB of zeros in about 256 KiB.
    let mut bomb = GzEncoder::new(Vec::new(), Compression::default());
    let zeros = vec![0; 1 << 20];
    (0..256).for_each(|_| bomb.write_all(&zeros).unwrap());
    let answer = post(&url, &[PROTOBUF, ("content-encoding", "gzip")], bomb.finish().unwrap());
    assert_eq!(answer.status, 413, "{}", answer.text);
    victim.lives("a gzip bomb");

    // Ids of wrong length and zero ids: the rest of the request is taken, and the answer says how many were not.
    let mut mixed = request(victim.acknowledged.len() as u64 + 1, 3, 1);
    let spans = &mut mixed.resource_spans[0].scope_spans[0].spans;
    let (mut short, mut zero) = (spans[0].clone(), spans[1].clone());
    short.trace_id.truncate(15);
    zero.span_id = vec![0; 8];
    spans.extend([short, zero]);
    let body = serde_json::to_vec(&as_json(&mixed)).unwrap();
    let answer = post(&url, &[JSON], body);
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert_eq!(answer.json()["partialSuccess"]["rejectedSpans"], "2", "{}", answer.text);
    assert!(!answer.json()["partialSuccess"]["errorMessage"].as_str().unwrap().is_empty());
    victim.acknowledged.push(victim.acknowledged.len() as u64 + 1);
    victim.lives("ids of wrong length");

    let answer = post(&format!("{}/v1/spans", victim.daemon.http()), &[PROTOBUF], good.clone());
    assert_eq!(answer.status, 404, "{}", answer.text);
    victim.lives("an unknown path");

    let answer = post(&url, &[("content-type", "text/plain")], good);
    assert_eq!(answer.status, 415, "{}", answer.text);
    victim.lives("a wrong content type");

    victim.daemon = Daemon::start(&victim.daemon.kill());
    victim.daemon.wait_ready();
    victim.holds_all("kill -9");
}

/// The canonical JSON of a request, with ids in hex as OTLP wants it.
fn as_json(request: &ExportTraceServiceRequest) -> Value {
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let spans = request.resource_spans[0].scope_spans[0].spans.iter().map(|span| {
        json!({
            "traceId": hex(&span.trace_id), "spanId": hex(&span.span_id), "name": span.name,
            "startTimeUnixNano": span.start_time_unix_nano.to_string(),
            "endTimeUnixNano": span.end_time_unix_nano.to_string(),
        })
    });
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans.collect::<Vec<_>>() }] }] })
}

#[test]
fn a_body_of_100_mb_and_connections_left_half_open_do_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    let address = daemon.http().trim_start_matches("http://").to_owned();
    let mut victim = Victim { daemon, acknowledged: Vec::new() };

    let mut socket = TcpStream::connect(&address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-protobuf\r\n\
         content-length: 100000000\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    let piece = vec![0x0a; 1 << 20];
    // The daemon may close while we still send: that is its right once it has answered.
    for _ in 0..100 {
        if socket.write_all(&piece).is_err() {
            break;
        }
    }
    let mut answer = vec![0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    victim.lives("a body of 100 MB");

    // Connections that say nothing, half a head, and half a body, and stay.
    let head = format!("POST /v1/traces HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/x-protobuf\r\n");
    let halves = [String::new(), head[..30].to_owned(), format!("{head}content-length: 50\r\n\r\nhalf a body")];
    let open: Vec<TcpStream> = (0..120)
        .map(|n| {
            let mut socket = TcpStream::connect(&address).unwrap();
            socket.write_all(halves[n % 3].as_bytes()).unwrap();
            socket
        })
        .collect();
    for _ in 0..5 {
        victim.lives("connections left half open");
    }
    drop(open);
    victim.lives("connections gone away");
    assert_eq!(victim.daemon.stop(), 0, "the drain ends well");
}

#[test]
fn a_stop_ends_in_its_time_also_with_a_request_that_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start_with(&data, &["--set=service::weavergen::shutdown_timeout=6s"]);
    daemon.wait_ready();
    let mut stuck = TcpStream::connect(daemon.http().trim_start_matches("http://")).unwrap();
    stuck
        .write_all(
            b"POST /v1/traces HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{",
        )
        .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let began = std::time::Instant::now();
    assert_eq!(daemon.stop(), 0);
    let took = began.elapsed();
    assert!(took > Duration::from_secs(3), "the request in hand had its time: {took:?}");
    assert!(took < Duration::from_millis(5900), "{took:?}");
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(!log.contains("did not close in time"), "{log}");
}

#[test]
fn sql_that_cannot_or_must_not_run_says_where_and_why() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    let mut victim = Victim { daemon, acknowledged: Vec::new() };
    victim.lives("the start");
    let secret = dir.path().join("secret.csv");
    std::fs::write(&secret, "a,b\n1,2\n").unwrap();
    let secret = secret.display();
    let refused = [
        "SELEC 1".to_owned(),
        "SELECT durration_ns FROM spans".to_owned(),
        "SELECT 1 FROM spanz".to_owned(),
        "SELECT count(*) FROM spans; DROP TABLE spans".to_owned(),
        "INSERT INTO spans SELECT * FROM spans".to_owned(),
        "DELETE FROM spans".to_owned(),
        "CREATE TABLE t AS SELECT 1".to_owned(),
        format!("COPY (SELECT 1) TO '{secret}'"),
        format!("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '{secret}'"),
        format!("SELECT * FROM '{secret}'"),
        format!("SELECT * FROM read_csv('{secret}')"),
        "SET datafusion.execution.batch_size = 1".to_owned(),
        "SELECT nosuchfunction(1)".to_owned(),
    ];
    for sql in &refused {
        let (status, answer) = victim.daemon.ask(sql);
        assert!((400..500).contains(&status), "{sql}: {status} {answer}");
        let error = &answer["error"];
        assert!(error["code"].as_str().is_some_and(|code| code.starts_with("sql.")), "{sql}: {answer}");
        assert!(error["message"].as_str().is_some_and(|text| !text.is_empty()), "{sql}: {answer}");
    }
    let (_, answer) = victim.daemon.ask("SELECT durration_ns FROM spans");
    assert_eq!(answer["error"]["position"]["column"], 8, "{answer}");
    assert!(answer["error"]["hint"].as_str().unwrap().contains("duration_ns"), "{answer}");
    assert_eq!(std::fs::read_to_string(dir.path().join("secret.csv")).unwrap(), "a,b\n1,2\n");
    victim.lives("refused statements");
}

/// Most memory that the process ever had, in bytes.
fn peak(daemon: &Daemon) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn sql_that_makes_much_of_little_ends_in_its_error_and_takes_little_memory() {
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    daemon.wait_ready();
    let victim = Victim { daemon, acknowledged: Vec::new() };
    // 9000 rows: more than a batch of the engine.
    let answer = post(&victim.traces(), &[PROTOBUF], request(1, 9000, 1).encode_to_vec());
    assert_eq!(answer.status, 200, "{}", answer.text);
    // The daemon's own spans tell of its statements.
    let count = "SELECT count(*) FROM spans WHERE service_name <> 'weavergen'";
    assert_eq!(victim.daemon.rows(count)[0][0], 9000);
    // Each level has a name of its own: the engine takes equal levels for one.
    let doubled = |of: &str, twice: &str| {
        (0..11).fold(format!("SELECT {of} AS x0 FROM spans"), |sql, level| {
            let twice = twice.replace('x', &format!("x{level}"));
            format!("SELECT {twice} AS x{} FROM ({sql})", level + 1)
        })
    };
    let recursive =
        |base: &str, term: &str| format!("WITH RECURSIVE t AS ({base} UNION ALL {term}) SELECT count(*) FROM t");
    let statements = [
        ("sql.argument", "SELECT count(repeat(name, 1000000)) FROM spans".to_owned()),
        ("sql.argument", "SELECT count(repeat(name, 50000)) FROM spans".to_owned()),
        ("sql.argument", "SELECT repeat('x', 1048576) FROM spans".to_owned()),
        ("sql.argument", "SELECT range(99999) FROM spans".to_owned()),
        ("sql.argument", "SELECT unnest(range(duration_ns + 90000)) FROM spans".to_owned()),
        ("sql.argument", "SELECT count(rpad(name, 1000000, 'xy')) FROM spans".to_owned()),
        ("sql.argument", "SELECT count(replace(repeat(name, 100), '1', repeat(name, 5000))) FROM spans".to_owned()),
        (
            "sql.argument",
            "SELECT count(regexp_replace(repeat(name, 100), '.', repeat(name, 5000), 'g')) FROM spans".to_owned(),
        ),
        (
            "sql.argument",
            "SELECT count(array_to_string(range(duration_ns + 1000), repeat(name, 1000))) FROM spans".to_owned(),
        ),
        ("sql.argument", "SELECT array_agg(repeat(name, 1000)) FROM spans, (VALUES (1), (2)) v".to_owned()),
        ("sql.argument", doubled("repeat(name, 100)", "x || x")),
        ("sql.argument", doubled("repeat(name, 100)", "concat(x, x)")),
        ("sql.argument", doubled("array_repeat(name, 64)", "array_concat(x, x)")),
        ("sql.too_complex", format!("SELECT count(*) FROM ({}) WHERE x11 > 0", doubled("duration_ns", "x + x + x"))),
        ("sql.argument", "SELECT count(*) FROM spans WHERE name ~ '((a{100}){100}){100}'".to_owned()),
        ("sql.argument", "SELECT count(*) FROM spans a JOIN spans b ON a.name LIKE b.name".to_owned()),
        ("sql.too_complex", recursive("SELECT 1 AS n", "SELECT n + 1 FROM t")),
        ("sql.limit.rows", recursive("SELECT 1 AS n", "SELECT n + 1 FROM t CROSS JOIN spans WHERE n < 9")),
    ];
    let before = peak(&victim.daemon);
    for (code, sql) in statements {
        let began = std::time::Instant::now();
        let (_, answer) = victim.daemon.ask(&sql);
        let shown: String = sql.chars().take(120).collect();
        assert_eq!(answer["error"]["code"], code, "{shown}: {answer}");
        assert!(began.elapsed() < Duration::from_secs(30), "{shown}: {:?}", began.elapsed());
        // The kernel counts by processor: a later reading of a peak may be some pages lower.
        let grown = peak(&victim.daemon).saturating_sub(before);
        assert!(grown < 384 << 20, "{shown}: the process grew by {} MiB", grown >> 20);
    }
    assert_eq!(victim.daemon.rows(count)[0][0], 9000);
    assert_eq!(victim.daemon.stop(), 0);
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().flatten() {
        match entry.path() {
            path if path.is_dir() => files.extend(files_below(&path)),
            path => files.push(path),
        }
    }
    files
}

#[test]
fn a_torn_log_and_a_half_written_part_lose_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let daemon = Daemon::start(&data);
    daemon.wait_ready();
    let mut victim = Victim { daemon, acknowledged: Vec::new() };
    for _ in 0..5 {
        victim.lives("the start");
    }
    // Into parts, then more rows that are only in the log.
    assert_eq!(victim.daemon.stop(), 0);
    victim.daemon = Daemon::start(&data);
    victim.daemon.wait_ready();
    for _ in 0..5 {
        victim.lives("a restart");
    }
    victim.daemon.kill();

    // A write that the power cut in the middle: garbage behind the last record, which nobody was answered for.
    let newest = files_below(&data.join("wal"))
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "wal"))
        .max()
        .expect("a killed daemon leaves its log");
    let used = end_of_records(&newest);
    let mut log = std::fs::OpenOptions::new().write(true).open(&newest).unwrap();
    log.seek(SeekFrom::Start(used)).unwrap();
    log.write_all(&[0xa5; 777]).unwrap();
    // A part that a flush had begun: in no manifest.
    let part = files_below(&data.join("spans"))
        .into_iter()
        .find(|path| path.extension().is_some_and(|e| e == "parquet"))
        .expect("a stop flushes to parts");
    let bytes = std::fs::read(&part).unwrap();
    let half = part.with_file_name("half-written.parquet");
    std::fs::write(&half, &bytes[..bytes.len() / 2]).unwrap();

    victim.daemon = Daemon::start(&data);
    victim.daemon.wait_ready();
    victim.holds_all("a torn log and a half-written part");
    victim.lives("a torn log and a half-written part");
}

/// Where the written part of a preallocated segment ends: behind it all bytes are zero.
fn end_of_records(segment: &Path) -> u64 {
    let bytes = std::fs::read(segment).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("a segment has a header");
    (last as u64 + 1).next_multiple_of(8)
}

/// A small file system of its own, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path, mib: u32) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={mib}m");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "weavergen-test"]).arg(at).output();
        mounted.is_ok_and(|out| out.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_full_disk_refuses_for_a_while_and_loses_nothing_acknowledged() {
    // With a reserve it refuses before the disk is full; without one the disk itself says no.
    for min_free_bytes in ["8MiB", "0"] {
        on_a_full_disk(min_free_bytes);
    }
}

fn on_a_full_disk(min_free_bytes: &str) {
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = SmallDisk::mount(&dir.path().join("disk"), 96) else {
        return given::skipped("abuse::a_full_disk", "mounting a small file system needs root");
    };
    // What another program keeps on the same disk, and will give back.
    let ballast = disk.0.join("ballast");
    std::fs::write(&ballast, vec![1; 16 << 20]).unwrap();
    let min_free = format!("--set=storage::retention::min_free_bytes={min_free_bytes}");
    let settings = [min_free.as_str(), "--set=storage::wal::segment_bytes=4MiB"];
    let daemon = Daemon::start_with(&disk.0.join("data"), &settings);
    daemon.wait_ready();
    let mut victim = Victim { daemon, acknowledged: Vec::new() };
    let (mut refused, mut taken) = (0, 0);
    while refused < 20 {
        let trace = victim.acknowledged.len() as u64 + 1;
        let answer = post(&victim.traces(), &[PROTOBUF], request(trace, 3, 30_000).encode_to_vec());
        match answer.status {
            200 => {
                victim.acknowledged.push(trace);
                taken += 1;
                assert!(taken < 3000, "the disk of 96 MiB is never full");
            }
            503 => {
                assert!(answer.headers.contains_key("retry-after"), "{:?} {}", answer.headers, answer.text);
                refused += 1;
            }
            status => panic!("{status} {}", answer.text),
        }
    }
    assert!(taken > 10, "{taken} requests were taken before the disk was full");
    victim.holds_all("a full disk");

    // Room again: it recovers by itself.
    std::fs::remove_file(&ballast).unwrap();
    let began = std::time::Instant::now();
    loop {
        let trace = victim.acknowledged.len() as u64 + 1;
        let answer = post(&victim.traces(), &[PROTOBUF], request(trace, 3, 1).encode_to_vec());
        if answer.status == 200 {
            victim.acknowledged.push(trace);
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no request is taken again: {}", answer.text);
        std::thread::sleep(Duration::from_millis(200));
    }
    victim.holds_all("room again");
    victim.daemon = Daemon::start_with(&victim.daemon.kill(), &settings);
    victim.daemon.wait_ready();
    victim.holds_all("kill -9 on a small disk");
}
