//! Scalars of gate files (gates.md 1.3).
//!
//! Duty: text to durations, comparisons and `max_runs`. Guarantee: literals are converted in decimal, so `99.9%` is the
//! double nearest to 0.999. Left to others: ranges, and how comparisons relate (`numbers`).

use std::time::Duration;

use super::definition::{Comparison, Test, Unit};

/// Units of durations, largest first, in milliseconds.
const DURATION_UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1_000),
    ("ms", 1),
];

/// Why a text is no comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It does not follow the grammar.
    Malformed(String),
    /// A literal's suffix does not fit the gate's unit.
    Unit(String),
}

/// Reads `0`, or integers with units, largest first, each at most once: `1h30m`. `Err` says why not.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let (mut rest, mut next_unit, mut total_ms) = (text, 0, 0_u64);
    if rest.is_empty() {
        return Err("it is empty".to_owned());
    }
    while !rest.is_empty() {
        let (digits, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        if digits.is_empty() {
            return Err(format!("a number is due before `{after}`"));
        }
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let Some(at) = DURATION_UNITS.iter().position(|(known, _)| *known == unit) else {
            return Err(match unit {
                "" => format!("`{digits}` has no unit"),
                _ => format!("there is no unit `{unit}`"),
            });
        };
        if at < next_unit {
            return Err(format!("`{unit}` comes too late: larger units come first, each once"));
        }
        let ms = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(DURATION_UNITS[at].1));
        total_ms = ms.and_then(|ms| total_ms.checked_add(ms)).ok_or("it is too long to be counted")?;
        (rest, next_unit) = (after, at + 1);
    }
    Ok(Duration::from_millis(total_ms))
}

/// A duration of whole milliseconds as SQL.
pub fn interval(of: Duration) -> String {
    match (of.as_secs(), of.subsec_millis()) {
        (seconds, 0) => format!("INTERVAL '{seconds} seconds'"),
        _ => format!("INTERVAL '{} milliseconds'", of.as_millis()),
    }
}

/// `d` as people write it: `1h30m`.
pub fn duration_text(d: Duration) -> String {
    let mut ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let mut text = String::new();
    for (unit, size) in DURATION_UNITS.into_iter().filter(|(unit, _)| !matches!(*unit, "y" | "w")) {
        if ms >= size {
            text.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    if text.is_empty() { "0".to_owned() } else { text }
}

/// Reads `> 95%`, `in [1, 2]`, `not in [1ms, 2s]`; literals are converted into `unit`.
pub fn comparison(text: &str, unit: Unit) -> Result<Comparison, Fault> {
    let malformed = |why: &str| Fault::Malformed(why.to_owned());
    let trimmed = text.trim();
    let test = if let Some(rest) = word(trimmed, "not").and_then(|rest| word(rest, "in")) {
        let (low, high) = range(rest, unit)?;
        Test::NotIn(low, high)
    } else if let Some(rest) = word(trimmed, "in") {
        let (low, high) = range(rest, unit)?;
        Test::In(low, high)
    } else {
        type Make = fn(f64) -> Test;
        const OPERATORS: [(&str, Make); 6] = [
            (">=", Test::AtLeast),
            (">", Test::Above),
            ("<=", Test::AtMost),
            ("<", Test::Below),
            ("==", Test::Is),
            ("!=", Test::IsNot),
        ];
        let found = OPERATORS.iter().find_map(|(sign, make)| Some((trimmed.strip_prefix(sign)?, make)));
        let Some((rest, make)) = found else {
            return Err(match trimmed.starts_with('=') {
                true => malformed("`=` is no operator; equality is `==`"),
                false => malformed("it begins with none of >= > <= < == != in, not in"),
            });
        };
        make(literal(rest.trim(), unit)?)
    };
    Ok(Comparison { text: trimmed.to_owned(), test })
}

/// What follows `word` in `text`, if it stands there as a whole word.
fn word<'a>(text: &'a str, word: &str) -> Option<&'a str> {
    let rest = text.strip_prefix(word)?;
    (rest.starts_with(['[', ' ', '\t', '\n'])).then(|| rest.trim_start())
}

fn range(text: &str, unit: Unit) -> Result<(f64, f64), Fault> {
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let ends = inner.and_then(|inner| inner.split_once(','));
    let Some((low, high)) = ends else {
        return Err(Fault::Malformed("a range is two literals in brackets: [0.5, 2]".to_owned()));
    };
    Ok((literal(low.trim(), unit)?, literal(high.trim(), unit)?))
}

/// A decimal number with an optional suffix, in `unit`.
fn literal(text: &str, unit: Unit) -> Result<f64, Fault> {
    let Some(number) = Decimal::prefix(text) else {
        return Err(Fault::Malformed(match text {
            "" => "a number is missing".to_owned(),
            _ => format!("`{text}` is no number"),
        }));
    };
    let suffix = text[number.length..].trim_start();
    let (factor, exponent) = match suffix {
        "" => (1, 0),
        "%" => match unit {
            Unit::Percent => (1, 0),
            Unit::None | Unit::Ratio => (1, -2),
            _ => return Err(Fault::Unit(format!("`{text}` is a percentage, the gate's unit is `{}`", word_of(unit)))),
        },
        _ => {
            let (factor, from) = match suffix {
                "ns" => (1, -9),
                "us" => (1, -6),
                "ms" => (1, -3),
                "s" => (1, 0),
                "m" => (60, 0),
                "h" => (3600, 0),
                _ => return Err(Fault::Malformed(format!("`{suffix}` is no suffix: % ns us ms s m h"))),
            };
            let into = match unit {
                Unit::Seconds => 0,
                Unit::Milliseconds => -3,
                Unit::Microseconds => -6,
                Unit::Nanoseconds => -9,
                _ => return Err(Fault::Unit(format!("`{text}` is a time, the gate's unit is `{}`", word_of(unit)))),
            };
            (factor, from - into)
        }
    };
    let value = number.times(factor, exponent);
    match value.is_finite() {
        true => Ok(value),
        false => Err(Fault::Malformed(format!("`{text}` is larger than any number here"))),
    }
}

/// The word of gates.md 1.2.
pub const fn word_of(unit: Unit) -> &'static str {
    match unit {
        Unit::None => "none",
        Unit::Ratio => "ratio",
        Unit::Percent => "percent",
        Unit::Count => "count",
        Unit::Bytes => "bytes",
        Unit::Seconds => "s",
        Unit::Milliseconds => "ms",
        Unit::Microseconds => "us",
        Unit::Nanoseconds => "ns",
    }
}

/// A number as it was written.
struct Decimal<'a> {
    negative: bool,
    whole: &'a str,
    fraction: &'a str,
    exponent: i32,
    length: usize,
}

impl<'a> Decimal<'a> {
    /// The longest decimal number that `text` begins with.
    fn prefix(text: &'a str) -> Option<Self> {
        let digits = |text: &'a str| text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
        let (whole, rest) = digits(unsigned);
        let (fraction, rest) = match rest.strip_prefix('.') {
            Some(after) => digits(after),
            None => ("", rest),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut end = rest;
        let mut exponent = 0;
        if let Some(after) = rest.strip_prefix(['e', 'E']) {
            let sign = after.strip_prefix(['-', '+']).unwrap_or(after);
            let (number, behind) = digits(sign);
            if !number.is_empty() {
                let size: i32 = number.parse().unwrap_or(i32::MAX / 2).min(1_000_000);
                exponent = if after.starts_with('-') { -size } else { size };
                end = behind;
            }
        }
        let negative = text.starts_with('-');
        Some(Self { negative, whole, fraction, exponent, length: text.len() - end.len() })
    }

    /// The double nearest to the number × `factor` × 10^`exponent`.
    fn times(&self, factor: u128, exponent: i32) -> f64 {
        let fraction = i32::try_from(self.fraction.len()).unwrap_or(i32::MAX / 2);
        let exponent = self.exponent.saturating_add(exponent).saturating_sub(fraction);
        let digits = format!("{}{}", self.whole, self.fraction);
        let sign = if self.negative { "-" } else { "" };
        // Without a factor any number of digits is read exactly.
        let digits = match (factor, digits.parse::<u128>().ok().and_then(|n| n.checked_mul(factor))) {
            (1, _) => digits,
            (_, Some(product)) => product.to_string(),
            #[allow(clippy::cast_precision_loss, reason = "60 and 3600 are exact")]
            (_, None) => {
                return format!("{sign}{digits}e{exponent}").parse::<f64>().unwrap_or(f64::NAN) * factor as f64;
            }
        };
        format!("{sign}{digits}e{exponent}").parse().unwrap_or(f64::NAN)
    }
}

/// `2 of 3`: how often in how many, both from 1 to 60. `Err` says why not.
pub fn n_of_m(text: &str) -> Result<(u8, u8), String> {
    let mut words = text.split_ascii_whitespace();
    let (Some(n), Some("of"), Some(m), None) = (words.next(), words.next(), words.next(), words.next()) else {
        return Err("it is not written as `2 of 3`".to_owned());
    };
    let number = |word: &str| {
        let read =
            Some(word).filter(|word| word.bytes().all(|b| b.is_ascii_digit())).and_then(|word| word.parse().ok());
        read.filter(|number| (1..=60).contains(number)).ok_or(format!("`{word}` is no number from 1 to 60"))
    };
    match (number(n)?, number(m)?) {
        (n, m) if n > m => Err(format!("{n} of {m} never come")),
        both => Ok(both),
    }
}

/// `3/24h`: how many, in how long.
pub fn max_runs(text: &str) -> Result<(u32, Duration), String> {
    let Some((count, time)) = text.split_once('/') else {
        return Err("it is not written as `3/24h`".to_owned());
    };
    let count = count.trim().parse::<u32>().ok().filter(|count| *count > 0);
    let count = count.ok_or("the number before `/` is not at least 1")?;
    let time = duration(time.trim())?;
    match time.is_zero() {
        true => Err("the time after `/` is 0".to_owned()),
        false => Ok((count, time)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_largest_first_each_once() {
        for (text, ms) in [
            ("0", 0),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("1y", 31_536_000_000),
            ("1m500ms", 60_500),
            ("2w1d", 1_296_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for (text, why) in [
            ("", "empty"),
            ("30", "has no unit"),
            ("s", "a number is due"),
            ("1m1h", "comes too late"),
            ("1m1m", "comes too late"),
            ("1.5h", "no unit `.`"),
            ("-1s", "a number is due"),
            ("1us", "no unit `us`"),
            ("99999999999999999999s", "too long"),
            ("1h ", "no unit `h `"),
        ] {
            assert!(duration(text).is_err_and(|got| got.contains(why)), "{text}: {:?}", duration(text));
        }
        assert_eq!(duration_text(Duration::from_millis(5_400_000)), "1h30m");
        assert_eq!(duration_text(Duration::ZERO), "0");
    }

    #[test]
    fn literals_are_converted_into_the_unit_in_decimal() {
        for (text, unit, want) in [
            ("> 95%", Unit::None, Test::Above(0.95)),
            (">=99.9%", Unit::Ratio, Test::AtLeast(0.999)),
            ("< 95 %", Unit::Percent, Test::Below(95.0)),
            ("<= 250ms", Unit::Seconds, Test::AtMost(0.25)),
            ("< 2s", Unit::Nanoseconds, Test::Below(2e9)),
            ("< 1.1m", Unit::Seconds, Test::Below(66.0)),
            ("== 0.3h", Unit::Milliseconds, Test::Is(1_080_000.0)),
            ("!= -1.5e3", Unit::None, Test::IsNot(-1500.0)),
            ("in [.5, 1e-1]", Unit::None, Test::In(0.5, 0.1)),
            ("not in[1us,2ms]", Unit::Microseconds, Test::NotIn(1.0, 2000.0)),
            ("> 7", Unit::Seconds, Test::Above(7.0)),
        ] {
            assert_eq!(comparison(text, unit).map(|c| c.test), Ok(want), "{text}");
        }
    }

    #[test]
    fn what_is_no_comparison_says_why() {
        for (text, unit, why) in [
            ("95%", Unit::None, "begins with none"),
            ("= 1", Unit::None, "equality is `==`"),
            ("> ", Unit::None, "a number is missing"),
            ("> x", Unit::None, "`x` is no number"),
            ("> 1e999", Unit::None, "larger than any number"),
            ("in [1]", Unit::None, "two literals"),
            ("in 1, 2", Unit::None, "two literals"),
            ("> 1 d", Unit::Seconds, "`d` is no suffix"),
            ("> 1 2", Unit::None, "`2` is no suffix"),
            ("inside", Unit::None, "begins with none"),
        ] {
            let got = comparison(text, unit);
            assert!(matches!(&got, Err(Fault::Malformed(got)) if got.contains(why)), "{text}: {got:?}");
        }
        for (text, unit) in [("> 1s", Unit::Ratio), ("> 5%", Unit::Bytes), ("> 1h", Unit::None)] {
            assert!(matches!(comparison(text, unit), Err(Fault::Unit(_))), "{text}");
        }
    }

    #[test]
    fn n_of_m_is_how_often_in_how_many() {
        assert_eq!(n_of_m("2 of 3"), Ok((2, 3)));
        assert_eq!(n_of_m(" 60  of 60 "), Ok((60, 60)));
        let wrong = [
            ("2", "not written as"),
            ("2/3", "not written as"),
            ("2 of 3 of 4", "not written as"),
            ("3 of 2", "3 of 2 never come"),
            ("0 of 2", "`0` is no number from 1 to 60"),
            ("1 of 61", "`61` is no number"),
            ("+1 of 2", "`+1` is no number"),
            ("x of 2", "`x` is no number"),
        ];
        for (text, why) in wrong {
            assert!(n_of_m(text).is_err_and(|got| got.contains(why)), "{text}: {:?}", n_of_m(text));
        }
    }

    #[test]
    fn max_runs_is_a_count_in_a_time() {
        assert_eq!(max_runs("3/24h"), Ok((3, Duration::from_secs(86_400))));
        for text in ["3", "0/1h", "3/0", "x/1h", "3/1x", "-1/1h"] {
            assert!(max_runs(text).is_err(), "{text}");
        }
    }
}
