//! The keys `on`, `cron` and `timezone` of a gate (gates.md 1.2).
//!
//! Duty: a schedule in the stead of the group's grid, with code 028 where there is none, whether the window reaches from tick
//! to tick, and code 027 where `on` does not suit the source. Guarantee: a schedule has ticks for ever. Left to others: which they are (`clock::cron`), closing them (`window`).

use std::time::Duration;

use super::problem::Code;
use super::reader::Keys;
use super::scalar::duration_text;
use super::window::nanos;
use crate::clock::cron::{Cron, Fault};
use crate::yaml::Mark;

/// Ticks that are looked at for the farthest distance: a year of days.
const LOOKED_AT: usize = 366;
/// From where they are looked at, 1 January 2024: any year would do.
const FROM_NS: i64 = 1_704_067_200_000_000_000;

/// Checks `on`: `interval` is what any gate does, and `trace` what an assertion does at its ticks, for each judges the traces
/// that settled in its window.
pub(super) fn check_on(keys: &Keys<'_>) {
    let Some((on, mark)) = keys.text("on") else { return };
    match on {
        "interval" => {}
        "trace" if keys.is_given("assert") => {}
        "trace" => {
            let what = "`on: trace` judges traces that settle, and the source is no `assert`";
            keys.tell(Code::On, mark, what, "remove it, or write an `assert`");
        }
        "ingest" => {
            let what = "`on: ingest` is coming: this version judges at ticks";
            keys.tell(Code::UnknownKey, mark, what, "remove it; a short `interval` of the group comes near to it");
        }
        _ => {
            let what = format!("`on` is `{on}`, one of interval, ingest, trace is expected");
            keys.tell(Code::WrongType, mark, what, "choose one of them");
        }
    }
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
    let ticks = std::iter::successors(Some(cron.next(FROM_NS)), |t_ns| Some(cron.next(*t_ns))).take(LOOKED_AT);
    let ticks: Vec<i64> = ticks.collect();
    let farthest = ticks.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).max().unwrap_or(0);
    if nanos(window) < farthest {
        let farthest = duration_text(Duration::from_nanos(u64::try_from(farthest).unwrap_or(0)));
        let what = format!(
            "the window is shorter than the {farthest} between two ticks of `cron`: some spans are never judged"
        );
        keys.tell(Code::ShortWindow, place, what, "lengthen `window`, or leave it if just these spans are meant");
    }
}
