//! The key `slo` of a gate (gates.md 14).
//!
//! Duty: objective, period, predicates and windows, with code 031 where they make no sense together. Guarantee: predicates are
//! conditions about one row, and every pair has two windows within the period. Left to others: their names and types
//! (`plan`), what they become (`slo`).

use std::time::Duration;

use super::file::Setting;
use super::problem::Code;
use super::reader::{Keys, word};
use super::scalar::duration_text;
use super::slo::{Decimal, MOST_SCALE, Pair, Slo, TABLES, catalogue};
use super::state::Level;
use crate::yaml::{Mark, Node, Value, nearest};

const DAY: Duration = Duration::from_secs(86_400);
/// Keys of a gate that an objective answers itself.
const ANSWERED: [&str; 7] = ["window", "pass", "warn", "clear", "value_column", "n_column", "unit"];
/// Most pairs: their columns are evidence.
const MOST_PAIRS: usize = 10;

/// Where the predicates stand.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub total: Mark,
    pub good: Mark,
}

/// `slo` of a gate, if it is given and can be used.
pub(super) fn read(keys: &Keys<'_>, setting: Setting<'_>) -> Option<(Slo, Places)> {
    let entry = keys.entry("slo")?;
    for key in ANSWERED {
        if let Some(given) = keys.entry(key) {
            let what = format!("`{key}` has no meaning beside `slo`, which is judged by its pairs of windows");
            keys.tell(Code::Slo, &given.mark, what, "remove it");
        }
    }
    let slo = Keys::of(&entry.value, "`slo`", keys.who.clone(), setting.problems)?;
    slo.required("objective", "say how much is to be good, in percent: `objective: 99.9`");
    slo.required("period", "say what the budget is for, e.g. `period: 30d`");
    slo.required("total", "say which spans count, e.g. `total: \"kind = 'server'\"`");
    slo.required("good", "say which of them are good, e.g. `good: \"status_code <> 'error'\"`");
    let objective = percent(&slo, "objective", |number| number > 0.0 && number < 100.0, "above 0 and below 100");
    let period = slo.duration("period", (Duration::from_secs(3600), 365 * DAY));
    let predicate = |key| {
        let (text, mark) = slo.text(key)?;
        slo.condition_of(Code::Slo, key, text, mark)
    };
    let (total, good) = (predicate("total"), predicate("good"));
    let pairs = windows(&slo, period, setting);
    let places = Places { total: slo.place("total"), good: slo.place("good") };
    slo.finish(&[]);
    Some((Slo { objective: objective?, period: period?, total: total?, good: good?, pairs: pairs? }, places))
}

/// A percentage as it is written.
fn percent(keys: &Keys<'_>, key: &'static str, fits: fn(f64) -> bool, range: &str) -> Option<Decimal> {
    let number = keys.number(key)?;
    let read = Decimal::of(number).filter(|_| fits(number));
    if read.is_none() {
        let what = match fits(number) {
            true => format!("`{key}` is {number}, at most {MOST_SCALE} digits behind the point are counted"),
            false => format!("`{key}` is {number} percent, it must be {range}"),
        };
        keys.tell(Code::Slo, &keys.place(key), what, "change the number");
    }
    read
}

/// `windows`: the name of a table, a list, or nothing: the table of the period.
fn windows(keys: &Keys<'_>, period: Option<Duration>, setting: Setting<'_>) -> Option<Vec<Pair>> {
    let Some(entry) = keys.entry("windows") else {
        let period = period?;
        if TABLES.iter().all(|(_, of)| *of != period) {
            let what = format!("there is no table of windows for a period of {}", duration_text(period));
            keys.tell(Code::Slo, &keys.place("period"), what, "list the `windows`, or choose 30d or 28d");
            return None;
        }
        return Some(catalogue());
    };
    let Value::List(items) = &entry.value.value else {
        let (name, mark) = keys.text("windows")?;
        let Some((_, of)) = TABLES.into_iter().find(|(known, _)| *known == name) else {
            let next = match nearest(name, TABLES.into_iter().map(|(known, _)| known)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "write google-30d, google-28d or a list of pairs".to_owned(),
            };
            keys.tell(Code::Slo, mark, format!("there is no table of windows `{name}`"), next);
            return None;
        };
        if period.is_some_and(|period| period != of) {
            let what = format!("the table `{name}` is for a period of {}", duration_text(of));
            keys.tell(Code::Slo, mark, what, "change `period`, or list the `windows`");
            return None;
        }
        return Some(catalogue());
    };
    if items.is_empty() || items.len() > MOST_PAIRS {
        let what = format!("`windows` has {} pairs, it must have 1 to {MOST_PAIRS}", items.len());
        keys.tell(
            Code::Slo,
            &entry.value.mark,
            what,
            "write e.g. `- {level: fail, budget_percent: 2, short: 5m, long: 1h}`",
        );
        return None;
    }
    let pairs: Vec<Option<Pair>> = items.iter().map(|item| pair(keys, item, period, setting)).collect();
    pairs.into_iter().collect()
}

fn pair(of: &Keys<'_>, item: &Node, period: Option<Duration>, setting: Setting<'_>) -> Option<Pair> {
    if !matches!(item.value, Value::Map(_)) {
        let what = format!("a pair of `windows` is {}, a mapping is expected", word(&item.value));
        of.tell(
            Code::WrongType,
            &item.mark,
            what,
            "write e.g. `{level: fail, budget_percent: 2, short: 5m, long: 1h}`",
        );
        return None;
    }
    let keys = Keys::of(item, "a pair of `windows`", of.who.clone(), setting.problems)?;
    for key in ["level", "budget_percent", "short", "long"] {
        keys.required(key, "a pair is e.g. `{level: fail, budget_percent: 2, short: 5m, long: 1h}`");
    }
    let level = keys.choice("level", &[("warn", Level::Warn), ("fail", Level::Fail)]);
    let share = percent(&keys, "budget_percent", |number| number > 0.0 && number <= 100.0, "above 0 and at most 100");
    let range = (Duration::from_secs(1), 90 * DAY);
    let (short, long) = (keys.duration("short", range), keys.duration("long", range));
    let mut good = true;
    if let (Some(short), Some(long)) = (short, long)
        && short >= long
    {
        let what = format!("`short` ({}) is not shorter than `long` ({})", duration_text(short), duration_text(long));
        keys.tell(Code::Slo, &keys.place("short"), what, "shorten it: it cools the pair when the trouble is over");
        good = false;
    }
    if let (Some(long), Some(period)) = (long, period)
        && long > period
    {
        let what = format!("`long` ({}) is longer than the period ({})", duration_text(long), duration_text(period));
        keys.tell(Code::Slo, &keys.place("long"), what, "shorten it");
        good = false;
    }
    keys.finish(&[]);
    let pair = Pair { level: level?, budget_percent: share?, short: short?, long: long? };
    good.then_some(pair)
}
