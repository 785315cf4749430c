//! Attributes of OTLP/JSON: `KeyValue` and `AnyValue`.
//!
//! Duty: one value from one or more value objects (J4, J19 to J24). Guarantee: arrays and lists become the `AnyValue`
//! bytes that protobuf has for them; the recursion ends at the limit of L11, what lies deeper is only passed over, for
//! the span is set aside. Left to others: limits (`builder`).

use std::borrow::Cow;

use super::pull::Reader;
use super::text::base64;
use super::{Members, Walk, number};
use crate::otlp::builder::{Level, Value};
use crate::otlp::counts::{Advisory, Message};
use crate::otlp::wire::{Broken, put_bytes, put_fixed64, put_varint_field};

/// L11, whatever the configuration says: the depth to which the call stack is used.
const MAX_DEPTH: usize = 32;

const KEY_VALUE: Members = Members { of: Message::KeyValue, names: &["key", "value", "keyStrindex"] };
const ANY_VALUE: Members = Members {
    of: Message::AnyValue,
    names: &[
        "stringValue",
        "intValue",
        "boolValue",
        "doubleValue",
        "arrayValue",
        "kvlistValue",
        "bytesValue",
        "stringValueStrindex",
    ],
};
const ARRAY: Members = Members { of: Message::ArrayValue, names: &["values"] };
const KVLIST: Members = Members { of: Message::KeyValueList, names: &["values"] };

/// A variant of the oneof; arrays and lists are the content of `ArrayValue` or `KeyValueList`.
#[derive(Debug, Default)]
enum Variant<'a> {
    #[default]
    Empty,
    Text(Cow<'a, [u8]>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Bytes(Vec<u8>),
    Array(Vec<u8>),
    Kvlist(Vec<u8>),
}

/// A value as far as it was read.
#[derive(Debug, Default)]
struct AnyValue<'a> {
    last: Variant<'a>,
    /// Levels of array and kvlist of the deepest list that was met, with what is around it.
    levels: usize,
    /// Texts within lists that had to be repaired.
    repaired: usize,
}

/// An attribute, or an element of a key-value list.
#[derive(Debug, Default)]
struct Pair<'a> {
    key: Cow<'a, [u8]>,
    /// Absent and empty are two things on the wire.
    value: Option<AnyValue<'a>>,
}

impl Walk<'_> {
    /// Reads a list of attributes into the list at hand of `level`; `count` goes on over several lists.
    pub(super) fn attributes(&mut self, at: &mut Reader<'_>, level: Level, count: &mut usize) -> Result<(), Broken> {
        self.elements(at, count, |walk, at, _| {
            let pair = walk.pair(at, 0)?;
            let value = pair.value.unwrap_or_default();
            let levels = value.levels;
            let mut proto = Vec::new();
            let (handed, repaired) = match &value.last {
                Variant::Empty => (Value::Empty, 0),
                Variant::Text(text) => (Value::Text(text), 0),
                Variant::Bool(bool) => (Value::Bool(*bool), 0),
                Variant::Int(int) => (Value::Int(*int), 0),
                Variant::Double(double) => (Value::Double(*double), 0),
                Variant::Bytes(bytes) => (Value::Bytes(bytes), 0),
                Variant::Array(_) => {
                    value.write(&mut proto, &mut 0);
                    (Value::Array { proto: &proto, levels }, value.repaired)
                }
                Variant::Kvlist(_) => {
                    value.write(&mut proto, &mut 0);
                    (Value::Kvlist { proto: &proto, levels }, value.repaired)
                }
            };
            walk.builder.attribute(level, &pair.key, handed);
            walk.builder.note_repaired(level, repaired);
            Ok(())
        })
    }

    /// A key with its value; `depth` lists stand around it.
    fn pair<'a>(&mut self, at: &mut Reader<'a>, depth: usize) -> Result<Pair<'a>, Broken> {
        let mut pair = Pair::default();
        self.members(at, &KEY_VALUE, |walk, at, name| {
            match name {
                "key" => pair.key = at.text()?,
                "value" => walk.any_value(at, depth, pair.value.get_or_insert_default())?,
                _ => {
                    number::i32(at)?;
                    walk.builder.advise(Advisory::KeyStrindex);
                }
            }
            Ok(())
        })?;
        Ok(pair)
    }

    /// Merges the object that stands here into `value`: the last variant wins, lists of the same kind are one (W10).
    fn any_value<'a>(&mut self, at: &mut Reader<'a>, depth: usize, value: &mut AnyValue<'a>) -> Result<(), Broken> {
        self.members(at, &ANY_VALUE, |walk, at, name| {
            let is_joined =
                matches!((name, &value.last), ("arrayValue", Variant::Array(_)) | ("kvlistValue", Variant::Kvlist(_)));
            if !is_joined {
                // What it replaces is not stored, however deep it was.
                (value.levels, value.repaired) = (0, 0);
            }
            let last = match name {
                "stringValue" => Variant::Text(at.text()?),
                "intValue" => Variant::Int(number::i64(at)?),
                "boolValue" => Variant::Bool(at.boolean()?),
                "doubleValue" => Variant::Double(number::double(at)?),
                "bytesValue" => Variant::Bytes(base64(at)?),
                "arrayValue" => {
                    let before =
                        if let Variant::Array(list) = &mut value.last { std::mem::take(list) } else { Vec::new() };
                    Variant::Array(walk.list(at, depth + 1, before, value, false)?)
                }
                "kvlistValue" => {
                    let before =
                        if let Variant::Kvlist(list) = &mut value.last { std::mem::take(list) } else { Vec::new() };
                    Variant::Kvlist(walk.list(at, depth + 1, before, value, true)?)
                }
                _ => {
                    number::i32(at)?;
                    walk.builder.advise(Advisory::ValueStrindex);
                    Variant::Empty
                }
            };
            value.last = last;
            Ok(())
        })
    }

    /// Appends the elements of the list object that stands here to `content`; `depth` counts this list too.
    #[inline(never)]
    fn list<'a>(
        &mut self,
        at: &mut Reader<'a>,
        depth: usize,
        mut content: Vec<u8>,
        around: &mut AnyValue<'_>,
        of_pairs: bool,
    ) -> Result<Vec<u8>, Broken> {
        around.levels = around.levels.max(depth);
        if depth > self.builder.limits().max_value_depth.min(MAX_DEPTH) {
            at.skip()?;
            return Ok(content);
        }
        let (mut index, mut element) = (0, Vec::new());
        self.members(at, if of_pairs { &KVLIST } else { &ARRAY }, |walk, at, _| {
            walk.elements(at, &mut index, |walk, at, _| {
                element.clear();
                let value = if of_pairs {
                    let pair = walk.pair(at, depth)?;
                    pair.write(&mut element, &mut around.repaired);
                    pair.value.unwrap_or_default()
                } else {
                    let mut value = AnyValue::default();
                    walk.any_value(at, depth, &mut value)?;
                    value.write(&mut element, &mut around.repaired);
                    value
                };
                around.levels = around.levels.max(value.levels);
                around.repaired += value.repaired;
                put_bytes(&mut content, 1, &element);
                Ok(())
            })
        })?;
        Ok(content)
    }
}

impl AnyValue<'_> {
    /// Writes the message in protobuf; counts a text that is not UTF-8.
    fn write(&self, out: &mut Vec<u8>, repaired: &mut usize) {
        match &self.last {
            Variant::Empty => {}
            Variant::Text(text) => put_text(out, 1, text, repaired),
            Variant::Bool(bool) => put_varint_field(out, 2, u64::from(*bool)),
            Variant::Int(int) => put_varint_field(out, 3, int.cast_unsigned()),
            Variant::Double(double) => put_fixed64(out, 4, double.to_bits()),
            Variant::Array(content) => put_bytes(out, 5, content),
            Variant::Kvlist(content) => put_bytes(out, 6, content),
            Variant::Bytes(bytes) => put_bytes(out, 7, bytes),
        }
    }
}

impl Pair<'_> {
    fn write(&self, out: &mut Vec<u8>, repaired: &mut usize) {
        if !self.key.is_empty() {
            put_text(out, 1, &self.key, repaired);
        }
        if let Some(value) = &self.value {
            let mut message = Vec::new();
            value.write(&mut message, repaired);
            put_bytes(out, 2, &message);
        }
    }
}

/// Appends a text field, repaired if it is not UTF-8, which is counted (W14).
pub(super) fn put_text(out: &mut Vec<u8>, field: u32, text: &[u8], repaired: &mut usize) {
    if simdutf8::basic::from_utf8(text).is_ok() {
        put_bytes(out, field, text);
    } else {
        *repaired += 1;
        put_bytes(out, field, String::from_utf8_lossy(text).as_bytes());
    }
}
