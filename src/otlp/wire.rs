//! Protobuf's wire grammar over a slice (otlp.md W1 to W5).
//!
//! Duty: tags, varints, fixed values, lengths and skipping, with every length checked against the enclosing message.
//! Guarantee: no read leaves the slice, no arithmetic overflows, and an error names the byte offset in the request.
//! Left to others: what fields mean (`decode`).

use super::Undecodable;

/// Levels of groups that are skipped; deeper is undecodable (L12).
const MAX_GROUPS: usize = 32;

/// How a field's value is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WireType {
    Varint,
    Fixed64,
    Length,
    StartGroup,
    EndGroup,
    Fixed32,
}

/// A place in a message: reads go from `at` to `end` of the whole request's bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, end: bytes.len() }
    }

    pub(super) fn offset(&self) -> usize {
        self.at
    }

    /// The bytes that are left.
    pub(super) fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..self.end]
    }

    /// Field number and wire type of the next field; `None` at the end of the message.
    #[inline]
    pub(super) fn field(&mut self) -> Result<Option<(u32, WireType)>, Undecodable> {
        if self.at == self.end {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.varint()?;
        let tag = u32::try_from(tag).map_err(|_| error(start, "tag", "a tag is above 32 bits"))?;
        let wire_type = match tag & 7 {
            0 => WireType::Varint,
            1 => WireType::Fixed64,
            2 => WireType::Length,
            3 => WireType::StartGroup,
            4 => WireType::EndGroup,
            5 => WireType::Fixed32,
            other => return Err(error(start, "wire_type", &format!("wire type {other} does not exist"))),
        };
        if tag >> 3 == 0 {
            return Err(error(start, "tag", "field number 0 does not exist"));
        }
        Ok(Some((tag >> 3, wire_type)))
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Undecodable> {
        let start = self.at;
        if let Some(byte) = self.bytes[self.at..self.end].first()
            && *byte < 0x80
        {
            self.at += 1;
            return Ok(u64::from(*byte));
        }
        let mut value = 0_u64;
        for index in 0..10 {
            if self.at == self.end {
                return Err(error(start, "truncated", "a varint is cut off"));
            }
            let byte = self.bytes[self.at];
            self.at += 1;
            if index == 9 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(error(start, "varint", "a varint has more than 64 bits"))
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<u64, Undecodable> {
        let bytes = self.take(8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("take gives 8 bytes")))
    }

    #[inline]
    pub(super) fn fixed32(&mut self) -> Result<u32, Undecodable> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes(bytes.try_into().expect("take gives 4 bytes")))
    }

    /// The bytes of a length-delimited value.
    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Undecodable> {
        Ok(self.message()?.rest())
    }

    /// A length-delimited value as a message of its own.
    #[inline]
    pub(super) fn message(&mut self) -> Result<Self, Undecodable> {
        let start = self.at;
        let length = self.varint()?;
        let room = self.end - self.at;
        let length = usize::try_from(length).ok().filter(|length| *length <= room).ok_or_else(|| {
            error(
                start,
                "truncated",
                &format!("a length of {length} reaches past the end of its message ({room} left)"),
            )
        })?;
        let inner = Self { bytes: self.bytes, at: self.at, end: self.at + length };
        self.at += length;
        Ok(inner)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Undecodable> {
        if self.end - self.at < length {
            return Err(error(self.at, "truncated", &format!("a value of {length} bytes is cut off")));
        }
        let bytes = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(bytes)
    }

    /// Skips the value of an unknown field (W4, W5).
    pub(super) fn skip(&mut self, field: u32, wire_type: WireType) -> Result<(), Undecodable> {
        let start = self.at;
        let mut open: Vec<u32> = Vec::new();
        let mut next = Some((field, wire_type));
        while let Some((field, wire_type)) = next {
            match wire_type {
                WireType::Varint => drop(self.varint()?),
                WireType::Fixed64 => drop(self.take(8)?),
                WireType::Fixed32 => drop(self.take(4)?),
                WireType::Length => drop(self.message()?),
                WireType::StartGroup if open.len() == MAX_GROUPS => {
                    return Err(error(start, "nesting", "groups are nested more than 32 deep"));
                }
                WireType::StartGroup => open.push(field),
                WireType::EndGroup => {
                    if open.pop() != Some(field) {
                        return Err(error(self.at, "wire_type", &format!("group {field} ends but did not begin")));
                    }
                }
            }
            if open.is_empty() {
                return Ok(());
            }
            next = self.field()?;
        }
        Err(error(start, "truncated", "a group does not end"))
    }
}

/// An error at `offset`; the path is added by the callers on the way out.
pub(super) fn error(offset: usize, kind: &'static str, detail: &str) -> Undecodable {
    Undecodable { path: String::new(), offset, detail: detail.to_owned(), kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn varint(bytes: &[u8]) -> Result<u64, &'static str> {
        Cursor::new(bytes).varint().map_err(|e| e.kind)
    }

    #[test]
    fn varints_have_at_most_ten_bytes_and_64_bits() {
        assert_eq!(varint(&[0x80, 0]), Ok(0), "leading zero groups are fine");
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]), Ok(u64::MAX));
        assert_eq!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]), Err("varint"));
        assert_eq!(varint(&[0x80; 11]), Err("varint"));
        assert_eq!(varint(&[0x80]), Err("truncated"));
        assert_eq!(varint(&[]), Err("truncated"));
    }

    #[test]
    fn tags_are_checked() {
        let field = |bytes: &[u8]| Cursor::new(bytes).field().map_err(|e| e.kind);
        assert_eq!(field(&[0]), Err("tag"));
        assert_eq!(field(&[0xf8, 0xff, 0xff, 0xff, 0x0f]), Ok(Some(((1 << 29) - 1, WireType::Varint))));
        assert_eq!(field(&[0xf8, 0xff, 0xff, 0xff, 0x1f]), Err("tag"));
        assert_eq!(field(&[0x0e]), Err("wire_type"));
        assert_eq!(field(&[]), Ok(None));
    }

    #[test]
    fn an_inner_length_cannot_reach_into_the_parent() {
        let bytes = [0x0a, 2, 0x0a, 5, 1, 2, 3, 4, 5];
        let mut outer = Cursor::new(&bytes);
        outer.field().unwrap();
        let mut inner = outer.message().unwrap();
        inner.field().unwrap();
        assert_eq!(inner.message().unwrap_err().kind, "truncated");
    }

    #[test]
    fn groups_are_skipped_up_to_their_own_end() {
        let skip = |bytes: &[u8]| {
            let mut cursor = Cursor::new(bytes);
            let (field, wire_type) = cursor.field().unwrap().unwrap();
            cursor.skip(field, wire_type).map(|()| cursor.offset()).map_err(|e| e.kind)
        };
        assert_eq!(skip(&[0x2b, 0x08, 1, 0x33, 0x34, 0x2c, 9]), Ok(6));
        assert_eq!(skip(&[0x2b, 0x34]), Err("wire_type"));
        assert_eq!(skip(&[0x2b, 0x08, 1]), Err("truncated"));
        assert_eq!(skip(&[0x2c]), Err("wire_type"));
        let deep: Vec<u8> = [0x2b; 33].into_iter().chain([0x2c; 33]).collect();
        assert_eq!(skip(&deep), Err("nesting"));
        assert_eq!(skip(&deep[1..65]), Ok(64));
    }
}
