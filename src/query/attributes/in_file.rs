//! The value of a key where one file keeps it: its promoted column, its list, or both.
//!
//! Duty: [`InFile`], what a bracket becomes in a file whose footer says where the key lies (sql.md 3.5). Guarantee: the
//! values are those that the bracket has on the container put together again (`merge`), of which nothing is made here;
//! of a list only the leaves that the key's residual values need are asked for. Left to others: what a file has
//! (`scan::adapter`), conversions (`convert`).

use arrow::array::Array as _;
use arrow::datatypes::{DataType, Fields};
use datafusion::common::{Result, internal_err};
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility};

use super::attr::{arrow_type, converted};
use super::list::Attrs;
use super::promoted::Promoted;
use crate::span::pinned::ScalarType;
use crate::span::schema::{self, attr_type};

/// Where a file keeps the values of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// All in the promoted column.
    Column,
    /// All in the list.
    List,
    /// In the promoted column, or else in the list.
    Both,
}

/// The function (column, list), of which those that [`Place`] says are given, → value.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct InFile {
    /// As stored.
    key: String,
    of: ScalarType,
    place: Place,
    signature: Signature,
}

impl InFile {
    /// The value of the key stored as `key`, as `of`.
    pub fn new(key: impl Into<String>, of: ScalarType, place: Place) -> Self {
        let args = if place == Place::Both { 2 } else { 1 };
        Self { key: key.into(), of, place, signature: Signature::any(args, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for InFile {
    fn name(&self) -> &str {
        "attr_in_file"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(arrow_type(self.of))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let values = match (self.place, arrays.as_slice()) {
            (Place::Column, [column]) => {
                let column = Promoted::try_new(column)?;
                converted(self.of, (0..rows).map(|row| column.value(row)))
            }
            (Place::List, [list]) => {
                let list = Attrs::narrow(list)?;
                let finder = list.finder(&self.key);
                converted(self.of, (0..rows).map(|row| finder.value(row)))
            }
            (Place::Both, [column, list]) if column.null_count() == 0 => {
                let column = Promoted::try_new(column)?;
                debug_assert_eq!(list.len(), rows);
                converted(self.of, (0..rows).map(|row| column.value(row)))
            }
            (Place::Both, [column, list]) => {
                let (column, list) = (Promoted::try_new(column)?, Attrs::narrow(list)?);
                let finder = list.finder(&self.key);
                // A value that stands in the column is the first, also where it cannot be converted.
                converted(self.of, (0..rows).map(|row| column.value(row).or_else(|| finder.value(row))))
            }
            (place, arrays) => return internal_err!("{place:?} has another number of columns than {}", arrays.len()),
        };
        Ok(ColumnarValue::Array(values))
    }
}

/// The type of a container of which only what values of the types in `mask` (bit `t` = attribute type `t`) need is read.
pub fn narrow(mask: u8) -> DataType {
    let has = |types: &[u8]| types.iter().any(|of| mask & (1 << of) != 0);
    let fields = schema::attr_fields();
    let kept = fields.iter().filter(|field| match field.name().as_str() {
        "s" => has(&[attr_type::STRING]),
        "i" => has(&[attr_type::BOOL, attr_type::INT]),
        "d" => has(&[attr_type::DOUBLE]),
        "x" => has(&[attr_type::BYTES, attr_type::ARRAY, attr_type::KVLIST]),
        _ => true,
    });
    let item = schema::item(DataType::Struct(kept.cloned().collect::<Fields>()));
    DataType::List(item)
}
