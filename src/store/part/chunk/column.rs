//! A leaf of keys as the pages of a chunk.
//!
//! Duty: [`dictionary`], [`plain`], [`delta`] and [`flags`]. Guarantee: a page ends with its zone at the latest, and a
//! dictionary stays under its limit: the zone that would reach it, and all after it, are PLAIN. Each distinct value is
//! looked at once a page, not once a row. Left to others: values (`values`), pages (`pages`), what the entries of lists
//! are (`nested`).

use arrow::buffer::NullBuffer;
use parquet::basic::Encoding;
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;

use super::super::columns::{Leaf, PAGE_BYTES, ZONE_ROWS};
use super::Chunk;
use super::delta;
use super::hybrid;
use super::nested::Entries;
use super::pages::{Held, Pages, widened};
use super::values::{Nothing, Numbers, Values};

/// Which value each entry has: each row, but in lists.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column<'a> {
    /// The keys; those of null entries mean nothing.
    pub(super) keys: &'a [i32],
    pub(super) nulls: Option<&'a NullBuffer>,
    /// The column may have nulls, so its pages have definition levels.
    pub(super) nullable: bool,
    /// The entries are those of lists.
    pub(super) lists: Option<&'a Entries<'a>>,
}

/// The levels of a page.
#[derive(Clone, Copy, Default)]
struct Levels {
    /// Entries without a value.
    nulls: usize,
    /// Bytes of repetition levels, which come first.
    repetition: usize,
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
    fn entries(&self) -> usize {
        self.keys.len()
    }

    fn is_null(&self, entry: usize) -> bool {
        self.nulls.is_some_and(|nulls| nulls.is_null(entry))
    }

    /// Whether one of the entries `from..to` may have a value.
    fn has_value(&self, from: usize, to: usize) -> bool {
        self.nulls.is_none_or(|nulls| nulls.slice(from, to - from).null_count() < to - from)
    }

    /// Where the zone of the entry `at` ends.
    fn zone_end(&self, at: usize) -> usize {
        match self.lists {
            Some(lists) => lists.zone_end(at),
            None => (at / ZONE_ROWS * ZONE_ROWS + ZONE_ROWS).min(self.entries()),
        }
    }

    /// Whether a page may end before the entry `at`.
    fn begins_row(&self, at: usize) -> bool {
        self.lists.is_none_or(|lists| lists.begins_row(at))
    }

    /// What a page of the entries `from..to` holds, but for its values.
    fn held(&self, from: usize, to: usize, nulls: usize) -> Held {
        let rows = self.lists.map_or(to - from, |lists| lists.rows(from, to));
        Held { rows, entries: to - from, nulls, range: None, text_bytes: None }
    }

    /// The levels of the entries `from..to`.
    fn levels(&self, from: usize, to: usize, out: &mut Vec<u8>) -> Levels {
        out.clear();
        let entries = to - from;
        let nulls = self.nulls.filter(|nulls| nulls.null_count() > 0).map(|nulls| nulls.slice(from, entries));
        let count = nulls.as_ref().map_or(0, NullBuffer::null_count);
        if let Some(lists) = self.lists {
            return Levels { nulls: count, repetition: lists.put_levels(from, to, out) };
        }
        if !self.nullable {
            return Levels::default();
        }
        match nulls {
            Some(_) if count == entries => hybrid::put_run(0, entries, 1, out),
            Some(nulls) if count > 0 => hybrid::put_flags(nulls.inner(), out),
            _ => hybrid::put_run(1, entries, 1, out),
        }
        Levels { nulls: count, repetition: 0 }
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
    while at < column.entries() {
        let end = column.zone_end(at);
        let entries = end - at;
        page += 1;
        let levels = column.levels(at, end, &mut zone.levels);
        let nulls = levels.nulls;
        zone.held = column.held(at, end, nulls);
        zone.ids.clear();
        let before = order.len();
        let mut last = (-1, 0, 0);
        let mut text_bytes = 0;
        let keys = &column.keys[at..end];
        // All have one value.
        let is_run = nulls == 0 && keys[1..] == keys[..entries - 1];
        let looked_at = match nulls {
            0 if is_run => 1,
            all if all == entries => 0,
            _ => entries,
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
            // Of most columns few entries have a value: only those are looked at.
            Some(nulls) => nulls.slice(at, entries).valid_indices().for_each(|entry| see(keys[entry])),
        }
        if bytes >= limit {
            order[before..].iter().for_each(|key| seen[*key as usize].id = NO_ID);
            order.truncate(before);
            break;
        }
        if is_run {
            text_bytes *= entries;
        }
        zone.held.text_bytes = values.is_text().then_some(text_bytes);
        let width = hybrid::width(order.len().saturating_sub(1) as u32);
        encoded.clear();
        encoded.push(width as u8);
        match is_run {
            true => hybrid::put_run(zone.ids[0], entries, width, &mut encoded),
            false => hybrid::put(&zone.ids, width, &mut encoded),
        }
        pages.add(levels.repetition, &zone.levels, &encoded, Encoding::RLE_DICTIONARY, &zone.held)?;
        at = end;
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

/// The entries from `at`, PLAIN.
fn put_plain<V: Values>(
    column: Column<'_>,
    mut at: usize,
    values: &V,
    pages: &mut Pages<'_, V>,
    mut filter: Option<&mut Sbbf>,
) -> Result<(), ParquetError> {
    let (mut levels, mut encoded) = (Vec::new(), Vec::new());
    let needs_range = pages.has_statistics();
    while at < column.entries() {
        let end = column.zone_end(at);
        encoded.clear();
        let (mut range, mut text_bytes) = (None, 0);
        // Of most attributes no leaf but one has a value.
        let mut next = if column.has_value(at, end) { at } else { end };
        while next < end && (encoded.len() < PAGE_BYTES || !column.begins_row(next)) {
            if !column.is_null(next) {
                let key = column.keys[next].cast_unsigned();
                values.put(key, &mut encoded);
                text_bytes += values.text_bytes(key);
                if let Some(filter) = &mut filter {
                    values.insert(key, filter);
                }
                if needs_range && values.order(key, key).is_some() {
                    range = Some(widened(values, range, (key, key)));
                }
            }
            next += 1;
        }
        let of_page = column.levels(at, next, &mut levels);
        let text_bytes = values.is_text().then_some(text_bytes);
        let held = Held { range, text_bytes, ..column.held(at, next, of_page.nulls) };
        pages.add(of_page.repetition, &levels, &encoded, Encoding::PLAIN, &held)?;
        at = next;
    }
    Ok(())
}

/// Integers of 64 bits by their differences.
pub(super) fn delta(
    column: Column<'_>,
    values: &Numbers<'_>,
    mut pages: Pages<'_, Numbers<'_>>,
) -> Result<Chunk, ParquetError> {
    let (mut levels, mut encoded) = (Vec::new(), Vec::new());
    let (mut keys, mut numbers) = (Vec::new(), Vec::new());
    let needs_range = pages.has_statistics();
    let mut at = 0;
    while at < column.entries() {
        let end = column.zone_end(at);
        let of_page = column.levels(at, end, &mut levels);
        keys.clear();
        match of_page.nulls {
            0 => keys.extend_from_slice(&column.keys[at..end]),
            _ => keys.extend((at..end).filter(|entry| !column.is_null(*entry)).map(|entry| column.keys[entry])),
        }
        numbers.clear();
        numbers.extend(keys.iter().map(|key| values.bits[key.cast_unsigned() as usize].cast_signed()));
        encoded.clear();
        delta::put(&numbers, &mut encoded);
        let mut held = column.held(at, end, of_page.nulls);
        if needs_range && let Some((min, max)) = numbers.iter().min().zip(numbers.iter().max()) {
            let key_of = |end: &i64| numbers.iter().position(|number| number == end).map_or(0, |at| keys[at]);
            held.range = Some((key_of(min).cast_unsigned(), key_of(max).cast_unsigned()));
        }
        pages.add(of_page.repetition, &levels, &encoded, Encoding::DELTA_BINARY_PACKED, &held)?;
        at = end;
    }
    pages.finish(None, None)
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
        let text_bytes = values.is_text.then_some(0);
        let held = Held { rows, entries: rows, nulls: rows, range: None, text_bytes };
        pages.add(repetition, &levels, encoded, encoding, &held)?;
    }
    pages.finish(leaf.dictionary.map(|_| &[] as &[u32]), None)
}

/// Flags, whose keys are 0 and 1, as runs.
pub(super) fn flags<V: Values>(column: Column<'_>, mut pages: Pages<'_, V>) -> Result<Chunk, ParquetError> {
    let (mut levels, mut encoded) = (Vec::new(), Vec::new());
    let mut at = 0;
    while at < column.entries() {
        let end = column.zone_end(at);
        let of_page = column.levels(at, end, &mut levels);
        let set = (at..end).filter(|entry| of_page.nulls == 0 || !column.is_null(*entry));
        let set: Vec<u8> = set.map(|entry| column.keys[entry] as u8).collect();
        let range = set.iter().min().zip(set.iter().max()).map(|(min, max)| (u32::from(*min), u32::from(*max)));
        encoded.clear();
        encoded.extend_from_slice(&[0; 4]);
        hybrid::put(&set, 1, &mut encoded);
        let length = (encoded.len() - 4) as u32;
        encoded[..4].copy_from_slice(&length.to_le_bytes());
        let held = Held { range, ..column.held(at, end, of_page.nulls) };
        pages.add(of_page.repetition, &levels, &encoded, Encoding::RLE, &held)?;
        at = end;
    }
    pages.finish(None, None)
}
