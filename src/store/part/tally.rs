//! Counting attribute keys of a part, through the ids of the key dictionaries.
//!
//! Duty: per key the rows by type, bytes, and types by row group. Guarantee: only the first occurrence of a key in a
//! row counts, for it is the value. Left to others: what follows from the counts (`promote`, `keys`).

use std::collections::HashMap;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, ListArray, StructArray};
use arrow::datatypes::{Int32Type, UInt8Type};

use super::keys::KeyEntry;
use super::promote::{Choice, type_code};
use super::recent::Recent;
use crate::span::pinned::ScalarType;

/// Length of a text value whose size is not known.
const TEXT_BYTES: u64 = 24;

#[derive(Debug, Default)]
pub(super) struct Tally {
    ids: HashMap<String, usize>,
    pub(super) keys: Vec<KeyTally>,
    /// Value bytes of all keys.
    pub(super) bytes: u64,
    /// Lists seen so far: stamps the last list that held a key.
    list: u64,
    /// The ids of the keys of a dictionary, once met.
    met: Recent<Vec<usize>>,
}

#[derive(Debug)]
pub(super) struct KeyTally {
    pub(super) key: String,
    /// Rows and value bytes by attribute type.
    pub(super) rows: [u64; 8],
    pub(super) bytes: [u64; 8],
    /// Per row group: bit `t` = a value of type `t`.
    groups: Vec<u8>,
    last: u64,
}

impl Tally {
    /// Counts `lists`, list `i` as `weights[i]` rows (no weights: one each) of row group `group`.
    pub(super) fn add(&mut self, lists: &ListArray, weights: Option<&[u64]>, group: usize) {
        let attrs = Attrs::of(lists);
        let mut met = std::mem::take(&mut self.met);
        let ids = met.get_or(attrs.words, || vec![usize::MAX; attrs.words.len()]);
        let offsets = lists.value_offsets();
        for row in 0..lists.len() {
            let weight = weights.map_or(1, |weights| weights[row]);
            if weight == 0 {
                continue;
            }
            self.list += 1;
            for at in offsets[row] as usize..offsets[row + 1] as usize {
                let word = attrs.word(at);
                if ids[word] == usize::MAX {
                    ids[word] = self.id(attrs.words.as_string::<i32>().value(word));
                }
                let key = &mut self.keys[ids[word]];
                if std::mem::replace(&mut key.last, self.list) == self.list {
                    continue;
                }
                let (of, bytes) = (attrs.type_at(at), attrs.value_bytes(at) * weight);
                key.rows[of] += weight;
                key.bytes[of] += bytes;
                self.bytes += bytes;
                key.mark(group, of);
            }
        }
        self.met = met;
    }

    /// Counts rows whose values lie in promoted `columns`, and in `lists` where they have no column or another type.
    pub(super) fn add_split(&mut self, lists: &ListArray, columns: &[(&Choice, &ArrayRef)], group: usize) {
        for (choice, values) in columns {
            let present = (values.len() - values.null_count()) as u64;
            if present == 0 {
                continue;
            }
            let id = self.id(&choice.key);
            self.keys[id].rows[type_code(choice.of)] += present;
            self.keys[id].mark(group, type_code(choice.of));
        }
        let attrs = Attrs::of(lists);
        let words = attrs.words.as_string::<i32>();
        let promoted = |word: usize| columns.iter().find(|(choice, _)| choice.key == words.value(word));
        let promoted: Vec<Option<&ArrayRef>> =
            (0..words.len()).map(|w| promoted(w).map(|(_, values)| *values)).collect();
        let mut ids = vec![usize::MAX; words.len()];
        let offsets = lists.value_offsets();
        for row in 0..lists.len() {
            self.list += 1;
            for at in offsets[row] as usize..offsets[row + 1] as usize {
                let word = attrs.word(at);
                // The value is in the column; what the list has is a repeated key.
                if promoted[word].is_some_and(|values| values.is_valid(row)) {
                    continue;
                }
                if ids[word] == usize::MAX {
                    ids[word] = self.id(words.value(word));
                }
                let key = &mut self.keys[ids[word]];
                if std::mem::replace(&mut key.last, self.list) == self.list {
                    continue;
                }
                let of = attrs.type_at(at);
                key.rows[of] += 1;
                key.mark(group, of);
            }
        }
    }

    /// Adds what a footer says of a key, as far as [`super::promote::choose`] needs it.
    pub(super) fn estimate(&mut self, entry: &KeyEntry) {
        const SCALARS: [ScalarType; 4] = [ScalarType::Text, ScalarType::Int, ScalarType::Double, ScalarType::Bool];
        let id = self.id(&entry.key);
        let residual = SCALARS.into_iter().find(|of| entry.mask & (1 << type_code(*of)) != 0);
        let counts = [(entry.promoted, entry.present - entry.residual.min(entry.present)), (residual, entry.residual)];
        for (of, rows) in counts {
            let (code, bytes) = match of {
                None => (0, 0),
                Some(of @ ScalarType::Text) => (type_code(of), TEXT_BYTES * rows),
                Some(of @ ScalarType::Bool) => (type_code(of), rows),
                Some(of) => (type_code(of), 8 * rows),
            };
            self.keys[id].rows[code] += rows;
            self.keys[id].bytes[code] += bytes;
            self.bytes += bytes;
        }
    }

    /// Adds what a footer says of a key of `groups` row groups that are taken over as they are, the first of them as number
    /// `first`. Residual values count as of one type: the footer tells the types of all of them together.
    pub(super) fn take_over(&mut self, entry: &KeyEntry, first: usize, groups: usize) {
        let id = self.id(&entry.key);
        let key = &mut self.keys[id];
        if let Some(of) = entry.promoted {
            key.rows[type_code(of)] += entry.present - entry.residual.min(entry.present);
        }
        if entry.mask != 0 {
            key.rows[entry.mask.trailing_zeros() as usize] += entry.residual;
        }
        // Groups without residual values are told as well: what is not said may be.
        key.groups.resize(key.groups.len().max(first + groups), 0);
        for group in (0..groups).filter(|group| entry.may_be_residual_in(*group)) {
            key.groups[first + group] |= entry.mask;
        }
    }

    /// Lists a key that may have no rows.
    pub(super) fn list(&mut self, key: &str) {
        self.id(key);
    }

    fn id(&mut self, key: &str) -> usize {
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let id = self.keys.len();
        self.ids.insert(key.to_owned(), id);
        self.keys.push(KeyTally { key: key.to_owned(), rows: [0; 8], bytes: [0; 8], groups: Vec::new(), last: 0 });
        id
    }

    /// The footer's entry of the key `id`, promoted as `promoted`.
    pub(super) fn entry(&self, id: usize, promoted: Option<ScalarType>) -> KeyEntry {
        let key = &self.keys[id];
        let present = key.rows.iter().sum();
        let taken = promoted.map(type_code);
        let residual = present - taken.map_or(0, |of| key.rows[of]);
        let left = |types: u8| types & !taken.map_or(0, |of| 1 << of);
        let mut groups = vec![0u8; key.groups.len().div_ceil(8)];
        for (group, types) in key.groups.iter().enumerate().filter(|(_, types)| left(**types) != 0) {
            debug_assert_ne!(left(*types), 0);
            groups[group / 8] |= 1 << (group % 8);
        }
        let mask = key.groups.iter().fold(0, |mask, types| mask | left(*types));
        KeyEntry { key: key.key.clone(), promoted, present, residual, mask, groups: crate::span::hex(&groups) }
    }
}

impl KeyTally {
    fn mark(&mut self, group: usize, of: usize) {
        if self.groups.len() <= group {
            self.groups.resize(group + 1, 0);
        }
        self.groups[group] |= 1 << of;
    }
}

/// The child arrays of attribute lists.
pub(super) struct Attrs<'a> {
    pub(super) all: &'a StructArray,
    keys: &'a [i32],
    /// The key dictionary.
    pub(super) words: &'a ArrayRef,
    types: &'a [u8],
    texts: &'a [u128],
    blobs: &'a [i32],
}

impl<'a> Attrs<'a> {
    pub(super) fn of(lists: &'a ListArray) -> Self {
        let all = lists.values().as_struct();
        let keys: &DictionaryArray<Int32Type> = all.column(0).as_dictionary();
        let types = all.column(1).as_primitive::<UInt8Type>();
        let (texts, blobs) = (all.column(2).as_string_view().views(), all.column(5).as_binary::<i32>().value_offsets());
        Self { all, keys: keys.keys().values(), words: keys.values(), types: types.values(), texts, blobs }
    }

    pub(super) fn word(&self, at: usize) -> usize {
        self.keys[at] as usize
    }

    /// Attribute type, 0 to 7.
    pub(super) fn type_at(&self, at: usize) -> usize {
        usize::from(self.types[at] & 7)
    }

    #[inline]
    fn value_bytes(&self, at: usize) -> u64 {
        match self.type_at(at) {
            0 => 0,
            // The low half of a view is the length.
            1 => u64::from(self.texts[at] as u32),
            2 => 1,
            3 | 4 => 8,
            _ => (self.blobs[at + 1] - self.blobs[at]) as u64,
        }
    }
}
