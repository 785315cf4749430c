//! What one result row means (gates.md 4.1, 4.3).
//!
//! Duty: the outcome of a key, its input to the state machine, the keys kept when a result has too many. Guarantee: pure;
//! no data, NULL and NaN are never a pass. Left to others: what the input does (`state`), keys that are missing and whole
//! results that are empty (`book`).

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::definition::{Comparison, Gate, Policy, Test};
use super::result::ResultRow;

/// Outcome of one key at one tick, from good to bad as `Ord`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Outcome {
    /// `pass` holds.
    Pass,
    /// `warn` holds and `pass` does not.
    Warn,
    /// Neither holds.
    Fail,
    /// No row, or its value is NULL or not finite.
    NoData,
    /// Fewer samples than `min_samples`.
    Insufficient,
    /// `conclusive_when` is not met, or there is no baseline yet.
    Inconclusive,
    /// The query gave no usable result; of the whole gate.
    Error,
}

impl Outcome {
    /// The word in tables, metrics and messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::NoData => "no_data",
            Self::Insufficient => "insufficient",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
        }
    }

    /// Whether a tick with it is effective for the key: all others hold, unless a policy says otherwise.
    pub const fn is_effective(self) -> bool {
        matches!(self, Self::Pass | Self::Warn | Self::Fail)
    }

    /// From worst to best, for the choice of keys over the group's `limit`.
    const fn rank(self) -> u8 {
        match self {
            Self::Fail => 0,
            Self::Warn => 1,
            Self::Error | Self::NoData | Self::Insufficient | Self::Inconclusive => 2,
            Self::Pass => 3,
        }
    }
}

/// The input x of the state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Input {
    /// F
    Fail,
    /// W
    Warn,
    /// P: passes without clearing.
    Pass,
    /// C: passes and clears.
    Clear,
    /// H: nothing changes.
    Hold,
    /// G: the key is gone.
    Gone,
}

impl Input {
    /// W or F.
    pub const fn is_breach(self) -> bool {
        matches!(self, Self::Warn | Self::Fail)
    }

    /// W, F, P or C.
    pub const fn is_effective(self) -> bool {
        !matches!(self, Self::Hold | Self::Gone)
    }
}

/// An outcome with what else §4.3 asks of the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Row of table 4.1.
    pub outcome: Outcome,
    /// The outcome is pass and `clear` holds too.
    pub clears: bool,
}

impl Judged {
    /// An outcome that no value stands behind.
    pub const fn without_value(outcome: Outcome) -> Self {
        Self { outcome, clears: false }
    }
}

/// The outcome of `row` under the rules of `gate`: the first row of table 4.1 that applies. `base` is the baseline, if the gate
/// wants one and there is one.
pub fn judge(gate: &Gate, row: &ResultRow, base: Option<f64>) -> Judged {
    let aside = judge_aside(gate, row);
    let (Some(baseline), Some(value)) = (&gate.baseline, row.value) else { return aside };
    match (aside.outcome, base) {
        (Outcome::NoData | Outcome::Insufficient | Outcome::Inconclusive | Outcome::Error, _) => aside,
        (_, None) => Judged::without_value(Outcome::Inconclusive),
        (Outcome::Pass, Some(base)) if !baseline.holds(value, base) => Judged::without_value(weaker(gate, value)),
        (Outcome::Pass | Outcome::Warn | Outcome::Fail, Some(_)) => aside,
    }
}

/// The same with the baseline left aside.
pub fn judge_aside(gate: &Gate, row: &ResultRow) -> Judged {
    let Some(value) = row.value.filter(|value| value.is_finite()) else {
        return Judged::without_value(Outcome::NoData);
    };
    if gate.on.is_ingest() {
        // Every matching span is a fail, however few they are.
        let matches = value > 0.0;
        return Judged { outcome: if matches { Outcome::Fail } else { Outcome::Pass }, clears: !matches };
    }
    // The pairs of an objective have samples of their own.
    let by_pairs = gate.slo.as_ref().map(|slo| slo.outcome(gate.min_samples, row));
    let is_thin = match by_pairs {
        Some(outcome) => outcome == Outcome::Insufficient,
        None => row.n.is_some_and(|n| n < gate.min_samples),
    };
    if is_thin {
        return Judged::without_value(Outcome::Insufficient);
    }
    if !is_conclusive(gate, row) {
        return Judged::without_value(Outcome::Inconclusive);
    }
    if let Some(outcome) = by_pairs {
        return Judged { outcome, clears: outcome == Outcome::Pass };
    }
    if gate.pass.test.holds(value) {
        return Judged { outcome: Outcome::Pass, clears: gate.clear.test.holds(value) };
    }
    Judged::without_value(weaker(gate, value))
}

/// Whether `conclusive_when` is met, or the gate has none.
pub fn is_conclusive(gate: &Gate, row: &ResultRow) -> bool {
    gate.conclusive_when
        .as_ref()
        .is_none_or(|(column, wanted)| number_of(gate, row, column).is_some_and(|number| wanted.test.holds(number)))
}

/// What a value is that does not pass.
fn weaker(gate: &Gate, value: f64) -> Outcome {
    match &gate.warn {
        Some(warn) if warn.test.holds(value) => Outcome::Warn,
        _ => Outcome::Fail,
    }
}

/// Whether a pass that clears may close what `on_fail` opened: it has the samples that §4.3 asks for.
pub fn proves(gate: &Gate, row: &ResultRow, judged: Judged) -> bool {
    judged.clears && row.n.is_none_or(|n| n >= gate.min_samples)
}

/// What `judged` means for the key, without the rule for gates with `on_fail`.
pub fn input(gate: &Gate, judged: Judged) -> Input {
    match judged.outcome {
        Outcome::Fail => Input::Fail,
        Outcome::Warn => Input::Warn,
        Outcome::Pass if judged.clears => Input::Clear,
        Outcome::Pass => Input::Pass,
        Outcome::NoData => by_policy(gate.no_data),
        Outcome::Insufficient => by_policy(gate.insufficient),
        Outcome::Inconclusive => by_policy(gate.inconclusive),
        Outcome::Error => Input::Hold,
    }
}

const fn by_policy(policy: Policy) -> Input {
    match policy {
        Policy::Hold | Policy::Alert => Input::Hold,
        Policy::Pass => Input::Clear,
        Policy::Fail => Input::Fail,
    }
}

/// The number in a column of the result; booleans are 0 and 1, NULL and text that is no number are `None`.
fn number_of(gate: &Gate, row: &ResultRow, column: &str) -> Option<f64> {
    let number = if column == gate.value_column {
        row.value
    } else if column == gate.n_column {
        #[allow(clippy::cast_precision_loss, reason = "sample counts are far below 2^53")]
        row.n.map(|n| n as f64)
    } else if let Some(text) = row.key.get(column) {
        text.parse().ok()
    } else {
        match row.evidence.get(column)? {
            Value::Number(number) => number.as_f64(),
            Value::Bool(flag) => Some(f64::from(u8::from(*flag))),
            // Decimals come as text, for JSON has no number that holds them.
            Value::String(text) => text.parse().ok(),
            _ => None,
        }
    };
    number.filter(|number| number.is_finite())
}

/// The rows judged when there are more than `limit`: lowest outcome first, then farthest from `pass`, then in key order.
/// The second list holds the rest.
pub fn worst(gate: &Gate, mut rows: Vec<(ResultRow, Judged)>) -> (Vec<(ResultRow, Judged)>, Vec<ResultRow>) {
    if rows.len() <= gate.limit {
        return (rows, Vec::new());
    }
    sort_worst_first(gate, &mut rows);
    let rest = rows.split_off(gate.limit).into_iter().map(|(row, _)| row).collect();
    (rows, rest)
}

/// Sorts as [`worst`] chooses.
pub fn sort_worst_first(gate: &Gate, rows: &mut [(ResultRow, Judged)]) {
    let far = |row: &ResultRow| row.value.map_or(0.0, |value| distance(&gate.pass, value));
    rows.sort_by(|(a, judged_a), (b, judged_b)| {
        let by_outcome = judged_a.outcome.rank().cmp(&judged_b.outcome.rank());
        by_outcome.then_with(|| far(b).total_cmp(&far(a))).then_with(|| a.key.cmp(&b.key))
    });
}

/// How far `value` is from the set of `comparison`; 0 inside it and for what is no number.
fn distance(comparison: &Comparison, value: f64) -> f64 {
    let test = comparison.test;
    if !value.is_finite() || test.holds(value) {
        return 0.0;
    }
    match test {
        Test::Above(x) | Test::AtLeast(x) => x - value,
        Test::Below(x) | Test::AtMost(x) => value - x,
        Test::Is(x) => (value - x).abs(),
        Test::IsNot(_) => 0.0,
        Test::In(low, high) => (low - value).max(value - high),
        Test::NotIn(low, high) => (value - low).min(high - value),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::super::definition::tests::{comparison, gate};
    use super::*;

    fn row(value: Option<f64>, n: Option<u64>) -> ResultRow {
        ResultRow { value, n, ..ResultRow::default() }
    }

    fn strict() -> Gate {
        Gate {
            warn: Some(comparison(Test::Above(0.9))),
            clear: comparison(Test::Above(0.97)),
            min_samples: 10,
            conclusive_when: Some(("match_rate".to_owned(), comparison(Test::AtLeast(0.8)))),
            ..gate("completeness", Test::Above(0.95))
        }
    }

    #[test]
    fn the_first_row_of_the_table_that_applies_decides() {
        let gate = strict();
        let with = |value, n, rate: Value| {
            let mut row = row(value, n);
            row.evidence.insert("match_rate".to_owned(), rate);
            judge(&gate, &row, None).outcome
        };
        let good = || Value::from(0.9);
        assert_eq!(with(None, Some(0), Value::Null), Outcome::NoData, "before samples and rates are looked at");
        assert_eq!(with(Some(f64::NAN), Some(99), good()), Outcome::NoData);
        assert_eq!(with(Some(f64::INFINITY), Some(99), good()), Outcome::NoData, "+inf would be above 0.95");
        assert_eq!(with(Some(0.1), Some(9), Value::Null), Outcome::Insufficient, "before it is inconclusive or a fail");
        assert_eq!(with(Some(0.99), Some(10), Value::from(0.79)), Outcome::Inconclusive);
        assert_eq!(with(Some(0.99), Some(10), Value::Null), Outcome::Inconclusive, "NULL does not meet a condition");
        assert_eq!(with(Some(0.96), Some(10), good()), Outcome::Pass);
        assert_eq!(with(Some(0.95), Some(10), good()), Outcome::Warn);
        assert_eq!(with(Some(0.90), Some(10), good()), Outcome::Fail);
    }

    #[test]
    fn a_value_between_pass_and_clear_passes_without_clearing() {
        let gate = Gate { conclusive_when: None, ..strict() };
        let judged = |value| judge(&gate, &row(Some(value), None), None);
        assert_eq!(input(&gate, judged(0.96)), Input::Pass);
        assert_eq!(input(&gate, judged(0.98)), Input::Clear);
    }

    #[test]
    fn what_is_no_verdict_holds_unless_a_policy_says_otherwise() {
        let mut gate = strict();
        let of = |gate: &Gate, outcome| input(gate, Judged::without_value(outcome));
        for outcome in [Outcome::NoData, Outcome::Insufficient, Outcome::Inconclusive, Outcome::Error] {
            assert_eq!(of(&gate, outcome), Input::Hold, "{outcome:?}");
        }
        gate.no_data = Policy::Pass;
        gate.insufficient = Policy::Fail;
        gate.inconclusive = Policy::Alert;
        assert_eq!(of(&gate, Outcome::NoData), Input::Clear);
        assert_eq!(of(&gate, Outcome::Insufficient), Input::Fail);
        assert_eq!(of(&gate, Outcome::Inconclusive), Input::Hold);
    }

    #[test]
    fn a_value_that_passes_is_also_held_to_its_baseline() {
        let gate =
            Gate { baseline: Some(super::super::baseline::tests::baseline()), conclusive_when: None, ..strict() };
        let of = |value, n, base| judge(&gate, &row(value, Some(n)), base);
        assert_eq!(of(Some(0.96), 10, None).outcome, Outcome::Inconclusive, "a fresh gate");
        assert_eq!(of(Some(0.1), 10, None).outcome, Outcome::Inconclusive, "before it is a fail");
        assert_eq!(
            (of(Some(0.1), 9, None).outcome, of(None, 10, None).outcome),
            (Outcome::Insufficient, Outcome::NoData)
        );
        assert_eq!(of(Some(0.98), 10, Some(1.0)), Judged { outcome: Outcome::Pass, clears: true });
        assert_eq!(of(Some(0.98), 10, Some(1.1)), Judged::without_value(Outcome::Warn), "0.98 < 0.99, and warn holds");
        assert_eq!(of(Some(0.8), 10, Some(0.5)).outcome, Outcome::Fail, "a baseline excuses nothing");
        let alone = Gate { warn: None, ..gate.clone() };
        assert_eq!(judge(&alone, &row(Some(0.98), Some(10)), Some(1.1)).outcome, Outcome::Fail);
        assert_eq!(judge_aside(&gate, &row(Some(0.98), Some(10))).outcome, Outcome::Pass);
    }

    #[test]
    fn samples_may_be_the_column_of_the_condition() {
        let gate = Gate {
            conclusive_when: Some(("n".to_owned(), comparison(Test::AtLeast(3.0)))),
            ..gate("g", Test::Above(0.0))
        };
        assert_eq!(judge(&gate, &row(Some(1.0), Some(2)), None).outcome, Outcome::Inconclusive);
        assert_eq!(judge(&gate, &row(Some(1.0), Some(3)), None).outcome, Outcome::Pass);
    }

    #[test]
    fn over_the_limit_the_worst_keys_are_judged() {
        let gate = Gate { limit: 3, ..gate("g", Test::In(1.0, 2.0)) };
        let rows = [("a", Some(1.5)), ("b", Some(2.5)), ("c", Some(-4.0)), ("d", None), ("e", Some(2.5))];
        let rows = rows.map(|(key, value)| {
            let key = BTreeMap::from([("k".to_owned(), key.to_owned())]);
            let row = ResultRow { key, ..row(value, None) };
            let judged = judge(&gate, &row, None);
            (row, judged)
        });
        let (kept, rest) = worst(&gate, rows.to_vec());
        let name = |row: &ResultRow| row.key["k"].clone();
        assert_eq!(kept.iter().map(|(row, _)| name(row)).collect::<Vec<_>>(), ["c", "b", "e"]);
        assert_eq!(rest.iter().map(name).collect::<Vec<_>>(), ["d", "a"]);
    }
}
