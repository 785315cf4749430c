//! C1: `kill -9` under load, over gRPC and HTTP at once; every acknowledged span is found afterwards, once.
//!
//! `CRASH_ROUNDS` says how often (20 by default; `tests/interop.sh` takes 200).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message as _;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::daemon::{Daemon, block_on};
use crate::proto::plain::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::plain::opentelemetry::proto::common::v1::{AnyValue, KeyValue, any_value};
use crate::proto::plain::opentelemetry::proto::resource::v1::Resource;
use crate::proto::plain::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

const SPANS: u64 = 20;
const START_NS: u64 = 1_790_000_000_000_000_000;

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

/// Number `request` of sender `sender`: each span says who it is and holds a checksum of that.
fn request(sender: u64, request: u64) -> ExportTraceServiceRequest {
    let spans = (0..SPANS).map(|n| {
        let number = request * SPANS + n;
        let check = twox_hash::XxHash3_64::oneshot(&[sender.to_le_bytes(), number.to_le_bytes()].concat());
        Span {
            trace_id: [[1; 8], (sender * 1_000_000 + request + 1).to_be_bytes()].concat(),
            span_id: (sender << 40 | (number + 1)).to_be_bytes().to_vec(),
            name: format!("step {}", number % 7),
            kind: 2,
            start_time_unix_nano: START_NS + number * 1_000,
            end_time_unix_nano: START_NS + number * 1_000 + 500,
            attributes: vec![
                text("oracle.check", format!("{check:016x}")),
                text("oracle.number", format!("n{number}")),
            ],
            ..Span::default()
        }
    });
    let scope_spans = vec![ScopeSpans { spans: spans.collect(), ..ScopeSpans::default() }];
    let resource =
        Some(Resource { attributes: vec![text("service.name", format!("sender-{sender}"))], ..Resource::default() });
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

/// What a sender knows: request number → acknowledged (else it may or may not be there).
type Sent = Arc<Mutex<BTreeMap<(u64, u64), bool>>>;

async fn send(sender: u64, from: u64, endpoint: String, grpc: bool, sent: Sent, stop: Arc<AtomicBool>) -> u64 {
    use weavergen::cli::loadgen::{Compression, Outcome, Protocol, Target};
    let protocol = if grpc { Protocol::Grpc } else { Protocol::Http };
    let target = Target::try_new(&endpoint, protocol, Compression::None).unwrap();
    let mut number = from;
    let Ok(mut connection) = target.connect().await else { return number };
    while !stop.load(Ordering::Relaxed) {
        let body = target.body(&request(sender, number).encode_to_vec()).unwrap();
        sent.lock().unwrap().insert((sender, number), false);
        match connection.send(body).await {
            Outcome::Acknowledged { rejected } => {
                assert_eq!(rejected, 0);
                sent.lock().unwrap().insert((sender, number), true);
            }
            Outcome::Refused(why) => panic!("refused: {why}"),
            Outcome::Broken(_) => return number + 1,
        }
        number += 1;
    }
    number
}

/// Spans of one page of [`check`].
const PAGE: u64 = 9_000;

fn page(sender: u64, from: u64) -> String {
    let time = |number: u64| jiff::Timestamp::from_nanosecond(i128::from(START_NS + number * 1_000)).unwrap();
    format!(
        "SELECT attributes['oracle.number'], attributes['oracle.check'], count(*), min(name), min(duration_ns), \
         min(hex(span_id)) FROM spans WHERE service_name = 'sender-{sender}' AND start_time >= TIMESTAMP '{}' \
         AND start_time < TIMESTAMP '{}' GROUP BY 1, 2",
        time(from),
        time(from + PAGE)
    )
}

fn check(daemon: &Daemon, sent: &BTreeMap<(u64, u64), bool>) {
    let mut found: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut rows_seen = 0;
    for sender in 0..4 {
        let end = sent.keys().filter(|(of, _)| *of == sender).map(|(_, request)| (request + 1) * SPANS).max();
        // A page is a range of start times, so that a long run reads each row once.
        for from in (0..end.unwrap_or(0)).step_by(PAGE as usize) {
            for row in daemon.rows(&page(sender, from)) {
                let number: u64 = row[0].as_str().unwrap().trim_start_matches('n').parse().unwrap();
                let check = twox_hash::XxHash3_64::oneshot(&[u64::to_le_bytes(sender), number.to_le_bytes()].concat());
                assert_eq!(row[1], format!("{check:016x}"), "content changed: {row}");
                assert_eq!(row[2], 1, "stored twice: {row}");
                assert_eq!(row[3], format!("step {}", number % 7));
                assert_eq!(row[4], 500);
                assert_eq!(row[5], format!("{:016x}", sender << 40 | (number + 1)));
                *found.entry((sender, number / SPANS)).or_default() += 1;
                rows_seen += 1;
            }
        }
    }
    let all = daemon.rows("SELECT count(*) FROM spans WHERE service_name LIKE 'sender-%'");
    assert_eq!(all[0][0], rows_seen, "spans with times that nobody sent");
    for (request, acknowledged) in sent {
        match found.remove(request) {
            Some(spans) => assert_eq!(spans, SPANS, "request {request:?} is there in part"),
            None => assert!(!acknowledged, "acknowledged request {request:?} is lost"),
        }
    }
    assert!(found.is_empty(), "never sent: {:?}", found.keys().next());
}

#[test]
fn a_kill_loses_nothing_acknowledged_and_invents_nothing() {
    #[allow(clippy::disallowed_methods, reason = "a test's own knob")]
    let rounds = std::env::var("CRASH_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let sent: Sent = Arc::default();
    let mut chance = ChaCha8Rng::seed_from_u64(7);
    let mut next = [0_u64; 4];
    for round in 0..rounds {
        let flags = ["--set=storage::memtable::flush_after=300ms"];
        let daemon = Daemon::start_with(&data, &flags);
        if round % 5 == 4 {
            check_when_ready(&daemon, &sent);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (grpc, http) = (daemon.grpc(), daemon.http());
        let life = Duration::from_millis(30 + chance.next_u64() % 700);
        let senders = std::thread::spawn({
            let (sent, stop) = (sent.clone(), stop.clone());
            move || {
                block_on(async move {
                    let sends = (0..4).map(|sender| {
                        let is_grpc = sender % 2 == 0;
                        let endpoint = if is_grpc { grpc.clone() } else { http.clone() };
                        send(
                            sender,
                            next[usize::try_from(sender).unwrap()],
                            endpoint,
                            is_grpc,
                            sent.clone(),
                            stop.clone(),
                        )
                    });
                    futures::future::join_all(sends).await
                })
            }
        });
        std::thread::sleep(life);
        daemon.kill();
        stop.store(true, Ordering::Relaxed);
        next = senders.join().unwrap().try_into().unwrap();
    }
    let daemon = Daemon::start(&data);
    check_when_ready(&daemon, &sent);
    let acknowledged = sent.lock().unwrap().values().filter(|acked| **acked).count();
    println!("{rounds} kills, {} spans acknowledged, all found once", acknowledged as u64 * SPANS);
    assert!(acknowledged > rounds, "the load was too small to mean anything");
    assert_eq!(daemon.stop(), 0);
}

fn check_when_ready(daemon: &Daemon, sent: &Sent) {
    daemon.wait_ready();
    check(daemon, &sent.lock().unwrap());
}

#[test]
fn fdatasync_stands_before_the_answer() {
    let strace = std::process::Command::new("strace").arg("-V").output();
    assert!(strace.is_ok(), "this test needs strace: sudo apt-get install strace");
    let dir = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&dir.path().join("data"));
    let trace = dir.path().join("trace");
    let mut tracer = std::process::Command::new("strace")
        .args(["-f", "-tt", "-e", "trace=fdatasync,write,writev,sendto,sendmsg,pwritev,pwrite64", "-s", "64"])
        .arg("-p")
        .arg(daemon.pid().to_string())
        .arg("-o")
        .arg(&trace)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(700));
    let url = format!("{}/v1/traces", daemon.http());
    let body = request(0, 0).encode_to_vec();
    let status = block_on(async {
        let client = reqwest::Client::new();
        let request = client.post(url).header("content-type", "application/x-protobuf").body(body);
        request.send().await.unwrap().status().as_u16()
    });
    assert_eq!(status, 200);
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill();
    tracer.wait().unwrap();
    let calls = std::fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = calls.lines().collect();
    let answer =
        lines.iter().position(|l| l.contains("HTTP/1.1 200")).unwrap_or_else(|| panic!("no answer in\n{calls}"));
    let logged =
        lines.iter().position(|l| l.contains("WGRC")).unwrap_or_else(|| panic!("no record written in\n{calls}"));
    let synced = lines[logged..]
        .iter()
        .position(|l| l.contains("fdatasync") && l.ends_with("= 0") || l.contains("fdatasync resumed"))
        .map(|at| at + logged);
    let synced = synced.unwrap_or_else(|| panic!("no fdatasync after the record in\n{calls}"));
    assert!(logged < synced && synced < answer, "record {logged}, fdatasync {synced}, answer {answer} in\n{calls}");
}
