//! Bytes to text, and places in the text back to places in the bytes.
//!
//! Duty: the five encodings of bpmn.md 2 (UTF-8, UTF-16 with BOM, ISO-8859-1, Windows-1252, US-ASCII). Guarantee: what the
//! bytes contradict is `xml-encoding`, never replaced; [`Places`] counts lines and columns in Unicode scalar values and
//! offsets in bytes of the file. Left to others: XML (`xml`).

use std::borrow::Cow;

use crate::diagnostic::{At, Diagnostic, Severity};

/// How the file's bytes stand for characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    /// UTF-8: as many bytes as the text has.
    Utf8,
    /// One byte a character.
    Single,
    /// UTF-16: two bytes a unit.
    Utf16,
}

/// The text of a file with the way back to its bytes.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    text: Cow<'a, str>,
    width: Width,
    /// One every [`STRIDE`] bytes of text: (byte of text, line, column, byte of file).
    marks: Vec<(usize, u32, u32, usize)>,
}

const STRIDE: usize = 64;

// Windows-1252, 0x80 to 0x9f; 0 = not assigned. Source: WHATWG encoding standard, index windows-1252, without its C1 fill-ins.
const WINDOWS_1252: [u32; 32] = [
    0x20ac, 0, 0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160, 0x2039, 0x0152, 0, 0x017d, 0, 0,
    0x2018, 0x2019, 0x201c, 0x201d, 0x2022, 0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0, 0x017e, 0x0178,
];

/// Decodes `source` by BOM and declaration; no declaration = UTF-8.
///
/// Errors: `xml-encoding`, at the first byte that contradicts, or at the file's start.
pub(crate) fn decode(source: &[u8]) -> Result<Places<'_>, Box<Diagnostic>> {
    if let Some(rest) = source.strip_prefix(&[0xef, 0xbb, 0xbf]) {
        match declared(rest).as_deref() {
            None | Some("utf-8") => return utf8(rest, 3),
            Some(name) => return Err(contradicted(name, "a UTF-8 byte order mark")),
        }
    }
    let big = source.starts_with(&[0xfe, 0xff]);
    if big || source.starts_with(&[0xff, 0xfe]) {
        return utf16(&source[2..], big);
    }
    match declared(source).as_deref() {
        None | Some("utf-8") => utf8(source, 0),
        Some("us-ascii" | "ascii") => single(source, "US-ASCII", |byte| byte.is_ascii().then(|| char::from(byte))),
        Some("iso-8859-1" | "latin1" | "iso_8859-1" | "l1") => {
            single(source, "ISO-8859-1", |byte| Some(char::from(byte)))
        }
        Some("windows-1252" | "cp1252") => single(source, "Windows-1252", |byte| match byte {
            0x80..=0x9f => char::from_u32(WINDOWS_1252[usize::from(byte - 0x80)]).filter(|c| *c != '\0'),
            _ => Some(char::from(byte)),
        }),
        Some(name @ ("utf-16" | "utf-16le" | "utf-16be")) => Err(contradicted(name, "no byte order mark")),
        Some(name) => Err(refused(
            At { offset: 0, length: 0, line: 1, column: 1 },
            format!("the encoding `{name}` is none of UTF-8, UTF-16, ISO-8859-1, Windows-1252, US-ASCII"),
        )),
    }
}

/// The encoding an XML declaration at the start of ASCII-compatible `bytes` names, in lower case.
fn declared(bytes: &[u8]) -> Option<String> {
    let head = bytes.strip_prefix(b"<?xml")?;
    let end = head.iter().take(1024).position(|byte| *byte == b'>')?;
    encoding_of(&String::from_utf8_lossy(&head[..end]))
}

fn encoding_of(declaration: &str) -> Option<String> {
    let after = &declaration[declaration.find("encoding")? + "encoding".len()..];
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    value[1..].split_once(quote).map(|(name, _)| name.to_ascii_lowercase())
}

fn utf8(bytes: &[u8], bom: usize) -> Result<Places<'_>, Box<Diagnostic>> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(Places::new(Cow::Borrowed(text), Width::Utf8, bom)),
        Err(error) => {
            let good = error.valid_up_to();
            let text = String::from_utf8_lossy(&bytes[..good]);
            let at = Places::new(text, Width::Utf8, bom).at(good, good);
            let at = At { length: error.error_len().unwrap_or(bytes.len() - good), ..at };
            Err(refused(at, format!("byte 0x{:02x} is not UTF-8", bytes[good])))
        }
    }
}

fn single<'a>(
    bytes: &'a [u8],
    name: &str,
    char_of: impl Fn(u8) -> Option<char>,
) -> Result<Places<'a>, Box<Diagnostic>> {
    let text: String = bytes.iter().copied().map_while(&char_of).collect();
    let places = Places::new(Cow::Owned(text), Width::Single, 0);
    // One character a byte: a shorter text stopped at the byte that stands for none.
    let read = places.text.chars().count();
    match bytes.get(read) {
        None => Ok(places),
        Some(byte) => {
            let at = places.at(places.text.len(), places.text.len());
            Err(refused(At { length: 1, ..at }, format!("byte 0x{byte:02x} is not {name}, which the file declares")))
        }
    }
}

fn utf16(bytes: &[u8], big: bool) -> Result<Places<'_>, Box<Diagnostic>> {
    let read = |pair: &[u8]| match big {
        true => u16::from_be_bytes([pair[0], pair[1]]),
        false => u16::from_le_bytes([pair[0], pair[1]]),
    };
    let units = bytes.chunks_exact(2).map(read);
    let mut text = String::new();
    let mut whole = bytes.len().is_multiple_of(2);
    for character in char::decode_utf16(units) {
        match character {
            Ok(character) => text.push(character),
            Err(_) => {
                whole = false;
                break;
            }
        }
    }
    let declares = text.strip_prefix("<?xml").and_then(|head| encoding_of(head.split('>').next()?));
    let places = Places::new(Cow::Owned(text), Width::Utf16, 2);
    if !whole {
        let at = places.at(places.text.len(), places.text.len());
        return Err(refused(At { length: 1, ..at }, "half a character of UTF-16".into()));
    }
    match declares.as_deref() {
        None | Some("utf-16") => Ok(places),
        Some("utf-16be") if big => Ok(places),
        Some("utf-16le") if !big => Ok(places),
        Some(name) => Err(contradicted(name, "a UTF-16 byte order mark")),
    }
}

fn contradicted(declared: &str, found: &str) -> Box<Diagnostic> {
    let at = At { offset: 0, length: 0, line: 1, column: 1 };
    refused(at, format!("the file declares `{declared}` but has {found}"))
}

fn refused(at: At, message: String) -> Box<Diagnostic> {
    let fix = "save the file as UTF-8 and declare `encoding=\"UTF-8\"`";
    Box::new(Diagnostic::new("xml-encoding", Severity::Error, at, message, fix))
}

impl<'a> Places<'a> {
    fn new(text: Cow<'a, str>, width: Width, bom: usize) -> Self {
        let mut marks = Vec::with_capacity(text.len() / STRIDE + 1);
        let (mut line, mut column, mut file) = (1, 1, bom);
        let mut next = 0;
        for (byte, character) in text.char_indices() {
            if byte >= next {
                marks.push((byte, line, column, file));
                next = byte + STRIDE;
            }
            step(&text, byte, character, width, (&mut line, &mut column, &mut file));
        }
        if marks.is_empty() {
            marks.push((0, 1, 1, bom));
        }
        Self { text, width, marks }
    }

    /// The text, without a byte order mark.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The place of the text's bytes `start..end`.
    pub(crate) fn at(&self, start: usize, end: usize) -> At {
        let (line, column, offset) = self.find(start);
        let length = match end > start {
            true => self.find(end).2 - offset,
            false => 0,
        };
        At { offset, length, line, column }
    }

    /// The byte of the text that is byte `offset` of the file.
    pub(crate) fn byte_of(&self, offset: usize) -> usize {
        let mark = self.marks.partition_point(|mark| mark.3 <= offset).saturating_sub(1);
        let (from, mut line, mut column, mut file) = self.marks[mark];
        for (byte, character) in self.text[from..].char_indices() {
            if file >= offset {
                return from + byte;
            }
            step(&self.text, from + byte, character, self.width, (&mut line, &mut column, &mut file));
        }
        self.text.len()
    }

    fn find(&self, wanted: usize) -> (u32, u32, usize) {
        let mark = self.marks.partition_point(|mark| mark.0 <= wanted).saturating_sub(1);
        let (from, mut line, mut column, mut file) = self.marks[mark];
        for (byte, character) in self.text[from..].char_indices() {
            if from + byte >= wanted {
                break;
            }
            step(&self.text, from + byte, character, self.width, (&mut line, &mut column, &mut file));
        }
        (line, column, file)
    }
}

/// Moves a place past `character`, which stands at `byte` of `text`. CR LF, LF and CR each end one line.
fn step(text: &str, byte: usize, character: char, width: Width, place: (&mut u32, &mut u32, &mut usize)) {
    let (line, column, file) = place;
    let ends = character == '\n' || (character == '\r' && text.as_bytes().get(byte + 1) != Some(&b'\n'));
    if ends {
        *line = line.saturating_add(1);
        *column = 1;
    } else {
        *column = column.saturating_add(1);
    }
    *file += match width {
        Width::Utf8 => character.len_utf8(),
        Width::Single => 1,
        Width::Utf16 => character.len_utf16() * 2,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utf16_of(text: &str, big: bool) -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(|unit| if big { unit.to_be_bytes() } else { unit.to_le_bytes() }).collect()
    }

    #[test]
    fn columns_count_characters_and_offsets_count_bytes_of_the_file() {
        let text = "a\r\né𝄞x";
        let x = text.find('x').unwrap();
        let utf8 = decode(text.as_bytes()).unwrap().at(x, x + 1);
        assert_eq!(utf8, At { offset: 9, length: 1, line: 2, column: 3 });
        let mut with_bom = vec![0xef, 0xbb, 0xbf];
        with_bom.extend(text.as_bytes());
        assert_eq!(decode(&with_bom).unwrap().at(x, x + 1), At { offset: 12, ..utf8 });
        for big in [true, false] {
            let bytes = utf16_of(text, big);
            let places = decode(&bytes).unwrap();
            assert_eq!(places.text(), text);
            assert_eq!(places.at(x, x + 1), At { offset: 2 + 6 + 2 + 4, length: 2, ..utf8 });
            assert_eq!(places.byte_of(14), x);
        }
    }

    #[test]
    fn a_place_far_into_a_long_line_is_exact() {
        let text = "é".repeat(10_000) + "x";
        let places = decode(text.as_bytes()).unwrap();
        let at = places.at(20_000, 20_001);
        assert_eq!(at, At { offset: 20_000, length: 1, line: 1, column: 10_001 });
        assert_eq!(places.byte_of(10_000), 10_000);
    }

    #[test]
    fn single_byte_encodings_read_their_own_characters() {
        let file =
            |name: &str, byte: u8| [format!("<?xml version='1.0' encoding='{name}'?>").as_bytes(), &[byte]].concat();
        let last = |bytes: &[u8]| decode(bytes).map(|places| places.text().chars().last()).map_err(|e| e.message);
        assert_eq!(last(&file("ISO-8859-1", 0xfc)), Ok(Some('ü')));
        assert_eq!(last(&file("windows-1252", 0x80)), Ok(Some('€')));
        assert_eq!(last(&file("Windows-1252", 0x9f)), Ok(Some('Ÿ')));
        assert!(last(&file("windows-1252", 0x81)).unwrap_err().contains("0x81"));
        assert!(last(&file("US-ASCII", 0xfc)).unwrap_err().contains("0xfc"));
        assert!(last(&file("UTF-8", 0xfc)).unwrap_err().contains("0xfc"));
        assert!(last(&file("EBCDIC-CP-US", b'a')).unwrap_err().contains("ebcdic"));
    }

    #[test]
    fn a_declaration_that_the_bytes_contradict_is_refused_at_its_place() {
        let bom = [b"\xef\xbb\xbf".as_slice(), b"<?xml version='1.0' encoding='ISO-8859-1'?><a/>"].concat();
        assert_eq!(decode(&bom).unwrap_err().rule, "xml-encoding");
        assert_eq!(decode(b"<?xml version='1.0' encoding='UTF-16'?><a/>").unwrap_err().rule, "xml-encoding");
        assert!(decode(&utf16_of("<?xml version='1.0' encoding='UTF-8'?>", true)).is_err());
        assert!(decode(&[0xff, 0xfe, b'<']).is_err(), "half a unit");
        let place = decode(b"<a>\n<b>\xff").unwrap_err().at;
        assert_eq!((place.line, place.column, place.offset, place.length), (2, 4, 7, 1));
    }
}
