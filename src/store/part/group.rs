//! Rows of several batches as the columns of one row group.
//!
//! Duty: [`Group`] of rows in memory, [`joined`] of rows of other parts. Guarantee: rows keep their
//! order; dictionaries are united by what few texts they have, not by what many rows have them. Left to others: which
//! rows make a group (`encode`), writing it ([`super::Writer`]).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, DictionaryArray, Int32Array, ListArray, NullBufferBuilder, RecordBatch, StringArray,
};
use arrow::compute::concat;
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;

use super::Error;
use super::chunk::Words;
use super::columns::TEXT_DICTIONARY_BYTES;
use super::keys::Level;
use super::promote::Choice;
use super::recent::Recent;
use super::split::{Splitter, empty_lists};
use crate::span::schema;

/// Rows of batches with the columns of [`schema::stored`] as a row group, whose columns are made when they are asked
/// for: each takes the memory of the one before.
pub(super) struct Group<'a> {
    batches: &'a [RecordBatch],
    /// By level: what stays in the lists.
    lists: Vec<ArrayRef>,
    promoted: Vec<ArrayRef>,
}

impl<'a> Group<'a> {
    /// The rows of `batches`, whose attributes become the columns of `choices`.
    pub(super) fn new(batches: &'a [RecordBatch], choices: &[Vec<Choice>; 3]) -> Result<Self, Error> {
        let mut group = Self { batches, lists: Vec::new(), promoted: Vec::new() };
        for (level, choices) in Level::ALL.into_iter().zip(choices) {
            let mut splitter = Splitter::new(choices, group.rows());
            let at = schema::stored().index_of(level.column())?;
            for batch in batches {
                match batch.column(at).as_any_dictionary_opt() {
                    None => splitter.add(batch.column(at).as_list())?,
                    Some(shared) => {
                        let keys = shared.keys().as_primitive::<Int32Type>().values();
                        splitter.add_shared(shared.values(), keys)?;
                    }
                }
            }
            let (residual, added) = splitter.finish();
            group.lists.push(lists(&residual.iter().collect::<Vec<_>>())?);
            group.promoted.extend(added);
        }
        Ok(group)
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }

    /// Column `at` of the row group.
    pub(super) fn column(&self, at: usize) -> Result<ArrayRef, ArrowError> {
        let stored = schema::stored().fields();
        let Some(field) = stored.get(at) else { return Ok(self.promoted[at - stored.len()].clone()) };
        if let Some(level) = Level::ALL.into_iter().position(|level| level.column() == field.name()) {
            return Ok(self.lists[level].clone());
        }
        let of_batches = self.batches.iter().map(|batch| batch.column(at));
        match field.data_type() {
            DataType::Utf8View => Ok(Arc::new(words(of_batches))),
            _ => one(&of_batches.collect::<Vec<_>>()),
        }
    }
}

/// The rows of `batches`, which have the columns of a row group, one batch after the other.
pub fn joined(batches: &[RecordBatch]) -> Result<Option<RecordBatch>, ArrowError> {
    let Some(first) = batches.first() else { return Ok(None) };
    let column = |at| one(&batches.iter().map(|batch| batch.column(at)).collect::<Vec<_>>());
    let columns = (0..first.num_columns()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(first.schema(), columns).map(Some)
}

/// Text as words.
pub fn worded(texts: &ArrayRef) -> DictionaryArray<Int32Type> {
    words(std::iter::once(texts))
}

/// The columns as one.
fn one(columns: &[&ArrayRef]) -> Result<ArrayRef, ArrowError> {
    match columns[0].data_type() {
        DataType::Dictionary(_, _) if are_words(columns) => {
            Ok(Arc::new(united(columns.iter().map(|column| column.as_dictionary()))))
        }
        DataType::List(_) => lists(&columns.iter().map(|column| column.as_list()).collect::<Vec<_>>()),
        _ => concat(&columns.iter().map(|column| column.as_ref()).collect::<Vec<_>>()),
    }
}

/// Whether a row of the columns is null by its key alone.
fn are_words(columns: &[&ArrayRef]) -> bool {
    columns.iter().all(|column| {
        let values = column.as_any_dictionary().values();
        *values.data_type() == DataType::Utf8 && values.null_count() == 0
    })
}

/// Whether no list of `lists` has an element, and none is null.
pub fn is_empty(lists: &ListArray) -> bool {
    lists.null_count() == 0 && lists.offsets().first() == lists.offsets().last()
}

/// One array of `lists`.
fn lists(lists: &[&ListArray]) -> Result<ArrayRef, ArrowError> {
    if let Some(first) = lists.first().filter(|_| lists.iter().all(|lists| is_empty(lists))) {
        return Ok(Arc::new(empty_lists(first, lists.iter().map(|lists| lists.len()).sum())));
    }
    concat(&lists.iter().map(|lists| *lists as &dyn Array).collect::<Vec<_>>())
}

/// A text of a dictionary that has no key in the new one yet.
const UNKNOWN: i32 = -1;

/// The columns as one with one dictionary.
fn united<'a>(columns: impl Iterator<Item = &'a DictionaryArray<Int32Type>> + Clone) -> DictionaryArray<Int32Type> {
    let mut words = Words::new(TEXT_DICTIONARY_BYTES);
    let mut keys: Vec<i32> = Vec::with_capacity(columns.clone().map(|column| column.len()).sum());
    let mut present = NullBufferBuilder::new(0);
    // The keys that the texts of a dictionary have in the new one.
    let mut known: Recent<Vec<i32>> = Recent::default();
    for column in columns {
        let known = known.get_or(column.values(), || vec![UNKNOWN; column.values().len()]);
        let texts: &StringArray = column.values().as_string();
        let nulls = column.nulls();
        match nulls {
            Some(nulls) => present.append_buffer(nulls),
            None => present.append_n_non_nulls(column.len()),
        }
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        keys.extend(column.keys().values().iter().enumerate().map(|(row, key)| {
            if nulls.is_some_and(|nulls| nulls.is_null(row)) {
                return 0;
            }
            let at = key.cast_unsigned() as usize;
            if known[at] == UNKNOWN {
                known[at] = words.key(texts.value(at));
            }
            known[at]
        }));
    }
    DictionaryArray::new(Int32Array::new(keys.into(), present.finish()), Arc::new(words.finish()))
}

/// Columns of text as one with a dictionary.
fn words<'a>(columns: impl Iterator<Item = &'a ArrayRef> + Clone) -> DictionaryArray<Int32Type> {
    let mut words = Words::new(TEXT_DICTIONARY_BYTES);
    let mut keys: Vec<i32> = Vec::with_capacity(columns.clone().map(|column| column.len()).sum());
    let mut present = NullBufferBuilder::new(0);
    for column in columns {
        let texts = column.as_string_view();
        if texts.null_count() == texts.len() {
            keys.resize(keys.len() + texts.len(), 0);
            present.append_n_nulls(texts.len());
            continue;
        }
        match texts.nulls() {
            Some(nulls) => present.append_buffer(nulls),
            None => present.append_n_non_nulls(texts.len()),
        }
        keys.extend(texts.iter().map(|text| text.map_or(0, |text| words.key(text))));
    }
    DictionaryArray::new(Int32Array::new(keys.into(), present.finish()), Arc::new(words.finish()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(texts: &[Option<&str>]) -> ArrayRef {
        Arc::new(texts.iter().copied().collect::<DictionaryArray<Int32Type>>())
    }

    fn texts(column: &ArrayRef) -> Vec<Option<&str>> {
        column.as_dictionary::<Int32Type>().downcast_dict::<StringArray>().unwrap().into_iter().collect()
    }

    fn batches(columns: &[ArrayRef]) -> Vec<RecordBatch> {
        columns
            .iter()
            .map(|column| RecordBatch::try_from_iter_with_nullable([("c", column.clone(), true)]).unwrap())
            .collect()
    }

    #[test]
    fn rows_keep_their_texts_whatever_dictionaries_they_come_with() {
        let (a, b, none) = (Some("a"), Some("b"), None);
        let cases: [[Vec<Option<&str>>; 2]; 5] = [
            [vec![a, b, none, a], vec![b, b, none]],
            [vec![a; 4], vec![a; 3]],
            [vec![a; 4], vec![b; 3]],
            [vec![none; 4], vec![none; 3]],
            [vec![a; 4], vec![none; 3]],
        ];
        for [first, second] in cases {
            let batches = batches(&[column(&first), column(&second)]);
            let all = joined(&batches).unwrap().unwrap();
            assert_eq!(texts(all.column(0)), [first.clone(), second.clone()].concat());
        }
        assert!(joined(&[]).unwrap().is_none());
    }

    #[test]
    fn slices_of_one_batch_share_their_dictionary() {
        let all = column(&[Some("a"), Some("b"), Some("a"), None, Some("c")]);
        let united = one(&[&all.slice(3, 2), &all.slice(1, 2)]).unwrap();
        assert_eq!(texts(&united), [None, Some("c"), Some("b"), Some("a")]);
        assert_eq!(united.as_any_dictionary().values().len(), 3);
    }
}
