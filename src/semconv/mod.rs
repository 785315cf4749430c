//! Semantic conventions: a registry that says which spans and attributes a system should emit (semconv.md).
//!
//! Duty: loads registries ([`Registry`], of a [`Source`]), compiles them ([`Tables`]), checks every batch against the one
//! in force ([`Live`]), and hands registries to code generation as JSON ([`Registry::v2_view`],
//! [`Registry::template_view`]). Guarantee: all problems of all files are told at once with `path:line:col`; what is
//! specified and not built is refused by name; a check loses no span. Left to others: templates (`generate`), the columns
//! in memory and files (`store`).

mod builtin;
mod check;
mod columns;
pub mod config;
mod definition;
mod live;
mod problem;
mod registry;
mod resolve;
mod source;
mod tables;
mod value;
mod view;

#[cfg(test)]
mod tests;

pub use check::{Counts, check};
pub use config::Config;
pub use live::{Live, POLL, attribute_types};
pub use problem::{Code, Error, Problem};
pub use registry::{Attribute, AttributeGroup, AttributeUse, Loaded, Registry, Span};
pub use source::Source;
pub use tables::{Asked, AttributeId, AttributeSet, SpanTable, SpanTypeId, Tables};
pub use value::{AttributeType, Deprecated, Member, RequirementLevel, Stability, ValueType};
