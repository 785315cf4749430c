//! Which distinct value each row of an array has.
//!
//! Duty: keys for arrays that come without a dictionary: numbers, ids and text. Guarantee: equal values have equal keys,
//! numbered as they first occur, until [`Words`] have as many bytes as their dictionary may have; from there on each row
//! with a short text has a value of its own. Left to others: the pages (`column`).

use arrow::array::{Array as _, ArrayAccessor, FixedSizeBinaryArray, StringArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer};
use hashbrown::{DefaultHashBuilder, HashTable};
use std::hash::BuildHasher as _;

/// Values and the key of each row; null rows have the key 0.
#[derive(Debug)]
pub(in super::super) struct Interned<T> {
    pub(in super::super) values: T,
    pub(in super::super) keys: Vec<i32>,
}

/// The ids of traces.
pub(in super::super) type Traces = Interned<Vec<[u8; 16]>>;

/// The ids of an array of `N` bytes each; those of null rows mean nothing.
pub fn ids_of<const N: usize>(array: &FixedSizeBinaryArray) -> &[[u8; N]] {
    array.value_data()[..array.len() * N].as_chunks().0
}

/// The distinct ids of `array`, which has 16 bytes a row and no nulls.
pub(in super::super) fn traces(array: &FixedSizeBinaryArray) -> Traces {
    ids(ids_of(array), None)
}

/// Odd, and without a pattern: spreads the bits of a hash.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Numbers, by their bits.
pub(super) fn numbers(bits: impl Iterator<Item = u64> + Clone, nulls: Option<&NullBuffer>) -> Interned<Vec<u64>> {
    // Many columns have one number: flags, counts, the key of a resource.
    if let Some(first) = bits.clone().next().filter(|_| nulls.is_none_or(|nulls| nulls.null_count() == 0))
        && bits.clone().all(|bits| bits == first)
    {
        return Interned { values: vec![first], keys: vec![0; bits.count()] };
    }
    // Values come from strangers: a hash that they can foretell would let them fill one place of the table.
    let keyed = DefaultHashBuilder::default();
    distinct(bits, nulls, 0, |bits| keyed.hash_one(bits))
}

/// Ids; those of traces come from strangers as well.
pub(super) fn ids<const N: usize>(ids: &[[u8; N]], nulls: Option<&NullBuffer>) -> Interned<Vec<[u8; N]>> {
    let keyed = DefaultHashBuilder::default();
    // A trace has a few spans. A table that grows looks at each of its values again.
    distinct(ids.iter().copied(), nulls, ids.len() / 4, |id| keyed.hash_one(id))
}

fn distinct<T: Copy + PartialEq>(
    rows: impl Iterator<Item = T>,
    nulls: Option<&NullBuffer>,
    expected: usize,
    hash: impl Fn(&T) -> u64,
) -> Interned<Vec<T>> {
    let mut values: Vec<T> = Vec::with_capacity(expected);
    let mut table: HashTable<u32> = HashTable::with_capacity(expected);
    let mut keys = Vec::with_capacity(rows.size_hint().0);
    let mut last: Option<(T, i32)> = None;
    if nulls.is_some_and(|nulls| nulls.null_count() == nulls.len()) {
        keys.resize(rows.count(), 0);
        return Interned { values, keys };
    }
    for (row, value) in rows.enumerate() {
        if nulls.is_some_and(|nulls| nulls.is_null(row)) {
            keys.push(0);
            continue;
        }
        if let Some((_, key)) = last.filter(|(last, _)| *last == value) {
            keys.push(key);
            continue;
        }
        let entry = table.entry(hash(&value), |at| values[*at as usize] == value, |at| hash(&values[*at as usize]));
        let key = match entry {
            hashbrown::hash_table::Entry::Occupied(found) => *found.get(),
            hashbrown::hash_table::Entry::Vacant(vacant) => {
                let key = values.len() as u32;
                vacant.insert(key);
                values.push(value);
                key
            }
        };
        last = Some((value, key.cast_signed()));
        keys.push(key.cast_signed());
    }
    Interned { values, keys }
}

/// A copy of such a text costs about what looking for it does.
const SHORT_BYTES: usize = 32;

/// Distinct texts of one column.
#[derive(Debug)]
pub struct Words {
    bytes: Vec<u8>,
    ends: Vec<i32>,
    table: HashTable<(u32, u32)>,
    hasher: DefaultHashBuilder,
    /// Bytes of text from which on no short text is looked for.
    limit: usize,
}

impl Words {
    /// None yet. Once they have `limit` bytes, further short texts are taken for new: what is longer than
    /// [`SHORT_BYTES`] is kept once still, or rows that share few long texts would each get a copy.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), ends: Vec::new(), table: HashTable::new(), hasher: Default::default(), limit }
    }

    /// The key of `text`.
    pub fn key(&mut self, text: &str) -> i32 {
        let text = text.as_bytes();
        if self.bytes.len() >= self.limit && text.len() <= SHORT_BYTES {
            return self.push(text);
        }
        let hash = self.hasher.hash_one(text);
        let short = (hash >> 32) as u32;
        let start = |key: u32| if key == 0 { 0 } else { self.ends[key as usize - 1] as usize };
        let is = |(of, key): &(u32, u32)| {
            *of == short && &self.bytes[start(*key)..self.ends[*key as usize] as usize] == text
        };
        if let Some((_, key)) = self.table.find(u64::from(short).wrapping_mul(SPREAD), is) {
            return key.cast_signed();
        }
        let key = self.push(text);
        let place = |(of, _): &(u32, u32)| u64::from(*of).wrapping_mul(SPREAD);
        self.table.insert_unique(place(&(short, 0)), (short, key.cast_unsigned()), place);
        key
    }

    fn push(&mut self, text: &[u8]) -> i32 {
        let key = self.ends.len();
        self.bytes.extend_from_slice(text);
        let end = i32::try_from(self.bytes.len()).expect("a row group has at most 1 GiB of text, or one row");
        self.ends.push(end);
        i32::try_from(key).expect("no more texts than rows")
    }

    /// Number of texts.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// Bytes of all texts.
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The texts so far by their keys; more may come.
    pub fn texts(&self) -> StringArray {
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends.iter().copied()).collect();
        array(offsets, Buffer::from_slice_ref(&self.bytes))
    }

    /// The texts by their keys.
    pub fn finish(self) -> StringArray {
        let offsets: Vec<i32> = std::iter::once(0).chain(self.ends).collect();
        array(offsets, self.bytes.into())
    }
}

fn array(offsets: Vec<i32>, bytes: Buffer) -> StringArray {
    StringArray::try_new(OffsetBuffer::new(offsets.into()), bytes, None).expect("each text was text when it came")
}

/// Text.
pub(super) fn words<'a>(texts: impl ArrayAccessor<Item = &'a str>, limit: usize) -> Interned<StringArray> {
    let mut words = Words::new(limit);
    let mut last: Option<(&str, i32)> = None;
    let keys = (0..texts.len()).map(|row| {
        if texts.is_null(row) {
            return 0;
        }
        let text = texts.value(row);
        match last {
            Some((before, key)) if before == text => key,
            _ => {
                let key = words.key(text);
                last = Some((text, key));
                key
            }
        }
    });
    let keys = keys.collect();
    Interned { values: words.finish(), keys }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn past_the_limit_long_texts_are_still_kept_once() {
        let mut words = Words::new(16);
        let long = ["a".repeat(100), "b".repeat(100)];
        let keys: Vec<i32> = (0..1000).map(|row| words.key(&long[row % 2])).collect();
        assert!(keys.iter().enumerate().all(|(row, key)| *key as usize == row % 2), "{:?}", &keys[..4]);
        assert_ne!(words.key("x"), words.key("x"), "a short one is cheaper to copy than to look for");
        let kept = words.finish();
        let texts: Vec<&str> = kept.iter().flatten().collect();
        assert_eq!(texts, [&long[0], &long[1], "x", "x"]);
    }
}
