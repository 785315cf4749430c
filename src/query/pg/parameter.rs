//! Values of parameters.
//!
//! Duty: from the bytes of a value, its type and its format to a value of `params`. Guarantee: a value is bound as what
//! it is, and never read as SQL. Left to others: which type a parameter has when the client does not say (`gateway`
//! infers it from the plan).

use arrow::datatypes::DataType;
use bytes::Bytes;
use jiff::tz::TimeZone;

use super::kind::{Kind, Scalar};
use super::problem::Problem;
use crate::query::params::{Param, To};

const EPOCH_US: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;
/// Elements of an array at most, as of a list after IN.
const MAX_ELEMENTS: usize = 10_000;

/// The type of a parameter that a plan gives `of`.
pub fn kind(of: Option<&DataType>) -> Kind {
    of.map_or(Kind::TEXT, Kind::of_type)
}

/// A NULL of `of`, which stands for a value that is not known yet.
pub fn unknown(of: Kind) -> Param {
    match of {
        Kind::One(of) => Param::Cast { text: None, to: to(of) },
        Kind::Many(of) => Param::Many(vec![Param::Cast { text: None, to: to(of) }]),
    }
}

const fn to(of: Scalar) -> To {
    match of {
        Scalar::Bool => To::Boolean,
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Oid => To::Bigint,
        Scalar::Float4 | Scalar::Float8 | Scalar::Numeric => To::Double,
        Scalar::Text | Scalar::Json | Scalar::Jsonb => To::Text,
        Scalar::Bytea => To::Binary,
        Scalar::Date => To::Date,
        Scalar::Time => To::Time,
        Scalar::Timestamp | Scalar::Timestamptz => To::Timestamp,
        Scalar::Interval => To::Interval,
    }
}

/// The value of parameter number `at` (from 1); a time as text that says no offset is one of `zone`.
///
/// Errors: 22P02 and 22P03 for what is no value of the type, 22021 for a text that is not UTF-8.
pub fn read(at: usize, of: Kind, binary: bool, value: Option<&Bytes>, zone: &TimeZone) -> Result<Param, Problem> {
    let Some(value) = value else {
        // A bare NULL takes the type of what stands beside it.
        return Ok(Param::Null);
    };
    let wrong = |state: &'static str, what: String| {
        Err(Problem::new(state, format!("the value of `${at}` is no {what}")).hint("declare its type, or cast it"))
    };
    match binary {
        true => match from_binary(of, value) {
            Some(param) => Ok(param),
            None => wrong("22P03", format!("binary {of:?}")),
        },
        false => {
            let Ok(text) = std::str::from_utf8(value) else {
                return Err(Problem::new("22021", format!("the value of `${at}` is not UTF-8")));
            };
            if text.contains('\0') {
                return Err(Problem::new("22021", format!("the value of `${at}` has a NUL byte")));
            }
            match from_text(of, text, zone) {
                Some(param) => Ok(param),
                None => wrong("22P02", format!("{of:?}: `{}`", text.chars().take(60).collect::<String>())),
            }
        }
    }
}

/// `param` with the times of a type that has no offset, read as UTC, as times of `zone`.
pub fn local(param: Param, zone: &TimeZone) -> Param {
    match param {
        Param::Instant(ns) => {
            let there = |ns: i64| {
                let read = jiff::Timestamp::from_nanosecond(i128::from(ns)).ok()?.to_zoned_datetime(TimeZone::UTC);
                let at = read.datetime().to_zoned_datetime(zone.clone()).ok()?.timestamp();
                i64::try_from(at.as_nanosecond()).ok()
            };
            Param::Instant(there(ns).unwrap_or(ns))
        }
        Param::Many(elements) => Param::Many(elements.into_iter().map(|element| local(element, zone)).collect()),
        other => other,
    }
}

fn from_text(of: Kind, text: &str, zone: &TimeZone) -> Option<Param> {
    let of = match of {
        Kind::One(of) => of,
        Kind::Many(of) => {
            let elements = elements(text)?;
            let one = |text: Option<String>| match text {
                Some(text) => from_text(Kind::One(of), &text, zone),
                None => Some(Param::Null),
            };
            return (elements.len() <= MAX_ELEMENTS)
                .then(|| elements.into_iter().map(one).collect::<Option<_>>())?
                .map(Param::Many);
        }
    };
    let trimmed = text.trim();
    Some(match of {
        Scalar::Bool => Param::Bool(boolean(trimmed)?),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Oid => Param::Int(trimmed.parse().ok()?),
        Scalar::Float4 | Scalar::Float8 => Param::Double(trimmed.parse().ok()?),
        Scalar::Numeric => number(trimmed)?,
        Scalar::Text | Scalar::Json | Scalar::Jsonb => Param::Text(text.to_owned()),
        Scalar::Bytea => Param::Binary(bytes(text)?),
        // A zone that is said counts, also where PostgreSQL would leave it out: drivers of Java say theirs with each time.
        Scalar::Timestamp | Scalar::Timestamptz => match instant(trimmed, zone) {
            Some(ns) => Param::Instant(ns),
            // `now`, `infinity` and other forms: the engine says what it takes.
            None => Param::Cast { text: Some(text.to_owned()), to: To::Timestamp },
        },
        Scalar::Interval => Param::Cast { text: Some(interval(trimmed)?), to: To::Interval },
        Scalar::Date | Scalar::Time => Param::Cast { text: Some(text.to_owned()), to: to(of) },
    })
}

fn from_binary(of: Kind, value: &[u8]) -> Option<Param> {
    let of = match of {
        Kind::One(of) => of,
        Kind::Many(of) => return many(of, value),
    };
    Some(match of {
        Scalar::Bool => match value {
            [0] => Param::Bool(false),
            [_] => Param::Bool(true),
            _ => return None,
        },
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 => Param::Int(match value.len() {
            2 => i64::from(i16::from_be_bytes(value.try_into().ok()?)),
            4 => i64::from(i32::from_be_bytes(value.try_into().ok()?)),
            _ => i64::from_be_bytes(value.try_into().ok()?),
        }),
        Scalar::Oid => Param::Int(i64::from(u32::from_be_bytes(value.try_into().ok()?))),
        Scalar::Float4 => Param::Double(f64::from(f32::from_be_bytes(value.try_into().ok()?))),
        Scalar::Float8 => Param::Double(f64::from_be_bytes(value.try_into().ok()?)),
        Scalar::Numeric => number(&decimal(value)?)?,
        Scalar::Text | Scalar::Json => Param::Text(String::from_utf8(value.to_vec()).ok()?),
        // Its version, which is 1, stands in front.
        Scalar::Jsonb => Param::Text(String::from_utf8(value.strip_prefix(&[1])?.to_vec()).ok()?),
        Scalar::Bytea => Param::Binary(value.to_vec()),
        Scalar::Timestamp | Scalar::Timestamptz => {
            let us = i64::from_be_bytes(value.try_into().ok()?).checked_add(EPOCH_US)?;
            Param::Instant(us.checked_mul(1_000)?)
        }
        Scalar::Date => {
            let days = i32::from_be_bytes(value.try_into().ok()?).checked_add(EPOCH_DAYS)?;
            let date = jiff::civil::date(1970, 1, 1).checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
            Param::Cast { text: Some(date.to_string()), to: To::Date }
        }
        Scalar::Time => {
            let us = i64::from_be_bytes(value.try_into().ok()?);
            let (seconds, us) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
            let text = format!("{:02}:{:02}:{:02}.{us:06}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
            Param::Cast { text: Some(text), to: To::Time }
        }
        Scalar::Interval => {
            let us = i64::from_be_bytes(value.get(..8)?.try_into().ok()?);
            let days = i32::from_be_bytes(value.get(8..12)?.try_into().ok()?);
            let months = i32::from_be_bytes(value.get(12..)?.try_into().ok()?);
            let (sign, size) = if us < 0 { ("-", us.unsigned_abs()) } else { ("", us.unsigned_abs()) };
            let seconds = format!("{sign}{}.{:06}", size / 1_000_000, size % 1_000_000);
            Param::Cast { text: Some(format!("{months} months {days} days {seconds} seconds")), to: To::Interval }
        }
    })
}

/// An array of one dimension, or none.
fn many(of: Scalar, value: &[u8]) -> Option<Param> {
    let word = |at: usize| Some(i32::from_be_bytes(value.get(at..at + 4)?.try_into().ok()?));
    match word(0)? {
        0 => return Some(Param::Many(Vec::new())),
        1 => {}
        _ => return None,
    }
    let count = usize::try_from(word(12)?).ok().filter(|count| *count <= MAX_ELEMENTS)?;
    let mut at = 20;
    let mut elements = Vec::new();
    for _ in 0..count {
        let length = word(at)?;
        at += 4;
        elements.push(match usize::try_from(length) {
            Ok(length) => {
                let element = from_binary(Kind::One(of), value.get(at..at.checked_add(length)?)?)?;
                at += length;
                element
            }
            Err(_) => Param::Null,
        });
    }
    Some(Param::Many(elements))
}

/// `1 day -04:05:06.7` with hours, minutes and seconds as words, which the engine reads.
pub(super) fn interval(text: &str) -> Option<String> {
    let word = |word: &str| {
        let word = word.trim_end_matches(',');
        let Some((hours, rest)) = word.split_once(':') else { return Some(word.to_owned()) };
        let sign = if hours.starts_with('-') { "-" } else { "" };
        let hours: u32 = hours.trim_start_matches(['-', '+']).parse().ok()?;
        let (minutes, seconds) = rest.split_once(':').unwrap_or((rest, "0"));
        let (minutes, seconds): (u32, f64) = (minutes.parse().ok()?, seconds.parse().ok()?);
        Some(format!("{sign}{hours} hours {sign}{minutes} minutes {sign}{seconds} seconds"))
    };
    text.split_whitespace().map(word).collect::<Option<Vec<_>>>().map(|words| words.join(" "))
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "t" | "true" | "y" | "yes" | "on" | "1" => Some(true),
        "f" | "false" | "n" | "no" | "off" | "0" => Some(false),
        _ => None,
    }
}

/// Whole numbers stay exact: half of the keys of resources are beyond the integers with a sign.
fn number(text: &str) -> Option<Param> {
    Some(match (text.parse::<i64>(), text.parse::<u64>()) {
        (Ok(value), _) => Param::Int(value),
        (_, Ok(value)) => Param::Unsigned(value),
        _ => Param::Double(text.parse().ok()?),
    })
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    let Some(hex) = text.strip_prefix("\\x") else { return Some(text.as_bytes().to_vec()) };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(digit(*high)? * 16 + digit(*low)?).ok(),
        _ => None,
    };
    hex.as_bytes().chunks(2).map(pair).collect()
}

/// `2026-01-31 12:00:00.5+01`, with `T`, `Z`, minutes in the offset or in `zone` without one, as ns since 1970.
fn instant(text: &str, zone: &TimeZone) -> Option<i64> {
    let text = text.replacen(' ', "T", 1);
    let time_from = text.find('T').unwrap_or(text.len());
    let offset_from = text[time_from..].find(['+', '-', 'Z', 'z']).map(|at| time_from + at);
    let at = match offset_from {
        None => text.parse::<jiff::civil::DateTime>().ok()?.to_zoned_datetime(zone.clone()).ok()?.timestamp(),
        Some(at) if matches!(text.as_bytes()[at], b'Z' | b'z') => text.parse().ok()?,
        Some(at) => {
            // PostgreSQL leaves minutes out where there are none; RFC 3339 does not.
            let whole = if text[at..].len() == 3 { format!("{text}:00") } else { text };
            whole.parse().ok()?
        }
    };
    i64::try_from(at.as_nanosecond()).ok()
}

/// Elements of `{a,"b,c",NULL}`.
pub(super) fn elements(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut elements = Vec::new();
    let mut chars = inner.chars().peekable();
    if inner.trim().is_empty() {
        return Some(elements);
    }
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut element = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        loop {
            match chars.next() {
                Some('"') if quoted => break,
                Some('\\') => element.push(chars.next()?),
                Some('{' | '}' | ',') if !quoted => return None,
                Some(c) if quoted => element.push(c),
                Some(c) => {
                    element.push(c);
                    if matches!(chars.peek(), None | Some(',')) {
                        break;
                    }
                }
                None => return None,
            }
        }
        let is_null = !quoted && element.trim().eq_ignore_ascii_case("null");
        elements.push((!is_null).then(|| if quoted { element } else { element.trim_end().to_owned() }));
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        match chars.next() {
            None => return Some(elements),
            Some(',') => {}
            Some(_) => return None,
        }
    }
}

/// A binary numeric as text.
fn decimal(value: &[u8]) -> Option<String> {
    let word = |at: usize| Some(i16::from_be_bytes(value.get(at..at + 2)?.try_into().ok()?));
    let (count, weight, sign, scale) = (word(0)?, word(2)?, word(4)?.cast_unsigned(), word(6)?);
    if sign == 0xC000 {
        return Some("NaN".to_owned());
    }
    // Beyond what a DOUBLE holds there is nothing to say exactly.
    if !(0..=1_000).contains(&scale) || !(-1_000..=1_000).contains(&weight) {
        return None;
    }
    let count = usize::try_from(count).ok()?;
    let group = |at: i16| match usize::try_from(at).ok().filter(|at| *at < count) {
        Some(at) => word(8 + 2 * at),
        None => Some(0),
    };
    let mut text = String::from(if sign == 0x4000 { "-" } else { "" });
    let whole: Option<String> = (0..=weight).map(|at| group(at).map(|group| format!("{group:04}"))).collect();
    let whole = whole?;
    let whole = whole.trim_start_matches('0');
    text.push_str(if whole.is_empty() { "0" } else { whole });
    let groups = (scale + 3) / 4;
    let fraction: Option<String> =
        (0..groups).map(|at| group(weight + 1 + at).map(|group| format!("{group:04}"))).collect();
    let fraction = fraction?;
    let fraction = fraction.get(..usize::try_from(scale).ok()?)?;
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    Some(text)
}

#[cfg(test)]
mod tests;
