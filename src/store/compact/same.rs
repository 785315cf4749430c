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

/// Content of a row.
type Content = [u8; 32];

/// The rows so far that are like the newest one.
#[derive(Debug, Default)]
pub struct Repeats {
    newest: Option<(Arc<Block>, usize)>,
    /// Contents of the rows like it; empty while it is the only one.
    contents: HashSet<Content>,
}

impl Repeats {
    /// Whether the row equals one given before; rows come in order.
    pub fn is_repeat(&mut self, block: &Arc<Block>, row: usize) -> bool {
        let before = self.newest.replace((block.clone(), row));
        let Some((other, at)) = before.filter(|(other, at)| other.key(*at).is_like(&block.key(row))) else {
            self.contents.clear();
            return false;
        };
        if self.contents.is_empty() {
            self.contents.insert(content(&other, at));
        }
        !self.contents.insert(content(block, row))
    }
}

fn content(block: &Block, row: usize) -> Content {
    let mut bytes = Vec::with_capacity(1024);
    for (field, column) in block.batch.schema_ref().fields().iter().zip(block.batch.columns()) {
        match field.name().as_str() {
            "ingest_time" | "parent_service" => {}
            "attributes" | "resource" | "scope" => by_key(&mut bytes, column, row),
            _ => push(&mut bytes, column, row),
        }
    }
    Sha256::digest(&bytes).into()
}

/// A list of attributes in the order of its keys, which promotion changes; repeated keys in their order.
fn by_key(bytes: &mut Vec<u8>, column: &ArrayRef, row: usize) {
    let item = column.as_list::<i32>().value(row);
    let keys = item.as_struct().column(0);
    let mut attributes: Vec<(Vec<u8>, usize)> = (0..item.len())
        .map(|at| {
            let mut key = Vec::new();
            push(&mut key, keys, at);
            (key, at)
        })
        .collect();
    attributes.sort();
    bytes.extend((attributes.len() as u64).to_le_bytes());
    attributes.iter().for_each(|(_, at)| push(bytes, &item, *at));
}

/// Null or value with its length: no two different rows have the same bytes.
fn push(bytes: &mut Vec<u8>, column: &dyn Array, row: usize) {
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
        DataType::Utf8 => text(bytes, column.as_string::<i32>().value(row).as_bytes()),
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
        DataType::Dictionary(_, _) => {
            let words = column.as_dictionary::<Int32Type>();
            push(bytes, words.values(), words.keys().value(row).cast_unsigned() as usize);
        }
        DataType::List(_) => {
            let items = column.as_list::<i32>().value(row);
            bytes.extend((items.len() as u64).to_le_bytes());
            (0..items.len()).for_each(|at| push(bytes, &items, at));
        }
        DataType::Struct(_) => column.as_struct().columns().iter().for_each(|child| push(bytes, child, row)),
        other => unreachable!("spans have no column of type {other}: a new type of column needs a line here"),
    }
}
