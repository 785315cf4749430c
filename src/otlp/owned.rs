//! An attribute list that outlives its bytes: resource and scope, which many spans share.
//!
//! Duty: hold the attributes of the current resource or scope, reserved ones included, and give them a canonical form.
//! Guarantee: equal lists have equal canonical bytes, whatever the order of different keys. Left to others: columns.

use std::ops::Range;

use twox_hash::XxHash3_64;

use super::value::Value;
use crate::span::schema::reserved;

/// Attributes in the order sent; cleared and filled again for every resource or scope.
#[derive(Debug, Default)]
pub struct OwnedList {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Entry {
    key: Range<usize>,
    value: Owned,
}

#[derive(Debug)]
enum Owned {
    Scalar(Value<'static>),
    Text(Range<usize>),
    Bytes(Range<usize>),
    Array(Range<usize>),
    KvList(Range<usize>),
}

impl OwnedList {
    /// Forgets all attributes.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }

    /// Adds an attribute that was sent; a key that looks like one of ours is escaped.
    pub fn push(&mut self, key: &[u8], value: Value<'_>) {
        let start = self.bytes.len();
        if needs_escape(key) {
            self.bytes.push(b'_');
        }
        self.bytes.extend_from_slice(key);
        let key = start..self.bytes.len();
        self.push_entry(key, value);
    }

    /// Adds one of our reserved attributes.
    pub fn push_reserved(&mut self, key: &'static str, value: Value<'_>) {
        let key = self.keep(key.as_bytes());
        self.push_entry(key, value);
    }

    fn push_entry(&mut self, key: Range<usize>, value: Value<'_>) {
        let value = match value {
            Value::Text(bytes) => Owned::Text(self.keep(bytes)),
            Value::Bytes(bytes) => Owned::Bytes(self.keep(bytes)),
            Value::Array(bytes) => Owned::Array(self.keep(bytes)),
            Value::KvList(bytes) => Owned::KvList(self.keep(bytes)),
            Value::Empty => Owned::Scalar(Value::Empty),
            Value::Bool(value) => Owned::Scalar(Value::Bool(value)),
            Value::Int(value) => Owned::Scalar(Value::Int(value)),
            Value::Double(value) => Owned::Scalar(Value::Double(value)),
        };
        self.entries.push(Entry { key, value });
    }

    fn keep(&mut self, bytes: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        start..self.bytes.len()
    }

    /// Number of attributes, reserved ones included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The attributes in the order sent.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        self.entries.iter().map(|entry| (&self.bytes[entry.key.clone()], self.value(&entry.value)))
    }

    fn value(&self, owned: &Owned) -> Value<'_> {
        match owned {
            Owned::Scalar(value) => *value,
            Owned::Text(range) => Value::Text(&self.bytes[range.clone()]),
            Owned::Bytes(range) => Value::Bytes(&self.bytes[range.clone()]),
            Owned::Array(range) => Value::Array(&self.bytes[range.clone()]),
            Owned::KvList(range) => Value::KvList(&self.bytes[range.clone()]),
        }
    }

    /// The first value of `key`.
    pub fn get(&self, key: &[u8]) -> Option<Value<'_>> {
        self.iter().find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    /// The canonical bytes of storage.md 2, into `out`: sorted by key, equal keys in their order.
    pub fn canonical(&self, out: &mut Vec<u8>) {
        out.clear();
        let mut order: Vec<usize> = (0..self.entries.len()).collect();
        order.sort_by_key(|index| &self.bytes[self.entries[*index].key.clone()]);
        for index in order {
            let entry = &self.entries[index];
            put_bytes(out, &self.bytes[entry.key.clone()]);
            let value = self.value(&entry.value);
            out.push(value.attr_type());
            match value {
                Value::Empty => {}
                Value::Bool(value) => out.push(u8::from(value)),
                Value::Int(value) => out.extend_from_slice(&value.to_le_bytes()),
                Value::Double(value) => out.extend_from_slice(&value.to_bits().to_le_bytes()),
                Value::Text(bytes) | Value::Bytes(bytes) | Value::Array(bytes) | Value::KvList(bytes) => {
                    put_bytes(out, bytes);
                }
            }
        }
    }
}

/// `resource_key`: XXH3-64 of the canonical bytes.
pub fn resource_key(canonical: &[u8]) -> u64 {
    XxHash3_64::oneshot(canonical)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = u32::try_from(bytes.len()).expect("a request has less than 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(bytes);
}

/// Whether a sender's key would collide with ours: `^_*wg\.`
pub fn needs_escape(key: &[u8]) -> bool {
    let rest = &key[key.iter().take_while(|b| **b == b'_').count()..];
    rest.starts_with(reserved::PREFIX.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn canonical(entries: &[(&str, Value<'_>)]) -> Vec<u8> {
        let mut list = OwnedList::default();
        entries.iter().for_each(|(key, value)| list.push(key.as_bytes(), *value));
        let mut out = Vec::new();
        list.canonical(&mut out);
        out
    }

    #[test]
    fn the_canonical_form_sorts_keys_and_keeps_repeated_ones_in_order() {
        let (a, b) = (("a", Value::Int(1)), ("b", Value::Text(b"x")));
        assert_eq!(canonical(&[a, b]), canonical(&[b, a]));
        assert_ne!(canonical(&[a, ("a", Value::Int(2))]), canonical(&[("a", Value::Int(2)), a]));
        assert_eq!(canonical(&[a]), [1, 0, 0, 0, b'a', 3, 1, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(canonical(&[b]), [1, 0, 0, 0, b'b', 1, 1, 0, 0, 0, b'x']);
    }

    #[test]
    fn only_our_own_prefix_is_escaped() {
        let escaped: Vec<_> =
            ["wg.x", "_wg.x", "__wg.", "wg", "awg.x", "_wgx"].map(|k| needs_escape(k.as_bytes())).into();
        assert_eq!(escaped, [true, true, true, false, false, false]);
    }
}
