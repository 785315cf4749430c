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
    Text(Words, Vec<i32>, Lately),
    Int(Vec<i64>),
    Double(Vec<f64>),
    Bool(Vec<bool>),
}

impl Promoted {
    pub(super) fn new(of: ScalarType) -> Self {
        let values = match of {
            ScalarType::Text => Values::Text(Words::new(TEXT_DICTIONARY_BYTES), Vec::new(), Lately::default()),
            ScalarType::Int => Values::Int(Vec::new()),
            ScalarType::Double => Values::Double(Vec::new()),
            ScalarType::Bool => Values::Bool(Vec::new()),
        };
        Self { values, present: NullBufferBuilder::new(0) }
    }

    /// Adds a row for each of `places` among `attrs`, which are of the column's type.
    pub(super) fn add(&mut self, attrs: &Attrs<'_>, places: impl Iterator<Item = u32> + Clone) {
        match places.clone().all(|at| at != NOWHERE) {
            true => self.present.append_n_non_nulls(places.clone().count()),
            false => places.clone().for_each(|at| self.present.append(at != NOWHERE)),
        }
        match &mut self.values {
            Values::Text(words, keys, lately) => {
                let texts = attrs.all.column(2).as_string_view();
                let views = texts.views();
                let mut last: Option<(&str, i32)> = None;
                keys.extend(places.map(|at| {
                    if at == NOWHERE {
                        return 0;
                    }
                    let view = views[at as usize];
                    let text = || texts.value(at as usize);
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
            Values::Text(words, keys, _) => {
                Arc::new(DictionaryArray::new(Int32Array::new(keys.into(), nulls), Arc::new(words.finish())))
            }
            Values::Int(values) => Arc::new(Int64Array::new(values.into(), nulls)),
            Values::Double(values) => Arc::new(Float64Array::new(values.into(), nulls)),
            Values::Bool(values) => Arc::new(BooleanArray::new(values.into(), nulls)),
        }
    }
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
