//! What a request that prost has read should become, by otlp.md and storage.md 2 alone.

use std::collections::HashSet;

use prost::Message;
use twox_hash::XxHash3_64;
use weavergen::otlp::{Limits, Reason};

use super::rows::Row;
use crate::proto::lossless::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest as Request;
use crate::proto::lossless::opentelemetry::proto::common::v1::any_value::Value;
use crate::proto::lossless::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use crate::proto::lossless::opentelemetry::proto::resource::v1::Resource;
use crate::proto::lossless::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span};

/// The rows of a request, the spans that have none, and all that is stored of the others.
pub struct Expected {
    pub rows: Vec<Row>,
    pub rejected: Vec<(String, Reason)>,
    /// Each accepted span with its resource and scope, as by [`each_span_alone`].
    pub spans: Vec<(Vec<u8>, Request)>,
}

pub fn of(request: &Request, limits: &Limits) -> Expected {
    let (mut rows, mut rejected) = (Vec::new(), Vec::new());
    let mut kept = request.clone();
    for (r, resource_spans) in request.resource_spans.iter().enumerate() {
        let resource = resource_spans.resource.clone().unwrap_or_default();
        for (s, scope_spans) in resource_spans.scope_spans.iter().enumerate() {
            let scope = scope_spans.scope.clone().unwrap_or_default();
            let accepted = &mut kept.resource_spans[r].scope_spans[s].spans;
            accepted.clear();
            for (at, span) in scope_spans.spans.iter().enumerate() {
                let lists = [(&resource.attributes), (&scope.attributes)];
                let reasons = lists.into_iter().flat_map(|list| list_reasons(list, limits));
                match reasons.chain(span_reasons(span, limits)).min() {
                    Some(reason) => {
                        rejected.push((format!("resourceSpans[{r}].scopeSpans[{s}].spans[{at}]"), reason));
                    }
                    None => {
                        rows.push(row(resource_spans, &resource, scope_spans, &scope, span));
                        accepted.push(span.clone());
                    }
                }
            }
        }
    }
    Expected { rows, rejected, spans: each_span_alone(&kept) }
}

fn span_reasons(span: &Span, limits: &Limits) -> Vec<Reason> {
    let mut reasons = list_reasons(&span.attributes, limits);
    let mut note = |is: bool, reason| reasons.extend(is.then_some(reason));
    let zero = |id: &[u8]| id.iter().all(|byte| *byte == 0);
    note(span.encoded_len() > limits.max_span_bytes, Reason::SpanTooLarge);
    note(span.trace_id.len() != 16 || zero(&span.trace_id), Reason::InvalidTraceId);
    note(span.span_id.len() != 8 || zero(&span.span_id), Reason::InvalidSpanId);
    note(![0, 8].contains(&span.parent_span_id.len()), Reason::InvalidParentSpanId);
    let is_bad = |id: &Vec<u8>, len| ![0, len].contains(&id.len());
    note(span.links.iter().any(|l| is_bad(&l.trace_id, 16) || is_bad(&l.span_id, 8)), Reason::InvalidLinkId);
    let times = [span.start_time_unix_nano, span.end_time_unix_nano];
    let events = span.events.iter().map(|event| event.time_unix_nano);
    note(times.into_iter().chain(events).any(|time| time > u64::MAX >> 1), Reason::TimeOutOfRange);
    note(span.events.len() > limits.max_events, Reason::TooManyEvents);
    note(span.links.len() > limits.max_links, Reason::TooManyLinks);
    let events = span.events.iter().map(|event| &event.attributes);
    let links = span.links.iter().map(|link| &link.attributes);
    reasons.extend(events.chain(links).flat_map(|list| list_reasons(list, limits)));
    reasons
}

fn list_reasons(list: &[KeyValue], limits: &Limits) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let mut note = |is: bool, reason| reasons.extend(is.then_some(reason));
    note(list.len() > limits.max_attributes, Reason::TooManyAttributes);
    note(list.iter().any(|kv| kv.key.len() > limits.max_key_bytes), Reason::KeyTooLong);
    let deepest = list.iter().filter_map(|kv| kv.value.as_ref()).map(levels).max().unwrap_or(0);
    note(deepest > limits.max_value_depth, Reason::ValueTooDeep);
    reasons
}

fn levels(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::ArrayValue(list)) => 1 + list.values.iter().map(levels).max().unwrap_or(0),
        Some(Value::KvlistValue(list)) => {
            1 + list.values.iter().filter_map(|kv| kv.value.as_ref()).map(levels).max().unwrap_or(0)
        }
        _ => 0,
    }
}

fn row(
    resource_spans: &ResourceSpans,
    resource: &Resource,
    scope_spans: &ScopeSpans,
    scope: &InstrumentationScope,
    span: &Span,
) -> Row {
    let (start, end) = (span.start_time_unix_nano.cast_signed(), span.end_time_unix_nano.cast_signed());
    let is_root = span.parent_span_id.iter().all(|byte| *byte == 0);
    let (knows, is_remote) = (span.flags & 0x100 != 0, span.flags & 0x200 != 0);
    let attribute = span.attributes.iter().find(|kv| text(&kv.key) == "otel.span.type");
    let attribute = match attribute.and_then(|kv| kv.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(of)) => some(of),
        _ => None,
    };
    let status = span.status.clone().unwrap_or_default();
    let lists = [&resource.attributes, &scope.attributes, &span.attributes];
    let nested = span.events.iter().map(|e| &e.attributes).chain(span.links.iter().map(|l| &l.attributes));
    let mut anomalies = 0;
    if start == 0 {
        anomalies |= 1 << 1 | 1 << 5;
    } else if end < start {
        anomalies |= 1;
    }
    let whole = Request { resource_spans: vec![alone(resource_spans, scope_spans, span)] };
    if has_broken_text(&whole) {
        anomalies |= 1 << 3;
    }
    if lists.into_iter().chain(nested).any(|list| has_duplicate(list)) {
        anomalies |= 1 << 4;
    }
    Row {
        trace_id: span.trace_id.clone(),
        span_id: span.span_id.clone(),
        parent_span_id: (!is_root).then(|| span.parent_span_id.clone()),
        start_time: start,
        duration_ns: if start == 0 { 0 } else { (end - start).max(0) },
        service_name: Some(service_name(resource)),
        name: Some(text(&span.name)),
        kind: Some(match span.kind {
            0 => "unspecified".to_owned(),
            1 => "internal".to_owned(),
            2 => "server".to_owned(),
            3 => "client".to_owned(),
            4 => "producer".to_owned(),
            5 => "consumer".to_owned(),
            n => format!("kind_{n}"),
        }),
        status_code: Some(match status.code {
            0 => "unset".to_owned(),
            1 => "ok".to_owned(),
            2 => "error".to_owned(),
            n => format!("status_{n}"),
        }),
        status_message: some(&status.message),
        trace_state: some(&span.trace_state),
        scope_name: some(&scope.name),
        scope_version: some(&scope.version),
        span_type: some(&span.r#type).or(attribute),
        flags: span.flags,
        dropped: [span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count],
        resource_key: resource_key(resource, &resource_spans.schema_url),
        is_entry: is_root || (knows && is_remote) || (!knows && matches!(span.kind, 2 | 5)),
        anomalies,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn some(bytes: &[u8]) -> Option<String> {
    (!bytes.is_empty()).then(|| text(bytes))
}

fn service_name(resource: &Resource) -> String {
    let first = resource.attributes.iter().find(|kv| text(&kv.key) == "service.name");
    let name = match first.and_then(|kv| kv.value.as_ref()).and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(name)) => text(name),
        Some(Value::BoolValue(value)) => value.to_string(),
        Some(Value::IntValue(value)) => value.to_string(),
        Some(Value::DoubleValue(value)) => value.to_string(),
        _ => String::new(),
    };
    if name.is_empty() { "unknown_service".to_owned() } else { name }
}

fn has_duplicate(list: &[KeyValue]) -> bool {
    let mut seen = HashSet::new();
    !list.iter().all(|kv| seen.insert(text(&kv.key)))
}

/// The key as it is stored.
fn stored_key(key: &[u8]) -> String {
    let key = text(key);
    if key.trim_start_matches('_').starts_with("wg.") { format!("_{key}") } else { key }
}

/// `None` if a list value is in it: the key then covers bytes that prost has not kept.
fn resource_key(resource: &Resource, schema_url: &[u8]) -> Option<u64> {
    let mut entries = Vec::new();
    for kv in &resource.attributes {
        let mut value = Vec::new();
        let mut put = |of: u8, len: Option<usize>, bytes: &[u8]| {
            value.push(of);
            value.extend(len.into_iter().flat_map(|len| u32::try_from(len).unwrap().to_le_bytes()));
            value.extend(bytes);
        };
        match kv.value.as_ref().and_then(|value| value.value.as_ref()) {
            None | Some(Value::StringValueStrindex(_)) => put(0, None, &[]),
            Some(Value::StringValue(of)) => put(1, Some(text(of).len()), text(of).as_bytes()),
            Some(Value::BoolValue(of)) => put(2, None, &[u8::from(*of)]),
            Some(Value::IntValue(of)) => put(3, None, &of.to_le_bytes()),
            Some(Value::DoubleValue(of)) => put(4, None, &of.to_bits().to_le_bytes()),
            Some(Value::BytesValue(of)) => put(5, Some(of.len()), of),
            Some(Value::ArrayValue(_) | Value::KvlistValue(_)) => return None,
        }
        entries.push((stored_key(&kv.key).into_bytes(), value));
    }
    if !resource.entity_refs.is_empty() {
        return None;
    }
    if !schema_url.is_empty() {
        let url = text(schema_url);
        let value = [&[1], u32::try_from(url.len()).unwrap().to_le_bytes().as_slice(), url.as_bytes()].concat();
        entries.push((b"wg.schema_url".to_vec(), value));
    }
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    let mut form = Vec::new();
    for (key, value) in entries {
        form.extend(u32::try_from(key.len()).unwrap().to_le_bytes());
        form.extend(key);
        form.extend(value);
    }
    Some(XxHash3_64::oneshot(&form))
}

fn alone(resource_spans: &ResourceSpans, scope_spans: &ScopeSpans, span: &Span) -> ResourceSpans {
    let scope_spans = ScopeSpans { spans: vec![span.clone()], ..scope_spans.clone() };
    ResourceSpans { scope_spans: vec![scope_spans], ..resource_spans.clone() }
}

/// Each span with its resource and scope as a request of its own, in normal form and sorted; with its bytes, by which
/// one NaN equals itself.
pub fn each_span_alone(request: &Request) -> Vec<(Vec<u8>, Request)> {
    let mut spans = Vec::new();
    for resource_spans in &request.resource_spans {
        for scope_spans in &resource_spans.scope_spans {
            for span in &scope_spans.spans {
                let mut one = Request { resource_spans: vec![alone(resource_spans, scope_spans, span)] };
                normalize(&mut one);
                spans.push((one.encode_to_vec(), one));
            }
        }
    }
    spans.sort_by(|a, b| a.0.cmp(&b.0));
    spans
}

fn has_broken_text(one: &Request) -> bool {
    let mut found = false;
    texts(&mut one.clone(), &mut |text| found |= std::str::from_utf8(text).is_err());
    found
}

/// One form for what the wire cannot tell apart, for what is repaired (W14) and for what is not kept (`strindex`).
fn normalize(one: &mut Request) {
    texts(one, &mut |text| *text = String::from_utf8_lossy(text).into_owned().into_bytes());
    for resource_spans in &mut one.resource_spans {
        let resource = resource_spans.resource.get_or_insert_default();
        resource.attributes.iter_mut().for_each(key_value);
        resource.attributes.sort_by(|a, b| a.key.cmp(&b.key));
        for scope_spans in &mut resource_spans.scope_spans {
            let scope = scope_spans.scope.get_or_insert_default();
            scope.attributes.iter_mut().for_each(key_value);
            scope.attributes.sort_by(|a, b| a.key.cmp(&b.key));
            for span in &mut scope_spans.spans {
                span.attributes.iter_mut().for_each(key_value);
                span.events.iter_mut().flat_map(|event| &mut event.attributes).for_each(key_value);
                empty_if_zero(&mut span.parent_span_id);
                span.status = span.status.take().filter(|status| *status != Default::default());
                for link in &mut span.links {
                    link.attributes.iter_mut().for_each(key_value);
                    empty_if_zero(&mut link.trace_id);
                    empty_if_zero(&mut link.span_id);
                }
            }
        }
    }
}

fn empty_if_zero(id: &mut Vec<u8>) {
    if id.iter().all(|byte| *byte == 0) {
        id.clear();
    }
}

fn key_value(kv: &mut KeyValue) {
    kv.key_strindex = 0;
    if let Some(value) = &mut kv.value {
        any_value(value);
    }
    kv.value = kv.value.take().filter(|value| value.value.is_some());
}

fn any_value(value: &mut AnyValue) {
    match &mut value.value {
        Some(Value::StringValueStrindex(_)) => value.value = None,
        Some(Value::ArrayValue(list)) => list.values.iter_mut().for_each(any_value),
        Some(Value::KvlistValue(list)) => list.values.iter_mut().for_each(key_value),
        _ => {}
    }
}

/// Visits every text of a request.
fn texts(one: &mut Request, visit: &mut impl FnMut(&mut Vec<u8>)) {
    for resource_spans in &mut one.resource_spans {
        visit(&mut resource_spans.schema_url);
        let resource = resource_spans.resource.get_or_insert_default();
        list_texts(&mut resource.attributes, visit);
        for entity in &mut resource.entity_refs {
            visit(&mut entity.schema_url);
            visit(&mut entity.r#type);
            entity.id_keys.iter_mut().chain(&mut entity.description_keys).for_each(&mut *visit);
        }
        for scope_spans in &mut resource_spans.scope_spans {
            visit(&mut scope_spans.schema_url);
            let scope = scope_spans.scope.get_or_insert_default();
            visit(&mut scope.name);
            visit(&mut scope.version);
            list_texts(&mut scope.attributes, visit);
            for span in &mut scope_spans.spans {
                visit(&mut span.name);
                visit(&mut span.trace_state);
                visit(&mut span.r#type);
                span.status.iter_mut().for_each(|status| visit(&mut status.message));
                list_texts(&mut span.attributes, visit);
                for event in &mut span.events {
                    visit(&mut event.name);
                    list_texts(&mut event.attributes, visit);
                }
                for link in &mut span.links {
                    visit(&mut link.trace_state);
                    list_texts(&mut link.attributes, visit);
                }
            }
        }
    }
}

fn list_texts(list: &mut [KeyValue], visit: &mut impl FnMut(&mut Vec<u8>)) {
    for kv in list {
        visit(&mut kv.key);
        if let Some(value) = &mut kv.value {
            value_texts(value, visit);
        }
    }
}

fn value_texts(value: &mut AnyValue, visit: &mut impl FnMut(&mut Vec<u8>)) {
    match &mut value.value {
        Some(Value::StringValue(text)) => visit(text),
        Some(Value::ArrayValue(list)) => list.values.iter_mut().for_each(|value| value_texts(value, visit)),
        Some(Value::KvlistValue(list)) => list_texts(&mut list.values, visit),
        _ => {}
    }
}
