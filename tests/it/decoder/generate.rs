//! Random requests over every field, odd ones included.

use weavergen::otlp::Limits;

use super::chance::Chance;
use crate::proto::lossless::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest;
use crate::proto::lossless::opentelemetry::proto::common::v1::any_value::Value;
use crate::proto::lossless::opentelemetry::proto::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use crate::proto::lossless::opentelemetry::proto::resource::v1::Resource;
use crate::proto::lossless::opentelemetry::proto::trace::v1::span::{Event, Link};
use crate::proto::lossless::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

const KEYS: [&str; 14] = [
    "",
    "a",
    "http.request.method",
    "otel.span.type",
    "service.name",
    "wg.end_time",
    "_wg.span_type",
    "__wg.x",
    "_x",
    "key of more than twelve bytes",
    "ключ",
    "wg",
    "wg.",
    "b",
];
const TEXTS: [&str; 8] =
    ["", "GET", "exactly12byt", "thirteen byte", "db.query/SELECT", "naïve – длинный текст", "checkout", "with space"];

/// Limits that random requests meet.
pub fn small_limits() -> Limits {
    Limits {
        max_value_depth: 3,
        max_span_bytes: 600,
        max_attributes: 4,
        max_events: 3,
        max_links: 3,
        max_key_bytes: 20,
    }
}

pub fn request(chance: &mut Chance) -> ExportTraceServiceRequest {
    let count = chance.below(4);
    // resources repeat, so that interning is met
    let resources: Vec<_> = (0..2).map(|_| resource(chance)).collect();
    ExportTraceServiceRequest { resource_spans: (0..count).map(|_| resource_spans(chance, &resources)).collect() }
}

fn resource_spans(chance: &mut Chance, resources: &[Resource]) -> ResourceSpans {
    let count = chance.below(3);
    let resource = if chance.one_in(8) { None } else { Some(resources[chance.below(resources.len())].clone()) };
    ResourceSpans {
        resource,
        scope_spans: (0..count).map(|_| scope_spans(chance)).collect(),
        schema_url: if chance.one_in(3) { text(chance) } else { Vec::new() },
    }
}

fn resource(chance: &mut Chance) -> Resource {
    let entities = if chance.one_in(4) { chance.below(3) } else { 0 };
    Resource {
        attributes: attributes(chance, 5),
        dropped_attributes_count: small(chance),
        entity_refs: (0..entities)
            .map(|_| EntityRef {
                schema_url: text(chance),
                r#type: text(chance),
                id_keys: (0..chance.below(3)).map(|_| text(chance)).collect(),
                description_keys: (0..chance.below(2)).map(|_| text(chance)).collect(),
            })
            .collect(),
    }
}

fn scope_spans(chance: &mut Chance) -> ScopeSpans {
    let count = chance.below(5);
    let scope = InstrumentationScope {
        name: text(chance),
        version: text(chance),
        attributes: if chance.one_in(3) { attributes(chance, 2) } else { Vec::new() },
        dropped_attributes_count: small(chance),
    };
    ScopeSpans {
        scope: if chance.one_in(6) { None } else { Some(scope) },
        spans: (0..count).map(|_| span(chance)).collect(),
        schema_url: if chance.one_in(4) { text(chance) } else { Vec::new() },
    }
}

fn span(chance: &mut Chance) -> Span {
    let start = time(chance);
    let (events, links) = (chance.below(5), chance.below(4));
    let span_id = id(chance, 8);
    Span {
        trace_id: id(chance, 16),
        parent_span_id: match chance.below(20) {
            0 => vec![0; 8],
            1 => span_id.clone(),
            2..9 => Vec::new(),
            _ => id(chance, 8),
        },
        span_id,
        trace_state: if chance.one_in(5) { text(chance) } else { Vec::new() },
        name: text(chance),
        kind: if chance.one_in(10) { number(chance) } else { i32::try_from(chance.below(6)).unwrap() },
        start_time_unix_nano: start,
        end_time_unix_nano: if chance.one_in(5) { time(chance) } else { start.saturating_add(chance.word() >> 34) },
        attributes: attributes(chance, 7),
        dropped_attributes_count: small(chance),
        events: (0..events)
            .map(|_| Event {
                time_unix_nano: time(chance),
                name: text(chance),
                attributes: attributes(chance, 2),
                dropped_attributes_count: small(chance),
            })
            .collect(),
        dropped_events_count: small(chance),
        links: (0..links)
            .map(|_| Link {
                trace_id: if chance.one_in(10) { Vec::new() } else { id(chance, 16) },
                span_id: if chance.one_in(10) { Vec::new() } else { id(chance, 8) },
                trace_state: text(chance),
                attributes: attributes(chance, 2),
                dropped_attributes_count: small(chance),
                flags: u32::try_from(chance.below(1024)).unwrap(),
            })
            .collect(),
        dropped_links_count: small(chance),
        status: match chance.below(3) {
            0 => None,
            1 => Some(Status { message: text(chance), code: number(chance) }),
            _ => Some(Status { message: text(chance), code: i32::try_from(chance.below(3)).unwrap() }),
        },
        flags: if chance.one_in(9) { u32::MAX } else { u32::try_from(chance.below(1024)).unwrap() },
        r#type: if chance.one_in(4) { text(chance) } else { Vec::new() },
    }
}

fn attributes(chance: &mut Chance, up_to: usize) -> Vec<KeyValue> {
    (0..chance.below(up_to + 1)).map(|_| key_value(chance, 0)).collect()
}

fn key_value(chance: &mut Chance, depth: usize) -> KeyValue {
    KeyValue {
        key: if chance.one_in(40) { broken_text(chance) } else { chance.pick(&KEYS).as_bytes().to_vec() },
        value: if chance.one_in(12) { None } else { Some(any_value(chance, depth)) },
        key_strindex: if chance.one_in(60) { number(chance) } else { 0 },
    }
}

fn any_value(chance: &mut Chance, depth: usize) -> AnyValue {
    let variant = if depth > 4 { chance.below(8) } else { chance.below(14) };
    let value = match variant {
        0 => None,
        1 => Some(Value::BoolValue(chance.one_in(2))),
        2 => Some(Value::IntValue(chance.word().cast_signed())),
        3 => Some(Value::DoubleValue(f64::from_bits(chance.word()))),
        4 => {
            let len = chance.below(30);
            Some(Value::BytesValue(chance.bytes(len)))
        }
        5 if chance.one_in(6) => Some(Value::StringValueStrindex(number(chance))),
        8 => {
            let count = chance.below(4);
            let values = (0..count).map(|_| any_value(chance, depth + 1)).collect();
            Some(Value::ArrayValue(ArrayValue { values }))
        }
        9 => {
            let count = chance.below(4);
            let values = (0..count).map(|_| key_value(chance, depth + 1)).collect();
            Some(Value::KvlistValue(KeyValueList { values }))
        }
        10 if depth == 0 && chance.one_in(12) => {
            let levels = 28 + chance.below(7);
            return (0..levels).fold(AnyValue { value: None }, |inner, _| AnyValue {
                value: Some(Value::ArrayValue(ArrayValue { values: vec![inner] })),
            });
        }
        _ => Some(Value::StringValue(text(chance))),
    };
    AnyValue { value }
}

fn text(chance: &mut Chance) -> Vec<u8> {
    if chance.one_in(40) { broken_text(chance) } else { chance.pick(&TEXTS).as_bytes().to_vec() }
}

fn broken_text(chance: &mut Chance) -> Vec<u8> {
    let broken: [&[u8]; 6] = [b"\xff", b"a\xffb", b"\xc3", b"\xa9", b"long enough text \xe2\x82 cut", b"\xed\xa0\x80"];
    chance.pick(&broken).to_vec()
}

fn id(chance: &mut Chance, len: usize) -> Vec<u8> {
    match chance.below(60) {
        0 => vec![0; len],
        1 => {
            let len = chance.below(20);
            chance.bytes(len)
        }
        _ => chance.bytes(len),
    }
}

fn time(chance: &mut Chance) -> u64 {
    match chance.below(40) {
        0 => 0,
        1 => chance.word(),
        2 => u64::MAX >> 1,
        _ => 1_700_000_000_000_000_000 + (chance.word() >> 30),
    }
}

fn small(chance: &mut Chance) -> u32 {
    if chance.one_in(4) { u32::try_from(chance.word() >> 32).unwrap() } else { 0 }
}

fn number(chance: &mut Chance) -> i32 {
    [9, -1, i32::MAX, i32::MIN, 6, 3][chance.below(6)]
}
