//! The flat columns of a batch as plain values.

use arrow::array::{Array, AsArray};
use arrow::datatypes::{DataType, Int32Type, Int64Type, TimestampNanosecondType, UInt16Type, UInt32Type, UInt64Type};
use weavergen::span::SpanBatch;

/// One row; null text and empty text are told apart.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub parent_span_id: Option<Vec<u8>>,
    pub start_time: i64,
    pub duration_ns: i64,
    pub service_name: Option<String>,
    pub name: Option<String>,
    pub kind: Option<String>,
    pub status_code: Option<String>,
    pub status_message: Option<String>,
    pub trace_state: Option<String>,
    pub scope_name: Option<String>,
    pub scope_version: Option<String>,
    pub span_type: Option<String>,
    pub flags: u32,
    pub dropped: [u32; 3],
    /// `None` where the oracle cannot know it.
    pub resource_key: Option<u64>,
    pub is_entry: bool,
    pub anomalies: u16,
}

/// The rows of `batch` in order.
pub fn read(batch: &SpanBatch) -> Vec<Row> {
    (0..batch.rows()).map(|row| one(batch, row)).collect()
}

fn one(batch: &SpanBatch, row: usize) -> Row {
    let column = |name: &str| batch.as_record_batch().column_by_name(name).unwrap().clone();
    let bytes = |name: &str| column(name).as_fixed_size_binary().value(row).to_vec();
    let text = |name: &str| text(&column(name), row);
    let number = |name: &str| column(name).as_primitive::<UInt32Type>().value(row);
    Row {
        trace_id: bytes("trace_id"),
        span_id: bytes("span_id"),
        parent_span_id: column("parent_span_id").is_valid(row).then(|| bytes("parent_span_id")),
        start_time: column("start_time").as_primitive::<TimestampNanosecondType>().value(row),
        duration_ns: column("duration_ns").as_primitive::<Int64Type>().value(row),
        service_name: text("service_name"),
        name: text("name"),
        kind: text("kind"),
        status_code: text("status_code"),
        status_message: text("status_message"),
        trace_state: text("trace_state"),
        scope_name: text("scope_name"),
        scope_version: text("scope_version"),
        span_type: text("span_type"),
        flags: number("flags"),
        dropped: ["dropped_attributes_count", "dropped_events_count", "dropped_links_count"].map(number),
        resource_key: Some(column("resource_key").as_primitive::<UInt64Type>().value(row)),
        is_entry: column("is_entry").as_boolean().value(row),
        anomalies: column("anomalies").as_primitive::<UInt16Type>().value(row),
    }
}

fn text(array: &dyn Array, row: usize) -> Option<String> {
    if array.is_null(row) {
        return None;
    }
    Some(match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(row).to_owned(),
        _ => {
            let dictionary = array.as_dictionary::<Int32Type>();
            let id = usize::try_from(dictionary.keys().value(row)).unwrap();
            dictionary.values().as_string::<i32>().value(id).to_owned()
        }
    })
}
