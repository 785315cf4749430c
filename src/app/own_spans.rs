//! Own spans into the store: as an OTLP request of resource `weavergen.origin=self`, through the decoder.
//!
//! Duty: encode what `telemetry` collected, decode it like everybody's, hand it over. Guarantee: what is refused is a row of
//! the drop ledger, and holds up nothing. Left to others: sampling, collecting and counting (`telemetry/own_spans`).

use std::sync::{Arc, Mutex};

use futures::future::BoxFuture;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;

use crate::otlp::{self, Limits, SpanBuilder};
use crate::span::{Delivery, Next, Origin};
use crate::store::{Ledger, ledger};
use crate::telemetry::own_spans::{OwnSpan, Value};

/// A function that hands own spans to `next` and tells how many were taken; those that were not go to `ledger`.
pub fn deliver(next: Next, ledger: Ledger) -> impl Fn(Vec<OwnSpan>) -> BoxFuture<'static, u64> {
    let builder = Arc::new(Mutex::new(SpanBuilder::default()));
    move |spans| {
        let (next, ledger, builder) = (next.clone(), ledger.clone(), builder.clone());
        Box::pin(async move {
            let count = spans.len() as u64;
            let body = request(spans).encode_to_vec();
            let decoded = {
                let mut builder = builder.lock().expect("no holder of this lock panics");
                otlp::decode(&body, &Limits::fixed(), &mut builder)
            };
            let refused = match decoded {
                Ok(decoded) => {
                    let delivery = Delivery { batches: decoded.batches, body: None, identity: 0, origin: Origin::Own };
                    let Err(refusal) = next.deliver(delivery).await else { return count };
                    tracing::debug!(%refusal, "own spans were refused");
                    refusal.label
                }
                Err(error) => {
                    tracing::warn!(%error, "own spans do not decode");
                    error.kind
                }
            };
            ledger.record(ledger::Drop {
                stage: "telemetry".to_owned(),
                component: "own_spans".to_owned(),
                reason: refused.to_owned(),
                spans: count,
                bytes: body.len() as u64,
                ..ledger::Drop::default()
            });
            0
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::disk::Disk;
    use crate::error::Class;
    use crate::span::Refusal;

    #[tokio::test]
    async fn own_spans_that_are_refused_are_a_row_of_the_drop_ledger() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path().join("ledger"), Disk::Os, Clock::manual(0, 1)).unwrap();
        let spans = || -> Vec<OwnSpan> {
            let of = |id: u8| OwnSpan {
                name: "store.flush",
                trace_id: [1; 16],
                span_id: [id; 8],
                parent_span_id: None,
                start_ns: 1,
                end_ns: 2,
                attributes: Vec::new(),
                error: None,
                is_server: false,
            };
            (1..=3).map(of).collect()
        };
        let taking = Next::new(|_| Box::pin(async { Ok(()) }));
        assert_eq!(deliver(taking, ledger.clone())(spans()).await, 3);
        let full = || Refusal { class: Class::Busy, reason: "full".to_owned(), label: "disk", retry_after: None };
        let refusing = Next::new(move |_| Box::pin(async move { Err(full()) }));
        assert_eq!(deliver(refusing, ledger.clone())(spans()).await, 0);
        ledger.flush();
        let rows = ledger.batches().unwrap();
        let [row] = &rows[..] else { panic!("{rows:?}") };
        let text = |column: &str| {
            let column = row.column_by_name(column).unwrap();
            arrow::util::display::array_value_to_string(column, 0).unwrap()
        };
        assert_eq!(row.num_rows(), 1);
        assert_eq!(["stage", "component", "reason", "spans"].map(text), ["telemetry", "own_spans", "disk", "3"]);
    }
}
