//! One promoted column under way.
//!
//! Duty: [`Promoted`]: the values of one key, row by row, from the attributes of several batches. Guarantee: text
//! becomes a dictionary in which every text stands once, until it is too large for one in a file. Left to others: which
//! attribute is a row's value (`split`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, BooleanArray, DictionaryArray, Float64Array, Int32Array, Int64Array, NullBufferBuilder,
};
use arrow::datatypes::{Float64Type, Int64Type};

use super::chunk::Words;
use super::columns::TEXT_DICTIONARY_BYTES;
use super::split::NOWHERE;
use super::tally::Attrs;
use crate::span::pinned::ScalarType;

/// The values of a key, one a row.
pub(super) struct Promoted {
    values: Values,
    present: NullBufferBuilder,
}

enum Values {
    Text(Words, Vec<i32>),
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
}

impl Promoted {
    pub(super) fn new(of: ScalarType) -> Self {
        let values = match of {
            ScalarType::Text => Values::Text(Words::new(TEXT_DICTIONARY_BYTES), Vec::new()),
            ScalarType::Int => Values::Int(Vec::new()),
            ScalarType::Double => Values::Double(Vec::new()),
            ScalarType::Bool => Values::Bool(Vec::new()),
        };
        Self { values, present: NullBufferBuilder::new(0) }
    }

    /// Adds a row for each of `places` among `attrs`, which are of the column's type.
    pub(super) fn add(&mut self, attrs: &Attrs<'_>, places: impl Iterator<Item = u32> + Clone) {
        places.clone().for_each(|at| self.present.append(at != NOWHERE));
        match &mut self.values {
            Values::Text(words, keys) => {
                let texts = attrs.all.column(2).as_string_view();
                let mut last: Option<(&str, i32)> = None;
                keys.extend(places.map(|at| {
                    if at == NOWHERE {
                        return 0;
                    }
                    let text = texts.value(at as usize);
                    match last {
                        Some((before, key)) if before == text => key,
                        _ => {
                            let key = words.key(text);
                            last = Some((text, key));
                            key
                        }
                    }
                }));
            }
            Values::Int(values) => {
                let all = attrs.all.column(3).as_primitive::<Int64Type>().values();
                values.extend(places.map(|at| if at == NOWHERE { 0 } else { all[at as usize] }));
            }
            Values::Double(values) => {
                let all = attrs.all.column(4).as_primitive::<Float64Type>().values();
                values.extend(places.map(|at| if at == NOWHERE { 0.0 } else { all[at as usize] }));
            }
            Values::Bool(values) => {
                let all = attrs.all.column(3).as_primitive::<Int64Type>().values();
                values.extend(places.map(|at| at != NOWHERE && all[at as usize] != 0));
            }
        }
    }

    /// The column; text as a dictionary.
    pub(super) fn finish(mut self) -> ArrayRef {
        let nulls = self.present.finish();
        match self.values {
            Values::Text(words, keys) => {
                Arc::new(DictionaryArray::new(Int32Array::new(keys.into(), nulls), Arc::new(words.finish())))
            }
            Values::Int(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
        }
    }
}
