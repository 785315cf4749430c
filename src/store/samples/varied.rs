//! Rows in which every column varies: all value types, repeated keys, nulls, nested lists.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, BooleanArray, DictionaryArray, FixedSizeBinaryBuilder, Float64Builder,
    Int32Array, Int64Array, Int64Builder, ListArray, RecordBatch, StringArray, StringViewArray, StringViewBuilder,
    StructArray, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Fields, Int32Type, TimeUnit, TimestampMicrosecondType, TimestampNanosecondType};
use arrow::util::display::array_value_to_string;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

use crate::span::schema::{self, anomaly, attr_type};
use crate::store::outlier::is_outlier;

const KEYS: [&str; 9] = [
    "app.user",
    "http.response.status_code",
    "http.request.method",
    "sometimes",
    "mixed",
    "ünï",
    "list",
    "raw",
    "wg.dropped",
];

/// Rows with these start times, all else by chance from `seed`; columns of [`schema::stored`].
pub fn varied(seed: u64, starts: &[i64], ingest_us: i64) -> RecordBatch {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let plain = super::batch_at(starts).with_ingest_time(ingest_us);
    let columns = plain.schema_ref().fields().iter().zip(plain.columns());
    let columns = columns.map(|(field, column)| match field.name().as_str() {
        "start_time" | "ingest_time" | "parent_service" => column.clone(),
        "anomalies" => anomalies(&mut chance, starts, ingest_us),
        _ => of_type(&mut chance, field.name(), field.data_type(), starts.len(), field.is_nullable()),
    });
    RecordBatch::try_new(schema::stored().clone(), columns.collect()).unwrap()
}

/// Any bits, but outliers are marked, and only they.
fn anomalies(chance: &mut ChaCha8Rng, starts: &[i64], ingest_us: i64) -> ArrayRef {
    let mark = |start: &i64| match is_outlier(*start, ingest_us, None) {
        true => anomaly::TIME_OUTLIER,
        false => 0,
    };
    let bits: Vec<u16> =
        starts.iter().map(|start| (chance.next_u64() as u16) & !anomaly::TIME_OUTLIER | mark(start)).collect();
    Arc::new(UInt16Array::from(bits))
}

fn pick(chance: &mut ChaCha8Rng, below: usize) -> usize {
    usize::try_from(chance.next_u64() % below as u64).unwrap()
}

fn of_type(chance: &mut ChaCha8Rng, name: &str, of: &DataType, rows: usize, nullable: bool) -> ArrayRef {
    let some = |chance: &mut ChaCha8Rng| !nullable || !chance.next_u64().is_multiple_of(3);
    match of {
        DataType::FixedSizeBinary(size) => {
            let mut ids = FixedSizeBinaryBuilder::new(*size);
            for _ in 0..rows {
                let mut id = vec![0; usize::try_from(*size).unwrap()];
                // Few of them, so that parents are found and traces have several spans.
                id[0] = 1 + u8::try_from(pick(chance, 8)).unwrap();
                if name.ends_with("span_id") {
                    id[1] = chance.next_u64() as u8;
                }
                if some(chance) { ids.append_value(&id).unwrap() } else { ids.append_null() }
            }
            Arc::new(ids.finish())
        }
        DataType::Dictionary(_, values) if **values == DataType::Utf8 => {
            let words: Vec<Option<String>> =
                (0..rows).map(|_| some(chance).then(|| format!("{name} {}", pick(chance, 5)))).collect();
            Arc::new(words.iter().map(Option::as_deref).collect::<DictionaryArray<Int32Type>>())
        }
        DataType::Dictionary(_, _) => {
            let values = Arc::new(lists(chance, 4));
            let keys = Int32Array::from_iter_values((0..rows).map(|_| pick(chance, 4) as i32));
            Arc::new(DictionaryArray::<Int32Type>::try_new(keys, values).unwrap())
        }
        DataType::List(item) => match item.data_type() {
            DataType::Struct(fields) if *fields == schema::attr_fields() => Arc::new(lists(chance, rows)),
            DataType::Struct(fields) => Arc::new(structs(chance, fields, item, rows)),
            other => panic!("a list of {other}"),
        },
        DataType::Utf8View => {
            Arc::new(StringViewArray::from_iter((0..rows).map(|_| some(chance).then(|| text(chance)))))
        }
        DataType::Timestamp(_, _) => Arc::new(
            TimestampNanosecondArray::from_iter_values((0..rows).map(|_| chance.next_u64() as i64 >> 2))
                .with_timezone("UTC"),
        ),
        DataType::Int64 => Arc::new(Int64Array::from_iter_values((0..rows).map(|_| (chance.next_u64() >> 30) as i64))),
        DataType::UInt64 => Arc::new(UInt64Array::from_iter_values((0..rows).map(|_| chance.next_u64()))),
        DataType::UInt32 => {
            Arc::new(UInt32Array::from_iter((0..rows).map(|_| some(chance).then(|| chance.next_u32() % 9))))
        }
        DataType::UInt16 => {
            Arc::new(UInt16Array::from_iter((0..rows).map(|_| some(chance).then(|| (chance.next_u32() % 7) as u16))))
        }
        DataType::Boolean => {
            Arc::new(BooleanArray::from_iter((0..rows).map(|_| Some(chance.next_u64().is_multiple_of(2)))))
        }
        other => panic!("a column of type {other}"),
    }
}

fn text(chance: &mut ChaCha8Rng) -> String {
    let long = "ä text that is longer than twelve bytes ";
    ["", "short", long][pick(chance, 3)].to_owned() + ["", "1", "2"][pick(chance, 3)]
}

fn structs(chance: &mut ChaCha8Rng, fields: &Fields, item: &Arc<arrow::datatypes::Field>, rows: usize) -> ListArray {
    let lengths: Vec<usize> = (0..rows).map(|_| pick(chance, 3)).collect();
    let all = lengths.iter().sum();
    let columns = fields.iter().map(|f| of_type(chance, f.name(), f.data_type(), all, f.is_nullable())).collect();
    let values = StructArray::try_new_with_length(fields.clone(), columns, None, all).unwrap();
    ListArray::new(item.clone(), OffsetBuffer::from_lengths(lengths), Arc::new(values), None)
}

/// Attribute lists: every key may come with every type, and twice.
fn lists(chance: &mut ChaCha8Rng, rows: usize) -> ListArray {
    let lengths: Vec<usize> = (0..rows).map(|_| pick(chance, 7)).collect();
    let all: usize = lengths.iter().sum();
    let (mut keys, mut types) = (Vec::new(), Vec::new());
    let (mut s, mut i) = (StringViewBuilder::new(), Int64Builder::new());
    let (mut d, mut x) = (Float64Builder::new(), BinaryBuilder::new());
    for _ in 0..all {
        let key = pick(chance, KEYS.len());
        // Mostly of one type, so that keys get promoted and have conflicts.
        let usual = [1, 3, 1, 2, 4, 1, 6, 5, 3][key];
        let of = if pick(chance, 5) == 0 { u8::try_from(pick(chance, 8)).unwrap() } else { usual };
        keys.push(i32::try_from(key).unwrap());
        types.push(of);
        s.append_option((of == attr_type::STRING).then(|| text(chance)));
        i.append_option(match of {
            attr_type::BOOL => Some((chance.next_u64() % 2) as i64),
            attr_type::INT => Some([i64::MIN, -1, 0, 200, i64::MAX][pick(chance, 5)]),
            _ => None,
        });
        d.append_option((of == attr_type::DOUBLE).then(|| [0.0, -0.0, 1.5, f64::INFINITY, f64::NAN][pick(chance, 5)]));
        x.append_option((of >= attr_type::BYTES).then(|| vec![of; pick(chance, 4)]));
    }
    let words = Arc::new(StringArray::from(KEYS.to_vec()));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(keys), words).unwrap()),
        Arc::new(UInt8Array::from(types)),
        Arc::new(s.finish()),
        Arc::new(i.finish()),
        Arc::new(d.finish()),
        Arc::new(x.finish()),
    ];
    let values = Arc::new(StructArray::new(schema::attr_fields(), columns, None));
    let item = schema::item(DataType::Struct(schema::attr_fields()));
    ListArray::new(item, OffsetBuffer::from_lengths(lengths), values, None)
}

/// Rows as text, to be compared as a multiset: all columns but `without`, a container's attributes by key.
pub fn texts(batches: &[RecordBatch], without: &[&str]) -> Vec<String> {
    let mut rows = Vec::new();
    for batch in batches {
        let mut of_batch = vec![String::new(); batch.num_rows()];
        for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            if without.contains(&field.name().as_str()) {
                continue;
            }
            let by_key = ["attributes", "resource", "scope"].contains(&field.name().as_str());
            for (row, text) in of_batch.iter_mut().enumerate() {
                *text += field.name();
                show(text, column, row, by_key);
            }
        }
        rows.extend(of_batch);
    }
    rows
}

fn show(text: &mut String, array: &dyn Array, row: usize, by_key: bool) {
    use std::fmt::Write;
    if array.is_null(row) {
        *text += " null";
        return;
    }
    match array.data_type() {
        DataType::Dictionary(_, _) => {
            let words = array.as_dictionary::<Int32Type>();
            show(text, words.values(), words.keys().value(row) as usize, by_key);
        }
        DataType::List(_) => {
            let list = array.as_list::<i32>().value(row);
            let mut items: Vec<(String, usize)> = (0..list.len())
                .map(|at| {
                    let mut key = String::new();
                    if by_key {
                        show(&mut key, list.as_struct().column(0), at, false);
                    }
                    (key, at)
                })
                .collect();
            items.sort();
            *text += " [";
            items.iter().for_each(|(_, at)| show(text, &list, *at, false));
            *text += "]";
        }
        DataType::Struct(_) => array.as_struct().columns().iter().for_each(|child| show(text, child, row, false)),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            write!(text, " {}", array.as_primitive::<TimestampNanosecondType>().value(row)).unwrap();
        }
        DataType::Timestamp(_, _) => {
            write!(text, " {}", array.as_primitive::<TimestampMicrosecondType>().value(row)).unwrap();
        }
        DataType::Utf8 | DataType::Utf8View => {
            write!(text, " {:?}", array_value_to_string(array, row).unwrap()).unwrap()
        }
        _ => write!(text, " {}", array_value_to_string(array, row).unwrap()).unwrap(),
    }
}
