//! Plain scalars to values (C6).
//!
//! Duty: what `true`, `0123`, `1.5` or `~` mean without quotes. Guarantee: booleans are `true` and `false` alone, so
//! `yes` and `on` stay text; a leading zero and `0o` are octal, `0x` is hexadecimal, `0b` binary. Left to others: quoted
//! scalars, which are always text.

use super::Value;

/// The value of a plain scalar.
pub(super) fn resolve(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if let Some(infinite) = infinity(text) {
        return Value::Float(infinite);
    }
    if !starts_like_a_number(text) {
        return Value::Text(text.to_owned());
    }
    match integer(text) {
        Some(number) => Value::Int(number),
        None => float(text).map_or_else(|| Value::Text(text.to_owned()), Value::Float),
    }
}

/// The value of a plain scalar by YAML 1.2's core schema.
pub(super) fn resolve_core(text: &str) -> Value {
    match text {
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        ".nan" | ".NaN" | ".NAN" => return Value::Float(f64::NAN),
        _ => {}
    }
    if let Some(infinite) = infinity(text) {
        return Value::Float(infinite);
    }
    let radix = |digits: &str, radix: u32| match digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        true => i64::from_str_radix(digits, radix).ok(),
        false => None,
    };
    let number = match text.as_bytes() {
        [b'0', b'x', ..] => radix(&text[2..], 16),
        [b'0', b'o', ..] => radix(&text[2..], 8),
        _ => text.parse().ok(),
    };
    if let Some(number) = number {
        return Value::Int(number);
    }
    let known = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    let float = starts_like_a_number(text) && text.bytes().all(known);
    float.then(|| text.parse().ok()).flatten().map_or_else(|| Value::Text(text.to_owned()), Value::Float)
}

fn infinity(text: &str) -> Option<f64> {
    let (sign, rest) = sign(text);
    matches!(rest, ".inf" | ".Inf" | ".INF").then_some(if sign < 0 { f64::NEG_INFINITY } else { f64::INFINITY })
}

fn sign(text: &str) -> (i64, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (-1, &text[1..]),
        Some(b'+') => (1, &text[1..]),
        _ => (1, text),
    }
}

fn starts_like_a_number(text: &str) -> bool {
    matches!(sign(text).1.as_bytes(), [b'0'..=b'9', ..] | [b'.', b'0'..=b'9', ..])
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = sign(text);
    // The Collector's YAML library drops underscores inside numbers.
    let digits = digits.replace('_', "");
    let (radix, digits) = match digits.as_bytes() {
        [b'0', b'x', ..] => (16, &digits[2..]),
        [b'0', b'o', ..] => (8, &digits[2..]),
        [b'0', b'b', ..] => (2, &digits[2..]),
        [b'0', _, ..] => (8, &digits[1..]),
        _ => (10, digits.as_str()),
    };
    // from_str_radix takes a sign of its own
    if !digits.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    let size = i128::from_str_radix(digits, radix).ok()?;
    i64::try_from(size * i128::from(sign)).ok()
}

fn float(text: &str) -> Option<f64> {
    let digits = text.replace('_', "");
    let known = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    digits.bytes().all(known).then(|| digits.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_core_schema_knows_no_octal_by_a_leading_zero_and_no_underscores() {
        for (text, want) in [
            ("", Value::Null),
            ("True", Value::Bool(true)),
            ("FALSE", Value::Bool(false)),
            ("yes", Value::Text("yes".into())),
            ("0123", Value::Int(123)),
            ("0o17", Value::Int(15)),
            ("0xff", Value::Int(255)),
            ("0x-1", Value::Text("0x-1".into())),
            ("0b11", Value::Text("0b11".into())),
            ("1_000", Value::Text("1_000".into())),
            ("+7", Value::Int(7)),
            ("1e3", Value::Float(1000.0)),
            ("5.", Value::Float(5.0)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("1h", Value::Text("1h".into())),
            ("9223372036854775808", Value::Float(9_223_372_036_854_775_808.0)),
        ] {
            assert_eq!(resolve_core(text), want, "{text:?}");
        }
    }

    #[test]
    fn plain_scalars_mean_what_the_collector_takes_them_for() {
        for (text, want) in [
            ("", Value::Null),
            ("~", Value::Null),
            ("true", Value::Bool(true)),
            ("yes", Value::Text("yes".into())),
            ("on", Value::Text("on".into())),
            ("True", Value::Text("True".into())),
            ("0", Value::Int(0)),
            ("-12", Value::Int(-12)),
            ("0123", Value::Int(83)),
            ("0o123", Value::Int(83)),
            ("0xdeadbeef", Value::Int(3_735_928_559)),
            ("0b11", Value::Int(3)),
            ("1_000", Value::Int(1000)),
            ("0900", Value::Float(900.0)),
            ("1.5", Value::Float(1.5)),
            (".5", Value::Float(0.5)),
            ("1e3", Value::Float(1000.0)),
            ("-.inf", Value::Float(f64::NEG_INFINITY)),
            ("9223372036854775808", Value::Float(9_223_372_036_854_775_808.0)),
            ("1h", Value::Text("1h".into())),
            ("0x", Value::Text("0x".into())),
            ("0x-1", Value::Text("0x-1".into())),
            ("127.0.0.1", Value::Text("127.0.0.1".into())),
            ("1-2", Value::Text("1-2".into())),
            ("-", Value::Text("-".into())),
        ] {
            assert_eq!(resolve(text), want, "{text:?}");
        }
    }
}
