//! Rows with the columns they are sorted by.
//!
//! Duty: [`Block`], rows as a `Vocabulary` carries them whose sort columns are at hand, and [`order`] over several.
//! Guarantee: the order is (bucket, service, name, start time), then span id and store position, so exact duplicates
//! stand side by side and the earliest first. Left to others: runs on disk (`spill`), duplicates (`same`).

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayData, AsArray as _, FixedSizeBinaryArray, StringArray, StringViewArray};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{DataType, Int32Type, TimestampMicrosecondType, TimestampNanosecondType};
use arrow::error::ArrowError;

use super::pick::{At, Cells, pick};
use super::vocabulary::Vocabulary;
use crate::store::part::{BUCKET_NS, ids_of};

/// Rows in the columns of the output.
#[derive(Debug)]
pub struct Block {
    /// The columns.
    pub columns: Vec<Cells>,
    /// Memory it holds.
    pub bytes: usize,
    /// Memory that a row takes, on average.
    pub row_bytes: usize,
    rows: usize,
    starts: ScalarBuffer<i64>,
    ingests: ScalarBuffer<i64>,
    spans: FixedSizeBinaryArray,
    services: Named,
    names: Named,
}

/// A column of words that rows are sorted by.
#[derive(Debug)]
enum Named {
    Numbers(ScalarBuffer<i32>),
    Texts(StringViewArray),
}

/// What a row is sorted by. Rows with equal keys but for `ingest` may be duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key<'a> {
    bucket: i64,
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
    /// Of all columns of a row group, of `rows` rows.
    pub fn new(columns: Vec<Cells>, rows: usize, vocabulary: &Vocabulary) -> Result<Self, ArrowError> {
        let place = |name: &str| vocabulary.schema().index_of(name);
        let column = |name: &str| columns[place(name)?].each(rows);
        let named = |name: &str| -> Result<Named, ArrowError> {
            let column = column(name)?;
            Ok(match column.data_type() {
                DataType::Int32 => Named::Numbers(column.as_primitive::<Int32Type>().values().clone()),
                _ => Named::Texts(column.as_string_view().clone()),
            })
        };
        let bytes_of = |cells: &Cells| match cells {
            Cells::Same(_) => 0,
            Cells::Each(array) => held(&array.to_data()),
        };
        let bytes: usize = columns.iter().map(bytes_of).sum();
        Ok(Self {
            starts: column("start_time")?.as_primitive::<TimestampNanosecondType>().values().clone(),
            ingests: column("ingest_time")?.as_primitive::<TimestampMicrosecondType>().values().clone(),
            spans: column("span_id")?.as_fixed_size_binary().clone(),
            services: named("service_name")?,
            names: named("name")?,
            bytes,
            row_bytes: bytes / rows.max(1),
            rows,
            columns,
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn span(&self, row: usize) -> &[u8; 8] {
        &ids_of(&self.spans)[row]
    }

    /// The key of a row.
    pub fn key<'a>(&'a self, row: usize, vocabulary: &'a Vocabulary) -> Key<'a> {
        let text = |named: &'a Named, word: usize| match named {
            Named::Numbers(numbers) => vocabulary.texts(word).value(numbers[row].cast_unsigned() as usize),
            Named::Texts(texts) => texts.value(row),
        };
        let [service, name] = vocabulary.sorted_by();
        Key {
            bucket: self.starts[row].div_euclid(BUCKET_NS),
            service: text(&self.services, service),
            name: text(&self.names, name),
            start: self.starts[row],
            span: self.spans.value(row),
            ingest: self.ingests[row],
        }
    }
}

/// Bytes in use. Not the size of the allocations, which slices of one batch share.
fn held(array: &ArrayData) -> usize {
    let nulls = array.nulls().map_or(0, |nulls| nulls.buffer().len());
    let buffers: usize = array.buffers().iter().map(Buffer::len).sum();
    nulls + buffers + array.child_data().iter().map(held).sum::<usize>()
}

/// The rows `rows` of `blocks`.
pub fn picked(blocks: &[Arc<Block>], rows: &[At], vocabulary: &Vocabulary) -> Result<Vec<Cells>, ArrowError> {
    let column = |(at, shape)| {
        let columns: Vec<_> = blocks.iter().map(|block| (&block.columns[at], block.rows)).collect();
        pick(shape, &columns, rows, vocabulary)
    };
    vocabulary.shapes().iter().enumerate().map(column).collect()
}

/// Rows in their order.
#[derive(Debug)]
pub struct Order {
    rows: Vec<Placed>,
    buckets: Vec<i64>,
}

/// A row and its key as one number: places of bucket (32 bits) and words (28 bits each) among those of the rows, and
/// the start time within the bucket (40 bits).
#[derive(Clone, Copy, Debug)]
struct Placed {
    key: u128,
    at: At,
}

const WORD_BITS: u32 = 28;
const TIME_BITS: u32 = 40;

impl Order {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// A row: its block and its place there.
    pub fn at(&self, row: usize) -> At {
        self.rows[row].at
    }

    /// Start time div 5 minutes.
    pub fn bucket(&self, row: usize) -> i64 {
        self.buckets[(self.rows[row].key >> (2 * WORD_BITS + TIME_BITS)) as usize]
    }

    /// Whether row `row` may be the same span as the one before it.
    pub fn is_like_before(&self, row: usize, blocks: &[Arc<Block>]) -> bool {
        let span = |at: At| blocks[at.0 as usize].span(at.1 as usize);
        let [before, this] = [self.rows[row - 1], self.rows[row]];
        before.key == this.key && span(before.at) == span(this.at)
    }
}

/// The rows of `blocks`, of each those in the range beside it, sorted; `are_sorted`: those of each block come in order.
/// The vocabulary is settled.
pub fn order(blocks: &[(Arc<Block>, Range<usize>)], are_sorted: bool, vocabulary: &Vocabulary) -> Order {
    let [service, name] = vocabulary.sorted_by();
    let services = Ranks::new(blocks, |block| &block.services, service, vocabulary);
    let names = Ranks::new(blocks, |block| &block.names, name, vocabulary);
    let mut buckets: Vec<i64> = Vec::new();
    for (block, rows) in blocks {
        let mut last = Bucket::default();
        for start in &block.starts[rows.clone()] {
            if !last.holds(*start) {
                buckets.push(last.enter(*start));
            }
        }
    }
    buckets.sort_unstable();
    buckets.dedup();
    let mut placed = Vec::with_capacity(blocks.iter().map(|(_, rows)| rows.len()).sum());
    for ((block, rows), at) in blocks.iter().zip(0..) {
        let (mut last, mut place) = (Bucket::default(), 0);
        for row in rows.clone() {
            let start = block.starts[row];
            if !last.holds(start) {
                place = buckets.binary_search(&last.enter(start)).expect("all buckets were found above") as u128;
            }
            let key = place << WORD_BITS | u128::from(services.of(&block.services, row));
            let key = key << WORD_BITS | u128::from(names.of(&block.names, row));
            let key = key << TIME_BITS | u128::from(last.since(start));
            placed.push(Placed { key, at: (at, u32::try_from(row).expect("few rows of a block")) });
        }
    }
    match are_sorted {
        // This one finds what is in order.
        true => placed.sort_by_key(|row| row.key),
        false => placed.sort_unstable_by_key(|row| row.key),
    }
    for like in placed.chunk_by_mut(|a, b| a.key == b.key).filter(|like| like.len() > 1) {
        like.sort_unstable_by_key(|row| {
            let (block, at) = (&blocks[row.at.0 as usize].0, row.at.1 as usize);
            (*block.span(at), block.ingests[at], row.at)
        });
    }
    Order { rows: placed, buckets }
}

/// The bucket that was met last.
#[derive(Default)]
struct Bucket {
    /// First ns in it, and how many there are; none at first.
    first: i64,
    length: u64,
}

impl Bucket {
    fn holds(&self, start: i64) -> bool {
        start >= self.first && self.since(start) < self.length
    }

    /// ns since its beginning, of a time that is not before it.
    fn since(&self, start: i64) -> u64 {
        start.wrapping_sub(self.first).cast_unsigned()
    }

    fn enter(&mut self, start: i64) -> i64 {
        // The first bucket of time begins before it.
        self.first = start.wrapping_sub(start.rem_euclid(BUCKET_NS));
        self.length = BUCKET_NS.cast_unsigned();
        start.div_euclid(BUCKET_NS)
    }
}

/// Ranks of the words of a column.
enum Ranks<'a> {
    /// By number.
    Numbers(&'a [u32]),
    /// Some rows have text: by text, and by number.
    Texts(HashMap<&'a str, u32>, Vec<u32>),
}

impl<'a> Ranks<'a> {
    fn new(
        blocks: &'a [(Arc<Block>, Range<usize>)],
        of: impl Fn(&Block) -> &Named,
        word: usize,
        vocabulary: &'a Vocabulary,
    ) -> Self {
        let texts = blocks.iter().filter_map(|(block, rows)| match of(block) {
            Named::Numbers(_) => None,
            Named::Texts(texts) => Some(rows.clone().map(move |row| texts.value(row))),
        });
        let mut distinct: Vec<&str> = texts.flatten().collect();
        if distinct.is_empty() {
            return Self::Numbers(vocabulary.ranks(word));
        }
        let known: &StringArray = vocabulary.texts(word);
        distinct.extend(known.iter().flatten());
        distinct.sort_unstable();
        distinct.dedup();
        assert!(distinct.len() < 1 << WORD_BITS, "the words of rows in memory fit there as well");
        let ranks: HashMap<&str, u32> = distinct.into_iter().zip(0..).collect();
        let of_numbers = known.iter().flatten().map(|text| ranks[text]).collect();
        Self::Texts(ranks, of_numbers)
    }

    #[inline]
    fn of(&self, named: &Named, row: usize) -> u32 {
        match (self, named) {
            (Self::Numbers(ranks), Named::Numbers(numbers)) => ranks[numbers[row].cast_unsigned() as usize],
            (Self::Texts(_, ranks), Named::Numbers(numbers)) => ranks[numbers[row].cast_unsigned() as usize],
            (Self::Texts(ranks, _), Named::Texts(texts)) => ranks[texts.value(row)],
            (Self::Numbers(_), Named::Texts(_)) => unreachable!("all texts have ranks"),
        }
    }
}
