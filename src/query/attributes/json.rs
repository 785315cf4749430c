//! Attributes as JSON text.
//!
//! Duty: a container as one JSON object, a nested value as JSON. Guarantee: always valid JSON; bytes that are no
//! AnyValue become null instead of an error. Left to others: where JSON is asked for.
//!
//! Integers beyond ±2^53 and doubles that JSON lacks are written as text, so that no reader rounds them (sql.md 9.2).

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::convert::double_text;
use super::list::{Attrs, Value};
use super::seen::Seen;

/// Values nest no deeper than this on the wire (otlp.md); the writer stops there too.
const MAX_DEPTH: usize = 64;
/// The largest integer that every JSON reader keeps.
const MAX_SAFE_INT: u64 = 1 << 53;

/// The attributes of one row as a JSON object: native types, empty = null, a repeated key = its first value.
pub fn object(attrs: &Attrs<'_>, row: usize) -> String {
    let mut out = String::from("{");
    let (mut seen, mut first) = (Seen::default(), true);
    for entry in attrs.entries(row) {
        let key = attrs.key(entry);
        if !seen.is_first(key) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        write_text(key, &mut out);
        out.push(':');
        write_value(attrs.value(entry), &mut out);
    }
    out.push('}');
    out
}

fn write_value(value: Value<'_>, out: &mut String) {
    match value {
        Value::Empty => out.push_str("null"),
        Value::Text(text) => write_text(text, out),
        Value::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        Value::Int(value) => write_int(value, out),
        Value::Double(value) => write_double(value, out),
        Value::Bytes(bytes) => write_text(&STANDARD.encode(bytes), out),
        Value::Nested(bytes) => write_any_value(bytes, out),
    }
}

fn write_int(value: i64, out: &mut String) {
    let quote = if value.unsigned_abs() > MAX_SAFE_INT { "\"" } else { "" };
    write!(out, "{quote}{value}{quote}").expect("writing to a String does not fail");
}

fn write_double(value: f64, out: &mut String) {
    let quote = if value.is_finite() { "" } else { "\"" };
    write!(out, "{quote}{}{quote}", double_text(value)).expect("writing to a String does not fail");
}

fn write_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// An AnyValue message as JSON.
pub fn write_any_value(bytes: &[u8], out: &mut String) {
    let keep = out.len();
    if any_value(bytes, 0, out).is_none() {
        out.truncate(keep);
        out.push_str("null");
    }
}

/// OTLP common.proto, AnyValue: string 1, bool 2, int 3, double 4, array 5, kvlist 6, bytes 7; the last one counts.
fn any_value(bytes: &[u8], depth: usize, out: &mut String) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut last = None;
    for field in Fields(bytes) {
        let (number, wire) = field?;
        if (1..=7).contains(&number) {
            last = Some((number, wire));
        }
    }
    match last {
        None => out.push_str("null"),
        Some((1, Wire::Bytes(text))) => write_text(&String::from_utf8_lossy(text), out),
        Some((2, Wire::Varint(value))) => out.push_str(if value != 0 { "true" } else { "false" }),
        Some((3, Wire::Varint(value))) => write_int(value.cast_signed(), out),
        Some((4, Wire::Fixed64(bits))) => write_double(f64::from_bits(bits), out),
        Some((5, Wire::Bytes(message))) => array(message, depth, out)?,
        Some((6, Wire::Bytes(message))) => kvlist(message, depth, out)?,
        Some((7, Wire::Bytes(raw))) => write_text(&STANDARD.encode(raw), out),
        Some(_) => return None,
    }
    Some(())
}

fn array(message: &[u8], depth: usize, out: &mut String) -> Option<()> {
    out.push('[');
    let mut first = true;
    for field in Fields(message) {
        let (1, Wire::Bytes(value)) = field? else { continue };
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        any_value(value, depth + 1, out)?;
    }
    out.push(']');
    Some(())
}

fn kvlist(message: &[u8], depth: usize, out: &mut String) -> Option<()> {
    out.push('{');
    let (mut seen, mut first) = (Seen::default(), true);
    for field in Fields(message) {
        let (1, Wire::Bytes(pair)) = field? else { continue };
        let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
        for field in Fields(pair) {
            match field? {
                (1, Wire::Bytes(bytes)) => key = bytes,
                (2, Wire::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        if !seen.is_first(key) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        write_text(&String::from_utf8_lossy(key), out);
        out.push(':');
        any_value(value, depth + 1, out)?;
    }
    out.push('}');
    Some(())
}

enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The fields of a protobuf message; `None` where the bytes are none.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Wire<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Wire<'a>)> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let len = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(len)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return None,
        };
        Some((tag >> 3, wire))
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(len)?;
        self.0 = tail;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = *self.take(1)?.first()?;
            value |= u64::from(byte & 127).checked_shl(shift).unwrap_or(0);
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(bytes: &[u8]) -> String {
        let mut out = String::new();
        write_any_value(bytes, &mut out);
        out
    }

    #[test]
    fn nested_values_keep_their_types() {
        // array [ "a", true, 2^53 + 1, 1.5, { "k": null } ]
        let big = [0x18, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10];
        let mut array = vec![0x0a, 3, 0x0a, 1, b'a', 0x0a, 2, 0x10, 1, 0x0a, 9];
        array.extend(big);
        array.extend([0x0a, 9, 0x21]);
        array.extend(1.5_f64.to_le_bytes());
        array.extend([0x0a, 9, 0x32, 7, 0x0a, 5, 0x0a, 1, b'k', 0x12, 0]);
        let mut value = vec![0x2a, u8::try_from(array.len()).unwrap()];
        value.extend(array);
        assert_eq!(json(&value), r#"["a",true,"9007199254740993",1.5,{"k":null}]"#);
    }

    #[test]
    fn the_first_of_equal_keys_of_a_nested_value_counts_however_many_there_are() {
        let message = |tag: u8, body: &[u8]| {
            let length = u16::try_from(body.len()).unwrap();
            let varint = [u8::try_from(length & 127).unwrap() | 128, u8::try_from(length >> 7).unwrap()];
            [&[tag][..], &varint[..], body].concat()
        };
        let pair = |n: usize, value: u8| {
            let key = message(0x0a, format!("k{n}").as_bytes());
            message(0x0a, &[key, message(0x12, &[0x18, value])].concat())
        };
        let pairs: Vec<u8> = (0..300).flat_map(|n| pair(n, 1)).chain((0..300).flat_map(|n| pair(n, 2))).collect();
        let expected: Vec<String> = (0..300).map(|n| format!("\"k{n}\":1")).collect();
        assert_eq!(json(&message(0x32, &pairs)), format!("{{{}}}", expected.join(",")));
    }

    #[test]
    fn bytes_that_are_no_message_are_null() {
        for bytes in [&[0x2a, 200][..], &[0xff; 12], &[0x0b], &[0x0a, 5, 1]] {
            assert_eq!(json(bytes), "null", "{bytes:?}");
        }
        assert_eq!(json(&[]), "null");
    }

    #[test]
    fn nesting_without_end_is_cut() {
        let mut value = vec![0x08; 0];
        for _ in 0..200 {
            let inner =
                [vec![0x0a, u8::try_from(value.len().min(120)).unwrap()], value[..value.len().min(120)].to_vec()];
            let inner = inner.concat();
            value = [vec![0x2a, u8::try_from(inner.len()).unwrap()], inner].concat();
            value.truncate(120);
        }
        json(&value);
    }
}
