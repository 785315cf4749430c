//! Writing the log: groups into segments, and the switch from one segment to the next (storage.md 4.2, 4.3, 4.6).
//!
//! Duty: write one group with vectored writes and make it as durable as configured. Guarantee: after a failed or short
//! write or a failed sync the file is never written, synced or trusted again; a named segment has a good header. Left to
//! others: which records form a group (`thread.rs`), preallocation (`next.rs`).

use std::io::IoSlice;

use super::door::Pending;
use super::next::{self, Next};
use super::record::{self, RecordHeader};
use super::segment::{self, SegmentHeader};
use super::segments::Segments;
use crate::clock::Clock;
use crate::disk::{Disk, File};
use crate::store::config::Durability;
use crate::store::folder::Folder;
use crate::store::metrics::Metrics;
use crate::store::{Error, Lsn};

/// Why a group is not in the log.
#[derive(Debug)]
pub enum WriteError {
    /// Nothing was written: there is no next segment. The log goes on once there is.
    NotStarted(Error),
    /// The file can no longer be trusted: [`Writer::recover`] before anything else.
    Untrusted(Error),
}

/// The log's files, owned by the log thread.
#[derive(Debug)]
pub struct Writer {
    pub(in crate::store) disk: Disk,
    pub(in crate::store) folder: Folder,
    pub(in crate::store) clock: Clock,
    pub(in crate::store) metrics: Metrics,
    pub(in crate::store) next: Next,
    pub(in crate::store) segments: Segments,
    pub(in crate::store) segment_bytes: u64,
    pub(in crate::store) durability: Durability,
    /// Last lsn that counts.
    pub(in crate::store) last_valid: Lsn,
    pub(in crate::store) current: Option<Current>,
}

/// The segment that is being filled.
#[derive(Debug)]
pub struct Current {
    file: File,
    salt: u64,
    /// Where the next record goes.
    at: u64,
    len: u64,
    /// The lsn that the next record must have.
    expected: Lsn,
}

impl Writer {
    /// Writes `group`, whose lsns are contiguous, as durably as configured.
    pub fn write(&mut self, group: &[Pending]) -> Result<(), WriteError> {
        let (Some(first), Some(last)) = (group.first(), group.last()) else { return Ok(()) };
        self.next.trusted().map_err(|e| self.untrusted("write", &e))?;
        let bytes: u64 = group.iter().map(Pending::log_bytes).sum();
        let fits = |c: &Current| c.at + bytes <= c.len && c.expected == first.lsn;
        if self.current.as_ref().is_some_and(fits) {
            self.append(group).map_err(|e| self.untrusted("write", &e))?;
        } else {
            self.switch(group, bytes)?;
        }
        if let Some(current) = &mut self.current {
            current.at += bytes;
            current.expected = last.lsn + 1;
        }
        self.last_valid = last.lsn;
        self.metrics.wal_bytes.inc_by(bytes);
        Ok(())
    }

    fn append(&self, group: &[Pending]) -> std::io::Result<()> {
        let current = self.current.as_ref().expect("the caller looked");
        write_records(&current.file, group, current.salt, current.at, None)?;
        match self.durability {
            Durability::Fsync => self.sync(&current.file),
            Durability::Os => {
                self.next.dirty(&current.file);
                Ok(())
            }
            Durability::Memory => Ok(()),
        }
    }

    fn switch(&mut self, group: &[Pending], bytes: u64) -> Result<(), WriteError> {
        let first_lsn = group[0].lsn;
        let file = self.next.take().map_err(WriteError::NotStarted)?;
        let len = (segment::HEADER_BYTES as u64 + bytes).max(self.segment_bytes);
        if len > self.segment_bytes
            && let Err(error) = file.allocate(len)
        {
            self.next.want();
            return Err(WriteError::NotStarted(Error::DiskFull {
                detail: format!("cannot preallocate a log segment of {len} bytes: {error}"),
            }));
        }
        // With `os` the records of the old segment may not be on disk yet, and no later sync would reach them.
        if let (Durability::Os, Some(old)) = (self.durability, &self.current) {
            let synced = self.next.reclaim(&old.file).and_then(|()| old.file.sync_data());
            synced.map_err(|e| self.untrusted("sync", &e))?;
        }
        let header = self.header(first_lsn);
        let named = write_records(&file, group, header.salt, segment::HEADER_BYTES as u64, Some(&header.encode()))
            .and_then(|()| self.sync(&file))
            .and_then(|()| self.name(first_lsn));
        named.map_err(|e| self.untrusted("switch to the next segment", &e))?;
        let at = segment::HEADER_BYTES as u64;
        self.current = Some(Current { file, salt: header.salt, at, len, expected: first_lsn });
        self.next.want();
        Ok(())
    }

    /// Begins a fresh segment after a failure: header alone, proven by reading it back (storage.md 4.6).
    pub fn recover(&mut self, first_lsn: Lsn) -> Result<(), Error> {
        self.current = None;
        self.next.seize();
        let path = self.next.path();
        let header = self.header(first_lsn);
        let proven = next::create(&self.disk, &path, self.segment_bytes).and_then(|file| {
            let bytes = header.encode();
            file.write_all_at(&bytes, 0)?;
            file.sync_data()?;
            let mut back = vec![0; bytes.len()];
            file.read_exact_at(&mut back, 0)?;
            if back != bytes {
                return Err(std::io::Error::other("the header of the fresh segment reads back differently"));
            }
            self.name(first_lsn)?;
            Ok(file)
        });
        let file = proven.map_err(|e| Error::Sync { detail: format!("a fresh log segment failed too: {e}") })?;
        let at = segment::HEADER_BYTES as u64;
        self.current = Some(Current { file, salt: header.salt, at, len: self.segment_bytes, expected: first_lsn });
        self.next.want();
        Ok(())
    }

    /// Cuts the unused end off the open segment and lets it go: nothing is written after this.
    pub fn finish(&mut self) {
        if let Some(current) = self.current.take()
            && let Err(error) = self.cut(&current)
        {
            tracing::warn!(%error, "cannot cut the unused end of the last log segment");
        }
    }

    fn cut(&self, current: &Current) -> std::io::Result<()> {
        self.next.reclaim(&current.file)?;
        current.file.set_len(current.at)?;
        current.file.sync_data()
    }

    fn header(&self, first_lsn: Lsn) -> SegmentHeader {
        SegmentHeader {
            first_lsn,
            prev_lsn: self.last_valid,
            salt: self.clock.random(),
            created_ns: self.clock.now_ns(),
            node: self.folder.node,
            store: self.folder.store,
        }
    }

    fn name(&self, first_lsn: Lsn) -> std::io::Result<()> {
        let dir = self.folder.wal();
        self.disk.rename(&self.next.path(), &segment::path(&dir, first_lsn))?;
        self.segments.add(first_lsn);
        self.disk.sync_dir(&dir)
    }

    fn sync(&self, file: &File) -> std::io::Result<()> {
        let timer = self.metrics.wal_sync_seconds.start_timer();
        let result = file.sync_data();
        timer.observe_duration();
        result
    }

    fn untrusted(&self, action: &str, error: &std::io::Error) -> WriteError {
        WriteError::Untrusted(Error::Sync { detail: format!("cannot {action}: {error}") })
    }
}

/// `head`, then the records of `group` one after the other, at `at`; the payloads are not copied.
fn write_records(file: &File, group: &[Pending], salt: u64, mut at: u64, head: Option<&[u8]>) -> std::io::Result<()> {
    static ZEROS: [u8; 8] = [0; 8];
    let headers: Vec<_> = (0_u32..).zip(group).map(|(position, p)| p.header(position).encode(salt)).collect();
    let mut slices = Vec::with_capacity(group.len() * 3 + 1);
    if let Some(head) = head {
        slices.push(IoSlice::new(head));
        at = 0;
    }
    for (header, pending) in headers.iter().zip(group) {
        let payload = &pending.payload.bytes;
        slices.push(IoSlice::new(header));
        slices.push(IoSlice::new(payload));
        slices.push(IoSlice::new(&ZEROS[..record::padded(payload.len()) - payload.len()]));
    }
    file.write_all_vectored_at(&mut slices, at)
}

impl Pending {
    /// Bytes of the record in the file.
    pub fn log_bytes(&self) -> u64 {
        (record::HEADER_BYTES + record::padded(self.payload.bytes.len())) as u64
    }

    fn header(&self, position: u32) -> RecordHeader {
        RecordHeader {
            lsn: self.lsn,
            stored_len: u32::try_from(self.payload.bytes.len()).expect("Payload::of checked the length"),
            decoded_len: self.payload.decoded_len,
            kind: self.payload.kind,
            codec: self.payload.codec,
            own: self.own,
            spans: self.spans,
            ingest_us: self.ingest_us,
            payload_xxh3: self.payload_xxh3,
            identity: self.identity,
            dataset: 0,
            position,
        }
    }
}
