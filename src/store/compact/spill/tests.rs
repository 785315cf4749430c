//! Rows that are carried, spilled and merged are the rows that came.

use arrow::array::{ArrayRef, AsArray as _, DictionaryArray, RecordBatch};
use arrow::compute::{cast, concat_batches, take};
use arrow::datatypes::{DataType, Int32Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;
use crate::store::Config;
use crate::store::compact::gather::Gather;
use crate::store::part::Promotion;
use crate::store::samples;

/// Rows of chance with the columns of a row group, start times within three buckets; names and messages are many, and
/// each batch has dictionaries of its own.
fn rows(seed: u64, count: usize) -> RecordBatch {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let starts: Vec<i64> = (0..count).map(|_| (chance.next_u64() % 900) as i64 * 1_000_000_000).collect();
    let stored = samples::varied(seed, &starts, seed as i64);
    let schema = Promotion::of_parts(std::iter::empty(), 0, &Config::at("unused")).schema();
    let mut words = |nullable: bool| -> ArrayRef {
        let word = |_| {
            let word = chance.next_u64();
            (!nullable || word % 3 > 0).then(|| format!("{}ö a word of some length", word % 400))
        };
        Arc::new(
            (0..count)
                .map(word)
                .collect::<Vec<_>>()
                .iter()
                .map(Option::as_deref)
                .collect::<DictionaryArray<Int32Type>>(),
        )
    };
    let columns = schema.fields().iter().zip(stored.columns()).map(|(field, column)| match field.name().as_str() {
        "name" => words(false),
        "status_message" => words(true),
        _ if column.data_type() == field.data_type() => column.clone(),
        _ if matches!(field.data_type(), DataType::List(_)) => {
            let shared = column.as_dictionary::<Int32Type>();
            take(shared.values(), shared.keys(), None).unwrap()
        }
        _ => cast(&cast(column, &DataType::Utf8).unwrap(), field.data_type()).unwrap(),
    });
    RecordBatch::try_new(schema.clone(), columns.collect()).unwrap()
}

/// The same rows without elements of any list and without any value that may be absent.
fn bare(rows: &RecordBatch) -> RecordBatch {
    let columns =
        rows.schema_ref().fields().iter().zip(rows.columns()).map(|(field, column)| match field.data_type() {
            _ if field.is_nullable() => arrow::array::new_null_array(field.data_type(), rows.num_rows()),
            DataType::List(item) => {
                let empty = arrow::array::new_empty_array(item.data_type());
                let offsets = arrow::buffer::OffsetBuffer::new_zeroed(rows.num_rows());
                Arc::new(arrow::array::ListArray::new(item.clone(), offsets, empty, None)) as ArrayRef
            }
            _ => column.clone(),
        });
    RecordBatch::try_new(rows.schema(), columns.collect()).unwrap()
}

fn restored(columns: &[Cells], rows: usize, vocabulary: &Vocabulary) -> RecordBatch {
    let columns =
        columns.iter().enumerate().map(|(at, cells)| vocabulary.restore(at, &cells.each(rows).unwrap()).unwrap());
    RecordBatch::try_new(vocabulary.schema().clone(), columns.collect()).unwrap()
}

fn texts(batches: &[RecordBatch]) -> Vec<String> {
    samples::texts(batches, &[])
}

/// Of few rows and many, with and without lists and nulls.
fn batches() -> Vec<RecordBatch> {
    let mut batches: Vec<_> = (1..7).map(|seed| rows(seed, 40 + 37 * seed as usize)).collect();
    batches.insert(2, bare(&rows(9, 50)));
    batches.push(rows(10, 120).slice(17, 60));
    batches.push(rows(11, 1));
    batches
}

/// Memory for all words, for those of the first batches, and for none.
const ROOMS: [usize; 3] = [16 << 20, 24 << 10, 0];

fn blocks(batches: &[RecordBatch], vocabulary: &mut Vocabulary) -> Vec<Arc<Block>> {
    let columns: Vec<_> = batches.iter().map(|batch| vocabulary.carry(batch).unwrap()).collect();
    vocabulary.settle();
    let block = |columns: Vec<ArrayRef>| {
        let rows = columns[0].len();
        let columns = columns.into_iter().map(|column| Cells::of(column).unwrap()).collect();
        Arc::new(Block::new(columns, rows, vocabulary).unwrap())
    };
    columns.into_iter().map(block).collect()
}

#[test]
fn rows_that_were_carried_and_packed_are_the_rows_that_came() {
    let batches = batches();
    for room in ROOMS {
        let mut vocabulary = Vocabulary::new(batches[0].schema(), room);
        let blocks = blocks(&batches, &mut vocabulary);
        for (block, batch) in blocks.iter().zip(&batches) {
            let wanted = texts(std::slice::from_ref(batch));
            assert_eq!(texts(&[restored(&block.columns, block.rows(), &vocabulary)]), wanted);
            let bytes = pack(&block.columns, block.rows(), &vocabulary).unwrap();
            let (columns, rows) = unpack(&bytes, &vocabulary).unwrap();
            assert_eq!(texts(&[restored(&columns, rows, &vocabulary)]), wanted);
        }
    }
}

#[test]
fn picked_rows_keep_their_values_whatever_blocks_they_come_from() {
    let batches = batches();
    let all = texts(&batches);
    let firsts: Vec<usize> = batches
        .iter()
        .scan(0, |at, batch| {
            *at += batch.num_rows();
            Some(*at - batch.num_rows())
        })
        .collect();
    for room in ROOMS {
        let mut vocabulary = Vocabulary::new(batches[0].schema(), room);
        let blocks = blocks(&batches, &mut vocabulary);
        let mut chance = ChaCha8Rng::seed_from_u64(3);
        for count in [1, 10, 2000] {
            let mut gather = Gather::default();
            gather.enter(blocks.len());
            let mut wanted = Vec::new();
            for _ in 0..count {
                let block = (chance.next_u64() % blocks.len() as u64) as usize;
                let row = (chance.next_u64() % blocks[block].rows() as u64) as usize;
                gather.push(&blocks, (block as u32, row as u32));
                wanted.push(all[firsts[block] + row].clone());
                if wanted.len() == count / 2 {
                    gather.settle(&vocabulary).unwrap();
                    gather.enter(blocks.len());
                }
            }
            let (columns, rows) = gather.take(&vocabulary).unwrap().unwrap();
            assert_eq!(texts(&[restored(&columns, rows, &vocabulary)]), wanted);
            assert!(gather.take(&vocabulary).unwrap().is_none());
        }
    }
}

#[test]
fn merged_runs_are_all_rows_in_the_order_of_their_words() {
    let dir = tempfile::tempdir().unwrap();
    let batches = batches();
    for (room, name) in ROOMS.into_iter().zip(["all", "some", "none"]) {
        let mut vocabulary = Vocabulary::new(batches[0].schema(), room);
        let mut spill = Spill::create(&Disk::Os, dir.path(), name).unwrap();
        let mut runs = Vec::new();
        for batches in batches.chunks(2) {
            let blocks = blocks(batches, &mut vocabulary);
            let stretch = Stretch::of(blocks.iter().map(|b| (b.clone(), 0..b.rows())).collect(), false, &vocabulary);
            let mut run = Run::default();
            for from in (0..stretch.rows.len()).step_by(23) {
                let mut gather = Gather::default();
                gather.enter(stretch.blocks.len());
                let rows = from..stretch.rows.len().min(from + 23);
                rows.for_each(|row| gather.push(&stretch.blocks, stretch.rows.at(row)));
                spill.append(&mut run, &gather.take(&vocabulary).unwrap().unwrap(), &vocabulary).unwrap();
            }
            runs.push(run);
        }
        let mut merged = Merged::open(spill.reader(), &runs, &vocabulary).unwrap();
        let mut found = Vec::new();
        while let Some(stretch) = merged.next(&vocabulary).unwrap() {
            assert!(stretch.rows.len() > 0);
            let mut gather = Gather::default();
            gather.enter(stretch.blocks.len());
            (0..stretch.rows.len()).for_each(|row| gather.push(&stretch.blocks, stretch.rows.at(row)));
            let (columns, rows) = gather.take(&vocabulary).unwrap().unwrap();
            found.push(restored(&columns, rows, &vocabulary));
        }
        let found = concat_batches(found[0].schema_ref(), &found).unwrap();
        let word = |column: &str, row: usize| {
            let words = found.column_by_name(column).unwrap().as_dictionary::<Int32Type>();
            words.values().as_string::<i32>().value(words.keys().value(row) as usize).to_owned()
        };
        let starts = found.column_by_name("start_time").unwrap();
        let starts = starts.as_primitive::<arrow::datatypes::TimestampNanosecondType>();
        let key = |row: usize| {
            let start = starts.value(row);
            (start.div_euclid(crate::store::part::BUCKET_NS), word("service_name", row), word("name", row), start)
        };
        for row in 1..found.num_rows() {
            assert!(key(row - 1) <= key(row), "{:?} before {:?}", key(row - 1), key(row));
        }
        let sorted = |mut rows: Vec<String>| {
            rows.sort();
            rows
        };
        assert_eq!(sorted(texts(&[found])), sorted(texts(&batches)));
    }
}

#[test]
fn a_word_beyond_the_room_is_carried_as_text_and_memory_stays_bounded() {
    let batches: Vec<_> = (0..30).map(|seed| rows(seed, 300)).collect();
    let bytes = |room: usize| {
        let mut vocabulary = Vocabulary::new(batches[0].schema(), room);
        batches.iter().for_each(|batch| drop(vocabulary.carry(batch).unwrap()));
        vocabulary.bytes()
    };
    assert_eq!(bytes(0), 0);
    let all = bytes(64 << 20);
    assert!(all > 40 << 10, "{all}");
    // A batch may have as many words as rows, in each of its columns.
    assert!(bytes(16 << 10) < all / 2, "{} of {all}", bytes(16 << 10));
}

#[test]
fn a_damaged_block_is_an_error() {
    let batch = rows(1, 30);
    let mut vocabulary = Vocabulary::new(batch.schema(), 1 << 20);
    let block = blocks(&[batch], &mut vocabulary).remove(0);
    let bytes = pack(&block.columns, block.rows(), &vocabulary).unwrap();
    for at in (0..bytes.len()).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(unpack(&damaged, &vocabulary).is_err());
        assert!(unpack(&bytes[..at], &vocabulary).is_err());
    }
}

#[test]
fn a_block_of_a_run_counts_as_much_as_the_rows_did_before() {
    let dir = tempfile::tempdir().unwrap();
    let mut vocabulary = Vocabulary::new(rows(1, 1).schema(), 1 << 20);
    let before = blocks(&[rows(1, 500)], &mut vocabulary).remove(0);
    let mut spill = Spill::create(&Disk::Os, dir.path(), "test").unwrap();
    let mut run = Run::default();
    spill.append(&mut run, &(before.columns.clone(), before.rows()), &vocabulary).unwrap();
    let after = spill.reader().read(&run.blocks[0], &vocabulary).unwrap();
    let ratio = after.bytes as f64 / before.bytes as f64;
    assert!((0.5..2.0).contains(&ratio), "{} bytes became {}", before.bytes, after.bytes);
}
