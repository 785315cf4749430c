//! Rows with the columns they are sorted by.
//!
//! Duty: [`Block`], a batch whose sort columns are at hand, and [`order`] over several. Guarantee: the order is
//! (bucket, service, name, start time), then span id and store position, so exact duplicates stand side by side and the
//! earliest first. Left to others: runs on disk (`spill`), duplicates (`same`).

use std::cmp::Ordering;
use std::collections::HashMap;

use arrow::array::{Array as _, ArrayData, AsArray as _, DictionaryArray, FixedSizeBinaryArray, RecordBatch};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{Int32Type, TimestampMicrosecondType, TimestampNanosecondType};

use super::plan::BUCKET_NS;

/// A batch in the columns of the output.
#[derive(Debug)]
pub struct Block {
    /// The rows.
    pub batch: RecordBatch,
    /// Memory it holds.
    pub bytes: usize,
    starts: ScalarBuffer<i64>,
    ingests: ScalarBuffer<i64>,
    spans: FixedSizeBinaryArray,
    services: DictionaryArray<Int32Type>,
    names: DictionaryArray<Int32Type>,
}

/// What a row is sorted by. Rows with equal keys but for `ingest` may be duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key<'a> {
    /// Start time div 5 minutes.
    pub bucket: i64,
    service: &'a str,
    name: &'a str,
    start: i64,
    span: &'a [u8],
    ingest: i64,
}

impl Key<'_> {
    /// Whether a row with the key `other` may be the same span.
    pub fn is_like(&self, other: &Self) -> bool {
        (self.start, self.span, self.name, self.service) == (other.start, other.span, other.name, other.service)
    }
}

impl Block {
    /// Of a batch that has the stored columns at least.
    pub fn new(batch: RecordBatch) -> Self {
        let column = |name: &str| batch.column_by_name(name).expect("a part has all stored columns");
        Self {
            starts: column("start_time").as_primitive::<TimestampNanosecondType>().values().clone(),
            ingests: column("ingest_time").as_primitive::<TimestampMicrosecondType>().values().clone(),
            spans: column("span_id").as_fixed_size_binary().clone(),
            services: column("service_name").as_dictionary::<Int32Type>().clone(),
            names: column("name").as_dictionary::<Int32Type>().clone(),
            bytes: batch.columns().iter().map(|column| held(&column.to_data())).sum(),
            batch,
        }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.batch.num_rows()
    }

    /// The key of a row.
    pub fn key(&self, row: usize) -> Key<'_> {
        Key {
            bucket: self.starts[row].div_euclid(BUCKET_NS),
            service: word(&self.services, row),
            name: word(&self.names, row),
            start: self.starts[row],
            span: self.spans.value(row),
            ingest: self.ingests[row],
        }
    }

    /// Memory that a row holds, on average.
    pub fn row_bytes(&self) -> usize {
        self.bytes / self.rows().max(1)
    }
}

/// Bytes in use. Not the size of the allocations: the arrays of a block of a run lie in one, and each would count it whole.
fn held(array: &ArrayData) -> usize {
    let nulls = array.nulls().map_or(0, |nulls| nulls.buffer().len());
    let buffers: usize = array.buffers().iter().map(Buffer::len).sum();
    nulls + buffers + array.child_data().iter().map(held).sum::<usize>()
}

fn word(words: &DictionaryArray<Int32Type>, row: usize) -> &str {
    words.values().as_string::<i32>().value(words.keys().value(row).cast_unsigned() as usize)
}

/// Sorts by numbers: a word's is its rank among all words of its column.
struct Entry {
    bucket: i64,
    service: u32,
    name: u32,
    start: i64,
    span: u64,
    ingest: i64,
    at: (u32, u32),
}

impl Entry {
    fn order(&self, other: &Self) -> Ordering {
        let of = |e: &Self| (e.bucket, e.service, e.name, e.start, e.span, e.ingest, e.at);
        of(self).cmp(&of(other))
    }
}

/// (block, row) of all rows of `blocks`, sorted.
pub fn order(blocks: &[std::sync::Arc<Block>]) -> Vec<(u32, u32)> {
    let services = ranks(blocks, |block| &block.services);
    let names = ranks(blocks, |block| &block.names);
    let mut entries = Vec::with_capacity(blocks.iter().map(|block| block.rows()).sum());
    for (at, block) in blocks.iter().enumerate() {
        let (service_keys, name_keys) = (block.services.keys().values(), block.names.keys().values());
        for row in 0..block.rows() {
            let span = block.spans.value(row).try_into().expect("span ids have 8 bytes");
            entries.push(Entry {
                bucket: block.starts[row].div_euclid(BUCKET_NS),
                service: services[at][service_keys[row].cast_unsigned() as usize],
                name: names[at][name_keys[row].cast_unsigned() as usize],
                start: block.starts[row],
                span: u64::from_be_bytes(span),
                ingest: block.ingests[row],
                at: (u32::try_from(at).expect("few blocks fit in memory"), u32::try_from(row).expect("few rows")),
            });
        }
    }
    entries.sort_unstable_by(Entry::order);
    entries.into_iter().map(|entry| entry.at).collect()
}

/// Per block and place in its dictionary, the rank of the word.
fn ranks(blocks: &[std::sync::Arc<Block>], of: impl Fn(&Block) -> &DictionaryArray<Int32Type>) -> Vec<Vec<u32>> {
    let words = |block: &Block| of(block).values().as_string::<i32>().clone();
    let all: Vec<_> = blocks.iter().map(|block| words(block)).collect();
    let mut distinct: Vec<&str> = all.iter().flat_map(|words| words.iter().flatten()).collect();
    distinct.sort_unstable();
    distinct.dedup();
    let rank: HashMap<&str, u32> = distinct.into_iter().zip(0..).collect();
    all.iter().map(|words| words.iter().map(|word| word.map_or(0, |word| rank[word])).collect()).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::store::samples;

    #[test]
    fn numbers_and_words_sort_alike() {
        let at = |seed: u64| {
            samples::batch_at(&[0, 7, 299_999_999_999, 300_000_000_000, 3, 5, -1, 4]).with_ingest_time(seed as i64)
        };
        let blocks: Vec<_> = (1..4).map(|seed| Arc::new(Block::new(at(seed)))).collect();
        let sorted = order(&blocks);
        assert_eq!(sorted.len(), 24);
        let key = |(block, row): (u32, u32)| blocks[block as usize].key(row as usize);
        for pair in sorted.windows(2) {
            assert!(key(pair[0]) <= key(pair[1]), "{:?} before {:?}", key(pair[0]), key(pair[1]));
        }
    }
}
