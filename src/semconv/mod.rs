//! Semantic conventions: a registry that says which spans and attributes a system should emit (semconv.md).
//!
//! Duty: loads registries ([`Registry`], of a [`Source`]), hands them to code generation as JSON
//! ([`Registry::v2_view`], [`Registry::template_view`]). Guarantee: all problems of all files are told at once with
//! `path:line:col`; what is specified and not built is refused by name. Left to others: templates (`generate`), the
//! columns in memory and files (`store`).

mod builtin;
mod definition;
mod problem;
mod registry;
mod resolve;
mod source;
mod value;
mod view;

#[cfg(test)]
mod tests;

pub use problem::{Code, Error, Problem};
pub use registry::{Attribute, AttributeGroup, AttributeUse, Loaded, Registry, Span};
pub use source::Source;
pub use value::{AttributeType, Deprecated, Member, RequirementLevel, Stability, ValueType};
