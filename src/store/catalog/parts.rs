//! Counting the rows of a part again.
//!
//! Duty: [`count`]. Guarantee: every byte was checked; only the columns that are counted are read. Left to others: which
//! parts, and what happens to the counts.

use std::sync::Arc;

use arrow::array::{AsArray as _, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::TimestampMicrosecondType;
use object_store::ObjectStore;

use super::counts::Counts;
use super::tally::{COLUMNS, Promoted, Tally};
use crate::span::pinned::ScalarType;
use crate::span::schema::{INGEST_TIME, attr_type};
use crate::store::manifest::PartEntry;
use crate::store::part::{Error, Level, Opened};

const BATCH_ROWS: usize = 8192;

/// Store positions whose rows are missing in the counts, µs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Rows above it.
    pub above_us: i64,
    /// Rows up to it.
    pub to_us: i64,
}

impl Gap {
    const fn has(self, ingest_us: i64) -> bool {
        self.above_us < ingest_us && ingest_us <= self.to_us
    }

    /// Whether some row of `part` may lie in it.
    pub const fn touches(self, part: &PartEntry) -> bool {
        self.above_us < part.ingest[1] && part.ingest[0] <= self.to_us
    }
}

/// The rows of `part` in `gap`; `None` once `stop` says so. `parts` is a [`crate::store::part::PartStore`].
pub async fn count(
    parts: &Arc<dyn ObjectStore>,
    part: &PartEntry,
    gap: Gap,
    share: usize,
    stop: impl Fn() -> bool,
) -> Result<Option<Counts>, Error> {
    let opened = Opened::open(parts.clone(), part).await?;
    let promoted = promoted(&opened);
    let lists = Level::ALL.map(|level| ["key", "type"].map(|leaf| format!("{}.list.item.{leaf}", level.column())));
    let mut columns: Vec<&str> = COLUMNS.to_vec();
    columns.push(INGEST_TIME);
    columns.extend(lists.iter().flatten().map(String::as_str));
    columns.extend(promoted.iter().map(|promoted| promoted.column.as_str()));
    let mut rows = opened.rows((0..part.row_groups.len()).collect(), Some(columns.as_slice()), BATCH_ROWS)?;
    let (mut counts, mut tally) = (Counts::new(share), Tally::default());
    let is_whole = gap.has(part.ingest[0]) && gap.has(part.ingest[1]);
    while let Some(batch) = rows.next().await? {
        if stop() {
            return Ok(None);
        }
        let batch = if is_whole { batch } else { within(&batch, gap)? };
        tally.add_stored(&mut counts, &batch, &promoted);
        tally.finish(&mut counts);
    }
    Ok(Some(counts))
}

fn within(batch: &RecordBatch, gap: Gap) -> Result<RecordBatch, Error> {
    let ingests = batch.column_by_name(INGEST_TIME).expect("it was asked for");
    let ingests = ingests.as_primitive::<TimestampMicrosecondType>().values();
    let wanted: BooleanArray = ingests.iter().map(|at| Some(gap.has(*at))).collect();
    Ok(filter_record_batch(batch, &wanted)?)
}

fn promoted(part: &Opened) -> Vec<Promoted> {
    let mut all = Vec::new();
    for level in Level::ALL {
        for entry in part.keys.level(level) {
            let of = match entry.promoted {
                None => continue,
                Some(ScalarType::Text) => attr_type::STRING,
                Some(ScalarType::Int) => attr_type::INT,
                Some(ScalarType::Double) => attr_type::DOUBLE,
                Some(ScalarType::Bool) => attr_type::BOOL,
            };
            let column = format!("{}.{}", level.as_str(), entry.key);
            all.push(Promoted { level, key: entry.key.clone(), of, column });
        }
    }
    all
}
