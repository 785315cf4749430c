//! The distinct values of a column chunk, as its pages and statistics need them.
//!
//! Duty: [`Values`], and what implements it: text, ids, numbers and flags. Guarantee: order, bytes and statistics are
//! those of the column's Parquet type. Left to others: which rows have which value (`pages`).

use std::cmp::Ordering;

use arrow::array::{Array as _, BinaryArray, StringArray, StringViewArray};
use parquet::bloom_filter::Sbbf;
use parquet::data_type::{ByteArray, FixedLenByteArray};
use parquet::file::statistics::{Statistics, ValueStatistics};

use super::bounds::{truncated_max, truncated_min};

/// Values, each known by its key.
pub(super) trait Values {
    /// Number of keys.
    fn len(&self) -> usize;
    /// Bytes of a value in PLAIN encoding.
    fn size(&self, key: u32) -> usize;
    /// Appends a value in PLAIN encoding.
    fn put(&self, key: u32, out: &mut Vec<u8>);
    /// Whether values differ in length.
    fn is_text(&self) -> bool {
        false
    }
    /// Bytes of a value, if values differ in length.
    fn text_bytes(&self, _key: u32) -> usize {
        0
    }
    /// The order of statistics; `None` where one of both takes no part in them.
    fn order(&self, a: u32, b: u32) -> Option<Ordering>;
    /// Adds a value to a filter.
    fn insert(&self, key: u32, filter: &mut Sbbf);
    /// Bounds for a page's entry in the column index.
    fn bounds(&self, min: u32, max: u32) -> (Vec<u8>, Vec<u8>);
    /// Statistics of the chunk.
    fn statistics(&self, range: Option<(u32, u32)>, nulls: u64) -> Statistics;
}

/// Text.
#[derive(Debug)]
pub(super) struct Words<'a>(pub(super) &'a StringArray);

impl Words<'_> {
    fn word(&self, key: u32) -> &str {
        self.0.value(key as usize)
    }
}

impl Values for Words<'_> {
    fn len(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn size(&self, key: u32) -> usize {
        4 + self.0.value_length(key as usize) as usize
    }

    #[inline]
    fn put(&self, key: u32, out: &mut Vec<u8>) {
        let word = self.word(key).as_bytes();
        out.extend_from_slice(&(word.len() as u32).to_le_bytes());
        out.extend_from_slice(word);
    }

    fn is_text(&self) -> bool {
        true
    }

    #[inline]
    fn text_bytes(&self, key: u32) -> usize {
        self.0.value_length(key as usize) as usize
    }

    fn order(&self, a: u32, b: u32) -> Option<Ordering> {
        Some(self.word(a).cmp(self.word(b)))
    }

    fn insert(&self, key: u32, filter: &mut Sbbf) {
        filter.insert(self.word(key));
    }

    fn bounds(&self, min: u32, max: u32) -> (Vec<u8>, Vec<u8>) {
        (truncated_min(self.word(min)).0, truncated_max(self.word(max)).0)
    }

    fn statistics(&self, range: Option<(u32, u32)>, nulls: u64) -> Statistics {
        let Some((min, max)) = range else {
            return Statistics::ByteArray(ValueStatistics::new(None, None, None, Some(nulls), false));
        };
        let ((min, min_cut), (max, max_cut)) = (truncated_min(self.word(min)), truncated_max(self.word(max)));
        let (min, max) = (ByteArray::from(min), ByteArray::from(max));
        let statistics = ValueStatistics::new(Some(min), Some(max), None, Some(nulls), false);
        Statistics::ByteArray(statistics.with_min_is_exact(!min_cut).with_max_is_exact(!max_cut))
    }
}

/// Texts or bytes that have no key but their place.
#[derive(Debug)]
pub(super) struct Blobs<'a>(pub(super) Bytes<'a>);

/// Where they lie.
#[derive(Debug)]
pub(super) enum Bytes<'a> {
    Text(&'a StringViewArray),
    Binary(&'a BinaryArray),
}

impl Blobs<'_> {
    #[inline]
    fn blob(&self, key: u32) -> &[u8] {
        match self.0 {
            Bytes::Text(texts) => texts.value(key as usize).as_bytes(),
            Bytes::Binary(blobs) => blobs.value(key as usize),
        }
    }
}

impl Values for Blobs<'_> {
    fn len(&self) -> usize {
        match self.0 {
            Bytes::Text(texts) => texts.len(),
            Bytes::Binary(blobs) => blobs.len(),
        }
    }

    fn size(&self, key: u32) -> usize {
        4 + self.blob(key).len()
    }

    #[inline]
    fn put(&self, key: u32, out: &mut Vec<u8>) {
        let blob = self.blob(key);
        out.extend_from_slice(&(blob.len() as u32).to_le_bytes());
        out.extend_from_slice(blob);
    }

    fn is_text(&self) -> bool {
        true
    }

    fn text_bytes(&self, key: u32) -> usize {
        self.blob(key).len()
    }

    fn order(&self, a: u32, b: u32) -> Option<Ordering> {
        Some(self.blob(a).cmp(self.blob(b)))
    }

    fn insert(&self, key: u32, filter: &mut Sbbf) {
        filter.insert(self.blob(key));
    }

    fn bounds(&self, min: u32, max: u32) -> (Vec<u8>, Vec<u8>) {
        (self.blob(min).to_vec(), self.blob(max).to_vec())
    }

    fn statistics(&self, range: Option<(u32, u32)>, nulls: u64) -> Statistics {
        let of = |key: u32| ByteArray::from(self.blob(key).to_vec());
        let (min, max) = range.map(|(min, max)| (of(min), of(max))).unzip();
        Statistics::ByteArray(ValueStatistics::new(min, max, None, Some(nulls), false))
    }
}

/// Ids of `N` bytes.
#[derive(Debug)]
pub(super) struct Ids<'a, const N: usize>(pub(super) &'a [[u8; N]]);

impl<const N: usize> Values for Ids<'_, N> {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn size(&self, _key: u32) -> usize {
        N
    }

    fn put(&self, key: u32, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0[key as usize]);
    }

    fn order(&self, a: u32, b: u32) -> Option<Ordering> {
        Some(self.0[a as usize].cmp(&self.0[b as usize]))
    }

    fn insert(&self, key: u32, filter: &mut Sbbf) {
        filter.insert(&self.0[key as usize][..]);
    }

    fn bounds(&self, min: u32, max: u32) -> (Vec<u8>, Vec<u8>) {
        (self.0[min as usize].to_vec(), self.0[max as usize].to_vec())
    }

    fn statistics(&self, range: Option<(u32, u32)>, nulls: u64) -> Statistics {
        let of = |key: u32| FixedLenByteArray::from(self.0[key as usize].to_vec());
        let (min, max) = range.map(|(min, max)| (of(min), of(max))).unzip();
        Statistics::FixedLenByteArray(ValueStatistics::new(min, max, None, Some(nulls), false))
    }
}

/// What the bits of a number mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Up to 32 bits, without sign: INT32.
    Unsigned32,
    /// INT64 without sign.
    Unsigned64,
    /// INT64.
    Signed64,
    /// DOUBLE.
    Double,
}

/// Numbers, by their bits.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    pub(super) bits: &'a [u64],
    pub(super) kind: Kind,
}

impl Numbers<'_> {
    /// Parquet: a zero is −0 as a lower bound and +0 as an upper one.
    fn bound(&self, key: u32, zero: f64) -> u64 {
        let bits = self.bits[key as usize];
        let is_zero = self.kind == Kind::Double && f64::from_bits(bits) == 0.0;
        if is_zero { zero.to_bits() } else { bits }
    }

    fn bytes(&self, bits: u64) -> ([u8; 8], usize) {
        (bits.to_le_bytes(), if self.kind == Kind::Unsigned32 { 4 } else { 8 })
    }
}

impl Values for Numbers<'_> {
    fn len(&self) -> usize {
        self.bits.len()
    }

    fn size(&self, _key: u32) -> usize {
        if self.kind == Kind::Unsigned32 { 4 } else { 8 }
    }

    fn put(&self, key: u32, out: &mut Vec<u8>) {
        let (bytes, len) = self.bytes(self.bits[key as usize]);
        out.extend_from_slice(&bytes[..len]);
    }

    fn order(&self, a: u32, b: u32) -> Option<Ordering> {
        let (a, b) = (self.bits[a as usize], self.bits[b as usize]);
        match self.kind {
            Kind::Unsigned32 | Kind::Unsigned64 => Some(a.cmp(&b)),
            Kind::Signed64 => Some(a.cast_signed().cmp(&b.cast_signed())),
            Kind::Double => f64::from_bits(a).partial_cmp(&f64::from_bits(b)),
        }
    }

    fn insert(&self, key: u32, filter: &mut Sbbf) {
        let (bytes, len) = self.bytes(self.bits[key as usize]);
        filter.insert(&bytes[..len]);
    }

    fn bounds(&self, min: u32, max: u32) -> (Vec<u8>, Vec<u8>) {
        let of = |bits| {
            let (bytes, len) = self.bytes(bits);
            bytes[..len].to_vec()
        };
        (of(self.bound(min, -0.0)), of(self.bound(max, 0.0)))
    }

    fn statistics(&self, range: Option<(u32, u32)>, nulls: u64) -> Statistics {
        let (min, max) = range.map(|(min, max)| (self.bound(min, -0.0), self.bound(max, 0.0))).unzip();
        let nulls = Some(nulls);
        match self.kind {
            // The column is unsigned, and its statistics are of the signed type that stores it.
            #[allow(clippy::cast_possible_truncation, reason = "the values have 32 bits")]
            Kind::Unsigned32 => {
                let of = |bits: u64| (bits as u32).cast_signed();
                Statistics::Int32(ValueStatistics::new(min.map(of), max.map(of), None, nulls, false))
            }
            Kind::Unsigned64 => {
                let (min, max) = (min.map(u64::cast_signed), max.map(u64::cast_signed));
                Statistics::Int64(ValueStatistics::new(min, max, None, nulls, false))
            }
            Kind::Signed64 => {
                let (min, max) = (min.map(u64::cast_signed), max.map(u64::cast_signed));
                let statistics = ValueStatistics::new(min, max, None, nulls, false);
                Statistics::Int64(statistics.with_backwards_compatible_min_max(true))
            }
            Kind::Double => {
                let statistics =
                    ValueStatistics::new(min.map(f64::from_bits), max.map(f64::from_bits), None, nulls, false);
                Statistics::Double(statistics.with_backwards_compatible_min_max(true))
            }
        }
    }
}

/// No values.
#[derive(Debug)]
pub(super) struct Nothing {
    pub(super) is_text: bool,
}

impl Values for Nothing {
    fn len(&self) -> usize {
        0
    }

    fn is_text(&self) -> bool {
        self.is_text
    }

    fn size(&self, _key: u32) -> usize {
        0
    }

    fn put(&self, _key: u32, _out: &mut Vec<u8>) {}

    fn order(&self, _a: u32, _b: u32) -> Option<Ordering> {
        None
    }

    fn insert(&self, _key: u32, _filter: &mut Sbbf) {}

    fn bounds(&self, _min: u32, _max: u32) -> (Vec<u8>, Vec<u8>) {
        (Vec::new(), Vec::new())
    }

    fn statistics(&self, _range: Option<(u32, u32)>, nulls: u64) -> Statistics {
        Statistics::ByteArray(ValueStatistics::new(None, None, None, Some(nulls), false))
    }
}

/// False and true, whose keys are 0 and 1.
#[derive(Debug)]
pub(super) struct Flags;

impl Values for Flags {
    fn len(&self) -> usize {
        2
    }

    fn size(&self, _key: u32) -> usize {
        1
    }

    fn put(&self, key: u32, out: &mut Vec<u8>) {
        out.push(key as u8);
    }

    fn order(&self, a: u32, b: u32) -> Option<Ordering> {
        Some(a.cmp(&b))
    }

    fn insert(&self, _key: u32, _filter: &mut Sbbf) {}

    fn bounds(&self, min: u32, max: u32) -> (Vec<u8>, Vec<u8>) {
        (vec![min as u8], vec![max as u8])
    }

    fn statistics(&self, range: Option<(u32, u32)>, nulls: u64) -> Statistics {
        let (min, max) = range.map(|(min, max)| (min != 0, max != 0)).unzip();
        Statistics::Boolean(ValueStatistics::new(min, max, None, Some(nulls), false))
    }
}
