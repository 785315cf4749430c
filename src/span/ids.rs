//! Trace ids, span ids and time ranges.
//!
//! Duty: parse and show ids the one way every surface uses: lower-case hex. Guarantee: a parsed id has its exact
//! length. Left to others: whether an all-zero id is acceptable where it stands (`otlp` rejects it on spans).

use std::fmt;
use std::str::FromStr;

/// 16 bytes that name a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId(pub [u8; 16]);

/// 8 bytes that name a span within a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(pub [u8; 8]);

/// Text that is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a {what}: {want} hexadecimal digits are expected")]
pub struct InvalidId {
    text: String,
    what: &'static str,
    want: &'static str,
}

impl FromStr for TraceId {
    type Err = InvalidId;

    /// 32 hex digits, or 16 (the low half, as older tracers write it), in any letter case.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let invalid = || InvalidId { text: text.to_owned(), what: "trace id", want: "32 (or 16)" };
        match text.len() {
            32 => from_hex(text).map(Self).ok_or_else(invalid),
            16 => {
                let low: [u8; 8] = from_hex(text).ok_or_else(invalid)?;
                let mut id = [0; 16];
                id[8..].copy_from_slice(&low);
                Ok(Self(id))
            }
            _ => Err(invalid()),
        }
    }
}

impl FromStr for SpanId {
    type Err = InvalidId;

    /// 16 hex digits in any letter case.
    fn from_str(text: &str) -> Result<Self, InvalidId> {
        from_hex(text).map(Self).ok_or_else(|| InvalidId { text: text.to_owned(), what: "span id", want: "16" })
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Lower-case hex of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

/// `N` bytes from exactly `2 * N` hex digits in any letter case.
pub fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = (char::from(pair[0]).to_digit(16)?, char::from(pair[1]).to_digit(16)?);
        *byte = u8::try_from(high * 16 + low).expect("two hex digits fit a byte");
    }
    Some(bytes)
}

/// Nanoseconds since 1970, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// First instant.
    pub min_ns: i64,
    /// Last instant.
    pub max_ns: i64,
}

impl TimeRange {
    /// The smallest range that holds both.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self { min_ns: self.min_ns.min(other.min_ns), max_ns: self.max_ns.max(other.max_ns) }
    }

    /// Whether some instant lies in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.min_ns <= other.max_ns && other.min_ns <= self.max_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_what_they_write() {
        let text = "4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(text.parse::<TraceId>().unwrap().to_string(), text);
        assert_eq!("A3CE929D0E0E4736".parse::<SpanId>().unwrap().to_string(), "a3ce929d0e0e4736");
        assert_eq!("a3ce929d0e0e4736".parse::<TraceId>().unwrap().to_string(), "0000000000000000a3ce929d0e0e4736");
    }

    #[test]
    fn another_length_or_letter_is_told() {
        let error = "4bf9".parse::<TraceId>().unwrap_err().to_string();
        assert_eq!(error, "`4bf9` is not a trace id: 32 (or 16) hexadecimal digits are expected");
        assert!("zzce929d0e0e4736".parse::<SpanId>().is_err());
        assert!("é3ce929d0e0e473".parse::<SpanId>().is_err());
    }
}
