//! Chunks beside those of the `parquet` crate's own writer.

use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, FixedSizeBinaryArray, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray, StringViewArray, StructArray, TimestampMicrosecondArray, TimestampNanosecondArray, UInt8Array,
    UInt16Array, UInt64Array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use parquet::arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::arrow::{ArrowSchemaConverter, ArrowWriter};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use super::super::columns::{ZONE_ROWS, file_schema, properties};
use super::*;
use crate::span::schema::word;
use crate::store::{Config, samples};

const ROWS: usize = 3 * ZONE_ROWS + 1234;

fn table(name: &str, of: &DataType, nullable: bool) -> (SchemaRef, WriterProperties) {
    let schema = Arc::new(Schema::new(vec![Field::new(name, of.clone(), nullable)]));
    let properties = properties(&schema, ROWS, &Config::at("unused")).unwrap();
    (schema, properties)
}

/// The file with `array` as its only column, of our making.
fn ours(name: &str, of: &DataType, nullable: bool, array: &ArrayRef) -> Bytes {
    let (schema, properties) = table(name, of, nullable);
    let root = ArrowSchemaConverter::new().convert(&schema).unwrap().root_schema_ptr();
    let mut file = SerializedFileWriter::new(Vec::new(), root, properties.into()).unwrap();
    let descr = file.schema_descr().column(0);
    let mut chunks = Chunks::new(ZstdLevel::try_new(1).unwrap(), 0.01).unwrap();
    let chunk = chunks.chunk(schema.field(0), &descr, array, ROWS).unwrap().expect("a flat column");
    let mut group = file.next_row_group().unwrap();
    group.append_column(&chunk.bytes, chunk.close).unwrap();
    group.close().unwrap();
    file.into_inner().unwrap().into()
}

/// The same of the crate's making.
fn theirs(name: &str, of: &DataType, nullable: bool, array: &ArrayRef) -> Bytes {
    let (schema, properties) = table(name, of, nullable);
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(properties)
        .with_skip_arrow_metadata(true);
    let mut file = ArrowWriter::try_new_with_options(Vec::new(), schema.clone(), options).unwrap();
    let array = if array.data_type() == of { array.clone() } else { cast(array, of).unwrap() };
    file.write(&RecordBatch::try_new(schema, vec![array]).unwrap()).unwrap();
    file.into_inner().unwrap().into()
}

fn read(file: &Bytes) -> (Arc<ParquetMetaData>, ArrayRef) {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    let metadata = ArrowReaderMetadata::load(file, options).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), metadata.clone());
    let batches: Vec<_> = reader.build().unwrap().map(|batch| batch.unwrap().column(0).clone()).collect();
    let arrays: Vec<_> = batches.iter().map(|array| array.as_ref()).collect();
    (metadata.metadata().clone(), arrow::compute::concat(&arrays).unwrap())
}

/// Without an Arrow schema in the file text comes as the plainest type.
fn same(read: &ArrayRef, written: &ArrayRef) -> bool {
    let plain = |array: &ArrayRef| match array.data_type() {
        DataType::Dictionary(_, _) | DataType::Utf8View => cast(array, &DataType::Utf8).unwrap(),
        _ => array.clone(),
    };
    plain(read).as_ref() == plain(written).as_ref()
}

/// Rows of chance: runs and single values, each below `distinct`; a null where it is `None`.
fn rows(seed: u64, distinct: u64, nulls: bool) -> Vec<Option<u64>> {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let mut rows = Vec::new();
    while rows.len() < ROWS {
        let value = (!nulls || !chance.next_u64().is_multiple_of(4)).then(|| chance.next_u64() % distinct);
        let run = if chance.next_u64().is_multiple_of(5) { chance.next_u64() % 40 } else { 1 };
        rows.extend(std::iter::repeat_n(value, usize::try_from(run).unwrap()));
    }
    // A page of nulls, and one that has none.
    if nulls && seed.is_multiple_of(2) {
        rows[ZONE_ROWS..2 * ZONE_ROWS].fill(None);
        rows[2 * ZONE_ROWS..3 * ZONE_ROWS].fill(Some(distinct - 1));
    }
    rows.truncate(ROWS);
    rows
}

fn text(number: u64) -> String {
    match number % 3 {
        0 => format!("v{number}"),
        1 => format!("{}{number}", "a longer text than a bound may be, with ä in its middle, ".repeat(2)),
        _ => format!("{}{number}", "ü".repeat(40)),
    }
}

#[test]
fn chunks_are_those_of_the_crate_byte_for_byte() {
    let mut cases = 0;
    for (seed, distinct) in (0..).zip([1, 2, 9, 300, 5_000]) {
        for nulls in [false, true] {
            let rows = rows(seed, distinct, nulls);
            let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.map(text)).collect::<StringViewArray>());
            let words = cast(&cast(&texts, &DataType::Utf8).unwrap(), &word()).unwrap();
            let ids = |len: usize| -> ArrayRef {
                let id = |row: &Option<u64>| row.map(|row| [row.to_be_bytes(), (row * 77).to_le_bytes()].concat());
                let ids = rows.iter().map(|row| id(row).map(|id| id[16 - len..].to_vec()));
                Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, len as i32).unwrap())
            };
            let small = |row: &Option<u64>| row.map(|row| u16::try_from(row).unwrap());
            let signed = |row: &Option<u64>| row.map(|row| row.cast_signed() - 3);
            #[allow(clippy::cast_precision_loss)]
            let double = |row: &Option<u64>| row.map(|row| row as f64 / 4.0 - 1.0);
            // Differences of all 64 bits.
            let far = |row: &Option<u64>| row.map(|row| row.wrapping_mul(0x9E37_79B9_7F4A_7C15).cast_signed());
            let wide = |row: &Option<u64>| row.map(|row| row.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let time = |row: &Option<u64>| row.map(|row| 1_700_000_000_000_000_000 + row.cast_signed() * 1_000_003);
            let times: TimestampNanosecondArray = rows.iter().map(time).collect();
            let columns: [(&str, ArrayRef); 14] = [
                ("start_time", Arc::new(times.with_timezone("UTC"))),
                ("duration_ns", Arc::new(rows.iter().map(signed).collect::<Int64Array>())),
                (
                    "ingest_time",
                    Arc::new(rows.iter().map(far).collect::<TimestampMicrosecondArray>().with_timezone("UTC")),
                ),
                ("name", words.clone()),
                ("scope_name", words.clone()),
                ("attr.text", texts.clone()),
                ("status_message", texts),
                ("trace_id", ids(16)),
                ("parent_span_id", ids(8)),
                ("anomalies", Arc::new(rows.iter().map(small).collect::<UInt16Array>())),
                ("resource_key", Arc::new(rows.iter().map(wide).collect::<UInt64Array>())),
                ("attr.int", Arc::new(rows.iter().map(signed).collect::<Int64Array>())),
                ("attr.double", Arc::new(rows.iter().map(double).collect::<Float64Array>())),
                ("attr.bool", Arc::new(rows.iter().map(|r| r.map(|r| r % 2 == 1)).collect::<BooleanArray>())),
            ];
            for (name, array) in columns {
                let of = array.data_type().clone();
                let (ours, theirs) = (ours(name, &of, nulls, &array), theirs(name, &of, nulls, &array));
                let what = format!("{name}, seed {seed}, {distinct} values, nulls: {nulls}");
                let ((ours_is, read_back), (theirs_is, _)) = (read(&ours), read(&theirs));
                assert!(same(&read_back, &array), "{what}: other values");
                assert_eq!(format!("{ours_is:#?}"), format!("{theirs_is:#?}"), "{what}");
                assert!(ours == theirs, "{what}: other bytes");
                cases += 1;
            }
        }
    }
    assert_eq!(cases, 140);
}

#[test]
fn nullable_columns_without_a_value_are_those_of_the_crate_too() {
    for (name, of) in [("attr.text", DataType::Utf8View), ("parent_service", word()), ("attr.n", DataType::Int64)] {
        let array = new_null_array(&of, ROWS);
        assert!(ours(name, &of, true, &array) == theirs(name, &of, true, &array), "{name}");
    }
}

/// The file with the column `name` of a part, of lists, of our making by `chunks`.
fn ours_of_lists(name: &str, chunks: impl FnOnce(&mut Chunks, &Field, &[ColumnDescPtr]) -> Vec<Chunk>) -> Bytes {
    let field = list_field(name);
    let (schema, properties) = table(name, field.data_type(), false);
    let root = ArrowSchemaConverter::new().convert(&schema).unwrap().root_schema_ptr();
    let mut file = SerializedFileWriter::new(Vec::new(), root, properties.into()).unwrap();
    let descrs = file.schema_descr().columns().to_vec();
    let made = chunks(&mut Chunks::new(ZstdLevel::try_new(1).unwrap(), 0.01).unwrap(), &field, &descrs);
    assert_eq!(made.len(), descrs.len());
    let mut group = file.next_row_group().unwrap();
    made.into_iter().for_each(|chunk| group.append_column(&chunk.bytes, chunk.close).unwrap());
    group.close().unwrap();
    file.into_inner().unwrap().into()
}

fn list_field(name: &str) -> Field {
    file_schema(&Default::default()).field_with_name(name).unwrap().clone()
}

#[test]
fn lists_without_elements_are_those_of_the_crate() {
    for name in ["attributes", "resource", "events", "links"] {
        let field = list_field(name);
        let DataType::List(item) = field.data_type() else { panic!("{name} is a list") };
        let offsets = OffsetBuffer::new_zeroed(ROWS);
        let values = arrow::array::new_empty_array(item.data_type());
        let lists: ArrayRef = Arc::new(ListArray::new(item.clone(), offsets, values, None));
        let ours = ours_of_lists(name, |chunks, field, descrs| {
            let empty = Chunks::empty_leaves(field, &lists).expect("no list has an element");
            empty.iter().zip(descrs).map(|(leaf, descr)| chunks.empty(leaf, descr, ROWS).unwrap()).collect()
        });
        let theirs = theirs(name, field.data_type(), false, &lists);
        let ((ours_is, back), (theirs_is, _)) = (read(&ours), read(&theirs));
        assert_eq!(back.len(), ROWS);
        assert_eq!(format!("{ours_is:#?}"), format!("{theirs_is:#?}"), "{name}");
        assert!(ours == theirs, "{name}: other bytes");
    }
}

/// The lists of rows with anything in them; `None` where they are shared.
fn lists(name: &str, seed: u64, rows: usize) -> ArrayRef {
    let batch = samples::varied(seed, &vec![samples::NOW_NS; rows], 1);
    let column = batch.column_by_name(name).unwrap();
    match column.as_any_dictionary_opt() {
        Some(shared) => arrow::compute::take(shared.values(), shared.keys(), None).unwrap(),
        None => column.clone(),
    }
}

#[test]
fn lists_of_one_page_are_those_of_the_crate_byte_for_byte() {
    for (seed, rows) in (0..).zip([1, 2, 63, 700, 1021]) {
        for name in ["attributes", "resource", "scope", "events", "links"] {
            let whole = lists(name, seed, rows + 5);
            // A slice: its elements do not begin with the first.
            for lists in [whole.slice(5, rows), whole.slice(0, rows)] {
                let field = list_field(name);
                let ours = ours_of_lists(name, |chunks, field, descrs| {
                    chunks.lists(field, descrs, &lists).unwrap().expect("it is of ours")
                });
                let theirs = theirs(name, field.data_type(), false, &lists);
                let ((ours_is, back), (theirs_is, theirs_back)) = (read(&ours), read(&theirs));
                assert_eq!(&back, &theirs_back, "{name}, {rows} rows");
                assert_eq!(format!("{ours_is:#?}"), format!("{theirs_is:#?}"), "{name}, {rows} rows");
                assert!(ours == theirs, "{name}, {rows} rows: other bytes");
            }
        }
    }
}

#[test]
fn lists_of_many_pages_come_back_and_their_pages_end_with_zones() {
    for name in ["attributes", "events", "links"] {
        let lists = lists(name, 11, ROWS);
        let file = ours_of_lists(name, |chunks, field, descrs| {
            chunks.lists(field, descrs, &lists).unwrap().expect("it is of ours")
        });
        let (metadata, back) = read(&file);
        let theirs = theirs(name, list_field(name).data_type(), false, &lists);
        assert_eq!(&back, &read(&theirs).1, "{name}");
        for leaf in &metadata.offset_index().unwrap()[0] {
            let starts = leaf.page_locations.iter().map(|page| page.first_row_index as usize);
            let starts: Vec<_> = starts.collect();
            assert!((0..4).all(|zone| starts.contains(&(zone * ZONE_ROWS))), "{name}: {starts:?}");
        }
    }
}

#[test]
fn a_page_of_lists_that_is_full_ends_with_its_row() {
    // Ten rows of a hundred attributes of 4 KiB each: the first page is full within the third.
    let texts: Vec<String> = (0..1000).map(|n| format!("{n:04096}")).collect();
    let of = |fields: &arrow::datatypes::Fields, at: usize| -> ArrayRef {
        match fields[at].name().as_str() {
            "key" => cast(&StringArray::from(vec!["k"; 1000]), &word()).unwrap(),
            "type" => Arc::new(UInt8Array::from(vec![1; 1000])),
            "s" => Arc::new(StringViewArray::from_iter_values(&texts)),
            _ => new_null_array(fields[at].data_type(), 1000),
        }
    };
    let fields = crate::span::schema::attr_fields();
    let columns = (0..fields.len()).map(|at| of(&fields, at)).collect();
    let attributes = StructArray::new(fields.clone(), columns, None);
    let item = crate::span::schema::item(DataType::Struct(fields));
    let offsets = OffsetBuffer::from_lengths([100; 10]);
    let lists: ArrayRef = Arc::new(ListArray::new(item, offsets, Arc::new(attributes), None));
    let file = ours_of_lists("attributes", |chunks, field, descrs| {
        chunks.lists(field, descrs, &lists).unwrap().expect("it is of ours")
    });
    let (metadata, back) = read(&file);
    assert_eq!(&back, &read(&theirs("attributes", list_field("attributes").data_type(), false, &lists)).1);
    let starts = metadata.offset_index().unwrap()[0][2].page_locations.iter().map(|page| page.first_row_index);
    assert_eq!(starts.collect::<Vec<_>>(), [0, 3, 6, 9]);
}

#[test]
fn a_text_column_is_the_same_with_a_dictionary_in_memory() {
    let rows = rows(7, 500, true);
    let texts: ArrayRef = Arc::new(rows.iter().map(|row| row.map(text)).collect::<StringViewArray>());
    let words = cast(&cast(&texts, &DataType::Utf8).unwrap(), &word()).unwrap();
    let of = DataType::Utf8View;
    assert!(ours("attr.text", &of, true, &words) == theirs("attr.text", &of, true, &texts));
}

#[test]
fn a_zone_that_overfills_the_dictionary_is_plain_and_so_are_those_after_it() {
    // 16 384 texts of about 40 bytes: one zone fits into 1 MiB, two do not.
    let texts: Vec<Option<String>> =
        (0..ROWS).map(|row| (row % 7 != 0).then(|| format!("{row:040} {}", row % 10))).collect();
    let array: ArrayRef = Arc::new(StringViewArray::from_iter(texts.iter().map(Option::as_ref)));
    let file = ours("attr.text", &DataType::Utf8View, true, &array);
    let (metadata, back) = read(&file);
    assert!(same(&back, &array));
    let chunk = metadata.row_group(0).column(0);
    let encodings: Vec<_> = chunk.encodings().collect();
    assert!(encodings.contains(&Encoding::RLE_DICTIONARY) && encodings.contains(&Encoding::PLAIN), "{encodings:?}");
    let pages = &metadata.offset_index().unwrap()[0][0].page_locations;
    let starts: Vec<_> = pages.iter().map(|page| page.first_row_index as usize).collect();
    assert_eq!(starts, [0, ZONE_ROWS, 2 * ZONE_ROWS, 3 * ZONE_ROWS]);
    // What the crate says of the same rows, although its pages end elsewhere.
    let (theirs, _) = read(&theirs("attr.text", &DataType::Utf8View, true, &array));
    assert_eq!(chunk.statistics(), theirs.row_group(0).column(0).statistics());
    let ours = parquet::bloom_filter::Sbbf::read_from_column_chunk(chunk, &file).unwrap().unwrap();
    assert!(texts.iter().flatten().all(|text| ours.check(text.as_str())));
}

#[test]
fn a_plain_page_ends_when_it_is_full_and_with_its_zone() {
    // 1 KiB each: 1024 of them fill a page, and sixteen such pages a zone.
    let texts: Vec<String> = (0..ZONE_ROWS + 100).map(|row| format!("{row:01024}")).collect();
    let array: ArrayRef = Arc::new(StringViewArray::from_iter_values(&texts));
    let (metadata, back) = read(&ours("attr.text", &DataType::Utf8View, true, &array));
    assert!(same(&back, &array));
    let starts: Vec<_> = metadata.offset_index().unwrap()[0][0]
        .page_locations
        .iter()
        .map(|page| page.first_row_index as usize)
        .collect();
    assert!(starts.contains(&ZONE_ROWS), "{starts:?}");
    assert_eq!(starts.len(), 18, "{starts:?}");
}

#[test]
fn numbers_that_are_none_come_back_and_bound_nothing() {
    let values: Vec<f64> = (0..100).map(|n| [f64::NAN, -0.0, 0.0, 2.5][n % 4]).collect();
    let array: ArrayRef = Arc::new(Float64Array::from(values.clone()));
    let (metadata, back) = read(&ours("attr.double", &DataType::Float64, true, &array));
    let back: Vec<u64> = back.as_primitive::<Float64Type>().values().iter().map(|value| value.to_bits()).collect();
    assert_eq!(back, values.iter().map(|value| value.to_bits()).collect::<Vec<_>>());
    let statistics = metadata.row_group(0).column(0).statistics().unwrap();
    assert_eq!(statistics.min_bytes_opt(), Some(&(-0.0f64).to_le_bytes()[..]));
    assert_eq!(statistics.max_bytes_opt(), Some(&2.5f64.to_le_bytes()[..]));
    let none: ArrayRef = Arc::new(Float64Array::from(vec![f64::NAN; 100]));
    let (metadata, _) = read(&ours("attr.double", &DataType::Float64, true, &none));
    assert_eq!(metadata.row_group(0).column(0).statistics().unwrap().min_bytes_opt(), None);
}
