//! A container put together again from a file's list and promoted columns.
//!
//! Duty: the inverse of promotion. Guarantee: a promoted value stands before the residual list, because the writer
//! promotes first occurrences only, so the first occurrence of a repeated key stays the first. Left to others: which
//! columns a file has (`scan::adapter`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, DictionaryArray, Float64Builder, Int32Builder, Int64Builder, ListArray,
    StringArray, StringViewBuilder, StructArray, UInt8Builder,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::list::{Attrs, Value};
use super::visible;
use crate::span::schema::{self, attr_type};

/// The function (list, promoted…) → list, for promoted columns of the given keys.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Merge {
    /// Keys as senders wrote them; `None` is reserved and left out.
    keys: Vec<Option<String>>,
    signature: Signature,
}

impl Merge {
    /// For promoted columns of `keys` (as stored), in the order of the arguments behind the list.
    pub fn new(keys: Vec<String>) -> Self {
        let signature = Signature::any(keys.len() + 1, Volatility::Immutable);
        Self { keys: keys.iter().map(|key| visible::shown(key).map(str::to_owned)).collect(), signature }
    }
}

impl ScalarUDFImpl for Merge {
    fn name(&self) -> &str {
        "merge_attributes"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(schema::attributes())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let list = visible::attributes(&arrays[0])?;
        let promoted: Vec<(&str, Promoted)> = self
            .keys
            .iter()
            .zip(&arrays[1..])
            .filter_map(|(key, array)| Some((key.as_deref()?, array)))
            .map(|(key, array)| Ok((key, Promoted::try_new(array)?)))
            .collect::<Result<_>>()?;
        if promoted.is_empty() {
            return Ok(ColumnarValue::Array(list));
        }
        merge(&list, &promoted).map(ColumnarValue::Array)
    }
}

/// A promoted column.
enum Promoted {
    Text(arrow::array::StringViewArray),
    Int(arrow::array::Int64Array),
    Double(arrow::array::Float64Array),
    Bool(arrow::array::BooleanArray),
}

impl Promoted {
    fn try_new(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().clone()),
            DataType::Float64 => Self::Double(array.as_primitive::<Float64Type>().clone()),
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Utf8View => Self::Text(array.as_string_view().clone()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Dictionary(_, _) => {
                Self::Text(cast(array, &DataType::Utf8View)?.as_string_view().clone())
            }
            other => {
                return exec_err!("a promoted column has type {other}; text, integer, double or boolean is expected");
            }
        })
    }

    fn value(&self, row: usize) -> Option<Value<'_>> {
        match self {
            Self::Text(array) => array.is_valid(row).then(|| Value::Text(array.value(row))),
            Self::Int(array) => array.is_valid(row).then(|| Value::Int(array.value(row))),
            Self::Double(array) => array.is_valid(row).then(|| Value::Double(array.value(row))),
            Self::Bool(array) => array.is_valid(row).then(|| Value::Bool(array.value(row))),
        }
    }
}

fn merge(list: &ArrayRef, promoted: &[(&str, Promoted)]) -> Result<ArrayRef> {
    let residual = Attrs::try_new(list)?;
    let mut entries = Entries::default();
    let (mut names, mut offsets) = (Names::default(), vec![0_i32]);
    let promoted: Vec<_> = promoted.iter().map(|(key, column)| (names.id(key), column)).collect();
    for row in 0..residual.rows() {
        for (id, column) in &promoted {
            if let Some(value) = column.value(row) {
                entries.push(*id, value, None);
            }
        }
        for entry in residual.entries(row) {
            let id = names.id(residual.key(entry));
            entries.push(id, residual.value(entry), Some(residual.kind(entry)));
        }
        let Ok(end) = i32::try_from(entries.len()) else {
            return exec_err!("a batch holds more than 2^31 attributes");
        };
        offsets.push(end);
    }
    let values = entries.finish(names);
    let item = schema::item(DataType::Struct(schema::attr_fields()));
    Ok(Arc::new(ListArray::new(item, OffsetBuffer::new(offsets.into()), Arc::new(values), None)))
}

/// The distinct keys of the merged list.
#[derive(Default)]
struct Names<'a> {
    names: Vec<&'a str>,
    ids: hashbrown::HashMap<&'a str, i32>,
}

impl<'a> Names<'a> {
    fn id(&mut self, name: &'a str) -> i32 {
        *self.ids.entry(name).or_insert_with(|| {
            self.names.push(name);
            i32::try_from(self.names.len() - 1).expect("a batch has fewer than 2^31 keys")
        })
    }
}

/// Columns of the merged attributes.
#[derive(Default)]
struct Entries {
    key: Int32Builder,
    kind: UInt8Builder,
    s: StringViewBuilder,
    i: Int64Builder,
    d: Float64Builder,
    x: BinaryBuilder,
}

impl Entries {
    fn len(&self) -> usize {
        arrow::array::ArrayBuilder::len(&self.key)
    }

    /// Adds one attribute; `kind` is its stored type where the value alone does not tell (array or key-value list).
    fn push(&mut self, key: i32, value: Value<'_>, kind: Option<u8>) {
        let (mut s, mut i, mut d, mut x) = (None, None, None, None);
        let told = match value {
            Value::Empty => attr_type::EMPTY,
            Value::Text(text) => {
                s = Some(text);
                attr_type::STRING
            }
            Value::Bool(value) => {
                i = Some(i64::from(value));
                attr_type::BOOL
            }
            Value::Int(value) => {
                i = Some(value);
                attr_type::INT
            }
            Value::Double(value) => {
                d = Some(value);
                attr_type::DOUBLE
            }
            Value::Bytes(bytes) => {
                x = Some(bytes);
                attr_type::BYTES
            }
            Value::Nested(bytes) => {
                x = Some(bytes);
                attr_type::ARRAY
            }
        };
        self.key.append_value(key);
        self.kind.append_value(kind.unwrap_or(told));
        self.s.append_option(s);
        self.i.append_option(i);
        self.d.append_option(d);
        self.x.append_option(x);
    }

    fn finish(mut self, names: Names<'_>) -> StructArray {
        let key = DictionaryArray::new(self.key.finish(), Arc::new(StringArray::from(names.names)));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(key),
            Arc::new(self.kind.finish()),
            Arc::new(self.s.finish()),
            Arc::new(self.i.finish()),
            Arc::new(self.d.finish()),
            Arc::new(self.x.finish()),
        ];
        StructArray::new(schema::attr_fields(), columns, None)
    }
}

/// `events` or `links` of a file as SQL shows them.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Nested {
    signature: Signature,
}

impl Default for Nested {
    fn default() -> Self {
        Self { signature: Signature::any(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Nested {
    fn name(&self) -> &str {
        "visible_nested"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args[0].clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let array = args.args[0].to_array(args.number_rows)?;
        visible::nested(&array).map(ColumnarValue::Array)
    }
}
