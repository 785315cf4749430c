//! Trace and span ids in SQL.
//!
//! Duty: `trace_id`, `span_id`, `hex`, and bare hex literals beside an id column. Guarantee: an id of the wrong length
//! is an error that says which length is right. Left to others: where a literal meets an id (`attributes::typing`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, FixedSizeBinaryBuilder, StringViewBuilder};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

use super::argument;
use crate::span::{SpanId, TraceId};

/// `trace_id`, `span_id`, `hex`.
pub fn all() -> Vec<ScalarUDF> {
    [Which::TraceId, Which::SpanId, Which::Hex]
        .map(|which| IdFunction { which, signature: Signature::user_defined(Volatility::Immutable) }.into())
        .into()
}

/// The literal `text` beside an id column of `bytes` bytes.
pub fn literal(text: &str, bytes: i32) -> Result<Expr> {
    let digits = usize::try_from(bytes).unwrap_or(0) * 2;
    let what = if bytes == 16 { "trace" } else { "span" };
    let id = if text.len() == digits { parse(text, bytes) } else { None };
    let Some(id) = id else {
        return Err(argument(format!(
            "`{text}` is not a {what} id: a {what} id is {digits} hexadecimal digits, this has {} characters",
            text.chars().count()
        )));
    };
    Ok(lit(ScalarValue::FixedSizeBinary(bytes, Some(id))))
}

fn parse(text: &str, bytes: i32) -> Option<Vec<u8>> {
    match bytes {
        16 => text.parse::<TraceId>().ok().map(|id| id.0.to_vec()),
        8 => text.parse::<SpanId>().ok().map(|id| id.0.to_vec()),
        _ => None,
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct IdFunction {
    which: Which,
    signature: Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Which {
    TraceId,
    SpanId,
    Hex,
}

impl ScalarUDFImpl for IdFunction {
    fn name(&self) -> &str {
        match self.which {
            Which::TraceId => "trace_id",
            Which::SpanId => "span_id",
            Which::Hex => "hex",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        let [of] = args else {
            return plan_err!("{}(value) takes one argument", self.name());
        };
        match (self.which, of) {
            (Which::Hex, DataType::FixedSizeBinary(_) | DataType::Binary) => Ok(vec![of.clone()]),
            (Which::Hex, DataType::BinaryView | DataType::LargeBinary | DataType::Null) => Ok(vec![DataType::Binary]),
            (Which::Hex, other) => plan_err!("hex takes an id or other binary, not {other}"),
            // An id that is one already stays as it is.
            (Which::TraceId, DataType::FixedSizeBinary(16)) | (Which::SpanId, DataType::FixedSizeBinary(8)) => {
                Ok(vec![of.clone()])
            }
            _ => Ok(vec![DataType::Utf8View]),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.which {
            Which::TraceId => DataType::FixedSizeBinary(16),
            Which::SpanId => DataType::FixedSizeBinary(8),
            Which::Hex => DataType::Utf8View,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalar = matches!(args.args[0], ColumnarValue::Scalar(_));
        let array = args.args[0].to_array(if scalar { 1 } else { args.number_rows })?;
        let result = match self.which {
            Which::TraceId => ids(&array, 16)?,
            Which::SpanId => ids(&array, 8)?,
            Which::Hex => hex(&array)?,
        };
        if scalar {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&result, 0)?));
        }
        Ok(ColumnarValue::Array(result))
    }
}

fn ids(array: &ArrayRef, bytes: i32) -> Result<ArrayRef> {
    if matches!(array.data_type(), DataType::FixedSizeBinary(_)) {
        return Ok(array.clone());
    }
    let texts = array.as_string_view();
    let mut builder = FixedSizeBinaryBuilder::with_capacity(texts.len(), bytes);
    for text in texts {
        match text {
            None => builder.append_null(),
            Some(text) => match parse(text, bytes) {
                Some(id) => builder.append_value(id)?,
                None => {
                    let want = if bytes == 16 { "32 (or 16)" } else { "16" };
                    let what = if bytes == 16 { "trace" } else { "span" };
                    return Err(argument(format!(
                        "`{text}` is not a {what} id: {want} hexadecimal digits are expected"
                    )));
                }
            },
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn hex(array: &ArrayRef) -> Result<ArrayRef> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let binary = match array.data_type() {
        DataType::Binary => array.clone(),
        DataType::FixedSizeBinary(_) => cast(array, &DataType::Binary)?,
        other => return exec_err!("hex takes binary, not {other}"),
    };
    let mut builder = StringViewBuilder::with_capacity(array.len());
    for value in binary.as_binary::<i32>() {
        let text = value.map(|bytes| {
            let digits = bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
            digits.map(char::from).collect::<String>()
        });
        builder.append_option(text);
    }
    Ok(Arc::new(builder.finish()))
}
