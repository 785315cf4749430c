//! Reading a list of attributes.
//!
//! Duty: find keys and values in `List<Attr>` arrays. Guarantee: the first occurrence of a key in a row is its value.
//! Left to others: what a value becomes (`convert`, `json`).

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    StringViewArray, UInt8Array,
};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, UInt8Type};
use datafusion::common::{Result, internal_err};

use crate::span::schema::attr_type;

/// The columns of a `List<Attr>` array.
#[derive(Debug)]
pub struct Attrs<'a> {
    list: &'a ListArray,
    key_ids: &'a Int32Array,
    keys: &'a StringArray,
    types: &'a UInt8Array,
    s: Option<&'a StringViewArray>,
    i: Option<&'a Int64Array>,
    d: Option<&'a Float64Array>,
    x: Option<&'a BinaryArray>,
}

/// The value of one attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value was sent.
    Empty,
    /// Text.
    Text(&'a str),
    /// True or false.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// An array or key-value list, as protobuf bytes of its AnyValue.
    Nested(&'a [u8]),
}

impl<'a> Attrs<'a> {
    /// The columns of `array`, which must be a container.
    pub fn try_new(array: &'a ArrayRef) -> Result<Self> {
        if !super::is_container(array.data_type()) {
            return internal_err!("an attribute container has the fields of Attr, got {}", array.data_type());
        }
        Self::narrow(array)
    }

    /// The columns of `array`, a container with key, type and some of the leaves of values; a value whose leaf is not
    /// there counts as empty.
    pub fn narrow(array: &'a ArrayRef) -> Result<Self> {
        let Some(list) = array.as_list_opt::<i32>() else {
            return internal_err!("an attribute container is a list, got {}", array.data_type());
        };
        let Some(entries) = list.values().as_struct_opt() else {
            return internal_err!("an attribute container is a list of attributes, got {}", array.data_type());
        };
        let (Some(key), Some(kind)) = (entries.column_by_name("key"), entries.column_by_name("type")) else {
            return internal_err!("an attribute has key and type, got {}", array.data_type());
        };
        let keys = key.as_dictionary::<Int32Type>();
        Ok(Self {
            list,
            key_ids: keys.keys(),
            keys: keys.values().as_string::<i32>(),
            types: kind.as_primitive::<UInt8Type>(),
            s: entries.column_by_name("s").map(|leaf| leaf.as_string_view()),
            i: entries.column_by_name("i").map(|leaf| leaf.as_primitive::<Int64Type>()),
            d: entries.column_by_name("d").map(|leaf| leaf.as_primitive::<Float64Type>()),
            x: entries.column_by_name("x").map(|leaf| leaf.as_binary::<i32>()),
        })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.list.len()
    }

    /// Whether the row has no container at all (as below an outer join).
    pub fn is_null(&self, row: usize) -> bool {
        self.list.is_null(row)
    }

    /// Places of the attributes of a row.
    pub fn entries(&self, row: usize) -> std::ops::Range<usize> {
        if self.list.is_null(row) {
            return 0..0;
        }
        let offsets = self.list.value_offsets();
        let place = |at: i32| usize::try_from(at).expect("list offsets are not negative");
        place(offsets[row])..place(offsets[row + 1])
    }

    /// Number of the key at a place, below the length of [`Attrs::key_ranks`].
    pub fn key_id(&self, entry: usize) -> usize {
        usize::try_from(self.key_ids.value(entry)).expect("dictionary keys are not negative")
    }

    /// Per number of a key its place among the keys in order; equal keys have one place.
    pub fn key_ranks(&self) -> Vec<u32> {
        let mut order: Vec<usize> = (0..self.keys.len()).filter(|at| self.keys.is_valid(*at)).collect();
        order.sort_unstable_by_key(|at| self.keys.value(*at));
        let mut ranks = vec![0; self.keys.len()];
        let mut rank = 0;
        for (at, id) in order.iter().enumerate() {
            rank += u32::from(at > 0 && self.keys.value(order[at - 1]) != self.keys.value(*id));
            ranks[*id] = rank;
        }
        ranks
    }

    /// The keys by number; equal ones may have several.
    pub fn keys(&self) -> impl Iterator<Item = Option<&'a str>> {
        self.keys.iter()
    }

    /// The key at a place.
    pub fn key(&self, entry: usize) -> &'a str {
        self.keys.value(usize::try_from(self.key_ids.value(entry)).expect("dictionary keys are not negative"))
    }

    /// The stored type at a place, a number of [`attr_type`].
    pub fn kind(&self, entry: usize) -> u8 {
        self.types.value(entry)
    }

    /// The value at a place.
    pub fn value(&self, entry: usize) -> Value<'a> {
        let found = match self.types.value(entry) {
            attr_type::STRING => self.s.map(|leaf| Value::Text(leaf.value(entry))),
            attr_type::BOOL => self.i.map(|leaf| Value::Bool(leaf.value(entry) != 0)),
            attr_type::INT => self.i.map(|leaf| Value::Int(leaf.value(entry))),
            attr_type::DOUBLE => self.d.map(|leaf| Value::Double(leaf.value(entry))),
            attr_type::BYTES => self.x.map(|leaf| Value::Bytes(leaf.value(entry))),
            attr_type::ARRAY | attr_type::KVLIST => self.x.map(|leaf| Value::Nested(leaf.value(entry))),
            _ => None,
        };
        found.unwrap_or(Value::Empty)
    }

    /// A finder of `key` over all rows: the key is compared once per dictionary entry, not once per attribute.
    pub fn finder(&self, key: &str) -> Finder<'_, 'a> {
        let wanted = (0..self.keys.len()).filter(|&at| self.keys.is_valid(at) && self.keys.value(at) == key);
        let wanted = wanted.map(|at| i32::try_from(at).expect("dictionary keys are Int32")).collect();
        Finder { attrs: self, wanted }
    }
}

/// Finds one key.
#[derive(Debug)]
pub struct Finder<'f, 'a> {
    attrs: &'f Attrs<'a>,
    /// Usually one; a dictionary made by concatenation may repeat a value.
    wanted: Vec<i32>,
}

impl<'a> Finder<'_, 'a> {
    /// The value in `row`, if the key is there.
    pub fn value(&self, row: usize) -> Option<Value<'a>> {
        if self.wanted.is_empty() {
            return None;
        }
        let ids = self.attrs.key_ids.values();
        let entry = self.attrs.entries(row).find(|&entry| self.wanted.contains(&ids[entry]))?;
        Some(self.attrs.value(entry))
    }
}
