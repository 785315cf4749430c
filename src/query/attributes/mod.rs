//! Attribute containers: `attributes['k']` and its kin (sql.md 3).
//!
//! Duty: the forms, their types and their values over lists of attributes. Guarantee: a conversion never fails; what is
//! not representable is NULL. Left to others: where a value lies in a file (`scan::adapter`).
//!
//! A container is known by its Arrow type, [`crate::span::schema::attributes`]. [`planner`] turns brackets into
//! [`attr::Attr`] while SQL becomes a plan and gives them the type that operators and aggregates need; [`rule`] does the
//! rest once the plan stands. The keys of a container that SQL sees are those that senders wrote ([`visible`]).

pub mod among;
pub mod attr;
pub mod containers;
pub mod convert;
pub mod json;
pub mod in_file;
pub mod list;
pub mod merge;
pub mod pairs;
pub mod planner;
pub mod promoted;
pub mod rule;
mod seen;
pub mod typing;
pub mod visible;

use arrow::datatypes::DataType;

use crate::span::schema;

/// Whether values of type `of` are attribute containers.
pub fn is_container(of: &DataType) -> bool {
    if *of == schema::attributes() {
        return true;
    }
    // The engine may relax nullability on the way, e.g. below an outer join or an unnest.
    let DataType::List(item) = of else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    let expected = schema::attr_fields();
    fields.len() == expected.len()
        && fields.iter().zip(expected.iter()).all(|(a, b)| a.name() == b.name() && a.data_type() == b.data_type())
}
