//! `AnyValue` from protobuf: one value that may come in several pieces (otlp.md W9, W10).
//!
//! Duty: merge the occurrences of `KeyValue.value` into one [`Value`], and check the grammar of nested arrays and lists.
//! Guarantee: the last variant wins; arrays and lists are kept as the bytes received, which a protobuf reader merges the
//! same way. Nesting is walked to [`FIXED_DEPTH`] levels and no further. Left to others: limits (`builder`).

use std::borrow::Cow;

use super::Undecodable;
use super::builder::SpanBuilder;
use super::decode::{fixed64, length, unknown, varint};
use super::value::Value;
use super::wire::Cursor;

/// Levels of array or key-value list that are walked; a deeper value is set aside whatever the limits say (L11).
const FIXED_DEPTH: usize = 32;

/// The value so far.
#[derive(Debug)]
pub(super) struct AnyValue<'a> {
    last: Value<'a>,
    /// The message bytes of all occurrences, for arrays and lists.
    message: Cow<'a, [u8]>,
}

impl Default for AnyValue<'_> {
    fn default() -> Self {
        Self { last: Value::Empty, message: Cow::Borrowed(&[]) }
    }
}

impl<'a> AnyValue<'a> {
    /// The merged value.
    #[inline]
    pub(super) fn get(&self) -> Value<'_> {
        match self.last {
            Value::Array(_) => Value::Array(&self.message),
            Value::KvList(_) => Value::KvList(&self.message),
            other => other,
        }
    }

    /// Merges one more occurrence; gives the levels of nesting of its deepest array or list.
    #[inline]
    pub(super) fn merge(&mut self, at: Cursor<'a>, builder: &mut SpanBuilder) -> Result<usize, Undecodable> {
        if self.message.is_empty() {
            self.message = Cow::Borrowed(at.rest());
        } else {
            self.message.to_mut().extend_from_slice(at.rest());
        }
        any_value(at, &mut self.last, 0, builder)
    }
}

/// Reads the variants of one message into `last`; gives the deepest level reached.
fn any_value<'a>(
    mut at: Cursor<'a>,
    last: &mut Value<'a>,
    level: usize,
    builder: &mut SpanBuilder,
) -> Result<usize, Undecodable> {
    let mut deepest = level;
    while let Some((field, wire_type)) = at.field()? {
        *last = match field {
            1 => Value::Text(length(&mut at, wire_type, "stringValue")?.rest()),
            2 => Value::Bool(varint(&mut at, wire_type, "boolValue")? != 0),
            3 => Value::Int(varint(&mut at, wire_type, "intValue")?.cast_signed()),
            4 => Value::Double(f64::from_bits(fixed64(&mut at, wire_type, "doubleValue")?)),
            5 => {
                let array = length(&mut at, wire_type, "arrayValue")?;
                deepest = deepest.max(values(array, level + 1, builder).map_err(|e| e.under("arrayValue"))?);
                Value::Array(&[])
            }
            6 => {
                let list = length(&mut at, wire_type, "kvlistValue")?;
                deepest = deepest.max(pairs(list, level + 1, builder).map_err(|e| e.under("kvlistValue"))?);
                Value::KvList(&[])
            }
            7 => Value::Bytes(length(&mut at, wire_type, "bytesValue")?.rest()),
            8 => {
                varint(&mut at, wire_type, "stringValueStrindex")?;
                builder.advise("strindex");
                Value::Empty
            }
            _ => {
                unknown(&mut at, field, wire_type, "AnyValue", builder)?;
                continue;
            }
        };
    }
    Ok(deepest)
}

fn values(mut at: Cursor<'_>, level: usize, builder: &mut SpanBuilder) -> Result<usize, Undecodable> {
    let mut deepest = level;
    if level > FIXED_DEPTH {
        return Ok(deepest);
    }
    while let Some((field, wire_type)) = at.field()? {
        if field == 1 {
            let value = length(&mut at, wire_type, "values")?;
            let inner = any_value(value, &mut Value::Empty, level, builder).map_err(|e| e.under("values"))?;
            deepest = deepest.max(inner);
        } else {
            unknown(&mut at, field, wire_type, "ArrayValue", builder)?;
        }
    }
    Ok(deepest)
}

fn pairs(mut at: Cursor<'_>, level: usize, builder: &mut SpanBuilder) -> Result<usize, Undecodable> {
    let mut deepest = level;
    if level > FIXED_DEPTH {
        return Ok(deepest);
    }
    while let Some((field, wire_type)) = at.field()? {
        if field == 1 {
            let pair = length(&mut at, wire_type, "values")?;
            deepest = deepest.max(self::pair(pair, level, builder).map_err(|e| e.under("values"))?);
        } else {
            unknown(&mut at, field, wire_type, "KeyValueList", builder)?;
        }
    }
    Ok(deepest)
}

fn pair(mut at: Cursor<'_>, level: usize, builder: &mut SpanBuilder) -> Result<usize, Undecodable> {
    let mut deepest = level;
    while let Some((field, wire_type)) = at.field()? {
        match field {
            1 => drop(length(&mut at, wire_type, "key")?),
            2 => {
                let value = length(&mut at, wire_type, "value")?;
                deepest =
                    deepest.max(any_value(value, &mut Value::Empty, level, builder).map_err(|e| e.under("value"))?);
            }
            3 => {
                varint(&mut at, wire_type, "keyStrindex")?;
                builder.advise("strindex");
            }
            _ => unknown(&mut at, field, wire_type, "KeyValue", builder)?,
        }
    }
    Ok(deepest)
}
