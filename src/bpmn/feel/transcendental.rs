//! Roots, logarithms, exponentials.
//!
//! Duty: functions whose values have no end. Guarantee: integers only, so every machine gives the same digits; roots are
//! rounded correctly, logarithms and exponentials are correct to far more than the 15 digits promised. Left to others:
//! whole powers (`power`).

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, One, Signed, ToPrimitive, Zero};

use super::number::{self, DIGITS, MAX_EXPONENT, Parts, digits, parts, pow10};

/// Digits behind the point while computing.
const FIXED: i64 = 80;
/// Halvings of an argument before its series.
const HALVINGS: usize = 10;

/// `None` for a negative number.
pub(super) fn square_root(number: &BigDecimal) -> Option<BigDecimal> {
    let parts = parts(number);
    if parts.coefficient.is_negative() {
        return None;
    }
    // twice the digits, and an even exponent
    let shift = (2 * DIGITS + 4 - digits(&parts.coefficient)).max(0);
    let shift = if (parts.exponent - shift) % 2 == 0 { shift } else { shift + 1 };
    let scaled = parts.coefficient * pow10(shift);
    let root = scaled.sqrt();
    let sticky = &root * &root != scaled;
    number::round(root, (parts.exponent - shift) / 2, sticky)
}

/// The natural logarithm; `None` unless positive.
pub(super) fn logarithm(number: &BigDecimal) -> Option<BigDecimal> {
    number::round(fixed_logarithm(&parts(number))?, -FIXED, false)
}

/// `e` to the `number`; `None` beyond the exponents.
pub(super) fn exponential(number: &BigDecimal) -> Option<BigDecimal> {
    fixed_exponential(&fixed(&parts(number))?)
}

/// `base` to a power that need not be whole; `None`: no real number, or beyond the exponents.
pub(super) fn real_power(base: &BigDecimal, exponent: &BigDecimal) -> Option<BigDecimal> {
    let (base, exponent) = (parts(base), parts(exponent));
    if base.coefficient.is_zero() {
        return exponent.coefficient.is_positive().then(BigDecimal::zero);
    }
    let logarithm = fixed_logarithm(&base)?;
    let product = Parts { coefficient: logarithm * exponent.coefficient, exponent: exponent.exponent - FIXED };
    fixed_exponential(&fixed(&product)?)
}

/// `parts * 10^FIXED`, cut; `None` when it is too large for any exponential.
fn fixed(parts: &Parts) -> Option<BigInt> {
    if parts.coefficient.is_zero() || parts.adjusted() < -FIXED {
        return Some(BigInt::zero());
    }
    if parts.adjusted() > 5 {
        return None;
    }
    let shift = parts.exponent + FIXED;
    Some(if shift >= 0 { &parts.coefficient * pow10(shift) } else { &parts.coefficient / pow10(-shift) })
}

/// `2 * atanh(top / bottom)` for a fraction well below 1, fixed.
fn twice_atanh(top: &BigInt, bottom: &BigInt) -> BigInt {
    let z = top * pow10(FIXED) / bottom;
    let square = &z * &z / pow10(FIXED);
    let (mut power, mut sum, mut n) = (z, BigInt::zero(), 1u32);
    while !power.is_zero() {
        sum += &power / n;
        power = power * &square / pow10(FIXED);
        n += 2;
    }
    sum * 2
}

fn ln_two() -> BigInt {
    twice_atanh(&BigInt::one(), &BigInt::from(3))
}

fn ln_ten() -> BigInt {
    ln_two() * 3 + twice_atanh(&BigInt::one(), &BigInt::from(9))
}

fn fixed_logarithm(number: &Parts) -> Option<BigInt> {
    if !number.coefficient.is_positive() {
        return None;
    }
    let one = pow10(FIXED);
    let tens = number.adjusted();
    // from 1 to 10, then from 3/4 to 3/2
    let mut mantissa = &number.coefficient * pow10(FIXED + 1 - digits(&number.coefficient));
    let mut twos = 0;
    while &mantissa * 2 > &one * 3 {
        mantissa /= 2;
        twos += 1;
    }
    let rest = twice_atanh(&(&mantissa - &one), &(&mantissa + &one));
    Some(rest + ln_two() * twos + ln_ten() * tens)
}

fn fixed_exponential(x: &BigInt) -> Option<BigDecimal> {
    let (one, ln_ten) = (pow10(FIXED), ln_ten());
    let tens = (x / &ln_ten).to_i64()?;
    if tens.abs() > MAX_EXPONENT + 2 {
        return None;
    }
    let rest: BigInt = (x - &ln_ten * tens) / (1u32 << HALVINGS);
    let (mut term, mut sum, mut n) = (one.clone(), BigInt::zero(), 1u32);
    while !term.is_zero() {
        sum += &term;
        term = term * &rest / (&one * n);
        n += 1;
    }
    for _ in 0..HALVINGS {
        sum = &sum * &sum / &one;
    }
    number::round(sum, tens - FIXED, false)
}
