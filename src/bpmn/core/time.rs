//! Text of dates and durations (bpmn.md 6).
//!
//! Duty: from ISO 8601 text to instants in ms. Guarantee: months and years by the calendar, the day clamped; text that is
//! neither is `None`, never a guess. Left to others: cycles and cron, which no built element takes yet.

use jiff::civil::{DateTime, ISOWeekDate, Weekday};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _};

/// An instant as text, UTC.
pub fn instant_text(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
}

/// The instant of a date: with `Z` or an offset, else UTC; week dates too. In ms since 1970.
pub fn date(text: &str) -> Option<i64> {
    let text = text.trim();
    let text = calendar_date(text)?;
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(at.as_millisecond());
    }
    let at: DateTime = match text.parse::<DateTime>() {
        // a civil parse would take and ignore an offset
        Ok(at) if !text.ends_with(['Z', 'z']) && !text.get(10..).is_some_and(|rest| rest.contains(['+', '-', '['])) => {
            at
        }
        _ => return None,
    };
    instant(at)
}

/// Rewrites a week date (`2025-W01-1`) as a calendar date; leaves anything else alone.
fn calendar_date(text: &str) -> Option<String> {
    let Some((year, rest)) = text.split_once("-W") else { return Some(text.to_owned()) };
    let (day, time) = rest.split_once('T').map_or((rest, None), |(day, time)| (day, Some(time)));
    let (week, day) = day.split_once('-')?;
    let day = Weekday::from_monday_one_offset(day.parse().ok()?).ok()?;
    let date = ISOWeekDate::new(year.parse().ok()?, week.parse().ok()?, day).ok()?.date();
    Some(time.map_or_else(|| date.to_string(), |time| format!("{date}T{time}")))
}

fn instant(at: DateTime) -> Option<i64> {
    Some(TimeZone::UTC.to_timestamp(at).ok()?.as_millisecond())
}

/// `from_ms` and the duration `text` (`PnYnMnDTnHnMnS` or `PnW`, fraction on the last unit, may be negative).
pub fn after(from_ms: i64, text: &str) -> Option<i64> {
    let duration = Duration::parse(text.trim())?;
    let from = TimeZone::UTC.to_datetime(Timestamp::from_millisecond(from_ms).ok()?);
    let months = Span::new().try_months(duration.months).ok()?;
    let at = from.checked_add(months).ok()?.checked_add(duration.days.days()).ok()?;
    instant(at)?.checked_add(duration.ms)
}

/// A duration as a number of ms, months as they are in 1970; for time limits.
pub fn duration_ms(text: &str) -> Option<i64> {
    after(0, text)
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Duration {
    months: i64,
    days: i32,
    ms: i64,
}

impl Duration {
    fn parse(text: &str) -> Option<Self> {
        let (sign, text) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        let text = text.strip_prefix('P')?;
        let (days, time) = text.split_once('T').map_or((text, None), |(days, time)| (days, Some(time)));
        if time == Some("") || (days.is_empty() && time.is_none()) {
            return None;
        }
        let mut found = Self::default();
        let mut ended = false;
        if days.contains('W') && (days.find('W') != Some(days.len() - 1) || time.is_some()) {
            return None;
        }
        found.units(days, &[('Y', 0), ('M', 0), ('W', 7 * 86_400_000), ('D', 86_400_000)], &mut ended)?;
        found.units(time.unwrap_or(""), &[('H', 3_600_000), ('M', 60_000), ('S', 1_000)], &mut ended)?;
        Some(Self { months: sign * found.months, days: i32::try_from(sign).ok()? * found.days, ms: sign * found.ms })
    }

    /// Reads `number unit` pairs in the order of `units`; a fraction ends the text.
    fn units(&mut self, mut text: &str, units: &[(char, i64)], ended: &mut bool) -> Option<()> {
        let mut units = units.iter();
        while !text.is_empty() {
            if *ended {
                return None;
            }
            let length = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ',')?;
            let (number, rest) = text.split_at(length);
            let unit = rest.chars().next()?;
            text = rest.get(unit.len_utf8()..)?;
            let (unit, ms) = units.find(|(name, _)| *name == unit)?;
            let (whole, part) =
                number.split_once(['.', ',']).map_or((number, None), |(whole, part)| (whole, Some(part)));
            let whole: i64 = whole.parse().ok()?;
            match (*unit, *ms) {
                ('Y', _) => self.months = self.months.checked_add(whole.checked_mul(12)?)?,
                (_, 0) => self.months = self.months.checked_add(whole)?,
                ('W', _) => self.days = self.days.checked_add(i32::try_from(whole.checked_mul(7)?).ok()?)?,
                ('D', _) => self.days = self.days.checked_add(i32::try_from(whole).ok()?)?,
                (_, ms) => self.ms = self.ms.checked_add(whole.checked_mul(ms)?)?,
            }
            if let Some(part) = part {
                // a part of a month or year has no length
                if *ms == 0 || part.is_empty() || part.len() > 9 {
                    return None;
                }
                let part_of: i64 = part.parse().ok()?;
                let scale = 10_i128.pow(u32::try_from(part.len()).ok()?);
                let ms = i64::try_from(i128::from(part_of) * i128::from(*ms) / scale).ok()?;
                self.ms = self.ms.checked_add(ms)?;
                *ended = true;
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_duration_counts_from_an_instant_by_the_calendar() {
        let after = |from: &str, text: &str| after(ms(from), text).map(instant_text);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(after("2025-01-31T12:00:00Z", "P1M"), some("2025-02-28T12:00:00Z"));
        assert_eq!(after("2024-01-31T12:00:00Z", "P1M"), some("2024-02-29T12:00:00Z"));
        assert_eq!(after("2025-01-01T00:00:00Z", "P2W"), some("2025-01-15T00:00:00Z"));
        assert_eq!(after("2025-01-01T00:00:00Z", "P1Y2M3DT4H5M6.5S"), some("2026-03-04T04:05:06.5Z"));
        assert_eq!(after("2025-01-01T00:00:00Z", "PT0.5H"), some("2025-01-01T00:30:00Z"));
        assert_eq!(after("2025-01-01T00:00:00Z", "-PT1S"), some("2024-12-31T23:59:59Z"));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "P", "PT", "1S", "PT1", "P1S", "PT1.5H3M", "P1W2D", "P0.5M", "PT1M1H", "P1DT", "PTS", "P-1D"] {
            assert_eq!(duration_ms(text), None, "{text}");
        }
    }

    #[test]
    fn a_date_has_an_offset_or_is_utc() {
        assert_eq!(date("2025-01-01T00:00:00Z"), Some(ms("2025-01-01T00:00:00Z")));
        assert_eq!(date("2025-01-01T02:00:00+02:00"), Some(ms("2025-01-01T00:00:00Z")));
        assert_eq!(date("2025-01-01T00:00:00"), Some(ms("2025-01-01T00:00:00Z")));
        assert_eq!(date("2025-W01-3T00:00:00Z"), Some(ms("2025-01-01T00:00:00Z")));
        for text in ["", "now", "2025-13-01", "2025-W60-1", "P1D"] {
            assert_eq!(date(text), None, "{text}");
        }
        assert_eq!(date("2025-01-01"), Some(ms("2025-01-01T00:00:00Z")));
    }
}
