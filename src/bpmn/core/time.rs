//! From the text of dates and durations to instants (bpmn.md 6).
//!
//! Duty: ms since 1970. Guarantee: months and years by the calendar, the day clamped; text that is neither is `None`,
//! never a guess; a date without offset is UTC. Left to others: the grammar (`model::timer`).

use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::model::timer::{self, Instant};

/// An instant as text, UTC.
pub fn instant_text(ms: i64) -> String {
    Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| at.to_string())
}

/// The instant of a date, in ms since 1970.
pub fn date(text: &str) -> Option<i64> {
    match timer::date(text).ok()? {
        Instant::Utc(ms) => Some(ms),
        Instant::Local(at) => Some(TimeZone::UTC.to_timestamp(at).ok()?.as_millisecond()),
    }
}

/// `from_ms` and the duration `text`.
pub fn after(from_ms: i64, text: &str) -> Option<i64> {
    let duration = timer::duration(text).ok()?;
    let from = TimeZone::UTC.to_datetime(Timestamp::from_millisecond(from_ms).ok()?);
    let months = Span::new().try_months(duration.months).ok()?;
    let days = Span::new().try_days(duration.days).ok()?;
    let at = from.checked_add(months).ok()?.checked_add(days).ok()?;
    TimeZone::UTC.to_timestamp(at).ok()?.as_millisecond().checked_add(duration.ms)
}

/// A duration as a number of ms, months as they are in 1970; for time limits.
pub fn duration_ms(text: &str) -> Option<i64> {
    after(0, text)
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
        assert_eq!(after("2025-01-01T00:00:00Z", "-PT1S"), some("2024-12-31T23:59:59Z"));
        assert_eq!(after("2025-01-01T00:00:00Z", "soon"), None);
    }

    #[test]
    fn a_date_has_an_offset_or_is_utc() {
        assert_eq!(date("2025-01-01T00:00:00Z"), Some(ms("2025-01-01T00:00:00Z")));
        assert_eq!(date("2025-01-01T02:00:00+02:00"), Some(ms("2025-01-01T00:00:00Z")));
        assert_eq!(date("2025-01-01T00:00:00"), Some(ms("2025-01-01T00:00:00Z")));
        assert_eq!(date("P1D"), None);
    }
}
