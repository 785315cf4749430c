//! Distinct texts of one dictionary column.
//!
//! Duty: text → index, and at the end of a batch the dictionary's values. Guarantee: every value is valid UTF-8 and
//! stands once; a text is checked when it is new and never again; while no new text comes, batches share one array of
//! values (storage.md 3), which may hold texts that a batch does not use. Left to others: the column of indices.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use hashbrown::{DefaultHashBuilder, HashTable};

/// A table that once grew beyond this is made anew when the next batches need much less.
const KEPT_ENTRIES: usize = 8192;
/// Beyond so many texts, or bytes of them, a dictionary is not kept for the next batch.
const KEPT_TEXTS: usize = 4096;
const KEPT_BYTES: usize = 128 << 10;
/// Texts that every dictionary may keep, however few rows its batches have.
const FEW_TEXTS: usize = 16;
/// Places of a list whose last key is remembered: exporters send the same keys in the same order.
const REMEMBERED: usize = 32;

#[derive(Clone, Copy, Debug)]
struct Slot {
    start: u32,
    len: u32,
    /// The list that held this text last (keys only).
    list: u32,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    hash: u32,
    id: u32,
}

/// The distinct texts of one dictionary column of the batch at hand.
#[derive(Debug)]
pub(super) struct Interner {
    slots: Vec<Slot>,
    bytes: Vec<u8>,
    table: HashTable<Entry>,
    hasher: DefaultHashBuilder,
    remembered: [Remembered; REMEMBERED],
    /// The values, until another text is added.
    made: Option<ArrayRef>,
    /// Texts when the last batch ended.
    before: usize,
}

/// A text by its place in the list, with what is needed to compare it; a length of `u32::MAX` is none.
#[derive(Clone, Copy, Debug)]
struct Remembered {
    id: u32,
    start: u32,
    len: u32,
}

const NOTHING: Remembered = Remembered { id: 0, start: 0, len: u32::MAX };

/// Where a text stands in the dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Interned {
    pub(super) id: u32,
    /// The text was not UTF-8; what stands there is its repair.
    pub(super) repaired: bool,
}

impl Interner {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            bytes: Vec::new(),
            table: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            remembered: [NOTHING; REMEMBERED],
            made: None,
            before: 0,
        }
    }

    /// Distinct texts so far.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Bytes of the texts so far.
    pub(super) fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The text with this index.
    pub(super) fn get(&self, id: u32) -> &[u8] {
        let slot = self.slots[id as usize];
        &self.bytes[slot.start as usize..(slot.start + slot.len) as usize]
    }

    /// Index of `text`, made when it is new.
    pub(super) fn intern(&mut self, text: &[u8]) -> Interned {
        let hash = self.hash(text);
        let found = self.table.find(spread(hash), |entry| entry.hash == hash && self.is(entry.id, text));
        match found {
            Some(entry) => Interned { id: entry.id, repaired: false },
            None => self.insert(text, hash),
        }
    }

    /// As [`Interner::intern`], tried first with the text that stood at the same `place` of the list before.
    #[inline]
    pub(super) fn intern_at(&mut self, place: usize, text: &[u8]) -> Interned {
        let place = place % REMEMBERED;
        let guess = self.remembered[place];
        if guess.len as usize == text.len() {
            let start = guess.start as usize;
            if is_same(&self.bytes[start..start + text.len()], text) {
                return Interned { id: guess.id, repaired: false };
            }
        }
        let interned = self.intern(text);
        if !interned.repaired {
            let Slot { start, len, .. } = self.slots[interned.id as usize];
            self.remembered[place] = Remembered { id: interned.id, start, len };
        }
        interned
    }

    /// Notes that `list` holds text `id`; whether it did already.
    #[inline]
    pub(super) fn is_repeated(&mut self, id: u32, list: u32) -> bool {
        std::mem::replace(&mut self.slots[id as usize].list, list) == list
    }

    /// The dictionary's values for a batch of `rows` indices. Its texts stay for the next batch, unless that gained little:
    /// a dictionary that grows is made anew for each batch, and what reads a batch looks at all its texts.
    pub(super) fn finish(&mut self, rows: usize) -> ArrayRef {
        let values = self.made.take().unwrap_or_else(|| self.values());
        let new = self.slots.len() - self.before;
        let most = FEW_TEXTS + if new == 0 { 4 * rows } else { rows };
        let is_small = self.slots.len() <= most.min(KEPT_TEXTS) && self.bytes.len() <= KEPT_BYTES;
        if is_small && new <= FEW_TEXTS.max(rows / 4) {
            (self.made, self.before) = (Some(values.clone()), self.slots.len());
        } else {
            self.clear();
        }
        values
    }

    /// The dictionary's values so far.
    pub(super) fn values(&self) -> ArrayRef {
        let mut offsets = Vec::with_capacity(self.slots.len() + 1);
        offsets.push(0);
        offsets.extend(self.slots.iter().map(|slot| (slot.start + slot.len).cast_signed()));
        let values = Buffer::from_slice_ref(&self.bytes);
        let array = StringArray::try_new(OffsetBuffer::new(offsets.into()), values, None)
            .expect("each text was checked or repaired when it was inserted");
        Arc::new(array)
    }

    /// Ends a batch that uses no text: what is new since the last one goes.
    pub(super) fn trim(&mut self) {
        if self.slots.len() > self.before {
            self.clear();
        }
    }

    pub(super) fn clear(&mut self) {
        let used = self.slots.len().max(KEPT_ENTRIES);
        self.slots.clear();
        self.bytes.clear();
        self.remembered = [NOTHING; REMEMBERED];
        (self.made, self.before) = (None, 0);
        if self.table.capacity() / 8 > used {
            self.table = HashTable::new();
        } else {
            self.table.clear();
        }
    }

    #[inline]
    fn is(&self, id: u32, text: &[u8]) -> bool {
        self.get(id) == text
    }

    fn hash(&self, text: &[u8]) -> u32 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(text);
        let hash = hasher.finish();
        #[allow(clippy::cast_possible_truncation, reason = "both halves are folded in")]
        let folded = (hash ^ (hash >> 32)) as u32;
        folded
    }

    #[cold]
    #[inline(never)]
    fn insert(&mut self, text: &[u8], hash: u32) -> Interned {
        if simdutf8::basic::from_utf8(text).is_err() {
            // OTLP W14: repaired; what arrives broken again is checked again, for each row is flagged.
            let repaired = String::from_utf8_lossy(text).into_owned();
            return Interned { repaired: true, ..self.intern(repaired.as_bytes()) };
        }
        let (start, id) = (offset(self.bytes.len()), offset(self.slots.len()));
        self.made = None;
        self.bytes.extend_from_slice(text);
        self.slots.push(Slot { start, len: offset(text.len()), list: 0 });
        self.table.insert_unique(spread(hash), Entry { hash, id }, |entry| spread(entry.hash));
        Interned { id, repaired: false }
    }
}

/// Equality of two slices of one length, without a call for those of up to 32 bytes.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    let (eight, sixteen) = (|s: &[u8; 8]| u64::from_ne_bytes(*s), |s: &[u8; 16]| u128::from_ne_bytes(*s));
    match a.len() {
        16..=32 => {
            a.first_chunk().map(sixteen) == b.first_chunk().map(sixteen)
                && a.last_chunk().map(sixteen) == b.last_chunk().map(sixteen)
        }
        8..16 => {
            a.first_chunk().map(eight) == b.first_chunk().map(eight)
                && a.last_chunk().map(eight) == b.last_chunk().map(eight)
        }
        _ => a == b,
    }
}

/// The 64 bits that the table places an entry by, from the 32 that it keeps.
#[inline]
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// A length of one batch, which the batch cuts and the size limits of a span keep under 31 bits.
pub(super) fn offset(len: usize) -> u32 {
    u32::try_from(len).expect("a batch is cut long before 2 GiB, and no span or resource may exceed a quarter of it")
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn equal_texts_share_an_index_and_batches_their_values_until_a_new_one_comes() {
        let mut words = Interner::new();
        let ids: Vec<_> = ["a", "b", "a", "", "b"].iter().map(|t| words.intern(t.as_bytes()).id).collect();
        assert_eq!(ids, [0, 1, 0, 2, 1]);
        let first = words.finish(5);
        assert_eq!(texts(&first), ["a", "b", ""]);
        assert_eq!(words.intern(b"b").id, 1);
        let second = words.finish(1);
        assert!(Arc::ptr_eq(&first, &second));
        assert_eq!(words.intern(b"c").id, 3);
        let third = words.finish(1);
        assert_eq!(texts(&first), ["a", "b", ""]);
        assert_eq!(texts(&third), ["a", "b", "", "c"]);
        words.clear();
        assert_eq!((words.len(), words.intern(b"b").id), (0, 0));
    }

    #[test]
    fn a_dictionary_of_texts_that_do_not_come_again_begins_anew() {
        let mut words = Interner::new();
        for batch in 0..40u32 {
            for n in 0..100u32 {
                words.intern(format!("a name of its own: {batch} {n}").as_bytes());
            }
            assert_eq!(words.finish(100).len(), 100, "batch {batch} has none of another");
        }
        // A few new ones a batch: it is kept until there are more than rows.
        for batch in 0..400u32 {
            for n in 0..100u32 {
                words.intern(format!("route {}", batch * 5 + n % 10).as_bytes());
            }
            let texts = words.finish(100).len();
            assert!(texts <= FEW_TEXTS + 100 + 10, "{texts} in batch {batch}");
        }
    }

    fn texts(values: &ArrayRef) -> Vec<String> {
        values.as_string::<i32>().iter().map(|value| value.unwrap().to_owned()).collect()
    }

    #[test]
    fn text_that_is_not_utf8_is_repaired_and_told_each_time() {
        let mut words = Interner::new();
        let first = words.intern(b"a\xffb");
        let again = words.intern(b"a\xffb");
        assert_eq!((first, again), (Interned { id: 0, repaired: true }, Interned { id: 0, repaired: true }));
        assert_eq!(words.get(0), "a\u{fffd}b".as_bytes());
    }

    #[test]
    fn texts_of_every_length_are_told_apart_by_each_byte() {
        for len in 0..70usize {
            let a: Vec<u8> = (0..len).map(|at| b'a' + u8::try_from(at % 26).unwrap()).collect();
            assert!(is_same(&a, &a.clone()), "{len}");
            for at in 0..len {
                let mut b = a.clone();
                b[at] = b'!';
                assert!(!is_same(&a, &b), "{at} of {len}");
            }
        }
    }

    #[test]
    fn a_hundred_thousand_texts_keep_their_indices() {
        let mut words = Interner::new();
        for round in 0..2 {
            for n in 0..100_000u32 {
                assert_eq!(words.intern_at(n as usize, format!("key.{n}").as_bytes()).id, n, "round {round}");
            }
        }
    }
}
