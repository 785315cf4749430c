//! Resources and scopes: lists that many rows share.
//!
//! Duty: the list at hand, its canonical form and key (storage.md 2), and the dictionary of distinct lists. Guarantee:
//! equal lists (whatever the order of their attributes) stand once per batch; while no new one comes, batches share one
//! dictionary (storage.md 3), which may hold lists that a batch does not use. Left to others: limits, and which rows
//! refer to which list.

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, ListArray};
use hashbrown::HashTable;
use std::sync::Arc;
use twox_hash::XxHash3_64;

use super::attrs::{AttrLists, Mark, Value};
use super::intern::offset;
use super::known::{Known, Read, Source};
use crate::span::schema::{attr_type, reserved};

/// Beyond so many lists, or bytes of them, a dictionary is not kept for the next batch.
const KEPT_LISTS: usize = 512;
const KEPT_BYTES: usize = 64 << 10;
/// Lists that every dictionary may keep, however few rows its batches have.
const FEW_LISTS: usize = 8;

/// The resources or the scopes of the batch at hand.
#[derive(Debug)]
pub(super) struct SharedLists {
    /// Lists by the bytes that they were read from.
    known: Known,
    /// The dictionary, until another list is added.
    made: Option<Arc<ListArray>>,
    /// The list at hand is one of the known: [`SharedLists::current`] and its form are those of another.
    is_resumed: bool,
    /// The list at hand, alone.
    current: AttrLists,
    /// Its canonical bytes, and behind them its dropped count, which is not part of the key.
    form: Vec<u8>,
    key: u64,
    /// Its place in the dictionary, once a row referred to it.
    index: Option<u32>,
    values: AttrLists,
    forms: Vec<u8>,
    form_ends: Vec<usize>,
    table: HashTable<(u64, u32)>,
    order: Vec<u32>,
}

/// What a resource or scope says beside its attributes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Envelope<'a> {
    /// Empty if not sent.
    pub schema_url: &'a [u8],
    /// `dropped_attributes_count`.
    pub dropped: u32,
    /// Resource only: the `entity_refs` fields as protobuf, tags included.
    pub entity_refs: &'a [u8],
}

impl SharedLists {
    pub(super) fn new() -> Self {
        Self {
            known: Known::default(),
            made: None,
            is_resumed: false,
            current: AttrLists::new(),
            form: Vec::new(),
            key: 0,
            index: None,
            values: AttrLists::new(),
            forms: Vec::new(),
            form_ends: Vec::new(),
            table: HashTable::new(),
            order: Vec::new(),
        }
    }

    /// Begins another list.
    pub(super) fn begin(&mut self) {
        self.current.clear();
        (self.index, self.is_resumed) = (None, false);
    }

    /// Begins the list that was read from `source`, if that is known; its service.
    pub(super) fn resume(&mut self, source: Source<'_>) -> Option<&[u8]> {
        let Read { list, key, service } = self.known.find(source)?;
        (self.index, self.key, self.is_resumed) = (Some(list), key, true);
        Some(service)
    }

    /// Keeps that the list at hand, to which a row refers, was read from `source` and is that of `service`, unless so much
    /// is kept that it ends with the batch.
    pub(super) fn keep(&mut self, source: Source<'_>, service: &[u8]) {
        if let Some(list) = self.index.filter(|_| self.known.kept_bytes() <= KEPT_BYTES) {
            self.known.insert(source, Read { list, key: self.key, service });
        }
    }

    /// Nothing that was read before is known any more.
    pub(super) fn forget_sources(&mut self) {
        self.known.clear();
    }

    /// The list at hand, to append to.
    #[inline]
    pub(super) fn current(&mut self) -> &mut AttrLists {
        &mut self.current
    }

    /// Completes the list with its reserved keys; how many texts had to be repaired.
    pub(super) fn complete(&mut self, envelope: Envelope<'_>) -> usize {
        if !envelope.schema_url.is_empty() {
            self.current.push(reserved::SCHEMA_URL.as_bytes(), Value::Text(envelope.schema_url));
        }
        if !envelope.entity_refs.is_empty() {
            self.current.push(reserved::ENTITY_REFS.as_bytes(), Value::Bytes(envelope.entity_refs));
        }
        let repaired = self.current.repair(Mark::default());
        self.write_form();
        self.key = XxHash3_64::oneshot(&self.form);
        // neither key nor order of the others depends on it: `wg.dropped` is outside the key (storage.md 2)
        self.form.extend_from_slice(&envelope.dropped.to_le_bytes());
        if envelope.dropped > 0 {
            self.current.push(reserved::DROPPED.as_bytes(), Value::Int(i64::from(envelope.dropped)));
        }
        repaired
    }

    /// XXH3-64 of the canonical bytes of the list at hand.
    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// About how many bytes a row adds that refers to the list at hand; 0 if one of the batch does already.
    pub(super) fn pending_bytes(&self) -> usize {
        if self.index.is_some() { 0 } else { self.form.len() }
    }

    /// First value of `key` in the list at hand.
    pub(super) fn first(&self, key: &[u8]) -> Option<Value<'_>> {
        self.current.since(Mark::default()).find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// Place of the list at hand in the dictionary.
    pub(super) fn index(&mut self) -> u32 {
        if let Some(index) = self.index {
            return index;
        }
        let (forms, ends, form) = (&self.forms, &self.form_ends, &self.form);
        let is_it = |id: u32| form_of(forms, ends, id as usize) == form.as_slice();
        let found = self.table.find(self.key, |(key, id)| *key == self.key && is_it(*id)).map(|(_, id)| *id);
        let index = found.unwrap_or_else(|| self.insert());
        self.index = Some(index);
        index
    }

    /// The distinct lists of the dictionary.
    pub(super) fn values(&self) -> &AttrLists {
        &self.values
    }

    /// Distinct lists, or distinct keys in them if those are more.
    pub(super) fn distinct(&self) -> usize {
        self.values.distinct().max(self.values.lists())
    }

    /// The dictionary column of rows that refer to `indices`, which are none afterwards; the list at hand stays.
    pub(super) fn finish(&mut self, indices: &mut Vec<i32>) -> ArrayRef {
        let keys = Int32Array::from(indices.clone());
        let rows = indices.len();
        indices.clear();
        let has_new = self.made.is_none();
        let values = self.made.get_or_insert_with(|| Arc::new(self.values.array())).clone();
        let lists = self.values.lists();
        // A dictionary that grows is made anew for each batch, and what reads a batch looks at all its lists.
        let most = FEW_LISTS + if has_new { rows / 2 } else { 4 * rows };
        let is_large = self.forms.len() > KEPT_BYTES || self.known.kept_bytes() > KEPT_BYTES;
        if lists > most.min(KEPT_LISTS) || is_large {
            self.clear_batch();
        }
        Arc::new(DictionaryArray::new(keys, values))
    }

    /// Begins another dictionary; the list at hand stays.
    pub(super) fn clear_batch(&mut self) {
        if let Some(index) = self.index.take()
            && std::mem::take(&mut self.is_resumed)
        {
            self.current.clear();
            for (key, value) in self.values.list(index as usize) {
                self.current.push(key, value);
            }
            self.form.clear();
            self.form.extend_from_slice(form_of(&self.forms, &self.form_ends, index as usize));
        }
        self.known.clear();
        self.made = None;
        self.values.clear();
        self.forms.clear();
        self.form_ends.clear();
        self.table.clear();
    }

    fn insert(&mut self) -> u32 {
        let index = offset(self.form_ends.len());
        for (key, value) in self.current.since(Mark::default()) {
            self.values.push(key, value);
        }
        self.values.close();
        self.made = None;
        self.forms.extend_from_slice(&self.form);
        self.form_ends.push(self.forms.len());
        self.table.insert_unique(self.key, (self.key, index), |(key, _)| *key);
        index
    }

    /// storage.md 2: sorted by the keys' bytes, equal keys in their order; key length u32, key, type u8, then for type 1
    /// length u32 and text, 2 one byte, 3 and 4 eight bytes, 5 to 7 length u32 and bytes, 0 nothing.
    fn write_form(&mut self) {
        let attributes: Vec<_> = self.current.since(Mark::default()).collect();
        self.order.clear();
        self.order.extend(0..offset(attributes.len()));
        self.order.sort_by_key(|at| attributes[*at as usize].0);
        let form = &mut self.form;
        form.clear();
        for at in &self.order {
            let (key, value) = attributes[*at as usize];
            put_slice(form, key);
            let (of, slice): (u8, &[u8]) = match value {
                Value::Empty => (attr_type::EMPTY, &[]),
                Value::Text(text) => (attr_type::STRING, text),
                Value::Bool(bool) => {
                    form.extend_from_slice(&[attr_type::BOOL, u8::from(bool)]);
                    continue;
                }
                Value::Int(int) => {
                    form.push(attr_type::INT);
                    form.extend_from_slice(&int.to_le_bytes());
                    continue;
                }
                Value::Double(double) => {
                    form.push(attr_type::DOUBLE);
                    form.extend_from_slice(&double.to_bits().to_le_bytes());
                    continue;
                }
                Value::Bytes(bytes) => (attr_type::BYTES, bytes),
                Value::Array { proto, .. } => (attr_type::ARRAY, proto),
                Value::Kvlist { proto, .. } => (attr_type::KVLIST, proto),
            };
            form.push(of);
            if of != attr_type::EMPTY {
                put_slice(form, slice);
            }
        }
    }
}

/// The form of the list `id`.
fn form_of<'a>(forms: &'a [u8], ends: &[usize], id: usize) -> &'a [u8] {
    let start = if id == 0 { 0 } else { ends[id - 1] };
    &forms[start..ends[id]]
}

fn put_slice(form: &mut Vec<u8>, slice: &[u8]) {
    form.extend_from_slice(&offset(slice.len()).to_le_bytes());
    form.extend_from_slice(slice);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(lists: &mut SharedLists, attributes: &[(&str, Value<'_>)], dropped: u32) -> (u64, u32) {
        lists.begin();
        for (key, value) in attributes {
            lists.current().push(key.as_bytes(), *value);
        }
        lists.complete(Envelope { dropped, ..Envelope::default() });
        (lists.key(), lists.index())
    }

    #[test]
    fn the_key_is_the_hash_of_the_canonical_bytes() {
        let mut lists = SharedLists::new();
        let (key, _) =
            list(&mut lists, &[("b", Value::Int(-2)), ("a", Value::Text(b"x")), ("a", Value::Bool(true))], 7);
        let mut bytes = vec![1, 0, 0, 0, b'a', 1, 1, 0, 0, 0, b'x'];
        bytes.extend([1, 0, 0, 0, b'a', 2, 1]);
        bytes.extend([1, 0, 0, 0, b'b', 3]);
        bytes.extend((-2i64).to_le_bytes());
        assert_eq!(key, XxHash3_64::oneshot(&bytes));
    }

    #[test]
    fn lists_are_one_if_only_their_order_differs() {
        let mut lists = SharedLists::new();
        let (a, b) = (("a", Value::Int(1)), ("b", Value::Empty));
        let first = list(&mut lists, &[a, b], 0);
        assert_eq!(list(&mut lists, &[b, a], 0), first);
        let dropped = list(&mut lists, &[a, b], 1);
        assert_eq!(dropped.0, first.0, "the dropped count is outside the key");
        assert_ne!(dropped.1, first.1, "and yet another list");
        // the order of equal keys is a difference: the first is the value
        let (one, two) = (("a", Value::Int(1)), ("a", Value::Int(2)));
        assert_ne!(list(&mut lists, &[one, two], 0).0, list(&mut lists, &[two, one], 0).0);
        assert_eq!(lists.distinct(), 4);
    }
}
