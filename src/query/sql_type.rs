//! Names of types as SQL here writes them.
//!
//! Duty: one word per Arrow type (sql.md 2, 9.2). Guarantee: every integer is BIGINT, every text TEXT. Left to others:
//! units.

use arrow::datatypes::{DataType, TimeUnit};

use super::attributes::is_container;
use super::functions::exphist_value;

/// `TEXT`, `BIGINT`, `BINARY(16)`, `TIMESTAMP(9)`, `ATTRIBUTES`, `EXPHIST`, `LIST<…>`, `STRUCT<name type, …>` and the
/// like.
pub fn sql_type(of: &DataType) -> String {
    if is_container(of) {
        return "ATTRIBUTES".to_owned();
    }
    if exphist_value::is(of) {
        return "EXPHIST".to_owned();
    }
    match of {
        DataType::Null => "NULL".to_owned(),
        DataType::Boolean => "BOOLEAN".to_owned(),
        of if of.is_integer() => "BIGINT".to_owned(),
        of if of.is_floating() => "DOUBLE".to_owned(),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "TEXT".to_owned(),
        DataType::FixedSizeBinary(bytes) => format!("BINARY({bytes})"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY".to_owned(),
        DataType::Timestamp(unit, _) => format!(
            "TIMESTAMP({})",
            match unit {
                TimeUnit::Second => 0,
                TimeUnit::Millisecond => 3,
                TimeUnit::Microsecond => 6,
                TimeUnit::Nanosecond => 9,
            }
        ),
        DataType::Date32 | DataType::Date64 => "DATE".to_owned(),
        DataType::Time32(_) | DataType::Time64(_) => "TIME".to_owned(),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".to_owned(),
        DataType::Dictionary(_, value) => sql_type(value),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            format!("LIST<{}>", sql_type(item.data_type()))
        }
        DataType::Struct(fields) => {
            let fields: Vec<_> = fields.iter().map(|f| format!("{} {}", f.name(), sql_type(f.data_type()))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        DataType::Decimal32(p, s)
        | DataType::Decimal64(p, s)
        | DataType::Decimal128(p, s)
        | DataType::Decimal256(p, s) => {
            format!("DECIMAL({p}, {s})")
        }
        other => other.to_string().to_uppercase(),
    }
}
