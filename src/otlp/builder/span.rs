//! One span: its events, its links, its single values; accepted as a row or set aside.
//!
//! Duty: the checks of P2 and what follows from them: words, duration, `is_entry`, `span_type`, anomalies. Guarantee:
//! a span that is set aside is taken back whole. Left to others: attributes (`attribute`), cuts (`batch`).

use std::borrow::Cow;

use super::fault::{Detail, Fault, id_as_received};
use super::rows::Row;
use super::{CEILING_BYTES, Envelope, Level, Open, SpanBuilder, Value};
use crate::otlp::counts::Advisory;
use crate::otlp::{Reason, Rejected};
use crate::span::schema::{anomaly, reserved};

/// Bits of `flags`: whether the parent is known to be in another process, and whether it is.
const HAS_IS_REMOTE: u32 = 1 << 8;
const IS_REMOTE: u32 = 1 << 9;
const SERVER: i32 = 2;
const CONSUMER: i32 = 5;
pub(in crate::otlp) const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
pub(in crate::otlp) const STATUS_CODES: [&str; 3] = ["unset", "ok", "error"];

/// What a span says once. Text need not be UTF-8; absent is empty or 0.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are those of the Span message")]
pub struct SpanFields<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub trace_state: &'a [u8],
    pub parent_span_id: &'a [u8],
    pub name: &'a [u8],
    pub kind: i32,
    pub start_time_unix_nano: u64,
    pub end_time_unix_nano: u64,
    pub dropped_attributes_count: u32,
    pub dropped_events_count: u32,
    pub dropped_links_count: u32,
    pub status_message: &'a [u8],
    pub status_code: i32,
    pub flags: u32,
    pub span_type: &'a [u8],
}

/// What a link says once.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs, reason = "the fields are those of the Link message")]
pub struct LinkFields<'a> {
    pub trace_id: &'a [u8],
    pub span_id: &'a [u8],
    pub trace_state: &'a [u8],
    pub dropped_attributes_count: u32,
    pub flags: u32,
}

impl SpanBuilder {
    /// Begins `spans[index]` of the scope at hand, which takes `bytes` in the request.
    pub fn begin_span(&mut self, index: usize, bytes: usize) {
        self.cut_before(bytes);
        self.place.span = index;
        self.span = Open {
            bytes,
            attributes: self.attributes.mark(),
            events: self.events.mark(),
            links: self.links.mark(),
            advisories: self.advisories,
            ..Open::default()
        };
        let limit = self.limits.max_span_bytes.min(CEILING_BYTES);
        if bytes > limit {
            let detail = Detail::TooLarge { what: "span", bytes, limit };
            Fault::note(&mut self.span.fault, Reason::SpanTooLarge, detail);
        }
    }

    /// Begins an event of the span at hand.
    #[inline]
    pub fn begin_event(&mut self) {
        self.span.nested_count = 0;
        self.span.event_count += 1;
        let max_events = self.limits.max_events;
        if self.span.event_count > max_events {
            let detail = Detail::More { what: "events", max: max_events };
            Fault::note(&mut self.span.fault, Reason::TooManyEvents, detail);
        }
    }

    /// Ends the event after its attributes.
    pub fn end_event(&mut self, time_unix_nano: u64, name: &[u8], dropped_attributes_count: u32) {
        self.judge_list(self.span.nested_count);
        let time = self.time(time_unix_nano, "event time");
        if self.span.fault.is_none() && self.events.push(time, name, dropped_attributes_count) {
            self.note_repaired(Level::Event, 1);
        }
    }

    /// Begins a link of the span at hand.
    #[inline]
    pub fn begin_link(&mut self) {
        self.span.nested_count = 0;
        self.span.link_count += 1;
        let max_links = self.limits.max_links;
        if self.span.link_count > max_links {
            let detail = Detail::More { what: "links", max: max_links };
            Fault::note(&mut self.span.fault, Reason::TooManyLinks, detail);
        }
    }

    /// Ends the link after its attributes.
    pub fn end_link(&mut self, link: &LinkFields<'_>) {
        self.judge_list(self.span.nested_count);
        let ids = (id_or_zero::<16>(link.trace_id), id_or_zero::<8>(link.span_id));
        let (Some(trace_id), Some(span_id)) = ids else {
            let at = self.span.link_count - 1;
            let (trace_bytes, span_bytes) = (link.trace_id.len(), link.span_id.len());
            let detail = Detail::LinkIds { at, trace_bytes, span_bytes };
            return Fault::note(&mut self.span.fault, Reason::InvalidLinkId, detail);
        };
        let LinkFields { trace_state, dropped_attributes_count, flags, .. } = *link;
        if self.span.fault.is_none()
            && self.links.push((trace_id, span_id), trace_state, dropped_attributes_count, flags)
        {
            self.note_repaired(Level::Link, 1);
        }
    }

    /// Ends the span: it becomes a row, or is set aside.
    pub fn end_span(&mut self, span: &SpanFields<'_>) {
        self.spans += 1;
        self.seen_bytes = self.seen_bytes.saturating_add(self.span.bytes);
        let row = self.row(span);
        let shared = [&self.resource.fault, &self.scope.fault].into_iter().flatten();
        let worse = shared.fold(self.span.fault.as_ref(), |kept, fault| match kept {
            Some(kept) if kept.reason <= fault.reason => Some(kept),
            _ => Some(fault),
        });
        match worse.copied() {
            None => self.accept(span, row),
            Some(fault) => self.set_aside(span, fault),
        }
    }

    fn set_aside(&mut self, span: &SpanFields<'_>, fault: Fault) {
        self.attributes.rollback(self.span.attributes);
        self.events.rollback(self.span.events);
        self.links.rollback(self.span.links);
        self.advisories = self.span.advisories;
        let (place, bytes) = (self.place, self.span.bytes);
        self.rejections.add(fault.reason, || Rejected {
            reason: fault.reason,
            path: format!(
                "resourceSpans[{}].scopeSpans[{}].spans[{}]",
                place.resource_spans, place.scope_spans, place.span
            ),
            detail: fault.detail.to_string(),
            trace_id: id_as_received(span.trace_id),
            span_id: id_as_received(span.span_id),
            bytes,
        });
    }

    fn accept(&mut self, span: &SpanFields<'_>, mut row: Row) {
        self.raw_bytes += self.span.bytes + self.pending_bytes();
        self.seen_bytes += self.pending_bytes();
        self.judge_list(self.span.attribute_count);
        self.note_times(span, &mut row);
        self.push_span_type(span.span_type);
        self.push_words(span);
        let repaired = self.attributes.repair(self.span.attributes)
            + self.events.attributes.repair(self.span.events.attributes)
            + self.links.attributes.repair(self.span.links.attributes)
            + usize::from(self.rows.status_message.push(span.status_message))
            + usize::from(self.rows.trace_state.push(span.trace_state));
        if repaired > 0 {
            self.note_repaired(Level::Span, repaired);
        }
        self.fill_span_type(span.span_type);
        row.resource = self.resource_index();
        row.resource_key = self.resource.lists.key();
        row.scope = self.scope.lists.index();
        row.anomalies |= self.span.anomalies | self.resource.anomalies | self.scope.anomalies;
        self.rows.push(&row);
        self.attributes.close();
        self.events.close_row();
        self.links.close_row();
    }

    /// Checks what has one value, and everything of the row that follows from that alone.
    fn row(&mut self, span: &SpanFields<'_>) -> Row {
        let fault = &mut self.span.fault;
        let trace_id = id::<16>(span.trace_id).unwrap_or_else(|| {
            Fault::note(fault, Reason::InvalidTraceId, invalid_id("trace id", span.trace_id, "16"));
            [0; 16]
        });
        let span_id = id::<8>(span.span_id).unwrap_or_else(|| {
            Fault::note(fault, Reason::InvalidSpanId, invalid_id("span id", span.span_id, "8"));
            [0; 8]
        });
        let parent = id_or_zero::<8>(span.parent_span_id).unwrap_or_else(|| {
            let detail = invalid_id("parent span id", span.parent_span_id, "0 or 8");
            Fault::note(fault, Reason::InvalidParentSpanId, detail);
            [0; 8]
        });
        let parent_span_id = (parent != [0; 8]).then_some(parent);
        let start_ns = self.time(span.start_time_unix_nano, "start time");
        let end_ns = self.time(span.end_time_unix_nano, "end time");
        let is_entry = match span.flags & (HAS_IS_REMOTE | IS_REMOTE) {
            _ if parent_span_id.is_none() => true,
            flags if flags & HAS_IS_REMOTE != 0 => flags & IS_REMOTE != 0,
            _ => matches!(span.kind, SERVER | CONSUMER),
        };
        Row {
            trace_id,
            span_id,
            parent_span_id,
            start_ns,
            duration_ns: if start_ns == 0 { 0 } else { (end_ns - start_ns).max(0) },
            flags: span.flags,
            dropped_attributes: span.dropped_attributes_count,
            dropped_events: span.dropped_events_count,
            dropped_links: span.dropped_links_count,
            resource_key: 0,
            resource: 0,
            scope: 0,
            is_entry,
            anomalies: 0,
        }
    }

    /// `nanos` as the columns hold it; 0 with a fault if they cannot.
    #[inline]
    fn time(&mut self, nanos: u64, what: &'static str) -> i64 {
        i64::try_from(nanos).unwrap_or_else(|_| {
            Fault::note(&mut self.span.fault, Reason::TimeOutOfRange, Detail::Time { what });
            0
        })
    }

    fn note_times(&mut self, span: &SpanFields<'_>, row: &mut Row) {
        let (start, end) = (span.start_time_unix_nano, span.end_time_unix_nano);
        if end == 0 {
            self.advise(Advisory::NoEnd);
        }
        if start == 0 {
            self.advise(Advisory::NoStart);
            // storage.md 11.1: a start time of zero is an outlier whatever the time of ingest
            row.anomalies |= anomaly::NO_START | anomaly::TIME_OUTLIER;
        } else if end < start {
            self.advise(Advisory::EndBeforeStart);
            row.anomalies |= anomaly::END_BEFORE_START;
        }
        if row.anomalies & (anomaly::NO_START | anomaly::END_BEFORE_START) != 0 {
            self.attributes.push(reserved::END_TIME.as_bytes(), Value::Int(end.cast_signed()));
        }
        if row.parent_span_id == Some(row.span_id) {
            self.advise(Advisory::SelfParent);
        }
        if !span.trace_state.is_empty() && !is_trace_state(span.trace_state) {
            self.advise(Advisory::TraceState);
        }
    }

    fn push_words(&mut self, span: &SpanFields<'_>) {
        if span.name.is_empty() {
            self.advise(Advisory::EmptyName);
        }
        let name = self.rows.name.words.intern(span.name);
        self.rows.name.push(Some(name.id));
        if name.repaired {
            self.note_repaired(Level::Span, 1);
        }
        let kind = word(&KINDS, "kind", span.kind);
        let place = usize::try_from(span.kind).unwrap_or(0);
        let kind_id = self.rows.kind.words.intern_at(place, kind.as_bytes()).id;
        self.rows.kind.push(Some(kind_id));
        if matches!(kind, Cow::Owned(_)) {
            self.advise(Advisory::UnknownKind);
        }
        let code = word(&STATUS_CODES, "status", span.status_code);
        let place = usize::try_from(span.status_code).unwrap_or(0);
        let code_id = self.rows.status_code.words.intern_at(place, code.as_bytes()).id;
        self.rows.status_code.push(Some(code_id));
        if matches!(code, Cow::Owned(_)) {
            self.advise(Advisory::UnknownStatus);
        }
        let service = match self.resource.service {
            Some(id) => id,
            None => self.rows.service_name.words.intern(&self.resource.service_name).id,
        };
        self.resource.service = Some(service);
        self.rows.service_name.push(Some(service));
        let (scope_name, scope_version) = match self.scope.words {
            Some(words) => words,
            None => {
                let name = &self.scope.name;
                let version = &self.scope.version;
                let name = (!name.is_empty()).then(|| self.rows.scope_name.words.intern(name).id);
                let version = (!version.is_empty()).then(|| self.rows.scope_version.words.intern(version).id);
                (name, version)
            }
        };
        self.scope.words = Some((scope_name, scope_version));
        self.rows.scope_name.push(scope_name);
        self.rows.scope_version.push(scope_version);
    }

    /// Y1, Y4: what came in field 17 is kept as an attribute of ours, so that it goes out there again.
    fn push_span_type(&mut self, field: &[u8]) {
        if !field.is_empty() {
            self.attributes.push(reserved::SPAN_TYPE.as_bytes(), Value::Text(field));
        }
    }

    /// Y2, Y3: the column is field 17, or else the attribute `otel.span.type`.
    fn fill_span_type(&mut self, field: &[u8]) {
        let mark = self.span.attributes;
        let attribute = self.span.type_key.and_then(|key| self.attributes.first_text(mark, key));
        let attribute = attribute.filter(|text| !text.is_empty());
        let is_conflict = !field.is_empty() && attribute.is_some_and(|text| text != field);
        let chosen = if field.is_empty() { attribute } else { Some(field) };
        let is_odd = chosen.is_some_and(|text| !is_span_type(text));
        let id = chosen.map(|text| self.rows.span_type.words.intern(text).id);
        self.rows.span_type.push(id);
        if is_conflict {
            self.advise(Advisory::SpanTypeConflict);
        }
        if is_odd {
            self.advise(Advisory::SpanTypeForm);
        }
    }
}

/// The shared envelope of a walker that read nothing: an absent resource or scope equals an empty one (W13).
impl Envelope<'_> {
    /// No schema URL, nothing dropped, no entities.
    pub const EMPTY: Envelope<'static> = Envelope { schema_url: &[], dropped: 0, entity_refs: &[] };
}

/// An id that must be there: `N` bytes, not all zero.
#[inline]
fn id<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok().filter(|id| *id != [0; N])
}

/// An id that may be absent: `N` bytes or none.
#[inline]
fn id_or_zero<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    if bytes.is_empty() { Some([0; N]) } else { bytes.try_into().ok() }
}

fn invalid_id(what: &'static str, bytes: &[u8], want: &'static str) -> Detail {
    Detail::Id { what, bytes: bytes.len(), want }
}

/// storage.md 2: kind and status as words, unknown numbers as `kind_9`.
fn word(known: &[&'static str], prefix: &str, number: i32) -> Cow<'static, str> {
    let known = usize::try_from(number).ok().and_then(|at| known.get(at));
    known.map_or_else(|| Cow::Owned(format!("{prefix}_{number}")), |word| Cow::Borrowed(*word))
}

/// Y3: a letter, then letters, digits, `_ . - /`, at most 255 in all.
fn is_span_type(text: &[u8]) -> bool {
    let is_inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"_.-/".contains(byte);
    text.len() <= 255 && text.first().is_some_and(u8::is_ascii_alphabetic) && text.iter().all(is_inner)
}

/// W3C trace context, as far as members go: at most 32 of `key=value`, printable.
fn is_trace_state(text: &[u8]) -> bool {
    let is_member = |member: &[u8]| {
        let member = member.trim_ascii();
        let at = member.iter().position(|byte| *byte == b'=').unwrap_or(0);
        member.is_empty() || (at > 0 && member.len() > at + 1 && member.iter().all(|byte| (b' '..=b'~').contains(byte)))
    };
    text.split(|byte| *byte == b',').all(is_member) && text.split(|byte| *byte == b',').count() <= 32
}
