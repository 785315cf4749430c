//! JSON's grammar over the bytes of a request, pulled token by token (otlp.md 11).
//!
//! Duty: a strict RFC 8259 reader that borrows what it reads. Guarantee: no read leaves the body, nesting is at most
//! [`MAX_DEPTH`], skipping uses no call stack, and an error names the byte offset. Text may hold bytes that are not
//! UTF-8: they are passed on and repaired where text is stored (J25). Left to others: what members mean (`walk`).

use std::borrow::Cow;

use super::text::unescape;
use crate::otlp::Undecodable;
use crate::otlp::wire::error;

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

/// A place in the body. Copies are bookmarks: a list can be noted now and walked later.
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

    /// Byte offset of the next token, once [`Reader::peek`] has skipped the white space before it.
    pub(super) fn offset(&self) -> usize {
        self.at
    }

    pub(super) fn fail(&self, kind: &'static str, detail: &str) -> Undecodable {
        error(self.at, kind, detail)
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
    }

    /// The kind of the next value; nothing but white space is consumed.
    pub(super) fn peek(&mut self) -> Result<Kind, Undecodable> {
        self.skip_space();
        match self.byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::List),
            Some(b'"') => Ok(Kind::Text),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(0xef) if self.at == 0 => Err(self.fail("json", "the body starts with a byte-order mark")),
            Some(_) => Err(self.fail("json", "a JSON value is due")),
            None => Err(self.fail("truncated", "the JSON text ends where a value is due")),
        }
    }

    /// Demands a value of this kind.
    pub(super) fn expect(&mut self, wanted: Kind) -> Result<(), Undecodable> {
        let kind = self.peek()?;
        if kind == wanted {
            return Ok(());
        }
        Err(self.fail("json", &format!("{} is due, got {}", wanted.name(), kind.name())))
    }

    /// Enters the object or list that stands here.
    pub(super) fn enter(&mut self) -> Result<(), Undecodable> {
        if self.depth == MAX_DEPTH {
            return Err(self.fail("nesting", "objects and lists are nested more than 128 deep"));
        }
        self.depth += 1;
        self.at += 1;
        Ok(())
    }

    /// Leaves the open object or list if it ends here with `bracket`.
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
    pub(super) fn comma(&mut self) -> Result<(), Undecodable> {
        self.punctuation(b',', "a comma or the closing bracket is due")
    }

    fn punctuation(&mut self, wanted: u8, detail: &str) -> Result<(), Undecodable> {
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

    /// A member name and its colon.
    pub(super) fn key(&mut self) -> Result<Cow<'a, [u8]>, Undecodable> {
        self.before_key()?;
        let key = self.text()?;
        self.punctuation(b':', "a colon is due after the member name")?;
        Ok(key)
    }

    fn before_key(&mut self) -> Result<(), Undecodable> {
        self.skip_space();
        match self.byte() {
            Some(b'"') => Ok(()),
            Some(_) => Err(self.fail("json", "a member name in double quotes is due")),
            None => Err(self.fail("truncated", "the JSON text ends where a member name is due")),
        }
    }

    /// A string, without its quotes and escapes.
    pub(super) fn text(&mut self) -> Result<Cow<'a, [u8]>, Undecodable> {
        self.expect(Kind::Text)?;
        let (raw, start, escaped) = self.raw_text()?;
        if escaped { unescape(raw, start).map(Cow::Owned) } else { Ok(Cow::Borrowed(raw)) }
    }

    /// The bytes between the quotes, their offset, and whether there are escapes among them.
    fn raw_text(&mut self) -> Result<(&'a [u8], usize, bool), Undecodable> {
        self.at += 1;
        let (start, mut escaped) = (self.at, false);
        loop {
            match self.byte() {
                Some(b'"') => break,
                Some(b'\\') => {
                    escaped = true;
                    // What follows is judged by `unescape`; here only an escaped quote must not end the text.
                    self.at += 2;
                }
                Some(0..0x20) => return Err(self.fail("json", "a string holds a raw control character")),
                Some(_) => self.at += 1,
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
    pub(super) fn number(&mut self) -> Result<&'a [u8], Undecodable> {
        self.expect(Kind::Number)?;
        let length = super::number::scan(&self.bytes[self.at..])
            .ok_or_else(|| self.fail("number", "this is not a JSON number"))?;
        let text = &self.bytes[self.at..self.at + length];
        self.at += length;
        Ok(text)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Undecodable> {
        self.expect(Kind::Bool)?;
        let value = self.byte() == Some(b't');
        self.word(if value { b"true" } else { b"false" })?;
        Ok(value)
    }

    /// Takes a `null` if one stands here.
    pub(super) fn null(&mut self) -> Result<bool, Undecodable> {
        if self.peek()? != Kind::Null {
            return Ok(false);
        }
        self.word(b"null")?;
        Ok(true)
    }

    fn word(&mut self, word: &[u8]) -> Result<(), Undecodable> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.fail("json", "a JSON value is due"));
        }
        self.at += word.len();
        Ok(())
    }

    /// Checks and skips one value of any kind, without recursion (J3).
    pub(super) fn skip(&mut self) -> Result<(), Undecodable> {
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
            // After a value: levels that end here are left, then the next value follows a comma.
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
                return Ok(());
            }
        }
    }

    fn skip_key(&mut self) -> Result<(), Undecodable> {
        self.before_key()?;
        self.skip_text()?;
        self.punctuation(b':', "a colon is due after the member name")
    }

    fn skip_text(&mut self) -> Result<(), Undecodable> {
        let (raw, start, escaped) = self.raw_text()?;
        if escaped {
            unescape(raw, start)?;
        }
        Ok(())
    }

    /// Only white space may follow.
    pub(super) fn end(&mut self) -> Result<(), Undecodable> {
        self.skip_space();
        if self.at < self.bytes.len() {
            return Err(self.fail("json", "there is text after the JSON value"));
        }
        Ok(())
    }
}
