//! Attribute lists → promoted columns and shorter residual lists.
//!
//! Duty: [`split`], of one array, and [`Splitter`], of several arrays into the columns of one row group. Guarantee: a
//! value is promoted only if it is the first occurrence of its key in its row and has the column's type; everything else
//! stays in its list, in order. So a promoted value comes before every residual one of its key, and "the first
//! occurrence is the value" holds once they are merged. Left to others: the choice.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::Error;
use super::promote::{Choice, type_code};
use super::promoted::Promoted;
use super::recent::Recent;
use super::tally::Attrs;
use crate::span::schema;

/// The residual lists, and one column a choice.
pub(super) fn split(lists: &ListArray, choices: &[Choice]) -> Result<(ListArray, Vec<ArrayRef>), Error> {
    let mut splitter = Splitter::new(choices, lists.len());
    splitter.add(lists)?;
    let (mut residual, columns) = splitter.finish();
    Ok((residual.pop().expect("one array was added"), columns))
}

/// Lists that become the columns of a row group.
pub(super) struct Splitter<'a> {
    choices: &'a [Choice],
    columns: Vec<Promoted>,
    residual: Vec<ListArray>,
    places: Places,
    shared: Recent<Shared>,
}

/// A dictionary of lists that was split.
struct Shared {
    /// A choice: the place of each list's value, if it has one.
    taken: Vec<Vec<Option<u32>>>,
    residual: ListArray,
}

/// Where the promoted values of an array of lists are, and what stays.
#[derive(Default)]
struct Places {
    /// A choice: the lists that have a value, in order, and its place.
    taken: Vec<Vec<Taken>>,
    kept: Vec<u32>,
    ends: Vec<i32>,
    last: Vec<usize>,
    /// The choice of each key of a dictionary, if it has one.
    slots: Recent<Vec<Option<usize>>>,
}

/// A row that has a value, and the place of that value.
///
/// Most keys are those of few rows: what the others do not have costs nothing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) row: u32,
    pub(super) at: u32,
}

impl<'a> Splitter<'a> {
    /// For `rows` rows that are to be added.
    pub(super) fn new(choices: &'a [Choice], rows: usize) -> Self {
        let columns = choices.iter().map(|choice| Promoted::new(choice.of, rows)).collect();
        Self { choices, columns, residual: Vec::new(), places: Places::default(), shared: Recent::default() }
    }

    /// Adds a row for each list.
    pub(super) fn add(&mut self, lists: &ListArray) -> Result<(), Error> {
        let attrs = Attrs::of(lists);
        self.places.find(lists, &attrs, self.choices);
        for (column, taken) in self.columns.iter_mut().zip(&self.places.taken) {
            column.add(&attrs, lists.len(), taken);
        }
        self.residual.push(self.places.residual(&attrs)?);
        Ok(())
    }

    /// Adds a row for each of `rows`, which are places in `lists`: each list is split once, not once a row, nor once for
    /// each batch that shares it.
    pub(super) fn add_shared(&mut self, lists: &ArrayRef, rows: &[i32]) -> Result<(), Error> {
        if self.shared.get(lists).is_none() {
            let split = self.places.shared(lists, self.choices)?;
            self.shared.put(lists, split);
        }
        let shared = self.shared.get(lists).expect("it was found or just put there");
        let attrs = Attrs::of(lists.as_list());
        let mut of_rows = Vec::with_capacity(rows.len());
        for (column, taken) in self.columns.iter_mut().zip(&shared.taken) {
            let found = (0..)
                .zip(rows)
                .filter_map(|(row, list)| Some(Taken { row, at: taken[list.cast_unsigned() as usize]? }));
            of_rows.clear();
            of_rows.extend(found);
            column.add(&attrs, rows.len(), &of_rows);
        }
        // With every key promoted, as of most resources, there is nothing to repeat.
        self.residual.push(match shared.residual.values().is_empty() {
            true => empty_lists(&shared.residual, rows.len()),
            false => {
                let rows = UInt32Array::from_iter_values(rows.iter().map(|list| list.cast_unsigned()));
                take(&shared.residual, &rows, None)?.as_list::<i32>().clone()
            }
        });
        Ok(())
    }

    /// The residual lists, an array for each that was added, and one column a choice.
    pub(super) fn finish(self) -> (Vec<ListArray>, Vec<ArrayRef>) {
        (self.residual, self.columns.into_iter().map(Promoted::finish).collect())
    }
}

impl Places {
    fn shared(&mut self, lists: &ArrayRef, choices: &[Choice]) -> Result<Shared, Error> {
        let list: &ListArray = lists.as_list();
        let attrs = Attrs::of(list);
        self.find(list, &attrs, choices);
        let of_lists = |taken: &Vec<Taken>| {
            let mut places = vec![None; list.len()];
            taken.iter().for_each(|taken| places[taken.row as usize] = Some(taken.at));
            places
        };
        let taken = self.taken.iter().map(of_lists).collect();
        Ok(Shared { taken, residual: self.residual(&attrs)? })
    }

    fn find(&mut self, lists: &ListArray, attrs: &Attrs<'_>, choices: &[Choice]) {
        let words = attrs.words.as_string::<i32>();
        let slot_of = |word: &str| choices.iter().position(|choice| choice.key == word);
        let slots = self.slots.get_or(attrs.words, || (0..words.len()).map(|at| slot_of(words.value(at))).collect());
        let codes: Vec<usize> = choices.iter().map(|choice| type_code(choice.of)).collect();
        let rows = lists.len();
        self.taken.resize(choices.len(), Vec::new());
        self.taken.iter_mut().for_each(Vec::clear);
        self.last.clear();
        self.last.resize(choices.len(), usize::MAX);
        self.kept.clear();
        self.ends.clear();
        self.ends.push(0);
        let offsets = lists.value_offsets();
        for row in 0..rows {
            for at in offsets[row] as usize..offsets[row + 1] as usize {
                match slots[attrs.word(at)] {
                    Some(slot)
                        if std::mem::replace(&mut self.last[slot], row) != row && attrs.type_at(at) == codes[slot] =>
                    {
                        self.taken[slot].push(Taken { row: row as u32, at: at as u32 });
                    }
                    _ => self.kept.push(at as u32),
                }
            }
            self.ends.push(self.kept.len() as i32);
        }
    }

    fn residual(&self, attrs: &Attrs<'_>) -> Result<ListArray, Error> {
        let item = schema::item(DataType::Struct(schema::attr_fields()));
        let values = match self.kept.is_empty() {
            true => attrs.all.slice(0, 0),
            false => take(attrs.all, &UInt32Array::from(self.kept.clone()), None)?.as_struct().clone(),
        };
        let ends = OffsetBuffer::new(self.ends.clone().into());
        Ok(ListArray::try_new(item, ends, Arc::new(values), None)?)
    }
}

/// `rows` lists without elements, of the type of `like`, which has none either.
pub(super) fn empty_lists(like: &ListArray, rows: usize) -> ListArray {
    let DataType::List(item) = like.data_type() else { unreachable!("it is a list") };
    ListArray::new(item.clone(), OffsetBuffer::new_zeroed(rows), like.values().slice(0, 0), None)
}
