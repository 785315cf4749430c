//! The section `storage` (storage.md 16).

use std::path::PathBuf;
use std::time::Duration;

/// What a success answer promises (storage.md 4.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Survives kill -9 and power loss.
    #[default]
    Fsync,
    /// Survives kill -9; up to 1 s is lost with the power.
    Os,
    /// Survives neither; there is no log.
    Memory,
}

impl Durability {
    /// The word in configuration and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
            Self::Memory => "memory",
        }
    }
}

/// What to do when the log is corrupt (not merely torn at its end).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnCorruption {
    /// Move the bad region aside, go on, degrade health.
    #[default]
    Quarantine,
    /// Do not start.
    Refuse,
}

/// Settings of the store.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data folder.
    pub path: PathBuf,
    /// `durability`
    pub durability: Durability,
    /// `wal.segment_bytes`
    pub segment_bytes: u64,
    /// `wal.max_bytes`: more unflushed log than this refuses appends.
    pub wal_max_bytes: u64,
    /// `wal.group_commit_delay`, 0 to 5 ms.
    pub group_commit_delay: Duration,
    /// `wal.compress`: lz4 for identity bodies above 4 KiB.
    pub wal_compress: bool,
    /// `wal.on_corruption`
    pub on_corruption: OnCorruption,
    /// `memtable.flush_bytes`
    pub flush_bytes: u64,
    /// `memtable.flush_after`, counted from the first row of a generation.
    pub flush_after: Duration,
    /// `memtable.max_frozen`: more generations than this refuse appends.
    pub max_frozen: usize,
    /// `dedupe.window`
    pub dedupe_window: Duration,
    /// `parquet.zstd_level`
    pub zstd_level: i32,
    /// `parquet.row_group_rows`
    pub row_group_rows: usize,
    /// `parquet.bloom_fpp`
    pub bloom_fpp: f64,
    /// `promote.always`: keys.
    pub promote_always: Vec<String>,
    /// `promote.never`: keys.
    pub promote_never: Vec<String>,
    /// `retention.min_free_bytes`; `None` = the larger of 1 GiB and 2 % of the file system.
    pub min_free_bytes: Option<u64>,
}

impl Config {
    /// The defaults, for the data folder `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::Fsync,
            segment_bytes: 64 << 20,
            wal_max_bytes: 4 << 30,
            group_commit_delay: Duration::from_millis(2),
            wal_compress: false,
            on_corruption: OnCorruption::Quarantine,
            flush_bytes: 128 << 20,
            flush_after: Duration::from_secs(30),
            max_frozen: 4,
            dedupe_window: Duration::from_secs(600),
            zstd_level: 1,
            row_group_rows: 131_072,
            bloom_fpp: 0.01,
            promote_always: Vec::new(),
            promote_never: Vec::new(),
            min_free_bytes: None,
        }
    }
}
