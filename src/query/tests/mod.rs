//! Claims about SQL over views made of memory, parts, or both.

mod as_of;
mod attributes;
mod catalog;
mod docs;
pub(crate) mod fixture;
mod functions;
mod levels;
mod lookups;
mod plans;
mod relations;
mod skip;
mod table_functions;
