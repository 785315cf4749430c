//! Rows that a follower missed while they were in memory.
//!
//! Duty: [`read`], the next rows of parts by their positions. Guarantee: all rows of a range of positions, each record
//! whole and once; memory for about as many rows as asked for, and a batch beside them. Left to others: which rows are
//! still in memory, and that all of the range are in these parts (`mod.rs`).
//!
//! A compacted part is in another order, so its positions are read for each range anew: eight bytes a row, of few columns'
//! bytes. Only the row groups that hold some of the range are read further.

use std::collections::BinaryHeap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray as _, BooleanArray, DictionaryArray, Int32Array, RecordBatch, UInt32Array,
};
use arrow::compute::{cast, concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{Field, Int32Type, SchemaRef, TimestampMicrosecondType};
use object_store::ObjectStore;

use super::Followed;
use crate::span::{SpanBatch, schema};
use crate::store::part::{self, Opened, Part, Promotion};
use crate::store::shelf::parts_error;
use crate::store::{Config, Error};

const BATCH_ROWS: usize = 8192;

/// The rows of a range of positions.
#[derive(Debug)]
pub struct Window {
    /// By position.
    pub rows: Vec<Followed>,
    /// Where the range ends, itself included.
    pub until_us: i64,
}

/// A row group with rows above where the range begins.
struct Group<'a> {
    part: &'a Part,
    at: usize,
    /// The first of their positions.
    first_us: i64,
}

/// The next rows above `above_us` in `parts`: those of at least one record, of about `at_once_rows` rows together.
pub async fn read(
    objects: Arc<dyn ObjectStore>,
    parts: &[Arc<Part>],
    above_us: i64,
    at_once_rows: usize,
) -> Result<Window, Error> {
    window(&objects, parts, above_us, at_once_rows).await.map_err(|error| parts_error(&error))
}

async fn window(
    objects: &Arc<dyn ObjectStore>,
    parts: &[Arc<Part>],
    above_us: i64,
    at_once_rows: usize,
) -> Result<Window, part::Error> {
    let mut ahead: Vec<&Part> =
        parts.iter().map(AsRef::as_ref).filter(|part| part.entry.ingest[1] > above_us).collect();
    ahead.sort_by_key(|part| part.entry.ingest[0]);
    // The positions of the first rows, the highest on top.
    let mut first: BinaryHeap<i64> = BinaryHeap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for part in ahead {
        if first.len() >= at_once_rows && first.peek().is_some_and(|last| part.entry.ingest[0] > *last) {
            break;
        }
        let opened = Opened::open(objects.clone(), &part.entry).await?;
        for at in 0..part.entry.row_groups.len() {
            let mut rows = opened.rows(vec![at], Some(&[schema::INGEST_TIME]), BATCH_ROWS)?;
            let mut first_us = i64::MAX;
            while let Some(batch) = rows.next().await? {
                for position in positions(&batch).iter().filter(|position| **position > above_us) {
                    first_us = first_us.min(*position);
                    if first.len() < at_once_rows.max(1) {
                        first.push(*position);
                    } else if first.peek().is_some_and(|last| position < last) {
                        first.pop();
                        first.push(*position);
                    }
                }
            }
            if first_us < i64::MAX {
                groups.push(Group { part, at, first_us });
            }
        }
    }
    // Whole records: all rows at the last position are of the range.
    let Some(until_us) = first.peek().copied() else {
        // The manifest says more than the parts have, which only damage does.
        let last = parts.iter().map(|part| part.entry.ingest[1]).max();
        return Ok(Window { rows: Vec::new(), until_us: last.unwrap_or(above_us) });
    };
    let plain = Promotion::of_parts(std::iter::empty(), 0, &Config::at(""));
    let columns = plain.schema();
    let mut found: Vec<RecordBatch> = Vec::new();
    for group in groups.iter().filter(|group| group.first_us <= until_us) {
        let opened = Opened::open(objects.clone(), &group.part.entry).await?;
        let mut rows = opened.rows(vec![group.at], None, BATCH_ROWS)?;
        while let Some(batch) = rows.next().await? {
            let wanted: BooleanArray =
                positions(&batch).iter().map(|position| Some(above_us < *position && *position <= until_us)).collect();
            if wanted.true_count() > 0 {
                found.push(opened.reshape(&filter_record_batch(&batch, &wanted)?, &plain, &columns)?);
            }
        }
    }
    Ok(Window { rows: records(&columns, &found)?, until_us })
}

fn positions(batch: &RecordBatch) -> &[i64] {
    let of = batch.column_by_name(schema::INGEST_TIME).expect("every part has it, and it was asked for");
    of.as_primitive::<TimestampMicrosecondType>().values()
}

/// The rows of `batches`, record by record.
fn records(columns: &SchemaRef, batches: &[RecordBatch]) -> Result<Vec<Followed>, part::Error> {
    let rows = concat_batches(columns, batches)?;
    let of = positions(&rows);
    let mut order: Vec<u32> = (0_u32..).take(rows.num_rows()).collect();
    order.sort_by_key(|row| of[*row as usize]);
    let rows = take_record_batch(&rows, &UInt32Array::from(order))?;
    let mut records = Vec::new();
    let mut from = 0;
    for record in positions(&rows).chunk_by(|a, b| a == b) {
        let batch = spans(&rows.slice(from, record.len()))?;
        records.push(Followed { batch, position_us: record[0] });
        from += record.len();
    }
    Ok(records)
}

/// Rows of a part that has no promoted columns, as they were in memory.
fn spans(rows: &RecordBatch) -> Result<SpanBatch, part::Error> {
    let column = |field: &Field| -> Result<ArrayRef, part::Error> {
        let column = rows.column_by_name(field.name()).expect("a part has all stored columns");
        if *field.data_type() == schema::interned_attributes() {
            let keys = Int32Array::from_iter_values((0_i32..).take(column.len()));
            return Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(keys, column.clone())?));
        }
        Ok(cast(column, field.data_type())?)
    };
    let spans = schema::incoming().fields().iter().map(|field| column(field)).collect::<Result<Vec<_>, _>>()?;
    let checked = schema::semconv_fields().iter().map(|field| column(field)).collect::<Result<Vec<_>, _>>()?;
    let batch = RecordBatch::try_new(schema::incoming().clone(), spans)?;
    let batch = SpanBatch::try_new(batch).and_then(|batch| batch.with_semconv(checked));
    batch.map_err(|error| part::Error::Unfit(error.to_string()))
}
