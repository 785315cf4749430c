//! The files of a data folder, for those who list them (storage.md 12.4).
//!
//! Duty: [`Files`], what the relations `system.wal_segments` and `drop_ledger` read. Guarantee: it changes nothing; a
//! record counts in a segment exactly if a start would count it. Left to others: rows of spans (`snapshot.rs`), damage
//! (`verify.rs`).

use std::path::PathBuf;

use futures::TryStreamExt as _;
use object_store::ObjectStore as _;

use super::folder::Folder;
use super::ledger::Ledger;
use super::place::Objects;
use super::recover::{self, Read};
use super::verify::{self, Depth, Report};
use super::wal::record::{self, RecordHeader};
use super::wal::scan::{self, Bound};
use super::wal::segment::{self, SegmentHeader};
use super::{Error, Lsn, catalog, index, ledger, manifest, part};
use crate::disk::{Disk, File};

/// The files of a data folder.
#[derive(Debug)]
pub struct Files {
    folder: Folder,
    objects: Objects,
    disk: Disk,
    /// Of the store that has the folder open in this process.
    ledger: Option<Ledger>,
}

/// A segment file of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Below the data folder: `wal/{first_lsn:020}.wal`.
    pub path: String,
    /// As its name tells it.
    pub first_lsn: Lsn,
    /// Last record that counts; `None` without records, or with a damaged header.
    pub last_lsn: Option<Lsn>,
    /// Size of the file, room for further records included.
    pub bytes: u64,
    /// Spans of the records that count.
    pub spans: u64,
}

/// A file of parts, manifest or what is made from them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// Below the dataset's folder.
    pub path: String,
    /// `part`, `checksums`, `trace index`, `manifest`, `catalogue`, or `other` for what is none of ours.
    pub kind: &'static str,
    /// Size of the file.
    pub bytes: u64,
}

impl Files {
    /// Files of the store that is open in this process.
    pub(super) fn of_store(folder: Folder, objects: Objects, disk: Disk, ledger: Ledger) -> Self {
        Self { folder, objects, disk, ledger: Some(ledger) }
    }

    /// Files of a folder that is only read.
    pub(super) fn of_folder(folder: Folder, objects: Objects, disk: Disk) -> Self {
        Self { folder, objects, disk, ledger: None }
    }

    /// Whether they are read without a store.
    pub fn is_offline(&self) -> bool {
        self.ledger.is_none()
    }

    /// The segments of the log, in lsn order. Blocks.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, Error> {
        let files = recover::headers(&self.disk, &self.folder)?;
        let mut segments = Vec::new();
        for (i, file) in files.iter().enumerate() {
            match self.segment(file, recover::bound_of(&files, i)) {
                Ok(segment) => segments.push(segment),
                // Deleted since the listing: its rows are in parts.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("read", &file.path, &error)),
            }
        }
        Ok(segments)
    }

    fn segment(&self, of: &Read, bound: Bound) -> std::io::Result<SegmentInfo> {
        let file = self.disk.open_read(&of.path)?;
        let bytes = file.len()?;
        let (last_lsn, spans) = match (&of.header, bound) {
            (None, _) => (None, 0),
            // A tail may be torn: only the payloads' hashes tell.
            (Some(header), Bound::Next(prev)) => match walk(&file, bytes, header, prev)? {
                Some(found) => found,
                None => self.scanned(of, header, bound)?,
            },
            (Some(header), _) => self.scanned(of, header, bound)?,
        };
        let path = format!("wal/{:020}.wal", of.first_lsn);
        Ok(SegmentInfo { path, first_lsn: of.first_lsn, last_lsn, bytes, spans })
    }

    fn scanned(&self, of: &Read, header: &SegmentHeader, bound: Bound) -> std::io::Result<(Option<Lsn>, u64)> {
        let scan = scan::scan(&self.disk.read(&of.path)?, header, bound);
        let spans = scan.records.iter().map(|found| u64::from(found.header.spans)).sum();
        Ok((scan.records.last().map(|found| found.header.lsn), spans))
    }

    /// The files of parts, manifest, indexes and catalogue, by path, those of parts that have left too.
    pub async fn stored(&self) -> Result<Vec<FileInfo>, Error> {
        let mut stored = Vec::new();
        for below in ["spans", "index", "manifest", "catalog"] {
            let listed = self.objects.store().list(Some(&object_store::path::Path::from(below)));
            let listed: Vec<_> = listed.try_collect().await.map_err(|e| self.objects.told(&e))?;
            stored.extend(listed.into_iter().map(|meta| {
                let path = meta.location.to_string();
                FileInfo { kind: kind_of(&path), path, bytes: meta.size }
            }));
        }
        stored.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(stored)
    }

    /// The segment files of the drop ledger, oldest first. Everything recorded before the call is in them. Blocks.
    pub fn drop_segments(&self) -> std::io::Result<Vec<PathBuf>> {
        if let Some(ledger) = &self.ledger {
            ledger.flush();
        }
        ledger::segment_paths(&self.folder.ledger(), &self.disk)
    }

    /// Reads one of [`Files::drop_segments`]. Blocks.
    pub fn drops(&self, segment: &std::path::Path) -> std::io::Result<Vec<arrow::array::RecordBatch>> {
        Ok(ledger::read_segment(segment, &self.disk)?.batches)
    }

    /// See [`verify::verify`]; the folder is checked as it was opened.
    pub async fn verify(&self, depth: Depth) -> Result<Report, Error> {
        verify::check(&self.folder, &self.objects, &self.disk, depth).await
    }
}

fn kind_of(path: &str) -> &'static str {
    let name = path.rsplit('/').next().unwrap_or(path);
    let of_part = part::ulid_of(path).is_some();
    match path.split('/').next() {
        Some("spans") if of_part && name.ends_with(".parquet") => "part",
        Some("index") if of_part && name.ends_with(".sum") => "checksums",
        Some("index") if of_part && name.ends_with(".tix") || index::is_day(path) => "trace index",
        Some("manifest") if manifest::is_name(name) => "manifest",
        Some(catalog::FOLDER) if catalog::is_name(name) => "catalogue",
        _ => "other",
    }
}

/// Last lsn and spans up to `prev`, from the records' headers alone; `None` if they are no chain that ends there.
fn walk(file: &File, len: u64, header: &SegmentHeader, prev: Lsn) -> std::io::Result<Option<(Option<Lsn>, u64)>> {
    let (mut at, mut next, mut spans) = (segment::HEADER_BYTES as u64, header.first_lsn, 0);
    while next <= prev {
        if at + record::HEADER_BYTES as u64 > len {
            return Ok(None);
        }
        let mut bytes = [0; record::HEADER_BYTES];
        file.read_exact_at(&mut bytes, at)?;
        let Some(record) = RecordHeader::decode(&bytes, header.salt).filter(|record| record.lsn == next) else {
            return Ok(None);
        };
        spans += u64::from(record.spans);
        at += record.total_len() as u64;
        next += 1;
    }
    Ok(Some(((next > header.first_lsn).then(|| next - 1), spans)))
}
