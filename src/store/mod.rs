//! The span store: log, memory, Parquet parts, manifest.
//!
//! Duty: take deliveries durably ([`Store`]), keep them as parts, and show one consistent [`View`] of all rows.
//! Guarantee: an append that returned `Ok` survives kill -9 and power loss (with `durability: fsync`) and is in every
//! view taken afterwards, exactly once. Left to others: SQL (`query`), admission (`receive`), semantic-convention
//! columns (handed in as a function).

pub mod config;
mod error;
mod folder;
pub mod ledger;
mod lock;
pub mod manifest;
mod memtable;
mod metrics;
mod outlier;
pub mod part;
mod recover;
#[cfg(test)]
mod samples;
mod snapshot;
mod split;
mod wal;

pub use config::Config;
pub use error::Error;
pub use ledger::Ledger;
pub use snapshot::{Gen, PartSet, Reader, Rows, Snapshot, View};

use crate::budget::Budget;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::span::Delivery;

/// A log sequence number: one per record, +1 each, never reused.
pub type Lsn = u64;

/// The answer to an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The record; 0 for an empty delivery or a duplicate.
    pub lsn: Lsn,
    /// The same request was already stored (storage.md 11.3a); nothing was added.
    pub duplicate: bool,
}

/// How the store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Replay has ended and appends can be made durable.
    pub ready: bool,
    /// What is wrong or pending, one sentence each; empty when all is well.
    pub reasons: Vec<String>,
}

/// The span store; cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    reader: Reader,
    ledger: Ledger,
}

impl Store {
    /// Opens the data folder `config.path`, made if absent. Returns as soon as appends can be taken; replay of the log
    /// goes on behind ([`Store::is_ready`]). Must be called within a tokio runtime.
    pub async fn open(
        config: Config,
        disk: Disk,
        clock: Clock,
        budget: &Budget,
        registry: &prometheus::Registry,
    ) -> Result<Self, Error> {
        let _ = (config, disk, clock, budget, registry);
        Err(Error::Draining)
    }

    /// Makes a delivery durable and visible; an empty one is answered at once.
    pub async fn append(&self, delivery: Delivery) -> Result<Appended, Error> {
        let _ = delivery;
        Err(Error::Draining)
    }

    /// Whether replay has ended.
    pub fn is_ready(&self) -> bool {
        false
    }

    /// A handle on the rows.
    pub fn reader(&self) -> Reader {
        self.reader.clone()
    }

    /// The drop ledger.
    pub fn ledger(&self) -> Ledger {
        self.ledger.clone()
    }

    /// How the store is.
    pub fn health(&self) -> Health {
        Health { ready: false, reasons: Vec::new() }
    }

    /// Writes all rows in memory to parts; returns when they are durable and in the manifest.
    pub async fn freeze_and_flush(&self) -> Result<(), Error> {
        Err(Error::Draining)
    }

    /// Waits for pending appends, flushes, writes the shutdown mark, releases the folder.
    pub async fn close(self) -> Result<(), Error> {
        Ok(())
    }
}
