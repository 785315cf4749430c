//! Promoted columns and residual lists → attribute lists.
//!
//! Duty: [`join`], the inverse of `split`. Guarantee: every value comes back with its type, a promoted one before all
//! residual ones, so the first occurrence of a key stays the first; an absent value adds nothing. Left to others: which
//! columns a file has (`reshape`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, StringArray,
    StructArray, UInt8Array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::{cast, interleave};
use arrow::datatypes::DataType;

use super::Error;
use super::promote::{Choice, type_code};
use crate::span::pinned::ScalarType;
use crate::span::schema;

/// The lists with the values of `promoted` put in front, in the order given.
pub(super) fn join(lists: &ListArray, promoted: &[(&Choice, &ArrayRef)]) -> Result<ListArray, Error> {
    let rows = lists.len();
    let columns = promoted.iter().map(|(choice, values)| attrs(choice, values)).collect::<Result<Vec<_>, _>>()?;
    let offsets = lists.value_offsets();
    let mut picked: Vec<(usize, usize)> = Vec::with_capacity(lists.values().len() + rows * promoted.len());
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0);
    for row in 0..rows {
        let present = promoted.iter().enumerate().filter(|(_, (_, values))| values.is_valid(row));
        picked.extend(present.map(|(at, _)| (at + 1, row)));
        picked.extend((offsets[row] as usize..offsets[row + 1] as usize).map(|at| (0, at)));
        let end = i32::try_from(picked.len()).map_err(|_| Error::Unfit("more than 2^31 attributes in a batch".into()));
        ends.push(end?);
    }
    let residual: &dyn Array = lists.values();
    let sources: Vec<&dyn Array> = std::iter::once(residual).chain(columns.iter().map(|c| c as &dyn Array)).collect();
    let values = interleave(&sources, &picked)?;
    let item = schema::item(DataType::Struct(schema::attr_fields()));
    Ok(ListArray::try_new(item, OffsetBuffer::new(ends.into()), values, None)?)
}

/// One attribute a row; of rows without a value it says nothing.
fn attrs(choice: &Choice, values: &ArrayRef) -> Result<StructArray, Error> {
    let rows = values.len();
    let keys = Int32Array::from(vec![0; rows]);
    let words: ArrayRef = Arc::new(StringArray::from(vec![choice.key.as_str()]));
    let code = u8::try_from(type_code(choice.of)).expect("attribute types are 0 to 7");
    let fields = schema::attr_fields();
    let mut columns: Vec<ArrayRef> =
        vec![Arc::new(DictionaryArray::try_new(keys, words)?), Arc::new(UInt8Array::from(vec![code; rows]))];
    columns.extend(fields.iter().skip(2).map(|field| new_null_array(field.data_type(), rows)));
    let child = match choice.of {
        ScalarType::Text => 2,
        ScalarType::Int | ScalarType::Bool => 3,
        ScalarType::Double => 4,
    };
    columns[child] = match choice.of {
        ScalarType::Bool => Arc::new(numbers(values.as_boolean())),
        ScalarType::Text => cast(values, &DataType::Utf8View)?,
        _ => values.clone(),
    };
    Ok(StructArray::try_new(fields, columns, None)?)
}

fn numbers(flags: &BooleanArray) -> Int64Array {
    flags.iter().map(|flag| flag.map(i64::from)).collect()
}
