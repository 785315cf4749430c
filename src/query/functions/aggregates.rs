//! Aggregates of our own: quantiles, histograms, error rate.
//!
//! Duty: `p50` … `p99`, `quantile`, `exphist`, `exphist_merge`, `error_rate`. Guarantee: quantiles and histograms take
//! bounded memory a group; their error is that of [`super::exphist`]. Left to others: `percentile_cont`, which is exact
//! and keeps all values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef, Float64Type, Schema, UInt64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Signature, Volatility};

use super::exphist::{DEFAULT_MAX_BUCKETS, ExpHist, MOST_BUCKETS};
use super::exphist_value::Reader;
use super::{argument, exphist_value};

/// All of them.
pub fn all() -> Vec<AggregateUDF> {
    let fixed = [("p50", 50), ("p90", 90), ("p95", 95), ("p99", 99)];
    let mut all: Vec<AggregateUDF> = fixed.map(|(name, percent)| Quantile::new(name, Some(percent)).into()).into();
    all.push(Quantile::new("quantile", None).into());
    all.extend([exphist(), histogram(true)]);
    all.push(ErrorRate { signature: Signature::user_defined(Volatility::Immutable) }.into());
    all
}

/// `exphist` by itself.
pub fn exphist() -> AggregateUDF {
    histogram(false)
}

fn histogram(merges: bool) -> AggregateUDF {
    Histogram { merges, signature: Signature::user_defined(Volatility::Immutable) }.into()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Quantile {
    name: &'static str,
    percent: Option<u8>,
    signature: Signature,
}

impl Quantile {
    fn new(name: &'static str, percent: Option<u8>) -> Self {
        Self { name, percent, signature: Signature::user_defined(Volatility::Immutable) }
    }

    fn share(&self, args: &AccumulatorArgs<'_>) -> Result<f64> {
        if let Some(percent) = self.percent {
            return Ok(f64::from(percent) / 100.0);
        }
        match constant(args, 1).and_then(|value| value.cast_to(&DataType::Float64).ok()) {
            Some(ScalarValue::Float64(Some(share))) if (0.0..=1.0).contains(&share) => Ok(share),
            _ => Err(argument("the share of quantile is a number from 0 to 1: quantile(duration_ns, 0.95)")),
        }
    }
}

/// The argument at `place`, if it is a constant: it then has a value without any row.
pub(super) fn constant(args: &AccumulatorArgs<'_>, place: usize) -> Option<ScalarValue> {
    let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
    match args.exprs.get(place)?.evaluate(&empty) {
        Ok(ColumnarValue::Scalar(value)) => Some(value),
        _ => None,
    }
}

impl AggregateUDFImpl for Quantile {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let wanted = if self.percent.is_some() { 1 } else { 2 };
        let fits = |of: &DataType| of.is_numeric() || of.is_null();
        if args.len() != wanted || !args.iter().all(fits) {
            let usage = if wanted == 1 { "(duration_ns)" } else { "(duration_ns, 0.95)" };
            return plan_err!("{} takes numbers: {}{usage}", self.name, self.name);
        }
        Ok(vec![DataType::Float64; wanted])
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(argument(format!("{} has no DISTINCT form", self.name)));
        }
        let share = self.share(&args)?;
        let (hist, gives) = (ExpHist::new(DEFAULT_MAX_BUCKETS), Gives::Quantile(share));
        Ok(Box::new(Gathered { hist, merges: false, gives }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_of(&args))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// `exphist(x [, max_buckets])`, or `exphist_merge(histogram)`; NULL where there is no value.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Histogram {
    merges: bool,
    signature: Signature,
}

impl AggregateUDFImpl for Histogram {
    fn name(&self) -> &'static str {
        if self.merges { "exphist_merge" } else { "exphist" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let number = |of: &DataType| of.is_numeric() || of.is_null();
        match (self.merges, args) {
            (true, [of]) if exphist_value::is(of) || of.is_null() => Ok(vec![exphist_value::data_type()]),
            (true, _) => plan_err!("exphist_merge takes histograms: exphist_merge(duration)"),
            (false, [of]) if number(of) => Ok(vec![DataType::Float64]),
            (false, [of, room]) if number(of) && (room.is_integer() || room.is_null()) => {
                Ok(vec![DataType::Float64, DataType::Int64])
            }
            (false, _) => plan_err!("exphist takes numbers, and may take most buckets: exphist(duration_ns, 1024)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(exphist_value::data_type())
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(argument(format!("{} has no DISTINCT form", self.name())));
        }
        let room = match (args.exprs.get(1), constant(&args, 1)) {
            // What is merged brings its own.
            _ if self.merges => MOST_BUCKETS,
            (None, _) => DEFAULT_MAX_BUCKETS,
            (Some(_), Some(ScalarValue::Int64(Some(room)))) if (2..=i64::from(MOST_BUCKETS)).contains(&room) => {
                u32::try_from(room).expect("it is between 2 and the most")
            }
            _ => {
                return Err(argument(format!(
                    "the buckets of exphist are a number from 2 to {MOST_BUCKETS}: exphist(duration_ns, 1024)"
                )));
            }
        };
        Ok(Box::new(Gathered { hist: ExpHist::new(room), merges: self.merges, gives: Gives::Histogram }))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        Ok(state_of(&args))
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// What comes of a histogram at the end.
#[derive(Clone, Copy, Debug)]
enum Gives {
    /// The value at this share, 0 to 1.
    Quantile(f64),
    /// Itself.
    Histogram,
}

/// The values of a group as a histogram.
#[derive(Debug)]
struct Gathered {
    hist: ExpHist,
    /// The column holds histograms, not numbers.
    merges: bool,
    gives: Gives,
}

impl Accumulator for Gathered {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        if !self.merges {
            values[0].as_primitive::<Float64Type>().iter().flatten().for_each(|value| self.hist.add(value));
            return Ok(());
        }
        let histograms = Reader::try_new(&values[0])?;
        for row in 0..values[0].len() {
            if let Some(other) = histograms.at(row)? {
                self.hist.merge(&other);
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        match self.gives {
            Gives::Quantile(share) => Ok(ScalarValue::Float64(self.hist.quantile(share))),
            Gives::Histogram => exphist_value::scalar((self.hist.count() > 0).then_some(&self.hist)),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.hist.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Binary(Some(self.hist.to_bytes()))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for state in states[0].as_binary::<i32>().iter().flatten() {
            match ExpHist::from_bytes(state) {
                Some(other) => self.hist.merge(&other),
                None => return exec_err!("a partial state is not a histogram"),
            }
        }
        Ok(())
    }
}

/// The partial state of [`Gathered`].
fn state_of(args: &StateFieldsArgs<'_>) -> Vec<FieldRef> {
    vec![Arc::new(Field::new(format!("{}[exphist]", args.name), DataType::Binary, true))]
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ErrorRate {
    signature: Signature,
}

impl AggregateUDFImpl for ErrorRate {
    fn name(&self) -> &'static str {
        "error_rate"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match args {
            [
                DataType::Dictionary(_, _) | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null,
            ] => Ok(vec![DataType::Utf8View]),
            _ => plan_err!("error_rate takes the status: error_rate(status_code)"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Float64)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        if args.is_distinct {
            return Err(argument("error_rate has no DISTINCT form"));
        }
        Ok(Box::new(ErrorRateAccumulator::default()))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let field = |of: &str| Arc::new(Field::new(format!("{}[{of}]", args.name), DataType::UInt64, true)) as FieldRef;
        Ok(vec![field("rows"), field("errors")])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

#[derive(Debug, Default)]
struct ErrorRateAccumulator {
    rows: u64,
    errors: u64,
}

impl Accumulator for ErrorRateAccumulator {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let words = cast(&values[0], &DataType::Utf8View)?;
        self.rows += words.len() as u64;
        self.errors += words.as_string_view().iter().filter(|word| *word == Some("error")).count() as u64;
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        #[allow(clippy::cast_precision_loss, reason = "a share is a double")]
        let share = (self.rows > 0).then(|| self.errors as f64 / self.rows as f64);
        Ok(ScalarValue::Float64(share))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::UInt64(Some(self.rows)), ScalarValue::UInt64(Some(self.errors))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.rows += states[0].as_primitive::<UInt64Type>().iter().flatten().sum::<u64>();
        self.errors += states[1].as_primitive::<UInt64Type>().iter().flatten().sum::<u64>();
        Ok(())
    }
}
