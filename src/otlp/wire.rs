//! The protobuf wire: varints, tags, lengths, skipping (otlp.md W1 to W6).
//!
//! Duty: read and write the primitives. Guarantee: no read passes the end of the message it belongs to, whatever the
//! bytes say; nothing is copied. Left to others: which fields a message has (`decode`, `encode`).

use std::fmt::Write;

use super::Undecodable;

/// L12: groups in groups.
const MAX_GROUPS: usize = 32;

const VARINT: u32 = 0;
const EIGHT_BYTES: u32 = 1;
const LENGTH: u32 = 2;
const GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FOUR_BYTES: u32 = 5;

/// Tag of a varint field.
pub(super) const fn varint_tag(field: u32) -> u32 {
    field << 3 | VARINT
}

/// Tag of a fixed64 or double field.
pub(super) const fn fixed64_tag(field: u32) -> u32 {
    field << 3 | EIGHT_BYTES
}

/// Tag of a text, bytes or message field.
pub(super) const fn length_tag(field: u32) -> u32 {
    field << 3 | LENGTH
}

/// Tag of a fixed32 field.
pub(super) const fn fixed32_tag(field: u32) -> u32 {
    field << 3 | FOUR_BYTES
}

/// Why bytes are no message, and where; boxed, for it is rare and results are everywhere.
#[derive(Debug)]
pub(super) struct Broken(Box<Place>);

#[derive(Debug)]
struct Place {
    offset: usize,
    kind: &'static str,
    detail: String,
    /// Innermost first.
    path: Vec<(&'static str, Option<usize>)>,
}

impl Broken {
    #[cold]
    pub(super) fn new(offset: usize, kind: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Place { offset, kind, detail: detail.into(), path: Vec::new() }))
    }

    /// Adds the field around what is broken.
    #[cold]
    pub(super) fn within(mut self, field: &'static str) -> Self {
        self.0.path.push((field, None));
        self
    }

    /// Adds the element of a repeated field around what is broken; an empty name if the field itself is added next.
    #[cold]
    pub(super) fn at(mut self, field: &'static str, index: usize) -> Self {
        self.0.path.push((field, Some(index)));
        self
    }
}

impl From<Broken> for Undecodable {
    fn from(Broken(place): Broken) -> Self {
        let mut path = String::new();
        for (field, index) in place.path.iter().rev() {
            let dot = if path.is_empty() || field.is_empty() { "" } else { "." };
            let _ = match index {
                Some(index) => write!(path, "{dot}{field}[{index}]"),
                None => write!(path, "{dot}{field}"),
            };
        }
        if path.is_empty() {
            path.push_str("request");
        }
        Self { path, offset: place.offset, detail: place.detail, kind: place.kind }
    }
}

/// What is left of one message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    /// Offset of the message's end in the request.
    end: usize,
    /// `rest.len()` before the last tag.
    before_tag: usize,
}

impl<'a> Reader<'a> {
    /// Reads a whole request, or a message that stands alone.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, end: bytes.len(), before_tag: bytes.len() }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that are left.
    #[inline]
    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Where the reader stands in the request.
    pub(super) fn offset(&self) -> usize {
        self.end - self.rest.len()
    }

    /// The next tag; whether field and type are acceptable shows when it is matched or [`Reader::skip`]ped.
    #[inline]
    pub(super) fn tag(&mut self) -> Result<u32, Broken> {
        self.before_tag = self.rest.len();
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u32::from(*byte));
        }
        self.long_tag()
    }

    #[inline(never)]
    fn long_tag(&mut self) -> Result<u32, Broken> {
        let tag = self.long_varint()?;
        u32::try_from(tag).map_err(|_| self.broken_tag("tag", "the tag is above 2^32-1"))
    }

    /// W2: at most ten bytes, the tenth at most 1.
    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Broken> {
        if let [byte @ 0..0x80, rest @ ..] = self.rest {
            self.rest = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    #[inline(never)]
    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut value = 0;
        for (at, byte) in self.rest.iter().take(10).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                if at == 9 && *byte > 1 {
                    break;
                }
                self.rest = &self.rest[at + 1..];
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 {
            Broken::new(self.offset(), "truncated", "the message ends within a varint")
        } else {
            Broken::new(self.offset(), "varint", "a varint is longer than 64 bits")
        })
    }

    /// W15: int32, uint32 and enums take the low 32 bits.
    #[inline]
    pub(super) fn varint32(&mut self) -> Result<u32, Broken> {
        #[allow(clippy::cast_possible_truncation, reason = "W15 asks for the low bits")]
        self.varint().map(|value| value as u32)
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<u64, Broken> {
        let (value, rest) = self.rest.split_first_chunk().ok_or_else(|| self.too_short(8))?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*value))
    }

    #[inline]
    pub(super) fn fixed32(&mut self) -> Result<u32, Broken> {
        let (value, rest) = self.rest.split_first_chunk().ok_or_else(|| self.too_short(4))?;
        self.rest = rest;
        Ok(u32::from_le_bytes(*value))
    }

    /// Text or bytes.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let len = self.varint()?;
        // W3: against the end of the enclosing message
        if len > self.rest.len() as u64 {
            return Err(self.too_short(len));
        }
        #[allow(clippy::cast_possible_truncation, reason = "it is at most the length of a slice")]
        let (value, rest) = self.rest.split_at(len as usize);
        self.rest = rest;
        Ok(value)
    }

    /// A message within this one.
    #[inline]
    pub(super) fn message(&mut self) -> Result<Self, Broken> {
        let rest = self.bytes()?;
        Ok(Self { rest, end: self.offset(), before_tag: rest.len() })
    }

    /// The next message with `tag` among fields that were read before, so that nothing of them is broken.
    #[inline]
    pub(super) fn next_message(&mut self, tag: u32) -> Option<Self> {
        while !self.is_empty() {
            let next = self.tag().ok()?;
            if next == tag {
                return self.message().ok();
            }
            self.skip(next, |_| false).ok()?;
        }
        None
    }

    /// A reader of `bytes`, which were read last.
    pub(super) fn last(&self, bytes: &'a [u8]) -> Self {
        Self { rest: bytes, end: self.offset(), before_tag: bytes.len() }
    }

    /// The field whose tag was read last, from its tag to where the reader stands; `start` is a copy of the reader made
    /// before the tag.
    pub(super) fn since(&self, start: &Self) -> &'a [u8] {
        &start.rest[..start.rest.len() - self.rest.len()]
    }

    /// Passes over a field that no one reads: an error if its number is 0, if its type does not exist, or (W6) if the
    /// field `is_known`, for then it has a type that is not its own.
    #[cold]
    #[inline(never)]
    pub(super) fn skip(&mut self, tag: u32, is_known: impl FnOnce(u32) -> bool) -> Result<(), Broken> {
        let field = tag >> 3;
        if field != 0 && is_known(field) {
            let detail = format!("field {field} has wire type {}, which is not its own", tag & 7);
            return Err(self.broken_tag("wire_type", detail));
        }
        self.skip_any(tag)
    }

    fn skip_any(&mut self, tag: u32) -> Result<(), Broken> {
        let mut open = Vec::new();
        let mut tag = tag;
        loop {
            if tag >> 3 == 0 {
                return Err(self.broken_tag("tag", "field number 0"));
            }
            match tag & 7 {
                VARINT => drop(self.varint()?),
                EIGHT_BYTES => drop(self.fixed64()?),
                LENGTH => drop(self.bytes()?),
                FOUR_BYTES => drop(self.fixed32()?),
                GROUP if open.len() == MAX_GROUPS => {
                    return Err(self.broken_tag("nesting", "groups nest more than 32 levels"));
                }
                GROUP => open.push(tag >> 3),
                END_GROUP if open.pop() == Some(tag >> 3) => {}
                END_GROUP => return Err(self.broken_tag("wire_type", "an end of a group that was not begun")),
                other => return Err(self.broken_tag("wire_type", format!("wire type {other} does not exist"))),
            }
            if open.is_empty() {
                return Ok(());
            }
            if self.is_empty() {
                return Err(Broken::new(self.end, "truncated", "the message ends within a group"));
            }
            tag = self.tag()?;
        }
    }

    #[cold]
    fn broken_tag(&self, kind: &'static str, detail: impl Into<String>) -> Broken {
        Broken::new(self.end - self.before_tag, kind, detail)
    }

    #[cold]
    fn too_short(&self, want: u64) -> Broken {
        let left = self.rest.len();
        Broken::new(self.offset(), "truncated", format!("{want} bytes are announced, {left} are left in the message"))
    }
}

/// Appends a varint.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends a text, bytes or message field, also an empty one.
pub(super) fn put_bytes(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    put_varint(out, u64::from(length_tag(field)));
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends a varint field, also a zero one.
pub(super) fn put_varint_field(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(varint_tag(field)));
    put_varint(out, value);
}

/// Appends a fixed64 or double field, also a zero one.
pub(super) fn put_fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    put_varint(out, u64::from(fixed64_tag(field)));
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a fixed32 field, also a zero one.
pub(super) fn put_fixed32(out: &mut Vec<u8>, field: u32, value: u32) {
    put_varint(out, u64::from(fixed32_tag(field)));
    out.extend_from_slice(&value.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, &'static str> {
        Reader::new(bytes).varint().map_err(|broken| broken.0.kind)
    }

    fn skipped(bytes: &[u8]) -> Result<usize, &'static str> {
        let mut reader = Reader::new(bytes);
        let tag = reader.tag().map_err(|broken| broken.0.kind)?;
        reader.skip(tag, |_| false).map_err(|broken| broken.0.kind)?;
        Ok(reader.rest().len())
    }

    #[test]
    fn w2_varints_have_at_most_64_bits_and_may_be_longer_than_needed() {
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(varint(&max), Ok(u64::MAX));
        assert_eq!(varint(&[0x80, 0x00]), Ok(0));
        assert_eq!(varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02]), Err("varint"));
        assert_eq!(varint(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]), Err("varint"));
        assert_eq!(varint(&[0x80, 0x80]), Err("truncated"));
        assert_eq!(varint(&[]), Err("truncated"));
        for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            assert_eq!(varint(&bytes), Ok(value));
        }
    }

    #[test]
    fn w1_a_tag_has_32_bits_and_a_field_number() {
        assert_eq!(skipped(&[0x00, 0x00]), Err("tag"));
        assert_eq!(skipped(&[0xf8, 0xff, 0xff, 0xff, 0x0f, 0x07]), Ok(0));
        assert_eq!(skipped(&[0xf8, 0xff, 0xff, 0xff, 0x1f, 0x07]), Err("tag"));
    }

    #[test]
    fn w4_groups_end_with_their_own_number_and_nest_32_deep() {
        assert_eq!(skipped(&[0x0b, 0x10, 0x05, 0x1b, 0x1c, 0x0c, 0xaa]), Ok(1));
        assert_eq!(skipped(&[0x0b, 0x14]), Err("wire_type"));
        assert_eq!(skipped(&[0x0b, 0x1b, 0x0c, 0x1c]), Err("wire_type"));
        assert_eq!(skipped(&[0x0c]), Err("wire_type"));
        assert_eq!(skipped(&[0x0b, 0x10, 0x05]), Err("truncated"));
        let nested = |levels: usize| [vec![0x0b; levels], vec![0x0c; levels]].concat();
        assert_eq!(skipped(&nested(32)), Ok(0));
        assert_eq!(skipped(&nested(33)), Err("nesting"));
        assert_eq!((skipped(&[0x0e]), skipped(&[0x0f])), (Err("wire_type"), Err("wire_type")));
    }

    #[test]
    fn w3_a_length_is_checked_against_the_enclosing_message() {
        let mut outer = Reader::new(&[0x0a, 0x02, 0x0a, 0x05, 1, 2, 3, 4, 5]);
        outer.tag().unwrap();
        let mut inner = outer.message().unwrap();
        inner.tag().unwrap();
        let error = Undecodable::from(inner.bytes().unwrap_err().within("name").at("spans", 4));
        assert_eq!(error.to_string(), "spans[4].name at byte 4: 5 bytes are announced, 0 are left in the message");
        let huge = [0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 0x00];
        assert_eq!(skipped(&huge), Err("truncated"));
    }
}
