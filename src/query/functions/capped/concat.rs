//! The operator `||` between texts as a function: operators of the engine cannot be put under a cap.
//!
//! Duty: what the operator does. Guarantee: NULL on one side gives NULL, as the operator and not `concat`. Left to
//! others: arrays, which the engine's planner makes `array_concat`.

use std::sync::Arc;

use arrow::compute::kernels::concat_elements::concat_elements_dyn;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
};

use super::values::bytes_of;
use super::{Growth, check};
use crate::query::memory::Account;

/// `left || right`, both of one type of text or of bytes.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct ConcatOperator {
    signature: Signature,
    account: Account,
}

impl ConcatOperator {
    /// The operator, whose results are charged to `account`.
    pub fn new(account: Account) -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable), account }
    }
}

/// Whether the operator has a function for operands of the type `of`.
pub fn joins(of: &DataType) -> bool {
    matches!(
        of,
        DataType::Utf8
            | DataType::LargeUtf8
            | DataType::Utf8View
            | DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
    )
}

impl ScalarUDFImpl for ConcatOperator {
    fn name(&self) -> &'static str {
        "||"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> Result<DataType> {
        Ok(args[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new("||", args.arg_fields[0].data_type().clone(), nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let bytes = check("||", Growth::Concat, &args.args, args.number_rows)?;
        self.account.charged("||", bytes, bytes_of, || joined(&args))
    }
}

fn joined(args: &ScalarFunctionArgs) -> Result<ColumnarValue> {
    let [left, right] = args.args.as_slice() else { return exec_err!("|| takes two operands") };
    let one = matches!((left, right), (ColumnarValue::Scalar(_), ColumnarValue::Scalar(_)));
    let rows = if one { 1 } else { args.number_rows };
    let (left, right) = (left.to_array(rows)?, right.to_array(rows)?);
    let joined = concat_elements_dyn(&left, &right)?;
    Ok(if one { ColumnarValue::Scalar(ScalarValue::try_from_array(&joined, 0)?) } else { ColumnarValue::Array(joined) })
}
