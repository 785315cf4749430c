//! Exact duplicates among sorted rows (storage.md 11.3b).
//!
//! Duty: [`Repeats`] tells of each row whether an equal one came before. Guarantee: a row is a repeat only if all its
//! columns but `ingest_time` and the derived `parent_service` have the values of an earlier one, attributes in any
//! order of their keys; rows come by key, so memory is that of one span's versions. Left to others: dropping them.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray as _};
use arrow::datatypes::{DataType, Int32Type, TimeUnit};
use arrow::datatypes::{
    Float64Type, Int64Type, TimestampMicrosecondType, TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type,
};
use sha2::{Digest, Sha256};

use super::rows::Block;
use super::spill::Stretch;
use super::vocabulary::{Shape, Vocabulary};

/// Content of a row.
type Content = [u8; 32];

/// A row of a block.
pub type Place<'a> = (&'a Arc<Block>, usize);

/// The rows so far that are like the newest one.
#[derive(Debug, Default)]
pub struct Repeats {
    /// The last row of the stretch before.
    newest: Option<(Arc<Block>, usize)>,
    /// Contents of the rows like it; empty while it is the only one.
    contents: HashSet<Content>,
}

impl Repeats {
    /// Whether row `row` of `stretch` equals one given before; rows come in order, each stretch from its first.
    pub fn is_repeat(&mut self, stretch: &Stretch, row: usize, vocabulary: &Vocabulary) -> bool {
        let place = |row: usize| {
            let (block, at) = stretch.rows.at(row);
            (&stretch.blocks[block as usize], at as usize)
        };
        let this = place(row);
        if row > 0 {
            return match stretch.rows.is_like_before(row, &stretch.blocks) {
                true => self.is_among(place(row - 1), this, vocabulary),
                false => self.is_new(),
            };
        }
        let last = place(stretch.rows.len() - 1);
        match self.newest.replace((last.0.clone(), last.1)) {
            Some((other, at)) if other.key(at, vocabulary).is_like(&this.0.key(this.1, vocabulary)) => {
                self.is_among((&other, at), this, vocabulary)
            }
            _ => self.is_new(),
        }
    }

    /// No row to come is like one given before.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn is_new(&mut self) -> bool {
        self.contents.clear();
        false
    }

    fn is_among(&mut self, before: Place<'_>, this: Place<'_>, vocabulary: &Vocabulary) -> bool {
        if self.contents.is_empty() {
            self.contents.insert(content(before, vocabulary));
        }
        !self.contents.insert(content(this, vocabulary))
    }
}

fn content((block, row): Place<'_>, vocabulary: &Vocabulary) -> Content {
    let mut bytes = Vec::with_capacity(1024);
    let fields = vocabulary.schema().fields().iter().zip(vocabulary.shapes());
    for ((field, shape), cells) in fields.zip(&block.columns) {
        let (column, row) = cells.at(row);
        match (field.name().as_str(), shape) {
            ("ingest_time" | "parent_service", _) => {}
            ("attributes" | "resource" | "scope", Shape::List(item)) => {
                by_key(&mut bytes, item, column, row, vocabulary);
            }
            _ => push(&mut bytes, shape, column, row, vocabulary),
        }
    }
    Sha256::digest(&bytes).into()
}

/// A list of attributes in the order of its keys, which promotion changes; repeated keys in their order.
fn by_key(bytes: &mut Vec<u8>, shape: &Shape, column: &ArrayRef, row: usize, vocabulary: &Vocabulary) {
    let item = column.as_list::<i32>().value(row);
    let Shape::Struct(children) = shape else { unreachable!("attributes are structs") };
    let keys = item.as_struct().column(0);
    let mut attributes: Vec<(Vec<u8>, usize)> = (0..item.len())
        .map(|at| {
            let mut key = Vec::new();
            push(&mut key, &children[0], keys, at, vocabulary);
            (key, at)
        })
        .collect();
    attributes.sort();
    bytes.extend((attributes.len() as u64).to_le_bytes());
    attributes.iter().for_each(|(_, at)| push(bytes, shape, &item, *at, vocabulary));
}

/// Null or value with its length: no two different rows have the same bytes.
fn push(bytes: &mut Vec<u8>, shape: &Shape, column: &dyn Array, row: usize, vocabulary: &Vocabulary) {
    if column.is_null(row) {
        bytes.push(0);
        return;
    }
    bytes.push(1);
    let text = |bytes: &mut Vec<u8>, value: &[u8]| {
        bytes.extend((value.len() as u64).to_le_bytes());
        bytes.extend(value);
    };
    match column.data_type() {
        DataType::Utf8View => text(bytes, column.as_string_view().value(row).as_bytes()),
        DataType::Binary => text(bytes, column.as_binary::<i32>().value(row)),
        DataType::FixedSizeBinary(_) => text(bytes, column.as_fixed_size_binary().value(row)),
        DataType::Boolean => bytes.push(u8::from(column.as_boolean().value(row))),
        DataType::UInt8 => bytes.push(column.as_primitive::<UInt8Type>().value(row)),
        DataType::UInt16 => bytes.extend(column.as_primitive::<UInt16Type>().value(row).to_le_bytes()),
        DataType::UInt32 => bytes.extend(column.as_primitive::<UInt32Type>().value(row).to_le_bytes()),
        DataType::UInt64 => bytes.extend(column.as_primitive::<UInt64Type>().value(row).to_le_bytes()),
        DataType::Int64 => bytes.extend(column.as_primitive::<Int64Type>().value(row).to_le_bytes()),
        DataType::Float64 => bytes.extend(column.as_primitive::<Float64Type>().value(row).to_bits().to_le_bytes()),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            bytes.extend(column.as_primitive::<TimestampNanosecondType>().value(row).to_le_bytes());
        }
        DataType::Timestamp(TimeUnit::Microsecond, _) => {
            bytes.extend(column.as_primitive::<TimestampMicrosecondType>().value(row).to_le_bytes());
        }
        DataType::Int32 => {
            let Shape::Word(word) = shape else { unreachable!("numbers of 32 bits are words") };
            let number = column.as_primitive::<Int32Type>().value(row);
            text(bytes, vocabulary.texts(*word).value(number.cast_unsigned() as usize).as_bytes());
        }
        DataType::List(_) => {
            let Shape::List(item) = shape else { unreachable!("it is a list") };
            let items = column.as_list::<i32>().value(row);
            bytes.extend((items.len() as u64).to_le_bytes());
            (0..items.len()).for_each(|at| push(bytes, item, &items, at, vocabulary));
        }
        DataType::Struct(_) => {
            let Shape::Struct(children) = shape else { unreachable!("it is a struct") };
            let columns = column.as_struct().columns().iter().zip(children);
            columns.for_each(|(column, child)| push(bytes, child, column, row, vocabulary));
        }
        other => unreachable!("spans have no column of type {other}: a new type of column needs a line here"),
    }
}
