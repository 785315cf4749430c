//! Why nothing, or not all, was generated.
//!
//! Duty: the closed set of failures with their codes (semconv.md 9.3, 9.4). Guarantee: a text says what, where and the
//! next move; templates' mistakes are listed all at once. Left to others: exit codes (`cli`), outcomes (`engine/job`).

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::error::Class;
use crate::yaml::Problem;

/// What kept files from being generated, staged, applied or reverted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target, or its variant, has no folder.
    #[error("WG-GEN-002 no templates in `{wanted}`{}", list(.known))]
    NoTarget {
        /// `registry/<target>` or `registry/<target>/<variant>`.
        wanted: String,
        /// What could be meant.
        known: Vec<String>,
    },
    /// `weaver.yaml` files are wrong.
    #[error("{}", problems(.0))]
    Config(Vec<Problem>),
    /// Templates name filters, tests or functions that do not exist here.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Unsupported(Vec<Unsupported>),
    /// A template does not parse or does not render.
    #[error("WG-GEN-020 {path}:{line}: {cause}{excerpt}")]
    Template {
        /// Path of the template.
        path: String,
        /// From 1; 0 if the line is not known.
        line: usize,
        /// What went wrong.
        cause: String,
        /// The lines around it, each on a line of its own; may be empty.
        excerpt: String,
    },
    /// Two renderings of one path differ.
    #[error(
        "WG-GEN-021 {first} and {second} both write `{path}`, with different bytes; give one of them another `file_name`"
    )]
    Twice {
        /// The path inside OUTPUT.
        path: String,
        /// The template that wrote it first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A path may not be written.
    #[error("WG-GEN-030 `{path}` {why}; generated files lie below the output folder, on regular files")]
    Path {
        /// The path as rendered.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// Files were edited by hand.
    #[error("WG-GEN-031 changed by hand since they were generated: {}; keep the edits elsewhere, or overwrite them with `--overwrite`", .0.iter().map(|c| format!("`{}`", c.path)).collect::<Vec<_>>().join(", "))]
    Conflict(Vec<Conflict>),
    /// A staging folder is not what its manifest says.
    #[error("WG-GEN-032 {}: {why}; stage again", .folder.display())]
    Staged {
        /// The folder.
        folder: PathBuf,
        /// What differs.
        why: String,
    },
    /// There is nothing to revert.
    #[error("WG-GEN-033 {}: {why}", .output.display())]
    Revert {
        /// The output folder.
        output: PathBuf,
        /// Why.
        why: String,
    },
    /// Another process generates into the same folder.
    #[error("WG-GEN-034 {} is being written by another process; try again when it ended", .0.display())]
    Locked(PathBuf),
    /// An argument cannot be used.
    #[error("WG-GEN-003 {0}")]
    Argument(String),
    /// Reading or writing failed.
    #[error("WG-GEN-035 cannot {what} {}: {source}", .path.display())]
    Io {
        /// The verb.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A name that a template uses and the renderer does not have.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unsupported {
    /// Path of the template.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// `filter`, `test` or `function`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// A name of the same kind that is near.
    pub near: Option<String>,
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, kind, name, near } = self;
        write!(
            f,
            "WG-GEN-012 {path}:{line}:{column}: {kind} \"{name}\" is not supported by the built-in renderer; run with \
             --engine weaver or remove it"
        )?;
        match near {
            Some(near) => write!(f, "; did you mean \"{near}\"?"),
            None => Ok(()),
        }
    }
}

/// A file that was edited by hand, as a three-way difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// Path inside OUTPUT.
    pub path: String,
    /// Unified: what was generated last against what lies there; empty when the former is gone.
    pub yours: String,
    /// Unified: what lies there against what is generated now.
    pub ours: String,
}

impl Error {
    /// What the caller can do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::NoTarget { .. } => Class::NotFound,
            Self::Config(_) | Self::Unsupported(_) | Self::Template { .. } | Self::Twice { .. } => Class::Invalid,
            Self::Path { .. } | Self::Argument(_) => Class::Invalid,
            Self::Conflict(_) | Self::Staged { .. } | Self::Revert { .. } => Class::Conflict,
            Self::Locked(_) => Class::Busy,
            Self::Io { .. } => Class::Unavailable,
        }
    }

    pub(super) fn io(what: &'static str, path: impl AsRef<Path>) -> impl FnOnce(io::Error) -> Self {
        let path = path.as_ref().to_owned();
        move |source| Self::Io { what, path, source }
    }
}

fn list(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!("; there is `{}`", known.join("`, `")) }
}

fn problems(problems: &[Problem]) -> String {
    let line = |p: &Problem| {
        let at = if p.path.is_empty() { String::new() } else { format!("{}: ", p.path) };
        let help = p.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("WG-GEN-001 {}: {at}{}{help}", p.mark, p.text)
    };
    problems.iter().map(line).collect::<Vec<_>>().join("\n")
}
