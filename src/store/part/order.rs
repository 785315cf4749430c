//! The order of the rows within a row group.
//!
//! Duty: [`order`], the places of rows by (start_time div 5 min, service_name, name, start_time), and [`sorted`], rows in
//! that order. Guarantee: rows that are equal in it stay in the order in which they came. Left to others: which rows make
//! a group (`encode`, `store/compact`).

use std::cell::OnceCell;
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, ArrowPrimitiveType, AsArray as _, BooleanBufferBuilder, DictionaryArray, ListArray,
    PrimitiveArray, RecordBatch, StructArray, UInt32Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::compute::take;
use arrow::datatypes::{DataType, Float64Type, Int32Type, Int64Type, TimestampNanosecondType};
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

/// The order of the rows of a row group.
#[derive(Debug)]
pub(super) struct Order {
    /// The rows as they are to come.
    rows: UInt32Array,
    /// Where each row comes to stand.
    places: OnceCell<Vec<u32>>,
}

impl Order {
    fn places(&self) -> &[u32] {
        self.places.get_or_init(|| {
            let mut places = vec![0; self.rows.len()];
            (0..).zip(self.rows.values()).for_each(|(place, row)| places[*row as usize] = place);
            places
        })
    }
}

/// The places of the rows with these columns, sorted; `None` if they are sorted already.
pub(super) fn order(starts: &ArrayRef, services: &ArrayRef, names: &ArrayRef) -> Option<Order> {
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
    let rows = rows.into_iter().map(|rank| rank.row).collect::<Vec<_>>().into();
    Some(Order { rows, places: OnceCell::new() })
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

/// Of a column with values in fewer rows than one in so many, those rows alone are moved.
const SPARSE: usize = 4;

/// The rows of `column` in `order`.
pub(super) fn taken(column: &ArrayRef, order: &Order) -> Result<ArrayRef, ArrowError> {
    let Some(nulls) = column.nulls().filter(|nulls| (nulls.len() - nulls.null_count()) * SPARSE < nulls.len()) else {
        return gathered(column, &order.rows);
    };
    if nulls.null_count() == nulls.len() {
        return Ok(column.clone());
    }
    match column.data_type() {
        DataType::Dictionary(key, _) if **key == DataType::Int32 => {
            let column = column.as_dictionary::<Int32Type>();
            let keys = scattered(column.keys(), nulls, order.places());
            Ok(Arc::new(DictionaryArray::new(keys, column.values().clone())))
        }
        DataType::Int64 => Ok(Arc::new(scattered(column.as_primitive::<Int64Type>(), nulls, order.places()))),
        DataType::Float64 => Ok(Arc::new(scattered(column.as_primitive::<Float64Type>(), nulls, order.places()))),
        _ => gathered(column, &order.rows),
    }
}

/// The values of the rows that have one, each at its place of `places`.
fn scattered<T: ArrowPrimitiveType>(of: &PrimitiveArray<T>, nulls: &NullBuffer, places: &[u32]) -> PrimitiveArray<T> {
    let mut values = vec![T::Native::default(); of.len()];
    let mut present = BooleanBufferBuilder::new(of.len());
    present.append_n(of.len(), false);
    for row in nulls.valid_indices() {
        let place = places[row] as usize;
        values[place] = of.values()[row];
        present.set_bit(place, true);
    }
    PrimitiveArray::new(values.into(), Some(NullBuffer::new(present.finish())))
}

/// The rows `rows` of `column`. Lists are not copied one by one, but all elements at once.
fn gathered(column: &ArrayRef, rows: &UInt32Array) -> Result<ArrayRef, ArrowError> {
    match column.data_type() {
        DataType::List(item) if column.null_count() == 0 => {
            let lists = column.as_list::<i32>();
            // Most have no element.
            if is_empty(lists) && lists.len() == rows.len() {
                return Ok(column.clone());
            }
            let offsets = lists.value_offsets();
            let (mut ends, mut elements) =
                (Vec::with_capacity(rows.len() + 1), Vec::with_capacity(lists.values().len()));
            ends.push(0);
            for row in rows.values() {
                let [from, to] = [*row, *row + 1].map(|at| offsets[at as usize].cast_unsigned());
                elements.extend(from..to);
                ends.push(elements.len() as i32);
            }
            let elements = gathered(lists.values(), &elements.into())?;
            Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::new(ends.into()), elements, None)?))
        }
        DataType::Struct(fields) if column.null_count() == 0 => {
            let children = column.as_struct().columns().iter().map(|child| gathered(child, rows));
            let children = children.collect::<Result<_, _>>()?;
            Ok(Arc::new(StructArray::try_new_with_length(fields.clone(), children, None, rows.len())?))
        }
        _ => take(column, rows, None),
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int32Array, Int64Array, StringArray, TimestampNanosecondArray, new_null_array};

    use super::*;
    use crate::store::samples;

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
        assert_eq!(order.unwrap().rows.values(), &[3, 5, 4, 2, 1, 0]);
        let ties = super::order(&times(&[1, 1, 0]), &words(&["a"; 3]), &words(&["n"; 3]));
        assert_eq!(ties.unwrap().rows.values(), &[2, 0, 1]);
    }

    #[test]
    fn sorted_rows_are_left_alone_and_a_word_that_is_twice_in_a_dictionary_is_one() {
        assert!(order(&times(&[1, 2, 3]), &words(&["a"; 3]), &words(&["n"; 3])).is_none());
        let twice = StringArray::from(vec!["b", "a", "b"]);
        let names: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(vec![2, 0, 1].into(), Arc::new(twice)));
        let order = order(&times(&[2, 1, 3]), &words(&["a"; 3]), &names);
        assert_eq!(order.unwrap().rows.values(), &[2, 1, 0]);
    }

    #[test]
    fn columns_of_every_kind_are_moved_as_arrow_moves_them() {
        let rows = 1000;
        let mut state = 3u64;
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        let mut to: Vec<u32> = (0..rows).collect();
        (1..to.len()).for_each(|at| to.swap(at, next() % (at + 1)));
        let order = Order { rows: to.into(), places: OnceCell::new() };
        let columns = samples::varied(9, &vec![samples::NOW_NS; rows as usize], 1).columns().to_vec();
        let some = |every: usize| (0..rows as usize).map(move |row| row.is_multiple_of(every).then_some(row));
        let number = |every| Arc::new(some(every).map(|n| n.map(|n| n as i64)).collect::<Int64Array>()) as ArrayRef;
        let double = |every| Arc::new(some(every).map(|n| n.map(|n| n as f64)).collect::<Float64Array>()) as ArrayRef;
        let text = |every| {
            let keys: Int32Array = some(every).map(|n| n.map(|n| n as i32 % 3)).collect();
            let words = Arc::new(StringArray::from(vec!["a", "b", "c"]));
            Arc::new(DictionaryArray::new(keys, words)) as ArrayRef
        };
        let own = [1, 2, 3, 4, 5, 50, 999].into_iter().flat_map(|every| [number(every), double(every), text(every)]);
        let none = new_null_array(&DataType::Int64, rows as usize);
        for column in columns.into_iter().chain(own).chain([none]) {
            let expected = take(&column, &order.rows, None).unwrap();
            assert_eq!(&taken(&column, &order).unwrap(), &expected, "{}", column.data_type());
        }
    }
}
