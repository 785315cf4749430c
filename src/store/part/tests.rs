//! Parts as files: their encodings, their promotion, and what a damaged one answers.

use std::sync::Arc;

use arrow::array::{Array as _, AsArray as _, RecordBatch};
use arrow::datatypes::Int64Type;
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::Encoding;
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::*;
use crate::store::{Config, samples};

mod again;

fn spec() -> PartSpec {
    let ulid = Ulid::from_parts(1_700_000_000_000, 7);
    let wal = WalRange { node: ulid, epoch: 1, from: 1, to: 9, index: 0, of: 1 };
    let hour = "2023-11-14T22".to_owned();
    PartSpec { ulid, level: 0, hour, stray: false, sort: ARRIVAL, source: Source::Log(wal) }
}

fn part(rows: usize) -> EncodedPart {
    encode(&[samples::batch(3, rows).with_ingest_time(1_000)], &spec(), &Config::at("unused")).unwrap()
}

fn read(part: &EncodedPart) -> (Arc<ParquetMetaData>, Vec<RecordBatch>) {
    let builder = ParquetRecordBatchReaderBuilder::try_new(part.file.clone()).unwrap();
    let metadata = builder.metadata().clone();
    (metadata, builder.build().unwrap().map(Result::unwrap).collect())
}

fn chunk<'a>(metadata: &'a ParquetMetaData, path: &str) -> &'a ColumnChunkMetaData {
    let columns = metadata.row_group(0).columns();
    columns.iter().find(|column| column.column_path().string() == path).unwrap_or_else(|| panic!("no column {path}"))
}

#[test]
fn every_column_is_encoded_as_the_table_says() {
    let (metadata, _) = read(&part(2_000));
    let file = metadata.file_metadata();
    assert_eq!((file.version(), file.created_by()), (2, Some(concat!("weavergen ", env!("CARGO_PKG_VERSION")))));
    // path, value encoding, dictionary, statistics, bloom filter
    let delta = Encoding::DELTA_BINARY_PACKED;
    let dictionary = Encoding::RLE_DICTIONARY;
    let rows = [
        ("trace_id", dictionary, true, false, true),
        ("span_id", Encoding::PLAIN, false, false, false),
        ("parent_span_id", Encoding::PLAIN, false, false, false),
        ("start_time", delta, false, true, false),
        ("ingest_time", delta, false, true, false),
        ("duration_ns", delta, false, true, false),
        ("service_name", dictionary, true, true, false),
        ("name", dictionary, true, true, true),
        ("kind", dictionary, true, true, false),
        ("status_code", dictionary, true, true, false),
        ("status_message", dictionary, true, true, false),
        ("flags", dictionary, true, true, false),
        ("resource_key", dictionary, true, true, false),
        ("anomalies", dictionary, true, true, false),
        ("is_entry", Encoding::RLE, false, true, false),
        ("attr.app.user", dictionary, true, true, true),
        ("attr.http.response.status_code", dictionary, true, true, true),
        ("res.app.user", dictionary, true, true, true),
    ];
    for (path, encoding, has_dictionary, statistics, bloom) in rows {
        let column = chunk(&metadata, path);
        let encodings: Vec<Encoding> = column.encodings().collect();
        assert!(encodings.contains(&encoding), "{path}: {encodings:?}");
        assert_eq!(column.dictionary_page_offset().is_some(), has_dictionary, "{path}: dictionary");
        assert_eq!(column.statistics().is_some(), statistics, "{path}: statistics");
        assert_eq!(column.bloom_filter_offset().is_some(), bloom, "{path}: bloom filter");
        assert!(column.offset_index_offset().is_some(), "{path}: offset index");
        assert!(format!("{:?}", column.compression()).starts_with("ZSTD"), "{path}: {:?}", column.compression());
    }
}

#[test]
fn present_is_promoted_plus_residual_and_the_values_come_back() {
    let part = part(500);
    let (metadata, batches) = read(&part);
    let pairs = metadata.file_metadata().key_value_metadata().unwrap();
    let text = |key: &str| pairs.iter().find(|kv| kv.key == key).and_then(|kv| kv.value.clone()).unwrap();
    let keys: Keys = serde_json::from_str(&text("wg.keys")).unwrap();
    assert!(keys.complete);
    let batch = &arrow::compute::concat_batches(&batches[0].schema(), &batches).unwrap();
    for key in ["app.user", "http.response.status_code"] {
        let entry = keys.get(Level::Attr, key).unwrap();
        let column = batch.column_by_name(&format!("attr.{key}")).unwrap();
        let promoted = (column.len() - column.null_count()) as u64;
        assert_eq!((entry.present, promoted + entry.residual), (500, 500), "{key}");
    }
    let codes = batch.column_by_name("attr.http.response.status_code").unwrap().as_primitive::<Int64Type>();
    assert!(codes.iter().all(|code| code == Some(200)));
    let users = batch.column_by_name("attr.app.user").unwrap().as_string_view();
    assert_eq!(users.value(499), "user 3-499 with a long enough name");
    let stats: serde_json::Value = serde_json::from_str(&text("wg.stats")).unwrap();
    assert_eq!((&stats["rows"], &stats["ingest"]), (&500.into(), &serde_json::json!([1_000, 1_000])));
    assert_eq!(part.entry.rows, 500);
}

#[test]
fn repeated_keys_and_other_types_stay_in_the_list_behind_the_promoted_value() {
    use crate::span::schema::{
        self,
        attr_type::{INT, STRING},
    };
    use arrow::array::{
        ArrayRef, BinaryArray, DictionaryArray, Float64Array, Int32Array, Int64Array, ListArray, StringArray,
        StringViewArray, StructArray, UInt8Array,
    };
    use arrow::buffer::OffsetBuffer;

    // Row 0: k = "a", then k = "b". Row 1: k = 7. Rows 2 to 9: k = "a".
    let texts: Vec<Option<&str>> = [Some("a"), Some("b"), None].into_iter().chain([Some("a"); 8]).collect();
    let ints: Vec<Option<i64>> = [None, None, Some(7)].into_iter().chain([None; 8]).collect();
    let types: Vec<u8> = [STRING, STRING, INT].into_iter().chain([STRING; 8]).collect();
    let keys = DictionaryArray::new(Int32Array::from(vec![0; 11]), Arc::new(StringArray::from(vec!["k"])) as ArrayRef);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(keys),
        Arc::new(UInt8Array::from(types)),
        Arc::new(StringViewArray::from(texts)),
        Arc::new(Int64Array::from(ints)),
        Arc::new(Float64Array::from(vec![None; 11])),
        Arc::new(BinaryArray::from_opt_vec(vec![None; 11])),
    ];
    let values = Arc::new(StructArray::new(schema::attr_fields(), columns, None));
    let offsets = OffsetBuffer::from_lengths([2, 1].into_iter().chain([1; 8]));
    let item = schema::item(arrow::datatypes::DataType::Struct(schema::attr_fields()));
    let batch = samples::batch(1, 10).with_ingest_time(1);
    let mut all = batch.columns().to_vec();
    all[batch.schema_ref().index_of("attributes").unwrap()] = Arc::new(ListArray::new(item, offsets, values, None));
    let batch = RecordBatch::try_new(batch.schema(), all).unwrap();

    let (_, batches) = read(&encode(&[batch], &spec(), &Config::at("unused")).unwrap());
    let column = batches[0].column_by_name("attr.k").unwrap().as_string_view();
    assert_eq!((column.value(0), column.is_null(1), column.value(9)), ("a", true, "a"));
    let residual = batches[0].column_by_name("attributes").unwrap().as_list::<i32>();
    let lengths: Vec<i32> = (0..10).map(|row| residual.value_length(row)).collect();
    assert_eq!(lengths, [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    let left = residual.values().as_struct();
    assert_eq!(left.column(2).as_string_view().value(0), "b");
    assert_eq!(left.column(3).as_primitive::<Int64Type>().value(1), 7);
}

/// Puts `part` into a store where a test can damage it.
async fn stored(part: &EncodedPart) -> (Arc<InMemory>, PartStore) {
    let objects = Arc::new(InMemory::new());
    put(objects.as_ref(), part).await.unwrap();
    let reads = PartStore::new(objects.clone());
    reads.register(&part.entry);
    (objects, reads)
}

async fn overwrite(objects: &InMemory, path: &str, bytes: Vec<u8>) {
    objects.put(&Path::from(path), bytes.into()).await.unwrap();
}

#[tokio::test]
async fn a_flipped_byte_is_an_error_that_names_the_part_and_never_a_wrong_row() {
    let part = part(3_000);
    let path = part.entry.path.clone();
    let sum = sums::path_of(&path);
    let mut chance = ChaCha8Rng::seed_from_u64(5);
    for round in 0..200 {
        let (objects, reads) = stored(&part).await;
        let (damaged, whole) = if round % 4 == 0 { (&sum, &part.sum) } else { (&path, &part.file) };
        let mut bytes = whole.to_vec();
        let at = usize::try_from(chance.next_u64() % bytes.len() as u64).unwrap();
        bytes[at] ^= 1 << (chance.next_u64() % 8);
        overwrite(&objects, damaged, bytes).await;
        let got = reads.get_range(&Path::from(path.as_str()), 0..part.entry.bytes).await;
        let error = got.expect_err("a flipped bit was read as good").to_string();
        assert!(error.contains(&path) && error.contains("store verify"), "round {round}, byte {at}: {error}");
    }
}

#[tokio::test]
async fn a_cut_or_missing_file_and_a_part_that_no_manifest_names_cannot_be_read() {
    let part = part(100);
    let path = Path::from(part.entry.path.as_str());
    let (objects, reads) = stored(&part).await;
    overwrite(&objects, &part.entry.path, part.file[..part.file.len() / 2].to_vec()).await;
    assert!(reads.get_range(&path, 0..part.entry.bytes).await.is_err(), "half a part");
    objects.delete(&path).await.unwrap();
    assert!(reads.get_range(&path, 0..10).await.is_err(), "no part");
    let strange = Path::from("spans/date=2023-11-14/hour=22/half-written.parquet");
    overwrite(&objects, strange.as_ref(), part.file.to_vec()).await;
    assert!(reads.get_range(&strange, 0..10).await.is_err(), "no manifest names it");
}

#[tokio::test]
async fn a_good_part_reads_in_pieces_and_its_keys_come_from_the_footer() {
    let part = part(3_000);
    let (_, reads) = stored(&part).await;
    let path = Path::from(part.entry.path.as_str());
    let mut read = Vec::new();
    let mut at = 0;
    while at < part.entry.bytes {
        let end = (at + 1_237).min(part.entry.bytes);
        read.extend_from_slice(&reads.get_range(&path, at..end).await.unwrap());
        at = end;
    }
    assert_eq!(read, part.file);
    let live = Part::new(part.entry.clone());
    let entry = live.keys(&reads).await.unwrap().get(Level::Attr, "app.user").unwrap();
    assert_eq!((entry.present, entry.residual), (3_000, 0));
}

/// The rows of a part, with all values back in their lists.
async fn rows_back(part: &EncodedPart, by: &Promotion) -> Vec<RecordBatch> {
    let (_, reads) = stored(part).await;
    let opened = Opened::open(Arc::new(reads), &part.entry).await.unwrap();
    assert_eq!(opened.totals, Totals { partial: false, ..opened.totals.clone() });
    let plain = Promotion([vec![], vec![], vec![]]);
    let mut rows = opened.rows((0..part.entry.row_groups.len()).collect(), None, 37).unwrap();
    let mut back = Vec::new();
    while let Some(batch) = rows.next().await.unwrap() {
        let other = opened.reshape(&batch, by, &by.schema()).unwrap();
        let claimed = Totals::of_rows(&other, by);
        assert_eq!(claimed, Totals::of_rows(&batch, opened.promotion()), "another promotion has other keys");
        back.push(reshape::reshape(&other, by, &plain, &plain.schema()).unwrap());
    }
    back
}

#[tokio::test]
async fn rows_of_all_types_come_back_from_any_promotion_through_any_other() {
    let config = |never: &[&str], always: &[&str]| Config {
        row_group_rows: 100,
        promote_never: never.iter().map(|key| (*key).to_owned()).collect(),
        promote_always: always.iter().map(|key| (*key).to_owned()).collect(),
        ..Config::at("unused")
    };
    let starts: Vec<i64> = (0..260).map(|at| samples::NOW_NS + at * 1_000).collect();
    let all = ["app.user", "http.response.status_code", "http.request.method", "sometimes", "mixed", "ünï", "list"];
    let configs =
        [config(&[], &[]), config(&all, &[]), config(&["app.user", "mixed"], &[]), config(&[], &["raw", "ünï"])];
    let rows = samples::varied(7, &starts, 1_000);
    let parts: Vec<EncodedPart> =
        configs.iter().map(|config| encode(std::slice::from_ref(&rows), &spec(), config).unwrap()).collect();
    let promoted = |part: &EncodedPart| {
        let (metadata, batches) = read(part);
        let text = metadata_text(&metadata, keys::METADATA_KEY).unwrap();
        Promotion::of_file(&serde_json::from_str(text).unwrap(), &batches[0].schema())
    };
    let promotions: Vec<Promotion> = parts.iter().map(promoted).collect();
    assert!(promotions[0].0[0].len() >= 5, "{:?}", promotions[0]);
    assert!(promotions[0].0[0].len() > promotions[2].0[0].len(), "{:?}", promotions[2]);
    let sent = samples::texts(&[rows], &[]);
    for part in &parts {
        for other in &promotions {
            assert_eq!(samples::texts(&rows_back(part, other).await, &[]), sent);
        }
    }
}

#[tokio::test]
async fn a_part_written_group_by_group_says_of_its_keys_what_encode_says() {
    let starts: Vec<i64> = (0..400).map(|at| samples::NOW_NS + at * 1_000).collect();
    let rows = samples::varied(9, &starts, 1_000);
    let config = Config { row_group_rows: 150, ..Config::at("unused") };
    let part = encode(&[rows], &spec(), &config).unwrap();
    let (_, reads) = stored(&part).await;
    let opened = Opened::open(Arc::new(reads), &part.entry).await.unwrap();
    let mut writer = Writer::try_new(opened.promotion().clone(), &config).unwrap();
    for group in 0..part.entry.row_groups.len() {
        let mut rows = opened.rows(vec![group], None, 1_000).unwrap();
        writer.write(&rows.next().await.unwrap().unwrap()).unwrap();
        assert!(rows.next().await.unwrap().is_none());
    }
    assert_eq!(writer.totals(), opened.totals);
    let again = writer.finish(&spec()).unwrap();
    let (_, reads) = stored(&again).await;
    let reopened = Opened::open(Arc::new(reads), &again.entry).await.unwrap();
    let sorted = |keys: &Keys| {
        let mut keys = [keys.attr.clone(), keys.res.clone(), keys.scope.clone()];
        keys.iter_mut().for_each(|keys| keys.sort_by(|a, b| a.key.cmp(&b.key)));
        keys
    };
    assert_eq!(sorted(&reopened.keys), sorted(&opened.keys));
    assert_eq!(
        PartEntry { bytes: 0, footer_bytes: 0, file_xxh3: String::new(), sum_xxh3: String::new(), ..again.entry },
        PartEntry { bytes: 0, footer_bytes: 0, file_xxh3: String::new(), sum_xxh3: String::new(), ..part.entry }
    );
}
