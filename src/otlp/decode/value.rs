//! KeyValue and AnyValue messages.
//!
//! Duty: one attribute into the builder; arrays and key-value lists are checked to their bottom and kept as the bytes
//! that came. Guarantee: the recursion ends at the limit of L11; what lies deeper is not looked at, for the span is set
//! aside. Left to others: writing anew what is not kept as it came (`normalize`).

use super::{Walk, normalize};
use crate::otlp::builder::{Level, Value};
use crate::otlp::counts::{Advisory, Message};
use crate::otlp::wire::{Broken, Reader, fixed64_tag, length_tag, varint_tag};

pub(super) const KEY: u32 = length_tag(1);
pub(super) const VALUE: u32 = length_tag(2);
pub(super) const KEY_STRINDEX: u32 = varint_tag(3);
pub(super) const STRING: u32 = length_tag(1);
pub(super) const BOOL: u32 = varint_tag(2);
pub(super) const INT: u32 = varint_tag(3);
pub(super) const DOUBLE: u32 = fixed64_tag(4);
pub(super) const ARRAY: u32 = length_tag(5);
pub(super) const KVLIST: u32 = length_tag(6);
pub(super) const BYTES: u32 = length_tag(7);
pub(super) const STRINDEX: u32 = varint_tag(8);
/// Field of both lists.
pub(super) const VALUES: u32 = length_tag(1);

/// L11, whatever the configuration says: the depth to which the call stack is used.
const MAX_DEPTH: usize = 32;

/// What was found within a value beside the value.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    /// The bytes that came say more, or say it in another way, than what is kept.
    is_unclean: bool,
    /// Texts within lists that are not UTF-8.
    broken_texts: usize,
}

impl<'a> Walk<'_, 'a> {
    /// Reads one attribute of `level`.
    #[inline]
    pub(super) fn key_value(&mut self, level: Level, mut reader: Reader<'a>) -> Result<(), Broken> {
        let message = reader;
        let (mut key, mut value): (&[u8], Option<Reader<'a>>) = (&[], None);
        while !reader.is_empty() {
            match reader.tag()? {
                KEY => key = reader.bytes().map_err(|broken| broken.within("key"))?,
                VALUE => {
                    let part = reader.message().map_err(|broken| broken.within("value"))?;
                    if value.replace(part).is_some() {
                        return self.merged_key_value(level, message, part.range().0);
                    }
                }
                tag => self.other_of_key_value(&mut reader, tag)?,
            }
        }
        let Some(message) = value else {
            self.builder.attribute(level, key, Value::Empty);
            return Ok(());
        };
        let mut found = Found::default();
        let value = self.any_value(message, 0, &mut found).map_err(|broken| broken.within("value"))?;
        match value {
            Value::Array { levels, .. } | Value::Kvlist { levels, .. }
                if found.is_unclean && levels <= self.max_depth() =>
            {
                self.normalized(level, key, message, found.broken_texts)
            }
            _ => {
                self.builder.attribute(level, key, value);
                Ok(())
            }
        }
    }

    #[cold]
    fn other_of_key_value(&mut self, reader: &mut Reader<'a>, tag: u32) -> Result<(), Broken> {
        if tag == KEY_STRINDEX {
            reader.varint().map_err(|broken| broken.within("keyStrindex"))?;
            self.builder.advise(Advisory::KeyStrindex);
            return Ok(());
        }
        reader.skip(tag, |field| field <= 3)?;
        self.builder.unknown_field(Message::KeyValue);
        Ok(())
    }

    /// A KeyValue whose value occurs again: the parts are checked each, then read as one (W9). What is unknown before
    /// `seen` was counted already.
    #[cold]
    fn merged_key_value(&mut self, level: Level, mut reader: Reader<'a>, seen: usize) -> Result<(), Broken> {
        let (mut key, mut merged): (&[u8], Vec<u8>) = (&[], Vec::new());
        let (mut found, mut deepest) = (Found::default(), 0);
        while !reader.is_empty() {
            match reader.tag()? {
                KEY => key = reader.bytes().map_err(|broken| broken.within("key"))?,
                VALUE => {
                    let part = reader.message().map_err(|broken| broken.within("value"))?;
                    let value = self.any_value(part, 0, &mut found).map_err(|broken| broken.within("value"))?;
                    if let Value::Array { levels, .. } | Value::Kvlist { levels, .. } = value {
                        deepest = deepest.max(levels);
                    }
                    merged.extend_from_slice(part.rest());
                }
                tag if reader.range().0 < seen => reader.skip(tag, |_| false)?,
                tag => self.other_of_key_value(&mut reader, tag)?,
            }
        }
        if deepest > self.max_depth() {
            self.builder.attribute(level, key, Value::Array { proto: &[], levels: deepest });
            return Ok(());
        }
        self.normalized(level, key, Reader::new(&merged), found.broken_texts)
    }

    /// Appends what is left of a checked `message` once the merge rules are applied and texts are repaired.
    #[cold]
    fn normalized(&mut self, level: Level, key: &[u8], message: Reader<'_>, broken: usize) -> Result<(), Broken> {
        let mut normal = std::mem::take(&mut self.normal);
        normal.clear();
        normalize::any_value(message, &mut normal)?;
        let mut walk = Walk { body: &normal, builder: self.builder, ranges: Default::default(), normal: Vec::new() };
        let value = walk.any_value(Reader::new(&normal), 0, &mut Found::default())?;
        walk.builder.attribute(level, key, value);
        if matches!(value, Value::Array { .. } | Value::Kvlist { .. }) {
            walk.builder.note_repaired(level, broken);
        }
        self.normal = normal;
        Ok(())
    }

    fn max_depth(&self) -> usize {
        self.builder.limits().max_value_depth.min(MAX_DEPTH)
    }

    /// W10: the value of the last variant. `depth` lists stand around it.
    #[inline]
    fn any_value(&mut self, mut reader: Reader<'a>, depth: usize, found: &mut Found) -> Result<Value<'a>, Broken> {
        let proto = reader.rest();
        let mut value = Value::Empty;
        let mut variants = 0;
        while !reader.is_empty() {
            variants += 1;
            value = match reader.tag()? {
                STRING => Value::Text(reader.bytes().map_err(|broken| broken.within("stringValue"))?),
                INT => Value::Int(reader.varint().map_err(|broken| broken.within("intValue"))?.cast_signed()),
                BOOL => Value::Bool(reader.varint().map_err(|broken| broken.within("boolValue"))? != 0),
                DOUBLE => {
                    Value::Double(f64::from_bits(reader.fixed64().map_err(|broken| broken.within("doubleValue"))?))
                }
                BYTES => Value::Bytes(reader.bytes().map_err(|broken| broken.within("bytesValue"))?),
                ARRAY => {
                    let part = reader.message().map_err(|broken| broken.within("arrayValue"))?;
                    let levels = self.list(part, depth + 1, false, found)?;
                    let before = if let Value::Array { levels, .. } = value { levels } else { 0 };
                    Value::Array { proto, levels: levels.max(before) }
                }
                KVLIST => {
                    let part = reader.message().map_err(|broken| broken.within("kvlistValue"))?;
                    let levels = self.list(part, depth + 1, true, found)?;
                    let before = if let Value::Kvlist { levels, .. } = value { levels } else { 0 };
                    Value::Kvlist { proto, levels: levels.max(before) }
                }
                STRINDEX => {
                    reader.varint().map_err(|broken| broken.within("stringValueStrindex"))?;
                    self.builder.advise(Advisory::ValueStrindex);
                    found.is_unclean = true;
                    Value::Empty
                }
                tag => {
                    reader.skip(tag, |field| field <= 8)?;
                    self.builder.unknown_field(Message::AnyValue);
                    found.is_unclean = true;
                    value
                }
            };
        }
        found.is_unclean |= variants > 1;
        Ok(value)
    }

    /// Checks the elements of an array or a key-value list; how many levels it has with what is around it.
    #[inline(never)]
    fn list(
        &mut self,
        mut reader: Reader<'a>,
        depth: usize,
        of_pairs: bool,
        found: &mut Found,
    ) -> Result<usize, Broken> {
        let mut deepest = depth;
        if depth > self.max_depth() {
            return Ok(deepest);
        }
        let (name, message) = if of_pairs {
            ("kvlistValue.values", Message::KeyValueList)
        } else {
            ("arrayValue.values", Message::ArrayValue)
        };
        let mut at = 0;
        while !reader.is_empty() {
            let tag = reader.tag()?;
            if tag != VALUES {
                reader.skip(tag, |field| field == 1)?;
                self.builder.unknown_field(message);
                found.is_unclean = true;
                continue;
            }
            let element = reader.message().map_err(|broken| broken.at(name, at))?;
            let levels = if of_pairs {
                self.pair(element, depth, found).map_err(|broken| broken.at(name, at))?
            } else {
                self.element(element, depth, found).map_err(|broken| broken.at(name, at))?
            };
            deepest = deepest.max(levels);
            at += 1;
        }
        Ok(deepest)
    }

    /// A value within a list.
    fn element(&mut self, reader: Reader<'a>, depth: usize, found: &mut Found) -> Result<usize, Broken> {
        Ok(match self.any_value(reader, depth, found)? {
            Value::Array { levels, .. } | Value::Kvlist { levels, .. } => levels,
            Value::Text(text) => {
                note_text(text, found);
                depth
            }
            _ => depth,
        })
    }

    /// A key with its value within a list.
    fn pair(&mut self, mut reader: Reader<'a>, depth: usize, found: &mut Found) -> Result<usize, Broken> {
        let (mut deepest, mut keys, mut values) = (depth, 0, 0);
        while !reader.is_empty() {
            match reader.tag()? {
                KEY => {
                    note_text(reader.bytes().map_err(|broken| broken.within("key"))?, found);
                    keys += 1;
                }
                VALUE => {
                    let part = reader.message().map_err(|broken| broken.within("value"))?;
                    deepest = deepest.max(self.element(part, depth, found).map_err(|broken| broken.within("value"))?);
                    values += 1;
                }
                tag => {
                    self.other_of_key_value(&mut reader, tag)?;
                    found.is_unclean = true;
                }
            }
        }
        found.is_unclean |= keys > 1 || values > 1;
        Ok(deepest)
    }
}

fn note_text(text: &[u8], found: &mut Found) {
    if simdutf8::basic::from_utf8(text).is_err() {
        found.broken_texts += 1;
        found.is_unclean = true;
    }
}
