//! The function behind a bracket: the value of one key in one SQL type.
//!
//! Duty: `attr(container)`, with key and type as part of the function. Guarantee: its name in results is the bracket as
//! written. Left to others: choosing the type (`typing`), reading promoted columns (`scan::adapter`).

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringViewBuilder};
use arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExpressionPlacement, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::convert;
use super::list::{Attrs, Value};
use crate::span::pinned::ScalarType;

/// How a bracket got its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Nothing is known of the key: what uses it decides.
    Free,
    /// The configuration or the semantic conventions say it.
    Pinned,
    /// The statement says it, by a cast or by name, or its use has decided.
    Fixed,
}

/// The value of `key` as `of`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attr {
    key: String,
    of: ScalarType,
    origin: Origin,
    signature: Signature,
}

/// The Arrow type of a SQL scalar.
pub fn arrow_type(of: ScalarType) -> DataType {
    match of {
        ScalarType::Text => DataType::Utf8View,
        ScalarType::Int => DataType::Int64,
        ScalarType::Double => DataType::Float64,
        ScalarType::Bool => DataType::Boolean,
    }
}

impl Attr {
    /// The value of `key` as `of`.
    pub fn new(key: impl Into<String>, of: ScalarType, origin: Origin) -> Self {
        Self { key: key.into(), of, origin, signature: Signature::any(1, Volatility::Immutable) }
    }

    /// The call on `container`.
    pub fn on(self, container: Expr) -> Expr {
        Expr::ScalarFunction(ScalarFunction { func: Arc::new(ScalarUDF::from(self)), args: vec![container] })
    }

    /// The bracket that `fun` is, if it is one.
    pub fn of(fun: &ScalarUDF) -> Option<&Self> {
        fun.inner().downcast_ref::<Self>()
    }

    /// The bracket that `expr` is, if it is one, and its container.
    pub fn in_expr(expr: &Expr) -> Option<(&Self, &Expr)> {
        let Expr::ScalarFunction(call) = expr else { return None };
        Some((Self::of(&call.func)?, call.args.first()?))
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The type.
    pub fn scalar_type(&self) -> ScalarType {
        self.of
    }

    /// How it got its type.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The values in `container`, one a row.
    pub fn values(&self, container: &ArrayRef) -> Result<ArrayRef> {
        let attrs = Attrs::try_new(container)?;
        let finder = attrs.finder(&self.key);
        Ok(converted(self.of, (0..attrs.rows()).map(|row| finder.value(row))))
    }
}

/// The values `found`, one a row, as `of`; NULL where a value is absent or not representable.
pub fn converted<'v>(of: ScalarType, found: impl ExactSizeIterator<Item = Option<Value<'v>>>) -> ArrayRef {
    match of {
        ScalarType::Text => {
            let mut builder = StringViewBuilder::with_capacity(found.len());
            for value in found {
                builder.append_option(value.and_then(convert::to_text));
            }
            Arc::new(builder.finish())
        }
        ScalarType::Int => Arc::new(found.map(|v| v.and_then(convert::to_int)).collect::<Int64Array>()),
        ScalarType::Double => Arc::new(found.map(|v| v.and_then(convert::to_double)).collect::<Float64Array>()),
        ScalarType::Bool => Arc::new(found.map(|v| v.and_then(convert::to_bool)).collect::<BooleanArray>()),
    }
}

impl ScalarUDFImpl for Attr {
    fn name(&self) -> &str {
        "attr"
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let container = match args {
            // `spans.` is left out: who reads one table did not write it. An alias stays: a join needs it.
            [Expr::Column(column)] if column.relation.as_ref().is_none_or(|table| table.table() == "spans") => {
                column.name.clone()
            }
            [container] => container.schema_name().to_string(),
            _ => return plan_err!("a bracket has one container"),
        };
        Ok(format!("{container}['{}']", self.key.replace('\'', "''")))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        match args {
            [container] if super::is_container(container) => Ok(arrow_type(self.of)),
            _ => plan_err!("brackets with a key work on attributes, resource and scope"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let container = args.args[0].to_array(args.number_rows)?;
        self.values(&container).map(ColumnarValue::Array)
    }

    // The scan then sees the bracket and reads one column instead of all of a file's promoted ones.
    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        match args {
            [ExpressionPlacement::Column | ExpressionPlacement::MoveTowardsLeafNodes] => {
                ExpressionPlacement::MoveTowardsLeafNodes
            }
            _ => ExpressionPlacement::KeepInPlace,
        }
    }
}
