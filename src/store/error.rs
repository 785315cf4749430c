//! Why the store could not do what it was asked.
//!
//! Duty: one error whose variants tell the caller what to do next ([`Error::class`], [`Error::retry_after`]) and what to
//! count ([`Error::label`]). Guarantee: an append that ends in one of these is not answered as stored. Left to others:
//! status codes (`receive/status.rs`), exit codes (`cli`).

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::Class;
use crate::span::Refusal;

/// Why the store could not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Another process owns the data folder.
    #[error("{} is in use by process {pid}: stop it first, or ask it instead of reading the folder", path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// As the lock file tells it; `unknown` if it holds no number.
        pid: String,
    },
    /// The data folder is of a newer release, or its identity files are damaged.
    #[error("{}: {detail}", path.display())]
    Folder {
        /// The file.
        path: PathBuf,
        /// What is wrong and the next move.
        detail: String,
    },
    /// Reading or writing the data folder failed outside the append path.
    #[error("cannot {action} {}: {detail}", path.display())]
    Io {
        /// What was tried, as a verb: `read`, `create`.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The operating system's words.
        detail: String,
    },
    /// The log is corrupt and `wal.on_corruption` is `refuse`.
    #[error("the log is corrupt: {detail}; `wal.on_corruption: quarantine` starts without the lost records")]
    Corrupt {
        /// Which records would be lost.
        detail: String,
    },
    /// Parts or manifest could not be read or written.
    #[error("{detail}")]
    Parts {
        /// What the part or manifest code said.
        detail: String,
    },
    /// A part is not as it was written.
    #[error("{detail}")]
    PartDamaged {
        /// The part.
        path: String,
        /// What the part code said.
        detail: String,
    },
    /// Parts and manifest cannot be kept, or are not to be looked for, where the configuration says.
    #[error("{place}: {detail}")]
    Place {
        /// As `storage.object_store.url` names it.
        place: String,
        /// Why not and the next move.
        detail: String,
    },
    /// The object store does not answer.
    #[error(
        "{place} cannot be reached: {detail}; check the server, the network and `endpoint` in \
         `storage.object_store.options`"
    )]
    Unreachable {
        /// As `storage.object_store.url` names it.
        place: String,
        /// What the client said.
        detail: String,
    },
    /// Another process has become the writer of the store (storage.md 8): nothing is written any more.
    #[error("{detail}")]
    Superseded {
        /// What the manifest said: who, and since which version.
        detail: String,
    },
    /// Generations hold their whole share of memory.
    #[error("the store's memory share ({limit_bytes} bytes) is full until a flush ends; send again")]
    Memory {
        /// The share.
        limit_bytes: u64,
    },
    /// More generations wait for their flush than `memtable.max_frozen`.
    #[error("{frozen} generations wait for their flush (memtable.max_frozen); send again")]
    FlushBehind {
        /// How many wait.
        frozen: usize,
    },
    /// The log that is not flushed yet is longer than `wal.max_bytes`.
    #[error("the unflushed log is {bytes} bytes long (wal.max_bytes); send again")]
    LogFull {
        /// Its length.
        bytes: u64,
    },
    /// There is no room on the disk for the next log segment.
    #[error("the disk of the data folder is full ({detail}); free some space, the store goes on by itself")]
    DiskFull {
        /// What was tried.
        detail: String,
    },
    /// A write or sync of the log failed; nothing is acknowledged until a fresh file has been proven.
    #[error("the log could not be made durable ({detail}); the store goes on once a fresh file has been proven")]
    Sync {
        /// The operating system's words.
        detail: String,
    },
    /// The log's thread has ended by a defect of ours; what was acknowledged is in the log.
    #[error("{detail}; nothing is stored until the daemon is restarted: nothing acknowledged is lost; report it")]
    Died {
        /// What panicked, and what it said.
        detail: String,
    },
    /// The store is shutting down.
    #[error("the store is shutting down; send again to its successor")]
    Draining,
    /// A record larger than the log's format holds.
    #[error("a record of {bytes} bytes is too large for the log (4 GiB): send fewer spans in a request")]
    TooLarge {
        /// Length of the payload.
        bytes: u64,
    },
    /// A defect of ours.
    #[error("internal error in the store: {detail}")]
    Internal {
        /// What did not hold.
        detail: String,
    },
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Locked { .. } => Class::Conflict,
            Self::Folder { .. } | Self::Corrupt { .. } | Self::Place { .. } => Class::Invalid,
            Self::Memory { .. } | Self::FlushBehind { .. } | Self::LogFull { .. } | Self::DiskFull { .. } => {
                Class::Busy
            }
            Self::Io { .. }
            | Self::Parts { .. }
            | Self::PartDamaged { .. }
            | Self::Unreachable { .. }
            | Self::Superseded { .. }
            | Self::Sync { .. }
            | Self::Died { .. }
            | Self::Draining => Class::Unavailable,
            Self::TooLarge { .. } => Class::TooLarge,
            Self::Internal { .. } => Class::Internal,
        }
    }

    /// Counter label: `memory`, `queue`, `disk`, `sync`, `draining`, `superseded`, `size`, `internal`.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Memory { .. } => "memory",
            Self::FlushBehind { .. } => "queue",
            Self::LogFull { .. } | Self::DiskFull { .. } => "disk",
            Self::Sync { .. } => "sync",
            Self::Draining => "draining",
            Self::Superseded { .. } => "superseded",
            Self::TooLarge { .. } => "size",
            Self::Locked { .. }
            | Self::Folder { .. }
            | Self::Io { .. }
            | Self::Corrupt { .. }
            | Self::Place { .. }
            | Self::Unreachable { .. }
            | Self::Parts { .. }
            | Self::PartDamaged { .. } => "internal",
            Self::Died { .. } | Self::Internal { .. } => "internal",
        }
    }

    /// How long the sender should wait before it sends again; `None` where the receiver estimates it (otlp.md B6).
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            // otlp.md B6, A4: disk full or commit stalled: 5 s
            Self::LogFull { .. } | Self::DiskFull { .. } | Self::Sync { .. } => Some(Duration::from_secs(5)),
            // otlp.md X2
            Self::Draining => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, error: &std::io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), detail: error.to_string() }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (class, label, retry_after) = (error.class(), error.label(), error.retry_after());
        Self { class, reason: error.to_string(), label, retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_busy_for_five_seconds_and_a_failed_sync_unavailable() {
        let full = Refusal::from(Error::DiskFull { detail: "No space left on device".to_owned() });
        assert_eq!((full.class, full.label, full.retry_after), (Class::Busy, "disk", Some(Duration::from_secs(5))));
        let sync = Refusal::from(Error::Sync { detail: "EIO".to_owned() });
        assert_eq!((sync.class, sync.label), (Class::Unavailable, "sync"));
        assert_eq!(Refusal::from(Error::Draining).label, "draining");
    }
}
