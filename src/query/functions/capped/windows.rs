//! Values that a window, or a subquery, gives to many rows (sql.md 7, growth).
//!
//! Duty: refuse a value of a window or a subquery that would make more than a batch may have, once it is copied for the rows that get
//! it. Guarantee: it is refused before it is copied; values that are no longer than a constant may be are left alone. Left
//! to others: where windows are in a plan (`query::caps`), how much an aggregate gathers (`aggregates`).

use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::expr::WindowFunctionParams;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, ColumnarValue, Expr, ReturnFieldArgs, ReversedUDAF,
    ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::values::{BATCH_BYTES, SHORT, Values, bytes_of};
use crate::query::caps::BATCH_ROWS;
use crate::query::functions::argument;

fn check(function: &str, bytes: u64, rows: u64) -> Result<()> {
    if bytes > SHORT && bytes.saturating_mul(rows) > BATCH_BYTES {
        return Err(argument(format!(
            "`{function}` would copy a value of {bytes} bytes for each of {rows} rows: shorten it, or let fewer rows \
             get it"
        )));
    }
    Ok(())
}

/// The argument of a window function that gives one of its values to a row, or the value of a subquery, as it is.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Given {
    function: String,
    signature: Signature,
}

impl Given {
    /// An argument of `function`.
    pub fn to(function: &str) -> Self {
        Self { function: function.to_owned(), signature: Signature::any(1, Volatility::Immutable) }
    }

    /// Whether `expr` is one already.
    pub fn is(expr: &Expr) -> bool {
        matches!(expr, Expr::ScalarFunction(call) if call.func.inner().is::<Self>())
    }
}

impl ScalarUDFImpl for Given {
    fn name(&self) -> &'static str {
        "given"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The window is called as before.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args[0].schema_name().to_string())
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        Ok(args.arg_fields[0].clone())
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let given = args.args.swap_remove(0);
        let values = Values::of(&given)?;
        let longest = (0..if values.one { 1 } else { rows }).map(|row| values.bytes(row)).max().unwrap_or(0);
        check(&self.function, longest, rows as u64)?;
        Ok(given)
    }
}

/// An aggregate over a window.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Over {
    inner: AggregateUDF,
    /// Whether rows that it does not see get its value too.
    filtered: bool,
}

impl Over {
    /// `inner` over a window, with a FILTER or without.
    pub fn window(inner: &AggregateUDF, filtered: bool) -> Self {
        Self { inner: inner.clone(), filtered }
    }

    fn counted(&self, inner: Box<dyn Accumulator>) -> Box<dyn Accumulator> {
        let rows = if self.filtered { BATCH_ROWS as u64 } else { 0 };
        Box::new(Counted { name: self.inner.name().to_owned(), rows, made: 0, inner })
    }
}

impl AggregateUDFImpl for Over {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn window_function_schema_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.inner.window_function_schema_name(params)
    }

    fn window_function_display_name(&self, params: &WindowFunctionParams) -> Result<String> {
        self.inner.window_function_display_name(params)
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

    fn return_field(&self, args: &[FieldRef]) -> Result<FieldRef> {
        self.inner.return_field(args)
    }

    fn is_nullable(&self) -> bool {
        self.inner.is_nullable()
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(self.counted(self.inner.accumulator(args)?))
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        Ok(self.counted(self.inner.create_sliding_accumulator(args)?))
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }

    fn with_beneficial_ordering(self: Arc<Self>, beneficial: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        let ordered = self.inner.inner().clone().with_beneficial_ordering(beneficial)?;
        let over = |inner| Self { inner: AggregateUDF::new_from_shared_impl(inner), filtered: self.filtered };
        Ok(ordered.map(|inner| Arc::new(over(inner)) as _))
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        match self.inner.reverse_udf() {
            ReversedUDAF::Reversed(inner) => {
                ReversedUDAF::Reversed(Arc::new(Self::window(&inner, self.filtered).into()))
            }
            other => other,
        }
    }

    fn supports_null_handling_clause(&self) -> bool {
        self.inner.supports_null_handling_clause()
    }

    fn default_value(&self, of: &DataType) -> Result<ScalarValue> {
        self.inner.default_value(of)
    }
}

/// Of one partition.
#[derive(Debug)]
struct Counted {
    name: String,
    /// Rows that it has seen: those of the partition, where all of them get one value.
    rows: u64,
    /// Bytes of all long values so far, where each row gets its own.
    made: u64,
    inner: Box<dyn Accumulator>,
}

impl Accumulator for Counted {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.rows += values.first().map_or(0, |values| values.len() as u64);
        self.inner.update_batch(values)
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let value = self.inner.evaluate()?;
        // What it holds is more than what it shows.
        if value.size() as u64 > SHORT {
            let bytes = bytes_of(&value.to_array()?);
            self.made = self.made.saturating_add(bytes);
            check(&self.name, bytes, self.rows.max(self.made / bytes.max(1)))?;
        }
        Ok(value)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.inner.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.inner.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.inner.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.inner.retract_batch(values)
    }

    fn supports_retract_batch(&self) -> bool {
        self.inner.supports_retract_batch()
    }
}
