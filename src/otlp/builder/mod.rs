//! Spans into columns: what the walkers over protobuf and over JSON append to.
//!
//! Duty: validation (otlp.md P2, L11 to L17), reserved keys, words, anomalies, interning and the cuts of storage.md 3;
//! the result is a [`Decoded`](super::Decoded). Guarantee: a span that is set aside leaves no row and no list element behind; batches
//! are cut so that no offset leaves 31 bits; buffers are kept from request to request, so a span costs no allocation.
//! Left to others: the grammar of the encodings and what makes a whole request undecodable (`decode`, `json`).
//!
//! A walker calls, per resource, [`SpanBuilder::begin_resource`], [`SpanBuilder::attribute`] for its attributes and
//! [`SpanBuilder::end_resource`]; the same for each scope below it; and for each span [`SpanBuilder::begin_span`], its
//! attributes, events and links in any order, and [`SpanBuilder::end_span`] with everything that has one value.
//! [`SpanBuilder::finish`] ends the request; after an error the walker calls [`SpanBuilder::reset`].

mod attribute;
mod attrs;
mod batch;
mod fault;
mod intern;
mod known;
mod nested;
mod open;
mod room;
mod rows;
mod shared;
mod span;
mod text;

pub use attrs::Value;
pub use open::SharedBuilder;
pub use shared::Envelope;
pub(in crate::otlp) use span::{KINDS, STATUS_CODES};
pub use span::{LinkFields, SpanFields};

use super::counts::{Advisories, Advisory, Message, UnknownFields};
use super::{Limits, Reason};
use crate::span::SpanBatch;
use attrs::AttrLists;
use fault::{Detail, Fault, Rejections};
use known::Source;
use nested::{Events, Links};
use open::Sharing;
use rows::Rows;
use shared::SharedLists;

/// What a span, a resource or a scope may have whatever the limits say: with repairs (three bytes for one) on top, a
/// batch that holds one of each stays under 2 GiB.
const CEILING_BYTES: usize = 256 << 20;
/// Whose attribute it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Level {
    Resource,
    Scope,
    Span,
    Event,
    Link,
}

impl Level {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Resource => "resource",
            Self::Scope => "scope",
            Self::Span => "span",
            Self::Event => "event",
            Self::Link => "link",
        }
    }
}

/// Builds the batches of one request after the other; one per decoding thread, reused.
#[derive(Debug)]
pub struct SpanBuilder {
    limits: Limits,
    place: Place,
    resource: Resource,
    scope: Scope,
    span: Open,
    attributes: AttrLists,
    events: Events,
    links: Links,
    rows: Rows,
    /// Bytes of the wire in the batch at hand: of accepted spans with their resources, and of all spans.
    raw_bytes: usize,
    seen_bytes: usize,
    batches: Vec<SpanBatch>,
    /// Bytes of the columns of `batches`.
    made_bytes: u64,
    spans: usize,
    rejections: Rejections,
    advisories: Advisories,
    unknown_fields: UnknownFields,
    sharing: Sharing,
}

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    resource_spans: usize,
    scope_spans: usize,
    span: usize,
}

/// The resource at hand.
#[derive(Debug)]
struct Resource {
    lists: SharedLists,
    fault: Option<Fault>,
    anomalies: u16,
    bytes: usize,
    service_name: Vec<u8>,
    /// Index of the name in the batch at hand.
    service: Option<u32>,
    /// The bytes that it was read from, and where its schema URL begins, if reading them again would say nothing new and
    /// no row referred to it yet.
    source: Option<(Vec<u8>, usize)>,
    counted: (Advisories, UnknownFields),
}

/// The scope at hand.
#[derive(Debug)]
struct Scope {
    lists: SharedLists,
    fault: Option<Fault>,
    anomalies: u16,
    bytes: usize,
    name: Vec<u8>,
    version: Vec<u8>,
    /// Indices of name and version in the batch at hand, once known.
    words: Option<(Option<u32>, Option<u32>)>,
}

/// The span at hand.
#[derive(Debug, Default)]
struct Open {
    bytes: usize,
    fault: Option<Fault>,
    anomalies: u16,
    attributes: attrs::Mark,
    events: nested::Mark,
    links: nested::Mark,
    event_count: usize,
    link_count: usize,
    /// Attributes of the open list of the span, and of the event or link at hand.
    attribute_count: usize,
    nested_count: usize,
    /// Key of `otel.span.type`, if the span has it.
    type_key: Option<u32>,
    advisories: Advisories,
}

impl Default for SpanBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl SpanBuilder {
    /// An empty builder; buffers grow with the first requests.
    pub fn new() -> Self {
        Self {
            limits: Limits::default(),
            place: Place::default(),
            resource: Resource {
                lists: SharedLists::new(),
                fault: None,
                anomalies: 0,
                bytes: 0,
                service_name: Vec::new(),
                service: None,
                source: None,
                counted: (Advisories::default(), UnknownFields::default()),
            },
            scope: Scope {
                lists: SharedLists::new(),
                fault: None,
                anomalies: 0,
                bytes: 0,
                name: Vec::new(),
                version: Vec::new(),
                words: None,
            },
            span: Open::default(),
            attributes: AttrLists::new(),
            events: Events::new(),
            links: Links::new(),
            rows: Rows::new(),
            raw_bytes: 0,
            seen_bytes: 0,
            batches: Vec::new(),
            made_bytes: 0,
            spans: 0,
            rejections: Rejections::default(),
            advisories: Advisories::default(),
            unknown_fields: UnknownFields::default(),
            sharing: Sharing::default(),
        }
    }

    /// Begins a request whose spans are judged by `limits`.
    pub fn begin(&mut self, limits: &Limits) {
        if self.limits != *limits {
            self.limits = limits.clone();
            self.resource.lists.forget_sources();
        }
        if self.is_shared() {
            self.begin_rows();
        }
    }

    /// The limits of the request at hand.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts something odd that is stored all the same. Within a span it is forgotten if the span is set aside.
    pub fn advise(&mut self, kind: Advisory) {
        self.advisories.add(kind);
    }

    /// Counts a field that `message` does not have (W5).
    pub fn unknown_field(&mut self, message: Message) {
        self.unknown_fields.add(message);
    }

    /// Begins `resourceSpans[index]`, whose resource with schema URL takes `bytes` in the request.
    pub fn begin_resource(&mut self, index: usize, bytes: usize) {
        self.place.resource_spans = index;
        let resource = &mut self.resource;
        resource.lists.begin();
        (resource.fault, resource.anomalies, resource.bytes, resource.service) = (None, 0, bytes, None);
        resource.source = None;
        resource.counted = (self.advisories, self.unknown_fields);
        self.span.nested_count = 0;
        if bytes > CEILING_BYTES {
            let detail = Detail::TooLarge { what: "resource", bytes, limit: CEILING_BYTES };
            Fault::note(&mut resource.fault, Reason::SpanTooLarge, detail);
        }
    }

    /// Ends the resource after its attributes.
    pub fn end_resource(&mut self, envelope: Envelope<'_>) {
        self.judge_list(self.span.nested_count);
        let resource = &mut self.resource;
        let repaired = resource.lists.complete(envelope);
        resource.service_name.clear();
        write_service_name(&mut resource.service_name, resource.lists.first(b"service.name"));
        self.note_repaired(Level::Resource, repaired);
    }

    /// Whether a resource was read from `source` before, so that it need not be read again; then `resourceSpans[index]`
    /// has begun with it.
    pub(super) fn resume_resource(&mut self, index: usize, source: Source<'_>) -> bool {
        let resource = &mut self.resource;
        let Some(service) = resource.lists.resume(source) else { return false };
        resource.service_name.clear();
        resource.service_name.extend_from_slice(service);
        (resource.fault, resource.anomalies, resource.service, resource.source) = (None, 0, None, None);
        resource.bytes = source[0].len() + source[1].len();
        self.place.resource_spans = index;
        true
    }

    /// Keeps `source` for [`SpanBuilder::resume_resource`], unless reading it counted something or found a fault.
    pub(super) fn keep_resource_source(&mut self, source: Source<'_>) {
        let resource = &mut self.resource;
        let is_clean = resource.counted == (self.advisories, self.unknown_fields);
        if is_clean && resource.fault.is_none() && resource.anomalies == 0 {
            resource.source = Some((source.concat(), source[0].len()));
        }
    }

    /// Place of the resource at hand in its dictionary.
    #[inline]
    fn resource_index(&mut self) -> u32 {
        let resource = &mut self.resource;
        let index = resource.lists.index();
        if let Some((source, end)) = resource.source.take() {
            let (message, schema_url) = source.split_at(end);
            resource.lists.keep([message, schema_url], &resource.service_name);
        }
        index
    }

    /// Begins `scopeSpans[index]` of the resource at hand, whose scope with schema URL takes `bytes` in the request.
    pub fn begin_scope(&mut self, index: usize, bytes: usize) {
        self.place.scope_spans = index;
        let scope = &mut self.scope;
        scope.lists.begin();
        (scope.fault, scope.anomalies, scope.bytes, scope.words) = (None, 0, bytes, None);
        self.span.nested_count = 0;
        if bytes > CEILING_BYTES {
            let detail = Detail::TooLarge { what: "scope", bytes, limit: CEILING_BYTES };
            Fault::note(&mut scope.fault, Reason::SpanTooLarge, detail);
        }
    }

    /// Ends the scope after its attributes.
    pub fn end_scope(&mut self, name: &[u8], version: &[u8], envelope: Envelope<'_>) {
        self.judge_list(self.span.nested_count);
        let scope = &mut self.scope;
        let mut repaired = scope.lists.complete(Envelope { entity_refs: &[], ..envelope });
        repaired += usize::from(write_text(&mut scope.name, name));
        repaired += usize::from(write_text(&mut scope.version, version));
        self.note_repaired(Level::Scope, repaired);
    }
}

/// storage.md 2: the resource's `service.name` as text, `unknown_service` if absent or empty.
fn write_service_name(name: &mut Vec<u8>, value: Option<Value<'_>>) {
    match value {
        Some(Value::Text(text)) => name.extend_from_slice(text),
        Some(Value::Bool(bool)) => name.extend_from_slice(bool.to_string().as_bytes()),
        Some(Value::Int(int)) => name.extend_from_slice(int.to_string().as_bytes()),
        Some(Value::Double(double)) => name.extend_from_slice(double.to_string().as_bytes()),
        Some(Value::Empty | Value::Bytes(_) | Value::Array { .. } | Value::Kvlist { .. }) | None => {}
    }
    if name.is_empty() {
        name.extend_from_slice(b"unknown_service");
    }
}

/// Makes `kept` a copy of `text`; `true` if it had to be repaired (W14).
fn write_text(kept: &mut Vec<u8>, text: &[u8]) -> bool {
    kept.clear();
    let is_utf8 = simdutf8::basic::from_utf8(text).is_ok();
    if is_utf8 {
        kept.extend_from_slice(text);
    } else {
        kept.extend_from_slice(String::from_utf8_lossy(text).as_bytes());
    }
    !is_utf8
}
