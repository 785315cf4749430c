//! How many elements `range` and `generate_series` would make.
//!
//! Duty: count the steps from start to stop. Guarantee: never fewer than the function makes, also over months and days
//! on which clocks go forward. Left to others: the caps (`values`).

use arrow::array::AsArray;
use arrow::datatypes::{DataType, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampNanosecondType};
use datafusion::common::Result;

use super::values::{Meter, Values};
use crate::query::functions::argument;

const HOUR_NS: i128 = 3_600_000_000_000;

/// Counts what `rows` calls would make of `values`: `([start,] stop [, step])`.
pub(super) fn range(meter: &mut Meter<'_>, values: Vec<Values>, rows: usize) -> Result<()> {
    let whole = values.first().is_some_and(|value| value.array.data_type().is_integer());
    if whole {
        let values = values.into_iter().map(|value| value.cast(&DataType::Int64)).collect::<Result<Vec<_>>>()?;
        for row in 0..rows {
            let ints: Option<Vec<i64>> = values.iter().map(|value| value.int(row)).collect();
            let (start, stop, step) = match ints.as_deref() {
                Some([stop]) => (0, *stop, 1),
                Some([start, stop]) => (*start, *stop, 1),
                Some([start, stop, step]) => (*start, *stop, *step),
                _ => continue,
            };
            meter.array(steps(i128::from(stop) - i128::from(start), i128::from(step)))?;
        }
        return Ok(());
    }
    let Ok([start, stop, step]) = <[Values; 3]>::try_from(values) else { return Ok(()) };
    let at = DataType::Timestamp(TimeUnit::Nanosecond, None);
    // Dates of any year fit no nanoseconds; days do.
    let days = matches!(start.array.data_type(), DataType::Date32 | DataType::Date64);
    let unit = if days { DataType::Date32 } else { at };
    let number = |value: Values| -> Result<Values> {
        let plain = value.cast(&unit)?;
        if days { plain.cast(&DataType::Int32)?.cast(&DataType::Int64) } else { Ok(plain) }
    };
    let (start, stop) = (number(start)?, number(stop)?);
    let step = step.cast(&DataType::Interval(IntervalUnit::MonthDayNano))?;
    let place = |value: &Values, row: usize| -> Option<i128> {
        match days {
            true => value.int(row).map(|days| i128::from(days) * 24 * HOUR_NS),
            false => {
                value.at(row).map(|at| i128::from(value.array.as_primitive::<TimestampNanosecondType>().value(at)))
            }
        }
    };
    for row in 0..rows {
        let (Some(start), Some(stop), Some(at)) = (place(&start, row), place(&stop, row), step.at(row)) else {
            continue;
        };
        let interval = step.array.as_primitive::<IntervalMonthDayNanoType>().value(at);
        let (months, of_days, ns) = (interval.months, interval.days, if days { 0 } else { interval.nanoseconds });
        let signs = [i64::from(months), i64::from(of_days), ns];
        if signs.iter().any(|part| *part > 0) && signs.iter().any(|part| *part < 0) {
            let function = meter.function;
            return Err(argument(format!("`{function}` takes a step whose parts all have one sign")));
        }
        // The shortest that months and days can be: February, and a day on which clocks go forward.
        let day = 23 * HOUR_NS;
        let step = i128::from(months) * 28 * day + i128::from(of_days) * day + i128::from(ns);
        meter.array(steps(stop - start, step))?;
    }
    Ok(())
}

/// Values from 0 to `distance`, both included, `step` apart; 0 for a step of 0, which the function refuses.
fn steps(distance: i128, step: i128) -> u64 {
    if step == 0 || (distance < 0) != (step < 0) && distance != 0 {
        return 0;
    }
    u64::try_from(distance / step + 1).unwrap_or(u64::MAX)
}
