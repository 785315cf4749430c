//! What strings of OTLP/JSON stand for: escapes, hex ids, base64.
//!
//! Duty: the bytes behind a string. Guarantee: what is malformed is an error at its byte offset, except lone surrogates,
//! which are repaired like bytes that are not UTF-8 (J25). Left to others: where strings may stand.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::pull::Reader;
use crate::otlp::wire::Broken;

/// Stands for a lone surrogate. No UTF-8 has it, so the repair of texts makes one U+FFFD of it and counts it (W14).
const NOT_UTF8: u8 = 0xff;

/// One escape sequence.
enum Escape {
    Byte(u8),
    /// A character that is not a surrogate, or a pair of surrogates that is one.
    Char(char),
    LoneSurrogate,
}

/// The bytes of a string with escapes; `start` is the offset of `raw` in the body.
pub(super) fn unescape(raw: &[u8], start: usize) -> Result<Vec<u8>, Broken> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(plain) = raw[at..].iter().position(|byte| *byte == b'\\') {
        out.extend_from_slice(&raw[at..at + plain]);
        at += plain;
        let (escape, length) = escape(&raw[at..], start + at)?;
        match escape {
            Escape::Byte(byte) => out.push(byte),
            Escape::Char(char) => out.extend_from_slice(char.encode_utf8(&mut [0; 4]).as_bytes()),
            Escape::LoneSurrogate => out.push(NOT_UTF8),
        }
        at += length;
    }
    out.extend_from_slice(&raw[at..]);
    Ok(out)
}

/// Checks the escapes of a string that is passed over.
pub(super) fn check_escapes(raw: &[u8], start: usize) -> Result<(), Broken> {
    let mut at = 0;
    while let Some(plain) = raw[at..].iter().position(|byte| *byte == b'\\') {
        at += plain;
        at += escape(&raw[at..], start + at)?.1;
    }
    Ok(())
}

/// The escape sequence at the start of `raw`, which is at `offset` of the body, and its length.
fn escape(raw: &[u8], offset: usize) -> Result<(Escape, usize), Broken> {
    let byte = match raw.get(1) {
        Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
        Some(b'b') => 0x08,
        Some(b'f') => 0x0c,
        Some(b'n') => b'\n',
        Some(b'r') => b'\r',
        Some(b't') => b'\t',
        Some(b'u') => return unicode(raw).ok_or_else(|| Broken::new(offset, "json", "\\u needs four hex digits")),
        _ => return Err(Broken::new(offset, "json", "there is no such escape in JSON")),
    };
    Ok((Escape::Byte(byte), 2))
}

fn unicode(raw: &[u8]) -> Option<(Escape, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    };
    let first = unit(0)?;
    if let 0xd800..0xdc00 = first
        && let Some(second @ 0xdc00..0xe000) = unit(6)
    {
        let scalar = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((Escape::Char(char::from_u32(scalar)?), 12));
    }
    Some((char::from_u32(first).map_or(Escape::LoneSurrogate, Escape::Char), 6))
}

/// An id as sent: usually 8 or 16 bytes, but its length is judged with the span.
#[derive(Clone, Debug)]
pub(super) enum Id {
    Short { bytes: [u8; 16], length: usize },
    Long(Vec<u8>),
}

impl Default for Id {
    fn default() -> Self {
        Self::Short { bytes: [0; 16], length: 0 }
    }
}

impl Id {
    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { bytes, length } => &bytes[..*length],
            Self::Long(bytes) => bytes,
        }
    }
}

/// J8 to J10: an id in hex, of any even number of digits.
pub(super) fn id(at: &mut Reader<'_>) -> Result<Id, Broken> {
    at.peek()?;
    let place = *at;
    let text = at.text()?;
    let malformed = || place.fail("id", "an id is an even number of hex digits");
    if !text.len().is_multiple_of(2) {
        return Err(malformed());
    }
    let mut id = if text.len() <= 32 {
        Id::Short { bytes: [0; 16], length: text.len() / 2 }
    } else {
        Id::Long(vec![0; text.len() / 2])
    };
    let target = match &mut id {
        Id::Short { bytes, length } => &mut bytes[..*length],
        Id::Long(bytes) => bytes,
    };
    for (byte, pair) in target.iter_mut().zip(text.chunks_exact(2)) {
        let [high, low] = [hex(pair[0]), hex(pair[1])];
        if high > 15 || low > 15 {
            return Err(malformed());
        }
        *byte = high << 4 | low;
    }
    Ok(id)
}

/// The value of a hex digit; above 15 if it is none.
const fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0xff,
    }
}

/// J23: standard or URL-safe base64, padded or not.
pub(super) fn base64(at: &mut Reader<'_>) -> Result<Vec<u8>, Broken> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    at.peek()?;
    let place = *at;
    let text = at.text()?;
    let engine = if text.iter().any(|byte| matches!(byte, b'-' | b'_')) { URL_SAFE } else { STANDARD };
    let is_padded_halfway = text.ends_with(b"=") && !text.len().is_multiple_of(4);
    match engine.decode(&text) {
        Ok(bytes) if !is_padded_halfway => Ok(bytes),
        _ => Err(place.fail("base64", "bytes are base64, standard or URL-safe")),
    }
}
