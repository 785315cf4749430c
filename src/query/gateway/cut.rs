//! Rows up to a limit.
//!
//! Duty: let through the rows and bytes that an answer may have. Guarantee: it is known whether there were more, since
//! one row more than allowed was asked for. Left to others: bytes of text (`render`).

use arrow::array::RecordBatch;

use crate::query::size::bytes_of;

/// What may still go out.
#[derive(Debug)]
pub struct Cut {
    rows: u64,
    bytes: u64,
    /// Whether something was left out.
    pub truncated: bool,
}

impl Cut {
    /// Lets `rows` rows and about `bytes` bytes through.
    pub fn new(rows: u64, bytes: u64) -> Self {
        Self { rows, bytes, truncated: false }
    }

    /// The part of `batch` that may go out, if any; after a cut nothing does.
    pub fn take(&mut self, batch: RecordBatch) -> Option<RecordBatch> {
        if self.truncated || batch.num_rows() == 0 {
            return None;
        }
        let rows = batch.num_rows() as u64;
        if rows > self.rows {
            self.truncated = true;
            let left = usize::try_from(self.rows).expect("it is below the rows of a batch");
            self.rows = 0;
            return (left > 0).then(|| batch.slice(0, left));
        }
        // A sort gives slices of one batch: only what each of them shows goes out.
        let bytes: u64 = batch.columns().iter().map(bytes_of).sum();
        if bytes > self.bytes {
            self.truncated = true;
            return None;
        }
        self.rows -= rows;
        self.bytes -= if self.bytes == u64::MAX { 0 } else { bytes };
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array};

    use super::*;

    fn batch(rows: usize) -> RecordBatch {
        let values: ArrayRef = Arc::new(Int64Array::from(vec![7; rows]));
        RecordBatch::try_from_iter([("n", values)]).unwrap()
    }

    #[test]
    fn exactly_the_limit_is_not_truncated_and_one_more_is() {
        let mut cut = Cut::new(5, u64::MAX);
        assert_eq!(cut.take(batch(3)).map(|b| b.num_rows()), Some(3));
        assert_eq!(cut.take(batch(2)).map(|b| b.num_rows()), Some(2));
        assert!(!cut.truncated);
        assert!(cut.take(batch(1)).is_none());
        assert!(cut.truncated);
    }

    #[test]
    fn slices_of_one_batch_count_what_they_show() {
        let whole = batch(1000);
        let mut cut = Cut::new(u64::MAX, 10_000);
        for at in 0..10 {
            assert!(cut.take(whole.slice(at * 100, 100)).is_some(), "{at}");
        }
        assert!(!cut.truncated);
    }

    #[test]
    fn a_batch_over_the_rows_is_cut_and_one_over_the_bytes_left_out() {
        let mut cut = Cut::new(4, u64::MAX);
        assert_eq!(cut.take(batch(9)).map(|b| b.num_rows()), Some(4));
        assert!(cut.truncated);
        let mut cut = Cut::new(1000, 100);
        assert!(cut.take(batch(500)).is_none());
        assert!(cut.truncated);
    }
}
