//! KeyValue and AnyValue messages.
//!
//! Duty: one attribute into the builder; arrays and key-value lists are checked to their bottom and kept as the bytes
//! that came. Guarantee: the recursion ends at 32 levels; what lies deeper is not looked at, for the span is set aside.
//! Left to others: writing anew what is not kept as it came (`normalize`).

use super::Walk;
use super::normalize::Normal;
use crate::otlp::builder::{Level, Value};
use crate::otlp::counts::{Advisory, Message};
use crate::otlp::wire::{Broken, Reader, fixed64_tag, length_tag, varint_tag};
use crate::span::schema::attr_type;

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

// the tags that fit a byte, as bytes
const SHORT_KEY: u8 = byte(KEY);
const SHORT_VALUE: u8 = byte(VALUE);
const SHORT_STRING: u8 = byte(STRING);
const SHORT_BOOL: u8 = byte(BOOL);
const SHORT_INT: u8 = byte(INT);
const SHORT_DOUBLE: u8 = byte(DOUBLE);

const fn byte(tag: u32) -> u8 {
    assert!(tag < 0x80);
    tag.to_le_bytes()[0]
}

/// The depth to which values are checked, and the call stack used, whatever L11 is set to: what undecodable is does not
/// depend on the configuration.
const MAX_DEPTH: usize = 32;

impl<'a> Walk<'_, 'a> {
    /// Reads one attribute of `level`, the message at which `reader` stands.
    ///
    /// What nearly every attribute looks like (key, then value, each said once and short, of a scalar type) is read
    /// without results that go through memory; all else goes the general way.
    #[inline]
    pub(super) fn key_value(&mut self, level: Level, reader: &mut Reader<'a>) -> Result<(), Broken> {
        let bytes = reader.bytes()?;
        if let Some((key, value)) = short_pair(bytes) {
            match *value {
                [SHORT_STRING, len, ref text @ ..] if usize::from(len) == text.len() && len < 0x80 => {
                    self.builder.slice_attribute(level, key, attr_type::STRING, text);
                    return Ok(());
                }
                [SHORT_INT, int @ 0..0x80] => {
                    self.builder.scalar_attribute(level, key, attr_type::INT, u64::from(int));
                    return Ok(());
                }
                [SHORT_INT, low @ 0x80..=0xff, high @ 0..0x80] => {
                    let int = u64::from(low & 0x7f) | u64::from(high) << 7;
                    self.builder.scalar_attribute(level, key, attr_type::INT, int);
                    return Ok(());
                }
                [SHORT_BOOL, bool @ 0..0x80] => {
                    self.builder.scalar_attribute(level, key, attr_type::BOOL, u64::from(bool != 0));
                    return Ok(());
                }
                [SHORT_DOUBLE, a, b, c, d, e, f, g, h] => {
                    let bits = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
                    self.builder.scalar_attribute(level, key, attr_type::DOUBLE, bits);
                    return Ok(());
                }
                _ => {}
            }
        }
        self.any_key_value(level, reader.last(bytes))
    }

    #[inline(never)]
    fn any_key_value(&mut self, level: Level, mut reader: Reader<'a>) -> Result<(), Broken> {
        let message = reader;
        let (mut key, mut value): (&[u8], Option<Reader<'a>>) = (&[], None);
        while !reader.is_empty() {
            match reader.tag()? {
                KEY => key = reader.bytes().map_err(|broken| broken.within("key"))?,
                VALUE => {
                    let part = reader.message().map_err(|broken| broken.within("value"))?;
                    if value.replace(part).is_some() {
                        return self.merged_key_value(level, message, part.offset());
                    }
                }
                tag => self.other_of_key_value(&mut reader, tag)?,
            }
        }
        let Some(message) = value else {
            self.builder.attribute(level, key, Value::Empty);
            return Ok(());
        };
        let mut is_clean = true;
        let value = self.any_value(message, 0, &mut is_clean).map_err(|broken| broken.within("value"))?;
        if !is_clean && matches!(value, Value::Array { .. } | Value::Kvlist { .. }) {
            return self.normalized(level, key, message);
        }
        self.builder.attribute(level, key, value);
        Ok(())
    }

    #[cold]
    fn other_of_key_value(&mut self, reader: &mut Reader<'_>, tag: u32) -> Result<(), Broken> {
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
        while !reader.is_empty() {
            match reader.tag()? {
                KEY => key = reader.bytes().map_err(|broken| broken.within("key"))?,
                VALUE => {
                    let part = reader.message().map_err(|broken| broken.within("value"))?;
                    self.any_value(part, 0, &mut true).map_err(|broken| broken.within("value"))?;
                    merged.extend_from_slice(part.rest());
                }
                tag if reader.offset() < seen => reader.skip(tag, |_| false)?,
                tag => self.other_of_key_value(&mut reader, tag)?,
            }
        }
        self.normalized(level, key, Reader::new(&merged))
    }

    /// Appends what is left of a checked `message` once the merge rules are applied and texts are repaired.
    #[cold]
    fn normalized(&mut self, level: Level, key: &[u8], message: Reader<'_>) -> Result<(), Broken> {
        let mut normal = Normal::new(self.max_depth());
        let levels = normal.any_value(message, 0)?;
        if levels > self.max_depth() {
            self.builder.attribute(level, key, Value::Array { proto: &[], levels });
            return Ok(());
        }
        let value = self.any_value(Reader::new(&normal.out), 0, &mut true)?;
        self.builder.attribute(level, key, value);
        self.builder.note_repaired(level, normal.repaired);
        Ok(())
    }

    fn max_depth(&self) -> usize {
        self.builder.limits().max_value_depth.min(MAX_DEPTH)
    }

    /// W10: the value of the last variant; `depth` lists stand around it. `is_clean` becomes false if the bytes say more,
    /// or say it in another way, than what is kept.
    #[inline]
    fn any_value<'v>(
        &mut self,
        mut reader: Reader<'v>,
        depth: usize,
        is_clean: &mut bool,
    ) -> Result<Value<'v>, Broken> {
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
                    let levels = self.list(part, depth + 1, false, is_clean)?;
                    let before = if let Value::Array { levels, .. } = value { levels } else { 0 };
                    Value::Array { proto, levels: levels.max(before) }
                }
                KVLIST => {
                    let part = reader.message().map_err(|broken| broken.within("kvlistValue"))?;
                    let levels = self.list(part, depth + 1, true, is_clean)?;
                    let before = if let Value::Kvlist { levels, .. } = value { levels } else { 0 };
                    Value::Kvlist { proto, levels: levels.max(before) }
                }
                STRINDEX => {
                    reader.varint().map_err(|broken| broken.within("stringValueStrindex"))?;
                    self.builder.advise(Advisory::ValueStrindex);
                    *is_clean = false;
                    Value::Empty
                }
                tag => {
                    reader.skip(tag, |field| field <= 8)?;
                    self.builder.unknown_field(Message::AnyValue);
                    *is_clean = false;
                    value
                }
            };
        }
        *is_clean &= variants <= 1;
        Ok(value)
    }

    /// Checks the elements of an array or a key-value list; how many levels it has with what is around it.
    #[inline(never)]
    fn list(
        &mut self,
        mut reader: Reader<'_>,
        depth: usize,
        of_pairs: bool,
        is_clean: &mut bool,
    ) -> Result<usize, Broken> {
        let mut deepest = depth;
        if depth > MAX_DEPTH {
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
                *is_clean = false;
                continue;
            }
            let element = reader.message().map_err(|broken| broken.at(name, at))?;
            let levels = if of_pairs {
                self.pair(element, depth, is_clean).map_err(|broken| broken.at(name, at))?
            } else {
                self.element(element, depth, is_clean).map_err(|broken| broken.at(name, at))?
            };
            deepest = deepest.max(levels);
            at += 1;
        }
        Ok(deepest)
    }

    /// A value within a list.
    fn element(&mut self, reader: Reader<'_>, depth: usize, is_clean: &mut bool) -> Result<usize, Broken> {
        Ok(match self.any_value(reader, depth, is_clean)? {
            Value::Array { levels, .. } | Value::Kvlist { levels, .. } => levels,
            Value::Text(text) => {
                note_text(text, is_clean);
                depth
            }
            _ => depth,
        })
    }

    /// A key with its value within a list.
    fn pair(&mut self, mut reader: Reader<'_>, depth: usize, is_clean: &mut bool) -> Result<usize, Broken> {
        let (mut deepest, mut keys, mut values) = (depth, 0, 0);
        while !reader.is_empty() {
            match reader.tag()? {
                KEY => {
                    note_text(reader.bytes().map_err(|broken| broken.within("key"))?, is_clean);
                    keys += 1;
                }
                VALUE => {
                    let part = reader.message().map_err(|broken| broken.within("value"))?;
                    deepest =
                        deepest.max(self.element(part, depth, is_clean).map_err(|broken| broken.within("value"))?);
                    values += 1;
                }
                tag => {
                    self.other_of_key_value(&mut reader, tag)?;
                    *is_clean = false;
                }
            }
        }
        *is_clean &= keys <= 1 && values <= 1;
        Ok(deepest)
    }
}

/// Key and value of a KeyValue that is nothing but these two in this order, each shorter than 128 bytes.
#[inline]
fn short_pair(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [SHORT_KEY, len @ 0..0x80, rest @ ..] = bytes else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(*len))?;
    match rest {
        [SHORT_VALUE, len @ 0..0x80, value @ ..] if usize::from(*len) == value.len() => Some((key, value)),
        _ => None,
    }
}

fn note_text(text: &[u8], is_clean: &mut bool) {
    *is_clean &= simdutf8::basic::from_utf8(text).is_ok();
}
