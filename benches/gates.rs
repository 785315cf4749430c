//! What gates cost beside their spans: asking by SQL, writing a tick, telling people.
//!
//! Duty: the rows `gate_rerun` (a round of gates of class re-run), `gate_close` (a tick in which many keys change) and
//! `gate_outbox` (messages to a receiver that takes its time). Guarantee: real files with `fsync`, a real socket. Left to
//! others: gates that share states (`gate_tick`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt as _;
use prometheus::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use weavergen::clock::Clock;
use weavergen::gate::identity::AlertId;
use weavergen::gate::journal::{
    Batch, EpisodeEdit, EpisodeRow, Journal, JournalRow, KeyId, KeyRow, Notice, OutcomeRun, Status, Told,
};
use weavergen::gate::result::{Ask, Selection, Window};
use weavergen::gate::state::{Cause, Level, Phase, State};
use weavergen::gate::verdict::Outcome;
use weavergen::gate::{self, Gate, Known, Planner};
use weavergen::notify::{self, Notifier};
use weavergen::query;

use super::{Bench, store};

/// Runs of which the median is printed.
const RUNS: usize = 5;
/// Keys that change in one tick, and messages that wait.
const MANY: u32 = 10_000;
/// What the receiver takes for an answer.
const PEER: Duration = Duration::from_millis(5);
/// Gates of a round, and the spans that each of them joins with themselves.
const GATES: usize = 50;
const SPANS: usize = 1_000_000;
/// When the last spans of the load end, and when all have ended.
const LOAD_ENDS_NS: [i64; 2] = [1_760_000_000_990_000_000, 1_760_000_001_050_000_000];

/// Prints a row each.
pub fn run(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    if bench.wants("gate_close") {
        let millis = median((0..RUNS).map(|_| close().as_secs_f64() * 1e3).collect());
        println!("gate_close/{MANY}    {millis:>10.1} ms a commit");
    }
    if bench.wants("gate_outbox") {
        let rate = median((0..RUNS).map(|_| runtime.block_on(outbox())).collect());
        println!("gate_outbox/{MANY}   {rate:>10.0} messages/s, answers after {} ms", PEER.as_millis());
    }
    if bench.wants("gate_rerun") {
        let (first, next) = runtime.block_on(rerun());
        println!("gate_rerun/{GATES}x{SPANS} {first:>7.2} s the first round, {next:.2} s the next");
    }
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

fn journal() -> (tempfile::TempDir, Journal) {
    // Not /tmp, which may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    let journal = Journal::open(&dir.path().join("gates.redb")).expect("an empty folder");
    (dir, journal)
}

fn labels(number: u32) -> BTreeMap<String, String> {
    BTreeMap::from([("service_name".to_owned(), format!("service-{number}"))])
}

fn notice(number: u32) -> Notice {
    Notice {
        alert: AlertId::new("default", "span_completeness", &labels(number)),
        episode: 1,
        number: 0,
        status: Status::Firing,
        health: false,
        gate: "span_completeness".to_owned(),
        key: format!("service_name=service-{number}"),
        by: labels(number),
        labels: labels(number),
        annotations: BTreeMap::from([("summary".to_owned(), "half of the attributes are missing".to_owned())]),
        level: Level::Fail,
        outcome: Some(Outcome::Fail),
        reason: "firing".to_owned(),
        value: Some(0.5),
        n: Some(480),
        window: Window { start_ns: 0, end_ns: 300_000_000_000 },
        trace_ids: vec![[7; 16]; 5],
        pipeline: None,
        starts_at_ns: 300_000_000_000,
        ends_at_ns: None,
    }
}

/// A tick that fires every key.
fn tick() -> Batch {
    let mut batch = Batch::default();
    for number in 0..MANY {
        let told = notice(number);
        let id = KeyId { gate: told.gate.clone(), generation: 1, key: told.key.clone() };
        let run = OutcomeRun {
            gate: told.gate.clone(),
            generation: 1,
            group: "semconv".to_owned(),
            key: told.key.clone(),
            outcome: Outcome::Fail,
            first_tick_ns: told.starts_at_ns,
            last_tick_ns: told.starts_at_ns,
            evaluations: 1,
            value: told.value,
            values: (0.5, 1),
            n: told.n,
            window: told.window,
            cut_us: 1,
            evidence: r#"{"match_rate":0.9,"strict":0.1}"#.to_owned(),
            trace_ids: told.trace_ids.clone(),
            dry_run: false,
            cost_ns: 1,
            baseline: None,
            ticks: Vec::new(),
        };
        let row = KeyRow {
            labels: told.by.clone(),
            state: State::fresh(1),
            missing: 0,
            last: Some((Outcome::Fail, told.value)),
            told: Some(Told { receivers: vec!["hook".to_owned()], notice: told.clone() }),
            untold: None,
        };
        let opened = EpisodeRow {
            gate: told.gate.clone(),
            key: told.key.clone(),
            opened_ns: told.starts_at_ns,
            closed_ns: None,
            level_max: Level::Fail,
            closed_by: None,
            pipeline_run: None,
        };
        batch.journal.push(JournalRow {
            at_ns: told.starts_at_ns,
            t_ns: told.starts_at_ns,
            gate: told.gate.clone(),
            key: told.key.clone(),
            from: Phase::Pending,
            to: Phase::Firing(Level::Fail),
            cause: Cause::Firing,
            episode: Some(1),
            transition: Some(format!("{}/1/0", told.alert)),
            actor: None,
            summary: String::new(),
            looked_us: None,
            looked_ns: None,
        });
        batch.running.insert(id.clone(), Some(run));
        batch.keys.insert(id, Some(row));
        batch.episodes.push((told.alert, 1, EpisodeEdit::Open(opened)));
        batch.outbox.push(("hook".to_owned(), told));
    }
    batch
}

/// Time of the commit of [`tick`].
fn close() -> Duration {
    let ((_dir, journal), batch) = (journal(), tick());
    let started = Instant::now();
    journal.commit(&batch, 1).expect("the disk takes it");
    started.elapsed()
}

/// Messages a second of a full outbox, until none waits.
async fn outbox() -> f64 {
    let (_dir, journal) = journal();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let seen = Arc::new(Mutex::new(0_u32));
    let peer = tokio::spawn(accept(listener, seen.clone()));
    let outbox = (0..MANY).map(|number| ("hook".to_owned(), notice(number))).collect();
    journal.commit(&Batch { outbox, ..Batch::default() }, 1).expect("the disk takes it");
    let format = notify::config::Format::Alertmanager;
    let hook = notify::config::Webhook { url, format, secret_file: None, headers: BTreeMap::new() };
    let hook = notify::config::Receiver::of(notify::config::Kind::Webhook(hook));
    let receivers = BTreeMap::from([("hook".to_owned(), hook)]);
    let config = notify::Config { receivers, ..notify::Config::default() };
    let rim = notify::Rim {
        journal: journal.clone(),
        clock: Clock::os(),
        intervals: BTreeMap::new(),
        instance: "bench".to_owned(),
    };
    let notifier = Notifier::open(&config, rim, &Registry::new()).expect("no secret to read");
    let (stop, started) = (CancellationToken::new(), Instant::now());
    let running = tokio::spawn(notifier.run(stop.clone()));
    while journal.outbox_size("hook").messages > 0 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = started.elapsed();
    stop.cancel();
    running.await.expect("it does not panic");
    peer.abort();
    assert!(*seen.lock().expect("nobody panics") >= MANY, "each arrives at least once");
    f64::from(MANY) / took.as_secs_f64()
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<u32>>) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer(socket, seen.clone()));
    }
}

/// Answers each request of a connection after [`PEER`].
async fn answer(mut socket: TcpStream, seen: Arc<Mutex<u32>>) {
    let (mut bytes, mut part) = (Vec::new(), [0; 8192]);
    while let Ok(read @ 1..) = socket.read(&mut part).await {
        bytes.extend_from_slice(&part[..read]);
        while let Some(length) = request(&bytes) {
            bytes.drain(..length);
            tokio::time::sleep(PEER).await;
            *seen.lock().expect("nobody panics") += 1;
            if socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// Length of the request that `bytes` begin with, once it is whole.
pub fn request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).ok()?.to_lowercase();
    let length = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse::<usize>().ok())?;
    (bytes.len() >= head + length).then_some(head + length)
}

/// Gates that join spans with their parents.
fn gates() -> Vec<Arc<Gate>> {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("the target folder is writable");
    let file = dir.path().join("gates.yaml");
    let gate = |at: usize| {
        format!(
            "  - gate: g{at}\n    window: 5m\n    pass: '>= 0'\n    by: [service_name]\n    sql: |\n      SELECT \
             a.service_name, count(b.span_id) + {at} AS value FROM spans a LEFT JOIN spans b ON b.trace_id = \
             a.trace_id AND b.span_id = a.parent_span_id GROUP BY a.service_name\n"
        )
    };
    let text: String = (0..GATES).map(gate).collect();
    std::fs::write(&file, format!("groups:\n- name: g\n  gates:\n{text}")).expect("the folder is writable");
    let config = gate::Config { files: Some(vec![file.display().to_string()]), ..gate::Config::default() };
    let known = Known::default();
    let request = gate::Request { config: &config, queries_dir: None, known: &known };
    let loaded = gate::load(&request, &Planner::default());
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    loaded.groups.into_iter().filter(|group| group.name == "g").flat_map(|g| g.gates).map(Arc::new).collect()
}

/// Seconds of a round that plans its gates, and of the next.
async fn rerun() -> (f64, f64) {
    let (store, _dir) = store::filled(SPANS).await;
    let config = query::Config { threads: 2, ..query::Config::default() };
    let (reader, gate_config) = (store.reader(), gate::Config::default());
    let cut_us = reader.view().visible_us;
    let gateway = gate::run::gateway(reader, &config, &gate_config, Vec::new(), Clock::os()).expect("threads");
    let (runner, gates) = (gate::run::runner(gateway), gates());
    let mut rounds = [0.0; 2];
    // The few spans that end between the two keep the first result from standing.
    for (round, end_ns) in rounds.iter_mut().zip(LOAD_ENDS_NS) {
        let started = Instant::now();
        let asks = gates.iter().map(|gate| {
            let window = Window { start_ns: end_ns - 300_000_000_000, end_ns };
            runner.run(Ask { gate: gate.clone(), window, cut_us, spans: Selection::OfGate })
        });
        // As many at a time as the evaluator runs: they share `gates.rerun_memory`.
        let at_a_time = std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        let mut answers = futures::stream::iter(asks).buffer_unordered(at_a_time);
        while let Some(rows) = answers.next().await {
            assert!(!rows.expect("it runs").is_empty());
        }
        *round = started.elapsed().as_secs_f64();
    }
    store.close().await.expect("the store closes");
    (rounds[0], rounds[1])
}
