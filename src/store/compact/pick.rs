//! Picking rows of several arrays as one array.
//!
//! Duty: [`Cells`], a column that knows whether all its rows are alike, and [`pick`] of columns as a `Vocabulary`
//! carries them. Guarantee: the rows come in the order they are named; a column that is alike in all arrays is not
//! looked at row by row. Left to others: which rows.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray as _, BooleanArray, FixedSizeBinaryArray, Int32Array, ListArray,
    PrimitiveArray, StructArray, UInt32Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::compute::{cast, interleave, take};
use arrow::datatypes::{
    DataType, Field, Float64Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;

use super::vocabulary::{Shape, Vocabulary};
use crate::store::part::{ids_of, is_empty};

/// A row: the number of its array, and its place in it.
pub type At = (u32, u32);

/// The rows of a column.
#[derive(Clone, Debug)]
pub enum Cells {
    /// All are like the one row of this array.
    Same(ArrayRef),
    /// One after the other.
    Each(ArrayRef),
}

impl Cells {
    /// Those of `array`, looked through.
    pub fn of(array: ArrayRef) -> Result<Self, ArrowError> {
        match is_same(&array) {
            // Not a slice, which would hold all rows.
            true => Ok(Self::Same(take(&array, &UInt32Array::from(vec![0]), None)?)),
            false => Ok(Self::Each(array)),
        }
    }

    /// As an array of `rows` rows.
    pub fn each(&self, rows: usize) -> Result<ArrayRef, ArrowError> {
        match self {
            Self::Each(array) => Ok(array.clone()),
            Self::Same(one) if one.null_count() == 1 => Ok(arrow::array::new_null_array(one.data_type(), rows)),
            Self::Same(one) => match one.data_type() {
                DataType::Int32 => {
                    let number = one.as_primitive::<Int32Type>().value(0);
                    Ok(Arc::new(Int32Array::from(vec![number; rows])))
                }
                // Lists are alike only where they have no elements, and to take them is slow.
                DataType::List(item) => {
                    let (offsets, values) = (OffsetBuffer::new_zeroed(rows), one.as_list::<i32>().values().slice(0, 0));
                    Ok(Arc::new(ListArray::try_new(item.clone(), offsets, values, None)?))
                }
                _ => take(one, &UInt32Array::from(vec![0; rows]), None),
            },
        }
    }

    /// The array and the place in it of a row.
    pub fn at(&self, row: usize) -> (&ArrayRef, usize) {
        match self {
            Self::Each(array) => (array, row),
            Self::Same(one) => (one, 0),
        }
    }
}

/// Whether all rows surely are alike, bit by bit.
fn is_same(array: &ArrayRef) -> bool {
    let (rows, nulls) = (array.len(), array.null_count());
    if rows == 0 || nulls > 0 {
        return rows > 0 && nulls == rows;
    }
    match array.data_type() {
        DataType::Boolean => matches!(array.as_boolean().true_count(), set if set == 0 || set == rows),
        DataType::List(_) => is_empty(array.as_list()),
        of => {
            let Some(width) = of.primitive_width() else { return false };
            let data = array.to_data();
            let bytes = &data.buffers()[0].as_slice()[data.offset() * width..][..rows * width];
            bytes[width..] == bytes[..bytes.len() - width]
        }
    }
}

/// The rows `rows` of a column of shape `shape`, of which each of `columns` has the number of rows beside it.
pub fn pick(
    shape: &Shape,
    columns: &[(&Cells, usize)],
    rows: &[At],
    vocabulary: &Vocabulary,
) -> Result<Cells, ArrowError> {
    if let Some((Cells::Same(first), _)) = columns.first() {
        let is_like = |cells: &Cells| matches!(cells, Cells::Same(one) if one.as_ref() == first.as_ref());
        if columns.iter().all(|(cells, _)| is_like(cells)) {
            return Ok(Cells::Same(first.clone()));
        }
    }
    let arrays = columns.iter().map(|(cells, rows)| cells.each(*rows)).collect::<Result<Vec<_>, _>>()?;
    picked(shape, &arrays.iter().collect::<Vec<_>>(), rows, vocabulary).map(Cells::Each)
}

fn picked(shape: &Shape, arrays: &[&ArrayRef], rows: &[At], vocabulary: &Vocabulary) -> Result<ArrayRef, ArrowError> {
    if rows.is_empty() {
        return Ok(arrays[0].slice(0, 0));
    }
    match shape {
        Shape::Word(word) => words(*word, arrays, rows, vocabulary),
        Shape::List(item) => lists(item, arrays, rows, vocabulary),
        Shape::Struct(items) => {
            let column = |(at, item): (usize, &Shape)| {
                let columns: Vec<&ArrayRef> = arrays.iter().map(|array| array.as_struct().column(at)).collect();
                picked(item, &columns, rows, vocabulary)
            };
            let columns = items.iter().enumerate().map(column).collect::<Result<Vec<_>, _>>()?;
            let fields = arrays[0].as_struct().fields().iter().zip(&columns);
            let fields = fields.map(|(f, column)| f.as_ref().clone().with_data_type(column.data_type().clone()));
            let nulls = nulls(arrays, rows);
            Ok(Arc::new(StructArray::try_new_with_length(fields.collect(), columns, nulls, rows.len())?))
        }
        Shape::Flat => flat(arrays, rows),
    }
}

/// Numbers, or text where one of the arrays has text.
fn words(word: usize, arrays: &[&ArrayRef], rows: &[At], vocabulary: &Vocabulary) -> Result<ArrayRef, ArrowError> {
    if arrays.iter().all(|array| *array.data_type() == DataType::Int32) {
        return Ok(primitive::<Int32Type>(arrays, rows));
    }
    let text = |array: &&ArrayRef| match array.data_type() {
        DataType::Int32 => cast(&vocabulary.words(word, array.as_primitive())?, &DataType::Utf8View),
        _ => Ok((*array).clone()),
    };
    let texts = arrays.iter().map(text).collect::<Result<Vec<_>, _>>()?;
    interleaved(&texts.iter().collect::<Vec<_>>(), rows)
}

fn lists(item: &Shape, arrays: &[&ArrayRef], rows: &[At], vocabulary: &Vocabulary) -> Result<ArrayRef, ArrowError> {
    let of: Vec<&ListArray> = arrays.iter().map(|array| array.as_list()).collect();
    let nulls = nulls(arrays, rows);
    let mut elements: Vec<At> = Vec::new();
    let mut ends: Vec<i32> = Vec::with_capacity(rows.len() + 1);
    ends.push(0);
    for (at, (array, row)) in rows.iter().enumerate() {
        if nulls.as_ref().is_none_or(|nulls| nulls.is_valid(at)) {
            let offsets = of[*array as usize].value_offsets();
            let (from, to) = (offsets[*row as usize], offsets[*row as usize + 1]);
            elements.extend((from.cast_unsigned()..to.cast_unsigned()).map(|element| (*array, element)));
        }
        ends.push(i32::try_from(elements.len()).map_err(|_| ArrowError::OffsetOverflowError(elements.len()))?);
    }
    let values: Vec<&ArrayRef> = of.iter().map(|lists| lists.values()).collect();
    let values = picked(item, &values, &elements, vocabulary)?;
    let field = Arc::new(Field::new("item", values.data_type().clone(), false));
    Ok(Arc::new(ListArray::try_new(field, OffsetBuffer::new(ends.into()), values, nulls)?))
}

fn flat(arrays: &[&ArrayRef], rows: &[At]) -> Result<ArrayRef, ArrowError> {
    Ok(match arrays[0].data_type() {
        DataType::Int64 => primitive::<Int64Type>(arrays, rows),
        DataType::UInt8 => primitive::<UInt8Type>(arrays, rows),
        DataType::UInt16 => primitive::<UInt16Type>(arrays, rows),
        DataType::UInt32 => primitive::<UInt32Type>(arrays, rows),
        DataType::UInt64 => primitive::<UInt64Type>(arrays, rows),
        DataType::Float64 => primitive::<Float64Type>(arrays, rows),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => primitive::<TimestampNanosecondType>(arrays, rows),
        DataType::Timestamp(TimeUnit::Microsecond, _) => primitive::<TimestampMicrosecondType>(arrays, rows),
        DataType::FixedSizeBinary(16) => ids::<16>(arrays, rows),
        DataType::FixedSizeBinary(8) => ids::<8>(arrays, rows),
        DataType::Boolean => {
            let flags: Vec<&BooleanArray> = arrays.iter().map(|array| array.as_boolean()).collect();
            let set = |at: usize| flags[rows[at].0 as usize].values().value(rows[at].1 as usize);
            Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows.len(), set), nulls(arrays, rows)))
        }
        _ => interleaved(arrays, rows)?,
    })
}

fn primitive<T: ArrowPrimitiveType>(arrays: &[&ArrayRef], rows: &[At]) -> ArrayRef {
    let values: Vec<&[T::Native]> = arrays.iter().map(|array| &array.as_primitive::<T>().values()[..]).collect();
    let picked: Vec<T::Native> = rows.iter().map(|(array, row)| values[*array as usize][*row as usize]).collect();
    let of = arrays[0].data_type().clone();
    Arc::new(PrimitiveArray::<T>::new(picked.into(), nulls(arrays, rows)).with_data_type(of))
}

fn ids<const N: usize>(arrays: &[&ArrayRef], rows: &[At]) -> ArrayRef {
    let values: Vec<&[[u8; N]]> = arrays.iter().map(|array| ids_of(array.as_fixed_size_binary())).collect();
    let picked: Vec<[u8; N]> = rows.iter().map(|(array, row)| values[*array as usize][*row as usize]).collect();
    let width = i32::try_from(N).expect("ids have 8 or 16 bytes");
    let nulls = nulls(arrays, rows);
    Arc::new(FixedSizeBinaryArray::new(width, Buffer::from_vec(picked.into_flattened()), nulls))
}

fn interleaved(arrays: &[&ArrayRef], rows: &[At]) -> Result<ArrayRef, ArrowError> {
    let arrays: Vec<&dyn Array> = arrays.iter().map(|array| array.as_ref()).collect();
    let rows: Vec<(usize, usize)> = rows.iter().map(|(array, row)| (*array as usize, *row as usize)).collect();
    interleave(&arrays, &rows)
}

fn nulls(arrays: &[&ArrayRef], rows: &[At]) -> Option<NullBuffer> {
    let nulls: Vec<Option<&NullBuffer>> =
        arrays.iter().map(|array| array.nulls().filter(|nulls| nulls.null_count() > 0)).collect();
    if nulls.iter().all(Option::is_none) {
        return None;
    }
    let is_valid = |at: usize| {
        let (array, row) = rows[at];
        nulls[array as usize].is_none_or(|nulls| nulls.is_valid(row as usize))
    };
    Some(NullBuffer::new(BooleanBuffer::collect_bool(rows.len(), is_valid)))
}
