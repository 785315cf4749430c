//! Schedules of five fields in the local time of a zone: `30 2 * * 1-5` of `Europe/Berlin`.
//!
//! Duty: text to a schedule, and its instants before and behind another. Guarantee: pure: the same text, zone and instant give the
//! same answer; an instant is always found or time ends. Left to others: what happens at an instant.
//!
//! Fields are minute, hour, day of month, month and day of week, as in Vixie cron: `*`, values, ranges, lists, steps behind `*` or
//! a range, names of months and days, 0 and 7 both Sunday. Where both days are restricted one of them is enough. A local time
//! that does not exist, for clocks go forward, is as far behind the change as it would be behind its begin: nothing is left
//! out. One that exists twice, for clocks go back, is meant once, the first time, where hours are chosen, and both times where
//! every hour is meant (`*` or `*/n`): so a schedule of each day stays one, and one of each quarter of an hour has no gap.

use std::fmt;
use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan as _};

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
/// Most days of each month.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
/// No zone ever moved its clocks by more than a day.
const FARTHEST: SignedDuration = SignedDuration::from_hours(25);
/// Instants in nanoseconds end in these years.
const YEARS: std::ops::RangeInclusive<i16> = 1677..=2262;

/// A schedule; cheap to clone.
#[derive(Clone)]
pub struct Cron(Arc<Inner>);

struct Inner {
    text: String,
    zone_name: String,
    zone: TimeZone,
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    every_hour: bool,
    any_day: bool,
    any_weekday: bool,
}

/// Why there is no schedule: a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Of the fields.
    Fields(String),
    /// Of the zone.
    Zone(String),
}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cron({self})")
    }
}

impl fmt::Display for Cron {
    /// `30 2 * * 1-5 Europe/Berlin`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0.text, self.0.zone_name)
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.0.text, &self.0.zone_name) == (&other.0.text, &other.0.zone_name)
    }
}

impl Eq for Cron {}

impl Cron {
    /// Reads five fields and the IANA name of a zone.
    pub fn parse(text: &str, zone: &str) -> Result<Self, Fault> {
        let zone_of = TimeZone::get(zone).map_err(|_| Fault::Zone(format!("there is no time zone `{zone}`")))?;
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            let what = format!("it has {} fields, five are expected: minute hour day month weekday", fields.len());
            return Err(Fault::Fields(what));
        };
        let of = |what: &str, text: &str, range, names: &[&str]| {
            field(text, range, names).map_err(|why| Fault::Fields(format!("{what} `{text}`: {why}")))
        };
        let (minutes, hours) = (of("minute", minute, (0, 59), &[])?, of("hour", hour, (0, 23), &[])?);
        let (days, months) = (of("day", day, (1, 31), &[])?, of("month", month, (1, 12), &MONTHS)?);
        let mut weekdays = of("weekday", weekday, (0, 7), &WEEKDAYS)?;
        // Both are Sunday.
        weekdays = (weekdays | weekdays >> 7) & 0x7f;
        let (any_day, any_weekday) = (day.starts_with('*'), weekday.starts_with('*'));
        let last_of = |month: u32| (1..=LENGTHS[month as usize - 1]).any(|day| days >> day & 1 == 1);
        let is_some_day = (1..=12).any(|month| months >> month & 1 == 1 && last_of(month));
        if (any_day || any_weekday) && !is_some_day {
            return Err(Fault::Fields("no month of it has such a day".to_owned()));
        }
        let (every_hour, text, zone_name) = (hour.starts_with('*'), fields.join(" "), zone.to_owned());
        let zone = zone_of;
        Ok(Self(Arc::new(Inner {
            text,
            zone_name,
            zone,
            minutes,
            hours,
            days,
            months,
            weekdays,
            every_hour,
            any_day,
            any_weekday,
        })))
    }

    /// Its fields.
    pub fn text(&self) -> &str {
        &self.0.text
    }

    /// Its zone.
    pub fn zone(&self) -> &str {
        &self.0.zone_name
    }

    /// The first instant behind `after_ns`, ns since 1970; `i64::MAX`: time ends before.
    pub fn next(&self, after_ns: i64) -> i64 {
        self.0.next(after_ns).and_then(nanos).unwrap_or(i64::MAX)
    }

    /// The last instant before `before_ns`, ns since 1970; `i64::MIN`: there is none.
    pub fn previous(&self, before_ns: i64) -> i64 {
        self.0.previous(before_ns).and_then(nanos).unwrap_or(i64::MIN)
    }
}

impl Inner {
    fn next(&self, after_ns: i64) -> Option<Timestamp> {
        let after = instant(after_ns)?;
        let local = self.zone.to_datetime(after);
        let from = minute_of(local).checked_add(1.minute()).ok()?;
        let found = self.local(from, false)?;
        let plain = self.zone.to_ambiguous_timestamp(found).compatible().ok()?;
        let change = self.zone.following(after.checked_sub(FARTHEST).ok()?).next();
        // While an hour is repeated, a later local time may mean an instant that has passed.
        if plain > after && change.is_none_or(|change| change.timestamp() > plain) {
            return Some(plain);
        }
        // Near a change local times are in another order than instants.
        let mut date = local.date().checked_sub(2.days()).ok()?;
        let mut best: Option<(Date, Timestamp)> = None;
        while best.is_none_or(|(first, _)| first.checked_add(2.days()).is_ok_and(|last| date <= last)) {
            if let Some(at) = self.instants(date).into_iter().filter(|at| *at > after).min() {
                best = Some(best.map_or((date, at), |(first, best)| (first, best.min(at))));
            }
            date = date.tomorrow().ok().filter(|date| YEARS.contains(&date.year()))?;
        }
        best.map(|(_, at)| at)
    }

    fn previous(&self, before_ns: i64) -> Option<Timestamp> {
        let before = instant(before_ns)?;
        let local = self.zone.to_datetime(before);
        let minute = minute_of(local);
        let from = if minute == local { minute.checked_sub(1.minute()).ok()? } else { minute };
        let found = self.local(from, true)?;
        let plain = self.zone.to_ambiguous_timestamp(found).compatible().ok()?;
        let change = self.zone.following(plain.checked_sub(FARTHEST).ok()?).next();
        if change.is_none_or(|change| change.timestamp() > before) {
            return Some(plain);
        }
        let mut date = local.date().checked_add(2.days()).ok()?;
        let mut best: Option<(Date, Timestamp)> = None;
        while best.is_none_or(|(first, _)| first.checked_sub(2.days()).is_ok_and(|last| date >= last)) {
            if let Some(at) = self.instants(date).into_iter().filter(|at| *at < before).max() {
                best = Some(best.map_or((date, at), |(first, best)| (first, best.max(at))));
            }
            date = date.yesterday().ok().filter(|date| YEARS.contains(&date.year()))?;
        }
        best.map(|(_, at)| at)
    }

    /// The first local time of the schedule from `from` on, or the last up to it.
    fn local(&self, from: DateTime, backwards: bool) -> Option<DateTime> {
        let mut date = from.date();
        let (mut hour, mut minute) = (u32::try_from(from.hour()).ok()?, u32::try_from(from.minute()).ok()?);
        loop {
            if self.is_on(date)
                && let Some((hour, minute)) = self.time(hour, minute, backwards)
            {
                return Some(date.at(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0));
            }
            let day = if backwards { date.yesterday() } else { date.tomorrow() };
            date = day.ok().filter(|date| YEARS.contains(&date.year()))?;
            (hour, minute) = if backwards { (23, 59) } else { (0, 0) };
        }
    }

    /// The first time of a day from a given one on, or the last up to it.
    fn time(&self, hour: u32, minute: u32, backwards: bool) -> Option<(u32, u32)> {
        let within = |hours: u64, minutes: u64| {
            let hour = pick(hours, backwards)?;
            Some((hour, pick(minutes, backwards)?))
        };
        let beyond = |from: u32| if backwards { !(u64::MAX << from) } else { (u64::MAX << from) << 1 };
        let here = self.hours & 1 << hour;
        within(here, self.minutes & (beyond(minute) | 1 << minute))
            .or_else(|| within(self.hours & beyond(hour), self.minutes))
    }

    fn is_on(&self, date: Date) -> bool {
        let has = |bits: u64, at: i8| u32::try_from(at).is_ok_and(|at| bits >> at & 1 == 1);
        let (day, weekday) = (has(self.days, date.day()), has(self.weekdays, date.weekday().to_sunday_zero_offset()));
        let is_day = if self.any_day || self.any_weekday { day && weekday } else { day || weekday };
        is_day && has(self.months, date.month())
    }

    /// The instants of the local times of a day.
    fn instants(&self, date: Date) -> Vec<Timestamp> {
        let mut found = Vec::new();
        if !self.is_on(date) {
            return found;
        }
        let set = |bits: u64, most: i8| (0..=most).filter(move |at| bits >> *at & 1 == 1);
        for hour in set(self.hours, 23) {
            for minute in set(self.minutes, 59) {
                let at = self.zone.to_ambiguous_timestamp(date.at(hour, minute, 0, 0));
                let is_twice = matches!(at.offset(), AmbiguousOffset::Fold { .. });
                if is_twice && self.every_hour {
                    found.extend(at.later());
                }
                // Of two the first; of none as far behind the change.
                found.extend(at.compatible());
            }
        }
        found
    }
}

/// The lowest bit, or the highest.
const fn pick(bits: u64, highest: bool) -> Option<u32> {
    match bits {
        0 => None,
        _ if highest => Some(63 - bits.leading_zeros()),
        _ => Some(bits.trailing_zeros()),
    }
}

fn instant(ns: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(ns)).ok()
}

fn nanos(at: Timestamp) -> Option<i64> {
    i64::try_from(at.as_nanosecond()).ok()
}

fn minute_of(local: DateTime) -> DateTime {
    local.date().at(local.hour(), local.minute(), 0, 0)
}

/// The values of one field as bits. `Err` says what is wrong.
fn field(text: &str, (least, most): (u32, u32), names: &[&str]) -> Result<u64, String> {
    // Names count from the least value.
    let value = |text: &str| {
        let named = names.iter().position(|name| name.eq_ignore_ascii_case(text));
        let read = match named {
            Some(at) => u32::try_from(at).ok().map(|at| at + least),
            None if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok(),
            None => None,
        };
        let read = read.ok_or_else(|| match text {
            "" => "a value is missing".to_owned(),
            _ => format!("`{text}` is no value"),
        })?;
        match (least..=most).contains(&read) {
            true => Ok(read),
            false => Err(format!("{read} is not from {least} to {most}")),
        }
    };
    let mut bits = 0;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let read = step.parse::<usize>().ok().filter(|step| *step > 0);
                (range, Some(read.ok_or_else(|| format!("`{step}` is no step"))?))
            }
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" => (least, most),
            Some((first, last)) => (value(first)?, value(last)?),
            None if step.is_some() => return Err("a step stands behind `*` or a range".to_owned()),
            None => (value(range)?, value(range)?),
        };
        if first > last {
            return Err(format!("`{range}` ends before it begins"));
        }
        (first..=last).step_by(step.unwrap_or(1)).for_each(|at| bits |= 1 << at);
    }
    Ok(bits)
}

#[cfg(test)]
mod tests;
