//! Functions of numbers.
//!
//! Duty: rounding, remainder, roots and logarithms. Guarantee: rounding and remainder are exact, then rounded to 34
//! digits. Left to others: operators (`number`, `power`), the series (`transcendental`).

use bigdecimal::num_bigint::BigInt;
use bigdecimal::{BigDecimal, RoundingMode, Signed, Zero};

use super::super::eval::Machine;
use super::super::number::{self, MAX_EXPONENT, parts, pow10};
use super::super::transcendental::{exponential, logarithm, square_root};
use super::super::value::{Type, Value};
use super::{Arguments, Builtin, Failure, Given, Run, numeric};

pub(super) const TABLE: &[Builtin] = &[
    Builtin::new("decimal", &["n", "scale"], 2, Run::Plain(decimal)).gives(Type::Number),
    Builtin::new("floor", &["n", "scale"], 1, Run::Plain(floor)).gives(Type::Number),
    Builtin::new("ceiling", &["n", "scale"], 1, Run::Plain(ceiling)).gives(Type::Number),
    Builtin::new("round up", &["n", "scale"], 1, Run::Plain(round_up)).gives(Type::Number),
    Builtin::new("round down", &["n", "scale"], 1, Run::Plain(round_down)).gives(Type::Number),
    Builtin::new("round half up", &["n", "scale"], 1, Run::Plain(half_up)).gives(Type::Number),
    Builtin::new("round half down", &["n", "scale"], 1, Run::Plain(half_down)).gives(Type::Number),
    Builtin::new("abs", &["number"], 1, Run::Plain(abs)).gives(Type::Number),
    Builtin::new("modulo", &["dividend", "divisor"], 2, Run::Plain(modulo)).gives(Type::Number),
    Builtin::new("sqrt", &["number"], 1, Run::Plain(sqrt)).gives(Type::Number),
    Builtin::new("log", &["number"], 1, Run::Plain(log)).gives(Type::Number),
    Builtin::new("exp", &["number"], 1, Run::Plain(exp)).gives(Type::Number),
    Builtin::new("odd", &["number"], 1, Run::Plain(odd)).gives(Type::Boolean),
    Builtin::new("even", &["number"], 1, Run::Plain(even)).gives(Type::Boolean),
];

fn decimal(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    scaled(arguments, RoundingMode::HalfEven)
}

fn floor(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    scaled(arguments, RoundingMode::Floor)
}

fn ceiling(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    scaled(arguments, RoundingMode::Ceiling)
}

fn round_up(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    scaled(arguments, RoundingMode::Up)
}

fn round_down(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    scaled(arguments, RoundingMode::Down)
}

fn half_up(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    scaled(arguments, RoundingMode::HalfUp)
}

fn half_down(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    scaled(arguments, RoundingMode::HalfDown)
}

/// To `scale` digits behind the point, before it if negative.
fn scaled(arguments: &Arguments<'_>, mode: RoundingMode) -> Given {
    let number = arguments.number(0)?;
    let scale = if arguments.0.len() < 2 || arguments.absent(1) { 0 } else { arguments.whole(1)? };
    if !(-MAX_EXPONENT..=MAX_EXPONENT + number::DIGITS).contains(&scale) {
        return Err(Failure::Null(format!("the scale {scale} lies beyond ±{MAX_EXPONENT}")));
    }
    let parts = parts(number);
    if parts.exponent >= -scale {
        return numeric(number::canonical(number), "beyond the exponents");
    }
    // below a tenth of the last place only the sign counts, and the number need not be written out
    let small = parts.adjusted() < -scale - 1;
    let (coefficient, exponent) =
        if small { (parts.coefficient.signum(), -scale - 2) } else { (parts.coefficient, parts.exponent) };
    let rounded = BigDecimal::new(coefficient, -exponent).with_scale_round(scale, mode);
    numeric(number::canonical(&rounded), "the result lies beyond the exponents")
}

fn abs(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let number = arguments.number(0)?;
    Ok(Value::Number(if parts(number).coefficient.is_negative() { number::negate(number) } else { number.clone() }))
}

/// With the sign of the divisor.
fn modulo(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    let (a, b) = (parts(arguments.number(0)?), parts(arguments.number(1)?));
    if b.coefficient.is_zero() {
        return Err(Failure::Null("the divisor is 0".to_owned()));
    }
    let exponent = a.exponent.min(b.exponent);
    machine.work(1 + ((a.exponent - b.exponent).unsigned_abs() / 100) as usize)?;
    let (a, b) = (a.coefficient * pow10(a.exponent - exponent), b.coefficient * pow10(b.exponent - exponent));
    let rest: BigInt = &a % &b;
    let rest = if !rest.is_zero() && rest.is_negative() != b.is_negative() { rest + b } else { rest };
    numeric(number::round(rest, exponent, false), "the result lies beyond the exponents")
}

fn sqrt(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    numeric(square_root(arguments.number(0)?), "a negative number has no root")
}

fn log(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    machine.work(20)?;
    numeric(logarithm(arguments.number(0)?), "only positive numbers have a logarithm")
}

fn exp(machine: &mut Machine, arguments: &Arguments<'_>) -> Given {
    machine.work(20)?;
    numeric(exponential(arguments.number(0)?), "the result lies beyond the exponents")
}

/// Whether it is whole and its last digit is odd.
fn parity(arguments: &Arguments<'_>, odd: bool) -> Given {
    let number = arguments.number(0)?;
    let parts = parts(&number::canonical(number).unwrap_or_default());
    let is_odd = parts.exponent == 0 && parts.coefficient.bit(0);
    Ok(Value::Bool(parts.exponent >= 0 && is_odd == odd))
}

fn odd(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    parity(arguments, true)
}

fn even(_: &mut Machine, arguments: &Arguments<'_>) -> Given {
    parity(arguments, false)
}
