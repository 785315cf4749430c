//! Rows of several records that lie side by side in memory.
//!
//! Duty: [`Run`]: rows of one block joined, each with the position of its record. Guarantee: each row once, in the order
//! in which it was decoded; a run holds rows of one block only, so it is as small as a batch. Left to others: which rows
//! (`snapshot.rs`), what is done with them: a flush, a statement and the catalogue cost something for each batch, however
//! few rows it has.

use std::sync::Arc;

use arrow::array::{RecordBatch, TimestampMicrosecondArray};

use super::Rows;
use crate::span::SpanBatch;

/// Blocks that are filled at the same time, about: one for each thread that decodes.
const BESIDE: usize = 8;

/// Rows of one or more records.
#[derive(Debug)]
pub struct Run {
    /// The spans.
    pub batch: SpanBatch,
    /// Of each record the end of its rows, and its position.
    records: Vec<(usize, i64)>,
}

impl Run {
    /// `rows` in as few runs as there can be, in the order of their first records.
    pub fn of<'a>(rows: impl IntoIterator<Item = &'a Arc<Rows>>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for rows in rows {
            let latest = runs.len().saturating_sub(BESIDE);
            if !runs[latest..].iter_mut().rev().any(|run| run.join(rows)) {
                runs.push(Self { batch: rows.batch.clone(), records: vec![(rows.batch.rows(), rows.ingest_us)] });
            }
        }
        runs
    }

    /// Takes `rows` in, if they are next to those there are; else `false`.
    fn join(&mut self, rows: &Rows) -> bool {
        if let Some(joined) = self.batch.joined(&rows.batch) {
            self.batch = joined;
            self.records.push((self.batch.rows(), rows.ingest_us));
        } else if let Some(joined) = rows.batch.joined(&self.batch) {
            // Two requests of one block reached the log in the other order.
            let more = rows.batch.rows();
            self.batch = joined;
            self.records.iter_mut().for_each(|(end, _)| *end += more);
            self.records.insert(0, (more, rows.ingest_us));
        } else {
            return false;
        }
        true
    }

    /// Store positions of the rows `from .. from + len`, µs, without a time zone.
    pub fn ingest_times(&self, from: usize, len: usize) -> TimestampMicrosecondArray {
        if let [(_, only)] = self.records[..] {
            return TimestampMicrosecondArray::from_value(only, len);
        }
        let mut times = Vec::with_capacity(len);
        for (end, ingest_us) in &self.records[self.records.partition_point(|(end, _)| *end <= from)..] {
            times.resize((*end).min(from + len) - from, *ingest_us);
            if *end >= from + len {
                break;
            }
        }
        times.into()
    }

    /// The rows as stored columns ([`crate::span::schema::stored`]).
    pub fn to_record_batch(&self) -> RecordBatch {
        self.batch.with_ingest_times(self.ingest_times(0, self.batch.rows()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::span::{Block, Gather, TimeRange};
    use crate::store::samples;

    /// Has `.0` rows, which start at 0, 1, 2 …
    struct Rising(i64);

    impl Gather for Rising {
        fn end(&self, block: &Block) {
            block.make(samples::batch_at(&(0..self.0).collect::<Vec<_>>()).as_record_batch().clone());
        }
    }

    fn starts(batch: &SpanBatch) -> Vec<i64> {
        batch.start_times().values().to_vec()
    }

    fn rows(block: &Arc<Block>, at: std::ops::Range<usize>, ingest_us: i64) -> Arc<Rows> {
        let ns = |at: usize| i64::try_from(at).unwrap() + 1_000_000 * ingest_us;
        let starts = TimeRange { min_ns: ns(at.start), max_ns: ns(at.end) };
        Arc::new(Rows::new(SpanBatch::shared(block.clone(), at, starts, 1), ingest_us, 1))
    }

    #[test]
    fn rows_of_two_blocks_that_came_by_turns_are_two_runs_with_the_position_of_each_row() {
        let [one, two] = [6, 4].map(|rows| Arc::new(Block::new(Arc::new(Rising(rows)))));
        let own = Arc::new(Rows::new(samples::batch(9, 2), 15, 1));
        // 13 and 14 of the first block came in the other order, and its last row never.
        let all = [
            rows(&one, 0..2, 11),
            rows(&two, 0..3, 12),
            rows(&one, 3..5, 13),
            rows(&one, 2..3, 14),
            own,
            rows(&two, 3..4, 16),
        ];
        let runs = Run::of(&all);
        let told: Vec<Vec<i64>> =
            runs.iter().map(|run| run.ingest_times(0, run.batch.rows()).values().to_vec()).collect();
        // What was not next to it when it came is a run of its own.
        assert_eq!(told, [vec![11, 11], vec![12, 12, 12, 16], vec![14, 13, 13], vec![15, 15]]);
        for (run, told) in runs.iter().zip(&told) {
            let rows = run.batch.rows();
            for from in 0..rows {
                for len in 0..=rows - from {
                    assert_eq!(run.ingest_times(from, len).values(), &told[from..from + len]);
                }
            }
        }
        assert_eq!(starts(&runs[2].batch), [2, 3, 4]);
        assert_eq!(runs[1].to_record_batch().num_rows(), 4);
    }
    #[test]
    fn each_batch_shows_its_rows_of_a_block_that_is_made_once() {
        let gather = Arc::new(Rising(3));
        let block = Arc::new(Block::new(gather.clone()));
        let of = |at: std::ops::Range<usize>, min_ns, max_ns| {
            SpanBatch::shared(block.clone(), at, TimeRange { min_ns, max_ns }, 100)
        };
        let (first, rest) = (of(0..1, 0, 0), of(1..3, 1, 2));
        assert_eq!((first.rows(), rest.rows(), rest.memory_bytes()), (1, 2, 100));
        assert_eq!(rest.start_range(), Some(TimeRange { min_ns: 1, max_ns: 2 }));
        assert_eq!(Arc::strong_count(&gather), 2, "all this is known before it is made");
        assert_eq!((starts(&first), starts(&rest)), (vec![0], vec![1, 2]));
        assert_eq!(Arc::strong_count(&gather), 1, "who gathered it is let go");
        assert_eq!(rest.as_record_batch().num_rows(), 2);
        let both = first.joined(&rest).unwrap();
        assert_eq!((starts(&both), both.memory_bytes()), (vec![0, 1, 2], 200));
        assert_eq!(both.start_range(), Some(TimeRange { min_ns: 0, max_ns: 2 }));
        assert!(rest.joined(&first).is_none(), "not behind it");
        let other = Arc::new(Block::new(Arc::new(Rising(3))));
        assert!(first.joined(&SpanBatch::shared(other, 1..3, TimeRange { min_ns: 0, max_ns: 0 }, 1)).is_none());
        let own = samples::batch_at(&[7]);
        assert!(first.joined(&own).is_none() && own.joined(&first).is_none());
    }
}
