//! What gates cost before their first tick (gates.md 17).
//!
//! Duty: the rows `gate_load` (a file of 1,000 gates is parsed, planned and checked) and `gate_backfill` (the past of a gate with
//! a `baseline` out of a million spans in Parquet). Guarantee: wall time; the latter is the command as people run it, from the
//! start of its process to its end. Left to others: ticks (`gate_tick`).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use weavergen::clock::Clock;
use weavergen::gate;

use super::gate_house::{ATTRIBUTES, BUCKET, SERVICES, loaded, send};
use super::{Bench, gate_tick, load, store};

/// Runs of which the median is printed.
const RUNS: usize = 5;
/// Spans of `gate_backfill`, in an hour up to now.
const SPANS: usize = 1_000_000;
/// Requests of a service in it.
const SLICES: usize = 30;
const SLICE_S: u64 = 120;
const OPERATIONS: usize = 50;
const SECOND_NS: u64 = 1_000_000_000;
/// A gate that looks back an hour, and asks five minutes a minute.
const LATENCY: &str = "
groups:
- name: past
  interval: 1m
  query_offset: 1s
  gates:
  - gate: latency
    sql: SELECT service_name, avg(duration_ns) / 1e6 AS value, count(*) AS n FROM spans GROUP BY service_name
    by: [service_name]
    window: 5m
    pass: '>= 0'
    baseline: { window: 1h, max_rise: 50% }
";

/// Prints a row each.
pub fn run(bench: &Bench) {
    if bench.wants("gate_load") {
        let seconds = median((0..RUNS).map(|_| files().as_secs_f64()).collect());
        println!("gate_load/{}      {seconds:>7.2} s", gate_tick::GATES);
    }
    if bench.wants("gate_backfill") {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads can be started");
        let (data, dir) = runtime.block_on(parts());
        let runs: Vec<(Duration, String)> = (0..RUNS).map(|_| backfill(&data, dir.path())).collect();
        let told = runs[0].1.trim_end().to_owned();
        let seconds = median(runs.into_iter().map(|(took, _)| took.as_secs_f64()).collect());
        println!("gate_backfill/{SPANS} {seconds:>7.2} s: {told}");
    }
}

fn median(mut runs: Vec<f64>) -> f64 {
    runs.sort_by(f64::total_cmp);
    runs[runs.len() / 2]
}

/// Time to load the gates of `gate_tick`.
fn files() -> Duration {
    let (dir, text) = (store::folder(), gate_tick::gates(0));
    let started = Instant::now();
    let (groups, _) = loaded(&dir, &text, gate::Config { bucket: BUCKET, ..gate::Config::default() });
    let took = started.elapsed();
    assert_eq!(groups.iter().map(|group| group.gates.len()).sum::<usize>(), gate_tick::GATES);
    took
}

/// A data folder with the spans of the last hour, all in Parquet.
async fn parts() -> (PathBuf, tempfile::TempDir) {
    let (store, parts, dir) = store::open().await;
    let now_s = u64::try_from(Clock::os().now_ns()).expect("it is after 1970") / SECOND_NS;
    let begin_s = now_s - SLICES as u64 * SLICE_S;
    for slice in 1..=SLICES as u64 {
        let times = ((begin_s + slice * SLICE_S) * SECOND_NS, SLICE_S * SECOND_NS);
        for service in 0..SERVICES {
            let seed = slice * SERVICES as u64 + service as u64;
            let size = (SPANS.div_ceil(SLICES * SERVICES).next_multiple_of(2), ATTRIBUTES);
            send(&store, load::spread(seed, size, OPERATIONS, &format!("service-{service}"), times), seed).await;
        }
    }
    store.freeze_and_flush().await.expect("the disk takes it");
    store.compact(None).await.expect("the disk takes it");
    let in_parts: u64 = store.reader().view().parts.parts.iter().map(|part| part.entry.rows).sum();
    assert!(in_parts >= SPANS as u64, "{in_parts} spans are in Parquet");
    store.close().await.expect("the store closes");
    (parts.parent().expect("parts lie in the data folder").to_owned(), dir)
}

/// Wall time of the command over the folder `data`, where nothing is filled yet, and what it says.
fn backfill(data: &Path, dir: &Path) -> (Duration, String) {
    let file = dir.join("latency.yaml");
    std::fs::write(&file, LATENCY).expect("the folder is writable");
    let journal = data.join("gates.redb");
    if journal.exists() {
        std::fs::remove_file(journal).expect("the folder is writable");
    }
    let started = Instant::now();
    let ended = Command::new(env!("CARGO_BIN_EXE_weavergen"))
        .args(["gates", "backfill"])
        .arg(file)
        .arg("--data")
        .arg(data)
        // No configuration of who runs it.
        .current_dir(dir)
        .env("HOME", dir)
        .output()
        .expect("it starts");
    let took = started.elapsed();
    let told = String::from_utf8_lossy(&ended.stdout).into_owned();
    let is_whole = told.ends_with(&format!(" values of {SERVICES} keys\n"));
    assert!(ended.status.success() && is_whole, "{told}{}", String::from_utf8_lossy(&ended.stderr));
    (took, told)
}
