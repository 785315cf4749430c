//! The bounds of the counts and what a damaged file does, without a store.

use arrow::array::{
    ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
    StringViewArray, StructArray, UInt8Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int32Type};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;
use crate::span::SpanBatch;
use crate::span::schema::{self, attr_type};
use crate::store::samples::{self, NOW_NS};

const DAY_NS: i64 = 24 * HOUR_NS;
const NOW_US: i64 = NOW_NS / 1000;

/// One span with these keys, each an integer.
fn with_keys(keys: &[String]) -> SpanBatch {
    let count = keys.len();
    let ids = Int32Array::from_iter_values(0..i32::try_from(count).unwrap());
    let texts = StringArray::from_iter_values(keys);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(DictionaryArray::<Int32Type>::try_new(ids, Arc::new(texts)).unwrap()),
        Arc::new(UInt8Array::from(vec![attr_type::INT; count])),
        Arc::new(StringViewArray::new_null(count)),
        Arc::new(Int64Array::from(vec![1; count])),
        Arc::new(Float64Array::new_null(count)),
        Arc::new(BinaryArray::new_null(count)),
    ];
    let values = Arc::new(StructArray::new(schema::attr_fields(), columns, None));
    let item = schema::item(DataType::Struct(schema::attr_fields()));
    let lists = ListArray::new(item, OffsetBuffer::from_lengths([count]), values, None);
    let batch = samples::batch_at(&[NOW_NS]);
    let at = batch.as_record_batch().schema_ref().index_of("attributes").unwrap();
    batch.with_column(at, Arc::new(lists)).unwrap()
}

fn counted(batches: impl IntoIterator<Item = SpanBatch>, share: usize) -> Counts {
    let (mut counts, mut tally) = (Counts::new(share), Tally::default());
    batches.into_iter().for_each(|batch| {
        let rows = Arc::new(Rows::new(batch, NOW_US, 1));
        Run::of([&rows]).iter().for_each(|run| tally.add(&mut counts, run));
    });
    tally.finish(&mut counts);
    counts
}

fn rows_of(entry: &Entry) -> u64 {
    entry.days.iter().map(|day| day.rows).sum()
}

#[test]
fn a_million_keys_are_ten_thousand_rows_and_one_for_all_the_rest() {
    let batches = (0..100).map(|batch| {
        let mut keys: Vec<String> = (0..10_000).map(|key| format!("key.{}", batch * 10_000 + key)).collect();
        keys.push("in.every.span".to_owned());
        with_keys(&keys)
    });
    // The first batch takes all the room but for what comes before its end.
    let first = with_keys(&["in.every.span".to_owned()]);
    let counts = counted(std::iter::once(first).chain(batches), 64 << 20);
    let keys: Vec<_> = counts.rows(Table::Attributes).collect();
    assert_eq!(keys.len(), 10_001);
    assert_eq!(keys.iter().map(|(_, entry)| rows_of(entry)).sum::<u64>(), 1_000_101);
    let (names, rest) = keys.last().unwrap();
    assert!(names.is_none());
    assert_eq!((rows_of(rest), rest.types), (1_000_000 - 9_999, 1 << attr_type::INT));
    let known = keys.iter().find(|(names, _)| names.as_deref() == Some(&["in.every.span"])).unwrap();
    assert_eq!(rows_of(known.1), 101);
    assert!(counts.bytes() < 4 << 20, "{} bytes", counts.bytes());
}

#[test]
fn names_that_do_not_fit_the_share_are_counted_together_and_days_leave_oldest_first() {
    let share = 100 << 10;
    let names: Vec<String> = (0..10_000).map(|key| format!("key.{key}")).collect();
    let counts = counted([with_keys(&names)], share);
    assert!(counts.bytes() < share + (1 << 10), "{} bytes", counts.bytes());
    let (names, rest) = counts.rows(Table::Attributes).last().unwrap();
    assert!(names.is_none() && rows_of(rest) > 9_000);

    // Without a horizon, spans of any day are theirs.
    let starts: Vec<i64> = (1..3_000).map(|day| NOW_NS - day * DAY_NS).collect();
    let counts = counted([samples::batch_at(&starts), samples::batch_at(&[NOW_NS])], share);
    assert!(counts.bytes() < share + (1 << 10), "{} bytes", counts.bytes());
    let days: Vec<i32> = counts.days().into_iter().collect();
    let today = tally::day_of_hour(NOW_NS / HOUR_NS);
    assert!(days.len() > 10 && days.last() == Some(&today), "{days:?}");
    assert!(days.windows(2).all(|two| two[0] + 1 == two[1]), "the newest days are there: {days:?}");
    assert_eq!(counts.floor(), days[0]);
}

#[test]
fn a_bit_that_flips_in_the_file_makes_it_unreadable_or_changes_nothing() {
    let starts: Vec<i64> = (0..400).map(|at| NOW_NS - at * 7 * HOUR_NS / 10).collect();
    let batches = (0..4).map(|seed| {
        let varied = samples::varied(seed, &starts, NOW_US);
        let columns = schema::incoming().fields().iter();
        let columns: Vec<usize> = columns.map(|f| varied.schema_ref().index_of(f.name()).unwrap()).collect();
        SpanBatch::try_new(varied.project(&columns).unwrap()).unwrap()
    });
    let counts = counted(batches, 1 << 20);
    let tables = Tables::from_counts(&counts);
    assert!(Table::ALL.iter().all(|table| !tables.of(*table).is_empty()));
    let bytes = file::encode(7, 42, &counts).unwrap();
    let decoded = |bytes: &[u8]| file::decode(7, bytes, 1 << 20).map(|(counts, at)| (Tables::from_counts(&counts), at));
    assert_eq!(decoded(&bytes), Ok((tables.clone(), 42)));
    assert!(file::decode(8, &bytes, 1 << 20).is_err(), "it is of another version");

    let mut chance = ChaCha8Rng::seed_from_u64(6);
    let mut unreadable = 0;
    for _ in 0..2_000 {
        let mut damaged = bytes.clone();
        match chance.next_u64() % 4 {
            0 => damaged.truncate(chance.next_u64() as usize % bytes.len()),
            1 => damaged.extend([0; 3]),
            _ => damaged[chance.next_u64() as usize % bytes.len()] ^= 1 << (chance.next_u64() % 8),
        }
        match decoded(&damaged) {
            Ok(same) => assert_eq!(same, (tables.clone(), 42)),
            Err(_) => unreadable += 1,
        }
    }
    assert!(unreadable > 1_900, "{unreadable}");
}

#[test]
fn only_files_of_the_catalogue_have_its_names() {
    let path = file::path_of(128);
    assert_eq!(path.as_ref(), "catalog/00000000000000000128.arrow.zst");
    assert_eq!(file::version_of(path.filename().unwrap()), Some(128));
    for stranger in ["128.arrow.zst", "0000000000000000012x.arrow.zst", "00000000000000000128.arrow", ".arrow.zst"] {
        assert_eq!(file::version_of(stranger), None, "{stranger}");
    }
}

#[test]
fn of_parts_to_be_counted_those_that_are_merged_soon_come_first() {
    let part = |path: &str, level: u8, lsn: u64| -> Arc<Part> {
        let entry: PartEntry = serde_json::from_value(serde_json::json!({
            "path": path, "level": level, "hour": "2023-11-14T22", "rows": 1, "bytes": 1, "footer_bytes": 1,
            "start": [1, 1], "end": [1, 1], "ingest": [1, 1], "row_groups": [], "services": [], "lsn": [lsn, lsn],
            "schema": 1, "file_xxh3": "0", "sum_xxh3": "0",
        }))
        .unwrap();
        Arc::new(Part::new(entry))
    };
    let parts = vec![part("a", 1, 9), part("b", 0, 1), part("c", 0, 3), part("d", 1, 2), part("e", 0, 2)];
    let parts = Arc::new(crate::store::PartSet { parts });
    let shown = Shown { version: 1, epoch: 1, flushed: 9, max_ingest_us: 1, parts };
    let state = State::after(Counted::none(1 << 20), &shown);
    let order: Vec<&str> = state.behind.iter().map(|part| part.entry.path.as_str()).collect();
    assert_eq!(order, ["c", "e", "b", "a", "d"]);
}
