//! Units of columns (sql.md 9.2).
//!
//! Duty: the word for the unit of a result column. Guarantee: none is invented: it is in the field's metadata, or the
//! name of the column ends in it (sql.md 2: units are in names). Left to others: types (`sql_type`).

use arrow::datatypes::Field;

/// Metadata key under which a field of Arrow output carries its unit.
pub const UNIT: &str = "wg.unit";
/// Metadata key for how a field is shown: `hex` for ids, `json` for attributes.
pub const RENDER: &str = "wg.render";

/// `ns`, `us`, `ms`, `s`, `bytes`, or `None`.
pub fn unit(field: &Field) -> Option<&str> {
    if let Some(unit) = field.metadata().get(UNIT) {
        return Some(unit);
    }
    if !field.data_type().is_numeric() {
        return None;
    }
    let (_, last) = field.name().rsplit_once('_')?;
    ["ns", "us", "ms", "s", "bytes"].into_iter().find(|unit| *unit == last)
}

#[cfg(test)]
mod tests {
    use arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn a_unit_is_in_the_name_of_a_number() {
        assert_eq!(unit(&Field::new("duration_ns", DataType::Int64, false)), Some("ns"));
        assert_eq!(unit(&Field::new("p95_ms", DataType::Float64, true)), Some("ms"));
        assert_eq!(unit(&Field::new("dns", DataType::Int64, true)), None);
        assert_eq!(unit(&Field::new("text_ms", DataType::Utf8, true)), None);
    }
}
