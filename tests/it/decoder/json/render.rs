//! Requests as JSON text, in every form that the reader takes.

use crate::decoder::chance::Chance;
use crate::proto::lossless::opentelemetry::proto::collector::trace::v1::ExportTraceServiceRequest as Request;
use crate::proto::lossless::opentelemetry::proto::common::v1::any_value::Value;
use crate::proto::lossless::opentelemetry::proto::common::v1::{AnyValue, EntityRef, InstrumentationScope, KeyValue};
use crate::proto::lossless::opentelemetry::proto::resource::v1::Resource;
use crate::proto::lossless::opentelemetry::proto::trace::v1::span::{Event, Link};
use crate::proto::lossless::opentelemetry::proto::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
const CODES: [&str; 3] = ["UNSET", "OK", "ERROR"];

/// How a request is spelled.
pub struct Style<'c> {
    chance: &'c mut Chance,
    strict: bool,
    snake_case: bool,
    /// Unknown members so far.
    pub injected: u64,
}

impl<'c> Style<'c> {
    /// `strict`: no forms that `json_strict` refuses or ignores.
    pub fn new(chance: &'c mut Chance, strict: bool) -> Self {
        let snake_case = !strict && chance.one_in(4);
        Self { chance, strict, snake_case, injected: 0 }
    }
}

/// Makes of `request` one that both encodings can say in the same way: JSON has one NaN, and text that is repaired
/// makes the protobuf reader write empty fields that JSON leaves out.
pub fn comparable(request: &mut Request) {
    let attributes = |list: &mut Vec<KeyValue>| list.iter_mut().filter_map(|kv| kv.value.as_mut()).for_each(value);
    for resource_spans in &mut request.resource_spans {
        if let Some(resource) = &mut resource_spans.resource {
            attributes(&mut resource.attributes);
            for EntityRef { schema_url, r#type, .. } in &mut resource.entity_refs {
                [schema_url, r#type].into_iter().filter(|text| text.is_empty()).for_each(|text| text.push(b'e'));
            }
        }
        for scope_spans in &mut resource_spans.scope_spans {
            scope_spans.scope.iter_mut().for_each(|scope| attributes(&mut scope.attributes));
            for span in &mut scope_spans.spans {
                attributes(&mut span.attributes);
                span.events.iter_mut().for_each(|event| attributes(&mut event.attributes));
                span.links.iter_mut().for_each(|link| attributes(&mut link.attributes));
            }
        }
    }
}

fn value(any: &mut AnyValue) {
    match &mut any.value {
        Some(Value::DoubleValue(double)) if double.is_nan() => *double = f64::NAN,
        Some(Value::ArrayValue(list)) => list.values.iter_mut().for_each(value),
        Some(Value::KvlistValue(list)) => {
            for kv in &mut list.values {
                if kv.key.is_empty() {
                    kv.key.push(b'k');
                }
                kv.value.iter_mut().for_each(value);
            }
        }
        _ => {}
    }
}

/// The members of an object: names with the values' text.
type Members = Vec<(&'static str, Vec<u8>)>;

pub fn render(request: &Request, style: &mut Style<'_>) -> Vec<u8> {
    let mut members = Members::new();
    lists(style, &mut members, "resourceSpans", &request.resource_spans, resource_spans);
    object(style, members)
}

fn resource_spans(style: &mut Style<'_>, of: &ResourceSpans) -> Vec<u8> {
    let mut members = Members::new();
    if let Some(of) = &of.resource {
        parts(style, &mut members, "resource", |style| resource(style, of));
    }
    lists(style, &mut members, "scopeSpans", &of.scope_spans, scope_spans);
    text(style, &mut members, "schemaUrl", &of.schema_url);
    object(style, members)
}

fn resource(style: &mut Style<'_>, of: &Resource) -> Members {
    let mut members = Members::new();
    lists(style, &mut members, "attributes", &of.attributes, key_value);
    number(style, &mut members, "droppedAttributesCount", i128::from(of.dropped_attributes_count));
    lists(style, &mut members, "entityRefs", &of.entity_refs, |style, of| {
        let mut members = Members::new();
        text(style, &mut members, "schemaUrl", &of.schema_url);
        text(style, &mut members, "type", &of.r#type);
        lists(style, &mut members, "idKeys", &of.id_keys, |style, key| quoted(style, key));
        lists(style, &mut members, "descriptionKeys", &of.description_keys, |style, key| quoted(style, key));
        object(style, members)
    });
    members
}

fn scope_spans(style: &mut Style<'_>, of: &ScopeSpans) -> Vec<u8> {
    let mut members = Members::new();
    if let Some(of) = &of.scope {
        parts(style, &mut members, "scope", |style| scope(style, of));
    }
    lists(style, &mut members, "spans", &of.spans, span);
    text(style, &mut members, "schemaUrl", &of.schema_url);
    object(style, members)
}

fn scope(style: &mut Style<'_>, of: &InstrumentationScope) -> Members {
    let mut members = Members::new();
    text(style, &mut members, "name", &of.name);
    text(style, &mut members, "version", &of.version);
    lists(style, &mut members, "attributes", &of.attributes, key_value);
    number(style, &mut members, "droppedAttributesCount", i128::from(of.dropped_attributes_count));
    members
}

fn span(style: &mut Style<'_>, of: &Span) -> Vec<u8> {
    let mut members = Members::new();
    id(style, &mut members, "traceId", &of.trace_id);
    id(style, &mut members, "spanId", &of.span_id);
    id(style, &mut members, "parentSpanId", &of.parent_span_id);
    text(style, &mut members, "traceState", &of.trace_state);
    text(style, &mut members, "name", &of.name);
    enumeration(style, &mut members, "kind", of.kind, ("SPAN_KIND_", &KINDS));
    number(style, &mut members, "startTimeUnixNano", i128::from(of.start_time_unix_nano));
    number(style, &mut members, "endTimeUnixNano", i128::from(of.end_time_unix_nano));
    lists(style, &mut members, "attributes", &of.attributes, key_value);
    number(style, &mut members, "droppedAttributesCount", i128::from(of.dropped_attributes_count));
    lists(style, &mut members, "events", &of.events, event);
    number(style, &mut members, "droppedEventsCount", i128::from(of.dropped_events_count));
    lists(style, &mut members, "links", &of.links, link);
    number(style, &mut members, "droppedLinksCount", i128::from(of.dropped_links_count));
    if let Some(of) = &of.status {
        parts(style, &mut members, "status", |style| status(style, of));
    }
    number(style, &mut members, "flags", i128::from(of.flags));
    text(style, &mut members, "type", &of.r#type);
    object(style, members)
}

fn status(style: &mut Style<'_>, of: &Status) -> Members {
    let mut members = Members::new();
    text(style, &mut members, "message", &of.message);
    enumeration(style, &mut members, "code", of.code, ("STATUS_CODE_", &CODES));
    members
}

fn event(style: &mut Style<'_>, of: &Event) -> Vec<u8> {
    let mut members = Members::new();
    number(style, &mut members, "timeUnixNano", i128::from(of.time_unix_nano));
    text(style, &mut members, "name", &of.name);
    lists(style, &mut members, "attributes", &of.attributes, key_value);
    number(style, &mut members, "droppedAttributesCount", i128::from(of.dropped_attributes_count));
    object(style, members)
}

fn link(style: &mut Style<'_>, of: &Link) -> Vec<u8> {
    let mut members = Members::new();
    id(style, &mut members, "traceId", &of.trace_id);
    id(style, &mut members, "spanId", &of.span_id);
    text(style, &mut members, "traceState", &of.trace_state);
    lists(style, &mut members, "attributes", &of.attributes, key_value);
    number(style, &mut members, "droppedAttributesCount", i128::from(of.dropped_attributes_count));
    number(style, &mut members, "flags", i128::from(of.flags));
    object(style, members)
}

fn key_value(style: &mut Style<'_>, of: &KeyValue) -> Vec<u8> {
    let mut members = Members::new();
    text(style, &mut members, "key", &of.key);
    if let Some(value) = &of.value {
        let value = any_value(style, value);
        members.push(("value", value));
    }
    if of.key_strindex != 0 {
        members.push(("keyStrindex", of.key_strindex.to_string().into_bytes()));
    }
    object(style, members)
}

fn any_value(style: &mut Style<'_>, of: &AnyValue) -> Vec<u8> {
    let mut members = Members::new();
    let Some(value) = &of.value else { return object(style, members) };
    members.push(match value {
        Value::StringValue(text) => ("stringValue", quoted(style, text)),
        Value::BoolValue(bool) => ("boolValue", bool.to_string().into_bytes()),
        Value::IntValue(int) => ("intValue", digits(style, i128::from(*int))),
        Value::DoubleValue(double) => ("doubleValue", double_text(style, *double)),
        Value::ArrayValue(list) => {
            let mut inner = Members::new();
            lists(style, &mut inner, "values", &list.values, any_value);
            ("arrayValue", object(style, inner))
        }
        Value::KvlistValue(list) => {
            let mut inner = Members::new();
            lists(style, &mut inner, "values", &list.values, key_value);
            ("kvlistValue", object(style, inner))
        }
        Value::BytesValue(bytes) => ("bytesValue", base64(style, bytes)),
        Value::StringValueStrindex(index) => ("stringValueStrindex", index.to_string().into_bytes()),
    });
    object(style, members)
}

/// A list, at times in two pieces (J4); an empty one may be left out, or be `null` (J5).
fn lists<T>(
    style: &mut Style<'_>,
    members: &mut Members,
    name: &'static str,
    of: &[T],
    mut element: impl FnMut(&mut Style<'_>, &T) -> Vec<u8>,
) {
    let cut = if style.chance.one_in(8) { style.chance.below(of.len() + 1) } else { of.len() };
    let (first, second) = of.split_at(cut);
    for piece in [first, second] {
        if piece.is_empty() {
            absent(style, members, name, b"[]");
            continue;
        }
        let elements: Vec<_> = piece.iter().map(|of| element(style, of)).collect();
        members.push((name, [b"[".as_slice(), &elements.join(&b','), b"]"].concat()));
    }
}

/// An object, at times in two pieces that are merged (J4).
fn parts(style: &mut Style<'_>, members: &mut Members, name: &'static str, of: impl FnOnce(&mut Style<'_>) -> Members) {
    let mut first = of(style);
    let cut = if style.chance.one_in(4) { style.chance.below(first.len() + 1) } else { first.len() };
    let second = first.split_off(cut);
    members.push((name, object(style, first)));
    if !second.is_empty() {
        members.push((name, object(style, second)));
    }
}

fn absent(style: &mut Style<'_>, members: &mut Members, name: &'static str, empty: &[u8]) {
    match style.chance.below(6) {
        0 => members.push((name, b"null".to_vec())),
        1 => members.push((name, empty.to_vec())),
        _ => {}
    }
}

fn text(style: &mut Style<'_>, members: &mut Members, name: &'static str, of: &[u8]) {
    if of.is_empty() {
        return absent(style, members, name, b"\"\"");
    }
    if style.chance.one_in(12) {
        members.push((name, b"\"an earlier one\"".to_vec()));
    }
    let text = quoted(style, of);
    members.push((name, text));
}

fn id(style: &mut Style<'_>, members: &mut Members, name: &'static str, of: &[u8]) {
    if of.is_empty() {
        return absent(style, members, name, b"\"\"");
    }
    let upper = style.chance.one_in(2);
    let hex: String = of.iter().map(|byte| if upper { format!("{byte:02X}") } else { format!("{byte:02x}") }).collect();
    members.push((name, format!("\"{hex}\"").into_bytes()));
}

fn number(style: &mut Style<'_>, members: &mut Members, name: &'static str, of: i128) {
    if of == 0 {
        return absent(style, members, name, b"\"0\"");
    }
    let digits = digits(style, of);
    members.push((name, digits));
}

fn digits(style: &mut Style<'_>, of: i128) -> Vec<u8> {
    match style.chance.below(6) {
        0..=1 => of.to_string(),
        2 => format!("{of}.000"),
        3 => format!("{of}0e-1"),
        _ => format!("\"{of}\""),
    }
    .into_bytes()
}

fn enumeration(
    style: &mut Style<'_>,
    members: &mut Members,
    name: &'static str,
    of: i32,
    (prefix, names): (&str, &[&str]),
) {
    let named = usize::try_from(of).ok().and_then(|of| names.get(of)).filter(|_| !style.strict);
    match named {
        Some(word) if style.chance.one_in(3) => members.push((name, format!("\"{prefix}{word}\"").into_bytes())),
        _ => members.push((name, of.to_string().into_bytes())),
    }
}

fn double_text(style: &mut Style<'_>, of: f64) -> Vec<u8> {
    let text = if of.is_nan() {
        "\"NaN\"".to_owned()
    } else if of.is_infinite() {
        if of > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" }.to_owned()
    } else if style.chance.one_in(3) {
        format!("\"{of:?}\"")
    } else {
        format!("{of:?}")
    };
    text.into_bytes()
}

fn base64(style: &mut Style<'_>, of: &[u8]) -> Vec<u8> {
    let (standard, url_safe) = (
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
    );
    let alphabet = if style.chance.one_in(2) { standard } else { url_safe };
    let padded = style.chance.one_in(2);
    let mut text = vec![b'"'];
    for chunk in of.chunks(3) {
        let bits = chunk.iter().chain([0, 0].iter()).take(3).fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        for digit in 0..4 {
            if digit <= chunk.len() {
                text.push(alphabet[bits >> (18 - 6 * digit) & 63]);
            } else if padded {
                text.push(b'=');
            }
        }
    }
    text.push(b'"');
    text
}

fn quoted(style: &mut Style<'_>, of: &[u8]) -> Vec<u8> {
    let mut text = vec![b'"'];
    // Escapes need characters; what is not UTF-8 goes as it is.
    match std::str::from_utf8(of) {
        Ok(of) if style.chance.one_in(4) => {
            for unit in of.encode_utf16() {
                text.extend_from_slice(format!("\\u{unit:04x}").as_bytes());
            }
        }
        _ => {
            for byte in of {
                match byte {
                    b'"' | b'\\' => text.extend_from_slice(&[b'\\', *byte]),
                    0..0x20 => text.extend_from_slice(format!("\\u{byte:04X}").as_bytes()),
                    _ => text.push(*byte),
                }
            }
        }
    }
    text.push(b'"');
    text
}

fn object(style: &mut Style<'_>, mut members: Members) -> Vec<u8> {
    // Any order of different names; those of one name keep theirs.
    for at in 1..members.len() {
        let to = style.chance.below(at + 1);
        if members[to..at].iter().all(|(name, _)| *name != members[at].0) && style.chance.one_in(2) {
            let member = members.remove(at);
            members.insert(to, member);
        }
    }
    if style.chance.one_in(30) {
        style.injected += 1;
        let at = style.chance.below(members.len() + 1);
        members.insert(at, ("no such member", br#"{"a":[1,{"b":"\"}]"}],"spans":null}"#.to_vec()));
    }
    let space = *style.chance.pick(&["", "", "", " ", "\r\n\t"].map(str::as_bytes)).first().unwrap_or(&b' ');
    let mut text = vec![b'{', space];
    for (index, (name, value)) in members.iter().enumerate() {
        if index > 0 {
            text.extend_from_slice(&[space, b',']);
        }
        let name = if style.snake_case { snake(name) } else { (*name).to_owned() };
        text.extend_from_slice(format!("\"{name}\"").as_bytes());
        text.extend_from_slice(&[space, b':', space]);
        text.extend_from_slice(value);
    }
    text.push(b'}');
    text
}

fn snake(name: &str) -> String {
    let mut snake = String::new();
    for char in name.chars() {
        if char.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(char.to_ascii_lowercase());
    }
    snake
}
