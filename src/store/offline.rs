//! Reading a data folder without a store, also beside a running daemon.
//!
//! Duty: manifest, parts and the log's tail as one [`Reader`]. Guarantee: it changes nothing and takes no lock; its rows
//! are those of one moment, each once; an unfinished tail of the log is left out. Left to others: SQL over the reader.

use std::sync::Arc;

use super::catalog::Catalog;
use super::files::Files;
use super::folder::Folder;
use super::index::Indexes;
use super::memtable::Memtable;
use super::metrics::Metrics;
use super::recover;
use super::shelf::Shelf;
use super::wal::payload::Decode;
use super::wal::scan::{self, Found};
use super::{Config, Error, Reader, decode};
use crate::clock::Clock;
use crate::disk::Disk;

/// Memory of the fences of trace indexes.
const FENCES_BYTES: usize = 16 << 20;
/// Memory of the catalogue.
const CATALOG_BYTES: usize = 64 << 20;

/// Opens the data folder `config.path` for reading.
///
/// Errors: [`Error::Folder`] if it is none or of a newer release, [`Error::Place`] if its parts are not where `config`
/// says, [`Error::Io`], [`Error::Parts`] and [`Error::Unreachable`] if it cannot be read. Damage of the log is logged and
/// left out, as the daemon would.
pub async fn open(config: &Config, disk: Disk, clock: Clock) -> Result<Reader, Error> {
    open_with(config, disk, clock, decode::otlp()).await
}

pub(super) async fn open_with(config: &Config, disk: Disk, clock: Clock, decode: Decode) -> Result<Reader, Error> {
    let (folder, segments) = {
        let (disk, root) = (disk.clone(), config.path.clone());
        let read = move || -> Result<_, Error> {
            let folder = Folder::read(&disk, &root)?;
            // The log first: rows that are flushed meanwhile are then in the parts of the manifest read below, and those
            // at or below its flushed lsn are taken from there alone.
            let segments = read_log(&disk, &folder)?;
            Ok((folder, segments))
        };
        let read = tokio::task::spawn_blocking(read).await;
        read.map_err(|e| Error::Internal { detail: format!("reading the log: {e}") })??
    };
    let shelf = Shelf::open(&folder, &disk, &clock, config).await?;
    let shown = shelf.shown();
    let flushed = shown.flushed;
    let (files, max_age) = (Files::of_folder(folder, shelf.place().clone(), disk), config.max_age);
    let decoded = tokio::task::spawn_blocking(move || {
        let mut rows = Vec::new();
        for (bytes, records) in &segments {
            let poison = |lsn, why: String| tracing::error!(lsn, why, "a log record cannot be decoded; it is left out");
            rows.extend(recover::read_rows(bytes, records, flushed, &decode, max_age, poison));
        }
        rows
    });
    let rows = decoded.await.map_err(|e| Error::Internal { detail: format!("decoding the log: {e}") })?;
    let metrics = Metrics::register(&prometheus::Registry::new())
        .map_err(|e| Error::Internal { detail: format!("metrics of a reader: {e}") })?;
    let indexes = Indexes::new(shelf.objects().clone(), FENCES_BYTES, metrics.trace_index_bytes.clone());
    let catalog = Catalog::open(&shelf, CATALOG_BYTES).await;
    let memtable = Memtable::new(shown.version, shown.parts.clone(), flushed + 1, metrics);
    memtable.push(rows, 0);
    let reader = Reader::new(Arc::clone(memtable.snapshot()), shelf.reads()).with_skipping(config.on_corrupt_part);
    Ok(reader.with_files(Arc::new(files)).with_indexes(indexes).with_catalog(catalog))
}

/// The bytes of a segment file and the records that count in it.
type Segment = (Vec<u8>, Vec<Found>);

/// How often the log is read at most until two readings agree about its damage.
const READINGS: usize = 5;

/// All segments, in lsn order.
fn read_log(disk: &Disk, folder: &Folder) -> Result<Vec<Segment>, Error> {
    let mut before: Option<Vec<String>> = None;
    for _ in 1..READINGS {
        let (segments, damage) = read_once(disk, folder)?;
        // A daemon writes meanwhile: a reading may meet both sides of a write. Damage stays, that does not.
        if damage.is_empty() || before.as_ref() == Some(&damage) {
            return Ok(told(segments, &damage));
        }
        before = Some(damage);
    }
    let (segments, damage) = read_once(disk, folder)?;
    Ok(told(segments, &damage))
}

fn told(segments: Vec<Segment>, damage: &[String]) -> Vec<Segment> {
    damage.iter().for_each(|what| tracing::error!("{what}; it is left out"));
    segments
}

/// The log as one reading finds it, and its damage, a sentence each.
fn read_once(disk: &Disk, folder: &Folder) -> Result<(Vec<Segment>, Vec<String>), Error> {
    let files = recover::headers(disk, folder)?;
    let (mut segments, mut damage) = (Vec::new(), Vec::new());
    for (i, file) in files.iter().enumerate() {
        let Some(header) = &file.header else {
            damage.push(format!("the header of the log segment {} is damaged", file.path.display()));
            continue;
        };
        let bytes = match disk.read(&file.path) {
            Ok(bytes) => bytes,
            // The daemon has deleted it since the listing: its rows are in parts.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(Error::io("read", &file.path, &error)),
        };
        let scan = scan::scan(&bytes, header, recover::bound_of(&files, i));
        damage
            .extend(scan.lost.iter().map(|lost| format!("log records {} to {} are damaged", lost.start, lost.end - 1)));
        segments.push((bytes, scan.records));
    }
    Ok((segments, damage))
}
