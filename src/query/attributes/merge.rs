//! A container put together again from a file's list and promoted columns.
//!
//! Duty: the inverse of promotion. Guarantee: a promoted value stands before the residual list, because the writer
//! promotes first occurrences only, so the first occurrence of a repeated key stays the first. Left to others: which
//! columns a file has (`scan::adapter`).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, ListArray, StringArray, StructArray, UInt8Array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::interleave;
use arrow::datatypes::{DataType, Int32Type};
use datafusion::common::{Result, exec_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::list::Attrs;
use super::promoted::Promoted;
use super::visible;
use crate::span::schema;

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

/// One array after the other: an attribute at a time through builders costs several times as much.
fn merge(list: &ArrayRef, promoted: &[(&str, Promoted)]) -> Result<ArrayRef> {
    let residual = Attrs::try_new(list)?;
    let rest = list.as_list::<i32>().values().as_struct();
    let mut names = Names::default();
    let columns: Vec<_> = promoted.iter().map(|(key, column)| (names.id(key), column)).collect();
    let rest_keys = rest.column(0).as_dictionary::<Int32Type>();
    let words = rest_keys.values().as_string::<i32>();
    let rest_ids: Vec<i32> = words.iter().map(|word| word.map_or(0, |word| names.id(word))).collect();
    let id_of = |entry: usize| rest_ids[usize::try_from(rest_keys.keys().value(entry)).expect("keys are not negative")];

    let mut merged = Merged::default();
    let mut offsets = Vec::with_capacity(residual.rows() + 1);
    offsets.push(0);
    for row in 0..residual.rows() {
        for (at, (id, column)) in columns.iter().enumerate() {
            if column.is_valid(row) {
                merged.push(*id, column.kind(), (at + 1, row));
            }
        }
        for entry in residual.entries(row) {
            merged.push(id_of(entry), residual.kind(entry), (0, entry));
        }
        let Ok(end) = i32::try_from(merged.places.len()) else {
            return exec_err!("a batch holds more than 2^31 attributes");
        };
        offsets.push(end);
    }
    let children: Vec<ArrayRef> = vec![
        Arc::new(DictionaryArray::<Int32Type>::new(merged.keys.into(), Arc::new(StringArray::from(names.names)))),
        Arc::new(UInt8Array::from(merged.kinds)),
        gathered(&merged.places, rest.column(2), &columns, Promoted::text)?,
        gathered(&merged.places, rest.column(3), &columns, Promoted::whole)?,
        gathered(&merged.places, rest.column(4), &columns, Promoted::double)?,
        gathered(&merged.places, rest.column(5), &columns, |_| None)?,
    ];
    let values = StructArray::new(schema::attr_fields(), children, None);
    let item = schema::item(DataType::Struct(schema::attr_fields()));
    Ok(Arc::new(ListArray::new(item, OffsetBuffer::new(offsets.into()), Arc::new(values), None)))
}

/// The attributes of the merged lists, one after the other.
#[derive(Default)]
struct Merged {
    keys: Vec<i32>,
    kinds: Vec<u8>,
    /// (0, entry of the residual list) or (1 + number of the promoted column, row).
    places: Vec<(usize, usize)>,
}

impl Merged {
    fn push(&mut self, key: i32, kind: u8, place: (usize, usize)) {
        self.keys.push(key);
        self.kinds.push(kind);
        self.places.push(place);
    }
}

/// One child of the merged attributes: from the child of the residual list, or from the promoted columns that have it.
fn gathered(
    places: &[(usize, usize)],
    rest: &ArrayRef,
    columns: &[(i32, &Promoted)],
    of: impl Fn(&Promoted) -> Option<ArrayRef>,
) -> Result<ArrayRef> {
    let null = new_null_array(rest.data_type(), 1);
    let mut sources: Vec<ArrayRef> = vec![null, rest.clone()];
    let has_rest = rest.null_count() < rest.len();
    let mut source_of = vec![if has_rest { 1 } else { 0 }];
    for (_, column) in columns {
        source_of.push(of(column).map_or(0, |array| {
            sources.push(array);
            sources.len() - 1
        }));
    }
    if source_of.iter().all(|source| *source == 0) {
        return Ok(new_null_array(rest.data_type(), places.len()));
    }
    let at = |(place, row): &(usize, usize)| match source_of[*place] {
        0 => (0, 0),
        source => (source, *row),
    };
    let indices: Vec<_> = places.iter().map(at).collect();
    let sources: Vec<&dyn Array> = sources.iter().map(AsRef::as_ref).collect();
    Ok(interleave(&sources, &indices)?)
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
