//! Claims about histograms.

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

#[test]
fn what_was_written_as_parts_is_read_back_and_nothing_else_is() {
    let mut hist = ExpHist::new(64);
    assert_eq!(ExpHist::from_parts(hist.parts()), Some(hist.clone()));
    for value in [0.0, -3.5, 1e-300, 7.0, 7.0, f64::INFINITY] {
        hist.add(value);
    }
    let parts = hist.parts();
    assert_eq!(ExpHist::from_parts(parts.clone()), Some(hist.clone()));
    let wrong = [
        Parts { scale: 7, ..parts.clone() },
        Parts { scale: -12, ..parts.clone() },
        Parts { max_buckets: 1, ..parts.clone() },
        Parts { max_buckets: u32::MAX, ..parts.clone() },
        Parts { count: 5, ..parts.clone() },
        Parts { zeros: u64::MAX, ..parts.clone() },
        Parts { min: None, ..parts.clone() },
        Parts { min: Some(f64::NAN), ..parts.clone() },
        Parts { min: Some(9.0), max: Some(8.0), ..parts.clone() },
        Parts { positive: vec![(i32::MIN, 1), (0, 3)], ..parts.clone() },
        Parts { negative: vec![(3, u64::MAX), (4, u64::MAX)], ..parts.clone() },
    ];
    for parts in wrong {
        assert_eq!(ExpHist::from_parts(parts.clone()), None, "{parts:?}");
    }
}

#[test]
fn merging_in_any_order_gives_the_same_histogram_also_with_different_room() {
    let of = |room: u32, exponents: std::ops::Range<i32>| {
        let mut hist = ExpHist::new(room);
        exponents.for_each(|exponent| hist.add(1.1_f64.powi(exponent)));
        hist
    };
    let all = [of(1024, 0..300), of(16, 100..140), of(64, -50..50), of(128, 0..1)];
    let merged = |order: [usize; 4]| {
        let mut hist = all[order[0]].clone();
        order[1..].iter().for_each(|at| hist.merge(&all[*at]));
        // A sum of doubles depends on its order.
        Parts { sum: 0.0, ..hist.parts() }
    };
    let first = merged([0, 1, 2, 3]);
    assert_eq!(first.max_buckets, 16);
    assert!(first.positive.len() <= 16);
    for order in [[3, 2, 1, 0], [1, 0, 3, 2], [2, 3, 0, 1]] {
        assert_eq!(merged(order), first);
    }
}

#[test]
fn the_error_doubles_with_each_halving_of_the_resolution() {
    // Of each bucket its ends are the farthest from the value that stands for it.
    for (room, scale, most) in [(1024, 6, 0.0055), (512, 5, 0.011)] {
        let mut hist = ExpHist::new(room);
        let values: Vec<f64> = (0..700).map(|step| 2_f64.powf(f64::from(step) / 64.0 + 1e-6)).collect();
        values.iter().for_each(|value| hist.add(*value));
        assert_eq!(hist.parts().scale, scale);
        for (rank, value) in values.iter().enumerate() {
            #[allow(clippy::cast_precision_loss)]
            let found = hist.quantile(rank as f64 / 699.0).unwrap();
            assert!((found - value).abs() <= most * value, "{rank}: {found} for {value}");
        }
    }
}
