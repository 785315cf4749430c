//! What an attribute's value becomes in each SQL type (sql.md 3.3).
//!
//! Duty: the table of conversions, cell by cell. Guarantee: none fails; what is not representable is `None`. Left to
//! others: which type is asked for (`typing`).

use std::borrow::Cow;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::json;
use super::list::Value;

/// As TEXT.
pub fn to_text(value: Value<'_>) -> Option<Cow<'_, str>> {
    Some(match value {
        Value::Empty => return None,
        Value::Text(text) => Cow::Borrowed(text),
        Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Value::Int(value) => Cow::Owned(value.to_string()),
        Value::Double(value) => Cow::Owned(double_text(value)),
        Value::Bytes(bytes) => Cow::Owned(STANDARD.encode(bytes)),
        Value::Nested(bytes) => {
            let mut text = String::new();
            json::write_any_value(bytes, &mut text);
            Cow::Owned(text)
        }
    })
}

/// As BIGINT.
pub fn to_int(value: Value<'_>) -> Option<i64> {
    match value {
        Value::Text(text) => canonical_int(text),
        Value::Int(value) => Some(value),
        Value::Double(value) => integral(value),
        _ => None,
    }
}

/// As DOUBLE.
pub fn to_double(value: Value<'_>) -> Option<f64> {
    match value {
        Value::Text(text) => text.parse().ok(),
        #[allow(clippy::cast_precision_loss, reason = "the nearest double is what is asked for")]
        Value::Int(value) => Some(value as f64),
        Value::Double(value) => Some(value),
        _ => None,
    }
}

/// As BOOLEAN.
pub fn to_bool(value: Value<'_>) -> Option<bool> {
    match value {
        Value::Text("true") => Some(true),
        Value::Text("false") => Some(false),
        Value::Bool(value) => Some(value),
        _ => None,
    }
}

/// `-?(0|[1-9][0-9]*)` within 64 bits; so text equality and integer equality agree.
pub fn canonical_int(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let canonical = match digits {
        [b'0'] => true,
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    // `-0` matches the pattern and reads 0.
    if canonical { text.parse().ok() } else { None }
}

#[allow(clippy::cast_possible_truncation, reason = "the range is checked before")]
fn integral(value: f64) -> Option<i64> {
    // 2^63 is a double, 2^63 - 1 is not.
    let in_range = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&value);
    (in_range && value.trunc() == value).then_some(value as i64)
}

/// A double as PostgreSQL writes it: the shortest digits that read back, in positional form from 1e-4 up to 1e15.
pub fn double_text(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').expect("the e form has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small number");
    if value == 0.0 || (-4..15).contains(&exponent) {
        return format!("{value}");
    }
    let mut text = mantissa.to_owned();
    let sign = if exponent < 0 { '-' } else { '+' };
    write!(text, "e{sign}{:02}", exponent.abs()).expect("writing to a String does not fail");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_postgresql_writes_them() {
        let cases = [
            (3.0, "3"),
            (0.1, "0.1"),
            (1e20, "1e+20"),
            (1e15, "1e+15"),
            (123_456_789_012_345.0, "123456789012345"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (-2.5e-7, "-2.5e-07"),
            (-0.0, "-0"),
            (1.5e300, "1.5e+300"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, text) in cases {
            assert_eq!(double_text(value), text);
        }
    }

    #[test]
    fn only_canonical_decimals_become_integers() {
        for (text, value) in
            [("0", 0), ("-1", -1), ("9223372036854775807", i64::MAX), ("-9223372036854775808", i64::MIN)]
        {
            assert_eq!(to_int(Value::Text(text)), Some(value));
        }
        for text in ["", "-", "+1", "01", " 1", "1 ", "1.0", "1e3", "9223372036854775808", "٣"] {
            assert_eq!(to_int(Value::Text(text)), None, "{text:?}");
        }
        assert_eq!(to_int(Value::Double(9_223_372_036_854_775_808.0)), None);
        assert_eq!(to_int(Value::Double(-9_223_372_036_854_775_808.0)), Some(i64::MIN));
        assert_eq!((to_int(Value::Double(2.5)), to_int(Value::Double(f64::NAN))), (None, None));
        assert_eq!((to_int(Value::Bool(true)), to_double(Value::Bool(true))), (None, None));
    }

    #[test]
    fn text_is_a_boolean_only_as_true_or_false() {
        assert_eq!(to_bool(Value::Text("true")), Some(true));
        assert_eq!((to_bool(Value::Text("TRUE")), to_bool(Value::Int(1))), (None, None));
        assert_eq!(to_text(Value::Bytes(&[0, 255])).as_deref(), Some("AP8="));
        assert_eq!(to_text(Value::Empty), None);
    }
}
