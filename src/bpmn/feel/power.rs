//! Powers.
//!
//! Duty: `**`. Guarantee: whole powers are exact, then rounded; others are those of `transcendental`. Left to others: the four operations (`number`).

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, One, Zero};

use super::number::{self, MAX_EXPONENT, Parts, digits, parts, pow10};
use super::transcendental::real_power;

/// Digits carried while a power is too long to be written out.
const WORKING: i64 = 120;
/// Digits of a result that is still written out exactly.
const EXACT: i64 = 4000;

/// `base ** exponent`; `None`: no real number, or beyond the exponents.
pub(super) fn power(base: &BigDecimal, exponent: &BigDecimal) -> Option<BigDecimal> {
    match number::whole_i128(exponent) {
        Some(n) => whole_power(&parts(base), n),
        // whole, but so large that it is even
        None if parts(exponent).exponent > 0 => real_power(&base.abs(), exponent),
        None => real_power(base, exponent),
    }
}

fn whole_power(base: &Parts, n: i128) -> Option<BigDecimal> {
    let one = Parts { coefficient: BigInt::one(), exponent: 0 };
    if n == 0 {
        return Some(BigDecimal::one());
    }
    if base.coefficient.is_zero() {
        return (n > 0).then(BigDecimal::zero);
    }
    let mut result = one.clone();
    let mut square = base.clone();
    let mut left = n.unsigned_abs();
    loop {
        if left & 1 == 1 {
            result = shortened(product(&result, &square));
        }
        left >>= 1;
        if left == 0 {
            break;
        }
        square = shortened(product(&square, &square));
        // what is left multiplies by it at least once
        if square.adjusted().abs() > 2 * MAX_EXPONENT {
            return None;
        }
    }
    if n > 0 { number::round(result.coefficient, result.exponent, false) } else { number::quotient(&one, &result) }
}

fn product(a: &Parts, b: &Parts) -> Parts {
    Parts { coefficient: &a.coefficient * &b.coefficient, exponent: a.exponent + b.exponent }
}

/// Cut to the working digits once it is longer than what is kept exact.
///
/// A power of that many digits has no tie at 34 digits, and its error stays below the 80 digits that are spare.
fn shortened(parts: Parts) -> Parts {
    let length = digits(&parts.coefficient);
    if length <= EXACT {
        return parts;
    }
    let surplus = length - WORKING;
    Parts { coefficient: parts.coefficient / pow10(surplus), exponent: parts.exponent + surplus }
}
