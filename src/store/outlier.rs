//! Time outliers: spans whose start time says nothing of when they happened (storage.md 11.1).
//!
//! Duty: mark them with anomaly bit 5 once their store position is known. Guarantee: the mark depends on the row, its
//! position and `retention.max_age` alone, so replay marks the same rows. Left to others: filing them under their ingest hour (`split.rs`).

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, UInt16Array};
use arrow::datatypes::UInt16Type;

use crate::span::schema::anomaly;
use crate::span::{SpanBatch, TimeRange};

/// How far ahead of ingest a start time may lie.
const AHEAD_NS: i64 = 24 * 3600 * 1_000_000_000;

/// Whether a start time is an outlier at the position `ingest_us`; without `max_age` none is too old.
pub fn is_outlier(start_ns: i64, ingest_us: i64, max_age: Option<Duration>) -> bool {
    let ingest_ns = ingest_us.saturating_mul(1000);
    let horizon = max_age.map(|age| ingest_ns.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX)));
    start_ns == 0 || start_ns > ingest_ns.saturating_add(AHEAD_NS) || horizon.is_some_and(|horizon| start_ns < horizon)
}

/// Whether start times within `range` may be outliers.
pub fn may_have(range: TimeRange, ingest_us: i64, max_age: Option<Duration>) -> bool {
    // Between the ends only 0 is one.
    let zero = range.min_ns <= 0 && range.max_ns >= 0;
    zero || [range.min_ns, range.max_ns].iter().any(|start| is_outlier(*start, ingest_us, max_age))
}

/// `batch` with anomaly bit 5 on its outliers.
pub fn mark(batch: SpanBatch, ingest_us: i64, max_age: Option<Duration>) -> SpanBatch {
    let starts = batch.start_times();
    let starts = starts.values();
    if !starts.iter().any(|start| is_outlier(*start, ingest_us, max_age)) {
        return batch;
    }
    let columns = batch.as_record_batch();
    let Some(at) = columns.schema_ref().fields().iter().position(|f| f.name() == "anomalies") else { return batch };
    let marked: UInt16Array = columns
        .column(at)
        .as_primitive::<UInt16Type>()
        .values()
        .iter()
        .zip(starts)
        .map(|(bits, start)| if is_outlier(*start, ingest_us, max_age) { bits | anomaly::TIME_OUTLIER } else { *bits })
        .collect::<Vec<_>>()
        .into();
    batch.with_column(at, Arc::new(marked)).expect("one column was replaced by its like")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_far_ahead_and_before_the_horizon_are_outliers_and_late_is_not() {
        let ingest_us = 1_700_000_000_000_000;
        let ingest_ns = ingest_us * 1000;
        assert!(is_outlier(0, ingest_us, None));
        assert!(is_outlier(ingest_ns + AHEAD_NS + 1, ingest_us, None));
        assert!(!is_outlier(ingest_ns + AHEAD_NS, ingest_us, None));
        assert!(!is_outlier(ingest_ns - 40 * AHEAD_NS, ingest_us, None));
        let fortnight = Some(Duration::from_secs(14 * 86_400));
        assert!(!is_outlier(ingest_ns - 14 * AHEAD_NS, ingest_us, fortnight));
        assert!(is_outlier(ingest_ns - 14 * AHEAD_NS - 1, ingest_us, fortnight));
    }

    #[test]
    fn a_range_without_outliers_at_its_ends_and_without_zero_has_none() {
        let (ingest_us, now) = (1_700_000_000_000_000, 1_700_000_000_000_000_000);
        let age = Some(Duration::from_secs(3600));
        let at = [-1, 0, 1, now - 7200 * 1_000_000_000, now - 1, now, now + AHEAD_NS, now + AHEAD_NS + 1];
        for (first, min_ns) in at.into_iter().enumerate() {
            for (last, max_ns) in at.into_iter().enumerate().skip(first) {
                for max_age in [None, age] {
                    let any = at[first..=last].iter().any(|start| is_outlier(*start, ingest_us, max_age));
                    assert_eq!(may_have(TimeRange { min_ns, max_ns }, ingest_us, max_age), any, "{min_ns}..={max_ns}");
                }
            }
        }
    }
}
