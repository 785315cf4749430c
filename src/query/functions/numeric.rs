//! Mathematical functions that take brackets.
//!
//! Duty: let `round(attributes['k'])` become a plan although the bracket is still text then; the bracket is read as a
//! number before it runs. Guarantee: with numbers as arguments the function is the engine's own. Left to others: giving
//! the bracket its type (`attributes::rule`).

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::Result;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

/// Whether `name` is a function whose arguments are numbers.
pub fn is_numeric(name: &str) -> bool {
    matches!(
        name,
        "abs"
            | "acos"
            | "asin"
            | "atan"
            | "atan2"
            | "cbrt"
            | "ceil"
            | "cos"
            | "degrees"
            | "exp"
            | "floor"
            | "isnan"
            | "iszero"
            | "ln"
            | "log"
            | "log10"
            | "log2"
            | "nanvl"
            | "power"
            | "radians"
            | "round"
            | "signum"
            | "sin"
            | "sqrt"
            | "tan"
            | "tanh"
            | "trunc"
            | "dur_text"
    )
}

/// A numeric function of the engine whose text arguments count as doubles.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Numeric {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl Numeric {
    /// Wraps `inner`.
    pub fn new(inner: Arc<ScalarUDF>) -> Self {
        let signature = Signature::user_defined(inner.signature().volatility);
        Self { inner, signature }
    }
}

impl ScalarUDFImpl for Numeric {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let as_number = |of: &DataType| match of {
            DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 => DataType::Float64,
            other => other.clone(),
        };
        let field = |of: &DataType| Arc::new(Field::new("arg", as_number(of), true)) as FieldRef;
        let fields: Vec<FieldRef> = args.iter().map(field).collect();
        Ok(fields_with_udf(&fields, self.inner.as_ref())?.iter().map(|field| field.data_type().clone()).collect())
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        self.inner.return_type(args)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn simplify(&self, args: Vec<Expr>, _: &SimplifyContext) -> Result<ExprSimplifyResult> {
        Ok(ExprSimplifyResult::Simplified(Expr::ScalarFunction(ScalarFunction { func: self.inner.clone(), args })))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
}
