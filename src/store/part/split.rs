//! Attribute lists → promoted columns and shorter residual lists.
//!
//! Duty: [`split`]. Guarantee: a value is promoted only if it is the first occurrence of its key in its row and has the
//! column's type; everything else stays in its list, in order. So a promoted value comes before every residual one of
//! its key, and "the first occurrence is the value" holds once they are merged. Left to others: the choice.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::{Int64Type, UInt32Type};

use super::Error;
use super::promote::{Choice, type_code};
use super::tally::Attrs;
use crate::span::pinned::ScalarType;
use crate::span::schema;

/// The residual lists, and one column a choice.
pub(super) fn split(lists: &ListArray, choices: &[Choice]) -> Result<(ListArray, Vec<ArrayRef>), Error> {
    let attrs = Attrs::of(lists);
    let words = attrs.words.as_string::<i32>();
    let slot_of = |word: &str| choices.iter().position(|choice| choice.key == word);
    let slots: Vec<Option<usize>> = (0..words.len()).map(|at| slot_of(words.value(at))).collect();
    let codes: Vec<usize> = choices.iter().map(|choice| type_code(choice.of)).collect();
    let rows = lists.len();
    let mut taken = vec![vec![None::<u32>; rows]; choices.len()];
    let mut last = vec![usize::MAX; choices.len()];
    let offsets = lists.value_offsets();
    let mut kept = Vec::with_capacity((offsets[rows] - offsets[0]) as usize);
    let mut ends = Vec::with_capacity(rows + 1);
    ends.push(0);
    for row in 0..rows {
        for at in offsets[row] as usize..offsets[row + 1] as usize {
            match slots[attrs.word(at)] {
                Some(slot) if std::mem::replace(&mut last[slot], row) != row && attrs.type_at(at) == codes[slot] => {
                    taken[slot][row] = Some(at as u32);
                }
                _ => kept.push(at as u32),
            }
        }
        ends.push(kept.len() as i32);
    }
    let columns = taken.into_iter().zip(choices).map(|(at, choice)| column(&attrs, &UInt32Array::from(at), choice.of));
    let columns = columns.collect::<Result<_, _>>()?;
    let residual = take(attrs.all, &UInt32Array::from(kept), None)?;
    let item = schema::item(arrow::datatypes::DataType::Struct(schema::attr_fields()));
    let residual = ListArray::try_new(item, OffsetBuffer::new(ends.into()), residual, None)?;
    Ok((residual, columns))
}

fn column(attrs: &Attrs<'_>, at: &arrow::array::PrimitiveArray<UInt32Type>, of: ScalarType) -> Result<ArrayRef, Error> {
    let child = match of {
        ScalarType::Text => 2,
        ScalarType::Int | ScalarType::Bool => 3,
        ScalarType::Double => 4,
    };
    let values = take(attrs.all.column(child), at, None)?;
    if of != ScalarType::Bool {
        return Ok(values);
    }
    let flags = BooleanArray::from_unary(values.as_primitive::<Int64Type>(), |value| value != 0);
    Ok(Arc::new(flags))
}
