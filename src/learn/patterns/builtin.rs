//! Pattern files that are compiled into the binary (learn.md 3.5).
//!
//! Duty: their names and texts. ★ add a file there and here. Guarantee: a test loads all of them. Left to others: which of
//! them run (`load`).

/// Name and text of each, in order.
pub const FILES: [(&str, &str); 3] = [
    ("missing_attribute", include_str!("../../../queries/patterns/missing_attribute.sql")),
    ("error_hotspot", include_str!("../../../queries/patterns/error_hotspot.sql")),
    ("new_operation", include_str!("../../../queries/patterns/new_operation.sql")),
];
