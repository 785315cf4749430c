//! A flat column of keys as the pages of a chunk.
//!
//! Duty: [`dictionary`], [`plain`] and [`flags`]. Guarantee: a page ends with its zone at the latest, and a dictionary
//! stays under its limit: the zone that would reach it, and all after it, are PLAIN. Each distinct value is looked at
//! once a page, not once a row. Left to others: values (`values`), pages (`pages`).

use arrow::buffer::NullBuffer;
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;

use super::super::columns::{Leaf, PAGE_BYTES, ZONE_ROWS};
use super::Chunk;
use super::hybrid;
use super::pages::{Held, Pages, widened};
use super::values::{Nothing, Values};

/// Which value each row has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    /// The keys; those of null rows mean nothing.
    pub(super) keys: &'a [i32],
    pub(super) nulls: Option<&'a NullBuffer>,
    /// The column may have nulls, so its pages have definition levels.
    pub(super) nullable: bool,
}

/// What is known of a key.
#[derive(Clone, Copy)]
struct Seen {
    /// Its place in the dictionary.
    id: u32,
    /// The last page that has it; 0 = none.
    page: u32,
}

const NO_ID: u32 = u32::MAX;

/// The keys of one page.
#[derive(Default)]
struct Zone {
    levels: Vec<u8>,
    ids: Vec<u32>,
    held: Held,
}

impl Column<'_> {
    fn rows(&self) -> usize {
        self.keys.len()
    }

    fn is_null(&self, row: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(row))
    }

    /// Nulls among `rows` rows from `from`, and their definition levels.
    fn levels(&self, from: usize, rows: usize, out: &mut Vec<u8>) -> usize {
        out.clear();
        if !self.nullable {
            return 0;
        }
        let Some(nulls) = self.nulls.filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.slice(from, rows)) else {
            hybrid::put_run(1, rows, 1, out);
            return 0;
        };
        match nulls.null_count() {
            0 => hybrid::put_run(1, rows, 1, out),
            all if all == rows => hybrid::put_run(0, rows, 1, out),
            _ => hybrid::put_flags(nulls.inner(), out),
        }
        nulls.null_count()
    }
}

/// With a dictionary of fewer than `limit` bytes.
pub(super) fn dictionary<V: Values>(
    column: Column<'_>,
    values: &V,
    limit: usize,
    mut filter: Option<(Sbbf, f64)>,
    mut pages: Pages<'_, V>,
) -> Result<Chunk, ParquetError> {
    let mut seen = vec![Seen { id: NO_ID, page: 0 }; values.len()];
    let mut order: Vec<u32> = Vec::new();
    let mut bytes = 0;
    let mut zone = Zone::default();
    let mut encoded = Vec::new();
    let mut at = 0;
    let mut page = 0;
    while at < column.rows() {
        let rows = ZONE_ROWS.min(column.rows() - at);
        page += 1;
        let nulls = column.levels(at, rows, &mut zone.levels);
        zone.held = Held { rows, nulls, range: None, text_bytes: values.is_text().then_some(0) };
        zone.ids.clear();
        let before = order.len();
        let mut last = (-1, 0, 0);
        let mut text_bytes = 0;
        let keys = &column.keys[at..at + rows];
        // All rows have one value.
        let is_run = nulls == 0 && keys[1..] == keys[..rows - 1];
        let looked_at = match nulls {
            0 if is_run => 1,
            all if all == rows => 0,
            _ => rows,
        };
        let mut see = |key: i32| {
            if key != last.0 {
                let key = key.cast_unsigned();
                let entry = &mut seen[key as usize];
                if entry.page != page {
                    if entry.page == 0
                        && let Some((filter, _)) = &mut filter
                    {
                        values.insert(key, filter);
                    }
                    entry.page = page;
                    if entry.id == NO_ID {
                        entry.id = order.len() as u32;
                        order.push(key);
                        bytes += values.size(key);
                    }
                    if values.order(key, key).is_some() {
                        zone.held.range = Some(widened(values, zone.held.range, (key, key)));
                    }
                }
                last = (key.cast_signed(), entry.id, values.text_bytes(key));
            }
            zone.ids.push(last.1);
            text_bytes += last.2;
        };
        match column.nulls.filter(|_| nulls > 0 && looked_at > 0) {
            None => keys[..looked_at].iter().for_each(|key| see(*key)),
            // Of most columns few rows have a value: only those are looked at.
            Some(nulls) => nulls.slice(at, rows).valid_indices().for_each(|row| see(keys[row])),
        }
        if bytes >= limit {
            order[before..].iter().for_each(|key| seen[*key as usize].id = NO_ID);
            order.truncate(before);
            break;
        }
        if is_run {
            text_bytes *= rows;
        }
        zone.held.text_bytes = values.is_text().then_some(text_bytes);
        let width = hybrid::width(order.len().saturating_sub(1) as u32);
        encoded.clear();
        encoded.push(width as u8);
        match is_run {
            true => hybrid::put_run(zone.ids[0], rows, width, &mut encoded),
            false => hybrid::put(&zone.ids, width, &mut encoded),
        }
        pages.add(&zone.levels, &encoded, Encoding::RLE_DICTIONARY, &zone.held)?;
        at += rows;
    }
    let has_dictionary = at > 0;
    put_plain(column, at, values, &mut pages, filter.as_mut().map(|(filter, _)| filter))?;
    let filter = filter.map(|(mut filter, fpp)| {
        filter.fold_to_target_fpp(fpp);
        filter
    });
    pages.finish(has_dictionary.then_some(order.as_slice()), filter)
}

/// Without a dictionary.
pub(super) fn plain<V: Values>(column: Column<'_>, values: &V, mut pages: Pages<'_, V>) -> Result<Chunk, ParquetError> {
    put_plain(column, 0, values, &mut pages, None)?;
    pages.finish(None, None)
}

/// The rows from `at`, PLAIN.
fn put_plain<V: Values>(
    column: Column<'_>,
    mut at: usize,
    values: &V,
    pages: &mut Pages<'_, V>,
    mut filter: Option<&mut Sbbf>,
) -> Result<(), ParquetError> {
    let (mut levels, mut encoded) = (Vec::new(), Vec::new());
    let needs_range = pages.has_statistics();
    while at < column.rows() {
        let end = (at / ZONE_ROWS * ZONE_ROWS + ZONE_ROWS).min(column.rows());
        encoded.clear();
        let (mut range, mut text_bytes) = (None, 0);
        let mut row = at;
        while row < end && encoded.len() < PAGE_BYTES {
            if !column.is_null(row) {
                let key = column.keys[row].cast_unsigned();
                values.put(key, &mut encoded);
                text_bytes += values.text_bytes(key);
                if let Some(filter) = &mut filter {
                    values.insert(key, filter);
                }
                if needs_range && values.order(key, key).is_some() {
                    range = Some(widened(values, range, (key, key)));
                }
            }
            row += 1;
        }
        let nulls = column.levels(at, row - at, &mut levels);
        let text_bytes = values.is_text().then_some(text_bytes);
        pages.add(&levels, &encoded, Encoding::PLAIN, &Held { rows: row - at, nulls, range, text_bytes })?;
        at = row;
    }
    Ok(())
}

/// A leaf of `rows` lists that have no element, so that all its levels are 0.
pub(super) fn empty(
    rows: usize,
    leaf: &Leaf,
    widths: [u32; 2],
    values: &Nothing,
    mut pages: Pages<'_, Nothing>,
) -> Result<Chunk, ParquetError> {
    let (encoded, encoding): (&[u8], _) = match leaf.encoding {
        // A width of 0 bits.
        _ if leaf.dictionary.is_some() => (&[0], Encoding::RLE_DICTIONARY),
        // Blocks of 256 numbers in four parts; no number, the first is 0.
        Encoding::DELTA_BINARY_PACKED => (&[0x80, 0x02, 4, 0, 0], Encoding::DELTA_BINARY_PACKED),
        other => (&[], other),
    };
    let mut levels = Vec::new();
    for at in (0..rows).step_by(ZONE_ROWS) {
        let rows = ZONE_ROWS.min(rows - at);
        levels.clear();
        hybrid::put_run(0, rows, widths[0], &mut levels);
        let repetition = levels.len();
        hybrid::put_run(0, rows, widths[1], &mut levels);
        let held = Held { rows, nulls: rows, range: None, text_bytes: values.is_text.then_some(0) };
        pages.add_nested(repetition, &levels, encoded, encoding, &held)?;
    }
    pages.finish(leaf.dictionary.map(|_| &[] as &[u32]), None)
}

/// Flags, whose keys are 0 and 1, as runs.
pub(super) fn flags<V: Values>(column: Column<'_>, mut pages: Pages<'_, V>) -> Result<Chunk, ParquetError> {
    let (mut levels, mut encoded) = (Vec::new(), Vec::new());
    for at in (0..column.rows()).step_by(ZONE_ROWS) {
        let rows = ZONE_ROWS.min(column.rows() - at);
        let nulls = column.levels(at, rows, &mut levels);
        let set = (at..at + rows).filter(|row| nulls == 0 || !column.is_null(*row));
        let set: Vec<u8> = set.map(|row| column.keys[row] as u8).collect();
        let range = set.iter().min().zip(set.iter().max()).map(|(min, max)| (u32::from(*min), u32::from(*max)));
        encoded.clear();
        encoded.extend_from_slice(&[0; 4]);
        hybrid::put(&set, 1, &mut encoded);
        let length = (encoded.len() - 4) as u32;
        encoded[..4].copy_from_slice(&length.to_le_bytes());
        pages.add(&levels, &encoded, Encoding::RLE, &Held { rows, nulls, range, text_bytes: None })?;
    }
    pages.finish(None, None)
}
