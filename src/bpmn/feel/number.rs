//! Decimal numbers: 34 significant digits, round half even, exponents of -6144 to 6144.
//!
//! Duty: exact arithmetic, order and text of numbers. Guarantee: a result is the exact one, rounded once, without
//! trailing zeros, so that equal numbers have equal parts and equal text; beyond the exponents there is no result. Left
//! to others: powers and functions (`power`), what no result means (`eval`: null).

use std::cmp::Ordering;

use bigdecimal::num_bigint::{BigInt, Sign};
use bigdecimal::{BigDecimal, One, Signed, ToPrimitive, Zero};

/// Significant digits of a number.
pub(super) const DIGITS: i64 = 34;
/// The exponent of the first digit lies in -6144..=6144.
pub(super) const MAX_EXPONENT: i64 = 6144;
/// Digits kept of a text before rounding; those behind only break ties.
const READ_DIGITS: usize = 64;

/// `coefficient * 10^exponent`.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) coefficient: BigInt,
    pub(super) exponent: i64,
}

impl Parts {
    pub(super) fn zero() -> Parts {
        Parts { coefficient: BigInt::zero(), exponent: 0 }
    }

    /// The exponent of the first digit.
    pub(super) fn adjusted(&self) -> i64 {
        self.exponent.saturating_add(digits(&self.coefficient) - 1)
    }
}

/// The parts of a number; what was built beyond the limits counts as rounded to them, or as zero.
pub(super) fn parts(number: &BigDecimal) -> Parts {
    let (coefficient, scale) = number.as_bigint_and_scale();
    let exponent = scale.saturating_neg();
    if digits(&coefficient) <= DIGITS && exponent.abs() <= 2 * MAX_EXPONENT {
        return Parts { coefficient: coefficient.into_owned(), exponent };
    }
    rounded_parts(coefficient.into_owned(), exponent, false).unwrap_or_else(Parts::zero)
}

/// Decimal digits of a coefficient; 1 for zero.
pub(super) fn digits(coefficient: &BigInt) -> i64 {
    if let Some(small) = coefficient.magnitude().to_u128() {
        return i64::from(small.checked_ilog10().unwrap_or(0)) + 1;
    }
    // log10(2) from below, so that the guess is never too high; it is corrected upward
    let mut guess = ((coefficient.bits() - 1) as i64) * 30_102 / 100_000;
    let magnitude = BigInt::from_biguint(Sign::Plus, coefficient.magnitude().clone());
    while magnitude >= pow10(guess) {
        guess += 1;
    }
    guess
}

/// `10^n`; 1 for a negative `n`.
pub(super) fn pow10(n: i64) -> BigInt {
    let n = u32::try_from(n).unwrap_or(0);
    match 10u128.checked_pow(n) {
        Some(small) => BigInt::from(small),
        None => BigInt::from(10).pow(n),
    }
}

/// Rounds to 34 digits, half to even; `sticky` says that the exact value lies a little farther from zero.
///
/// `None`: beyond the exponents. With `sticky` there must be more than 34 digits.
fn rounded_parts(coefficient: BigInt, exponent: i64, sticky: bool) -> Option<Parts> {
    if coefficient.is_zero() {
        return Some(Parts::zero());
    }
    let (mut coefficient, mut exponent) = (coefficient, exponent);
    let surplus = digits(&coefficient) - DIGITS;
    if surplus > 0 {
        coefficient = divide_half_even(&coefficient, &pow10(surplus), sticky);
        exponent = exponent.saturating_add(surplus);
    }
    let ten = BigInt::from(10);
    loop {
        let quotient = &coefficient / &ten;
        if &quotient * &ten != coefficient {
            break;
        }
        coefficient = quotient;
        exponent = exponent.saturating_add(1);
    }
    let parts = Parts { coefficient, exponent };
    (parts.adjusted().abs() <= MAX_EXPONENT).then_some(parts)
}

/// `value / by` as a whole number, half to even.
fn divide_half_even(value: &BigInt, by: &BigInt, sticky: bool) -> BigInt {
    let quotient = value / by;
    let rest = (value - &quotient * by).abs();
    let up = match (&rest * 2u8).cmp(by) {
        Ordering::Greater => true,
        Ordering::Less => false,
        Ordering::Equal => sticky || quotient.bit(0),
    };
    match (up, value.is_negative()) {
        (false, _) => quotient,
        (true, false) => quotient + 1,
        (true, true) => quotient - 1,
    }
}

/// The number `coefficient * 10^exponent`, rounded; `None` beyond the exponents.
pub(super) fn round(coefficient: BigInt, exponent: i64, sticky: bool) -> Option<BigDecimal> {
    let parts = rounded_parts(coefficient, exponent, sticky)?;
    Some(BigDecimal::new(parts.coefficient, -parts.exponent))
}

/// The canonical form: rounded, without trailing zeros; `None` beyond the exponents.
pub(super) fn canonical(number: &BigDecimal) -> Option<BigDecimal> {
    let (coefficient, scale) = number.as_bigint_and_scale();
    round(coefficient.into_owned(), scale.saturating_neg(), false)
}

pub(super) fn add(a: &BigDecimal, b: &BigDecimal) -> Option<BigDecimal> {
    let (a, b) = (parts(a), parts(b));
    if a.coefficient.is_zero() {
        return round(b.coefficient, b.exponent, false);
    }
    if b.coefficient.is_zero() {
        return round(a.coefficient, a.exponent, false);
    }
    let (high, low) = if a.adjusted() >= b.adjusted() { (a, b) } else { (b, a) };
    // farther apart than any digit that rounding looks at: the low one only breaks ties
    let keep = DIGITS + 6;
    if high.adjusted() - low.adjusted() > keep + 1 {
        let shift = keep - digits(&high.coefficient);
        let nudge = if low.coefficient.is_negative() { -BigInt::one() } else { BigInt::one() };
        return round(high.coefficient * pow10(shift) + nudge, high.exponent - shift, false);
    }
    let exponent = high.exponent.min(low.exponent);
    let sum = high.coefficient * pow10(high.exponent - exponent) + low.coefficient * pow10(low.exponent - exponent);
    round(sum, exponent, false)
}

pub(super) fn subtract(a: &BigDecimal, b: &BigDecimal) -> Option<BigDecimal> {
    add(a, &negate(b))
}

pub(super) fn negate(a: &BigDecimal) -> BigDecimal {
    let a = parts(a);
    BigDecimal::new(-a.coefficient, -a.exponent)
}

pub(super) fn multiply(a: &BigDecimal, b: &BigDecimal) -> Option<BigDecimal> {
    let (a, b) = (parts(a), parts(b));
    round(a.coefficient * b.coefficient, a.exponent + b.exponent, false)
}

/// `None` also for a zero divisor.
pub(super) fn divide(a: &BigDecimal, b: &BigDecimal) -> Option<BigDecimal> {
    let (a, b) = (parts(a), parts(b));
    quotient(&a, &b)
}

/// As [`divide`], of parts of any length.
pub(super) fn quotient(a: &Parts, b: &Parts) -> Option<BigDecimal> {
    if b.coefficient.is_zero() {
        return None;
    }
    let shift = (DIGITS + 2 + digits(&b.coefficient) - digits(&a.coefficient)).max(0);
    let scaled = &a.coefficient * pow10(shift);
    let quotient = &scaled / &b.coefficient;
    let sticky = &quotient * &b.coefficient != scaled;
    round(quotient, a.exponent - b.exponent - shift, sticky)
}

/// The order of two numbers, however they are written.
pub(super) fn compare(a: &BigDecimal, b: &BigDecimal) -> Ordering {
    let (a, b) = (parts(a), parts(b));
    let sign = |p: &Parts| match p.coefficient.sign() {
        Sign::Minus => -1,
        Sign::NoSign => 0,
        Sign::Plus => 1,
    };
    let by_sign = sign(&a).cmp(&sign(&b));
    if by_sign != Ordering::Equal || a.coefficient.is_zero() {
        return by_sign;
    }
    let by_exponent = a.adjusted().cmp(&b.adjusted());
    if by_exponent != Ordering::Equal {
        return if a.coefficient.is_negative() { by_exponent.reverse() } else { by_exponent };
    }
    let exponent = a.exponent.min(b.exponent);
    let left = a.coefficient * pow10(a.exponent - exponent);
    left.cmp(&(b.coefficient * pow10(b.exponent - exponent)))
}

/// The whole number it is, if it is one of up to `i64`.
pub(super) fn whole(number: &BigDecimal) -> Option<i64> {
    whole_i128(number).and_then(|n| i64::try_from(n).ok())
}

/// The whole number it is, if it is one below 10^37.
pub(super) fn whole_i128(number: &BigDecimal) -> Option<i128> {
    let parts = parts(number);
    if parts.coefficient.is_zero() {
        return Some(0);
    }
    if parts.adjusted() > 36 {
        return None;
    }
    if parts.exponent >= 0 {
        return (parts.coefficient * pow10(parts.exponent)).to_i128();
    }
    let by = pow10(-parts.exponent);
    let whole = &parts.coefficient / &by;
    (&whole * by == parts.coefficient).then(|| whole.to_i128()).flatten()
}

/// Reads `digits[.digits][e[+-]digits]` with an optional leading `-`; `None`: not a number, or beyond the exponents.
pub(super) fn parse(text: &str) -> Option<BigDecimal> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.is_empty() && fraction.is_empty() || !(whole.bytes().chain(fraction.bytes())).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    let (kept, dropped) = significant.split_at(significant.len().min(READ_DIGITS));
    let mut coefficient: BigInt = if kept.is_empty() { BigInt::zero() } else { kept.parse().ok()? };
    if negative {
        coefficient = -coefficient;
    }
    let shift = dropped.len() as i64 - fraction.len() as i64;
    round(coefficient, exponent.saturating_add(shift), dropped.bytes().any(|b| b != b'0'))
}

fn parse_exponent(text: &str) -> Option<i64> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if unsigned.is_empty() || !unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // longer than any text: saturated, it is beyond the exponents in any case
    let size = unsigned.parse::<i64>().unwrap_or(i64::MAX).min(1 << 40);
    Some(if negative { -size } else { size })
}

/// The one text of a number: plain for exponents of -6 to 34, else `d.ddde±x`; no trailing zeros.
pub(super) fn text(number: &BigDecimal) -> String {
    let Some(number) = canonical(number) else {
        return "null".to_owned();
    };
    let parts = parts(&number);
    let sign = if parts.coefficient.is_negative() { "-" } else { "" };
    let digits = parts.coefficient.magnitude().to_string();
    let adjusted = parts.adjusted();
    if parts.coefficient.is_zero() {
        return "0".to_owned();
    }
    if !(-6..=34).contains(&adjusted) {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        return format!("{sign}{first}{point}{rest}e{adjusted}");
    }
    let count = digits.len() as i64;
    if parts.exponent >= 0 {
        let zeros = "0".repeat(usize::try_from(parts.exponent).unwrap_or(0));
        format!("{sign}{digits}{zeros}")
    } else if adjusted >= 0 {
        let (whole, fraction) = digits.split_at(usize::try_from(count + parts.exponent).unwrap_or(0));
        format!("{sign}{whole}.{fraction}")
    } else {
        let zeros = "0".repeat(usize::try_from(-adjusted - 1).unwrap_or(0));
        format!("{sign}0.{zeros}{digits}")
    }
}
