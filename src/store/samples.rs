//! Span batches for the store's tests, built without the decoder.

mod varied;

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, BooleanArray, DictionaryArray, FixedSizeBinaryArray, Float64Builder, Int32Array,
    Int64Array, Int64Builder, ListArray, RecordBatch, StringArray, StringViewArray, StringViewBuilder, StructArray,
    TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array, new_empty_array, new_null_array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Int32Type};

pub use varied::{texts, varied};

use super::{Config, Reader, Store, offline};
use crate::budget::Budget;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::span::{Delivery, Origin, SpanBatch, schema};

/// 2023-11-14T22:13:20Z, the clock of the store's tests.
pub const NOW_NS: i64 = 1_700_000_000_000_000_000;

/// `rows` spans whose ids and names are made from `seed`.
pub fn batch(seed: u64, rows: usize) -> SpanBatch {
    build(seed, &vec![NOW_NS - 1_000_000_000; rows])
}

/// Spans with these start times.
pub fn batch_at(starts: &[i64]) -> SpanBatch {
    build(1, starts)
}

/// A delivery of `rows` spans that goes into the log as columns.
pub fn delivery(seed: u64, rows: usize) -> Delivery {
    Delivery { batches: vec![batch(seed, rows)], body: None, identity: 0, origin: Origin::Received }
}

/// The store in `dir`, ready: for tests of those who read it.
pub(crate) async fn store_at(dir: &std::path::Path, clock: Clock) -> Store {
    store_with(Config::at(dir), clock).await
}

/// The folder `dir` as one reads it without its daemon.
pub(crate) async fn folder_at(dir: &std::path::Path, clock: Clock) -> Reader {
    offline::open(&Config::at(dir), Disk::Os, clock).await.unwrap()
}

/// The same as [`store_at`], with other settings.
pub(crate) async fn store_with(config: Config, clock: Clock) -> Store {
    let config = Config { min_free_bytes: Some(0), segment_bytes: 1 << 20, ..config };
    let budget = Budget::try_new(1 << 30).unwrap();
    let store = Store::open(config, Disk::Os, clock, &budget, &prometheus::Registry::new()).await.unwrap();
    while !store.is_ready() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    store
}

/// The span ids of a batch, as numbers.
pub fn span_ids(batch: &RecordBatch) -> Vec<u64> {
    let ids = batch.column(1).as_any().downcast_ref::<FixedSizeBinaryArray>().unwrap();
    ids.iter().map(|id| u64::from_be_bytes(id.unwrap().try_into().unwrap())).collect()
}

/// The span id of row `row` of [`batch`].
pub fn id(seed: u64, row: usize) -> u64 {
    seed * 1_000_000 + row as u64 + 1
}

fn build(seed: u64, starts: &[i64]) -> SpanBatch {
    let rows = starts.len();
    let ids: Vec<u64> = (0..rows).map(|row| id(seed, row)).collect();
    let traces = ids.iter().map(|id| u128::from(id / 10 + 1).to_be_bytes());
    let word = |of: &dyn Fn(usize) -> String| -> ArrayRef {
        let texts: Vec<String> = (0..rows).map(of).collect();
        Arc::new(texts.iter().map(|t| Some(t.as_str())).collect::<DictionaryArray<Int32Type>>())
    };
    let null = |data_type: &DataType| new_null_array(data_type, rows);
    let count = || -> ArrayRef { Arc::new(UInt32Array::from(vec![0; rows])) };
    let attributes = attributes(rows, seed);
    let interned = || -> ArrayRef {
        let keys = Int32Array::from(vec![0; rows]);
        Arc::new(DictionaryArray::<Int32Type>::try_new(keys, Arc::new(self::attributes(1, seed))).unwrap())
    };
    let no_list = |data_type: &DataType| -> ArrayRef {
        let DataType::List(item) = data_type else { panic!("a list") };
        let empty = new_empty_array(item.data_type());
        Arc::new(ListArray::new(item.clone(), OffsetBuffer::new_zeroed(rows), empty, None))
    };
    let columns: Vec<ArrayRef> =
        schema::incoming()
            .fields()
            .iter()
            .map(|field| -> ArrayRef {
                match field.name().as_str() {
                    "trace_id" => Arc::new(FixedSizeBinaryArray::try_from_iter(traces.clone()).unwrap()),
                    "span_id" => {
                        Arc::new(FixedSizeBinaryArray::try_from_iter(ids.iter().map(|id| id.to_be_bytes())).unwrap())
                    }
                    "start_time" => Arc::new(TimestampNanosecondArray::from(starts.to_vec()).with_timezone("UTC")),
                    "duration_ns" => Arc::new(Int64Array::from(vec![5_000_000; rows])),
                    "service_name" => word(&|_| "checkout".to_owned()),
                    "name" => word(&|row| format!("GET /items/{}", row % 7)),
                    "kind" => word(&|_| "server".to_owned()),
                    "status_code" => word(&|_| "unset".to_owned()),
                    "status_message" => Arc::new(StringViewArray::from_iter((0..rows).map(|row| {
                        (row % 3 == 0).then(|| format!("a message longer than twelve bytes, of span {row}"))
                    }))),
                    "flags" | "dropped_attributes_count" | "dropped_events_count" | "dropped_links_count" => count(),
                    "resource_key" => Arc::new(UInt64Array::from(vec![seed; rows])),
                    "attributes" => Arc::new(attributes.clone()),
                    "resource" | "scope" => interned(),
                    "events" | "links" => no_list(field.data_type()),
                    "is_entry" => Arc::new(BooleanArray::from(vec![true; rows])),
                    "anomalies" => Arc::new(UInt16Array::from(vec![0; rows])),
                    _ => null(field.data_type()),
                }
            })
            .collect();
    SpanBatch::try_new(RecordBatch::try_new(schema::incoming().clone(), columns).unwrap()).unwrap()
}

/// Two attributes a row: a text and an integer.
fn attributes(rows: usize, seed: u64) -> ListArray {
    let keys = Int32Array::from_iter_values((0..rows).flat_map(|_| [0, 1]));
    let names = Arc::new(StringArray::from(vec!["app.user", "http.response.status_code"]));
    let (mut s, mut i) = (StringViewBuilder::new(), Int64Builder::new());
    let (mut d, mut x) = (Float64Builder::new(), BinaryBuilder::new());
    for row in 0..rows {
        s.append_value(format!("user {seed}-{row} with a long enough name"));
        s.append_null();
        i.append_null();
        i.append_value(200);
        for _ in 0..2 {
            d.append_null();
            x.append_null();
        }
    }
    let types =
        UInt8Array::from_iter_values((0..rows).flat_map(|_| [schema::attr_type::STRING, schema::attr_type::INT]));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(DictionaryArray::<Int32Type>::try_new(keys, names).unwrap()),
        Arc::new(types),
        Arc::new(s.finish()),
        Arc::new(i.finish()),
        Arc::new(d.finish()),
        Arc::new(x.finish()),
    ];
    let values = Arc::new(StructArray::new(schema::attr_fields(), columns, None));
    let offsets = OffsetBuffer::from_repeated_length(2, rows);
    ListArray::new(schema::item(DataType::Struct(schema::attr_fields())), offsets, values, None)
}
