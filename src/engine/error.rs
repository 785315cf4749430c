//! What can go wrong with the engine itself.
//!
//! Duty: errors of file, deploy and life. Guarantee: each says what to do next. Left to others: commands that are not
//! valid (`bpmn::core::Rejection`).

use bpmn::core::Rejection;
use bpmn::diagnostic::Diagnostic;

use crate::error::Class;

/// Why the engine did not do what was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The file or the disk.
    #[error("engine.redb: {0}; nothing was changed, check the disk of the data folder")]
    Storage(String),
    /// Written by another version.
    #[error(
        "engine.redb has format {0}, this version reads 1 and 2; use the version that wrote it, or move the file away"
    )]
    Format(u32),
    /// A row that cannot be read.
    #[error("engine.redb: a row cannot be read ({0}); restore the file from a copy, or move it away to start anew")]
    Damaged(String),
    /// The file is held by another process.
    #[error("engine.redb is held by another process; stop it first")]
    Held,
    /// The engine is read-only until the file can be written again, or it is stopping.
    #[error("the engine cannot write at the moment; try again with the same request id")]
    Unavailable,
    /// The command is not valid now.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Files that cannot be deployed; nothing was.
    #[error("{} finding(s) of severity error; nothing was deployed", .0.len())]
    Refused(Vec<Diagnostic>),
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Storage(_) | Self::Unavailable | Self::Held => Class::Unavailable,
            Self::Format(_) | Self::Damaged(_) => Class::Internal,
            Self::Refused(_) => Class::Invalid,
            Self::Rejected(rejection) => match rejection {
                Rejection::NotFound { .. } | Rejection::NoSuchStart { .. } => Class::NotFound,
                Rejection::Busy { .. } => Class::Busy,
                Rejection::AmbiguousStart { .. } | Rejection::InvalidVariables { .. } => Class::Invalid,
                Rejection::DuplicateMessage { .. } | Rejection::LateCompletion { .. } | Rejection::Conflict { .. } => {
                    Class::Conflict
                }
            },
        }
    }
}

macro_rules! from_redb {
    ($($error:ty),*) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                match redb::Error::from(error) {
                    redb::Error::DatabaseAlreadyOpen => Self::Held,
                    other => Self::Storage(other.to_string()),
                }
            }
        })*
    };
}

from_redb!(redb::DatabaseError, redb::TransactionError, redb::TableError, redb::StorageError, redb::CommitError);
