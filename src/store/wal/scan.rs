//! What a segment file holds, and what its damage means (storage.md 4.5).
//!
//! Duty: find every valid record of one segment in any bytes, and tell a torn or void tail (normal after a crash) from
//! corruption (acknowledged records are missing). Guarantee: no bytes panic it; a record before the damage is always
//! found; a record is found once, however often it stands in the file. Left to others: reading files, moving damage to
//! quarantine, decoding payloads (`recover.rs`).

use std::ops::Range;

use super::record::{self, RecordHeader};
use super::segment::{self, SegmentHeader};
use crate::store::Lsn;

/// A valid record and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its header.
    pub header: RecordHeader,
    /// Offset of the header in the file.
    pub at: usize,
}

impl Found {
    /// Where the payload stands.
    pub fn payload(&self) -> Range<usize> {
        let from = self.at + record::HEADER_BYTES;
        from..from + self.header.stored_len as usize
    }

    /// Where the record ends, padding included.
    pub fn end(&self) -> usize {
        self.at + self.header.total_len()
    }
}

/// What the records of a segment are judged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// No segment follows: the end may be torn.
    Last,
    /// `prev_lsn` of the next segment: all up to it must be there, all above it is void.
    Next(Lsn),
    /// The next segment's header is lost; only its name is known, and that its first lsn is not in here.
    Lost(Lsn),
}

/// What a segment holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// The records that count, in lsn order.
    pub records: Vec<Found>,
    /// Acknowledged records that are missing.
    pub lost: Vec<Range<Lsn>>,
    /// Damaged regions of the file that are not its torn or void tail.
    pub damaged: Vec<Range<usize>>,
    /// Bytes of a torn or void tail.
    pub torn_bytes: u64,
    /// Highest lsn of any valid record, void ones included.
    pub highest: Lsn,
    /// Highest store position of any valid record, void ones included; 0 without records.
    pub highest_us: i64,
}

impl Scan {
    /// Whether something that may have been acknowledged is damaged.
    #[cfg(test)]
    pub fn is_corrupt(&self) -> bool {
        !self.lost.is_empty() || !self.damaged.is_empty()
    }
}

/// Scans a segment whose header is good.
pub fn scan(bytes: &[u8], header: &SegmentHeader, bound: Bound) -> Scan {
    let (mut found, mut bad, tail) = walk(bytes, header.salt);
    let mut scan = Scan {
        highest: found.iter().map(|f| f.header.lsn).max().unwrap_or(0),
        highest_us: found.iter().map(|f| f.header.ingest_us).max().unwrap_or(0),
        ..Scan::default()
    };
    // Stable: of two equal lsns the first in the file stays.
    found.sort_by_key(|f| f.header.lsn);
    found.dedup_by_key(|f| f.header.lsn);
    let ceiling = match bound {
        Bound::Last => Lsn::MAX,
        Bound::Next(prev) => prev,
        Bound::Lost(first) => first.saturating_sub(1),
    };
    let counts = |f: &&Found| (header.first_lsn..=ceiling).contains(&f.header.lsn);
    let void: usize = found.iter().filter(|f| f.header.lsn > ceiling).map(|f| f.header.total_len()).sum();
    found = found.iter().filter(counts).copied().collect();

    // A gap is torn only if no group began after it: the last group is the one whose sync may not have ended.
    let last_group = match bound {
        Bound::Next(_) => Lsn::MAX,
        Bound::Last | Bound::Lost(_) => found.last().map_or(0, |f| f.header.group_start()),
    };
    let mut expected = header.first_lsn;
    let mut kept = 0;
    for f in &found {
        if f.header.lsn > expected {
            if last_group <= expected {
                break;
            }
            scan.lost.push(expected..f.header.lsn);
        }
        expected = f.header.lsn.saturating_add(1);
        kept += 1;
    }
    if let Bound::Next(prev) = bound
        && expected <= prev
    {
        scan.lost.push(expected..prev + 1);
    }
    let torn: usize = found[kept..].iter().map(|f| f.header.total_len()).sum();
    found.truncate(kept);
    let end = found.iter().map(Found::end).max().unwrap_or(segment::HEADER_BYTES);
    let missing_to_the_end = matches!(bound, Bound::Next(prev) if expected <= prev);
    bad.extend(tail);
    for region in bad {
        if region.start < end || !scan.lost.is_empty() && missing_to_the_end {
            scan.damaged.push(region);
        } else {
            scan.torn_bytes += region.len() as u64;
        }
    }
    // Bytes that fit in no lsn: a bound that is below what stands here.
    scan.torn_bytes += (void + torn) as u64;
    scan.records = found;
    scan
}

/// The lsns of a segment whose header (and with it the salt) is lost: those whose payload hash fits.
pub fn scan_without_salt(bytes: &[u8]) -> Vec<RecordHeader> {
    let mut found = Vec::new();
    let mut at = segment::HEADER_BYTES.min(bytes.len());
    while let Some(next) = find_magic(bytes, at) {
        let header = bytes[next..].first_chunk().and_then(RecordHeader::fields);
        match header.filter(|h| payload_fits(bytes, next, h)) {
            Some(header) => {
                at = next + header.total_len().min(bytes.len() - next);
                found.push(header);
            }
            None => at = next + 1,
        }
    }
    found
}

/// All valid records in file order, the damaged regions between them, and the one behind them.
fn walk(bytes: &[u8], salt: u64) -> (Vec<Found>, Vec<Range<usize>>, Option<Range<usize>>) {
    let mut found = Vec::new();
    let mut bad = Vec::new();
    let mut at = segment::HEADER_BYTES.min(bytes.len());
    let mut search = at;
    // The specification looks on 8-byte steps; looking on every byte also finds what a cut has shifted. A sender cannot
    // forge a record inside a payload: it does not know the salt.
    while let Some(next) = find_magic(bytes, search) {
        match RecordHeader::decode(&bytes[next..], salt).filter(|h| payload_fits(bytes, next, h)) {
            Some(header) => {
                if bytes[at..next].iter().any(|b| *b != 0) {
                    bad.push(at..next);
                }
                let record = Found { header, at: next };
                at = record.end().min(bytes.len());
                search = at;
                found.push(record);
            }
            None => search = next + 1,
        }
    }
    // What was never written reads as zeros.
    let written = bytes[at..].iter().rposition(|b| *b != 0).map(|last| at..at + last + 1);
    (found, bad, written)
}

fn payload_fits(bytes: &[u8], at: usize, header: &RecordHeader) -> bool {
    let from = at + record::HEADER_BYTES;
    bytes
        .get(from..)
        .and_then(|rest| rest.get(..header.stored_len as usize))
        .is_some_and(|payload| record::payload_hash(payload) == header.payload_xxh3)
}

/// Where the next record may begin, at or behind `from`.
fn find_magic(bytes: &[u8], from: usize) -> Option<usize> {
    const BLOCK: usize = 4096;
    static ZEROS: [u8; BLOCK] = [0; BLOCK];
    let mut at = from;
    while at + record::MAGIC.len() <= bytes.len() {
        // Preallocated space: compared a block at a time.
        if bytes.len() - at >= BLOCK && bytes[at..at + BLOCK] == ZEROS {
            at += BLOCK;
            continue;
        }
        // Blocks overlap by the magic's length less one.
        let end = (at + BLOCK + record::MAGIC.len() - 1).min(bytes.len());
        if let Some(hit) = bytes[at..end].windows(record::MAGIC.len()).position(|w| w == record::MAGIC) {
            return Some(at + hit);
        }
        at += BLOCK;
    }
    None
}

#[cfg(test)]
mod tests;
