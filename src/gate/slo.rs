//! Service level objectives (gates.md 14).
//!
//! Duty: what `slo` says, as SQL over `spans` in one pass, and what the pairs of windows in its row mean. Guarantee: a pair is
//! hot exactly if both windows burn strictly above its factor: counts are compared as whole numbers, not as rounded burns.
//! Left to others: reading the key (`slo_keys`), planning (`plan`), all other rules of a verdict (`verdict`).

use std::time::Duration;

use serde_json::{Map, Value};

use super::definition::EventTime;
use super::result::ResultRow;
use super::scalar::{duration_text, interval};
use super::state::Level;
use super::verdict::Outcome;

/// `slo`: how much of what spans promise may break.
#[derive(Clone, Debug, PartialEq)]
pub struct Slo {
    /// Percent of `total` that is to be good.
    pub objective: Decimal,
    /// The time that the budget is for.
    pub period: Duration,
    /// Row predicate: spans that count.
    pub total: String,
    /// Row predicate: those of them that are good.
    pub good: String,
    /// What is hot by which two windows.
    pub pairs: Vec<Pair>,
}

/// Two windows that must both burn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// What it is when it is hot.
    pub level: Level,
    /// Percent of the period's budget that is gone after the long window at just its factor.
    pub budget_percent: Decimal,
    /// So that it cools when the trouble is over.
    pub short: Duration,
    /// So that a short trouble does not heat it.
    pub long: Duration,
}

/// A positive decimal number: `digits` ÷ 10^`scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    digits: u64,
    scale: u32,
}

/// Most digits behind the point of a [`Decimal`].
pub(super) const MOST_SCALE: u32 = 9;

impl Decimal {
    /// The number as it is written: 99.9 is 999 ÷ 10. `None`: it is negative, too large or has more than nine digits behind
    /// the point.
    pub fn of(number: f64) -> Option<Self> {
        if !(0.0..=1e9).contains(&number) {
            return None;
        }
        let text = number.to_string();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let scale = u32::try_from(fraction.len()).ok().filter(|scale| *scale <= MOST_SCALE)?;
        Some(Self { digits: format!("{whole}{fraction}").parse().ok()?, scale })
    }

    /// The number.
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    pub fn number(self) -> f64 {
        self.digits as f64 / 10_f64.powi(i32::try_from(self.scale).unwrap_or(0))
    }

    fn ratio(self) -> Ratio {
        Ratio { over: u128::from(self.digits), under: 10_u128.pow(self.scale) }
    }
}

/// A positive fraction in lowest terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ratio {
    over: u128,
    under: u128,
}

impl Ratio {
    fn of(over: u128, under: u128) -> Self {
        let common = gcd(over, under).max(1);
        Self { over: over / common, under: under / common }
    }

    fn times(self, other: Self) -> Self {
        // Crosswise first, so that nothing overflows which the product does not.
        let (a, b) = (Self::of(self.over, other.under), Self::of(other.over, self.under));
        Self { over: a.over * b.over, under: a.under * b.under }
    }

    const fn inverse(self) -> Self {
        Self { over: self.under, under: self.over }
    }

    #[allow(clippy::cast_precision_loss, reason = "for people")]
    fn number(self) -> f64 {
        self.over as f64 / self.under as f64
    }
}

const fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

const PERCENT: Ratio = Ratio { over: 1, under: 100 };

/// Google's pairs in Sloth's catalogue: level, percent of the budget, seconds of the windows.
const CATALOGUE: [(Level, u64, u64, u64); 4] = [
    (Level::Fail, 2, 300, 3_600),
    (Level::Fail, 5, 1_800, 21_600),
    (Level::Warn, 10, 7_200, 86_400),
    (Level::Warn, 10, 21_600, 259_200),
];

/// Tables of pairs by name, each for one period.
pub(super) const TABLES: [(&str, Duration); 2] =
    [("google-30d", Duration::from_secs(30 * 86_400)), ("google-28d", Duration::from_secs(28 * 86_400))];

/// The pairs of [`TABLES`]: page quick and slow, ticket quick and slow.
pub(super) fn catalogue() -> Vec<Pair> {
    let pair = |(level, percent, short, long)| Pair {
        level,
        budget_percent: Decimal { digits: percent, scale: 0 },
        short: Duration::from_secs(short),
        long: Duration::from_secs(long),
    };
    CATALOGUE.into_iter().map(pair).collect()
}

impl Slo {
    /// The longest window.
    pub fn longest(&self) -> Duration {
        self.pairs.iter().map(|pair| pair.long).max().unwrap_or_default()
    }

    /// 1 − objective ÷ 100
    fn budget(&self) -> Ratio {
        let objective = self.objective.ratio().times(PERCENT);
        Ratio::of(objective.under.saturating_sub(objective.over), objective.under)
    }

    /// Budget share × period ÷ long window.
    fn factor(&self, pair: &Pair) -> Ratio {
        let long = Ratio::of(self.period.as_millis(), pair.long.as_millis().max(1));
        pair.budget_percent.ratio().times(PERCENT).times(long)
    }

    /// Every window once, shortest first.
    fn windows(&self) -> Vec<Duration> {
        let mut windows: Vec<Duration> = self.pairs.iter().flat_map(|pair| [pair.short, pair.long]).collect();
        windows.sort_unstable();
        windows.dedup();
        windows
    }

    /// One statement over the longest window: `value`, `n`, the quotient of each pair, burn and total of each window, and what
    /// is left of the budget. Spans of a window are those of its end, so the statement also holds for a part of it.
    pub fn sql(&self, by: &[String], time: EventTime) -> String {
        let at = match time {
            EventTime::End => "end_time",
            EventTime::Start => "start_time",
        };
        let keys: String = by.iter().map(|column| format!("\"{column}\", ")).collect();
        let grouped = match by {
            [] => String::new(),
            _ => format!(" GROUP BY {}", keys.trim_end_matches(", ")),
        };
        let windows = self.windows();
        let longest = name(self.longest());
        let mut counts = Vec::new();
        for window in &windows {
            let (name, from) = (name(*window), from(*window));
            counts.push(format!("count(*) FILTER (WHERE slo_at >= {from}) AS total_{name}"));
            counts.push(format!("count(*) FILTER (WHERE NOT slo_good AND slo_at >= {from}) AS bad_{name}"));
        }
        let mut columns = Vec::new();
        for (i, pair) in self.pairs.iter().enumerate() {
            // Above 1 where bad ÷ total ÷ budget > factor.
            let scale = self.budget().times(self.factor(pair)).inverse();
            let (short, long) = (quotient(pair.short, scale), quotient(pair.long, scale));
            columns.push(format!("least({short}, {long}) AS {}", column(i)));
        }
        for window in &windows {
            columns.push(format!("{} AS burn_{}", burn(*window, self.budget().inverse()), name(*window)));
        }
        let of_period = Ratio::of(self.longest().as_millis(), self.period.as_millis().max(1));
        let gone = quotient(self.longest(), self.budget().inverse().times(of_period));
        columns.push(format!("1.0 - {gone} AS budget_left"));
        let pairs: Vec<String> = (0..self.pairs.len()).map(column).collect();
        let greatest = match pairs.as_slice() {
            [one] => one.clone(),
            _ => format!("greatest({})", pairs.join(", ")),
        };
        let evidence: Vec<String> = pairs
            .into_iter()
            .chain(windows.iter().map(|window| format!("burn_{}", name(*window))))
            .chain(windows.iter().map(|window| format!("total_{}", name(*window))))
            .chain(["budget_left".to_owned()])
            .collect();
        format!(
            "WITH seen AS (\n  SELECT {keys}{at} AS slo_at, coalesce({good}, false) AS slo_good\n  FROM spans\n  \
             WHERE {at} >= $window_start AND {at} < $window_end AND ({total})\n),\n\
             counted AS (\n  SELECT {keys}{counts}\n  FROM seen{grouped}\n),\n\
             burning AS (\n  SELECT {keys}{totals},\n    {columns}\n  FROM counted\n)\n\
             SELECT {keys}CASE WHEN total_{longest} > 0 THEN {greatest} END AS value, total_{longest} AS n,\n  {evidence}\n\
             FROM burning",
            good = self.good,
            total = self.total,
            counts = counts.join(",\n    "),
            totals = windows.iter().map(|window| format!("total_{}", name(*window))).collect::<Vec<_>>().join(", "),
            columns = columns.join(",\n    "),
            evidence = evidence.join(", "),
        )
    }

    /// What the pairs in `row` mean: the highest level of those that are hot and have `min_samples` in their long window. If
    /// only others are hot it is insufficient. A row without pairs is no data.
    pub(super) fn outcome(&self, min_samples: u64, row: &ResultRow) -> Outcome {
        let (mut highest, mut thin) = (None, false);
        for (i, pair) in self.pairs.iter().enumerate() {
            let Some((is_hot, samples)) = seen(i, pair, &row.evidence) else { return Outcome::NoData };
            match is_hot {
                true if samples >= min_samples => highest = highest.max(Some(pair.level)),
                is_hot => thin |= is_hot,
            }
        }
        match highest {
            Some(Level::Fail) => Outcome::Fail,
            Some(Level::Warn) => Outcome::Warn,
            None if thin => Outcome::Insufficient,
            None => Outcome::Pass,
        }
    }

    /// Of a row that is insufficient: the long window of the first hot pair that has fewer than `min_samples` in it, and how
    /// many it has.
    pub fn thin(&self, min_samples: u64, evidence: &Map<String, Value>) -> Option<(Duration, u64)> {
        self.pairs.iter().enumerate().find_map(|(i, pair)| {
            let (is_hot, samples) = seen(i, pair, evidence)?;
            (is_hot && samples < min_samples).then_some((pair.long, samples))
        })
    }

    /// The pairs as people read them: `fail above 14.4 in 5m and 1h`.
    pub fn told(&self) -> String {
        let pair = |pair: &Pair| {
            let (short, long) = (duration_text(pair.short), duration_text(pair.long));
            format!("{} above {} in {short} and {long}", pair.level.as_str(), self.factor(pair).number())
        };
        self.pairs.iter().map(pair).collect::<Vec<_>>().join("; ")
    }
}

/// Whether the `i`-th pair is hot in a row, and the samples of its long window.
fn seen(i: usize, pair: &Pair, evidence: &Map<String, Value>) -> Option<(bool, u64)> {
    let quotient = evidence.get(&column(i))?.as_f64()?;
    let samples = evidence.get(&format!("total_{}", name(pair.long)))?.as_u64()?;
    Some((quotient > 1.0, samples))
}

/// Column of the quotient of the `i`-th pair.
fn column(i: usize) -> String {
    format!("pair_{}", i + 1)
}

/// A window as a part of a name.
fn name(window: Duration) -> String {
    duration_text(window)
}

/// Where a window begins.
fn from(window: Duration) -> String {
    format!("$window_end - {}", interval(window))
}

/// bad ÷ total × `scale` of a window, NULL without spans.
fn burn(window: Duration, scale: Ratio) -> String {
    let (name, over, under) = (name(window), double(scale.over), double(scale.under));
    format!("CAST(bad_{name} AS DOUBLE) * {over} / (nullif(CAST(total_{name} AS DOUBLE), 0.0) * {under})")
}

/// The same, 0 without spans: what has no spans burns nothing.
fn quotient(window: Duration, scale: Ratio) -> String {
    format!("coalesce({}, 0.0)", burn(window, scale))
}

/// A whole number as a literal of a double.
fn double(number: u128) -> String {
    match number < 1 << 53 {
        true => format!("{number}.0"),
        #[allow(clippy::cast_precision_loss, reason = "beyond what a double holds exactly")]
        false => format!("{:e}", number as f64),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slo(objective: f64, days: u64) -> Slo {
        Slo {
            objective: Decimal::of(objective).unwrap(),
            period: Duration::from_secs(days * 86_400),
            total: "kind = 'server'".into(),
            good: "status_code <> 'error'".into(),
            pairs: catalogue(),
        }
    }

    #[test]
    fn factors_are_those_of_the_table() {
        let factors = |days| -> Vec<f64> {
            let slo = slo(99.9, days);
            slo.pairs.iter().map(|pair| slo.factor(pair).number()).collect()
        };
        assert_eq!(factors(30), [14.4, 6.0, 3.0, 1.0]);
        assert_eq!(factors(28), [13.44, 5.6, 2.8, 28.0 / 30.0]);
        assert_eq!(slo(99.9, 30).budget(), Ratio { over: 1, under: 1_000 });
        assert!(slo(99.9, 30).told().starts_with("fail above 14.4 in 5m and 1h; fail above 6 in 30m and 6h; warn"));
    }

    #[test]
    fn numbers_are_taken_as_they_are_written() {
        assert_eq!(Decimal::of(99.9), Some(Decimal { digits: 999, scale: 1 }));
        assert_eq!(Decimal::of(5.0), Some(Decimal { digits: 5, scale: 0 }));
        assert_eq!(Decimal::of(99.999_999_999), Some(Decimal { digits: 99_999_999_999, scale: 9 }));
        for wrong in [-1.0, f64::NAN, f64::INFINITY, 1e300, 1e-10] {
            assert_eq!(Decimal::of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn nothing_overflows_at_the_ends_of_what_is_allowed() {
        let mut slo = slo(99.999_999_999, 365);
        slo.pairs[0].budget_percent = Decimal::of(99.999_999_999).unwrap();
        slo.pairs[0].long = Duration::from_millis(86_399_999);
        slo.period = Duration::from_millis(31_535_999_999);
        let scale = slo.budget().times(slo.factor(&slo.pairs[0])).inverse();
        assert!(scale.over > 0 && scale.under > 0);
        assert!(slo.sql(&[], EventTime::End).contains('e'), "what no double holds is written with an exponent");
    }

    fn row(pairs: [f64; 4], totals: [u64; 4]) -> ResultRow {
        let mut row = ResultRow {
            value: Some(pairs.into_iter().fold(0.0, f64::max)),
            n: Some(totals[3]),
            ..ResultRow::default()
        };
        for (i, quotient) in pairs.into_iter().enumerate() {
            row.evidence.insert(column(i), json!(quotient));
        }
        for (window, total) in ["1h", "6h", "1d", "3d"].into_iter().zip(totals) {
            row.evidence.insert(format!("total_{window}"), json!(total));
        }
        row
    }

    #[test]
    fn the_highest_level_of_a_hot_pair_decides_and_a_pair_at_its_factor_is_not_hot() {
        let slo = slo(99.9, 30);
        let of = |pairs| slo.outcome(10, &row(pairs, [10; 4]));
        assert_eq!(of([0.0; 4]), Outcome::Pass);
        assert_eq!(of([1.0; 4]), Outcome::Pass, "strictly above");
        assert_eq!(of([0.0, 0.0, 0.0, 1.1]), Outcome::Warn);
        assert_eq!(of([0.0, 1.1, 0.0, 1.1]), Outcome::Fail);
        assert_eq!(of([1.1, 0.0, 0.0, 0.0]), Outcome::Fail);
        assert_eq!(slo.outcome(10, &ResultRow { value: Some(0.0), ..ResultRow::default() }), Outcome::NoData);
    }

    #[test]
    fn samples_are_those_of_the_long_window_of_the_hot_pair() {
        let slo = slo(99.9, 30);
        assert_eq!(
            slo.outcome(10, &row([9.0, 0.0, 0.0, 0.0], [9, 50, 50, 50])),
            Outcome::Insufficient,
            "one error at night"
        );
        assert_eq!(
            slo.outcome(10, &row([9.0, 0.0, 0.0, 2.0], [9, 50, 50, 50])),
            Outcome::Warn,
            "what has samples counts"
        );
        assert_eq!(slo.outcome(10, &row([0.0; 4], [1; 4])), Outcome::Pass, "nothing is hot");
        let thin = |pairs, totals| slo.thin(10, &row(pairs, totals).evidence);
        assert_eq!(
            thin([0.0, 9.0, 0.0, 0.0], [3, 9, 50, 50]),
            Some((Duration::from_secs(21_600), 9)),
            "its own, not n"
        );
        assert_eq!(thin([0.0; 4], [3; 4]), None);
    }
}
