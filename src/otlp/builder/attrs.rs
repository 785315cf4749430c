//! Lists of attributes of one level.
//!
//! Duty: attributes appended one by one and closed into lists, at the end of a batch a `List<Attr>` array. Guarantee:
//! per attribute one entry of 16 bytes and its text; no allocation beyond the growth of three buffers that are kept. Keys
//! stay from batch to batch as long as that gains something ([`Interner::finish`]).
//! Left to others: limits, reserved keys and what a value means ([`super::SpanBuilder`]).

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, StructArray, UInt8Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::DataType;

use super::intern::{Interned, Interner, offset};
use super::text::views;
use crate::span::schema::{attr_fields, attr_type, item};

/// One attribute value as a walker hands it over.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// No value was sent.
    Empty,
    /// Text, not yet known to be UTF-8.
    Text(&'a [u8]),
    /// True or false.
    Bool(bool),
    /// 64-bit integer.
    Int(i64),
    /// Double, bit-exact.
    Double(f64),
    /// Raw bytes.
    Bytes(&'a [u8]),
    /// An `AnyValue` message (protobuf) whose variant is an array, `levels` of array and kvlist deep.
    Array {
        /// The message without tag and length.
        proto: &'a [u8],
        /// 1 for an array of scalars.
        levels: usize,
    },
    /// An `AnyValue` message (protobuf) whose variant is a key-value list, `levels` of array and kvlist deep.
    Kvlist {
        /// The message without tag and length.
        proto: &'a [u8],
        /// 1 for a list of scalars.
        levels: usize,
    },
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: u32,
    of: u8,
    /// Integer, bits of the double, or length of the text or bytes.
    num: u64,
}

/// The lists of one level (span, event, link, resource or scope attributes) of the batch at hand.
#[derive(Debug)]
pub(super) struct AttrLists {
    keys: Interner,
    entries: Vec<Entry>,
    text: Vec<u8>,
    bytes: Vec<u8>,
    ends: Vec<i32>,
    /// First entry of the open list.
    open: usize,
    /// Names the open list; 0 is none.
    list: u32,
    absent: Absent,
}

/// The columns of values that no attribute of a batch has: batches of about one length share them.
#[derive(Debug)]
struct Absent {
    doubles: Float64Array,
    binaries: BinaryArray,
}

impl Absent {
    /// Beyond so many rows they are not kept for the next batch.
    const KEPT_ROWS: usize = 1 << 16;

    fn new(rows: usize) -> Self {
        Self { doubles: Float64Array::new_null(rows), binaries: BinaryArray::new_null(rows) }
    }

    /// Has at least `rows` rows afterwards, and at most an eighth more: a slice counts as the whole.
    fn reach(&mut self, rows: usize) {
        let room = self.doubles.len();
        if rows > room || room - rows > rows / 8 {
            *self = Self::new(rows + rows / 16);
        }
    }
}

/// How far the lists were filled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mark {
    entries: usize,
    text: usize,
    bytes: usize,
    ends: usize,
}

/// What was odd about a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pushed {
    /// Index of the key in the level's dictionary.
    pub(super) key: u32,
    /// The open list holds the key already.
    pub(super) repeated: bool,
    /// The key was not UTF-8 and was repaired.
    pub(super) repaired: bool,
}

impl AttrLists {
    pub(super) fn new() -> Self {
        Self {
            keys: Interner::new(),
            entries: Vec::new(),
            text: Vec::new(),
            bytes: Vec::new(),
            ends: Vec::new(),
            open: 0,
            list: 1,
            absent: Absent::new(0),
        }
    }

    /// Appends one attribute to the open list.
    pub(super) fn push(&mut self, key: &[u8], value: Value<'_>) -> Pushed {
        match value {
            Value::Empty => self.push_scalar(key, attr_type::EMPTY, 0),
            Value::Text(text) => self.push_slice(key, attr_type::STRING, text),
            Value::Bool(bool) => self.push_scalar(key, attr_type::BOOL, u64::from(bool)),
            Value::Int(int) => self.push_scalar(key, attr_type::INT, int.cast_unsigned()),
            Value::Double(double) => self.push_scalar(key, attr_type::DOUBLE, double.to_bits()),
            Value::Bytes(bytes) => self.push_slice(key, attr_type::BYTES, bytes),
            Value::Array { proto, .. } => self.push_slice(key, attr_type::ARRAY, proto),
            Value::Kvlist { proto, .. } => self.push_slice(key, attr_type::KVLIST, proto),
        }
    }

    /// Appends an attribute of type `of` that is a number, given by its bits.
    #[inline]
    pub(super) fn push_scalar(&mut self, key: &[u8], of: u8, bits: u64) -> Pushed {
        let Interned { id, repaired } = self.keys.intern_at(self.entries.len() - self.open, key);
        self.entries.push(Entry { key: id, of, num: bits });
        Pushed { key: id, repeated: self.keys.is_repeated(id, self.list), repaired }
    }

    /// Appends an attribute of type `of` that is text or bytes.
    #[inline]
    pub(super) fn push_slice(&mut self, key: &[u8], of: u8, slice: &[u8]) -> Pushed {
        let bytes = if of == attr_type::STRING { &mut self.text } else { &mut self.bytes };
        bytes.extend_from_slice(slice);
        self.push_scalar(key, of, slice.len() as u64)
    }

    /// Ends the open list and opens the next.
    #[inline]
    pub(super) fn close(&mut self) {
        self.ends.push(offset(self.entries.len()).cast_signed());
        self.open = self.entries.len();
        self.list += 1;
    }

    /// Attributes, bytes of their text and bytes, and lists so far.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        (self.entries.len(), self.text.len() + self.bytes.len(), self.ends.len())
    }

    pub(super) fn keys(&self) -> &Interner {
        &self.keys
    }

    /// Lists closed so far.
    pub(super) fn lists(&self) -> usize {
        self.ends.len()
    }

    /// Distinct keys so far.
    pub(super) fn distinct(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { entries: self.entries.len(), text: self.text.len(), bytes: self.bytes.len(), ends: self.ends.len() }
    }

    /// Takes back everything since `mark` but keys, which may stand unused in the dictionary.
    pub(super) fn rollback(&mut self, mark: Mark) {
        self.entries.truncate(mark.entries);
        self.text.truncate(mark.text);
        self.bytes.truncate(mark.bytes);
        self.ends.truncate(mark.ends);
        self.open = self.entries.len();
        self.list += 1;
    }

    /// Checks the text since `mark` and repairs what is not UTF-8 (W14); how many texts were repaired.
    #[inline]
    pub(super) fn repair(&mut self, mark: Mark) -> usize {
        if self.text[mark.text..].is_ascii() { 0 } else { self.repair_texts(mark) }
    }

    #[inline(never)]
    fn repair_texts(&mut self, mark: Mark) -> usize {
        let texts = self.entries[mark.entries..].iter().filter(|e| e.of == attr_type::STRING);
        let (mut at, mut broken) = (mark.text, 0);
        for entry in texts {
            let len = text_len(entry);
            broken += usize::from(simdutf8::basic::from_utf8(&self.text[at..at + len]).is_err());
            at += len;
        }
        if broken == 0 {
            return 0;
        }
        let old = self.text.split_off(mark.text);
        let mut rest = old.as_slice();
        for entry in self.entries[mark.entries..].iter_mut().filter(|e| e.of == attr_type::STRING) {
            let (text, after) = rest.split_at(text_len(entry));
            let repaired = String::from_utf8_lossy(text);
            self.text.extend_from_slice(repaired.as_bytes());
            entry.num = repaired.len() as u64;
            rest = after;
        }
        broken
    }

    /// The text of the first attribute with key `key` since `mark`, if that attribute is text.
    pub(super) fn first_text(&self, mark: Mark, key: u32) -> Option<&[u8]> {
        let mut at = mark.text;
        for entry in &self.entries[mark.entries..] {
            let is_text = entry.of == attr_type::STRING;
            if entry.key == key {
                return is_text.then(|| &self.text[at..at + text_len(entry)]);
            }
            at += if is_text { text_len(entry) } else { 0 };
        }
        None
    }

    /// Every attribute since `mark` with its key, in order.
    pub(super) fn since(&self, mark: Mark) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        let (mut text, mut bytes) = (&self.text[mark.text..], &self.bytes[mark.bytes..]);
        self.entries[mark.entries..].iter().map(move |entry| {
            // levels are judged when an attribute arrives, not when it is copied
            let value = match entry.of {
                attr_type::STRING => Value::Text(take(&mut text, entry)),
                attr_type::BOOL => Value::Bool(entry.num != 0),
                attr_type::INT => Value::Int(entry.num.cast_signed()),
                attr_type::DOUBLE => Value::Double(f64::from_bits(entry.num)),
                attr_type::BYTES => Value::Bytes(take(&mut bytes, entry)),
                attr_type::ARRAY => Value::Array { proto: take(&mut bytes, entry), levels: 1 },
                attr_type::KVLIST => Value::Kvlist { proto: take(&mut bytes, entry), levels: 1 },
                _ => Value::Empty,
            };
            (self.keys.get(entry.key), value)
        })
    }

    /// Every attribute of the closed list `at`, as [`AttrLists::since`].
    pub(super) fn list(&self, at: usize) -> impl Iterator<Item = (&[u8], Value<'_>)> {
        let end = |at: usize| self.ends[at].cast_unsigned() as usize;
        let from = if at == 0 { 0 } else { end(at - 1) };
        self.since(Mark::default()).take(end(at)).skip(from)
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.list = 0;
        self.begin_batch();
    }

    fn begin_batch(&mut self) {
        self.entries.clear();
        self.text.clear();
        self.bytes.clear();
        self.ends.clear();
        if self.list > u32::MAX / 2 {
            // Lists are told apart by their numbers in the slots of the keys.
            self.keys.clear();
            self.list = 0;
        }
        (self.open, self.list) = (0, self.list + 1);
    }

    /// Ends a batch in which no list was closed: keys that are new are those of spans that were set aside.
    pub(super) fn begin_batch_without(&mut self) {
        self.keys.trim();
        self.begin_batch();
    }

    /// All closed lists as one array; empty afterwards.
    pub(super) fn finish(&mut self) -> ListArray {
        let keys = self.keys.finish(self.entries.len());
        let types = self.entries.iter().fold(0, |types, entry| types | 1 << entry.of);
        self.absent.reach(self.entries.len());
        let lists = self.lists_with(keys, types);
        if self.absent.doubles.len() > Absent::KEPT_ROWS {
            self.absent = Absent::new(0);
        }
        self.begin_batch();
        lists
    }

    /// All lists closed so far as one array.
    pub(super) fn array(&self) -> ListArray {
        self.lists_with(self.keys.values(), ALL_TYPES)
    }

    /// The same with `keys` and values of at most `types`; where some are missing, [`AttrLists::absent`] has enough rows.
    fn lists_with(&self, keys: ArrayRef, types: u8) -> ListArray {
        let entries = self.entries.as_slice();
        let ids: Int32Array = entries.iter().map(|e| e.key.cast_signed()).collect::<Vec<_>>().into();
        let lens = entries.iter().map(|e| (e.of == attr_type::STRING).then(|| offset(text_len(e))));
        let doubles = match types & DOUBLES {
            0 => self.absent.doubles.slice(0, entries.len()),
            _ => doubles(entries),
        };
        let binaries = match types & BINARIES {
            0 => self.absent.binaries.slice(0, entries.len()),
            _ => binaries(entries, &self.bytes),
        };
        let columns = vec![
            Arc::new(DictionaryArray::new(ids, keys)) as ArrayRef,
            Arc::new(UInt8Array::from(entries.iter().map(|e| e.of).collect::<Vec<_>>())),
            views(&self.text, lens),
            Arc::new(ints(entries)),
            Arc::new(doubles),
            Arc::new(binaries),
        ];
        let attrs = StructArray::new(attr_fields(), columns, None);
        let offsets = OffsetBuffer::new(std::iter::once(0).chain(self.ends.iter().copied()).collect::<Vec<_>>().into());
        ListArray::new(item(DataType::Struct(attr_fields())), offsets, Arc::new(attrs), None)
    }
}

/// Bits of attribute types.
const DOUBLES: u8 = 1 << attr_type::DOUBLE;
const BINARIES: u8 = 1 << attr_type::BYTES | 1 << attr_type::ARRAY | 1 << attr_type::KVLIST;
const ALL_TYPES: u8 = u8::MAX;

/// The text or bytes of `entry`, which begin `from`.
fn take<'a>(from: &mut &'a [u8], entry: &Entry) -> &'a [u8] {
    let (value, after) = from.split_at(text_len(entry));
    *from = after;
    value
}

fn text_len(entry: &Entry) -> usize {
    usize::try_from(entry.num).expect("it was the length of a slice")
}

fn nulls(entries: &[Entry], is_set: impl Fn(u8) -> bool) -> Option<NullBuffer> {
    let nulls = NullBuffer::new(BooleanBuffer::collect_bool(entries.len(), |at| is_set(entries[at].of)));
    (nulls.null_count() > 0).then_some(nulls)
}

fn ints(entries: &[Entry]) -> Int64Array {
    let is_int = |of| matches!(of, attr_type::BOOL | attr_type::INT);
    let values: Vec<_> = entries.iter().map(|e| if is_int(e.of) { e.num.cast_signed() } else { 0 }).collect();
    Int64Array::new(values.into(), nulls(entries, is_int))
}

fn doubles(entries: &[Entry]) -> Float64Array {
    let is_double = |of: u8| 1 << of & DOUBLES != 0;
    let values: Vec<_> = entries.iter().map(|e| f64::from_bits(if is_double(e.of) { e.num } else { 0 })).collect();
    Float64Array::new(values.into(), nulls(entries, is_double))
}

fn binaries(entries: &[Entry], bytes: &[u8]) -> BinaryArray {
    let is_binary = |of: u8| 1 << of & BINARIES != 0;
    let mut end = 0;
    let mut offsets = Vec::with_capacity(entries.len() + 1);
    offsets.push(0);
    for entry in entries {
        end += if is_binary(entry.of) { text_len(entry) } else { 0 };
        offsets.push(offset(end).cast_signed());
    }
    BinaryArray::new(OffsetBuffer::new(offsets.into()), Buffer::from_slice_ref(bytes), nulls(entries, is_binary))
}
