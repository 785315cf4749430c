//! Functions of the engine whose results may be much larger than their arguments (sql.md 7, growth).
//!
//! Duty: refuse `repeat`, `lpad`, `rpad`, `range`, `generate_series`, `array_repeat` and `array_resize` beyond the caps.
//! Guarantee: the size is computed, and refused, before anything is allocated, also while constants are folded: the
//! memory pool does not see what scalar functions allocate. Left to others: the functions themselves.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNanoType, IntervalUnit, TimeUnit, TimestampNanosecondType,
};
use datafusion::common::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::argument;

/// Bytes of one text, and of all texts of a batch.
const VALUE_BYTES: u64 = 1 << 20;
const BATCH_BYTES: u64 = 64 << 20;
/// Elements of one array, and of all arrays of a batch.
const VALUE_ELEMENTS: u64 = 100_000;
const BATCH_ELEMENTS: u64 = 4_000_000;

const HOUR_NS: i128 = 3_600_000_000_000;

/// How the size of a result follows from the arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Growth {
    /// `repeat(text, count)`
    Repeat,
    /// `lpad(text, length [, fill])`, `rpad`
    Pad,
    /// `range([start,] stop [, step])`, `generate_series`
    Range,
    /// `array_repeat(element, count)`
    ArrayRepeat,
    /// `array_resize(array, size [, value])`
    ArrayResize,
}

impl Growth {
    /// Of the function `name`, if its results are capped.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "repeat" => Some(Self::Repeat),
            "lpad" | "rpad" => Some(Self::Pad),
            "range" | "generate_series" => Some(Self::Range),
            "array_repeat" => Some(Self::ArrayRepeat),
            "array_resize" => Some(Self::ArrayResize),
            _ => None,
        }
    }
}

/// The engine's function, under a cap.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Capped {
    inner: Arc<ScalarUDF>,
    growth: Growth,
}

impl Capped {
    /// Puts `inner` under the cap of `growth`.
    pub fn new(inner: Arc<ScalarUDF>, growth: Growth) -> Self {
        Self { inner, growth }
    }
}

impl ScalarUDFImpl for Capped {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(args)
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.inner.return_type(args)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        check(self.inner.name(), self.growth, &args.args, args.number_rows)?;
        self.inner.invoke_with_args(args)
    }
}

/// An argument: a column, or one value for all rows.
struct Values {
    array: ArrayRef,
    one: bool,
}

impl Values {
    fn of(value: &ColumnarValue) -> Result<Self> {
        let (array, one) = match value {
            ColumnarValue::Array(array) => (array.clone(), false),
            ColumnarValue::Scalar(scalar) => (scalar.to_array()?, true),
        };
        let plain = match array.data_type() {
            DataType::Dictionary(_, of) => cast(&array, of)?,
            _ => array,
        };
        Ok(Self { array: plain, one })
    }

    fn cast(self, to: &DataType) -> Result<Self> {
        Ok(Self { array: cast(&self.array, to)?, one: self.one })
    }

    /// The place of `row`, if it has a value there.
    fn at(&self, row: usize) -> Option<usize> {
        let at = if self.one { 0 } else { row };
        self.array.is_valid(at).then_some(at)
    }

    fn int(&self, row: usize) -> Option<i64> {
        self.at(row).map(|at| self.array.as_primitive::<Int64Type>().value(at))
    }

    fn text(&self, row: usize) -> Option<&str> {
        let at = self.at(row)?;
        match self.array.data_type() {
            DataType::Utf8 => Some(self.array.as_string::<i32>().value(at)),
            DataType::LargeUtf8 => Some(self.array.as_string::<i64>().value(at)),
            DataType::Utf8View => Some(self.array.as_string_view().value(at)),
            _ => None,
        }
    }

    fn is_null(&self) -> bool {
        self.array.data_type().is_null()
    }
}

/// What has been made so far in a batch.
struct Meter<'a> {
    function: &'a str,
    bytes: u64,
    elements: u64,
}

impl Meter<'_> {
    fn text(&mut self, bytes: u64) -> Result<()> {
        let function = self.function;
        if bytes > VALUE_BYTES {
            return Err(argument(format!("`{function}` would make a text of {bytes} bytes; at most {VALUE_BYTES}")));
        }
        self.bytes(bytes)
    }

    fn bytes(&mut self, bytes: u64) -> Result<()> {
        self.bytes = self.bytes.saturating_add(bytes);
        if self.bytes > BATCH_BYTES {
            let function = self.function;
            return Err(argument(format!(
                "`{function}` would make more than {BATCH_BYTES} bytes at once: make shorter values, or fewer of them"
            )));
        }
        Ok(())
    }

    fn array(&mut self, elements: u64) -> Result<()> {
        let function = self.function;
        if elements > VALUE_ELEMENTS {
            return Err(argument(format!(
                "`{function}` would make an array of {elements} elements; at most {VALUE_ELEMENTS}"
            )));
        }
        self.elements += elements;
        if self.elements > BATCH_ELEMENTS {
            return Err(argument(format!(
                "`{function}` would make more than {BATCH_ELEMENTS} elements at once: make shorter arrays, or fewer"
            )));
        }
        Ok(())
    }
}

fn check(function: &str, growth: Growth, args: &[ColumnarValue], number_rows: usize) -> Result<()> {
    let mut values = args.iter().map(Values::of).collect::<Result<Vec<_>>>()?;
    if values.iter().any(Values::is_null) {
        // The result is NULL, or what the function says of the argument's type.
        return Ok(());
    }
    // Values for all rows are computed once.
    let rows = if values.iter().all(|value| value.one) { 1 } else { number_rows };
    let mut meter = Meter { function, bytes: 0, elements: 0 };
    if growth == Growth::Range {
        return range(&mut meter, values, rows);
    }
    if values.len() < 2 {
        return Ok(());
    }
    let count = values.remove(1).cast(&DataType::Int64)?;
    let of = &values[0];
    let fill = values.get(1);
    for row in 0..rows {
        let Some(count) = count.int(row).map(|count| u64::try_from(count).unwrap_or(0)) else { continue };
        match growth {
            Growth::Repeat => {
                let length = of.text(row).map_or(0, str::len) as u64;
                meter.text(length.saturating_mul(count))?;
            }
            Growth::Pad => {
                let Some(text) = of.text(row) else { continue };
                let fill = fill.map_or(Some(" "), |fill| fill.text(row)).unwrap_or_default();
                let widest = fill.chars().map(char::len_utf8).max().unwrap_or(0) as u64;
                let added = count.saturating_sub(text.chars().count() as u64);
                meter.text((text.len() as u64).saturating_add(added.saturating_mul(widest)))?;
            }
            Growth::ArrayRepeat => {
                let (elements, bytes) = of.at(row).map_or((1, 0), |at| size(&of.array, at));
                meter.array(count.saturating_mul(elements.max(1)))?;
                meter.bytes(count.saturating_mul(bytes))?;
            }
            Growth::ArrayResize => {
                let added = fill.and_then(|fill| fill.at(row).map(|at| size(&fill.array, at))).unwrap_or((1, 0));
                meter.array(count.saturating_mul(added.0.max(1)))?;
                meter.bytes(count.saturating_mul(added.1))?;
            }
            Growth::Range => {}
        }
    }
    Ok(())
}

/// Elements (of a list; else 1) and bytes of the value at `at`.
fn size(array: &ArrayRef, at: usize) -> (u64, u64) {
    let bytes = array.slice(at, 1).to_data().get_slice_memory_size().unwrap_or(16) as u64;
    let elements = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(at).len() as u64,
        DataType::LargeList(_) => array.as_list::<i64>().value(at).len() as u64,
        DataType::FixedSizeList(_, length) => u64::try_from(*length).unwrap_or(0),
        _ => 1,
    };
    (elements, bytes)
}

fn range(meter: &mut Meter<'_>, values: Vec<Values>, rows: usize) -> Result<()> {
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

#[cfg(test)]
mod tests {
    use crate::query::tests::fixture::{Fill, Span, ask, one, try_ask};

    #[tokio::test]
    async fn what_would_grow_beyond_the_cap_is_refused_before_it_is_made() {
        let view = Fill::new().memory(&[Span::new(1, 1), Span::new(1, 2)]).view();
        for (sql, told) in [
            ("repeat('x', 1048577)", "`repeat` would make a text of 1048577 bytes"),
            ("repeat('ab', 9223372036854775807)", "`repeat` would make a text of"),
            ("repeat(name, 4000000000)", "`repeat` would make a text of 8000000000 bytes"),
            ("lpad('x', 2000000)", "`lpad` would make a text of 2000000 bytes"),
            ("rpad(name, 600000, 'é')", "`rpad` would make a text of 1199998 bytes"),
            ("range(100001)", "`range` would make an array of 100002 elements"),
            ("generate_series(1, 9223372036854775807)", "`generate_series` would make an array of"),
            ("generate_series(10, -9223372036854775807, -1)", "`generate_series` would make an array of"),
            ("range(DATE '0001-01-01', DATE '9000-01-01', INTERVAL '1 day')", "`range` would make an array of"),
            (
                "generate_series(TIMESTAMP '2020-01-01', TIMESTAMP '2021-01-01', INTERVAL '1 second')",
                "`generate_series` would make an array of",
            ),
            (
                "generate_series(TIMESTAMP '2020-01-01', TIMESTAMP '2021-01-01', INTERVAL '1 month -31 days')",
                "`generate_series` takes a step whose parts all have one sign",
            ),
            ("array_repeat(1, 100001)", "`array_repeat` would make an array of 100001 elements"),
            ("array_repeat(array_repeat(1, 1000), 1000)", "`array_repeat` would make an array of 1000000 elements"),
            ("array_repeat(repeat('x', 1000000), 1000)", "`array_repeat` would make more than 67108864 bytes"),
            ("array_resize([1], 2000000000)", "`array_resize` would make an array of 2000000000 elements"),
            ("list_resize([1], 2000000000, 7)", "`array_resize` would make an array of 2000000000 elements"),
        ] {
            let error = try_ask(&view, &format!("SELECT {sql} FROM spans")).await.err().unwrap_or_default();
            assert!(error.contains(told), "{sql}: {error}");
        }
    }

    #[tokio::test]
    async fn what_stays_below_the_cap_is_the_engines_own() {
        let view = Fill::new().memory(&[Span::new(1, 1)]).view();
        let sql = "SELECT repeat('ab', 2), lpad('é', 3, 'xy'), rpad(name, 3), repeat('x', -1), repeat(NULL, 5), \
                   array_resize([1, 2], 3, 9), array_repeat('a', 2), range(2, 7, 2), generate_series(3, 1, -1), \
                   generate_series(3, 1), length(repeat('x', 1048576)), \
                   array_length(generate_series(DATE '2024-01-01', DATE '2024-03-01', INTERVAL '1 month')) FROM spans";
        assert_eq!(
            ask(&view, sql).await,
            [["abab", "xyé", "op ", "", "∅", "[1, 2, 9]", "[a, a]", "[2, 4, 6]", "[3, 2, 1]", "[]", "1048576", "3"]]
        );
        assert_eq!(one(&view, "SELECT sum(length(repeat(name, 3))) FROM spans").await, "6");
    }

    #[tokio::test]
    async fn the_caps_of_a_batch_count_all_rows() {
        let spans: Vec<Span> = (1..=70).map(|id| Span::new(1, id)).collect();
        let view = Fill::new().memory(&spans).view();
        let error = try_ask(&view, "SELECT repeat(name, 524288) FROM spans").await.unwrap_err();
        assert!(error.contains("more than 67108864 bytes at once"), "{error}");
        let sql = "SELECT range(duration_ns, duration_ns + 99990) FROM spans";
        let error = try_ask(&view, sql).await.unwrap_err();
        assert!(error.contains("more than 4000000 elements at once"), "{error}");
    }
}
