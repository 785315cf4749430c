//! The span store: log, memory, Parquet parts, manifest.
//!
//! Duty: take deliveries durably ([`Store`]), keep them as parts, and show one consistent [`View`] of all rows.
//! Guarantee: an append that returned `Ok` survives kill -9 and power loss (with `durability: fsync`) and is in every
//! view taken afterwards, exactly once. Left to others: SQL (`query`), admission (`receive`), semantic-convention
//! columns (handed in as a function).

pub mod config;
pub mod local;
pub mod manifest;
pub mod part;
mod snapshot;

pub use config::Config;
pub use snapshot::{Gen, PartSet, Reader, Rows, Snapshot, View};

/// A log sequence number: one per record, +1 each, never reused.
pub type Lsn = u64;
