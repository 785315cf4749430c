//! Own spans into the store: as an OTLP request of resource `weavergen.origin=self`, through the decoder.
//!
//! Duty: encode what `telemetry` collected, decode it like everybody's, hand it over. Guarantee: a refusal is a log line
//! and nothing else. Left to others: sampling and collecting (`telemetry/own_spans`).

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use crate::otlp::{self, Limits, SpanBuilder};
use crate::span::{Delivery, Next, Origin};
use crate::telemetry::own_spans::{OwnSpan, Value};

/// A function that hands own spans to `next`.
pub fn deliver(next: Next) -> impl Fn(Vec<OwnSpan>) -> BoxFuture<'static, ()> {
    let builder = Arc::new(Mutex::new(SpanBuilder::default()));
    move |spans| {
        let (next, builder) = (next.clone(), builder.clone());
        Box::pin(async move {
            let body = request(spans).encode_to_vec();
            let decoded = {
                let mut builder = builder.lock().expect("no holder of this lock panics");
                otlp::decode(&body, &Limits::fixed(), &mut builder)
            };
            let batches = match decoded {
                Ok(decoded) => decoded.batches,
                Err(error) => return tracing::warn!(%error, "own spans do not decode"),
            };
            let delivery = Delivery { batches, body: None, identity: 0, origin: Origin::Own };
            if let Err(refusal) = next.deliver(delivery).await {
                tracing::debug!(%refusal, "own spans were refused");
            }
        })
    }
}

fn request(spans: Vec<OwnSpan>) -> ExportTraceServiceRequest {
    let resource = Resource {
        attributes: vec![
            pair("service.name", Value::Text("weavergen".to_owned())),
            pair("service.version", Value::Text(env!("CARGO_PKG_VERSION").to_owned())),
            pair("weavergen.origin", Value::Text("self".to_owned())),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "weavergen".to_owned(), ..InstrumentationScope::default() };
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() }],
    }
}

fn span(own: OwnSpan) -> Span {
    const INTERNAL: i32 = 1;
    const SERVER: i32 = 2;
    const ERROR: i32 = 2;
    Span {
        trace_id: own.trace_id.to_vec(),
        span_id: own.span_id.to_vec(),
        parent_span_id: own.parent_span_id.map(|id| id.to_vec()).unwrap_or_default(),
        name: own.name.to_owned(),
        kind: if own.is_server { SERVER } else { INTERNAL },
        start_time_unix_nano: own.start_ns.cast_unsigned(),
        end_time_unix_nano: own.end_ns.cast_unsigned(),
        attributes: own.attributes.into_iter().map(|(key, value)| pair(key, value)).collect(),
        status: own.error.map(|message| Status { message, code: ERROR }),
        ..Span::default()
    }
}

fn pair(key: &str, value: Value) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text),
        Value::Int(int) => any_value::Value::IntValue(int),
        Value::Double(double) => any_value::Value::DoubleValue(double),
        Value::Bool(bool) => any_value::Value::BoolValue(bool),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
