//! One promoted column under way.
//!
//! Duty: [`Promoted`]: the values of one key, row by row, from the attributes of several batches. Guarantee: text
//! becomes a dictionary in which every text stands once, until it is too large for one in a file. Left to others: which
//! attribute is a row's value (`split`).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray as _, BooleanArray, BooleanBufferBuilder, DictionaryArray, Float64Array, Int32Array, Int64Array,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{Float64Type, Int64Type};

use super::chunk::Words;
use super::columns::TEXT_DICTIONARY_BYTES;
use super::split::Taken;
use super::tally::Attrs;
use crate::span::pinned::ScalarType;

/// The values of a key, one a row.
pub(super) struct Promoted {
    values: Values,
    present: BooleanBufferBuilder,
    /// Rows without a value.
    absent: usize,
}

enum Values {
    Text(Words, Vec<i32>, Lately),
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
}

impl Promoted {
    /// Of `rows` rows that are to come.
    pub(super) fn new(of: ScalarType, rows: usize) -> Self {
        // All at once: rows without a value are not touched again.
        let values = match of {
            ScalarType::Text => Values::Text(Words::new(TEXT_DICTIONARY_BYTES), vec![0; rows], Lately::default()),
            ScalarType::Int => Values::Int(vec![0; rows]),
            ScalarType::Double => Values::Double(vec![0.0; rows]),
            ScalarType::Bool => Values::Bool(vec![false; rows]),
        };
        Self { values, present: BooleanBufferBuilder::new(rows), absent: 0 }
    }

    /// Adds `rows` rows, of which `taken`, in order, have values among `attrs`, which are of the column's type.
    pub(super) fn add(&mut self, attrs: &Attrs<'_>, rows: usize, taken: &[Taken]) {
        let (from, all) = (self.present.len(), taken.len() == rows);
        self.present.append_n(rows, all);
        self.absent += rows - taken.len();
        if !all {
            taken.iter().for_each(|taken| self.present.set_bit(from + taken.row as usize, true));
        }
        match &mut self.values {
            Values::Text(words, keys, lately) => {
                let texts = attrs.all.column(2).as_string_view();
                let views = texts.views();
                let mut last: Option<(&str, i32)> = None;
                put(&mut keys[from..], taken, |at| {
                    let view = views[at];
                    let text = || texts.value(at);
                    if is_inline(view) {
                        return lately.key(view, || words.key(text()));
                    }
                    match last {
                        Some((before, key)) if before == text() => key,
                        _ => {
                            let key = words.key(text());
                            last = Some((text(), key));
                            key
                        }
                    }
                });
            }
            Values::Int(values) => {
                let all = attrs.all.column(3).as_primitive::<Int64Type>().values();
                put(&mut values[from..], taken, |at| all[at]);
            }
            Values::Double(values) => {
                let all = attrs.all.column(4).as_primitive::<Float64Type>().values();
                put(&mut values[from..], taken, |at| all[at]);
            }
            Values::Bool(values) => {
                let all = attrs.all.column(3).as_primitive::<Int64Type>().values();
                put(&mut values[from..], taken, |at| all[at] != 0);
            }
        }
    }

    /// The column; text as a dictionary.
    pub(super) fn finish(mut self) -> ArrayRef {
        let nulls = (self.absent > 0).then(|| NullBuffer::new(self.present.finish()));
        match self.values {
            Values::Text(words, keys, _) => {
                Arc::new(DictionaryArray::new(Int32Array::new(keys.into(), nulls), Arc::new(words.finish())))
            }
            Values::Int(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
        }
    }
}

/// Puts the values of `taken` at the places of their rows.
fn put<T>(values: &mut [T], taken: &[Taken], mut value: impl FnMut(usize) -> T) {
    taken.iter().for_each(|taken| values[taken.row as usize] = value(taken.at as usize));
}

/// The view of a text of so many bytes at most is the text itself.
const INLINE_BYTES: u32 = 12;
/// Places for texts met lately, as a power of two.
const LATELY_BITS: u32 = 10;

fn is_inline(view: u128) -> bool {
    // The low quarter of a view is the length.
    view as u32 <= INLINE_BYTES
}

/// The keys of some short texts: a column has few distinct ones, or it would be no dictionary.
#[derive(Default)]
struct Lately {
    /// View and key, by bits of the view; all zero and no key at first.
    places: Vec<(u128, Option<i32>)>,
}

impl Lately {
    /// The key of the text whose view is `view`, or what `find` says of it.
    #[inline]
    fn key(&mut self, view: u128, find: impl FnOnce() -> i32) -> i32 {
        if self.places.is_empty() {
            self.places.resize(1 << LATELY_BITS, (0, None));
        }
        let mixed = (view as u64 ^ (view >> 64) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let place = &mut self.places[(mixed >> (u64::BITS - LATELY_BITS)) as usize];
        match place {
            (of, Some(key)) if *of == view => *key,
            _ => {
                let key = find();
                *place = (view, Some(key));
                key
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array as _, StringViewArray};

    use super::*;

    #[test]
    fn short_texts_have_the_keys_of_their_words_however_many_they_are() {
        let texts: Vec<String> = (0..9000_u32).map(|n| (n.wrapping_mul(7919) % 4000).to_string()).collect();
        let texts = texts.iter().map(String::as_str).chain(["", "\0", "\0\0", "", "twelve bytes", "\0"]);
        let texts = StringViewArray::from_iter_values(texts);
        let (mut lately, mut words) = (Lately::default(), Words::new(1 << 20));
        let keys: Vec<i32> = texts
            .views()
            .iter()
            .zip(&texts)
            .map(|(view, text)| {
                assert!(is_inline(*view));
                lately.key(*view, || words.key(text.unwrap()))
            })
            .collect();
        let words = words.finish();
        assert_eq!(words.len(), 4004);
        for (key, text) in keys.into_iter().zip(&texts) {
            assert_eq!(Some(words.value(key as usize)), text);
        }
    }
}
