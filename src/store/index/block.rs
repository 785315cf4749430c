//! Blocks of entries.
//!
//! Duty: [`Blocks`] fills them in key order, [`read`] walks the entries of one. Guarantee: bytes that are not those that
//! were written are [`Damage`], never other entries. Left to others: which block to read (`fences`).

use super::{Damage, Key, Place};

/// Size of all blocks but the last.
pub(super) const BLOCK_BYTES: usize = 4096;
/// Checksum and length.
const HEAD_BYTES: usize = 10;
/// Row groups of an entry that surely fit into one block, at 5 bytes each.
const MAX_PLACES: usize = 500;
const MORE: u32 = 1 << 4;
const PAIRS: u32 = 8;
const MASK_FOLLOWS: u32 = 15;

/// The blocks of a file that is being made.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    /// Blocks that are complete.
    pub(super) bytes: Vec<u8>,
    /// The first key of each, the one that is being filled included.
    pub(super) fences: Vec<u64>,
    /// Entries of the block that is being filled.
    filling: Vec<u8>,
    last: u64,
    /// Of the checksums.
    seed: u64,
}

impl Blocks {
    /// None yet; their checksums have `seed`.
    pub(super) fn seeded(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Adds the entry of `key`, which is above those before; `places` are not empty and ascend.
    pub(super) fn push(&mut self, key: Key, places: &[Place]) {
        if places.len() > MAX_PLACES {
            for places in places.chunks(MAX_PLACES) {
                self.seal(true);
                self.add(key, places);
                self.seal(true);
            }
            return;
        }
        self.add(key, places);
    }

    fn add(&mut self, key: Key, places: &[Place]) {
        let before = self.filling.len();
        let delta = if before == 0 { key.0 } else { key.0 - self.last };
        entry(&mut self.filling, delta, places);
        if HEAD_BYTES + self.filling.len() > BLOCK_BYTES {
            self.filling.truncate(before);
            self.seal(true);
            entry(&mut self.filling, key.0, places);
        }
        if self.fences.len() * BLOCK_BYTES == self.bytes.len() {
            self.fences.push(key.0);
        }
        self.last = key.0;
    }

    /// Completes the block that is being filled; `full`: to [`BLOCK_BYTES`], as another one may follow.
    fn seal(&mut self, full: bool) {
        if self.filling.is_empty() {
            return;
        }
        let begin = self.bytes.len();
        let used = u16::try_from(self.filling.len()).expect("a block has 4096 bytes");
        self.bytes.extend([0; 8]);
        self.bytes.extend(used.to_le_bytes());
        self.bytes.append(&mut self.filling);
        if full {
            self.bytes.resize(begin + BLOCK_BYTES, 0);
        }
        let sum = twox_hash::XxHash3_64::oneshot_with_seed(self.seed, &self.bytes[begin + 8..]);
        self.bytes[begin..begin + 8].copy_from_slice(&sum.to_le_bytes());
    }

    /// No more entries come.
    pub(super) fn finish(mut self) -> (Vec<u8>, Vec<u64>) {
        self.seal(false);
        (self.bytes, self.fences)
    }
}

fn entry(into: &mut Vec<u8>, delta: u64, places: &[Place]) {
    leb128(into, delta);
    let mut next = 0;
    for (at, place) in places.iter().enumerate() {
        let more = if at + 1 < places.len() { MORE } else { 0 };
        let code = code(place.zones);
        leb128(into, u64::from((place.group - next) << 5 | more | code));
        if code == MASK_FOLLOWS {
            into.push(place.zones);
        }
        next = place.group + 1;
    }
}

fn code(zones: u8) -> u32 {
    let low = zones.trailing_zeros();
    match zones.checked_shr(low) {
        Some(0b1) => low,
        Some(0b11) => PAIRS + low,
        _ => MASK_FOLLOWS,
    }
}

fn leb128(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Hands the places of all entries of a block to `each`, in order; its checksum has `seed`, its first key is `fence`.
pub(super) fn read(block: &[u8], seed: u64, fence: u64, mut each: impl FnMut(Key, Place)) -> Result<(), Damage> {
    let (sum, rest) = block.split_first_chunk::<8>().ok_or(Damage("a block is shorter than its head"))?;
    if u64::from_le_bytes(*sum) != twox_hash::XxHash3_64::oneshot_with_seed(seed, rest) {
        return Err(Damage("a block does not have its checksum"));
    }
    let (used, rest) = rest.split_first_chunk::<2>().ok_or(Damage("a block is shorter than its head"))?;
    let mut entries = Entries { left: rest.get(..usize::from(u16::from_le_bytes(*used))).ok_or(TORN)? };
    let mut key = None;
    while !entries.left.is_empty() {
        let delta = entries.leb128()?;
        let at = match key {
            None if delta == fence => delta,
            None => return Err(Damage("a block does not begin with the key of its fence")),
            Some(before) => before + delta,
        };
        if key == Some(at) || at >> Key::BITS != 0 {
            return Err(Damage("the keys of a block do not ascend"));
        }
        key = Some(at);
        entries.places(|place| each(Key(at), place))?;
    }
    Ok(())
}

const TORN: Damage = Damage("an entry ends beyond its block");

struct Entries<'a> {
    left: &'a [u8],
}

impl Entries<'_> {
    fn byte(&mut self) -> Result<u8, Damage> {
        let (byte, left) = self.left.split_first().ok_or(TORN)?;
        self.left = left;
        Ok(*byte)
    }

    /// A number below 2^42, so that sums of two stay numbers.
    fn leb128(&mut self) -> Result<u64, Damage> {
        let mut value = 0;
        for shift in (0..42).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Damage("a number of an entry is too long"))
    }

    fn places(&mut self, mut each: impl FnMut(Place)) -> Result<(), Damage> {
        let mut next = 0_u64;
        loop {
            let word = self.leb128()?;
            let code = (word & 15) as u32;
            let zones = match code {
                MASK_FOLLOWS => self.byte()?,
                PAIRS.. => 3 << (code - PAIRS),
                single => 1 << single,
            };
            let group = next + (word >> 5);
            next = group + 1;
            each(Place {
                group: u32::try_from(group).map_err(|_| Damage("a row group's number is too large"))?,
                zones,
            });
            if word & u64::from(MORE) == 0 {
                return Ok(());
            }
        }
    }
}
