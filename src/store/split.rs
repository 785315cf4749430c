//! Which part a row goes into: the split of a generation by hour (storage.md 6.1).
//!
//! Duty: at most five sets of rows: the four hours with most rows, and one stray set for all others, in batches that are
//! not too small. Guarantee: every row is in exactly one set, in arrival order. Left to others: writing the sets
//! (`flush.rs`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array, new_null_array};
use arrow::compute::take_record_batch;
use arrow::datatypes::UInt16Type;

use super::{Rows, part};
use crate::span::schema::{self, anomaly};

/// Hours with a part of their own in one flush.
const OWN_PARTS: usize = 4;
/// Records of fewer rows are united: each batch costs a flush as much as a hundred of its rows.
const SMALL_ROWS: usize = 512;
/// Rows of a batch of such records.
const UNITED_ROWS: usize = 8192;
/// And their bytes: they are copied, and columns of binary values have offsets of 32 bits.
const UNITED_BYTES: u64 = 64 << 20;
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
    let hours: Vec<Vec<i64>> = rows.iter().map(|rows| hours_of(rows)).collect();
    let mut counts: HashMap<i64, usize> = HashMap::new();
    hours.iter().flatten().for_each(|hour| *counts.entry(*hour).or_default() += 1);
    let mut biggest: Vec<(i64, usize)> = counts.into_iter().collect();
    // Equal counts: the earlier hour, so that a retried flush splits the same way.
    biggest.sort_by_key(|(hour, count)| (std::cmp::Reverse(*count), *hour));
    biggest.truncate(OWN_PARTS);
    let mut own: Vec<i64> = biggest.into_iter().map(|(hour, _)| hour).collect();
    own.sort_unstable();

    let mut sets: Vec<Gathered> = own.iter().map(|hour| Gathered::new(*hour, false)).collect();
    sets.push(Gathered::new(flush_hour, true));
    for (rows, hours) in rows.iter().zip(&hours) {
        let places: Vec<usize> = hours.iter().map(|hour| own.binary_search(hour).unwrap_or(own.len())).collect();
        let Some(first) = places.first() else { continue };
        if places.iter().all(|place| place == first) {
            sets[*first].add(rows);
            continue;
        }
        let batch = rows.to_record_batch();
        for (place, set) in sets.iter_mut().enumerate() {
            let indices: Vec<u32> = (0_u32..).zip(&places).filter(|(_, p)| **p == place).map(|(row, _)| row).collect();
            if !indices.is_empty() {
                let taken = take_record_batch(&batch, &UInt32Array::from(indices));
                set.add_batch(taken.expect("the indices are those of rows"));
            }
        }
    }
    sets.into_iter().map(Gathered::finish).filter(|set| !set.batches.is_empty()).collect()
}

/// A set under way.
struct Gathered<'a> {
    set: Set,
    /// The last rows of the set, as long as they are few a record.
    small: Vec<&'a Rows>,
    count: usize,
    bytes: u64,
}

impl<'a> Gathered<'a> {
    fn new(hour: i64, stray: bool) -> Self {
        Self { set: Set { hour, stray, batches: Vec::new() }, small: Vec::new(), count: 0, bytes: 0 }
    }

    fn add(&mut self, rows: &'a Rows) {
        let count = rows.batch.rows();
        if count >= SMALL_ROWS {
            return self.add_batch(rows.to_record_batch());
        }
        let is_checked = |rows: &Rows| rows.batch.semconv().is_some();
        let fits = self.count + count <= UNITED_ROWS && self.bytes.saturating_add(rows.bytes) <= UNITED_BYTES;
        if self.small.last().is_some_and(|last| !fits || is_checked(last) != is_checked(rows)) {
            self.close();
        }
        self.small.push(rows);
        self.count += count;
        self.bytes = self.bytes.saturating_add(rows.bytes);
    }

    fn add_batch(&mut self, batch: RecordBatch) {
        self.close();
        self.set.batches.push(batch);
    }

    fn close(&mut self) {
        if !self.small.is_empty() {
            self.set.batches.push(united(&self.small));
            self.small.clear();
            (self.count, self.bytes) = (0, 0);
        }
    }

    fn finish(mut self) -> Set {
        self.close();
        self.set
    }
}

/// The rows of several records, all of them checked or none, as one batch.
fn united(records: &[&Rows]) -> RecordBatch {
    if let [one] = records {
        return one.to_record_batch();
    }
    let joined = |columns: &[&ArrayRef]| part::joined_column(columns).expect("the columns have one type");
    let spans = || records.iter().map(|rows| rows.batch.as_record_batch());
    let count = spans().map(RecordBatch::num_rows).sum();
    let mut columns: Vec<ArrayRef> = (0..schema::incoming().fields().len())
        .map(|at| joined(&spans().map(|batch| batch.column(at)).collect::<Vec<_>>()))
        .collect();
    let ingest = records.iter().flat_map(|rows| std::iter::repeat_n(rows.ingest_us, rows.batch.rows()));
    let ingest = TimestampMicrosecondArray::from_iter_values(ingest).with_timezone("UTC");
    columns.insert(schema::INGEST_TIME_INDEX, Arc::new(ingest));
    let checked: Option<Vec<&[ArrayRef]>> = records.iter().map(|rows| rows.batch.semconv()).collect();
    columns.extend(schema::semconv_fields().iter().enumerate().map(|(at, field)| match &checked {
        Some(checked) => joined(&checked.iter().map(|columns| &columns[at]).collect::<Vec<_>>()),
        None => new_null_array(field.data_type(), count),
    }));
    RecordBatch::try_new(schema::stored().clone(), columns).expect("each column is of its field")
}

fn hours_of(rows: &Rows) -> Vec<i64> {
    let anomalies = rows.batch.as_record_batch().column_by_name("anomalies").expect("a column of every batch of spans");
    let anomalies = anomalies.as_primitive::<UInt16Type>().values();
    let rows_of = rows.batch.start_times().values().iter().zip(anomalies);
    rows_of.map(|(start, anomalies)| home_hour(*start, rows.ingest_us, *anomalies)).collect()
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
    use crate::span::SpanBatch;
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
    fn small_records_come_as_few_batches_and_each_row_as_it_was() {
        let now = hour_of_ns(INGEST_US * 1000);
        let at = |n: i64| now * HOUR_NS + n;
        let sizes = [3, 700, 1, 90, 400, 2, 600, 5];
        let records: Vec<Arc<Rows>> = (0..)
            .zip(sizes)
            .map(|(record, size)| {
                let starts: Vec<i64> = (0..size).map(|n| at(record * 1000 + n)).collect();
                let batch = samples::varied(record.cast_unsigned(), &starts, 1);
                let kept: Vec<usize> =
                    schema::incoming().fields().iter().map(|f| batch.schema().index_of(f.name()).unwrap()).collect();
                let spans = SpanBatch::try_new(batch.project(&kept).unwrap()).unwrap();
                let checked = schema::semconv_fields().iter();
                let checked = checked.map(|field| batch.column_by_name(field.name()).unwrap().clone()).collect();
                // The last two of the run are checked, the others are not.
                let spans = if record >= 4 { spans.with_semconv(checked).unwrap() } else { spans };
                Arc::new(Rows::new(spans, INGEST_US + record, record.cast_unsigned()))
            })
            .collect();
        let sets = split(&records, now);
        let [set] = sets.as_slice() else { panic!("all are of one hour") };
        let shape: Vec<_> = set.batches.iter().map(RecordBatch::num_rows).collect();
        assert_eq!(shape, [3, 700, 91, 402, 600, 5]);
        let mut rows = set.batches.iter().flat_map(|batch| (0..batch.num_rows()).map(|row| batch.slice(row, 1)));
        for record in &records {
            let expected = record.to_record_batch();
            for row in 0..expected.num_rows() {
                let (is, expected) = (rows.next().unwrap(), expected.slice(row, 1));
                let text = |batch: &RecordBatch| {
                    arrow::util::pretty::pretty_format_batches(std::slice::from_ref(batch)).unwrap().to_string()
                };
                assert_eq!(text(&is), text(&expected), "row {row} of record {}", record.lsn);
            }
        }
        assert!(rows.next().is_none());
    }

    #[test]
    fn large_records_of_few_rows_are_not_united_without_end() {
        let now = hour_of_ns(INGEST_US * 1000);
        let record = || {
            let rows = Rows::new(samples::batch_at(&[now * HOUR_NS, now * HOUR_NS + 1]), INGEST_US, 1);
            Arc::new(Rows { bytes: UNITED_BYTES / 2 - 1, ..rows })
        };
        let sets = split(&[record(), record(), record(), record(), record()], now);
        assert_eq!(sets[0].batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [4, 4, 2]);
    }

    #[test]
    fn outliers_are_filed_under_their_ingest_hour() {
        let now = hour_of_ns(INGEST_US * 1000);
        let sets = split(&[rows_at(&[0, i64::MAX, now * HOUR_NS])], now + 9);
        assert_eq!(sets.iter().map(|s| s.hour).collect::<Vec<_>>(), [now]);
    }
}
