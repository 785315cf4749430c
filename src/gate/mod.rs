//! Quality gates: questions asked of spans again and again, with an answer per key.
//!
//! Duty: load gate files, evaluate them on closed windows, keep one episode per breach and key. Guarantee: no data is never
//! a pass; a breach is neither missed nor invented; only new spans that pass close what a failing gate opened
//! (gates.md). Left to others: delivery (`notify`), pipelines (`engine`).

pub mod builtin;
pub mod config;
pub mod definition;
mod effects;
pub mod file;
mod files;
mod gate_keys;
pub mod load;
pub mod numbers;
pub mod plan;
pub mod problem;
mod reader;
pub mod result;
mod rows;
pub mod run;
pub mod scalar;
pub mod schema;
mod sql_file;
pub mod template;

pub use config::Config;
pub use definition::{Gate, Group};
pub use file::Known;
pub use load::{Loaded, Request, load};
pub use plan::Planner;
pub use problem::{Code, Problem};

#[cfg(test)]
mod tests;
