//! Chunks of columns, written from keys.
//!
//! Duty: [`Chunks`]: an array of a column, the finished bytes and metadata of the chunks of its leaves. Guarantee: what a
//! reader sees is what the `parquet` crate's writer would have written: of flat columns byte for byte unless a dictionary
//! becomes too large, of lists with pages that end with zones. That writer hashes, compares and filters every value of
//! every row, this one the distinct ones, and it makes the levels of lists once a leaf. Left to others: lists that may be
//! null or have statistics, and integers whose dictionary becomes too large ([`super::Writer`] has the crate write
//! them), the place in the file.

mod bounds;
mod column;
mod compress;
mod delta;
mod hybrid;
mod intern;
mod nested;
mod pages;
#[cfg(test)]
mod tests;
mod values;

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray as _, BooleanArray, FixedSizeBinaryArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use bytes::Bytes;
use parquet::basic::{Encoding, Type, ZstdLevel};
use parquet::bloom_filter::Sbbf;
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::ParquetError;
use parquet::file::properties::EnabledStatistics;
use parquet::schema::types::ColumnDescPtr;

use super::columns::{Leaf, flat_leaf, list_leaves};
use super::group::is_empty;
use column::Column;
use compress::Compressor;
pub(super) use intern::{Traces, traces};
pub use intern::{Words, ids_of};

use pages::Pages;
use values::{Blobs, Flags, Ids, Kind, Nothing, Numbers, Values};

/// A column chunk.
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) close: ColumnCloseResult,
}

/// Writes chunks, one after the other.
pub(super) struct Chunks {
    compressor: Compressor,
    bloom_fpp: f64,
}

impl std::fmt::Debug for Chunks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Chunks").field("level", &self.compressor.level()).finish_non_exhaustive()
    }
}

/// One chunk to be written.
struct Order<'a> {
    leaf: Leaf,
    descr: ColumnDescPtr,
    compressor: &'a mut Compressor,
    filter: Option<(Sbbf, f64)>,
}

impl Chunks {
    pub(super) fn new(level: ZstdLevel, bloom_fpp: f64) -> Result<Self, ParquetError> {
        Ok(Self { compressor: Compressor::new(level)?, bloom_fpp })
    }

    /// The chunk of `array` as the column `field` of the file, which is described by `descr`; `None` if it is of those
    /// that are left to others. `filter_rows` is what a bloom filter is made for.
    pub(super) fn chunk(
        &mut self,
        field: &Field,
        descr: &ColumnDescPtr,
        array: &ArrayRef,
        filter_rows: usize,
    ) -> Result<Option<Chunk>, ParquetError> {
        if field.data_type().is_nested() {
            return Ok(None);
        }
        let rows = Entries { nulls: array.nulls(), nullable: field.is_nullable(), lists: None };
        self.order(flat_leaf(field), descr, filter_rows)?.write(array, &rows)
    }

    /// The chunk of the column `field` of the ids `traces`.
    pub(super) fn traces(
        &mut self,
        field: &Field,
        descr: &ColumnDescPtr,
        traces: &Traces,
        filter_rows: usize,
    ) -> Result<Chunk, ParquetError> {
        let rows = Entries { nulls: None, nullable: field.is_nullable(), lists: None };
        self.order(flat_leaf(field), descr, filter_rows)?.keys(rows.column(&traces.keys), &Ids(&traces.values))
    }

    /// The chunks of the leaves of `lists`, the column `field`, of which `descrs` begins with the descriptions; `None` if
    /// they are of those that are left to others.
    pub(super) fn lists(
        &mut self,
        field: &Field,
        descrs: &[ColumnDescPtr],
        lists: &ArrayRef,
    ) -> Result<Option<Vec<Chunk>>, ParquetError> {
        let of = list_leaves(field);
        if !of.iter().all(are_plain) {
            return Ok(None);
        }
        let Some(leaves) = nested::leaves(field, lists) else { return Ok(None) };
        let mut chunks = Vec::with_capacity(of.len());
        for ((leaf, of), descr) in leaves.iter().zip(of).zip(descrs) {
            let (entries, nulls) = leaf.entries(widths(descr));
            let entries = Entries { nulls: nulls.as_ref(), nullable: true, lists: Some((leaf, &entries)) };
            match self.order(of, descr, 0)?.write(leaf.values, &entries)? {
                Some(chunk) => chunks.push(chunk),
                None => return Ok(None),
            }
        }
        Ok(Some(chunks))
    }

    fn order(&mut self, leaf: Leaf, descr: &ColumnDescPtr, filter_rows: usize) -> Result<Order<'_>, ParquetError> {
        let filter = match leaf.bloom {
            true => Some((Sbbf::new_with_ndv_fpp(filter_rows as u64, self.bloom_fpp)?, self.bloom_fpp)),
            false => None,
        };
        Ok(Order { leaf, descr: descr.clone(), compressor: &mut self.compressor, filter })
    }

    /// How the leaves of the column `field` are written if `array` has lists without elements alone, which need not be
    /// walked through leaf by leaf; `None` for others.
    pub(super) fn empty_leaves(field: &Field, array: &ArrayRef) -> Option<Vec<Leaf>> {
        let lists = array.as_list_opt::<i32>()?;
        let leaves = is_empty(lists).then(|| list_leaves(field))?;
        leaves.iter().all(are_plain).then_some(leaves)
    }

    /// The chunk of such a leaf, of `rows` lists.
    pub(super) fn empty(&mut self, leaf: &Leaf, descr: &ColumnDescPtr, rows: usize) -> Result<Chunk, ParquetError> {
        let values = Nothing { is_text: descr.physical_type() == Type::BYTE_ARRAY };
        let pages = Pages::new(&values, descr.clone(), leaf.statistics, &mut self.compressor);
        column::empty(rows, leaf, widths(descr), &values, pages)
    }

    /// Takes back the room of a chunk that is in the file.
    pub(super) fn reuse(&mut self, bytes: Bytes) {
        self.compressor.reuse(bytes);
    }
}

/// Whether nothing is said of the values of a leaf.
fn are_plain(leaf: &Leaf) -> bool {
    leaf.statistics == EnabledStatistics::None && !leaf.bloom
}

/// Bits of repetition and definition levels.
fn widths(descr: &ColumnDescPtr) -> [u32; 2] {
    [descr.max_rep_level(), descr.max_def_level()].map(|most| hybrid::width(most.unsigned_abs().into()))
}

/// What the entries of a leaf are, beside their values.
struct Entries<'a> {
    nulls: Option<&'a NullBuffer>,
    nullable: bool,
    /// They are elements of lists, not rows.
    lists: Option<(&'a nested::Leaf<'a>, &'a nested::Entries<'a>)>,
}

impl<'a> Entries<'a> {
    fn column(&self, keys: &'a [i32]) -> Column<'a> {
        Column { keys, nulls: self.nulls, nullable: self.nullable, lists: self.lists.map(|(_, entries)| entries) }
    }

    /// The keys of the entries, from those of the values of an array.
    fn spread<'k>(&self, keys: &'k [i32]) -> Cow<'k, [i32]> {
        match self.lists {
            Some((leaf, _)) => leaf.spread(|at| keys[at]).into(),
            None => keys.into(),
        }
    }

    /// Whether no entry has a value.
    fn are_null(&self) -> bool {
        self.nulls.is_some_and(|nulls| nulls.null_count() == nulls.len())
    }

    /// The same where each of `len` values has its place as its key.
    fn places(&self, len: usize) -> Result<Vec<i32>, ParquetError> {
        let len = i32::try_from(len).map_err(|error| ParquetError::External(Box::new(error)))?;
        if let (true, Some(nulls)) = (self.are_null(), self.nulls) {
            return Ok(vec![0; nulls.len()]);
        }
        Ok(match self.lists {
            Some((leaf, _)) => leaf.spread(|at| at as i32),
            None => (0..len).collect(),
        })
    }
}

impl Order<'_> {
    fn write(self, array: &ArrayRef, entries: &Entries<'_>) -> Result<Option<Chunk>, ParquetError> {
        match array.data_type() {
            DataType::Dictionary(_, of) if **of == DataType::Utf8 => {
                let words = array.as_dictionary::<Int32Type>();
                let values = words.values().as_string::<i32>();
                if values.null_count() > 0 {
                    return Ok(None);
                }
                self.keys(entries.column(&entries.spread(words.keys().values())), &values::Words(values)).map(Some)
            }
            DataType::Utf8View => match self.leaf.dictionary {
                Some(limit) => {
                    let interned = intern::words(array.as_string_view(), limit);
                    let words = values::Words(&interned.values);
                    self.keys(entries.column(&entries.spread(&interned.keys)), &words).map(Some)
                }
                None => self.each(&Blobs(values::Bytes::Text(array.as_string_view())), entries).map(Some),
            },
            DataType::Binary => self.each(&Blobs(values::Bytes::Binary(array.as_binary())), entries).map(Some),
            DataType::FixedSizeBinary(16) => self.ids::<16>(array.as_fixed_size_binary(), entries).map(Some),
            DataType::FixedSizeBinary(8) => self.ids::<8>(array.as_fixed_size_binary(), entries).map(Some),
            DataType::Boolean => self.flags(array.as_boolean(), entries).map(Some),
            _ => self.numbers(array, entries),
        }
    }

    fn numbers(self, array: &ArrayRef, entries: &Entries<'_>) -> Result<Option<Chunk>, ParquetError> {
        let nulls = array.nulls();
        match array.data_type() {
            DataType::UInt8 => {
                let numbers = array.as_primitive::<UInt8Type>().values().iter();
                self.bits(numbers.map(|number| u64::from(*number)), nulls, Kind::Unsigned32, entries)
            }
            DataType::UInt16 => {
                let numbers = array.as_primitive::<UInt16Type>().values().iter();
                self.bits(numbers.map(|number| u64::from(*number)), nulls, Kind::Unsigned32, entries)
            }
            DataType::UInt32 => {
                let numbers = array.as_primitive::<UInt32Type>().values().iter();
                self.bits(numbers.map(|number| u64::from(*number)), nulls, Kind::Unsigned32, entries)
            }
            DataType::UInt64 => {
                let numbers = array.as_primitive::<UInt64Type>().values().iter();
                self.bits(numbers.copied(), nulls, Kind::Unsigned64, entries)
            }
            DataType::Int64 => {
                let numbers = array.as_primitive::<Int64Type>().values().iter();
                self.bits(numbers.map(|number| number.cast_unsigned()), nulls, Kind::Signed64, entries)
            }
            DataType::Timestamp(TimeUnit::Nanosecond, _) => {
                let numbers = array.as_primitive::<TimestampNanosecondType>().values().iter();
                self.bits(numbers.map(|number| number.cast_unsigned()), nulls, Kind::Signed64, entries)
            }
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                let numbers = array.as_primitive::<TimestampMicrosecondType>().values().iter();
                self.bits(numbers.map(|number| number.cast_unsigned()), nulls, Kind::Signed64, entries)
            }
            DataType::Float64 => {
                let numbers = array.as_primitive::<Float64Type>().values().iter();
                self.bits(numbers.map(|number| number.to_bits()), nulls, Kind::Double, entries)
            }
            _ => Ok(None),
        }
    }

    fn bits(
        self,
        bits: impl Iterator<Item = u64> + Clone,
        nulls: Option<&NullBuffer>,
        kind: Kind,
        entries: &Entries<'_>,
    ) -> Result<Option<Chunk>, ParquetError> {
        let Some(limit) = self.leaf.dictionary else {
            let bits: Vec<u64> = if entries.are_null() { Vec::new() } else { bits.collect() };
            let values = Numbers { bits: &bits, kind };
            if self.leaf.encoding != Encoding::DELTA_BINARY_PACKED {
                return self.each(&values, entries).map(Some);
            }
            let keys = entries.places(bits.len())?;
            let pages = Pages::new(&values, self.descr, self.leaf.statistics, self.compressor);
            return column::delta(entries.column(&keys), &values, pages).map(Some);
        };
        let interned = intern::numbers(bits, nulls);
        let values = Numbers { bits: &interned.values, kind };
        // What would follow a full dictionary is not PLAIN.
        if self.leaf.encoding != Encoding::PLAIN && values.len() * values.size(0) >= limit {
            return Ok(None);
        }
        self.keys(entries.column(&entries.spread(&interned.keys)), &values).map(Some)
    }

    fn ids<const N: usize>(self, array: &FixedSizeBinaryArray, entries: &Entries<'_>) -> Result<Chunk, ParquetError> {
        let ids = ids_of::<N>(array);
        if self.leaf.dictionary.is_none() {
            return self.each(&Ids(ids), entries);
        }
        let interned = intern::ids(ids, array.nulls());
        self.keys(entries.column(&entries.spread(&interned.keys)), &Ids(&interned.values))
    }

    fn flags(self, array: &BooleanArray, entries: &Entries<'_>) -> Result<Chunk, ParquetError> {
        let keys: Vec<i32> = array.values().iter().map(i32::from).collect();
        let keys = entries.spread(&keys);
        column::flags(entries.column(&keys), Pages::new(&Flags, self.descr, self.leaf.statistics, self.compressor))
    }

    /// Each value is its own.
    fn each<V: Values>(self, values: &V, entries: &Entries<'_>) -> Result<Chunk, ParquetError> {
        let keys = entries.places(values.len())?;
        self.keys(entries.column(&keys), values)
    }

    fn keys<V: Values>(self, column: Column<'_>, values: &V) -> Result<Chunk, ParquetError> {
        let pages = Pages::new(values, self.descr, self.leaf.statistics, self.compressor);
        match self.leaf.dictionary {
            Some(limit) => column::dictionary(column, values, limit, self.filter, pages),
            None => column::plain(column, values, pages),
        }
    }
}
