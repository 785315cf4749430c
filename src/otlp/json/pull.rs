//! JSON's grammar over the bytes of a request, pulled token by token (otlp.md 11).
//!
//! Duty: a strict RFC 8259 reader that borrows what it reads. Guarantee: no read leaves the body, nesting is at most
//! [`MAX_DEPTH`], skipping uses neither call stack nor heap, and an error names the byte offset. Text may hold bytes
//! that are not UTF-8: they are passed on and repaired where text is stored (J25). Left to others: what members mean
//! (`request`, `span`, `value`).

use std::borrow::Cow;

use super::number;
use super::text::{check_escapes, unescape};
use crate::otlp::wire::Broken;

/// Levels of objects and lists in one request (L12).
const MAX_DEPTH: usize = 128;

/// What kind of value stands next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Object,
    List,
    Text,
    Number,
    Bool,
    Null,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Object => "an object",
            Self::List => "a list",
            Self::Text => "a string",
            Self::Number => "a number",
            Self::Bool => "true or false",
            Self::Null => "null",
        }
    }
}

/// A place in the body. Copies are bookmarks: a value can be noted now and read later.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    depth: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, depth: 0 }
    }

    /// The place of the next value, for [`Reader::back_to`]; its kind was asked for before.
    pub(super) fn place(&self) -> usize {
        self.at
    }

    /// A reader of what stands at `place`, in the same object or list as this reader.
    pub(super) fn back_to(&self, place: usize) -> Self {
        Self { at: place, ..*self }
    }

    #[cold]
    pub(super) fn fail(&self, kind: &'static str, detail: impl Into<String>) -> Broken {
        Broken::new(self.at, kind, detail)
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// The kind of the next value; nothing but white space is taken.
    #[inline]
    pub(super) fn peek(&mut self) -> Result<Kind, Broken> {
        self.skip_space();
        match self.byte() {
            Some(b'"') => Ok(Kind::Text),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::List),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(0xef) if self.at == 0 => Err(self.fail("json", "the body starts with a byte-order mark")),
            Some(b'+' | b'.' | b'N' | b'I') => Err(self.fail("json", "this is not a JSON number")),
            Some(_) => Err(self.fail("json", "a JSON value is due")),
            None => Err(self.fail("truncated", "the JSON text ends where a value is due")),
        }
    }

    /// Demands a value of this kind.
    #[inline]
    pub(super) fn expect(&mut self, wanted: Kind) -> Result<(), Broken> {
        let kind = self.peek()?;
        if kind == wanted {
            return Ok(());
        }
        Err(self.fail("json", format!("{} is due, this is {}", wanted.name(), kind.name())))
    }

    /// Enters the object or list that stands here.
    #[inline]
    pub(super) fn enter(&mut self) -> Result<(), Broken> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail("nesting", "objects and lists are nested more than 128 deep"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Leaves the open object or list if it ends here with `bracket`.
    #[inline]
    pub(super) fn close(&mut self, bracket: u8) -> bool {
        self.skip_space();
        let ends = self.byte() == Some(bracket);
        if ends {
            self.depth -= 1;
            self.at += 1;
        }
        ends
    }

    /// The comma between two members or elements.
    #[inline]
    pub(super) fn comma(&mut self) -> Result<(), Broken> {
        self.punctuation(b',', "a comma or the closing bracket is due")
    }

    #[inline]
    fn punctuation(&mut self, wanted: u8, detail: &str) -> Result<(), Broken> {
        self.skip_space();
        match self.byte() {
            Some(byte) if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            Some(_) => Err(self.fail("json", detail)),
            None => Err(self.fail("truncated", detail)),
        }
    }

    /// A member's name and its colon.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Cow<'a, [u8]>, Broken> {
        self.at_key()?;
        let key = self.text()?;
        self.punctuation(b':', "a colon is due after a member's name")?;
        Ok(key)
    }

    fn at_key(&mut self) -> Result<(), Broken> {
        self.skip_space();
        match self.byte() {
            Some(b'"') => Ok(()),
            Some(_) => Err(self.fail("json", "a member's name in double quotes is due")),
            None => Err(self.fail("truncated", "the JSON text ends where a member's name is due")),
        }
    }

    /// A string, without its quotes and escapes.
    #[inline]
    pub(super) fn text(&mut self) -> Result<Cow<'a, [u8]>, Broken> {
        self.expect(Kind::Text)?;
        let (raw, start, escaped) = self.raw_text()?;
        if escaped { unescape(raw, start).map(Cow::Owned) } else { Ok(Cow::Borrowed(raw)) }
    }

    /// The bytes between the quotes, their offset, and whether there are escapes among them.
    #[inline]
    fn raw_text(&mut self) -> Result<(&'a [u8], usize, bool), Broken> {
        let start = self.at + 1;
        let (mut at, mut escaped) = (start, false);
        loop {
            let rest = self.bytes.get(at..).unwrap_or_default();
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            self.at = at + plain.unwrap_or(rest.len());
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    // What follows is judged with the escapes; here an escaped quote must not end the text.
                    at = self.at + 2;
                }
                Some(_) => return Err(self.fail("json", "a string holds a raw control character")),
                None => {
                    self.at = self.bytes.len();
                    return Err(self.fail("truncated", "a string does not end"));
                }
            }
        }
        let raw = &self.bytes[start..self.at];
        self.at += 1;
        Ok((raw, start, escaped))
    }

    /// The text of a number.
    #[inline]
    pub(super) fn number(&mut self) -> Result<&'a [u8], Broken> {
        self.expect(Kind::Number)?;
        let length =
            number::scan(&self.bytes[self.at..]).ok_or_else(|| self.fail("number", "this is not a JSON number"))?;
        let text = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(text)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Broken> {
        self.expect(Kind::Bool)?;
        let value = self.byte() == Some(b't');
        self.word(if value { b"true" } else { b"false" })?;
        Ok(value)
    }

    /// Takes a `null` if one stands here.
    #[inline]
    pub(super) fn null(&mut self) -> Result<bool, Broken> {
        if self.peek()? != Kind::Null {
            return Ok(false);
        }
        self.word(b"null")?;
        Ok(true)
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Broken> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(if word.starts_with(rest) {
            self.fail("truncated", "the JSON text ends within a word")
        } else {
            self.fail("json", "a JSON value is due")
        })
    }

    /// Checks and passes one value of any kind (J3); it had this many bytes.
    pub(super) fn skip(&mut self) -> Result<usize, Broken> {
        self.peek()?;
        let start = self.at;
        // One bit a level that is open here, the innermost lowest: 1 is an object. 128 levels are all there can be.
        let (outside, mut objects) = (self.depth, 0_u128);
        loop {
            match self.peek()? {
                Kind::Object => {
                    self.enter()?;
                    if !self.close(b'}') {
                        objects = objects << 1 | 1;
                        self.skip_key()?;
                        continue;
                    }
                }
                Kind::List => {
                    self.enter()?;
                    if !self.close(b']') {
                        objects <<= 1;
                        continue;
                    }
                }
                Kind::Text => self.skip_text()?,
                Kind::Number => drop(self.number()?),
                Kind::Bool => drop(self.boolean()?),
                Kind::Null => drop(self.null()?),
            }
            // After a value: levels that end here are left, then a comma leads to the next value.
            while self.depth > outside {
                let in_object = objects & 1 == 1;
                if self.close(if in_object { b'}' } else { b']' }) {
                    objects >>= 1;
                    continue;
                }
                self.comma()?;
                if in_object {
                    self.skip_key()?;
                }
                break;
            }
            if self.depth == outside {
                return Ok(self.at - start);
            }
        }
    }

    fn skip_key(&mut self) -> Result<(), Broken> {
        self.at_key()?;
        self.skip_text()?;
        self.punctuation(b':', "a colon is due after a member's name")
    }

    #[inline]
    fn skip_text(&mut self) -> Result<(), Broken> {
        let (raw, start, escaped) = self.raw_text()?;
        if escaped { check_escapes(raw, start) } else { Ok(()) }
    }

    /// Only white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Broken> {
        self.skip_space();
        if self.at < self.bytes.len() {
            return Err(self.fail("json", "there is text after the JSON value"));
        }
        Ok(())
    }
}
