//! Why a caller or a listener is refused.
//!
//! Duty: one error for `access`. Guarantee: no text holds a token. Left to others: statuses (`web`), exit codes (`cli`).

use std::path::PathBuf;

use crate::error::Class;

/// Why a caller or a listener is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No valid token where one is needed.
    #[error("{why}; send `Authorization: Bearer TOKEN` with a token of `access.tokens_file`")]
    Unauthenticated {
        /// What is wrong with the request.
        why: &'static str,
    },
    /// The role is too small.
    #[error("this needs the role admin; the token sent is that of a viewer")]
    Denied,
    /// A listener beyond loopback that anyone could use.
    #[error(
        "{setting}: {endpoint} can be reached from other machines{}: either bind loopback (`--set {setting}=localhost:PORT`), \
         or say who may call: `--set access::tokens_file=PATH`, or `--set access::anonymous=viewer`",
        if *admin { " and `access::anonymous: admin` would let all of them do everything" } else { " without tokens" }
    )]
    OpenListener {
        /// The setting that names the endpoint, as a path.
        setting: String,
        /// Its value.
        endpoint: String,
        /// Whether `anonymous: admin` is the reason.
        admin: bool,
    },
    /// The tokens file cannot be read or made.
    #[error("cannot {action} `access.tokens_file` {}: {detail}", path.display())]
    File {
        /// `read` or `make`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        detail: String,
    },
    /// The tokens file lets nobody in.
    #[error(
        "`access.tokens_file` {} holds no token; write a line `TOKEN admin` with a token of 16 characters or more, or remove \
         the file: a missing one is made with a random token", path.display()
    )]
    NoToken {
        /// The file.
        path: PathBuf,
    },
    /// A line of the tokens file that is not understood.
    #[error("{}:{line}: {why}; a line is `TOKEN ROLE`, with role `admin` or `viewer`", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong.
        why: &'static str,
    },
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Unauthenticated { .. } | Self::Denied => Class::Denied,
            Self::OpenListener { .. } | Self::NoToken { .. } | Self::Line { .. } => Class::Invalid,
            Self::File { .. } => Class::Unavailable,
        }
    }
}
