//! The keys `on`, `cron` and `timezone` of a gate (gates.md 1.2).
//!
//! Duty: a schedule in the stead of the group's grid, with code 028 where there is none, whether the window reaches from tick
//! to tick, and code 027 where `on: trace` does not suit the source. Guarantee: a schedule has ticks for ever. Left to others: which they are (`clock::cron`), closing them (`window`).

use std::time::Duration;

use super::problem::Code;
use super::reader::Keys;
use super::scalar::duration_text;
use super::window::nanos;
use crate::clock::cron::{Cron, Fault};
use crate::yaml::Mark;

/// From where ticks are looked at for the farthest distance, 1 January 2024: any year would do.
const FROM_NS: i64 = 1_704_067_200_000_000_000;
/// Days that are looked at: each week and month has its turn in them.
const DAYS: i64 = 366;
const DAY_NS: i64 = 86_400 * 1_000_000_000;
/// Ticks in a row that are looked at: those of every minute of a day.
const LOOKED_AT: usize = 1_441;

/// What `on` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum When {
    #[default]
    Interval,
    Ingest,
    Trace,
}

/// Reads `on`; what cannot be used reads as `interval`.
pub(super) fn on(keys: &Keys<'_>) -> When {
    let words = [("interval", When::Interval), ("ingest", When::Ingest), ("trace", When::Trace)];
    let when = keys.choice("on", &words).unwrap_or_default();
    if when == When::Trace && !keys.is_given("assert") {
        let what = "`on: trace` judges traces that settle, and the source is no `assert`";
        keys.tell(Code::On, &keys.place("on"), what, "remove it, or write an `assert`");
        return When::Interval;
    }
    when
}

/// The schedule of a gate, if it has one that can be used.
pub(super) fn read(keys: &Keys<'_>) -> Option<Cron> {
    let (cron, zone) = (keys.text("cron"), keys.text("timezone"));
    if let (None, Some((_, mark))) = (cron, zone)
        && !keys.is_given("cron")
    {
        let next = "remove it, or write e.g. `cron: \"0 9 * * 1-5\"`";
        keys.tell(Code::Cron, mark, "`timezone` has no meaning without `cron`: ticks of a grid have no zone", next);
    }
    let (text, mark) = cron?;
    match Cron::parse(text, zone.map_or("UTC", |(zone, _)| zone)) {
        Ok(cron) => Some(cron),
        Err(Fault::Fields(why)) => {
            let next = "write minute, hour, day of month, month and day of week, e.g. `30 2 * * 1-5`";
            keys.tell(Code::Cron, mark, format!("`cron`: {why}"), next);
            None
        }
        Err(Fault::Zone(why)) => {
            let next = "write a name of the IANA database, e.g. `Europe/Berlin`, or leave it out for UTC";
            keys.tell(Code::Cron, &keys.place("timezone"), format!("`timezone`: {why}"), next);
            None
        }
    }
}

/// Tells a window that does not reach from tick to tick.
pub(super) fn check_window(
    keys: &Keys<'_>,
    window: Duration,
    (cron, interval): (Option<&Cron>, Duration),
    place: &Mark,
) {
    let Some(cron) = cron else {
        if window < interval {
            let what = "the window is shorter than the group's interval: some spans are never judged";
            keys.tell(Code::ShortWindow, place, what, "lengthen `window` or shorten `interval`");
        }
        return;
    };
    let farthest = farthest_ns(cron);
    if nanos(window) < farthest {
        let farthest = duration_text(Duration::from_nanos(u64::try_from(farthest).unwrap_or(0)));
        let what = format!(
            "the window is shorter than the {farthest} between two ticks of `cron`: some spans are never judged"
        );
        keys.tell(Code::ShortWindow, place, what, "lengthen `window`, or leave it if just these spans are meant");
    }
}

/// The farthest distance between two ticks, ns: of those in a row, and of those around the beginning of any day, which a distance
/// of more than a day holds.
fn farthest_ns(cron: &Cron) -> i64 {
    let ticks = std::iter::successors(Some(cron.next(FROM_NS)), |t_ns| Some(cron.next(*t_ns)));
    let until_ns = FROM_NS + DAYS * DAY_NS;
    let ticks: Vec<i64> = ticks.take_while(|t_ns| *t_ns <= until_ns).take(LOOKED_AT).collect();
    let in_a_row = ticks.windows(2).map(|pair| pair[1].saturating_sub(pair[0]));
    let days = (1..=DAYS).map(|day| FROM_NS + day * DAY_NS);
    let around = days.map(|at_ns| cron.next(at_ns - 1).saturating_sub(cron.previous(at_ns)));
    in_a_row.chain(around).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_farthest_distance_is_found_however_dense_the_ticks_are() {
        let hours = |text: &str| farthest_ns(&Cron::parse(text, "UTC").unwrap()) / 3_600_000_000_000;
        assert_eq!(hours("0 * * * *"), 1);
        assert_eq!(hours("0 9 * * *"), 24);
        assert_eq!(hours("*/5 * * * 1-5"), 48, "from 23:55 on Friday to Monday");
        assert_eq!(hours("* 0-8,18-23 * * *"), 9, "from 8:59 to 18:00");
        assert_eq!(hours("0 9 31 * *"), 61 * 24, "with months without it between them");
    }
}
