//! The text of timers (bpmn.md 6): dates and durations.
//!
//! Duty: ISO 8601 text to values. Guarantee: what it reads is in range, what it refuses it names; no clock. Left to others:
//! zones other than a given offset, cycles and cron (not built).

use jiff::civil::{Date, DateTime, ISOWeekDate, Weekday};

/// A point in time as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instant {
    /// With `Z` or an offset: ms since 1970, UTC.
    Utc(i64),
    /// Without: to be read in the configured zone.
    Local(DateTime),
}

/// A calendar duration; all parts carry one sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Duration {
    /// Years and months.
    pub months: i64,
    /// Weeks and days.
    pub days: i64,
    /// Hours, minutes, seconds and fractions, in ms.
    pub ms: i64,
}

/// Reads a date: `2025-01-31T08:00:00Z`, with an offset, without one, or a week date (`2025-W05-5T08:00:00Z`).
///
/// Errors: one sentence saying what is wrong.
pub fn date(text: &str) -> Result<Instant, String> {
    let text = text.trim();
    let wrong = || format!("`{text}` is no ISO 8601 date such as `2025-01-31T08:00:00Z`");
    let (day, time) = text.split_once(['T', 't']).map_or((text, None), |(day, time)| (day, Some(time)));
    // Other forms that the library reads, e.g. zone annotations, are none of the grammar.
    if !text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b':' | b'.' | b',' | b'+')) {
        return Err(wrong());
    }
    let day = match day.split_once(['W', 'w']) {
        Some((year, rest)) => week_date(year, rest).ok_or_else(wrong)?,
        None => day.parse::<Date>().map_err(|_| wrong())?,
    };
    let Some(time) = time else { return Ok(Instant::Local(day.at(0, 0, 0, 0))) };
    let whole = format!("{day}T{time}");
    if time.contains(['Z', 'z', '+', '-']) {
        let instant = whole.parse::<jiff::Timestamp>().map_err(|_| wrong())?;
        return Ok(Instant::Utc(instant.as_millisecond()));
    }
    whole.parse::<DateTime>().map(Instant::Local).map_err(|_| wrong())
}

fn week_date(year: &str, rest: &str) -> Option<Date> {
    let year = year.strip_suffix('-').unwrap_or(year).parse().ok()?;
    let rest: String = rest.chars().filter(|c| *c != '-').collect();
    let (week, day) = (rest.get(..2)?.parse().ok()?, rest.get(2..)?);
    let day = if day.is_empty() { 1 } else { day.parse().ok()? };
    let weekday = Weekday::from_monday_one_offset(day).ok()?;
    ISOWeekDate::new(year, week, weekday).ok().map(|date| date.date())
}

/// Reads a duration: `PnYnMnDTnHnMnS` or `PnW`, a fraction on the last unit, a leading `-` for one that is due at once.
///
/// Errors: one sentence saying what is wrong.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = |what: &str| format!("`{text}` is no ISO 8601 duration such as `PT10M` or `P1DT12H`: {what}");
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let rest = rest.strip_prefix('P').ok_or_else(|| wrong("it does not begin with `P`"))?;
    let (date, time) = rest.split_once('T').map_or((rest, None), |(date, time)| (date, Some(time)));
    if date.is_empty() && time.is_none_or(str::is_empty) {
        return Err(wrong("it has no unit"));
    }
    if time == Some("") {
        return Err(wrong("nothing follows `T`"));
    }
    let mut out = Duration::default();
    let weeks = date.ends_with('W');
    if weeks && time.is_some() {
        return Err(wrong("weeks stand alone"));
    }
    let mut fraction = false;
    let units: &[(char, i64)] = if weeks { &[('W', 7)] } else { &[('Y', 12), ('M', 1), ('D', 1)] };
    let mut date_parts = parts(date, units).map_err(|what| wrong(&what))?;
    let mut time_parts =
        parts(time.unwrap_or(""), &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)]).map_err(|what| wrong(&what))?;
    let many = || wrong("a number is too large");
    for (unit, scale, whole, part) in date_parts.drain(..) {
        let target = if matches!(unit, 'Y' | 'M') { &mut out.months } else { &mut out.days };
        let scaled = whole.checked_mul(scale).and_then(|scaled| scaled.checked_mul(sign)).ok_or_else(many)?;
        *target = target.checked_add(scaled).ok_or_else(many)?;
        if let Some(part) = part {
            if fraction || !time_parts.is_empty() {
                return Err(wrong("only the last unit may have a fraction"));
            }
            fraction = true;
            match unit {
                'D' | 'W' => out.ms += sign * (part * scale as f64 * 86_400_000.0).round() as i64,
                // A twelfth of a year is a month; less has no fixed length.
                _ => {
                    let months = part * scale as f64;
                    if months.fract() != 0.0 {
                        return Err(wrong("a fraction of a month has no length"));
                    }
                    out.months += sign * months as i64;
                }
            }
        }
    }
    let last = time_parts.len();
    for (index, (_, scale, whole, part)) in time_parts.drain(..).enumerate() {
        if part.is_some() && index + 1 != last {
            return Err(wrong("only the last unit may have a fraction"));
        }
        let scaled = whole.checked_mul(scale).ok_or_else(many)?;
        let scaled = scaled.checked_add((part.unwrap_or(0.0) * scale as f64).round() as i64).ok_or_else(many)?;
        out.ms = out.ms.checked_add(sign * scaled).ok_or_else(many)?;
    }
    Ok(out)
}

/// (unit, its scale, whole number, fraction) of each part, units in the given order.
fn parts(text: &str, units: &[(char, i64)]) -> Result<Vec<(char, i64, i64, Option<f64>)>, String> {
    let mut out = Vec::new();
    let mut rest = text;
    let mut left = units;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or("a number has no unit")?;
        let unit = rest[end..].chars().next().unwrap_or_default();
        let known = left.iter().position(|(name, _)| *name == unit);
        let at = known.ok_or_else(|| format!("`{unit}` is no unit here, or not in its order"))?;
        let number = rest[..end].replace(',', ".");
        let (whole, part) = number.split_once('.').map_or((number.as_str(), None), |(whole, part)| (whole, Some(part)));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || part.is_some_and(|part| !digits(part)) {
            return Err(format!("`{}` is no number", &rest[..end]));
        }
        let whole = whole.parse().map_err(|_| "a number is too large".to_owned())?;
        let part = part.and_then(|part| format!("0.{part}").parse().ok());
        out.push((unit, left[at].1, whole, part));
        left = &left[at + 1..];
        rest = &rest[end + 1..];
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_with_an_offset_are_instants_and_others_are_local() {
        let ms = |text: &str| match date(text) {
            Ok(Instant::Utc(ms)) => Some(ms),
            _ => None,
        };
        assert_eq!(ms("1970-01-01T00:00:01Z"), Some(1_000));
        assert_eq!(ms("1970-01-01T01:00:00.5+01:00"), Some(500));
        assert_eq!(ms("1970-W01-4T00:00:00Z"), Some(0));
        assert!(matches!(date("2025-01-31T08:00:00"), Ok(Instant::Local(_))));
        assert!(matches!(date("2025-01-31"), Ok(Instant::Local(_))));
        for bad in [
            "",
            "tomorrow",
            "2025-02-30T00:00:00Z",
            "2025-13-01",
            "2025-01-01T00:00:00Z[UTC]",
            "PT1S",
            "2025-W60-1",
            "é",
        ] {
            assert!(date(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_months_days_and_milliseconds() {
        let of = |months, days, ms| Ok(Duration { months, days, ms });
        assert_eq!(duration("PT10M"), of(0, 0, 600_000));
        assert_eq!(duration("P1Y2M3DT4H5M6.5S"), of(14, 3, 14_706_500));
        assert_eq!(duration("P2W"), of(0, 14, 0));
        assert_eq!(duration("P0,5D"), of(0, 0, 43_200_000));
        assert_eq!(duration("-PT1S"), of(0, 0, -1_000));
        assert_eq!(duration("P0.5Y"), of(6, 0, 0));
        for bad in [
            "",
            "P",
            "PT",
            "P1DT",
            "10M",
            "PT1.5H3M",
            "P1M2Y",
            "PT1X",
            "P1W1D",
            "P1WT1H",
            "PT-1S",
            "P99999999999999999999D",
            "P0.3M",
        ] {
            assert!(duration(bad).is_err(), "{bad}");
        }
    }
}
