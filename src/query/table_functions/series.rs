//! `generate_series`: numbers or times, one after the other.
//!
//! Duty: whole numbers, and times by an interval. Guarantee: at most a million rows, told before the first is made,
//! which come batch by batch. Left to others: the scalar function of this name, which gives one array.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampNanosecondArray};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, IntervalMonthDayNanoType, IntervalUnit, Schema, SchemaRef, TimestampNanosecondType,
};
use datafusion::catalog::TableProvider;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures::{StreamExt as _, stream};

use super::arguments::Call;
use super::columns::{number, time};
use crate::query::caps::BATCH_ROWS;
use crate::query::error::{Code, Error};
use crate::query::functions::time::parse_duration;
use crate::query::sources::Own;

const MOST: u64 = 1_000_000;
const DAY_NS: i128 = 86_400_000_000_000;

/// Months, days, nanoseconds.
type Interval = <IntervalMonthDayNanoType as ArrowPrimitiveType>::Native;

/// A series from `first` to `last`, both included.
#[derive(Clone, Copy, Debug)]
struct Series {
    first: i64,
    last: i64,
    step: Step,
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Number(i64),
    Time(Interval),
}

/// `generate_series(first, last [, step])`: of BIGINT, or of TIMESTAMP with an INTERVAL or a duration as TEXT.
pub fn generate_series(call: &Call<'_>, _: Duration) -> Result<Arc<dyn TableProvider>> {
    call.takes(2..=3, "a first and a last value and perhaps a step")?;
    let is_whole = call.value(0)?.is_some_and(|value| value.data_type().is_integer() || value.is_null());
    let any = i64::MIN..=i64::MAX;
    let series = if is_whole {
        let step = match call.value(2)? {
            None => 1,
            Some(_) => call.number(2, "a step", any.clone())?,
        };
        let (first, last) = (call.number(0, "a first number", any.clone())?, call.number(1, "a last number", any)?);
        Series { first, last, step: Step::Number(step) }
    } else {
        Series { first: call.instant(0)?, last: call.instant(1)?, step: Step::Time(interval(call)?) }
    };
    match series.count() {
        None => Err(call.wrong("takes a step that is not 0, and whose parts all have one sign")),
        Some(count) if count > MOST => {
            let message = format!("`{}` would make {count} rows; at most {MOST}", call.name);
            Err(DataFusionError::External(Box::new(
                Error::new(Code::LimitRows, message).hint("take a larger step, or a shorter series"),
            )))
        }
        Some(_) => {
            let table =
                StreamingTable::try_new(series.schema(), vec![Arc::new(Rows { series, schema: series.schema() })])?;
            Ok(Arc::new(Own::new(table)))
        }
    }
}

/// The step of a series of times.
fn interval(call: &Call<'_>) -> Result<Interval> {
    let wrong = || call.wrong("takes an interval as argument 3, as INTERVAL '1 minute' or '1m'");
    let value = call.value(2)?.filter(|value| !value.is_null()).ok_or_else(wrong)?;
    if let Some(Some(text)) = value.try_as_str() {
        let ns = parse_duration(text).ok_or_else(wrong)?;
        return Ok(IntervalMonthDayNanoType::make_value(0, 0, ns));
    }
    match value.cast_to(&DataType::Interval(IntervalUnit::MonthDayNano)) {
        Ok(ScalarValue::IntervalMonthDayNano(Some(interval))) => Ok(interval),
        _ => Err(wrong()),
    }
}

impl Series {
    fn schema(&self) -> SchemaRef {
        let value = match self.step {
            Step::Number(_) => number("value"),
            Step::Time(_) => time("value"),
        };
        Arc::new(Schema::new(vec![value]))
    }

    /// How many values there are, or more: a month counts as its shortest. `None` where they never end.
    fn count(&self) -> Option<u64> {
        let step = match self.step {
            Step::Number(step) => i128::from(step),
            Step::Time(interval) => {
                let (months, days, ns) = IntervalMonthDayNanoType::to_parts(interval);
                let signs = [i64::from(months).signum(), i64::from(days).signum(), ns.signum()];
                if signs.contains(&1) && signs.contains(&-1) {
                    return None;
                }
                (i128::from(months) * 28 + i128::from(days)) * DAY_NS + i128::from(ns)
            }
        };
        let distance = i128::from(self.last) - i128::from(self.first);
        match step {
            0 => None,
            _ if distance != 0 && (distance < 0) != (step < 0) => Some(0),
            _ => Some(u64::try_from(distance / step + 1).unwrap_or(u64::MAX)),
        }
    }

    fn ascends(&self) -> bool {
        match self.step {
            Step::Number(step) => step > 0,
            Step::Time(interval) => {
                let (months, days, ns) = IntervalMonthDayNanoType::to_parts(interval);
                months > 0 || days > 0 || ns > 0
            }
        }
    }

    /// The value behind `value`, if it is in the series.
    fn next(&self, value: i64) -> Option<i64> {
        let next = match self.step {
            Step::Number(step) => value.checked_add(step),
            Step::Time(interval) => {
                let utc = "+00:00".parse().expect("it is an offset");
                TimestampNanosecondType::add_month_day_nano(value, interval, utc)
            }
        };
        next.filter(|next| self.holds(*next))
    }

    fn holds(&self, value: i64) -> bool {
        if self.ascends() { value <= self.last } else { value >= self.last }
    }

    fn batch(&self, values: Vec<i64>) -> Result<RecordBatch> {
        let values: ArrayRef = match self.step {
            Step::Number(_) => Arc::new(Int64Array::from(values)),
            Step::Time(_) => Arc::new(TimestampNanosecondArray::from(values).with_timezone("UTC")),
        };
        Ok(RecordBatch::try_new(self.schema(), vec![values])?)
    }
}

#[derive(Debug)]
struct Rows {
    series: Series,
    schema: SchemaRef,
}

impl PartitionStream for Rows {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let series = self.series;
        let mut next = Some(series.first).filter(|first| series.holds(*first));
        let batches = std::iter::from_fn(move || {
            let mut values = Vec::new();
            while let Some(value) = next.filter(|_| values.len() < BATCH_ROWS) {
                values.push(value);
                next = series.next(value);
            }
            (!values.is_empty()).then(|| series.batch(values))
        });
        // A million rows are fewer batches than the engine takes from a leaf before it yields.
        let yielding = stream::iter(batches).then(|batch| async {
            tokio::task::yield_now().await;
            batch
        });
        Box::pin(RecordBatchStreamAdapter::new(self.schema.clone(), yielding))
    }
}
