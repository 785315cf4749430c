//! What a statement sees: one view of memory and parts.
//!
//! Duty: the shared, atomically swapped [`Snapshot`], and the [`View`] that a statement fixes once. Guarantee: every
//! change (freeze, flush, removal) is one store of the snapshot, so a view holds each row exactly once (storage.md 5.2,
//! 5.3). Left to others: who makes the changes (`store/mod.rs`), what is done with the rows (`query`).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use arrow::array::RecordBatch;

use super::catalog::Catalog;
use super::config::OnCorruptPart;
use super::files::Files;
use super::held::Held;
use super::index::Indexes;
use super::part::{Part, PartStore};
use super::trace_filter::TraceFilter;
use super::{Lsn, outlier};
use crate::span::{SpanBatch, TimeRange};

/// Rows of one log record in memory (or a part of them, where its request was cut into several batches).
#[derive(Clone, Debug)]
pub struct Rows {
    /// The spans as they were decoded and checked, time outliers marked.
    pub batch: SpanBatch,
    /// Store position: microseconds, strictly increasing per record.
    pub ingest_us: i64,
    /// The record.
    pub lsn: Lsn,
    /// Their first and last start time; `None` without rows.
    pub starts: Option<TimeRange>,
    /// Memory they hold.
    pub bytes: u64,
    /// Which traces they may be of, once a lookup has asked.
    pub traces: TraceFilter,
}

impl Rows {
    /// The rows of record `lsn`, whose time outliers are marked now that their position is known (storage.md 11.1).
    pub fn new(batch: SpanBatch, ingest_us: i64, lsn: Lsn) -> Self {
        Self::within(batch, ingest_us, lsn, None)
    }

    /// The same; a start time that retention of `max_age` would take at once is an outlier, too.
    pub fn within(batch: SpanBatch, ingest_us: i64, lsn: Lsn, max_age: Option<Duration>) -> Self {
        // Once here, and not in every statement.
        let starts = batch.start_range();
        let batch = match starts {
            Some(range) if outlier::may_have(range, ingest_us, max_age) => outlier::mark(batch, ingest_us, max_age),
            _ => batch,
        };
        let bytes = batch.memory_bytes();
        Self { batch, ingest_us, lsn, starts, bytes, traces: TraceFilter::default() }
    }

    /// The rows as stored columns ([`crate::span::schema::stored`]).
    pub fn to_record_batch(&self) -> RecordBatch {
        self.batch.with_ingest_time(self.ingest_us)
    }

    /// Whether a row may be of one of `traces`; one that is, is never missed.
    pub fn may_hold(&self, traces: &BTreeSet<[u8; 16]>) -> bool {
        self.traces.may_hold(&self.batch.trace_ids(), traces)
    }
}

/// A generation: the memory of one contiguous range of log records. Filled by one thread: the log's, or the replay's.
#[derive(Debug)]
pub struct Gen {
    /// First lsn that may lie in it.
    pub from: Lsn,
    rows: Mutex<Vec<Arc<Rows>>>,
    to: OnceLock<Lsn>,
    bytes: AtomicU64,
    log_bytes: AtomicU64,
}

impl Gen {
    /// An empty generation that begins at `from`.
    pub fn new(from: Lsn) -> Self {
        Self {
            from,
            rows: Mutex::new(Vec::new()),
            to: OnceLock::new(),
            bytes: AtomicU64::new(0),
            log_bytes: AtomicU64::new(0),
        }
    }

    /// Adds rows behind those there are; callers keep lsn order.
    pub fn push(&self, rows: impl IntoIterator<Item = Arc<Rows>>) {
        self.rows.lock().expect("no holder of this lock panics").extend(rows);
    }

    /// Adds rows that hold `bytes` in memory and `log_bytes` in the log.
    pub(super) fn add(&self, rows: Vec<Arc<Rows>>, bytes: u64, log_bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.log_bytes.fetch_add(log_bytes, Ordering::Relaxed);
        self.push(rows);
    }

    /// The rows there are at this moment, in lsn order.
    pub fn rows(&self) -> Vec<Arc<Rows>> {
        self.rows.lock().expect("no holder of this lock panics").clone()
    }

    /// Rows above the store position `above_us`, in lsn order: those of whole records, of about `most` rows.
    pub(super) fn after(&self, above_us: i64, most: usize) -> Vec<Arc<Rows>> {
        let rows = self.rows.lock().expect("no holder of this lock panics");
        let from = rows.partition_point(|rows| rows.ingest_us <= above_us);
        let (mut count, mut to) = (0, from);
        while to < rows.len() && (count < most || rows[to].ingest_us == rows[to - 1].ingest_us) {
            count += rows[to].batch.rows();
            to += 1;
        }
        rows[from..to].to_vec()
    }

    /// Last lsn that may lie in it, once it is complete.
    pub fn to(&self) -> Option<Lsn> {
        self.to.get().copied()
    }

    /// Bytes of its rows in memory.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes of its records in the log.
    pub fn log_bytes(&self) -> u64 {
        self.log_bytes.load(Ordering::Relaxed)
    }

    /// No more rows come: it is complete with `to`.
    pub(super) fn seal(&self, to: Lsn) {
        // Sealed once, by the thread that fills it.
        let _ = self.to.set(to);
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
    /// Whether replay of the log has ended.
    complete: Arc<AtomicBool>,
    /// `on_corrupt_part: skip`
    skips: bool,
    judged: Option<PartStore>,
    files: Option<Arc<Files>>,
    indexes: Option<Indexes>,
    catalog: Option<Catalog>,
}

/// Parts that a statement went on without, because they are damaged.
#[derive(Debug, Default)]
pub struct Skipped(Mutex<BTreeSet<String>>);

impl Skipped {
    /// The rest of the part `path` is left out.
    pub fn note(&self, path: &str) {
        self.0.lock().expect("no holder of this lock panics").insert(path.to_owned());
    }

    /// The parts so far.
    pub fn paths(&self) -> Vec<String> {
        self.0.lock().expect("no holder of this lock panics").iter().cloned().collect()
    }
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
    /// Position above which rows of the parts are not of the view (storage.md 5.4); `None` = all are of it.
    pub until_us: Option<i64>,
    /// Whether all acknowledged rows are in it; `false` while the log is still being replayed, and answers are to be
    /// flagged `incomplete` (storage.md 4.5).
    pub complete: bool,
    /// With `on_corrupt_part: skip`, where a statement notes the parts that it leaves out (storage.md 12.3); without, it
    /// ends at the first.
    pub skipped: Option<Arc<Skipped>>,
    /// Where a statement tells what it found damaged; `None` where nobody judges it.
    pub judged: Option<PartStore>,
    /// The files behind it; `None` where the rows are in no data folder.
    pub files: Option<Arc<Files>>,
    /// The trace indexes of the parts; `None` where nobody keeps any.
    pub indexes: Option<Indexes>,
    /// The catalogue of the dataset; `None` where nobody keeps one.
    pub catalog: Option<Catalog>,
}

impl View {
    /// A view without rows: enough to plan against.
    pub fn empty() -> Self {
        Self {
            judged: None,
            files: None,
            indexes: None,
            catalog: None,
            manifest_version: 0,
            parts: Arc::new(PartSet { parts: Vec::new() }),
            memory: Vec::new(),
            objects: Arc::new(object_store::memory::InMemory::new()),
            visible_us: 0,
            until_us: None,
            complete: true,
            skipped: None,
        }
    }

    /// The rows at or below the position `until_us`, µs since 1970 (storage.md 5.4).
    ///
    /// Batches in memory and parts that lie above it are not in the view; of a part that lies on both sides the file is,
    /// and who reads it leaves out the rows above [`View::until_us`].
    #[must_use]
    pub fn until(mut self, until_us: i64) -> Self {
        self.memory.retain(|rows| rows.ingest_us <= until_us);
        if self.parts.parts.iter().any(|part| part.entry.ingest[0] > until_us) {
            let kept = self.parts.parts.iter().filter(|part| part.entry.ingest[0] <= until_us).cloned().collect();
            self.parts = Arc::new(PartSet { parts: kept });
        }
        // A part on both sides may have a row at the position itself.
        let in_parts = self.parts.parts.iter().map(|part| part.entry.ingest[1].min(until_us)).max().unwrap_or(0);
        self.visible_us = in_parts.max(self.memory.last().map_or(0, |rows| rows.ingest_us));
        if self.parts.parts.iter().any(|part| part.entry.ingest[1] > until_us) {
            self.until_us = Some(self.until_us.map_or(until_us, |earlier| earlier.min(until_us)));
        }
        self
    }
}

impl Reader {
    /// A reader of `current`, whose parts are read from `objects`.
    pub fn new(current: Arc<ArcSwap<Snapshot>>, objects: Arc<dyn object_store::ObjectStore>) -> Self {
        Self::until(current, objects, Arc::new(AtomicBool::new(true)))
    }

    /// The same, with the files that the rows come from.
    #[must_use]
    pub(super) fn with_files(self, files: Arc<Files>) -> Self {
        Self { files: Some(files), ..self }
    }

    /// The same, as `on_corrupt_part` says.
    #[must_use]
    pub(super) fn with_skipping(self, on_corrupt: OnCorruptPart) -> Self {
        Self { skips: on_corrupt == OnCorruptPart::Skip, ..self }
    }

    /// The same, whose statements tell `parts` what they found damaged.
    #[must_use]
    pub(super) fn with_judge(self, parts: PartStore) -> Self {
        Self { judged: Some(parts), ..self }
    }

    /// The same, with the trace indexes of its parts.
    #[must_use]
    pub fn with_indexes(self, indexes: Indexes) -> Self {
        Self { indexes: Some(indexes), ..self }
    }

    /// The same, with the catalogue of its rows.
    #[must_use]
    pub fn with_catalog(self, catalog: Catalog) -> Self {
        Self { catalog: Some(catalog), ..self }
    }

    /// A reader whose views are incomplete until `complete` is set.
    pub(super) fn until(
        current: Arc<ArcSwap<Snapshot>>,
        objects: Arc<dyn object_store::ObjectStore>,
        complete: Arc<AtomicBool>,
    ) -> Self {
        Self { current, objects, complete, skips: false, judged: None, files: None, indexes: None, catalog: None }
    }

    /// Whether replay of the log has ended.
    pub(super) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// The snapshot of this moment.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Where the bytes of the parts are.
    pub(super) fn objects(&self) -> &Arc<dyn object_store::ObjectStore> {
        &self.objects
    }

    /// The view of this moment. Every append that was acknowledged before the call is in it.
    pub fn view(&self) -> View {
        // Before the snapshot: what was complete then is in it.
        let complete = self.complete.load(Ordering::Acquire);
        let snapshot = self.current.load_full();
        let mut memory: Vec<Arc<Rows>> = snapshot.frozen.iter().flat_map(|g| g.rows()).collect();
        memory.extend(snapshot.active.rows());
        let in_parts = snapshot.parts.parts.iter().map(|p| p.entry.ingest[1]).max().unwrap_or(0);
        let in_memory = memory.last().map_or(0, |rows| rows.ingest_us);
        View {
            manifest_version: snapshot.manifest_version,
            parts: snapshot.parts.clone(),
            memory,
            objects: Arc::new(Held::new(self.objects.clone(), snapshot.parts.clone())),
            visible_us: in_parts.max(in_memory),
            until_us: None,
            complete,
            skipped: self.skips.then(Arc::default),
            judged: self.judged.clone(),
            files: self.files.clone(),
            indexes: self.indexes.clone(),
            catalog: self.catalog.clone(),
        }
    }
}
