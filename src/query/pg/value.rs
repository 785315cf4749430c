//! Values of rows as text and binary.
//!
//! Duty: the exact form that PostgreSQL gives a value of each type. Guarantee: a value has the same meaning in both
//! formats and as over HTTP, but for times, which keep microseconds. Left to others: which type a column has (`kind`).

use std::fmt::{self, Write as _};

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int64Array,
    IntervalMonthDayNanoArray, StringArray, Time64MicrosecondArray,
};
use arrow::compute::{CastOptions, cast, cast_with_options};
use arrow::datatypes::{DataType, IntervalUnit, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use bytes::{BufMut, BytesMut};
use jiff::tz::TimeZone;

use super::kind::{Kind, Scalar};
use crate::query::render::value;

/// µs and days from 1970 to 2000, from which PostgreSQL counts.
const EPOCH_US: i64 = 946_684_800_000_000;
const EPOCH_DAYS: i32 = 10_957;
/// Writing to `BytesMut` grows it and does not fail.
const GROWS: &str = "BytesMut takes every text";

/// A column of a batch.
#[derive(Debug)]
pub struct Column {
    of: Kind,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Bool(BooleanArray),
    Int(Int64Array),
    Float4(Float32Array),
    Float8(Float64Array),
    Text(StringArray),
    Bytes(BinaryArray),
    Date(Date32Array),
    Time(Time64MicrosecondArray),
    /// µs since 1970.
    Instant(Int64Array),
    Interval(IntervalMonthDayNanoArray),
    List(arrow::array::ListArray, Box<Column>),
}

impl Column {
    /// `array`, whose type in PostgreSQL is `of`.
    ///
    /// Errors: a value that the type cannot hold.
    pub fn try_new(array: &ArrayRef, of: Kind) -> Result<Self, ArrowError> {
        let values = match of {
            Kind::One(of) => single(array, of)?,
            Kind::Many(of) => {
                let list = match array.data_type() {
                    DataType::List(_) => array.clone(),
                    DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
                        cast(array, &DataType::List(item.clone()))?
                    }
                    other => return Err(ArrowError::CastError(format!("{other} is no list"))),
                };
                let list = list.as_list::<i32>().clone();
                let items = Self::try_new(list.values(), Kind::One(of))?;
                Values::List(list, Box::new(items))
            }
        };
        Ok(Self { of, values })
    }

    /// Writes the length of the value at `row` and the value; -1 for NULL. Times as text are shown in `zone`.
    pub fn write(&self, row: usize, binary: bool, zone: &TimeZone, out: &mut BytesMut) {
        if self.is_null(row) {
            out.put_i32(-1);
            return;
        }
        let at = out.len();
        out.put_i32(0);
        match binary {
            true => self.binary(row, zone, out),
            false => self.text(row, zone, out),
        }
        let length = i32::try_from(out.len() - at - 4).unwrap_or(i32::MAX);
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }

    fn is_null(&self, row: usize) -> bool {
        match &self.values {
            Values::Bool(of) => of.is_null(row),
            Values::Int(of) | Values::Instant(of) => of.is_null(row),
            Values::Float4(of) => of.is_null(row),
            Values::Float8(of) => of.is_null(row),
            Values::Text(of) => of.is_null(row),
            Values::Bytes(of) => of.is_null(row),
            Values::Date(of) => of.is_null(row),
            Values::Time(of) => of.is_null(row),
            Values::Interval(of) => of.is_null(row),
            Values::List(of, _) => of.is_null(row),
        }
    }

    fn text(&self, row: usize, zone: &TimeZone, out: &mut BytesMut) {
        match &self.values {
            Values::Bool(of) => out.put_u8(if of.value(row) { b't' } else { b'f' }),
            Values::Int(of) => write!(out, "{}", of.value(row)).expect(GROWS),
            Values::Float4(of) => float(f64::from(of.value(row)), &of.value(row), out),
            Values::Float8(of) => float(of.value(row), &of.value(row), out),
            Values::Text(of) => out.put_slice(of.value(row).as_bytes()),
            Values::Bytes(of) => {
                out.put_slice(b"\\x");
                of.value(row).iter().for_each(|byte| write!(out, "{byte:02x}").expect(GROWS));
            }
            Values::Date(of) => date(of.value(row), out),
            Values::Time(of) => time(of.value(row), out),
            Values::Instant(of) if self.of == Kind::One(Scalar::Timestamp) => wall_clock(of.value(row), out),
            Values::Instant(of) => instant(of.value(row), zone, out),
            Values::Interval(of) => {
                let of = of.value(row);
                interval(of.months, of.days, of.nanoseconds / 1_000, out);
            }
            Values::List(list, items) => items.elements(list, row, zone, out),
        }
    }

    /// The elements of `list` at `row` as `{…}`.
    fn elements(&self, list: &arrow::array::ListArray, row: usize, zone: &TimeZone, out: &mut BytesMut) {
        out.put_u8(b'{');
        for at in range(list, row) {
            if at > range(list, row).start {
                out.put_u8(b',');
            }
            if self.is_null(at) {
                out.put_slice(b"NULL");
                continue;
            }
            let mut text = BytesMut::new();
            self.text(at, zone, &mut text);
            let special = |byte: &u8| matches!(byte, b'{' | b'}' | b',' | b'"' | b'\\') || byte.is_ascii_whitespace();
            if text.is_empty() || text.iter().any(special) || text.eq_ignore_ascii_case(b"null") {
                out.put_u8(b'"');
                for byte in text {
                    if matches!(byte, b'"' | b'\\') {
                        out.put_u8(b'\\');
                    }
                    out.put_u8(byte);
                }
                out.put_u8(b'"');
            } else {
                out.put_slice(&text);
            }
        }
        out.put_u8(b'}');
    }

    fn binary(&self, row: usize, zone: &TimeZone, out: &mut BytesMut) {
        match &self.values {
            Values::Bool(of) => out.put_u8(u8::from(of.value(row))),
            Values::Int(of) => {
                let value = of.value(row);
                // The column's type in Arrow is as narrow.
                match self.of.bytes() {
                    2 => out.put_slice(&value.to_be_bytes()[6..]),
                    4 => out.put_slice(&value.to_be_bytes()[4..]),
                    _ => out.put_i64(value),
                }
            }
            Values::Float4(of) => out.put_f32(of.value(row)),
            Values::Float8(of) => out.put_f64(of.value(row)),
            Values::Text(of) if self.of == Kind::One(Scalar::Numeric) => numeric(of.value(row), out),
            Values::Text(of) => {
                if self.of == Kind::One(Scalar::Jsonb) {
                    // The version of its form.
                    out.put_u8(1);
                }
                out.put_slice(of.value(row).as_bytes());
            }
            Values::Bytes(of) => out.put_slice(of.value(row)),
            Values::Date(of) => out.put_i32(of.value(row).saturating_sub(EPOCH_DAYS)),
            Values::Time(of) => out.put_i64(of.value(row)),
            Values::Instant(of) => out.put_i64(of.value(row).saturating_sub(EPOCH_US)),
            Values::Interval(of) => {
                let of = of.value(row);
                out.put_i64(of.nanoseconds / 1_000);
                out.put_i32(of.days);
                out.put_i32(of.months);
            }
            Values::List(list, items) => {
                let elements = range(list, row);
                let Kind::One(of) = items.of else { return };
                out.put_i32(i32::from(!elements.is_empty()));
                out.put_i32(i32::from(elements.clone().any(|at| items.is_null(at))));
                out.put_u32(of.oid());
                if !elements.is_empty() {
                    out.put_u32(u32::try_from(elements.len()).unwrap_or(u32::MAX));
                    out.put_i32(1);
                    elements.for_each(|at| items.write(at, true, zone, out));
                }
            }
        }
    }
}

fn range(list: &arrow::array::ListArray, row: usize) -> std::ops::Range<usize> {
    let offsets = list.value_offsets();
    let at = |offset: i32| usize::try_from(offset).expect("offsets of a list are not negative");
    at(offsets[row])..at(offsets[row + 1])
}

fn single(array: &ArrayRef, of: Scalar) -> Result<Values, ArrowError> {
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let to = |of: &DataType| cast_with_options(array, of, &strict);
    Ok(match of {
        Scalar::Bool => Values::Bool(to(&DataType::Boolean)?.as_boolean().clone()),
        Scalar::Int2 | Scalar::Int4 | Scalar::Int8 | Scalar::Oid => {
            Values::Int(to(&DataType::Int64)?.as_primitive().clone())
        }
        Scalar::Float4 => Values::Float4(to(&DataType::Float32)?.as_primitive().clone()),
        Scalar::Float8 => Values::Float8(to(&DataType::Float64)?.as_primitive().clone()),
        Scalar::Text | Scalar::Numeric | Scalar::Json | Scalar::Jsonb => Values::Text(texts(array)?),
        Scalar::Bytea => Values::Bytes(to(&DataType::Binary)?.as_binary().clone()),
        Scalar::Date => Values::Date(to(&DataType::Date32)?.as_primitive().clone()),
        Scalar::Time => Values::Time(to(&DataType::Time64(TimeUnit::Microsecond))?.as_primitive().clone()),
        Scalar::Timestamp | Scalar::Timestamptz => Values::Instant(microseconds(array)?),
        Scalar::Interval => {
            // Durations have no cast of their own to intervals of months.
            let ns = DataType::Duration(TimeUnit::Nanosecond);
            let array = if matches!(array.data_type(), DataType::Duration(_)) { to(&ns)? } else { array.clone() };
            let of = cast_with_options(&array, &DataType::Interval(IntervalUnit::MonthDayNano), &strict)?;
            Values::Interval(of.as_primitive().clone())
        }
    })
}

/// Plain texts as they are; everything else as over HTTP.
fn texts(array: &ArrayRef) -> Result<StringArray, ArrowError> {
    let array = match array.data_type() {
        DataType::Dictionary(_, of) if matches!(of.as_ref(), DataType::Utf8 | DataType::Utf8View) => {
            cast(array, &DataType::Utf8)?
        }
        DataType::Utf8View | DataType::LargeUtf8 => cast(array, &DataType::Utf8)?,
        _ => value::with_containers(array),
    };
    if let Some(texts) = array.as_string_opt::<i32>() {
        return Ok(texts.clone());
    }
    (0..array.len()).map(|row| value::text(&array, row)).collect()
}

/// Rounded down, so that an order of times stays one.
fn microseconds(array: &ArrayRef) -> Result<Int64Array, ArrowError> {
    let DataType::Timestamp(unit, zone) = array.data_type() else {
        return microseconds(&cast(array, &DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())))?);
    };
    if *unit == TimeUnit::Nanosecond {
        let of = array.as_primitive::<arrow::datatypes::TimestampNanosecondType>();
        return Ok(of.unary(|ns| ns.div_euclid(1_000)));
    }
    let to = DataType::Timestamp(TimeUnit::Microsecond, zone.clone());
    let strict = CastOptions { safe: false, ..CastOptions::default() };
    let of = cast_with_options(array, &to, &strict)?;
    Ok(of.as_primitive::<TimestampMicrosecondType>().unary(|us| us))
}

/// The shortest text that reads back as the same value.
fn float(value: f64, exact: &impl std::fmt::LowerExp, out: &mut BytesMut) {
    let special = match () {
        () if value.is_nan() => "NaN",
        () if value == f64::INFINITY => "Infinity",
        () if value == f64::NEG_INFINITY => "-Infinity",
        () => "",
    };
    if !special.is_empty() {
        out.put_slice(special.as_bytes());
        return;
    }
    let text = format!("{exact:e}");
    let (digits, exponent) = text.split_once('e').expect("the e form has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a small number");
    if !(-4..15).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        out.put_slice(format!("{digits}e{sign}{:02}", exponent.abs()).as_bytes());
        return;
    }
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits), |digits| ("-", digits));
    let digits = digits.replace('.', "");
    let places = usize::try_from(exponent.abs()).expect("it is small");
    out.put_slice(sign.as_bytes());
    out.put_slice(
        match exponent < 0 {
            true => format!("0.{}{digits}", "0".repeat(places - 1)),
            false if digits.len() <= places + 1 => format!("{digits}{}", "0".repeat(places + 1 - digits.len())),
            false => format!("{}.{}", &digits[..=places], &digits[places + 1..]),
        }
        .as_bytes(),
    );
}

fn date(days: i32, out: &mut BytesMut) {
    let epoch = jiff::civil::date(1970, 1, 1);
    match jiff::Span::new().try_days(days).and_then(|days| epoch.checked_add(days)) {
        Ok(date) => write!(out, "{date}").expect(GROWS),
        Err(_) => out.put_slice(if days < 0 { b"-infinity" } else { b"infinity" }),
    }
}

fn time(us: i64, out: &mut BytesMut) {
    let (seconds, us) = (us.div_euclid(1_000_000), us.rem_euclid(1_000_000));
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    write!(out, "{hours:02}:{minutes:02}:{seconds:02}{}", Fraction(us)).expect(GROWS);
}

/// `.` and as many digits as are needed of so many microseconds below a second.
struct Fraction(i64);

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(mut digits) = *self;
        if digits == 0 {
            return Ok(());
        }
        let mut width = 6_usize;
        while digits % 10 == 0 {
            digits /= 10;
            width -= 1;
        }
        write!(f, ".{digits:0width$}")
    }
}

fn instant(us: i64, zone: &TimeZone, out: &mut BytesMut) {
    let Some(local) = local(us, zone, out) else { return };
    let offset = local.offset().seconds();
    let (sign, offset) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    write!(out, "{sign}{:02}", offset / 3_600).expect(GROWS);
    for (unit, part) in [(3_600, offset / 60 % 60), (60, offset % 60)] {
        if offset % unit != 0 {
            write!(out, ":{part:02}").expect(GROWS);
        }
    }
}

/// A time without a zone, as it stands.
fn wall_clock(us: i64, out: &mut BytesMut) {
    let _ = local(us, &TimeZone::UTC, out);
}

/// Writes the date and time of `us` in `zone`; `None` = it is beyond what can be written so, which is written too.
fn local(us: i64, zone: &TimeZone, out: &mut BytesMut) -> Option<jiff::ZonedDateTime> {
    let Ok(at) = jiff::Timestamp::from_microsecond(us) else {
        out.put_slice(if us < 0 { b"-infinity" } else { b"infinity" });
        return None;
    };
    let local = at.to_zoned_datetime(zone.clone());
    write!(
        out,
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}{}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second(),
        Fraction(i64::from(local.subsec_nanosecond()) / 1_000),
    )
    .expect(GROWS);
    Some(local)
}

/// As `IntervalStyle` postgres writes it.
fn interval(months: i32, days: i32, us: i64, out: &mut BytesMut) {
    let mut parts = Vec::new();
    let mut named = |count: i32, one: &str, many: &str| match count {
        0 => {}
        1 => parts.push(format!("1 {one}")),
        count => parts.push(format!("{count} {many}")),
    };
    named(months / 12, "year", "years");
    named(months % 12, "mon", "mons");
    named(days, "day", "days");
    if us != 0 || parts.is_empty() {
        let (sign, us) = if us < 0 { ("-", us.unsigned_abs()) } else { ("", us.unsigned_abs()) };
        let seconds = us / 1_000_000;
        let rest = Fraction(i64::try_from(us % 1_000_000).expect("it is below a million"));
        let text = format!("{sign}{:02}:{:02}:{:02}{rest}", seconds / 3_600, seconds / 60 % 60, seconds % 60);
        parts.push(text);
    }
    out.put_slice(parts.join(" ").as_bytes());
}

/// A decimal text in groups of four digits.
fn numeric(text: &str, out: &mut BytesMut) {
    let (negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let whole = whole.trim_start_matches('0');
    let padded = |text: &str, front: bool| {
        let zeros = "0".repeat((4 - text.len() % 4) % 4);
        if front { zeros + text } else { text.to_owned() + &zeros }
    };
    let all = padded(whole, true) + &padded(fraction, false);
    let group =
        |chunk: &[u8]| chunk.iter().fold(0_i16, |sum, digit| sum * 10 + i16::from(digit.wrapping_sub(b'0') % 10));
    let mut groups: Vec<i16> = all.as_bytes().chunks(4).map(group).collect();
    let mut weight = whole.len().div_ceil(4) as i16 - 1;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    while groups.first() == Some(&0) {
        groups.remove(0);
        weight -= 1;
    }
    if groups.is_empty() {
        weight = 0;
    }
    out.put_i16(i16::try_from(groups.len()).unwrap_or(i16::MAX));
    out.put_i16(weight);
    out.put_u16(if negative && !groups.is_empty() { 0x4000 } else { 0 });
    out.put_u16(u16::try_from(fraction.len()).unwrap_or(u16::MAX));
    groups.into_iter().for_each(|group| out.put_i16(group));
}

#[cfg(test)]
mod tests;
