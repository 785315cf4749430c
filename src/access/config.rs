//! The section `access` (collector_config.md 4).

use std::path::PathBuf;

use crate::yaml::Section;

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

impl Config {
    /// Reads the section.
    pub fn read(section: &Section<'_>) -> Self {
        let roles = [("none", None), ("viewer", Some(Role::Viewer)), ("admin", Some(Role::Admin))];
        Self {
            anonymous: section.choice("anonymous", &roles),
            tokens_file: section.text("tokens_file").filter(|path| path_given(section, path)).map(PathBuf::from),
        }
    }
}

fn path_given(section: &Section<'_>, path: &str) -> bool {
    if path.is_empty() {
        section.check("tokens_file", "must not be empty");
    }
    !path.is_empty()
}
