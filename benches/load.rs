//! Requests as an SDK of a web shop sends them, equal in every run.
//!
//! Duty: the load of the other rows. Guarantee: seeded, so two runs measure the same bytes. Left to others: measuring.

use prost::Message;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

#[allow(clippy::all, dead_code, missing_docs, reason = "generated")]
mod proto {
    include!(concat!(env!("OUT_DIR"), "/proto/all.rs"));
}
pub use proto::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::opentelemetry::proto::common::v1::any_value::Value;
use proto::opentelemetry::proto::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use proto::opentelemetry::proto::resource::v1::Resource;
use proto::opentelemetry::proto::trace::v1::span::Event;
use proto::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// The bytes of a request of `spans` spans with `attributes` attributes each; `seed` decides ids and values.
pub fn body(seed: u64, spans: usize, attributes: usize) -> Vec<u8> {
    request(seed, spans, attributes).encode_to_vec()
}

/// As [`body`], of spans that say in turn that they are of one of `types` types of [`span_type`].
pub fn typed(seed: u64, spans: usize, attributes: usize, types: usize) -> Vec<u8> {
    let mut request = request(seed, spans, attributes);
    let all = request.resource_spans.iter_mut().flat_map(|of| &mut of.scope_spans).flat_map(|of| &mut of.spans);
    for (at, span) in all.enumerate() {
        let value = AnyValue { value: Some(Value::StringValue(span_type(at % types))) };
        span.attributes.push(KeyValue { key: "otel.span.type".to_owned(), value: Some(value), ..KeyValue::default() });
    }
    request.encode_to_vec()
}

/// As [`typed`], of the service `service`.
pub fn of_service(seed: u64, spans: usize, attributes: usize, types: usize, service: &str) -> Vec<u8> {
    let mut request = ExportTraceServiceRequest::decode(typed(seed, spans, attributes, types).as_slice())
        .expect("it was encoded here");
    let resources = request.resource_spans.iter_mut().filter_map(|of| of.resource.as_mut());
    for attribute in resources.flat_map(|of| &mut of.attributes).filter(|of| of.key == "service.name") {
        attribute.value = Some(AnyValue { value: Some(Value::StringValue(service.to_owned())) });
    }
    request.encode_to_vec()
}

/// As [`body`], of the service `service`, named in turn as `types` types of [`span_type`], which end one behind the other in
/// the `over_ns` before `until_ns`.
pub fn spread(
    seed: u64,
    (spans, attributes): (usize, usize),
    types: usize,
    service: &str,
    times: (u64, u64),
) -> Vec<u8> {
    spread_from(seed, (spans, attributes), (types, 0), service, times)
}

/// As [`spread`], but that the first span is of the type `first`, the next of the one behind it.
pub fn spread_from(
    seed: u64,
    (spans, attributes): (usize, usize),
    (types, first): (usize, usize),
    service: &str,
    (until_ns, over_ns): (u64, u64),
) -> Vec<u8> {
    let mut request = ExportTraceServiceRequest::decode(of_service(seed, spans, attributes, types, service).as_slice())
        .expect("it was encoded here");
    let all = request.resource_spans.iter_mut().flat_map(|of| &mut of.scope_spans).flat_map(|of| &mut of.spans);
    for (at, span) in all.enumerate() {
        let lasts = span.end_time_unix_nano - span.start_time_unix_nano;
        span.end_time_unix_nano = until_ns - over_ns + over_ns * at as u64 / spans as u64;
        span.start_time_unix_nano = span.end_time_unix_nano - lasts;
        span.name = span_type((first + at) % types);
    }
    request.encode_to_vec()
}

/// The name of a type of spans.
pub fn span_type(at: usize) -> String {
    format!("bench.span{at}")
}

/// As [`body`], with `in_trace` spans to a trace, one behind the other; also the ids of the traces.
pub fn traces(seed: u64, spans: usize, attributes: usize, in_trace: usize) -> (Vec<u8>, Vec<Vec<u8>>) {
    let mut request = request(seed, spans, attributes);
    let mut ids: Vec<Vec<u8>> = Vec::new();
    let scopes = request.resource_spans.iter_mut().flat_map(|of| &mut of.scope_spans);
    for (at, span) in scopes.flat_map(|of| &mut of.spans).enumerate() {
        if at.is_multiple_of(in_trace) {
            ids.push(span.trace_id.clone());
        }
        span.trace_id.clone_from(ids.last().expect("the first span begins a trace"));
    }
    (request.encode_to_vec(), ids)
}

/// The attributes of a span, in this order.
pub const KEYS: [&str; 20] = [
    "http.request.method",
    "http.response.status_code",
    "url.path",
    "server.address",
    "server.port",
    "user_agent.original",
    "network.protocol.version",
    "client.address",
    "http.route",
    "url.scheme",
    "app.user.id",
    "app.session.id",
    "app.cart.total",
    "app.cart.items",
    "app.is_premium",
    "thread.id",
    "thread.name",
    "code.function.name",
    "code.file.path",
    "code.line.number",
];

/// A request as an SDK of a web shop sends it: one resource, two scopes, ids at random, values of each kind.
fn request(seed: u64, spans: usize, attributes: usize) -> ExportTraceServiceRequest {
    let mut chance = ChaCha8Rng::seed_from_u64(seed);
    let text = |key: &str, value: &str| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.to_owned())) }),
        ..KeyValue::default()
    };
    let resource = Resource {
        attributes: vec![
            text("service.name", "checkout"),
            text("service.version", "2.14.0"),
            text("service.instance.id", "627cc493-f310-47de-96bd-71410b7dec09"),
            text("deployment.environment.name", "production"),
            text("k8s.pod.name", "checkout-6c54bd8f7-x9qzl"),
            text("telemetry.sdk.language", "java"),
        ],
        ..Resource::default()
    };
    let scopes = ["io.opentelemetry.netty-4.1", "io.opentelemetry.jdbc"].map(|name| {
        let spans = (0..spans / 2).map(|at| span(&mut chance, at, attributes)).collect();
        let scope = InstrumentationScope {
            name: name.to_owned(),
            version: "2.9.0-alpha".to_owned(),
            ..InstrumentationScope::default()
        };
        ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }
    });
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans: scopes.to_vec(), schema_url: String::new() }];
    ExportTraceServiceRequest { resource_spans }
}

fn span(chance: &mut ChaCha8Rng, at: usize, attributes: usize) -> Span {
    let mut id = |len: usize| {
        let mut id = vec![0; len];
        chance.fill_bytes(&mut id);
        id
    };
    let (trace_id, span_id, parent_span_id) = (id(16), id(8), id(8));
    let start = 1_760_000_000_000_000_000 + chance.next_u64() % 1_000_000_000;
    let attributes = KEYS[..attributes].iter().map(|key| attribute(chance, key)).collect();
    let event = Event {
        time_unix_nano: start + 5,
        name: "exception".to_owned(),
        attributes: ["exception.type", "exception.message"].iter().map(|key| attribute(chance, key)).collect(),
        dropped_attributes_count: 0,
    };
    Span {
        trace_id,
        span_id,
        parent_span_id,
        name: format!("GET /api/products/{{id}}/{}", at % 50),
        kind: 2 + i32::try_from(at % 2).expect("it is 0 or 1"),
        start_time_unix_nano: start,
        end_time_unix_nano: start + chance.next_u64() % 50_000_000,
        attributes,
        events: if at.is_multiple_of(10) { vec![event] } else { Vec::new() },
        status: if at.is_multiple_of(20) { Some(Status { code: 2, message: "timed out".to_owned() }) } else { None },
        flags: 0x101,
        ..Span::default()
    }
}

fn attribute(chance: &mut ChaCha8Rng, key: &str) -> KeyValue {
    let number = chance.next_u64();
    let value = match key {
        "http.response.status_code" => Value::IntValue(200),
        "server.port" | "thread.id" | "app.cart.items" | "code.line.number" => {
            Value::IntValue((number % 9000).cast_signed())
        }
        "app.cart.total" => Value::DoubleValue(f64::from(u32::try_from(number >> 40).expect("24 bits")) / 100.0),
        "app.is_premium" => Value::BoolValue(number.is_multiple_of(2)),
        "http.request.method" => Value::StringValue("GET".to_owned()),
        "url.scheme" => Value::StringValue("https".to_owned()),
        "network.protocol.version" => Value::StringValue("1.1".to_owned()),
        "url.path" => Value::StringValue(format!("/api/products/{}/reviews", number % 100_000)),
        "user_agent.original" => Value::StringValue("Mozilla/5.0 (X11; Linux x86_64; rv:141.0) Gecko".to_owned()),
        "app.session.id" => Value::StringValue(format!("{number:032x}")),
        _ => Value::StringValue(format!("value-{}", number % 1000)),
    };
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}
