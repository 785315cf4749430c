//! Chunks of flat columns, written from keys.
//!
//! Duty: [`Chunks`]: an array of a flat column, the finished bytes and metadata of its chunk. Guarantee: what a reader
//! sees is what the `parquet` crate's writer would have written, byte for byte unless a dictionary becomes too large;
//! that writer hashes, compares and filters every value of every row, this one the distinct ones. Left to others:
//! columns of lists and those in delta encoding ([`super::Writer`] has the crate write them), the place in the file.

mod bounds;
mod column;
mod compress;
mod hybrid;
mod intern;
mod pages;
#[cfg(test)]
mod tests;
mod values;

use arrow::array::{Array, ArrayRef, AsArray as _, BooleanArray, FixedSizeBinaryArray};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
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
use values::{Flags, Ids, Kind, Nothing, Numbers, Values};

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
        self.order(field, descr, filter_rows)?.write(array, field.is_nullable())
    }

    /// The chunk of the column `field` of the ids `traces`.
    pub(super) fn traces(
        &mut self,
        field: &Field,
        descr: &ColumnDescPtr,
        traces: &Traces,
        filter_rows: usize,
    ) -> Result<Chunk, ParquetError> {
        let column = Column { keys: &traces.keys, nulls: None, nullable: field.is_nullable() };
        self.order(field, descr, filter_rows)?.keys(column, &Ids(&traces.values))
    }

    fn order(&mut self, field: &Field, descr: &ColumnDescPtr, filter_rows: usize) -> Result<Order<'_>, ParquetError> {
        let leaf = flat_leaf(field);
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
        leaves.iter().all(|leaf| leaf.statistics == EnabledStatistics::None && !leaf.bloom).then_some(leaves)
    }

    /// The chunk of such a leaf, of `rows` lists.
    pub(super) fn empty(&mut self, leaf: &Leaf, descr: &ColumnDescPtr, rows: usize) -> Result<Chunk, ParquetError> {
        let values = Nothing { is_text: descr.physical_type() == Type::BYTE_ARRAY };
        let widths =
            [descr.max_rep_level(), descr.max_def_level()].map(|most| hybrid::width(most.unsigned_abs().into()));
        let pages = Pages::new(&values, descr.clone(), leaf.statistics, &mut self.compressor);
        column::empty(rows, leaf, widths, &values, pages)
    }

    /// Takes back the room of a chunk that is in the file.
    pub(super) fn reuse(&mut self, bytes: Bytes) {
        self.compressor.reuse(bytes);
    }
}

impl Order<'_> {
    fn write(self, array: &ArrayRef, nullable: bool) -> Result<Option<Chunk>, ParquetError> {
        let nulls = array.nulls();
        let limit = self.leaf.dictionary.unwrap_or(0);
        match array.data_type() {
            DataType::Dictionary(_, of) if **of == DataType::Utf8 => {
                let words = array.as_dictionary::<Int32Type>();
                let values = words.values().as_string::<i32>();
                if values.null_count() > 0 {
                    return Ok(None);
                }
                let column = Column { keys: words.keys().values(), nulls, nullable };
                self.keys(column, &values::Words(values)).map(Some)
            }
            DataType::Utf8View => {
                let interned = intern::words(array.as_string_view(), limit);
                let column = Column { keys: &interned.keys, nulls, nullable };
                self.keys(column, &values::Words(&interned.values)).map(Some)
            }
            DataType::FixedSizeBinary(16) => self.ids::<16>(array.as_fixed_size_binary(), nullable).map(Some),
            DataType::FixedSizeBinary(8) => self.ids::<8>(array.as_fixed_size_binary(), nullable).map(Some),
            DataType::Boolean => self.flags(array.as_boolean(), nullable).map(Some),
            _ if self.leaf.dictionary.is_some() => self.numbers(array, nullable),
            _ => Ok(None),
        }
    }

    fn numbers(self, array: &ArrayRef, nullable: bool) -> Result<Option<Chunk>, ParquetError> {
        let nulls = array.nulls();
        let (interned, kind) = match array.data_type() {
            DataType::UInt8 => {
                let bits = array.as_primitive::<UInt8Type>().values().iter().map(|number| u64::from(*number));
                (intern::numbers(bits, nulls), Kind::Unsigned32)
            }
            DataType::UInt16 => {
                let bits = array.as_primitive::<UInt16Type>().values().iter().map(|number| u64::from(*number));
                (intern::numbers(bits, nulls), Kind::Unsigned32)
            }
            DataType::UInt32 => {
                let bits = array.as_primitive::<UInt32Type>().values().iter().map(|number| u64::from(*number));
                (intern::numbers(bits, nulls), Kind::Unsigned32)
            }
            DataType::UInt64 => {
                let bits = array.as_primitive::<UInt64Type>().values().iter().copied();
                (intern::numbers(bits, nulls), Kind::Unsigned64)
            }
            DataType::Int64 => {
                let bits = array.as_primitive::<Int64Type>().values().iter().map(|number| number.cast_unsigned());
                (intern::numbers(bits, nulls), Kind::Signed64)
            }
            DataType::Float64 => {
                let bits = array.as_primitive::<Float64Type>().values().iter().map(|number| number.to_bits());
                (intern::numbers(bits, nulls), Kind::Double)
            }
            _ => return Ok(None),
        };
        let values = Numbers { bits: &interned.values, kind };
        // What would follow a full dictionary is not PLAIN.
        let bytes = values.len() * values.size(0);
        if self.leaf.encoding != Encoding::PLAIN && self.leaf.dictionary.is_none_or(|limit| bytes >= limit) {
            return Ok(None);
        }
        self.keys(Column { keys: &interned.keys, nulls, nullable }, &values).map(Some)
    }

    fn ids<const N: usize>(self, array: &FixedSizeBinaryArray, nullable: bool) -> Result<Chunk, ParquetError> {
        let nulls = array.nulls();
        let ids = ids_of::<N>(array);
        if self.leaf.dictionary.is_some() {
            let interned = intern::ids(ids, nulls);
            return self.keys(Column { keys: &interned.keys, nulls, nullable }, &Ids(&interned.values));
        }
        let rows = i32::try_from(ids.len()).map_err(|error| ParquetError::External(Box::new(error)))?;
        let keys: Vec<i32> = (0..rows).collect();
        self.keys(Column { keys: &keys, nulls, nullable }, &Ids(ids))
    }

    fn flags(self, array: &BooleanArray, nullable: bool) -> Result<Chunk, ParquetError> {
        let keys: Vec<i32> = array.values().iter().map(i32::from).collect();
        let column = Column { keys: &keys, nulls: array.nulls(), nullable };
        column::flags(column, Pages::new(&Flags, self.descr, self.leaf.statistics, self.compressor))
    }

    fn keys<V: Values>(self, column: Column<'_>, values: &V) -> Result<Chunk, ParquetError> {
        let pages = Pages::new(values, self.descr, self.leaf.statistics, self.compressor);
        match self.leaf.dictionary {
            Some(limit) => column::dictionary(column, values, limit, self.filter, pages),
            None => column::plain(column, values, pages),
        }
    }
}
