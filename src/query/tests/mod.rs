//! Claims about SQL over views made of memory, parts, or both.

mod attributes;
mod fixture;
mod functions;
mod plans;
mod relations;
