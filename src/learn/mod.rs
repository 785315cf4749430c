//! Learning: from spans and outcomes to patterns and better choices (learn.md).
//!
//! Duty: run pattern files, keep what they show in `learned_patterns`, and keep what became of every try of a template
//! variant in `feedback`. Guarantee: it never closes an episode, changes a verdict or stands in the way of ingest; every
//! number shown carries its n and interval; no data is no knowledge. Left to others: starting pipelines (`engine`),
//! judging (`gate`), commands (`cli`).

pub mod config;
pub mod feedback;
pub mod follow;
pub mod gates;
pub mod journal;
pub mod metrics;
pub mod patterns;
pub mod sources;
pub mod stats;
pub mod tables;
pub mod task;

pub use config::Config;
pub use journal::{Error, Journal};
pub use metrics::Metrics;
pub use sources::{Ask, Asker, EngineEvents, GateFacts, Progress};
pub use task::{Learn, Parts};

#[cfg(test)]
mod tests;
