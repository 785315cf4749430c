//! The footer of an index, of a part or of a day: what is kept in memory of it.
//!
//! Duty: [`write`] and [`Fences::read`], [`write_day`] and [`Fences::read_day`]. Guarantee: fences that were read are those
//! of the part that was asked for, or say which parts they are of, and the file has all its blocks. Left to others:
//! reading blocks (`indexes`).

use std::ops::Range;

use ulid::Ulid;

use super::block::BLOCK_BYTES;
use super::{Damage, Key};
use crate::store::manifest::PartEntry;
use crate::store::part::ulid_of;

/// Length, checksum, magic.
pub(super) const TRAILER_BYTES: usize = 4 + 8 + 8;
const MAGIC: &[u8; 8] = b"WGTIX001";
const DAY_MAGIC: &[u8; 8] = b"WGTDX001";
const TORN: Damage = Damage("its footer has another length than it says");

/// Which block holds a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fences {
    /// Rows of each row group.
    pub(super) groups: Vec<u32>,
    /// The first key of each block, ascending.
    firsts: Vec<u64>,
    blocks_bytes: u64,
    /// Of a day: the parts, ascending, and which of `groups` are theirs.
    parts: Vec<(Ulid, Range<usize>)>,
    /// Of the checksums of the blocks.
    pub(super) seed: u64,
}

/// The seed of the blocks of a day with these parts. What says of other parts is another file, which may have taken the
/// place of the one whose fences somebody still has: its blocks number other row groups.
pub(super) fn seed_of(parts: impl Iterator<Item = Ulid>) -> u64 {
    let parts: Vec<u8> = parts.flat_map(|part| part.to_bytes()).collect();
    twox_hash::XxHash3_64::oneshot(&parts)
}

fn count(of: usize) -> [u8; 4] {
    u32::try_from(of).expect("a day is far below 2^32 groups and blocks").to_le_bytes()
}

/// Appends the footer to `file`, which holds the blocks.
pub(super) fn write(file: &mut Vec<u8>, part: Ulid, groups: &[u32], entries: u64, firsts: &[u64]) {
    let begin = file.len();
    let rows: u64 = groups.iter().map(|rows| u64::from(*rows)).sum();
    file.extend(part.to_bytes());
    file.extend(rows.to_le_bytes());
    file.extend(entries.to_le_bytes());
    file.extend((begin as u64).to_le_bytes());
    file.extend(count(groups.len()));
    file.extend(count(firsts.len()));
    file.extend(groups.iter().flat_map(|rows| rows.to_le_bytes()));
    file.extend(firsts.iter().flat_map(|first| first.to_le_bytes()));
    close(file, begin, MAGIC);
}

/// Appends the footer of a day to `file`, which holds the blocks; `parts`, ascending, with the rows of their row groups.
pub(super) fn write_day(file: &mut Vec<u8>, parts: &[(Ulid, &[u32])], firsts: &[u64]) {
    let begin = file.len();
    file.extend((begin as u64).to_le_bytes());
    file.extend(count(parts.len()));
    file.extend(count(firsts.len()));
    for (part, groups) in parts {
        file.extend(part.to_bytes());
        file.extend(count(groups.len()));
    }
    let groups = parts.iter().flat_map(|(_, groups)| groups.iter());
    file.extend(groups.flat_map(|rows| rows.to_le_bytes()));
    file.extend(firsts.iter().flat_map(|first| first.to_le_bytes()));
    close(file, begin, DAY_MAGIC);
}

fn close(file: &mut Vec<u8>, begin: usize, magic: &[u8; 8]) {
    file.extend(count(file.len() - begin + TRAILER_BYTES));
    let sum = twox_hash::XxHash3_64::oneshot(&file[begin..]);
    file.extend(sum.to_le_bytes());
    file.extend(magic);
}

/// What the file says of itself is longer than it is.
pub(super) const SHORT: Damage = Damage("it is shorter than its footer");

/// The footer at the end of `file`, a whole index.
pub(super) fn footer_of(file: &[u8]) -> Result<&[u8], Damage> {
    let begin = usize::try_from(footer_bytes(file)?).ok().and_then(|footer| file.len().checked_sub(footer));
    Ok(&file[begin.ok_or(SHORT)?..])
}

/// Bytes of the footer that `tail`, the end of a file, is part or whole of.
pub(super) fn footer_bytes(tail: &[u8]) -> Result<u64, Damage> {
    let trailer = tail.last_chunk::<TRAILER_BYTES>().ok_or(Damage("it is shorter than a footer"))?;
    if ![Some(MAGIC), Some(DAY_MAGIC)].contains(&trailer.last_chunk::<8>()) {
        return Err(Damage("it does not end as an index does"));
    }
    let length = trailer.first_chunk::<4>().map_or(0, |length| u32::from_le_bytes(*length));
    Ok(u64::from(length))
}

impl Fences {
    /// The fences in `footer`, the end of a file of `file_bytes`, if it is the index of the part `entry`.
    pub(super) fn read(footer: &[u8], file_bytes: u64, entry: &PartEntry) -> Result<Self, Damage> {
        let mut fields = Fields { left: summed(footer, MAGIC)? };
        let part = Ulid::from_bytes(fields.take().ok_or(TORN)?);
        let rows = u64::from_le_bytes(fields.take().ok_or(TORN)?);
        let _entries: [u8; 8] = fields.take().ok_or(TORN)?;
        let blocks_bytes = u64::from_le_bytes(fields.take().ok_or(TORN)?);
        let groups = u32::from_le_bytes(fields.take().ok_or(TORN)?);
        let blocks = u32::from_le_bytes(fields.take().ok_or(TORN)?);
        let lists = u64::from(groups) * 4 + u64::from(blocks) * 8;
        if fields.left.len() as u64 != lists + 4 {
            return Err(TORN);
        }
        let fences = Self::of(fields, (groups, blocks), blocks_bytes, (Vec::new(), 0));
        if !entry.path.ends_with(&format!("/{part}.parquet")) {
            return Err(Damage("it is the index of another part"));
        }
        let counted: u64 = fences.groups.iter().map(|rows| u64::from(*rows)).sum();
        if (rows, fences.groups.len()) != (entry.rows, entry.row_groups.len()) || counted != rows {
            return Err(Damage("its part has other rows than the manifest says"));
        }
        fences.whole(footer, file_bytes)
    }

    /// The fences in `footer`, the end of a file of `file_bytes`, if it is the index of a day.
    pub(super) fn read_day(footer: &[u8], file_bytes: u64) -> Result<Self, Damage> {
        let mut fields = Fields { left: summed(footer, DAY_MAGIC)? };
        let blocks_bytes = u64::from_le_bytes(fields.take().ok_or(TORN)?);
        let count = u32::from_le_bytes(fields.take().ok_or(TORN)?);
        let blocks = u32::from_le_bytes(fields.take().ok_or(TORN)?);
        let (mut parts, mut groups) = (Vec::new(), 0_u32);
        for _ in 0..count {
            let part = Ulid::from_bytes(fields.take().ok_or(TORN)?);
            let of_part = u32::from_le_bytes(fields.take().ok_or(TORN)?);
            let end = groups.checked_add(of_part).ok_or(TORN)?;
            parts.push((part, groups as usize..end as usize));
            groups = end;
        }
        let lists = u64::from(groups) * 4 + u64::from(blocks) * 8;
        if fields.left.len() as u64 != lists + 4 {
            return Err(TORN);
        }
        let seed = seed_of(parts.iter().map(|(part, _)| *part));
        Self::of(fields, (groups, blocks), blocks_bytes, (parts, seed)).whole(footer, file_bytes)
    }

    fn of(
        mut fields: Fields<'_>,
        (groups, blocks): (u32, u32),
        blocks_bytes: u64,
        (parts, seed): (Vec<(Ulid, Range<usize>)>, u64),
    ) -> Self {
        let groups: Vec<u32> = (0..groups).map_while(|_| fields.take().map(u32::from_le_bytes)).collect();
        let firsts: Vec<u64> = (0..blocks).map_while(|_| fields.take().map(u64::from_le_bytes)).collect();
        Self { groups, firsts, blocks_bytes, parts, seed }
    }

    fn whole(self, footer: &[u8], file_bytes: u64) -> Result<Self, Damage> {
        if self.blocks_bytes + footer.len() as u64 != file_bytes
            || self.blocks_bytes.div_ceil(BLOCK_BYTES as u64) != self.firsts.len() as u64
        {
            return Err(Damage("it has another length than its footer says"));
        }
        if !self.firsts.is_sorted() {
            return Err(Damage("its fences do not ascend"));
        }
        Ok(self)
    }

    /// Of a day: which of the row groups are those of `part`; `None` if they are not in it.
    pub(super) fn groups_of(&self, part: &PartEntry) -> Option<Range<usize>> {
        let ulid = ulid_of(&part.path)?;
        let at = self.parts.binary_search_by_key(&ulid, |(part, _)| *part).ok()?;
        let groups = self.parts[at].1.clone();
        let rows: u64 = self.groups[groups.clone()].iter().map(|rows| u64::from(*rows)).sum();
        ((rows, groups.len()) == (part.rows, part.row_groups.len())).then_some(groups)
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
        size_of::<Self>()
            + self.groups.capacity() * size_of::<u32>()
            + self.firsts.capacity() * size_of::<u64>()
            + self.parts.capacity() * size_of::<(Ulid, Range<usize>)>()
    }
}

/// The fields of `footer`, which ends with `magic`, and behind them its length.
fn summed<'a>(footer: &'a [u8], magic: &[u8; 8]) -> Result<&'a [u8], Damage> {
    if footer_bytes(footer)? != footer.len() as u64 {
        return Err(TORN);
    }
    let (summed, rest) = footer.split_at(footer.len() - (TRAILER_BYTES - 4));
    if rest.last_chunk::<8>() != Some(magic) {
        return Err(Damage("it is an index of another kind"));
    }
    if rest.first_chunk::<8>() != Some(&twox_hash::XxHash3_64::oneshot(summed).to_le_bytes()) {
        return Err(Damage("its footer does not have its checksum"));
    }
    Ok(summed)
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
