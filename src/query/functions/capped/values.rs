//! Arguments of a call, and what has been made of them so far.
//!
//! Duty: sizes of values row by row, and the caps of one value and of one batch. Guarantee: nothing is copied but
//! dictionaries, and nothing is made. Left to others: which function makes how much (`super`).

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::Result;
use datafusion::logical_expr::ColumnarValue;

use crate::query::caps::BATCH_ROWS;
use crate::query::functions::argument;
pub(super) use crate::query::size::bytes_of;

/// Bytes of one text, and of all that one call makes of a batch.
pub(in crate::query) const VALUE_BYTES: u64 = 1 << 20;
pub(in crate::query) const BATCH_BYTES: u64 = 64 << 20;
/// Bytes of a value that may be copied for each row of a batch, as those of a constant.
pub(in crate::query) const SHORT: u64 = BATCH_BYTES / BATCH_ROWS as u64;
/// Elements of one array, and of all arrays of a batch.
pub(super) const VALUE_ELEMENTS: u64 = 100_000;
pub(super) const BATCH_ELEMENTS: u64 = 4_000_000;

/// What an element of an array has at the least, in bytes.
const ELEMENT_BYTES: u64 = 8;

/// Whether the engine makes the bytes of a value of the type `of` again for each row that gets it; of views and of words
/// of a dictionary they are shared.
pub(in crate::query) fn is_copied(of: &DataType) -> bool {
    match of {
        DataType::Dictionary(..) => false,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Binary | DataType::LargeBinary => true,
        of => of.is_nested(),
    }
}

/// An argument: a column, or one value for all rows.
pub(super) struct Values {
    pub array: ArrayRef,
    pub one: bool,
}

impl Values {
    pub fn of(value: &ColumnarValue) -> Result<Self> {
        let (array, one) = match value {
            ColumnarValue::Array(array) => (array.clone(), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        let plain = match array.data_type() {
            DataType::Dictionary(_, of) => cast(&array, of)?,
            _ => array,
        };
        Ok(Self { array: plain, one })
    }

    pub fn cast(&self, to: &DataType) -> Result<Self> {
        Ok(Self { array: cast(&self.array, to)?, one: self.one })
    }

    /// The place of `row`, if it has a value there.
    pub fn at(&self, row: usize) -> Option<usize> {
        let at = if self.one { 0 } else { row };
        (!self.is_null() && self.array.is_valid(at)).then_some(at)
    }

    pub fn int(&self, row: usize) -> Option<i64> {
        self.at(row).map(|at| self.array.as_primitive::<Int64Type>().value(at))
    }

    pub fn text(&self, row: usize) -> Option<&str> {
        let at = self.at(row)?;
        match self.array.data_type() {
            DataType::Utf8 => Some(self.array.as_string::<i32>().value(at)),
            DataType::LargeUtf8 => Some(self.array.as_string::<i64>().value(at)),
            DataType::Utf8View => Some(self.array.as_string_view().value(at)),
            _ => None,
        }
    }

    /// Bytes of the text or binary value of `row`; of another type, what its text may have; 0 for NULL.
    pub fn bytes(&self, row: usize) -> u64 {
        let Some(at) = self.at(row) else { return 0 };
        let bytes = match self.array.data_type() {
            DataType::Utf8 => self.array.as_string::<i32>().value_length(at).unsigned_abs() as usize,
            DataType::LargeUtf8 => {
                return self.array.as_string::<i64>().value_length(at).unsigned_abs();
            }
            DataType::Utf8View => self.array.as_string_view().value(at).len(),
            DataType::Binary => self.array.as_binary::<i32>().value(at).len(),
            DataType::LargeBinary => self.array.as_binary::<i64>().value(at).len(),
            DataType::BinaryView => self.array.as_binary_view().value(at).len(),
            DataType::FixedSizeBinary(width) => width.unsigned_abs() as usize,
            of if of.is_nested() => return bytes_of(&self.array.slice(at, 1)),
            _ => NUMBER_BYTES,
        };
        bytes as u64
    }

    /// Elements of the list of `row`; 1 for what is no list, 0 for NULL.
    pub fn elements(&self, row: usize) -> u64 {
        let Some(at) = self.at(row) else { return 0 };
        match self.array.data_type() {
            DataType::List(_) => u64::from(self.array.as_list::<i32>().value_length(at).unsigned_abs()),
            DataType::LargeList(_) => self.array.as_list::<i64>().value_length(at).unsigned_abs(),
            DataType::FixedSizeList(_, length) => u64::from(length.unsigned_abs()),
            _ => 1,
        }
    }

    /// The elements of the list of `row`.
    pub fn list(&self, row: usize) -> Option<ArrayRef> {
        let at = self.at(row)?;
        match self.array.data_type() {
            DataType::List(_) => Some(self.array.as_list::<i32>().value(at)),
            DataType::LargeList(_) => Some(self.array.as_list::<i64>().value(at)),
            DataType::FixedSizeList(..) => Some(self.array.as_fixed_size_list().value(at)),
            _ => None,
        }
    }

    /// Bytes of the values of `rows` rows.
    pub fn all_bytes(&self, rows: usize) -> u64 {
        let bytes = bytes_of(&self.array);
        if self.one { bytes.saturating_mul(rows as u64) } else { bytes }
    }

    pub fn is_null(&self) -> bool {
        self.array.data_type().is_null()
    }
}

/// Longest text of a number or time, in bytes.
const NUMBER_BYTES: usize = 40;

/// Values at the bottom of nested lists.
pub(super) fn leaves(array: &ArrayRef) -> u64 {
    match array.data_type() {
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            let lists = Values { array: array.clone(), one: false };
            (0..array.len()).filter_map(|row| lists.list(row)).map(|values| leaves(&values)).sum()
        }
        _ => array.len() as u64,
    }
}

/// What has been made so far in a batch.
pub(super) struct Meter<'a> {
    pub function: &'a str,
    bytes: u64,
    elements: u64,
    copied: u64,
}

impl<'a> Meter<'a> {
    pub fn new(function: &'a str) -> Self {
        Self { function, bytes: 0, elements: 0, copied: 0 }
    }

    /// `bytes` of an argument are made again.
    pub fn copied(&mut self, bytes: u64) {
        self.copied = self.copied.saturating_add(bytes);
    }

    /// About how many bytes will be made.
    pub fn made(&self) -> u64 {
        let elements = self.elements.saturating_mul(ELEMENT_BYTES);
        self.bytes.saturating_add(elements).saturating_add(self.copied)
    }

    /// One more text of `bytes` bytes.
    pub fn text(&mut self, bytes: u64) -> Result<()> {
        let function = self.function;
        if bytes > VALUE_BYTES {
            return Err(argument(format!("`{function}` would make a text of {bytes} bytes; at most {VALUE_BYTES}")));
        }
        self.bytes(bytes)
    }

    /// `bytes` more bytes, of whatever.
    pub fn bytes(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > BATCH_BYTES {
            let function = self.function;
            return Err(argument(format!(
                "`{function}` would make more than {BATCH_BYTES} bytes at once: make shorter values, or fewer of them"
            )));
        }
        Ok(())
    }

    /// One more array of `elements` elements.
    pub fn array(&mut self, elements: u64) -> Result<()> {
        let function = self.function;
        if elements > VALUE_ELEMENTS {
            return Err(argument(format!(
                "`{function}` would make an array of {elements} elements; at most {VALUE_ELEMENTS}"
            )));
        }
        self.elements = self.elements.saturating_add(elements);
        if self.elements > BATCH_ELEMENTS {
            return Err(argument(format!(
                "`{function}` would make more than {BATCH_ELEMENTS} elements at once: make shorter arrays, or fewer"
            )));
        }
        Ok(())
    }
}
