//! What gates cost those who send (issue 7's row, gates.md 17).
//!
//! Duty: the row `gate_ingest`: the load of `gate_tick` as it comes, 3,333 spans a second in requests of 100, with its 1,000 gates
//! and without, by turns. Guarantee: everything by the machine's clock, over a full window, with `fsync`; CPU time is that of all
//! threads but the one that makes the load, so gates count with all that they do: hearing, reading, judging, writing. Flush is held
//! back, so they are held against the least that a span costs. Left to others: the wire (`benches/peers.sh`).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use weavergen::clock::Clock;
use weavergen::gate;
use weavergen::otlp::{Limits, SpanBuilder, decode};
use weavergen::span::{Coding, Delivery, Origin, RequestBody};
use weavergen::store::Store;

use super::gate_house::{ATTRIBUTES, BUCKET, Gates, REQUEST, SERVICES, WINDOW_S, rank_ms, send};
use super::{Bench, gate_tick, load, store, thread_time};

/// Runs of each side, of which the median is printed.
const ROUNDS: usize = 3;
const IN_REQUEST: usize = 100;
/// Between two requests: 3,333 spans a second.
const PAUSE_MS: u64 = 30;
/// Until the first ticks have read the window, and what is measured behind it.
const WARM_UP_S: u64 = 25;
const MEASURED_S: u64 = 60;
/// Requests that are made ahead.
const AHEAD: usize = 32;
/// How far behind a tick all sources must be, for each sends every 600 ms.
const QUERY_OFFSET_S: u64 = 1;
const SECOND_NS: u64 = 1_000_000_000;

/// What a run took.
struct Run {
    /// Of the whole process, without the load's thread.
    cpu: Duration,
    wall: Duration,
    spans: usize,
    /// p99 of an acknowledgement, ms.
    acknowledged_ms: f64,
    /// Ticks that closed meanwhile.
    ticks: u64,
}

/// Prints the row.
pub fn run(bench: &Bench) {
    if !bench.wants("gate_ingest") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
    let (mut off, mut on) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        off.push(runtime.block_on(side(false)));
        on.push(runtime.block_on(side(true)));
    }
    let per_cpu_s = |runs: &[Run]| median(runs.iter().map(|run| rate(run.spans, run.cpu)).collect());
    let p99 = |runs: &[Run]| median(runs.iter().map(|run| run.acknowledged_ms).collect());
    let busy = |runs: &[Run]| median(runs.iter().map(|run| run.cpu.as_secs_f64() / run.wall.as_secs_f64()).collect());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let percent = |on: f64, off: f64| (on / off - 1.0) * 100.0;
    println!(
        "gate_ingest/{} {:.0} spans/CPU-s without, {:.0} with gates: {:+.1} %; gates take {:.3} CPU-s a second of {cores} \
         cores; acknowledged p99 {:.2} ms, {:.2} ms: {:+.1} %; {} ticks a run",
        gate_tick::GATES,
        per_cpu_s(&off),
        per_cpu_s(&on),
        percent(per_cpu_s(&on), per_cpu_s(&off)),
        busy(&on) - busy(&off),
        p99(&off),
        p99(&on),
        percent(p99(&on), p99(&off)),
        on[0].ticks,
    );
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

#[allow(clippy::cast_precision_loss, reason = "a rate needs no more digits")]
fn rate(spans: usize, cpu: Duration) -> f64 {
    spans as f64 / cpu.as_secs_f64()
}

/// A run with gates or without.
async fn side(has_gates: bool) -> Run {
    let (store, _, _dir) = store::open().await;
    let (clock, stop) = (Clock::os(), CancellationToken::new());
    fill(&store, now_ns(&clock)).await;
    let (mut judging, mut opened) = (None, None);
    if has_gates {
        let config = gate::Config { bucket: BUCKET, ..gate::Config::default() };
        let text = gate_tick::gates(QUERY_OFFSET_S);
        let Gates { evaluator, metrics, groups, dir, .. } = Gates::open(&store, &clock, &text, config, &[]);
        judging = Some(tokio::spawn(evaluator.run(stop.clone())));
        opened = Some((metrics, groups, dir));
    }
    let last = opened.as_ref().and_then(|(_, groups, _)| groups.last()?.gates.last());
    let ticks = || match (&opened, last) {
        (Some((metrics, ..)), Some(gate)) => {
            metrics.evaluation_seconds.with_label_values(&[gate.name.as_str()]).get_sample_count()
        }
        _ => 0,
    };
    let run = feed(&store, &clock, &ticks).await;
    assert!(!has_gates || run.ticks >= MEASURED_S / 10 - 1, "ticks close: {} of them", run.ticks);
    stop.cancel();
    if let Some(judging) = judging {
        judging.await.expect("it does not panic");
    }
    drop(opened);
    store.close().await.expect("the store closes");
    run
}

/// Sends the load as its time comes, and measures it behind [`WARM_UP_S`].
async fn feed(store: &Store, clock: &Clock, ticks: &impl Fn() -> u64) -> Run {
    let made = Arc::new(AtomicU64::new(0));
    let (sender, mut bodies) = mpsc::channel::<(u64, Vec<u8>)>(AHEAD);
    let (begin_ns, begun) = (now_ns(clock), Instant::now());
    let maker = std::thread::spawn({
        let made = made.clone();
        move || make(begin_ns, &sender, &made)
    });
    let cpu_now = || store::process_time().saturating_sub(Duration::from_nanos(made.load(Ordering::Relaxed)));
    let (mut builder, limits) = (SpanBuilder::new(), Limits::default());
    let mut since = None;
    let (mut times, mut spans, mut identity) = (Vec::new(), 0, u128::from(u64::MAX));
    while let Some((at_ms, body)) = bodies.recv().await {
        tokio::time::sleep_until((begun + Duration::from_millis(at_ms)).into()).await;
        if since.is_none() && at_ms >= WARM_UP_S * 1_000 {
            since = Some((cpu_now(), Instant::now(), ticks()));
        }
        let sent = Instant::now();
        let decoded_len = u32::try_from(body.len()).expect("a request of some KiB");
        let batches = decode(&body, &limits, &mut builder).expect("a good request").batches;
        let body = RequestBody { bytes: Bytes::from(body), coding: Coding::Identity, decoded_len };
        identity += 1;
        let delivery = Delivery { batches, body: Some(body), identity, origin: Origin::Received };
        let count = delivery.spans();
        store.append(delivery).await.expect("the store takes it");
        if since.is_some() {
            times.push(sent.elapsed());
            spans += count;
        }
    }
    let (cpu, wall, before) = since.expect("it lasts longer than the warm-up");
    let (cpu, wall, ticks) = (cpu_now() - cpu, wall.elapsed(), ticks() - before);
    maker.join().expect("it only makes requests");
    Run { cpu, wall, spans, acknowledged_ms: rank_ms(&times, 99), ticks }
}

/// Makes each request shortly before it is due, in ms since the begin; `took_ns` is the CPU time of that.
fn make(begin_ns: u64, sender: &mpsc::Sender<(u64, Vec<u8>)>, took_ns: &AtomicU64) {
    let requests = (WARM_UP_S + MEASURED_S) * 1_000 / PAUSE_MS;
    for at in 0..requests {
        let (at_ms, service) = (at * PAUSE_MS, at % SERVICES as u64);
        let times = (begin_ns + at_ms * 1_000_000, PAUSE_MS * 1_000_000);
        let name = format!("service-{service}");
        let body = load::spread(u64::MAX - at, (IN_REQUEST, ATTRIBUTES), gate_tick::TYPES, &name, times);
        took_ns.store(u64::try_from(thread_time().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        if sender.blocking_send((at_ms, body)).is_err() {
            return;
        }
    }
}

/// The spans of a window that ends at `until_ns`.
async fn fill(store: &Store, until_ns: u64) {
    let slices = WINDOW_S / 10;
    for slice in 0..slices {
        let times = (until_ns - (slices - 1 - slice) * 10 * SECOND_NS, 10 * SECOND_NS);
        for service in 0..SERVICES {
            let seed = slice * SERVICES as u64 + service as u64 + 1;
            let name = format!("service-{service}");
            send(store, load::spread(seed, (REQUEST, ATTRIBUTES), gate_tick::TYPES, &name, times), seed).await;
        }
    }
}

fn now_ns(clock: &Clock) -> u64 {
    u64::try_from(clock.now_ns()).expect("it is after 1970")
}
