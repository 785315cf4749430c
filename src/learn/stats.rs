//! Formulas that every learner uses (learn.md 2: F1, F2, F4, F10).
//!
//! Duty: estimates with their 95 % intervals, and the only chance of the module. Guarantee: pure; equal input gives equal
//! bits; no data gives no number. Left to others: which counts mean what.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use sha2::{Digest as _, Sha256};
use statrs::function::beta::beta_reg;
use twox_hash::XxHash3_64;

/// The .975 quantile of the normal distribution, as the specification writes it.
const Z: f64 = 1.959_964;

/// A number with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Estimate {
    /// The estimate.
    pub value: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

#[allow(clippy::cast_precision_loss, reason = "counts of one window are far below 2^53")]
fn real(count: u64) -> f64 {
    count as f64
}

/// F1: the share `k` of `n`, with Wilson's interval. `None` without data, or if `k` > `n`.
pub fn share(k: u64, n: u64) -> Option<Estimate> {
    if n == 0 || k > n {
        return None;
    }
    let (p, n) = (real(k) / real(n), real(n));
    let z2 = Z * Z;
    let scale = 1.0 + z2 / n;
    let centre = (p + z2 / (2.0 * n)) / scale;
    let half = Z / scale * (p * (1.0 - p) / n + z2 / (4.0 * n * n)).sqrt();
    // At k = 0 and k = n the ends are 0 and 1, which rounding may miss.
    let low = if k == 0 { 0.0 } else { (centre - half).max(0.0) };
    let high = if p >= 1.0 { 1.0 } else { (centre + half).min(1.0) };
    Some(Estimate { value: p, low, high })
}

/// F2: the ratio of the shares `a` of `n` and `c` of `m`. `None` if one of them has no data or is no share.
pub fn ratio(a: u64, n: u64, c: u64, m: u64) -> Option<Estimate> {
    if n == 0 || m == 0 || a > n || c > m {
        return None;
    }
    let is_extreme = [a, n - a, c, m - c].contains(&0);
    let (half, one) = if is_extreme { (0.5, 1.0) } else { (0.0, 0.0) };
    let (a, n, c, m) = (real(a) + half, real(n) + one, real(c) + half, real(m) + one);
    let value = (a / n) / (c / m);
    let error = (1.0 / a - 1.0 / n + 1.0 / c - 1.0 / m).max(0.0).sqrt();
    let (low, high) = ((value.ln() - Z * error).exp(), (value.ln() + Z * error).exp());
    Some(Estimate { value, low, high })
}

/// F4: the record of `s` good of `t` tries; with no try it is the prior, 1 of 2. `None` if `s` > `t`.
pub fn record(s: u64, t: u64) -> Option<Estimate> {
    if s > t {
        return None;
    }
    let (a, b) = (1.0 + real(s), 1.0 + real(t - s));
    Some(Estimate { value: a / (a + b), low: beta_quantile(a, b, 0.025), high: beta_quantile(a, b, 0.975) })
}

/// The `p` quantile of Beta(`a`, `b`), by bisection: its distribution function rises strictly.
fn beta_quantile(a: f64, b: f64, p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    loop {
        let middle = f64::midpoint(low, high);
        if middle <= low || middle >= high {
            return middle;
        }
        if beta_reg(a, b, middle) < p { low = middle } else { high = middle }
    }
}

/// F10: the chance of one decision, the same for the same five.
pub fn chance(seed: u64, learner: &str, subject: &str, step: u64) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        hash.update(bytes);
    };
    part(b"weavergen.learn.v1");
    hash.update(seed.to_le_bytes());
    let mut part = |bytes: &[u8]| {
        hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        hash.update(bytes);
    };
    part(learner.as_bytes());
    part(subject.as_bytes());
    hash.update(step.to_le_bytes());
    ChaCha8Rng::from_seed(hash.finalize().into())
}

/// F10: where `of` lies in [0, 1), by its hash.
#[allow(clippy::cast_precision_loss, reason = "the 53 highest bits decide")]
pub fn share_by_hash(of: &[u8]) -> f64 {
    // The lower bits are cut first, so that 1 is never reached by rounding.
    (XxHash3_64::oneshot(of) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests;
