//! What comes out of jobs that succeed.

use arrow::array::{
    ArrayRef, DictionaryArray, Int64Array, ListArray, StringArray, StringViewArray, StructArray, UInt8Array,
    new_null_array,
};
use arrow::buffer::OffsetBuffer;

use super::*;
use crate::span::pinned::ScalarType;
use crate::span::schema::{self, attr_type};

/// Rows without their position → the earliest position.
fn distinct(batches: &[RecordBatch]) -> Vec<String> {
    let contents = samples::texts(batches, &["parent_service", "ingest_time"]);
    let full = samples::texts(batches, DERIVED);
    let positions = batches.iter().flat_map(|batch| {
        batch.column_by_name("ingest_time").unwrap().as_primitive::<TimestampMicrosecondType>().values().to_vec()
    });
    let mut earliest: BTreeMap<String, (i64, String)> = BTreeMap::new();
    for ((content, full), position) in contents.into_iter().zip(full).zip(positions) {
        let first = earliest.entry(content).or_insert((position, full.clone()));
        if position < first.0 {
            *first = (position, full);
        }
    }
    sorted(earliest.into_values().map(|(_, full)| full).collect())
}

/// (trace, span) → service of the first such span; and of each row (trace, parent, parent_service).
pub(super) fn check_parents(batches: &[RecordBatch]) {
    let mut first: HashMap<(Vec<u8>, Vec<u8>), (i64, String)> = HashMap::new();
    let ids = |batch: &RecordBatch, column: &str, row: usize| {
        let ids = batch.column_by_name(column).unwrap().as_fixed_size_binary();
        ids.is_valid(row).then(|| ids.value(row).to_vec())
    };
    let word = |batch: &RecordBatch, column: &str, row: usize| {
        let words = batch.column_by_name(column).unwrap().as_dictionary::<Int32Type>();
        let values = words.values().as_string::<i32>();
        words.is_valid(row).then(|| values.value(words.keys().value(row) as usize).to_owned())
    };
    for batch in batches {
        let positions = batch.column_by_name("ingest_time").unwrap().as_primitive::<TimestampMicrosecondType>();
        for row in 0..batch.num_rows() {
            let id = (ids(batch, "trace_id", row).unwrap(), ids(batch, "span_id", row).unwrap());
            let found = (positions.value(row), word(batch, "service_name", row).unwrap());
            let first = first.entry(id).or_insert_with(|| found.clone());
            *first = found.min(first.clone());
        }
    }
    let mut filled = 0;
    for batch in batches {
        for row in 0..batch.num_rows() {
            let parent = ids(batch, "parent_span_id", row);
            let of = parent.and_then(|parent| first.get(&(ids(batch, "trace_id", row).unwrap(), parent)));
            let wanted = of.map(|(_, service)| service.clone());
            filled += usize::from(wanted.is_some());
            // Of equal positions either service may be the first.
            let found = word(batch, "parent_service", row);
            assert_eq!(found.is_some(), wanted.is_some());
        }
    }
    assert!(filled > 0, "no row has its parent among the others");
}

pub(super) fn check_order(parts: &[Vec<RecordBatch>]) {
    let mut last = None;
    for batch in parts.iter().flatten() {
        let starts = batch.column_by_name("start_time").unwrap().as_primitive::<TimestampNanosecondType>();
        let word = |column: &str, row: usize| {
            let words = batch.column_by_name(column).unwrap().as_dictionary::<Int32Type>();
            words.values().as_string::<i32>().value(words.keys().value(row) as usize).to_owned()
        };
        for row in 0..batch.num_rows() {
            let start = starts.value(row);
            let key =
                (start.div_euclid(crate::store::part::BUCKET_NS), word("service_name", row), word("name", row), start);
            assert!(last.as_ref() <= Some(&key), "{last:?} before {key:?}");
            last = Some(key);
        }
    }
}

/// Flushes of varied rows, some sent twice; all rows come back.
async fn flushed(bed: &mut Bed, seed: u64, flushes: u64, rows: usize) -> Vec<RecordBatch> {
    let mut sent: Vec<RecordBatch> = Vec::new();
    for flush in 0..flushes {
        let starts = within_hour(seed + flush, HOUR_START_NS, rows);
        let position = |n: i64| NOW_NS / 1000 + (seed as i64) * 1000 + (flush as i64) * 10 + n;
        let mut batches = vec![samples::varied(seed + flush, &starts, position(1))];
        if flush % 2 == 1 {
            let again =
                samples::varied(seed + flush - 1, &within_hour(seed + flush - 1, HOUR_START_NS, rows), position(2));
            batches.push(again.slice(3, rows / 4));
        }
        sent.extend(batches.iter().cloned());
        bed.flush(batches, hour_number(), false).await;
    }
    sent
}

#[tokio::test]
async fn an_ended_hour_becomes_one_sorted_part_without_exact_duplicates() {
    let mut bed = Bed::new().await;
    let sent = flushed(&mut bed, 1, 4, 600).await;
    bed.step().await;
    assert_eq!(bed.levels(), [0; 4], "the hour is running");
    let before = bed.view();
    assert_eq!(texts(&before).await, sorted(samples::texts(&sent, DERIVED)));
    bed.hour_ends();
    bed.step().await;
    assert_eq!(bed.levels(), [1]);
    let after = bed.view();
    let rows = rows_of(&after).await;
    assert_eq!(texts(&after).await, distinct(&sent));
    check_order(std::slice::from_ref(&rows));
    check_parents(&rows);
    let repeated = sent.iter().map(RecordBatch::num_rows).sum::<usize>() as u64 - bed.parts()[0].rows;
    assert_eq!(repeated, 300);
    assert_eq!(bed.upkeep.metrics.duplicates.with_label_values(&["row"]).get(), repeated);
    assert_eq!(bed.upkeep.metrics.compaction_backlog_hours.get(), 0);
    // What was there before is still there for who holds it.
    assert_eq!(texts(&before).await, sorted(samples::texts(&sent, DERIVED)));
    let problems = part::check(bed.upkeep.shelf.objects().as_ref(), &bed.parts()[0], part::Depth::Deep).await;
    assert_eq!(problems, []);
    bed.step().await;
    assert_eq!(bed.view().manifest_version, after.manifest_version, "there is nothing left to do");
}

#[tokio::test]
async fn rows_that_do_not_fit_in_memory_come_out_the_same_over_sorted_runs() {
    let mut bed = Bed::with(2 << 20, 150).await;
    let starts: Vec<i64> = within_hour(5, 0, 800).iter().map(|at| HOUR_START_NS + at / 12).collect();
    let mut sent = Vec::new();
    for (flush, starts) in starts.chunks(200).enumerate() {
        let rows = samples::varied(flush as u64, starts, NOW_NS / 1000 + flush as i64);
        let again = rows.slice(10, 50);
        sent.extend([rows.clone(), again.clone()]);
        bed.flush(vec![rows, again], hour_number(), false).await;
    }
    bed.hour_ends();
    bed.step().await;
    assert!(bed.levels().iter().all(|level| *level == 1));
    assert_eq!(texts(&bed.view()).await, distinct(&sent));
    let mut parts = Vec::new();
    for entry in bed.parts() {
        assert!(entry.row_groups.len() > 1);
        parts.push(rows_of_part(&bed.view(), &entry).await);
    }
    check_order(&parts);
    assert_eq!(std::fs::read_dir(bed.folder.tmp()).unwrap().count(), 0, "scratch files are gone");
}

#[tokio::test]
async fn any_row_of_flushes_and_compactions_is_there_once_after_each_step() {
    let mut bed = Bed::with(8 << 20, 500).await;
    let mut chance = ChaCha8Rng::seed_from_u64(11);
    let mut sent = Vec::new();
    for round in 0..12 {
        for _ in 0..1 + chance.next_u64() % 4 {
            let hours = [0, 0, 0, 1, 2];
            let hour = hours[(chance.next_u64() % 5) as usize];
            let seed = chance.next_u64();
            let starts = within_hour(seed, HOUR_START_NS - hour * HOUR_NS, 1 + (seed % 90) as usize);
            let rows = samples::varied(seed, &starts, NOW_NS / 1000 + bed.lsn as i64);
            sent.push(rows.clone());
            bed.flush(vec![rows], hour_number() - hour, false).await;
        }
        bed.clock.advance(Duration::from_secs(chance.next_u64() % 3000));
        bed.step().await;
        assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)), "round {round}");
    }
    bed.clock.advance(Duration::from_secs(7 * 3600));
    bed.step().await;
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
    assert!(bed.levels().iter().all(|level| *level == 1), "{:?}", bed.levels());
}

#[tokio::test]
async fn small_parts_of_a_running_hour_are_joined_in_sorted_row_groups() {
    let mut bed = Bed::new().await;
    let mut sent = Vec::new();
    for flush in 0..9 {
        let rows = samples::varied(flush, &within_hour(flush, HOUR_START_NS, 40), NOW_NS / 1000 + flush as i64);
        sent.push(rows.clone());
        bed.flush(vec![rows], hour_number(), false).await;
    }
    bed.step().await;
    assert_eq!(bed.levels(), [0]);
    assert_eq!(bed.parts()[0].lsn, [1, 9]);
    let rows = rows_of(&bed.view()).await;
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
    check_order(&[rows]);
}

#[tokio::test]
async fn stray_parts_go_home_and_outliers_to_the_hour_they_came_in() {
    let mut bed = Bed::new().await;
    let ingest_us = NOW_NS / 1000;
    let mut sent = Vec::new();
    for flush in 0..8_u64 {
        let mut starts: Vec<i64> = (0..30).map(|row| HOUR_START_NS - (row % 5 + 2) * HOUR_NS + row).collect();
        starts.extend([0, i64::MAX]);
        let rows = samples::varied(flush, &starts, ingest_us + flush as i64);
        sent.push(rows.clone());
        bed.flush(vec![rows], hour_number(), true).await;
        if flush < 7 {
            bed.step().await;
            assert_eq!(bed.parts().len(), flush as usize + 1, "seven stray parts wait");
        }
    }
    // The homes have ended, so what came home is compacted at once.
    bed.step().await;
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
    let parts = bed.parts();
    assert!(parts.iter().all(|part| !part.stray));
    assert_eq!(parts.len(), 6, "five hours and that of the outliers");
    for part in &parts {
        for batch in rows_of_part(&bed.view(), part).await {
            let starts = batch.column_by_name("start_time").unwrap().as_primitive::<TimestampNanosecondType>();
            let ingests = batch.column_by_name("ingest_time").unwrap().as_primitive::<TimestampMicrosecondType>();
            let anomalies = batch.column_by_name("anomalies").unwrap().as_primitive::<UInt16Type>();
            for ((start, ingest), anomalies) in starts.values().iter().zip(ingests.values()).zip(anomalies.values()) {
                assert_eq!(crate::store::shelf::hour_text(home_hour(*start, *ingest, *anomalies)), part.hour);
            }
        }
    }
}

#[tokio::test]
async fn a_sender_who_invents_times_makes_no_flood_of_parts() {
    let mut bed = Bed::new().await;
    let mut sent = Vec::new();
    for flush in 0..8_u64 {
        let starts: Vec<i64> = (0..50).map(|row| HOUR_START_NS - (flush as i64 * 50 + row) * HOUR_NS * 7).collect();
        let rows = samples::varied(flush, &starts, NOW_NS / 1000 + flush as i64);
        sent.push(rows.clone());
        bed.flush(vec![rows], hour_number(), true).await;
    }
    bed.step().await;
    assert_eq!(bed.parts().iter().filter(|part| part.stray).count(), 1);
    assert_eq!(bed.parts().len(), 65);
    assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
}

#[tokio::test]
async fn late_rows_wait_and_then_only_the_touched_part_is_rewritten() {
    let mut bed = Bed::new().await;
    // The hour's first ten minutes and its last ten minutes become a part each.
    for (flush, from) in [(1, 0), (2, 3000)] {
        let starts: Vec<i64> = (0..600).map(|s| HOUR_START_NS + (from + s) * 1_000_000_000).collect();
        bed.flush(vec![samples::varied(flush, &starts, NOW_NS / 1000 + flush as i64)], hour_number(), false).await;
        if flush == 1 {
            bed.hour_ends();
        }
        bed.upkeep.compaction.state.ask(Some(HOUR)).map(drop).unwrap();
        bed.step().await;
    }
    assert_eq!(bed.levels(), [1, 1]);
    let first = bed.parts()[0].path.clone();
    let last = bed.parts()[1].path.clone();
    let late: Vec<i64> = (0..10).map(|s| HOUR_START_NS + (3300 + s) * 1_000_000_000).collect();
    bed.flush(vec![samples::varied(3, &late, NOW_NS / 1000 + 9)], hour_number(), false).await;
    let all = texts(&bed.view()).await;
    bed.step().await;
    assert_eq!(bed.levels(), [1, 1, 0], "ten rows are less than 5 %");
    bed.clock.advance(Duration::from_secs(6 * 3600));
    bed.step().await;
    let paths: Vec<String> = bed.parts().iter().map(|part| part.path.clone()).collect();
    assert!(paths.len() == 2 && paths.contains(&first) && !paths.contains(&last), "{paths:?}");
    assert_eq!(texts(&bed.view()).await, all);
}

#[tokio::test]
async fn who_asks_for_an_hour_is_answered_when_readers_see_it_compacted() {
    let mut bed = Bed::new().await;
    flushed(&mut bed, 3, 3, 50).await;
    let answered = bed.upkeep.compaction.state.ask(Some(HOUR)).unwrap();
    assert!(bed.upkeep.compaction.state.ask(None).is_err(), "one at a time");
    bed.step().await;
    answered.await.unwrap().unwrap();
    assert_eq!(bed.levels(), [1]);
}

/// Rows whose names are all different, with an attribute `other` each, and `key` as `value` has it.
fn named_rows(seed: u64, value: impl Fn(usize) -> Option<(u8, i64)>) -> RecordBatch {
    let starts = within_hour(seed, HOUR_START_NS, 400);
    let plain = samples::varied(seed, &starts, NOW_NS / 1000 + seed as i64);
    let (mut keys, mut types, mut texts, mut numbers, mut lengths) = (vec![], vec![], vec![], vec![], vec![]);
    for row in 0..starts.len() {
        let own = value(row);
        lengths.push(1 + usize::from(own.is_some()));
        let other = (0, attr_type::STRING, Some(format!("what every row has, {}", row % 9)), None);
        let own = own.map(|(of, number)| match of {
            attr_type::STRING => (1, of, Some(format!("text {number}")), None),
            _ => (1, of, None, Some(number)),
        });
        for (key, of, text, number) in std::iter::once(other).chain(own) {
            keys.push(key);
            types.push(of);
            texts.push(text);
            numbers.push(number);
        }
    }
    let all = keys.len();
    let words = DictionaryArray::<Int32Type>::try_new(keys.into(), Arc::new(StringArray::from(vec!["other", "key"])));
    let mut columns: Vec<ArrayRef> = vec![
        Arc::new(words.unwrap()),
        Arc::new(UInt8Array::from(types)),
        Arc::new(StringViewArray::from_iter(texts)),
        Arc::new(Int64Array::from(numbers)),
    ];
    columns.extend(schema::attr_fields().iter().skip(4).map(|field| new_null_array(field.data_type(), all)));
    let values = Arc::new(StructArray::new(schema::attr_fields(), columns, None));
    let item = schema::item(values.data_type().clone());
    let lists = ListArray::new(item, OffsetBuffer::from_lengths(lengths), values, None);
    let name = |row: usize| format!("{:04} a name that no other row has, of flush {seed}", row * 7919 % 400);
    let names: Vec<String> = (0..starts.len()).map(name).collect();
    let names: DictionaryArray<Int32Type> = names.iter().map(|name| Some(name.as_str())).collect();
    let columns = plain.schema_ref().fields().iter().zip(plain.columns()).map(|(field, column)| -> ArrayRef {
        match field.name().as_str() {
            "attributes" => Arc::new(lists.clone()),
            "name" => Arc::new(names.clone()),
            _ => column.clone(),
        }
    });
    RecordBatch::try_new(plain.schema(), columns.collect()).unwrap()
}

#[tokio::test]
async fn a_key_keeps_its_values_whether_inputs_have_a_column_of_it_or_not_and_of_whichever_type() {
    // Memory for few words, and for all.
    for share in [2 << 20, 256 << 20] {
        let mut bed = Bed::with(share, 4096).await;
        let mut sent = Vec::new();
        let text = |row: usize| Some((attr_type::STRING, row as i64 % 50));
        let flushes: [&dyn Fn(usize) -> Option<(u8, i64)>; 5] = [
            &|row| (row == 17).then_some((attr_type::STRING, 5)),
            &text,
            &|row| Some((attr_type::INT, row as i64)),
            &|_| None,
            &|row| if row % 3 == 0 { text(row) } else { Some((attr_type::BOOL, row as i64 % 2)) },
        ];
        for (seed, value) in (1..).zip(flushes) {
            let rows = named_rows(seed, value);
            sent.push(rows.clone());
            bed.flush(vec![rows], hour_number(), false).await;
        }
        let mut promoted = Vec::new();
        for entry in bed.parts() {
            let opened = Opened::open(bed.view().objects.clone(), &entry).await.unwrap();
            promoted.push(opened.keys.get(part::Level::Attr, "key").and_then(|key| key.promoted));
        }
        assert_eq!(promoted, [None, Some(ScalarType::Text), Some(ScalarType::Int), None, Some(ScalarType::Bool)]);
        bed.hour_ends();
        bed.step().await;
        assert!(bed.levels().iter().all(|level| *level == 1), "{:?}", bed.upkeep.compaction.state.reasons());
        assert_eq!(texts(&bed.view()).await, sorted(samples::texts(&sent, DERIVED)));
        let mut parts = Vec::new();
        for entry in bed.parts() {
            parts.push(rows_of_part(&bed.view(), &entry).await);
        }
        check_order(&parts);
    }
}
