//! SQL over one view of the store.
//!
//! Duty: the tables, functions and typing rules of sql.md on DataFusion, behind one guarded [`Gateway`]. Guarantee:
//! a statement reads one [`crate::store::View`] and nothing else, cannot write, and ends within its limits. Left to
//! others: wires and formats for people (`web`, `cli`), who may ask (`access`).

mod allow;
pub mod attributes;
pub mod config;
mod derived;
mod events;
pub mod functions;
mod information_schema;
mod lenient;
pub mod scan;
pub mod session;
pub mod sql_type;
pub mod table;
mod traces;

pub use config::Config;

#[cfg(test)]
mod tests;
