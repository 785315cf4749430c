//! Writes values anew that are not kept as they came.
//!
//! Duty: the same value with the merge rules applied (W7 to W10), unknown fields left out (W5) and texts repaired
//! (W14). Guarantee: the result reads the same in every decoder, and again through here gives itself. Left to others:
//! checking the grammar and the depth; both are done before.

use super::value::{ARRAY, BOOL, BYTES, DOUBLE, INT, KEY, KVLIST, STRINDEX, STRING, VALUE, VALUES};
use crate::otlp::wire::{Broken, Reader, length_tag, put_bytes, put_fixed64, put_varint_field};

/// The last variant of an AnyValue.
enum Last<'a> {
    Empty,
    Text(&'a [u8]),
    Bool(bool),
    Int(u64),
    Double(u64),
    Bytes(&'a [u8]),
    /// The lists that are one after the merge.
    Array(Vec<Reader<'a>>),
    Kvlist(Vec<Reader<'a>>),
}

/// Appends an AnyValue message.
pub(super) fn any_value(mut reader: Reader<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    let mut last = Last::Empty;
    while !reader.is_empty() {
        last = match reader.tag()? {
            STRING => Last::Text(reader.bytes()?),
            BOOL => Last::Bool(reader.varint()? != 0),
            INT => Last::Int(reader.varint()?),
            DOUBLE => Last::Double(reader.fixed64()?),
            BYTES => Last::Bytes(reader.bytes()?),
            ARRAY => {
                let mut lists = if let Last::Array(lists) = last { lists } else { Vec::new() };
                lists.push(reader.message()?);
                Last::Array(lists)
            }
            KVLIST => {
                let mut lists = if let Last::Kvlist(lists) = last { lists } else { Vec::new() };
                lists.push(reader.message()?);
                Last::Kvlist(lists)
            }
            STRINDEX => {
                reader.varint()?;
                Last::Empty
            }
            tag => {
                reader.skip(tag, |_| false)?;
                last
            }
        };
    }
    match last {
        Last::Empty => {}
        Last::Text(text) => put_text(out, 1, text),
        Last::Bool(value) => put_varint_field(out, 2, u64::from(value)),
        Last::Int(value) => put_varint_field(out, 3, value),
        Last::Double(bits) => put_fixed64(out, 4, bits),
        Last::Bytes(bytes) => put_bytes(out, 7, bytes),
        Last::Array(lists) => put_bytes(out, 5, &list(lists, any_value)?),
        Last::Kvlist(lists) => put_bytes(out, 6, &list(lists, key_value)?),
    }
    Ok(())
}

/// The elements of all `lists` as the content of one.
fn list(
    lists: Vec<Reader<'_>>,
    write: impl Fn(Reader<'_>, &mut Vec<u8>) -> Result<(), Broken>,
) -> Result<Vec<u8>, Broken> {
    let (mut content, mut element) = (Vec::new(), Vec::new());
    for mut reader in lists {
        while !reader.is_empty() {
            match reader.tag()? {
                VALUES => {
                    element.clear();
                    write(reader.message()?, &mut element)?;
                    put_bytes(&mut content, 1, &element);
                }
                tag => reader.skip(tag, |_| false)?,
            }
        }
    }
    Ok(content)
}

fn key_value(mut reader: Reader<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    let (mut key, mut value): (&[u8], Option<Vec<u8>>) = (&[], None);
    while !reader.is_empty() {
        match reader.tag()? {
            KEY => key = reader.bytes()?,
            VALUE => value.get_or_insert_default().extend_from_slice(reader.message()?.rest()),
            tag => reader.skip(tag, |_| false)?,
        }
    }
    put_text(out, 1, key);
    if let Some(merged) = value {
        let mut message = Vec::new();
        any_value(Reader::new(&merged), &mut message)?;
        put_bytes(out, 2, &message);
    }
    Ok(())
}

/// Appends an EntityRef as the field 3 of a Resource.
pub(super) fn entity_ref(mut reader: Reader<'_>, out: &mut Vec<u8>) -> Result<(), Broken> {
    let (mut schema_url, mut of): (&[u8], &[u8]) = (&[], &[]);
    let mut keys = Vec::new();
    while !reader.is_empty() {
        let tag = reader.tag()?;
        match tag >> 3 {
            1 if tag == length_tag(1) => schema_url = reader.bytes()?,
            2 if tag == length_tag(2) => of = reader.bytes()?,
            field @ (3 | 4) if tag == length_tag(field) => put_text(&mut keys, field, reader.bytes()?),
            _ => reader.skip(tag, |_| false)?,
        }
    }
    let mut message = Vec::new();
    put_text(&mut message, 1, schema_url);
    put_text(&mut message, 2, of);
    message.extend_from_slice(&keys);
    put_bytes(out, 3, &message);
    Ok(())
}

fn put_text(out: &mut Vec<u8>, field: u32, text: &[u8]) {
    put_bytes(out, field, String::from_utf8_lossy(text).as_bytes());
}
