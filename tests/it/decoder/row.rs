//! A batch turned back into plain rows, to be compared value by value.

use arrow::array::{Array, AsArray as _, RecordBatch, StructArray};
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt32Type, UInt64Type};
use prost::Message as _;
use weavergen::otlp::Decoded;

use super::proto::opentelemetry::proto::common::v1::AnyValue;
use super::proto::opentelemetry::proto::resource::v1::Resource;

/// One attribute value; arrays and lists as the bytes that generated structs write for them.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Empty,
    Text(String),
    Bool(bool),
    Int(i64),
    Double(u64),
    Bytes(Vec<u8>),
    Nested(Vec<u8>),
}

pub type Attributes = Vec<(String, Value)>;

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub time: i64,
    pub name: String,
    pub attributes: Attributes,
    pub dropped: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub state: String,
    pub attributes: Attributes,
    pub dropped: u32,
    pub flags: u32,
}

/// A span. Reserved attributes stay among the attributes; resource and scope are sorted by key.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub trace_id: Vec<u8>,
    pub span_id: Vec<u8>,
    pub parent_span_id: Option<Vec<u8>>,
    pub start: i64,
    pub duration: i64,
    /// service, name, kind, status code, status message, trace state, scope name, scope version, span type
    pub words: [String; 9],
    pub flags: u32,
    pub dropped: [u32; 3],
    pub attributes: Attributes,
    pub resource: Attributes,
    pub scope: Attributes,
    pub events: Vec<Event>,
    pub links: Vec<Link>,
    pub is_entry: bool,
}

/// All rows of all batches in order.
pub fn rows(decoded: &Decoded) -> Vec<Row> {
    let batches = decoded.batches.iter().map(|batch| batch.as_record_batch());
    batches.flat_map(|batch| (0..batch.num_rows()).map(|row| self::row(batch, row))).collect()
}

/// Text of a dictionary or view; null is empty.
fn text(column: &dyn Array, row: usize) -> String {
    if column.is_null(row) {
        return String::new();
    }
    match column.as_dictionary_opt::<Int32Type>() {
        Some(words) => words.values().as_string::<i32>().value(words.key(row).unwrap()).to_owned(),
        None => column.as_string_view().value(row).to_owned(),
    }
}

fn row(batch: &RecordBatch, row: usize) -> Row {
    let column = |name: &str| batch.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"));
    let id = |name: &str| column(name).as_fixed_size_binary().value(row).to_vec();
    let u32 = |name: &str| column(name).as_primitive::<UInt32Type>().value(row);
    let shared = |name: &str| {
        let interned = column(name).as_dictionary::<Int32Type>();
        let lists = interned.values().as_list::<i32>();
        let mut list = attributes(lists.value(interned.key(row).unwrap()).as_struct());
        list.iter_mut().for_each(|(key, value)| normalise_entity_refs(key, value));
        list.sort_by(|a, b| a.0.cmp(&b.0));
        list
    };
    let list = |name: &str| column(name).as_list::<i32>().value(row);
    // Read for its type alone: the key is checked through `resource`.
    let _ = column("resource_key").as_primitive::<UInt64Type>().value(row);
    Row {
        trace_id: id("trace_id"),
        span_id: id("span_id"),
        parent_span_id: column("parent_span_id").is_valid(row).then(|| id("parent_span_id")),
        start: column("start_time").as_primitive::<TimestampNanosecondType>().value(row),
        duration: column("duration_ns").as_primitive::<Int64Type>().value(row),
        words: [
            "service_name",
            "name",
            "kind",
            "status_code",
            "status_message",
            "trace_state",
            "scope_name",
            "scope_version",
            "span_type",
        ]
        .map(|name| text(column(name), row)),
        flags: u32("flags"),
        dropped: ["dropped_attributes_count", "dropped_events_count", "dropped_links_count"].map(u32),
        attributes: attributes(list("attributes").as_struct()),
        resource: shared("resource"),
        scope: shared("scope"),
        events: events(list("events").as_struct()),
        links: links(list("links").as_struct()),
        is_entry: column("is_entry").as_boolean().value(row),
    }
}

/// Entity references are kept as received; generated structs write them without unknown fields.
fn normalise_entity_refs(key: &str, value: &mut Value) {
    if key == "wg.entity_refs"
        && let Value::Bytes(bytes) = value
    {
        *bytes = Resource::decode(bytes.as_slice()).unwrap().encode_to_vec();
    }
}

fn attributes(list: &StructArray) -> Attributes {
    (0..list.len())
        .map(|row| {
            let cells = list.columns();
            let value = match cells[1].as_primitive::<UInt8Type>().value(row) {
                0 => Value::Empty,
                1 => Value::Text(text(&cells[2], row)),
                2 => Value::Bool(cells[3].as_primitive::<Int64Type>().value(row) == 1),
                3 => Value::Int(cells[3].as_primitive::<Int64Type>().value(row)),
                4 => Value::Double(cells[4].as_primitive::<Float64Type>().value(row).to_bits()),
                5 => Value::Bytes(cells[5].as_binary::<i32>().value(row).to_vec()),
                _ => {
                    let bytes = cells[5].as_binary::<i32>().value(row);
                    Value::Nested(AnyValue::decode(bytes).unwrap().encode_to_vec())
                }
            };
            let set: Vec<usize> = (2..6).filter(|cell| cells[*cell].is_valid(row)).collect();
            let expected: &[usize] = match &value {
                Value::Empty => &[],
                Value::Text(_) => &[2],
                Value::Bool(_) | Value::Int(_) => &[3],
                Value::Double(_) => &[4],
                Value::Bytes(_) | Value::Nested(_) => &[5],
            };
            assert_eq!(set, expected, "exactly the cell of its type is set");
            (text(&cells[0], row), value)
        })
        .collect()
}

fn events(list: &StructArray) -> Vec<Event> {
    let cells = list.columns();
    (0..list.len())
        .map(|row| Event {
            time: cells[0].as_primitive::<TimestampNanosecondType>().value(row),
            name: text(&cells[1], row),
            attributes: attributes(cells[2].as_list::<i32>().value(row).as_struct()),
            dropped: cells[3].as_primitive::<UInt32Type>().value(row),
        })
        .collect()
}

fn links(list: &StructArray) -> Vec<Link> {
    let cells = list.columns();
    (0..list.len())
        .map(|row| Link {
            trace_id: cells[0].as_fixed_size_binary().value(row).to_vec(),
            span_id: cells[1].as_fixed_size_binary().value(row).to_vec(),
            state: text(&cells[2], row),
            attributes: attributes(cells[3].as_list::<i32>().value(row).as_struct()),
            dropped: cells[4].as_primitive::<UInt32Type>().value(row),
            flags: cells[5].as_primitive::<UInt32Type>().value(row),
        })
        .collect()
}
