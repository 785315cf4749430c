//! Numbers of OTLP/JSON: exact integers and doubles, as numbers or as strings (J11 to J18).
//!
//! Duty: the value behind a number's text. Guarantee: integers are exact, never through a double; what does not fit is
//! an error. Left to others: the place of the number (`pull`).

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::Walk;
use super::pull::{Kind, Reader};
use crate::otlp::counts::Advisory;
use crate::otlp::wire::Broken;

/// Length of the JSON number at the start of `text`; `None` if there is none.
#[inline]
pub(super) fn scan(text: &[u8]) -> Option<usize> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        Some(rest.iter().take_while(|byte| byte.is_ascii_digit()).count()).filter(|n| *n > 0)
    };
    let mut at = usize::from(text.first() == Some(&b'-'));
    // J29: a leading zero stands alone.
    at += if text.get(at) == Some(&b'0') { 1 } else { digits(at)? };
    if text.get(at) == Some(&b'.') {
        at += 1 + digits(at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        at += digits(at)?;
    }
    // `01`: what follows is no number that starts anew.
    if text.get(at).is_some_and(u8::is_ascii_digit) { None } else { Some(at) }
}

/// The text of a number that may stand in quotes.
#[inline]
fn text<'a>(at: &mut Reader<'a>) -> Result<Cow<'a, [u8]>, Broken> {
    match at.peek()? {
        Kind::Text => at.text(),
        Kind::Number => at.number().map(Cow::Borrowed),
        other => Err(at.fail("json", format!("a number is due, this is {}", other.name()))),
    }
}

#[inline]
fn integer(at: &mut Reader<'_>, range: RangeInclusive<i128>) -> Result<i128, Broken> {
    at.peek()?;
    let place = *at;
    let text = text(at)?;
    let value = match plain(&text) {
        Some(value) => i128::from(value),
        None if scan(&text) != Some(text.len()) => return Err(place.fail("number", "this is not a decimal number")),
        None => exact(&text).ok_or_else(|| place.fail("number", "the number is too large or not a whole one"))?,
    };
    if !range.contains(&value) {
        let (low, high) = range.into_inner();
        return Err(place.fail("number", format!("the number is not between {low} and {high}")));
    }
    Ok(value)
}

/// The usual case: digits only, few enough for 64 bits.
#[inline]
fn plain(text: &[u8]) -> Option<u64> {
    let is_plain = (1..=19).contains(&text.len()) && (text[0] != b'0' || text.len() == 1);
    if !is_plain {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0')))
}

/// J12: the value of a well-formed number if it is whole and has at most 40 digits.
fn exact(text: &[u8]) -> Option<i128> {
    let (negative, text) = text.strip_prefix(b"-").map_or((false, text), |rest| (true, rest));
    let mantissa = text.iter().position(|byte| matches!(byte, b'e' | b'E')).unwrap_or(text.len());
    let exponent = text.get(mantissa + 1..).map_or(0, exponent);
    let point = text[..mantissa].iter().position(|byte| *byte == b'.').unwrap_or(mantissa);
    let fraction = text.get(point + 1..mantissa).unwrap_or_default();
    let digits = || text[..point].iter().chain(fraction).map(|byte| i128::from(byte - b'0'));
    let Some(first) = digits().position(|digit| digit != 0) else { return Some(0) };
    let last = digits().enumerate().filter(|(_, digit)| *digit != 0).map(|(index, _)| index).last()?;
    // Zeros behind the last digit that counts; below 0 it is behind the point.
    let zeros = i64::try_from(point).ok()? - 1 - i64::try_from(last).ok()?;
    let zeros = zeros.saturating_add(exponent);
    if !(0..=20).contains(&zeros) || last - first >= 20 {
        return None;
    }
    let significant = digits().skip(first).take(last - first + 1).fold(0_i128, |value, digit| value * 10 + digit);
    // 20 digits times 10^20 are above i128 at worst, and then above all ranges.
    let value = significant.checked_mul(10_i128.pow(u32::try_from(zeros).ok()?))?;
    Some(if negative { -value } else { value })
}

/// The exponent; what is beyond any number that fits stays beyond it.
fn exponent(text: &[u8]) -> i64 {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    let value =
        digits.iter().fold(0_i64, |value, byte| value.saturating_mul(10).saturating_add(i64::from(byte - b'0')));
    if negative { -value } else { value }
}

pub(super) fn u64(at: &mut Reader<'_>) -> Result<u64, Broken> {
    let value = integer(at, 0..=i128::from(u64::MAX))?;
    Ok(value.try_into().expect("the range was checked"))
}

pub(super) fn i64(at: &mut Reader<'_>) -> Result<i64, Broken> {
    let value = integer(at, i128::from(i64::MIN)..=i128::from(i64::MAX))?;
    Ok(value.try_into().expect("the range was checked"))
}

pub(super) fn u32(at: &mut Reader<'_>) -> Result<u32, Broken> {
    let value = integer(at, 0..=i128::from(u32::MAX))?;
    Ok(value.try_into().expect("the range was checked"))
}

pub(super) fn i32(at: &mut Reader<'_>) -> Result<i32, Broken> {
    let value = integer(at, i128::from(i32::MIN)..=i128::from(i32::MAX))?;
    Ok(value.try_into().expect("the range was checked"))
}

/// J14 to J16: an enum by number, or by one of `names` in the order of their numbers.
pub(super) fn enumeration(walk: &mut Walk<'_>, at: &mut Reader<'_>, names: &[&str]) -> Result<i32, Broken> {
    if at.peek()? == Kind::Number {
        return i32(at);
    }
    let place = *at;
    let text = at.text()?;
    let number = (0..).zip(names).find(|(_, name)| name.as_bytes() == &*text).map(|(number, _)| number);
    let number = number.ok_or_else(|| place.fail("json", format!("the enum has no such name, only {names:?}")))?;
    if walk.strict {
        return Err(place.fail("json", format!("with json_strict an enum is a number: {number}")));
    }
    walk.builder.advise(Advisory::EnumName);
    Ok(number)
}

/// J17, J18: a double as a number, in quotes, or one of the three that JSON has no number for.
pub(super) fn double(at: &mut Reader<'_>) -> Result<f64, Broken> {
    let is_quoted = at.peek()? == Kind::Text;
    let place = *at;
    let text = text(at)?;
    if is_quoted {
        match text.to_ascii_lowercase().as_slice() {
            b"nan" => return Ok(f64::NAN),
            b"infinity" | b"inf" => return Ok(f64::INFINITY),
            b"-infinity" | b"-inf" => return Ok(f64::NEG_INFINITY),
            _ => {}
        }
    }
    let decimal = std::str::from_utf8(&text).ok().filter(|text| scan(text.as_bytes()) == Some(text.len()));
    match decimal.and_then(|text| text.parse::<f64>().ok()) {
        Some(value) if value.is_finite() => Ok(value),
        Some(_) => Err(place.fail("number", "the number is beyond the range of a double")),
        None => Err(place.fail("number", "this is not a decimal number")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_read_exactly_whatever_their_form() {
        for (text, want) in [
            ("0", Some(0)),
            ("-0.000e5", Some(0)),
            ("18446744073709551615", Some(i128::from(u64::MAX))),
            ("1844674407370955161.5e1", Some(i128::from(u64::MAX))),
            ("1e3", Some(1000)),
            ("2.0", Some(2)),
            ("1200e-2", Some(12)),
            ("-9223372036854775808", Some(i128::from(i64::MIN))),
            ("1.5", None),
            ("1e-1", None),
            ("1e99999999999999999999", None),
            ("1e-99999999999999999999", None),
            ("0e99999999999999999999", Some(0)),
            ("99999999999999999999e20", None),
        ] {
            assert_eq!(exact(text.as_bytes()), want, "{text}");
            let plain = plain(text.as_bytes());
            assert!(plain.is_none() || plain.map(i128::from) == want, "{text}");
        }
        assert_eq!(
            ["", "00", "1x", "9999999999999999999"].map(|t| plain(t.as_bytes())),
            [None, None, None, Some(9_999_999_999_999_999_999)]
        );
    }

    #[test]
    fn a_number_ends_where_json_says() {
        let lengths = ["01", "-", "+1", "1.", ".5", "1e", "1e+", "-0.50E+07x", "12,"].map(|t| scan(t.as_bytes()));
        assert_eq!(lengths, [None, None, None, None, None, None, None, Some(9), Some(2)]);
    }
}
