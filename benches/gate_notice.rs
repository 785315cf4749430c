//! From the last breaching span to the message (issue 7's row, gates.md 3 and 9).
//!
//! Duty: the row `gate_notice`: keys breach one after the other beside ten services that send all the time; the time from the
//! acknowledgement of a key's only span until a receiver has the message, out of shared states and by SQL. Guarantee: evaluator
//! and notifier as the daemon runs them, by the machine's clock, real files with `fsync`, a real socket; every key is told of.
//! Left to others: the wire to the store, which is before the acknowledgement.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use prometheus::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use weavergen::clock::Clock;
use weavergen::gate;
use weavergen::notify::{self, Notifier};
use weavergen::store::Store;

use super::gate_house::{ATTRIBUTES, Gates, rank_ms, send};
use super::{Bench, gates, load, store};

const INTERVAL: Duration = Duration::from_secs(1);
const QUERY_OFFSET: Duration = Duration::from_secs(1);
/// Breaches, each of two keys; what lies between them spreads them over the interval.
const ROUNDS: usize = 100;
const PAUSE: Duration = Duration::from_millis(137);
/// Services that send beside the one that breaches, each as often.
const SERVICES: usize = 10;
const EVERY: Duration = Duration::from_millis(100);
const BREACHES: &str = "breaches";
/// Names that keys do not have, which the service that breaches sends to stay there.
const OTHERS: usize = 10;
const FIRST_KEY: usize = 1_000;
/// Until ticks close steadily, and until the last message must be there.
const WARM_UP: Duration = Duration::from_secs(4);
const PATIENCE: Duration = Duration::from_secs(15);

/// When things happened, by key.
type Moments = Arc<Mutex<HashMap<String, Instant>>>;

/// Prints a row a class.
pub fn run(bench: &Bench) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    for (name, bucket) in [("gate_notice/shared", INTERVAL), ("gate_notice/sql", Duration::ZERO)] {
        if bench.wants(name) {
            runtime.block_on(row(name, bucket));
        }
    }
}

fn file() -> String {
    format!(
        "groups:\n- name: g\n  interval: {}s\n  query_offset: {}s\n  gates:\n  - gate: quiet\n    window: 60s\n    pass: '< 1'\n    \
         by: [name]\n    sql: SELECT name, count(*) AS value FROM spans WHERE service_name = '{BREACHES}' GROUP BY name\n",
        INTERVAL.as_secs(),
        QUERY_OFFSET.as_secs()
    )
}

async fn row(name: &str, bucket: Duration) {
    let (store, _, _dir) = store::open().await;
    let (clock, stop, told) = (Clock::os(), CancellationToken::new(), Moments::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}/", listener.local_addr().expect("it is bound"));
    let peer = tokio::spawn(accept(listener, told.clone()));
    let config = gate::Config { bucket, ..gate::Config::default() };
    let Gates { evaluator, journal, dir, .. } = Gates::open(&store, &clock, &file(), config, &["hook"]);
    let format = notify::config::Format::Alertmanager;
    let hook = notify::config::Webhook { url, format, secret_file: None, headers: BTreeMap::new() };
    let hook = notify::config::Receiver::of(notify::config::Kind::Webhook(hook));
    let receivers = BTreeMap::from([("hook".to_owned(), hook)]);
    let config = notify::Config { receivers, ..notify::Config::default() };
    let intervals = BTreeMap::from([("quiet".to_owned(), INTERVAL)]);
    let rim = notify::Rim { journal, clock: clock.clone(), intervals, instance: "bench".to_owned() };
    let notifier = Notifier::open(&config, rim, &Registry::new()).expect("no secret to read");
    let running = [tokio::spawn(evaluator.run(stop.clone())), tokio::spawn(notifier.run(stop.clone()))];
    let live = tokio::spawn(live(store.clone(), clock.clone(), stop.clone()));

    tokio::time::sleep(WARM_UP).await;
    let mut acknowledged = HashMap::new();
    for round in 0..ROUNDS {
        let first = FIRST_KEY + 2 * round;
        // Identities of the others count up from 1.
        let (seed, times) = (u64::MAX - round as u64, (now_ns(&clock), 2));
        let body = load::spread_from(seed, (2, ATTRIBUTES), (usize::MAX, first), BREACHES, times);
        send(&store, body, seed).await;
        let now = Instant::now();
        acknowledged.extend((first..first + 2).map(|key| (load::span_type(key), now)));
        tokio::time::sleep(PAUSE).await;
    }
    let waiting = Instant::now();
    let is_told = |key: &String| told.lock().expect("nobody panics").contains_key(key);
    while !acknowledged.keys().all(is_told) {
        assert!(waiting.elapsed() < PATIENCE, "every key is told of");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    for task in running {
        task.await.expect("it does not panic");
    }
    live.await.expect("it does not panic");
    peer.abort();
    let took: Vec<Duration> = {
        let told = told.lock().expect("nobody panics");
        acknowledged.iter().map(|(key, acknowledged)| told[key].duration_since(*acknowledged)).collect()
    };
    println!(
        "{name:<22} p50 {:>7.1} ms  p99 {:>7.1} ms of {} keys, query_offset + interval + 1 s = {} ms",
        rank_ms(&took, 50),
        rank_ms(&took, 99),
        took.len(),
        (QUERY_OFFSET + INTERVAL + Duration::from_secs(1)).as_millis(),
    );
    drop(dir);
    store.close().await.expect("the store closes");
}

fn now_ns(clock: &Clock) -> u64 {
    u64::try_from(clock.now_ns()).expect("it is after 1970")
}

/// All services send what ends now.
async fn live(store: Store, clock: Clock, stop: CancellationToken) {
    let names: Vec<String> = (0..SERVICES).map(|at| format!("service-{at}")).chain([BREACHES.to_owned()]).collect();
    let mut identity = 0;
    while !stop.is_cancelled() {
        for name in &names {
            identity += 1;
            let times = (now_ns(&clock), 1_000_000);
            let body = load::spread(identity, (OTHERS, ATTRIBUTES), OTHERS, name, times);
            send(&store, body, identity).await;
        }
        tokio::time::sleep(EVERY).await;
    }
}

async fn accept(listener: TcpListener, told: Moments) {
    while let Ok((socket, _)) = listener.accept().await {
        tokio::spawn(answer(socket, told.clone()));
    }
}

/// Takes messages of a connection.
async fn answer(mut socket: TcpStream, told: Moments) {
    let (mut bytes, mut part) = (Vec::new(), [0; 8192]);
    while let Ok(read @ 1..) = socket.read(&mut part).await {
        bytes.extend_from_slice(&part[..read]);
        while let Some(length) = gates::request(&bytes) {
            let message: Vec<u8> = bytes.drain(..length).collect();
            if let Some(key) = fires(&message) {
                told.lock().expect("nobody panics").entry(key).or_insert_with(Instant::now);
            }
            if socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.is_err() {
                return;
            }
        }
    }
}

/// The key that the request `message` says to fire.
fn fires(message: &[u8]) -> Option<String> {
    let body = message.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let body: serde_json::Value = serde_json::from_slice(&message[body..]).ok()?;
    let name = body["alerts"][0]["labels"]["name"].as_str()?;
    (body["status"] == "firing").then(|| name.to_owned())
}
