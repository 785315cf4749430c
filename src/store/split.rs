//! Which part a row goes into: the split of a generation by hour (storage.md 6.1).
//!
//! Duty: at most five sets of rows: the four hours with most rows, and one stray set for all others. Guarantee: every row
//! is in exactly one set, in arrival order. Left to others: writing the sets (`flush.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::UInt16Type;

use super::{Rows, Run};
use crate::span::schema::anomaly;

/// Hours with a part of their own in one flush.
const OWN_PARTS: usize = 4;
const HOUR_NS: i64 = 3600 * 1_000_000_000;

/// Rows for one part.
#[derive(Debug)]
pub struct Set {
    /// Start of the UTC hour, hours since 1970.
    pub hour: i64,
    /// The rows of all hours without a set of their own.
    pub stray: bool,
    /// Batches of [`crate::span::schema::stored`], in arrival order.
    pub batches: Vec<RecordBatch>,
}

/// Splits `rows`; the stray set is filed under `flush_hour` (hours since 1970).
pub fn split(rows: &[Arc<Rows>], flush_hour: i64) -> Vec<Set> {
    let runs = Run::of(rows);
    let hours: Vec<Vec<i64>> = runs.iter().map(hours_of).collect();
    let mut counts: HashMap<i64, usize> = HashMap::new();
    hours.iter().flatten().for_each(|hour| *counts.entry(*hour).or_default() += 1);
    let mut biggest: Vec<(i64, usize)> = counts.into_iter().collect();
    // Equal counts: the earlier hour, so that a retried flush splits the same way.
    biggest.sort_by_key(|(hour, count)| (std::cmp::Reverse(*count), *hour));
    biggest.truncate(OWN_PARTS);
    let mut own: Vec<i64> = biggest.into_iter().map(|(hour, _)| hour).collect();
    own.sort_unstable();

    let mut sets: Vec<Set> = own.iter().map(|hour| Set { hour: *hour, stray: false, batches: Vec::new() }).collect();
    sets.push(Set { hour: flush_hour, stray: true, batches: Vec::new() });
    for (run, hours) in runs.iter().zip(&hours) {
        let batch = run.to_record_batch();
        let places: Vec<usize> = hours.iter().map(|hour| own.binary_search(hour).unwrap_or(own.len())).collect();
        let Some(first) = places.first() else { continue };
        if places.iter().all(|place| place == first) {
            sets[*first].batches.push(batch);
            continue;
        }
        for (place, set) in sets.iter_mut().enumerate() {
            let indices: Vec<u32> = (0_u32..).zip(&places).filter(|(_, p)| **p == place).map(|(row, _)| row).collect();
            if !indices.is_empty() {
                let taken = take_record_batch(&batch, &UInt32Array::from(indices));
                set.batches.push(taken.expect("the indices are those of rows"));
            }
        }
    }
    sets.retain(|set| !set.batches.is_empty());
    sets
}

fn hours_of(run: &Run) -> Vec<i64> {
    let anomalies = run.batch.as_record_batch().column_by_name("anomalies").expect("a column of every batch of spans");
    let anomalies = anomalies.as_primitive::<UInt16Type>().values();
    let (starts, ingests) = (run.batch.start_times(), run.ingest_times(0, run.batch.rows()));
    let rows = starts.values().iter().zip(ingests.values()).zip(anomalies);
    rows.map(|((start, ingest_us), anomalies)| home_hour(*start, *ingest_us, *anomalies)).collect()
}

/// The hour a row belongs to: of its start time; of its store position where its `anomalies` say that it is an outlier
/// (storage.md 11.1).
pub fn home_hour(start_ns: i64, ingest_us: i64, anomalies: u16) -> i64 {
    match anomalies & anomaly::TIME_OUTLIER != 0 {
        true => hour_of_ns(ingest_us.saturating_mul(1000)),
        false => hour_of_ns(start_ns),
    }
}

/// The UTC hour of an instant in ns, as hours since 1970.
pub fn hour_of_ns(ns: i64) -> i64 {
    ns.div_euclid(HOUR_NS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::samples;

    const INGEST_US: i64 = 1_700_000_000_000_000;

    fn rows_at(starts: &[i64]) -> Arc<Rows> {
        Arc::new(Rows::new(samples::batch_at(starts), INGEST_US, 1))
    }

    #[test]
    fn the_four_biggest_hours_get_a_part_each_and_the_rest_one_together() {
        let now = hour_of_ns(INGEST_US * 1000);
        let hour = |back: i64| (now - back) * HOUR_NS + 5;
        let mut starts = Vec::new();
        for (back, count) in [(1, 9), (2, 8), (3, 7), (4, 6), (5, 2), (6, 1)] {
            starts.extend(std::iter::repeat_n(hour(back), count));
        }
        let sets = split(&[rows_at(&starts), rows_at(&[hour(5)])], now);
        let shape: Vec<_> =
            sets.iter().map(|s| (now - s.hour, s.batches.iter().map(RecordBatch::num_rows).sum::<usize>())).collect();
        assert_eq!(shape, [(4, 6), (3, 7), (2, 8), (1, 9), (0, 4)]);
    }

    #[test]
    fn outliers_are_filed_under_their_ingest_hour() {
        let now = hour_of_ns(INGEST_US * 1000);
        let sets = split(&[rows_at(&[0, i64::MAX, now * HOUR_NS])], now + 9);
        assert_eq!(sets.iter().map(|s| s.hour).collect::<Vec<_>>(), [now]);
    }
}
