//! The rows that a request must give, from generated structs and the rules of otlp.md and storage.md.

use prost::Message as _;
use weavergen::otlp::Reason;

use super::proto::opentelemetry::proto;
use super::row::{Attributes, Event, Link, Row, Value};
use proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::common::v1::{AnyValue, KeyValue, any_value};
use proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

#[derive(Debug, Default)]
pub struct Expected {
    pub rows: Vec<Row>,
    pub rejected: Vec<(String, Reason)>,
}

pub fn rows(request: &ExportTraceServiceRequest) -> Expected {
    let mut expected = Expected::default();
    for (r, resource) in request.resource_spans.iter().enumerate() {
        for (s, scope) in resource.scope_spans.iter().enumerate() {
            for (i, span) in scope.spans.iter().enumerate() {
                match fault(span) {
                    Some(reason) => {
                        expected.rejected.push((format!("resourceSpans[{r}].scopeSpans[{s}].spans[{i}]"), reason));
                    }
                    None => expected.rows.push(row(resource, scope, span)),
                }
            }
        }
    }
    expected
}

/// P2, without the limits.
fn fault(span: &Span) -> Option<Reason> {
    let zero = |id: &[u8]| id.iter().all(|b| *b == 0);
    let late = |ns: u64| ns > i64::MAX.cast_unsigned();
    if span.trace_id.len() != 16 || zero(&span.trace_id) {
        Some(Reason::InvalidTraceId)
    } else if span.span_id.len() != 8 || zero(&span.span_id) {
        Some(Reason::InvalidSpanId)
    } else if !matches!(span.parent_span_id.len(), 0 | 8) {
        Some(Reason::InvalidParentSpanId)
    } else if span.links.iter().any(|l| !matches!(l.trace_id.len(), 0 | 16) || !matches!(l.span_id.len(), 0 | 8)) {
        Some(Reason::InvalidLinkId)
    } else if late(span.start_time_unix_nano)
        || late(span.end_time_unix_nano)
        || span.events.iter().any(|e| late(e.time_unix_nano))
    {
        Some(Reason::TimeOutOfRange)
    } else {
        None
    }
}

fn value(value: Option<&AnyValue>) -> Value {
    use any_value::Value as Any;
    let Some(any) = value else { return Value::Empty };
    match &any.value {
        None | Some(Any::StringValueStrindex(_)) => Value::Empty,
        Some(Any::StringValue(text)) => Value::Text(text.clone()),
        Some(Any::BoolValue(value)) => Value::Bool(*value),
        Some(Any::IntValue(value)) => Value::Int(*value),
        Some(Any::DoubleValue(value)) => Value::Double(value.to_bits()),
        Some(Any::BytesValue(bytes)) => Value::Bytes(bytes.clone()),
        Some(Any::ArrayValue(_) | Any::KvlistValue(_)) => Value::Nested(any.encode_to_vec()),
    }
}

fn attributes(list: &[KeyValue]) -> Attributes {
    list.iter()
        .map(|pair| {
            let ours = pair.key.trim_start_matches('_').starts_with("wg.");
            (if ours { format!("_{}", pair.key) } else { pair.key.clone() }, value(pair.value.as_ref()))
        })
        .collect()
}

fn service(resource: &Attributes) -> String {
    let name = resource.iter().find(|(key, _)| key == "service.name").map(|(_, value)| value);
    let text = match name {
        Some(Value::Text(text)) => text.clone(),
        Some(Value::Bool(value)) => value.to_string(),
        Some(Value::Int(value)) => value.to_string(),
        Some(Value::Double(bits)) => f64::from_bits(*bits).to_string(),
        _ => String::new(),
    };
    if text.is_empty() { "unknown_service".to_owned() } else { text }
}

/// Resource or scope with what we keep beside the attributes, sorted by key.
fn shared(mut list: Attributes, dropped: u32, schema_url: &str, entity_refs: Vec<u8>) -> Attributes {
    if dropped > 0 {
        list.push(("wg.dropped".to_owned(), Value::Int(i64::from(dropped))));
    }
    if !schema_url.is_empty() {
        list.push(("wg.schema_url".to_owned(), Value::Text(schema_url.to_owned())));
    }
    if !entity_refs.is_empty() {
        list.push(("wg.entity_refs".to_owned(), Value::Bytes(entity_refs)));
    }
    list.sort_by(|a, b| a.0.cmp(&b.0));
    list
}

fn row(resource_spans: &ResourceSpans, scope_spans: &ScopeSpans, span: &Span) -> Row {
    let resource = resource_spans.resource.clone().unwrap_or_default();
    let scope = scope_spans.scope.clone().unwrap_or_default();
    let refs = proto::resource::v1::Resource { entity_refs: resource.entity_refs, ..Default::default() };
    let resource_attributes = attributes(&resource.attributes);
    let status = span.status.clone().unwrap_or_default();
    let (start, end) = (span.start_time_unix_nano.cast_signed(), span.end_time_unix_nano.cast_signed());
    let mut own = attributes(&span.attributes);
    // Y2: the first one that is text.
    let named = own.iter().find_map(|(key, value)| match value {
        Value::Text(text) if key == "otel.span.type" && !text.is_empty() => Some(text.clone()),
        _ => None,
    });
    if start == 0 || end < start {
        own.push(("wg.end_time".to_owned(), Value::Int(end)));
    }
    if !span.r#type.is_empty() {
        own.push(("wg.span_type".to_owned(), Value::Text(span.r#type.clone())));
    }
    let parent = Some(span.parent_span_id.clone()).filter(|id| id.iter().any(|b| *b != 0));
    let kinds = ["unspecified", "internal", "server", "client", "producer", "consumer"];
    let codes = ["unset", "ok", "error"];
    let word = |words: &[&str], number: i32, other: &str| {
        let known = usize::try_from(number).ok().and_then(|n| words.get(n));
        known.map_or_else(|| format!("{other}_{number}"), |word| (*word).to_owned())
    };
    let remote = span.flags & 0x100 != 0;
    Row {
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        is_entry: parent.is_none() || if remote { span.flags & 0x200 != 0 } else { matches!(span.kind, 2 | 5) },
        parent_span_id: parent,
        start,
        duration: if start == 0 { 0 } else { (end - start).max(0) },
        words: [
            service(&resource_attributes),
            span.name.clone(),
            word(&kinds, span.kind, "kind"),
            word(&codes, status.code, "status"),
            status.message,
            span.trace_state.clone(),
            scope.name,
            scope.version,
            if span.r#type.is_empty() { named.unwrap_or_default() } else { span.r#type.clone() },
        ],
        flags: span.flags,
        dropped: [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count],
        attributes: own,
        resource: shared(
            resource_attributes,
            resource.dropped_attributes_count,
            &resource_spans.schema_url,
            refs.encode_to_vec(),
        ),
        scope: shared(
            attributes(&scope.attributes),
            scope.dropped_attributes_count,
            &scope_spans.schema_url,
            Vec::new(),
        ),
        events: span.events.iter().map(event).collect(),
        links: span.links.iter().map(link).collect(),
    }
}

fn event(event: &proto::trace::v1::span::Event) -> Event {
    Event {
        time: event.time_unix_nano.cast_signed(),
        name: event.name.clone(),
        attributes: attributes(&event.attributes),
        dropped: event.dropped_attributes_count,
    }
}

fn link(link: &proto::trace::v1::span::Link) -> Link {
    let padded = |id: &[u8], length: usize| if id.is_empty() { vec![0; length] } else { id.to_vec() };
    Link {
        trace_id: padded(&link.trace_id, 16),
        span_id: padded(&link.span_id, 8),
        state: link.trace_state.clone(),
        attributes: attributes(&link.attributes),
        dropped: link.dropped_attributes_count,
        flags: link.flags,
    }
}
