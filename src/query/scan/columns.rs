//! The two columns that are computed: `end_time` and `duration_ms`.
//!
//! Duty: their arithmetic, over memory and files alike. Guarantee: an end beyond the range of a timestamp stays at its
//! limit instead of wrapping. Left to others: pruning by them (`bounds`).

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float64Array, TimestampNanosecondArray};
use arrow::compute::binary;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampNanosecondType};
use datafusion::common::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use crate::span::schema;

/// Name of the column `start_time + duration_ns`.
pub const END_TIME: &str = "end_time";
/// Name of the column `duration_ns / 1e6`.
pub const DURATION_MS: &str = "duration_ms";

/// `start_time + duration_ns`.
pub fn end_time(start: &ArrayRef, duration_ns: &ArrayRef) -> Result<ArrayRef> {
    let (start, duration) = (start.as_primitive::<TimestampNanosecondType>(), duration_ns.as_primitive::<Int64Type>());
    let end: TimestampNanosecondArray = binary(start, duration, i64::saturating_add)?;
    Ok(Arc::new(end.with_timezone("UTC")))
}

/// `duration_ns / 1e6`.
pub fn duration_ms(duration_ns: &ArrayRef) -> Result<ArrayRef> {
    #[allow(clippy::cast_precision_loss, reason = "milliseconds are a double by definition")]
    let ms: Float64Array = duration_ns.as_primitive::<Int64Type>().unary::<_, Float64Type>(|ns| ns as f64 / 1e6);
    Ok(Arc::new(ms))
}

/// A computed column as a function of stored ones: what a file's scan evaluates.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Computed {
    column: Which,
    signature: Signature,
}

/// Which computed column.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Which {
    /// [`END_TIME`] of (`start_time`, `duration_ns`).
    EndTime,
    /// [`DURATION_MS`] of (`duration_ns`).
    DurationMs,
}

impl Computed {
    /// The function for `column`.
    pub fn new(column: Which) -> Self {
        Self { column, signature: Signature::any(if column == Which::EndTime { 2 } else { 1 }, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for Computed {
    fn name(&self) -> &str {
        match self.column {
            Which::EndTime => END_TIME,
            Which::DurationMs => DURATION_MS,
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.column {
            Which::EndTime => schema::timestamp(TimeUnit::Nanosecond),
            Which::DurationMs => DataType::Float64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let array = match self.column {
            Which::EndTime => end_time(&arrays[0], &arrays[1])?,
            Which::DurationMs => duration_ms(&arrays[0])?,
        };
        Ok(ColumnarValue::Array(array))
    }
}
