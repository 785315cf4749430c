//! Claims about the formulas. The numbers are from mpmath 1.4 with 40 digits, by the definitions: normal and beta quantiles
//! by bisection of its incomplete beta function.

use rand_chacha::rand_core::RngCore as _;

use super::*;

type Case2 = (u64, u64, [f64; 3]);
type Case4 = (u64, u64, u64, u64, [f64; 3]);

#[rustfmt::skip]
const SHARES: [Case2; 9] = [
    (1, 1, [1.0, 0.206549311791803, 1.0]),
    (0, 1, [0.0, 0.0, 0.793450688208197]),
    (0, 20, [0.0, -1.43492962746861e-42, 0.16112516018513]),
    (20, 20, [1.0, 0.83887483981487, 1.0]),
    (3, 10, [0.3, 0.107791266556394, 0.603221854654029]),
    (7, 152, [0.0460526315789474, 0.0224843352711395, 0.0920003404330695]),
    (499, 500, [0.998, 0.988759293172068, 0.999646863609341]),
    (50000, 100000, [0.5, 0.496901084335247, 0.503098915664753]),
    (1, 1000000, [1e-06, 1.76524574796224e-07, 5.66491186686188e-06]),
];
#[rustfmt::skip]
const RATIOS: [Case4; 9] = [
    (10, 20, 5, 100, [10.0, 3.82823074562007, 26.1217274100866]),
    (30, 40, 100, 10000, [75.0, 57.5602651055398, 97.7236638796965]),
    (0, 10, 3, 30, [0.402597402597403, 0.0225490316819178, 7.18809884453495]),
    (10, 10, 3, 30, [8.45454545454546, 3.12545676424413, 22.8700456396369]),
    (4, 9, 0, 50, [45.9, 2.67631276985401, 787.206197919433]),
    (4, 9, 50, 50, [0.454455445544554, 0.228914073649549, 0.902215179226077]),
    (0, 5, 0, 7, [1.33333333333333, 0.0306039210828683, 58.0898693655616]),
    (5, 5, 7, 7, [0.977777777777778, 0.72409493251669, 1.32033707154001]),
    (1, 2, 1, 2, [1.0, 0.140863491915476, 7.0990714939826]),
];
#[rustfmt::skip]
const RECORDS: [Case2; 8] = [
    (0, 0, [0.5, 0.025, 0.975]),
    (0, 1, [0.333333333333333, 0.012579117093425, 0.841886116991581]),
    (1, 1, [0.666666666666667, 0.158113883008419, 0.987420882906575]),
    (3, 7, [0.444444444444444, 0.157012770487058, 0.755136783633448]),
    (0, 50, [0.0192307692307692, 0.000496304407737771, 0.0697770307495387]),
    (50, 50, [0.980769230769231, 0.930222969250461, 0.999503695592262]),
    (17, 120, [0.147540983606557, 0.0906126002533903, 0.215392827580362]),
    (999, 1000, [0.998003992015968, 0.994446616413978, 0.999757941033902]),
];

fn same(got: Option<Estimate>, wanted: [f64; 3], of: &str) {
    let got = got.unwrap();
    for (got, wanted) in [got.value, got.low, got.high].into_iter().zip(wanted) {
        assert!((got - wanted).abs() <= 1e-9 * wanted.abs().max(1.0), "{of}: {got} for {wanted}");
    }
}

#[test]
fn shares_have_the_interval_of_wilson() {
    for (k, n, wanted) in SHARES {
        same(share(k, n), wanted, &format!("{k} of {n}"));
    }
}

#[test]
fn ratios_have_the_interval_of_the_logarithm_with_half_a_unit_added_at_the_ends() {
    for (a, n, c, m, wanted) in RATIOS {
        same(ratio(a, n, c, m), wanted, &format!("{a}/{n} : {c}/{m}"));
    }
}

#[test]
fn records_have_the_quantiles_of_beta() {
    for (s, t, wanted) in RECORDS {
        same(record(s, t), wanted, &format!("{s} of {t}"));
    }
}

#[test]
fn no_data_is_no_number_and_impossible_counts_are_none() {
    assert_eq!([share(0, 0), share(2, 1)], [None, None]);
    assert_eq!([ratio(0, 0, 1, 2), ratio(1, 2, 0, 0), ratio(3, 2, 1, 2), ratio(1, 2, 3, 2)], [None; 4]);
    assert_eq!(record(2, 1), None);
}

#[test]
fn intervals_hold_their_estimate_and_stay_in_range() {
    for n in 1..60 {
        for k in 0..=n {
            let of = share(k, n).unwrap();
            assert!(0.0 <= of.low && of.low <= of.value && of.value <= of.high && of.high <= 1.0, "{k} of {n}: {of:?}");
            let of = record(k, n).unwrap();
            assert!(0.0 < of.low && of.low < of.value && of.value < of.high && of.high < 1.0, "{k} of {n}: {of:?}");
        }
    }
}

#[test]
fn chance_depends_on_all_of_its_parts_and_on_nothing_else() {
    let draw = |seed, learner: &str, subject: &str, step| chance(seed, learner, subject, step).next_u64();
    assert_eq!(draw(1, "choice", "a", 7), draw(1, "choice", "a", 7));
    let mut all =
        [draw(1, "choice", "a", 7), draw(2, "choice", "a", 7), draw(1, "choicea", "", 7), draw(1, "choice", "a", 8)];
    all.sort_unstable();
    assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn shares_by_hash_lie_in_the_unit_and_spread_over_it() {
    let shares: Vec<f64> = (0_u32..10_000).map(|i| share_by_hash(&i.to_le_bytes())).collect();
    assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
    let low = shares.iter().filter(|share| **share < 0.3).count();
    assert!((2_850..3_150).contains(&low), "{low}");
}
