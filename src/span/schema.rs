//! The columns of a span: names, Arrow types, order.
//!
//! Duty: the one place that spells the schema of storage.md 2. Guarantee: [`incoming`] and [`stored`] name the same
//! columns in the same order, except that `ingest_time` and the semantic-convention columns exist only once a record is
//! stored. New columns come at the end; ★ add one here, and the decoder, the part writer and SQL follow.
//! Left to others: encodings in files (`store/part`), the SQL face of the columns (`query`).

use std::sync::{Arc, LazyLock};

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};

/// Name of the store position column: microseconds since 1970, strictly increasing per log record.
pub const INGEST_TIME: &str = "ingest_time";
/// Place of `ingest_time` in [`stored`].
pub const INGEST_TIME_INDEX: usize = 5;

/// `type` of an attribute value.
pub mod attr_type {
    /// No value was sent.
    pub const EMPTY: u8 = 0;
    /// Text in `s`.
    pub const STRING: u8 = 1;
    /// 0 or 1 in `i`.
    pub const BOOL: u8 = 2;
    /// A 64-bit integer in `i`.
    pub const INT: u8 = 3;
    /// A double in `d`, bit-exact.
    pub const DOUBLE: u8 = 4;
    /// Raw bytes in `x`.
    pub const BYTES: u8 = 5;
    /// An AnyValue that is an array, as protobuf bytes in `x`.
    pub const ARRAY: u8 = 6;
    /// An AnyValue that is a key-value list, as protobuf bytes in `x`.
    pub const KVLIST: u8 = 7;
}

/// Reserved attribute keys; hidden from SQL, never written by a sender (its `wg.` keys get one more leading `_`).
pub mod reserved {
    /// Prefix of all of them.
    pub const PREFIX: &str = "wg.";
    /// Span: raw end time in ns (int, the bits of the u64), when `anomalies` bit 0 or 1 is set.
    pub const END_TIME: &str = "wg.end_time";
    /// Span: field 17 as received (string).
    pub const SPAN_TYPE: &str = "wg.span_type";
    /// Resource and scope: schema URL (string).
    pub const SCHEMA_URL: &str = "wg.schema_url";
    /// Resource and scope: dropped_attributes_count (int), when not 0.
    pub const DROPPED: &str = "wg.dropped";
    /// Resource: the `entity_refs` fields as protobuf bytes, tags included (bytes).
    pub const ENTITY_REFS: &str = "wg.entity_refs";
}

/// Bits of the column `anomalies`.
pub mod anomaly {
    /// The span ends before it starts.
    pub const END_BEFORE_START: u16 = 1 << 0;
    /// The span has no start time.
    pub const NO_START: u16 = 1 << 1;
    /// Text that was not UTF-8 was repaired with U+FFFD.
    pub const INVALID_UTF8: u16 = 1 << 3;
    /// A list of this row holds a key twice.
    pub const DUPLICATE_KEY: u16 = 1 << 4;
    /// The start time is zero, far ahead of ingest or behind the retention horizon.
    pub const TIME_OUTLIER: u16 = 1 << 5;
}

/// The schema of a batch before the store has given it a position: [`stored`] without `ingest_time` and the
/// semantic-convention columns.
pub fn incoming() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| Arc::new(Schema::new(incoming_fields())));
    &SCHEMA
}

/// The schema of stored rows, in memory and (with expanded `resource` and `scope`, and promoted columns) in files.
pub fn stored() -> &'static SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let mut fields = incoming_fields();
        fields.insert(INGEST_TIME_INDEX, Field::new(INGEST_TIME, timestamp(TimeUnit::Microsecond), false));
        fields.extend(semconv_fields().iter().map(|field| field.as_ref().clone()));
        Arc::new(Schema::new(fields))
    });
    &SCHEMA
}

fn incoming_fields() -> Vec<Field> {
    vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("span_id", DataType::FixedSizeBinary(8), false),
        Field::new("parent_span_id", DataType::FixedSizeBinary(8), true),
        Field::new("start_time", timestamp(TimeUnit::Nanosecond), false),
        Field::new("duration_ns", DataType::Int64, false),
        Field::new("service_name", word(), false),
        Field::new("name", word(), false),
        Field::new("kind", word(), false),
        Field::new("status_code", word(), false),
        Field::new("status_message", DataType::Utf8View, true),
        Field::new("trace_state", DataType::Utf8View, true),
        Field::new("scope_name", word(), true),
        Field::new("scope_version", word(), true),
        Field::new("span_type", word(), true),
        Field::new("flags", DataType::UInt32, false),
        Field::new("dropped_attributes_count", DataType::UInt32, false),
        Field::new("dropped_events_count", DataType::UInt32, false),
        Field::new("dropped_links_count", DataType::UInt32, false),
        Field::new("resource_key", DataType::UInt64, false),
        Field::new("attributes", attributes(), false),
        Field::new("resource", interned_attributes(), false),
        Field::new("scope", interned_attributes(), false),
        Field::new("events", DataType::List(event_item()), false),
        Field::new("links", DataType::List(link_item()), false),
        Field::new("is_entry", DataType::Boolean, false),
        Field::new("parent_service", word(), true),
        Field::new("anomalies", DataType::UInt16, false),
    ]
}

/// The columns that the semantic-convention check fills before the append (semconv.md 5); null while no registry is
/// loaded.
pub fn semconv_fields() -> &'static Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        let finding = Fields::from(vec![
            Field::new("id", word(), false),
            Field::new("level", word(), false),
            Field::new("key", word(), true),
            Field::new("sample_type", word(), false),
        ]);
        Fields::from(vec![
            Field::new("semconv_type", word(), true),
            Field::new("semconv_match", word(), true),
            Field::new("semconv_matcher", word(), true),
            Field::new("required_total", DataType::UInt16, true),
            Field::new("required_present", DataType::UInt16, true),
            Field::new("recommended_total", DataType::UInt16, true),
            Field::new("recommended_present", DataType::UInt16, true),
            Field::new("finding_level", word(), true),
            Field::new("semconv_findings", DataType::List(item(DataType::Struct(finding))), true),
            Field::new("findings_dropped", DataType::UInt16, true),
            Field::new("semconv_registry", word(), true),
        ])
    });
    &FIELDS
}

/// Fields of one attribute: exactly one of `s`, `i`, `d`, `x` is set, by `type`; all are null for [`attr_type::EMPTY`].
pub fn attr_fields() -> Fields {
    static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
        Fields::from(vec![
            Field::new("key", word(), false),
            Field::new("type", DataType::UInt8, false),
            Field::new("s", DataType::Utf8View, true),
            Field::new("i", DataType::Int64, true),
            Field::new("d", DataType::Float64, true),
            Field::new("x", DataType::Binary, true),
        ])
    });
    FIELDS.clone()
}

/// Fields of one event.
pub fn event_fields() -> Fields {
    Fields::from(vec![
        Field::new("time", timestamp(TimeUnit::Nanosecond), false),
        Field::new("name", DataType::Utf8View, false),
        Field::new("attributes", attributes(), false),
        Field::new("dropped_attributes_count", DataType::UInt32, false),
    ])
}

/// Fields of one link.
pub fn link_fields() -> Fields {
    Fields::from(vec![
        Field::new("trace_id", DataType::FixedSizeBinary(16), false),
        Field::new("span_id", DataType::FixedSizeBinary(8), false),
        Field::new("trace_state", DataType::Utf8View, true),
        Field::new("attributes", attributes(), false),
        Field::new("dropped_attributes_count", DataType::UInt32, false),
        Field::new("flags", DataType::UInt32, false),
    ])
}

/// The element field of `events`: one for all batches, since equal types are told by their address.
pub fn event_item() -> Arc<Field> {
    static ITEM: LazyLock<Arc<Field>> = LazyLock::new(|| item(DataType::Struct(event_fields())));
    ITEM.clone()
}

/// The element field of `links`, as [`event_item`].
pub fn link_item() -> Arc<Field> {
    static ITEM: LazyLock<Arc<Field>> = LazyLock::new(|| item(DataType::Struct(link_fields())));
    ITEM.clone()
}

/// `List<Attr>`: the type by which SQL knows an attribute container.
pub fn attributes() -> DataType {
    static LIST: LazyLock<DataType> = LazyLock::new(|| DataType::List(item(DataType::Struct(attr_fields()))));
    LIST.clone()
}

/// `Dictionary(Int32, List<Attr>)`: resource and scope in memory, where many rows share one value.
pub fn interned_attributes() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(attributes()))
}

/// `Dictionary(Int32, Utf8)`: text of which few distinct values are expected.
pub fn word() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

/// A UTC timestamp.
pub fn timestamp(unit: TimeUnit) -> DataType {
    DataType::Timestamp(unit, Some("UTC".into()))
}

/// The element field of every list: named `item`, never null.
pub fn item(of: DataType) -> Arc<Field> {
    Arc::new(Field::new("item", of, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_is_incoming_with_a_position_and_the_semconv_columns() {
        let stored: Vec<_> = stored().fields().iter().map(|f| f.name().clone()).collect();
        let mut expected: Vec<_> = incoming().fields().iter().map(|f| f.name().clone()).collect();
        expected.insert(INGEST_TIME_INDEX, INGEST_TIME.to_owned());
        expected.extend(semconv_fields().iter().map(|f| f.name().clone()));
        assert_eq!(stored, expected);
        assert_eq!(stored.len(), 39);
    }
}
