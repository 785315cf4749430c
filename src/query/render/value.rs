//! One value as JSON or as plain text (sql.md 9.2).
//!
//! Duty: the exact form of every type. Guarantee: JSON is always valid, and no reader of it rounds an integer. Left to
//! others: rows and columns around it.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::compute::cast;
use arrow::datatypes::{
    DataType, Decimal128Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::query::attributes::list::Attrs;
use crate::query::attributes::{convert, is_container, json};
use crate::span::schema;

/// The largest integer that every JSON reader keeps.
const MAX_SAFE_INT: u64 = 1 << 53;

/// Writes the value of `array` at `row` as JSON.
///
/// Errors: a type that has no text form.
pub fn write_json(array: &ArrayRef, row: usize, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    if array.is_null(row) {
        out.extend_from_slice(b"null");
        return Ok(());
    }
    if is_container(array.data_type()) {
        out.extend_from_slice(object(array, row)?.as_bytes());
        return Ok(());
    }
    match array.data_type() {
        DataType::Null => out.extend_from_slice(b"null"),
        DataType::Boolean => out.extend_from_slice(if array.as_boolean().value(row) { b"true" } else { b"false" }),
        of if of.is_integer() => {
            let text = integer(array, row);
            let digits = text.trim_start_matches('-').parse::<u64>().unwrap_or(u64::MAX);
            match digits > MAX_SAFE_INT {
                true => quote(&text, out),
                false => out.extend_from_slice(text.as_bytes()),
            }
        }
        DataType::Float32 | DataType::Float64 => {
            let value = double(array, row);
            match serde_json::Number::from_f64(value) {
                Some(number) => out.extend_from_slice(number.to_string().as_bytes()),
                None => quote(&convert::double_text(value), out),
            }
        }
        DataType::Dictionary(..) => {
            let (values, at) = in_dictionary(array, row);
            write_json(&values, at, out)?;
        }
        DataType::List(_) => list(&array.as_list::<i32>().value(row), out)?,
        DataType::LargeList(_) => list(&array.as_list::<i64>().value(row), out)?,
        DataType::FixedSizeList(..) => list(&array.as_fixed_size_list().value(row), out)?,
        DataType::Struct(fields) => {
            let columns = array.as_struct().columns();
            out.push(b'{');
            for (at, (field, column)) in fields.iter().zip(columns).enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                quote(field.name(), out);
                out.push(b':');
                write_json(column, row, out)?;
            }
            out.push(b'}');
        }
        DataType::Map(..) => {
            let entries = array.as_map().value(row);
            let (keys, values) = (entries.column(0), entries.column(1));
            out.push(b'{');
            for at in 0..entries.len() {
                if at > 0 {
                    out.push(b',');
                }
                quote(&text(keys, at)?.unwrap_or_default(), out);
                out.push(b':');
                write_json(values, at, out)?;
            }
            out.push(b'}');
        }
        _ => quote(&text(array, row)?.unwrap_or_default(), out),
    }
    Ok(())
}

/// The value of `array` at `row` as plain text; `None` for NULL. Nested values are JSON.
///
/// Errors: a type that has no text form.
pub fn text(array: &ArrayRef, row: usize) -> Result<Option<String>, ArrowError> {
    if array.is_null(row) {
        return Ok(None);
    }
    let text = match array.data_type() {
        DataType::Null => return Ok(None),
        DataType::Utf8 => array.as_string::<i32>().value(row).to_owned(),
        DataType::LargeUtf8 => array.as_string::<i64>().value(row).to_owned(),
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        DataType::Boolean => array.as_boolean().value(row).to_string(),
        of if of.is_integer() => integer(array, row),
        DataType::Float32 | DataType::Float64 => convert::double_text(double(array, row)).to_string(),
        DataType::Timestamp(unit, _) => timestamp(array, *unit, row),
        DataType::Decimal128(..) => array.as_primitive::<Decimal128Type>().value_as_string(row),
        DataType::FixedSizeBinary(bytes) => {
            let value = array.as_fixed_size_binary().value(row);
            // Ids have 16 or 8 bytes; nothing else of ours has a fixed size.
            if matches!(bytes, 8 | 16) { hex(value) } else { STANDARD.encode(value) }
        }
        DataType::Binary => STANDARD.encode(array.as_binary::<i32>().value(row)),
        DataType::LargeBinary => STANDARD.encode(array.as_binary::<i64>().value(row)),
        DataType::BinaryView => STANDARD.encode(array.as_binary_view().value(row)),
        DataType::Dictionary(..) => {
            let (values, at) = in_dictionary(array, row);
            return text(&values, at);
        }
        DataType::List(_)
        | DataType::LargeList(_)
        | DataType::FixedSizeList(..)
        | DataType::Struct(_)
        | DataType::Map(..) => {
            let mut json = Vec::new();
            write_json(array, row, &mut json)?;
            String::from_utf8(json).map_err(|e| ArrowError::CastError(e.to_string()))?
        }
        _ => {
            let options = FormatOptions::default().with_display_error(false);
            ArrayFormatter::try_new(array.as_ref(), &options)?.value(row).try_to_string()?
        }
    };
    Ok(Some(text))
}

/// `us` microseconds since 1970 as RFC 3339 with 6 digits.
pub fn snapshot(us: i64) -> String {
    match jiff::Timestamp::from_microsecond(us) {
        Ok(time) => format!("{time:.6}"),
        Err(_) => us.to_string(),
    }
}

/// A list that has the fields of a container, though perhaps in plain types, as a container.
pub fn as_container(array: &ArrayRef) -> Option<ArrayRef> {
    if is_container(array.data_type()) {
        return Some(array.clone());
    }
    let DataType::List(item) = array.data_type() else { return None };
    let DataType::Struct(fields) = item.data_type() else { return None };
    let expected = schema::attr_fields();
    let same = fields.len() == expected.len() && fields.iter().zip(expected.iter()).all(|(a, b)| a.name() == b.name());
    same.then(|| cast(array, &schema::attributes()).ok()).flatten()
}

/// The values of a dictionary, and which of them `row` has; it has one. Keys are made plain for that row alone.
fn in_dictionary(array: &ArrayRef, row: usize) -> (ArrayRef, usize) {
    let one = array.slice(row, 1);
    let dictionary = one.as_any_dictionary();
    (dictionary.values().clone(), dictionary.normalized_keys()[0])
}

fn object(array: &ArrayRef, row: usize) -> Result<String, ArrowError> {
    let attrs = Attrs::try_new(array).map_err(|e| ArrowError::CastError(e.to_string()))?;
    Ok(json::object(&attrs, row))
}

fn list(items: &ArrayRef, out: &mut Vec<u8>) -> Result<(), ArrowError> {
    out.push(b'[');
    for at in 0..items.len() {
        if at > 0 {
            out.push(b',');
        }
        write_json(items, at, out)?;
    }
    out.push(b']');
    Ok(())
}

/// Writes a JSON string.
pub fn quote(text: &str, out: &mut Vec<u8>) {
    serde_json::to_writer(out, text).expect("a Vec takes every byte");
}

fn integer(array: &ArrayRef, row: usize) -> String {
    match array.data_type() {
        DataType::Int8 => array.as_primitive::<Int8Type>().value(row).to_string(),
        DataType::Int16 => array.as_primitive::<Int16Type>().value(row).to_string(),
        DataType::Int32 => array.as_primitive::<Int32Type>().value(row).to_string(),
        DataType::UInt8 => array.as_primitive::<UInt8Type>().value(row).to_string(),
        DataType::UInt16 => array.as_primitive::<UInt16Type>().value(row).to_string(),
        DataType::UInt32 => array.as_primitive::<UInt32Type>().value(row).to_string(),
        DataType::UInt64 => array.as_primitive::<UInt64Type>().value(row).to_string(),
        _ => array.as_primitive::<Int64Type>().value(row).to_string(),
    }
}

fn double(array: &ArrayRef, row: usize) -> f64 {
    match array.data_type() {
        DataType::Float32 => f64::from(array.as_primitive::<Float32Type>().value(row)),
        _ => array.as_primitive::<Float64Type>().value(row),
    }
}

/// RFC 3339 with 9 digits and `Z`; every timestamp here is UTC.
fn timestamp(array: &ArrayRef, unit: TimeUnit, row: usize) -> String {
    let (value, ns) = match unit {
        TimeUnit::Second => (array.as_primitive::<TimestampSecondType>().value(row), 1_000_000_000),
        TimeUnit::Millisecond => (array.as_primitive::<TimestampMillisecondType>().value(row), 1_000_000),
        TimeUnit::Microsecond => (array.as_primitive::<TimestampMicrosecondType>().value(row), 1_000),
        TimeUnit::Nanosecond => (array.as_primitive::<TimestampNanosecondType>().value(row), 1),
    };
    match jiff::Timestamp::from_nanosecond(i128::from(value) * ns) {
        Ok(time) => format!("{time:.9}"),
        // Beyond the year 9999 there is no RFC 3339.
        Err(_) => value.to_string(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a String does not fail");
        text
    })
}

/// `array` itself, or its elements as containers where they are stored in plain types, at any depth of lists.
pub fn with_containers(array: &ArrayRef) -> ArrayRef {
    use arrow::array::{ListArray, StructArray};
    if let Some(container) = as_container(array) {
        return container;
    }
    match array.data_type() {
        DataType::List(item) => {
            let list = array.as_list::<i32>();
            let values = with_containers(list.values());
            let item = Arc::new(item.as_ref().clone().with_data_type(values.data_type().clone()));
            match ListArray::try_new(item, list.offsets().clone(), values, list.nulls().cloned()) {
                Ok(list) => Arc::new(list),
                Err(_) => array.clone(),
            }
        }
        DataType::Struct(fields) => {
            let parts = array.as_struct();
            let columns: Vec<_> = parts.columns().iter().map(with_containers).collect();
            let fields = fields
                .iter()
                .zip(&columns)
                .map(|(field, column)| Arc::new(field.as_ref().clone().with_data_type(column.data_type().clone())));
            match StructArray::try_new(fields.collect(), columns, parts.nulls().cloned()) {
                Ok(parts) => Arc::new(parts),
                Err(_) => array.clone(),
            }
        }
        _ => array.clone(),
    }
}
