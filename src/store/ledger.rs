//! The drop ledger: what was refused or set aside, span by span, on disk within a second (storage.md 12.5, otlp.md P4).
//!
//! Duty: take [`Drop`]s without ever making the caller wait, and append them to Arrow IPC segments
//! `ledger/{seq:020}.arrow` once a second. Guarantee: what cannot be kept apart is merged by reason and counted, never
//! lost in silence; the newest million rows are kept; a torn last segment is cut at its last whole batch. Left to
//! others: the SQL table over it (`query`), what is recorded (`receive`, `process`).

use std::collections::{BTreeMap, VecDeque};
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, LazyLock, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::{ArrayRef, RecordBatch, StringArray, TimestampNanosecondArray, UInt64Array};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;

use super::panics;
use crate::clock::Clock;
use crate::disk::{Disk, File};
use crate::span::schema::timestamp;

/// Rows of one segment.
const SEGMENT_ROWS: usize = 100_000;
/// Rows kept in all.
const KEPT_ROWS: usize = 1_000_000;
/// Rows that may wait for the writer; beyond them, rows of one reason are merged.
const WAITING_ROWS: usize = 16_384;

/// Something that was not stored, although it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Drop {
    /// Where on the way: `receive`, `process`, `export`; `telemetry` = own spans, which come no such way.
    pub stage: String,
    /// Id of the component: `otlp`, `filter/health`.
    pub component: String,
    /// `grpc`, `http`, or empty.
    pub transport: String,
    /// Address of the sender, or empty.
    pub peer: String,
    /// `invalid_trace_id`, `span_too_large`, …
    pub reason: String,
    /// `resourceSpans[0].scopeSpans[1].spans[4]`, or empty.
    pub path: String,
    /// As received, in hex; may have any length.
    pub trace_id: String,
    /// As received, in hex; may have any length.
    pub span_id: String,
    /// Number of spans.
    pub spans: u64,
    /// Their size on the wire.
    pub bytes: u64,
}

#[derive(Debug)]
struct Row {
    time_ns: i64,
    drop: Drop,
}

#[derive(Debug, Default)]
struct Waiting {
    rows: Vec<Row>,
    /// Rows that found the channel full: one a (stage, component, reason).
    merged: BTreeMap<(String, String, String), Row>,
    stop: bool,
    /// Counts the writer's rounds, for [`Ledger::flush`].
    round: u64,
    wanted_round: u64,
    /// Why the last round wrote nothing, if so.
    problem: Option<String>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    disk: Disk,
    dir: PathBuf,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    done: Condvar,
}

/// A handle on the drop ledger; cheap to clone. The writer ends when the last handle is dropped.
#[derive(Clone, Debug)]
pub struct Ledger {
    shared: Arc<Shared>,
    _writer: Arc<Writer>,
}

#[derive(Debug)]
struct Writer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl std::ops::Drop for Writer {
    fn drop(&mut self) {
        self.shared.lock().stop = true;
        self.shared.wake.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic of the writer was already reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Ledger {
    /// Opens `dir` (made if absent), cuts a torn last segment, starts the writer.
    pub fn open(dir: impl Into<PathBuf>, disk: Disk, clock: Clock) -> std::io::Result<Self> {
        let dir = dir.into();
        disk.create_dir_durable(&dir)?;
        let segments = Segments::open(&dir, &disk)?;
        let waiting = Mutex::new(Waiting::default());
        let shared = Arc::new(Shared { clock, disk, dir, waiting, wake: Condvar::new(), done: Condvar::new() });
        let of_thread = shared.clone();
        let thread = std::thread::Builder::new().name("ledger".to_owned()).spawn(move || of_thread.run(segments))?;
        let writer = Writer { shared: shared.clone(), thread: Some(thread) };
        Ok(Self { shared, _writer: Arc::new(writer) })
    }

    /// Adds a row. Never waits: when the writer is behind, rows of one reason become one row.
    pub fn record(&self, drop: Drop) {
        let time_ns = self.shared.clock.now_ns();
        let mut waiting = self.shared.lock();
        if waiting.rows.len() < WAITING_ROWS {
            waiting.rows.push(Row { time_ns, drop });
        } else {
            waiting.merge(Row { time_ns, drop });
        }
    }

    /// Waits until all rows recorded before the call are on disk (or their write has failed and will be retried).
    pub fn flush(&self) {
        let mut waiting = self.shared.lock();
        // A round that is running now may have taken its rows before the call.
        let wanted = waiting.round + 2;
        waiting.wanted_round = waiting.wanted_round.max(wanted);
        self.shared.wake.notify_all();
        while waiting.round < wanted && !waiting.stop {
            waiting = self.shared.done.wait(waiting).expect("no holder of this lock panics");
        }
    }

    /// Why the rows of the last second are not on disk, if so.
    pub fn problem(&self) -> Option<String> {
        self.shared.lock().problem.clone()
    }

    /// The rows on disk, oldest first, in the columns of [`schema`].
    pub fn batches(&self) -> std::io::Result<Vec<RecordBatch>> {
        read(&self.shared.dir, &self.shared.disk)
    }
}

/// Columns of the ledger (otlp.md P4).
pub fn schema() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let text = |name| Field::new(name, DataType::Utf8, false);
        Arc::new(Schema::new(vec![
            Field::new("time", timestamp(TimeUnit::Nanosecond), false),
            text("stage"),
            text("component"),
            text("transport"),
            text("peer"),
            text("reason"),
            text("path"),
            text("trace_id"),
            text("span_id"),
            Field::new("spans", DataType::UInt64, false),
            Field::new("bytes", DataType::UInt64, false),
        ]))
    });
    &SCHEMA
}

/// The rows of the ledger in `dir`, oldest first; a torn end is left out. For use without a daemon, too.
pub fn read(dir: &Path, disk: &Disk) -> std::io::Result<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    for path in segment_paths(dir, disk)? {
        batches.extend(read_segment(&path, disk)?.batches);
    }
    Ok(batches)
}

/// What one segment file holds.
#[derive(Debug, Default)]
pub struct Segment {
    /// Its whole batches.
    pub batches: Vec<RecordBatch>,
    /// Bytes behind the last whole batch: torn by a crash, or damaged.
    pub torn_bytes: u64,
}

/// Reads the segment file `path`; one that the writer has deleted meanwhile has no rows.
pub fn read_segment(path: &Path, disk: &Disk) -> std::io::Result<Segment> {
    let bytes = match disk.read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Segment::default()),
        Err(error) => return Err(error),
    };
    let (batches, whole) = whole_batches(&bytes);
    Ok(Segment { batches, torn_bytes: (bytes.len() - whole) as u64 })
}

impl Waiting {
    fn merge(&mut self, row: Row) {
        let key = (row.drop.stage.clone(), row.drop.component.clone(), row.drop.reason.clone());
        match self.merged.get_mut(&key) {
            Some(sum) => {
                sum.time_ns = row.time_ns;
                sum.drop.spans = sum.drop.spans.saturating_add(row.drop.spans);
                sum.drop.bytes = sum.drop.bytes.saturating_add(row.drop.bytes);
            }
            None => {
                let Drop { stage, component, reason, spans, bytes, .. } = row.drop;
                let drop = Drop { stage, component, reason, spans, bytes, ..Drop::default() };
                self.merged.insert(key, Row { time_ns: row.time_ns, drop });
            }
        }
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of this lock panics")
    }

    fn run(&self, mut segments: Segments) {
        let mut waiting = self.lock();
        loop {
            let mut rows = std::mem::take(&mut waiting.rows);
            rows.extend(std::mem::take(&mut waiting.merged).into_values());
            let stop = waiting.stop;
            drop(waiting);
            let appended = catch_unwind(AssertUnwindSafe(|| segments.append(&rows, &self.disk)));
            let problem = match appended {
                Ok(appended) => appended.err().map(|error| error.to_string()),
                Err(panic) => {
                    // Its end may be torn, as after an error.
                    segments.close();
                    Some(panics::told("the ledger's writer", &*panic).to_string())
                }
            };
            if let Some(error) = &problem {
                tracing::warn!(dir = %self.dir.display(), rows = rows.len(), error, "drop ledger not written");
            }
            waiting = self.lock();
            if problem.is_some() {
                rows.into_iter().for_each(|row| waiting.merge(row));
            }
            waiting.problem = problem;
            waiting.round += 1;
            self.done.notify_all();
            if stop {
                return;
            }
            if waiting.wanted_round <= waiting.round && !waiting.stop {
                waiting =
                    self.wake.wait_timeout(waiting, Duration::from_secs(1)).expect("no holder of this lock panics").0;
            }
        }
    }
}

/// The files of the ledger, and the one that is being filled.
struct Segments {
    dir: PathBuf,
    /// Complete segments, oldest first, with their rows.
    closed: VecDeque<(PathBuf, usize)>,
    open: Option<Open>,
    next_seq: u64,
}

struct Open {
    path: PathBuf,
    file: File,
    len: u64,
    rows: usize,
    writer: StreamWriter<Vec<u8>>,
}

impl Segments {
    fn open(dir: &Path, disk: &Disk) -> std::io::Result<Self> {
        let paths = segment_paths(dir, disk)?;
        let mut closed = VecDeque::new();
        let mut next_seq = 1;
        for (i, path) in paths.iter().enumerate() {
            let bytes = disk.read(path)?;
            let (batches, whole) = whole_batches(&bytes);
            if i + 1 == paths.len() && whole < bytes.len() {
                disk.open(path)?.set_len(whole as u64)?;
            }
            closed.push_back((path.clone(), batches.iter().map(RecordBatch::num_rows).sum()));
            next_seq = seq_of(path).map_or(next_seq, |seq| seq + 1);
        }
        Ok(Self { dir: dir.to_owned(), closed, open: None, next_seq })
    }

    fn append(&mut self, rows: &[Row], disk: &Disk) -> std::io::Result<()> {
        for chunk in rows.chunks(SEGMENT_ROWS) {
            if self.open.as_ref().is_some_and(|open| open.rows + chunk.len() > SEGMENT_ROWS) {
                self.close();
            }
            let result = self.write(&to_batch(chunk), disk);
            if result.is_err() {
                // Its end may be torn now: readers stop there, the next rows go into a new one.
                self.close();
                return result;
            }
        }
        self.keep_the_newest(disk)
    }

    fn write(&mut self, batch: &RecordBatch, disk: &Disk) -> std::io::Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let path = self.dir.join(format!("{:020}.arrow", self.next_seq));
                self.next_seq += 1;
                let file = disk.create_new(&path)?;
                let writer = StreamWriter::try_new(Vec::new(), schema()).map_err(std::io::Error::other)?;
                let open = self.open.insert(Open { path, file, len: 0, rows: 0, writer });
                disk.sync_dir(&self.dir)?;
                open
            }
        };
        open.writer.write(batch).map_err(std::io::Error::other)?;
        let bytes = std::mem::take(open.writer.get_mut());
        open.file.write_all_at(&bytes, open.len)?;
        open.file.sync_data()?;
        open.len += bytes.len() as u64;
        open.rows += batch.num_rows();
        Ok(())
    }

    fn close(&mut self) {
        if let Some(open) = self.open.take() {
            self.closed.push_back((open.path, open.rows));
        }
    }

    fn keep_the_newest(&mut self, disk: &Disk) -> std::io::Result<()> {
        let open = self.open.as_ref().map_or(0, |open| open.rows);
        let mut total = open + self.closed.iter().map(|(_, rows)| rows).sum::<usize>();
        while total > KEPT_ROWS {
            let Some((path, rows)) = self.closed.pop_front() else { break };
            disk.remove(&path)?;
            total -= rows;
        }
        Ok(())
    }
}

fn to_batch(rows: &[Row]) -> RecordBatch {
    let text = |of: fn(&Drop) -> &String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(rows.iter().map(|row| of(&row.drop))))
    };
    let times = rows.iter().map(|row| row.time_ns).collect::<Vec<_>>();
    RecordBatch::try_new(
        schema().clone(),
        vec![
            Arc::new(TimestampNanosecondArray::from(times).with_timezone("UTC")),
            text(|d| &d.stage),
            text(|d| &d.component),
            text(|d| &d.transport),
            text(|d| &d.peer),
            text(|d| &d.reason),
            text(|d| &d.path),
            text(|d| &d.trace_id),
            text(|d| &d.span_id),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.drop.spans))),
            Arc::new(UInt64Array::from_iter_values(rows.iter().map(|row| row.drop.bytes))),
        ],
    )
    .expect("the arrays are those of the schema")
}

/// The segment files in `dir`, oldest first; none if there is no such folder.
pub fn segment_paths(dir: &Path, disk: &Disk) -> std::io::Result<Vec<PathBuf>> {
    match disk.list(dir) {
        Ok(paths) => Ok(paths.into_iter().filter(|path| seq_of(path).is_some()).collect()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn seq_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".arrow")?.parse().ok()
}

/// The batches before the first torn one, and where the last whole one ends.
fn whole_batches(bytes: &[u8]) -> (Vec<RecordBatch>, usize) {
    let bytes = &bytes[..whole_messages(bytes)];
    // The bytes may be anything after a crash, and arrow's reader may panic on anything.
    let Ok(Ok(mut reader)) = catch_unwind(|| StreamReader::try_new(Cursor::new(bytes), None)) else {
        return (Vec::new(), 0);
    };
    let end = |reader: &StreamReader<Cursor<&[u8]>>| usize::try_from(reader.get_ref().position()).unwrap_or(0);
    let mut batches = Vec::new();
    let mut whole = end(&reader);
    while let Ok(Some(Ok(batch))) = catch_unwind(AssertUnwindSafe(|| reader.next())) {
        if batch.schema_ref() != schema() {
            break;
        }
        batches.push(batch);
        whole = end(&reader);
    }
    (batches, whole)
}

/// Where the last message ends whose lengths lie within `bytes`: arrow's reader allocates what a length says, and a
/// flipped bit may say a terabyte.
fn whole_messages(bytes: &[u8]) -> usize {
    const CONTINUATION: [u8; 4] = [0xff; 4];
    let mut at = 0;
    while let Some(head) = bytes.get(at..at + 8) {
        let length = i32::from_le_bytes(head[4..].try_into().expect("four bytes"));
        let Some(length) = usize::try_from(length).ok().filter(|n| *n > 0 && head[..4] == CONTINUATION) else { break };
        let Some(metadata) = bytes.get(at + 8..).and_then(|rest| rest.get(..length)) else { break };
        let Ok(message) = arrow::ipc::root_as_message(metadata) else { break };
        let Ok(body) = usize::try_from(message.bodyLength()) else { break };
        if bytes.len() - at - 8 - length < body {
            break;
        }
        at += 8 + length + body;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(reason: &str, spans: u64) -> Drop {
        let trace_id = "0af7".to_owned();
        Drop {
            stage: "receive".into(),
            component: "otlp".into(),
            reason: reason.into(),
            trace_id,
            spans,
            bytes: 10,
            ..Drop::default()
        }
    }

    fn open(dir: &Path) -> Ledger {
        Ledger::open(dir, Disk::Os, Clock::manual(1_000, 1)).unwrap()
    }

    fn rows(ledger: &Ledger) -> usize {
        ledger.batches().unwrap().iter().map(RecordBatch::num_rows).sum()
    }

    fn files(dir: &Path) -> Vec<PathBuf> {
        segment_paths(dir, &Disk::Os).unwrap()
    }

    #[test]
    fn rows_are_on_disk_and_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path());
        ledger.record(of("invalid_trace_id", 1));
        ledger.record(of("span_too_large", 2));
        ledger.flush();
        ledger.record(of("invalid_trace_id", 3));
        drop(ledger);
        let ledger = open(dir.path());
        let batches = ledger.batches().unwrap();
        assert_eq!(rows(&ledger), 3);
        assert_eq!(batches[0].schema_ref(), schema());
        let text = arrow::util::pretty::pretty_format_batches(&batches).unwrap().to_string();
        assert!(text.contains("span_too_large") && text.contains("0af7"), "{text}");
    }

    #[test]
    fn a_torn_last_segment_is_cut_at_its_last_whole_batch() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path());
        ledger.record(of("a", 1));
        ledger.flush();
        let whole = std::fs::metadata(&files(dir.path())[0]).unwrap().len();
        ledger.record(of("b", 1));
        ledger.flush();
        drop(ledger);
        let path = files(dir.path()).remove(0);
        let bytes = std::fs::read(&path).unwrap();
        for end in 0..bytes.len() {
            std::fs::write(&path, &bytes[..end]).unwrap();
            let kept = read(dir.path(), &Disk::Os).unwrap().iter().map(RecordBatch::num_rows).sum::<usize>();
            assert_eq!(kept, usize::from(end as u64 >= whole), "cut at {end} of {}", bytes.len());
        }
        let ledger = open(dir.path());
        assert_eq!(std::fs::metadata(&path).unwrap().len(), whole);
        ledger.record(of("c", 1));
        ledger.flush();
        assert_eq!((rows(&ledger), files(dir.path()).len()), (2, 2));
    }

    #[test]
    fn noise_is_no_row_and_no_panic() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = open(dir.path());
        ledger.record(of("a", 1));
        drop(ledger);
        let path = files(dir.path()).remove(0);
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0xff;
            std::fs::write(&path, &bad).unwrap();
            assert!(read(dir.path(), &Disk::Os).unwrap().len() <= 1, "byte {at}");
        }
    }

    #[test]
    fn when_the_writer_is_behind_rows_of_one_reason_are_merged_and_counted() {
        let mut waiting = Waiting::default();
        for spans in 1..=3 {
            waiting.merge(Row { time_ns: 1, drop: of("a", spans) });
            waiting.merge(Row { time_ns: 1, drop: of("b", 1) });
        }
        let merged: Vec<_> =
            waiting.merged.values().map(|r| (r.drop.reason.as_str(), r.drop.spans, r.drop.bytes)).collect();
        assert_eq!(merged, [("a", 6, 30), ("b", 3, 30)]);
    }

    #[test]
    fn a_failed_write_is_made_good_later_and_the_oldest_million_rows_leave() {
        let dir = tempfile::tempdir().unwrap();
        let faults = crate::disk::faults::Faults::default();
        let disk = Disk::Faulty(faults.clone());
        let mut segments = Segments::open(dir.path(), &disk).unwrap();
        let some = |n: usize| (0..n).map(|_| Row { time_ns: 1, drop: of("a", 1) }).collect::<Vec<_>>();
        faults.arm(crate::disk::Op::Write, 0, 1, 28);
        assert!(segments.append(&some(1), &disk).is_err());
        segments.append(&some(1), &disk).unwrap();
        assert_eq!(read(dir.path(), &disk).unwrap().len(), 1);
        for _ in 0..11 {
            segments.append(&some(SEGMENT_ROWS), &disk).unwrap();
        }
        let kept: usize = read(dir.path(), &disk).unwrap().iter().map(RecordBatch::num_rows).sum();
        assert_eq!(kept, KEPT_ROWS);
    }
}
