//! Which of given pairs a row has: `attr_pairs(attributes, pairs)` (learn.md 3.5).
//!
//! Duty: find the pairs of a list in containers. Guarantee: a pair is found where `attr_pairs(attributes)` would give it; no
//! text is made of what is not looked for, nor of what is found: the texts are those of the list. So a pattern that knows
//! its pairs need not take all others apart. Left to others: what a pair is (`pairs`), counting (`functions::tally`).

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, Int32Array, ListArray, StructArray, new_empty_array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use hashbrown::HashMap;

use super::convert;
use super::list::{Attrs, Value};
use super::pairs::{Counted, fields, item};

/// Type of the texts: a number into those of the list.
pub(super) fn text() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// Per row those pairs of `wanted` that it has, in no order.
pub(super) fn pairs(attrs: &Attrs<'_>, wanted: &ScalarValue) -> Result<ArrayRef> {
    let [keys, values] = columns(wanted)?;
    let places = Places::new(&keys, &values);
    let of_keys: Vec<Option<&Values<'_>>> = attrs.keys().map(|key| places.0.get(key?)).collect();
    let (mut found, mut counted) = (Vec::new(), Counted::new(attrs));
    let (mut offsets, mut nulls) = (vec![0], NullBufferBuilder::new(attrs.rows()));
    for row in 0..attrs.rows() {
        if !places.0.is_empty() {
            for entry in counted.in_any_order(row) {
                found.extend(of_keys[attrs.key_id(entry)].and_then(|values| values.place(attrs.value(entry))));
            }
        }
        offsets.push(i32::try_from(found.len()).expect("no more pairs than attributes"));
        nulls.append(!attrs.is_null(row));
    }
    let found = Int32Array::from(found);
    let column = |texts| -> ArrayRef { Arc::new(DictionaryArray::<Int32Type>::new(found.clone(), texts)) };
    let pairs = StructArray::new(fields(&text()), vec![column(keys.clone()), column(values.clone())], None);
    let offsets = OffsetBuffer::new(offsets.into());
    Ok(Arc::new(ListArray::new(item(&text()), offsets, Arc::new(pairs), nulls.finish())))
}

/// Keys and values of the list.
fn columns(list: &ScalarValue) -> Result<[ArrayRef; 2]> {
    let ScalarValue::List(list) = list else { return internal_err!("the pairs are a list, got {list}") };
    if list.is_null(0) {
        return Ok([new_empty_array(&DataType::Utf8), new_empty_array(&DataType::Utf8)]);
    }
    let pairs = list.value(0);
    let column = |name: &str| match pairs.as_struct_opt().and_then(|all| all.column_by_name(name)) {
        Some(column) => Ok(cast(column, &DataType::Utf8)?),
        None => internal_err!("the pairs have no {name}"),
    };
    Ok([column("key")?, column("value")?])
}

/// Where each pair stands in the list, by key.
struct Places<'a>(HashMap<&'a str, Values<'a>>);

/// The values of one key, each with its place.
#[derive(Default)]
struct Values<'a> {
    texts: HashMap<&'a str, i32>,
    /// Those of `texts` that an integer is written as: an integer need not become text to be found.
    integers: HashMap<i64, i32>,
}

impl<'a> Places<'a> {
    /// Of equal pairs the first counts; a pair with a NULL is none.
    fn new(keys: &'a ArrayRef, values: &'a ArrayRef) -> Self {
        let mut all: HashMap<&str, Values<'_>> = HashMap::new();
        let pairs = keys.as_string::<i32>().iter().zip(values.as_string::<i32>());
        for ((key, value), place) in pairs.zip(0_i32..) {
            let (Some(key), Some(value)) = (key, value) else { continue };
            let of_key = all.entry(key).or_default();
            of_key.texts.entry(value).or_insert(place);
            if let Some(integer) = convert::canonical_int(value) {
                of_key.integers.entry(integer).or_insert(place);
            }
        }
        Self(all)
    }
}

impl Values<'_> {
    fn place(&self, value: Value<'_>) -> Option<i32> {
        match value {
            Value::Int(integer) => self.integers.get(&integer).copied(),
            value => self.texts.get(convert::to_text(value)?.as_ref()).copied(),
        }
    }
}
