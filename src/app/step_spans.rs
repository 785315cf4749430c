//! Spans of pipeline steps into the store: as an OTLP request of resource `weavergen.origin=pipeline`.
//!
//! Duty: encode what the engine tells, decode it like everybody's, hand it over. Guarantee: equal steps give equal bytes
//! and one identity, so a repeat is stored once (bpmn.md 15). Left to others: which spans there are (`engine::export`).

use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use twox_hash::XxHash3_128;

use crate::engine::export::{Deliver, Kind, Moment, Request, StepSpan, Value};
use crate::otlp::{self, Limits, SpanBuilder};
use crate::span::{Delivery, Next, Origin};

/// A function that hands step spans to `next`.
pub(super) fn deliver(next: Next) -> Deliver {
    let builder = Arc::new(Mutex::new(SpanBuilder::default()));
    Box::new(move |request| {
        let (next, builder) = (next.clone(), builder.clone());
        Box::pin(async move {
            let identity = identity(&request);
            let body = encoded(request).encode_to_vec();
            let decoded = {
                let mut builder = builder.lock().expect("no holder of this lock panics");
                otlp::decode(&body, &Limits::fixed(), &mut builder)
            };
            let batches = decoded.map_err(|error| error.to_string())?.batches;
            let delivery = Delivery { batches, body: None, identity, origin: Origin::Own };
            next.deliver(delivery).await.map_err(|refusal| refusal.to_string())
        })
    })
}

/// XXH3-128 over the engine's id and the number of the commit's first event, as design.md hashes parts.
fn identity(request: &Request) -> u128 {
    let mut bytes = 16_u32.to_le_bytes().to_vec();
    bytes.extend_from_slice(&request.engine_id);
    bytes.extend_from_slice(&request.first_seq.to_le_bytes());
    // 0 would say: never recognised.
    XxHash3_128::oneshot(&bytes).max(1)
}

fn encoded(request: Request) -> ExportTraceServiceRequest {
    let text = |text: &str| Value::Text(text.to_owned());
    let resource = Resource {
        attributes: vec![
            pair("service.name", text("weavergen")),
            pair("service.version", text(env!("CARGO_PKG_VERSION"))),
            pair("weavergen.origin", text("pipeline")),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "weavergen.engine".to_owned(), ..InstrumentationScope::default() };
    let spans = request.spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }],
    }
}

fn span(step: StepSpan) -> Span {
    let kind = match step.kind {
        Kind::Internal => 1,
        Kind::Server => 2,
        Kind::Client => 3,
    };
    Span {
        trace_id: step.trace_id.to_vec(),
        span_id: step.span_id.to_vec(),
        parent_span_id: step.parent_span_id.map(|id| id.to_vec()).unwrap_or_default(),
        name: step.name,
        kind,
        start_time_unix_nano: u64::try_from(step.start_ns).unwrap_or(0),
        end_time_unix_nano: u64::try_from(step.end_ns).unwrap_or(0),
        attributes: step.attributes.into_iter().map(|(key, value)| pair(key, value)).collect(),
        events: step.moments.into_iter().map(event).collect(),
        links: step.links.iter().filter_map(link).collect(),
        status: step.error.map(|message| Status { code: 2, message }),
        flags: 0x101,
        ..Span::default()
    }
}

fn event(moment: Moment) -> Event {
    Event {
        time_unix_nano: u64::try_from(moment.at_ns).unwrap_or(0),
        name: moment.name.to_owned(),
        attributes: moment.attributes.into_iter().map(|(key, value)| pair(key, value)).collect(),
        ..Event::default()
    }
}

fn link((trace_id, span_id): &(String, String)) -> Option<Link> {
    let bytes = |hex: &str| -> Option<Vec<u8>> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect()
    };
    Some(Link { trace_id: bytes(trace_id)?, span_id: bytes(span_id)?, ..Link::default() })
}

fn pair(key: &str, value: Value) -> KeyValue {
    let any = |value| AnyValue { value: Some(value) };
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Int(int) => any_value::Value::IntValue(int),
        Value::Texts(texts) => any_value::Value::ArrayValue(ArrayValue {
            values: texts.into_iter().map(|text| any(any_value::Value::StringValue(text))).collect(),
        }),
    };
    KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
}
