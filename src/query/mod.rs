//! SQL over one view of the store.
//!
//! Duty: the tables, functions and typing rules of sql.md on DataFusion, behind one guarded [`Gateway`]. Guarantee:
//! a statement reads one [`crate::store::View`] and nothing else, cannot write, and ends within its limits. Left to
//! others: wires and formats for people (`web`, `cli`), who may ask (`access`).
//!
//! A statement passes `guard` (text, kinds, caps) and `gateway` (limits, cancel), is planned in a `session` of names
//! that `allow` lists, typed by `attributes`, read by `scan`, and leaves through `render`. Relations: `table`,
//! `traces`, `events`, `red`, `catalog`, `system`; computed ones share `derived`. ★ functions: values in `functions`,
//! rows in `table_functions` over the pure `forest`; their texts in `docs`. ★ named queries: `library`. Statements that are
//! asked again and again: `prepared`, and `shared` where several have states in common.

mod allow;
pub mod attributes;
mod caps;
mod catalog;
pub(crate) mod condition;
pub mod config;
mod derived;
pub mod dialect;
pub mod docs;
pub mod error;
mod events;
mod forest;
pub mod functions;
pub mod gateway;
mod guard;
pub mod hints;
mod information_schema;
pub mod lazy;
mod lenient;
mod levels;
pub mod library;
mod memory;
mod names;
mod nearest;
pub mod params;
pub mod pg;
pub mod plain;
pub mod prepared;
pub mod probe;
pub mod quiet;
mod red;
mod relations;
pub mod render;
pub mod scan;
pub mod session;
pub mod shared;
pub mod size;
mod sources;
pub mod sql_type;
mod system;
pub mod table;
mod table_functions;
mod traces;
mod translate;
pub mod units;
pub mod within;

pub use config::Config;
pub use error::{Code, Error, Position};
pub use gateway::{Answer, Gateway, Limits, Statement, Stats, Watchdog};
pub use hints::Hints;
pub use params::Params;
pub use prepared::Prepared;
pub use translate::place_of;
pub use within::Within;

#[cfg(test)]
pub(crate) mod tests;
