//! Starting from a log: what it holds, where it ends, and its rows again (storage.md 4.5).
//!
//! Duty: [`survey`] reads all segments before ingest opens: it finds the tail, the request identities and the damage;
//! [`replay`] decodes the records above the flushed lsn behind it. Guarantee: every record that was acknowledged and is
//! not in parts is visible again after replay, once; damage is copied to `quarantine/`, counted and named; nothing a
//! record holds stops the start. Left to others: flushing what was replayed (`flush.rs`).

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::config::OnCorruption;
use super::folder::Folder;
use super::memtable::Memtable;
use super::wal::payload::{self, Decode, Decoder};
use super::wal::record::{Kind, RecordHeader};
use super::wal::scan::{self, Bound, Found, Scan};
use super::wal::segment::{self, SegmentHeader};
use super::{Error, Gen, Lsn, Rows};
use crate::disk::Disk;
use crate::span::{Check, SpanBatch};

/// Records decoded at once hold about this many bytes.
const STEP_BYTES: usize = 16 << 20;

/// A segment that replay reads.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Its file.
    pub path: PathBuf,
    /// Its header.
    pub header: SegmentHeader,
    /// What its records are judged by.
    pub bound: Bound,
}

/// What the log holds, before anything is decoded.
#[derive(Debug, Default)]
pub struct Survey {
    /// The segments with records above the flushed lsn, in order.
    pub segments: Vec<Segment>,
    /// First lsns of all segment files that are there.
    pub first_lsns: Vec<Lsn>,
    /// The lsn of the next record.
    pub next_lsn: Lsn,
    /// Last lsn that counts.
    pub last_valid: Lsn,
    /// Highest store position in the log, µs.
    pub last_us: i64,
    /// Identity and position of all records that count, oldest first.
    pub identities: VecDeque<(u128, i64)>,
    /// Bytes of torn and void tails.
    pub torn_bytes: u64,
    /// Acknowledged records that are missing, as far as their lsns are known.
    pub lost: Vec<Range<Lsn>>,
    /// What is damaged.
    pub damage: Vec<Damage>,
    /// What is damaged where all records are in parts: nothing is lost by it.
    pub past: Vec<Damage>,
}

/// A damaged place of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The segment file.
    pub path: PathBuf,
    /// Where: `records 3 to 3`, `bytes 80 to 160`, `header`.
    pub place: String,
    /// What is wrong there.
    pub what: String,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} {}", self.path.display(), self.place, self.what)
    }
}

/// A segment file and its header.
#[derive(Debug)]
pub struct Read {
    /// Its file.
    pub path: PathBuf,
    /// As its name tells it.
    pub first_lsn: Lsn,
    /// `None` if the header is not good.
    pub header: Option<SegmentHeader>,
}

/// Reads the log of `folder`, whose lock the caller holds. `flushed` is the lsn up to which all rows are in parts,
/// `max_identities` bounds the window. Removes `wal/next.tmp`, and copies damage to quarantine; with
/// [`OnCorruption::Refuse`] damage is an error, and nothing is moved.
pub fn survey(
    disk: &Disk,
    folder: &Folder,
    flushed: Lsn,
    on_corruption: OnCorruption,
    max_identities: usize,
) -> Result<Survey, Error> {
    let next = folder.wal().join("next.tmp");
    match disk.remove(&next) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::io("remove", &next, &error)),
        _ => {}
    }
    let (survey, quarantine) = inspect(disk, folder, flushed, max_identities)?;
    if on_corruption == OnCorruption::Refuse && !survey.damage.is_empty() {
        let damage: Vec<String> = survey.damage.iter().map(ToString::to_string).collect();
        return Err(Error::Corrupt { detail: damage.join("; ") });
    }
    for item in quarantine {
        item.keep(disk, folder)?;
    }
    Ok(survey)
}

/// What the log holds, and what a start would put aside. Changes nothing.
pub fn inspect(
    disk: &Disk,
    folder: &Folder,
    flushed: Lsn,
    max_identities: usize,
) -> Result<(Survey, Vec<Quarantine>), Error> {
    let files = headers(disk, folder)?;
    let mut survey = Survey { last_valid: flushed, ..Survey::default() };
    let mut highest = flushed;
    let mut quarantine = Vec::new();
    for (i, file) in files.iter().enumerate() {
        highest = highest.max(file.first_lsn);
        let bytes = match disk.read(&file.path) {
            Ok(bytes) => bytes,
            // For readers: a running daemon has deleted it since the listing, so its rows are in parts.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &file.path, &error)),
        };
        let Some(header) = file.header else {
            survey.lose_segment(&bytes, file, files.get(i + 1), flushed);
            highest = scan::scan_without_salt(&bytes).iter().map(|h| h.lsn).fold(highest, Lsn::max);
            quarantine.push(Quarantine::File(file.path.clone()));
            continue;
        };
        let bound = bound_of(&files, i);
        let needed = !matches!(bound, Bound::Next(_)) || files[i + 1].first_lsn > flushed.saturating_add(1);
        let scan = scan::scan(&bytes, &header, bound);
        survey.first_lsns.push(file.first_lsn);
        if i == 0 && header.prev_lsn > flushed {
            survey.lose(
                flushed + 1..header.prev_lsn + 1,
                flushed,
                &file.path,
                "are lost: they stood before this segment",
            );
        }
        highest = highest.max(scan.highest);
        survey.last_us = survey.last_us.max(scan.highest_us);
        survey.last_valid =
            survey.last_valid.max(scan.records.last().map_or(header.prev_lsn, |found| found.header.lsn));
        for found in scan.records.iter().filter(|f| f.header.identity != 0) {
            survey.identities.push_back((found.header.identity, found.header.ingest_us));
            if survey.identities.len() > max_identities {
                survey.identities.pop_front();
            }
        }
        if needed {
            survey.torn_bytes += scan.torn_bytes;
            survey.note(&scan, file, flushed);
            quarantine.extend(
                scan.damaged.iter().map(|region| {
                    Quarantine::Region(region_name(file.first_lsn, region), bytes[region.clone()].to_vec())
                }),
            );
            survey.segments.push(Segment { path: file.path.clone(), header, bound });
        } else {
            let lost = scan.lost.iter().map(|lost| records(lost, &file.path, "are damaged; their rows are in parts"));
            survey.past.extend(lost);
            survey.past.extend(scan.damaged.iter().map(|region| bytes_of(region, &file.path)));
        }
    }
    survey.next_lsn = highest + 1;
    Ok((survey, quarantine))
}

/// The last lsn that counted before what is left of the log; 0 = none, or not known. It is in parts: segments are deleted
/// behind the flush.
pub fn before_log(disk: &Disk, folder: &Folder) -> Result<Lsn, Error> {
    let oldest = headers(disk, folder)?.into_iter().next();
    Ok(oldest.and_then(|file| file.header).map_or(0, |header| header.prev_lsn))
}

/// All segment files in lsn order with their headers.
pub fn headers(disk: &Disk, folder: &Folder) -> Result<Vec<Read>, Error> {
    let dir = folder.wal();
    let paths = disk.list(&dir).map_err(|e| Error::io("list", &dir, &e))?;
    let mut files = Vec::new();
    for path in paths {
        let Some(first_lsn) = segment::lsn_of(&path) else { continue };
        let io = |e: std::io::Error| Error::io("read", &path, &e);
        let file = match disk.open_read(&path) {
            Ok(file) => file,
            // A running daemon has deleted it since the listing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(io(error)),
        };
        let len = file.len().map_err(io)?.min(segment::HEADER_BYTES as u64);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        file.read_exact_at(&mut bytes, 0).map_err(io)?;
        // A segment of another store or node is as foreign as one without a header.
        let ours = |h: &SegmentHeader| h.first_lsn == first_lsn && h.store == folder.store && h.node == folder.node;
        let header = SegmentHeader::decode(&bytes).filter(ours);
        files.push(Read { path, first_lsn, header });
    }
    Ok(files)
}

/// What the records of `files[i]` are judged by.
pub fn bound_of(files: &[Read], i: usize) -> Bound {
    match files.get(i + 1) {
        None => Bound::Last,
        Some(Read { header: Some(header), .. }) => Bound::Next(header.prev_lsn),
        Some(next) => Bound::Lost(next.first_lsn),
    }
}

fn region_name(first_lsn: Lsn, region: &Range<usize>) -> String {
    format!("{first_lsn:020}-{}-{}.wal-region", region.start, region.end)
}

impl Survey {
    fn lose(&mut self, range: Range<Lsn>, flushed: Lsn, path: &Path, what: &str) {
        // What is in parts is not lost.
        let range = range.start.max(flushed + 1)..range.end;
        if !range.is_empty() {
            self.damage.push(records(&range, path, what));
            self.lost.push(range);
        }
    }

    fn note(&mut self, scan: &Scan, file: &Read, flushed: Lsn) {
        for lost in &scan.lost {
            self.lose(lost.clone(), flushed, &file.path, "are lost: the segment is damaged there");
        }
        let regions = scan.damaged.iter().map(|region| bytes_of(region, &file.path));
        // All that is missing is in parts: nothing is lost.
        match !scan.lost.is_empty() && scan.lost.iter().all(|lost| lost.end <= flushed.saturating_add(1)) {
            true => self.past.extend(regions),
            false => self.damage.extend(regions),
        }
    }

    /// A segment whose header is not good: its lsns reach from its name to its successor's `prev_lsn`; those of the last
    /// one are known only where a payload hash fits.
    fn lose_segment(&mut self, bytes: &[u8], file: &Read, next: Option<&Read>, flushed: Lsn) {
        let end = match next {
            Some(Read { header: Some(header), .. }) => header.prev_lsn + 1,
            Some(next) => next.first_lsn,
            None => scan::scan_without_salt(bytes).iter().map(|h| h.lsn + 1).max().unwrap_or(file.first_lsn),
        };
        self.lose(file.first_lsn..end, flushed, &file.path, "are lost: the segment's header is damaged");
        let what = "is damaged: no crash leaves such a file".to_owned();
        self.damage.push(Damage { path: file.path.clone(), place: "header".to_owned(), what });
    }
}

fn records(range: &Range<Lsn>, path: &Path, what: &str) -> Damage {
    let place = format!("records {} to {}", range.start, range.end - 1);
    Damage { path: path.to_owned(), place, what: what.to_owned() }
}

fn bytes_of(region: &Range<usize>, path: &Path) -> Damage {
    let place = format!("bytes {} to {}", region.start, region.end);
    Damage { path: path.to_owned(), place, what: "are damaged".to_owned() }
}

/// Something that is kept aside.
#[derive(Debug)]
pub enum Quarantine {
    /// A segment file, moved.
    File(PathBuf),
    /// A region of one, copied to a file of this name.
    Region(String, Vec<u8>),
}

impl Quarantine {
    fn keep(self, disk: &Disk, folder: &Folder) -> Result<(), Error> {
        let dir = folder.quarantine();
        match self {
            Self::File(path) => {
                let name = path.file_name().unwrap_or_default();
                let to = dir.join(name);
                disk.rename(&path, &to).map_err(|e| Error::io("move to quarantine", &path, &e))?;
                disk.sync_dir(&dir).map_err(|e| Error::io("sync", &dir, &e))?;
                disk.sync_dir(&folder.wal()).map_err(|e| Error::io("sync", &folder.wal(), &e))
            }
            Self::Region(name, bytes) => write_aside(disk, &dir, &name, &bytes),
        }
    }
}

/// Writes `bytes` to a file of quarantine, unless an earlier start did.
fn write_aside(disk: &Disk, dir: &Path, name: &str, bytes: &[u8]) -> Result<(), Error> {
    let path = dir.join(name);
    match disk.read(&path) {
        // Perhaps its name was not synced then.
        Ok(there) if there == bytes => disk.sync_dir(dir).map_err(|e| Error::io("sync", dir, &e)),
        _ => super::folder::write(disk, dir, &path, bytes),
    }
}

/// Puts `bytes` of a record that cannot be decoded aside.
pub fn quarantine_record(disk: &Disk, folder: &Folder, lsn: Lsn, bytes: &[u8]) -> Result<(), Error> {
    write_aside(disk, &folder.quarantine(), &format!("{lsn:020}.wal-record"), bytes)
}

/// A record that could not be turned into rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poison {
    /// The record.
    pub lsn: Lsn,
    /// Why.
    pub why: String,
    /// Header and payload.
    pub bytes: Vec<u8>,
}

/// Limits of a replay.
#[derive(Clone, Copy, Debug)]
pub struct ReplayLimits {
    /// Rows of a replayed generation.
    pub flush_bytes: u64,
    /// Generations that may wait for their flush.
    pub max_frozen: usize,
    /// `retention.max_age`
    pub max_age: Option<std::time::Duration>,
}

/// Decodes the records above `flushed` into `filling` and further generations older than the active one, and calls
/// `poison` for each that cannot be. `false`: the memtable was stopped before the end.
#[allow(clippy::too_many_arguments, reason = "the inputs of one run, each named once")]
pub fn replay(
    disk: &Disk,
    segments: &[Segment],
    last_valid: Lsn,
    flushed: Lsn,
    memtable: &Memtable,
    mut filling: Arc<Gen>,
    limits: ReplayLimits,
    decode: &Decode,
    check: &Check,
    mut poison: impl FnMut(Poison),
) -> bool {
    for segment in segments {
        let Some(bytes) = read_patiently(disk, &segment.path, memtable) else { return false };
        let scan = scan::scan(&bytes, &segment.header, segment.bound);
        let records: Vec<Found> =
            scan.records.into_iter().filter(|f| f.header.lsn > flushed && f.header.kind != Kind::Mark).collect();
        for step in steps(&records) {
            if memtable.is_stopped() {
                return false;
            }
            for (found, decoded) in step.iter().zip(decode_all(&bytes, step, decode, check)) {
                let header = found.header;
                match decoded {
                    Ok(batches) => {
                        let rows = |b| Arc::new(Rows::within(b, header.ingest_us, header.lsn, limits.max_age));
                        let rows = batches.into_iter().map(rows).collect();
                        memtable.push_into(&filling, rows, header.total_len() as u64);
                    }
                    Err(why) => {
                        poison(Poison { lsn: header.lsn, why, bytes: bytes[found.at..found.payload().end].to_vec() });
                    }
                }
            }
            if let Some(last) = step.last()
                && filling.bytes() >= limits.flush_bytes
            {
                // The next one is there before this one is complete: the flush must not reach what is younger.
                let next = memtable.begin_replayed(last.header.lsn + 1);
                memtable.seal(&filling, last.header.lsn);
                filling = next;
                if !memtable.wait_for_older_at_most(limits.max_frozen.saturating_sub(1), filling.from) {
                    return false;
                }
            }
        }
    }
    memtable.seal(&filling, last_valid.max(filling.from));
    true
}

/// The bytes of a segment; a failing read is tried again each second, for the rows in it are acknowledged.
fn read_patiently(disk: &Disk, path: &Path, memtable: &Memtable) -> Option<Vec<u8>> {
    loop {
        match disk.read(path) {
            Ok(bytes) => return Some(bytes),
            Err(error) => tracing::error!(path = %path.display(), %error, "replay cannot read a log segment"),
        }
        if !memtable.pause(std::time::Duration::from_secs(1)) {
            return None;
        }
    }
}

/// The rows of the records above `flushed`, for readers without a store; `max_age` is the store's horizon.
pub fn read_rows(
    bytes: &[u8],
    records: &[Found],
    flushed: Lsn,
    decode: &Decode,
    max_age: Option<std::time::Duration>,
    mut poison: impl FnMut(Lsn, String),
) -> Vec<Arc<Rows>> {
    let mut rows = Vec::new();
    each_decoded(bytes, records, flushed, decode, |header, decoded| match decoded {
        Ok(batches) => {
            rows.extend(batches.into_iter().map(|b| Arc::new(Rows::within(b, header.ingest_us, header.lsn, max_age))))
        }
        Err(why) => poison(header.lsn, why),
    });
    rows
}

/// Decodes the records above `flushed`, in their order.
pub fn each_decoded(
    bytes: &[u8],
    records: &[Found],
    flushed: Lsn,
    decode: &Decode,
    mut take: impl FnMut(&RecordHeader, Result<Vec<SpanBatch>, String>),
) {
    let records: Vec<Found> =
        records.iter().filter(|f| f.header.lsn > flushed && f.header.kind != Kind::Mark).copied().collect();
    for step in steps(&records) {
        for (found, decoded) in step.iter().zip(decode_all(bytes, step, decode, &Check::none())) {
            take(&found.header, decoded);
        }
    }
}

/// Cuts `records` into runs of about [`STEP_BYTES`].
fn steps(records: &[Found]) -> impl Iterator<Item = &[Found]> {
    let mut rest = records;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let cut = rest.iter().position(|f| {
            bytes += f.header.decoded_len as usize;
            bytes >= STEP_BYTES
        });
        let (step, after) = rest.split_at(cut.map_or(rest.len(), |at| at + 1));
        rest = after;
        (!step.is_empty()).then_some(step)
    })
}

/// Decodes and checks `records` on all cores; results in their order.
fn decode_all(bytes: &[u8], records: &[Found], decode: &Decode, check: &Check) -> Vec<Result<Vec<SpanBatch>, String>> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let share = records.len().div_ceil(cores).max(1);
    let work = |records: &[Found]| -> Vec<Result<Vec<SpanBatch>, String>> {
        let mut decoder = decode();
        let mut decoded = |f: &Found| decode_one(&f.header, &bytes[f.payload()], &mut decoder, decode);
        let checked = |batches: Vec<SpanBatch>| batches.into_iter().map(|batch| check.apply(batch)).collect();
        records.iter().map(|f| decoded(f).map(checked)).collect()
    };
    if records.len() < 2 || cores < 2 {
        return work(records);
    }
    std::thread::scope(|scope| {
        let workers: Vec<_> = records.chunks(share).map(|share| scope.spawn(|| work(share))).collect();
        workers.into_iter().flat_map(|w| w.join().expect("a panic of a decoder is caught per record")).collect()
    })
}

fn decode_one(
    header: &RecordHeader,
    payload: &[u8],
    decoder: &mut Decoder,
    decode: &Decode,
) -> Result<Vec<SpanBatch>, String> {
    // storage.md 4.5: a record that makes the decoder panic is put aside; a restart would meet it again.
    let decoded = catch_unwind(AssertUnwindSafe(|| to_batches(header, payload, decoder)));
    let batches = match decoded {
        Ok(batches) => batches?,
        Err(_) => {
            // Its builders may be half-way through a span.
            *decoder = decode();
            return Err("the decoder panicked".to_owned());
        }
    };
    let rows: usize = batches.iter().map(SpanBatch::rows).sum();
    if rows != header.spans as usize {
        return Err(format!("it decodes to {rows} spans, its header counts {}", header.spans));
    }
    Ok(batches)
}

fn to_batches(header: &RecordHeader, payload: &[u8], decoder: &mut Decoder) -> Result<Vec<SpanBatch>, String> {
    let coding = payload::coding(header.codec).ok_or_else(|| format!("unknown codec {}", header.codec))?;
    match header.kind {
        Kind::OtlpProto if coding == crate::span::Coding::Lz4 => {
            let body = payload::from_lz4(payload, header.decoded_len as usize)?;
            decoder(&body, crate::span::Coding::Identity, body.len())
        }
        Kind::OtlpProto => decoder(payload, coding, header.decoded_len as usize),
        Kind::ArrowIpc => payload::from_ipc(payload),
        Kind::Mark => Ok(Vec::new()),
    }
}
