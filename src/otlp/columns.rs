//! The column builders below `SpanBuilder`: words, texts, attribute lists.
//!
//! Duty: append values of one column and turn them into Arrow arrays. Guarantee: one hash lookup a dictionary value, no
//! allocation a value, text is UTF-8 once it is in. Left to others: which column gets what (`builder`).

use std::borrow::Cow;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    StringViewBuilder, StructArray, UInt8Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::value::Value;
use crate::span::schema::{self, attr_type};

/// Text of which few distinct values are expected: `Dictionary(Int32, Utf8)`.
#[derive(Debug, Default)]
pub(super) struct Words {
    hasher: DefaultHashBuilder,
    table: HashTable<i32>,
    ends: Vec<i32>,
    text: Vec<u8>,
    keys: Vec<i32>,
}

const NULL: i32 = -1;

impl Words {
    /// Index of `text` among the distinct values, added if it is new. `text` must be UTF-8.
    #[inline]
    pub(super) fn intern(&mut self, text: &str) -> i32 {
        let hash = self.hasher.hash_one(text.as_bytes());
        let (ends, bytes) = (&self.ends, &self.text);
        if let Some(index) = self.table.find(hash, |index| value(ends, bytes, *index) == text.as_bytes()) {
            return *index;
        }
        let index = i32::try_from(self.ends.len()).expect("a batch is cut long before 2^31 distinct values");
        self.text.extend_from_slice(text.as_bytes());
        self.ends.push(i32::try_from(self.text.len()).expect("a batch is cut at 64 MiB"));
        let (hasher, ends, bytes) = (&self.hasher, &self.ends, &self.text);
        self.table.insert_unique(hash, index, |index| hasher.hash_one(value(ends, bytes, *index)));
        index
    }

    pub(super) fn push(&mut self, text: &str) {
        let index = self.intern(text);
        self.keys.push(index);
    }

    /// Empty text is null, as in every nullable text column.
    pub(super) fn push_or_null(&mut self, text: &str) {
        if text.is_empty() { self.keys.push(NULL) } else { self.push(text) }
    }

    #[inline]
    pub(super) fn push_index(&mut self, index: i32) {
        self.keys.push(index);
    }

    pub(super) fn distinct(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn clear(&mut self) {
        self.table.clear();
        self.ends.clear();
        self.text.clear();
        self.keys.clear();
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        let capacity = self.keys.len();
        let keys = std::mem::replace(&mut self.keys, Vec::with_capacity(capacity));
        let nulls = keys
            .contains(&NULL)
            .then(|| NullBuffer::new(BooleanBuffer::collect_bool(keys.len(), |row| keys[row] != NULL)));
        let keys: Vec<i32> = if nulls.is_some() { keys.iter().map(|k| (*k).max(0)).collect() } else { keys };
        let mut offsets = Vec::with_capacity(self.ends.len() + 1);
        offsets.push(0);
        offsets.append(&mut self.ends);
        let values = StringArray::new(
            OffsetBuffer::new(ScalarBuffer::from(offsets)),
            Buffer::from_vec(std::mem::take(&mut self.text)),
            None,
        );
        self.table.clear();
        // Arrow checks keys of null rows too; an empty dictionary has no key 0.
        if values.is_empty() {
            return arrow::array::new_null_array(&schema::word(), keys.len());
        }
        Arc::new(DictionaryArray::new(Int32Array::new(keys.into(), nulls), Arc::new(values)))
    }
}

fn value<'a>(ends: &[i32], text: &'a [u8], index: i32) -> &'a [u8] {
    let index = index.cast_unsigned() as usize;
    let start = if index == 0 { 0 } else { ends[index - 1] };
    &text[start.cast_unsigned() as usize..ends[index].cast_unsigned() as usize]
}

/// Text from the wire: borrowed if it is UTF-8, else repaired with U+FFFD (W14). The flag says which.
#[inline]
pub(super) fn utf8(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    match simdutf8::basic::from_utf8(bytes) {
        Ok(text) => (Cow::Borrowed(text), false),
        Err(_) => (String::from_utf8_lossy(bytes), true),
    }
}

/// The values of many attribute lists, one behind the other.
#[derive(Debug)]
pub(super) struct Attrs {
    keys: Words,
    types: Vec<u8>,
    text: StringViewBuilder,
    ints: Vec<i64>,
    doubles: Vec<f64>,
    binary: Vec<u8>,
    binary_ends: Vec<i32>,
    /// Per key: the list in which it was seen last, to find repeated keys.
    seen: Vec<u64>,
    list: u64,
    list_ends: Vec<i32>,
}

/// What an attribute was, beside its value.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pushed {
    /// Key or text was not UTF-8.
    pub(super) repaired: bool,
    /// The list already holds the key.
    pub(super) repeated: bool,
}

impl Default for Attrs {
    fn default() -> Self {
        Self {
            keys: Words::default(),
            types: Vec::new(),
            text: StringViewBuilder::new().with_fixed_block_size(64 << 10),
            ints: Vec::new(),
            doubles: Vec::new(),
            binary: Vec::new(),
            binary_ends: Vec::new(),
            seen: Vec::new(),
            list: 1,
            list_ends: Vec::new(),
        }
    }
}

impl Attrs {
    /// Adds an attribute to the open list. `key` is taken as it is; the caller escapes reserved ones.
    #[inline]
    pub(super) fn push(&mut self, key: &str, value: Value<'_>) -> Pushed {
        let index = self.keys.intern(key);
        self.keys.push_index(index);
        let index = index.cast_unsigned() as usize;
        if index >= self.seen.len() {
            self.seen.resize(index + 1, 0);
        }
        let repeated = std::mem::replace(&mut self.seen[index], self.list) == self.list;
        let (mut int, mut double, mut repaired) = (0, 0.0, false);
        if let Value::Text(bytes) = value {
            let (text, bad) = utf8(bytes);
            repaired = bad;
            self.text.append_value(text);
        } else {
            self.text.append_null();
        }
        match value {
            Value::Empty | Value::Text(_) => {}
            Value::Bool(value) => int = i64::from(value),
            Value::Int(value) => int = value,
            Value::Double(value) => double = value,
            Value::Bytes(bytes) | Value::Array(bytes) | Value::KvList(bytes) => self.binary.extend_from_slice(bytes),
        }
        self.types.push(value.attr_type());
        self.ints.push(int);
        self.doubles.push(double);
        self.binary_ends.push(i32::try_from(self.binary.len()).expect("a batch is cut at 64 MiB"));
        Pushed { repaired, repeated }
    }

    /// Ends the open list, and says how many attributes it has.
    pub(super) fn end_list(&mut self) -> usize {
        let before = self.list_ends.last().copied().unwrap_or(0);
        let end = i32::try_from(self.types.len()).expect("a batch is cut long before 2^31 attributes");
        self.list_ends.push(end);
        self.list += 1;
        (end - before).cast_unsigned() as usize
    }

    /// Attributes in the list that is open.
    #[inline]
    pub(super) fn open_len(&self) -> usize {
        self.types.len() - self.list_ends.last().map_or(0, |end| end.cast_unsigned() as usize)
    }

    pub(super) fn distinct(&self) -> usize {
        self.keys.distinct()
    }

    /// The lists as `List<Attr>`.
    pub(super) fn finish(&mut self) -> ArrayRef {
        let types = std::mem::take(&mut self.types);
        let rows = types.len();
        let only = |wanted: &[u8]| -> Option<NullBuffer> {
            let valid = BooleanBuffer::collect_bool(rows, |row| wanted.contains(&types[row]));
            (valid.count_set_bits() < rows).then(|| NullBuffer::new(valid))
        };
        let ints = Int64Array::new(std::mem::take(&mut self.ints).into(), only(&[attr_type::BOOL, attr_type::INT]));
        let doubles = Float64Array::new(std::mem::take(&mut self.doubles).into(), only(&[attr_type::DOUBLE]));
        let binary = BinaryArray::new(
            offsets(&mut self.binary_ends),
            Buffer::from_vec(std::mem::take(&mut self.binary)),
            only(&[attr_type::BYTES, attr_type::ARRAY, attr_type::KVLIST]),
        );
        let columns: Vec<ArrayRef> = vec![
            self.keys.finish(),
            Arc::new(UInt8Array::new(types.into(), None)),
            Arc::new(self.text.finish()),
            Arc::new(ints),
            Arc::new(doubles),
            Arc::new(binary),
        ];
        self.seen.clear();
        list(schema::attr_fields(), columns, &mut self.list_ends)
    }

    pub(super) fn clear(&mut self) {
        // Finishing is what empties a view builder.
        drop(self.text.finish());
        self.keys.clear();
        self.types.clear();
        self.ints.clear();
        self.doubles.clear();
        self.binary.clear();
        self.binary_ends.clear();
        self.seen.clear();
        self.list_ends.clear();
    }
}

/// A list of structs whose lists end at `ends`; `ends` is emptied.
pub(super) fn list(fields: arrow::datatypes::Fields, columns: Vec<ArrayRef>, ends: &mut Vec<i32>) -> ArrayRef {
    let item = schema::item(arrow::datatypes::DataType::Struct(fields.clone()));
    let rows = columns[0].len();
    let values = StructArray::try_new_with_length(fields, columns, None, rows)
        .expect("the builder appends to all columns of a list together");
    Arc::new(ListArray::new(item, offsets(ends), Arc::new(values), None))
}

/// Arrow offsets from ends; `ends` is emptied.
pub(super) fn offsets(ends: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut offsets = Vec::with_capacity(ends.len() + 1);
    offsets.push(0);
    offsets.append(ends);
    OffsetBuffer::new(ScalarBuffer::from(offsets))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray as _;
    use arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn words_share_one_value_and_empty_is_null_where_asked() {
        let mut words = Words::default();
        ["a", "", "b", "a"].iter().for_each(|w| words.push_or_null(w));
        let array = words.finish();
        let array = array.as_dictionary::<Int32Type>();
        assert_eq!((array.len(), array.values().len(), array.null_count()), (4, 2, 1));
        assert_eq!(array.keys().value(0), array.keys().value(3));
        words.push_or_null("");
        assert_eq!(words.finish().null_count(), 1);
    }

    #[test]
    fn a_key_is_repeated_only_within_its_list() {
        let mut attrs = Attrs::default();
        assert!(!attrs.push("k", Value::Int(1)).repeated);
        assert!(attrs.push("k", Value::Int(2)).repeated);
        assert_eq!(attrs.end_list(), 2);
        assert!(!attrs.push("k", Value::Text(b"\xff")).repeated);
        assert_eq!(attrs.end_list(), 1);
        let lists = attrs.finish();
        assert_eq!(lists.data_type(), &schema::attributes());
        assert_eq!(lists.as_list::<i32>().value_length(0), 2);
    }
}
