//! Sources of spans in `gates.redb` (gates.md 3 and 7).
//!
//! Duty: the table `sources`, and the store position up to which it is true. Guarantee: both change together, in the
//! transaction of what else happened. Left to others: what a source is (`watermark`).

use std::collections::BTreeMap;

use redb::{ReadableTable as _, WriteTransaction};
use serde::{Deserialize, Serialize};

use super::read::Snapshot;
use super::rows::{Row, decode, encode};
use super::{Batch, Error, META, SOURCES, stored};

/// Key in `meta`: the store position.
const HEARD: &str = "heard";

/// 0 and a service, or the number of a class of services.
pub type SourceKey = (u16, String);

/// What is known of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRow {
    /// m(σ): the latest end of its spans, ns since 1970.
    pub latest_ns: i64,
    /// Wall time at which the last of them came, ns since 1970.
    pub seen_ns: i64,
}

impl Row for SourceRow {}

/// All that is known of sources.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SourcesKept {
    /// Each.
    pub rows: BTreeMap<SourceKey, SourceRow>,
    /// Spans up to this position of the store are in them, µs since 1970; `None`: nothing was ever written.
    pub heard_us: Option<i64>,
}

impl Snapshot {
    /// Sources as they were last written.
    pub fn sources(&self) -> Result<SourcesKept, Error> {
        let mut kept = SourcesKept { heard_us: stored(&self.table(META)?, HEARD)?, ..SourcesKept::default() };
        for entry in self.table(SOURCES)?.iter()? {
            let (key, row) = entry?;
            let (class, service) = key.value();
            kept.rows.insert((class, service.to_owned()), decode(row.value())?);
        }
        Ok(kept)
    }
}

/// Writes what `batch` says of sources.
pub(super) fn write(tx: &WriteTransaction, batch: &Batch) -> Result<(), Error> {
    if let Some(heard_us) = batch.heard_us {
        tx.open_table(META)?.insert(HEARD, encode(&heard_us).as_slice())?;
    }
    if batch.sources.is_empty() {
        return Ok(());
    }
    let mut sources = tx.open_table(SOURCES)?;
    for ((class, service), row) in &batch.sources {
        let key = (*class, service.as_str());
        match row {
            Some(row) => drop(sources.insert(key, encode(row).as_slice())?),
            None => drop(sources.remove(key)?),
        }
    }
    Ok(())
}
