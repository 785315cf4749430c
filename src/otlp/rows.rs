//! The rows of the open batch, below `SpanBuilder`.
//!
//! Duty: all columns of a batch while it grows, interned resources and scopes, and turning them into a `SpanBatch`.
//! Guarantee: rows that were set aside are taken out when the batch ends. Left to others: what a span is judged by
//! (`builder`).

use super::builder::SpanFields;
use super::columns::{Attrs, Words, list, utf8};
use super::owned::OwnedList;
use super::value::Value;
use super::{Decoded, Reason};
use crate::span::SpanBatch;
use crate::span::schema::{self, anomaly, reserved};
use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    RecordBatch, StringViewBuilder, TimestampNanosecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::filter_record_batch;
use std::collections::HashMap;
use std::sync::Arc;

const MAX_ROWS: usize = 32_768;

const MAX_BYTES: usize = 64 << 20;

const MAX_DISTINCT: usize = 262_144;

/// The span that is open.
#[derive(Debug, Default)]
pub(super) struct SpanState {
    pub(super) anomalies: u16,
    pub(super) fault: Option<(Reason, String)>,
    pub(super) attributes: usize,
    pub(super) span_type: Option<String>,
    pub(super) events: usize,
    pub(super) links: usize,
    /// The span is above its size limit: its grammar is still read, its content no longer kept.
    pub(super) oversized: bool,
}

impl SpanState {
    /// Whether one more of what there are `count` of is only counted: two bytes on the wire can become forty in
    /// columns, so what is set aside anyway must not grow them.
    pub(super) fn keeps(&self, count: usize, limit: usize) -> bool {
        !self.oversized && count <= limit
    }

    /// Keeps the reason that stands first in the table at P2.
    pub(super) fn fault(&mut self, reason: Reason, detail: impl FnOnce() -> String) {
        if self.fault.as_ref().is_none_or(|(first, _)| reason < *first) {
            self.fault = Some((reason, detail()));
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Rows {
    pub(super) count: usize,
    pub(super) bytes: usize,
    pub(super) trace_id: Vec<u8>,
    pub(super) span_id: Vec<u8>,
    pub(super) parent: Vec<u8>,
    pub(super) has_parent: Vec<bool>,
    pub(super) start: Vec<i64>,
    pub(super) duration: Vec<i64>,
    pub(super) service: Words,
    pub(super) name: Words,
    pub(super) kind: Words,
    pub(super) status: Words,
    pub(super) status_message: StringViewBuilder,
    pub(super) trace_state: StringViewBuilder,
    pub(super) scope_name: Words,
    pub(super) scope_version: Words,
    pub(super) span_type: Words,
    pub(super) flags: Vec<u32>,
    pub(super) dropped: [Vec<u32>; 3],
    pub(super) resource_key: Vec<u64>,
    pub(super) attributes: Attrs,
    pub(super) resources: Interned,
    pub(super) scopes: Interned,
    pub(super) event_time: Vec<i64>,
    pub(super) event_name: StringViewBuilder,
    pub(super) event_attributes: Attrs,
    pub(super) event_dropped: Vec<u32>,
    pub(super) event_ends: Vec<i32>,
    pub(super) link_trace: Vec<u8>,
    pub(super) link_span: Vec<u8>,
    pub(super) link_state: StringViewBuilder,
    pub(super) link_attributes: Attrs,
    pub(super) link_dropped: Vec<u32>,
    pub(super) link_flags: Vec<u32>,
    pub(super) link_ends: Vec<i32>,
    pub(super) is_entry: Vec<bool>,
    pub(super) anomalies: Vec<u16>,
    /// Rows that were set aside.
    pub(super) rejected: Vec<usize>,
}

#[derive(Debug, Default)]
pub(super) struct Interned {
    /// By canonical bytes: the index, and the anomalies of the list.
    pub(super) known: HashMap<Vec<u8>, (i32, u16)>,
    pub(super) lists: Attrs,
    pub(super) keys: Vec<i32>,
}

#[inline]
pub(super) fn push_as_is(attrs: &mut Attrs, key: &[u8], value: Value<'_>) -> u16 {
    let (key, bad_key) = utf8(key);
    let pushed = attrs.push(&key, value);
    let mut anomalies = if pushed.repeated { anomaly::DUPLICATE_KEY } else { 0 };
    if bad_key || pushed.repaired {
        anomalies |= anomaly::INVALID_UTF8;
    }
    anomalies
}

pub(super) fn append(column: &mut StringViewBuilder, bytes: &[u8], span: &mut SpanState) {
    if bytes.is_empty() {
        return column.append_null();
    }
    let (text, bad) = utf8(bytes);
    span.anomalies |= if bad { anomaly::INVALID_UTF8 } else { 0 };
    column.append_value(text);
}

/// `bytes` in `N` bytes, zeros where the length is another: such a span is set aside, or the id was left out.
pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

/// Whether a span enters its service from outside (storage.md 2, `is_entry`).
pub(super) fn is_entry(has_parent: bool, flags: u32, kind: i32) -> bool {
    const HAS_IS_REMOTE: u32 = 1 << 8;
    const IS_REMOTE: u32 = 1 << 9;
    !has_parent || (if flags & HAS_IS_REMOTE != 0 { flags & IS_REMOTE != 0 } else { matches!(kind, 2 | 5) })
}

impl Interned {
    /// Index and anomalies of `list`, and the bytes it added.
    pub(super) fn intern(&mut self, list: &OwnedList, canonical: &mut Vec<u8>) -> (i32, u16, usize) {
        list.canonical(canonical);
        if let Some(known) = self.known.get(canonical.as_slice()) {
            return (known.0, known.1, 0);
        }
        let mut anomalies = 0;
        for (key, value) in list.iter() {
            anomalies |= push_as_is(&mut self.lists, key, value);
        }
        self.lists.end_list();
        let index = i32::try_from(self.known.len()).expect("a batch has at most 32,768 rows");
        self.known.insert(canonical.clone(), (index, anomalies));
        (index, anomalies, canonical.len())
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        self.known.clear();
        let keys = Int32Array::from(std::mem::take(&mut self.keys));
        Arc::new(DictionaryArray::new(keys, self.lists.finish()))
    }
}

impl Rows {
    pub(super) fn is_full(&self) -> bool {
        let distinct = [
            &self.name,
            &self.service,
            &self.kind,
            &self.status,
            &self.scope_name,
            &self.scope_version,
            &self.span_type,
        ];
        self.count >= MAX_ROWS
            || self.bytes >= MAX_BYTES
            || distinct.iter().any(|words| words.distinct() >= MAX_DISTINCT)
            || [
                &self.attributes,
                &self.event_attributes,
                &self.link_attributes,
                &self.resources.lists,
                &self.scopes.lists,
            ]
            .iter()
            .any(|attrs| attrs.distinct() >= MAX_DISTINCT)
    }

    pub(super) fn push_ids(&mut self, fields: &SpanFields<'_>) {
        self.trace_id.extend_from_slice(&fixed::<16>(fields.trace_id));
        self.span_id.extend_from_slice(&fixed::<8>(fields.span_id));
        let parent = fixed::<8>(fields.parent_span_id);
        let has_parent = parent != [0; 8];
        self.parent.extend_from_slice(&parent);
        self.has_parent.push(has_parent);
        self.is_entry.push(is_entry(has_parent, fields.flags, fields.kind));
    }

    /// Y1 to Y3: field 17 wins over the attribute.
    pub(super) fn push_span_type(&mut self, fields: &SpanFields<'_>, span: &mut SpanState, done: &mut Decoded) {
        let attribute = span.span_type.take().unwrap_or_default();
        let (sent, bad) = utf8(fields.span_type);
        span.anomalies |= if bad { anomaly::INVALID_UTF8 } else { 0 };
        let mut advise = |kind| *done.advisories.entry(kind).or_default() += 1;
        if !sent.is_empty() {
            self.attributes.push(reserved::SPAN_TYPE, Value::Text(fields.span_type));
            if !attribute.is_empty() && attribute != sent {
                advise("span_type_conflict");
            }
        }
        let chosen = if sent.is_empty() { attribute.as_str() } else { &sent };
        if !chosen.is_empty() && !is_span_type(chosen) {
            advise("span_type_form");
        }
        self.span_type.push_or_null(chosen);
    }

    /// The open batch without the rows set aside; `None` if no row is left.
    pub(super) fn finish(&mut self) -> Option<SpanBatch> {
        let rows = std::mem::take(&mut self.count);
        self.bytes = 0;
        let rejected = std::mem::take(&mut self.rejected);
        if rows == 0 {
            self.clear_interned();
            return None;
        }
        let has_parent = std::mem::take(&mut self.has_parent);
        let parents = NullBuffer::new(BooleanBuffer::collect_bool(rows, |row| has_parent[row]));
        let is_entry = std::mem::take(&mut self.is_entry);
        let [dropped_attributes, dropped_events, dropped_links] = self.dropped.each_mut().map(std::mem::take);
        let columns: Vec<ArrayRef> = vec![
            ids(16, &mut self.trace_id, None),
            ids(8, &mut self.span_id, None),
            ids(8, &mut self.parent, Some(parents)),
            Arc::new(TimestampNanosecondArray::from(std::mem::take(&mut self.start)).with_timezone("UTC")),
            Arc::new(Int64Array::from(std::mem::take(&mut self.duration))),
            self.service.finish(),
            self.name.finish(),
            self.kind.finish(),
            self.status.finish(),
            Arc::new(self.status_message.finish()),
            Arc::new(self.trace_state.finish()),
            self.scope_name.finish(),
            self.scope_version.finish(),
            self.span_type.finish(),
            Arc::new(UInt32Array::from(std::mem::take(&mut self.flags))),
            Arc::new(UInt32Array::from(dropped_attributes)),
            Arc::new(UInt32Array::from(dropped_events)),
            Arc::new(UInt32Array::from(dropped_links)),
            Arc::new(UInt64Array::from(std::mem::take(&mut self.resource_key))),
            self.attributes.finish(),
            self.resources.finish(),
            self.scopes.finish(),
            self.finish_events(),
            self.finish_links(),
            Arc::new(BooleanArray::new(BooleanBuffer::collect_bool(rows, |row| is_entry[row]), None)),
            arrow::array::new_null_array(&schema::word(), rows),
            Arc::new(UInt16Array::from(std::mem::take(&mut self.anomalies))),
        ];
        let batch = RecordBatch::try_new(schema::incoming().clone(), columns)
            .expect("the builder makes the columns of the schema, one value a row");
        let batch = if rejected.is_empty() { batch } else { without(&batch, &rejected) };
        (batch.num_rows() > 0).then(|| SpanBatch::try_new(batch).expect("the schema is the one asked for"))
    }

    /// A resource without spans may have been interned.
    pub(super) fn clear_interned(&mut self) {
        for interned in [&mut self.resources, &mut self.scopes] {
            interned.known.clear();
            interned.lists.clear();
            interned.keys.clear();
        }
    }

    pub(super) fn finish_events(&mut self) -> ArrayRef {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(std::mem::take(&mut self.event_time)).with_timezone("UTC")),
            Arc::new(self.event_name.finish()),
            self.event_attributes.finish(),
            Arc::new(UInt32Array::from(std::mem::take(&mut self.event_dropped))),
        ];
        list(schema::event_fields(), columns, &mut self.event_ends)
    }

    pub(super) fn finish_links(&mut self) -> ArrayRef {
        let columns: Vec<ArrayRef> = vec![
            ids(16, &mut self.link_trace, None),
            ids(8, &mut self.link_span, None),
            Arc::new(self.link_state.finish()),
            self.link_attributes.finish(),
            Arc::new(UInt32Array::from(std::mem::take(&mut self.link_dropped))),
            Arc::new(UInt32Array::from(std::mem::take(&mut self.link_flags))),
        ];
        list(schema::link_fields(), columns, &mut self.link_ends)
    }
}

pub(super) fn ids(size: i32, bytes: &mut Vec<u8>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::new(size, Buffer::from_vec(std::mem::take(bytes)), nulls))
}

pub(super) fn without(batch: &RecordBatch, rejected: &[usize]) -> RecordBatch {
    let mut keep = BooleanBufferBuilder::new(batch.num_rows());
    keep.append_n(batch.num_rows(), true);
    rejected.iter().for_each(|row| keep.set_bit(*row, false));
    filter_record_batch(batch, &BooleanArray::new(keep.finish(), None)).expect("the mask has one bit a row")
}

/// Y3: a letter, then letters, digits, `_ . - /`, at most 255 in all.
pub(super) fn is_span_type(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 255
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/'))
}
