//! Writes values anew that are not kept as they came.
//!
//! Duty: the same value with the merge rules applied (W7 to W10), unknown fields left out (W5) and texts repaired
//! (W14). Guarantee: the result reads the same in every decoder, and again through here gives itself. Left to others:
//! checking the grammar and the depth; both are done before.

use std::borrow::Cow;

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
    /// The lists that are one after the merge: what follows from the first of them on.
    Array(Reader<'a>),
    Kvlist(Reader<'a>),
}

/// A message written anew.
#[derive(Debug)]
pub(super) struct Normal {
    pub(super) out: Vec<u8>,
    /// Texts that had to be repaired.
    pub(super) repaired: usize,
    max_depth: usize,
}

impl Normal {
    /// Values are written `max_depth` lists deep; what is deeper is left out, and told by [`Normal::any_value`].
    pub(super) fn new(max_depth: usize) -> Self {
        Self { out: Vec::new(), repaired: 0, max_depth }
    }

    /// Appends the content of an AnyValue around which `depth` lists stand; how many levels it has with those.
    pub(super) fn any_value(&mut self, reader: Reader<'_>, depth: usize) -> Result<usize, Broken> {
        let mut deepest = depth;
        match last_variant(reader)? {
            Last::Empty => {}
            Last::Text(text) => self.put_text(1, text),
            Last::Bool(value) => put_varint_field(&mut self.out, 2, u64::from(value)),
            Last::Int(value) => put_varint_field(&mut self.out, 3, value),
            Last::Double(bits) => put_fixed64(&mut self.out, 4, bits),
            Last::Bytes(bytes) => put_bytes(&mut self.out, 7, bytes),
            Last::Array(lists) => {
                deepest = self.list(ARRAY, lists, depth + 1, Self::any_value)?;
            }
            Last::Kvlist(lists) => {
                deepest = self.list(KVLIST, lists, depth + 1, Self::key_value)?;
            }
        }
        Ok(deepest)
    }

    /// Appends the list of `tag` with the elements of all such in `lists`.
    fn list(
        &mut self,
        tag: u32,
        mut lists: Reader<'_>,
        depth: usize,
        write: impl Fn(&mut Self, Reader<'_>, usize) -> Result<usize, Broken>,
    ) -> Result<usize, Broken> {
        let mut deepest = depth;
        if depth > self.max_depth {
            return Ok(deepest);
        }
        let around = std::mem::take(&mut self.out);
        let mut content = Vec::new();
        while let Some(mut reader) = lists.next_message(tag) {
            while !reader.is_empty() {
                match reader.tag()? {
                    VALUES => {
                        self.out.clear();
                        deepest = deepest.max(write(self, reader.message()?, depth)?);
                        put_bytes(&mut content, 1, &self.out);
                    }
                    tag => reader.skip(tag, |_| false)?,
                }
            }
        }
        self.out = around;
        put_bytes(&mut self.out, tag >> 3, &content);
        Ok(deepest)
    }

    fn key_value(&mut self, mut reader: Reader<'_>, depth: usize) -> Result<usize, Broken> {
        let (mut key, mut merged): (&[u8], Option<Vec<u8>>) = (&[], None);
        while !reader.is_empty() {
            match reader.tag()? {
                KEY => key = reader.bytes()?,
                VALUE => merged.get_or_insert_default().extend_from_slice(reader.message()?.rest()),
                tag => reader.skip(tag, |_| false)?,
            }
        }
        if !key.is_empty() {
            self.put_text(1, key);
        }
        let Some(merged) = merged else { return Ok(depth) };
        let around = std::mem::take(&mut self.out);
        let deepest = self.any_value(Reader::new(&merged), depth)?;
        let value = std::mem::replace(&mut self.out, around);
        put_bytes(&mut self.out, 2, &value);
        Ok(deepest)
    }

    /// Appends an EntityRef as the field 3 of a Resource.
    pub(super) fn entity_ref(&mut self, mut reader: Reader<'_>) -> Result<(), Broken> {
        let (mut schema_url, mut of): (&[u8], &[u8]) = (&[], &[]);
        let message = reader;
        while !reader.is_empty() {
            let tag = reader.tag()?;
            match tag >> 3 {
                1 if tag == length_tag(1) => schema_url = reader.bytes()?,
                2 if tag == length_tag(2) => of = reader.bytes()?,
                _ => reader.skip(tag, |_| false)?,
            }
        }
        let around = std::mem::take(&mut self.out);
        for (field, text) in [(1, schema_url), (2, of)] {
            if !text.is_empty() {
                self.put_text(field, text);
            }
        }
        let mut reader = message;
        while !reader.is_empty() {
            let tag = reader.tag()?;
            match tag >> 3 {
                field @ (3 | 4) if tag == length_tag(field) => self.put_text(field, reader.bytes()?),
                _ => reader.skip(tag, |_| false)?,
            }
        }
        let message = std::mem::replace(&mut self.out, around);
        put_bytes(&mut self.out, 3, &message);
        Ok(())
    }

    fn put_text(&mut self, field: u32, text: &[u8]) {
        let text = String::from_utf8_lossy(text);
        self.repaired += usize::from(matches!(text, Cow::Owned(_)));
        put_bytes(&mut self.out, field, text.as_bytes());
    }
}

fn last_variant(mut reader: Reader<'_>) -> Result<Last<'_>, Broken> {
    let mut last = Last::Empty;
    while !reader.is_empty() {
        let start = reader;
        last = match reader.tag()? {
            STRING => Last::Text(reader.bytes()?),
            BOOL => Last::Bool(reader.varint()? != 0),
            INT => Last::Int(reader.varint()?),
            DOUBLE => Last::Double(reader.fixed64()?),
            BYTES => Last::Bytes(reader.bytes()?),
            ARRAY => {
                reader.message()?;
                Last::Array(if let Last::Array(lists) = last { lists } else { start })
            }
            KVLIST => {
                reader.message()?;
                Last::Kvlist(if let Last::Kvlist(lists) = last { lists } else { start })
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
    Ok(last)
}
