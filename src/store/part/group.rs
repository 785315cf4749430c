//! Rows of several batches as the columns of one row group.
//!
//! Duty: [`group`] of rows in memory, [`joined`] and [`picked`] of rows of other parts. Guarantee: rows keep their
//! order; dictionaries are united by what few texts they have, not by what many rows have them. Left to others: which
//! rows make a group (`encode`), writing it ([`super::Writer`]).

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, DictionaryArray, Int32Array, ListArray, NullBufferBuilder, RecordBatch, StringArray,
};
use arrow::compute::{concat, interleave};
use arrow::datatypes::{DataType, Int32Type, SchemaRef};
use arrow::error::ArrowError;

use super::Error;
use super::chunk::Words;
use super::columns::TEXT_DICTIONARY_BYTES;
use super::keys::Level;
use super::promote::Choice;
use super::split::{Splitter, empty_lists};
use crate::span::schema;

/// The rows of `batches`, which have the columns of [`schema::stored`], with those of `schema`: a row group's.
pub(super) fn group(
    batches: &[RecordBatch],
    choices: &[Vec<Choice>; 3],
    schema: &SchemaRef,
) -> Result<RecordBatch, Error> {
    let stored = schema::stored().fields();
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    let mut promoted: Vec<ArrayRef> = Vec::new();
    for (at, field) in stored.iter().enumerate() {
        let of_batches = batches.iter().map(|batch| batch.column(at));
        let level = Level::ALL.into_iter().position(|level| level.column() == field.name());
        if let Some(level) = level {
            let mut splitter = Splitter::new(&choices[level]);
            for lists in of_batches {
                match lists.as_any_dictionary_opt() {
                    None => splitter.add(lists.as_list())?,
                    Some(shared) => splitter.add_shared(shared.values().as_list(), &shared.normalized_keys())?,
                }
            }
            let (residual, added) = splitter.finish();
            columns.push(lists(&residual.iter().collect::<Vec<_>>())?);
            promoted.extend(added);
            continue;
        }
        columns.push(match field.data_type() {
            DataType::Utf8View => Arc::new(words(of_batches)),
            _ => one(&of_batches.collect::<Vec<_>>())?,
        });
    }
    columns.extend(promoted);
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// The rows of `batches`, which have the columns of a row group, one batch after the other.
pub fn joined(batches: &[RecordBatch]) -> Result<Option<RecordBatch>, ArrowError> {
    by_column(batches, one)
}

/// The rows of `batches`, which have the columns of a row group, that `rows` names by batch and row, in that order.
pub fn picked(batches: &[&RecordBatch], rows: &[(usize, usize)]) -> Result<Option<RecordBatch>, ArrowError> {
    by_column(batches, |columns| {
        let all = || columns.iter().map(|column| column.as_ref()).collect::<Vec<_>>();
        Ok(match columns[0].data_type() {
            DataType::Dictionary(_, _) if are_words(columns) => match constant(columns, rows.len()) {
                Some(constant) => Arc::new(constant),
                None => Arc::new(picked_words(columns, rows)),
            },
            DataType::List(_) if columns.iter().all(|lists| is_empty(lists.as_list())) => {
                Arc::new(empty_lists(columns[0].as_list(), rows.len()))
            }
            _ => interleave(&all(), rows)?,
        })
    })
}

fn by_column<B: std::borrow::Borrow<RecordBatch>>(
    batches: &[B],
    one: impl Fn(&[&ArrayRef]) -> Result<ArrayRef, ArrowError>,
) -> Result<Option<RecordBatch>, ArrowError> {
    let Some(first) = batches.first().map(std::borrow::Borrow::borrow) else { return Ok(None) };
    let column = |at| one(&batches.iter().map(|batch| batch.borrow().column(at)).collect::<Vec<_>>());
    let columns = (0..first.num_columns()).map(column).collect::<Result<_, _>>()?;
    RecordBatch::try_new(first.schema(), columns).map(Some)
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

fn is_empty(lists: &ListArray) -> bool {
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
fn united<'a>(columns: impl Iterator<Item = &'a DictionaryArray<Int32Type>>) -> DictionaryArray<Int32Type> {
    let mut words = Words::new(TEXT_DICTIONARY_BYTES);
    let mut keys: Vec<i32> = Vec::new();
    let mut present = NullBufferBuilder::new(0);
    // The keys that the texts of the last dictionary have in the new one: slices of one batch share theirs.
    let mut of: Option<&'a ArrayRef> = None;
    let mut known: Vec<i32> = Vec::new();
    for column in columns {
        if !of.is_some_and(|of| Arc::ptr_eq(of, column.values())) {
            of = Some(column.values());
            known.clear();
            known.resize(column.values().len(), UNKNOWN);
        }
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

/// `rows` rows of the columns if all rows are one text, or null: they need not be looked at.
fn constant(columns: &[&ArrayRef], rows: usize) -> Option<DictionaryArray<Int32Type>> {
    let first = columns.first()?.as_dictionary::<Int32Type>();
    if columns.iter().all(|column| column.null_count() == column.len()) {
        return Some(DictionaryArray::new(Int32Array::new_null(rows), first.values().slice(0, 0)));
    }
    let text = |column: &ArrayRef| column.null_count() == 0 && column.as_any_dictionary().values().len() == 1;
    let same = columns.iter().all(|column| {
        let texts = column.as_any_dictionary().values();
        text(column) && texts.as_string::<i32>().value(0) == first.values().as_string::<i32>().value(0)
    });
    same.then(|| DictionaryArray::new(Int32Array::from(vec![0; rows]), first.values().clone()))
}

/// The texts of `rows`, each of a column and a row of it.
fn picked_words(columns: &[&ArrayRef], rows: &[(usize, usize)]) -> DictionaryArray<Int32Type> {
    let columns: Vec<&DictionaryArray<Int32Type>> = columns.iter().map(|column| column.as_dictionary()).collect();
    let texts: Vec<&StringArray> = columns.iter().map(|column| column.values().as_string()).collect();
    // Few rows of large dictionaries are looked up one by one: clearing a table of all texts would cost more.
    let is_few = texts.iter().map(|texts| texts.len()).sum::<usize>() > rows.len();
    let mut known: Vec<Vec<i32>> = match is_few {
        true => Vec::new(),
        false => texts.iter().map(|texts| vec![UNKNOWN; texts.len()]).collect(),
    };
    let keys: Vec<&[i32]> = columns.iter().map(|column| &column.keys().values()[..]).collect();
    let nulls: Vec<_> = columns.iter().map(|column| column.nulls().filter(|nulls| nulls.null_count() > 0)).collect();
    let mut words = Words::new(TEXT_DICTIONARY_BYTES);
    let mut present = NullBufferBuilder::new(rows.len());
    let new_keys: Vec<i32> = rows
        .iter()
        .map(|(column, row)| {
            if nulls[*column].is_some_and(|nulls| nulls.is_null(*row)) {
                present.append_null();
                return 0;
            }
            present.append_non_null();
            let at = keys[*column][*row].cast_unsigned() as usize;
            let Some(known) = known.get_mut(*column).map(|known| &mut known[at]) else {
                return words.key(texts[*column].value(at));
            };
            if *known == UNKNOWN {
                *known = words.key(texts[*column].value(at));
            }
            *known
        })
        .collect();
    DictionaryArray::new(Int32Array::new(new_keys.into(), present.finish()), Arc::new(words.finish()))
}

/// Columns of text as one with a dictionary.
fn words<'a>(columns: impl Iterator<Item = &'a ArrayRef>) -> DictionaryArray<Int32Type> {
    let mut words = Words::new(TEXT_DICTIONARY_BYTES);
    let mut keys: Vec<i32> = Vec::new();
    let mut present = NullBufferBuilder::new(0);
    for column in columns {
        let texts = column.as_string_view();
        if texts.null_count() == texts.len() {
            keys.resize(keys.len() + texts.len(), 0);
            present.append_n_nulls(texts.len());
            continue;
        }
        for text in texts {
            present.append(text.is_some());
            keys.push(text.map_or(0, |text| words.key(text)));
        }
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
        // Few rows and many: a table of the texts is made for many only.
        let few = vec![(1, 2), (0, 3)];
        let many: Vec<_> = (0..50).map(|n| (n % 2, n % 3)).collect();
        for [first, second] in cases {
            let batches = batches(&[column(&first), column(&second)]);
            let all = joined(&batches).unwrap().unwrap();
            assert_eq!(texts(all.column(0)), [first.clone(), second.clone()].concat());
            for rows in [&few, &many] {
                let wanted: Vec<_> = rows.iter().map(|(batch, row)| [&first, &second][*batch][*row]).collect();
                let found = picked(&batches.iter().collect::<Vec<_>>(), rows).unwrap().unwrap();
                assert_eq!(texts(found.column(0)), wanted, "{first:?} {second:?}");
            }
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
