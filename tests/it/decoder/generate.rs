//! Random requests over every field of otlp.md 9.2 and 9.3.

use rand_chacha::rand_core::RngCore;

use super::proto::opentelemetry::proto;
use proto::collector::trace::v1::ExportTraceServiceRequest;
use proto::common::v1::{AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value};
use proto::resource::v1::Resource;
use proto::trace::v1::span::{Event, Link};
use proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// A number below `end`.
pub fn below(rng: &mut impl RngCore, end: usize) -> usize {
    usize::try_from(rng.next_u64() % end as u64).unwrap()
}

fn chance(rng: &mut impl RngCore, one_in: usize) -> bool {
    below(rng, one_in) == 0
}

fn pick<T: Clone>(rng: &mut impl RngCore, of: &[T]) -> T {
    of[below(rng, of.len())].clone()
}

fn many<R: RngCore, T>(rng: &mut R, most: usize, mut make: impl FnMut(&mut R) -> T) -> Vec<T> {
    (0..below(rng, most + 1)).map(|_| make(rng)).collect()
}

fn text(rng: &mut impl RngCore) -> String {
    let words = ["", "a", "GET /cart", "a name longer than twelve bytes", "größe 😀", "\"\\\n\u{1}/", "wg.x", "\u{0}"];
    pick(rng, &words).to_owned()
}

fn key(rng: &mut impl RngCore) -> String {
    let keys = ["", "k", "http.route", "service.name", "otel.span.type", "wg.end_time", "__wg.k", "ключ"];
    pick(rng, &keys).to_owned()
}

fn u32(rng: &mut impl RngCore) -> u32 {
    if chance(rng, 2) { 0 } else { pick(rng, &[1, 256, 768, u32::MAX]) }
}

fn bytes(rng: &mut impl RngCore, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

/// Mostly an id of the right length.
fn id(rng: &mut impl RngCore, length: usize) -> Vec<u8> {
    match below(rng, 40) {
        0 => Vec::new(),
        1 => vec![0; length],
        2 => bytes(rng, length - 1),
        _ => bytes(rng, length),
    }
}

fn time(rng: &mut impl RngCore) -> u64 {
    let day = 1_700_000_000_000_000_000;
    match below(rng, 30) {
        0 => u64::MAX,
        1 => i64::MAX.cast_unsigned(),
        2 => 0,
        _ => day + rng.next_u64() % 1_000_000,
    }
}

fn value(rng: &mut impl RngCore, depth: usize) -> AnyValue {
    use any_value::Value;
    let value = match below(rng, if depth > 3 { 6 } else { 8 }) {
        0 => return AnyValue { value: None },
        1 => Value::StringValue(text(rng)),
        2 => Value::BoolValue(chance(rng, 2)),
        3 => Value::IntValue(pick(rng, &[0, 1, -1, i64::MIN, i64::MAX, 300])),
        4 => {
            Value::DoubleValue(pick(rng, &[0.0, -0.0, 0.1, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324]))
        }
        5 => {
            let length = below(rng, 6);
            Value::BytesValue(bytes(rng, length))
        }
        6 => Value::ArrayValue(ArrayValue { values: many(rng, 3, |rng| self::value(rng, depth + 1)) }),
        _ => Value::KvlistValue(KeyValueList { values: many(rng, 3, |rng| pair(rng, depth + 1)) }),
    };
    AnyValue { value: Some(value) }
}

fn pair(rng: &mut impl RngCore, depth: usize) -> KeyValue {
    let value = (!chance(rng, 10)).then(|| value(rng, depth));
    KeyValue { key: key(rng), value, key_strindex: 0 }
}

fn attributes(rng: &mut impl RngCore) -> Vec<KeyValue> {
    many(rng, 4, |rng| pair(rng, 0))
}

fn event(rng: &mut impl RngCore) -> Event {
    Event {
        time_unix_nano: time(rng),
        name: text(rng),
        attributes: attributes(rng),
        dropped_attributes_count: u32(rng),
    }
}

fn link(rng: &mut impl RngCore) -> Link {
    Link {
        trace_id: id(rng, 16),
        span_id: id(rng, 8),
        trace_state: text(rng),
        attributes: attributes(rng),
        dropped_attributes_count: u32(rng),
        flags: u32(rng),
    }
}

fn span(rng: &mut impl RngCore) -> Span {
    Span {
        trace_id: id(rng, 16),
        span_id: id(rng, 8),
        trace_state: text(rng),
        parent_span_id: if chance(rng, 2) { Vec::new() } else { id(rng, 8) },
        name: text(rng),
        kind: pick(rng, &[0, 1, 2, 3, 4, 5, 9, -1]),
        start_time_unix_nano: time(rng),
        end_time_unix_nano: time(rng),
        attributes: attributes(rng),
        dropped_attributes_count: u32(rng),
        events: many(rng, 2, event),
        dropped_events_count: u32(rng),
        links: many(rng, 2, link),
        dropped_links_count: u32(rng),
        status: (!chance(rng, 3)).then(|| Status { message: text(rng), code: pick(rng, &[0, 1, 2, 7, -5]) }),
        flags: u32(rng),
        r#type: text(rng),
    }
}

fn scope_spans(rng: &mut impl RngCore) -> ScopeSpans {
    let scope = (!chance(rng, 4)).then(|| InstrumentationScope {
        name: text(rng),
        version: text(rng),
        attributes: attributes(rng),
        dropped_attributes_count: u32(rng),
    });
    ScopeSpans { scope, spans: many(rng, 4, span), schema_url: text(rng) }
}

fn entity_ref(rng: &mut impl RngCore) -> EntityRef {
    EntityRef {
        schema_url: text(rng),
        r#type: text(rng),
        id_keys: many(rng, 2, |rng| text(rng)),
        description_keys: many(rng, 2, |rng| text(rng)),
    }
}

/// A request that any reader must accept.
pub fn request(rng: &mut impl RngCore) -> ExportTraceServiceRequest {
    let resource_spans = many(rng, 3, |rng| ResourceSpans {
        resource: (!chance(rng, 4)).then(|| Resource {
            attributes: attributes(rng),
            dropped_attributes_count: u32(rng),
            entity_refs: many(rng, 2, entity_ref),
        }),
        scope_spans: many(rng, 2, scope_spans),
        schema_url: text(rng),
    });
    ExportTraceServiceRequest { resource_spans }
}
