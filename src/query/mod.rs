//! SQL over one view of the store.
//!
//! Duty: the tables, functions and typing rules of sql.md on DataFusion, behind one guarded [`Gateway`]. Guarantee:
//! a statement reads one [`crate::store::View`] and nothing else, cannot write, and ends within its limits. Left to
//! others: wires and formats for people (`web`, `cli`), who may ask (`access`).

pub mod config;

pub use config::Config;
