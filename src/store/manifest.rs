//! The manifest: numbered deltas that name the live parts (storage.md 8).

use serde::{Deserialize, Serialize};

/// A part as the manifest names it. Times are ns since 1970, `ingest` µs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartEntry {
    /// Below the dataset's folder: `spans/date=…/hour=…/{ulid}.parquet`.
    pub path: String,
    /// 0 or 1.
    pub level: u8,
    /// `YYYY-MM-DDTHH`
    pub hour: String,
    /// Rows of the file.
    pub rows: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Length of the Parquet footer.
    pub footer_bytes: u64,
    /// First and last start time.
    pub start: [i64; 2],
    /// First and last end time.
    pub end: [i64; 2],
    /// First and last store position.
    pub ingest: [i64; 2],
    /// Per row group.
    pub row_groups: Vec<RowGroupEntry>,
    /// Up to 64 names, sorted; else `service_range`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub services: Option<Vec<String>>,
    /// Smallest and largest name, where there are more than 64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_range: Option<[String; 2]>,
    /// lsn range of the generation.
    pub lsn: [u64; 2],
    /// Version of the span schema.
    pub schema: u32,
    /// XXH3-64 of the file, 16 hex digits.
    pub file_xxh3: String,
    /// XXH3-64 of its `.sum`, 16 hex digits.
    pub sum_xxh3: String,
}

/// Time ranges of one row group.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowGroupEntry {
    /// First and last start time.
    pub start: [i64; 2],
    /// First and last end time.
    pub end: [i64; 2],
}
