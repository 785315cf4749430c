//! One value as JSON or plain text.
//!
//! Duty: the rules of sql.md 9.2 for timestamps, big integers, ids, binary and attributes. Guarantee: what is written
//! into JSON is valid JSON. Left to others: rows and documents (`json`, `csv`).

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::datatypes::{
    DataType, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::query::attributes::convert::double_text;
use crate::query::attributes::is_container;
use crate::query::attributes::json::object;
use crate::query::attributes::list::Attrs;
use crate::span::hex;

/// The largest integer that every JSON reader keeps.
const MAX_SAFE: u64 = 1 << 53;

/// A value, before it is written.
enum Scalar {
    Null,
    /// JSON as it is: numbers in range, booleans, objects, lists.
    Raw(String),
    /// Text, to be quoted in JSON.
    Text(String),
}

/// The value of `array` at `row` as JSON.
pub fn json(array: &ArrayRef, row: usize) -> String {
    match scalar(array, row) {
        Scalar::Null => "null".to_owned(),
        Scalar::Raw(raw) => raw,
        Scalar::Text(text) => quote(&text),
    }
}

/// The value of `array` at `row` as bare text; `None` for NULL.
pub fn text(array: &ArrayRef, row: usize) -> Option<String> {
    match scalar(array, row) {
        Scalar::Null => None,
        Scalar::Raw(text) | Scalar::Text(text) => Some(text),
    }
}

/// JSON text in quotes.
pub fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("text is always JSON")
}

fn scalar(array: &ArrayRef, row: usize) -> Scalar {
    if array.is_null(row) {
        return Scalar::Null;
    }
    if is_container(array.data_type()) {
        return match Attrs::try_new(array) {
            Ok(attrs) => Scalar::Raw(object(&attrs, row)),
            Err(_) => Scalar::Null,
        };
    }
    match array.data_type() {
        DataType::Null => Scalar::Null,
        DataType::Boolean => Scalar::Raw(array.as_boolean().value(row).to_string()),
        DataType::Int8 => int(array.as_primitive::<Int8Type>().value(row).into()),
        DataType::Int16 => int(array.as_primitive::<Int16Type>().value(row).into()),
        DataType::Int32 => int(array.as_primitive::<Int32Type>().value(row).into()),
        DataType::Int64 => int(array.as_primitive::<Int64Type>().value(row).into()),
        DataType::UInt8 => int(array.as_primitive::<UInt8Type>().value(row).into()),
        DataType::UInt16 => int(array.as_primitive::<UInt16Type>().value(row).into()),
        DataType::UInt32 => int(array.as_primitive::<UInt32Type>().value(row).into()),
        DataType::UInt64 => int(array.as_primitive::<UInt64Type>().value(row).into()),
        DataType::Float16 => double(array.as_primitive::<Float16Type>().value(row).into()),
        DataType::Float32 => double(array.as_primitive::<Float32Type>().value(row).into()),
        DataType::Float64 => double(array.as_primitive::<Float64Type>().value(row)),
        DataType::Utf8 => Scalar::Text(array.as_string::<i32>().value(row).to_owned()),
        DataType::LargeUtf8 => Scalar::Text(array.as_string::<i64>().value(row).to_owned()),
        DataType::Utf8View => Scalar::Text(array.as_string_view().value(row).to_owned()),
        DataType::FixedSizeBinary(size) => {
            let bytes = array.as_fixed_size_binary().value(row);
            // Ids are hex, whatever they are called here.
            Scalar::Text(if matches!(size, 8 | 16) { hex(bytes) } else { STANDARD.encode(bytes) })
        }
        DataType::Binary => Scalar::Text(STANDARD.encode(array.as_binary::<i32>().value(row))),
        DataType::LargeBinary => Scalar::Text(STANDARD.encode(array.as_binary::<i64>().value(row))),
        DataType::BinaryView => Scalar::Text(STANDARD.encode(array.as_binary_view().value(row))),
        DataType::Timestamp(unit, _) => Scalar::Text(timestamp(array, row, *unit)),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            let key = dictionary.normalized_keys()[row];
            scalar(dictionary.values(), key)
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row)),
        DataType::FixedSizeList(_, _) => list(&array.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            let members = fields.iter().zip(columns).map(|(f, c)| format!("{}:{}", quote(f.name()), json(c, row)));
            Scalar::Raw(format!("{{{}}}", members.collect::<Vec<_>>().join(",")))
        }
        _ => match ArrayFormatter::try_new(array, &FormatOptions::default()) {
            Ok(formatter) => Scalar::Text(formatter.value(row).to_string()),
            Err(_) => Scalar::Null,
        },
    }
}

fn list(values: &ArrayRef) -> Scalar {
    let values: Vec<_> = (0..values.len()).map(|row| json(values, row)).collect();
    Scalar::Raw(format!("[{}]", values.join(",")))
}

fn int(value: i128) -> Scalar {
    let text = value.to_string();
    if value.unsigned_abs() > u128::from(MAX_SAFE) { Scalar::Text(text) } else { Scalar::Raw(text) }
}

fn double(value: f64) -> Scalar {
    let text = double_text(value);
    if value.is_finite() { Scalar::Raw(text) } else { Scalar::Text(text) }
}

/// RFC 3339 with 9 digits and `Z`.
fn timestamp(array: &ArrayRef, row: usize, unit: TimeUnit) -> String {
    let nanos: i128 = match unit {
        TimeUnit::Second => i128::from(array.as_primitive::<TimestampSecondType>().value(row)) * 1_000_000_000,
        TimeUnit::Millisecond => i128::from(array.as_primitive::<TimestampMillisecondType>().value(row)) * 1_000_000,
        TimeUnit::Microsecond => i128::from(array.as_primitive::<TimestampMicrosecondType>().value(row)) * 1_000,
        TimeUnit::Nanosecond => i128::from(array.as_primitive::<TimestampNanosecondType>().value(row)),
    };
    rfc3339(nanos, 9)
}

/// RFC 3339 in UTC with `digits` digits of a second; the bare number beyond the years that a calendar has.
pub fn rfc3339(nanos: i128, digits: u8) -> String {
    match jiff::Timestamp::from_nanosecond(nanos) {
        Ok(time) => format!("{time:.precision$}", precision = usize::from(digits)),
        Err(_) => nanos.to_string(),
    }
}
