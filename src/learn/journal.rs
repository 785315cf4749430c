//! The durable state of learning: `learn.redb` (learn.md 5).
//!
//! Duty: its tables, opening, and moving a damaged file away. Guarantee: a commit happened wholly or not at all; repeating
//! anything changes nothing. Left to others: what is in a commit (`tries`, `ticks`), when it is made (`task`).

mod read;
mod replaced;
mod rows;
#[cfg(test)]
mod tests;
mod ticks;
mod tries;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, TableDefinition, WriteTransaction};
use serde::de::DeserializeOwned;

pub use read::Feedback;
pub use rows::{ClockRow, GateRun, RunRow, RunState, TryRow};
pub use ticks::{TickDone, Written};
pub use tries::{Taken, Watched};

use crate::clock::Clock;
use crate::error::Class;
use rows::{decode, encode};

/// Number in `meta.format`.
const FORMAT: u32 = 1;
/// What the library may hold of the file: patterns at the limit.
/// By default it would grow to 1 GiB, which no budget knows of.
const CACHE_BYTES: usize = 32 << 20;
/// The only tenant until there are others.
pub const TENANT: &str = "default";

type Bytes = &'static [u8];
const META: TableDefinition<'static, &str, Bytes> = TableDefinition::new("meta");
const CURSOR: TableDefinition<'static, &str, Bytes> = TableDefinition::new("cursor");
const CLOCK: TableDefinition<'static, (&str, &str), Bytes> = TableDefinition::new("clock");
const PATTERNS: TableDefinition<'static, (&str, &str, [u8; 16]), Bytes> = TableDefinition::new("patterns");
const BY_AGE: TableDefinition<'static, (&str, &str, i64, [u8; 16]), ()> = TableDefinition::new("by_age");
const RUNS: TableDefinition<'static, (&str, &str, i64), Bytes> = TableDefinition::new("runs");
const TRIES: TableDefinition<'static, &str, Bytes> = TableDefinition::new("tries");
const BY_RUN: TableDefinition<'static, (i64, i64, &str), ()> = TableDefinition::new("by_run");
const WATCH: TableDefinition<'static, (&str, &str, u64), Bytes> = TableDefinition::new("watch");
/// What a try's row needs of its run before it has a try; a run leaves it once all its tries are decided.
const RUN: TableDefinition<'static, i64, Bytes> = TableDefinition::new("run");

/// Why `learn.redb` cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or the disk.
    #[error("learn.redb: {0}; check the disk of the data folder")]
    Storage(Box<redb::Error>),
    /// Written by a newer version.
    #[error(
        "learn.redb has format {0}, this version reads {FORMAT}; use the version that wrote it, or move the file away"
    )]
    Format(u32),
    /// A row that cannot be read.
    #[error("learn.redb: a row cannot be read ({0}); move the file away to start anew")]
    Damaged(String),
    /// The file is held by another process.
    #[error("learn.redb is held by another process; stop it first")]
    Held,
    /// A journal that facts come from.
    #[error("learn cannot follow: {0}")]
    Source(String),
    /// The damaged file cannot be moved.
    #[error("learn.redb is damaged and cannot be moved to {0}: {1}; move it away by hand")]
    Quarantine(PathBuf, std::io::Error),
}

impl Error {
    /// What the caller can do about it.
    pub const fn class(&self) -> Class {
        match self {
            Self::Storage(_) | Self::Source(_) | Self::Quarantine(..) => Class::Unavailable,
            Self::Format(_) | Self::Held => Class::Conflict,
            Self::Damaged(_) => Class::Internal,
        }
    }

    /// Whether the file is to be moved away: its bytes are not what was written.
    fn is_damage(&self) -> bool {
        use std::io::ErrorKind::{InvalidData, UnexpectedEof};
        match self {
            Self::Damaged(_) => true,
            Self::Storage(error) => match error.as_ref() {
                redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => true,
                redb::Error::TableTypeMismatch { .. } | redb::Error::TypeDefinitionChanged { .. } => true,
                redb::Error::Io(error) => matches!(error.kind(), InvalidData | UnexpectedEof),
                _ => false,
            },
            _ => false,
        }
    }
}

impl<E: Into<redb::Error>> From<E> for Error {
    fn from(error: E) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::Held,
            other => Self::Storage(Box::new(other)),
        }
    }
}

/// The open file; cheap to clone. Every call blocks, the writing ones until the disk has it.
#[derive(Clone)]
pub struct Journal {
    db: Arc<Database>,
    limits: Limits,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Journal")
    }
}

/// Most rows that are kept.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Of all patterns together.
    patterns: u64,
    /// Tries.
    tries: u64,
}

const LIMITS: Limits = Limits { patterns: 100_000, tries: 100_000 };

/// A file that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The file.
    pub journal: Journal,
    /// Where a damaged one was moved to; what it held is lost as far as the journals do not reach.
    pub quarantined: Option<PathBuf>,
}

impl Journal {
    /// Opens or makes `path`; a damaged file is moved to `quarantine` and a new one begun.
    ///
    /// Errors: see [`Error`].
    pub fn open(path: &Path, quarantine: &Path, clock: &Clock) -> Result<Opened, Error> {
        match Self::open_whole(path, clock) {
            Ok(journal) => Ok(Opened { journal, quarantined: None }),
            Err(error) if error.is_damage() => {
                let to = quarantine.join(format!("learn.redb.{}", clock.now_ns()));
                tracing::error!(%error, to = %to.display(), "learn.redb is damaged and moved away");
                let moved = std::fs::create_dir_all(quarantine).and_then(|()| std::fs::rename(path, &to));
                moved.map_err(|error| Error::Quarantine(to.clone(), error))?;
                let journal = Self::open_whole(path, clock)?;
                let tx = journal.begin()?;
                tx.open_table(META)?.insert("lost_before", encode(&clock.now_ns()).as_slice())?;
                tx.commit()?;
                Ok(Opened { journal, quarantined: Some(to) })
            }
            Err(error) => Err(error),
        }
    }

    fn open_whole(path: &Path, clock: &Clock) -> Result<Self, Error> {
        let open = || {
            if !path.exists() {
                Self::make(path, clock)?;
            }
            let journal = Self::over(Database::builder().set_cache_size(CACHE_BYTES).create(path)?, LIMITS, clock)?;
            journal.check()?;
            Ok(journal)
        };
        // A file with wrong bytes can also trip an assertion of the library that reads it.
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(open)) {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Damaged("the file cannot be walked".to_owned())),
        }
    }

    /// Makes the file under another name first: a process that dies meanwhile leaves none that looks damaged.
    fn make(path: &Path, clock: &Clock) -> Result<(), Error> {
        let storage = |error: std::io::Error| Error::from(redb::Error::Io(error));
        let new = path.with_extension("redb.new");
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(storage(error)),
            _ => {}
        }
        drop(Self::over(Database::builder().create(&new)?, LIMITS, clock)?);
        std::fs::rename(&new, path).map_err(storage)?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(storage)
    }

    fn over(db: Database, limits: Limits, clock: &Clock) -> Result<Self, Error> {
        let journal = Self { db: Arc::new(db), limits };
        let tx = journal.begin()?;
        {
            let mut meta = tx.open_table(META)?;
            match stored::<_, u32>(&meta, "format")? {
                None => {
                    meta.insert("format", encode(&FORMAT).as_slice())?;
                    meta.insert("salt", encode(&[clock.random(), clock.random()]).as_slice())?;
                }
                Some(FORMAT) => {}
                Some(other) => return Err(Error::Format(other)),
            }
            // Readers want every table to exist.
            tx.open_table(CURSOR)?;
            tx.open_table(CLOCK)?;
            tx.open_table(PATTERNS)?;
            tx.open_table(BY_AGE)?;
            tx.open_table(RUNS)?;
            tx.open_table(TRIES)?;
            tx.open_table(BY_RUN)?;
            tx.open_table(WATCH)?;
            tx.open_table(RUN)?;
        }
        tx.commit()?;
        Ok(journal)
    }

    fn begin(&self) -> Result<WriteTransaction, Error> {
        Ok(self.db.begin_write()?)
    }
}

/// The row at `key`.
fn stored<'a, K: redb::Key + 'static, T: DeserializeOwned>(
    table: &impl redb::ReadableTable<K, Bytes>,
    key: impl std::borrow::Borrow<K::SelfType<'a>>,
) -> Result<Option<T>, Error> {
    table.get(key)?.map(|bytes| decode(bytes.value())).transpose()
}

/// Last sequences taken in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursors {
    /// Of the engine.
    pub engine: u64,
    /// Of the gates' journal.
    pub gates: u64,
}
