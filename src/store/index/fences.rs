//! The footer of an index: what is kept in memory of it.
//!
//! Duty: [`write`] and [`Fences::read`]. Guarantee: fences that were read are those of the part that was asked for, and
//! the file has all its blocks. Left to others: reading blocks (`indexes`).

use std::ops::Range;

use ulid::Ulid;

use super::block::BLOCK_BYTES;
use super::{Damage, Key};
use crate::store::manifest::PartEntry;

/// Length, checksum, magic.
pub(super) const TRAILER_BYTES: usize = 4 + 8 + 8;
const MAGIC: &[u8; 8] = b"WGTIX001";

/// Which block holds a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fences {
    /// Rows of each row group.
    pub(super) groups: Vec<u32>,
    /// The first key of each block, ascending.
    firsts: Vec<u64>,
    blocks_bytes: u64,
}

/// Appends the footer to `file`, which holds the blocks.
pub(super) fn write(file: &mut Vec<u8>, part: Ulid, groups: &[u32], entries: u64, firsts: &[u64]) {
    let begin = file.len();
    let rows: u64 = groups.iter().map(|rows| u64::from(*rows)).sum();
    let count = |of: usize| u32::try_from(of).expect("a part is far below 2^32 groups and blocks").to_le_bytes();
    file.extend(part.to_bytes());
    file.extend(rows.to_le_bytes());
    file.extend(entries.to_le_bytes());
    file.extend((begin as u64).to_le_bytes());
    file.extend(count(groups.len()));
    file.extend(count(firsts.len()));
    file.extend(groups.iter().flat_map(|rows| rows.to_le_bytes()));
    file.extend(firsts.iter().flat_map(|first| first.to_le_bytes()));
    file.extend(count(file.len() - begin + TRAILER_BYTES));
    let sum = twox_hash::XxHash3_64::oneshot(&file[begin..]);
    file.extend(sum.to_le_bytes());
    file.extend(MAGIC);
}

/// Bytes of the footer that `tail`, the end of a file, is part or whole of.
pub(super) fn footer_bytes(tail: &[u8]) -> Result<u64, Damage> {
    let trailer = tail.last_chunk::<TRAILER_BYTES>().ok_or(Damage("it is shorter than a footer"))?;
    if trailer.last_chunk::<8>() != Some(MAGIC) {
        return Err(Damage("it does not end as an index does"));
    }
    let length = trailer.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length));
    Ok(u64::from(length))
}

impl Fences {
    /// The fences in `footer`, the end of a file of `file_bytes`, if it is the index of the part `entry`.
    pub(super) fn read(footer: &[u8], file_bytes: u64, entry: &PartEntry) -> Result<Self, Damage> {
        let torn = Damage("its footer has another length than it says");
        if footer_bytes(footer)? != footer.len() as u64 {
            return Err(torn);
        }
        let (summed, rest) = footer.split_at(footer.len() - (TRAILER_BYTES - 4));
        if rest.first_chunk::<8>() != Some(&twox_hash::XxHash3_64::oneshot(summed).to_le_bytes()) {
            return Err(Damage("its footer does not have its checksum"));
        }
        let mut fields = Fields { left: summed };
        let part = Ulid::from_bytes(fields.take().ok_or(torn.clone())?);
        let rows = u64::from_le_bytes(fields.take().ok_or(torn.clone())?);
        let _entries: [u8; 8] = fields.take().ok_or(torn.clone())?;
        let blocks_bytes = u64::from_le_bytes(fields.take().ok_or(torn.clone())?);
        let groups = u32::from_le_bytes(fields.take().ok_or(torn.clone())?);
        let blocks = u32::from_le_bytes(fields.take().ok_or(torn.clone())?);
        let lists = u64::from(groups) * 4 + u64::from(blocks) * 8;
        if fields.left.len() as u64 != lists + 4 {
            return Err(torn);
        }
        let groups: Vec<u32> = (0..groups).map_while(|_| fields.take().map(u32::from_le_bytes)).collect();
        let firsts: Vec<u64> = (0..blocks).map_while(|_| fields.take().map(u64::from_le_bytes)).collect();
        if !entry.path.ends_with(&format!("/{part}.parquet")) {
            return Err(Damage("it is the index of another part"));
        }
        let counted: u64 = groups.iter().map(|rows| u64::from(*rows)).sum();
        if (rows, groups.len()) != (entry.rows, entry.row_groups.len()) || counted != rows {
            return Err(Damage("its part has other rows than the manifest says"));
        }
        if blocks_bytes + footer.len() as u64 != file_bytes
            || blocks_bytes.div_ceil(BLOCK_BYTES as u64) != firsts.len() as u64
        {
            return Err(Damage("it has another length than its footer says"));
        }
        if !firsts.is_sorted() {
            return Err(Damage("its fences do not ascend"));
        }
        Ok(Self { groups, firsts, blocks_bytes })
    }

    /// The blocks that may hold `key`: one, unless its entry is longer than a block.
    pub(super) fn blocks_of(&self, key: Key) -> Range<usize> {
        let below = self.firsts.partition_point(|first| *first < key.0);
        let begun = below + self.firsts[below..].partition_point(|first| *first == key.0);
        if begun > below { below..begun } else { below.saturating_sub(1)..below }
    }

    /// Number of blocks.
    pub(super) fn len(&self) -> usize {
        self.firsts.len()
    }

    /// The first key of a block.
    pub(super) fn first(&self, block: usize) -> u64 {
        self.firsts[block]
    }

    /// The bytes of a block.
    pub(super) fn bytes_of(&self, block: usize) -> Range<u64> {
        let begin = block as u64 * BLOCK_BYTES as u64;
        begin..(begin + BLOCK_BYTES as u64).min(self.blocks_bytes)
    }

    /// Memory that they hold.
    pub(super) fn memory_bytes(&self) -> usize {
        size_of::<Self>() + self.groups.capacity() * size_of::<u32>() + self.firsts.capacity() * size_of::<u64>()
    }
}

struct Fields<'a> {
    left: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, left) = self.left.split_first_chunk::<N>()?;
        self.left = left;
        Some(*field)
    }
}
