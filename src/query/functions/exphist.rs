//! A mergeable base-2 exponential histogram.
//!
//! Duty: counts of values in buckets whose bounds are powers of 2^(2^-scale). Guarantee: a quantile is off by at most
//! 0.55 % at scale 6 and 1.1 % at scale 5; smallest and largest value are exact; merging in any order counts the same.
//! Left to others: SQL (`aggregates`).
//!
//! The layout of [`ExpHist::to_bytes`] is little-endian: version 1 (u8), scale (i8), max_buckets (u32), count, zeros
//! (u64), sum, min, max (f64), then twice (positive, negative): length (u32) and that many of index (i32), count (u64).

use std::collections::BTreeMap;

/// Scale that a histogram starts with.
const START_SCALE: i8 = 6;
/// The coarsest scale: one bucket for all doubles of a sign.
const MIN_SCALE: i8 = -11;
/// Buckets that a histogram has room for unless said.
pub const DEFAULT_MAX_BUCKETS: u32 = 1024;
const VERSION: u8 = 1;

/// A histogram of doubles.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpHist {
    scale: i8,
    max_buckets: u32,
    count: u64,
    zeros: u64,
    sum: f64,
    min: f64,
    max: f64,
    positive: BTreeMap<i32, u64>,
    negative: BTreeMap<i32, u64>,
}

impl ExpHist {
    /// An empty histogram with room for `max_buckets` (at least 2).
    pub fn new(max_buckets: u32) -> Self {
        Self {
            scale: START_SCALE,
            max_buckets: max_buckets.max(2),
            count: 0,
            zeros: 0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            positive: BTreeMap::new(),
            negative: BTreeMap::new(),
        }
    }

    /// Counts `value`; NaN is no value.
    pub fn add(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value == 0.0 {
            self.zeros += 1;
            return;
        }
        let index = index(value.abs().min(f64::MAX), self.scale);
        let side = if value > 0.0 { &mut self.positive } else { &mut self.negative };
        *side.entry(index).or_insert(0) += 1;
        self.shrink();
    }

    /// Adds the counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        let scale = self.scale.min(other.scale);
        self.rescale(scale);
        let mut other = other.clone();
        other.rescale(scale);
        for (index, count) in other.positive {
            *self.positive.entry(index).or_insert(0) += count;
        }
        for (index, count) in other.negative {
            *self.negative.entry(index).or_insert(0) += count;
        }
        self.count += other.count;
        self.zeros += other.zeros;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.buckets() > self.max_buckets as usize && self.scale > MIN_SCALE {
            self.rescale(self.scale - 1);
        }
    }

    fn rescale(&mut self, scale: i8) {
        let shift = i32::from(self.scale) - i32::from(scale);
        if shift <= 0 {
            return;
        }
        for side in [&mut self.positive, &mut self.negative] {
            let mut coarse = BTreeMap::new();
            for (index, count) in std::mem::take(side) {
                *coarse.entry(index >> shift.min(31)).or_insert(0) += count;
            }
            *side = coarse;
        }
        self.scale = scale;
    }

    fn buckets(&self) -> usize {
        self.positive.len() + self.negative.len()
    }

    /// Number of values.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Sum of the values.
    pub fn sum(&self) -> f64 {
        self.sum
    }

    /// The smallest value.
    pub fn min(&self) -> Option<f64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest value.
    pub fn max(&self) -> Option<f64> {
        (self.count > 0).then_some(self.max)
    }

    /// The value below which the share `q` of the values lies, interpolated between ranks as `percentile_cont` does.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn quantile(&self, q: f64) -> Option<f64> {
        let last = self.count.checked_sub(1)?;
        let rank = q.clamp(0.0, 1.0) * last as f64;
        let (low, high) = (rank.floor(), rank.ceil());
        let below = self.ranked(low as u64);
        if low == high {
            return Some(below);
        }
        let above = self.ranked(high as u64);
        Some(below + (above - below) * (rank - low))
    }

    /// The value of a rank, counted from 0.
    fn ranked(&self, rank: u64) -> f64 {
        if rank == 0 {
            return self.min;
        }
        if rank + 1 >= self.count {
            return self.max;
        }
        let negative = self.negative.iter().rev().map(|(&i, &n)| (-middle(i, self.scale), n));
        let zeros = std::iter::once((0.0, self.zeros));
        let positive = self.positive.iter().map(|(&i, &n)| (middle(i, self.scale), n));
        let mut passed = 0;
        for (value, count) in negative.chain(zeros).chain(positive) {
            passed += count;
            if rank < passed {
                return value.clamp(self.min, self.max);
            }
        }
        self.max
    }

    /// Bytes of memory held, about.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.buckets() * 24
    }

    /// The layout in the page head.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.scale.to_le_bytes());
        out.extend(self.max_buckets.to_le_bytes());
        out.extend(self.count.to_le_bytes());
        out.extend(self.zeros.to_le_bytes());
        for value in [self.sum, self.min, self.max] {
            out.extend(value.to_le_bytes());
        }
        for side in [&self.positive, &self.negative] {
            out.extend(u32::try_from(side.len()).expect("buckets are bounded").to_le_bytes());
            for (index, count) in side {
                out.extend(index.to_le_bytes());
                out.extend(count.to_le_bytes());
            }
        }
        out
    }

    /// Reads [`ExpHist::to_bytes`]; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        if take::<1>(&mut rest)? != [VERSION] {
            return None;
        }
        let scale = i8::from_le_bytes(take(&mut rest)?);
        let max_buckets = u32::from_le_bytes(take(&mut rest)?);
        let count = u64::from_le_bytes(take(&mut rest)?);
        let zeros = u64::from_le_bytes(take(&mut rest)?);
        let sum = f64::from_le_bytes(take(&mut rest)?);
        let min = f64::from_le_bytes(take(&mut rest)?);
        let max = f64::from_le_bytes(take(&mut rest)?);
        let mut sides = [BTreeMap::new(), BTreeMap::new()];
        for side in &mut sides {
            for _ in 0..u32::from_le_bytes(take(&mut rest)?) {
                side.insert(i32::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
            }
        }
        let [positive, negative] = sides;
        let valid = rest.is_empty() && (MIN_SCALE..=START_SCALE).contains(&scale) && min.partial_cmp(&max).is_some();
        valid.then_some(Self { scale, max_buckets, count, zeros, sum, min, max, positive, negative })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

/// The bucket of a positive value: bucket i holds (base^i, base^(i+1)].
#[allow(clippy::cast_possible_truncation, reason = "log2 of a double is between -1075 and 1024")]
fn index(value: f64, scale: i8) -> i32 {
    (value.log2() * f64::from(scale).exp2()).ceil() as i32 - 1
}

/// The value that is off by the same share from both ends of a bucket.
fn middle(index: i32, scale: i8) -> f64 {
    let width = (-f64::from(scale)).exp2();
    let low = (f64::from(index) * width).exp2();
    let base = width.exp2();
    if base.is_infinite() { low } else { 2.0 * low * base / (1.0 + base) }
}

#[cfg(test)]
mod tests {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};

    use super::*;

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn exact(sorted: &[f64], q: f64) -> f64 {
        let rank = q * (sorted.len() - 1) as f64;
        let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
        low + (high - low) * rank.fract()
    }

    #[test]
    #[allow(clippy::cast_precision_loss)]
    fn quantiles_are_within_the_promised_error() {
        let mut rng = ChaCha8Rng::seed_from_u64(5);
        for round in 0..20 {
            let values: Vec<f64> =
                (0..2_000).map(|_| (rng.next_u64() >> (20 + rng.next_u32() % 24)) as f64 + 1.0).collect();
            let (mut a, mut b) = (ExpHist::new(DEFAULT_MAX_BUCKETS), ExpHist::new(DEFAULT_MAX_BUCKETS));
            for (at, value) in values.iter().enumerate() {
                if at % 3 == 0 { a.add(*value) } else { b.add(*value) }
            }
            a.merge(&ExpHist::from_bytes(&b.to_bytes()).unwrap());
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            for q in [0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0] {
                let (got, want) = (a.quantile(q).unwrap(), exact(&sorted, q));
                assert!((got - want).abs() <= want * 0.011, "round {round}, q {q}: {got} for {want}");
            }
            assert_eq!((a.count(), a.min(), a.max()), (2_000, Some(sorted[0]), sorted.last().copied()));
        }
    }

    #[test]
    fn signs_zeros_and_odd_values_are_ranked() {
        let mut hist = ExpHist::new(DEFAULT_MAX_BUCKETS);
        for value in [-10.0, -1.0, 0.0, 0.0, 2.0, f64::NAN] {
            hist.add(value);
        }
        assert_eq!((hist.count(), hist.quantile(0.5), hist.quantile(0.0)), (5, Some(0.0), Some(-10.0)));
        assert_eq!(ExpHist::new(8).quantile(0.5), None);
    }

    #[test]
    fn a_full_histogram_gets_coarser_instead_of_larger() {
        let mut hist = ExpHist::new(16);
        for exponent in -300..300 {
            hist.add(10_f64.powi(exponent));
        }
        assert!(hist.buckets() <= 16);
        assert_eq!(hist.count(), 600);
        assert_eq!(ExpHist::from_bytes(&hist.to_bytes()[1..]), None);
    }
}
