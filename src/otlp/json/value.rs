//! Attributes of OTLP/JSON: `KeyValue` and `AnyValue`.
//!
//! Duty: one [`Value`] from one or more value objects (J4, J19 to J24). Guarantee: arrays and lists become the same
//! `AnyValue` bytes that protobuf has for them. Left to others: limits (`builder`).

use std::borrow::Cow;

use super::pull::Reader;
use super::text::base64;
use super::{Context, elements, members, number};
use crate::otlp::columns::utf8;
use crate::otlp::decode::put_varint;
use crate::otlp::{Undecodable, Value};

/// Levels of array or key-value list that are read; a deeper value is set aside whatever the limits say (L11).
const FIXED_DEPTH: usize = 32;

/// A variant of the oneof; arrays and lists are the bytes of `ArrayValue` or `KeyValueList`.
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
    KvList(Vec<u8>),
}

/// The value so far, and the levels of its deepest array or list.
#[derive(Debug, Default)]
struct AnyValue<'a> {
    last: Variant<'a>,
    levels: usize,
}

impl<'a> AnyValue<'a> {
    fn merge(&mut self, cx: &mut Context<'_>, at: &mut Reader<'a>, level: usize) -> Result<(), Undecodable> {
        self.levels = self.levels.max(level);
        members(cx, at, "AnyValue", |cx, at, name| {
            self.last = match name {
                b"stringValue" => Variant::Text(at.text()?),
                b"boolValue" => Variant::Bool(at.boolean()?),
                b"intValue" => Variant::Int(number::i64(at)?),
                b"doubleValue" => Variant::Double(number::double(at)?),
                b"bytesValue" => Variant::Bytes(base64(at)?),
                b"arrayValue" => {
                    // J4: a second array is appended to the first, unless another variant stood between (W10).
                    let mut values =
                        if let Variant::Array(values) = &mut self.last { std::mem::take(values) } else { Vec::new() };
                    self.levels = self.levels.max(array(cx, at, level + 1, &mut values)?);
                    Variant::Array(values)
                }
                b"kvlistValue" => {
                    let mut pairs =
                        if let Variant::KvList(pairs) = &mut self.last { std::mem::take(pairs) } else { Vec::new() };
                    self.levels = self.levels.max(kvlist(cx, at, level + 1, &mut pairs)?);
                    Variant::KvList(pairs)
                }
                b"stringValueStrindex" => {
                    number::i32(at)?;
                    cx.builder.advise("strindex");
                    Variant::Empty
                }
                _ => return Ok(false),
            };
            Ok(true)
        })
    }

    /// Writes the message as protobuf.
    fn encode(&self, out: &mut Vec<u8>) {
        match &self.last {
            Variant::Empty => {}
            Variant::Text(text) => put(out, 0x0a, utf8(text).0.as_bytes()),
            Variant::Bool(value) => out.extend_from_slice(&[0x10, u8::from(*value)]),
            Variant::Int(value) => {
                out.push(0x18);
                put_varint(out, value.cast_unsigned());
            }
            Variant::Double(value) => {
                out.push(0x21);
                out.extend_from_slice(&value.to_bits().to_le_bytes());
            }
            Variant::Array(values) => put(out, 0x2a, values),
            Variant::KvList(pairs) => put(out, 0x32, pairs),
            Variant::Bytes(bytes) => put(out, 0x3a, bytes),
        }
    }
}

/// One length-delimited field.
pub(super) fn put(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends the elements of an `ArrayValue`; gives the deepest level reached.
fn array(cx: &mut Context<'_>, at: &mut Reader<'_>, level: usize, out: &mut Vec<u8>) -> Result<usize, Undecodable> {
    let mut deepest = level;
    if level > FIXED_DEPTH {
        return at.skip().map(|()| deepest);
    }
    let (mut index, mut message) = (0, Vec::new());
    members(cx, at, "ArrayValue", |cx, at, name| {
        if name != b"values" {
            return Ok(false);
        }
        elements(cx, at, &mut index, |cx, at, _| {
            let mut value = AnyValue::default();
            value.merge(cx, at, level)?;
            deepest = deepest.max(value.levels);
            message.clear();
            value.encode(&mut message);
            put(out, 0x0a, &message);
            Ok(())
        })?;
        Ok(true)
    })?;
    Ok(deepest)
}

/// Appends the pairs of a `KeyValueList`; gives the deepest level reached.
fn kvlist(cx: &mut Context<'_>, at: &mut Reader<'_>, level: usize, out: &mut Vec<u8>) -> Result<usize, Undecodable> {
    let mut deepest = level;
    if level > FIXED_DEPTH {
        return at.skip().map(|()| deepest);
    }
    let (mut index, mut message) = (0, Vec::new());
    members(cx, at, "KeyValueList", |cx, at, name| {
        if name != b"values" {
            return Ok(false);
        }
        elements(cx, at, &mut index, |cx, at, _| {
            let pair = pair(cx, at, level)?;
            deepest = deepest.max(pair.value.levels);
            message.clear();
            pair.encode(&mut message);
            put(out, 0x0a, &message);
            Ok(())
        })?;
        Ok(true)
    })?;
    Ok(deepest)
}

#[derive(Debug, Default)]
struct Pair<'a> {
    key: Cow<'a, [u8]>,
    value: AnyValue<'a>,
    /// Whether there was a value object, even an empty one.
    has_value: bool,
}

impl Pair<'_> {
    fn encode(&self, out: &mut Vec<u8>) {
        if !self.key.is_empty() {
            put(out, 0x0a, utf8(&self.key).0.as_bytes());
        }
        if self.has_value {
            let mut message = Vec::new();
            self.value.encode(&mut message);
            put(out, 0x12, &message);
        }
    }
}

fn pair<'a>(cx: &mut Context<'_>, at: &mut Reader<'a>, level: usize) -> Result<Pair<'a>, Undecodable> {
    let mut pair = Pair::default();
    members(cx, at, "KeyValue", |cx, at, name| {
        match name {
            b"key" => pair.key = at.text()?,
            b"value" => {
                pair.has_value = true;
                pair.value.merge(cx, at, level)?;
            }
            b"keyStrindex" => {
                number::i32(at)?;
                cx.builder.advise("strindex");
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(pair)
}

/// Reads a list of attributes; `keep` gets each with its key, and whether its value is nested too deep.
pub(super) fn attributes(
    cx: &mut Context<'_>,
    at: &mut Reader<'_>,
    mut keep: impl FnMut(&mut Context<'_>, &[u8], Value<'_>, bool),
) -> Result<(), Undecodable> {
    let mut message = Vec::new();
    elements(cx, at, &mut 0, |cx, at, _| {
        let pair = pair(cx, at, 0)?;
        message.clear();
        let value = match &pair.value.last {
            Variant::Empty => Value::Empty,
            Variant::Text(text) => Value::Text(text),
            Variant::Bool(value) => Value::Bool(*value),
            Variant::Int(value) => Value::Int(*value),
            Variant::Double(value) => Value::Double(*value),
            Variant::Bytes(bytes) => Value::Bytes(bytes),
            Variant::Array(_) => {
                pair.value.encode(&mut message);
                Value::Array(&message)
            }
            Variant::KvList(_) => {
                pair.value.encode(&mut message);
                Value::KvList(&message)
            }
        };
        let too_deep = pair.value.levels > cx.limits.max_value_depth;
        keep(cx, &pair.key, value, too_deep);
        Ok(())
    })
}
