//! Claims about SQL over views made of memory, parts, or both.

mod attributes;
pub(crate) mod fixture;
mod functions;
mod lookups;
mod plans;
mod relations;
