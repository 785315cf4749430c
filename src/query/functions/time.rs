//! Durations and instants in SQL.
//!
//! Duty: `dur`, `dur_text`, `ago`, `time_bucket`, and the clock functions, which all read the statement's start.
//! Guarantee: one statement has one "now". Left to others: the engine's date functions.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type, TimeUnit, TimestampNanosecondType};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility};

use super::argument;
use crate::span::schema;

/// All of them, for a statement that began at `now_ns`.
pub fn all(now_ns: i64) -> Vec<ScalarUDF> {
    [Which::Dur, Which::DurText, Which::Ago, Which::TimeBucket, Which::Now, Which::Today]
        .map(|which| {
            let volatility = match which {
                Which::Ago | Which::Now | Which::Today => Volatility::Stable,
                _ => Volatility::Immutable,
            };
            let signature = match which {
                Which::Now | Which::Today => Signature::nullary(volatility),
                _ => Signature::user_defined(volatility),
            };
            let aliases = match which {
                Which::Now => vec!["current_timestamp".to_owned()],
                Which::Today => vec!["today".to_owned()],
                _ => Vec::new(),
            };
            TimeFunction { which, now_ns, signature, aliases }.into()
        })
        .into()
}

/// `time_bucket` by itself.
pub fn time_bucket() -> ScalarUDF {
    let signature = Signature::user_defined(Volatility::Immutable);
    TimeFunction { which: Which::TimeBucket, now_ns: 0, signature, aliases: Vec::new() }.into()
}

/// `1h2m`, `1.5s`, `250ms`, `10us`, `5ns` in nanoseconds.
pub fn parse_duration(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i128 = 0;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        total = total.checked_add(scaled(number, unit_ns(unit)?)?)?;
        rest = tail;
    }
    i64::try_from(total).ok()
}

fn unit_ns(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    })
}

/// A decimal number of units; what is finer than a nanosecond is no duration.
fn scaled(number: &str, unit_ns: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.len() > 18 || whole.len() > 20 {
        return None;
    }
    let mut ns = whole.parse::<i128>().ok()?.checked_mul(unit_ns)?;
    if !fraction.is_empty() {
        let parts = fraction.parse::<i128>().ok()?.checked_mul(unit_ns)?;
        let scale = 10_i128.pow(u32::try_from(fraction.len()).ok()?);
        if parts % scale != 0 {
            return None;
        }
        ns += parts / scale;
    }
    Some(ns)
}

/// Nanoseconds as people read them: `1.25 s`.
pub fn duration_text(ns: i64) -> String {
    let size = ns.unsigned_abs();
    let (unit_ns, unit) = match size {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (1e3, "us"),
        1_000_000..1_000_000_000 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    #[allow(clippy::cast_precision_loss, reason = "two decimals are shown")]
    let text = format!("{:.2}", ns as f64 / unit_ns);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    format!("{text} {unit}")
}

fn duration(text: &str) -> Result<i64> {
    parse_duration(text).ok_or_else(|| {
        argument(format!(
            "`{text}` is not a duration: write a number and a unit (d, h, m, s, ms, us, ns), as in '1h30m' or '250ms'"
        ))
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TimeFunction {
    which: Which,
    now_ns: i64,
    signature: Signature,
    aliases: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    Dur,
    DurText,
    Ago,
    TimeBucket,
    Now,
    Today,
}

impl TimeFunction {
    fn scalar(&self, ns: i64) -> ScalarValue {
        ScalarValue::TimestampNanosecond(Some(ns), Some("UTC".into()))
    }
}

impl ScalarUDFImpl for TimeFunction {
    fn name(&self) -> &str {
        match self.which {
            Which::Dur => "dur",
            Which::DurText => "dur_text",
            Which::Ago => "ago",
            Which::TimeBucket => "time_bucket",
            Which::Now => "now",
            Which::Today => "current_date",
        }
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let text =
            |of: &DataType| matches!(of, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null);
        match (self.which, args) {
            (Which::Dur | Which::Ago, [of]) if text(of) => Ok(vec![DataType::Utf8View]),
            (Which::DurText, [of]) if of.is_numeric() || text(of) => Ok(vec![DataType::Int64]),
            (Which::TimeBucket, [width, at]) if text(width) => {
                let at = match at {
                    DataType::Timestamp(_, _) => at.clone(),
                    DataType::Date32 | DataType::Date64 => schema::timestamp(TimeUnit::Nanosecond),
                    of if text(of) => schema::timestamp(TimeUnit::Nanosecond),
                    other => return plan_err!("time_bucket takes a width and a timestamp, not {other}"),
                };
                Ok(vec![DataType::Utf8View, at])
            }
            (Which::Dur, _) => plan_err!("dur takes a duration as text: dur('250ms')"),
            (Which::Ago, _) => plan_err!("ago takes a duration as text: ago('15m')"),
            (Which::DurText, _) => plan_err!("dur_text takes nanoseconds: dur_text(duration_ns)"),
            _ => plan_err!("time_bucket takes a width and a timestamp: time_bucket('1m', start_time)"),
        }
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(match self.which {
            Which::Dur => DataType::Int64,
            Which::DurText => DataType::Utf8View,
            Which::Ago | Which::Now => schema::timestamp(TimeUnit::Nanosecond),
            Which::TimeBucket => args.get(1).cloned().unwrap_or_else(|| schema::timestamp(TimeUnit::Nanosecond)),
            Which::Today => DataType::Date32,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.which {
            Which::Now => Ok(ColumnarValue::Scalar(self.scalar(self.now_ns))),
            Which::Today => {
                let days = self.now_ns.div_euclid(86_400_000_000_000);
                Ok(ColumnarValue::Scalar(ScalarValue::Date32(i32::try_from(days).ok())))
            }
            Which::Dur | Which::Ago => {
                let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
                let texts = args.args[0].to_array(if scalar { 1 } else { args.number_rows })?;
                let now = (self.which == Which::Ago).then_some(self.now_ns);
                let array = durations(&texts, now)?;
                one_or_all(scalar, array)
            }
            Which::DurText => {
                let array = args.args[0].to_array(args.number_rows)?;
                let mut builder = StringViewBuilder::with_capacity(array.len());
                for ns in array.as_primitive::<Int64Type>() {
                    builder.append_option(ns.map(duration_text));
                }
                Ok(ColumnarValue::Array(Arc::new(builder.finish())))
            }
            Which::TimeBucket => {
                let ColumnarValue::Scalar(width) = &args.args[0] else {
                    return Err(argument("the width of time_bucket is a literal: time_bucket('1m', start_time)"));
                };
                let scalar = matches!(args.args[1], ColumnarValue::Scalar(_));
                let at = args.args[1].to_array(if scalar { 1 } else { args.number_rows })?;
                let Some(Some(width)) = width.try_as_str() else {
                    return Ok(ColumnarValue::Scalar(ScalarValue::try_from(at.data_type())?));
                };
                let width_ns = duration(width)?;
                if width_ns <= 0 {
                    return Err(argument("the width of time_bucket is longer than 0"));
                }
                one_or_all(scalar, buckets(&at, width_ns)?)
            }
        }
    }
}

fn one_or_all(scalar: bool, array: ArrayRef) -> Result<ColumnarValue> {
    if scalar {
        return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?));
    }
    Ok(ColumnarValue::Array(array))
}

/// Durations in ns, or with `before` the instants that long before it.
fn durations(texts: &ArrayRef, before: Option<i64>) -> Result<ArrayRef> {
    let mut values = Vec::with_capacity(texts.len());
    for text in texts.as_string_view() {
        let ns = text.map(duration).transpose()?;
        values.push(match before {
            None => ns,
            Some(now) => ns.map(|ns| now.saturating_sub(ns)),
        });
    }
    Ok(match before {
        None => Arc::new(arrow::array::Int64Array::from(values)),
        Some(_) => Arc::new(arrow::array::TimestampNanosecondArray::from(values).with_timezone("UTC")),
    })
}

/// Starts of the buckets, counted from 1970.
fn buckets(at: &ArrayRef, width_ns: i64) -> Result<ArrayRef> {
    let DataType::Timestamp(_, zone) = at.data_type() else {
        return plan_err!("time_bucket takes a timestamp, not {}", at.data_type());
    };
    let ns = cast(at, &DataType::Timestamp(TimeUnit::Nanosecond, zone.clone()))?;
    let start = ns
        .as_primitive::<TimestampNanosecondType>()
        .unary::<_, TimestampNanosecondType>(|ns| ns.saturating_sub(ns.rem_euclid(width_ns)))
        .with_timezone_opt(zone.clone());
    Ok(cast(&start, at.data_type())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly_or_not_at_all() {
        let cases = [
            ("1h2m", 3_720_000_000_000),
            ("1.5s", 1_500_000_000),
            ("250ms", 250_000_000),
            ("10us", 10_000),
            ("5ns", 5),
            ("0.1us", 100),
            ("14d", 1_209_600_000_000_000),
            ("0s", 0),
        ];
        for (text, ns) in cases {
            assert_eq!(parse_duration(text), Some(ns), "{text}");
        }
        for text in ["", "5", "s", "-1s", "1 s", "1.s", ".5s", "0.5ns", "1x", "1..2s", "300000d", "1e3s", "ms5"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_fits() {
        let cases =
            [(1_250_000_000, "1.25 s"), (999, "999 ns"), (1_500, "1.5 us"), (250_000_000, "250 ms"), (0, "0 ns")];
        for (ns, text) in cases {
            assert_eq!(duration_text(ns), text);
        }
        assert_eq!(duration_text(-1_500_000), "-1.5 ms");
    }

    #[test]
    fn buckets_before_1970_begin_earlier_not_later() {
        let at: ArrayRef = Arc::new(arrow::array::TimestampNanosecondArray::from(vec![-1, 0, 61]).with_timezone("UTC"));
        let start = buckets(&at, 60).unwrap();
        assert_eq!(start.as_primitive::<TimestampNanosecondType>().values().to_vec(), [-60, 0, 60]);
        assert_eq!(start.data_type(), at.data_type());
    }
}
