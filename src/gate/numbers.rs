//! Sets of numbers, as comparisons make them (gates.md 1.3, strength).
//!
//! Duty: the set that a [`Test`] describes, and whether one lies in another. Guarantee: exact: no sampling of points.
//! Left to others: reading comparisons (`scalar`).

use super::definition::Test;

/// An end of an interval: the number, and whether it belongs to it. An infinite end never does.
type End = (f64, bool);

/// A union of intervals, ascending, none empty, none touching the next.
#[derive(Clone, Debug, PartialEq)]
pub struct Numbers {
    intervals: Vec<(End, End)>,
}

impl Numbers {
    /// The numbers for which `test` holds.
    pub fn of(test: Test) -> Self {
        let (least, most) = ((f64::NEG_INFINITY, false), (f64::INFINITY, false));
        Self::union(match test {
            Test::Above(x) => vec![((x, false), most)],
            Test::AtLeast(x) => vec![((x, true), most)],
            Test::Below(x) => vec![(least, (x, false))],
            Test::AtMost(x) => vec![(least, (x, true))],
            Test::Is(x) => vec![((x, true), (x, true))],
            Test::IsNot(x) => vec![(least, (x, false)), ((x, false), most)],
            Test::In(low, high) => vec![((low, true), (high, true))],
            Test::NotIn(low, high) => vec![(least, (low, false)), ((high, false), most)],
        })
    }

    fn union(mut parts: Vec<(End, End)>) -> Self {
        parts.retain(|(low, high)| low.0 < high.0 || (low.0 == high.0 && low.1 && high.1));
        parts.sort_by(|(a, _), (b, _)| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)));
        let mut intervals: Vec<(End, End)> = Vec::new();
        for (low, high) in parts {
            match intervals.last_mut() {
                Some((_, end)) if low.0 < end.0 || (low.0 == end.0 && (low.1 || end.1)) => {
                    if high.0 > end.0 || (high.0 == end.0 && high.1) {
                        *end = high;
                    }
                }
                _ => intervals.push((low, high)),
            }
        }
        Self { intervals }
    }

    /// Whether no number is in it.
    pub fn is_empty(&self) -> bool {
        self.intervals.is_empty()
    }

    /// Whether every number of it is in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        // An interval has no gap, so one interval of `other` must hold it whole.
        let holds = |(outer_low, outer_high): &(End, End), (low, high): &(End, End)| {
            let below = outer_low.0 < low.0 || (outer_low.0 == low.0 && (outer_low.1 || !low.1));
            let above = outer_high.0 > high.0 || (outer_high.0 == high.0 && (outer_high.1 || !high.1));
            below && above
        };
        self.intervals.iter().all(|inner| other.intervals.iter().any(|outer| holds(outer, inner)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn test() -> impl Strategy<Value = Test> {
        let x = || (-3_i32..=3).prop_map(f64::from);
        prop_oneof![
            x().prop_map(Test::Above),
            x().prop_map(Test::AtLeast),
            x().prop_map(Test::Below),
            x().prop_map(Test::AtMost),
            x().prop_map(Test::Is),
            x().prop_map(Test::IsNot),
            (x(), x()).prop_map(|(a, b)| Test::In(a, b)),
            (x(), x()).prop_map(|(a, b)| Test::NotIn(a, b)),
        ]
    }

    proptest! {
        #[test]
        fn sets_are_as_their_tests_say_on_every_half_step(a in test(), b in test()) {
            // With ends at whole numbers, halves tell two sets apart.
            let points: Vec<f64> = (-8..=8).map(|n| f64::from(n) / 2.0).collect();
            let within = points.iter().all(|&x| !a.holds(x) || b.holds(x));
            prop_assert_eq!(Numbers::of(a).is_within(&Numbers::of(b)), within, "{:?} in {:?}", a, b);
            let same = points.iter().all(|&x| a.holds(x) == b.holds(x));
            prop_assert_eq!(Numbers::of(a) == Numbers::of(b), same, "{:?} = {:?}", a, b);
            prop_assert_eq!(Numbers::of(a).is_empty(), points.iter().all(|&x| !a.holds(x)), "{:?}", a);
        }
    }
}
