//! Requests as OTLP/JSON, with numbers in either form.

use base64::Engine as _;
use rand_chacha::rand_core::RngCore;
use serde_json::{Map, Value, json};

use super::generate::below;
use super::hex;
use super::proto::opentelemetry::proto;
use proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::common::v1::{AnyValue, KeyValue, any_value};
use proto::trace::v1::Span;

/// The request as JSON text.
pub fn render(rng: &mut impl RngCore, request: &ExportTraceServiceRequest) -> String {
    let mut resource_spans = Vec::new();
    for resource_span in &request.resource_spans {
        let mut scope_spans = Vec::new();
        for scope_span in &resource_span.scope_spans {
            let spans: Vec<Value> = scope_span.spans.iter().map(|s| span(rng, s)).collect();
            let scope = scope_span.scope.as_ref().map(|scope| {
                json!({
                    "name": scope.name,
                    "version": scope.version,
                    "attributes": attributes(rng, &scope.attributes),
                    "droppedAttributesCount": scope.dropped_attributes_count,
                })
            });
            scope_spans.push(json!({"spans": spans, "scope": scope, "schemaUrl": scope_span.schema_url}));
        }
        let resource = resource_span.resource.as_ref().map(|resource| {
            let refs: Vec<Value> = resource
                .entity_refs
                .iter()
                .map(|r| {
                    json!({
                        "schemaUrl": r.schema_url,
                        "type": r.r#type,
                        "idKeys": r.id_keys,
                        "descriptionKeys": r.description_keys,
                    })
                })
                .collect();
            json!({
                "entityRefs": refs,
                "attributes": attributes(rng, &resource.attributes),
                "droppedAttributesCount": resource.dropped_attributes_count,
            })
        });
        resource_spans
            .push(json!({"scopeSpans": scope_spans, "resource": resource, "schemaUrl": resource_span.schema_url}));
    }
    let request = json!({ "resourceSpans": resource_spans });
    if below(rng, 2) == 0 { request.to_string() } else { serde_json::to_string_pretty(&request).unwrap() }
}

fn number(rng: &mut impl RngCore, value: u64) -> Value {
    if below(rng, 2) == 0 { json!(value) } else { json!(value.to_string()) }
}

fn span(rng: &mut impl RngCore, span: &Span) -> Value {
    let mut events = Vec::new();
    for event in &span.events {
        events.push(json!({
            "timeUnixNano": number(rng, event.time_unix_nano),
            "name": event.name,
            "attributes": attributes(rng, &event.attributes),
            "droppedAttributesCount": event.dropped_attributes_count,
        }));
    }
    let mut links = Vec::new();
    for link in &span.links {
        links.push(json!({
            "traceId": hex(&link.trace_id),
            "spanId": hex(&link.span_id).to_uppercase(),
            "traceState": link.trace_state,
            "attributes": attributes(rng, &link.attributes),
            "droppedAttributesCount": link.dropped_attributes_count,
            "flags": number(rng, u64::from(link.flags)),
        }));
    }
    json!({
        "traceId": hex(&span.trace_id),
        "spanId": hex(&span.span_id),
        "traceState": span.trace_state,
        "parentSpanId": hex(&span.parent_span_id),
        "name": span.name,
        "kind": span.kind,
        "startTimeUnixNano": number(rng, span.start_time_unix_nano),
        "endTimeUnixNano": number(rng, span.end_time_unix_nano),
        "attributes": attributes(rng, &span.attributes),
        "droppedAttributesCount": span.dropped_attributes_count,
        "events": events,
        "droppedEventsCount": span.dropped_events_count,
        "links": links,
        "droppedLinksCount": span.dropped_links_count,
        "status": span.status.as_ref().map(|s| json!({"message": s.message, "code": s.code})),
        "flags": number(rng, u64::from(span.flags)),
        "type": span.r#type,
    })
}

fn attributes(rng: &mut impl RngCore, list: &[KeyValue]) -> Vec<Value> {
    list.iter().map(|p| pair(rng, p)).collect()
}

fn pair(rng: &mut impl RngCore, pair: &KeyValue) -> Value {
    let mut object = Map::new();
    object.insert("key".to_owned(), json!(pair.key));
    if let Some(any) = &pair.value {
        object.insert("value".to_owned(), value(rng, any));
    }
    Value::Object(object)
}

fn value(rng: &mut impl RngCore, any: &AnyValue) -> Value {
    use any_value::Value as Any;
    match &any.value {
        None => json!({}),
        Some(Any::StringValue(text)) => json!({"stringValue": text}),
        Some(Any::BoolValue(value)) => json!({"boolValue": value}),
        Some(Any::IntValue(value)) if below(rng, 2) == 0 => json!({"intValue": value}),
        Some(Any::IntValue(value)) => json!({"intValue": value.to_string()}),
        Some(Any::DoubleValue(value)) if value.is_finite() => json!({"doubleValue": value}),
        Some(Any::DoubleValue(value)) if value.is_nan() => json!({"doubleValue": "NaN"}),
        Some(Any::DoubleValue(value)) => {
            json!({"doubleValue": if *value > 0.0 { "Infinity" } else { "-Infinity" }})
        }
        Some(Any::BytesValue(bytes)) => {
            json!({"bytesValue": base64::engine::general_purpose::STANDARD.encode(bytes)})
        }
        Some(Any::ArrayValue(array)) => {
            json!({"arrayValue": {"values": array.values.iter().map(|v| value(rng, v)).collect::<Vec<_>>()}})
        }
        Some(Any::KvlistValue(list)) => json!({"kvlistValue": {"values": attributes(rng, &list.values)}}),
        Some(Any::StringValueStrindex(index)) => json!({"stringValueStrindex": index}),
    }
}
