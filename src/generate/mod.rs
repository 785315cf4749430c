//! Code from the registry: templates → staged files → diff → atomic renames (semconv.md 9).
//!
//! Duty: render a target, stage it below `OUTPUT/.weavergen/`, show what would change, apply it, take it back.
//! Guarantee: equal input gives equal bytes; after a crash the next call finishes what was begun, so that the tree is
//! the old one or the new one; what was edited by hand is never overwritten unasked; nothing is written outside OUTPUT.
//! Left to others: resolving registries (`semconv`), the external engine (refused until built), commands and jobs.

mod apply;
mod casing;
mod comment;
mod config;
mod diff;
mod error;
mod filters;
mod hash;
mod jinja;
mod manifest;
mod names;
mod plan;
mod render;
mod stage;
mod templates;
mod tree;
mod view;

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

pub use apply::{Apply, Revert, apply, recover, revert};
pub use config::{param, params_file};
pub use error::{Conflict, Error, Unsupported};
pub use plan::Preview;
pub use render::{Input, Rendering, render};
pub use stage::{Stage, is_current, preview, prune, stage};
pub use templates::Templates;
pub use view::value as template_value;

/// A resolved registry.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// The resolved v2 view: `file_format schema_url attribute_catalog registry refinements`.
    pub view: Json,
    /// SHA-256 of the canonical resolved registry, hex.
    pub hash: String,
}

/// What staging, applying or reverting did; the result of the `codegen` job (bpmn.md 10).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The variant that was rendered.
    pub variant: Option<String>,
    /// Absolute path of the staging folder; none after apply and revert.
    pub staged: Option<PathBuf>,
    /// Unified, at most 64 KiB.
    pub diff: String,
    /// Whether the diff was cut.
    pub diff_truncated: bool,
    /// Files that differ: changed, added and removed.
    pub files_changed: u64,
    /// Files that were not there.
    pub added: u64,
    /// Files that are no longer generated.
    pub removed: u64,
    /// Absolute path of the manifest: of the staging folder, after apply and revert of OUTPUT.
    pub manifest: PathBuf,
    /// Over the target's files as they lay there before, hex.
    pub before_hash: String,
    /// Over the target's files as they lie, or would lie, there after, hex.
    pub after_hash: String,
}

#[cfg(test)]
mod tests;
