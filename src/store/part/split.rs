//! Attribute lists → promoted columns and shorter residual lists.
//!
//! Duty: [`split`], of one array, and [`Splitter`], of several arrays into the columns of one row group. Guarantee: a
//! value is promoted only if it is the first occurrence of its key in its row and has the column's type; everything else
//! stays in its list, in order. So a promoted value comes before every residual one of its key, and "the first
//! occurrence is the value" holds once they are merged. Left to others: the choice.

use arrow::array::{Array, ArrayRef, AsArray, ListArray, UInt32Array};
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::Error;
use super::promote::{Choice, type_code};
use super::promoted::Promoted;
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
}

/// Where the promoted values of an array of lists are, and what stays.
#[derive(Default)]
struct Places {
    /// A choice: the lists that have a value, in order, and its place.
    taken: Vec<Vec<Taken>>,
    kept: Vec<u32>,
    ends: Vec<i32>,
    last: Vec<usize>,
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
        Self { choices, columns, residual: Vec::new(), places: Places::default() }
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

    /// Adds a row for each of `rows`, which are places in `lists`: each list is split once, not once a row.
    pub(super) fn add_shared(&mut self, lists: &ListArray, rows: &[usize]) -> Result<(), Error> {
        let attrs = Attrs::of(lists);
        self.places.find(lists, &attrs, self.choices);
        let mut of_list = vec![None; lists.len()];
        let mut of_rows = Vec::with_capacity(rows.len());
        for (column, taken) in self.columns.iter_mut().zip(&self.places.taken) {
            taken.iter().for_each(|taken| of_list[taken.row as usize] = Some(taken.at));
            let found = (0..).zip(rows).filter_map(|(row, list)| Some(Taken { row, at: of_list[*list]? }));
            of_rows.clear();
            of_rows.extend(found);
            column.add(&attrs, rows.len(), &of_rows);
            taken.iter().for_each(|taken| of_list[taken.row as usize] = None);
        }
        let residual = self.places.residual(&attrs)?;
        // With every key promoted, as of most resources, there is nothing to repeat.
        self.residual.push(match residual.values().is_empty() {
            true => empty_lists(&residual, rows.len()),
            false => {
                let rows = UInt32Array::from_iter_values(rows.iter().map(|list| *list as u32));
                take(&residual, &rows, None)?.as_list::<i32>().clone()
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
    fn find(&mut self, lists: &ListArray, attrs: &Attrs<'_>, choices: &[Choice]) {
        let words = attrs.words.as_string::<i32>();
        let slot_of = |word: &str| choices.iter().position(|choice| choice.key == word);
        let slots: Vec<Option<usize>> = (0..words.len()).map(|at| slot_of(words.value(at))).collect();
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
        Ok(ListArray::try_new(item, ends, std::sync::Arc::new(values), None)?)
    }
}

/// `rows` lists without elements, of the type of `like`, which has none either.
pub(super) fn empty_lists(like: &ListArray, rows: usize) -> ListArray {
    let DataType::List(item) = like.data_type() else { unreachable!("it is a list") };
    ListArray::new(item.clone(), OffsetBuffer::new_zeroed(rows), like.values().slice(0, 0), None)
}
