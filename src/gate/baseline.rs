//! What a gate gave before, as a measure of what it gives now (gates.md 4.2).
//!
//! Duty: the key `baseline`, the ticks that it looks back at, and the number that their values make. Guarantee: too few values
//! are no baseline; only final values of the same question and key count. Left to others: keeping values (`journal`), what a
//! missing baseline means (`verdict`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::definition::Gate;
use super::file::Setting;
use super::journal::{Error, Journal, PastRun};
use super::problem::Code;
use super::reader::Keys;
use super::scalar::duration_text;
use super::window::nanos;
use crate::yaml::Value;

const DAY: Duration = Duration::from_secs(86_400);
/// Results are kept for so long.
const KEPT: Duration = Duration::from_secs(30 * 86_400);
/// Values without which there is no baseline, unless the gate says otherwise.
const MIN_SAMPLES: u64 = 3;

/// What the values of the past become.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Aggregate {
    /// Their mean.
    #[default]
    Average,
    /// The middle one; of an even number the mean of both.
    Median,
}

/// `baseline`
#[derive(Clone, Debug, PartialEq)]
pub struct Baseline {
    /// How long the past is …
    pub window: Duration,
    /// … and how long before the tick it ends.
    pub offset: Duration,
    /// What its values become.
    pub aggregate: Aggregate,
    /// The value may be lower by this share of it.
    pub max_drop: Option<f64>,
    /// The value may be higher by this share of it.
    pub max_rise: Option<f64>,
    /// Only values at which `pass` held, the baseline left aside.
    pub only_pass: bool,
    /// Values without which there is none.
    pub min_samples: u64,
    /// What the values of each key are held to, known from elsewhere: then the past is not looked at.
    pub given: Option<Arc<BTreeMap<String, f64>>>,
}

impl Baseline {
    /// Ticks that count at tick `t_ns`: from the first to before the second.
    pub fn ticks(&self, t_ns: i64) -> (i64, i64) {
        let to_ns = t_ns.saturating_sub(nanos(self.offset));
        (to_ns.saturating_sub(nanos(self.window)), to_ns)
    }

    /// The number that `values` make.
    pub fn of(&self, mut values: Vec<f64>) -> Option<f64> {
        let count = values.len();
        if count == 0 || (count as u64) < self.min_samples {
            return None;
        }
        #[allow(clippy::cast_precision_loss, reason = "a month has fewer ticks than 2^53")]
        let of = match self.aggregate {
            Aggregate::Average => values.iter().sum::<f64>() / count as f64,
            Aggregate::Median => {
                values.sort_by(f64::total_cmp);
                match count % 2 {
                    1 => values[count / 2],
                    _ => f64::midpoint(values[count / 2 - 1], values[count / 2]),
                }
            }
        };
        Some(of).filter(|of| of.is_finite())
    }

    /// The values of `runs` that count at tick `t_ns`.
    pub fn values<'a>(&self, runs: impl Iterator<Item = &'a PastRun>, t_ns: i64) -> Vec<f64> {
        let (from_ns, to_ns) = self.ticks(t_ns);
        let mut values = Vec::new();
        runs.for_each(|run| run.values_into(&mut values, from_ns, to_ns, self.only_pass));
        values
    }

    /// Whether `value` is near enough to `base`.
    pub fn holds(&self, value: f64, base: f64) -> bool {
        self.max_drop.is_none_or(|drop| value >= base * (1.0 - drop))
            && self.max_rise.is_none_or(|rise| value <= base * (1.0 + rise))
    }
}

/// The baseline of `key` of `gate` at `t_ns`, by what the journal holds: for a question outside of the gate's ticks. Blocks on
/// the disk's cache only.
///
/// Errors: see [`Error`].
pub fn of_journal(journal: &Journal, gate: &Gate, key: &str, t_ns: i64) -> Result<Option<f64>, Error> {
    let Some(baseline) = &gate.baseline else { return Ok(None) };
    let snapshot = journal.snapshot()?;
    let Some(row) = snapshot.gates()?.remove(&gate.name) else { return Ok(None) };
    let (from_ns, to_ns) = baseline.ticks(t_ns);
    let mut runs = snapshot.past(&gate.name, row.generation, key, (from_ns, to_ns))?;
    runs.extend(snapshot.running(&gate.name, row.generation)?.get(key).map(PastRun::from));
    Ok(baseline.of(baseline.values(runs.iter(), t_ns)))
}

/// `baseline` of a gate.
pub(super) fn read(keys: &Keys<'_>, setting: Setting<'_>) -> Option<Baseline> {
    let entry = keys.entry("baseline")?;
    let inner = Keys::of(&entry.value, "`baseline`", keys.who.clone(), setting.problems)?;
    let tell = |key: &'static str, what: String, next: &str| inner.tell(Code::Baseline, &inner.place(key), what, next);
    let range = (Duration::from_secs(1), KEPT);
    let window = inner.duration("window", range);
    if inner.entry("window").is_none() {
        tell("window", "`baseline` has no `window`".to_owned(), "say how long the past is, e.g. `window: 7d`");
    }
    let offset = inner.duration("offset", (Duration::ZERO, KEPT)).unwrap_or_default();
    if let Some(window) = window
        && window + offset > KEPT
    {
        let what = format!(
            "`window` and `offset` reach back {}, results are kept {}",
            duration_text(window + offset),
            duration_text(KEPT)
        );
        tell("window", what, "shorten one of them");
    }
    let (max_drop, max_rise) = (percent(&inner, "max_drop", 100.0), percent(&inner, "max_rise", f64::MAX));
    if inner.entry("max_drop").is_none() && inner.entry("max_rise").is_none() {
        let what = "`baseline` has neither `max_drop` nor `max_rise`: nothing would be compared".to_owned();
        inner.tell(Code::Baseline, &inner.mark, what, "say how far the value may be off, e.g. `max_drop: 10%`");
    }
    let aggregate = inner.choice("agg", &[("avg", Aggregate::Average), ("median", Aggregate::Median)]);
    let only_pass = inner.choice("only", &[("pass", true), ("any", false)]).unwrap_or(true);
    let min_samples = inner.count("min_samples", (1, u64::MAX), Code::WrongType).unwrap_or(MIN_SAMPLES);
    inner.finish(&[]);
    let aggregate = aggregate.unwrap_or_default();
    let window = window.unwrap_or(DAY);
    Some(Baseline { window, offset, aggregate, max_drop, max_rise, only_pass, min_samples, given: None })
}

/// A percentage, with or without its sign, as a share.
fn percent(keys: &Keys<'_>, key: &'static str, most: f64) -> Option<f64> {
    let number = match &keys.entry(key)?.value.value {
        Value::Text(text) => match text.strip_suffix('%').map(|number| number.trim().parse::<f64>()) {
            Some(Ok(number)) => number,
            _ => {
                let what = format!("`{key}`: `{text}` is no percentage");
                keys.tell(Code::Baseline, &keys.place(key), what, "write e.g. `10%`");
                return None;
            }
        },
        _ => keys.number(key)?,
    };
    if !(number.is_finite() && (0.0..=most).contains(&number)) {
        let range = if most > 100.0 { "at least 0%" } else { "from 0% to 100%" };
        keys.tell(Code::Baseline, &keys.place(key), format!("`{key}` is {number}%, it must be {range}"), "change it");
        return None;
    }
    Some(number / 100.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The last hour but one, a tenth below it at most.
    pub(in crate::gate) fn baseline() -> Baseline {
        Baseline {
            window: Duration::from_secs(3600),
            offset: Duration::from_secs(3600),
            aggregate: Aggregate::Average,
            max_drop: Some(0.1),
            max_rise: None,
            only_pass: true,
            min_samples: 3,
            given: None,
        }
    }

    #[test]
    fn the_past_ends_an_offset_before_the_tick_and_does_not_hold_its_own_end() {
        assert_eq!(baseline().ticks(10_000 * 1_000_000_000), (2_800_000_000_000, 6_400_000_000_000));
    }

    #[test]
    fn too_few_values_are_no_baseline() {
        let base = baseline();
        assert_eq!((base.of(vec![]), base.of(vec![1.0, 2.0])), (None, None));
        assert_eq!(base.of(vec![1.0, 2.0, 6.0]), Some(3.0));
        let median = Baseline { aggregate: Aggregate::Median, min_samples: 1, ..base };
        assert_eq!(median.of(vec![9.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median.of(vec![9.0, 1.0, 2.0, 4.0]), Some(3.0));
        assert_eq!(median.of(vec![]), None);
    }

    #[test]
    fn a_value_is_held_to_each_side_that_is_given() {
        let drop = baseline();
        assert!(drop.holds(0.9, 1.0) && drop.holds(5.0, 1.0) && !drop.holds(0.899, 1.0));
        let rise = Baseline { max_drop: None, max_rise: Some(0.5), ..drop };
        assert!(rise.holds(1.5, 1.0) && rise.holds(-9.0, 1.0) && !rise.holds(1.501, 1.0));
    }
}
