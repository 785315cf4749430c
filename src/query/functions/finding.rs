//! `has_finding`: whether a span's findings name one (semconv.md 5).
//!
//! Duty: `has_finding(semconv_findings, 'id')`. Guarantee: a span that was not checked gives NULL, one without findings false.
//! Left to others: which findings there are (`semconv`).

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, BooleanArray, StringArray};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::argument;

const USAGE: &str = "has_finding(semconv_findings, 'required_attribute_not_present')";

/// The function.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HasFinding {
    signature: Signature,
}

impl Default for HasFinding {
    fn default() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable) }
    }
}

/// Whether `of` is a list of structs with an `id`, as the column is.
fn is_findings(of: &DataType) -> bool {
    match of {
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) => fields.find("id").is_some(),
            _ => false,
        },
        _ => false,
    }
}

impl ScalarUDFImpl for HasFinding {
    fn name(&self) -> &str {
        "has_finding"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, args: &[DataType]) -> Result<Vec<DataType>> {
        match args {
            [findings, _] if is_findings(findings) => Ok(vec![findings.clone(), DataType::Utf8]),
            _ => plan_err!("has_finding takes findings and an id: {USAGE}"),
        }
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [findings, ColumnarValue::Scalar(id)] = args.args.as_slice() else {
            return Err(argument(format!("the id is a text literal: {USAGE}")));
        };
        let Some(Some(id)) = id.try_as_str() else {
            return Err(argument(format!("the id is a text literal: {USAGE}")));
        };
        let findings = findings.to_array(args.number_rows)?;
        let list = findings.as_list::<i32>();
        let Some(ids) = list.values().as_struct().column_by_name("id") else {
            return exec_err!("findings have no id");
        };
        let ids = cast(ids, &DataType::Utf8)?;
        let ids: &StringArray = ids.as_string();
        let has = |row: usize| {
            let (from, to) = (list.value_offsets()[row], list.value_offsets()[row + 1]);
            let mut of_row = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
            of_row.any(|at| ids.is_valid(at) && ids.value(at) == id)
        };
        let rows = (0..list.len()).map(|row| list.is_valid(row).then(|| has(row)));
        Ok(ColumnarValue::Array(Arc::new(rows.collect::<BooleanArray>())))
    }
}
