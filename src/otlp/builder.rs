//! [`SpanBuilder`]: appends spans field by field and cuts them into batches.
//!
//! Duty: the columns of storage.md 2 from what a reader hands in, in any order of fields; the judgement of each span
//! (otlp.md P2); interning; cuts (storage.md 3). Guarantee: every column of every batch has as many rows as the batch,
//! also for spans that are set aside: those are marked and taken out when a batch ends. Left to others: the wire
//! (`decode`, `json`).

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, DictionaryArray, FixedSizeBinaryArray, Int32Array, Int64Array,
    RecordBatch, StringViewBuilder, TimestampNanosecondArray, UInt16Array, UInt32Array, UInt64Array,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};
use arrow::compute::filter_record_batch;

use super::columns::{Attrs, Words, list, utf8};
use super::owned::{OwnedList, needs_escape, resource_key};
use super::value::Value;
use super::{Decoded, Limits, Reason, Rejected};
use crate::span::SpanBatch;
use crate::span::schema::{self, anomaly, reserved};

const MAX_ROWS: usize = 32_768;
const MAX_BYTES: usize = 64 << 20;
const MAX_DISTINCT: usize = 262_144;
/// Spans set aside that are described one by one; the drop ledger has one row a reason beyond it (P4).
const MAX_DESCRIBED: usize = 100;
/// Spans set aside that are listed at all; beyond it they are only counted.
const MAX_LISTED: usize = 65_536;
const SPAN_TYPE_ATTRIBUTE: &[u8] = b"otel.span.type";

/// The scalar fields of a span, as the wire has them; absent ones are empty or zero.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the names are OTLP's")]
pub struct SpanFields<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub parent_span_id: &'a [u8],
    pub trace_state: &'a [u8],
    pub name: &'a [u8],
    pub kind: i32,
    pub start_ns: u64,
    pub end_ns: u64,
    pub dropped_attributes: u32,
    pub dropped_events: u32,
    pub dropped_links: u32,
    pub status_code: i32,
    pub status_message: &'a [u8],
    pub flags: u32,
    /// Field 17.
    pub span_type: &'a [u8],
    /// Size of the span on the wire.
    pub wire_bytes: usize,
}

/// Builds batches of spans; one per decoding thread, reused for every request.
#[derive(Debug, Default)]
pub struct SpanBuilder {
    resource: Shared,
    scope: Shared,
    scope_name: String,
    scope_version: String,
    service_name: String,
    rows: Rows,
    span: SpanState,
    done: Decoded,
    canonical: Vec<u8>,
}

/// A resource or scope, and where it stands in the batch that is open.
#[derive(Debug, Default)]
struct Shared {
    list: OwnedList,
    /// Index among the interned ones of the open batch.
    index: Option<i32>,
    key: u64,
    anomalies: u16,
    /// Why every span under it is set aside.
    fault: Option<(Reason, String)>,
}

/// The span that is open.
#[derive(Debug, Default)]
struct SpanState {
    anomalies: u16,
    fault: Option<(Reason, String)>,
    attributes: usize,
    span_type: Option<String>,
    events: usize,
    links: usize,
    /// The span is above its size limit: its grammar is still read, its content no longer kept.
    oversized: bool,
}

impl SpanState {
    /// Whether one more of what there are `count` of is only counted: two bytes on the wire can become forty in
    /// columns, so what is set aside anyway must not grow them.
    fn keeps(&self, count: usize, limit: usize) -> bool {
        !self.oversized && count <= limit
    }

    /// Keeps the reason that stands first in the table at P2.
    fn fault(&mut self, reason: Reason, detail: impl FnOnce() -> String) {
        if self.fault.as_ref().is_none_or(|(first, _)| reason < *first) {
            self.fault = Some((reason, detail()));
        }
    }
}

#[derive(Debug, Default)]
struct Rows {
    count: usize,
    bytes: usize,
    trace_id: Vec<u8>,
    span_id: Vec<u8>,
    parent: Vec<u8>,
    has_parent: Vec<bool>,
    start: Vec<i64>,
    duration: Vec<i64>,
    service: Words,
    name: Words,
    kind: Words,
    status: Words,
    status_message: StringViewBuilder,
    trace_state: StringViewBuilder,
    scope_name: Words,
    scope_version: Words,
    span_type: Words,
    flags: Vec<u32>,
    dropped: [Vec<u32>; 3],
    resource_key: Vec<u64>,
    attributes: Attrs,
    resources: Interned,
    scopes: Interned,
    event_time: Vec<i64>,
    event_name: StringViewBuilder,
    event_attributes: Attrs,
    event_dropped: Vec<u32>,
    event_ends: Vec<i32>,
    link_trace: Vec<u8>,
    link_span: Vec<u8>,
    link_state: StringViewBuilder,
    link_attributes: Attrs,
    link_dropped: Vec<u32>,
    link_flags: Vec<u32>,
    link_ends: Vec<i32>,
    is_entry: Vec<bool>,
    anomalies: Vec<u16>,
    /// Rows that were set aside.
    rejected: Vec<usize>,
}

#[derive(Debug, Default)]
struct Interned {
    /// By canonical bytes: the index, and the anomalies of the list.
    known: HashMap<Vec<u8>, (i32, u16)>,
    lists: Attrs,
    keys: Vec<i32>,
}

impl SpanBuilder {
    /// An empty builder.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything of a request that turned out to be undecodable.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Counts something odd that is stored all the same.
    pub fn advise(&mut self, kind: &'static str) {
        *self.done.advisories.entry(kind).or_default() += 1;
    }

    /// Counts an unknown field of `message`.
    pub fn unknown_field(&mut self, message: &'static str) {
        *self.done.unknown_fields.entry(message).or_default() += 1;
    }

    /// Everything that follows belongs to this resource, until the next call.
    ///
    /// `entity_refs` are the fields' protobuf bytes with their tags.
    pub fn resource(&mut self, limits: &Limits, dropped: u32, schema_url: &[u8], entity_refs: &[u8], too_deep: bool) {
        let list = &mut self.resource.list;
        self.resource.fault = list_fault(list, limits, too_deep);
        self.service_name = match list.get(b"service.name").and_then(Value::to_text) {
            Some(name) if !name.is_empty() => name,
            _ => "unknown_service".to_owned(),
        };
        if dropped > 0 {
            list.push_reserved(reserved::DROPPED, Value::Int(i64::from(dropped)));
        }
        list.canonical(&mut self.canonical);
        self.resource.key = resource_key(&self.canonical);
        if !schema_url.is_empty() {
            list.push_reserved(reserved::SCHEMA_URL, Value::Text(schema_url));
        }
        if !entity_refs.is_empty() {
            list.push_reserved(reserved::ENTITY_REFS, Value::Bytes(entity_refs));
        }
        self.resource.index = None;
        self.resource.anomalies = 0;
    }

    /// Everything that follows belongs to this scope, until the next call.
    pub fn scope(
        &mut self,
        limits: &Limits,
        name: &[u8],
        version: &[u8],
        dropped: u32,
        schema_url: &[u8],
        too_deep: bool,
    ) {
        let list = &mut self.scope.list;
        self.scope.fault = list_fault(list, limits, too_deep);
        let ((name, bad_name), (version, bad_version)) = (utf8(name), utf8(version));
        self.scope.anomalies = if bad_name || bad_version { anomaly::INVALID_UTF8 } else { 0 };
        name.as_ref().clone_into(&mut self.scope_name);
        version.as_ref().clone_into(&mut self.scope_version);
        if dropped > 0 {
            list.push_reserved(reserved::DROPPED, Value::Int(i64::from(dropped)));
        }
        if !schema_url.is_empty() {
            list.push_reserved(reserved::SCHEMA_URL, Value::Text(schema_url));
        }
        self.scope.index = None;
    }

    /// The attribute list to fill before [`SpanBuilder::resource`] is called; cleared.
    pub fn resource_list(&mut self) -> &mut OwnedList {
        self.resource.list.clear();
        &mut self.resource.list
    }

    /// The resource's list, to go on filling it.
    pub fn open_resource_list(&mut self) -> &mut OwnedList {
        &mut self.resource.list
    }

    /// The scope's list, to go on filling it.
    pub fn open_scope_list(&mut self) -> &mut OwnedList {
        &mut self.scope.list
    }

    /// The attribute list to fill before [`SpanBuilder::scope`] is called; cleared.
    pub fn scope_list(&mut self) -> &mut OwnedList {
        self.scope.list.clear();
        &mut self.scope.list
    }

    /// Opens a span; cuts the batch first if it is full.
    pub fn begin_span(&mut self) {
        if self.rows.is_full() {
            self.cut();
        }
        let (key_list, other) = (&mut self.resource, &mut self.scope);
        for (shared, interned) in [(key_list, &mut self.rows.resources), (other, &mut self.rows.scopes)] {
            if shared.index.is_none() {
                let (index, anomalies, bytes) = interned.intern(&shared.list, &mut self.canonical);
                self.rows.bytes += bytes;
                shared.index = Some(index);
                shared.anomalies |= anomalies;
            }
        }
        self.span = SpanState { anomalies: self.resource.anomalies | self.scope.anomalies, ..SpanState::default() };
        for shared in [&self.resource, &self.scope] {
            if let Some((reason, detail)) = &shared.fault {
                self.span.fault(*reason, || detail.clone());
            }
        }
    }

    /// Says early how many bytes the open span has, where that is known before its end.
    pub fn span_size(&mut self, limits: &Limits, wire_bytes: usize) {
        self.span.oversized = wire_bytes > limits.max_span_bytes;
    }

    /// Adds an attribute to the open span.
    #[inline]
    pub fn attribute(&mut self, limits: &Limits, key: &[u8], value: Value<'_>, too_deep: bool) {
        if key == SPAN_TYPE_ATTRIBUTE
            && self.span.span_type.is_none()
            && let Value::Text(text) = value
        {
            self.span.span_type = Some(utf8(text).0.into_owned());
        }
        self.span.attributes += 1;
        if !self.span.keeps(self.span.attributes, limits.max_attributes) {
            return;
        }
        push(&mut self.rows.attributes, &mut self.span, limits, key, value, too_deep);
    }

    /// Adds an attribute to the event that [`SpanBuilder::event`] will complete.
    pub fn event_attribute(&mut self, limits: &Limits, key: &[u8], value: Value<'_>, too_deep: bool) {
        let sent = self.rows.event_attributes.open_len();
        if !self.span.keeps(self.span.events + 1, limits.max_events) || sent > limits.max_attributes {
            return;
        }
        push(&mut self.rows.event_attributes, &mut self.span, limits, key, value, too_deep);
    }

    /// Adds an attribute to the link that [`SpanBuilder::link`] will complete.
    pub fn link_attribute(&mut self, limits: &Limits, key: &[u8], value: Value<'_>, too_deep: bool) {
        let sent = self.rows.link_attributes.open_len();
        if !self.span.keeps(self.span.links + 1, limits.max_links) || sent > limits.max_attributes {
            return;
        }
        push(&mut self.rows.link_attributes, &mut self.span, limits, key, value, too_deep);
    }

    /// Completes an event of the open span.
    pub fn event(&mut self, limits: &Limits, time_ns: u64, name: &[u8], dropped: u32) {
        let rows = &mut self.rows;
        self.span.events += 1;
        if !self.span.keeps(self.span.events, limits.max_events) {
            return;
        }
        count_attributes(&mut self.span, rows.event_attributes.end_list(), limits, "an event");
        rows.event_time.push(time(&mut self.span, time_ns, "an event's time"));
        let (name, bad) = utf8(name);
        self.span.anomalies |= if bad { anomaly::INVALID_UTF8 } else { 0 };
        rows.event_name.append_value(name);
        rows.event_dropped.push(dropped);
    }

    /// Completes a link of the open span.
    pub fn link(&mut self, limits: &Limits, trace_id: &[u8], span_id: &[u8], state: &[u8], dropped: u32, flags: u32) {
        let rows = &mut self.rows;
        self.span.links += 1;
        let lengths = (trace_id.len(), span_id.len());
        if !matches!(lengths.0, 0 | 16) || !matches!(lengths.1, 0 | 8) {
            self.span.fault(Reason::InvalidLinkId, || {
                format!("a link's ids have {} and {} bytes, want 16 and 8 (or none)", lengths.0, lengths.1)
            });
        }
        if !self.span.keeps(self.span.links, limits.max_links) {
            return;
        }
        count_attributes(&mut self.span, rows.link_attributes.end_list(), limits, "a link");
        rows.link_trace.extend_from_slice(&fixed::<16>(trace_id));
        rows.link_span.extend_from_slice(&fixed::<8>(span_id));
        append(&mut rows.link_state, state, &mut self.span);
        rows.link_dropped.push(dropped);
        rows.link_flags.push(flags);
    }

    /// Completes the open span: a row of the batch, or one more of [`Decoded::rejected`].
    ///
    /// `path` is asked for only if the span is set aside.
    pub fn end_span(&mut self, limits: &Limits, fields: &SpanFields<'_>, path: impl FnOnce() -> String) {
        self.judge(limits, fields);
        let (rows, span) = (&mut self.rows, &mut self.span);
        let start = i64::try_from(fields.start_ns).unwrap_or(0);
        let end = i64::try_from(fields.end_ns).unwrap_or(0);
        if start == 0 {
            span.anomalies |= anomaly::NO_START;
        } else if end < start {
            span.anomalies |= anomaly::END_BEFORE_START;
        }
        rows.start.push(start);
        rows.duration.push(if start == 0 { 0 } else { (end - start).max(0) });
        if span.anomalies & (anomaly::NO_START | anomaly::END_BEFORE_START) != 0 {
            rows.attributes.push(reserved::END_TIME, Value::Int(fields.end_ns.cast_signed()));
        }
        rows.push_ids(fields);
        rows.service.push(&self.service_name);
        word(&mut rows.name, fields.name, span);
        rows.kind.push(&kind_word(fields.kind));
        rows.status.push(&status_word(fields.status_code));
        append(&mut rows.status_message, fields.status_message, span);
        append(&mut rows.trace_state, fields.trace_state, span);
        rows.scope_name.push_or_null(&self.scope_name);
        rows.scope_version.push_or_null(&self.scope_version);
        rows.push_span_type(fields, span, &mut self.done);
        rows.attributes.end_list();
        rows.flags.push(fields.flags);
        let dropped = [fields.dropped_attributes, fields.dropped_events, fields.dropped_links];
        rows.dropped.iter_mut().zip(dropped).for_each(|(column, count)| column.push(count));
        rows.resource_key.push(self.resource.key);
        rows.resources.keys.push(self.resource.index.expect("begin_span interned it"));
        rows.scopes.keys.push(self.scope.index.expect("begin_span interned it"));
        let events = i32::try_from(rows.event_time.len()).expect("a batch is cut long before 2^31 events");
        let links = i32::try_from(rows.link_flags.len()).expect("a batch is cut long before 2^31 links");
        rows.event_ends.push(events);
        rows.link_ends.push(links);
        rows.anomalies.push(span.anomalies);
        rows.bytes += fields.wire_bytes;
        self.done.spans += 1;
        if let Some((reason, detail)) = span.fault.take() {
            rows.rejected.push(rows.count);
            self.done.reject(reason, fields.wire_bytes, || Rejected {
                reason,
                path: path(),
                detail,
                trace_id: fields.trace_id.to_vec(),
                span_id: fields.span_id.to_vec(),
                bytes: fields.wire_bytes,
            });
        }
        rows.count += 1;
        self.note_oddities(fields);
    }

    fn judge(&mut self, limits: &Limits, fields: &SpanFields<'_>) {
        let span = &mut self.span;
        if fields.wire_bytes > limits.max_span_bytes {
            span.fault(Reason::SpanTooLarge, || {
                format!("the span has {} bytes, the limit is {}", fields.wire_bytes, limits.max_span_bytes)
            });
        }
        let id = |what: &str, bytes: &[u8], want: usize| {
            if bytes.len() == want {
                format!("{what} id is all zero")
            } else {
                format!("{what} id has {} bytes, want {want}", bytes.len())
            }
        };
        if fields.trace_id.len() != 16 || fields.trace_id.iter().all(|b| *b == 0) {
            span.fault(Reason::InvalidTraceId, || id("trace", fields.trace_id, 16));
        }
        if fields.span_id.len() != 8 || fields.span_id.iter().all(|b| *b == 0) {
            span.fault(Reason::InvalidSpanId, || id("span", fields.span_id, 8));
        }
        if !matches!(fields.parent_span_id.len(), 0 | 8) {
            span.fault(Reason::InvalidParentSpanId, || id("parent span", fields.parent_span_id, 8));
        }
        time(span, fields.start_ns, "the start time");
        time(span, fields.end_ns, "the end time");
        let attributes = span.attributes;
        count_attributes(span, attributes, limits, "the span");
        if span.events > limits.max_events {
            let events = span.events;
            span.fault(Reason::TooManyEvents, || format!("{events} events, the limit is {}", limits.max_events));
        }
        if span.links > limits.max_links {
            let links = span.links;
            span.fault(Reason::TooManyLinks, || format!("{links} links, the limit is {}", limits.max_links));
        }
    }

    fn note_oddities(&mut self, fields: &SpanFields<'_>) {
        let anomalies = self.span.anomalies;
        let oddities = [
            ("empty_name", fields.name.is_empty()),
            ("no_start_time", fields.start_ns == 0),
            ("no_end_time", fields.end_ns == 0),
            ("end_before_start", anomalies & anomaly::END_BEFORE_START != 0),
            ("unknown_kind", !(0..=5).contains(&fields.kind)),
            ("unknown_status", !(0..=2).contains(&fields.status_code)),
            ("duplicate_key", anomalies & anomaly::DUPLICATE_KEY != 0),
            ("invalid_utf8", anomalies & anomaly::INVALID_UTF8 != 0),
            ("self_parent", !fields.parent_span_id.is_empty() && fields.parent_span_id == fields.span_id),
            ("many_attributes", self.span.attributes > 128),
        ];
        for (kind, _) in oddities.into_iter().filter(|(_, odd)| *odd) {
            self.advise(kind);
        }
    }

    fn cut(&mut self) {
        self.done.batches.extend(self.rows.finish());
        self.resource.index = None;
        self.scope.index = None;
    }

    /// Ends the request: what it decoded to. The builder is empty afterwards.
    pub fn finish(&mut self) -> Decoded {
        self.cut();
        std::mem::take(&mut self.done)
    }
}

impl Decoded {
    /// Counts a span that is set aside, and describes the first ones: a bad span can be two bytes long.
    fn reject(&mut self, reason: Reason, bytes: usize, describe: impl FnOnce() -> Rejected) {
        *self.rejected_by_reason.entry(reason).or_default() += 1;
        if self.rejected.len() < MAX_DESCRIBED {
            self.rejected.push(describe());
        } else if self.rejected.len() < MAX_LISTED {
            let (path, detail, trace_id, span_id) = Default::default();
            self.rejected.push(Rejected { reason, path, detail, trace_id, span_id, bytes });
        }
    }
}

fn list_fault(list: &OwnedList, limits: &Limits, too_deep: bool) -> Option<(Reason, String)> {
    let mut state = SpanState::default();
    count_attributes(&mut state, list.len(), limits, "the resource or scope");
    for (key, _) in list.iter().filter(|(key, _)| key.len() > limits.max_key_bytes) {
        long_key(&mut state, key.len(), limits);
    }
    if too_deep {
        deep(&mut state, limits);
    }
    state.fault
}

fn long_key(span: &mut SpanState, length: usize, limits: &Limits) {
    span.fault(Reason::KeyTooLong, || {
        format!("an attribute key has {length} bytes, the limit is {}", limits.max_key_bytes)
    });
}

fn deep(span: &mut SpanState, limits: &Limits) {
    span.fault(Reason::ValueTooDeep, || {
        format!("an attribute value is nested more than {} levels deep", limits.max_value_depth)
    });
}

fn count_attributes(span: &mut SpanState, count: usize, limits: &Limits, of: &str) {
    if count > limits.max_attributes {
        span.fault(Reason::TooManyAttributes, || {
            format!("{of} has {count} attributes, the limit is {}", limits.max_attributes)
        });
    }
}

fn time(span: &mut SpanState, ns: u64, what: &str) -> i64 {
    i64::try_from(ns).unwrap_or_else(|_| {
        span.fault(Reason::TimeOutOfRange, || format!("{what} is above 2^63-1 ns"));
        0
    })
}

#[inline]
fn push(attrs: &mut Attrs, span: &mut SpanState, limits: &Limits, key: &[u8], value: Value<'_>, too_deep: bool) {
    if key.len() > limits.max_key_bytes {
        long_key(span, key.len(), limits);
    }
    if too_deep {
        deep(span, limits);
    }
    span.anomalies |= push_escaped(attrs, key, value);
}

/// Adds an attribute under its key, escaped if a sender used our prefix; gives the anomalies.
#[inline]
fn push_escaped(attrs: &mut Attrs, key: &[u8], value: Value<'_>) -> u16 {
    if needs_escape(key) { push_as_is(attrs, &[b"_", key].concat(), value) } else { push_as_is(attrs, key, value) }
}

#[inline]
fn push_as_is(attrs: &mut Attrs, key: &[u8], value: Value<'_>) -> u16 {
    let (key, bad_key) = utf8(key);
    let pushed = attrs.push(&key, value);
    let mut anomalies = if pushed.repeated { anomaly::DUPLICATE_KEY } else { 0 };
    if bad_key || pushed.repaired {
        anomalies |= anomaly::INVALID_UTF8;
    }
    anomalies
}

fn word(words: &mut Words, bytes: &[u8], span: &mut SpanState) {
    let (text, bad) = utf8(bytes);
    span.anomalies |= if bad { anomaly::INVALID_UTF8 } else { 0 };
    words.push(&text);
}

fn append(column: &mut StringViewBuilder, bytes: &[u8], span: &mut SpanState) {
    if bytes.is_empty() {
        return column.append_null();
    }
    let (text, bad) = utf8(bytes);
    span.anomalies |= if bad { anomaly::INVALID_UTF8 } else { 0 };
    column.append_value(text);
}

/// `bytes` in `N` bytes, zeros where the length is another: such a span is set aside, or the id was left out.
fn fixed<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().unwrap_or([0; N])
}

fn kind_word(kind: i32) -> std::borrow::Cow<'static, str> {
    match kind {
        0 => "unspecified".into(),
        1 => "internal".into(),
        2 => "server".into(),
        3 => "client".into(),
        4 => "producer".into(),
        5 => "consumer".into(),
        other => format!("kind_{other}").into(),
    }
}

fn status_word(code: i32) -> std::borrow::Cow<'static, str> {
    match code {
        0 => "unset".into(),
        1 => "ok".into(),
        2 => "error".into(),
        other => format!("status_{other}").into(),
    }
}

/// Whether a span enters its service from outside (storage.md 2, `is_entry`).
fn is_entry(has_parent: bool, flags: u32, kind: i32) -> bool {
    const HAS_IS_REMOTE: u32 = 1 << 8;
    const IS_REMOTE: u32 = 1 << 9;
    !has_parent || (if flags & HAS_IS_REMOTE != 0 { flags & IS_REMOTE != 0 } else { matches!(kind, 2 | 5) })
}

impl Interned {
    /// Index and anomalies of `list`, and the bytes it added.
    fn intern(&mut self, list: &OwnedList, canonical: &mut Vec<u8>) -> (i32, u16, usize) {
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

    fn finish(&mut self) -> ArrayRef {
        self.known.clear();
        let keys = Int32Array::from(std::mem::take(&mut self.keys));
        Arc::new(DictionaryArray::new(keys, self.lists.finish()))
    }
}

impl Rows {
    fn is_full(&self) -> bool {
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

    fn push_ids(&mut self, fields: &SpanFields<'_>) {
        self.trace_id.extend_from_slice(&fixed::<16>(fields.trace_id));
        self.span_id.extend_from_slice(&fixed::<8>(fields.span_id));
        let parent = fixed::<8>(fields.parent_span_id);
        let has_parent = parent != [0; 8];
        self.parent.extend_from_slice(&parent);
        self.has_parent.push(has_parent);
        self.is_entry.push(is_entry(has_parent, fields.flags, fields.kind));
    }

    /// Y1 to Y3: field 17 wins over the attribute.
    fn push_span_type(&mut self, fields: &SpanFields<'_>, span: &mut SpanState, done: &mut Decoded) {
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
    fn finish(&mut self) -> Option<SpanBatch> {
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
    fn clear_interned(&mut self) {
        for interned in [&mut self.resources, &mut self.scopes] {
            interned.known.clear();
            interned.lists.clear();
            interned.keys.clear();
        }
    }

    fn finish_events(&mut self) -> ArrayRef {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(TimestampNanosecondArray::from(std::mem::take(&mut self.event_time)).with_timezone("UTC")),
            Arc::new(self.event_name.finish()),
            self.event_attributes.finish(),
            Arc::new(UInt32Array::from(std::mem::take(&mut self.event_dropped))),
        ];
        list(schema::event_fields(), columns, &mut self.event_ends)
    }

    fn finish_links(&mut self) -> ArrayRef {
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

fn ids(size: i32, bytes: &mut Vec<u8>, nulls: Option<NullBuffer>) -> ArrayRef {
    Arc::new(FixedSizeBinaryArray::new(size, Buffer::from_vec(std::mem::take(bytes)), nulls))
}

fn without(batch: &RecordBatch, rejected: &[usize]) -> RecordBatch {
    let mut keep = BooleanBufferBuilder::new(batch.num_rows());
    keep.append_n(batch.num_rows(), true);
    rejected.iter().for_each(|row| keep.set_bit(*row, false));
    filter_record_batch(batch, &BooleanArray::new(keep.finish(), None)).expect("the mask has one bit a row")
}

/// Y3: a letter, then letters, digits, `_ . - /`, at most 255 in all.
fn is_span_type(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 255
        && bytes.first().is_some_and(u8::is_ascii_alphabetic)
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/'))
}

/// The path of a span in messages.
pub fn span_path(resource: usize, scope: usize, span: usize) -> String {
    format!("resourceSpans[{resource}].scopeSpans[{scope}].spans[{span}]")
}
