//! The section `access` (collector_config.md 4).

use std::path::PathBuf;

/// What a caller may do; a later role may do all that an earlier one may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read.
    Viewer,
    /// Everything.
    Admin,
}

/// Settings of who may call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// `anonymous`: outer `None` = not set (admin on loopback, else none); inner `None` = `none`.
    pub anonymous: Option<Option<Role>>,
    /// `tokens_file`: one token and role a line.
    pub tokens_file: Option<PathBuf>,
}
