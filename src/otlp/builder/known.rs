//! Resources that were read before.
//!
//! Duty: [`Known`]: the bytes of a resource → what reading them gave. Guarantee: the bytes are equal, not only their
//! hash. Left to others: which resources may be kept ([`super::SpanBuilder::keep_resource_source`]), and for how long
//! their places hold (`shared`).

use std::hash::{BuildHasher as _, Hasher as _};
use std::ops::Range;

use hashbrown::{DefaultHashBuilder, HashTable};

/// Where a resource was read from: the message, and the schema URL beside it.
pub(super) type Source<'a> = [&'a [u8]; 2];

/// The resources.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Of each entry: the parts of its source, then its service.
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Entry {
    hash: u64,
    source: [Range<usize>; 2],
    service: Range<usize>,
    list: u32,
    key: u64,
}

/// What reading a resource gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read<'a> {
    /// Place of its attributes among the distinct lists.
    pub(super) list: u32,
    /// Its `resource_key`.
    pub(super) key: u64,
    /// Its `service.name` as text.
    pub(super) service: &'a [u8],
}

impl Known {
    /// What reading `source` gave.
    pub(super) fn find(&self, source: Source<'_>) -> Option<Read<'_>> {
        if self.entries.is_empty() {
            return None;
        }
        let hash = self.hash(source);
        let is_it = |at: &u32| {
            let entry = &self.entries[*at as usize];
            entry.hash == hash && [0, 1].iter().all(|part| self.bytes[entry.source[*part].clone()] == *source[*part])
        };
        let entry = &self.entries[*self.table.find(hash, is_it)? as usize];
        Some(Read { list: entry.list, key: entry.key, service: &self.bytes[entry.service.clone()] })
    }

    /// Keeps what reading `source`, which is not known, gave.
    pub(super) fn insert(&mut self, source: Source<'_>, read: Read<'_>) {
        let hash = self.hash(source);
        let Ok(at) = u32::try_from(self.entries.len()) else { return };
        let source = [self.push(source[0]), self.push(source[1])];
        let service = self.push(read.service);
        self.entries.push(Entry { hash, source, service, list: read.list, key: read.key });
        let entries = &self.entries;
        self.table.insert_unique(hash, at, |at| entries[*at as usize].hash);
    }

    /// Bytes of all that is kept.
    pub(super) fn kept_bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.table.clear();
    }

    fn push(&mut self, bytes: &[u8]) -> Range<usize> {
        let from = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        from..self.bytes.len()
    }

    fn hash(&self, source: Source<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write_usize(source[0].len());
        hasher.write(source[0]);
        hasher.write(source[1]);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_told_apart_by_their_bytes_and_by_where_their_parts_end() {
        let mut known = Known::default();
        let sources: [Source<'_>; 4] = [[b"ab", b"c"], [b"a", b"bc"], [b"", b""], [b"abc", b""]];
        for (list, source) in (0..).zip(sources) {
            assert_eq!(known.find(source), None);
            known.insert(source, Read { list, key: u64::from(list) * 7, service: &[b'a' + list as u8] });
        }
        for (list, source) in (0..).zip(sources) {
            let read = Read { list, key: u64::from(list) * 7, service: &[b'a' + list as u8] };
            assert_eq!(known.find(source), Some(read));
        }
        assert_eq!(known.find([b"abd", b""]), None);
        known.clear();
        assert_eq!((known.find([b"ab", b"c"]), known.kept_bytes()), (None, 0));
    }
}
