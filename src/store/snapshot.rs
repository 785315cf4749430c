//! What a statement sees: one view of memory and parts.
//!
//! Duty: the shared, atomically swapped [`Snapshot`], and the [`View`] that a statement fixes once. Guarantee: every
//! change (freeze, flush, removal) is one store of the snapshot, so a view holds each row exactly once (storage.md 5.2,
//! 5.3). Left to others: who makes the changes (`store/mod.rs`), what is done with the rows (`query`).

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;

use super::Lsn;
use super::part::Part;
use crate::span::SpanBatch;

/// Rows of one log record in memory.
#[derive(Clone, Debug)]
pub struct Rows {
    /// The spans as they were decoded.
    pub batch: SpanBatch,
    /// Store position: microseconds, strictly increasing per record.
    pub ingest_us: i64,
    /// The record.
    pub lsn: Lsn,
}

impl Rows {
    /// The rows as stored columns ([`crate::span::schema::stored`]).
    pub fn to_record_batch(&self) -> RecordBatch {
        self.batch.with_ingest_time(self.ingest_us)
    }
}

/// A generation: the memory of one contiguous range of log records. Appended to by the log thread only.
#[derive(Debug)]
pub struct Gen {
    /// First lsn that may lie in it.
    pub from: Lsn,
    rows: Mutex<Vec<Arc<Rows>>>,
}

impl Gen {
    /// An empty generation that begins at `from`.
    pub fn new(from: Lsn) -> Self {
        Self { from, rows: Mutex::new(Vec::new()) }
    }

    /// Adds rows behind those there are; callers keep lsn order.
    pub fn push(&self, rows: impl IntoIterator<Item = Arc<Rows>>) {
        self.rows.lock().expect("no holder of this lock panics").extend(rows);
    }

    /// The rows there are at this moment, in lsn order.
    pub fn rows(&self) -> Vec<Arc<Rows>> {
        self.rows.lock().expect("no holder of this lock panics").clone()
    }
}

/// The live parts of one manifest version, oldest first.
#[derive(Clone, Debug, Default)]
pub struct PartSet {
    /// Parts in the order they were committed.
    pub parts: Vec<Arc<Part>>,
}

/// All there is to see of a dataset at one moment.
#[derive(Debug)]
pub struct Snapshot {
    /// Manifest version that names `parts`.
    pub manifest_version: u64,
    /// Live parts.
    pub parts: Arc<PartSet>,
    /// Complete generations that are not parts yet, oldest first.
    pub frozen: Vec<Arc<Gen>>,
    /// The generation that is being filled.
    pub active: Arc<Gen>,
}

/// A handle on the current snapshot; cheap to clone.
#[derive(Clone, Debug)]
pub struct Reader {
    current: Arc<ArcSwap<Snapshot>>,
    /// Reads of parts go through it; it checks every block once (storage.md 7).
    objects: Arc<dyn object_store::ObjectStore>,
}

/// The rows that one statement works on.
#[derive(Clone, Debug)]
pub struct View {
    /// Manifest version that names `parts`.
    pub manifest_version: u64,
    /// Live parts.
    pub parts: Arc<PartSet>,
    /// Rows in memory, in lsn order.
    pub memory: Vec<Arc<Rows>>,
    /// Where the bytes of the parts are.
    pub objects: Arc<dyn object_store::ObjectStore>,
    /// Store position of the newest row in the view, µs since 1970; 0 without rows.
    pub visible_us: i64,
}

impl Reader {
    /// A reader of `current`, whose parts are read from `objects`.
    pub fn new(current: Arc<ArcSwap<Snapshot>>, objects: Arc<dyn object_store::ObjectStore>) -> Self {
        Self { current, objects }
    }

    /// The view of this moment. Every append that was acknowledged before the call is in it.
    pub fn view(&self) -> View {
        let snapshot = self.current.load_full();
        let mut memory: Vec<Arc<Rows>> = snapshot.frozen.iter().flat_map(|g| g.rows()).collect();
        memory.extend(snapshot.active.rows());
        let in_parts = snapshot.parts.parts.iter().map(|p| p.entry.ingest[1]).max().unwrap_or(0);
        let in_memory = memory.last().map_or(0, |rows| rows.ingest_us);
        View {
            manifest_version: snapshot.manifest_version,
            parts: snapshot.parts.clone(),
            memory,
            objects: self.objects.clone(),
            visible_us: in_parts.max(in_memory),
        }
    }
}
