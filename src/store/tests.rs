//! The store's promises, with the real disk, real parts, injected faults and copies of the folder at random moments.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use super::wal::payload::Decode;
use super::wal::segment;
use super::*;
use crate::disk::Op;
use crate::disk::faults::Faults;
use crate::span::{Check, Coding, Origin, RequestBody, SpanBatch};
use crate::store::append::stored;

mod append;
mod catalog;
mod crash;
mod damage;
mod faults;
mod index;
mod long;
mod objects;
mod oracle;
mod panics;
mod points;
mod power;
mod rescue;
mod sick;
mod start;
mod steps;
mod takeover;
mod unreadable;
mod upkeep;

const ENOSPC: i32 = 28;
const EIO: i32 = 5;

fn config(dir: &Path) -> Config {
    Config { min_free_bytes: Some(0), segment_bytes: 1 << 20, ..Config::at(dir) }
}

/// A number that `tests/interop.sh` sets for the long forms.
#[allow(clippy::disallowed_methods, reason = "a test's own knob")]
fn knob(name: &str, without: u64) -> u64 {
    std::env::var(name).ok().and_then(|number| number.parse().ok()).unwrap_or(without)
}

/// Each process draws other chance.
fn clock() -> Clock {
    static SEED: AtomicU64 = AtomicU64::new(1);
    Clock::manual(samples::NOW_NS, SEED.fetch_add(1, Ordering::Relaxed))
}

/// Bodies are `{seed} {rows}` in text; `panic` and `wrong` are what they say.
fn decode() -> Decode {
    Arc::new(|| {
        Box::new(|body: &[u8], coding, _| {
            assert_eq!(coding, Coding::Identity);
            let text = std::str::from_utf8(body).unwrap().trim_end_matches(' ');
            assert_ne!(text, "panic");
            let (seed, rows) = text.split_once(' ').ok_or("no space")?;
            Ok(vec![samples::batch(seed.parse().unwrap(), rows.parse().unwrap())])
        })
    })
}

async fn try_open(config: Config, disk: Disk, clock: Clock) -> Result<Store, Error> {
    let budget = Budget::try_new(1 << 30).unwrap();
    open::open(config, disk, clock, &budget, &Registry::new(), decode(), Check::none()).await
}

async fn open_at(dir: &Path) -> Store {
    let store = try_open(config(dir), Disk::Os, clock()).await.unwrap();
    ready(&store).await;
    store
}

async fn ready(store: &Store) {
    while !store.is_ready() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A delivery that is logged as its body.
fn request(seed: u64, rows: usize) -> Delivery {
    body(seed, rows, format!("{seed} {rows}"))
}

fn body(seed: u64, rows: usize, text: String) -> Delivery {
    let body = RequestBody {
        decoded_len: u32::try_from(text.len()).unwrap(),
        bytes: Bytes::from(text),
        coding: Coding::Identity,
    };
    Delivery { body: Some(body), ..samples::delivery(seed, rows) }
}

fn with_identity(identity: u128, delivery: Delivery) -> Delivery {
    Delivery { identity, ..delivery }
}

/// Every span id in the view with the number of times it is there.
async fn ids(reader: &Reader) -> BTreeMap<u64, usize> {
    let view = reader.view();
    let mut counts = BTreeMap::new();
    for rows in &view.memory {
        for id in samples::span_ids(rows.batch.as_record_batch()) {
            *counts.entry(id).or_default() += 1;
        }
    }
    for part in &view.parts.parts {
        use object_store::ObjectStoreExt;
        let file = view.objects.get(&part.entry.path.as_str().into()).await.unwrap().bytes().await.unwrap();
        let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        for batch in reader.build().unwrap() {
            for id in samples::span_ids(&batch.unwrap()) {
                *counts.entry(id).or_default() += 1;
            }
        }
    }
    counts
}

/// The ids of these (seed, rows), once each.
fn once(deliveries: &[(u64, usize)]) -> BTreeMap<u64, usize> {
    deliveries.iter().flat_map(|(seed, rows)| (0..*rows).map(|row| (samples::id(*seed, row), 1))).collect()
}

fn syncs(store: &Store) -> u64 {
    store.inner.metrics.wal_sync_seconds.get_sample_count()
}

/// What kill -9 leaves: the files as they are at this moment.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let Ok(entries) = std::fs::read_dir(from) else { return };
    for entry in entries {
        let entry = entry.unwrap();
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            // A file may be renamed or deleted between listing and copying, as between two writes of a crash.
            let _ = std::fs::copy(&path, &target);
        }
    }
}

fn segments(dir: &Path) -> Vec<std::path::PathBuf> {
    Disk::Os.list(&dir.join("wal")).unwrap().into_iter().filter(|p| segment::lsn_of(p).is_some()).collect()
}
