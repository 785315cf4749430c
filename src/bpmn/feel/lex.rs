//! Characters to symbols, words, names, numbers and strings.
//!
//! Duty: the cursor of the parser. Guarantee: columns count Unicode scalar values from 1; a name with blanks or signs is
//! read by longest match against the names known where it stands. Left to others: grammar (`parse`).

use std::collections::BTreeMap;

use super::value::Value;
use super::{Error, ErrorKind, Names, number};

/// Words that are no names unless in backquotes.
pub(super) const RESERVED: &[&str] = &[
    "and",
    "between",
    "else",
    "every",
    "false",
    "for",
    "function",
    "if",
    "in",
    "null",
    "or",
    "return",
    "satisfies",
    "some",
    "then",
    "true",
];

/// Whether `c` may begin a name.
pub(super) fn starts_name(c: char) -> bool {
    c.is_alphabetic() || c == '_'
}

/// Whether `c` may stand anywhere but first in a name.
pub(super) fn continues_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Whether `text` is one word that is read as a name.
pub(super) fn is_plain_name(text: &str) -> bool {
    text.starts_with(starts_name) && text.chars().all(continues_name) && !RESERVED.contains(&text)
}

/// Blanks in a name count as one space each run.
pub(super) fn normal_name(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The cursor.
pub(super) struct Lexer {
    chars: Vec<char>,
    pub(super) at: usize,
    /// Names that are more than one word, by first character.
    known: BTreeMap<char, Vec<Vec<char>>>,
    /// The same of inner scopes, innermost last.
    pub(super) scoped: Vec<Vec<char>>,
}

impl Lexer {
    pub(super) fn new(text: &str, names: &Names) -> Lexer {
        let mut known: BTreeMap<char, Vec<Vec<char>>> = BTreeMap::new();
        for name in names {
            let name = normal_name(name);
            if let Some(first) = name.chars().next().filter(|_| !name.chars().all(continues_name)) {
                known.entry(first).or_default().push(name.chars().collect());
            }
        }
        Lexer { chars: text.chars().collect(), at: 0, known, scoped: Vec::new() }
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    /// Over blanks and comments. A comment without an end is left for the grammar to trip over.
    pub(super) fn skip(&mut self) {
        loop {
            match (self.peek(), self.peek_at(1)) {
                (Some(c), _) if c.is_whitespace() => self.at += 1,
                (Some('/'), Some('/')) => {
                    while self.peek().is_some_and(|c| c != '\n') {
                        self.at += 1;
                    }
                }
                (Some('/'), Some('*')) => {
                    let inner = &self.chars[self.at + 2..];
                    match inner.windows(2).position(|pair| pair == ['*', '/']) {
                        Some(end) => self.at += end + 4,
                        None => return,
                    }
                }
                _ => return,
            }
        }
    }

    /// Whether `symbol` stands here.
    pub(super) fn sees(&self, symbol: &str) -> bool {
        symbol.chars().enumerate().all(|(i, c)| self.peek_at(i) == Some(c))
    }

    /// Skips blanks, then takes `symbol` if it stands there.
    pub(super) fn eat(&mut self, symbol: &str) -> bool {
        self.skip();
        let found = self.sees(symbol);
        if found {
            self.at += symbol.chars().count();
        }
        found
    }

    /// The word that stands here, without taking it.
    pub(super) fn word(&self) -> Option<String> {
        if !starts_name(self.peek()?) {
            return None;
        }
        Some(self.chars[self.at..].iter().copied().take_while(|c| continues_name(*c)).collect())
    }

    /// Skips blanks, then takes the word `word` if it stands there.
    pub(super) fn eat_word(&mut self, word: &str) -> bool {
        self.skip();
        let found = self.word().as_deref() == Some(word);
        if found {
            self.at += word.chars().count();
        }
        found
    }

    /// Takes a name: in backquotes, the longest known one, or one word. `None`: no name stands here.
    pub(super) fn name(&mut self, reserved: bool) -> Result<Option<String>, Error> {
        if self.peek() == Some('`') {
            return self.backquoted().map(Some);
        }
        let word = self.word();
        let plain = word.as_ref().map_or(0, |w| w.chars().count());
        if let Some((length, name)) = self.longest_known().filter(|(length, _)| *length > plain) {
            self.at += length;
            return Ok(Some(name));
        }
        let word = word.filter(|w| reserved || !RESERVED.contains(&w.as_str()));
        if word.is_some() {
            self.at += plain;
        }
        Ok(word)
    }

    fn backquoted(&mut self) -> Result<String, Error> {
        let start = self.at;
        self.at += 1;
        let inner: String = self.chars[self.at..].iter().copied().take_while(|c| *c != '`').collect();
        self.at += inner.chars().count() + 1;
        if self.at > self.chars.len() {
            return Err(self.error_at(start, "this backquote has no end: expected another one"));
        }
        if inner.trim().is_empty() {
            return Err(self.error_at(start, "a name is missing between the backquotes"));
        }
        Ok(normal_name(&inner))
    }

    /// The longest name of several words or with signs that stands here, with the characters it takes.
    fn longest_known(&self) -> Option<(usize, String)> {
        let first = self.peek()?;
        let outer = self.known.get(&first).map_or(&[][..], Vec::as_slice);
        let candidates = outer.iter().chain(&self.scoped);
        let found = candidates.filter_map(|name| Some((self.matches(name)?, name)));
        found.max_by_key(|(length, _)| *length).map(|(length, name)| (length, name.iter().collect()))
    }

    /// How many characters from here spell `name`; a blank of the name stands for one or more.
    pub(super) fn matches(&self, name: &[char]) -> Option<usize> {
        let mut ahead = 0;
        for c in name {
            if *c == ' ' {
                let start = ahead;
                while self.peek_at(ahead).is_some_and(char::is_whitespace) {
                    ahead += 1;
                }
                if ahead == start {
                    return None;
                }
            } else if self.peek_at(ahead) == Some(*c) {
                ahead += 1;
            } else {
                return None;
            }
        }
        let ends_word = name.last().is_some_and(|c| continues_name(*c));
        let goes_on = self.peek_at(ahead).is_some_and(continues_name);
        (!(ends_word && goes_on)).then_some(ahead)
    }

    /// Makes a name known from here on, until `scoped` is cut back.
    pub(super) fn declare(&mut self, name: &str) {
        if !name.chars().all(continues_name) {
            self.scoped.push(name.chars().collect());
        }
    }

    /// Whether a number begins here.
    pub(super) fn sees_number(&self) -> bool {
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        digit(self.peek()) || self.peek() == Some('.') && digit(self.peek_at(1))
    }

    /// Takes a number; null when it lies beyond the exponents.
    pub(super) fn number(&mut self) -> Value {
        let start = self.at;
        let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
        while digit(self.peek()) {
            self.at += 1;
        }
        if self.peek() == Some('.') && digit(self.peek_at(1)) {
            self.at += 1;
            while digit(self.peek()) {
                self.at += 1;
            }
        }
        if matches!(self.peek(), Some('e' | 'E')) {
            let sign = usize::from(matches!(self.peek_at(1), Some('+' | '-')));
            if digit(self.peek_at(1 + sign)) {
                self.at += 1 + sign;
                while digit(self.peek()) {
                    self.at += 1;
                }
            }
        }
        let text: String = self.chars[start..self.at].iter().collect();
        number::parse(&text).map_or(Value::Null, Value::Number)
    }

    /// Takes a string literal, whose quote stands here.
    pub(super) fn string(&mut self) -> Result<String, Error> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            let Some(c) = self.peek() else {
                return Err(self.error_at(start, "this string has no end: expected `\"`"));
            };
            self.at += 1;
            match c {
                '"' => return Ok(text),
                '\\' => text.push(self.escape()?),
                c => text.push(c),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Error> {
        let start = self.at - 1;
        let bad = |lexer: &Lexer| {
            lexer.error_at(start, "expected one of the escapes `\\\"` `\\\\` `\\n` `\\t` `\\r` `\\uXXXX` `\\UXXXXXX`")
        };
        let kind = self.peek().ok_or_else(|| bad(self))?;
        self.at += 1;
        match kind {
            '"' | '\\' | '\'' => Ok(kind),
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'r' => Ok('\r'),
            'U' => self.hex(6).and_then(char::from_u32).ok_or_else(|| bad(self)),
            'u' => {
                let high = self.hex(4).ok_or_else(|| bad(self))?;
                if let Some(c) = char::from_u32(high) {
                    return Ok(c);
                }
                // a character beyond 16 bits as its two surrogates
                let low = if self.sees("\\u") {
                    self.at += 2;
                    self.hex(4)
                } else {
                    None
                };
                let pair = low.filter(|low| high < 0xDC00 && (0xDC00..0xE000).contains(low));
                let code = pair.map(|low| 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00));
                code.and_then(char::from_u32).ok_or_else(|| bad(self))
            }
            _ => Err(bad(self)),
        }
    }

    fn hex(&mut self, digits: usize) -> Option<u32> {
        let mut code = 0;
        for _ in 0..digits {
            code = code * 16 + self.peek()?.to_digit(16)?;
            self.at += 1;
        }
        Some(code)
    }

    /// The characters from `from` to here.
    pub(super) fn since(&self, from: usize) -> String {
        self.chars[from..self.at].iter().collect()
    }

    /// What stands here, for a message.
    pub(super) fn found(&self) -> String {
        match self.peek() {
            None => "the end".to_owned(),
            Some(c) => match self.word() {
                Some(word) => format!("`{word}`"),
                None => format!("`{c}`"),
            },
        }
    }

    pub(super) fn error_at(&self, at: usize, message: impl Into<String>) -> Error {
        self.error_of(ErrorKind::Syntax, at, message)
    }

    pub(super) fn error_of(&self, kind: ErrorKind, at: usize, message: impl Into<String>) -> Error {
        let column = u32::try_from(at + 1).unwrap_or(u32::MAX);
        Error { kind, column, message: message.into() }
    }

    /// `expected …, found …` at this place.
    pub(super) fn expected(&mut self, what: &str) -> Error {
        self.skip();
        let message = format!("expected {what}, found {}", self.found());
        self.error_at(self.at, message)
    }
}
