//! Generated spans as OTLP bytes: protobuf and JSON.
//!
//! Duty: one request of many spans, grouped by service as a gateway would send it. Guarantee: the same spans give the
//! same bytes. Left to others: compression and transport (`send`). Written by hand, since generated message types serve
//! tests only and this must not cost what it measures.

use std::fmt::Write as _;

use super::recipe::{Event, Service, Span, Trace, Value};
use crate::span::hex;

const SCOPE: &str = "weavergen.loadgen";

/// One span with the id of its trace.
#[derive(Clone, Debug)]
pub struct Item {
    /// Trace id.
    pub trace: [u8; 16],
    /// The span.
    pub span: Span,
}

/// The spans of a trace as items.
pub fn items(trace: Trace) -> impl Iterator<Item = Item> {
    let id = trace.id;
    trace.spans.into_iter().map(move |span| Item { trace: id, span })
}

fn by_service(items: &[Item]) -> Vec<(usize, Vec<&Item>)> {
    let mut groups: Vec<(usize, Vec<&Item>)> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|(service, _)| *service == item.span.service) {
            Some((_, group)) => group.push(item),
            None => groups.push((item.span.service, vec![item])),
        }
    }
    groups
}

/// An `ExportTraceServiceRequest` as protobuf.
pub fn protobuf(items: &[Item], services: &[Service]) -> Vec<u8> {
    let mut request = Proto::default();
    for (service, group) in by_service(items) {
        request.message(1, |resource_spans| {
            resource_spans.message(1, |resource| attributes(resource, 1, &services[service].resource));
            resource_spans.message(2, |scope_spans| {
                scope_spans.message(1, |scope| {
                    scope.bytes(1, SCOPE.as_bytes());
                    scope.bytes(2, env!("CARGO_PKG_VERSION").as_bytes());
                });
                for item in group {
                    scope_spans.message(2, |span| protobuf_span(span, item));
                }
            });
        });
    }
    request.0
}

fn protobuf_span(out: &mut Proto, item: &Item) {
    let span = &item.span;
    out.bytes(1, &item.trace);
    out.bytes(2, &span.id);
    if let Some(parent) = span.parent {
        out.bytes(4, &parent);
    }
    out.bytes(5, span.name.as_bytes());
    out.varint_field(6, u64::from(span.kind));
    out.fixed64(7, span.start_ns);
    out.fixed64(8, span.end_ns);
    attributes(out, 9, &span.attributes);
    for event in &span.events {
        out.message(11, |out| {
            out.fixed64(1, event.time_ns);
            out.bytes(2, event.name.as_bytes());
            attributes(out, 3, &event.attributes);
        });
    }
    if let Some(message) = span.error {
        out.message(15, |status| {
            status.bytes(2, message.as_bytes());
            status.varint_field(3, 2);
        });
    }
    out.fixed32(16, 0x101);
}

fn attributes(out: &mut Proto, field: u32, attributes: &[(&'static str, Value)]) {
    for (key, value) in attributes {
        out.message(field, |pair| {
            pair.bytes(1, key.as_bytes());
            pair.message(2, |any| match value {
                Value::Text(text) => any.bytes(1, text.as_bytes()),
                Value::Bool(value) => any.varint_field(2, u64::from(*value)),
                Value::Int(value) => any.varint_field(3, value.cast_unsigned()),
                Value::Double(value) => any.fixed64(4, value.to_bits()),
            });
        });
    }
}

/// A protobuf message that is being written.
#[derive(Debug, Default)]
struct Proto(Vec<u8>);

impl Proto {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn tag(&mut self, field: u32, wire_type: u32) {
        self.varint(u64::from(field << 3 | wire_type));
    }

    fn varint_field(&mut self, field: u32, value: u64) {
        self.tag(field, 0);
        self.varint(value);
    }

    fn fixed64(&mut self, field: u32, value: u64) {
        self.tag(field, 1);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn fixed32(&mut self, field: u32, value: u32) {
        self.tag(field, 5);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    fn bytes(&mut self, field: u32, value: &[u8]) {
        self.tag(field, 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn message(&mut self, field: u32, fill: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        fill(&mut inner);
        self.bytes(field, &inner.0);
    }
}

/// An `ExportTraceServiceRequest` as OTLP/JSON.
pub fn json(items: &[Item], services: &[Service]) -> Vec<u8> {
    let mut out = String::from(r#"{"resourceSpans":["#);
    for (at, (service, group)) in by_service(items).into_iter().enumerate() {
        comma(&mut out, at);
        out.push_str(r#"{"resource":{"attributes":"#);
        json_attributes(&mut out, &services[service].resource);
        put(
            &mut out,
            format_args!(
                r#"}},"scopeSpans":[{{"scope":{{"name":"{SCOPE}","version":"{}"}},"spans":["#,
                env!("CARGO_PKG_VERSION")
            ),
        );
        for (at, item) in group.into_iter().enumerate() {
            comma(&mut out, at);
            json_span(&mut out, item);
        }
        out.push_str("]}]}");
    }
    out.push_str("]}");
    out.into_bytes()
}

fn json_span(out: &mut String, item: &Item) {
    let span = &item.span;
    put(out, format_args!(r#"{{"traceId":"{}","spanId":"{}""#, hex(&item.trace), hex(&span.id)));
    if let Some(parent) = span.parent {
        put(out, format_args!(r#","parentSpanId":"{}""#, hex(&parent)));
    }
    out.push_str(r#","name":"#);
    json_text(out, &span.name);
    put(
        out,
        format_args!(
            r#","kind":{},"startTimeUnixNano":"{}","endTimeUnixNano":"{}","attributes":"#,
            span.kind, span.start_ns, span.end_ns
        ),
    );
    json_attributes(out, &span.attributes);
    if !span.events.is_empty() {
        out.push_str(r#","events":["#);
        for (at, event) in span.events.iter().enumerate() {
            comma(out, at);
            json_event(out, event);
        }
        out.push(']');
    }
    if let Some(message) = span.error {
        out.push_str(r#","status":{"code":2,"message":"#);
        json_text(out, message);
        out.push('}');
    }
    out.push_str(r#","flags":257}"#);
}

fn json_event(out: &mut String, event: &Event) {
    put(out, format_args!(r#"{{"timeUnixNano":"{}","name":"{}","attributes":"#, event.time_ns, event.name));
    json_attributes(out, &event.attributes);
    out.push('}');
}

fn json_attributes(out: &mut String, attributes: &[(&'static str, Value)]) {
    out.push('[');
    for (at, (key, value)) in attributes.iter().enumerate() {
        comma(out, at);
        put(out, format_args!(r#"{{"key":"{key}","value":"#));
        match value {
            Value::Text(text) => {
                out.push_str(r#"{"stringValue":"#);
                json_text(out, text);
                out.push('}');
            }
            Value::Bool(value) => put(out, format_args!(r#"{{"boolValue":{value}}}"#)),
            Value::Int(value) => put(out, format_args!(r#"{{"intValue":"{value}"}}"#)),
            Value::Double(value) => put(out, format_args!(r#"{{"doubleValue":{value}}}"#)),
        }
        out.push('}');
    }
    out.push(']');
}

fn comma(out: &mut String, at: usize) {
    if at > 0 {
        out.push(',');
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all text");
}

fn json_text(out: &mut String, text: &str) {
    out.push_str(&serde_json::to_string(text).expect("text is always JSON"));
}

#[cfg(test)]
mod tests {
    use super::super::recipe::Recipe;
    use super::*;

    #[test]
    fn json_is_json_and_protobuf_is_reproducible() {
        for recipe in [Recipe::Shop, Recipe::Std] {
            let load: Vec<Item> = (0..5).flat_map(|i| items(recipe.trace(1, i, 1_000, Some(0.5)))).collect();
            let services = recipe.services();
            let value: serde_json::Value = serde_json::from_slice(&json(&load, &services)).unwrap();
            let spans = value["resourceSpans"].as_array().unwrap().iter();
            let count: usize = spans.map(|r| r["scopeSpans"][0]["spans"].as_array().unwrap().len()).sum();
            assert_eq!(count, load.len());
            assert_eq!(protobuf(&load, &services), protobuf(&load, &services));
        }
    }
}
