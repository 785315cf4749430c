//! The columns of a span batch as the encoder reads them.
//!
//! Duty: downcasts, once per batch; values by row. Guarantee: no panic, for [`SpanBatch`] has proven the types. Left to
//! others: what is written from them.

use arrow::array::{
    Array, AsArray, BinaryArray, FixedSizeBinaryArray, Float64Array, Int32Array, Int64Array, ListArray, RecordBatch,
    StringArray, StringViewArray, StructArray, UInt8Array, UInt32Array,
};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{Float64Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type, UInt32Type};

use crate::otlp::builder::Value;
use crate::span::SpanBatch;
use crate::span::schema::attr_type;

/// The columns of one batch.
pub(super) struct Columns<'a> {
    pub(super) rows: usize,
    pub(super) trace_id: &'a FixedSizeBinaryArray,
    pub(super) span_id: &'a FixedSizeBinaryArray,
    pub(super) parent_span_id: &'a FixedSizeBinaryArray,
    pub(super) start_time: &'a ScalarBuffer<i64>,
    pub(super) duration_ns: &'a Int64Array,
    pub(super) name: Words<'a>,
    pub(super) kind: Words<'a>,
    pub(super) status_code: Words<'a>,
    pub(super) status_message: &'a StringViewArray,
    pub(super) trace_state: &'a StringViewArray,
    pub(super) scope_name: Words<'a>,
    pub(super) scope_version: Words<'a>,
    pub(super) flags: &'a UInt32Array,
    pub(super) dropped_attributes: &'a UInt32Array,
    pub(super) dropped_events: &'a UInt32Array,
    pub(super) dropped_links: &'a UInt32Array,
    pub(super) attributes: Attrs<'a>,
    /// Index of the row's resource among `resources`.
    pub(super) resource: &'a Int32Array,
    pub(super) resources: Attrs<'a>,
    pub(super) scope: &'a Int32Array,
    pub(super) scopes: Attrs<'a>,
    pub(super) events: Events<'a>,
    pub(super) links: Links<'a>,
}

/// A column of few distinct texts.
pub(super) struct Words<'a> {
    keys: &'a Int32Array,
    values: &'a StringArray,
}

/// Lists of attributes.
pub(super) struct Attrs<'a> {
    lists: &'a ListArray,
    keys: Words<'a>,
    of: &'a UInt8Array,
    s: &'a StringViewArray,
    i: &'a Int64Array,
    d: &'a Float64Array,
    x: &'a BinaryArray,
}

pub(super) struct Events<'a> {
    lists: &'a ListArray,
    pub(super) time: &'a ScalarBuffer<i64>,
    pub(super) name: &'a StringViewArray,
    pub(super) attributes: Attrs<'a>,
    pub(super) dropped: &'a UInt32Array,
}

pub(super) struct Links<'a> {
    lists: &'a ListArray,
    pub(super) trace_id: &'a FixedSizeBinaryArray,
    pub(super) span_id: &'a FixedSizeBinaryArray,
    pub(super) trace_state: &'a StringViewArray,
    pub(super) attributes: Attrs<'a>,
    pub(super) dropped: &'a UInt32Array,
    pub(super) flags: &'a UInt32Array,
}

impl<'a> Columns<'a> {
    pub(super) fn of(batch: &'a SpanBatch) -> Self {
        let batch = batch.as_record_batch();
        let (resource, resources) = interned(batch, "resource");
        let (scope, scopes) = interned(batch, "scope");
        Self {
            rows: batch.num_rows(),
            trace_id: column(batch, "trace_id").as_fixed_size_binary(),
            span_id: column(batch, "span_id").as_fixed_size_binary(),
            parent_span_id: column(batch, "parent_span_id").as_fixed_size_binary(),
            start_time: column(batch, "start_time").as_primitive::<TimestampNanosecondType>().values(),
            duration_ns: column(batch, "duration_ns").as_primitive::<Int64Type>(),
            name: Words::of(column(batch, "name")),
            kind: Words::of(column(batch, "kind")),
            status_code: Words::of(column(batch, "status_code")),
            status_message: column(batch, "status_message").as_string_view(),
            trace_state: column(batch, "trace_state").as_string_view(),
            scope_name: Words::of(column(batch, "scope_name")),
            scope_version: Words::of(column(batch, "scope_version")),
            flags: column(batch, "flags").as_primitive::<UInt32Type>(),
            dropped_attributes: column(batch, "dropped_attributes_count").as_primitive::<UInt32Type>(),
            dropped_events: column(batch, "dropped_events_count").as_primitive::<UInt32Type>(),
            dropped_links: column(batch, "dropped_links_count").as_primitive::<UInt32Type>(),
            attributes: Attrs::of(column(batch, "attributes").as_list()),
            resource,
            resources,
            scope,
            scopes,
            events: Events::of(column(batch, "events").as_list()),
            links: Links::of(column(batch, "links").as_list()),
        }
    }
}

fn column<'a>(batch: &'a RecordBatch, name: &str) -> &'a dyn Array {
    batch.column_by_name(name).expect("SpanBatch::try_new checked the schema").as_ref()
}

fn interned<'a>(batch: &'a RecordBatch, name: &str) -> (&'a Int32Array, Attrs<'a>) {
    let dictionary = column(batch, name).as_dictionary::<Int32Type>();
    (dictionary.keys(), Attrs::of(dictionary.values().as_list()))
}

impl<'a> Words<'a> {
    fn of(array: &'a dyn Array) -> Self {
        let dictionary = array.as_dictionary::<Int32Type>();
        Self { keys: dictionary.keys(), values: dictionary.values().as_string() }
    }

    /// The text of a row; null is empty.
    pub(super) fn get(&self, row: usize) -> &'a str {
        let id = usize::try_from(self.keys.value(row)).unwrap_or_default();
        if self.keys.is_null(row) { "" } else { self.values.value(id) }
    }
}

impl<'a> Attrs<'a> {
    fn of(lists: &'a ListArray) -> Self {
        let attrs = lists.values().as_struct();
        Self {
            lists,
            keys: Words::of(attrs.column(0)),
            of: attrs.column(1).as_primitive::<UInt8Type>(),
            s: attrs.column(2).as_string_view(),
            i: attrs.column(3).as_primitive::<Int64Type>(),
            d: attrs.column(4).as_primitive::<Float64Type>(),
            x: attrs.column(5).as_binary(),
        }
    }

    /// Number of lists.
    pub(super) fn len(&self) -> usize {
        self.lists.len()
    }

    /// The attributes of a list with their stored keys.
    pub(super) fn list(&self, at: usize) -> impl Iterator<Item = (&'a str, Value<'a>)> + '_ {
        range(self.lists, at).map(|at| (self.keys.get(at), self.value(at)))
    }

    /// First value of a reserved key in a list.
    pub(super) fn reserved(&self, list: usize, key: &str) -> Option<Value<'a>> {
        self.list(list).find(|(k, _)| *k == key).map(|(_, value)| value)
    }

    fn value(&self, at: usize) -> Value<'a> {
        // the levels of a stored value were judged when it came
        match self.of.value(at) {
            attr_type::STRING => Value::Text(self.s.value(at).as_bytes()),
            attr_type::BOOL => Value::Bool(self.i.value(at) != 0),
            attr_type::INT => Value::Int(self.i.value(at)),
            attr_type::DOUBLE => Value::Double(self.d.value(at)),
            attr_type::BYTES => Value::Bytes(self.x.value(at)),
            attr_type::ARRAY => Value::Array { proto: self.x.value(at), levels: 1 },
            attr_type::KVLIST => Value::Kvlist { proto: self.x.value(at), levels: 1 },
            _ => Value::Empty,
        }
    }
}

impl<'a> Events<'a> {
    fn of(lists: &'a ListArray) -> Self {
        let events: &StructArray = lists.values().as_struct();
        Self {
            lists,
            time: events.column(0).as_primitive::<TimestampNanosecondType>().values(),
            name: events.column(1).as_string_view(),
            attributes: Attrs::of(events.column(2).as_list()),
            dropped: events.column(3).as_primitive::<UInt32Type>(),
        }
    }

    /// The events of a row, as indices into the columns.
    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        range(self.lists, row)
    }
}

impl<'a> Links<'a> {
    fn of(lists: &'a ListArray) -> Self {
        let links: &StructArray = lists.values().as_struct();
        Self {
            lists,
            trace_id: links.column(0).as_fixed_size_binary(),
            span_id: links.column(1).as_fixed_size_binary(),
            trace_state: links.column(2).as_string_view(),
            attributes: Attrs::of(links.column(3).as_list()),
            dropped: links.column(4).as_primitive::<UInt32Type>(),
            flags: links.column(5).as_primitive::<UInt32Type>(),
        }
    }

    /// The links of a row, as indices into the columns.
    pub(super) fn range(&self, row: usize) -> std::ops::Range<usize> {
        range(self.lists, row)
    }
}

fn range(lists: &ListArray, at: usize) -> std::ops::Range<usize> {
    let ends = lists.value_offsets();
    let end = |offset: i32| usize::try_from(offset).expect("an offset of an array is not negative");
    end(ends[at])..end(ends[at + 1])
}

/// The text at `row`; null is empty.
pub(super) fn text(array: &StringViewArray, row: usize) -> &str {
    if array.is_null(row) { "" } else { array.value(row) }
}
