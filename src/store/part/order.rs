//! The order of the rows within a row group.
//!
//! Duty: [`order`], the places of rows by (start_time div 5 min, service_name, name, start_time), and [`sorted`], rows in
//! that order. Guarantee: rows that are equal in it stay in the order in which they came. Left to others: which rows make
//! a group (`encode`, `store/compact`).

use arrow::array::{Array as _, ArrayRef, AsArray as _, DictionaryArray, RecordBatch, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::{Int32Type, TimestampNanosecondType};
use arrow::error::ArrowError;

use super::group::is_empty;

/// Length of a bucket of start times.
pub const BUCKET_NS: i64 = 300 * 1_000_000_000;

/// A row by what it is sorted by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    bucket: i64,
    /// Ranks of service and name.
    words: u64,
    start: i64,
    row: u32,
}

/// The places of the rows with these columns, sorted; `None` if they are sorted already.
pub(super) fn order(starts: &ArrayRef, services: &ArrayRef, names: &ArrayRef) -> Option<UInt32Array> {
    let starts = starts.as_primitive::<TimestampNanosecondType>().values();
    let (services, names) = (services.as_dictionary::<Int32Type>(), names.as_dictionary::<Int32Type>());
    let (of_service, of_name) = (ranks(services), ranks(names));
    let (services, names) = (services.keys().values(), names.keys().values());
    let rows = (0_u32..).zip(starts).zip(services.iter().zip(names));
    let mut rows: Vec<Rank> = rows
        .map(|((row, start), (service, name))| {
            let (service, name) = (of_service[*service as usize], of_name[*name as usize]);
            let words = u64::from(service) << 32 | u64::from(name);
            Rank { bucket: start.div_euclid(BUCKET_NS), words, start: *start, row }
        })
        .collect();
    if rows.is_sorted() {
        return None;
    }
    rows.sort_unstable();
    Some(rows.into_iter().map(|rank| rank.row).collect::<Vec<_>>().into())
}

/// The rank of each word of a dictionary; words that are there twice share one.
fn ranks(column: &DictionaryArray<Int32Type>) -> Vec<u32> {
    let words = column.values().as_string::<i32>();
    let mut places: Vec<u32> = (0..).take(words.len()).collect();
    places.sort_unstable_by_key(|at| words.value(*at as usize));
    let mut ranks = vec![0; words.len()];
    let (mut rank, mut last) = (0, None);
    for at in places {
        let word = words.value(at as usize);
        rank += u32::from(last.is_some_and(|last| last != word));
        last = Some(word);
        ranks[at as usize] = rank;
    }
    ranks
}

/// The rows of a row group with dictionaries for its text, sorted.
pub fn sorted(group: RecordBatch) -> Result<RecordBatch, ArrowError> {
    let column = |name: &str| group.column_by_name(name).expect("a row group has all stored columns");
    let Some(order) = order(column("start_time"), column("service_name"), column("name")) else { return Ok(group) };
    let columns = group.columns().iter().map(|column| taken(column, &order)).collect::<Result<_, _>>()?;
    RecordBatch::try_new(group.schema(), columns)
}

/// The rows of `column` in `order`.
pub(super) fn taken(column: &ArrayRef, order: &UInt32Array) -> Result<ArrayRef, ArrowError> {
    // Lists without elements, which most are, take long to be taken.
    let is_empty = column.as_list_opt::<i32>().is_some_and(is_empty);
    if is_empty || column.null_count() == column.len() {
        return Ok(column.clone());
    }
    take(column, order, None)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{StringArray, TimestampNanosecondArray};

    use super::*;

    fn words(texts: &[&str]) -> ArrayRef {
        Arc::new(texts.iter().copied().map(Some).collect::<DictionaryArray<Int32Type>>())
    }

    fn times(seconds: &[i64]) -> ArrayRef {
        let of: Vec<i64> = seconds.iter().map(|second| second * 1_000_000_000).collect();
        Arc::new(TimestampNanosecondArray::from(of).with_timezone("UTC"))
    }

    #[test]
    fn bucket_then_service_then_name_then_start_then_arrival() {
        let starts = times(&[310, 5, 4, -1, 5, 5]);
        let order = order(&starts, &words(&["a", "b", "b", "z", "a", "a"]), &words(&["n", "n", "n", "n", "o", "m"]));
        assert_eq!(order.unwrap().values(), &[3, 5, 4, 2, 1, 0]);
        let ties = super::order(&times(&[1, 1, 0]), &words(&["a"; 3]), &words(&["n"; 3]));
        assert_eq!(ties.unwrap().values(), &[2, 0, 1]);
    }

    #[test]
    fn sorted_rows_are_left_alone_and_a_word_that_is_twice_in_a_dictionary_is_one() {
        assert_eq!(order(&times(&[1, 2, 3]), &words(&["a"; 3]), &words(&["n"; 3])), None);
        let twice = StringArray::from(vec!["b", "a", "b"]);
        let names: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(vec![2, 0, 1].into(), Arc::new(twice)));
        let order = order(&times(&[2, 1, 3]), &words(&["a"; 3]), &names);
        assert_eq!(order.unwrap().values(), &[2, 1, 0]);
    }
}
