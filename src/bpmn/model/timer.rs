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
    let year = year.strip_suffix('-')?.parse().ok()?;
    let (week, day) = rest.split_once('-')?;
    let weekday = Weekday::from_monday_one_offset(day.parse().ok()?).ok()?;
    ISOWeekDate::new(year, week.parse().ok()?, weekday).ok().map(|date| date.date())
}

/// Reads a duration: `PnYnMnDTnHnMnS` or `PnW`, a fraction on the last unit (weeks and shorter), a leading `-` for one that
/// is due at once.
///
/// Errors: one sentence saying what is wrong.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let wrong = |what: String| format!("`{text}` is no ISO 8601 duration such as `PT10M` or `P1DT12H`: {what}");
    read_duration(text).map_err(wrong)
}

fn read_duration(text: &str) -> Result<Duration, String> {
    let (sign, rest) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
    let rest = rest.strip_prefix('P').ok_or("it does not begin with `P`")?;
    let (date, time) = rest.split_once('T').map_or((rest, None), |(date, time)| (date, Some(time)));
    if date.is_empty() && time.is_none() {
        return Err("it has no unit".into());
    }
    if time == Some("") {
        return Err("nothing follows `T`".into());
    }
    let mut parts = Vec::new();
    if date.ends_with('W') {
        if time.is_some() {
            return Err("weeks stand alone".into());
        }
        units(date, &[Unit::Weeks], &mut parts)?;
    } else {
        units(date, &[Unit::Years, Unit::Months, Unit::Days], &mut parts)?;
        units(time.unwrap_or(""), &[Unit::Hours, Unit::Minutes, Unit::Seconds], &mut parts)?;
    }
    let last = parts.len();
    let mut out = Duration::default();
    for (index, part) in parts.into_iter().enumerate() {
        if part.fraction.is_some() && index + 1 != last {
            return Err("only the last unit may have a fraction".into());
        }
        out.add(part, sign)?;
    }
    Ok(out)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Years,
    Months,
    Weeks,
    Days,
    Hours,
    Minutes,
    Seconds,
}

impl Unit {
    fn letter(self) -> char {
        match self {
            Unit::Years => 'Y',
            Unit::Months | Unit::Minutes => 'M',
            Unit::Weeks => 'W',
            Unit::Days => 'D',
            Unit::Hours => 'H',
            Unit::Seconds => 'S',
        }
    }

    /// `None` where the length depends on the calendar.
    fn ms(self) -> Option<i64> {
        match self {
            Unit::Years | Unit::Months => None,
            Unit::Weeks => Some(7 * 86_400_000),
            Unit::Days => Some(86_400_000),
            Unit::Hours => Some(3_600_000),
            Unit::Minutes => Some(60_000),
            Unit::Seconds => Some(1_000),
        }
    }
}

struct Part {
    unit: Unit,
    whole: i64,
    /// Digits behind the point.
    fraction: Option<String>,
}

impl Duration {
    fn add(&mut self, part: Part, sign: i64) -> Result<(), String> {
        let many = || "a number is too large".to_owned();
        let (target, scale) = match part.unit {
            Unit::Years => (&mut self.months, 12),
            Unit::Months => (&mut self.months, 1),
            Unit::Weeks => (&mut self.days, 7),
            Unit::Days => (&mut self.days, 1),
            unit => (&mut self.ms, unit.ms().unwrap_or(1)),
        };
        let scaled = part.whole.checked_mul(scale).ok_or_else(many)?;
        *target = target.checked_add(sign * scaled).ok_or_else(many)?;
        let Some(digits) = part.fraction else { return Ok(()) };
        let unit = part.unit.ms().ok_or("a fraction of a month or year has no length")?;
        let power = u32::try_from(digits.len())
            .ok()
            .filter(|length| *length <= 9)
            .ok_or("a fraction has more than 9 digits")?;
        let fraction: i128 = digits.parse().map_err(|_| many())?;
        let ms = fraction * i128::from(unit) / 10_i128.pow(power);
        let ms = i64::try_from(ms).map_err(|_| many())?;
        self.ms = self.ms.checked_add(sign * ms).ok_or_else(many)?;
        Ok(())
    }
}

/// Reads `number unit` pairs in the order of `units`.
fn units(text: &str, units: &[Unit], out: &mut Vec<Part>) -> Result<(), String> {
    let mut rest = text;
    let mut left = units;
    while !rest.is_empty() {
        let end = rest.find(|c: char| c.is_ascii_alphabetic()).ok_or("a number has no unit")?;
        let letter = rest[end..].chars().next().unwrap_or_default();
        let known = left.iter().position(|unit| unit.letter() == letter);
        let at = known.ok_or_else(|| format!("`{letter}` is no unit here, or not in its order"))?;
        let number = &rest[..end];
        let (whole, fraction) =
            number.split_once(['.', ',']).map_or((number, None), |(whole, part)| (whole, Some(part)));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || fraction.is_some_and(|fraction| !digits(fraction)) {
            return Err(format!("`{number}` is no number"));
        }
        let whole = whole.parse().map_err(|_| "a number is too large".to_owned())?;
        out.push(Part { unit: left[at], whole, fraction: fraction.map(str::to_owned) });
        left = &left[at + 1..];
        rest = &rest[end + 1..];
    }
    Ok(())
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
        assert_eq!(duration("P9999999W"), of(0, 69_999_993, 0));
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
