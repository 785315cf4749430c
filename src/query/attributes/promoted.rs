//! A promoted column of a file.
//!
//! Duty: its values as those of attributes. Guarantee: a row without a value here has none or keeps it in its list. Left
//! to others: which columns a file has (`scan::adapter`), lists (`list`).

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringViewArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, exec_err};

use super::list::Value;
use crate::span::schema::attr_type;

/// A promoted column.
#[derive(Debug)]
pub enum Promoted {
    /// Text.
    Text(StringViewArray),
    /// Integers.
    Int(Int64Array),
    /// Doubles.
    Double(Float64Array),
    /// Booleans.
    Bool(BooleanArray),
}

impl Promoted {
    /// The column `array` of a file. Errors: no type of a promoted column.
    pub fn try_new(array: &ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Int64 => Self::Int(array.as_primitive::<Int64Type>().clone()),
            DataType::Float64 => Self::Double(array.as_primitive::<Float64Type>().clone()),
            DataType::Boolean => Self::Bool(array.as_boolean().clone()),
            DataType::Utf8View => Self::Text(array.as_string_view().clone()),
            DataType::Utf8 | DataType::LargeUtf8 | DataType::Dictionary(_, _) => {
                Self::Text(cast(array, &DataType::Utf8View)?.as_string_view().clone())
            }
            other => {
                return exec_err!("a promoted column has type {other}; text, integer, double or boolean is expected");
            }
        })
    }

    /// Whether the row has a value here.
    pub fn is_valid(&self, row: usize) -> bool {
        match self {
            Self::Text(array) => array.is_valid(row),
            Self::Int(array) => array.is_valid(row),
            Self::Double(array) => array.is_valid(row),
            Self::Bool(array) => array.is_valid(row),
        }
    }

    /// The stored type of its values, a number of [`attr_type`].
    pub fn kind(&self) -> u8 {
        match self {
            Self::Text(_) => attr_type::STRING,
            Self::Int(_) => attr_type::INT,
            Self::Double(_) => attr_type::DOUBLE,
            Self::Bool(_) => attr_type::BOOL,
        }
    }

    /// The values that stand in `s`.
    pub fn text(&self) -> Option<ArrayRef> {
        match self {
            Self::Text(array) => Some(Arc::new(array.clone())),
            _ => None,
        }
    }

    /// The values that stand in `i`.
    pub fn whole(&self) -> Option<ArrayRef> {
        match self {
            Self::Int(array) => Some(Arc::new(array.clone())),
            Self::Bool(array) => Some(Arc::new(array.iter().map(|flag| flag.map(i64::from)).collect::<Int64Array>())),
            _ => None,
        }
    }

    /// The values that stand in `d`.
    pub fn double(&self) -> Option<ArrayRef> {
        match self {
            Self::Double(array) => Some(Arc::new(array.clone())),
            _ => None,
        }
    }

    /// The value in `row`, if it stands here.
    pub fn value(&self, row: usize) -> Option<Value<'_>> {
        self.is_valid(row).then(|| match self {
            Self::Text(array) => Value::Text(array.value(row)),
            Self::Int(array) => Value::Int(array.value(row)),
            Self::Double(array) => Value::Double(array.value(row)),
            Self::Bool(array) => Value::Bool(array.value(row)),
        })
    }
}
