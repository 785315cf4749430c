//! Rows of memory as compaction leaves them: sorted, and with the services of their parents.
//!
//! Duty: [`Arranged`], a [`Group`] whose columns come in the order of [`order`], and whose `parent_service` is filled where
//! the parent is among the rows. Guarantee: a row group that was arranged need not be written again to be part of a file of
//! level 1. Left to others: parents in other row groups (`store/compact/splice.rs`).

use std::hash::BuildHasher as _;
use std::sync::Arc;

use arrow::array::{Array as _, ArrayRef, AsArray as _, DictionaryArray, FixedSizeBinaryArray, Int32Array};
use arrow::buffer::NullBuffer;
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;
use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};

use super::chunk::ids_of;
use super::group::Group;
use super::order::{Order, order, taken};
use crate::span::schema;

/// Columns that say where a row goes and who its parent is.
const COLUMNS: [&str; 6] = ["start_time", "service_name", "name", "trace_id", "span_id", "parent_span_id"];

/// The columns of a row group, arranged.
pub(super) struct Arranged<'a> {
    group: &'a Group<'a>,
    order: Option<Order>,
    /// Columns that were made already, as they came, by their places.
    made: Vec<(usize, ArrayRef)>,
}

impl<'a> Arranged<'a> {
    pub(super) fn new(group: &'a Group<'a>) -> Result<Self, ArrowError> {
        let stored = schema::stored();
        let column = |name| Ok((stored.index_of(name)?, group.column(stored.index_of(name)?)?));
        let mut made = COLUMNS.into_iter().map(column).collect::<Result<Vec<_>, ArrowError>>()?;
        let [starts, services, names, traces, spans, parents] = [0, 1, 2, 3, 4, 5].map(|at| made[at].1.clone());
        let order = order(&starts, &services, &names);
        let ids = [&traces, &spans, &parents].map(|ids| ids.as_fixed_size_binary());
        made.push((stored.index_of("parent_service")?, parent_services(ids, services.as_dictionary())));
        Ok(Self { group, order, made })
    }

    /// Column `at` of the row group; each is asked for once.
    pub(super) fn column(&mut self, at: usize) -> Result<ArrayRef, ArrowError> {
        let column = match self.made.iter().position(|(place, _)| *place == at) {
            Some(made) => self.made.swap_remove(made).1,
            None => self.group.column(at)?,
        };
        match &self.order {
            Some(order) => taken(&column, order),
            None => Ok(column),
        }
    }
}

/// The service of each row's parent, null where the parent is not among the rows.
///
/// Of several rows with the id of the parent the first counts.
fn parent_services(
    [traces, spans, parents]: [&FixedSizeBinaryArray; 3],
    services: &DictionaryArray<Int32Type>,
) -> ArrayRef {
    let rows = spans.len();
    let (of_trace, of_span, of_parent) = (ids_of::<16>(traces), ids_of::<8>(spans), ids_of::<8>(parents));
    // Ids come from strangers: a hash that they can foretell would let them fill one place of the table.
    let keyed = DefaultHashBuilder::default();
    let hash =
        |trace: &[u8; 16], span: &[u8; 8]| keyed.hash_one((u128::from_ne_bytes(*trace), u64::from_ne_bytes(*span)));
    let mut places: HashTable<u32> = HashTable::with_capacity(rows);
    for row in 0..rows {
        let (trace, span) = (&of_trace[row], &of_span[row]);
        let is = |at: &u32| of_span[*at as usize] == *span && of_trace[*at as usize] == *trace;
        let again = |at: &u32| hash(&of_trace[*at as usize], &of_span[*at as usize]);
        if let Entry::Vacant(vacant) = places.entry(hash(trace, span), is, again) {
            vacant.insert(row as u32);
        }
    }
    let keys = services.keys().values();
    let (mut found, mut present) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
    for row in 0..rows {
        let parent = parents.is_valid(row).then(|| {
            let (trace, parent) = (&of_trace[row], &of_parent[row]);
            let is = |at: &u32| of_span[*at as usize] == *parent && of_trace[*at as usize] == *trace;
            places.find(hash(trace, parent), is)
        });
        let parent = parent.flatten();
        present.push(parent.is_some());
        found.push(parent.map_or(0, |at| keys[*at as usize]));
    }
    let found = Int32Array::new(found.into(), Some(NullBuffer::from(present)));
    Arc::new(DictionaryArray::new(found, services.values().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(bytes: &[Option<u8>], width: i32) -> FixedSizeBinaryArray {
        let ids = bytes.iter().map(|byte| byte.map(|byte| vec![byte; usize::try_from(width).unwrap()]));
        FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, width).unwrap()
    }

    #[test]
    fn a_parent_is_a_row_of_the_same_trace_and_the_first_of_those_with_its_id() {
        let traces = made(&[Some(1), Some(1), Some(2), Some(1), Some(1)], 16);
        let spans = made(&[Some(7), Some(8), Some(8), Some(7), Some(9)], 8);
        let parents = made(&[None, Some(7), Some(7), Some(8), Some(6)], 8);
        let services: DictionaryArray<Int32Type> = ["a", "b", "c", "d", "e"].into_iter().collect();
        let found = parent_services([&traces, &spans, &parents], &services);
        let found: Vec<Option<&str>> = found
            .as_dictionary::<Int32Type>()
            .downcast_dict::<arrow::array::StringArray>()
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(found, [None, Some("a"), None, Some("b"), None]);
    }
}
