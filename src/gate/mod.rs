//! Quality gates: questions asked of spans again and again, with an answer per key.
//!
//! Duty: load gate files, evaluate them on closed windows, keep one episode per breach and key. Guarantee: no data is never
//! a pass; a breach is neither missed nor invented; only new spans that pass close what a failing gate opened
//! (gates.md). Left to others: delivery (`notify`), pipelines (`engine`).

mod alerts;
pub mod arrivals;
pub mod assertion;
pub mod baseline;
mod book;
mod buckets;
pub mod builtin;
pub mod config;
pub mod definition;
mod derived;
mod effects;
pub mod evaluator;
mod exemplars;
pub mod expected;
pub mod file;
mod files;
mod finding;
mod gate_keys;
pub mod health;
pub mod identity;
pub mod import;
pub mod journal;
pub mod late;
pub mod live;
pub mod load;
pub mod metrics;
pub mod numbers;
pub mod plan;
pub mod playback;
pub mod problem;
mod question;
mod reader;
pub mod result;
pub(crate) mod rows;
pub mod run;
pub mod scalar;
mod schedule;
pub mod schema;
pub mod slo;
mod slo_keys;
mod sql_file;
mod standing;
pub mod starts;
pub mod state;
pub mod suite;
mod tables;
pub mod template;
pub mod verdict;
pub mod watermark;
pub mod window;

pub use alerts::{Alert, Alerts};
pub use book::KeyNow;
pub use config::Config;
pub use definition::{Class, Gate, Group, On};
pub use evaluator::{CloseError, Closed, Evaluator, Parts};
pub use file::Known;
pub use journal::Journal;
pub use late::Late;
pub use live::Live;
pub use load::{Loaded, Request, load};
pub use metrics::Metrics;
pub use plan::Planner;
pub use problem::{Code, Problem};
pub use question::question;
pub use starts::Starts;
pub use tables::tables;
pub use watermark::Feed;

#[cfg(test)]
mod tests;
