//! Duration text (D5).
//!
//! Duty: `1h30m`, `1.5s`, `-2ms` to nanoseconds, as Go's `time.ParseDuration` reads them. Guarantee: no rounding up and
//! no overflow. Left to others: whether a negative one is allowed, and bare integers.

/// Nanoseconds of `text`; `days` allows the unit `d`. `Err` says why not, without the text.
pub(super) fn parse(text: &str, days: bool) -> Result<i64, String> {
    let (negative, rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    let mut rest = rest;
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let (whole, after) = digits(rest);
        let (fraction, after) = match after.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", after),
        };
        if whole.is_empty() && fraction.is_empty() {
            return Err("a number is due before each unit".to_owned());
        }
        let unit_len = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        let unit_ns = unit_ns(unit, days)?;
        total = total.saturating_add(number(whole)?.saturating_mul(unit_ns));
        total = total.saturating_add(fraction_ns(fraction, unit_ns));
        if total > i128::from(i64::MAX) {
            return Err("it is longer than 292 years".to_owned());
        }
        rest = after;
    }
    let total = i64::try_from(total).expect("checked above");
    Ok(if negative { -total } else { total })
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

fn number(digits: &str) -> Result<i128, String> {
    if digits.is_empty() {
        return Ok(0);
    }
    digits.parse::<u64>().map(i128::from).map_err(|_| "a number in it is too large".to_owned())
}

fn fraction_ns(digits: &str, unit_ns: i128) -> i128 {
    // 17 digits of the largest unit stay below 2^127 and lie far below a nanosecond.
    let digits = &digits[..digits.len().min(17)];
    let scale = 10_i128.pow(u32::try_from(digits.len()).expect("at most 17"));
    digits.parse::<i128>().unwrap_or(0) * unit_ns / scale
}

fn unit_ns(unit: &str, days: bool) -> Result<i128, String> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" if days => 86_400_000_000_000,
        "" => return Err("a unit is missing, e.g. `5s`".to_owned()),
        other => {
            let units = if days { "ns us ms s m h d" } else { "ns us ms s m h" };
            return Err(format!("unknown unit \"{other}\" (units: {units})"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, want) in [
            ("0", 0),
            ("1h30m", 5_400_000_000_000),
            ("1.5s", 1_500_000_000),
            (".5s", 500_000_000),
            ("1.s", 1_000_000_000),
            ("-2ms", -2_000_000),
            ("+7us", 7_000),
            ("3µs", 3_000),
            ("9ns", 9),
        ] {
            assert_eq!(parse(text, false), Ok(want), "{text}");
        }
        assert_eq!(parse("2d", true), Ok(172_800_000_000_000));
    }

    #[test]
    fn what_is_no_duration_is_refused_with_the_reason() {
        for (text, why) in [
            ("", "empty"),
            ("5", "unit is missing"),
            ("5 s", "unknown unit \" s\""),
            ("1d", "unknown unit \"d\""),
            ("s", "a number is due"),
            (".s", "a number is due"),
            ("1h-", "unknown unit \"h-\""),
            ("300000000h", "292 years"),
            ("99999999999999999999999s", "too large"),
        ] {
            let got = parse(text, false).expect_err(text);
            assert!(got.contains(why), "{text}: {got}");
        }
    }
}
