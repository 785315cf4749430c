//! Blocks of a sorted run as bytes.
//!
//! Duty: [`pack`] and [`unpack`] of columns as a `Vocabulary` carries them. Guarantee: the same rows come back, alike
//! columns as one row; bytes that are not those that were written are an error. Left to others: the file (`spill`).
//!
//! A block is the number of its rows (4 bytes), its columns, and the XXH3-64 of all before. A column is a byte that
//! tells whether it is one row for all; then an array. An array is a byte that says whether there are nulls, their bits,
//! then by type: numbers and ids as they are, numbers of words in as few bytes as the largest takes, text and bytes as
//! lengths and one piece, lists as lengths and the array of their elements, structs as the arrays of their children.
//! Little-endian throughout. Nothing of it outlives the process.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray as _, BinaryArray, BooleanArray, FixedSizeBinaryArray, Int32Array,
    ListArray, PrimitiveArray, StringArray, StringViewArray, StructArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowNativeType, DataType, Field, Fields, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    TimestampNanosecondType, ToByteSlice, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use twox_hash::XxHash3_64;

use super::pick::Cells;
use super::vocabulary::{Shape, Vocabulary};

/// How words are written: as text, or as numbers of so many bytes.
const TEXT: u8 = 0;

/// The bytes of a block of `rows` rows.
pub fn pack(columns: &[Cells], rows: usize, vocabulary: &Vocabulary) -> Result<Vec<u8>, ArrowError> {
    let mut out = Vec::with_capacity(rows * 128);
    length(rows, &mut out)?;
    for (cells, shape) in columns.iter().zip(vocabulary.shapes()) {
        // What was picked has not been looked through.
        let looked = match cells {
            Cells::Same(_) => cells.clone(),
            Cells::Each(array) => Cells::of(array.clone())?,
        };
        let (is_same, array) = match &looked {
            Cells::Same(one) => (1, one),
            Cells::Each(array) => (0, array),
        };
        out.push(is_same);
        put(array, shape, &mut out)?;
    }
    let sum = XxHash3_64::oneshot(&out);
    out.extend_from_slice(&sum.to_le_bytes());
    Ok(out)
}

fn length(length: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    let length = u32::try_from(length).map_err(|_| ArrowError::OffsetOverflowError(length))?;
    out.extend_from_slice(&length.to_le_bytes());
    Ok(())
}

fn put(array: &ArrayRef, shape: &Shape, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    match array.nulls().filter(|nulls| nulls.null_count() > 0) {
        None => out.push(0),
        Some(nulls) => {
            out.push(1);
            bits(nulls.inner(), out);
        }
    }
    match (shape, array.data_type()) {
        (Shape::Word(_), DataType::Int32) => numbers(array.as_primitive(), out),
        (Shape::List(item), _) => {
            let lists = array.as_list::<i32>();
            let offsets = lists.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[lists.len()] as usize);
            length(to - from, out)?;
            for ends in offsets.windows(2) {
                out.extend_from_slice(&(ends[1] - ends[0]).to_le_bytes());
            }
            put(&lists.values().slice(from, to - from), item, out)?;
        }
        (Shape::Struct(items), _) => {
            for (column, item) in array.as_struct().columns().iter().zip(items) {
                put(column, item, out)?;
            }
        }
        (_, DataType::Utf8View) => {
            if matches!(shape, Shape::Word(_)) {
                out.push(TEXT);
            }
            let texts = array.as_string_view();
            // The low half of a view is the length.
            let lengths = || texts.views().iter().map(|view| *view as u32);
            length(lengths().map(|length| length as usize).sum(), out)?;
            lengths().for_each(|length| out.extend_from_slice(&length.to_le_bytes()));
            (0..texts.len()).for_each(|row| out.extend_from_slice(texts.value(row).as_bytes()));
        }
        (_, DataType::Binary) => {
            let values = array.as_binary::<i32>();
            let offsets = values.value_offsets();
            let (from, to) = (offsets[0] as usize, offsets[values.len()] as usize);
            length(to - from, out)?;
            for ends in offsets.windows(2) {
                out.extend_from_slice(&(ends[1] - ends[0]).to_le_bytes());
            }
            out.extend_from_slice(&values.value_data()[from..to]);
        }
        (_, DataType::FixedSizeBinary(width)) => {
            let ids = array.as_fixed_size_binary();
            out.extend_from_slice(&ids.value_data()[..ids.len() * *width as usize]);
        }
        (_, DataType::Boolean) => bits(array.as_boolean().values(), out),
        (_, DataType::Int64) => raw::<Int64Type>(array, out),
        (_, DataType::UInt8) => raw::<UInt8Type>(array, out),
        (_, DataType::UInt16) => raw::<UInt16Type>(array, out),
        (_, DataType::UInt32) => raw::<UInt32Type>(array, out),
        (_, DataType::UInt64) => raw::<UInt64Type>(array, out),
        (_, DataType::Float64) => raw::<Float64Type>(array, out),
        (_, DataType::Timestamp(TimeUnit::Nanosecond, _)) => raw::<TimestampNanosecondType>(array, out),
        (_, DataType::Timestamp(TimeUnit::Microsecond, _)) => raw::<TimestampMicrosecondType>(array, out),
        (_, other) => unreachable!("spans have no column of type {other}: a new type of column needs a line here"),
    }
    Ok(())
}

fn bits(bits: &BooleanBuffer, out: &mut Vec<u8>) {
    out.extend_from_slice(&bits.sliced()[..bits.len().div_ceil(8)]);
}

fn raw<T: ArrowPrimitiveType>(array: &ArrayRef, out: &mut Vec<u8>) {
    out.extend_from_slice(array.as_primitive::<T>().values().to_byte_slice());
}

fn numbers(numbers: &Int32Array, out: &mut Vec<u8>) {
    let values = numbers.values();
    let bits = values.iter().fold(0, |bits, number| bits | number.cast_unsigned());
    if bits <= u8::MAX.into() {
        out.push(1);
        out.extend(values.iter().map(|number| *number as u8));
    } else if bits <= u16::MAX.into() {
        out.push(2);
        out.extend(values.iter().flat_map(|number| (*number as u16).to_le_bytes()));
    } else {
        out.push(4);
        out.extend_from_slice(values.to_byte_slice());
    }
}

/// The columns and the number of rows of a block. Errors: a sentence on what is wrong with the bytes.
pub fn unpack(bytes: &[u8], vocabulary: &Vocabulary) -> Result<(Vec<Cells>, usize), String> {
    let (block, sum) = bytes.split_last_chunk::<8>().ok_or("it is too short")?;
    if XxHash3_64::oneshot(block) != u64::from_le_bytes(*sum) {
        return Err("its bytes are not those that were written".to_owned());
    }
    let mut block = Taken { left: block };
    let rows = block.length()?;
    let fields = vocabulary.schema().fields().iter();
    let columns = fields.zip(vocabulary.shapes()).map(|(field, shape)| {
        let is_same = block.byte()? == 1;
        let array = block.array(shape, field.data_type(), if is_same { 1 } else { rows })?;
        Ok(if is_same { Cells::Same(array) } else { Cells::Each(array) })
    });
    Ok((columns.collect::<Result<_, String>>()?, rows))
}

/// What is left of a block.
struct Taken<'a> {
    left: &'a [u8],
}

impl<'a> Taken<'a> {
    fn bytes(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (taken, left) = self.left.split_at_checked(length).ok_or("it ends too early")?;
        self.left = left;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.bytes(1)?[0])
    }

    fn length(&mut self) -> Result<usize, String> {
        let bytes = self.bytes(4)?.first_chunk().expect("four bytes were taken");
        Ok(u32::from_le_bytes(*bytes) as usize)
    }

    fn buffer(&mut self, length: usize) -> Result<Buffer, String> {
        Ok(Buffer::from_slice_ref(self.bytes(length)?))
    }

    fn bits(&mut self, rows: usize) -> Result<BooleanBuffer, String> {
        Ok(BooleanBuffer::new(self.buffer(rows.div_ceil(8))?, 0, rows))
    }

    /// Offsets of `rows` values, from their lengths.
    fn offsets(&mut self, rows: usize) -> Result<OffsetBuffer<i32>, String> {
        let mut end = 0_i32;
        let mut offsets = Vec::with_capacity(rows + 1);
        offsets.push(0);
        for length in self.bytes(rows * 4)?.as_chunks::<4>().0 {
            end = end.checked_add(i32::from_le_bytes(*length)).ok_or("it is too long")?;
            offsets.push(end);
        }
        Ok(OffsetBuffer::new(offsets.into()))
    }

    fn array(&mut self, shape: &Shape, of: &DataType, rows: usize) -> Result<ArrayRef, String> {
        let nulls = match self.byte()? {
            0 => None,
            _ => Some(NullBuffer::new(self.bits(rows)?)),
        };
        let wrong = |error: ArrowError| error.to_string();
        Ok(match (shape, of) {
            (Shape::Word(_), _) => match self.byte()? {
                TEXT => Arc::new(self.text(rows, nulls)?),
                width => {
                    let bytes = self.bytes(rows * usize::from(width))?;
                    let numbers: Vec<i32> = match width {
                        1 => bytes.iter().map(|byte| i32::from(*byte)).collect(),
                        2 => bytes.as_chunks().0.iter().map(|two| i32::from(u16::from_le_bytes(*two))).collect(),
                        _ => bytes.as_chunks().0.iter().map(|four| i32::from_le_bytes(*four)).collect(),
                    };
                    Arc::new(Int32Array::new(numbers.into(), nulls))
                }
            },
            (Shape::List(shape), DataType::List(item)) => {
                let length = self.length()?;
                let offsets = self.offsets(rows)?;
                let values = self.array(shape, item.data_type(), length)?;
                let item = Arc::new(Field::new("item", values.data_type().clone(), false));
                Arc::new(ListArray::try_new(item, offsets, values, nulls).map_err(wrong)?)
            }
            (Shape::Struct(shapes), DataType::Struct(fields)) => {
                let columns = shapes.iter().zip(fields);
                let columns = columns.map(|(shape, field)| self.array(shape, field.data_type(), rows));
                let columns = columns.collect::<Result<Vec<_>, _>>()?;
                let fields = fields.iter().zip(&columns);
                let fields: Fields =
                    fields.map(|(f, column)| f.as_ref().clone().with_data_type(column.data_type().clone())).collect();
                Arc::new(StructArray::try_new_with_length(fields, columns, nulls, rows).map_err(wrong)?)
            }
            (_, DataType::Utf8View) => Arc::new(self.text(rows, nulls)?),
            (_, DataType::Binary) => {
                let length = self.length()?;
                let offsets = self.offsets(rows)?;
                Arc::new(BinaryArray::try_new(offsets, self.buffer(length)?, nulls).map_err(wrong)?)
            }
            (_, DataType::FixedSizeBinary(width)) => {
                let ids = self.buffer(rows * *width as usize)?;
                Arc::new(FixedSizeBinaryArray::try_new(*width, ids, nulls).map_err(wrong)?)
            }
            (_, DataType::Boolean) => Arc::new(BooleanArray::new(self.bits(rows)?, nulls)),
            (_, DataType::Int64) => self.numbers::<Int64Type>(of, rows, nulls)?,
            (_, DataType::UInt8) => self.numbers::<UInt8Type>(of, rows, nulls)?,
            (_, DataType::UInt16) => self.numbers::<UInt16Type>(of, rows, nulls)?,
            (_, DataType::UInt32) => self.numbers::<UInt32Type>(of, rows, nulls)?,
            (_, DataType::UInt64) => self.numbers::<UInt64Type>(of, rows, nulls)?,
            (_, DataType::Float64) => self.numbers::<Float64Type>(of, rows, nulls)?,
            (_, DataType::Timestamp(TimeUnit::Nanosecond, _)) => {
                self.numbers::<TimestampNanosecondType>(of, rows, nulls)?
            }
            (_, DataType::Timestamp(TimeUnit::Microsecond, _)) => {
                self.numbers::<TimestampMicrosecondType>(of, rows, nulls)?
            }
            (_, other) => return Err(format!("it has a column of type {other}")),
        })
    }

    fn text(&mut self, rows: usize, nulls: Option<NullBuffer>) -> Result<StringViewArray, String> {
        let length = self.length()?;
        let offsets = self.offsets(rows)?;
        let texts = StringArray::try_new(offsets, self.buffer(length)?, nulls).map_err(|e| e.to_string())?;
        Ok(StringViewArray::from(&texts))
    }

    fn numbers<T: ArrowPrimitiveType>(
        &mut self,
        of: &DataType,
        rows: usize,
        nulls: Option<NullBuffer>,
    ) -> Result<ArrayRef, String> {
        let width = T::Native::get_byte_width();
        // A buffer of its own, which begins where numbers may begin.
        let values = arrow::buffer::ScalarBuffer::<T::Native>::new(self.buffer(rows * width)?, 0, rows);
        Ok(Arc::new(PrimitiveArray::<T>::new(values, nulls).with_data_type(of.clone())))
    }
}
