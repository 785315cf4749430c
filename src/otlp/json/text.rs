//! What strings of OTLP/JSON stand for: escapes, hex ids, base64.
//!
//! Duty: the bytes behind a string. Guarantee: lone surrogates become U+FFFD (J25), everything else that is malformed is
//! an error at its byte offset. Left to others: where strings may stand (`walk`).

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::pull::Reader;
use crate::otlp::Undecodable;
use crate::otlp::wire::error;

const REPLACEMENT: char = '\u{fffd}';

/// The bytes of a string with escapes; `start` is the offset of `raw` in the body.
pub(super) fn unescape(raw: &[u8], start: usize) -> Result<Vec<u8>, Undecodable> {
    let mut out = Vec::with_capacity(raw.len());
    let mut at = 0;
    while at < raw.len() {
        if raw[at] != b'\\' {
            let plain = raw[at..].iter().position(|b| *b == b'\\').unwrap_or(raw.len() - at);
            out.extend_from_slice(&raw[at..at + plain]);
            at += plain;
            continue;
        }
        let simple = match raw.get(at + 1) {
            Some(byte @ (b'"' | b'\\' | b'/')) => *byte,
            Some(b'b') => 0x08,
            Some(b'f') => 0x0c,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                let (decoded, length) =
                    unicode(&raw[at..]).ok_or_else(|| error(start + at, "json", "\\u needs four hex digits"))?;
                out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
                at += length;
                continue;
            }
            _ => return Err(error(start + at, "json", "there is no such escape in JSON")),
        };
        out.push(simple);
        at += 2;
    }
    Ok(out)
}

/// The character of `\uXXXX` or a surrogate pair at the start of `raw`, and the length of its text.
fn unicode(raw: &[u8]) -> Option<(char, usize)> {
    let unit = |at: usize| -> Option<u32> {
        let digits = raw.get(at..at + 6)?.strip_prefix(b"\\u")?;
        digits.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
    };
    let first = unit(0)?;
    if let 0xd800..0xdc00 = first
        && let Some(second @ 0xdc00..0xe000) = unit(6)
    {
        let scalar = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return Some((char::from_u32(scalar).unwrap_or(REPLACEMENT), 12));
    }
    Some((char::from_u32(first).unwrap_or(REPLACEMENT), 6))
}

/// J8 to J10: an id in hex, of any even number of digits; its length is judged with the span.
pub(super) fn id(at: &mut Reader<'_>) -> Result<Vec<u8>, Undecodable> {
    at.peek()?;
    let place = *at;
    let text = at.text()?;
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for pair in text.chunks(2) {
        let byte = match pair {
            [high, low] => digit(*high).zip(digit(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        let byte = byte.and_then(|b| u8::try_from(b).ok());
        bytes.push(byte.ok_or_else(|| place.fail("id", "an id is an even number of hex digits"))?);
    }
    Ok(bytes)
}

/// J23: standard or URL-safe base64, padded or not.
pub(super) fn base64(at: &mut Reader<'_>) -> Result<Vec<u8>, Undecodable> {
    const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent);
    const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
    const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);
    at.peek()?;
    let place = *at;
    let text = at.text()?;
    let engine = if text.iter().any(|b| matches!(b, b'-' | b'_')) { URL_SAFE } else { STANDARD };
    let padded_halfway = text.ends_with(b"=") && text.len() % 4 != 0;
    match engine.decode(&text) {
        Ok(bytes) if !padded_halfway => Ok(bytes),
        _ => Err(place.fail("base64", "bytes are base64, standard or URL-safe")),
    }
}
