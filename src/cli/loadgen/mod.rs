//! `weavergen loadgen`: seeded traces to any OTLP endpoint.
//!
//! Duty: make requests ahead of time, send them at a rate over several connections, and report what became of every
//! span. Guarantee: the same seed and start give the same bytes; a span counts as acknowledged only when its request
//! was. Left to others: nothing; it shares no code with the receiver it measures.

mod encode;
mod recipe;
mod report;
mod send;
mod shop;
mod standard;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::ValueEnum;
use tokio::sync::{Mutex, mpsc};

pub use recipe::{Chance, Recipe, Service, Span, Trace, Value};
pub use report::{Report, Tally};
pub use send::{Connection, Outcome, Target};

use super::exit::{Exit, Failure};
use super::lines::print;
use crate::clock::Clock;

/// Bytes that may be encoded ahead of the senders.
const AHEAD_BYTES: usize = 1 << 30;
/// Requests that may be encoded ahead of the senders.
const AHEAD_REQUESTS: usize = 1 << 20;
/// Requests ahead once the senders run.
const QUEUED_REQUESTS: usize = 256;

/// Send seeded traces to an OTLP endpoint and report what became of them.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which traces: orders in a shop of 7 services, or the benchmark's load
    #[arg(long, value_enum, default_value = "shop")]
    pub recipe: Recipe,
    /// The same seed (and start) gives the same bytes
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// End after this many traces [default: 1000, or none with --duration]
    #[arg(long)]
    pub traces: Option<u64>,
    /// Spans a second over all connections; 0 = as fast as it goes
    #[arg(long, default_value_t = 0)]
    pub rate: u64,
    /// End after this time, e.g. 30s, 5m
    #[arg(long, value_parser = parse_duration)]
    pub duration: Option<Duration>,
    /// Spans in one request
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    pub spans_per_request: u32,
    /// Transport and encoding
    #[arg(long, value_enum, default_value = "grpc")]
    pub protocol: Protocol,
    /// Compression of requests
    #[arg(long, value_enum, default_value = "none")]
    pub compression: Compression,
    /// Connections, each with one request in flight
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    pub connections: u16,
    /// Share of failed spans, 0 to 1 [default: the recipe's]
    #[arg(long, value_parser = parse_share)]
    pub error_share: Option<f64>,
    /// Where to send [default: http://localhost:4317, or :4318 for http]
    #[arg(long)]
    pub endpoint: Option<String>,
    /// Time of the first span, RFC 3339 [default: so that the last one is now]
    #[arg(long)]
    pub start: Option<jiff::Timestamp>,
    /// Also write the report as JSON to this file
    #[arg(long)]
    pub summary: Option<PathBuf>,
}

/// Transport and encoding of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// OTLP/gRPC
    Grpc,
    /// OTLP/HTTP with protobuf
    Http,
    /// OTLP/HTTP with JSON
    HttpJson,
}

/// Compression of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// As they are
    None,
    /// gzip, level 6
    Gzip,
    /// zstd, level 1
    Zstd,
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text.parse().map_err(|_| format!("`{text}` is no duration such as 30s or 5m"))?;
    Duration::try_from(span).map_err(|_| format!("`{text}` is negative"))
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err(format!("`{text}` is not between 0 and 1")) }
}

/// One encoded request.
#[derive(Clone, Debug)]
struct Encoded {
    body: Bytes,
    spans: u64,
}

impl Args {
    fn endpoint(&self) -> &str {
        let default = match self.protocol {
            Protocol::Grpc => "http://localhost:4317",
            Protocol::Http | Protocol::HttpJson => "http://localhost:4318",
        };
        self.endpoint.as_deref().unwrap_or(default)
    }

    fn trace_limit(&self) -> u64 {
        self.traces.unwrap_or(if self.duration.is_some() { u64::MAX } else { 1_000 })
    }

    /// ns since 1970 of the first trace.
    fn start_ns(&self, now_ns: i64) -> u64 {
        if let Some(start) = self.start {
            return u64::try_from(start.as_nanosecond()).unwrap_or(0);
        }
        let by_time = self.duration.map(|d| d.as_secs().saturating_mul(self.rate));
        let by_time = by_time.map_or(u64::MAX, |spans| spans / self.recipe.spans_per_trace());
        let traces = match self.trace_limit().min(by_time) {
            u64::MAX => 0,
            traces => traces,
        };
        u64::try_from(now_ns).unwrap_or(0).saturating_sub(traces.saturating_mul(self.recipe.trace_distance_ns()))
    }
}

/// Runs the command: [`Exit::Good`] when every span was acknowledged, [`Exit::Bad`] when some were not,
/// [`Exit::Unavailable`] when no connection could be opened, [`Exit::Usage`] when the endpoint is none, [`Exit::Io`] when
/// the report cannot be written.
pub async fn run(args: Args, clock: &Clock) -> anyhow::Result<Exit> {
    let target = Target::try_new(args.endpoint(), args.protocol, args.compression)
        .map_err(|error| Failure::new(Exit::Usage, error.to_string()))?;
    let mut connections = Vec::new();
    for _ in 0..args.connections {
        match target.connect().await {
            Ok(connection) => connections.push(connection),
            Err(why) => {
                eprintln!(
                    "error: {why}; is a receiver running there? `weavergen` starts one, --endpoint names another"
                );
                return Ok(Exit::Unavailable);
            }
        }
    }
    let unwritten = |path: &Path, error: &std::io::Error| {
        Failure::new(Exit::Io, format!("cannot write --summary {}: {error}; name another file", path.display()))
    };
    // Before the load, which may take hours and would end without its report.
    let summary = match &args.summary {
        Some(path) => Some((path, File::create(path).map_err(|error| unwritten(path, &error))?)),
        None => None,
    };
    let report = send_all(&args, &target, connections, clock.now_ns()).await?;
    if let Some((path, mut file)) = summary {
        let text = serde_json::to_string_pretty(&report).context("the report is plain data")? + "\n";
        file.write_all(text.as_bytes()).map_err(|error| unwritten(path, &error))?;
    }
    print(&report.to_string())?;
    let all = report.rejected == 0 && report.failed == 0;
    Ok(if all { Exit::Good } else { Exit::Bad })
}

/// Sends the whole load over `connections` and counts.
async fn send_all(args: &Args, target: &Target, connections: Vec<Connection>, now_ns: i64) -> anyhow::Result<Report> {
    let (encoded, requests) = encode_ahead(args, target, now_ns);
    // Requests are made before the clock starts, as many as the room ahead holds.
    let (first, requests) = encoded.await.context("the encoder ended early")?.take_ready(requests).await;
    let requests = Arc::new(Mutex::new((first, requests)));
    let pace = Arc::new(Pace::new(args.rate));
    let began = Instant::now();
    let deadline = args.duration.map(|d| began + d);
    let mut workers = tokio::task::JoinSet::new();
    for mut connection in connections {
        let (requests, pace, target) = (requests.clone(), pace.clone(), target.clone());
        workers.spawn(async move {
            let mut tally = Tally::default();
            loop {
                if deadline.is_some_and(|d| Instant::now() >= d) {
                    break;
                }
                let Some(request) = next(&requests).await else { break };
                pace.wait(request.spans).await;
                let sent = Instant::now();
                let outcome = connection.send(request.body).await;
                let broken = matches!(outcome, Outcome::Broken(_));
                tally.add(request.spans, &outcome, sent.elapsed());
                if broken {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    match target.connect().await {
                        Ok(fresh) => connection = fresh,
                        Err(why) => tally.note(why),
                    }
                }
            }
            tally
        });
    }
    let mut total = Tally::default();
    while let Some(tally) = workers.join_next().await {
        total.merge(tally.context("a sender failed")?);
    }
    Ok(total.report(began.elapsed()))
}

type Requests = (std::collections::VecDeque<Encoded>, mpsc::Receiver<Encoded>);

async fn next(requests: &Mutex<Requests>) -> Option<Encoded> {
    let mut requests = requests.lock().await;
    match requests.0.pop_front() {
        Some(request) => Some(request),
        None => requests.1.recv().await,
    }
}

/// How much was encoded when the senders may begin.
struct Ready(usize);

impl Ready {
    async fn take_ready(self, mut requests: mpsc::Receiver<Encoded>) -> Requests {
        let mut first = std::collections::VecDeque::with_capacity(self.0);
        for _ in 0..self.0 {
            first.extend(requests.recv().await);
        }
        (first, requests)
    }
}

/// Starts the encoder on a thread. The first result comes when the whole load or [`AHEAD_BYTES`] of it is encoded.
fn encode_ahead(
    args: &Args,
    target: &Target,
    now_ns: i64,
) -> (tokio::sync::oneshot::Receiver<Ready>, mpsc::Receiver<Encoded>) {
    let (ready, is_ready) = tokio::sync::oneshot::channel();
    // The channel's own bound matters only after the clock started: then the encoder must keep up with the senders.
    let (sender, receiver) = mpsc::channel(AHEAD_REQUESTS);
    let (args, target) = (args.clone(), target.clone());
    std::thread::spawn(move || {
        let mut ready = Some(ready);
        let (mut ahead, mut count) = (0, 0);
        for request in encode_load(&args, &target, now_ns) {
            ahead += request.body.len();
            count += 1;
            if sender.blocking_send(request).is_err() {
                return;
            }
            // A load without an end must not fill the memory before the first request is sent.
            let ahead_bytes = if args.trace_limit() == u64::MAX { AHEAD_BYTES / 8 } else { AHEAD_BYTES };
            let enough = ahead >= ahead_bytes || count >= AHEAD_REQUESTS / 2;
            if enough && let Some(ready) = ready.take() {
                // An error here means that the senders are gone; the next send tells.
                let _ = ready.send(Ready(count));
            }
            while enough && sender.capacity() < AHEAD_REQUESTS - QUEUED_REQUESTS {
                if sender.is_closed() {
                    return;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if let Some(ready) = ready.take() {
            let _ = ready.send(Ready(count));
        }
    });
    (is_ready, receiver)
}

fn encode_load<'a>(args: &'a Args, target: &'a Target, now_ns: i64) -> impl Iterator<Item = Encoded> + 'a {
    let services = args.recipe.services();
    let start_ns = args.start_ns(now_ns);
    let size = args.spans_per_request as usize;
    let mut items = (0..args.trace_limit())
        .flat_map(move |index| encode::items(args.recipe.trace(args.seed, index, start_ns, args.error_share)));
    std::iter::from_fn(move || {
        let load: Vec<_> = items.by_ref().take(size).collect();
        if load.is_empty() {
            return None;
        }
        let message = match args.protocol {
            Protocol::HttpJson => encode::json(&load, &services),
            Protocol::Grpc | Protocol::Http => encode::protobuf(&load, &services),
        };
        let body = target.body(&message).expect("compression into memory fails only above 4 GiB a message");
        Some(Encoded { body, spans: load.len() as u64 })
    })
}

/// Spreads spans evenly over time.
#[derive(Debug)]
struct Pace {
    rate: u64,
    began: Instant,
    sent: Mutex<u64>,
}

impl Pace {
    fn new(rate: u64) -> Self {
        Self { rate, began: Instant::now(), sent: Mutex::new(0) }
    }

    /// Returns when the next `spans` are due.
    async fn wait(&self, spans: u64) {
        if self.rate == 0 {
            return;
        }
        let due = {
            let mut sent = self.sent.lock().await;
            let nanos = u128::from(*sent) * 1_000_000_000 / u128::from(self.rate);
            *sent += spans;
            self.began + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
        };
        tokio::time::sleep_until(due.into()).await;
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Line::parse_from(std::iter::once("loadgen").chain(line.split_whitespace())).args
    }

    #[test]
    fn the_same_seed_and_start_give_the_same_bytes() {
        let line = "--traces 20 --start 2026-01-01T00:00:00Z --protocol http --compression gzip --recipe std";
        let bodies = |line: &str| -> Vec<Bytes> {
            let args = args(line);
            let target = Target::try_new("localhost:1", args.protocol, args.compression).unwrap();
            encode_load(&args, &target, 0).map(|e| e.body).collect()
        };
        assert_eq!(bodies(line), bodies(line));
        assert_eq!(bodies(line).len(), 2, "20 traces of 10 spans, 100 a request");
        assert_ne!(bodies(line), bodies(&format!("{line} --seed 2")));
    }

    #[test]
    fn the_last_trace_is_now_unless_a_start_is_given() {
        let now = 1_800_000_000_000_000_000;
        assert_eq!(args("--traces 10").start_ns(now), 1_800_000_000_000_000_000 - 10 * 50_000_000);
        assert_eq!(args("--start 1970-01-01T00:00:01Z").start_ns(now), 1_000_000_000);
        assert_eq!(args("--duration 8s --rate 100").start_ns(now), 1_800_000_000_000_000_000 - 100 * 50_000_000);
    }

    #[test]
    fn wrong_values_are_told() {
        let error = |line: &str| {
            let words = std::iter::once("loadgen").chain(line.split_whitespace());
            Line::try_parse_from(words).map(|_| ()).unwrap_err().to_string()
        };
        assert!(error("--error-share 2").contains("not between 0 and 1"));
        assert!(error("--duration soon").contains("no duration"));
        assert!(error("--spans-per-request 0").contains("0 is not in"));
    }
}
