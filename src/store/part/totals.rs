//! What two sets of rows are compared by: their number, the sum of their hashes, and the rows of every key.
//!
//! Duty: [`Totals`], of a footer's claims or of rows at hand. Guarantee: totals of the same rows are equal however the
//! rows lie in parts. Left to others: the verdict (`store/compact/proof.rs`).

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use parquet::file::metadata::ParquetMetaData;

use super::encode::{Facts, STATS_KEY};
use super::keys::{Keys, Level};
use super::promote::Promotion;
use super::tally::Tally;
use super::{Error, metadata_text};

/// Sums over rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Rows.
    pub rows: u64,
    /// Wrapping sum of the rows' hashes (`wg.stats`).
    pub hash: u64,
    /// (level, key) → rows that have the key.
    pub present: BTreeMap<(&'static str, String), u64>,
    /// Keys may be missing in `present`.
    pub partial: bool,
}

impl Totals {
    /// Adds those of other rows.
    pub fn add(&mut self, other: &Self) {
        self.rows += other.rows;
        self.hash = self.hash.wrapping_add(other.hash);
        self.partial |= other.partial;
        for (key, rows) in &other.present {
            *self.present.entry(key.clone()).or_default() += rows;
        }
    }

    /// Of `batch`, which has the columns of a file promoted as `promotion`.
    pub fn of_rows(batch: &RecordBatch, promotion: &Promotion) -> Self {
        let mut tallies = [Tally::default(), Tally::default(), Tally::default()];
        let counted = promotion.tally(&mut tallies, 0, &mut |at| Ok(batch.column(at).clone()));
        counted.expect("a column that is there is no error");
        let mut facts = Facts::default();
        facts.add(batch);
        Self::of(&facts, &tallies)
    }

    pub(super) fn of(facts: &Facts, tallies: &[Tally; 3]) -> Self {
        let mut present = BTreeMap::new();
        for (level, tally) in Level::ALL.into_iter().zip(tallies) {
            let keys = tally.keys.iter().map(|key| ((level.as_str(), key.key.clone()), key.rows.iter().sum::<u64>()));
            present.extend(keys.filter(|(_, rows)| *rows > 0));
        }
        Self { rows: facts.rows, hash: facts.hash, present, partial: false }
    }

    /// As the footer of the part `path` claims them.
    pub(super) fn claimed(path: &str, metadata: &ParquetMetaData, keys: &Keys) -> Result<Self, Error> {
        let stats = metadata_text(metadata, STATS_KEY).and_then(|text| serde_json::from_str(text).ok());
        let stats: serde_json::Value = stats.unwrap_or_default();
        let hash = stats["hash"].as_str().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let (Some(rows), Some(hash)) = (stats["rows"].as_u64(), hash) else {
            return Err(Error::corrupt(path, "its footer has no readable `wg.stats`"));
        };
        let mut present = BTreeMap::new();
        for level in Level::ALL {
            let keys = keys.level(level).iter().filter(|key| key.present > 0);
            present.extend(keys.map(|key| ((level.as_str(), key.key.clone()), key.present)));
        }
        Ok(Self { rows, hash, present, partial: !keys.complete })
    }
}
