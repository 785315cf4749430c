//! Processors: what happens to spans before the store.
//!
//! Duty: the processors of `service::pipelines`, one file each. Guarantee: a body is read and checked as the Collector
//! does. Left to others: which pipeline uses which (`graph`).
//!
//! Neither of the two built so far changes a delivery, so the request body stays with it (storage.md 4.1, kind 1).

mod batch;
mod memory_limiter;

pub use batch::Batch;
pub use memory_limiter::{Limit, MemoryLimiter};

use crate::span::Next;
use crate::yaml::Section;

/// A processor with its settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Component id as written.
    pub id: String,
    /// Which one, and its settings.
    pub kind: Kind,
}

/// The processors there are.
#[derive(Clone, Debug, PartialEq)]
pub enum Kind {
    /// `memory_limiter`
    MemoryLimiter(MemoryLimiter),
    /// `batch`
    Batch(Batch),
}

impl Config {
    /// Reads the body of the `memory_limiter` named `id`.
    pub fn memory_limiter(id: &str, section: &Section<'_>) -> Self {
        Self { id: id.to_owned(), kind: Kind::MemoryLimiter(MemoryLimiter::read(section)) }
    }

    /// Reads the body of the `batch` named `id`.
    pub fn batch(id: &str, section: &Section<'_>) -> Self {
        Self { id: id.to_owned(), kind: Kind::Batch(Batch::read(section)) }
    }

    /// The processor in front of `next`.
    pub fn before(&self, next: Next) -> Next {
        match &self.kind {
            // collector_config.md 12: admission (otlp.md B4) does the limiter's work, and the store commits in groups.
            Kind::MemoryLimiter(_) | Kind::Batch(_) => next,
        }
    }
}
