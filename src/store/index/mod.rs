//! The trace index: which row groups and zones of a part hold a trace (storage.md 10.1).
//!
//! Duty: `.tix` files, one a part: [`TraceFacts`] makes them while the part is written, [`Indexes`] asks them. Guarantee:
//! an answer names every zone that holds a row of the trace; a missing or damaged index answers nothing, never less, and
//! is made again from its part. The indexes of a day that is over are merged into one file beside them (`days`). Left to
//! others: when it is put (`part`), what a scan does with the answer (`query`).
//!
//! The file `index/trace/date=YYYY-MM-DD/hour=HH/{ulid}.tix`, final, all integers little-endian: blocks, then a footer.
//!
//! A trace's key is the upper 40 bits of XXH3-64 of its 16 bytes, as a number. Two traces of one key share an entry: a
//! reader of rows compares ids anyway, and in a file of a million traces one foreign id in a million meets a key.
//!
//! | block: 4096 bytes, the last one as long as it is filled | bytes |
//! |---|---|
//! | XXH3-64 of the rest of the block | 8 |
//! | *n*, bytes of entries | 2 |
//! | entries | *n* |
//! | zero, to 4096 bytes; not in the last block | |
//!
//! An entry is `V(key)` in the first place of a block, else `V(key − the key before)`, which is never 0; then for each
//! row group that holds the trace, ascending, `V(skipped × 32 + more × 16 + code)`. `V` is LEB128: 7 bits a byte, the
//! lowest first, bit 7 set on all but the last. `skipped`: the row group's number for the first one of the entry, else
//! its distance from the one before less 1. `more`: 1 unless it is the last one of the entry. `code` stands for the mask
//! of its zones, bit *z* for the rows 16384 *z* to 16384 *z* + 16383 of the row group, bit 7 for all from 114688 on:
//! 0–7 = bit *code* alone; 8–14 = bits *code* − 8 and *code* − 7; 15 = the mask is the next byte.
//!
//! An entry that does not fit goes to the next block. One of more than 500 row groups begins a block of its own for each
//! 500 of them, all with its key; so a key lies in the blocks that begin with it, or else in the last that begins below.
//!
//! | footer | bytes |
//! |---|---|
//! | ULID of the part, as 16 bytes big-endian | 16 |
//! | rows of the part | 8 |
//! | entries | 8 |
//! | bytes of all blocks = offset of the footer | 8 |
//! | *g*, row groups of the part | 4 |
//! | *b*, blocks | 4 |
//! | rows of each row group | 4 *g* |
//! | fences: the first key of each block | 8 *b* |
//! | bytes of the footer | 4 |
//! | XXH3-64 of the footer up to here | 8 |
//! | magic `WGTIX001` | 8 |
//!
//! The file `index/trace/day-YYYY-MM-DD.tix` says the same of several parts of a day: blocks as above, in which the row
//! groups of all its parts are numbered through, then another footer. The checksums of its blocks have the seed XXH3-64
//! of the ULIDs of its parts, 16 bytes each: another file of the day is told from the one whose footer was read.
//!
//! | footer | bytes |
//! |---|---|
//! | bytes of all blocks = offset of the footer | 8 |
//! | *p*, parts | 4 |
//! | *b*, blocks | 4 |
//! | for each part, ascending: ULID, as 16 bytes big-endian, and its row groups | 20 *p* |
//! | rows of each row group | 4 each |
//! | fences: the first key of each block | 8 *b* |
//! | bytes of the footer | 4 |
//! | XXH3-64 of the footer up to here | 8 |
//! | magic `WGTDX001` | 8 |

mod block;
mod check;
mod days;
mod facts;
mod fences;
mod indexes;
mod merge;
mod rebuild;

pub use check::{check, check_day};
pub use days::{date_of, is_day};
pub use facts::TraceFacts;
pub use indexes::{Found, FoundGroup, Indexes};

use super::manifest::PartEntry;

/// Where the index of `part` lies, below the dataset's folder; also where none was written with the part.
pub fn path(part: &PartEntry) -> String {
    part.index.clone().unwrap_or_else(|| path_of(&part.path))
}

/// `index/trace/date=…/hour=…/{ulid}.tix` of the part `spans/date=…/hour=…/{ulid}.parquet`.
pub fn path_of(part: &str) -> String {
    let name = part.strip_prefix("spans/").unwrap_or(part);
    format!("index/trace/{}.tix", name.strip_suffix(".parquet").unwrap_or(name))
}

/// What the index sorts by: the upper 40 bits of XXH3-64 of the trace's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(u64);

impl Key {
    /// Bits of a key.
    const BITS: u32 = 40;

    /// The key of the trace `id`.
    pub fn of(id: &[u8]) -> Self {
        Self(twox_hash::XxHash3_64::oneshot(id) >> (u64::BITS - Self::BITS))
    }
}

/// Where rows of a trace are in a part: some zones of one row group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Number of the row group.
    group: u32,
    /// Its zones, bit 0 the first.
    zones: u8,
}

/// A file is not as it was written, or not that of its part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
struct Damage(&'static str);

#[cfg(test)]
mod tests;
