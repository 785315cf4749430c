//! Pattern files that are compiled into the binary (learn.md 3.5).
//!
//! Duty: which they are. ★ add a name here, and its file to `query::library`. Guarantee: a test loads all of them. Left to
//! others: which of them run (`load`).

use crate::query::library::compiled;

/// Their names, in order.
const NAMES: [&str; 3] = ["missing_attribute", "error_hotspot", "new_operation"];

/// Name and text of each, in order.
pub fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    NAMES.into_iter().map(|name| (name, compiled(&format!("patterns/{name}.sql")).expect("the library has it")))
}
