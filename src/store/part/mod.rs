//! Parquet parts: writing them, and reading them with every block checked.

use super::manifest::PartEntry;

/// A live part.
#[derive(Debug)]
pub struct Part {
    /// What the manifest says of it.
    pub entry: PartEntry,
}
