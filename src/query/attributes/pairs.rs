//! Attributes as pairs of texts: what patterns count (learn.md 3.5).
//!
//! Duty: `attr_pairs`, and which attributes of a row make pairs. Guarantee: scalars as text, without empty values and long
//! texts, the first occurrence of a key, the first 64 in key order. Left to others: finding given pairs alone (`among`).

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{ArrayBuilder as _, ArrayRef, ListArray, StringBuilder, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::list::{Attrs, Value};
use super::{among, convert, is_container};
use crate::query::functions::argument;

/// Longest text in a pair, in bytes.
const TEXT_BYTES: usize = 128;
/// Most pairs of a row.
const MOST: usize = 64;

/// (container [, pairs]) → its pairs in key order; with `pairs`, one list for all rows, only those, in no order.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct AttrPairs {
    signature: Signature,
}

impl Default for AttrPairs {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for AttrPairs {
    fn name(&self) -> &'static str {
        "attr_pairs"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match args {
            [container] if is_container(container) => Ok(args.to_vec()),
            [container, pairs] if is_container(container) && are_pairs(pairs) => Ok(args.to_vec()),
            _ => plan_err!(
                "attr_pairs takes attributes, resource or scope, and may take a list of pairs: attr_pairs(attributes), \
                 attr_pairs(attributes, (SELECT array_agg(named_struct('key', k, 'value', v)) FROM …))"
            ),
        }
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        let of = if args.len() == 1 { DataType::Utf8 } else { among::text() };
        Ok(DataType::List(item(&of)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let container = args.args[0].to_array(args.number_rows)?;
        let attrs = Attrs::try_new(&container)?;
        let array = match args.args.get(1) {
            None => pairs(&attrs),
            Some(ColumnarValue::Scalar(wanted)) => among::pairs(&attrs, wanted)?,
            Some(ColumnarValue::Array(_)) => {
                let usage = "attr_pairs(attributes, (SELECT array_agg(named_struct('key', k, 'value', v)) FROM …))";
                return Err(argument(format!("the pairs are one list for all rows: {usage}")));
            }
        };
        Ok(ColumnarValue::Array(array))
    }
}

/// Whether `of` is a list of {key, value}.
fn are_pairs(of: &DataType) -> bool {
    let DataType::List(item) = of else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    let is = |name: &str| {
        fields.iter().any(|field| {
            let text = match field.data_type() {
                DataType::Dictionary(_, of) => of,
                of => of,
            };
            field.name() == name && text.is_string()
        })
    };
    is("key") && is("value")
}

/// An element of the list, with texts of type `of`.
pub(super) fn item(of: &DataType) -> FieldRef {
    Arc::new(Field::new("item", DataType::Struct(fields(of)), true))
}

pub(super) fn fields(of: &DataType) -> Fields {
    Fields::from(vec![Field::new("key", of.clone(), true), Field::new("value", of.clone(), true)])
}

/// The pairs of each row, in key order.
fn pairs(attrs: &Attrs<'_>) -> ArrayRef {
    let (mut keys, mut values) = (StringBuilder::new(), StringBuilder::new());
    let (mut offsets, mut nulls) = (vec![0], NullBufferBuilder::new(attrs.rows()));
    let mut counted = Counted::new(attrs);
    for row in 0..attrs.rows() {
        for entry in counted.in_key_order(row) {
            keys.append_value(attrs.key(entry));
            values.append_value(convert::to_text(attrs.value(entry)).expect("a counted value is a scalar"));
        }
        offsets.push(i32::try_from(keys.len()).expect("no more pairs than attributes"));
        nulls.append(!attrs.is_null(row));
    }
    let columns: Vec<ArrayRef> = vec![Arc::new(keys.finish()), Arc::new(values.finish())];
    let pairs = StructArray::new(fields(&DataType::Utf8), columns, None);
    Arc::new(ListArray::new(item(&DataType::Utf8), OffsetBuffer::new(offsets.into()), Arc::new(pairs), nulls.finish()))
}

/// Whether a value is part of a pair: what is counted must have few values.
fn is_counted(value: Value<'_>) -> bool {
    match value {
        Value::Empty | Value::Bytes(_) | Value::Nested(_) => false,
        Value::Text(text) => text.len() <= TEXT_BYTES,
        Value::Bool(_) | Value::Int(_) | Value::Double(_) => true,
    }
}

/// Finds the attributes of a row that make pairs.
pub(super) struct Counted<'f, 'a> {
    attrs: &'f Attrs<'a>,
    /// Per number of a key its place among the keys in order.
    ranks: Vec<u32>,
    /// Per rank the last row that had the key: a repeated key's first occurrence is the value.
    seen: Vec<usize>,
    /// (rank, attribute) of the row at hand.
    found: Vec<(u32, usize)>,
}

impl<'f, 'a> Counted<'f, 'a> {
    pub(super) fn new(attrs: &'f Attrs<'a>) -> Self {
        let ranks = attrs.key_ranks();
        Self { attrs, seen: vec![usize::MAX; ranks.len()], ranks, found: Vec::new() }
    }

    fn in_key_order(&mut self, row: usize) -> impl Iterator<Item = usize> {
        self.find(row);
        self.found.sort_unstable();
        self.found.iter().take(MOST).map(|(_, entry)| *entry)
    }

    /// The same attributes as they come.
    pub(super) fn in_any_order(&mut self, row: usize) -> impl Iterator<Item = usize> {
        self.find(row);
        // The order decides only which of more than the most are left out.
        if self.found.len() > MOST {
            self.found.sort_unstable();
        }
        self.found.iter().take(MOST).map(|(_, entry)| *entry)
    }

    fn find(&mut self, row: usize) {
        self.found.clear();
        for entry in self.attrs.entries(row) {
            let rank = self.ranks[self.attrs.key_id(entry)];
            let is_first = std::mem::replace(&mut self.seen[rank as usize], row) != row;
            if is_first && is_counted(self.attrs.value(entry)) {
                self.found.push((rank, entry));
            }
        }
    }
}
