//! `.sum` files: XXH3-64 of every 256 KiB block of a part (storage.md 7).
//!
//! Duty: make, read and apply them. Guarantee: sums are used only after their own hash fitted the manifest entry.
//! Left to others: where bytes come from.

use std::ops::Range;

use super::Error;
use crate::store::manifest::{PartEntry, hash};

/// Bytes of a block.
pub(super) const BLOCK: u64 = 256 << 10;

/// The block hashes of one part.
#[derive(Debug)]
pub(super) struct Sums {
    blocks: Vec<u64>,
    bytes: u64,
}

/// `index/sum/date=…/hour=…/{ulid}.sum` of the part `spans/date=…/hour=…/{ulid}.parquet`.
pub fn path_of(part: &str) -> String {
    let name = part.strip_prefix("spans/").unwrap_or(part);
    format!("index/sum/{}.sum", name.strip_suffix(".parquet").unwrap_or(name))
}

/// The `.sum` of `file`.
pub(super) fn of(file: &[u8]) -> Vec<u8> {
    file.chunks(BLOCK as usize).flat_map(|block| twox_hash::XxHash3_64::oneshot(block).to_le_bytes()).collect()
}

impl Sums {
    /// The sums in `bytes`, if these are what `entry` names.
    pub(super) fn read(bytes: &[u8], entry: &PartEntry) -> Result<Self, Error> {
        if hash(bytes) != entry.sum_xxh3 {
            return Err(Error::corrupt(&entry.path, "its checksum file is not the one that was written"));
        }
        let blocks: Vec<_> = bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        if blocks.len() as u64 != entry.bytes.div_ceil(BLOCK) || !bytes.len().is_multiple_of(8) {
            return Err(Error::corrupt(&entry.path, "its checksum file has another number of blocks"));
        }
        Ok(Self { blocks, bytes: entry.bytes })
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.blocks.len()
    }

    /// The blocks that hold `range`, which lies within the part.
    pub(super) fn blocks_of(&self, range: Range<u64>) -> Range<usize> {
        let first = (range.start / BLOCK) as usize;
        let last = (range.end.div_ceil(BLOCK) as usize).min(self.blocks.len());
        first.min(last)..last
    }

    /// The bytes of `blocks`.
    pub(super) fn span(&self, blocks: &Range<usize>) -> Range<u64> {
        (blocks.start as u64 * BLOCK).min(self.bytes)..(blocks.end as u64 * BLOCK).min(self.bytes)
    }

    /// Checks `bytes`, which were read from the span of `blocks`.
    pub(super) fn check(&self, path: &str, bytes: &[u8], blocks: Range<usize>) -> Result<(), Error> {
        let span = self.span(&blocks);
        if bytes.len() as u64 != span.end - span.start {
            return Err(Error::corrupt(path, format!("bytes {} to {} cannot be read in full", span.start, span.end)));
        }
        match self.damaged(bytes, blocks).first() {
            None => Ok(()),
            Some(span) => {
                let at = span.start;
                Err(Error::corrupt(path, format!("the block at byte {at} does not have its checksum")))
            }
        }
    }

    /// The spans of those of `blocks` whose `bytes`, read from the span of `blocks`, do not have their checksum.
    pub(super) fn damaged(&self, bytes: &[u8], blocks: Range<usize>) -> Vec<Range<u64>> {
        let read = blocks.zip(bytes.chunks(BLOCK as usize));
        let wrong = read.filter(|(block, bytes)| twox_hash::XxHash3_64::oneshot(bytes) != self.blocks[*block]);
        wrong.map(|(block, _)| self.span(&(block..block + 1))).collect()
    }

    /// Bytes of the `.sum` of a part of `bytes`.
    pub(super) fn file_len(bytes: u64) -> u64 {
        bytes.div_ceil(BLOCK) * 8
    }
}
