//! Compaction's promises over real parts: the same rows before, during and after, and nothing lost by a failure.

use std::collections::{BTreeMap, HashMap};

use std::time::Duration;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType, TimestampNanosecondType, UInt16Type};
use object_store::ObjectStore;
use prometheus::Registry;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;
use crate::clock::Clock;
use crate::disk::Op;
use crate::disk::faults::Faults;
use crate::store::folder::Folder;
use crate::store::index::Indexes;
use crate::store::ledger::Ledger;
use crate::store::memtable::Memtable;
use crate::store::metrics::Metrics;
use crate::store::part::{self, Promotion};
use crate::store::samples::{self, NOW_NS};
use crate::store::shelf::Shelf;
use crate::store::snapshot::{Reader, View};
use crate::store::split::{Set, home_hour};
use crate::store::{Catalog, Config};

mod failure;
mod merge;
mod splice;

const HOUR: &str = "2023-11-14T22";
/// 2023-11-14T22:00:00Z
const HOUR_START_NS: i64 = 1_699_999_200_000_000_000;
const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// A store without log and threads: parts are flushed and compacted when a test says so.
struct Bed {
    _dir: tempfile::TempDir,
    folder: Folder,
    faults: Faults,
    clock: Clock,
    upkeep: Upkeep,
    lsn: u64,
}

impl Bed {
    async fn with(share: u64, row_group_rows: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (faults, clock) = (Faults::default(), Clock::manual(NOW_NS, 3));
        let disk = Disk::Faulty(faults.clone());
        let folder = Folder::open(&disk, dir.path(), &clock).unwrap();
        let config = Config { min_free_bytes: Some(0), row_group_rows, ..Config::at(dir.path()) };
        let shelf = Shelf::open(&folder, &disk, &clock, &config).await.unwrap();
        shelf.claim().await.unwrap();
        let metrics = Metrics::register(&Registry::new()).unwrap();
        let memtable = Arc::new(Memtable::new(1, Arc::default(), 1, metrics.clone()));
        let indexes = Indexes::new(shelf.objects().clone(), 1 << 20, metrics.trace_index_bytes.clone());
        let compaction = Arc::new(Means { disk: disk.clone(), tmp: folder.tmp(), share, state: State::default() });
        let catalog = Catalog::open(&shelf, 1 << 20).await;
        let upkeep = Upkeep {
            shelf,
            catalog,
            memtable,
            metrics,
            indexes,
            compaction,
            status: Arc::default(),
            ledger: Ledger::open(folder.ledger(), disk.clone(), clock.clone()).unwrap(),
            disk,
            folder: folder.clone(),
            chores: Arc::default(),
        };
        Self { _dir: dir, folder, faults, clock, upkeep, lsn: 0 }
    }

    async fn new() -> Self {
        Self::with(256 << 20, 4096).await
    }

    /// A part of level 0, as a flush would have made it.
    async fn flush(&mut self, batches: Vec<RecordBatch>, hour: i64, stray: bool) {
        self.lsn += 1;
        self.clock.advance(Duration::from_millis(5));
        let set = Set { hour, stray, batches };
        let entry = self.upkeep.shelf.put(&set, self.lsn, self.lsn, 0, 1).await.unwrap();
        let publish = |shown: &Shown| self.upkeep.publish(shown);
        self.upkeep.shelf.commit_flush(vec![entry], self.lsn, publish).await.unwrap();
    }

    fn view(&self) -> View {
        Reader::new(self.upkeep.memtable.snapshot().clone(), self.upkeep.shelf.reads()).view()
    }

    fn parts(&self) -> Vec<PartEntry> {
        self.view().parts.parts.iter().map(|part| part.entry.clone()).collect()
    }

    fn levels(&self) -> Vec<u8> {
        self.parts().iter().map(|part| part.level).collect()
    }

    fn hour_ends(&self) {
        self.clock.advance(Duration::from_secs(3600));
    }

    async fn step(&self) {
        step(&self.upkeep).await.unwrap();
    }

    /// Part files on the disk.
    fn files(&self) -> usize {
        fn below(dir: &std::path::Path) -> usize {
            let entries = std::fs::read_dir(dir).map(|entries| entries.map(|e| e.unwrap().path()).collect());
            let entries: Vec<_> = entries.unwrap_or_default();
            entries.iter().map(|path| if path.is_dir() { below(path) } else { 1 }).sum()
        }
        below(&self.folder.root.join("spans"))
    }
}

/// The rows of the parts of a view, part by part, all values in their lists.
async fn rows_of(view: &View) -> Vec<RecordBatch> {
    let mut batches = Vec::new();
    for part in &view.parts.parts {
        batches.extend(rows_of_part(view, &part.entry).await);
    }
    batches
}

async fn rows_of_part(view: &View, entry: &PartEntry) -> Vec<RecordBatch> {
    let opened = Opened::open(view.objects.clone(), entry).await.unwrap();
    let plain = Promotion::of_parts(std::iter::empty(), 0, &Config::at("unused"));
    let mut rows = opened.rows((0..entry.row_groups.len()).collect(), None, 8192).unwrap();
    let mut batches = Vec::new();
    while let Some(batch) = rows.next().await.unwrap() {
        batches.push(opened.reshape(&batch, &plain, &plain.schema()).unwrap());
    }
    batches
}

const DERIVED: &[&str] = &["parent_service"];

fn sorted(mut rows: Vec<String>) -> Vec<String> {
    rows.sort();
    rows
}

async fn texts(view: &View) -> Vec<String> {
    sorted(samples::texts(&rows_of(view).await, DERIVED))
}

/// Start times by chance within an hour.
fn within_hour(seed: u64, hour_start_ns: i64, rows: usize) -> Vec<i64> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    (0..rows).map(|_| hour_start_ns + (chance.next_u64() % HOUR_NS as u64) as i64).collect()
}

fn hour_number() -> i64 {
    HOUR_START_NS / HOUR_NS
}
