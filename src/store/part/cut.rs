//! Row groups with more text than the offsets of a column reach.
//!
//! Duty: [`cut`]. Guarantee: every row stays, in its order; what is within the bound stays in one piece, however large
//! the buffers are that its batches share. Left to others: how large row groups should be (`encode`).

use arrow::array::{Array as _, ArrayRef, AsArray as _, RecordBatch};
use arrow::datatypes::DataType;

/// Bytes of text of a row group at most: half of what offsets of 32 bits reach.
pub(super) const TEXT_BYTES: usize = 1 << 30;

/// `group`, halved until each piece has at most `most` bytes of text, or one row.
pub(super) fn cut(group: Vec<RecordBatch>, most: usize) -> Vec<Vec<RecordBatch>> {
    let rows: usize = group.iter().map(RecordBatch::num_rows).sum();
    let held: usize = group.iter().map(RecordBatch::get_array_memory_size).sum();
    // Slices count the whole buffers that they share, so only what looks like too much is looked at closely.
    if rows < 2 || held <= most || group.iter().flat_map(RecordBatch::columns).map(text_bytes).sum::<usize>() <= most {
        return vec![group];
    }
    let (mut first, mut second, mut room) = (Vec::new(), Vec::new(), rows / 2);
    for batch in group {
        let taken = room.min(batch.num_rows());
        room -= taken;
        if taken > 0 {
            first.push(batch.slice(0, taken));
        }
        if taken < batch.num_rows() {
            second.push(batch.slice(taken, batch.num_rows() - taken));
        }
    }
    let mut pieces = cut(first, most);
    pieces.extend(cut(second, most));
    pieces
}

/// Bytes of the texts in `array`, each as often as a row or a dictionary has it.
fn text_bytes(array: &ArrayRef) -> usize {
    let between = |offsets: &[i32]| match offsets {
        [first, .., last] => (first.unsigned_abs() as usize, last.unsigned_abs() as usize),
        _ => (0, 0),
    };
    match array.data_type() {
        DataType::Utf8View => array.as_string_view().lengths().map(|length| length as usize).sum(),
        DataType::Utf8 => {
            let (first, last) = between(array.as_string::<i32>().value_offsets());
            last - first
        }
        DataType::Binary => {
            let (first, last) = between(array.as_binary::<i32>().value_offsets());
            last - first
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>();
            let (first, last) = between(list.value_offsets());
            text_bytes(&list.values().slice(first, last - first))
        }
        DataType::Struct(_) => array.as_struct().columns().iter().map(text_bytes).sum(),
        DataType::Dictionary(_, _) => text_bytes(array.as_any_dictionary().values()),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::StringViewArray;

    use super::*;
    use crate::store::samples;

    /// Rows of which each has `bytes` of text of its own.
    fn wordy(seed: u64, rows: usize, bytes: usize) -> RecordBatch {
        let batch = samples::batch(seed, rows).with_ingest_time(1);
        let texts: Vec<String> = (0..rows).map(|row| format!("{row:0>bytes$}")).collect();
        let at = batch.schema_ref().index_of("status_message").unwrap();
        let mut columns = batch.columns().to_vec();
        columns[at] = Arc::new(StringViewArray::from_iter_values(&texts)) as ArrayRef;
        RecordBatch::try_new(batch.schema(), columns).unwrap()
    }

    #[test]
    fn a_group_with_too_much_text_is_cut_between_rows_and_keeps_their_order() {
        const BYTES: usize = 10_000;
        let group = vec![wordy(1, 10, BYTES), wordy(2, 6, BYTES)];
        let sent: Vec<u64> = group.iter().flat_map(samples::span_ids).collect();
        let pieces = cut(group, 5 * BYTES);
        let kept: Vec<u64> = pieces.iter().flatten().flat_map(samples::span_ids).collect();
        assert_eq!(kept, sent);
        let rows: Vec<usize> = pieces.iter().map(|piece| piece.iter().map(RecordBatch::num_rows).sum()).collect();
        assert_eq!(rows, [4; 4]);
        let alone = cut(vec![wordy(1, 3, BYTES)], 1);
        assert_eq!(alone.len(), 3, "a row is not cut");
    }

    #[test]
    fn text_counts_where_it_stands_not_where_its_buffer_does() {
        const BYTES: usize = 10_000;
        let whole = wordy(1, 16, BYTES);
        let status = |batch: &RecordBatch| text_bytes(batch.column_by_name("status_message").unwrap());
        assert_eq!((status(&whole), status(&whole.slice(3, 2))), (16 * BYTES, 2 * BYTES));
        assert_eq!(cut(vec![whole.slice(3, 2)], 3 * BYTES).len(), 1);
        let attributes = whole.column_by_name("attributes").unwrap();
        let halves: usize =
            [(0, 8), (8, 8)].iter().map(|(from, rows)| text_bytes(&attributes.slice(*from, *rows))).sum();
        assert!(halves >= text_bytes(attributes) && text_bytes(attributes) > 0);
    }
}
